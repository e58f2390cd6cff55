/* SPDX-License-Identifier: Apache-2.0 */
#include "proxy/upstream/connections.h"
#include "tests/unit/check.h"

#include <pthread.h>

enum {
    THREADS_N = 4,
    ROUNDS_N = 20000,
    POOL_MAX_N = 3,
    ENDPOINT_MAX_N = 2,
    NOW_MS = 100000,
};

static void without_a_limit_they_are_only_counted(void **state)
{
    struct sl_pool_connections c = {0};
    struct sl_endpoint ep = {.id = 1};
    (void)state;

    for (uint32_t i = 0; i < 1000; i++) {
        assert_true(sl_pool_connections_take(&c, &ep));
    }
    assert_false(sl_pool_connections_are_full(&c));
    assert_int_equal(atomic_load(&c.open_n), 1000);
    assert_int_equal(atomic_load(&ep.connections_n), 1000);
    atomic_store(&c.max_n, 999); /* a limit that comes later knows of them */
    assert_true(sl_pool_connections_are_full(&c));
    assert_false(sl_pool_connections_take(&c, &ep));
    sl_pool_connections_give(&c, &ep);
    sl_pool_connections_give(&c, &ep);
    assert_true(sl_pool_connections_take(&c, &ep));
}

static void who_is_refused_by_the_endpoint_leaves_nothing_at_the_pool(void **state)
{
    struct sl_pool_connections c = {.max_n = 2};
    struct sl_endpoint a = {.connections_max_n = 1};
    struct sl_endpoint b = {.connections_max_n = 1};
    (void)state;

    assert_true(sl_pool_connections_take(&c, &a));
    assert_false(sl_pool_connections_take(&c, &a));
    assert_true(sl_pool_connections_take(&c, &b));
    assert_true(sl_pool_connections_are_full(&c));
    sl_pool_connections_give(&c, &a);
    assert_true(sl_pool_connections_take(&c, &a));
}

static void who_wants_one_does_not_ask_itself(void **state)
{
    struct sl_pool_connections c = {0};
    (void)state;

    assert_false(sl_pool_connections_are_wanted(&c, 0));
    assert_true(sl_pool_connections_want(&c, 0, NOW_MS));
    assert_false(sl_pool_connections_are_wanted(&c, 0));
    assert_true(sl_pool_connections_are_wanted(&c, 1));
    sl_pool_connections_gave(&c);
    assert_false(sl_pool_connections_are_wanted(&c, 1));
}

static void the_others_are_asked_once_in_a_while(void **state)
{
    struct sl_pool_connections c = {0};
    (void)state;

    assert_true(sl_pool_connections_want(&c, 0, NOW_MS));
    assert_false(sl_pool_connections_want(&c, 0, NOW_MS));
    assert_false(sl_pool_connections_want(&c, 1, NOW_MS - 1)); /* its turn began earlier */
    assert_true(sl_pool_connections_are_wanted(&c, 0));        /* heard when one is idle */
    assert_false(sl_pool_connections_want(&c, 1, NOW_MS + SL_CONNECTIONS_ASK_MS - 1));
    assert_true(sl_pool_connections_want(&c, 1, NOW_MS + SL_CONNECTIONS_ASK_MS));
}

struct thread {
    struct sl_pool_connections *c;
    struct sl_endpoint *ep;
    _Atomic uint32_t *open_n; /* as the threads themselves count */
    _Atomic uint32_t *at_endpoint_n;
    uint32_t taken_n;
    uint32_t beyond_n;
};

static void *work(void *arg)
{
    struct thread *t = arg;

    for (int i = 0; i < ROUNDS_N; i++) {
        if (sl_pool_connections_take(t->c, t->ep)) {
            t->taken_n++;
            t->beyond_n += atomic_fetch_add(t->open_n, 1) >= POOL_MAX_N;
            t->beyond_n += atomic_fetch_add(t->at_endpoint_n, 1) >= ENDPOINT_MAX_N;
            atomic_fetch_sub(t->at_endpoint_n, 1);
            atomic_fetch_sub(t->open_n, 1);
            sl_pool_connections_give(t->c, t->ep);
        }
    }
    return NULL;
}

static void threads_never_exceed_a_limit_and_lose_nothing(void **state)
{
    struct sl_pool_connections c = {.max_n = POOL_MAX_N};
    struct sl_endpoint eps[2] = {{.connections_max_n = ENDPOINT_MAX_N},
                                 {.connections_max_n = ENDPOINT_MAX_N}};
    _Atomic uint32_t open_n = 0;
    _Atomic uint32_t at_n[2] = {0, 0};
    struct thread threads[THREADS_N];
    pthread_t ids[THREADS_N];
    uint64_t taken_n = 0;
    (void)state;

    for (uint32_t i = 0; i < THREADS_N; i++) {
        threads[i] = (struct thread){
            .c = &c, .ep = &eps[i % 2], .open_n = &open_n, .at_endpoint_n = &at_n[i % 2]};
        assert_int_equal(pthread_create(&ids[i], NULL, work, &threads[i]), 0);
    }
    for (uint32_t i = 0; i < THREADS_N; i++) {
        assert_int_equal(pthread_join(ids[i], NULL), 0);
        check(threads[i].beyond_n == 0, "thread %u: %u of %u beyond", i, threads[i].beyond_n,
              threads[i].taken_n);
        taken_n += threads[i].taken_n; /* one may run while others sleep with all that there are */
    }
    assert_true(taken_n > 0);
    assert_int_equal(atomic_load(&c.open_n), 0);
    assert_int_equal(atomic_load(&eps[0].connections_n), 0);
    assert_int_equal(atomic_load(&eps[1].connections_n), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(without_a_limit_they_are_only_counted),
        cmocka_unit_test(who_is_refused_by_the_endpoint_leaves_nothing_at_the_pool),
        cmocka_unit_test(who_wants_one_does_not_ask_itself),
        cmocka_unit_test(the_others_are_asked_once_in_a_while),
        cmocka_unit_test(threads_never_exceed_a_limit_and_lose_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
