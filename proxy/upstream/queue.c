/* SPDX-License-Identifier: Apache-2.0 */
/*
 * All that is shared is relaxed: places, size and bytes are exact by compare-and-swap or by
 * undoing, and what workers tell each other is a hint whose loss costs the caller's next look.
 */
#include "queue.h"

#include <sluiced/config.h>
#include <sluiced/err.h>

#include "proxy/base/alloc.h"
#include "proxy/base/rng.h"

int sl_pool_queue_init(struct sl_pool_queue *q, uint32_t workers_n)
{
    q->cells = sl_alloc_aligned(64, workers_n * sizeof(q->cells[0]));
    if (q->cells == NULL) {
        return SL_ENOMEM;
    }
    q->cells_n = workers_n;
    for (uint32_t i = 0; i < workers_n; i++) {
        struct sl_pool_queue_cell *cell = &q->cells[i];
        for (size_t c = 0; c < SL_QUEUE_CLASSES_N; c++) {
            sl_list_init(&cell->classes[c]);
        }
        cell->queue = q;
        sl_list_init(&cell->link);
        atomic_init(&cell->first_rank_ms, UINT64_MAX);
    }
    return SL_OK;
}

void sl_pool_queue_fini(struct sl_pool_queue *q)
{
    uint32_t waiting_n = sl_pool_queue_waiting_n(q);

    SL_ASSERT(waiting_n == 0, "%u requests wait still", waiting_n);
    sl_free(q->cells);
    q->cells = NULL;
    q->cells_n = 0;
}

/* ---- Places */

bool sl_pool_queue_take_place(struct sl_pool_queue *q, bool *held)
{
    uint32_t max_n = atomic_load_explicit(&q->in_flight_max_n, memory_order_relaxed);
    uint32_t n = atomic_load_explicit(&q->in_flight_n, memory_order_relaxed);

    if (max_n == 0) {
        *held = false;
        return true;
    }
    do {
        if (n >= max_n) {
            return false;
        }
    } while (!atomic_compare_exchange_weak_explicit(&q->in_flight_n, &n, n + 1,
                                                    memory_order_relaxed, memory_order_relaxed));
    *held = true;
    return true;
}

void sl_pool_queue_give_place(struct sl_pool_queue *q)
{
    uint32_t before_n = atomic_fetch_sub_explicit(&q->in_flight_n, 1, memory_order_relaxed);

    SL_ASSERT(before_n > 0, "more places came back than were taken");
}

/* ---- Who waits */

static struct sl_waiter *of(struct sl_list *link)
{
    return sl_container_of(link, struct sl_waiter, link);
}

struct sl_waiter *sl_pool_queue_first(const struct sl_pool_queue *q, uint32_t worker_idx)
{
    const struct sl_pool_queue_cell *cell = &q->cells[worker_idx];
    struct sl_waiter *first = NULL;

    for (size_t c = 0; cell->n > 0 && c < SL_QUEUE_CLASSES_N; c++) {
        if (!sl_list_empty(&cell->classes[c])) {
            struct sl_waiter *x = of(cell->classes[c].next);
            first = first == NULL || x->rank_ms < first->rank_ms ? x : first;
        }
    }
    return first;
}

static void tell_first(struct sl_pool_queue *q, uint32_t worker_idx)
{
    const struct sl_waiter *first = sl_pool_queue_first(q, worker_idx);

    atomic_store_explicit(&q->cells[worker_idx].first_rank_ms,
                          first != NULL ? first->rank_ms : UINT64_MAX, memory_order_relaxed);
}

static bool take_bytes(struct sl_pool_queue *q, const struct sl_queue_config *conf, uint64_t bytes)
{
    uint64_t held = sl_pool_queue_bytes(q);

    do {
        if (held > conf->bytes || bytes > conf->bytes - held) {
            return false;
        }
    } while (!atomic_compare_exchange_weak_explicit(&q->bytes, &held, held + bytes,
                                                    memory_order_relaxed, memory_order_relaxed));
    return true;
}

bool sl_pool_queue_grow(struct sl_pool_queue *q, struct sl_waiter *x,
                        const struct sl_queue_config *conf, uint64_t bytes)
{
    if (!take_bytes(q, conf, bytes)) {
        return false;
    }
    x->bytes += bytes;
    return true;
}

/* Whoever comes again was among the first, so that few are passed. */
static struct sl_list *before_younger(struct sl_list *class, uint64_t rank_ms)
{
    struct sl_list *link = class->prev;

    if (sl_list_empty(class) || of(link)->rank_ms <= rank_ms) {
        return class;
    }
    link = class->next;
    while (of(link)->rank_ms <= rank_ms) {
        link = link->next;
    }
    return link;
}

bool sl_pool_queue_push(struct sl_pool_queue *q, uint32_t worker_idx, struct sl_waiter *x,
                        const struct sl_queue_config *conf, uint64_t rank_ms)
{
    struct sl_pool_queue_cell *cell = &q->cells[worker_idx];

    SL_ASSERT(x->class_idx < SL_QUEUE_CLASSES_N && !x->waits, "class %u", x->class_idx);
    if (atomic_fetch_add_explicit(&q->waiting_n, 1, memory_order_relaxed) >= conf->size_n ||
        !take_bytes(q, conf, x->bytes))
    {
        atomic_fetch_sub_explicit(&q->waiting_n, 1, memory_order_relaxed);
        return false;
    }
    x->rank_ms = rank_ms;
    x->waits = true;
    sl_list_push_back(before_younger(&cell->classes[x->class_idx], rank_ms), &x->link);
    cell->n++;
    tell_first(q, worker_idx);
    return true;
}

void sl_pool_queue_remove(struct sl_pool_queue *q, uint32_t worker_idx, struct sl_waiter *x,
                          bool served, uint64_t now_ms)
{
    struct sl_pool_queue_cell *cell = &q->cells[worker_idx];

    SL_ASSERT(x->waits && cell->n > 0, "%u wait", cell->n);
    sl_list_unlink(&x->link);
    x->waits = false;
    atomic_fetch_sub_explicit(&q->bytes, x->bytes, memory_order_relaxed);
    atomic_fetch_sub_explicit(&q->waiting_n, 1, memory_order_relaxed);
    if (--cell->n == 0) {
        sl_list_unlink(&cell->link);
        cell->yields_until_ms = 0;
    }
    tell_first(q, worker_idx);
    if (served) {
        sl_rate_add(&cell->served, now_ms);
    }
}

uint32_t sl_pool_queue_before(const struct sl_pool_queue *q, uint32_t worker_idx, uint64_t rank_ms)
{
    uint64_t least_ms = rank_ms;
    uint32_t found = worker_idx;

    for (uint32_t i = 0; i < q->cells_n; i++) {
        uint64_t ms = atomic_load_explicit(&q->cells[i].first_rank_ms, memory_order_relaxed);
        if (i != worker_idx && ms < least_ms) {
            least_ms = ms;
            found = i;
        }
    }
    return found;
}

/* ---- Come again later */

static uint64_t served_n(const struct sl_pool_queue *q, uint64_t now_ms)
{
    uint64_t total = 0;

    for (uint32_t i = 0; i < q->cells_n; i++) {
        total += sl_rate_sum(&q->cells[i].served, now_ms, SL_QUEUE_RATE_SECONDS_N - 1);
    }
    return total;
}

uint32_t sl_pool_queue_retry_after_s(const struct sl_pool_queue *q, uint64_t now_ms,
                                     struct sl_rng *rng)
{
    uint64_t recent_n = served_n(q, now_ms);
    uint64_t ahead_n = (uint64_t)sl_pool_queue_waiting_n(q) + 1;
    /* It stands still: nothing is known but that this may last as long as it was looked at. */
    uint64_t s = SL_QUEUE_RATE_SECONDS_N;

    if (recent_n > 0) {
        s = (ahead_n * SL_QUEUE_RATE_SECONDS_N + recent_n - 1) / recent_n;
    }
    s = s < SL_QUEUE_RETRY_MAX_S ? s : SL_QUEUE_RETRY_MAX_S;
    s += sl_rng_below(rng, (s + 1) / 2 + 1);
    return (uint32_t)(s < SL_QUEUE_RETRY_MAX_S ? s : SL_QUEUE_RETRY_MAX_S);
}
