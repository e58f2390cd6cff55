/* SPDX-License-Identifier: Apache-2.0 */
/*
 * endpoint: one place that answers requests, and the set of them that discovery published.
 *
 * Two kinds of fact, kept apart: membership (who, weight, draining) is immutable and changes by
 * publishing a new set; condition (load, health, ejection) is atomic and changes under everyone.
 *
 * Lifetime:  endpoint: as long as a set names it, so counters survive a reload. A running exchange
 *            pins its set; idle connections are closed when the worker takes a set that names the
 *            endpoint no more. Set: published, immutable, freed when the last worker let go
 * Thread:    any; the atomics below are the whole of the shared mutable state. cells[i] belongs to
 *            worker i alone, ref counts to the control thread (a set holds one for each member)
 * Ownership: the pool owns endpoints; a set borrows them and keeps each alive while it lives
 * Limits:    65 536 members of weight <= 65 535, so a set's total weight fits 32 bits
 * Source:    EndpointSlice v1, conditions ready / serving / terminating
 */
#ifndef SL_ENDPOINT_H
#define SL_ENDPOINT_H

#include <sluiced/config.h>
#include <sluiced/publish.h>

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct sl_balancer;
struct sl_balancer_table;
struct sl_pool;

enum sl_health {
    SL_HEALTH_UNKNOWN, /* no probe has spoken: discovery's word counts */
    SL_HEALTH_UP,
    SL_HEALTH_DOWN,
};

/* Counted by one worker, read by the control thread: plain adds on relaxed atomics. */
enum sl_endpoint_stat {
    SL_ENDPOINT_REQUESTS,
    SL_ENDPOINT_FAILURES, /* gateway errors: refused, reset, timeout, 502, 503, 504 */
    SL_ENDPOINT_CONNECTS,
    SL_ENDPOINT_EJECTIONS,
    SL_ENDPOINT_STATS_N,
};

/* What one worker keeps of an endpoint. */
struct sl_endpoint_cell {
    _Alignas(64) void *idle_head; /* the worker's idle connections, newest first; proxy/l7's own */
    uint32_t idle_n;
    bool named; /* by the set that is current on this worker: connections may be kept for later */

    /* Of proxy/upstream/hang.c. */
    _Atomic uint32_t waiting_n;          /* for a first byte */
    _Atomic uint64_t waiting_from_ms[2]; /* without a pause, while there is one; two */

    _Atomic uint64_t stats[SL_ENDPOINT_STATS_N];
};

/* How long it lets a connection lie idle, as seen by proxy/upstream/idle_limit.c alone. */
struct sl_endpoint_idle {
    _Atomic uint64_t seen_ms; /* the shortest of the idle connections that it closed alike */
    _Atomic uint32_t seen_n;
    _Atomic uint64_t seen_at_ms;
    _Atomic uint64_t limit_ms; /* learned */
    _Atomic uint64_t learned_at_ms;
};

struct sl_endpoint {
    char pod_uid[37]; /* identity is all three; "" where discovery knows no pod */
    struct sl_address address;
    char pod_name[254];             /* for people; "" where unknown */
    struct sl_endpoint_cell *cells; /* one a worker, allocated with the endpoint */
    uint32_t cells_n;
    uint32_t refs_n; /* control thread */
    uint32_t id;     /* counts up from 1 over all pools; for logs and labels */

    _Alignas(64) _Atomic uint32_t in_flight_n; /* requests on all workers */
    _Atomic uint32_t in_flight_max_n;          /* 0: no cap */
    _Atomic uint32_t connections_max_n;        /* likewise */
    _Atomic bool drained_by_hand; /* control thread: no new request, whatever else there is */
    _Atomic enum sl_health health;
    _Atomic uint64_t ejected_until_ms; /* sl_time clock; 0: not ejected */

    _Atomic uint64_t steer_until_ms; /* asked for by Retry-After: not ejected, but avoided */
    _Atomic uint64_t came_at_ms; /* or came back: from down, ejection, a drain by hand; 0: always */

    /* Passive health, written by proxy/upstream/outlier.c alone; the first line is the hot one. */
    _Atomic uint64_t last_success_ms; /* of traffic: a probe may be skipped */
    _Atomic uint64_t window;          /* packed: which 10 s, its requests, its failures */
    _Atomic uint32_t failures_in_row_n;
    _Atomic uint32_t ejections_in_row_n;   /* > 0: the next pick after an ejection is a trial */
    _Atomic uint64_t ejected_at_ms;        /* the last ejection: what began before proves nothing */
    _Atomic bool on_trial;                 /* a trial has begun since then */
    _Atomic uint64_t connect_failed_at_ms; /* the last one, and how many since a success */
    _Atomic uint32_t connect_failures_n;
    struct sl_endpoint_idle idle;
    _Atomic bool ejected_refused; /* nobody listened: a probe or a connect that succeeds ends it */
    _Atomic bool ejected_hung; /* it gave no first byte: one that comes ends it, a probe does not */
    _Atomic uint64_t trial_at_ms;   /* the first one since the ejection */
    _Atomic uint64_t knocked_at_ms; /* asked whether it listens again */

    /* Of proxy/upstream/hang.c. */
    _Atomic uint64_t first_byte_ms; /* the last one of any request */
    _Atomic uint64_t byte_ms;       /* the last one of any body */
    _Atomic uint64_t hangs_n;       /* control thread; ejections that no worker has counted */

    _Atomic uint32_t connections_n; /* open on all workers; proxy/upstream/connections.c alone */

    _Atomic uint64_t latency; /* packed, learned by proxy/balance/peak_ewma.c alone; 0: unknown */
};

struct sl_member {
    struct sl_endpoint *endpoint;
    uint16_t weight; /* 0: running requests finish, none is added */
    bool draining;   /* serving and terminating */
};

/* What the pod says of itself, for people: beside the members, because each pick walks those. */
struct sl_member_labels {
    char zone[64]; /* "" where unknown, as are the others */
    char version[64];
    char model[64];
};

/* Of one worker, for one set; a line of its own, for pins move with every exchange. */
struct sl_set_cell {
    _Alignas(64) struct sl_published_cell published;
    struct sl_balancer *balancer; /* state_bytes of the table, attached when the worker takes it */
    double own_share;             /* proxy/upstream/zone.c: of the picks, the own zone's */
    uint64_t looked_at_ms;        /* and when; 0: not yet */
};

struct sl_endpoint_set {
    struct sl_published published;
    struct sl_pool *pool;            /* outlives its sets; NULL where a test has none */
    const struct sl_member *members; /* sorted by identity, none twice */
    size_t members_n;
    struct sl_balancer_table *table; /* immutable once built; NULL: the sides have theirs */
    uint32_t cells_n;
    struct sl_set_cell *cells; /* one a worker */
    struct sl_slow_start_config slow_start;
    uint64_t came_first_ms; /* when the member that came first did; 0: was always there */
    const struct sl_member_labels *labels; /* of members[i]; NULL: no member has any */
    struct sl_endpoint_set *sides; /* its two, by zone (proxy/upstream/zone.h); NULL: all alike */
    const char *own_zone;          /* that is preferred, and lives as long; NULL: none */
};

/* How far a pick may lower its standards. The pool asks in this order and counts each descent. */
enum sl_tier {
    SL_TIER_READY,    /* ready, no failed probe, not ejected, not asking to be left alone */
    SL_TIER_DRAINING, /* the same, or draining, or asking to be left alone */
    SL_TIER_ANY,      /* whoever is named, and listens: better a doubtful endpoint than none */
    SL_TIER_REFUSING, /* who did not listen when last asked: the pool asks one now and then */
    SL_TIERS_N,
};

/* As many requests run there as its cap allows. */
static inline bool sl_endpoint_is_full(const struct sl_endpoint *ep)
{
    uint32_t max_n = atomic_load_explicit(&ep->in_flight_max_n, memory_order_relaxed);

    return max_n != 0 && atomic_load_explicit(&ep->in_flight_n, memory_order_relaxed) >= max_n;
}

/* As many connections are open to it as its cap allows. */
static inline bool sl_endpoint_has_all_connections(const struct sl_endpoint *ep)
{
    uint32_t max_n = atomic_load_explicit(&ep->connections_max_n, memory_order_relaxed);

    return max_n != 0 && atomic_load_explicit(&ep->connections_n, memory_order_relaxed) >= max_n;
}

/* So it does, and none of them lies idle on this worker. */
static inline bool sl_endpoint_lacks_connection(const struct sl_endpoint *ep, uint32_t worker_idx)
{
    return sl_endpoint_has_all_connections(ep) && ep->cells[worker_idx].idle_n == 0;
}

/* Out, because nobody listened. */
static inline bool sl_endpoint_refuses(const struct sl_endpoint *ep)
{
    return atomic_load_explicit(&ep->ejections_in_row_n, memory_order_relaxed) > 0 &&
           atomic_load_explicit(&ep->ejected_refused, memory_order_relaxed);
}

/* Whether m would do in this tier, had it room. Relaxed loads: each fact stands alone, and one that
 * is a few nanoseconds old is no worse than the packet that brought it. A person's word holds in
 * every tier; O(1). */
static inline bool sl_endpoint_suits(const struct sl_member *m, enum sl_tier tier, uint64_t now_ms)
{
    const struct sl_endpoint *ep = m->endpoint;

    if (atomic_load_explicit(&ep->drained_by_hand, memory_order_relaxed)) {
        return false;
    }
    if (tier >= SL_TIER_ANY) {
        return sl_endpoint_refuses(ep) == (tier == SL_TIER_REFUSING);
    }
    if (tier == SL_TIER_READY &&
        (m->draining || atomic_load_explicit(&ep->steer_until_ms, memory_order_relaxed) > now_ms))
    {
        return false;
    }
    return atomic_load_explicit(&ep->health, memory_order_relaxed) != SL_HEALTH_DOWN &&
           atomic_load_explicit(&ep->ejected_until_ms, memory_order_relaxed) <= now_ms;
}

/* Whether a new request may go to m now: the only place that knows, so that no policy tests
 * health itself. A cap holds in every tier. */
static inline bool sl_endpoint_eligible(const struct sl_member *m, enum sl_tier tier,
                                        uint64_t now_ms)
{
    return !sl_endpoint_is_full(m->endpoint) && sl_endpoint_suits(m, tier, now_ms);
}

/* Adds to a cell that only the calling worker writes: no locked instruction. */
static inline void sl_endpoint_count(struct sl_endpoint *ep, uint32_t worker_idx,
                                     enum sl_endpoint_stat stat)
{
    _Atomic uint64_t *v = &ep->cells[worker_idx].stats[stat];
    atomic_store_explicit(v, atomic_load_explicit(v, memory_order_relaxed) + 1,
                          memory_order_relaxed);
}

#endif
