/* SPDX-License-Identifier: Apache-2.0 */
/*
 * queue: the requests of a pool that wait for room, and the pool's places.
 *
 * Each worker keeps those it has itself in lists, one a class of priority, 0 the most urgent: first
 * come, first served in each. Between the classes age decides: a class is worth step_ms of waiting,
 * so that an urgent request goes first until the other has waited for that much longer. Workers
 * tell each other how old their next one is, and how many wait in all.
 *
 * Lifetime:  the pool's; a waiter is embedded in what waits, and removed before that is freed
 * Thread:    each worker with its own index; what is shared is atomic. No locks, no clock: now_ms
 *            is the turn's
 * Errors:    init only
 * Limits:    size and bytes of all workers together, exactly. push, first, remove: O(classes); what
 * looks at the other workers: O(workers)
 */
#ifndef SL_UPSTREAM_QUEUE_H
#define SL_UPSTREAM_QUEUE_H

#include <sluiced/defs.h>

#include "rate.h"

#include "proxy/base/list.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define SL_QUEUE_CLASSES_N 4
#define SL_QUEUE_RATE_SECONDS_N 10 /* the rate at which it moves is that of the last ones */
#define SL_QUEUE_RETRY_MAX_S 60

struct sl_queue_config;
struct sl_rng;

struct sl_waiter {
    struct sl_list link;
    uint64_t rank_ms; /* the lower, the sooner: when it came, and its class */
    uint64_t bytes;   /* that it holds; its owner's to set before it waits */
    uint8_t class_idx;
    bool waits;
};

struct sl_pool_queue;

struct sl_pool_queue_cell {
    _Alignas(64) struct sl_list classes[SL_QUEUE_CLASSES_N];
    struct sl_pool_queue *queue;
    struct sl_list link; /* among the queues of the worker where somebody waits; the caller's */
    uint32_t n;
    uint64_t yields_until_ms; /* to older ones on another worker; 0: does not; the caller's */
    bool lacks_endpoints;     /* the next one waits for endpoints, not for room; the caller's */
    bool all_refuse;          /* or for one that listens; the caller's */
    /* Read by other workers. */
    _Alignas(64) _Atomic uint64_t first_rank_ms; /* UINT64_MAX: nobody waits */
    struct sl_rate served;
};

struct sl_pool_queue {
    uint32_t cells_n;
    struct sl_pool_queue_cell *cells;
    _Alignas(64) _Atomic uint32_t waiting_n; /* on all workers */
    _Atomic uint64_t bytes;                  /* that those hold */
    _Atomic uint32_t in_flight_n;            /* requests that hold a place, on all workers */
    _Atomic uint32_t in_flight_max_n;        /* 0: no limit; written by the control thread */
};

int sl_pool_queue_init(struct sl_pool_queue *q, uint32_t workers_n) SL_MUST_CHECK;
void sl_pool_queue_fini(struct sl_pool_queue *q); /* nobody waits */

/* A place for a request that begins, given back when it ends. False: all are taken. *held says
 * whether there is one to give back: without a limit none is counted. */
bool sl_pool_queue_take_place(struct sl_pool_queue *q, bool *held) SL_MUST_CHECK;
void sl_pool_queue_give_place(struct sl_pool_queue *q);

/* x joins its class: at the end, or where it was if it has waited before, by rank_ms. False: as
 * many wait already as conf allows, or hold as much. */
bool sl_pool_queue_push(struct sl_pool_queue *q, uint32_t worker_idx, struct sl_waiter *x,
                        const struct sl_queue_config *conf, uint64_t rank_ms) SL_MUST_CHECK;

/* x, which waits, holds so much more. False: that is too much, and not counted. */
bool sl_pool_queue_grow(struct sl_pool_queue *q, struct sl_waiter *x,
                        const struct sl_queue_config *conf, uint64_t bytes) SL_MUST_CHECK;

static inline uint64_t sl_pool_queue_rank_ms(uint64_t now_ms, uint8_t class_idx, uint64_t step_ms)
{
    return now_ms + class_idx * step_ms;
}

/* The worker's next one; NULL: nobody waits here. */
struct sl_waiter *sl_pool_queue_first(const struct sl_pool_queue *q, uint32_t worker_idx);

/* x, which waits, leaves: to be served, which is what the queue's rate counts, or for good. */
void sl_pool_queue_remove(struct sl_pool_queue *q, uint32_t worker_idx, struct sl_waiter *x,
                          bool served, uint64_t now_ms);

/* The worker where somebody waits who goes before rank_ms; worker_idx itself: nobody does. */
uint32_t sl_pool_queue_before(const struct sl_pool_queue *q, uint32_t worker_idx, uint64_t rank_ms);

/* When who is refused now may come again: as long as it would take those that wait to be served at
 * the recent rate, and up to half of it more, for they must not all come at once. 1 to
 * SL_QUEUE_RETRY_MAX_S. */
uint32_t sl_pool_queue_retry_after_s(const struct sl_pool_queue *q, uint64_t now_ms,
                                     struct sl_rng *rng);

static inline uint64_t sl_pool_queue_bytes(const struct sl_pool_queue *q)
{
    return atomic_load_explicit(&q->bytes, memory_order_relaxed);
}

static inline uint32_t sl_pool_queue_waiting_n(const struct sl_pool_queue *q)
{
    return atomic_load_explicit(&q->waiting_n, memory_order_relaxed);
}

#endif
