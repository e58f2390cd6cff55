/* SPDX-License-Identifier: Apache-2.0 */
#include "crowd.h"

#include "proxy/balance/policies.h"
#include "tests/unit/check.h"

enum {
    MEMBERS_N = 16,
    HOT_KEY = 12345,
    KEYS_N = 40000
};

static const struct sl_balancer_ops *const keyed[] = {&sl_ring_hash_ops, &sl_maglev_ops};

#define FOR_EVERY(ops)         \
    for (size_t every_idx = 0; \
         every_idx < SL_ARRAY_LEN(keyed) && (ops = keyed[every_idx]) != NULL; every_idx++)

static uint64_t nth_key(uint64_t i)
{
    return (i + 1) * 0x9e3779b97f4a7c15U;
}

/* Gives every member so many requests, and has the balancer see them. */
static void load_all(struct crowd *c, uint32_t in_flight_n)
{
    for (size_t i = 0; i < c->set.members_n; i++) {
        c->endpoints[i].in_flight_n = in_flight_n;
    }
    for (uint64_t i = 0; i < c->set.members_n; i++) {
        (void)crowd_pick_key(c, nth_key(i));
    }
}

static uint32_t ceiling(double x)
{
    uint32_t whole = (uint32_t)x;

    return whole + (x > whole);
}

static void one_hot_key_fills_nobody_beyond_the_bound(void **state)
{
    static const uint16_t weights[MEMBERS_N] = {1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 4, 4, 4, 4};
    static const uint16_t *const all[] = {NULL, weights};
    const struct sl_balancer_ops *ops;
    (void)state;

    FOR_EVERY(ops)
    {
        for (size_t w = 0; w < SL_ARRAY_LEN(all); w++) {
            struct crowd c;

            crowd_init(&c, ops, MEMBERS_N, all[w], NULL);
            for (uint32_t n = 1; n <= 2000; n++) {
                int idx = crowd_pick_key(&c, HOT_KEY);
                uint32_t now_n = ++c.endpoints[idx].in_flight_n;
                double share = all[w] != NULL ? weights[idx] / 40.0 : 1.0 / MEMBERS_N;
                /* The worker's sum is a few picks old. */
                uint32_t bound_n = ceiling(1.25 * (n + 4) * share);
                check(now_n <= bound_n, "%s: %u of %u at %d, over %u", ops->name, now_n, n, idx,
                      bound_n);
            }
            crowd_fini(&c);
        }
    }
}

static void a_key_stays_at_home_while_that_is_within_the_bound(void **state)
{
    const struct sl_balancer_ops *ops;
    (void)state;

    FOR_EVERY(ops)
    {
        struct crowd c;

        crowd_init(&c, ops, MEMBERS_N, NULL, NULL);
        int home = crowd_pick_key(&c, HOT_KEY);
        load_all(&c, 100);
        for (uint32_t n = 0; n < 200; n++) {
            c.endpoints[home].in_flight_n = n;
            int idx = crowd_pick_key(&c, HOT_KEY);
            /* in flight < 1.25 * (15 * 100 + n + 1) / 16 */
            double bound = 1.25 * (1500 + n + 1) / MEMBERS_N;
            check((n < bound) == (idx == home), "%s: %u in flight at home, went to %d", ops->name,
                  n, idx);
        }
        crowd_fini(&c);
    }
}

/* The keys of out go to all others, which get from least to most times the mean of them; they go
 * there again, and no other key moves. */
static void check_spread(struct crowd *c, const int *homes, int out, double least, double most)
{
    uint32_t got_n[MEMBERS_N] = {0};
    uint32_t moved_n = 0;

    for (uint64_t i = 0; i < KEYS_N; i++) {
        int idx = crowd_pick_key(c, nth_key(i));
        check(homes[i] == out ? idx != out : idx == homes[i], "%s: key %ju of %d went to %d",
              c->ops->name, (uintmax_t)i, homes[i], idx);
        assert_int_equal(crowd_pick_key(c, nth_key(i)), idx);
        moved_n += homes[i] == out;
        got_n[idx] += homes[i] == out;
    }
    for (int i = 0; i < MEMBERS_N; i++) {
        double share = got_n[i] * (MEMBERS_N - 1.0) / moved_n;
        check(i == out || (share > least && share < most), "%s: %d got %u of %u", c->ops->name, i,
              got_n[i], moved_n);
    }
}

static void displaced_keys_spread_over_all_others(void **state)
{
    static int homes[KEYS_N];
    const struct sl_balancer_ops *ops;
    (void)state;

    FOR_EVERY(ops)
    {
        struct crowd c;

        crowd_init(&c, ops, MEMBERS_N, NULL, NULL);
        load_all(&c, 50);
        for (uint64_t i = 0; i < KEYS_N; i++) {
            homes[i] = crowd_pick_key(&c, nth_key(i));
        }
        c.endpoints[5].in_flight_n = 100;
        check_spread(&c, homes, 5, 0.7, 1.4);
        c.endpoints[5].in_flight_n = 50;
        c.endpoints[5].health = SL_HEALTH_DOWN;
        /* On a ring to whom 160 points stand before, which is ten each, and of any length. */
        bool jumps = ops == &sl_maglev_ops;
        check_spread(&c, homes, 5, jumps ? 0.7 : 0.1, jumps ? 1.4 : 3);
        crowd_fini(&c);
    }
}

static void a_retry_goes_elsewhere_and_the_next_request_home(void **state)
{
    const struct sl_balancer_ops *ops;
    (void)state;

    FOR_EVERY(ops)
    {
        struct crowd c;
        struct sl_pick again = crowd_pick;

        crowd_init(&c, ops, MEMBERS_N, NULL, NULL);
        int home = crowd_pick_key(&c, HOT_KEY);
        const struct sl_endpoint *tried[] = {&c.endpoints[home]};
        again.key_hash = HOT_KEY;
        again.tried = tried;
        again.tried_n = 1;
        int other = crowd_pick_idx(&c, &again);
        assert_int_not_equal(other, home);
        assert_int_equal(crowd_pick_idx(&c, &again), other);
        assert_int_equal(crowd_pick_key(&c, HOT_KEY), home);
        crowd_fini(&c);
    }
}

static void without_a_bound_a_key_never_leaves(void **state)
{
    static const struct sl_pool_config conf = {.balance_bound_pct = 0};
    const struct sl_balancer_ops *ops;
    (void)state;

    FOR_EVERY(ops)
    {
        struct crowd c;

        crowd_init(&c, ops, MEMBERS_N, NULL, &conf);
        int home = crowd_pick_key(&c, HOT_KEY);
        for (int n = 0; n < 1000; n++) {
            assert_int_equal(crowd_pick_key(&c, HOT_KEY), home);
            c.endpoints[home].in_flight_n++;
        }
        crowd_fini(&c);
    }
}

/* What hangs at endpoints that are out must not widen the bound of those that are in. */
static void the_load_of_who_is_out_does_not_count(void **state)
{
    const struct sl_balancer_ops *ops;
    (void)state;

    FOR_EVERY(ops)
    {
        struct crowd c;

        crowd_init(&c, ops, MEMBERS_N, NULL, NULL);
        int home = crowd_pick_key(&c, HOT_KEY);
        load_all(&c, 4);
        int out = (home + 1) % MEMBERS_N;
        c.endpoints[out].in_flight_n = 100000;
        c.endpoints[out].health = SL_HEALTH_DOWN;
        for (uint64_t i = 0; i < MEMBERS_N; i++) {
            (void)crowd_pick_key(&c, nth_key(i));
        }
        c.endpoints[home].in_flight_n = 6; /* 5.3 are its bound */
        assert_int_not_equal(crowd_pick_key(&c, HOT_KEY), home);
        c.endpoints[home].in_flight_n = 4;
        assert_int_equal(crowd_pick_key(&c, HOT_KEY), home);
        crowd_fini(&c);
    }
}

/* Three that have what they should, and one that came just now and has its tenth. */
static void who_starts_slowly_does_not_make_the_others_seem_busy(void **state)
{
    enum {
        OLD_N = 3
    };
    const struct sl_balancer_ops *ops;
    (void)state;

    FOR_EVERY(ops)
    {
        struct sl_pick ctx = crowd_pick;
        uint32_t of_new_n = 0;
        struct crowd c;

        crowd_init(&c, ops, OLD_N + 1, NULL, NULL);
        c.set.slow_start =
            (struct sl_slow_start_config){.window_ms = 10000, .aggression_milli = 1000};
        c.endpoints[OLD_N].came_at_ms = CROWD_NOW_MS;
        for (uint64_t i = 0; i < 1000; i++) {
            int home;
            ctx.key_hash = nth_key(i);
            ctx.settled_ms = 0;
            for (size_t e = 0; e <= OLD_N; e++) {
                c.endpoints[e].in_flight_n = 0;
            }
            home = crowd_pick_idx(&c, &ctx);
            for (size_t e = 0; e < OLD_N; e++) {
                c.endpoints[e].in_flight_n = 100;
            }
            c.endpoints[OLD_N].in_flight_n = 10;
            (void)crowd_pick_idx(&c, &ctx); /* sees them */
            check(crowd_pick_idx(&c, &ctx) == home, "%s: key %ju left %d", ops->name, (uintmax_t)i,
                  home);
            if (home == OLD_N) {
                of_new_n++;
                c.endpoints[OLD_N].in_flight_n = 13; /* 12.6 is its bound: it is 125 for others */
                assert_int_not_equal(crowd_pick_idx(&c, &ctx), home);
                c.endpoints[OLD_N].in_flight_n = 10;
            }
            ctx.settled_ms = 1000; /* a pick that the new one is not to have */
            int idx = crowd_pick_idx(&c, &ctx);
            check(home < OLD_N ? idx == home : idx < OLD_N, "%s: key %ju of %d went to %d",
                  ops->name, (uintmax_t)i, home, idx);
        }
        assert_true(of_new_n > 150);
        crowd_fini(&c);
    }
}

static void a_request_without_a_key_goes_to_the_less_busy(void **state)
{
    const struct sl_balancer_ops *ops;
    (void)state;

    FOR_EVERY(ops)
    {
        struct crowd c;

        crowd_init(&c, ops, 2, NULL, NULL);
        c.endpoints[0].in_flight_n = 1;
        for (int i = 0; i < 100; i++) {
            assert_int_equal(crowd_pick_key(&c, 0), 1);
        }
        crowd_fini(&c);
    }
}

/* What a worker knows of the load is old, so nobody seems to be within the bound: it says whom to
 * prefer, not whom to refuse. */
static void a_sudden_load_leaves_nobody_without_an_endpoint(void **state)
{
    const struct sl_balancer_ops *ops;
    (void)state;

    FOR_EVERY(ops)
    {
        struct crowd c;

        crowd_init(&c, ops, MEMBERS_N, NULL, NULL);
        for (uint32_t round = 0; round < 100; round++) {
            load_all(&c, 0);
            for (size_t i = 0; i < MEMBERS_N; i++) {
                c.endpoints[i].in_flight_n = 1000 + (uint32_t)i;
            }
            assert_int_not_equal(crowd_pick_key(&c, nth_key(round)), -1);
        }
        crowd_fini(&c);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_hot_key_fills_nobody_beyond_the_bound),
        cmocka_unit_test(a_key_stays_at_home_while_that_is_within_the_bound),
        cmocka_unit_test(displaced_keys_spread_over_all_others),
        cmocka_unit_test(a_retry_goes_elsewhere_and_the_next_request_home),
        cmocka_unit_test(without_a_bound_a_key_never_leaves),
        cmocka_unit_test(the_load_of_who_is_out_does_not_count),
        cmocka_unit_test(who_starts_slowly_does_not_make_the_others_seem_busy),
        cmocka_unit_test(a_request_without_a_key_goes_to_the_less_busy),
        cmocka_unit_test(a_sudden_load_leaves_nobody_without_an_endpoint),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
