/* SPDX-License-Identifier: Apache-2.0 */
#include <sluiced/defs.h>

#include "proxy/admin/query.h"
#include "tests/unit/check.h"

#include <string.h>

static void values_are_found_and_decoded(void **state)
{
    static const struct {
        const char *query;
        const char *value; /* of a; NULL: none */
    } rows[] = {
        {"a=b", "b"},
        {"x=1&a=b&y=2", "b"},
        {"aa=x&a=b", "b"},
        {"a=%5b::1%5D:80", "[::1]:80"},
        {"a=1&a=2", "1"},
        {"", NULL},
        {"a", NULL},
        {"a=", NULL},
        {"a=%", NULL},
        {"a=%2", NULL},
        {"a=%2g", NULL},
        {"a=x%00y", NULL},
        {"b=a=c", NULL},
        {"a=12345678", NULL},
        {"a=1234567", "1234567"},
        {"&&a=%41", "A"},
    };
    char buf[16];
    (void)state;

    for (size_t i = 0; i < SL_ARRAY_LEN(rows); i++) {
        size_t size = strstr(rows[i].query, "1234567") != NULL ? 8 : sizeof(buf);
        bool found = sl_query_get(sl_slice_of(rows[i].query), "a", buf, size);

        check(found == (rows[i].value != NULL), "%s", rows[i].query);
        check(!found || strcmp(buf, rows[i].value) == 0, "%s: %s", rows[i].query, buf);
    }
}

static void what_is_appended_is_found_again(void **state)
{
    static const char value[] = "unix:/run/a b&c=%\xc3\xbc";
    char buf[64] = "a=";
    char back[64];
    (void)state;

    assert_true(sl_query_append(buf, sizeof(buf), value));
    assert_string_equal(buf, "a=unix:%2Frun%2Fa%20b%26c%3D%25%C3%BC");
    assert_true(sl_query_get(sl_slice_of(buf), "a", back, sizeof(back)));
    assert_string_equal(back, value);
    assert_false(sl_query_append(buf, 40, value));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(values_are_found_and_decoded),
        cmocka_unit_test(what_is_appended_is_found_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
