/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pool: a name, the endpoints behind it, and for each worker the set it picks from.
 *
 *   control thread   new -> (build_set -> mail to all workers)... -> free_set... -> free
 *   each worker      take_set; pin -> pick -> done ... -> unpin for each exchange
 *
 * Lifetime:  process: made when a config first names it, freed when none does and its last set
 *            is gone. Set: see sluiced/publish.h
 * Thread:    as above; worker functions take the calling worker's index and touch its cells and
 *            the endpoints' atomics only
 * Ownership: the pool owns endpoints and budget; a set is the control thread's to free
 * Errors:    new and build_set; on a worker nothing can fail, for all its memory came with the set
 */
#ifndef SL_UPSTREAM_POOL_H
#define SL_UPSTREAM_POOL_H

#include <sluiced/balancer.h>
#include <sluiced/defs.h>
#include <sluiced/discovery.h>
#include <sluiced/endpoint.h>
#include <sluiced/err.h>
#include <sluiced/publish.h>

#include "connections.h"
#include "endpoint.h"
#include "outlier.h"
#include "queue.h"
#include "retry_budget.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct sl_rng;

/* Totals of the pool, which stay when endpoints go. */
enum sl_pool_stat {
    SL_POOL_PICKS,
    SL_POOL_PICKS_DRAINING, /* of them, for want of a ready one: lowered to SL_TIER_DRAINING */
    SL_POOL_PICKS_ANY,      /* lowered to SL_TIER_ANY, or SL_TIER_REFUSING */
    SL_POOL_PICKS_OWN_ZONE, /* where it is preferred */
    SL_POOL_PICKS_OTHER_ZONE,
    SL_POOL_NOBODY,   /* a pick found no endpoint at all */
    SL_POOL_FAILURES, /* gateway errors */
    SL_POOL_EJECTIONS,
    SL_POOL_STATS_N,
};

struct sl_pool_cell {
    _Alignas(64) struct sl_endpoint_set *set; /* current on the worker; NULL: not synced */
    struct sl_rng *rng;
    _Atomic uint64_t stats[SL_POOL_STATS_N];
    /* Of proxy/upstream/hang.c; 0: not known. */
    _Atomic uint64_t first_byte_median_us;
    _Atomic uint64_t first_byte_longest[2]; /* packed; of this span of time and the one before */
};

struct sl_pool {
    char *name;
    uint32_t workers_n;
    sl_published_done_fn on_set_done;
    struct sl_endpoint_table endpoints; /* control thread */
    struct sl_endpoint_set *newest;     /* control thread; set by who mails it; NULL: none yet */
    uint32_t sets_n;                    /* control thread: built and not yet freed */
    struct sl_pool_cell *cells;         /* cell i: worker i */
    struct sl_retry_budget retries;
    struct sl_pool_queue queue;
    struct sl_pool_connections connections;

    /* Worker: an endpoint cannot be connected to, again. Called when doubted becomes true; whoever
     * is told sets it back to false, and is told anew from then on. NULL: nobody wants to know. */
    void (*on_doubt)(void *doubt_owner);
    void *doubt_owner;
    _Atomic bool doubted;
    _Atomic uint64_t hangs_n; /* control thread; ejections that no worker has counted */
    _Alignas(64) struct sl_outlier outlier;
    _Atomic uint32_t per_endpoint_max_n; /* the cap of each; 0: none. Beside it, rarely written */
};

/* on_set_done: see sluiced/publish.h; it gets &set->published. ids is borrowed until free.
 * SL_ENOMEM. */
int sl_pool_new(const char *name, uint32_t workers_n, struct sl_endpoint_ids *ids,
                sl_published_done_fn on_set_done, struct sl_pool **out) SL_MUST_CHECK;
void sl_pool_free(struct sl_pool *pool); /* accepts NULL; no set is left */

/* Puts conf's limits in force for what begins from now on, at all endpoints there are and will be.
 */
void sl_pool_set_limits(struct sl_pool *pool, const struct sl_limits_config *conf);

/* A set from what discovery found, with conf's policy, and own_zone preferred where the snapshot
 * has that; to be mailed to every worker, in the order
 * of building. Fails with SL_ENOMEM, SL_ELIMIT, or the SL_ECONFIG of the policy; the pool is then
 * as it was and *out untouched. */
int sl_pool_build_set(struct sl_pool *pool, const struct sl_snapshot *snapshot,
                      const struct sl_pool_config *conf, struct sl_endpoint_set **out,
                      struct sl_error *err) SL_MUST_CHECK;

/* After on_set_done of it, or if it was never mailed. Frees endpoints that no set names. */
void sl_pool_free_set(struct sl_endpoint_set *set);

/* Worker: ep is named no more by what is current here: close its idle connections. */
typedef void (*sl_pool_gone_fn)(struct sl_endpoint *ep, uint32_t worker_idx, void *arg);

/* Worker: makes set current; NULL for shutdown or a pool that is no more. Calls on_gone for each
 * endpoint of the set before that is not in this one, and then lets that set go; on_gone may be
 * NULL. rng is borrowed
 * while a set is current or pinned. */
void sl_pool_take_set(struct sl_pool *pool, uint32_t worker_idx, struct sl_endpoint_set *set,
                      struct sl_rng *rng, sl_pool_gone_fn on_gone, void *arg);

/* Worker: whether an idle connection to ep may be kept: false once on_gone was called. */
static inline bool sl_endpoint_is_named(const struct sl_endpoint *ep, uint32_t worker_idx)
{
    return ep->cells[worker_idx].named;
}

/* Worker: the current set, pinned for an exchange; NULL while the pool is not synced. */
struct sl_endpoint_set *sl_pool_pin(struct sl_pool *pool, uint32_t worker_idx);
void sl_pool_unpin(struct sl_endpoint_set *set, uint32_t worker_idx); /* set may be gone then */

/* Worker: whether there is one. */
static inline bool sl_pool_is_synced(const struct sl_pool *pool, uint32_t worker_idx)
{
    return pool->cells[worker_idx].set != NULL;
}

/* Worker: chooses an endpoint and counts it in flight, never more than its cap. NULL: nobody, in no
 * tier. asked->tier is ignored; *tier_used is the one that gave the endpoint; with NULL, the one in
 * which there would be some had they room, for it is better to wait for these than to go to a worse
 * one; SL_TIER_REFUSING: nobody listens, but it is worth to ask again soon; SL_TIERS_N: there is
 * none at all, or with asked->only_ready no ready one. The connection that it takes is counted too,
 * if the caller has a place for the answer. set is pinned, by the exchange.
 */
struct sl_endpoint *sl_pool_pick(struct sl_endpoint_set *set, uint32_t worker_idx,
                                 const struct sl_pick *asked, enum sl_tier *tier_used);

/* Worker: whether somebody is ready, with room or without. O(members). */
bool sl_pool_has_ready(const struct sl_endpoint_set *set, const struct sl_pick *ctx);

/* Worker: a connection to ep, begun then, is open. */
void sl_pool_connected(struct sl_endpoint *ep, uint64_t began_ms, uint64_t now_ms);

/* Worker: how the attempt at ep that pick began has ended; once for each pick. */
void sl_pool_done(struct sl_endpoint_set *set, uint32_t worker_idx, struct sl_endpoint *ep,
                  const struct sl_outcome *outcome, uint64_t now_ms);

/* Worker: the attempt, picked at began_ms, has the head of a response that is no failure; before
 * done, where the rest may take long. */
void sl_pool_answered(struct sl_endpoint *ep, uint64_t began_ms, uint64_t now_ms);

/* Sum over all workers. */
uint64_t sl_pool_stat(const struct sl_pool *pool, enum sl_pool_stat stat);

#endif
