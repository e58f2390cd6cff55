/* SPDX-License-Identifier: Apache-2.0 */
/*
 * zone: the zone of our node, read from the label topology.kubernetes.io/zone that it has, once
 * for all who ask; until it is known, and where it cannot be, there is none.
 *
 * Lifetime:  from the first who joins to the last who leaves
 * Thread:    control thread
 * Errors:    none is fatal: logged, and tried again after 1 s, doubling up to 5 min
 */
#ifndef SL_KUBERNETES_ZONE_H
#define SL_KUBERNETES_ZONE_H

#include <sluiced/defs.h>

#include "watches.h"

struct sl_zone;

struct sl_zone_sub {
    void *arg;
    /* The zone is known. Not before sl_zone_join returns; may neither join nor leave. */
    void (*on_change)(struct sl_zone_sub *sub);

    struct sl_zone *zone; /* NULL: it asks for none */
    struct sl_list link;
};

/* node: a name that Kubernetes allows. On SL_ENOMEM sub asks for none. */
int sl_zone_join(struct sl_watches *w, const struct sl_watches_access *access, const char *node,
                 struct sl_zone_sub *sub) SL_MUST_CHECK;
void sl_zone_leave(struct sl_zone_sub *sub); /* safe to repeat */

const char *sl_zone_name(const struct sl_zone_sub *sub);  /* NULL: not known */
const char *sl_zone_error(const struct sl_zone_sub *sub); /* "": none */

#endif
