/* SPDX-License-Identifier: Apache-2.0 */
/*
 * merge: from all slices of a service (or all pods) to one set of endpoints.
 *
 * Thread:    control thread
 * Errors:    SL_ENOMEM only; what cannot be used is left out and noted
 */
#ifndef SL_KUBERNETES_MERGE_H
#define SL_KUBERNETES_MERGE_H

#include <sluiced/discovery.h>

#include "store.h"

struct sl_merge_input {
    const struct sl_store *objects; /* slices or pods */
    const struct sl_store *pods;    /* keep only endpoints of these; NULL: all */
    const char *port_name;          /* NULL: see port */
    uint16_t port;                  /* 0 without a name: the one port there is */
};

/* Why something was left out; "" or 0: nothing was. */
struct sl_merge_notes {
    const char *fqdn;     /* a slice of host names. Names are borrowed from the store */
    const char *portless; /* an object with endpoints and no port that the config means */
    size_t portless_ports_n;
};

/* *items: sorted, without duplicates, the caller's to sl_free. */
int sl_merge(const struct sl_merge_input *in, struct sl_found **items, size_t *n,
             struct sl_merge_notes *notes) SL_MUST_CHECK;

#define SL_MERGE_QUIET_MS 50

/* When a change that came at now_ms is to be applied, in ms from then: 0, in this turn, when the
 * last one was applied at least SL_MERGE_QUIET_MS ago; else as soon as that is so. Thus a single
 * change is never late, and a storm of them costs one set each SL_MERGE_QUIET_MS. */
static inline uint64_t sl_merge_delay_ms(uint64_t applied_at_ms, uint64_t now_ms)
{
    uint64_t since_ms = now_ms > applied_at_ms ? now_ms - applied_at_ms : 0;
    return since_ms >= SL_MERGE_QUIET_MS ? 0 : SL_MERGE_QUIET_MS - since_ms;
}

#endif
