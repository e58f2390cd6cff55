/* SPDX-License-Identifier: Apache-2.0 */
/*
 * zone: the two sides of a set that prefers the zone where we run: its own endpoints, and others.
 *
 * Each side is a set for itself as far as a policy looks, with a table and a balancer of its own:
 * so no policy knows of zones, keys and bounds hold within a side, and a pick costs what it did.
 *
 *   capacity(side) = min(1, 1.4 * weight of who is ready / weight)     whom discovery lets drain
 *                                                                      counts in neither
 *   share(own)     = capacity(own) / min(1, capacity(own) + capacity(others))
 *
 * So the own zone has it all while five of seven parts of it are ready, and then as much less as
 * it lacks. Where nobody is ready in either, all are alike: the last resort is whoever there is.
 * Which side a request goes to first is drawn by that; by its key where it has one, so that the
 * same keys leave, and spread over all others. Where a side has nobody the other one is next, at
 * once.
 *
 * Lifetime:  of the set
 * Thread:    split, free: control thread; else the worker of that index
 * Limits:    the share is O(members), looked at anew each SL_ZONE_LOOK_MS; all else O(1), and
 *            side_of O(log members)
 * Source:    Envoy, priority levels and their overprovisioning factor
 */
#ifndef SL_UPSTREAM_ZONE_H
#define SL_UPSTREAM_ZONE_H

#include <sluiced/balancer.h>
#include <sluiced/defs.h>
#include <sluiced/endpoint.h>

#include <stddef.h>
#include <stdint.h>

#define SL_ZONE_LOOK_MS 20

enum {
    SL_ZONE_OWN,
    SL_ZONE_OTHERS,
    SL_ZONE_SIDES_N,
};

/* Gives set, which has its members and their labels, its sides, without tables. SL_ENOMEM. */
int sl_zone_split(struct sl_endpoint_set *set, const char *own_zone) SL_MUST_CHECK;
void sl_zone_free(struct sl_endpoint_set *set); /* whose sides' tables are gone; or has none */

/* What the own zone is to have of the picks, 0 to 1. */
double sl_zone_share(const struct sl_endpoint_set *set, uint64_t now_ms);

/* The side that a pick goes to first, of a set that has sides. */
size_t sl_zone_draw(const struct sl_endpoint_set *set, uint32_t worker_idx,
                    const struct sl_pick *ctx, struct sl_rng *rng);

/* The side that ep, of set, is on; set itself where it has none. */
const struct sl_endpoint_set *sl_zone_side_of(const struct sl_endpoint_set *set,
                                              const struct sl_endpoint *ep);

#endif
