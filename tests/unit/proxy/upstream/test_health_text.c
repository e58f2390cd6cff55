/* SPDX-License-Identifier: Apache-2.0 */
#include <sluiced/defs.h>

#include "proxy/base/rng.h"
#include "proxy/upstream/health_text.h"
#include "tests/unit/check.h"

#include <stdio.h>
#include <string.h>

/* Whether it is found, fed in pieces of n. */
static bool finds(const char *text, const char *in, size_t n)
{
    struct sl_health_text t;
    size_t matched_n = 0;
    bool found = false;

    sl_health_text_init(&t, text);
    for (size_t at = 0; at < strlen(in); at += n) {
        size_t left = strlen(in) - at;
        found = sl_health_text_find(&t, &matched_n, in + at, left < n ? left : n);
    }
    return found;
}

static void a_text_is_found_whatever_the_pieces(void **state)
{
    static const struct {
        const char *text;
        const char *in;
        bool found;
    } rows[] = {
        {"ok", "ok", true},         {"ok", "ook", true},
        {"ok", "o k", false},       {"ok", "oK", false},
        {"aab", "aaaab", true},     {"abab", "ababa", true},
        {"ababc", "abababc", true}, {"abcabd", "abcabcabd", true},
        {"aaa", "aabaab", false},   {"\"ready\":true", "{\"a\":1,\"ready\":\"ready\":true}", true},
    };
    (void)state;

    for (size_t i = 0; i < SL_ARRAY_LEN(rows); i++) {
        for (size_t n = 1; n <= strlen(rows[i].in); n++) {
            check(finds(rows[i].text, rows[i].in, n) == rows[i].found, "%s in %s, %zu at a time",
                  rows[i].text, rows[i].in, n);
        }
    }
}

/* Two letters make the worst borders. */
static void it_agrees_with_strstr(void **state)
{
    struct sl_rng rng = {.state = 7};
    (void)state;

    for (int i = 0; i < 20000; i++) {
        char text[8] = "";
        char in[40] = "";
        size_t text_len = 1 + sl_rng_below(&rng, sizeof(text) - 1);
        size_t in_len = 1 + sl_rng_below(&rng, sizeof(in) - 1);

        for (size_t k = 0; k < text_len; k++) {
            text[k] = (char)('a' + sl_rng_below(&rng, 2));
        }
        for (size_t k = 0; k < in_len; k++) {
            in[k] = (char)('a' + sl_rng_below(&rng, 2));
        }
        check(finds(text, in, 1 + sl_rng_below(&rng, 5)) == (strstr(in, text) != NULL), "%s in %s",
              text, in);
    }
}

static void nothing_to_look_for_is_found_at_once(void **state)
{
    struct sl_health_text t;
    size_t matched_n = 0;
    (void)state;

    sl_health_text_init(&t, NULL);
    assert_true(sl_health_text_find(&t, &matched_n, "x", 1));
    assert_int_equal(t.len, 0);
}

static void the_longest_text_is_found(void **state)
{
    char text[SL_HEALTH_TEXT_MAX_BYTES + 1] = "";
    char in[2 * SL_HEALTH_TEXT_MAX_BYTES] = "";
    (void)state;

    memset(text, 'a', SL_HEALTH_TEXT_MAX_BYTES);
    memset(in, 'a', SL_HEALTH_TEXT_MAX_BYTES - 1);
    assert_false(finds(text, in, 100));
    in[SL_HEALTH_TEXT_MAX_BYTES - 1] = 'b';
    memset(in + SL_HEALTH_TEXT_MAX_BYTES, 'a', SL_HEALTH_TEXT_MAX_BYTES - 1);
    assert_false(finds(text, in, 100));
    in[SL_HEALTH_TEXT_MAX_BYTES - 1] = 'a';
    assert_true(finds(text, in, 100));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_text_is_found_whatever_the_pieces),
        cmocka_unit_test(it_agrees_with_strstr),
        cmocka_unit_test(nothing_to_look_for_is_found_at_once),
        cmocka_unit_test(the_longest_text_is_found),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
