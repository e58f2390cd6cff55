/* SPDX-License-Identifier: Apache-2.0 */
/*
 * merge: from all slices of a service (or all pods) to one set of endpoints.
 *
 * Thread:    control thread
 * Errors:    SL_ENOMEM only; what cannot be used is left out and noted
 * Limits:    O(n log n) over pointers; a set is written once, when it is known to be new
 */
#ifndef SL_KUBERNETES_MERGE_H
#define SL_KUBERNETES_MERGE_H

#include <sluiced/config.h>
#include <sluiced/discovery.h>

#include "store.h"

/* What is known of one namespace, or of all of them together. */
struct sl_merge_part {
    const struct sl_store *objects; /* slices, Endpoints or pods */
    const struct sl_store *pods;    /* what the endpoints' pods say; NULL: not asked */
};

struct sl_merge_input {
    const struct sl_merge_part *parts;
    size_t parts_n;
    bool keeps_all;                   /* endpoints of pods that are not in pods, too */
    const struct sl_kube_port *ports; /* each of them, whatever objects have; NULL: as below */
    size_t ports_n;
    const char *port_name; /* NULL: see port */
    uint16_t port;         /* 0 without a name: the one port there is */
    enum sl_kube_family family;
    bool has_tls;     /* the pool speaks TLS to its endpoints */
    const char *zone; /* NULL: not known, hints mean nothing */
};

/* Why something was left out, or not taken as it was meant; NULL or 0: nothing was. Texts are
 * borrowed from the stores. */
struct sl_merge_notes {
    const char *fqdn;     /* a slice of host names */
    const char *portless; /* an object with endpoints and no port that the config means */
    size_t portless_ports_n;
    const char *refused; /* an object whose port speaks what we cannot: */
    enum sl_kube_protocol refused_protocol;
    const char *bad_weight; /* key of a pod */
};

/* last: the set before this one, sorted. *items: sorted, without duplicates, the caller's to
 * sl_free; NULL (and *n 0) with *same where nothing differs from last. */
int sl_merge(const struct sl_merge_input *in, const struct sl_found *last, size_t last_n,
             struct sl_found **items, size_t *n, bool *same, struct sl_merge_notes *notes)
    SL_MUST_CHECK;

#define SL_MERGE_GAP_MIN_MS 5
#define SL_MERGE_GAP_MAX_MS 50

/* From one set to the next, when the last one cost so much: a storm of changes takes about a
 * fiftieth of a core for each source, and no change waits longer than SL_MERGE_GAP_MAX_MS. */
static inline uint64_t sl_merge_gap_ms(uint64_t cost_us)
{
    uint64_t gap_ms = cost_us / 20;

    if (gap_ms < SL_MERGE_GAP_MIN_MS) {
        return SL_MERGE_GAP_MIN_MS;
    }
    return gap_ms < SL_MERGE_GAP_MAX_MS ? gap_ms : SL_MERGE_GAP_MAX_MS;
}

/* When a change that came at now_ms is to be applied, in ms from then: 0, in this turn, when the
 * last one was applied at least gap_ms ago; else as soon as that is so. Thus a single change is
 * never late. */
static inline uint64_t sl_merge_delay_ms(uint64_t applied_at_ms, uint64_t gap_ms, uint64_t now_ms)
{
    uint64_t since_ms = now_ms > applied_at_ms ? now_ms - applied_at_ms : 0;
    return since_ms >= gap_ms ? 0 : gap_ms - since_ms;
}

#endif
