/* SPDX-License-Identifier: Apache-2.0 */
/*
 * static: the addresses that the config names, once.
 */
#include <sluiced/time.h>

#include "discovery.h"
#include "found.h"
#include "sources.h"

#include "proxy/base/alloc.h"
#include "proxy/io/loop.h"

#include <stdio.h>

struct static_source {
    struct sl_source base;
    const struct sl_loop *loop;
};

static int start(const struct sl_pool_config *pool, const struct sl_config *config,
                 struct sl_discovery *d, struct sl_sink *sink, struct sl_source **out,
                 struct sl_error *err)
{
    const struct sl_discover_config *c = &pool->discover;
    struct static_source *s = sl_alloc(sizeof(*s));
    struct sl_found *items = sl_alloc_array(c->addresses_n, sizeof(items[0]));
    (void)config;

    if (s == NULL || (items == NULL && c->addresses_n > 0)) {
        sl_free(s);
        sl_free(items);
        return sl_error_set(err, SL_ENOMEM, NULL, "no memory for %zu addresses", c->addresses_n);
    }
    s->base.ops = &sl_static_source_ops;
    s->loop = d->loop;
    for (size_t i = 0; i < c->addresses_n; i++) {
        items[i].address = c->addresses[i];
        items[i].weight = c->weights != NULL ? c->weights[i] : 1;
        if (c->zones != NULL && c->zones[i] != NULL) {
            (void)snprintf(items[i].zone, sizeof(items[i].zone), "%s", c->zones[i]); /* fits */
        }
    }
    const struct sl_snapshot snapshot = {
        .items = items,
        .n = sl_found_sort(items, c->addresses_n),
        .received_us = sl_time_now_us(),
    };
    *out = &s->base;
    sink->on_snapshot(sink, &snapshot);
    sl_free(items);
    return SL_OK;
}

static void stop(struct sl_source *source)
{
    SL_ASSERT(source->ops == &sl_static_source_ops, "source %p", (void *)source);
    sl_free(sl_container_of(source, struct static_source, base));
}

static void status(const struct sl_source *source, struct sl_source_status *out)
{
    SL_ASSERT(source->ops == &sl_static_source_ops, "source %p", (const void *)source);
    const struct static_source *s = sl_container_of_const(source, struct static_source, base);

    *out = (struct sl_source_status){
        .synced = true,
        .connected = true,
        .fresh_at_ms = sl_loop_now_ms(s->loop), /* the config cannot lag behind itself */
    };
}

const struct sl_source_ops sl_static_source_ops = {
    .name = "static",
    .start = start,
    .stop = stop,
    .status = status,
};
