/* SPDX-License-Identifier: Apache-2.0 */
/*
 * route: which route of a listener a request takes.
 *
 * Thread:    any (pure)
 */
#ifndef SL_L7_ROUTE_H
#define SL_L7_ROUTE_H

#include <sluiced/slice.h>

#include "view.h"

/* The first route that matches in the order of the config, or NULL. host: without port, any case;
 * path: normalised. O(routes). */
const struct sl_view_route *sl_route_match(const struct sl_view_listener *listener,
                                           struct sl_slice host, struct sl_slice path);

#endif
