/* SPDX-License-Identifier: Apache-2.0 */
#include <sluiced/defs.h>
#include <sluiced/log.h>

#include "proxy/base/escape.h"
#include "proxy/base/rng.h"
#include "tests/unit/check.h"

#include <string.h>

#define FFFD "\xef\xbf\xbd"

static const struct {
    struct sl_slice in;
    const char *out;
} rows[] = {
    {{NULL, 0}, ""},
    {{"plain text", 10}, "plain text"},
    {{"a\"b\\c/d", 7}, "a\\\"b\\\\c/d"},
    {{"\b\f\n\r\t", 5}, "\\b\\f\\n\\r\\t"},
    {{"\0x", 2}, "\\u0000x"},
    {{"\x01\x1b\x1f", 3}, "\\u0001\\u001b\\u001f"},
    {{"~\x7f", 2}, "~\\u007f"},
    {{"\xc3\xa9", 2}, "\xc3\xa9"},
    {{"\xe2\x82\xac", 3}, "\xe2\x82\xac"},
    {{"\xf0\x9f\x98\x80", 4}, "\xf0\x9f\x98\x80"},
    {{"\xc2\x80\xc2\x9b\xc2\x9f", 6}, "\\u0080\\u009b\\u009f"},
    {{"\xc2\xa0", 2}, "\xc2\xa0"},
    {{"\xe2\x80\xa7\xe2\x80\xa8\xe2\x80\xa9\xe2\x80\xaa", 12},
     "\xe2\x80\xa7\\u2028\\u2029\xe2\x80\xaa"},
    {{"\xef\xbf\xbf\xf4\x8f\xbf\xbf", 7}, "\xef\xbf\xbf\xf4\x8f\xbf\xbf"}, /* the highest two */
    /* Not UTF-8. */
    {{"\x80", 1}, FFFD},
    {{"\xbf\xbf", 2}, FFFD FFFD},
    {{"\xff\xfe", 2}, FFFD FFFD},
    {{"\xc3", 1}, FFFD},
    {{"\xc3\"", 2}, FFFD "\\\""},                   /* a lead byte swallows no quote */
    {{"\xc0\xaf", 2}, FFFD FFFD},                   /* overlong '/' */
    {{"\xc1\xbf", 2}, FFFD FFFD},                   /* overlong */
    {{"\xe0\x80\xaf", 3}, FFFD FFFD FFFD},          /* overlong '/' */
    {{"\xe0\x9f\xbf", 3}, FFFD FFFD FFFD},          /* overlong */
    {{"\xe0\xa0\x80", 3}, "\xe0\xa0\x80"},          /* the lowest of three bytes */
    {{"\xed\x9f\xbf", 3}, "\xed\x9f\xbf"},          /* the last before the surrogates */
    {{"\xed\xa0\x80", 3}, FFFD FFFD FFFD},          /* a surrogate */
    {{"\xee\x80\x80", 3}, "\xee\x80\x80"},          /* the first after them */
    {{"\xf0\x8f\xbf\xbf", 4}, FFFD FFFD FFFD FFFD}, /* overlong */
    {{"\xf0\x90\x80\x80", 4}, "\xf0\x90\x80\x80"},
    {{"\xf4\x90\x80\x80", 4}, FFFD FFFD FFFD FFFD}, /* above U+10FFFF */
    {{"\xf5\x80\x80\x80", 4}, FFFD FFFD FFFD FFFD},
    {{"\xe2\x82", 2}, FFFD}, /* a start of a sequence is one error ... */
    {{"\xf0\x9f\x98", 3}, FFFD},
    {{"\xe2\x82x\xe2\x82\xac", 6}, FFFD "x\xe2\x82\xac"},
    {{"\xf0\x9f\xe2\x82\xac", 5}, FFFD "\xe2\x82\xac"}, /* ... and does not eat the next */
};

static void text_is_escaped_as_rfc_8259_wants_and_utf8_repaired(void **state)
{
    (void)state;

    for (size_t i = 0; i < SL_ARRAY_LEN(rows); i++) {
        char buf[64];
        size_t n = sl_json_escape(rows[i].in, buf, sizeof(buf));

        check(n == strlen(rows[i].out) && memcmp(buf, rows[i].out, n) == 0,
              "row %zu: \"%.*s\", expected \"%s\"", i, (int)n, buf, rows[i].out);
    }
}

static void too_small_a_buffer_cuts_between_characters_and_is_never_overrun(void **state)
{
    (void)state;

    for (size_t i = 0; i < SL_ARRAY_LEN(rows); i++) {
        for (size_t size = 0; size <= strlen(rows[i].out); size++) {
            char buf[64];
            struct sl_slice rest = rows[i].in;

            memset(buf, '#', sizeof(buf));
            size_t n = sl_json_escape_some(&rest, buf, size);
            check(n <= size, "row %zu: %zu bytes in %zu", i, n, size);
            check(memcmp(buf, rows[i].out, n) == 0, "row %zu: other bytes in %zu", i, size);
            check(buf[size] == '#', "row %zu: overran %zu", i, size);
            check((rest.len == 0) == (size == strlen(rows[i].out)), "row %zu: %zu left of size %zu",
                  i, rest.len, size);
            /* What follows the cut is a whole character: the two halves make the whole. */
            n += sl_json_escape_some(&rest, buf + n, sizeof(buf) - n);
            check(n == strlen(rows[i].out) && memcmp(buf, rows[i].out, n) == 0 && rest.len == 0,
                  "row %zu: cut at %zu gives \"%.*s\"", i, size, (int)n, buf);
        }
    }
}

static void random_bytes_come_out_harmless_and_any_cut_gives_the_same(void **state)
{
    struct sl_rng rng = {11};
    (void)state;

    for (int round = 0; round < 3000; round++) {
        static const char likely[] = "a\"\\\n\x80\xbf\xc2\xc3\xe0\xe2\xed\xef\xf0\xf4\xa8\x9f";
        char in[40];
        char whole[sizeof(in) * SL_ESCAPE_MAX_BYTES];
        char pieces[sizeof(whole)];
        size_t pieces_n = 0;

        for (size_t i = 0; i < sizeof(in); i++) {
            in[i] = sl_rng_below(&rng, 3) == 0 ? (char)sl_rng_next(&rng)
                                               : likely[sl_rng_below(&rng, sizeof(likely) - 1)];
        }
        struct sl_slice rest = {in, sizeof(in)};
        size_t n = sl_json_escape(rest, whole, sizeof(whole));
        while (rest.len > 0) {
            size_t room = SL_ESCAPE_MAX_BYTES + sl_rng_below(&rng, 5);
            size_t before = rest.len;

            pieces_n += sl_json_escape_some(&rest, pieces + pieces_n, room);
            check(rest.len < before, "round %d: no progress with %zu bytes of room", round, room);
        }
        check(pieces_n == n && memcmp(pieces, whole, n) == 0, "round %d: pieces differ", round);
        for (size_t i = 0; i < n; i++) {
            unsigned char c = (unsigned char)whole[i];

            check(c >= 0x20 && c != 0x7f, "round %d: raw control %u", round, c);
            if (c == '\\') {
                check(i + 1 < n && strchr("\"\\bfnrtu", whole[i + 1]) != NULL, "round %d", round);
                i++;
            } else {
                check(c != '"', "round %d: raw quote", round);
            }
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(text_is_escaped_as_rfc_8259_wants_and_utf8_repaired),
        cmocka_unit_test(too_small_a_buffer_cuts_between_characters_and_is_never_overrun),
        cmocka_unit_test(random_bytes_come_out_harmless_and_any_cut_gives_the_same),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
