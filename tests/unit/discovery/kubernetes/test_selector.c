/* SPDX-License-Identifier: Apache-2.0 */
#include <sluiced/discovery.h>

#include "tests/unit/check.h"

#include <string.h>

#define S63 "aaaaaaaaaabbbbbbbbbbccccccccccddddddddddeeeeeeeeeeffffffffffggg"

static const struct sl_pos at = {
    .file = "sluiced.yaml",
    .key = "pools.chat.discover.kubernetes.pods",
    .line = 7,
    .column = 10,
};

static void the_usual_forms_are_selectors(void **state)
{
    static const char *const rows[] = {
        "a=b",
        "a==b",
        "a = b",
        "a=",
        "a!=b",
        "a != b",
        "a in (b,c)",
        "a in (b)",
        "a  in  ( b , c )",
        "a notin (b)",
        "a in (,b)",
        "a in ()",
        "a",
        "!a",
        "! a",
        "a=b,c!=d,e in (f),g notin (h,i),j,!k",
        " a = b , c ",
        "app.kubernetes.io/name=llama-3.1_8b",
        "in in (in)",
        "notin",
        S63 "=" S63,
        "x-y.z9/A=B",
    };
    (void)state;

    for (size_t i = 0; i < SL_ARRAY_LEN(rows); i++) {
        struct sl_error err = {0};
        int rc = sl_selector_check(rows[i], &at, &err);
        check(rc == SL_OK, "\"%s\": %d, %s", rows[i], rc, err.message);
    }
}

static void anything_else_is_refused_at_the_byte_that_is_wrong(void **state)
{
    static const struct {
        const char *text;
        uint32_t byte;
        const char *expected;
    } rows[] = {
        {"", 0, "the key of a label"},
        {" ", 1, "the key of a label"},
        {"=b", 0, "the key of a label"},
        {"a=b,", 4, "the key of a label"},
        {"a,,b", 2, "the key of a label"},
        {"!", 1, "the key of a label"},
        {"!!a", 1, "the key of a label"},
        {"a=b c", 4, "a comma or the end"},
        {"a=b=c", 3, "a comma or the end"},
        {"a===b", 3, "a comma or the end"},
        {"a!b", 2, "'=' after '!'"},
        {"a is b", 2, "=, !=, in, notin"},
        {"a>1", 1, "a comma or the end"},
        {"a in b", 5, "'(' after in"},
        {"a in (b", 7, "',' or ')'"},
        {"a in (b c)", 8, "',' or ')'"},
        {"a in (b))", 8, "a comma or the end"},
        {"-a=b", 0, "a letter or digit"},
        {"a=b-", 3, "a letter or digit"},
        {"a=b/c", 3, "no second '/'"},
        {"a/b/c=d", 3, "no second '/'"},
        {"/b=c", 0, "1 to 253 characters"},
        {"a/=c", 2, "a name after '/'"},
        {"A.b/c=d", 0, "a domain in lower case"},
        {"a..b/c=d", 1, "a domain in lower case"},
        {"a.-b/c=d", 2, "a domain in lower case"},
        {"a=" S63 "x", 2, "at most 63"},
        {S63 "x", 0, "at most 63"},
        {"a=\xc3\xa4", 2, "a comma or the end"},
        {"a=b\n", 3, "a comma or the end"},
    };
    (void)state;

    for (size_t i = 0; i < SL_ARRAY_LEN(rows); i++) {
        struct sl_error err = {0};
        int rc = sl_selector_check(rows[i].text, &at, &err);
        check(rc == SL_ECONFIG, "\"%s\": %d", rows[i].text, rc);
        check(err.column == at.column + rows[i].byte, "\"%s\": column %u, %s", rows[i].text,
              err.column, err.message);
        check(strstr(err.message, rows[i].expected) != NULL, "\"%s\": %s", rows[i].text,
              err.message);
    }
}

static void without_a_position_the_message_still_says_which_byte(void **state)
{
    struct sl_error err = {0};
    (void)state;

    assert_int_equal(sl_selector_check("a in b", NULL, &err), SL_ECONFIG);
    assert_int_equal(err.line, 0);
    assert_non_null(strstr(err.message, "byte 5 "));
    assert_non_null(strstr(err.message, "found \"b\""));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_usual_forms_are_selectors),
        cmocka_unit_test(anything_else_is_refused_at_the_byte_that_is_wrong),
        cmocka_unit_test(without_a_position_the_message_still_says_which_byte),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
