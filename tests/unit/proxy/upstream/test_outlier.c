/* SPDX-License-Identifier: Apache-2.0 */
#include "proxy/base/rng.h"
#include "proxy/upstream/outlier.h"
#include "tests/unit/check.h"

#include <pthread.h>
#include <sched.h>
#include <string.h>

enum {
    MEMBERS_MAX_N = 16,
    START_MS = 100000 /* at the beginning of a slot */
};

struct pool {
    struct sl_endpoint endpoints[MEMBERS_MAX_N];
    struct sl_member members[MEMBERS_MAX_N];
    struct sl_endpoint_set set;
    struct sl_outlier outlier;
    struct sl_rng rng;
    uint64_t now_ms;
};

static const struct sl_outcome good = {.status = 200};
static const struct sl_outcome broken = {.failed = true};
static const struct sl_outcome refused = {.failed = true, .refused = true};

static void pool_init(struct pool *p, size_t members_n)
{
    memset(p, 0, sizeof(*p));
    for (size_t i = 0; i < members_n; i++) {
        p->members[i] = (struct sl_member){.endpoint = &p->endpoints[i], .weight = 1};
    }
    p->set = (struct sl_endpoint_set){.members = p->members, .members_n = members_n};
    p->rng.state = 42;
    p->now_ms = START_MS;
}

/* An attempt that lasted lasted_ms ends now. */
static bool report(struct pool *p, int idx, const struct sl_outcome *o, uint64_t lasted_ms)
{
    const struct sl_outlier_report r = {p->now_ms - lasted_ms, p->now_ms, &p->rng};

    return sl_outlier_on_outcome(&p->outlier, &p->set, &p->endpoints[idx], o, &r);
}

static int report_n(struct pool *p, int idx, const struct sl_outcome *o, int n)
{
    int ejected_n = 0;

    for (int i = 0; i < n; i++) {
        ejected_n += report(p, idx, o, 0);
    }
    return ejected_n;
}

static bool ready(const struct pool *p, int idx)
{
    return sl_endpoint_eligible(&p->members[idx], SL_TIER_READY, p->now_ms);
}

/* Milliseconds from now until it may be picked again. */
static uint64_t out_ms(const struct pool *p, int idx)
{
    uint64_t until_ms = p->endpoints[idx].ejected_until_ms;
    return until_ms > p->now_ms ? until_ms - p->now_ms : 0;
}

static void what_an_outcome_says_of_an_endpoint(void **state)
{
    static const struct {
        const char *what;
        struct sl_outcome outcome;
        int ejected_after_n; /* 0: never */
    } rows[] = {
        {"success", {.status = 200}, 0},
        {"refused connect", {.failed = true, .refused = true}, 1},
        {"reset or timeout", {.failed = true}, 5},
        {"502", {.status = 502}, 5},
        {"503", {.status = 503}, 5},
        {"504", {.status = 504}, 5},
        {"503 with Retry-After", {.status = 503, .retry_after_ms = 1000}, 0},
        {"429", {.status = 429}, 0},
        {"429 with Retry-After", {.status = 429, .retry_after_ms = 1000}, 0},
        {"404", {.status = 404}, 0},
        {"500", {.status = 500}, 0},
        {"client gone", {.abandoned = true}, 0},
        {"client gone while it failed", {.failed = true, .abandoned = true}, 0},
        {"TCP connection that ended in order", {.status = 0}, 0},
    };
    (void)state;

    for (size_t r = 0; r < SL_ARRAY_LEN(rows); r++) {
        int ejected_after_n = 0;
        struct pool p;

        pool_init(&p, 4);
        for (int i = 1; i <= 20 && ejected_after_n == 0; i++) {
            ejected_after_n = report(&p, 0, &rows[r].outcome, 0) ? i : 0;
        }
        check(ejected_after_n == rows[r].ejected_after_n, "%s: out after %d, expected %d",
              rows[r].what, ejected_after_n, rows[r].ejected_after_n);
    }
}

static void a_success_between_failures_starts_the_row_anew(void **state)
{
    struct pool p;
    (void)state;

    pool_init(&p, 4);
    report_n(&p, 0, &good, 60); /* so that the share of success does not matter */
    for (int i = 0; i < 3; i++) {
        assert_int_equal(report_n(&p, 0, &broken, 4), 0);
        report(&p, 0, &good, 0);
    }
    assert_int_equal(report_n(&p, 0, &broken, 5), 1);
}

static void less_than_four_fifths_of_success_in_a_slot_ejects(void **state)
{
    static const struct {
        int good_n;
        int broken_n;
        bool out;
    } rows[] = {{3, 1, false}, {3, 2, true}, {4, 1, false}, {80, 20, false}, {79, 21, true}};
    (void)state;

    for (size_t r = 0; r < SL_ARRAY_LEN(rows); r++) {
        struct pool p;
        pool_init(&p, 4);
        report_n(&p, 0, &good, rows[r].good_n - 1);
        /* Spread, so that no five stand in a row, with one good left to part them. */
        for (int i = 0; i < rows[r].broken_n; i++) {
            if (i % 4 == 3) {
                p.endpoints[0].failures_in_row_n = 0;
            }
            if (i == rows[r].broken_n - 1) {
                report(&p, 0, &good, 0);
            }
            report(&p, 0, &broken, 0);
        }
        check(!ready(&p, 0) == rows[r].out, "%d good, %d broken: out for %ju ms", rows[r].good_n,
              rows[r].broken_n, (uintmax_t)out_ms(&p, 0));
    }
}

static void a_new_slot_forgets_the_old_ones_failures(void **state)
{
    struct pool p;
    (void)state;

    pool_init(&p, 4);
    report_n(&p, 0, &broken, 4);
    report(&p, 0, &good, 0); /* 0.2 of five, but a success is no moment to eject */
    assert_true(ready(&p, 0));
    p.now_ms += SL_OUTLIER_SLOT_MS;
    report_n(&p, 0, &good, 4);
    assert_false(report(&p, 0, &broken, 0)); /* 0.8 of this slot's five */
    assert_true(report(&p, 0, &broken, 0));  /* 0.66 of its six */
}

static void a_refused_connect_is_out_for_a_second_and_counts_once(void **state)
{
    struct pool p;
    (void)state;

    pool_init(&p, 1); /* even the last one: nobody listens there */
    for (int i = 0; i < 10; i++) {
        assert_int_equal(report(&p, 0, &refused, 0), i == 0);
    }
    assert_int_equal(out_ms(&p, 0), 1000);
    assert_false(ready(&p, 0));
    p.now_ms += 1000;
    assert_true(ready(&p, 0));
}

/* One trial after each time out; returns the time out that its failure brings. */
static uint64_t fail_trial(struct pool *p, const struct sl_outcome *o)
{
    p->now_ms += out_ms(p, 0);
    assert_true(sl_outlier_admit(&p->endpoints[0], p->now_ms));
    p->now_ms += 2;
    assert_true(report(p, 0, o, 2));
    return out_ms(p, 0);
}

static void failed_trials_double_the_time_out_up_to_a_minute_and_a_half(void **state)
{
    const struct sl_outcome *const kinds[] = {&broken, &refused};
    (void)state;

    for (size_t k = 0; k < SL_ARRAY_LEN(kinds); k++) {
        uint64_t least_ms = 1000;
        bool jittered = false;
        struct pool p;

        pool_init(&p, 4);
        report_n(&p, 0, kinds[k], 5);
        check(out_ms(&p, 0) >= 1000 && out_ms(&p, 0) <= 1500, "first: %ju",
              (uintmax_t)out_ms(&p, 0));
        for (int i = 0; i < 10; i++) {
            uint64_t ms = fail_trial(&p, kinds[k]);
            least_ms = least_ms * 2 < 60000 ? least_ms * 2 : 60000;
            check(ms >= least_ms && ms <= least_ms * 3 / 2, "trial %d: out for %ju ms, not %ju", i,
                  (uintmax_t)ms, (uintmax_t)least_ms);
            jittered |= ms != least_ms;
        }
        assert_true(jittered);
    }
}

static void one_trial_at_a_time_and_the_next_five_seconds_later(void **state)
{
    struct pool p;
    struct sl_endpoint *ep = &p.endpoints[0];
    (void)state;

    pool_init(&p, 4);
    assert_true(sl_outlier_admit(ep, p.now_ms)); /* nothing is wrong with it */
    report(&p, 0, &refused, 0);
    assert_false(sl_outlier_admit(ep, p.now_ms + 999));
    p.now_ms += 1000;
    assert_true(sl_outlier_admit(ep, p.now_ms));
    assert_false(ready(&p, 0)); /* for all others */
    assert_false(sl_outlier_admit(ep, p.now_ms));
    report(&p, 0, &(struct sl_outcome){.abandoned = true}, 0); /* which proves nothing */
    assert_false(ready(&p, 0));
    p.now_ms += SL_OUTLIER_TRIAL_MS;
    assert_true(ready(&p, 0));
    assert_true(sl_outlier_admit(ep, p.now_ms));
}

static void a_trial_that_succeeds_ends_it_and_the_doubling(void **state)
{
    (void)state;

    for (int early = 0; early < 2; early++) {
        struct pool p;
        pool_init(&p, 4);
        report_n(&p, 0, &broken, 5);
        fail_trial(&p, &broken);
        p.now_ms += out_ms(&p, 0);
        assert_true(sl_outlier_admit(&p.endpoints[0], p.now_ms));
        p.now_ms += 7;
        if (early) { /* the head of an answer whose end is minutes away */
            sl_outlier_on_answer(&p.endpoints[0], p.now_ms - 7, p.now_ms);
        } else {
            report(&p, 0, &good, 7);
        }
        assert_true(ready(&p, 0));
        assert_true(sl_outlier_admit(&p.endpoints[0], p.now_ms));
        assert_int_equal(report_n(&p, 0, &broken, 5), 1);
        check(out_ms(&p, 0) <= 1500, "out for %ju ms", (uintmax_t)out_ms(&p, 0));
    }
}

static void a_connection_that_opens_ends_a_refusal_and_nothing_else(void **state)
{
    struct pool p;
    (void)state;

    pool_init(&p, 4);
    assert_true(report(&p, 0, &refused, 0));
    assert_int_equal(report_n(&p, 2, &broken, 5), 1);
    p.now_ms += 10;
    sl_outlier_on_connect(&p.endpoints[0], p.now_ms - 10, p.now_ms); /* begun before it died */
    assert_false(ready(&p, 0));
    sl_outlier_on_connect(&p.endpoints[0], p.now_ms - 9, p.now_ms);
    sl_outlier_on_connect(&p.endpoints[2], p.now_ms - 9, p.now_ms);
    assert_true(ready(&p, 0));
    assert_false(sl_endpoint_refuses(&p.endpoints[0]));
    assert_false(ready(&p, 2)); /* it takes connections, and fails */
    assert_true(report(&p, 0, &refused, 0));
    assert_int_equal(out_ms(&p, 0), SL_OUTLIER_BASE_MS); /* nothing is held against it */
}

static void who_is_out_and_refuses_is_one_that_refuses_and_out_for_no_longer(void **state)
{
    struct pool p;
    (void)state;

    pool_init(&p, 4);
    for (int hangs = 0; hangs < 2; hangs++) {
        const struct sl_outlier_report r = {p.now_ms, p.now_ms, &p.rng};
        struct sl_endpoint *ep = &p.endpoints[hangs];

        if (hangs) {
            assert_true(sl_outlier_on_hang(&p.outlier, &p.set, ep, &r));
        } else {
            assert_int_equal(report_n(&p, hangs, &broken, 5), 1);
        }
        uint64_t until_ms = ep->ejected_until_ms;
        assert_false(sl_endpoint_refuses(ep));
        assert_false(report(&p, hangs, &refused, 0)); /* in the same turn, asked for want of more */
        assert_true(sl_endpoint_refuses(ep));
        assert_int_equal(ep->ejected_until_ms, until_ms);
        assert_false(sl_endpoint_eligible(&p.members[hangs], SL_TIER_ANY, p.now_ms));
        assert_true(sl_endpoint_eligible(&p.members[hangs], SL_TIER_REFUSING, p.now_ms));
        p.now_ms++;
        sl_outlier_on_connect(ep, p.now_ms, p.now_ms);
        assert_true(ready(&p, hangs));
    }
}

static void what_began_before_the_ejection_proves_nothing(void **state)
{
    struct pool p;
    (void)state;

    pool_init(&p, 4);
    report_n(&p, 0, &broken, 5);
    uint64_t until_ms = p.endpoints[0].ejected_until_ms;
    for (int i = 0; i < 50; i++) { /* they ran while it died */
        p.now_ms++;
        assert_false(report(&p, 0, i % 2 == 0 ? &broken : &refused, 500));
        assert_false(report(&p, 0, &good, 500));
    }
    assert_false(report(&p, 0, &broken, 10)); /* sent to it for want of another: no trial */
    assert_int_equal(p.endpoints[0].ejected_until_ms, until_ms);
    report(&p, 0, &good, 10);
    assert_true(ready(&p, 0));
}

static void statistics_leave_half_of_the_members_and_one_at_least(void **state)
{
    static const struct {
        size_t members_n;
        int left_n;
    } rows[] = {{1, 1}, {2, 1}, {3, 2}, {4, 2}, {5, 3}, {16, 8}};
    (void)state;

    for (size_t r = 0; r < SL_ARRAY_LEN(rows); r++) {
        struct pool p;
        pool_init(&p, rows[r].members_n);
        for (int round = 0; round < 3; round++) {
            int left_n = 0;
            for (size_t i = 0; i < rows[r].members_n; i++) {
                report_n(&p, (int)i, &broken, 20);
                left_n += ready(&p, (int)i);
            }
            check(left_n == rows[r].left_n, "%zu members, round %d: %d left", rows[r].members_n,
                  round, left_n);
        }
        for (size_t i = 0; i < rows[r].members_n; i++) { /* refusal asks nobody */
            report(&p, (int)i, &refused, 0);
            assert_false(ready(&p, (int)i));
        }
    }
}

static void who_takes_no_new_requests_does_not_count_as_left(void **state)
{
    static const char *const reasons[] = {"draining", "weight 0",         "probe failed",
                                          "refused",  "awaits its trial", "drained by hand"};
    (void)state;

    for (size_t r = 0; r < SL_ARRAY_LEN(reasons); r++) {
        struct pool p;
        pool_init(&p, 2);
        p.members[1].draining = r == 0;
        p.members[1].weight = r == 1 ? 0 : 1;
        p.endpoints[1].health = r == 2 ? SL_HEALTH_DOWN : SL_HEALTH_UP;
        p.endpoints[1].drained_by_hand = r == 5;
        if (r == 3 || r == 4) {
            report(&p, 1, &refused, 0);
            p.now_ms += r == 4 ? 1000 : 0;
        }
        report_n(&p, 0, &broken, 20);
        check(ready(&p, 0), "%s: the other one was ejected", reasons[r]);
    }
}

static void retry_after_steers_away_without_ejecting(void **state)
{
    struct sl_outcome o = {.status = 503, .retry_after_ms = 2000};
    struct pool p;
    (void)state;

    pool_init(&p, 1);
    report(&p, 0, &o, 0);
    assert_false(ready(&p, 0));
    assert_true(sl_endpoint_eligible(&p.members[0], SL_TIER_DRAINING, p.now_ms));
    p.now_ms += 2000;
    assert_true(ready(&p, 0));
    o.retry_after_ms = UINT64_MAX;
    report(&p, 0, &o, 0);
    assert_int_equal(p.endpoints[0].steer_until_ms, p.now_ms + SL_OUTLIER_STEER_MAX_MS);
}

static void a_probe_ends_a_refusal_at_once_and_statistics_when_their_time_is_over(void **state)
{
    struct pool p;
    (void)state;

    pool_init(&p, 4);
    report(&p, 0, &refused, 0);
    sl_outlier_on_probe_ok(&p.endpoints[0], p.now_ms);
    assert_true(ready(&p, 0));
    assert_true(sl_outlier_admit(&p.endpoints[0], p.now_ms)); /* and no trial is needed */

    report_n(&p, 1, &broken, 5);
    sl_outlier_on_probe_ok(&p.endpoints[1], p.now_ms);
    assert_false(ready(&p, 1));
    p.now_ms += out_ms(&p, 1);
    sl_outlier_on_probe_ok(&p.endpoints[1], p.now_ms);
    assert_true(sl_outlier_admit(&p.endpoints[1], p.now_ms));
    assert_true(sl_outlier_admit(&p.endpoints[1], p.now_ms));
}

struct rival {
    pthread_t thread;
    struct pool *pool;
    int idx;
};

enum {
    RIVAL_ROUNDS_N = 20000
};

/* Waits for the other one without sleeping, so that both go on within nanoseconds. */
static void meet(_Atomic uint32_t *arrived_n, uint32_t *met_n)
{
    *met_n += 2;
    atomic_fetch_add(arrived_n, 1);
    for (int i = 0; atomic_load(arrived_n) < *met_n; i++) {
        if (i % 1000 == 999) {
            (void)sched_yield(); /* cannot fail on Linux */
        }
    }
}

static _Atomic uint32_t arrived_n;

/* Its endpoint's fifth failure, at the same instant as the other one's. Returns how often both
 * were out then. */
static void *fail_fifth(void *arg)
{
    struct rival *r = arg;
    struct pool *p = r->pool;
    struct sl_endpoint *ep = &p->endpoints[r->idx];
    struct sl_rng rng = {.state = 1};
    uintptr_t both_out_n = 0;
    uint32_t met_n = 0;

    for (int i = 0; i < RIVAL_ROUNDS_N; i++) {
        const struct sl_outlier_report at = {START_MS, START_MS, &rng};
        atomic_store(&ep->failures_in_row_n, SL_OUTLIER_IN_ROW_N - 1);
        meet(&arrived_n, &met_n);
        (void)sl_outlier_on_outcome(&p->outlier, &p->set, ep, &broken, &at); /* seen below */
        meet(&arrived_n, &met_n);
        both_out_n += !ready(p, 0) && !ready(p, 1);
        meet(&arrived_n, &met_n);
        atomic_store(&ep->ejected_until_ms, 0);
        atomic_store(&ep->ejections_in_row_n, 0);
    }
    return (void *)both_out_n; /* a count, dressed as what pthread_join hands over */
}

static void two_workers_never_take_the_last_two_at_once(void **state)
{
    struct rival rivals[2];
    struct pool p;
    (void)state;

    pool_init(&p, MEMBERS_MAX_N);
    for (int i = 2; i < MEMBERS_MAX_N; i++) { /* to be looked at, and not to be counted */
        p.members[i].weight = 0;
    }
    for (int i = 0; i < 2; i++) {
        rivals[i] = (struct rival){.pool = &p, .idx = i};
        assert_int_equal(pthread_create(&rivals[i].thread, NULL, fail_fifth, &rivals[i]), 0);
    }
    for (int i = 0; i < 2; i++) {
        void *both_out;
        assert_int_equal(pthread_join(rivals[i].thread, &both_out), 0);
        check(both_out == NULL, "both were out %ju times", (uintmax_t)(uintptr_t)both_out);
    }
}

struct worker {
    pthread_t thread;
    struct pool *pool;
    uint64_t seed;
    int ejected_n;
    int trials_n;
    int fewest_n; /* members in, as this worker saw it after each report */
};

/* Every endpoint fails everywhere. */
static void *work(void *arg)
{
    struct worker *w = arg;
    struct pool *p = w->pool;
    struct sl_rng rng = {.state = w->seed};

    w->fewest_n = MEMBERS_MAX_N;
    for (int i = 0; i < 5000; i++) {
        struct sl_endpoint *ep = &p->endpoints[sl_rng_below(&rng, MEMBERS_MAX_N)];
        const struct sl_outlier_report r = {START_MS, START_MS, &rng};
        int in_n = 0;
        w->ejected_n += sl_outlier_on_outcome(&p->outlier, &p->set, ep, &broken, &r);
        for (int m = 0; m < MEMBERS_MAX_N; m++) {
            in_n += sl_endpoint_eligible(&p->members[m], SL_TIER_READY, START_MS);
        }
        w->fewest_n = in_n < w->fewest_n ? in_n : w->fewest_n;
    }
    for (int m = 0; m < MEMBERS_MAX_N; m++) { /* a minute later all four want each trial */
        struct sl_endpoint *ep = &p->endpoints[m];
        w->trials_n +=
            atomic_load(&ep->ejections_in_row_n) > 0 && sl_outlier_admit(ep, START_MS + 60000);
    }
    return NULL;
}

/* Says most under FLAVOUR=tsan. */
static void four_workers_at_once_eject_no_more_than_half_and_share_the_trials(void **state)
{
    struct worker workers[4] = {0};
    struct pool p;
    int ejected_n = 0;
    int trials_n = 0;
    (void)state;

    pool_init(&p, MEMBERS_MAX_N);
    for (size_t i = 0; i < SL_ARRAY_LEN(workers); i++) {
        workers[i].pool = &p;
        workers[i].seed = i;
        assert_int_equal(pthread_create(&workers[i].thread, NULL, work, &workers[i]), 0);
    }
    for (size_t i = 0; i < SL_ARRAY_LEN(workers); i++) {
        assert_int_equal(pthread_join(workers[i].thread, NULL), 0);
        ejected_n += workers[i].ejected_n;
        trials_n += workers[i].trials_n;
        check(workers[i].fewest_n >= MEMBERS_MAX_N / 2, "worker %zu saw only %d in", i,
              workers[i].fewest_n);
    }
    assert_int_equal(ejected_n, MEMBERS_MAX_N / 2);
    assert_int_equal(trials_n, MEMBERS_MAX_N / 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_an_outcome_says_of_an_endpoint),
        cmocka_unit_test(a_success_between_failures_starts_the_row_anew),
        cmocka_unit_test(less_than_four_fifths_of_success_in_a_slot_ejects),
        cmocka_unit_test(a_new_slot_forgets_the_old_ones_failures),
        cmocka_unit_test(a_refused_connect_is_out_for_a_second_and_counts_once),
        cmocka_unit_test(failed_trials_double_the_time_out_up_to_a_minute_and_a_half),
        cmocka_unit_test(one_trial_at_a_time_and_the_next_five_seconds_later),
        cmocka_unit_test(a_trial_that_succeeds_ends_it_and_the_doubling),
        cmocka_unit_test(a_connection_that_opens_ends_a_refusal_and_nothing_else),
        cmocka_unit_test(who_is_out_and_refuses_is_one_that_refuses_and_out_for_no_longer),
        cmocka_unit_test(what_began_before_the_ejection_proves_nothing),
        cmocka_unit_test(statistics_leave_half_of_the_members_and_one_at_least),
        cmocka_unit_test(who_takes_no_new_requests_does_not_count_as_left),
        cmocka_unit_test(retry_after_steers_away_without_ejecting),
        cmocka_unit_test(a_probe_ends_a_refusal_at_once_and_statistics_when_their_time_is_over),
        cmocka_unit_test(two_workers_never_take_the_last_two_at_once),
        cmocka_unit_test(four_workers_at_once_eject_no_more_than_half_and_share_the_trials),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
