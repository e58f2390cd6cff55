/* SPDX-License-Identifier: Apache-2.0 */
#include <sluiced/config.h>
#include <sluiced/err.h>

#include "proxy/base/alloc.h"
#include "proxy/base/rng.h"
#include "proxy/upstream/queue.h"
#include "tests/unit/check.h"

#include <pthread.h>
#include <string.h>

enum {
    NOW_MS = 5000000,
    STEP_MS = 1000,
    MAX_N = 1000,
    THREADS_N = 4,
    ROUNDS_N = 20000,
};

struct fixture {
    struct sl_pool_queue q;
    struct sl_rng rng;
    struct sl_waiter all[MAX_N];
};

static void begin(struct fixture *f, uint32_t workers_n)
{
    memset(f, 0, sizeof(*f));
    f->rng.state = 7;
    assert_int_equal(sl_pool_queue_init(&f->q, workers_n), SL_OK);
}

static void end(struct fixture *f)
{
    for (uint32_t w = 0; w < f->q.cells_n; w++) {
        struct sl_waiter *x;
        while ((x = sl_pool_queue_first(&f->q, w)) != NULL) {
            sl_pool_queue_remove(&f->q, w, x, false, NOW_MS);
        }
    }
    sl_pool_queue_fini(&f->q);
}

static const struct sl_queue_config roomy = {.size_n = MAX_N, .bytes = UINT64_MAX};

static void push(struct fixture *f, uint32_t w, size_t i, uint8_t class_idx, uint64_t at_ms)
{
    f->all[i].class_idx = class_idx;
    assert_true(sl_pool_queue_push(&f->q, w, &f->all[i], &roomy,
                                   sl_pool_queue_rank_ms(at_ms, class_idx, STEP_MS)));
}

/* The next one of worker 0 is served. */
static size_t serve(struct fixture *f, uint64_t now_ms)
{
    struct sl_waiter *x = sl_pool_queue_first(&f->q, 0);

    assert_non_null(x);
    sl_pool_queue_remove(&f->q, 0, x, true, now_ms);
    return (size_t)(x - f->all);
}

static void first_come_first_served_within_a_class(void **state)
{
    struct fixture f;
    (void)state;

    begin(&f, 1);
    assert_null(sl_pool_queue_first(&f.q, 0));
    for (size_t i = 0; i < 100; i++) { /* several in one turn of the loop */
        push(&f, 0, i, 2, NOW_MS + i / 10);
    }
    for (size_t i = 0; i < 100; i++) {
        assert_int_equal(serve(&f, NOW_MS), i);
    }
    assert_int_equal(sl_pool_queue_waiting_n(&f.q), 0);
    end(&f);
}

static void who_comes_again_is_where_it_was(void **state)
{
    struct fixture f;
    (void)state;

    begin(&f, 1);
    for (size_t i = 0; i < 5; i++) {
        push(&f, 0, i, 2, NOW_MS + i);
    }
    assert_int_equal(serve(&f, NOW_MS), 0);
    assert_int_equal(serve(&f, NOW_MS), 1);
    push(&f, 0, 1, 2, NOW_MS + 1);
    push(&f, 0, 0, 2, NOW_MS);
    sl_pool_queue_remove(&f.q, 0, &f.all[3], true, NOW_MS);
    push(&f, 0, 3, 2, NOW_MS + 3);
    for (size_t i = 0; i < 5; i++) {
        assert_int_equal(serve(&f, NOW_MS), i);
    }
    end(&f);
}

static void urgent_ones_go_first_until_the_others_are_older_by_a_step(void **state)
{
    struct fixture f;
    (void)state;

    begin(&f, 1);
    push(&f, 0, 0, 3, NOW_MS);
    push(&f, 0, 1, 2, NOW_MS + 1);
    push(&f, 0, 2, 0, NOW_MS + 2);
    push(&f, 0, 3, 1, NOW_MS + 3);
    push(&f, 0, 4, 0, NOW_MS + 3 * STEP_MS - 1); /* the one of class 3 is not old enough */
    push(&f, 0, 5, 0, NOW_MS + 3 * STEP_MS + 1);
    static const size_t order[] = {2, 3, 1, 4, 0, 5};
    for (size_t i = 0; i < SL_ARRAY_LEN(order); i++) {
        size_t got = serve(&f, NOW_MS);
        check(got == order[i], "%zu was served as number %zu", got, i);
    }
    end(&f);
}

static void a_flood_of_urgent_ones_starves_nobody(void **state)
{
    struct fixture f;
    size_t served = 0;
    (void)state;

    begin(&f, 1);
    push(&f, 0, 0, 3, NOW_MS);
    for (size_t i = 1; i < MAX_N && served == 0; i++) { /* 100 a second, as many are served */
        push(&f, 0, i, 0, NOW_MS + i * 10);
        if (serve(&f, NOW_MS + i * 10) == 0) {
            served = i;
        }
    }
    check(served >= 300 && served <= 302, "served as number %zu", served);
    end(&f);
}

static void who_leaves_is_forgotten(void **state)
{
    struct fixture f;
    (void)state;

    begin(&f, 1);
    push(&f, 0, 0, 2, NOW_MS);
    push(&f, 0, 1, 2, NOW_MS);
    push(&f, 0, 2, 2, NOW_MS);
    sl_pool_queue_remove(&f.q, 0, &f.all[1], false, NOW_MS);
    assert_int_equal(serve(&f, NOW_MS), 0);
    assert_int_equal(serve(&f, NOW_MS), 2);
    assert_null(sl_pool_queue_first(&f.q, 0));
    end(&f);
}

static void the_size_is_that_of_all_workers(void **state)
{
    struct fixture f;
    (void)state;

    static const struct sl_queue_config two = {.size_n = 2, .bytes = UINT64_MAX};
    static const struct sl_queue_config off = {.size_n = 0, .bytes = UINT64_MAX};

    begin(&f, 2);
    assert_true(sl_pool_queue_push(&f.q, 0, &f.all[0], &two, NOW_MS));
    assert_true(sl_pool_queue_push(&f.q, 1, &f.all[1], &two, NOW_MS));
    assert_false(sl_pool_queue_push(&f.q, 0, &f.all[2], &two, NOW_MS));
    assert_false(f.all[2].waits);
    assert_int_equal(sl_pool_queue_waiting_n(&f.q), 2);
    sl_pool_queue_remove(&f.q, 1, &f.all[1], false, NOW_MS);
    assert_true(sl_pool_queue_push(&f.q, 0, &f.all[2], &two, NOW_MS));
    assert_false(sl_pool_queue_push(&f.q, 0, &f.all[3], &off, NOW_MS));
    end(&f);
}

static void the_bytes_are_those_of_all_workers(void **state)
{
    static const struct sl_queue_config conf = {.size_n = MAX_N, .bytes = 100};
    struct fixture f;
    (void)state;

    begin(&f, 2);
    f.all[0].bytes = 60;
    f.all[1].bytes = 41;
    assert_true(sl_pool_queue_push(&f.q, 0, &f.all[0], &conf, NOW_MS));
    assert_false(sl_pool_queue_push(&f.q, 1, &f.all[1], &conf, NOW_MS));
    assert_int_equal(sl_pool_queue_waiting_n(&f.q), 1); /* who is refused leaves nothing behind */
    assert_int_equal(sl_pool_queue_bytes(&f.q), 60);
    f.all[1].bytes = 30;
    assert_true(sl_pool_queue_push(&f.q, 1, &f.all[1], &conf, NOW_MS));
    assert_true(sl_pool_queue_grow(&f.q, &f.all[1], &conf, 10));
    assert_false(sl_pool_queue_grow(&f.q, &f.all[0], &conf, 1));
    assert_false(sl_pool_queue_grow(&f.q, &f.all[0], &conf, UINT64_MAX));
    sl_pool_queue_remove(&f.q, 1, &f.all[1], true, NOW_MS);
    assert_int_equal(sl_pool_queue_bytes(&f.q), 60);
    sl_pool_queue_remove(&f.q, 0, &f.all[0], false, NOW_MS);
    assert_int_equal(sl_pool_queue_bytes(&f.q), 0);
    end(&f);
}

static void workers_see_who_goes_before(void **state)
{
    struct fixture f;
    (void)state;

    begin(&f, 3);
    assert_int_equal(sl_pool_queue_before(&f.q, 0, UINT64_MAX), 0);
    push(&f, 1, 0, 0, NOW_MS + 5);
    push(&f, 2, 1, 0, NOW_MS + 3);
    assert_int_equal(sl_pool_queue_before(&f.q, 0, UINT64_MAX), 2);
    assert_int_equal(sl_pool_queue_before(&f.q, 0, NOW_MS + 4), 2);
    assert_int_equal(sl_pool_queue_before(&f.q, 0, NOW_MS + 3), 0); /* alike is not before */
    assert_int_equal(sl_pool_queue_before(&f.q, 2, NOW_MS + 3), 2); /* nor is it itself */
    sl_pool_queue_remove(&f.q, 2, &f.all[1], true, NOW_MS);
    assert_int_equal(sl_pool_queue_before(&f.q, 0, UINT64_MAX), 1);
    end(&f);
}

static void places_are_counted_where_there_is_a_limit(void **state)
{
    struct fixture f;
    bool held = true;
    (void)state;

    begin(&f, 1);
    assert_true(sl_pool_queue_take_place(&f.q, &held));
    assert_false(held);
    atomic_store(&f.q.in_flight_max_n, 2);
    for (int i = 0; i < 2; i++) {
        assert_true(sl_pool_queue_take_place(&f.q, &held));
        assert_true(held);
    }
    assert_false(sl_pool_queue_take_place(&f.q, &held));
    sl_pool_queue_give_place(&f.q);
    assert_true(sl_pool_queue_take_place(&f.q, &held));
    atomic_store(&f.q.in_flight_max_n, 1); /* lowered: those that run are not cut */
    sl_pool_queue_give_place(&f.q);
    assert_false(sl_pool_queue_take_place(&f.q, &held));
    sl_pool_queue_give_place(&f.q);
    assert_true(sl_pool_queue_take_place(&f.q, &held));
    sl_pool_queue_give_place(&f.q);
    end(&f);
}

static void come_again_when_those_before_are_served(void **state)
{
    static const struct {
        size_t served_n; /* in the last ten seconds, or */
        uint64_t ago_ms; /* before */
        size_t waiting_n;
        uint32_t least_s;
        uint32_t most_s;
    } rows[] = {
        {100, 0, 99, 10, 15},    {100, 0, 9, 1, 2},        {100, 0, 0, 1, 2},
        {10, 0, 39, 40, 60},     {1, 0, 500, 60, 60},      {0, 0, 500, 10, 15},
        {100, 9000, 99, 10, 15}, {100, 11000, 99, 10, 15}, {900, 11000, 0, 10, 15},
    };
    (void)state;

    for (size_t r = 0; r < SL_ARRAY_LEN(rows); r++) {
        struct fixture f;
        uint32_t least_s = UINT32_MAX;
        uint32_t most_s = 0;
        begin(&f, 1);
        for (size_t i = 0; i < rows[r].served_n; i++) {
            push(&f, 0, i, 0, NOW_MS);
            (void)serve(&f, NOW_MS - rows[r].ago_ms);
        }
        for (size_t i = 0; i < rows[r].waiting_n; i++) {
            push(&f, 0, i, 0, NOW_MS);
        }
        for (int i = 0; i < 1000; i++) {
            uint32_t s = sl_pool_queue_retry_after_s(&f.q, NOW_MS, &f.rng);
            least_s = s < least_s ? s : least_s;
            most_s = s > most_s ? s : most_s;
        }
        check(least_s == rows[r].least_s && most_s == rows[r].most_s, "row %zu: %u to %u s", r,
              least_s, most_s);
        end(&f);
    }
}

/* ---- Workers at once */

struct thread {
    struct fixture *f;
    uint32_t idx;
    _Atomic uint32_t *inside_n;
    uint32_t most_n;
    uint32_t refused_n;
    uint64_t most_bytes;
};

static void *work(void *arg)
{
    struct thread *t = arg;
    struct sl_pool_queue *q = &t->f->q;
    static const struct sl_queue_config conf = {.size_n = THREADS_N - 1, .bytes = 100};
    struct sl_waiter x = {.class_idx = (uint8_t)(t->idx % SL_QUEUE_CLASSES_N), .bytes = 50};

    for (uint32_t i = 0; i < ROUNDS_N; i++) {
        bool held;
        if (sl_pool_queue_take_place(q, &held)) {
            uint32_t n = atomic_fetch_add(t->inside_n, 1) + 1;
            t->most_n = n > t->most_n ? n : t->most_n;
            atomic_fetch_sub(t->inside_n, 1);
            sl_pool_queue_give_place(q);
        }
        if (!sl_pool_queue_push(q, t->idx, &x, &conf, NOW_MS + i)) {
            t->refused_n++;
            continue;
        }
        uint64_t bytes = sl_pool_queue_bytes(q);
        t->most_bytes = bytes > t->most_bytes ? bytes : t->most_bytes;
        (void)sl_pool_queue_before(q, t->idx, x.rank_ms); /* only looked at */
        sl_pool_queue_remove(q, t->idx, sl_pool_queue_first(q, t->idx), true, NOW_MS + i);
    }
    return NULL;
}

static void threads_never_exceed_a_limit_and_lose_nothing(void **state)
{
    struct fixture f;
    struct thread threads[THREADS_N];
    pthread_t ids[THREADS_N];
    _Atomic uint32_t inside_n = 0;
    (void)state;

    begin(&f, THREADS_N);
    atomic_store(&f.q.in_flight_max_n, 2);
    for (uint32_t i = 0; i < THREADS_N; i++) {
        threads[i] = (struct thread){.f = &f, .idx = i, .inside_n = &inside_n};
        assert_int_equal(pthread_create(&ids[i], NULL, work, &threads[i]), 0);
    }
    for (uint32_t i = 0; i < THREADS_N; i++) {
        assert_int_equal(pthread_join(ids[i], NULL), 0);
        check(threads[i].most_n <= 2, "%u at once", threads[i].most_n);
        assert_true(threads[i].most_bytes <= 100);
    }
    assert_int_equal(sl_pool_queue_bytes(&f.q), 0);
    assert_int_equal(sl_pool_queue_waiting_n(&f.q), 0);
    assert_int_equal(atomic_load(&f.q.in_flight_n), 0);
    end(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(first_come_first_served_within_a_class),
        cmocka_unit_test(who_comes_again_is_where_it_was),
        cmocka_unit_test(urgent_ones_go_first_until_the_others_are_older_by_a_step),
        cmocka_unit_test(a_flood_of_urgent_ones_starves_nobody),
        cmocka_unit_test(who_leaves_is_forgotten),
        cmocka_unit_test(the_size_is_that_of_all_workers),
        cmocka_unit_test(the_bytes_are_those_of_all_workers),
        cmocka_unit_test(workers_see_who_goes_before),
        cmocka_unit_test(places_are_counted_where_there_is_a_limit),
        cmocka_unit_test(come_again_when_those_before_are_served),
        cmocka_unit_test(threads_never_exceed_a_limit_and_lose_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
