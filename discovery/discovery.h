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

struct sl_discovery {
    struct sl_loop *loop;
    struct sl_fetcher *fetcher;
    struct sl_watches watches;
};

#endif
