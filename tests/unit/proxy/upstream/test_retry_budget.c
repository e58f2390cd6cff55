/* SPDX-License-Identifier: Apache-2.0 */
#include <sluiced/err.h>

#include "proxy/base/alloc.h"
#include "proxy/upstream/retry_budget.h"
#include "tests/unit/check.h"

#include <pthread.h>

enum {
    NOW_MS = 5000000
};

static void budget_init(struct sl_retry_budget *b, uint32_t workers_n)
{
    assert_int_equal(sl_retry_budget_init(b, workers_n), SL_OK);
}

static int try_n(struct sl_retry_budget *b, uint64_t now_ms, int n)
{
    int granted_n = 0;

    for (int i = 0; i < n; i++) {
        granted_n += sl_retry_budget_try(b, (uint32_t)i % b->cells_n, now_ms);
    }
    return granted_n;
}

static void three_may_always_run(void **state)
{
    struct sl_retry_budget b;
    (void)state;

    budget_init(&b, 2);
    for (int round = 0; round < 10; round++) { /* without one request in sight */
        assert_int_equal(try_n(&b, NOW_MS, 10), 3);
        for (int i = 0; i < 3; i++) {
            sl_retry_budget_done(&b);
        }
    }
    sl_retry_budget_fini(&b);
}

static void no_more_run_than_the_limit_allows(void **state)
{
    struct sl_retry_budget b;
    (void)state;

    budget_init(&b, 2);
    sl_retry_budget_set_max(&b, 1); /* below those that the budget always grants */
    assert_int_equal(try_n(&b, NOW_MS, 10), 1);
    sl_retry_budget_set_max(&b, 5);
    for (int i = 0; i < 1000; i++) {
        sl_retry_budget_on_request(&b, 0, NOW_MS);
    }
    assert_int_equal(try_n(&b, NOW_MS, 10), 4); /* and below its share */
    sl_retry_budget_done(&b);
    assert_int_equal(try_n(&b, NOW_MS, 10), 1);
    sl_retry_budget_set_max(&b, 0);
    assert_int_equal(try_n(&b, NOW_MS, 10), 10);
    sl_retry_budget_fini(&b);
}

static void beyond_three_a_fifth_of_the_last_ten_seconds_is_granted(void **state)
{
    static const struct {
        int requests_n;
        uint64_t later_ms;
        int granted_n;
    } rows[] = {
        {100, 0, 20},      {1000, 9999, 200}, {1000, 12000, 3},
        {1000, 100000, 3}, {16, 0, 3},        {20, 0, 4},
    };
    (void)state;

    for (size_t r = 0; r < SL_ARRAY_LEN(rows); r++) {
        struct sl_retry_budget b;
        budget_init(&b, 3);
        for (int i = 0; i < rows[r].requests_n; i++) {
            sl_retry_budget_on_request(&b, (uint32_t)i % 3, NOW_MS);
        }
        int granted_n = try_n(&b, NOW_MS + rows[r].later_ms, 500);
        check(granted_n == rows[r].granted_n, "%d requests %ju ms ago: %d retries",
              rows[r].requests_n, (uintmax_t)rows[r].later_ms, granted_n);
        sl_retry_budget_fini(&b);
    }
}

static void one_that_follows_another_runs_in_its_place(void **state)
{
    struct sl_retry_budget b;
    (void)state;

    budget_init(&b, 2);
    sl_retry_budget_set_max(&b, 1);
    assert_true(sl_retry_budget_try(&b, 0, NOW_MS));
    assert_false(sl_retry_budget_try(&b, 0, NOW_MS));
    assert_true(sl_retry_budget_try_next(&b, 0, NOW_MS));
    assert_int_equal(b.running_n, 1);
    sl_retry_budget_done(&b);
    sl_retry_budget_set_max(&b, 0);
    for (int i = 0; i < 30; i++) { /* of which two were granted a retry already */
        sl_retry_budget_on_request(&b, 0, NOW_MS);
    }
    assert_int_equal(try_n(&b, NOW_MS, 3), 3);
    assert_true(sl_retry_budget_try(&b, 1, NOW_MS));
    assert_false(sl_retry_budget_try(&b, 1, NOW_MS)); /* six of thirty */
    assert_false(sl_retry_budget_try_next(&b, 1, NOW_MS));
    assert_int_equal(b.running_n, 4);
    sl_retry_budget_fini(&b);
}

static void what_was_of_no_use_counts_in_no_share(void **state)
{
    struct sl_retry_budget b;
    (void)state;

    budget_init(&b, 1);
    for (int i = 0; i < 20; i++) {
        sl_retry_budget_on_request(&b, 0, NOW_MS);
    }
    assert_int_equal(try_n(&b, NOW_MS, 3), 3);
    for (int i = 0; i < 100; i++) { /* one more would be the fifth */
        assert_true(sl_retry_budget_try(&b, 0, NOW_MS));
        sl_retry_budget_undo(&b, 0, NOW_MS);
        sl_retry_budget_done(&b);
    }
    assert_int_equal(try_n(&b, NOW_MS, 10), 1);
    sl_retry_budget_fini(&b);
}

static void a_steady_stream_keeps_its_fifth(void **state)
{
    struct sl_retry_budget b;
    int granted_n = 0;
    (void)state;

    budget_init(&b, 1);
    for (int i = 0; i < 3; i++) { /* which never end, so that only the share decides */
        assert_true(sl_retry_budget_try(&b, 0, NOW_MS - 60000));
    }
    for (uint64_t i = 0; i < 5000; i++) { /* 50 a second for 100 s */
        sl_retry_budget_on_request(&b, 0, NOW_MS + i * 20);
        granted_n += sl_retry_budget_try(&b, 0, NOW_MS + i * 20);
    }
    check(granted_n >= 990 && granted_n <= 1000, "%d retries of 5000 requests", granted_n);
    sl_retry_budget_fini(&b);
}

static bool refuse_alloc(size_t size_bytes)
{
    (void)size_bytes;
    return false;
}

static void init_says_so_when_there_is_no_memory(void **state)
{
    struct sl_retry_budget b;
    (void)state;

    sl_alloc_hook = refuse_alloc;
    assert_int_equal(sl_retry_budget_init(&b, 4), SL_ENOMEM);
    sl_alloc_hook = NULL;
}

struct worker {
    pthread_t thread;
    struct sl_retry_budget *budget;
    uint32_t idx;
    uintptr_t granted_n;
};

static void *work(void *arg)
{
    struct worker *w = arg;

    for (int i = 0; i < 5000; i++) {
        sl_retry_budget_on_request(w->budget, w->idx, NOW_MS);
        if (sl_retry_budget_try(w->budget, w->idx, NOW_MS)) {
            w->granted_n++;
        }
    }
    return NULL;
}

/* Says most under FLAVOUR=tsan. */
static void four_workers_share_one_budget(void **state)
{
    struct worker workers[4] = {0};
    struct sl_retry_budget b;
    uintptr_t granted_n = 0;
    (void)state;

    budget_init(&b, 4);
    for (uint32_t i = 0; i < 4; i++) {
        workers[i].budget = &b;
        workers[i].idx = i;
        assert_int_equal(pthread_create(&workers[i].thread, NULL, work, &workers[i]), 0);
    }
    for (uint32_t i = 0; i < 4; i++) {
        assert_int_equal(pthread_join(workers[i].thread, NULL), 0);
        granted_n += workers[i].granted_n;
    }
    /* A fifth; three more that the floor gave, and one for each other worker at the same instant.
     */
    check(granted_n >= 3900 && granted_n <= 4000 + 3 + 3, "%ju retries of 20000 requests",
          (uintmax_t)granted_n);
    for (; granted_n > 0; granted_n--) {
        sl_retry_budget_done(&b);
    }
    assert_int_equal(b.running_n, 0);
    sl_retry_budget_fini(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(three_may_always_run),
        cmocka_unit_test(no_more_run_than_the_limit_allows),
        cmocka_unit_test(beyond_three_a_fifth_of_the_last_ten_seconds_is_granted),
        cmocka_unit_test(one_that_follows_another_runs_in_its_place),
        cmocka_unit_test(what_was_of_no_use_counts_in_no_share),
        cmocka_unit_test(a_steady_stream_keeps_its_fifth),
        cmocka_unit_test(init_says_so_when_there_is_no_memory),
        cmocka_unit_test(four_workers_share_one_budget),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
