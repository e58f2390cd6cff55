/* SPDX-License-Identifier: Apache-2.0 */
#include <sluiced/metrics.h>

#include "proxy/base/alloc.h"
#include "tests/unit/check.h"

#include <stdio.h>

enum {
    WORKERS_N = 3
};

static struct sl_registry *registry;

static int setup(void **state)
{
    (void)state;
    return sl_registry_new(WORKERS_N, &registry);
}

static int teardown(void **state)
{
    (void)state;
    sl_alloc_hook = NULL;
    sl_registry_free(registry); /* asserts that all references are back */
    registry = NULL;
    return 0;
}

static struct sl_series *get(enum sl_scope scope, const char *a, const char *b, const char *c)
{
    const char *const labels[] = {a, b, c};
    struct sl_series *s = NULL;

    assert_int_equal(sl_series_get(registry, scope, labels, &s), SL_OK);
    return s;
}

static void what_workers_count_is_summed(void **state)
{
    struct sl_series *s = get(SL_SCOPE_POOL, "chat", NULL, NULL);
    (void)state;

    for (uint32_t w = 0; w < WORKERS_N; w++) {
        sl_series_add(s, w, SL_POOL_CONNECTS, w + 1);
        sl_series_add(s, w, SL_POOL_REUSES, 10);
    }
    assert_int_equal(sl_series_sum(s, SL_POOL_CONNECTS), 6);
    assert_int_equal(sl_series_sum(s, SL_POOL_REUSES), 30);
    assert_int_equal(sl_series_sum(s, SL_POOL_CANCELS), 0);
    sl_series_unref(&s);
    assert_null(s);
    sl_series_unref(&s); /* NULL is accepted */
}

static void every_value_of_every_scope_has_a_cell_of_its_own(void **state)
{
    static const size_t values_n[SL_SCOPES_N] = {
        [SL_SCOPE_PROCESS] = SL_PROCESS_VALUES_N,
        [SL_SCOPE_LISTENER] = SL_LISTENER_VALUES_N,
        [SL_SCOPE_ROUTE] = SL_ROUTE_VALUES_N,
        [SL_SCOPE_POOL] = SL_POOL_VALUES_N,
    };
    (void)state;

    for (size_t scope = 0; scope < SL_SCOPES_N; scope++) {
        struct sl_series *s = get((enum sl_scope)scope, "a", "b", "c");

        for (uint32_t w = 0; w < WORKERS_N; w++) {
            check((uintptr_t)&s->values[w * s->row_values_n] % 64 == 0,
                  "scope %zu: the row of worker %u shares a cache line", scope, w);
            for (size_t v = 0; v < values_n[scope]; v++) {
                sl_series_add(s, w, v, v + 1);
            }
        }
        for (size_t v = 0; v < values_n[scope]; v++) {
            check(sl_series_sum(s, v) == WORKERS_N * (v + 1), "scope %zu: value %zu is %llu", scope,
                  v, (unsigned long long)sl_series_sum(s, v));
        }
        assert_string_equal(sl_scope_labels_n((enum sl_scope)scope) > 0 ? s->labels[0] : "a", "a");
        sl_series_unref(&s);
    }
}

static void the_same_labels_are_the_same_series_while_referred_to(void **state)
{
    char name[] = "chat";
    struct sl_series *old = get(SL_SCOPE_ROUTE, "edge", name, "v1");
    (void)state;

    sl_series_add(old, 0, SL_ROUTE_BYTES_IN, 7);
    name[0] = 'C'; /* labels are copied */
    struct sl_series *fresh = get(SL_SCOPE_ROUTE, "edge", "chat", "v1");
    struct sl_series *other = get(SL_SCOPE_ROUTE, "edge", "chat", "v2");
    assert_ptr_equal(old, fresh);
    assert_ptr_not_equal(old, other);
    sl_series_unref(&old);
    assert_int_equal(sl_series_sum(fresh, SL_ROUTE_BYTES_IN), 7);
    sl_series_unref(&fresh);
    fresh = get(SL_SCOPE_ROUTE, "edge", "chat", "v1");
    assert_int_equal(sl_series_sum(fresh, SL_ROUTE_BYTES_IN), 0);
    sl_series_unref(&fresh);
    sl_series_unref(&other);
    assert_int_equal(sl_registry_series_n(registry, SL_SCOPE_ROUTE), 0);
}

static void series_come_in_the_order_of_their_labels(void **state)
{
    static const char *const names[] = {"m", "c", "z", "a", "q", "b", "y", "k", "x", "d", "n"};
    struct sl_series *series[SL_ARRAY_LEN(names)];
    (void)state;

    for (size_t i = 0; i < SL_ARRAY_LEN(names); i++) {
        series[i] = get(SL_SCOPE_LISTENER, names[i], NULL, NULL);
    }
    sl_series_unref(&series[4]); /* q */
    assert_int_equal(sl_registry_series_n(registry, SL_SCOPE_LISTENER), SL_ARRAY_LEN(names) - 1);
    assert_int_equal(sl_registry_series_n(registry, SL_SCOPE_POOL), 0);
    char order[SL_ARRAY_LEN(names)] = "";
    for (size_t i = 0; i < SL_ARRAY_LEN(names) - 1; i++) {
        order[i] = sl_registry_series(registry, SL_SCOPE_LISTENER, i)->labels[0][0];
    }
    assert_string_equal(order, "abcdkmnxyz");
    for (size_t i = 0; i < SL_ARRAY_LEN(names); i++) {
        sl_series_unref(&series[i]);
    }
}

static void beyond_the_limit_one_series_takes_all(void **state)
{
    static struct sl_series *series[SL_SERIES_MAX_N];
    char name[16];
    (void)state;

    for (size_t i = 0; i < SL_SERIES_MAX_N; i++) {
        (void)snprintf(name, sizeof(name), "p%zu", i);
        series[i] = get(SL_SCOPE_POOL, name, NULL, NULL);
    }
    struct sl_series *one = get(SL_SCOPE_POOL, "one more", NULL, NULL);
    struct sl_series *two = get(SL_SCOPE_POOL, "two more", NULL, NULL);
    assert_ptr_equal(one, two);
    assert_string_equal(one->labels[0], "_other");
    assert_int_equal(sl_registry_series_n(registry, SL_SCOPE_POOL), SL_SERIES_MAX_N + 1);
    assert_ptr_equal(sl_registry_series(registry, SL_SCOPE_POOL, SL_SERIES_MAX_N), one);
    struct sl_series *known = get(SL_SCOPE_POOL, "p77", NULL, NULL);
    assert_ptr_equal(known, series[77]);
    sl_series_unref(&known);
    sl_series_add(one, 0, SL_POOL_RETRIES, 1);
    sl_series_unref(&one);
    assert_int_equal(sl_series_sum(two, SL_POOL_RETRIES), 1);
    sl_series_unref(&two);
    assert_int_equal(sl_registry_series_n(registry, SL_SCOPE_POOL), SL_SERIES_MAX_N);
    sl_series_unref(&series[0]);
    series[0] = get(SL_SCOPE_POOL, "room again", NULL, NULL);
    assert_string_equal(series[0]->labels[0], "room again");
    for (size_t i = 0; i < SL_SERIES_MAX_N; i++) {
        sl_series_unref(&series[i]);
    }
}

static void an_observation_goes_to_the_first_bucket_whose_bound_it_does_not_exceed(void **state)
{
    static const struct {
        uint64_t us;
        size_t bucket;
    } rows[] = {
        {0, 0},         {250, 0},       {251, 1},
        {500, 1},       {1000, 2},      {1001, 3},
        {32768000, 17}, {32768001, 18}, {UINT64_C(3600000000), 18},
    };
    (void)state;

    for (size_t r = 0; r < SL_ARRAY_LEN(rows); r++) {
        struct sl_series *s = get(SL_SCOPE_POOL, "chat", NULL, NULL);

        sl_series_observe_us(s, 1, SL_POOL_UPDATE, rows[r].us);
        for (size_t b = 0; b <= SL_HISTOGRAM_BUCKETS_N; b++) {
            uint64_t n = sl_series_sum(s, SL_POOL_UPDATE + b);
            check(n == (b == rows[r].bucket ? 1 : 0), "%llu us: bucket %zu has %llu",
                  (unsigned long long)rows[r].us, b, (unsigned long long)n);
        }
        assert_int_equal(sl_series_sum(s, SL_POOL_UPDATE + SL_HISTOGRAM_BUCKETS_N + 1), rows[r].us);
        sl_series_unref(&s);
    }
}

static size_t allocations_left;

static bool allow_some(size_t size_bytes)
{
    (void)size_bytes;
    return allocations_left > 0 && allocations_left-- > 0;
}

static void without_memory_nothing_is_half_made(void **state)
{
    const char *const labels[] = {"chat"};
    struct sl_series *s = NULL;
    struct sl_registry *r = NULL;
    (void)state;

    sl_alloc_hook = allow_some;
    allocations_left = 0;
    assert_int_equal(sl_registry_new(1, &r), SL_ENOMEM);
    assert_null(r);
    for (size_t n = 0; n < 2; n++) {
        allocations_left = n;
        assert_int_equal(sl_series_get(registry, SL_SCOPE_POOL, labels, &s), SL_ENOMEM);
        assert_null(s);
        assert_int_equal(sl_registry_series_n(registry, SL_SCOPE_POOL), 0);
    }
    allocations_left = 1; /* room in the list is there by now */
    assert_int_equal(sl_series_get(registry, SL_SCOPE_POOL, labels, &s), SL_OK);
    sl_series_unref(&s);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(what_workers_count_is_summed),
        TEST(every_value_of_every_scope_has_a_cell_of_its_own),
        TEST(the_same_labels_are_the_same_series_while_referred_to),
        TEST(series_come_in_the_order_of_their_labels),
        TEST(beyond_the_limit_one_series_takes_all),
        TEST(an_observation_goes_to_the_first_bucket_whose_bound_it_does_not_exceed),
        TEST(without_memory_nothing_is_half_made),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
