/* SPDX-License-Identifier: Apache-2.0 */
/*
 * balancer: the contract between a pool and a policy that chooses one of its endpoints.
 *
 *   control thread   build(set) -> table        one per endpoint set, immutable, shared
 *   each worker      attach(table) -> balancer  its own state, so pick takes no lock
 *   each exchange    pick, on_start, on_done    feedback, so a policy may learn
 *
 * A policy chooses and nothing else: it opens no socket, reads no clock, tests no health. The same
 * policy serves L4 and L7. Adding one: file, test, lines in policies.h, registry.c.
 *
 * Lifetime:  table: config generation, freed when the last worker let go of its set;
 *            balancer: as long as the worker pins that set, so on_done always finds the balancer
 *            that picked, even when a newer set has replaced it
 * Thread:    build, table_free: control thread only; all else: worker-local, no locks
 * Ownership: table borrows the set; balancer borrows the table and the worker's rng
 * Errors:    build only; attach, pick and feedback cannot fail
 * Limits:    pick: O(log n) while most of the weight is eligible, O(n) at worst; no allocation
 */
#ifndef SL_BALANCER_H
#define SL_BALANCER_H

#include <sluiced/config.h>
#include <sluiced/defs.h>
#include <sluiced/endpoint.h>
#include <sluiced/err.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct sl_rng;

/* Embedded as first member in a policy's table; policies convert with sl_container_of_const. */
struct sl_balancer_table {
    const struct sl_balancer_ops *ops;
    size_t state_bytes; /* what a worker allocates for attach; build knows the set, so it says */
};

/* Embedded as first member in a policy's state. ops doubles as the magic number: one pointer that
 * only this policy can have set, checked at the entry of each callback. */
struct sl_balancer {
    const struct sl_balancer_ops *ops;
    const struct sl_balancer_table *table;
};

#define SL_TRIED_MAX_N 9

/* What the pool says of the connection that a pick needs. */
struct sl_pick_connection {
    bool taken; /* a new one is counted (proxy/upstream/connections.h); else an idle one is there */
    bool lacks; /* nobody was picked, because no more may be opened */
};

/* What the caller knows about one pick. Borrowed for the call; fields a policy ignores may be 0. */
struct sl_pick {
    uint64_t now_ms;      /* the loop turn's clock */
    enum sl_tier tier;    /* set by the pool, which descends */
    uint64_t settled_ms;  /* set by the pool: who came within it is not allowed */
    uint64_t new_for_ms;  /* set by the pool: so long, at most new_max_n requests */
    uint32_t new_max_n;   /* run at one that came; 0: no cap */
    uint64_t key_hash;    /* of the session key; 0: none */
    uint64_t prefix_hash; /* of the prompt's head; 0: none */
    uint32_t cost_tokens; /* estimate; 0: unknown */
    uint8_t priority;     /* 0 = most urgent */
    bool only_ready;      /* for the pool: it is not to descend */
    bool again;           /* asked before for this request: a miss is no news */
    bool wants_new;       /* connection, whatever lies idle */
    uint32_t worker_idx;  /* set by the pool */
    struct sl_pick_connection *connection;  /* zeroed, for the answer; NULL: none is opened */
    const struct sl_endpoint *const *tried; /* by earlier attempts of this exchange */
    size_t tried_n; /* <= SL_TRIED_MAX_N from an exchange; the pool may add some */
};

/* How one attempt ended. A clock that never started is 0: no first token, ttft_us == 0. */
struct sl_outcome {
    bool failed;             /* the endpoint's fault: refused, reset, silent for too long */
    bool refused;            /* failed, and nobody listened: the connect was refused */
    bool unreachable;        /* failed, and no connection came about: refused, or timed out */
    bool abandoned;          /* the client left or we gave up: says nothing about the endpoint */
    uint16_t status;         /* 0: none came, or not HTTP */
    uint64_t retry_after_ms; /* asked for by a 503 or 429; 0: not, so "0" counts as 1 */
    uint64_t ttft_us;        /* request sent -> first body byte */
    uint64_t duration_us;    /* attempt begun -> ended: tells what began before an ejection */
    uint32_t tokens_in_n;
    uint32_t tokens_out_n;
};

/* A gateway error. A 500 is none: as often as the server, the request is to blame. A 503 with
 * Retry-After is none either: an overloaded model server is not a dead one. */
static inline bool sl_outcome_is_failure(const struct sl_outcome *o)
{
    return !o->abandoned && (o->failed || o->status == 502 || o->status == 504 ||
                             (o->status == 503 && o->retry_after_ms == 0));
}

struct sl_balancer_ops {
    const char *name; /* as written in `balance:` */
    bool takes_key;   /* a pick with key_hash means something to it */

    /* Makes *out from a published set. conf: NULL = defaults.
     * Fails with SL_ENOMEM, or SL_ECONFIG where conf does not suit the set; *out is then
     * untouched. An empty set, or one whose weights are all 0, is no error: pick says NULL. */
    int (*build)(const struct sl_endpoint_set *set, const struct sl_pool_config *conf,
                 struct sl_balancer_table **out, struct sl_error *err) SL_MUST_CHECK;

    /* Takes table back. The caller guarantees that no balancer is attached any more. */
    void (*table_free)(struct sl_balancer_table *table);

    /* Turns table->state_bytes zeroed bytes at b into this worker's state. A policy that goes
     * round draws its start from rng, so that workers do not march in step. Keeps borrowing rng:
     * the same seed gives the same picks. Nothing to undo: the caller frees the bytes. */
    void (*attach)(struct sl_balancer *b, const struct sl_balancer_table *table,
                   struct sl_rng *rng);

    /* Chooses among the members that sl_pick_allows(), borrowed while the set is pinned.
     * NULL: there is none, which also means that none was overlooked. Counts nothing. */
    struct sl_endpoint *(*pick)(struct sl_balancer *b, const struct sl_pick *ctx);

    /* An attempt begins at ep, which pick returned for this ctx; the pool has counted it already.
     * Exactly one on_done follows each on_start; now_ms: the loop turn's clock. Both may be NULL;
     * neither may re-enter pick. */
    void (*on_start)(struct sl_balancer *b, struct sl_endpoint *ep, const struct sl_pick *ctx);
    void (*on_done)(struct sl_balancer *b, struct sl_endpoint *ep, const struct sl_outcome *o,
                    uint64_t now_ms);
};

/* Slow start: of the picks of an endpoint that has just come, few. */
static inline bool sl_pick_is_too_soon(const struct sl_pick *ctx, const struct sl_endpoint *ep)
{
    uint64_t came_at_ms = atomic_load_explicit(&ep->came_at_ms, memory_order_relaxed);

    return came_at_ms != 0 && came_at_ms + ctx->settled_ms > ctx->now_ms;
}

/* Slow start: whether ep is so new that there is a cap on what runs there. */
static inline bool sl_pick_has_cap(const struct sl_pick *ctx, const struct sl_endpoint *ep)
{
    uint64_t came_at_ms = atomic_load_explicit(&ep->came_at_ms, memory_order_relaxed);

    return ctx->new_max_n != 0 && came_at_ms != 0 && ctx->now_ms < came_at_ms + ctx->new_for_ms;
}

static inline bool sl_pick_finds_full(const struct sl_pick *ctx, const struct sl_endpoint *ep)
{
    return sl_endpoint_is_full(ep) ||
           (sl_pick_has_cap(ctx, ep) &&
            atomic_load_explicit(&ep->in_flight_n, memory_order_relaxed) >= ctx->new_max_n);
}

/* Whether an earlier attempt of the exchange was at ep. */
static inline bool sl_pick_tried(const struct sl_pick *ctx, const struct sl_endpoint *ep)
{
    for (size_t i = 0; i < ctx->tried_n; i++) {
        if (ctx->tried[i] == ep) {
            return true;
        }
    }
    return false;
}

/* The one test that stands between a policy and an endpoint: eligible, not tried before, within
 * reach of a connection, and not too new for this pick. */
static inline bool sl_pick_allows(const struct sl_pick *ctx, const struct sl_member *m)
{
    return !sl_pick_tried(ctx, m->endpoint) && !sl_pick_finds_full(ctx, m->endpoint) &&
           sl_endpoint_suits(m, ctx->tier, ctx->now_ms) &&
           !sl_endpoint_lacks_connection(m->endpoint, ctx->worker_idx) &&
           (ctx->settled_ms == 0 || !sl_pick_is_too_soon(ctx, m->endpoint));
}

/* The policy called name, or SL_ECONFIG with the names there are; *out is static. Any thread. */
int sl_balancer_get(const char *name, const struct sl_pos *pos, const struct sl_balancer_ops **out,
                    struct sl_error *err) SL_MUST_CHECK;

#endif
