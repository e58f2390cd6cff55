/* SPDX-License-Identifier: Apache-2.0 */
#include "proxy/upstream/idle_limit.h"
#include "tests/unit/check.h"

enum {
    WANTED_MS = 60000,
    START_MS = 1000000
};

static void two_closes_of_equal_age_some_time_apart_are_a_limit(void **state)
{
    struct sl_endpoint ep = {.id = 1};
    (void)state;

    assert_int_equal(sl_idle_limit_apply(&ep, WANTED_MS, START_MS), WANTED_MS);
    sl_idle_limit_on_closed(&ep, 5010, START_MS);
    assert_int_equal(sl_idle_limit_learned(&ep, START_MS), 0);
    sl_idle_limit_on_closed(&ep, 5000, START_MS + 6000);
    assert_int_equal(sl_idle_limit_learned(&ep, START_MS + 6000), 5001);
    assert_int_equal(sl_idle_limit_apply(&ep, WANTED_MS, START_MS + 6000), 4001);
    assert_int_equal(sl_idle_limit_apply(&ep, 3000, START_MS + 6000),
                     3000); /* what is less stays */
}

static void a_restart_that_ends_many_at_once_is_none(void **state)
{
    struct sl_endpoint ep = {.id = 1};
    (void)state;

    for (int i = 0; i < 100; i++) {
        sl_idle_limit_on_closed(&ep, 700 + (unsigned)i % 5, START_MS + (unsigned)i);
    }
    assert_int_equal(sl_idle_limit_learned(&ep, START_MS + 100), 0);
    sl_idle_limit_on_closed(&ep, 30000, START_MS + 40000); /* another restart, another age */
    assert_int_equal(sl_idle_limit_learned(&ep, START_MS + 40000), 0);
}

static void what_was_learned_is_forgotten_and_learned_again(void **state)
{
    struct sl_endpoint ep = {.id = 1};
    uint64_t now_ms = START_MS;
    (void)state;

    sl_idle_limit_on_closed(&ep, 2000, now_ms);
    sl_idle_limit_on_closed(&ep, 2000, now_ms += 5000);
    assert_int_equal(sl_idle_limit_learned(&ep, now_ms + SL_IDLE_LIMIT_FORGET_MS - 1), 2001);
    assert_int_equal(sl_idle_limit_learned(&ep, now_ms + SL_IDLE_LIMIT_FORGET_MS), 0);
    now_ms += SL_IDLE_LIMIT_FORGET_MS;
    sl_idle_limit_on_closed(&ep, 9000, now_ms += 9000);
    sl_idle_limit_on_closed(&ep, 9100, now_ms += 9100);
    assert_int_equal(sl_idle_limit_learned(&ep, now_ms), 9001);
}

static void an_endpoint_that_closes_at_once_gets_no_kept_connection(void **state)
{
    struct sl_endpoint ep = {.id = 1};
    (void)state;

    sl_idle_limit_on_closed(&ep, 0, START_MS);
    sl_idle_limit_on_closed(&ep, 1, START_MS + 2000);
    assert_int_equal(sl_idle_limit_learned(&ep, START_MS + 2000), 1);
    assert_int_equal(sl_idle_limit_apply(&ep, WANTED_MS, START_MS + 2000), 0);
    assert_int_equal(sl_idle_limit_below(20), 16);
    assert_int_equal(sl_idle_limit_below(19), 16);
    assert_int_equal(sl_idle_limit_below(18), 0);
    assert_int_equal(sl_idle_limit_below(0), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(two_closes_of_equal_age_some_time_apart_are_a_limit),
        cmocka_unit_test(a_restart_that_ends_many_at_once_is_none),
        cmocka_unit_test(what_was_learned_is_forgotten_and_learned_again),
        cmocka_unit_test(an_endpoint_that_closes_at_once_gets_no_kept_connection),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
