/* SPDX-License-Identifier: Apache-2.0 */
#include "crowd.h"

#include "proxy/balance/policies.h"
#include "tests/unit/check.h"

static void shares_follow_the_weights_whatever_the_load(void **state)
{
    static const uint16_t weights[] = {1, 2, 5, 0, 12, 100};
    uint32_t got_n[SL_ARRAY_LEN(weights)] = {0};
    struct crowd c;
    (void)state;

    crowd_init(&c, &sl_random_ops, SL_ARRAY_LEN(weights), weights, NULL);
    c.endpoints[4].in_flight_n = 1000;
    for (uint32_t i = 0; i < 100000; i++) {
        got_n[crowd_pick_idx(&c, &crowd_pick)]++;
    }
    double chi_square = crowd_chi_square(&c, got_n, 100000);
    check(chi_square < 18.5, "chi-square %f", chi_square); /* 4 degrees: 1 in 1 000 */
    crowd_fini(&c);
}

static void picks_do_not_follow_a_pattern(void **state)
{
    uint32_t pairs_n[16] = {0};
    struct crowd c;
    (void)state;

    crowd_init(&c, &sl_random_ops, 4, NULL, NULL);
    int before = crowd_pick_idx(&c, &crowd_pick);
    for (uint32_t i = 0; i < 16000; i++) {
        int idx = crowd_pick_idx(&c, &crowd_pick);
        pairs_n[before * 4 + idx]++;
        before = idx;
    }
    for (size_t i = 0; i < 16; i++) {
        check(pairs_n[i] > 850 && pairs_n[i] < 1150, "%u times %zu after %zu", pairs_n[i], i % 4,
              i / 4);
    }
    crowd_fini(&c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(shares_follow_the_weights_whatever_the_load),
        cmocka_unit_test(picks_do_not_follow_a_pattern),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
