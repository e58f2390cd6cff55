/* SPDX-License-Identifier: Apache-2.0 */
/*
 * prefer_zone: that whoever prefers a zone can know it, and that of the endpoints.
 */
#include <sluiced/config.h>

#include "validate.h"

#include <string.h>

static bool is_auto(const char *zone)
{
    return zone != NULL && strcmp(zone, "auto") == 0;
}

/* That of a node is asked for by sources in Kubernetes, and by nobody else. */
static bool can_know_own(const struct sl_config *c)
{
    bool by_node = c->kubernetes.node != NULL || is_auto(c->kubernetes.zone);

    for (size_t i = 0; by_node && i < c->pools_n; i++) {
        if (c->pools[i].discover.kind == SL_DISCOVER_KUBERNETES) {
            return true;
        }
    }
    return !by_node && c->kubernetes.zone != NULL;
}

static int refuse(struct sl_decoder *d, const struct sl_pool_config *pool, const char *why)
{
    const struct sl_yaml_node *pools = sl_yaml_find(d->root, SL_SLICE("pools"));
    const struct sl_yaml_node *node = sl_yaml_find(pools, sl_slice_of(pool->name));
    const struct sl_yaml_node *prefer = sl_yaml_find(node, SL_SLICE("prefer_zone"));

    return sl_decode_report(d,
                            sl_error_set(&d->err, SL_ECONFIG, sl_decode_at(d, prefer), "%s", why));
}

/* Why nobody could ever be in the zone, as d finds its endpoints; NULL: they may be. */
static const char *why_no_zones(const struct sl_discover_config *d)
{
    const struct sl_kubernetes_config *k = &d->kubernetes;

    if (d->kind == SL_DISCOVER_DNS) {
        return "means nothing to dns, which knows no zones; remove it";
    }
    if (d->kind != SL_DISCOVER_KUBERNETES) {
        return NULL;
    }
    if (k->service == NULL && k->slices == NULL) {
        return "means nothing without EndpointSlices, as pods say no zone; discover by service or "
               "slices, or remove it";
    }
    return k->api == SL_KUBE_API_ENDPOINTS
               ? "means nothing to api: endpoints, which know no zones; remove one of them"
               : NULL;
}

int sl_check_zones(struct sl_decoder *d, const struct sl_config *c)
{
    int worst = SL_OK;

    for (size_t i = 0; i < c->pools_n && worst != SL_ENOMEM; i++) {
        const struct sl_pool_config *pool = &c->pools[i];
        if (pool->prefer_zone == NULL) {
            continue;
        }
        const char *why = why_no_zones(&pool->discover);
        if (why == NULL && is_auto(pool->prefer_zone) && !can_know_own(c)) {
            why =
                "auto needs kubernetes.zone, the name of a zone, or a pool in Kubernetes that "
                "asks for that of our node; or write the name here";
        }
        worst = sl_decode_worse(worst, why != NULL ? refuse(d, pool, why) : SL_OK);
    }
    return worst;
}
