/* SPDX-License-Identifier: Apache-2.0 */
/*
 * own_zone: where we run, as the config says it or as a source that runs has learned, and that the
 * sets in force go by it.
 */
#include "process.h"

#include "proxy/upstream/pool.h"

#include <stdio.h>
#include <string.h>

/* It is one process, and so one zone, whichever source asked; but those of pools that only an older
 * config names may have asked for another node. */
static const char *learned(const struct sl_process *p, const struct sl_config *config)
{
    for (const struct sl_list *l = p->pools.next; l != &p->pools; l = l->next) {
        const struct sl_run_pool *rp = sl_container_of_const(l, struct sl_run_pool, link);
        if (rp->config == config && rp->running != NULL && rp->running->own_zone[0] != '\0') {
            return rp->running->own_zone;
        }
    }
    return NULL;
}

const char *sl_own_zone(const struct sl_run_pool *rp)
{
    const char *ours = rp->config->kubernetes.zone;

    if (rp->conf->prefer_zone == NULL || strcmp(rp->conf->prefer_zone, "auto") != 0) {
        return rp->conf->prefer_zone;
    }
    return ours != NULL && strcmp(ours, "auto") != 0 ? ours : learned(rp->process, rp->config);
}

/* Where the source has found nothing yet, the set is one that it cannot make again. */
static bool is_of_other_zone(const struct sl_run_pool *rp)
{
    const struct sl_endpoint_set *set = rp->pool->newest;

    return !rp->ending && set != NULL && rp->running->synced &&
           !sl_same_text(set->own_zone, sl_own_zone(rp));
}

void sl_own_zone_apply(struct sl_process *p)
{
    for (struct sl_list *l = p->pools.next; l != &p->pools; l = l->next) {
        struct sl_run_pool *rp = sl_container_of(l, struct sl_run_pool, link);
        if (is_of_other_zone(rp)) {
            sl_run_pool_publish(rp);
        }
    }
}

void sl_own_zone_learn(struct sl_run_source *rs, const char *zone)
{
    (void)snprintf(rs->own_zone, sizeof(rs->own_zone), "%s", zone); /* a label: it fits */
    if (rs == rs->pool->running && !rs->pool->process->ending) {
        sl_own_zone_apply(rs->pool->process);
    }
}
