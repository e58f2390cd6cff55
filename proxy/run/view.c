/* SPDX-License-Identifier: Apache-2.0 */
/*
 * view: builds what the workers go by from a config, and takes it apart when they let go. All that
 * a view holds is reached from it, so a failure in the middle is undone by sl_view_free.
 */
#include <sluiced/log.h>

#include "process.h"

#include "proxy/base/alloc.h"
#include "proxy/base/hash.h"
#include "proxy/l7/listener.h"

#include <string.h>

static int no_memory(struct sl_error *err)
{
    return sl_error_set(err, SL_ENOMEM, NULL, "no memory for a config of this size");
}

/* ---- TLS contexts: one a worker, all of a worker's in one letter to it */

static void drop_tls(struct sl_mail *m)
{
    struct sl_view_tls *t = sl_container_of(m, struct sl_view_tls, mail);

    for (size_t i = 0; i < t->n; i++) {
        sl_tls_context_free(t->contexts[i]);
    }
    sl_free(t);
}

void sl_workers_drop_tls(struct sl_process *p, struct sl_view *view)
{
    for (uint32_t i = 0; view->tls != NULL && i < view->workers_n; i++) {
        if (view->tls[i] != NULL) {
            view->tls[i]->mail.on_mail = drop_tls;
            sl_mailbox_post(p->workers[i].loop, &view->tls[i]->mail);
        }
    }
    sl_free((void *)view->tls);
    view->tls = NULL;
}

static int make_tls_room(struct sl_view *view)
{
    size_t most_n = view->config->listeners_n + view->config->pools_n;

    view->tls =
        (struct sl_view_tls **)sl_alloc_array(view->workers_n, sizeof(struct sl_view_tls *));
    if (view->tls == NULL) {
        return SL_ENOMEM;
    }
    for (uint32_t i = 0; i < view->workers_n; i++) {
        view->tls[i] =
            sl_alloc_flex(sizeof(*view->tls[i]), most_n, sizeof(view->tls[i]->contexts[0]));
        if (view->tls[i] == NULL) {
            return SL_ENOMEM;
        }
    }
    return SL_OK;
}

/* secret: of a listener; NULL: of a pool. */
static int make_contexts(struct sl_view *view, const char *name, const struct sl_tls_config *conf,
                         const struct sl_tls_secret *secret, struct sl_tls_context ***out,
                         struct sl_error *err)
{
    struct sl_tls_context **contexts =
        (struct sl_tls_context **)sl_alloc_array(view->workers_n, sizeof(*contexts));
    int rc = SL_OK;

    if (contexts == NULL) {
        return no_memory(err);
    }
    *out = contexts;
    for (uint32_t i = 0; rc == SL_OK && i < view->workers_n; i++) {
        rc = secret != NULL ? sl_tls_server_context_new(name, conf, secret, &contexts[i], err)
                            : sl_tls_client_context_new(name, conf, &contexts[i], err);
        if (rc == SL_OK) {
            view->tls[i]->contexts[view->tls[i]->n++] = contexts[i];
        }
    }
    return rc;
}

/* ---- Pools */

static int build_pools(struct sl_process *p, struct sl_view *view, struct sl_error *err)
{
    const struct sl_config *config = view->config;

    view->pools = sl_alloc_array(config->pools_n > 0 ? config->pools_n : 1, sizeof(view->pools[0]));
    if (view->pools == NULL) {
        return no_memory(err);
    }
    for (size_t i = 0; i < config->pools_n; i++) {
        const struct sl_pool_config *conf = &config->pools[i];
        struct sl_view_pool *vp = &view->pools[i];
        int rc = sl_run_pool_prepare(p, config, conf, &vp->run, err);
        if (rc != SL_OK) {
            return rc;
        }
        view->pools_n++;
        vp->conf = conf;
        vp->pool = vp->run->pool;
        vp->series = vp->run->series;
        if (conf->tls != NULL) {
            rc = make_contexts(view, conf->name, conf->tls, NULL, &vp->tls, err);
            if (rc != SL_OK) {
                return rc;
            }
            vp->transport_identity = sl_tls_context_identity(vp->tls[0]);
        }
    }
    return SL_OK;
}

/* ---- Listeners */

static struct sl_listener *find_listener(struct sl_process *p, const struct sl_listener_config *c)
{
    for (struct sl_listener *l = p->listeners; l != NULL; l = l->next) {
        /* One that no view names has closed its sockets, or is about to. */
        if (l->views_n > 0 && strcmp(l->name, c->name) == 0 && sl_address_same(&l->bind, &c->bind))
        {
            return l;
        }
    }
    return NULL;
}

/* A listener of the running view keeps its sockets, and so does one that no worker was told of yet:
 * clients wait in it. One that is only named by views that fade is opened anew, for the old one's
 * sockets are being closed. */
static int open_listener(struct sl_process *p, const struct sl_listener_config *conf,
                         struct sl_listener **out, struct sl_error *err)
{
    const char *labels[] = {conf->name};
    struct sl_series *series;
    struct sl_listener *l = find_listener(p, conf);

    if (l != NULL && (!l->taken || (p->view != NULL && sl_view_names(p->view, l)))) {
        *out = l;
        return SL_OK;
    }
    if (sl_series_get(p->registry, SL_SCOPE_LISTENER, labels, &series) != SL_OK) {
        return no_memory(err);
    }
    const struct sl_passed *passed = sl_activation_take(&p->activation, &conf->bind);
    int rc =
        sl_listener_open(conf, passed != NULL ? passed->fd : -1, p->workers_n, series, &l, err);
    if (rc != SL_OK) {
        struct sl_error at = *err;
        sl_series_unref(&series);
        return sl_error_set(err, rc, &conf->pos, "%s", at.message);
    }
    l->next = p->listeners;
    p->listeners = l;
    *out = l;
    return SL_OK;
}

static int make_side(struct sl_process *p, struct sl_view_pool *pool,
                     const struct sl_listener_config *listener, struct sl_view_route *r)
{
    struct sl_view_side *side = &r->sides[r->made_n];
    const char *labels[] = {listener->name, r->conf->name, pool->conf->name};
    int rc = sl_series_get(p->registry, SL_SCOPE_ROUTE, labels, &side->series);

    if (rc == SL_OK) {
        side->pool = pool;
        r->made_n++;
    }
    return rc;
}

/* Each side has a chain of its own, so that a side of the split is not also somebody's fallback. */
static int make_fallbacks(struct sl_process *p, struct sl_view *view,
                          const struct sl_listener_config *listener, struct sl_view_route *r)
{
    for (size_t i = 0; i < r->sides_n; i++) {
        struct sl_view_side *side = &r->sides[i];
        while (side->pool->conf->fallback != NULL) {
            struct sl_view_side *next = &r->sides[r->made_n];
            if (make_side(p, &view->pools[side->pool->conf->fallback_idx], listener, r) != SL_OK) {
                return SL_ENOMEM;
            }
            side->fallback = next;
            side = next;
        }
    }
    return SL_OK;
}

static int build_route(struct sl_process *p, struct sl_view *view,
                       const struct sl_listener_config *listener,
                       const struct sl_route_config *conf, struct sl_view_route *r,
                       struct sl_error *err)
{
    uint32_t weights[SL_SPLIT_SIDES_MAX_N];

    r->conf = conf;
    r->sides = sl_alloc_array(conf->sides_n * (1 + SL_FALLBACKS_MAX_N), sizeof(r->sides[0]));
    if (r->sides == NULL) {
        return no_memory(err);
    }
    for (size_t i = 0; i < conf->sides_n; i++) {
        if (make_side(p, &view->pools[conf->sides[i].pool_idx], listener, r) != SL_OK) {
            return no_memory(err);
        }
        r->sides_n++;
        weights[i] = conf->sides[i].weight;
    }
    if (make_fallbacks(p, view, listener, r) != SL_OK) {
        return no_memory(err);
    }
    return conf->sides_n > 1 ? sl_split_build(weights, conf->sides_n, &r->split, err) : SL_OK;
}

static int build_listeners(struct sl_process *p, struct sl_view *view, struct sl_error *err)
{
    const struct sl_config *config = view->config;

    view->listeners = sl_alloc_array(config->listeners_n > 0 ? config->listeners_n : 1,
                                     sizeof(view->listeners[0]));
    if (view->listeners == NULL) {
        return no_memory(err);
    }
    for (size_t i = 0; i < config->listeners_n; i++) {
        const struct sl_listener_config *conf = &config->listeners[i];
        struct sl_view_listener *vl = &view->listeners[i];
        int rc = open_listener(p, conf, &vl->handle, err);
        if (rc != SL_OK) {
            return rc;
        }
        view->listeners_n++;
        vl->handle->views_n++;
        vl->conf = conf;
        if (conf->tls != NULL) {
            rc = make_contexts(view, conf->name, conf->tls, &p->tls_secret, &vl->tls, err);
        }
        vl->routes = sl_alloc_array(conf->routes_n, sizeof(vl->routes[0]));
        if (rc == SL_OK && vl->routes == NULL) {
            rc = no_memory(err);
        }
        for (size_t r = 0; rc == SL_OK && vl->routes != NULL && r < conf->routes_n; r++) {
            vl->routes_n++;
            rc = build_route(p, view, conf, &conf->routes[r], &vl->routes[r], err);
        }
        if (rc != SL_OK) {
            return rc;
        }
    }
    return SL_OK;
}

/* ---- The view */

static void on_released(struct sl_mail *m)
{
    struct sl_view *view = sl_container_of(m, struct sl_view, released);
    sl_view_free(view->owner, view);
}

/* On the worker that let go last. */
static void on_done(struct sl_published *published)
{
    struct sl_view *view = sl_container_of(published, struct sl_view, published);
    sl_mailbox_post(view->control_loop, &view->released);
}

int sl_view_build(struct sl_process *p, const struct sl_config *config, struct sl_view **out,
                  struct sl_error *err)
{
    struct sl_view *view = sl_alloc(sizeof(*view));
    if (view == NULL) {
        return no_memory(err);
    }
    view->owner = p;
    view->control_loop = p->loop;
    view->config = sl_config_ref(config);
    view->workers_n = p->workers_n;
    view->released.on_mail = on_released;
    sl_published_init(&view->published, p->workers_n, on_done);
    p->live_views_n++;
    view->cells = sl_alloc_aligned(64, p->workers_n * sizeof(view->cells[0]));
    int rc = view->cells != NULL && make_tls_room(view) == SL_OK ? SL_OK : no_memory(err);
    if (rc == SL_OK) {
        rc = build_pools(p, view, err);
    }
    if (rc == SL_OK) {
        rc = build_listeners(p, view, err);
    }
    if (rc != SL_OK) {
        sl_view_drop(p, view);
        return rc;
    }
    *out = view;
    return SL_OK;
}

static void free_listener(struct sl_view_listener *vl)
{
    for (size_t r = 0; r < vl->routes_n; r++) {
        struct sl_view_route *route = &vl->routes[r];
        for (size_t i = 0; i < route->made_n; i++) {
            sl_series_unref(&route->sides[i].series);
        }
        sl_split_free(route->split);
        sl_free(route->sides);
    }
    sl_free(vl->routes);
    sl_free((void *)vl->tls);
    vl->handle->views_n--;
}

void sl_view_free(struct sl_process *p, struct sl_view *view)
{
    for (size_t i = 0; i < view->listeners_n; i++) {
        free_listener(&view->listeners[i]);
    }
    for (size_t i = 0; i < view->pools_n; i++) {
        sl_free((void *)view->pools[i].tls);
        sl_run_pool_unref(view->pools[i].run);
    }
    sl_workers_drop_tls(p, view);
    sl_free(view->listeners);
    sl_free(view->pools);
    sl_free(view->cells);
    sl_config_unref(&view->config);
    sl_free(view);
    p->live_views_n--;
    if (p->view == view) {
        p->view = NULL; /* the end: no other one took its place */
    }
    sl_listeners_sweep(p);
}

void sl_view_drop(struct sl_process *p, struct sl_view *view)
{
    for (size_t i = 0; i < view->pools_n; i++) {
        sl_run_pool_cancel(view->pools[i].run);
    }
    sl_view_free(p, view);
}

struct sl_listener *sl_listeners_hold(struct sl_process *p)
{
    for (struct sl_listener *l = p->listeners; l != NULL; l = l->next) {
        l->views_n++;
    }
    return p->listeners;
}

void sl_listeners_let_go(struct sl_process *p, struct sl_listener *held)
{
    for (; held != NULL; held = held->next) {
        held->views_n--;
    }
    sl_listeners_sweep(p);
}

void sl_listeners_taken(const struct sl_view *view)
{
    for (size_t i = 0; i < view->listeners_n; i++) {
        view->listeners[i].handle->taken = true;
    }
}

void sl_listeners_retire(struct sl_process *p)
{
    for (struct sl_listener *l = p->listeners; l != NULL; l = l->next) {
        if (!sl_view_names(p->view, l)) {
            sl_listener_retire(l);
        }
    }
}

void sl_listeners_sweep(struct sl_process *p)
{
    struct sl_listener **at = &p->listeners;

    while (*at != NULL) {
        struct sl_listener *l = *at;
        /* Acquire: what the last connection did with l happened before. */
        if (l->views_n == 0 && atomic_load_explicit(&l->refs_n, memory_order_acquire) == 0) {
            *at = l->next;
            sl_listener_free(l);
        } else {
            at = &l->next;
        }
    }
}
