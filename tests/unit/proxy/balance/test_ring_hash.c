/* SPDX-License-Identifier: Apache-2.0 */
#include "crowd.h"

#include "proxy/balance/policies.h"
#include "tests/unit/check.h"

enum {
    KEYS_N = 50000
};

static uint64_t nth_key(uint64_t i)
{
    return (i + 1) * 0x9e3779b97f4a7c15U;
}

static void shares_follow_the_weights(void **state)
{
    static const uint16_t weights[] = {4, 8, 20, 0, 1};
    uint32_t got_n[SL_ARRAY_LEN(weights)] = {0};
    struct crowd c;
    (void)state;

    crowd_init(&c, &sl_ring_hash_ops, SL_ARRAY_LEN(weights), weights, NULL);
    for (uint64_t i = 0; i < KEYS_N; i++) {
        got_n[crowd_pick_key(&c, nth_key(i))]++;
    }
    for (size_t i = 0; i < SL_ARRAY_LEN(weights); i++) {
        double share = (double)got_n[i] / KEYS_N / (weights[i] > 0 ? weights[i] / 33.0 : 1);
        /* 160 points of weight 1 are off by 8 %, three times of which are allowed. */
        check(weights[i] > 0 ? share > 0.76 && share < 1.24 : got_n[i] == 0,
              "weight %u has %f of its share", weights[i], share);
    }
    crowd_fini(&c);
}

static void each_process_and_worker_finds_the_same_place(void **state)
{
    static const int places[] = {14, 2, 5, 14};
    struct crowd a;
    struct crowd b;
    (void)state;

    crowd_init(&a, &sl_ring_hash_ops, 20, NULL, NULL);
    crowd_init(&b, &sl_ring_hash_ops, 20, NULL, NULL);
    b.rng.state = 7;
    for (uint64_t i = 0; i < 1000; i++) {
        int idx = crowd_pick_key(&a, nth_key(i));
        assert_int_equal(crowd_pick_key(&a, nth_key(i)), idx);
        assert_int_equal(crowd_pick_key(&b, nth_key(i)), idx);
    }
    /* And the next version of this program, or half of a fleet would disagree with the other. */
    for (size_t i = 0; i < SL_ARRAY_LEN(places); i++) {
        int idx = crowd_pick_key(&a, nth_key(i));
        check(idx == places[i], "key %zu has moved from %d to %d", i, places[i], idx);
    }
    crowd_fini(&b);
    crowd_fini(&a);
}

static void who_goes_moves_its_own_keys_to_all_others_and_none_of_theirs(void **state)
{
    uint32_t got_n[20] = {0};
    uint32_t moved_n = 0;
    struct crowd all;
    struct crowd without;
    (void)state;

    crowd_init(&all, &sl_ring_hash_ops, 20, NULL, NULL);
    crowd_init_without(&without, &all, 11);
    for (uint64_t i = 0; i < KEYS_N; i++) {
        int before = crowd_pick_key(&all, nth_key(i));
        int after = crowd_pick_key(&without, nth_key(i));
        check(before == 11 ? after != 11 : after == before, "key %ju: %d, then %d", (uintmax_t)i,
              before, after);
        moved_n += after != before;
        got_n[after] += before == 11;
    }
    check(moved_n < KEYS_N / 20 * 5 / 4, "%u of %d keys moved", moved_n, KEYS_N);
    for (size_t i = 0; i < 20; i++) {
        check(i == 11 || (got_n[i] > 0 && got_n[i] < moved_n / 19 * 3), "%zu got %u of %u", i,
              got_n[i], moved_n);
    }
    crowd_fini(&without);
    crowd_fini(&all);
}

/* A pod that fails, or drains, and then leaves the set: its keys must not lose their cache twice.
 */
static void keys_of_one_that_is_out_are_where_they_will_be_when_it_is_gone(void **state)
{
    struct crowd all;
    struct crowd without;
    (void)state;

    crowd_init(&all, &sl_ring_hash_ops, 20, NULL, NULL);
    crowd_init_without(&without, &all, 3);
    all.endpoints[3].health = SL_HEALTH_DOWN;
    for (uint64_t i = 0; i < KEYS_N; i++) {
        assert_int_equal(crowd_pick_key(&all, nth_key(i)), crowd_pick_key(&without, nth_key(i)));
    }
    crowd_fini(&without);
    crowd_fini(&all);
}

static void a_ring_at_its_limit_moves_twice_as_many_at_most(void **state)
{
    uint16_t weights[100];
    uint32_t moved_n = 0;
    struct crowd all;
    struct crowd without;
    (void)state;

    for (size_t i = 0; i < 100; i++) {
        weights[i] = 100; /* 1.6 million points are asked for */
    }
    crowd_init(&all, &sl_ring_hash_ops, 100, weights, NULL);
    crowd_init_without(&without, &all, 50);
    for (uint64_t i = 0; i < KEYS_N; i++) {
        moved_n += crowd_pick_key(&all, nth_key(i)) != crowd_pick_key(&without, nth_key(i));
    }
    check(moved_n > KEYS_N / 200 && moved_n < KEYS_N / 100 * 5 / 2, "%u of %d keys moved", moved_n,
          KEYS_N);
    crowd_fini(&without);
    crowd_fini(&all);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(shares_follow_the_weights),
        cmocka_unit_test(each_process_and_worker_finds_the_same_place),
        cmocka_unit_test(who_goes_moves_its_own_keys_to_all_others_and_none_of_theirs),
        cmocka_unit_test(keys_of_one_that_is_out_are_where_they_will_be_when_it_is_gone),
        cmocka_unit_test(a_ring_at_its_limit_moves_twice_as_many_at_most),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
