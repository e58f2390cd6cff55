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

struct sl_loop;
struct sl_fetcher;

/* One endpoint as its source sees it. Not draining and not ready: it is not in a snapshot. */
struct sl_found {
    char pod_uid[37];
    char pod_name[254];
    struct sl_address address;
    uint16_t weight;
    bool draining;
};

/* Sorted by (address, port, pod_uid), without duplicates. Empty: the source knows that there is
 * none. received_us: when the bytes that caused it were readable (sl_time clock), for latency. */
struct sl_snapshot {
    const struct sl_found *items;
    size_t n;
    uint64_t received_us;
};

/* Whoever wants snapshots. May not call back into the source. */
struct sl_sink {
    void (*on_snapshot)(struct sl_sink *sink, const struct sl_snapshot *snapshot);
};

/* For /status, metrics and readiness. */
struct sl_source_status {
    bool synced;           /* a snapshot was pushed since start */
    bool connected;        /* the last list or watch is open or ended in order */
    uint64_t fresh_at_ms;  /* sl_time clock: when the server last proved that we are current */
    uint64_t events_n;     /* watch events applied */
    uint64_t relists_n;    /* lists after the first */
    uint64_t reconnects_n; /* watches opened after the first */
    uint64_t errors_n;
    char last_error[160]; /* "" when there is none since the last success */
};

struct sl_source;

struct sl_source_ops {
    const char *name;

    /* Begins, and pushes the first snapshot as soon as there is one, possibly before it returns.
     * On failure nothing was started and the sink is never called. */
    int (*start)(const struct sl_pool_config *pool, const struct sl_config *config,
                 struct sl_loop *loop, struct sl_fetcher *fetcher, struct sl_sink *sink,
                 struct sl_source **out, struct sl_error *err) SL_MUST_CHECK;

    /* No call of the sink after it returns; frees. */
    void (*stop)(struct sl_source *source);

    void (*status)(const struct sl_source *source, struct sl_source_status *out);
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
