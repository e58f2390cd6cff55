/* SPDX-License-Identifier: Apache-2.0 */
/*
 * discovery: what the sources of a process share.
 *
 * Lifetime:  process
 * Thread:    control thread
 */
#ifndef SL_DISCOVERY_DISCOVERY_H
#define SL_DISCOVERY_DISCOVERY_H

#include <sluiced/discovery.h>

#include "discovery/kubernetes/watches.h"

struct sl_resolver;

struct sl_discovery {
    struct sl_loop *loop;
    struct sl_fetcher *fetcher;
    struct sl_resolver *resolver; /* NULL until someone asks for it */
    struct sl_watches watches;
};

/* The resolver that the sources share, made when it is first asked for. Borrowed. */
int sl_discovery_resolver(struct sl_discovery *d, struct sl_resolver **out) SL_MUST_CHECK;

#endif
