/* SPDX-License-Identifier: Apache-2.0 */
#include <sluiced/err.h>

#include "proxy/base/alloc.h"
#include "proxy/base/fair.h"
#include "proxy/base/rng.h"
#include "tests/unit/check.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

enum {
    SIDES_MAX_N = 64
};

/* Walks one cycle and checks the bound after every turn: |count * T - turns * weight| < T. */
static void check_cycle(const uint32_t *weights, size_t n)
{
    int64_t counts[SIDES_MAX_N] = {0};
    uint64_t total = 0;
    struct sl_fair f;

    for (size_t i = 0; i < n; i++) {
        total += weights[i];
    }
    assert_int_equal(sl_fair_init(&f, weights, n), SL_OK);
    check(total % f.turns_n == 0, "%u turns for a weight of %ju", f.turns_n, (uintmax_t)total);
    int64_t divisor = (int64_t)(total / f.turns_n);
    for (int64_t turn = 1; turn <= f.turns_n; turn++) {
        uint32_t side = sl_fair_next(&f);
        check(side < n && weights[side] > 0, "turn %jd went to %u", (intmax_t)turn, side);
        counts[side]++;
        for (size_t i = 0; i < n; i++) {
            int64_t off = counts[i] * f.turns_n - turn * (int64_t)weights[i] / divisor;
            check(llabs(off) < f.turns_n, "side %zu of %zu, weight %u: %jd turns of %jd (cycle %u)",
                  i, n, weights[i], (intmax_t)counts[i], (intmax_t)turn, f.turns_n);
        }
    }
    sl_fair_fini(&f);
}

static void no_side_is_ever_a_whole_turn_off_its_share(void **state)
{
    static const struct {
        uint32_t weights[8];
        size_t n;
    } rows[] = {
        {{1}, 1},
        {{0, 7, 0}, 3},
        {{95, 5}, 2},
        {{1, 1, 1}, 3},
        {{5, 1, 1}, 3},
        {{2, 33, 38, 2, 2}, 5},
        {{1000, 1}, 2},
        {{90, 4, 3, 2, 1}, 5},
        {{600, 300, 100}, 3},
        {{1, 2, 4, 8, 16, 32, 64, 128}, 8},
        {{65535, 65534}, 2},
    };
    struct sl_rng rng = {.state = 7};
    (void)state;

    for (size_t r = 0; r < SL_ARRAY_LEN(rows); r++) {
        check_cycle(rows[r].weights, rows[r].n);
    }
    for (int round = 0; round < 300; round++) {
        uint32_t weights[SIDES_MAX_N];
        size_t n = round % 20 == 0 ? SIDES_MAX_N : 2 + sl_rng_below(&rng, 7);
        uint64_t most = round % 3 == 0 ? 4 : 200;
        for (size_t i = 0; i < n; i++) {
            weights[i] = (uint32_t)sl_rng_below(&rng, most);
        }
        weights[n - 1] += 1; /* never all 0 */
        check_cycle(weights, n);
    }
}

static void equal_weights_make_a_plain_ring(void **state)
{
    const uint32_t weights[] = {40, 40, 40, 40};
    struct sl_fair f;
    (void)state;

    assert_int_equal(sl_fair_init(&f, weights, 4), SL_OK);
    assert_int_equal(f.turns_n, 4);
    for (uint32_t i = 0; i < 4; i++) {
        assert_int_equal(sl_fair_next(&f), i);
    }
    sl_fair_fini(&f);
}

static void weights_that_make_no_cycle_are_refused(void **state)
{
    static const struct {
        uint32_t weights[2];
        size_t n;
    } rows[] = {{{0, 0}, 2}, {{1, 1}, 0}, {{UINT32_MAX, 1}, 2}};
    (void)state;

    for (size_t r = 0; r < SL_ARRAY_LEN(rows); r++) {
        struct sl_fair f;
        int rc = sl_fair_init(&f, rows[r].weights, rows[r].n);
        check(rc == SL_ELIMIT, "row %zu: %d", r, rc);
    }
}

static int allocs_left_n;

static bool allow_alloc(size_t size_bytes)
{
    (void)size_bytes;
    return allocs_left_n-- > 0;
}

static void init_survives_each_failed_allocation(void **state)
{
    const uint32_t weights[] = {1, 2};
    struct sl_fair f;
    int rc = SL_ENOMEM;
    int allowed_n = 0;
    (void)state;

    sl_alloc_hook = allow_alloc;
    for (; rc != SL_OK; allowed_n++) {
        check(rc == SL_ENOMEM, "%d allowed: %d", allowed_n - 1, rc);
        allocs_left_n = allowed_n;
        rc = sl_fair_init(&f, weights, 2);
    }
    sl_alloc_hook = NULL;
    check(allowed_n > 1, "nothing was allocated");
    sl_fair_fini(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_side_is_ever_a_whole_turn_off_its_share),
        cmocka_unit_test(equal_weights_make_a_plain_ring),
        cmocka_unit_test(weights_that_make_no_cycle_are_refused),
        cmocka_unit_test(init_survives_each_failed_allocation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
