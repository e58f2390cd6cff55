/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A pool that prefers a zone, by every policy: 10.0.0.0 to .9 are in zone a, which is ours, the
 * others in b, but for the last ones, which say none.
 */
#include "proxy/base/alloc.h"
#include "proxy/base/rng.h"
#include "proxy/upstream/pool.h"
#include "proxy/upstream/zone.h"
#include "tests/unit/check.h"

#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

enum {
    OWN_N = 10,
    FOUND_N = 25,
    PICKS_N = 20000,
    NOW_MS = 100000
};

static const char *const policies[] = {"least_request", "round_robin", "random",
                                       "peak_ewma",     "ring_hash",   "maglev"};
static const struct sl_outcome good = {.status = 200, .duration_us = 1500, .ttft_us = 1000};
static struct sl_endpoint_set *released;

static void on_set_done(struct sl_published *p)
{
    released = sl_container_of(p, struct sl_endpoint_set, published);
}

struct fixture {
    struct sl_endpoint_ids ids;
    struct sl_pool *pool;
    struct sl_pool_config conf;
    struct sl_found found[FOUND_N];
    struct sl_rng rngs[2];
    struct sl_endpoint_set *set;
    uint64_t now_ms;
};

static int build(struct fixture *f, const char *own_zone, struct sl_endpoint_set **out)
{
    const struct sl_snapshot s = {.items = f->found, .n = FOUND_N, .own_zone = own_zone};
    struct sl_error err;

    return sl_pool_build_set(f->pool, &s, &f->conf, out, &err);
}

static void describe(struct fixture *f, const char *balance)
{
    memset(f, 0, sizeof(*f));
    f->conf.balance = balance;
    f->conf.balance_bound_pct = 125;
    f->rngs[0].state = 42;
    f->rngs[1].state = 43;
    f->now_ms = NOW_MS;
    for (unsigned i = 0; i < FOUND_N; i++) {
        struct sl_found *found = &f->found[i];
        const char *zone = i < OWN_N ? "a" : i < 2 * OWN_N ? "b" : "";
        *found = (struct sl_found){.address.port = 80, .weight = 1};
        (void)snprintf(found->address.host, sizeof(found->address.host), "10.0.0.%u", i);
        (void)snprintf(found->zone, sizeof(found->zone), "%s", zone);
    }
    assert_int_equal(sl_pool_new("chat", 2, &f->ids, on_set_done, &f->pool), SL_OK);
}

static void begin(struct fixture *f, const char *balance, const char *own_zone)
{
    describe(f, balance);
    assert_int_equal(build(f, own_zone, &f->set), SL_OK);
    for (uint32_t w = 0; w < 2; w++) {
        sl_pool_take_set(f->pool, w, f->set, &f->rngs[w], NULL, NULL);
    }
}

static void end(struct fixture *f)
{
    for (uint32_t w = 0; w < 2; w++) {
        sl_pool_take_set(f->pool, w, NULL, &f->rngs[w], NULL, NULL);
    }
    assert_ptr_equal(released, f->set);
    sl_pool_free_set(released);
    sl_pool_free(f->pool);
}

static bool is_own(const struct sl_endpoint *ep)
{
    return strlen(ep->address.host) == strlen("10.0.0.0");
}

/* The endpoint of found[i]. */
static struct sl_endpoint *at(const struct fixture *f, size_t i)
{
    for (size_t m = 0; m < f->set->members_n; m++) {
        struct sl_endpoint *ep = f->set->members[m].endpoint;
        if (sl_address_same(&ep->address, &f->found[i].address)) {
            return ep;
        }
    }
    return NULL;
}

static void set_down(struct fixture *f, size_t from, size_t n, bool down)
{
    for (size_t i = from; i < from + n; i++) {
        at(f, i)->health = down ? SL_HEALTH_DOWN : SL_HEALTH_UP;
    }
    f->now_ms += SL_ZONE_LOOK_MS;
}

static uint64_t key_of(uint64_t i)
{
    struct sl_rng rng = {.state = i};
    return sl_rng_next(&rng) | 1;
}

static struct sl_endpoint *pick_on(struct fixture *f, uint32_t worker_idx, uint64_t key_hash)
{
    const struct sl_pick ctx = {.now_ms = f->now_ms, .key_hash = key_hash};
    enum sl_tier tier;

    return sl_pool_pick(f->set, worker_idx, &ctx, &tier);
}

/* One that ends at once. */
static struct sl_endpoint *pick(struct fixture *f, uint64_t key_hash)
{
    struct sl_endpoint *ep = pick_on(f, 0, key_hash);

    if (ep != NULL) {
        sl_pool_done(f->set, 0, ep, &good, f->now_ms);
    }
    return ep;
}

static double own_share(struct fixture *f, uint32_t picks_of[FOUND_N])
{
    uint32_t own_n = 0;

    for (uint64_t i = 0; i < PICKS_N; i++) {
        struct sl_endpoint *ep = pick(f, key_of(i));
        own_n += is_own(ep);
        for (size_t j = 0; picks_of != NULL && j < FOUND_N; j++) {
            picks_of[j] += sl_address_same(&ep->address, &f->found[j].address);
        }
    }
    return own_n / (double)PICKS_N;
}

static void the_zone_has_it_all_until_it_lacks_and_then_so_much_less(void **state)
{
    static const struct {
        size_t own_down_n;
        size_t other_down_n;
        double share;
    } cases[] = {
        {0, 0, 1.0},  {2, 0, 1.0},  {3, 0, 0.98}, {5, 0, 0.7},
        {9, 0, 0.14}, {10, 0, 0.0}, {5, 15, 1.0}, {8, 12, 0.5}, /* 0.28 of each */
    };
    (void)state;

    for (size_t p = 0; p < SL_ARRAY_LEN(policies); p++) {
        struct fixture f;
        begin(&f, policies[p], "a");
        for (size_t c = 0; c < SL_ARRAY_LEN(cases); c++) {
            set_down(&f, 0, FOUND_N, false);
            set_down(&f, 0, cases[c].own_down_n, true);
            set_down(&f, OWN_N, cases[c].other_down_n, true);
            double share = own_share(&f, NULL);
            check(fabs(share - cases[c].share) < 0.015, "%s, %zu of 10 down: %f, not %f",
                  policies[p], cases[c].own_down_n, share, cases[c].share);
        }
        end(&f);
    }
}

static void within_a_side_all_have_alike(void **state)
{
    (void)state;

    for (size_t p = 0; p < SL_ARRAY_LEN(policies); p++) {
        uint32_t picks_of[FOUND_N] = {0};
        struct fixture f;
        begin(&f, policies[p], "a");
        set_down(&f, 0, 5, true);
        (void)own_share(&f, picks_of); /* its value is another test's */
        for (size_t i = 5; i < FOUND_N; i++) {
            double even = i < OWN_N ? 0.7 / 5 : 0.3 / 15;
            double got = picks_of[i] / (double)PICKS_N;
            /* Points of a ring, and who takes over for whom, are by chance. */
            check(got > even * 0.6 && got < even * 1.6, "%s, %zu: %f, not %f", policies[p], i, got,
                  even);
        }
        end(&f);
    }
}

static void without_a_zone_all_are_alike(void **state)
{
    (void)state;

    for (size_t p = 0; p < SL_ARRAY_LEN(policies); p++) {
        struct fixture f;
        begin(&f, policies[p], NULL);
        assert_null(f.set->sides);
        check(fabs(own_share(&f, NULL) - 10.0 / 25) < 0.06, "%s", policies[p]);
        assert_int_equal(sl_pool_stat(f.pool, SL_POOL_PICKS_OWN_ZONE), 0);
        end(&f);
        begin(&f, policies[p], "c"); /* where nobody is */
        assert_true(own_share(&f, NULL) > 0.3);
        assert_int_equal(sl_pool_stat(f.pool, SL_POOL_PICKS_OTHER_ZONE), PICKS_N);
        end(&f);
    }
}

static void a_full_zone_spills_at_once_and_nobody_waits(void **state)
{
    static const struct sl_limits_config limits = {.per_endpoint_n = 1};
    (void)state;

    for (size_t p = 0; p < SL_ARRAY_LEN(policies); p++) {
        struct sl_endpoint *picked[FOUND_N];
        struct fixture f;
        begin(&f, policies[p], "a");
        sl_pool_set_limits(f.pool, &limits);
        for (size_t i = 0; i < FOUND_N; i++) {
            picked[i] = pick_on(&f, 0, key_of(i));
            check(picked[i] != NULL && is_own(picked[i]) == (i < OWN_N), "%s, pick %zu",
                  policies[p], i);
        }
        assert_null(pick_on(&f, 0, 7));
        sl_pool_done(f.set, 0, picked[3], &good, f.now_ms);
        assert_ptr_equal(pick_on(&f, 0, 7), picked[3]);
        for (size_t i = 0; i < FOUND_N; i++) {
            sl_pool_done(f.set, 0, picked[i], &good, f.now_ms);
        }
        assert_int_equal(sl_pool_stat(f.pool, SL_POOL_PICKS_OWN_ZONE), OWN_N + 1);
        assert_int_equal(sl_pool_stat(f.pool, SL_POOL_PICKS_OTHER_ZONE), FOUND_N - OWN_N);
        end(&f);
    }
}

static struct sl_endpoint *pick_connection(struct fixture *f, uint64_t key_hash,
                                           struct sl_pick_connection *connection)
{
    const struct sl_pick ctx = {
        .now_ms = f->now_ms,
        .key_hash = key_hash,
        .connection = connection,
    };
    enum sl_tier tier;

    *connection = (struct sl_pick_connection){0};
    struct sl_endpoint *ep = sl_pool_pick(f->set, 0, &ctx, &tier);
    assert_int_equal(tier, SL_TIER_READY);
    if (ep != NULL) {
        sl_pool_done(f->set, 0, ep, &good, f->now_ms); /* the connection stays */
    }
    return ep;
}

static void connections_are_those_of_both_sides(void **state)
{
    static const struct sl_limits_config limits = {
        .connections_n = OWN_N + 2,
        .connections_per_endpoint_n = 1,
    };
    (void)state;

    for (size_t p = 0; p < SL_ARRAY_LEN(policies); p++) {
        struct sl_endpoint *picked[OWN_N + 2];
        struct sl_pick_connection connection;
        struct fixture f;
        begin(&f, policies[p], "a");
        sl_pool_set_limits(f.pool, &limits);
        for (size_t i = 0; i < SL_ARRAY_LEN(picked); i++) {
            picked[i] = pick_connection(&f, key_of(i), &connection);
            check(picked[i] != NULL && connection.taken && is_own(picked[i]) == (i < OWN_N),
                  "%s, pick %zu", policies[p], i);
        }
        assert_null(pick_connection(&f, 7, &connection)); /* the pool's limit, not a side's */
        assert_true(connection.lacks && !connection.taken);
        sl_pool_connections_give(&f.pool->connections, picked[3]);
        assert_ptr_equal(pick_connection(&f, 7, &connection), picked[3]);
        assert_int_equal(atomic_load(&f.pool->connections.open_n), limits.connections_n);
        for (size_t i = 0; i < SL_ARRAY_LEN(picked); i++) {
            sl_pool_connections_give(&f.pool->connections, picked[i]);
        }
        end(&f);
    }
}

static void whoever_goes_out_is_left_before_the_share_is_looked_at_again(void **state)
{
    struct fixture f;
    (void)state;

    begin(&f, "least_request", "a");
    assert_true(is_own(pick(&f, 0)));
    set_down(&f, 0, OWN_N, true);
    f.now_ms -= SL_ZONE_LOOK_MS;
    assert_false(is_own(pick(&f, 0)));
    at(&f, 0)->drained_by_hand = true;
    set_down(&f, 0, FOUND_N, false);
    set_down(&f, OWN_N, FOUND_N - OWN_N, true);
    for (int i = 0; i < 100; i++) {
        struct sl_endpoint *ep = pick(&f, 0);
        assert_true(is_own(ep) && ep != at(&f, 0));
    }
    end(&f);
}

/* What then is left is the last resort, and that is all of them: ten in the zone, fifteen not. */
static void where_nobody_is_ready_all_are_alike(void **state)
{
    (void)state;

    for (size_t p = 0; p < SL_ARRAY_LEN(policies); p++) {
        struct fixture f;
        begin(&f, policies[p], "a");
        set_down(&f, 0, FOUND_N, true);
        double share = own_share(&f, NULL);
        check(fabs(share - OWN_N / (double)FOUND_N) < 0.015, "%s: %f", policies[p], share);
        end(&f);
    }
    for (size_t drains_n = FOUND_N - 1; drains_n <= FOUND_N; drains_n++) {
        struct fixture f;
        describe(&f, "random");
        for (size_t i = 0; i < drains_n; i++) {
            f.found[i].draining = true;
        }
        assert_int_equal(build(&f, "a", &f.set), SL_OK);
        double share = sl_zone_share(f.set, NOW_MS);
        check(fabs(share - (drains_n < FOUND_N ? 0 : 0.4)) < 0.001, "%zu drain: %f", drains_n,
              share);
        sl_pool_free_set(f.set);
        sl_pool_free(f.pool);
    }
}

static void who_drains_is_no_capacity_that_lacks(void **state)
{
    struct fixture f;
    (void)state;

    describe(&f, "random");
    for (size_t i = 0; i < 8; i++) {
        f.found[i].draining = true;
    }
    assert_int_equal(build(&f, "a", &f.set), SL_OK);
    assert_true(sl_zone_share(f.set, NOW_MS) >= 1);
    sl_pool_free_set(f.set);
    sl_pool_free(f.pool);
}

/* As the zone loses endpoints, keys leave and none comes; those that stay are where they were,
 * unless their own endpoint went; and back again all is as before. */
static void keys_stay_where_they_are_and_those_that_leave_spread(void **state)
{
    enum {
        KEYS_N = 2000
    };
    static const char *const keyed[] = {"ring_hash", "maglev"};
    (void)state;

    for (size_t p = 0; p < SL_ARRAY_LEN(keyed); p++) {
        static struct sl_endpoint *before[KEYS_N];
        uint32_t others_n[FOUND_N] = {0};
        uint32_t left_n = 0;
        struct fixture f;
        begin(&f, keyed[p], "a");
        for (uint64_t i = 0; i < KEYS_N; i++) {
            before[i] = pick(&f, key_of(i));
            assert_true(is_own(before[i]));
        }
        set_down(&f, 0, 5, true);
        for (uint64_t i = 0; i < KEYS_N; i++) {
            struct sl_endpoint *ep = pick(&f, key_of(i));
            bool its_own_is_up = before[i]->health != SL_HEALTH_DOWN;
            check(ep == before[i] || !is_own(ep) || !its_own_is_up, "%s: key %ju moved", keyed[p],
                  (uintmax_t)i);
            assert_ptr_equal(pick(&f, key_of(i)), ep);
            left_n += !is_own(ep);
            for (size_t j = OWN_N; j < FOUND_N; j++) {
                others_n[j] += ep == at(&f, j);
            }
        }
        check(fabs(left_n / (double)KEYS_N - 0.3) < 0.03, "%s: %u left", keyed[p], left_n);
        for (size_t j = OWN_N; j < FOUND_N; j++) {
            check(others_n[j] < left_n / 5, "%s: %u of %u went to one", keyed[p], others_n[j],
                  left_n);
        }
        set_down(&f, 0, 5, false);
        for (uint64_t i = 0; i < KEYS_N; i++) {
            assert_ptr_equal(pick(&f, key_of(i)), before[i]);
        }
        end(&f);
    }
}

/* The others' idleness must not make each of the zone seem too busy. */
static void the_bound_is_that_of_the_zone(void **state)
{
    enum {
        KEYS_N = 400
    };
    static struct sl_endpoint *held[KEYS_N];
    static struct sl_endpoint *home[KEYS_N];
    uint32_t at_home_n = 0;
    struct fixture f;
    (void)state;

    begin(&f, "maglev", "a");
    for (uint64_t i = 0; i < KEYS_N; i++) {
        home[i] = pick(&f, key_of(i));
    }
    for (uint64_t i = 0; i < KEYS_N; i++) {
        held[i] = pick_on(&f, 0, key_of(i));
        assert_true(is_own(held[i]));
        at_home_n += held[i] == home[i];
    }
    check(at_home_n > KEYS_N * 3 / 4, "%u of %d keys are at home", at_home_n, KEYS_N);
    for (uint64_t i = 0; i < KEYS_N; i++) {
        sl_pool_done(f.set, 0, held[i], &good, f.now_ms);
    }
    end(&f);
}

static int allocs_left_n;

static bool allow_alloc(size_t size_bytes)
{
    (void)size_bytes;
    return allocs_left_n-- > 0;
}

static void a_set_survives_each_failed_allocation_and_a_pick_makes_none(void **state)
{
    (void)state;

    for (size_t p = 0; p < SL_ARRAY_LEN(policies); p++) {
        struct fixture f;
        int rc = SL_ENOMEM;
        begin(&f, policies[p], "a");
        sl_alloc_hook = allow_alloc;
        for (int allowed_n = 0; rc != SL_OK; allowed_n++) {
            struct sl_endpoint_set *set = NULL;
            allocs_left_n = allowed_n;
            rc = build(&f, "a", &set);
            check(rc == SL_OK || (rc == SL_ENOMEM && set == NULL), "%d allowed: %d", allowed_n, rc);
            if (rc == SL_OK) {
                sl_pool_free_set(set);
            }
        }
        allocs_left_n = 0;
        for (uint64_t i = 0; i < 100; i++) {
            assert_non_null(pick(&f, key_of(i)));
        }
        assert_int_equal(allocs_left_n, 0);
        sl_alloc_hook = NULL;
        end(&f);
    }
}

struct work {
    struct fixture *f;
    uint32_t worker_idx;
};

static void *work(void *arg)
{
    const struct work *w = arg;
    struct fixture *f = w->f;
    uintptr_t lost_n = 0;

    for (uint64_t i = 0; i < 5000; i++) {
        const struct sl_pick ctx = {.now_ms = NOW_MS + i, .key_hash = key_of(i)};
        enum sl_tier tier;
        struct sl_endpoint *ep = sl_pool_pick(f->set, w->worker_idx, &ctx, &tier);
        lost_n += ep == NULL;
        if (ep != NULL) {
            sl_pool_done(f->set, w->worker_idx, ep, &good, NOW_MS + i);
        }
    }
    return (void *)lost_n; /* a count, dressed as what pthread_join hands over */
}

/* Says most under FLAVOUR=tsan. */
static void workers_pick_while_the_zone_flaps(void **state)
{
    (void)state;

    for (size_t p = 0; p < SL_ARRAY_LEN(policies); p++) {
        pthread_t threads[2];
        struct work works[2];
        struct fixture f;
        begin(&f, policies[p], "a");
        for (uint32_t w = 0; w < 2; w++) {
            works[w] = (struct work){&f, w};
            assert_int_equal(pthread_create(&threads[w], NULL, work, &works[w]), 0);
        }
        for (int i = 0; i < 2000; i++) {
            at(&f, (size_t)i % OWN_N)->health = i / OWN_N % 2 ? SL_HEALTH_UP : SL_HEALTH_DOWN;
        }
        for (uint32_t w = 0; w < 2; w++) {
            void *lost;
            assert_int_equal(pthread_join(threads[w], &lost), 0);
            check(lost == NULL, "%s: %ju picks found nobody", policies[p],
                  (uintmax_t)(uintptr_t)lost);
        }
        end(&f);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_zone_has_it_all_until_it_lacks_and_then_so_much_less),
        cmocka_unit_test(within_a_side_all_have_alike),
        cmocka_unit_test(without_a_zone_all_are_alike),
        cmocka_unit_test(a_full_zone_spills_at_once_and_nobody_waits),
        cmocka_unit_test(connections_are_those_of_both_sides),
        cmocka_unit_test(whoever_goes_out_is_left_before_the_share_is_looked_at_again),
        cmocka_unit_test(where_nobody_is_ready_all_are_alike),
        cmocka_unit_test(who_drains_is_no_capacity_that_lacks),
        cmocka_unit_test(keys_stay_where_they_are_and_those_that_leave_spread),
        cmocka_unit_test(the_bound_is_that_of_the_zone),
        cmocka_unit_test(a_set_survives_each_failed_allocation_and_a_pick_makes_none),
        cmocka_unit_test(workers_pick_while_the_zone_flaps),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
