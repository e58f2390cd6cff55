/* SPDX-License-Identifier: Apache-2.0 */
/*
 * endpoint table: the endpoints of one pool by identity (address, port, pod UID), so that one that
 * comes again in a later snapshot is the same object with the same counters.
 *
 * An endpoint stays while something refers to it: each set that names it does, and whoever calls
 * sl_endpoint_ref. A pod that takes over an address is another endpoint: its UID differs.
 *
 * Lifetime:  the pool's
 * Thread:    control thread
 * Ownership: the table owns the endpoints; references keep them
 * Errors:    SL_ENOMEM, SL_ELIMIT
 * Limits:    65 536 endpoints a snapshot; a lookup is a merge walk, O(table + snapshot)
 */
#ifndef SL_UPSTREAM_ENDPOINT_H
#define SL_UPSTREAM_ENDPOINT_H

#include <sluiced/defs.h>
#include <sluiced/discovery.h>
#include <sluiced/endpoint.h>

#include <stddef.h>
#include <stdint.h>

#define SL_MEMBERS_MAX_N 65536

/* Where ids come from: one in the process, zeroed, kept by whoever makes pools. */
struct sl_endpoint_ids {
    uint32_t last;
};

struct sl_endpoint_table {
    struct sl_endpoint **items; /* sorted by identity */
    size_t n;
    uint32_t workers_n; /* cells of each endpoint */
    struct sl_endpoint_ids *ids;
};

void sl_endpoint_table_init(struct sl_endpoint_table *t, uint32_t workers_n,
                            struct sl_endpoint_ids *ids);
void sl_endpoint_table_fini(struct sl_endpoint_table *t); /* no reference is left */

/* Fills members (room for snapshot->n) with the endpoints of snapshot, found or new (which came at
 * came_at_ms), each referred to once more; *members_n: how many, as one named twice counts once.
 * Members come sorted by identity, in whatever order the snapshot is. labels[i]: those of
 * members[i], room for as many; or NULL. On failure nothing has changed. */
int sl_endpoint_table_match(struct sl_endpoint_table *t, const struct sl_snapshot *snapshot,
                            uint64_t came_at_ms, struct sl_member *members,
                            struct sl_member_labels *labels, size_t *members_n) SL_MUST_CHECK;

/* Gives those references back. */
void sl_endpoint_table_release(struct sl_endpoint_table *t, const struct sl_member *members,
                               size_t members_n);

/* For who watches one endpoint beyond the sets. unref NULLs *ep. */
struct sl_endpoint *sl_endpoint_ref(struct sl_endpoint *ep);
void sl_endpoint_unref(struct sl_endpoint_table *t, struct sl_endpoint **ep);

/* Order of identities: < 0, 0 or > 0. Pure, any thread. */
int sl_found_compare(const struct sl_found *a, const struct sl_found *b);
int sl_endpoint_compare(const struct sl_endpoint *a, const struct sl_endpoint *b);

/* Sum of a counter over all workers. */
uint64_t sl_endpoint_stat(const struct sl_endpoint *ep, enum sl_endpoint_stat stat);

#endif
