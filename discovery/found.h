/* SPDX-License-Identifier: Apache-2.0 */
/*
 * found: puts what a source found into the order that the contract asks for.
 *
 * Thread:    any (pure)
 */
#ifndef SL_DISCOVERY_FOUND_H
#define SL_DISCOVERY_FOUND_H

#include <sluiced/discovery.h>

#include <stdbool.h>
#include <stddef.h>

/* Sorts by (address, port, pod_uid) and drops duplicates; returns how many are left. Of two that
 * name the same endpoint, the one that is not draining stays: an endpoint on its way from one
 * EndpointSlice to another may be in both, in two states. Else the heavier one does. */
size_t sl_found_sort(struct sl_found *items, size_t n);

/* Whether two sorted arrays say the same, labels included. */
bool sl_found_equal(const struct sl_found *a, size_t a_n, const struct sl_found *b, size_t b_n);

#endif
