/* SPDX-License-Identifier: Apache-2.0 */
/*
 * view: one applied config as the workers see it: listeners, routes, splits, pools, contexts.
 *
 * Lifetime:  published (see publish.h): built by the control thread, immutable, freed by it when
 * the last worker let go. What lives longer (pools, series, listeners) is only pointed to Thread:
 * any reads; cells[i] and tls contexts [i] are worker i's
 */
#ifndef SL_L7_VIEW_H
#define SL_L7_VIEW_H

#include <sluiced/config.h>
#include <sluiced/metrics.h>
#include <sluiced/publish.h>

#include "listener.h"

#include "proxy/io/loop.h"
#include "proxy/io/tls.h"
#include "proxy/rollout/split.h"
#include "proxy/upstream/pool.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct sl_run_pool; /* of proxy/run, opaque here */
struct sl_process;

struct sl_view_pool {
    struct sl_run_pool *run; /* control thread */
    const struct sl_pool_config *conf;
    struct sl_pool *pool;
    struct sl_series *series;
    struct sl_tls_context **tls; /* one a worker; NULL: plaintext */
    uint64_t transport_identity; /* connections of another one are not used again */
};

struct sl_view_side {
    struct sl_view_pool *pool;
    struct sl_series *series;            /* of (listener, route, pool) */
    const struct sl_view_side *fallback; /* where its pool has nobody ready; NULL: nowhere */
};

struct sl_view_route {
    const struct sl_route_config *conf;
    struct sl_split *split;     /* NULL: one side */
    struct sl_view_side *sides; /* behind those of the split: what they fall back on */
    size_t sides_n;
    size_t made_n; /* of both */
};

struct sl_view_listener {
    const struct sl_listener_config *conf;
    struct sl_listener *handle;
    struct sl_view_route *routes;
    size_t routes_n;
    struct sl_tls_context **tls; /* one a worker; NULL: plaintext */
};

/* The TLS contexts that one worker has in a view. They are the worker's to free, for connections
 * that outlive the view still use them; made with the view, so that freeing it needs no memory. */
struct sl_view_tls {
    struct sl_mail mail;
    size_t n;
    struct sl_tls_context *contexts[];
};

/* A line of its own: pins move with every exchange. */
struct sl_view_cell {
    _Alignas(64) struct sl_published_cell published;
};

struct sl_view {
    struct sl_published published;
    struct sl_mail released;  /* to the control thread, once all workers let go */
    struct sl_process *owner; /* control thread */
    struct sl_loop *control_loop;
    const struct sl_config *config;
    uint64_t generation;
    struct sl_view_listener *listeners; /* as in config */
    size_t listeners_n;
    struct sl_view_pool *pools; /* as in config */
    size_t pools_n;
    uint32_t workers_n;
    struct sl_view_cell *cells; /* one a worker */
    struct sl_view_tls **tls;   /* one a worker */
};

/* Whether view has a listener of that handle. O(listeners). */
static inline bool sl_view_names(const struct sl_view *view, const struct sl_listener *l)
{
    for (size_t i = 0; i < view->listeners_n; i++) {
        if (view->listeners[i].handle == l) {
            return true;
        }
    }
    return false;
}

#endif
