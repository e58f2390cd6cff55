/* SPDX-License-Identifier: Apache-2.0 */
#include <sluiced/defs.h>

#include "proxy/base/rng.h"
#include "proxy/upstream/slow_start.h"
#include "tests/unit/check.h"

#include <math.h>

enum {
    DRAWS_N = 20000,
    WINDOW_MS = 30000
};

static const struct sl_slow_start_config even = {WINDOW_MS, 1000, 0};

static void the_share_grows_from_a_tenth_to_the_whole(void **state)
{
    static const struct {
        uint32_t aggression_milli;
        uint64_t age_ms;
        double share;
    } rows[] = {
        {1000, 0, 0.1},         {1000, 1500, 0.1},      {1000, 3000, 0.1},  {1000, 6000, 0.2},
        {1000, 15000, 0.5},     {1000, 29999, 0.99997}, {1000, 30000, 1.0}, {1000, UINT64_MAX, 1},
        {2000, 0, 0.1},         {2000, 7500, 0.5},      {2000, 19200, 0.8}, {2000, 30000, 1.0},
        {500, 15000, 0.25},     {500, 6000, 0.1},       {500, 27000, 0.81}, {10000, 1, 0.3567},
        {100, 27000, 0.348678}, {100, 15000, 0.1},
    };
    (void)state;

    for (size_t i = 0; i < SL_ARRAY_LEN(rows); i++) {
        const struct sl_slow_start_config conf = {WINDOW_MS, rows[i].aggression_milli, 0};
        double share = sl_slow_start_share(&conf, rows[i].age_ms);
        check(fabs(share - rows[i].share) < 0.0001, "row %zu: %f", i, share);
    }
}

/* Of so many picks, those that an endpoint of this age may have; oldest_ms: that of another. */
static double taken(const struct sl_slow_start_config *conf, uint64_t age_ms, uint64_t oldest_ms)
{
    struct sl_rng rng = {.state = 11};
    unsigned n = 0;

    for (unsigned i = 0; i < DRAWS_N; i++) {
        n += age_ms >= sl_slow_start_draw_ms(conf, oldest_ms, &rng);
    }
    return (double)n / DRAWS_N;
}

static void as_many_picks_are_allowed_as_the_share_says(void **state)
{
    static const uint32_t aggressions_milli[] = {100, 500, 1000, 1500, 2000, 10000};
    (void)state;

    for (size_t i = 0; i < SL_ARRAY_LEN(aggressions_milli); i++) {
        const struct sl_slow_start_config conf = {WINDOW_MS, aggressions_milli[i], 0};
        for (uint64_t age_ms = 0; age_ms < WINDOW_MS; age_ms += 1000) {
            double share = sl_slow_start_share(&conf, age_ms);
            check(fabs(taken(&conf, age_ms, UINT64_MAX) - share) < 0.015, "%u, %llu ms: %f, not %f",
                  aggressions_milli[i], (unsigned long long)age_ms,
                  taken(&conf, age_ms, UINT64_MAX), share);
        }
        assert_true(taken(&conf, WINDOW_MS, UINT64_MAX) == 1.0);
    }
}

static void shares_are_relative_to_that_of_the_oldest(void **state)
{
    (void)state;

    assert_true(taken(&even, 0, 0) == 1.0); /* all alike new */
    assert_true(taken(&even, 6000, 6000) > 0.9999);
    assert_true(fabs(taken(&even, 6000, 12000) - 0.5) < 0.015);
    assert_true(fabs(taken(&even, 0, 15000) - 0.2) < 0.015);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_share_grows_from_a_tenth_to_the_whole),
        cmocka_unit_test(as_many_picks_are_allowed_as_the_share_says),
        cmocka_unit_test(shares_are_relative_to_that_of_the_oldest),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
