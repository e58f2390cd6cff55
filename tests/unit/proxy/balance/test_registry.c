/* SPDX-License-Identifier: Apache-2.0 */
#include <sluiced/balancer.h>

#include "tests/unit/check.h"

#include <string.h>

static void each_policy_is_found_by_its_own_name(void **state)
{
    static const char *const names[] = {"least_request", "maglev",    "peak_ewma",
                                        "random",        "ring_hash", "round_robin"};
    (void)state;

    for (size_t i = 0; i < SL_ARRAY_LEN(names); i++) {
        const struct sl_balancer_ops *ops = NULL;
        struct sl_error err = {0};
        int rc = sl_balancer_get(names[i], NULL, &ops, &err);
        check(rc == SL_OK, "%s: %d, %s", names[i], rc, err.message);
        assert_string_equal(ops->name, names[i]);
    }
}

static void an_unknown_name_is_answered_with_the_names_there_are(void **state)
{
    const struct sl_pos pos = {"a.yaml", "pools.x.balance", 3, 9};
    const struct sl_balancer_ops *ops = NULL;
    struct sl_error err = {0};
    (void)state;

    assert_int_equal(sl_balancer_get("fastest", &pos, &ops, &err), SL_ECONFIG);
    assert_null(ops);
    assert_string_equal(err.message,
                        "expected one of: least_request maglev peak_ewma random ring_hash "
                        "round_robin; found \"fastest\"");
    assert_int_equal(err.line, 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_policy_is_found_by_its_own_name),
        cmocka_unit_test(an_unknown_name_is_answered_with_the_names_there_are),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
