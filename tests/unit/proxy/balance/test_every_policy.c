/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the contract of balancer.h asks of every policy, whatever it prefers.
 */
#include "crowd.h"

#include "proxy/balance/policies.h"
#include "proxy/base/alloc.h"
#include "tests/unit/check.h"

#include <pthread.h>
#include <stdio.h>

static const struct sl_balancer_ops *const every[] = {
    &sl_least_request_ops, &sl_maglev_ops,    &sl_peak_ewma_ops,
    &sl_random_ops,        &sl_ring_hash_ops, &sl_round_robin_ops,
};

#define FOR_EVERY(ops)         \
    for (size_t every_idx = 0; \
         every_idx < SL_ARRAY_LEN(every) && (ops = every[every_idx]) != NULL; every_idx++)

/* With a key or without: i even has none. */
static struct sl_pick nth_pick(uint64_t i)
{
    struct sl_pick ctx = crowd_pick;

    ctx.key_hash = i % 2 * (i * 0x9e3779b97f4a7c15U);
    return ctx;
}

static void who_is_not_allowed_is_not_picked_and_the_last_one_is(void **state)
{
    static const char *const reasons[] = {"probe failed", "ejected", "full",   "draining",
                                          "tried",        "too new", "drained"};
    const struct sl_balancer_ops *ops;
    (void)state;

    FOR_EVERY(ops)
    {
        for (size_t r = 0; r < SL_ARRAY_LEN(reasons); r++) {
            const struct sl_endpoint *tried[8];
            size_t tried_n = 0;
            struct crowd c;

            crowd_init(&c, ops, 8, NULL, NULL);
            for (int out_n = 1; out_n <= 8; out_n++) {
                struct sl_endpoint *out = &c.endpoints[out_n - 1];
                out->health = r == 0 ? SL_HEALTH_DOWN : SL_HEALTH_UP;
                out->ejected_until_ms = CROWD_NOW_MS + (r == 1 ? 1 : 0);
                out->in_flight_max_n = out->in_flight_n = r == 2 ? 1 : 0;
                c.members[out_n - 1].draining = r == 3;
                tried[tried_n] = out;
                tried_n += r == 4;
                out->came_at_ms = r == 5 ? CROWD_NOW_MS - 1 : 0;
                out->drained_by_hand = r == 6;
                for (uint64_t i = 0; i < 1000; i++) {
                    struct sl_pick ctx = nth_pick(i);
                    ctx.tried = tried;
                    ctx.tried_n = tried_n;
                    ctx.settled_ms = r == 5 ? 1000 : 0;
                    int idx = crowd_pick_idx(&c, &ctx);
                    check(out_n < 8 ? idx >= out_n : idx == -1,
                          "%s: %s, the first %d of 8: picked %d", ops->name, reasons[r], out_n,
                          idx);
                }
            }
            crowd_fini(&c);
        }
    }
}

static void the_only_one_left_of_many_is_found(void **state)
{
    enum {
        MEMBERS_N = 300
    };
    const struct sl_balancer_ops *ops;
    (void)state;

    FOR_EVERY(ops)
    {
        struct crowd c;

        crowd_init(&c, ops, MEMBERS_N, NULL, NULL);
        for (int left = 0; left < MEMBERS_N; left += 23) {
            for (int i = 0; i < MEMBERS_N; i++) {
                c.endpoints[i].health = i == left ? SL_HEALTH_UP : SL_HEALTH_DOWN;
            }
            c.endpoints[left].in_flight_n = 1000; /* better than nobody */
            for (uint64_t i = 0; i < 50; i++) {
                struct sl_pick ctx = nth_pick(i);
                int idx = crowd_pick_idx(&c, &ctx);
                check(idx == left, "%s: only %d is left: picked %d", ops->name, left, idx);
            }
        }
        crowd_fini(&c);
    }
}

static void weight_zero_is_never_picked(void **state)
{
    static const uint16_t weights[] = {0, 3, 0, 1, 0};
    static const uint16_t none[] = {0, 0};
    const struct sl_balancer_ops *ops;
    (void)state;

    FOR_EVERY(ops)
    {
        struct crowd c;

        crowd_init(&c, ops, SL_ARRAY_LEN(weights), weights, NULL);
        for (uint64_t i = 0; i < 2000; i++) {
            struct sl_pick ctx = nth_pick(i);
            int idx = crowd_pick_idx(&c, &ctx);
            check(idx == 1 || idx == 3, "%s: picked %d", ops->name, idx);
        }
        c.endpoints[1].health = c.endpoints[3].health = SL_HEALTH_DOWN;
        for (uint64_t i = 0; i < 20; i++) {
            struct sl_pick ctx = nth_pick(i);
            assert_int_equal(crowd_pick_idx(&c, &ctx), -1);
        }
        crowd_fini(&c);
        for (size_t n = 0; n <= SL_ARRAY_LEN(none); n++) {
            crowd_init(&c, ops, n, none, NULL);
            for (uint64_t i = 0; i < 4; i++) {
                struct sl_pick ctx = nth_pick(i);
                assert_int_equal(crowd_pick_idx(&c, &ctx), -1);
            }
            crowd_fini(&c);
        }
    }
}

static void one_endpoint_gets_it_all(void **state)
{
    static const uint16_t weights[] = {1, UINT16_MAX};
    const struct sl_balancer_ops *ops;
    (void)state;

    FOR_EVERY(ops)
    {
        for (size_t w = 0; w < SL_ARRAY_LEN(weights); w++) {
            struct crowd c;

            crowd_init(&c, ops, 1, &weights[w], NULL);
            for (uint64_t i = 0; i < 100; i++) {
                struct sl_pick ctx = nth_pick(i);
                c.endpoints[0].in_flight_n = (uint32_t)i;
                check(crowd_pick_idx(&c, &ctx) == 0, "%s: pick %ju", ops->name, (uintmax_t)i);
            }
            crowd_fini(&c);
        }
    }
}

static void ten_thousand_endpoints_all_get_something(void **state)
{
    enum {
        MEMBERS_N = 10000,
        PICKS_N = 400000
    };
    static uint32_t got_n[MEMBERS_N];
    const struct sl_balancer_ops *ops;
    (void)state;

    FOR_EVERY(ops)
    {
        uint32_t max_n = 0;
        uint32_t none_n = 0;
        struct crowd c;

        crowd_init(&c, ops, MEMBERS_N, NULL, NULL);
        for (size_t i = 0; i < MEMBERS_N; i++) {
            got_n[i] = 0;
        }
        for (uint64_t i = 0; i < PICKS_N; i++) {
            struct sl_pick ctx = crowd_pick;
            ctx.key_hash = (i + 1) * 0x9e3779b97f4a7c15U;
            got_n[crowd_pick_idx(&c, &ctx)]++;
        }
        for (size_t i = 0; i < MEMBERS_N; i++) {
            max_n = got_n[i] > max_n ? got_n[i] : max_n;
            none_n += got_n[i] == 0;
        }
        check(none_n == 0 && max_n < 2 * PICKS_N / MEMBERS_N, "%s: %u got none, one got %u",
              ops->name, none_n, max_n);
        crowd_fini(&c);
    }
}

static int allocs_left_n;

static bool allow_alloc(size_t size_bytes)
{
    (void)size_bytes;
    return allocs_left_n-- > 0;
}

static void build_survives_each_failed_allocation_and_pick_makes_none(void **state)
{
    const struct sl_balancer_ops *ops;
    (void)state;

    FOR_EVERY(ops)
    {
        struct sl_balancer_table *table = NULL;
        struct sl_error err;
        struct crowd c;
        int rc = SL_ENOMEM;

        crowd_init(&c, ops, 8, NULL, NULL);
        sl_alloc_hook = allow_alloc;
        for (int allowed_n = 0; rc != SL_OK; allowed_n++) {
            check(rc == SL_ENOMEM && table == NULL, "%s, %d allowed: %d", ops->name, allowed_n - 1,
                  rc);
            allocs_left_n = allowed_n;
            rc = ops->build(&c.set, NULL, &table, &err);
        }
        ops->table_free(table);
        allocs_left_n = 0;
        for (uint64_t i = 0; i < 100; i++) {
            struct sl_pick ctx = nth_pick(i);
            c.endpoints[i % 8].in_flight_n = (uint32_t)i;
            (void)crowd_pick_idx(&c, &ctx); /* its answer is another test's business */
        }
        check(allocs_left_n == 0, "%s: picks asked for memory %d times", ops->name, -allocs_left_n);
        sl_alloc_hook = NULL;
        crowd_fini(&c);
    }
}

/* A worker thread: its own balancer on the shared table. Returns how often it found nobody. */
static void *work(void *arg)
{
    const struct crowd *shared = arg;
    const struct sl_balancer_ops *ops = shared->ops;
    struct sl_rng rng = {.state = 7};
    struct sl_balancer *b = sl_alloc_aligned(64, shared->table->state_bytes);
    uintptr_t lost_n = 0;

    ops->attach(b, shared->table, &rng);
    for (uint64_t i = 0; i < 10000; i++) {
        struct sl_pick ctx = nth_pick(i);
        struct sl_endpoint *ep = ops->pick(b, &ctx);
        if (ep == NULL) {
            lost_n++;
            continue;
        }
        atomic_fetch_add_explicit(&ep->in_flight_n, 1, memory_order_relaxed);
        if (ops->on_start != NULL) {
            ops->on_start(b, ep, &ctx);
        }
        atomic_fetch_sub_explicit(&ep->in_flight_n, 1, memory_order_relaxed);
        if (ops->on_done != NULL) {
            ops->on_done(b, ep, &(struct sl_outcome){.status = 200, .ttft_us = 1 + i % 100},
                         ctx.now_ms + i / 100);
        }
    }
    sl_free(b);
    return (void *)lost_n; /* a count, dressed as what pthread_join hands over */
}

/* Says most under FLAVOUR=tsan. */
static void workers_share_a_table_while_health_flaps(void **state)
{
    const struct sl_balancer_ops *ops;
    (void)state;

    FOR_EVERY(ops)
    {
        pthread_t threads[3];
        struct crowd c;

        crowd_init(&c, ops, 5, NULL, NULL);
        for (size_t i = 0; i < SL_ARRAY_LEN(threads); i++) {
            assert_int_equal(pthread_create(&threads[i], NULL, work, &c), 0);
        }
        for (int i = 0; i < 20000; i++) { /* 0 to 2 never flap, so nobody may come back empty */
            c.endpoints[3 + i % 2].health = i % 4 < 2 ? SL_HEALTH_DOWN : SL_HEALTH_UP;
        }
        for (size_t i = 0; i < SL_ARRAY_LEN(threads); i++) {
            void *lost;
            assert_int_equal(pthread_join(threads[i], &lost), 0);
            check(lost == NULL, "%s: worker %zu found nobody %ju times", ops->name, i,
                  (uintmax_t)(uintptr_t)lost);
        }
        crowd_fini(&c);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(who_is_not_allowed_is_not_picked_and_the_last_one_is),
        cmocka_unit_test(the_only_one_left_of_many_is_found),
        cmocka_unit_test(weight_zero_is_never_picked),
        cmocka_unit_test(one_endpoint_gets_it_all),
        cmocka_unit_test(ten_thousand_endpoints_all_get_something),
        cmocka_unit_test(build_survives_each_failed_allocation_and_pick_makes_none),
        cmocka_unit_test(workers_share_a_table_while_health_flaps),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
