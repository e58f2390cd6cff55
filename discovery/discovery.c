/* SPDX-License-Identifier: Apache-2.0 */
#include "discovery.h"

#include "proxy/base/alloc.h"
#include "proxy/io/resolver.h"

int sl_discovery_new(struct sl_loop *loop, struct sl_fetcher *fetcher, struct sl_discovery **out)
{
    struct sl_discovery *d = sl_alloc(sizeof(*d));

    if (d == NULL) {
        return SL_ENOMEM;
    }
    d->loop = loop;
    d->fetcher = fetcher;
    sl_watches_init(&d->watches, loop, fetcher);
    *out = d;
    return SL_OK;
}

const char *sl_source_state_name(enum sl_source_state state)
{
    static const char *const names[SL_SOURCE_STATES_N] = {
        [SL_SOURCE_STATIC] = "static",   [SL_SOURCE_WATCHING] = "watching",
        [SL_SOURCE_LISTING] = "listing", [SL_SOURCE_WAITING] = "waiting",
        [SL_SOURCE_CACHED] = "cached",
    };

    return names[state];
}

const char *sl_relist_cause_name(enum sl_relist_cause cause)
{
    static const char *const names[SL_RELIST_CAUSES_N] = {
        [SL_RELIST_EXPIRED] = "expired",
        [SL_RELIST_ERROR] = "error",
        [SL_RELIST_DRIFT] = "drift",
    };

    return names[cause];
}

int sl_discovery_resolver(struct sl_discovery *d, struct sl_resolver **out)
{
    if (d->resolver == NULL) {
        int rc = sl_resolver_new(d->loop, &sl_resolver_conf_default, &d->resolver);

        if (rc != SL_OK) {
            return rc;
        }
    }
    *out = d->resolver;
    return SL_OK;
}

void sl_discovery_free(struct sl_discovery *d)
{
    if (d == NULL) {
        return;
    }
    if (d->resolver != NULL) {
        sl_resolver_free(d->resolver);
    }
    sl_watches_fini(&d->watches);
    sl_free(d);
}
