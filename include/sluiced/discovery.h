/* SPDX-License-Identifier: Apache-2.0 */
/*
 * discovery: the contract between a source of endpoints and whoever keeps a pool of them.
 *
 * A source pushes complete snapshots, never deltas, and never an empty one because it lost its
 * server: then it keeps silent, says how stale it is, and goes on trying.
 *
 * Lifetime:  source: from start to stop; a snapshot is borrowed for the call of the sink
 * Thread:    control thread
 * Ownership: the source is the caller's to stop; it borrows conf (and the config around it) until
 *            stop returns, so the caller keeps a reference
 * Errors:    start only; what fails later is logged, counted in the status and tried again with a
 *            delay that doubles up to 30 s, jittered
 */
#ifndef SL_DISCOVERY_H
#define SL_DISCOVERY_H

#include <sluiced/config.h>
#include <sluiced/defs.h>
#include <sluiced/err.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct sl_discovery;
struct sl_fetcher;
struct sl_loop;

/* One endpoint as its source sees it. Not draining and not ready: it is not in a snapshot. */
struct sl_found {
    char pod_uid[37];
    char pod_name[254];
    struct sl_address address;
    uint16_t weight;
    bool draining;
    char zone[64]; /* labels as their source has them, "" where it has none */
    char version[64];
    char model[64];
};

/* Sorted by (address, port, pod_uid), without duplicates. Empty: the source knows that there is
 * none. received_us: when the bytes that caused it were readable (sl_time clock), for latency. */
struct sl_snapshot {
    const struct sl_found *items;
    size_t n;
    uint64_t received_us;
    const char *own_zone; /* where we run, as a source may learn; NULL: it does not know */
};

/* Whoever wants snapshots. May not call back into the source. */
struct sl_sink {
    void (*on_snapshot)(struct sl_sink *sink, const struct sl_snapshot *snapshot);
};

enum sl_source_state {
    SL_SOURCE_STATIC,   /* nothing to follow */
    SL_SOURCE_WATCHING, /* told of changes as they happen, or asks when an answer expires */
    SL_SOURCE_LISTING,  /* asks for all there is */
    SL_SOURCE_WAITING,  /* the last try failed; the next comes after a delay */
    SL_SOURCE_CACHED,   /* has said nothing since start: the set that was kept on disk is used */
    SL_SOURCE_STATES_N,
};

/* Why all was asked for again. */
enum sl_relist_cause {
    SL_RELIST_EXPIRED, /* our version was too old: 410 */
    SL_RELIST_ERROR,   /* what came made no sense, or the server had trouble */
    SL_RELIST_DRIFT,   /* a comparison found what we missed */
    SL_RELIST_CAUSES_N,
};

/* For /status, metrics and readiness. Times are of the sl_time clock, 0: never. */
struct sl_source_status {
    enum sl_source_state state;
    bool synced;             /* a snapshot was pushed since start */
    bool connected;          /* the last list or watch is open or ended in order */
    uint64_t fresh_at_ms;    /* when the server last proved that we are current */
    uint64_t event_at_ms;    /* the last change that we were told of */
    uint64_t bookmark_at_ms; /* the last word that nothing changed */
    uint64_t watches_n;      /* streams that bring changes; several sources may share one */
    uint64_t events_n;       /* changes applied */
    uint64_t relists_n[SL_RELIST_CAUSES_N];
    uint64_t reconnects_n;  /* watches opened after the first */
    uint64_t comparisons_n; /* of what we hold with what the server has */
    uint64_t drift_n;       /* objects that they found different, with no event on its way */
    uint64_t errors_n;
    uint64_t cached_age_ms;  /* SL_SOURCE_CACHED: since that set was written; fresh_at_ms is 0 */
    uint64_t cache_errors_n; /* sets that could not be kept on disk */
    char last_error[160];    /* "" when there is none since the last success */
};

/* "watching", "expired": for people and labels. */
const char *sl_source_state_name(enum sl_source_state state);
const char *sl_relist_cause_name(enum sl_relist_cause cause);

static inline uint64_t sl_source_relists_n(const struct sl_source_status *s)
{
    uint64_t n = 0;

    for (int i = 0; i < SL_RELIST_CAUSES_N; i++) {
        n += s->relists_n[i];
    }
    return n;
}

/* How long ago at_ms is; UINT64_MAX: it never was. */
static inline uint64_t sl_source_ago_ms(uint64_t at_ms, uint64_t now_ms)
{
    if (at_ms == 0) {
        return UINT64_MAX;
    }
    return now_ms > at_ms ? now_ms - at_ms : 0;
}

/* Since the endpoints were last known to be current; UINT64_MAX: they never were. */
static inline uint64_t sl_source_age_ms(const struct sl_source_status *s, uint64_t now_ms)
{
    return s->state == SL_SOURCE_CACHED ? s->cached_age_ms
                                        : sl_source_ago_ms(s->fresh_at_ms, now_ms);
}

/* What the sources of a process share: the loop, the fetcher, and watches that several need. */
int sl_discovery_new(struct sl_loop *loop, struct sl_fetcher *fetcher, struct sl_discovery **out)
    SL_MUST_CHECK;
void sl_discovery_free(struct sl_discovery *d); /* accepts NULL; all sources have been stopped */

struct sl_source;

struct sl_source_ops {
    const char *name;

    /* Begins, and pushes the first snapshot as soon as there is one, possibly before it returns.
     * On failure nothing was started and the sink is never called. */
    int (*start)(const struct sl_pool_config *pool, const struct sl_config *config,
                 struct sl_discovery *d, struct sl_sink *sink, struct sl_source **out,
                 struct sl_error *err) SL_MUST_CHECK;

    /* No call of the sink after it returns; frees. */
    void (*stop)(struct sl_source *source);

    void (*status)(const struct sl_source *source, struct sl_source_status *out);

    /* Of what the config's words came to: which server, which namespaces. Together with the pool's
     * identity_hash it tells whose endpoints these are. NULL: the words say it all. */
    uint64_t (*identity)(const struct sl_source *source);

    /* The data path could not connect to an endpoint that source named: it may be news that the
     * source has missed. It asks again soon, but not more often than its server bears. NULL where
     * there is nobody to ask. */
    void (*doubt)(struct sl_source *source);
};

/* First member of each implementation's state. */
struct sl_source {
    const struct sl_source_ops *ops;
};

const struct sl_source_ops *sl_source_get(enum sl_discover_kind kind); /* static */

/* Whether text is a label selector in one of the usual forms: a=b, a==b, a!=b, a in (b,c),
 * a notin (b), a, !a, joined by commas. err: what was expected at which byte. Pure, any thread. */
int sl_selector_check(const char *text, const struct sl_pos *pos, struct sl_error *err)
    SL_MUST_CHECK;

#endif
