/* SPDX-License-Identifier: Apache-2.0 */
/*
 * manual_drain: endpoints that a person takes out of traffic. The mark is on the endpoint, so it
 * is kept over reloads and new sets, and goes when discovery drops the endpoint.
 */
#include <sluiced/log.h>

#include "process.h"

#include <string.h>

#define ADDRESS_TEXT_BYTES 128

static bool is_called(const struct sl_endpoint *ep, const char *name)
{
    char address[ADDRESS_TEXT_BYTES];

    sl_address_format(&ep->address, address, sizeof(address));
    return strcmp(name, address) == 0 || strcmp(name, ep->pod_name) == 0;
}

/* Returns whether it is another from now on. */
static bool mark(const struct sl_run_pool *rp, struct sl_endpoint *ep, enum sl_drain_wish wish)
{
    char address[ADDRESS_TEXT_BYTES];
    bool drains = wish == SL_DRAIN_BEGIN;

    if (wish == SL_DRAIN_LOOK || atomic_load(&ep->drained_by_hand) == drains) {
        return false;
    }
    if (!drains) { /* what it had in its caches it may have lost: slow start, where that is on */
        atomic_store_explicit(&ep->came_at_ms, sl_loop_now_ms(rp->process->loop),
                              memory_order_relaxed);
    }
    /* Workers see it at their next pick. */
    atomic_store_explicit(&ep->drained_by_hand, drains, memory_order_relaxed);
    sl_address_format(&ep->address, address, sizeof(address));
    sl_log(SL_LOG_INFO, drains ? "endpoint_drained" : "endpoint_undrained",
           {"pool", SL_LOG_STR(rp->pool->name)}, {"endpoint", SL_LOG_STR(address)});
    return true;
}

void sl_manual_drain(struct sl_process *p, const char *name, enum sl_drain_wish wish,
                     struct sl_endpoint_drain_info *out)
{
    bool changed = false;

    *out = (struct sl_endpoint_drain_info){0};
    for (struct sl_list *l = p->pools.next; l != &p->pools; l = l->next) {
        struct sl_run_pool *rp = sl_container_of(l, struct sl_run_pool, link);
        const struct sl_endpoint_set *set = rp->pool->newest;

        for (size_t i = 0; set != NULL && i < set->members_n; i++) {
            struct sl_endpoint *ep = set->members[i].endpoint;

            if (is_called(ep, name)) {
                changed = mark(rp, ep, wish) || changed;
                out->matched_n++;
                out->drained_n += atomic_load(&ep->drained_by_hand);
                out->in_flight_n += atomic_load_explicit(&ep->in_flight_n, memory_order_relaxed);
            }
        }
    }
    if (changed && wish == SL_DRAIN_UNDO) { /* requests may wait for it */
        sl_workers_look(p);
    }
}
