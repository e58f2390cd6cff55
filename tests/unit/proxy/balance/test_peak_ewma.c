/* SPDX-License-Identifier: Apache-2.0 */
#include "crowd.h"

#include "proxy/balance/policies.h"
#include "tests/unit/check.h"

#include <stdlib.h>

enum {
    MS = 1000 /* in microseconds */
};

static void done(struct crowd *c, size_t idx, const struct sl_outcome *o, uint64_t now_ms)
{
    c->ops->on_done(c->balancer, &c->endpoints[idx], o, now_ms);
}

static void answered(struct crowd *c, size_t idx, uint64_t ttft_us, uint64_t now_ms)
{
    done(c, idx,
         &(struct sl_outcome){.status = 200, .ttft_us = ttft_us, .duration_us = ttft_us * 50},
         now_ms);
}

static int pick_at(struct crowd *c, uint64_t now_ms)
{
    struct sl_pick ctx = crowd_pick;

    ctx.now_ms = now_ms;
    return crowd_pick_idx(c, &ctx);
}

/* How many of 1000 picks go to idx. */
static int picks_of(struct crowd *c, int idx, uint64_t now_ms)
{
    int got_n = 0;

    for (int i = 0; i < 1000; i++) {
        got_n += pick_at(c, now_ms) == idx;
    }
    return got_n;
}

static void a_pool_of_which_nothing_is_known_shares_by_weight(void **state)
{
    static const uint16_t weights[] = {1, 2, 5, 0};
    uint32_t got_n[SL_ARRAY_LEN(weights)] = {0};
    struct crowd c;
    (void)state;

    crowd_init(&c, &sl_peak_ewma_ops, SL_ARRAY_LEN(weights), weights, NULL);
    for (uint32_t i = 0; i < 80000; i++) {
        got_n[crowd_pick_idx(&c, &crowd_pick)]++;
    }
    double chi_square = crowd_chi_square(&c, got_n, 80000);
    check(chi_square < 13.8, "chi-square %f", chi_square); /* 2 degrees: 1 in 1 000 */
    crowd_fini(&c);
}

static void latency_times_waiting_requests_decides(void **state)
{
    struct crowd c;
    (void)state;

    crowd_init(&c, &sl_peak_ewma_ops, 2, NULL, NULL);
    answered(&c, 0, 10 * MS, CROWD_NOW_MS);
    answered(&c, 1, 45 * MS, CROWD_NOW_MS);
    for (uint32_t waiting_n = 0; waiting_n < 8; waiting_n++) {
        c.endpoints[0].in_flight_n = waiting_n;
        int want = 10 * (waiting_n + 1) < 45 ? 0 : 1;
        int got_n = picks_of(&c, want, CROWD_NOW_MS);
        check(got_n == 1000, "%u wait at the fast one: %d picks went to %d", waiting_n, got_n,
              want);
    }
    crowd_fini(&c);
}

static void waiting_requests_count_by_weight(void **state)
{
    static const uint16_t weights[] = {100, 300};
    struct crowd c;
    (void)state;

    crowd_init(&c, &sl_peak_ewma_ops, 2, weights, NULL);
    answered(&c, 0, 10 * MS, CROWD_NOW_MS);
    answered(&c, 1, 10 * MS, CROWD_NOW_MS);
    c.endpoints[0].in_flight_n = 10;
    c.endpoints[1].in_flight_n = 29;
    assert_int_equal(picks_of(&c, 1, CROWD_NOW_MS), 1000);
    c.endpoints[1].in_flight_n = 31;
    assert_int_equal(picks_of(&c, 0, CROWD_NOW_MS), 1000);
    crowd_fini(&c);
}

static void a_peak_is_believed_at_once_and_forgotten_slowly(void **state)
{
    uint64_t now_ms = CROWD_NOW_MS;
    struct crowd c;
    (void)state;

    crowd_init(&c, &sl_peak_ewma_ops, 2, NULL, NULL);
    for (size_t idx = 0; idx < 2; idx++) {
        answered(&c, idx, 10 * MS, now_ms);
    }
    answered(&c, 0, 100 * MS, ++now_ms);
    assert_int_equal(picks_of(&c, 1, now_ms), 1000);
    for (; now_ms < CROWD_NOW_MS + 8000; now_ms += 100) { /* fast again: not trusted yet */
        answered(&c, 0, 5 * MS, now_ms);
        answered(&c, 1, 10 * MS, now_ms);
        assert_int_equal(pick_at(&c, now_ms), 1);
    }
    for (; now_ms < CROWD_NOW_MS + 60000; now_ms += 100) {
        answered(&c, 0, 5 * MS, now_ms);
        answered(&c, 1, 10 * MS, now_ms);
    }
    assert_int_equal(picks_of(&c, 0, now_ms), 1000);
    crowd_fini(&c);
}

static void a_slow_one_of_which_nothing_is_heard_gets_another_chance(void **state)
{
    uint64_t now_ms = CROWD_NOW_MS;
    struct crowd c;
    (void)state;

    crowd_init(&c, &sl_peak_ewma_ops, 3, NULL, NULL);
    answered(&c, 0, 2000 * MS, now_ms);
    int first_ms = 0;
    for (; first_ms == 0 && now_ms < CROWD_NOW_MS + 600000; now_ms += 50) {
        answered(&c, 1, 10 * MS, now_ms);
        answered(&c, 2, 10 * MS, now_ms);
        c.endpoints[1].in_flight_n = c.endpoints[2].in_flight_n = 2; /* what costs 30 ms */
        first_ms = pick_at(&c, now_ms) == 0 ? (int)(now_ms - CROWD_NOW_MS) : 0;
    }
    check(first_ms > 10000 && first_ms < 120000, "tried again after %d ms", first_ms);
    crowd_fini(&c);
}

/* The new one is worth its share: neither nothing, nor all that two choices could give it. */
static void a_new_endpoint_is_like_the_mean_even_beside_one_that_hangs(void **state)
{
    struct crowd c;
    (void)state;

    crowd_init(&c, &sl_peak_ewma_ops, 11, NULL, NULL);
    for (size_t idx = 0; idx < 10; idx++) {
        answered(&c, idx, idx == 9 ? 60000 * MS : (8 + idx % 5) * MS, CROWD_NOW_MS);
    }
    int got_n = 0;
    for (int i = 0; i < 11000; i++) {
        got_n += crowd_pick_idx(&c, &crowd_pick) == 10;
    }
    check(got_n > 500 && got_n < 1700, "%d of 11000 picks went to the new one", got_n);
    for (size_t idx = 0; idx < 10; idx++) {
        c.endpoints[idx].in_flight_n = 1;
    }
    c.endpoints[10].in_flight_n = 3; /* and what it has to do counts from the first moment on */
    assert_int_equal(picks_of(&c, 10, CROWD_NOW_MS) < 150, 1);
    crowd_fini(&c);
}

static void what_was_learned_outlives_the_set(void **state)
{
    struct crowd c;
    struct crowd next;
    (void)state;

    crowd_init(&c, &sl_peak_ewma_ops, 3, NULL, NULL);
    answered(&c, 0, 500 * MS, CROWD_NOW_MS);
    answered(&c, 1, 10 * MS, CROWD_NOW_MS);
    crowd_init_without(&next, &c, 2);
    assert_int_equal(picks_of(&next, 1, CROWD_NOW_MS), 1000);
    crowd_fini(&next);
    crowd_fini(&c);
}

static void a_failure_is_a_sample_only_where_it_took_long(void **state)
{
    static const struct {
        const char *what;
        struct sl_outcome outcome;
        bool shuns;
    } rows[] = {
        {"refused", {.failed = true, .refused = true, .duration_us = 1}, false},
        {"503", {.status = 503, .ttft_us = 1}, false},
        {"429", {.status = 429, .ttft_us = 1}, false},
        {"abandoned", {.abandoned = true, .duration_us = 9000 * MS}, false},
        {"nothing", {.status = 200}, false},
        {"slow 500", {.status = 500, .ttft_us = 9000 * MS}, true},
        {"timeout", {.failed = true, .duration_us = 9000 * MS}, true},
        {"left late", {.abandoned = true, .ttft_us = 20 * MS, .duration_us = 1}, true},
    };
    (void)state;

    for (size_t r = 0; r < SL_ARRAY_LEN(rows); r++) {
        struct crowd c;

        crowd_init(&c, &sl_peak_ewma_ops, 2, NULL, NULL);
        answered(&c, 0, 10 * MS, CROWD_NOW_MS);
        answered(&c, 1, 10 * MS, CROWD_NOW_MS);
        done(&c, 0, &rows[r].outcome, CROWD_NOW_MS);
        int got_n = picks_of(&c, 0, CROWD_NOW_MS);
        check(rows[r].shuns ? got_n == 0 : abs(got_n - 500) < 80, "%s: %d of 1000 picks",
              rows[r].what, got_n);
        crowd_fini(&c);
    }
}

static void an_endpoint_that_only_failed_is_no_favourite(void **state)
{
    struct crowd c;
    (void)state;

    crowd_init(&c, &sl_peak_ewma_ops, 2, NULL, NULL);
    answered(&c, 1, 10 * MS, CROWD_NOW_MS);
    assert_true(picks_of(&c, 0, CROWD_NOW_MS) > 0); /* now the mean is known */
    done(&c, 0, &(struct sl_outcome){.failed = true, .duration_us = 50}, CROWD_NOW_MS);
    int got_n = picks_of(&c, 0, CROWD_NOW_MS);
    check(abs(got_n - 500) < 80, "%d of 1000 picks", got_n);
    crowd_fini(&c);
}

/* Workers read their clocks at different moments: the sample of one may be ahead of another. */
static void a_sample_from_the_future_is_as_good_as_new(void **state)
{
    struct crowd c;
    (void)state;

    crowd_init(&c, &sl_peak_ewma_ops, 2, NULL, NULL);
    answered(&c, 0, 100 * MS, CROWD_NOW_MS + 5);
    answered(&c, 1, 10 * MS, CROWD_NOW_MS + 5);
    assert_int_equal(picks_of(&c, 1, CROWD_NOW_MS), 1000);
    crowd_fini(&c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_pool_of_which_nothing_is_known_shares_by_weight),
        cmocka_unit_test(latency_times_waiting_requests_decides),
        cmocka_unit_test(waiting_requests_count_by_weight),
        cmocka_unit_test(a_peak_is_believed_at_once_and_forgotten_slowly),
        cmocka_unit_test(a_slow_one_of_which_nothing_is_heard_gets_another_chance),
        cmocka_unit_test(a_new_endpoint_is_like_the_mean_even_beside_one_that_hangs),
        cmocka_unit_test(what_was_learned_outlives_the_set),
        cmocka_unit_test(a_failure_is_a_sample_only_where_it_took_long),
        cmocka_unit_test(an_endpoint_that_only_failed_is_no_favourite),
        cmocka_unit_test(a_sample_from_the_future_is_as_good_as_new),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
