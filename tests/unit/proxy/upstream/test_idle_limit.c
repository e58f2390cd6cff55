/* SPDX-License-Identifier: Apache-2.0 */
#include "proxy/upstream/idle_limit.h"
#include "tests/unit/check.h"

enum {
    WANTED_MS = 60000,
    START_MS = 1000000
};

static void three_closes_of_equal_age_some_time_apart_are_a_limit(void **state)
{
    struct sl_endpoint ep = {.id = 1};
    (void)state;

    assert_int_equal(sl_idle_limit_apply(&ep, WANTED_MS, START_MS), WANTED_MS);
    sl_idle_limit_on_closed(&ep, 5010, START_MS);
    sl_idle_limit_on_closed(&ep, 5000, START_MS + 6000);
    assert_int_equal(sl_idle_limit_learned(&ep, START_MS + 6000), 0);
    sl_idle_limit_on_closed(&ep, 5020, START_MS + 12000);
    assert_int_equal(sl_idle_limit_learned(&ep, START_MS + 12000), 5000);
    assert_int_equal(sl_idle_limit_apply(&ep, WANTED_MS, START_MS + 12000), 4000);
    assert_int_equal(sl_idle_limit_apply(&ep, 3000, START_MS + 12000),
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
    sl_idle_limit_on_closed(&ep, 700, START_MS + 80000);
    assert_int_equal(sl_idle_limit_learned(&ep, START_MS + 80000), 0);
}

static void what_was_learned_is_forgotten_and_learned_again(void **state)
{
    struct sl_endpoint ep = {.id = 1};
    uint64_t now_ms = START_MS;
    (void)state;

    for (int i = 0; i < 3; i++) {
        sl_idle_limit_on_closed(&ep, 2000, now_ms += 5000);
    }
    assert_int_equal(sl_idle_limit_learned(&ep, now_ms + SL_IDLE_LIMIT_FORGET_MS - 1), 2000);
    assert_int_equal(sl_idle_limit_learned(&ep, now_ms + SL_IDLE_LIMIT_FORGET_MS), 0);
    now_ms += SL_IDLE_LIMIT_FORGET_MS;
    sl_idle_limit_on_closed(&ep, 2000, now_ms); /* one, long after, proves as little as the first */
    assert_int_equal(sl_idle_limit_learned(&ep, now_ms), 0);
    for (int i = 0; i < 3; i++) {
        sl_idle_limit_on_closed(&ep, 9000, now_ms += 9000);
    }
    assert_int_equal(sl_idle_limit_learned(&ep, now_ms), 9000);
}

static void connections_that_were_hardly_idle_teach_nothing(void **state)
{
    struct sl_endpoint ep = {.id = 1};
    (void)state;

    for (unsigned i = 0; i < 100; i++) {
        sl_idle_limit_on_closed(&ep, i % 2, START_MS + i * 2000);
        sl_idle_limit_on_closed(&ep, SL_IDLE_LIMIT_LEAST_MS - 1, START_MS + i * 2000 + 1000);
    }
    assert_int_equal(sl_idle_limit_apply(&ep, WANTED_MS, START_MS + 300000), WANTED_MS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(three_closes_of_equal_age_some_time_apart_are_a_limit),
        cmocka_unit_test(a_restart_that_ends_many_at_once_is_none),
        cmocka_unit_test(what_was_learned_is_forgotten_and_learned_again),
        cmocka_unit_test(connections_that_were_hardly_idle_teach_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
