/* SPDX-License-Identifier: Apache-2.0 */
/*
 * split: which side of a route the next anonymous request takes, exactly.
 *
 * Each decision draws one ticket from a counter that all workers share, and the side is a pure
 * function of the ticket. So after the first n decisions of a generation, for every n and whatever
 * the number of workers, each side has had its share of n to less than one request.
 *
 * Lifetime:  config generation, which starts at ticket 0
 * Thread:    build, free: control thread; pick: any, one atomic add; counts: any
 * Ownership: the caller's, together with the view that names it
 * Errors:    build only
 * Limits:    64 sides of weight <= 65 535; one byte for each ticket of a cycle, which is the sum of
 *            the weights over their greatest common divisor: 20 bytes for 95:5, 4 MiB and
 *            0.2 s of building at the very worst
 * Source:    proxy/base/fair.h
 */
#ifndef SL_ROLLOUT_SPLIT_H
#define SL_ROLLOUT_SPLIT_H

#include <sluiced/defs.h>
#include <sluiced/err.h>

#include <stddef.h>
#include <stdint.h>

#define SL_SPLIT_SIDES_MAX_N 64
#define SL_SPLIT_WEIGHT_MAX 65535

struct sl_split;

/* One weight a side, in the caller's order. SL_ECONFIG for a number of sides or a weight beyond
 * the limits or when all weights are 0, SL_ENOMEM; *out is then untouched. */
int sl_split_build(const uint32_t *weights, size_t sides_n, struct sl_split **out,
                   struct sl_error *err) SL_MUST_CHECK;
void sl_split_free(struct sl_split *s); /* accepts NULL; nobody picks any more */

/* Draws a ticket; returns its side. */
uint32_t sl_split_pick(struct sl_split *s);

/* Decisions so far, a side each into counts (sides_n of build), of one moment: they add up to the
 * tickets drawn. Walks up to a cycle of tickets: for /status, not for a request. Returns the sum.
 */
uint64_t sl_split_counts(const struct sl_split *s, uint64_t *counts);

#endif
