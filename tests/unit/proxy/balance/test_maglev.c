/* SPDX-License-Identifier: Apache-2.0 */
#include "crowd.h"

#include "proxy/balance/policies.h"
#include "tests/unit/check.h"

#include <stdlib.h>

enum {
    ENTRIES_N = 65537
};

/* Each key below ENTRIES_N is an entry, so these are exact counts of the table; that of 0, which is
 * no key, stands for itself a table further on. */
static uint64_t nth_key(uint64_t i)
{
    return i + ENTRIES_N;
}

static void shares_are_exact_to_an_entry(void **state)
{
    static const uint16_t weights[] = {1, 2, 5, 0, 100, 3000};
    uint32_t got_n[SL_ARRAY_LEN(weights)] = {0};
    struct crowd c;
    (void)state;

    crowd_init(&c, &sl_maglev_ops, SL_ARRAY_LEN(weights), weights, NULL);
    for (uint64_t i = 0; i < ENTRIES_N; i++) {
        got_n[crowd_pick_key(&c, nth_key(i))]++;
    }
    for (size_t i = 0; i < SL_ARRAY_LEN(weights); i++) {
        int want_n = (int)(ENTRIES_N * (uint64_t)weights[i] / 3108);
        check(abs((int)got_n[i] - want_n) <= 3, "weight %u: %u entries, not %d", weights[i],
              got_n[i], want_n);
    }
    crowd_fini(&c);
}

static void each_process_and_worker_finds_the_same_place(void **state)
{
    struct crowd a;
    struct crowd b;
    (void)state;

    crowd_init(&a, &sl_maglev_ops, 20, NULL, NULL);
    crowd_init(&b, &sl_maglev_ops, 20, NULL, NULL);
    b.rng.state = 7;
    for (uint64_t i = 0; i < 1000; i++) {
        int idx = crowd_pick_key(&a, nth_key(i));
        assert_int_equal(crowd_pick_key(&a, nth_key(i)), idx);
        assert_int_equal(crowd_pick_key(&b, nth_key(i)), idx);
    }
    crowd_fini(&b);
    crowd_fini(&a);
}

static void who_goes_moves_few_keys_of_the_others(const uint16_t *weights)
{
    uint32_t got_n[20] = {0};
    uint32_t weights_n = 0;
    uint32_t own_n = 0;
    uint32_t others_n = 0;
    struct crowd all;
    struct crowd without;

    crowd_init(&all, &sl_maglev_ops, 20, weights, NULL);
    crowd_init_without(&without, &all, 11);
    for (size_t i = 0; i < 20; i++) {
        weights_n += all.members[i].weight;
    }
    for (uint64_t i = 0; i < ENTRIES_N; i++) {
        int before = crowd_pick_key(&all, nth_key(i));
        int after = crowd_pick_key(&without, nth_key(i));
        own_n += before == 11;
        others_n += before != 11 && after != before;
        got_n[after] += before == 11;
    }
    check(own_n <= ENTRIES_N / 19 && others_n < ENTRIES_N / 100, "%u own keys and %u others moved",
          own_n, others_n);
    assert_int_equal(got_n[11], 0);
    for (size_t i = 0; i < 20; i++) {
        double share = (double)got_n[i] * (weights_n - all.members[11].weight) / own_n;
        share /= all.members[i].weight;
        check(i == 11 || (share > 0.5 && share < 2), "%zu got %u of %u", i, got_n[i], own_n);
    }
    crowd_fini(&without);
    crowd_fini(&all);
}

static void churn_moves_few_keys_of_the_others(void **state)
{
    static const uint16_t mixed[20] = {1, 2, 3, 1, 2, 3, 1, 2, 3, 1, 2, 2, 1, 2, 3, 1, 2, 3, 1, 2};
    (void)state;

    who_goes_moves_few_keys_of_the_others(NULL); /* a twentieth, and two of 38 */
    who_goes_moves_few_keys_of_the_others(mixed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(shares_are_exact_to_an_entry),
        cmocka_unit_test(each_process_and_worker_finds_the_same_place),
        cmocka_unit_test(churn_moves_few_keys_of_the_others),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
