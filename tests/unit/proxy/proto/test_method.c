/* SPDX-License-Identifier: Apache-2.0 */
#include <sluiced/defs.h>

#include "proxy/proto/method.h"
#include "tests/unit/check.h"

static void each_method_has_its_name_and_its_promises(void **state)
{
    static const struct {
        const char *name;
        enum sl_method method;
        bool safe;
        bool idempotent;
    } rows[] = {
        {"GET", SL_METHOD_GET, true, true},         {"HEAD", SL_METHOD_HEAD, true, true},
        {"POST", SL_METHOD_POST, false, false},     {"PUT", SL_METHOD_PUT, false, true},
        {"DELETE", SL_METHOD_DELETE, false, true},  {"CONNECT", SL_METHOD_CONNECT, false, false},
        {"OPTIONS", SL_METHOD_OPTIONS, true, true}, {"TRACE", SL_METHOD_TRACE, true, true},
        {"PATCH", SL_METHOD_PATCH, false, false},
    };
    (void)state;

    for (size_t i = 0; i < SL_ARRAY_LEN(rows); i++) {
        enum sl_method m = sl_method_of(sl_slice_of(rows[i].name));
        check(m == rows[i].method, "%s: %d", rows[i].name, (int)m);
        check(sl_slice_eq(sl_method_name(m), sl_slice_of(rows[i].name)), "%s", rows[i].name);
        check(sl_method_safe(m) == rows[i].safe, "%s: safe", rows[i].name);
        check(sl_method_idempotent(m) == rows[i].idempotent, "%s: idempotent", rows[i].name);
    }
}

static void any_other_token_promises_nothing(void **state)
{
    static const char *const names[] = {"", "get", "GE", "GETT", "PURGE", "POSX", "M-SEARCH"};
    (void)state;

    for (size_t i = 0; i < SL_ARRAY_LEN(names); i++) {
        enum sl_method m = sl_method_of(sl_slice_of(names[i]));
        check(m == SL_METHOD_OTHER, "%s: %d", names[i], (int)m);
    }
    assert_false(sl_method_safe(SL_METHOD_OTHER));
    assert_false(sl_method_idempotent(SL_METHOD_OTHER));
    assert_int_equal(sl_method_name(SL_METHOD_OTHER).len, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_method_has_its_name_and_its_promises),
        cmocka_unit_test(any_other_token_promises_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
