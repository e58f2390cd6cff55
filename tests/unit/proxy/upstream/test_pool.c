/* SPDX-License-Identifier: Apache-2.0 */
#include "proxy/base/alloc.h"
#include "proxy/base/rng.h"
#include "proxy/upstream/pool.h"
#include "tests/unit/check.h"

#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>

enum {
    WORKERS_N = 2,
    FOUND_MAX_N = 8,
    NOW_MS = 100000
};

static const struct sl_pick plain = {.now_ms = NOW_MS};
static const struct sl_outcome good = {.status = 200, .duration_us = 1500};
static const struct sl_outcome refused = {.failed = true, .refused = true, .unreachable = true};

/* The sets that came back, as the control thread would find them in its mailbox. */
static _Atomic uint32_t released_n;
static struct sl_endpoint_set *_Atomic released[1024];

static void on_set_done(struct sl_published *p)
{
    uint32_t i = atomic_fetch_add(&released_n, 1);
    atomic_store(&released[i], sl_container_of(p, struct sl_endpoint_set, published));
}

/* Frees what came back since the last call; returns how many that were. */
static uint32_t free_released(void)
{
    static uint32_t freed_n;
    uint32_t n = 0;

    for (; freed_n < atomic_load(&released_n); n++) {
        struct sl_endpoint_set *set = atomic_exchange(&released[freed_n], NULL);
        if (set == NULL) { /* counted, and about to be written */
            break;
        }
        sl_pool_free_set(set);
        freed_n++;
    }
    return n;
}

struct fixture {
    struct sl_endpoint_ids ids;
    struct sl_pool *pool;
    struct sl_pool_config conf;
    struct sl_found found[FOUND_MAX_N];
    struct sl_rng rng;
    uint32_t gone[FOUND_MAX_N]; /* ids, as on_gone saw them */
    size_t gone_n;
};

/* found[i] is 10.0.0.i, port 80. */
static void fixture_init(struct fixture *f, const char *balance)
{
    memset(f, 0, sizeof(*f));
    f->conf.balance = balance;
    f->rng.state = 42;
    for (unsigned i = 0; i < FOUND_MAX_N; i++) {
        f->found[i] = (struct sl_found){.address.port = 80, .weight = 1};
        (void)snprintf(f->found[i].address.host, sizeof(f->found[i].address.host), "10.0.0.%u",
                       i); /* fits */
    }
    assert_int_equal(sl_pool_new("chat", WORKERS_N, &f->ids, on_set_done, &f->pool), SL_OK);
}

static struct sl_endpoint_set *build(struct fixture *f, size_t from, size_t n)
{
    const struct sl_snapshot snapshot = {.items = &f->found[from], .n = n};
    struct sl_endpoint_set *set = NULL;
    struct sl_error err = {0};
    int rc = sl_pool_build_set(f->pool, &snapshot, &f->conf, &set, &err);

    check(rc == SL_OK, "build_set: %d, %s", rc, err.message);
    return set;
}

static void on_gone(struct sl_endpoint *ep, uint32_t worker_idx, void *arg)
{
    struct fixture *f = arg;

    check(!sl_endpoint_is_named(ep, worker_idx), "endpoint %u is still named", ep->id);
    f->gone[f->gone_n++] = ep->id;
}

static void take(struct fixture *f, struct sl_endpoint_set *set)
{
    for (uint32_t w = 0; w < WORKERS_N; w++) {
        sl_pool_take_set(f->pool, w, set, &f->rng, w == 0 ? on_gone : NULL, f);
    }
}

static void fixture_fini(struct fixture *f)
{
    take(f, NULL);
    (void)free_released(); /* counted by the tests that care */
    sl_pool_free(f->pool);
}

static void a_pool_without_a_set_is_not_synced(void **state)
{
    struct fixture f;
    (void)state;

    fixture_init(&f, "round_robin");
    assert_null(sl_pool_pin(f.pool, 0));
    fixture_fini(&f);
}

static void a_new_set_keeps_what_it_names_and_tells_who_is_gone(void **state)
{
    struct fixture f;
    (void)state;

    fixture_init(&f, "round_robin");
    struct sl_endpoint_set *first = build(&f, 0, 3);
    take(&f, first);
    struct sl_endpoint *kept = first->members[2].endpoint;
    assert_true(sl_endpoint_is_named(kept, 0));
    assert_int_equal(f.gone_n, 0);

    struct sl_endpoint_set *second = build(&f, 2, 2);
    assert_ptr_equal(second->members[0].endpoint, kept);
    take(&f, second);
    assert_int_equal(f.gone_n, 2);
    assert_int_equal(f.gone[0], 1);
    assert_int_equal(f.gone[1], 2);
    assert_true(sl_endpoint_is_named(kept, 0));
    assert_true(sl_endpoint_is_named(kept, 1));
    assert_int_equal(free_released(), 1);
    assert_int_equal(f.pool->endpoints.n, 2);
    fixture_fini(&f);
}

static void labels_stand_beside_the_members_and_belong_to_the_set(void **state)
{
    struct fixture f;
    (void)state;

    fixture_init(&f, "round_robin");
    struct sl_endpoint_set *bare = build(&f, 0, 2);
    assert_null(bare->labels); /* costs nothing where there are none */
    take(&f, bare);
    (void)snprintf(f.found[1].zone, sizeof(f.found[1].zone), "eu-1a");
    (void)snprintf(f.found[1].model, sizeof(f.found[1].model), "llama");
    struct sl_endpoint_set *old = build(&f, 0, 2);
    assert_string_equal(old->labels[0].zone, "");
    assert_string_equal(old->labels[1].zone, "eu-1a");
    assert_string_equal(old->labels[1].version, "");
    assert_string_equal(old->labels[1].model, "llama");
    assert_ptr_equal(old->members[1].endpoint, bare->members[1].endpoint);
    take(&f, old);
    assert_int_equal(free_released(), 1);

    struct sl_endpoint_set *pinned = sl_pool_pin(f.pool, 0);
    (void)snprintf(f.found[1].zone, sizeof(f.found[1].zone), "eu-1b");
    take(&f, build(&f, 0, 2));
    assert_string_equal(pinned->labels[1].zone, "eu-1a"); /* what is published never changes */
    sl_pool_unpin(pinned, 0);
    assert_int_equal(free_released(), 1);
    assert_int_equal(sizeof(struct sl_member), 16); /* picks walk them: four on a cache line */
    fixture_fini(&f);
}

static void a_running_exchange_keeps_its_set_and_its_endpoint(void **state)
{
    enum sl_tier tier;
    struct fixture f;
    (void)state;

    fixture_init(&f, "least_request");
    take(&f, build(&f, 0, 1));
    struct sl_endpoint_set *pinned = sl_pool_pin(f.pool, 1);
    struct sl_endpoint *ep = sl_pool_pick(pinned, 1, &plain, &tier);
    assert_int_equal(ep->in_flight_n, 1);

    take(&f, build(&f, 1, 1));
    assert_int_equal(free_released(), 0);
    assert_false(sl_endpoint_is_named(ep, 1));
    sl_pool_done(pinned, 1, ep, &good, NOW_MS + 2);
    assert_int_equal(ep->in_flight_n, 0);
    sl_pool_unpin(pinned, 1);
    assert_int_equal(free_released(), 1);
    assert_int_equal(f.pool->endpoints.n, 1);
    fixture_fini(&f);
}

static void a_set_that_was_never_mailed_can_be_freed(void **state)
{
    struct fixture f;
    (void)state;

    fixture_init(&f, "round_robin");
    f.pool->newest = build(&f, 0, 3);
    sl_pool_free_set(f.pool->newest);
    assert_null(f.pool->newest);
    assert_int_equal(f.pool->endpoints.n, 0);
    fixture_fini(&f);
}

/* One pick and its end on worker 0; the index of the member, -1 for none. */
static int pick_once(struct fixture *f, const struct sl_pick *ctx, const struct sl_outcome *o,
                     enum sl_tier *tier)
{
    struct sl_endpoint_set *set = sl_pool_pin(f->pool, 0);
    struct sl_endpoint *ep = sl_pool_pick(set, 0, ctx, tier);
    int idx = -1;

    if (ep != NULL) {
        for (idx = 0; set->members[idx].endpoint != ep;) {
            idx++;
        }
        sl_pool_done(set, 0, ep, o, ctx->now_ms);
    }
    sl_pool_unpin(set, 0);
    return idx;
}

static void standards_are_lowered_only_for_want_of_better_and_that_is_counted(void **state)
{
    enum sl_tier tier = SL_TIERS_N;
    struct fixture f;
    (void)state;

    fixture_init(&f, "round_robin");
    f.found[1].draining = true;
    struct sl_endpoint_set *set = build(&f, 0, 3);
    take(&f, set);
    set->members[2].endpoint->health = SL_HEALTH_DOWN;
    assert_int_equal(pick_once(&f, &plain, &good, &tier), 0);
    assert_int_equal(tier, SL_TIER_READY);

    const struct sl_endpoint *tried[3] = {set->members[0].endpoint, set->members[1].endpoint,
                                          set->members[2].endpoint};
    struct sl_pick ctx = plain;
    ctx.tried = tried;
    ctx.tried_n = 1;
    assert_int_equal(pick_once(&f, &ctx, &good, &tier), 1);
    assert_int_equal(tier, SL_TIER_DRAINING);
    ctx.tried_n = 2;
    assert_int_equal(pick_once(&f, &ctx, &good, &tier), 2);
    assert_int_equal(tier, SL_TIER_ANY);
    ctx.tried_n = 3;
    assert_int_equal(pick_once(&f, &ctx, &good, &tier), -1);

    assert_int_equal(sl_pool_stat(f.pool, SL_POOL_PICKS), 3);
    assert_int_equal(sl_pool_stat(f.pool, SL_POOL_PICKS_DRAINING), 1);
    assert_int_equal(sl_pool_stat(f.pool, SL_POOL_PICKS_ANY), 1);
    assert_int_equal(sl_pool_stat(f.pool, SL_POOL_NOBODY), 1);
    fixture_fini(&f);
}

static void who_refuses_is_asked_again_one_at_a_time_and_in_turn(void **state)
{
    struct sl_pick ctx = plain;
    enum sl_tier tier;
    struct fixture f;
    (void)state;

    fixture_init(&f, "round_robin");
    struct sl_endpoint_set *set = build(&f, 0, 3);
    take(&f, set);
    for (int i = 0; i < 3; i++) {
        (void)pick_once(&f, &ctx, &refused, &tier);
        assert_int_equal(tier, SL_TIER_READY);
    }
    assert_int_equal(pick_once(&f, &ctx, &refused, &tier), -1); /* it has just been asked */
    assert_int_equal(tier, SL_TIER_REFUSING);
    ctx.now_ms += SL_OUTLIER_KNOCK_MS;
    for (int i = 0; i < 6; i++) { /* each while it would be out for a second */
        assert_int_equal(pick_once(&f, &ctx, &refused, &tier), i % 3);
        assert_int_equal(tier, SL_TIER_REFUSING);
        assert_int_equal(pick_once(&f, &ctx, &refused, &tier), -1);
        assert_int_equal(tier, SL_TIER_REFUSING); /* there will be one */
        ctx.now_ms += SL_OUTLIER_KNOCK_MS;
    }
    ctx.only_ready = true;
    assert_int_equal(pick_once(&f, &ctx, &refused, &tier), -1);
    assert_int_equal(tier, SL_TIERS_N);

    set->members[1].endpoint->health = SL_HEALTH_DOWN; /* a refusal says more than a probe */
    ctx = (struct sl_pick){.now_ms = ctx.now_ms, .tried_n = 1};
    const struct sl_endpoint *tried[] = {set->members[1].endpoint};
    ctx.tried = tried; /* that it refused this request before is no reason not to ask it */
    sl_pool_connected(set->members[0].endpoint, ctx.now_ms, ctx.now_ms);
    assert_int_equal(pick_once(&f, &ctx, &good, &tier), 0);
    assert_int_equal(tier, SL_TIER_READY);
    atomic_store(&set->members[0].endpoint->drained_by_hand, true);
    atomic_store(&set->members[2].endpoint->drained_by_hand, true);
    assert_int_equal(pick_once(&f, &ctx, &good, &tier), 1);
    assert_int_equal(tier, SL_TIER_REFUSING);
    assert_int_equal(sl_pool_stat(f.pool, SL_POOL_PICKS_ANY), 7);
    assert_int_equal(sl_pool_stat(f.pool, SL_POOL_NOBODY), 0);
    fixture_fini(&f);
}

/* Of so many picks at now_ms, those that went to member idx. */
static double share_of(struct fixture *f, int idx, uint64_t now_ms)
{
    const struct sl_pick ctx = {.now_ms = now_ms};
    enum sl_tier tier;
    int n = 0;

    for (int i = 0; i < 3000; i++) {
        n += pick_once(f, &ctx, &good, &tier) == idx;
        assert_int_equal(tier, SL_TIER_READY);
    }
    return n / 3000.0;
}

static bool near(double a, double b)
{
    return a > b - 0.03 && a < b + 0.03;
}

/* found[0, 3) at first, then found[0, 4) with slow start, of which the last came at NOW_MS. */
static struct sl_endpoint_set *grow(struct fixture *f,
                                    const struct sl_slow_start_config *slow_start)
{
    f->conf.slow_start = slow_start;
    f->pool->newest = build(f, 0, 3);
    take(f, f->pool->newest);
    const struct sl_snapshot more = {.items = f->found, .n = 4, .received_us = NOW_MS * 1000};
    struct sl_endpoint_set *set = NULL;
    struct sl_error err = {0};
    check(sl_pool_build_set(f->pool, &more, &f->conf, &set, &err) == SL_OK, "%s", err.message);
    f->pool->newest = set;
    take(f, set);
    return set;
}

static void a_new_endpoint_has_a_cap_until_it_is_new_no_more(void **state)
{
    static const struct sl_slow_start_config slow_start = {10000, 1000, 2};
    static const char *const policies[] = {"round_robin", "least_request", "random"};
    (void)state;

    for (size_t i = 0; i < SL_ARRAY_LEN(policies); i++) {
        struct fixture f;
        enum sl_tier tier;
        fixture_init(&f, policies[i]);
        struct sl_endpoint_set *set = grow(&f, &slow_start);
        const struct sl_endpoint *tried[] = {set->members[0].endpoint, set->members[1].endpoint,
                                             set->members[2].endpoint};
        struct sl_pick only_new = {.now_ms = NOW_MS + 5000, .tried = tried, .tried_n = 3};
        struct sl_endpoint *newcomer = set->members[3].endpoint;
        for (int n = 0; n < 2; n++) {
            assert_ptr_equal(sl_pool_pick(set, 0, &only_new, &tier), newcomer);
        }
        assert_null(sl_pool_pick(set, 0, &only_new, &tier));
        assert_int_equal(tier, SL_TIER_READY); /* it is worth to wait */
        struct sl_pick any = {.now_ms = NOW_MS + 9999};
        for (int n = 0; n < 20; n++) {
            struct sl_endpoint *ep = sl_pool_pick(set, 0, &any, &tier);
            check(ep != NULL && ep != newcomer, "%s", policies[i]);
            sl_pool_done(set, 0, ep, &good, any.now_ms);
        }
        sl_pool_done(set, 0, newcomer, &good, any.now_ms);
        assert_ptr_equal(sl_pool_pick(set, 0, &only_new, &tier), newcomer);
        only_new.now_ms = NOW_MS + 10000;
        assert_ptr_equal(sl_pool_pick(set, 0, &only_new, &tier), newcomer);
        for (int n = 0; n < 3; n++) {
            sl_pool_done(set, 0, newcomer, &good, only_new.now_ms);
        }
        assert_int_equal(newcomer->in_flight_n, 0);
        fixture_fini(&f);
    }
}

static void a_new_endpoint_gets_its_share_little_by_little(void **state)
{
    static const struct sl_slow_start_config slow_start = {10000, 1000, 0};
    static const char *const policies[] = {"round_robin", "least_request"};
    struct fixture f;
    (void)state;

    for (size_t i = 0; i < SL_ARRAY_LEN(policies); i++) {
        fixture_init(&f, policies[i]);
        (void)grow(&f, &slow_start);
        assert_true(near(share_of(&f, 3, NOW_MS), 0.1 / 4));
        assert_true(near(share_of(&f, 3, NOW_MS + 5000), 0.5 / 4));
        assert_true(near(share_of(&f, 0, NOW_MS + 5000), (1 + 0.5 / 3) / 4));
        assert_true(near(share_of(&f, 3, NOW_MS + 10000), 1.0 / 4));
        fixture_fini(&f);

        fixture_init(&f, policies[i]);
        (void)grow(&f, NULL);
        assert_true(near(share_of(&f, 3, NOW_MS), 1.0 / 4));
        fixture_fini(&f);
    }
}

static void a_new_endpoint_is_taken_where_no_other_is_ready(void **state)
{
    static const struct sl_slow_start_config slow_start = {10000, 1000, 0};
    struct fixture f;
    (void)state;

    fixture_init(&f, "least_request");
    struct sl_endpoint_set *set = grow(&f, &slow_start);
    for (size_t i = 0; i < 3; i++) {
        set->members[i].endpoint->health = SL_HEALTH_DOWN;
    }
    assert_true(share_of(&f, 3, NOW_MS) == 1.0);
    fixture_fini(&f);
}

static void who_comes_back_from_an_ejection_is_given_little_at_first(void **state)
{
    static const struct sl_slow_start_config slow_start = {10000, 1000, 0};
    struct sl_pick ctx = plain;
    enum sl_tier tier;
    struct fixture f;
    (void)state;

    fixture_init(&f, "round_robin");
    f.conf.slow_start = &slow_start;
    take(&f, build(&f, 0, 2));
    assert_true(near(share_of(&f, 0, NOW_MS), 0.5)); /* the first set is not new */
    int bad = pick_once(&f, &ctx, &refused, &tier);
    ctx.now_ms += 2000;
    for (int i = 0; i < 4; i++) { /* one of them is the trial */
        (void)pick_once(&f, &ctx, &good, &tier);
    }
    assert_true(near(share_of(&f, bad, ctx.now_ms), 0.1 / 2));
    assert_true(near(share_of(&f, bad, ctx.now_ms + 10000), 0.5));
    fixture_fini(&f);
}

static const char *const every_policy[] = {"least_request", "maglev",    "peak_ewma",
                                           "random",        "ring_hash", "round_robin"};

/* A key of its own for each pick, as other clients have it; those that take none do not look. */
static double keyed_share_of(struct fixture *f, int idx, uint64_t now_ms)
{
    struct sl_pick ctx = {.now_ms = now_ms};
    enum sl_tier tier;
    int n = 0;

    for (uint64_t i = 1; i <= 6000; i++) {
        ctx.key_hash = i * 0x9e3779b97f4a7c15U;
        n += pick_once(f, &ctx, &good, &tier) == idx;
        assert_int_equal(tier, SL_TIER_READY);
    }
    return n / 6000.0;
}

static void a_new_endpoint_starts_slowly_whatever_the_policy(void **state)
{
    static const struct sl_slow_start_config slow_start = {10000, 1000, 0};
    struct fixture f;
    (void)state;

    for (size_t i = 0; i < SL_ARRAY_LEN(every_policy); i++) {
        fixture_init(&f, every_policy[i]);
        f.conf.balance_bound_pct = 125;
        (void)grow(&f, &slow_start);
        double at_first = keyed_share_of(&f, 3, NOW_MS);
        double halfway = keyed_share_of(&f, 3, NOW_MS + 5000);
        double at_last = keyed_share_of(&f, 3, NOW_MS + 10000);
        check(at_last > 0.2 && at_last < 0.3, "%s: %f at last", every_policy[i], at_last);
        check(halfway > 0.4 * at_last && halfway < 0.6 * at_last, "%s: %f halfway, %f at last",
              every_policy[i], halfway, at_last);
        check(at_first > 0.05 * at_last && at_first < 0.15 * at_last, "%s: %f at first, %f at last",
              every_policy[i], at_first, at_last);
        fixture_fini(&f);
    }
}

static void an_endpoint_that_refused_comes_back_by_one_trial(void **state)
{
    enum sl_tier tier;
    struct sl_pick ctx = plain;
    struct fixture f;
    (void)state;

    fixture_init(&f, "round_robin");
    struct sl_endpoint_set *set = build(&f, 0, 2);
    take(&f, set);
    int bad = pick_once(&f, &ctx, &refused, &tier);
    assert_int_equal(sl_pool_stat(f.pool, SL_POOL_EJECTIONS), 1);
    assert_int_equal(sl_pool_stat(f.pool, SL_POOL_FAILURES), 1);
    assert_int_equal(sl_endpoint_stat(set->members[bad].endpoint, SL_ENDPOINT_EJECTIONS), 1);
    for (int i = 0; i < 10; i++) {
        assert_int_equal(pick_once(&f, &ctx, &good, &tier), 1 - bad);
    }
    ctx.now_ms += 1000;
    int trials_n = 0;
    struct sl_endpoint *trial = NULL;
    for (int i = 0; i < 10; i++) { /* all at once: none of them has ended */
        struct sl_endpoint *ep = sl_pool_pick(set, 0, &ctx, &tier);
        if (ep == set->members[bad].endpoint) {
            trials_n++;
            trial = ep;
        } else {
            sl_pool_done(set, 0, ep, &good, ctx.now_ms);
        }
    }
    assert_int_equal(trials_n, 1);
    sl_pool_answered(trial, ctx.now_ms, ctx.now_ms + 3);
    int got_n[2] = {0};
    for (int i = 0; i < 10; i++) {
        got_n[pick_once(&f, &ctx, &good, &tier)]++;
    }
    assert_int_equal(got_n[bad], 5);
    sl_pool_done(set, 0, trial, &good, ctx.now_ms + 4000);
    fixture_fini(&f);
}

static void a_policy_that_does_not_exist_is_a_config_error(void **state)
{
    const struct sl_snapshot snapshot = {0};
    struct sl_endpoint_set *set = NULL;
    struct sl_error err = {0};
    struct fixture f;
    (void)state;

    fixture_init(&f, "fastest");
    assert_int_equal(sl_pool_build_set(f.pool, &snapshot, &f.conf, &set, &err), SL_ECONFIG);
    assert_null(set);
    assert_int_equal(f.pool->sets_n, 0);
    fixture_fini(&f);
}

static void an_empty_set_is_synced_and_has_nobody(void **state)
{
    enum sl_tier tier;
    struct fixture f;
    (void)state;

    fixture_init(&f, "round_robin");
    take(&f, build(&f, 0, 0));
    assert_int_equal(pick_once(&f, &plain, &good, &tier), -1);
    fixture_fini(&f);
}

static const struct sl_limits_config one_each = {.per_endpoint_n = 1};
static const struct sl_limits_config no_limits = {0};

static void a_cap_holds_for_the_endpoints_there_are_and_will_be(void **state)
{
    enum sl_tier tier;
    struct fixture f;
    (void)state;

    fixture_init(&f, "least_request");
    take(&f, build(&f, 0, 1));
    sl_pool_set_limits(f.pool, &one_each);
    take(&f, build(&f, 0, 2));
    struct sl_endpoint_set *set = sl_pool_pin(f.pool, 0);
    struct sl_endpoint *a = sl_pool_pick(set, 0, &plain, &tier);
    struct sl_endpoint *b = sl_pool_pick(set, 0, &plain, &tier);
    assert_true(a != NULL && b != NULL && a != b);
    assert_null(sl_pool_pick(set, 0, &plain, &tier));
    assert_int_equal(tier, SL_TIER_READY);
    assert_int_equal(sl_pool_stat(f.pool, SL_POOL_NOBODY), 0); /* two are there */
    sl_pool_done(set, 0, a, &good, NOW_MS);
    assert_ptr_equal(sl_pool_pick(set, 0, &plain, &tier), a);
    sl_pool_set_limits(f.pool, &no_limits);
    struct sl_endpoint *more = sl_pool_pick(set, 0, &plain, &tier);
    assert_non_null(more);
    sl_pool_done(set, 0, more, &good, NOW_MS);
    sl_pool_done(set, 0, a, &good, NOW_MS);
    sl_pool_done(set, 0, b, &good, NOW_MS);
    sl_pool_unpin(set, 0);
    fixture_fini(&f);
}

static void who_is_full_is_waited_for_rather_than_a_worse_one_taken(void **state)
{
    enum sl_tier tier;
    struct fixture f;
    (void)state;

    fixture_init(&f, "round_robin");
    sl_pool_set_limits(f.pool, &one_each);
    take(&f, build(&f, 0, 2));
    struct sl_endpoint_set *set = sl_pool_pin(f.pool, 0);
    struct sl_endpoint *ill = set->members[0].endpoint;
    struct sl_endpoint *well = set->members[1].endpoint;
    const struct sl_endpoint *tried[] = {well};
    const struct sl_pick after_well = {.now_ms = NOW_MS, .tried = tried, .tried_n = 1};
    atomic_store(&ill->health, SL_HEALTH_DOWN);
    assert_ptr_equal(sl_pool_pick(set, 0, &plain, &tier), well);
    assert_null(sl_pool_pick(set, 0, &plain, &tier));
    assert_int_equal(tier, SL_TIER_READY);
    assert_ptr_equal(sl_pool_pick(set, 0, &after_well, &tier), ill); /* nobody better is left */
    assert_int_equal(tier, SL_TIER_ANY);
    assert_null(sl_pool_pick(set, 0, &after_well, &tier));
    assert_int_equal(tier, SL_TIER_ANY); /* and this one is full */
    sl_pool_done(set, 0, ill, &good, NOW_MS);
    sl_pool_done(set, 0, well, &good, NOW_MS);
    sl_pool_unpin(set, 0);
    fixture_fini(&f);
}

/* As if so many connections to it lay idle on the worker: they are proxy/l7's, and only counted. */
static void lay_idle(struct sl_endpoint *ep, uint32_t idle_n)
{
    ep->cells[0].idle_n = idle_n;
}

static struct sl_endpoint *pick_with(struct sl_endpoint_set *set, bool wants_new,
                                     struct sl_pick_connection *connection)
{
    struct sl_pick ctx = {.now_ms = NOW_MS, .wants_new = wants_new, .connection = connection};
    enum sl_tier tier;

    *connection = (struct sl_pick_connection){0};
    struct sl_endpoint *ep = sl_pool_pick(set, 0, &ctx, &tier);
    assert_int_equal(tier, SL_TIER_READY); /* never a worse one for want of connections */
    if (ep != NULL) {
        sl_pool_done(set, 0, ep, &good, NOW_MS); /* the connection stays */
    }
    return ep;
}

static void a_pick_takes_the_connection_that_it_needs(void **state)
{
    const struct sl_limits_config limits = {.connections_n = 2, .connections_per_endpoint_n = 1};
    struct sl_pick_connection connection;
    struct fixture f;
    (void)state;

    fixture_init(&f, "round_robin");
    sl_pool_set_limits(f.pool, &limits);
    take(&f, build(&f, 0, 3));
    struct sl_endpoint_set *set = sl_pool_pin(f.pool, 0);
    struct sl_endpoint *a = pick_with(set, false, &connection);
    assert_true(a != NULL && connection.taken);
    struct sl_endpoint *b = pick_with(set, false, &connection);
    assert_true(b != NULL && b != a && connection.taken);
    assert_null(pick_with(set, false, &connection)); /* the third one is free, the pool is full */
    assert_true(connection.lacks && !connection.taken);
    sl_pool_connections_give(&f.pool->connections, a);
    lay_idle(b, 1);
    assert_non_null(pick_with(set, false, &connection));
    lay_idle(b, 0);
    sl_pool_set_limits(f.pool, &no_limits);
    assert_true(pick_with(set, false, &connection) != NULL && connection.taken);
    sl_pool_unpin(set, 0);
    fixture_fini(&f);
}

static void an_endpoint_at_its_limit_is_picked_for_an_idle_connection_only(void **state)
{
    const struct sl_limits_config limits = {.connections_per_endpoint_n = 1};
    struct sl_pick_connection connection;
    struct fixture f;
    (void)state;

    fixture_init(&f, "least_request");
    sl_pool_set_limits(f.pool, &limits);
    take(&f, build(&f, 0, 1));
    struct sl_endpoint_set *set = sl_pool_pin(f.pool, 0);
    struct sl_endpoint *a = pick_with(set, false, &connection);
    assert_true(a != NULL && connection.taken);
    assert_null(pick_with(set, false, &connection));
    assert_true(connection.lacks);
    assert_int_equal(sl_pool_stat(f.pool, SL_POOL_NOBODY), 0); /* it is there */
    lay_idle(a, 1);
    assert_ptr_equal(pick_with(set, false, &connection), a);
    assert_false(connection.taken);
    assert_ptr_equal(pick_with(set, true, &connection), a); /* the idle one makes way */
    assert_false(connection.taken);
    assert_int_equal(atomic_load(&f.pool->connections.open_n), 1);
    lay_idle(a, 0);
    sl_pool_connections_give(&f.pool->connections, a);
    assert_ptr_equal(pick_with(set, true, &connection), a);
    assert_true(connection.taken);
    sl_pool_unpin(set, 0);
    fixture_fini(&f);
}

/* The first member runs as many requests as it may; the other one's connection lies idle on another
 * worker, which is to be asked for it. */
static void a_connection_is_what_lacks_whoever_is_full_besides(void **state)
{
    const struct sl_limits_config limits = {.per_endpoint_n = 1, .connections_per_endpoint_n = 1};
    struct sl_pick_connection connection = {0};
    struct sl_pick ctx = {.now_ms = NOW_MS, .connection = &connection};
    struct sl_endpoint *picked[2];
    enum sl_tier tier;
    struct fixture f;
    (void)state;

    fixture_init(&f, "round_robin");
    sl_pool_set_limits(f.pool, &limits);
    take(&f, build(&f, 0, 2));
    struct sl_endpoint_set *set = sl_pool_pin(f.pool, 0);
    for (size_t i = 0; i < 2; i++) {
        picked[i] = sl_pool_pick(set, 0, &ctx, &tier);
        assert_non_null(picked[i]);
    }
    for (size_t i = 0; i < 2; i++) {
        struct sl_endpoint *idle = set->members[i].endpoint;
        sl_pool_done(set, 0, idle, &good, NOW_MS); /* its connection stays */
        connection = (struct sl_pick_connection){0};
        assert_null(sl_pool_pick(set, 0, &ctx, &tier));
        check(connection.lacks, "member %zu could be had", i);
        connection = (struct sl_pick_connection){0};
        lay_idle(idle, 1);
        assert_ptr_equal(sl_pool_pick(set, 0, &ctx, &tier), idle); /* it is full again */
        lay_idle(idle, 0);
    }
    for (size_t i = 0; i < 2; i++) {
        sl_pool_done(set, 0, picked[i], &good, NOW_MS);
        sl_pool_connections_give(&f.pool->connections, picked[i]);
    }
    sl_pool_unpin(set, 0);
    fixture_fini(&f);
}

/* A policy during whose pick another worker's request ends where this one finds nobody. */
static struct sl_endpoint_set *raced;

static struct sl_endpoint *pick_and_lose_the_race(struct sl_balancer *b, const struct sl_pick *ctx)
{
    struct sl_endpoint *full = raced->members[1].endpoint;

    b->ops = raced->table->ops;
    struct sl_endpoint *ep = b->ops->pick(b, ctx);
    if (ep == NULL && atomic_load(&full->in_flight_n) > 0) {
        sl_pool_done(raced, 1, full, &good, NOW_MS);
    }
    return ep;
}

static void who_gets_room_between_two_looks_is_not_given_up(void **state)
{
    static struct sl_balancer_ops racing;
    enum sl_tier tier;
    struct fixture f;
    (void)state;

    fixture_init(&f, "round_robin");
    sl_pool_set_limits(f.pool, &one_each);
    f.found[0].draining = true;
    take(&f, build(&f, 0, 2));
    raced = sl_pool_pin(f.pool, 0);
    assert_ptr_equal(sl_pool_pick(raced, 1, &plain, &tier), raced->members[1].endpoint);
    racing = *raced->table->ops;
    racing.pick = pick_and_lose_the_race;
    raced->cells[0].balancer->ops = &racing;
    struct sl_endpoint *ep = sl_pool_pick(raced, 0, &plain, &tier);
    check(ep != raced->members[0].endpoint, "one that drains, while a ready one has room");
    assert_int_equal(tier, SL_TIER_READY);
    sl_pool_unpin(raced, 0);
    fixture_fini(&f);
}

/* What was picked, and is to be given back. */
struct taken {
    struct sl_endpoint *items[16];
    size_t n;
};

static struct sl_endpoint *take_one(struct sl_endpoint_set *set, const struct sl_pick *ctx,
                                    enum sl_tier *tier, struct taken *t)
{
    struct sl_endpoint *ep = sl_pool_pick(set, 0, ctx, tier);

    if (ep != NULL) {
        t->items[t->n++] = ep;
    }
    return ep;
}

static void give_back(struct sl_endpoint_set *set, const struct taken *t)
{
    for (size_t i = 0; i < t->n; i++) {
        sl_pool_done(set, 0, t->items[i], &good, NOW_MS);
    }
    sl_pool_unpin(set, 0);
}

/* One hot key, too: it goes from its own endpoint to the others, one after the other. */
static void who_is_full_is_passed_over_whatever_the_policy(void **state)
{
    static const struct sl_limits_config two_each = {.per_endpoint_n = 2};
    const struct sl_pick hot = {.now_ms = NOW_MS, .key_hash = 12345};
    const struct sl_pick *const picks[] = {&plain, &hot};
    static const uint32_t bounds_pct[] = {125, 0};
    (void)state;

    for (size_t i = 0; i < SL_ARRAY_LEN(every_policy) * 4; i++) {
        const char *policy = every_policy[i / 4];
        struct taken taken = {.n = 0};
        enum sl_tier tier;
        struct fixture f;

        fixture_init(&f, policy);
        f.conf.balance_bound_pct = bounds_pct[i / 2 % 2];
        sl_pool_set_limits(f.pool, &two_each);
        take(&f, build(&f, 0, 4));
        struct sl_endpoint_set *set = sl_pool_pin(f.pool, 0);
        for (int n = 0; n < 8; n++) {
            check(take_one(set, picks[i % 2], &tier, &taken) != NULL && tier == SL_TIER_READY,
                  "%s: pick %d", policy, n);
        }
        for (size_t m = 0; m < 4; m++) {
            assert_int_equal(set->members[m].endpoint->in_flight_n, 2);
        }
        assert_null(take_one(set, picks[i % 2], &tier, &taken));
        assert_int_equal(tier, SL_TIER_READY);
        give_back(set, &taken);
        fixture_fini(&f);
    }
}

/* Slow start says who is preferred; what has room is better than to wait. */
static void a_new_endpoint_is_taken_where_all_others_are_full(void **state)
{
    static const struct sl_slow_start_config slow_start = {10000, 1000, 0};
    (void)state;

    for (size_t i = 0; i < SL_ARRAY_LEN(every_policy); i++) {
        const struct sl_pick ctx = {.now_ms = NOW_MS, .key_hash = 12345};
        struct taken taken = {.n = 0};
        enum sl_tier tier;
        struct fixture f;

        fixture_init(&f, every_policy[i]);
        f.conf.balance_bound_pct = 125;
        sl_pool_set_limits(f.pool, &one_each);
        (void)grow(&f, &slow_start);
        struct sl_endpoint_set *set = sl_pool_pin(f.pool, 0);
        for (int n = 0; n < 4; n++) {
            check(take_one(set, &ctx, &tier, &taken) != NULL && tier == SL_TIER_READY,
                  "%s: pick %d", every_policy[i], n);
        }
        assert_null(take_one(set, &ctx, &tier, &taken));
        assert_int_equal(tier, SL_TIER_READY);
        give_back(set, &taken);
        fixture_fini(&f);
    }
}

static void who_is_drained_by_hand_is_not_waited_for_when_it_is_full(void **state)
{
    struct taken taken = {.n = 0};
    enum sl_tier tier;
    struct fixture f;
    (void)state;

    fixture_init(&f, "ring_hash");
    sl_pool_set_limits(f.pool, &one_each);
    take(&f, build(&f, 0, 2));
    struct sl_endpoint_set *set = sl_pool_pin(f.pool, 0);
    atomic_store(&set->members[1].endpoint->drained_by_hand, true);
    assert_ptr_equal(take_one(set, &plain, &tier, &taken), set->members[0].endpoint);
    assert_null(take_one(set, &plain, &tier, &taken));
    assert_int_equal(tier, SL_TIER_READY); /* the other one will have room */
    atomic_store(&set->members[0].endpoint->drained_by_hand, true);
    assert_null(take_one(set, &plain, &tier, &taken));
    assert_int_equal(tier, SL_TIERS_N);
    give_back(set, &taken);
    fixture_fini(&f);
}

static void a_pick_that_is_repeated_counts_nobody_once(void **state)
{
    static const struct sl_pick again = {.now_ms = NOW_MS, .again = true};
    enum sl_tier tier;
    struct fixture f;
    (void)state;

    fixture_init(&f, "round_robin");
    take(&f, build(&f, 0, 0));
    assert_int_equal(pick_once(&f, &plain, &good, &tier), -1);
    assert_int_equal(pick_once(&f, &again, &good, &tier), -1);
    assert_int_equal(tier, SL_TIERS_N);
    assert_int_equal(sl_pool_stat(f.pool, SL_POOL_NOBODY), 1);
    fixture_fini(&f);
}

static int allocs_left_n;

static bool allow_alloc(size_t size_bytes)
{
    (void)size_bytes;
    return allocs_left_n-- > 0;
}

static void building_survives_each_failed_allocation_and_workers_make_none(void **state)
{
    const char *const policies[] = {"round_robin", "least_request"};
    (void)state;

    for (size_t p = 0; p < SL_ARRAY_LEN(policies); p++) {
        struct sl_endpoint_set *set = NULL;
        struct sl_error err;
        enum sl_tier tier;
        struct fixture f;
        int rc = SL_ENOMEM;
        int allowed_n = 0;

        fixture_init(&f, policies[p]);
        const struct sl_snapshot snapshot = {.items = f.found, .n = 3};
        (void)snprintf(f.found[2].version, sizeof(f.found[2].version), "v2");
        sl_alloc_hook = allow_alloc;
        for (; rc != SL_OK; allowed_n++) {
            check(rc == SL_ENOMEM && set == NULL && f.pool->sets_n == 0 && f.pool->endpoints.n == 0,
                  "%d allowed: %d", allowed_n - 1, rc);
            allocs_left_n = allowed_n;
            rc = sl_pool_build_set(f.pool, &snapshot, &f.conf, &set, &err);
        }
        check(allowed_n > 9, "%d allocations", allowed_n - 1);
        allocs_left_n = 0;
        take(&f, set);
        check(pick_once(&f, &plain, &refused, &tier) >= 0, "nobody");
        check(allocs_left_n == 0, "a worker asked for memory");
        sl_alloc_hook = NULL;
        fixture_fini(&f);
    }
}

static void new_survives_each_failed_allocation(void **state)
{
    struct sl_endpoint_ids ids = {0};
    struct sl_pool *pool = NULL;
    int rc = SL_ENOMEM;
    (void)state;

    sl_alloc_hook = allow_alloc;
    for (int allowed_n = 0; rc != SL_OK; allowed_n++) {
        check(rc == SL_ENOMEM && pool == NULL, "%d allowed: %d", allowed_n - 1, rc);
        allocs_left_n = allowed_n;
        rc = sl_pool_new("chat", 2, &ids, on_set_done, &pool);
    }
    sl_alloc_hook = NULL;
    sl_pool_free(pool);
}

/* A worker thread with a mailbox of one letter. */
struct worker {
    pthread_t thread;
    struct sl_pool *pool;
    uint32_t idx;
    struct sl_endpoint_set *_Atomic letter;
    _Atomic bool stop;
    uint64_t picks_n;
    uint64_t nobody_n;
};

/* Each round holds one exchange over a possible change of sets. */
static void *work(void *arg)
{
    struct worker *w = arg;
    struct sl_rng rng = {.state = w->idx};

    while (!atomic_load(&w->stop) || atomic_load(&w->letter) != NULL) {
        enum sl_tier tier;
        struct sl_endpoint *ep = NULL;
        struct sl_endpoint_set *set = sl_pool_pin(w->pool, w->idx);
        if (set != NULL) {
            ep = sl_pool_pick(set, w->idx, &plain, &tier);
            w->picks_n++;
            w->nobody_n += ep == NULL;
        }
        struct sl_endpoint_set *letter = atomic_exchange(&w->letter, NULL);
        if (letter != NULL) {
            sl_pool_take_set(w->pool, w->idx, letter, &rng, NULL, NULL);
        }
        if (set != NULL) {
            if (ep != NULL) {
                sl_pool_done(set, w->idx, ep, w->picks_n % 64 == 0 ? &refused : &good, NOW_MS);
            }
            sl_pool_unpin(set, w->idx);
        }
    }
    sl_pool_take_set(w->pool, w->idx, NULL, &rng, NULL, NULL);
    return NULL;
}

/* Says most under FLAVOUR=tsan and FLAVOUR=asan. */
static void sets_come_and_go_under_running_workers(void **state)
{
    struct worker workers[WORKERS_N] = {0};
    struct fixture f;
    uint32_t freed_n = 0;
    (void)state;

    fixture_init(&f, "least_request");
    for (uint32_t i = 0; i < WORKERS_N; i++) {
        workers[i].pool = f.pool;
        workers[i].idx = i;
        assert_int_equal(pthread_create(&workers[i].thread, NULL, work, &workers[i]), 0);
    }
    for (size_t round = 0; round < 300; round++) {
        struct sl_endpoint_set *set = build(&f, round % 5, 3);
        for (uint32_t i = 0; i < WORKERS_N; i++) {
            while (atomic_load(&workers[i].letter) != NULL) {
                (void)sched_yield(); /* cannot fail on Linux */
            }
            atomic_store(&workers[i].letter, set);
        }
        freed_n += free_released();
    }
    for (uint32_t i = 0; i < WORKERS_N; i++) {
        atomic_store(&workers[i].stop, true);
        assert_int_equal(pthread_join(workers[i].thread, NULL), 0);
        /* The clock stands: once all three have refused, nobody is asked again. */
        check(workers[i].nobody_n < workers[i].picks_n, "worker %u: %ju of %ju", i,
              (uintmax_t)workers[i].nobody_n, (uintmax_t)workers[i].picks_n);
    }
    freed_n += free_released();
    assert_int_equal(freed_n, 300);
    assert_int_equal(f.pool->sets_n, 0);
    assert_int_equal(f.pool->endpoints.n, 0);
    sl_pool_free(f.pool);
}

enum {
    CAP_N = 3
};

static _Atomic uint32_t at_once_n;

/* in_flight_n itself is above the cap for an instant while a place is tried for. */
static void *pick_under_a_cap(void *arg)
{
    struct worker *w = arg;
    struct sl_endpoint_set *set = sl_pool_pin(w->pool, w->idx);

    for (int i = 0; i < 20000; i++) {
        enum sl_tier tier;
        struct sl_endpoint *ep = sl_pool_pick(set, w->idx, &plain, &tier);
        if (ep != NULL) {
            w->picks_n++;
            w->nobody_n += atomic_fetch_add(&at_once_n, 1) >= CAP_N;
            atomic_fetch_sub(&at_once_n, 1);
            sl_pool_done(set, w->idx, ep, &good, NOW_MS);
        }
    }
    sl_pool_unpin(set, w->idx);
    return NULL;
}

static void a_cap_is_never_exceeded_by_workers_that_pick_at_once(void **state)
{
    const struct sl_limits_config limits = {.per_endpoint_n = CAP_N};
    struct sl_endpoint_ids ids = {0};
    struct worker workers[4] = {0};
    struct fixture f;
    (void)state;

    fixture_init(&f, "least_request");
    sl_pool_free(f.pool);
    assert_int_equal(sl_pool_new("chat", 4, &ids, on_set_done, &f.pool), SL_OK);
    sl_pool_set_limits(f.pool, &limits);
    struct sl_endpoint_set *set = build(&f, 0, 1);
    struct sl_rng rngs[4] = {{1}, {2}, {3}, {4}};
    for (uint32_t i = 0; i < 4; i++) {
        workers[i].pool = f.pool;
        workers[i].idx = i;
        sl_pool_take_set(f.pool, i, set, &rngs[i], NULL, NULL);
    }
    for (uint32_t i = 0; i < 4; i++) {
        assert_int_equal(pthread_create(&workers[i].thread, NULL, pick_under_a_cap, &workers[i]),
                         0);
    }
    for (uint32_t i = 0; i < 4; i++) {
        assert_int_equal(pthread_join(workers[i].thread, NULL), 0);
        check(workers[i].picks_n > 0 && workers[i].nobody_n == 0, "worker %u: %ju of %ju beyond", i,
              (uintmax_t)workers[i].nobody_n, (uintmax_t)workers[i].picks_n);
        sl_pool_take_set(f.pool, i, NULL, &rngs[i], NULL, NULL);
    }
    (void)free_released(); /* the one set */
    sl_pool_free(f.pool);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_pool_without_a_set_is_not_synced),
        cmocka_unit_test(a_new_set_keeps_what_it_names_and_tells_who_is_gone),
        cmocka_unit_test(labels_stand_beside_the_members_and_belong_to_the_set),
        cmocka_unit_test(a_running_exchange_keeps_its_set_and_its_endpoint),
        cmocka_unit_test(a_set_that_was_never_mailed_can_be_freed),
        cmocka_unit_test(standards_are_lowered_only_for_want_of_better_and_that_is_counted),
        cmocka_unit_test(who_refuses_is_asked_again_one_at_a_time_and_in_turn),
        cmocka_unit_test(an_endpoint_that_refused_comes_back_by_one_trial),
        cmocka_unit_test(a_new_endpoint_has_a_cap_until_it_is_new_no_more),
        cmocka_unit_test(a_new_endpoint_gets_its_share_little_by_little),
        cmocka_unit_test(a_new_endpoint_starts_slowly_whatever_the_policy),
        cmocka_unit_test(a_new_endpoint_is_taken_where_no_other_is_ready),
        cmocka_unit_test(who_comes_back_from_an_ejection_is_given_little_at_first),
        cmocka_unit_test(a_policy_that_does_not_exist_is_a_config_error),
        cmocka_unit_test(an_empty_set_is_synced_and_has_nobody),
        cmocka_unit_test(a_cap_holds_for_the_endpoints_there_are_and_will_be),
        cmocka_unit_test(who_is_full_is_waited_for_rather_than_a_worse_one_taken),
        cmocka_unit_test(who_gets_room_between_two_looks_is_not_given_up),
        cmocka_unit_test(a_pick_takes_the_connection_that_it_needs),
        cmocka_unit_test(an_endpoint_at_its_limit_is_picked_for_an_idle_connection_only),
        cmocka_unit_test(a_connection_is_what_lacks_whoever_is_full_besides),
        cmocka_unit_test(who_is_full_is_passed_over_whatever_the_policy),
        cmocka_unit_test(a_new_endpoint_is_taken_where_all_others_are_full),
        cmocka_unit_test(who_is_drained_by_hand_is_not_waited_for_when_it_is_full),
        cmocka_unit_test(a_pick_that_is_repeated_counts_nobody_once),
        cmocka_unit_test(a_cap_is_never_exceeded_by_workers_that_pick_at_once),
        cmocka_unit_test(building_survives_each_failed_allocation_and_workers_make_none),
        cmocka_unit_test(new_survives_each_failed_allocation),
        cmocka_unit_test(sets_come_and_go_under_running_workers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
