/* SPDX-License-Identifier: Apache-2.0 */
#include "proxy/base/alloc.h"
#include "proxy/base/rng.h"
#include "proxy/rollout/split.h"
#include "tests/unit/check.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

enum {
    SIDES_MAX_N = SL_SPLIT_SIDES_MAX_N
};

static struct sl_split *split_of(const uint32_t *weights, size_t n)
{
    struct sl_split *s = NULL;
    struct sl_error err = {0};
    int rc = sl_split_build(weights, n, &s, &err);

    check(rc == SL_OK, "build: %d, %s", rc, err.message);
    return s;
}

static int64_t sum(const uint32_t *weights, size_t n)
{
    int64_t total = 0;

    for (size_t i = 0; i < n; i++) {
        total += weights[i];
    }
    return total;
}

/* The side whose count is furthest from its share after decisions_n, in units of 1 / total; a
 * whole request is total. */
static int64_t furthest_off(const int64_t *counts, const uint32_t *weights, size_t n,
                            int64_t decisions_n)
{
    int64_t worst = 0;

    for (size_t i = 0; i < n; i++) {
        int64_t off = llabs(counts[i] * sum(weights, n) - decisions_n * (int64_t)weights[i]);
        worst = off > worst ? off : worst;
    }
    return worst;
}

/* Two sums of the weights, so that the second cycle is seen to join the first. */
static void check_prefixes(const uint32_t *weights, size_t n)
{
    struct sl_split *s = split_of(weights, n);
    int64_t counts[SIDES_MAX_N] = {0};
    uint64_t said[SIDES_MAX_N];
    int64_t total = sum(weights, n);

    for (int64_t d = 1; d <= 2 * total; d++) {
        counts[sl_split_pick(s)]++;
        int64_t off = furthest_off(counts, weights, n, d);
        check(off < total, "%zu sides, first weights %u %u: off by %jd / %jd after %jd", n,
              weights[0], n > 1 ? weights[1] : 0, (intmax_t)off, (intmax_t)total, (intmax_t)d);
        if (d % 37 == 0) {
            uint64_t all = sl_split_counts(s, said);
            check(all == (uint64_t)d, "%ju decisions counted, %jd made", (uintmax_t)all,
                  (intmax_t)d);
            for (size_t i = 0; i < n; i++) {
                check(said[i] == (uint64_t)counts[i], "side %zu: counts say %ju, it had %jd", i,
                      (uintmax_t)said[i], (intmax_t)counts[i]);
            }
        }
    }
    sl_split_free(s);
}

static void every_prefix_is_less_than_one_request_off(void **state)
{
    static const struct {
        uint32_t weights[5];
        size_t n;
    } rows[] = {
        {{1}, 1},          {{95, 5}, 2},          {{99, 1}, 2},           {{0, 3, 0, 1}, 4},
        {{50, 30, 20}, 3}, {{90, 4, 3, 2, 1}, 5}, {{65535, 1, 65535}, 3}, {{6, 6, 4}, 3},
    };
    struct sl_rng rng = {.state = 11};
    (void)state;

    for (size_t r = 0; r < SL_ARRAY_LEN(rows); r++) {
        check_prefixes(rows[r].weights, rows[r].n);
    }
    for (int round = 0; round < 200; round++) {
        uint32_t weights[SIDES_MAX_N];
        size_t n = round % 25 == 0 ? SIDES_MAX_N : 2 + sl_rng_below(&rng, 7);
        for (size_t i = 0; i < n; i++) {
            weights[i] = (uint32_t)sl_rng_below(&rng, round % 2 == 0 ? 100 : 7);
        }
        weights[0]++; /* never all 0 */
        check_prefixes(weights, n);
    }
}

/* nginx's smooth weighted round robin: the obvious other algorithm, and why it is not the one
 * here. Returns how far off its worst prefix is, in units of 1 / total. */
static int64_t smooth_round_robin_off(const uint32_t *weights, size_t n)
{
    int64_t current[SIDES_MAX_N] = {0};
    int64_t counts[SIDES_MAX_N] = {0};
    int64_t total = sum(weights, n);
    int64_t worst = 0;

    for (int64_t d = 1; d <= total; d++) {
        size_t best = 0;
        for (size_t i = 0; i < n; i++) {
            current[i] += weights[i];
            best = current[i] > current[best] ? i : best;
        }
        current[best] -= total;
        counts[best]++;
        int64_t off = furthest_off(counts, weights, n, d);
        worst = off > worst ? off : worst;
    }
    return worst;
}

static void smooth_round_robin_would_not_hold_the_bound(void **state)
{
    static const struct {
        uint32_t weights[7];
        size_t n;
    } rows[] = {
        {{2, 33, 38, 2, 2}, 5},
        {{35, 2, 35, 2, 1, 11}, 6},
        {{24, 21, 2, 2, 2, 33, 2}, 7},
    };
    (void)state;

    for (size_t r = 0; r < SL_ARRAY_LEN(rows); r++) {
        int64_t off = smooth_round_robin_off(rows[r].weights, rows[r].n);
        check(off >= sum(rows[r].weights, rows[r].n), "row %zu: off by %jd only", r, (intmax_t)off);
        check_prefixes(rows[r].weights, rows[r].n);
    }
}

static void what_no_split_can_be_made_of_is_refused(void **state)
{
    static const uint32_t many[SIDES_MAX_N + 1] = {1};
    static const uint32_t none[] = {0, 0};
    static const uint32_t heavy[] = {1, SL_SPLIT_WEIGHT_MAX + 1};
    static const struct {
        const uint32_t *weights;
        size_t n;
        const char *found;
    } rows[] = {{many, SL_ARRAY_LEN(many), "found 65"},
                {many, 0, "found 0"},
                {none, 2, "above 0"},
                {heavy, 2, "found 65536"}};
    (void)state;

    for (size_t r = 0; r < SL_ARRAY_LEN(rows); r++) {
        struct sl_split *s = NULL;
        struct sl_error err = {0};
        int rc = sl_split_build(rows[r].weights, rows[r].n, &s, &err);
        check(rc == SL_ECONFIG && s == NULL && strstr(err.message, rows[r].found) != NULL,
              "row %zu: %d, %s", r, rc, err.message);
    }
}

static int allocs_left_n;

static bool allow_alloc(size_t size_bytes)
{
    (void)size_bytes;
    return allocs_left_n-- > 0;
}

static void build_survives_each_failed_allocation(void **state)
{
    const uint32_t weights[] = {95, 5};
    struct sl_split *s = NULL;
    struct sl_error err;
    int rc = SL_ENOMEM;
    int allowed_n = 0;
    (void)state;

    sl_alloc_hook = allow_alloc;
    for (; rc != SL_OK; allowed_n++) {
        check(rc == SL_ENOMEM && s == NULL, "%d allowed: %d", allowed_n - 1, rc);
        allocs_left_n = allowed_n;
        rc = sl_split_build(weights, 2, &s, &err);
    }
    allocs_left_n = 0;
    (void)sl_split_pick(s); /* its answer is another test's business */
    sl_alloc_hook = NULL;
    check(allowed_n > 2 && allocs_left_n == 0, "a pick asked for memory");
    sl_split_free(s);
}

struct worker {
    pthread_t thread;
    struct sl_split *split;
    uint64_t counts[3];
};

static void *work(void *arg)
{
    struct worker *w = arg;

    for (int i = 0; i < 25011; i++) {
        w->counts[sl_split_pick(w->split)]++;
    }
    return NULL;
}

static void four_workers_together_keep_the_split_exact(void **state)
{
    const uint32_t weights[] = {90, 7, 3};
    struct worker workers[4] = {0};
    struct sl_split *s = split_of(weights, 3);
    int64_t counts[3] = {0};
    uint64_t said[3];
    (void)state;

    for (size_t i = 0; i < SL_ARRAY_LEN(workers); i++) {
        workers[i].split = s;
        assert_int_equal(pthread_create(&workers[i].thread, NULL, work, &workers[i]), 0);
    }
    for (size_t i = 0; i < SL_ARRAY_LEN(workers); i++) {
        assert_int_equal(pthread_join(workers[i].thread, NULL), 0);
        for (size_t side = 0; side < 3; side++) {
            counts[side] += (int64_t)workers[i].counts[side];
        }
    }
    assert_int_equal(sl_split_counts(s, said), 4 * 25011);
    check(furthest_off(counts, weights, 3, 4 * 25011) < 100, "%jd %jd %jd of 100044",
          (intmax_t)counts[0], (intmax_t)counts[1], (intmax_t)counts[2]);
    for (size_t side = 0; side < 3; side++) {
        assert_int_equal(said[side], counts[side]);
    }
    sl_split_free(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_prefix_is_less_than_one_request_off),
        cmocka_unit_test(smooth_round_robin_would_not_hold_the_bound),
        cmocka_unit_test(what_no_split_can_be_made_of_is_refused),
        cmocka_unit_test(build_survives_each_failed_allocation),
        cmocka_unit_test(four_workers_together_keep_the_split_exact),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
