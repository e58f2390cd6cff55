/* SPDX-License-Identifier: Apache-2.0 */
#include "proxy/balance/policies.h"
#include "proxy/base/alloc.h"
#include "proxy/base/rng.h"
#include "tests/unit/check.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

enum {
    MEMBERS_MAX_N = 128,
    NOW_MS = 1000,
    SEED = 42
};

static const struct sl_pick plain = {.now_ms = NOW_MS, .tier = SL_TIER_READY};

/* One set, its table, and one worker's balancer. */
struct pool {
    struct sl_endpoint endpoints[MEMBERS_MAX_N];
    struct sl_member members[MEMBERS_MAX_N];
    struct sl_endpoint_set set;
    struct sl_balancer_table *table;
    struct sl_balancer *balancer;
    struct sl_rng rng;
};

/* weights: members_n of them; NULL: all 3. */
static void pool_init(struct pool *p, size_t members_n, const uint16_t *weights, uint64_t seed)
{
    struct sl_error err = {0};

    memset(p, 0, sizeof(*p));
    for (size_t i = 0; i < members_n; i++) {
        p->members[i].endpoint = &p->endpoints[i];
        p->members[i].weight = weights != NULL ? weights[i] : 3;
    }
    p->set = (struct sl_endpoint_set){.members = p->members, .members_n = members_n};
    p->rng.state = seed;
    int rc = sl_round_robin_ops.build(&p->set, NULL, &p->table, &err);
    check(rc == SL_OK, "build: %d, %s", rc, err.message);
    p->balancer = sl_alloc(p->table->state_bytes);
    sl_round_robin_ops.attach(p->balancer, p->table, &p->rng);
}

static void pool_fini(struct pool *p)
{
    sl_free(p->balancer);
    sl_round_robin_ops.table_free(p->table);
}

/* The index of the member picked, -1 for none. */
static int pick_idx(struct pool *p, const struct sl_pick *ctx)
{
    const struct sl_endpoint *ep = sl_round_robin_ops.pick(p->balancer, ctx);
    return ep != NULL ? (int)(ep - p->endpoints) : -1;
}

static void shares_are_exact_over_each_cycle_from_any_start(void **state)
{
    static const struct {
        uint16_t weights[6];
        size_t n;
    } rows[] = {
        {{1}, 1},
        {{1, 1, 1}, 3},
        {{5, 1, 1}, 3},
        {{10, 0, 20, 30}, 4}, /* a cycle of 6, which 60 picks go round ten times */
        {{7, 11, 13, 17, 19, 23}, 6},
        {{1000, 1}, 2},
    };
    (void)state;

    for (size_t r = 0; r < SL_ARRAY_LEN(rows); r++) {
        for (uint64_t seed = 0; seed < 20; seed++) {
            int got_n[6] = {0};
            int total = 0;
            struct pool p;

            pool_init(&p, rows[r].n, rows[r].weights, seed);
            for (size_t i = 0; i < rows[r].n; i++) {
                total += rows[r].weights[i];
            }
            for (int i = 0; i < total; i++) {
                got_n[pick_idx(&p, &plain)]++;
            }
            for (size_t i = 0; i < rows[r].n; i++) {
                check(got_n[i] == rows[r].weights[i], "row %zu, seed %ju: weight %d, %d picks", r,
                      (uintmax_t)seed, rows[r].weights[i], got_n[i]);
            }
            pool_fini(&p);
        }
    }
}

static void picks_of_one_member_are_spread_over_the_cycle(void **state)
{
    static const uint16_t weights[] = {40, 20, 20, 10, 5, 5};
    int last[SL_ARRAY_LEN(weights)];
    struct pool p;
    (void)state;

    memset(last, -1, sizeof(last));
    pool_init(&p, SL_ARRAY_LEN(weights), weights, SEED);
    for (int i = 0; i < 1000; i++) {
        int idx = pick_idx(&p, &plain);
        /* A turn has its window of a cycle / weight, so two are never two windows apart. */
        int apart = i - last[idx];
        check(last[idx] < 0 || apart < 2 * 100 / weights[idx], "weight %d waited %d picks",
              weights[idx], apart);
        last[idx] = i;
    }
    pool_fini(&p);
}

static void equal_weights_make_a_plain_ring(void **state)
{
    struct pool p;
    (void)state;

    pool_init(&p, 5, NULL, SEED);
    int before = pick_idx(&p, &plain);
    for (int i = 0; i < 20; i++) {
        int idx = pick_idx(&p, &plain);
        check(idx == (before + 1) % 5, "%d after %d", idx, before);
        before = idx;
    }
    pool_fini(&p);
}

static void workers_start_at_different_places(void **state)
{
    int starts_n[10] = {0};
    int seen_n = 0;
    (void)state;

    for (uint64_t seed = 0; seed < 100; seed++) {
        struct pool p;
        pool_init(&p, 10, NULL, seed);
        int idx = pick_idx(&p, &plain);
        seen_n += starts_n[idx]++ == 0;
        pool_fini(&p);
    }
    check(seen_n == 10, "100 workers start at %d of 10 places only", seen_n);
}

static void who_is_out_leaves_its_turns_to_all_others_by_weight(void **state)
{
    static const uint16_t weights[] = {1, 1, 1, 1, 1, 1, 2, 2};
    int got_n[SL_ARRAY_LEN(weights)] = {0};
    struct pool p;
    (void)state;

    pool_init(&p, SL_ARRAY_LEN(weights), weights, SEED);
    p.endpoints[2].health = SL_HEALTH_DOWN;
    p.endpoints[3].health = SL_HEALTH_DOWN;
    for (int i = 0; i < 80000; i++) {
        got_n[pick_idx(&p, &plain)]++;
    }
    for (size_t i = 0; i < SL_ARRAY_LEN(weights); i++) {
        int want_n = i == 2 || i == 3 ? 0 : 10000 * weights[i];
        /* Chance moves a fifth of the turns; the walk gives one neighbour 1/256 of that more. */
        check(abs(got_n[i] - want_n) <= (want_n > 0 ? 400 : 0), "member %zu: %d picks, not %d", i,
              got_n[i], want_n);
    }
    pool_fini(&p);
}

static void the_only_one_left_is_always_picked(void **state)
{
    struct pool p;
    (void)state;

    pool_init(&p, MEMBERS_MAX_N, NULL, SEED);
    for (int left = 0; left < MEMBERS_MAX_N; left++) {
        for (int i = 0; i < MEMBERS_MAX_N; i++) {
            p.endpoints[i].health = i == left ? SL_HEALTH_UP : SL_HEALTH_DOWN;
        }
        for (int i = 0; i < 50; i++) {
            int idx = pick_idx(&p, &plain);
            check(idx == left, "only %d is left: picked %d", left, idx);
        }
    }
    p.endpoints[MEMBERS_MAX_N - 1].health = SL_HEALTH_DOWN;
    assert_int_equal(pick_idx(&p, &plain), -1);
    pool_fini(&p);
}

static void a_retry_goes_elsewhere_and_finds_nobody_when_all_were_tried(void **state)
{
    struct pool p;
    const struct sl_endpoint *tried[2] = {&p.endpoints[0], &p.endpoints[1]};
    struct sl_pick ctx = plain;
    (void)state;

    pool_init(&p, 2, NULL, SEED);
    ctx.tried = tried;
    ctx.tried_n = 1;
    for (int i = 0; i < 20; i++) {
        assert_int_equal(pick_idx(&p, &ctx), 1);
    }
    ctx.tried_n = 2;
    assert_int_equal(pick_idx(&p, &ctx), -1);
    pool_fini(&p);
}

static void a_set_without_weight_is_no_error_and_gives_nobody(void **state)
{
    static const uint16_t weights[] = {0, 0};
    (void)state;

    for (size_t n = 0; n <= 2; n += 2) {
        struct pool p;
        pool_init(&p, n, weights, SEED);
        assert_int_equal(pick_idx(&p, &plain), -1);
        pool_fini(&p);
    }
}

static void weights_without_a_common_divisor_are_scaled_to_a_bounded_order(void **state)
{
    static const uint16_t weights[] = {65535, 65521, 32771, 1, 65519};
    int got_n[SL_ARRAY_LEN(weights)] = {0};
    double total = 0;
    struct pool p;
    (void)state;

    pool_init(&p, SL_ARRAY_LEN(weights), weights, SEED);
    for (size_t i = 0; i < SL_ARRAY_LEN(weights); i++) {
        total += weights[i];
    }
    for (int i = 0; i < 1000000; i++) {
        got_n[pick_idx(&p, &plain)]++;
    }
    for (size_t i = 0; i < SL_ARRAY_LEN(weights); i++) {
        double want_n = 1e6 * weights[i] / total;
        double off = got_n[i] - want_n;
        check(off < 20 && off > -20 && got_n[i] > 0, "weight %d: %d picks, expected %d", weights[i],
              got_n[i], (int)want_n);
    }
    pool_fini(&p);
}

static int allocs_left_n;

static bool allow_alloc(size_t size_bytes)
{
    (void)size_bytes;
    return allocs_left_n-- > 0;
}

static void build_survives_each_failed_allocation_and_pick_makes_none(void **state)
{
    struct sl_balancer_table *table = NULL;
    struct sl_error err;
    struct pool p;
    int rc = SL_ENOMEM;
    int allowed_n = 0;
    (void)state;

    pool_init(&p, 8, NULL, SEED);
    sl_alloc_hook = allow_alloc;
    for (; rc != SL_OK; allowed_n++) {
        check(rc == SL_ENOMEM && table == NULL, "%d allowed: %d", allowed_n - 1, rc);
        allocs_left_n = allowed_n;
        rc = sl_round_robin_ops.build(&p.set, NULL, &table, &err);
    }
    sl_round_robin_ops.table_free(table);
    allocs_left_n = 0;
    (void)pick_idx(&p, &plain); /* its answer is another test's business */
    check(allowed_n > 4 && allocs_left_n == 0, "a pick asked for memory");
    sl_alloc_hook = NULL;
    pool_fini(&p);
}

/* A worker thread: its own balancer on the shared table. Returns how often it found nobody. */
static void *work(void *arg)
{
    const struct pool *shared = arg;
    struct sl_rng rng = {.state = SEED};
    struct sl_balancer *b = sl_alloc(shared->table->state_bytes);
    uintptr_t lost_n = 0;

    sl_round_robin_ops.attach(b, shared->table, &rng);
    for (int i = 0; i < 20000; i++) {
        lost_n += sl_round_robin_ops.pick(b, &plain) == NULL;
    }
    sl_free(b);
    return (void *)lost_n; /* a count, dressed as what pthread_join hands over */
}

/* Says most under FLAVOUR=tsan. */
static void two_workers_share_a_table_while_health_flaps(void **state)
{
    struct pool p;
    pthread_t threads[2];
    (void)state;

    pool_init(&p, 4, NULL, SEED);
    for (size_t i = 0; i < 2; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, work, &p), 0);
    }
    for (int i = 0; i < 20000; i++) { /* 0 and 1 never flap, so nobody may come back empty */
        p.endpoints[2 + i % 2].health = i % 4 < 2 ? SL_HEALTH_DOWN : SL_HEALTH_UP;
    }
    for (size_t i = 0; i < 2; i++) {
        void *lost;
        assert_int_equal(pthread_join(threads[i], &lost), 0);
        check(lost == NULL, "worker %zu found nobody %ju times", i, (uintmax_t)(uintptr_t)lost);
    }
    pool_fini(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(shares_are_exact_over_each_cycle_from_any_start),
        cmocka_unit_test(picks_of_one_member_are_spread_over_the_cycle),
        cmocka_unit_test(equal_weights_make_a_plain_ring),
        cmocka_unit_test(workers_start_at_different_places),
        cmocka_unit_test(who_is_out_leaves_its_turns_to_all_others_by_weight),
        cmocka_unit_test(the_only_one_left_is_always_picked),
        cmocka_unit_test(a_retry_goes_elsewhere_and_finds_nobody_when_all_were_tried),
        cmocka_unit_test(a_set_without_weight_is_no_error_and_gives_nobody),
        cmocka_unit_test(weights_without_a_common_divisor_are_scaled_to_a_bounded_order),
        cmocka_unit_test(build_survives_each_failed_allocation_and_pick_makes_none),
        cmocka_unit_test(two_workers_share_a_table_while_health_flaps),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
