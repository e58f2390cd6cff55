/* SPDX-License-Identifier: Apache-2.0 */
#include <sluiced/defs.h>
#include <sluiced/err.h>

#include "proxy/proto/field.h"
#include "tests/unit/check.h"

#include <stdio.h>
#include <string.h>

static void the_token_table_is_that_of_the_rfc(void **state)
{
    (void)state;

    for (int c = 0; c < 256; c++) {
        bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
        bool digit = c >= '0' && c <= '9';
        bool mark = c != 0 && strchr("!#$%&'*+-.^_`|~", c) != NULL;
        int want = c >= 'A' && c <= 'Z' ? c + 32 : letter || digit || mark ? c : 0;

        check(sl_token_lower[c] == want, "byte %d: %d, expected %d", c, sl_token_lower[c], want);
    }
}

static void a_list_gives_its_elements_trimmed(void **state)
{
    static const struct {
        const char *list;
        const char *elements; /* each in brackets */
    } rows[] = {
        {"", ""},
        {"a", "[a]"},
        {" a ,\tb\t", "[a][b]"},
        {"a,,b", "[a][][b]"},
        {",", "[]"},
        {"a=\"x,y\", b", "[a=\"x,y\"][b]"},
        {"\"a\\\",b\",c", "[\"a\\\",b\"][c]"},
        {"\"open, b", "[\"open, b]"},
    };
    (void)state;

    for (size_t i = 0; i < SL_ARRAY_LEN(rows); i++) {
        char got[128] = "";
        size_t len = 0;
        struct sl_slice rest = sl_slice_of(rows[i].list);
        struct sl_slice element;

        while (sl_field_next(&rest, &element)) {
            len += (size_t)snprintf(got + len, sizeof(got) - len, "[" SL_SLICE_FMT "]",
                                    SL_SLICE_ARG(element));
        }
        check(strcmp(got, rows[i].elements) == 0, "\"%s\": %s, expected %s", rows[i].list, got,
              rows[i].elements);
    }
}

static void a_token_is_found_whole_and_in_any_case(void **state)
{
    (void)state;

    assert_true(sl_field_has_token(SL_SLICE("Keep-Alive, Upgrade"), SL_SLICE("upgrade")));
    assert_false(sl_field_has_token(SL_SLICE("upgraded"), SL_SLICE("upgrade")));
    assert_false(sl_field_has_token(SL_SLICE("xupgrade"), SL_SLICE("upgrade")));
    assert_false(sl_field_has_token(SL_SLICE(""), SL_SLICE("upgrade")));
    assert_true(sl_field_is_token(SL_SLICE("a-b.c")));
    assert_false(sl_field_is_token(SL_SLICE("")));
    assert_false(sl_field_is_token(SL_SLICE("a b")));
}

static void a_media_type_matches_whatever_its_parameters(void **state)
{
    static const struct {
        const char *value;
        bool is;
    } rows[] = {
        {"text/event-stream", true},
        {"Text/Event-Stream; charset=utf-8", true},
        {"text/event-stream ;x=y", true},
        {"text/event-streams", false},
        {"text/event", false},
        {"", false},
        {"application/json, text/event-stream", false},
    };
    (void)state;

    for (size_t i = 0; i < SL_ARRAY_LEN(rows); i++) {
        bool is = sl_field_is_media_type(sl_slice_of(rows[i].value), SL_SLICE("text/event-stream"));
        check(is == rows[i].is, "\"%s\": %d", rows[i].value, is);
    }
}

static void a_delay_is_digits_capped(void **state)
{
    static const struct {
        const char *value;
        int rc;
        uint32_t s;
    } rows[] = {
        {"0", SL_OK, 0},
        {"7", SL_OK, 7},
        {"300", SL_OK, 300},
        {"301", SL_OK, 300},
        {"99999999999999999999999999", SL_OK, 300},
        {"", SL_EPROTO, 42},
        {"-1", SL_EPROTO, 42},
        {"1.5", SL_EPROTO, 42},
        {"1 ", SL_EPROTO, 42},
        {"Fri, 31 Dec 1999 23:59:59 GMT", SL_EPROTO, 42},
    };
    (void)state;

    for (size_t i = 0; i < SL_ARRAY_LEN(rows); i++) {
        uint32_t s = 42;
        int rc = sl_field_parse_delay(sl_slice_of(rows[i].value), 300, &s);
        check(rc == rows[i].rc && s == rows[i].s, "\"%s\": %d, %u", rows[i].value, rc, s);
    }
}

static void a_keep_alive_field_tells_its_timeout(void **state)
{
    static const struct {
        const char *value;
        int rc;
        uint32_t s;
    } rows[] = {
        {"timeout=5", SL_OK, 5},          {"max=100, Timeout=5", SL_OK, 5},
        {"timeout=0", SL_OK, 0},          {"timeout=99999999999", SL_OK, 86400},
        {"timeout=", SL_EPROTO, 42},      {"timeout", SL_EPROTO, 42},
        {"timeout=5s", SL_EPROTO, 42},    {"timeout=-1", SL_EPROTO, 42},
        {"max=100", SL_EPROTO, 42},       {"xtimeout=5", SL_EPROTO, 42},
        {"\"timeout=5\"", SL_EPROTO, 42}, {"", SL_EPROTO, 42},
    };
    (void)state;

    for (size_t i = 0; i < SL_ARRAY_LEN(rows); i++) {
        uint32_t s = 42;
        int rc = sl_field_parse_keep_alive(sl_slice_of(rows[i].value), &s);
        check(rc == rows[i].rc && s == rows[i].s, "\"%s\": %d, %u", rows[i].value, rc, s);
    }
}

static void a_count_is_capped_where_it_would_wrap(void **state)
{
    uint32_t n = 42;
    (void)state;

    assert_int_equal(sl_field_parse_count(SL_SLICE("4294967295"), UINT32_MAX, &n), SL_OK);
    assert_true(n == UINT32_MAX);
    assert_int_equal(sl_field_parse_count(SL_SLICE("18446744073709551616"), UINT32_MAX, &n), SL_OK);
    assert_true(n == UINT32_MAX);
    assert_int_equal(sl_field_parse_count(SL_SLICE("007"), UINT32_MAX, &n), SL_OK);
    assert_int_equal(n, 7);
    assert_int_equal(sl_field_parse_count(SL_SLICE("+7"), UINT32_MAX, &n), SL_EPROTO);
    assert_int_equal(n, 7);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_token_table_is_that_of_the_rfc),
        cmocka_unit_test(a_list_gives_its_elements_trimmed),
        cmocka_unit_test(a_token_is_found_whole_and_in_any_case),
        cmocka_unit_test(a_media_type_matches_whatever_its_parameters),
        cmocka_unit_test(a_delay_is_digits_capped),
        cmocka_unit_test(a_keep_alive_field_tells_its_timeout),
        cmocka_unit_test(a_count_is_capped_where_it_would_wrap),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
