/* SPDX-License-Identifier: Apache-2.0 */
/* From the workers that cannot connect to the one that is told: a letter at a time, and none lost
 * that matters. As proxy/run does it: the letter lives in the owner of the pool. */
#include "proxy/base/rng.h"
#include "proxy/io/loop.h"
#include "proxy/upstream/pool.h"
#include "tests/unit/check.h"

#include <pthread.h>
#include <string.h>

enum {
    WORKERS_N = 2,
    OUTCOMES_N = 20000,
    NOW_MS = 100000,
    KNOCK_MS = SL_OUTLIER_KNOCK_MS
};

struct owner {
    struct sl_endpoint_ids ids;
    struct sl_pool *pool;
    struct sl_endpoint_set *set;
    struct sl_loop *loop;
    struct sl_mail letter;
    unsigned told_n; /* by the loop's thread alone */
    _Atomic unsigned posted_n;
};

static const struct sl_outcome good = {.status = 200};
static const struct sl_outcome timed_out = {.failed = true, .unreachable = true};
static const struct sl_outcome refused = {.failed = true, .refused = true, .unreachable = true};
static const struct sl_outcome reset = {.failed = true};

static void on_letter(struct sl_mail *m)
{
    struct owner *o = sl_container_of(m, struct owner, letter);

    o->told_n++;
    atomic_store_explicit(&o->pool->doubted, false, memory_order_release);
}

static void post(void *doubt_owner)
{
    struct owner *o = doubt_owner;

    atomic_fetch_add(&o->posted_n, 1);
    sl_mailbox_post(o->loop, &o->letter);
}

static void on_set_done(struct sl_published *published)
{
    (void)published; /* the fixture knows the one there is */
}

static void begin(struct owner *o, struct sl_rng *rngs)
{
    static const struct sl_found found = {
        .address = {.host = "10.0.0.7", .port = 80},
        .weight = 1,
    };
    const struct sl_snapshot snapshot = {.items = &found, .n = 1};
    const struct sl_pool_config conf = {.balance = "round_robin"};
    struct sl_error err;

    memset(o, 0, sizeof(*o));
    assert_int_equal(sl_loop_new(&o->loop), SL_OK);
    assert_int_equal(sl_pool_new("chat", WORKERS_N, &o->ids, on_set_done, &o->pool), SL_OK);
    o->letter.on_mail = on_letter;
    o->pool->on_doubt = post;
    o->pool->doubt_owner = o;
    assert_int_equal(sl_pool_build_set(o->pool, &snapshot, &conf, &o->set, &err), SL_OK);
    for (uint32_t i = 0; i < WORKERS_N; i++) {
        rngs[i].state = i + 1;
        sl_pool_take_set(o->pool, i, o->set, &rngs[i], NULL, NULL);
    }
}

static void end(struct owner *o)
{
    for (uint32_t i = 0; i < WORKERS_N; i++) {
        sl_pool_take_set(o->pool, i, NULL, NULL, NULL, NULL);
    }
    sl_pool_free_set(o->set);
    sl_pool_free(o->pool);
    sl_loop_free(o->loop);
}

static void attempt(struct owner *o, uint32_t worker_idx, const struct sl_outcome *outcome,
                    uint64_t now_ms)
{
    const struct sl_pick ctx = {.now_ms = now_ms};
    enum sl_tier tier;
    struct sl_endpoint_set *set = sl_pool_pin(o->pool, worker_idx);
    struct sl_endpoint *ep = sl_pool_pick(set, worker_idx, &ctx, &tier);

    assert_non_null(ep);
    sl_pool_done(set, worker_idx, ep, outcome, now_ms);
    sl_pool_unpin(set, worker_idx);
}

/* How often the owner was told since the last call. */
static unsigned told(struct owner *o)
{
    o->told_n = 0;
    sl_loop_run_once(o->loop);
    return o->told_n;
}

static void who_cannot_be_reached_twice_in_a_row_is_doubted(void **state)
{
    struct sl_rng rngs[WORKERS_N];
    struct owner o;
    (void)state;

    begin(&o, rngs);
    attempt(&o, 0, &refused, NOW_MS);
    assert_int_equal(told(&o), 0);
    attempt(&o, 1, &timed_out, NOW_MS + KNOCK_MS); /* whichever worker, whichever way */
    assert_int_equal(told(&o), 1);
    attempt(&o, 1, &refused, NOW_MS + 2 * KNOCK_MS);
    attempt(&o, 0, &refused, NOW_MS + 3 * KNOCK_MS); /* the letter is under way already */
    assert_int_equal(told(&o), 1);
    attempt(&o, 0, &refused, NOW_MS + 4 * KNOCK_MS);
    assert_int_equal(told(&o), 1);
    end(&o);
}

static void a_success_in_between_or_another_failure_is_no_reason_to_doubt(void **state)
{
    struct sl_rng rngs[WORKERS_N];
    struct owner o;
    (void)state;

    begin(&o, rngs);
    for (uint64_t i = 0; i < 10; i++) {
        attempt(&o, 0, &refused, NOW_MS + 2 * i * KNOCK_MS);
        attempt(&o, 0, &good, NOW_MS + (2 * i + 1) * KNOCK_MS);
    }
    for (uint64_t i = 0; i < 10; i++) {
        attempt(&o, 0, &reset, NOW_MS + 20 * KNOCK_MS + i);
    }
    assert_int_equal(told(&o), 0);
    o.pool->on_doubt = NULL; /* nobody wants to know */
    attempt(&o, 0, &refused, NOW_MS + 30 * KNOCK_MS);
    attempt(&o, 0, &refused, NOW_MS + 31 * KNOCK_MS);
    assert_int_equal(told(&o), 0);
    end(&o);
}

struct worker {
    struct owner *owner;
    uint32_t idx;
    pthread_t thread;
};

static void *fail_often(void *arg)
{
    const struct worker *w = arg;

    for (uint64_t i = 0; i < OUTCOMES_N; i++) {
        attempt(w->owner, w->idx, &timed_out, NOW_MS + i);
    }
    return NULL;
}

static void workers_that_doubt_at_once_share_a_letter(void **state)
{
    struct sl_rng rngs[WORKERS_N];
    struct worker workers[WORKERS_N];
    struct owner o;
    (void)state;

    begin(&o, rngs);
    for (uint32_t i = 0; i < WORKERS_N; i++) {
        workers[i] = (struct worker){.owner = &o, .idx = i};
        assert_int_equal(pthread_create(&workers[i].thread, NULL, fail_often, &workers[i]), 0);
    }
    while (sl_pool_stat(o.pool, SL_POOL_PICKS) < (uint64_t)WORKERS_N * OUTCOMES_N) {
        sl_loop_run_once(o.loop);
    }
    for (uint32_t i = 0; i < WORKERS_N; i++) {
        assert_int_equal(pthread_join(workers[i].thread, NULL), 0);
    }
    sl_loop_run_once(o.loop);
    assert_true(o.told_n > 0);
    assert_int_equal(o.told_n, atomic_load(&o.posted_n));
    assert_false(atomic_load(&o.pool->doubted));
    end(&o);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(who_cannot_be_reached_twice_in_a_row_is_doubted),
        cmocka_unit_test(a_success_in_between_or_another_failure_is_no_reason_to_doubt),
        cmocka_unit_test(workers_that_doubt_at_once_share_a_letter),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
