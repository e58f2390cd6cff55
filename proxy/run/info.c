/* SPDX-License-Identifier: Apache-2.0 */
/*
 * info: what the admin side may ask of the process, answered from the running view.
 */
#include <sluiced/time.h>

#include "process.h"

#include "config/print.h"
#include "proxy/upstream/idle_limit.h"
#include "proxy/upstream/slow_start.h"

#include <stdio.h>
#include <string.h>

static struct sl_process *of(struct sl_control *c)
{
    return sl_container_of(c, struct sl_process, control);
}

/* The running view; before the first one runs, the one that waits for its endpoints. */
static const struct sl_view *shown(const struct sl_process *p)
{
    return p->view != NULL ? p->view : p->reload.view;
}

/* Of a source that never proved anything the proof is as old as the source. */
static bool is_too_old(const struct sl_process *p, const struct sl_run_source *rs, uint64_t *age_ms)
{
    uint64_t now_ms = sl_loop_now_ms(p->loop);
    struct sl_source_status status;

    sl_run_source_status(rs, &status);
    *age_ms = sl_source_age_ms(&status, now_ms);
    if (*age_ms == UINT64_MAX) {
        *age_ms = now_ms - rs->started_at_ms;
    }
    return *age_ms > p->view->config->discovery.ready_max_age_ms;
}

/* "": none. */
static const char *find_too_old(struct sl_process *p)
{
    uint64_t age_ms;

    if (p->view->config->discovery.ready_max_age_ms == 0) {
        return "";
    }
    for (size_t i = 0; i < p->view->pools_n; i++) {
        if (is_too_old(p, p->view->pools[i].run->running, &age_ms)) {
            (void)snprintf(p->not_ready, sizeof(p->not_ready),
                           "the endpoints of pool %s were last proven %llu ms ago, longer than "
                           "discovery.ready_max_age",
                           p->view->pools[i].conf->name, (unsigned long long)age_ms); /* fits */
            return p->not_ready;
        }
    }
    return "";
}

bool sl_process_is_ready(struct sl_process *p, const char **because)
{
    *because = "";
    if (p->drain_started_ms != 0) {
        *because = "draining";
    } else if (p->view == NULL) {
        *because = "waiting for the endpoints of the first config";
    } else {
        *because = find_too_old(p);
    }
    return **because == '\0';
}

static void process_info(struct sl_control *c, struct sl_process_info *out)
{
    struct sl_process *p = of(c);
    const struct sl_view *view = shown(p);

    *out = (struct sl_process_info){
        .generation = p->generation,
        .content_hash = view != NULL ? view->config->content_hash : 0,
        .config_file = p->config_file,
        .applied_unix_ms = p->applied_unix_ms,
        .started_unix_ms = p->started_unix_ms,
        .reloads_n = p->reloads_n,
        .reload_failures_n = p->reload_failures_n,
        .reload_error = p->reload_error,
        .live_views_n = p->live_views_n,
        .workers_n = p->workers_n,
        .draining = p->drain_started_ms != 0,
        .overload_step = p->overload.step,
        .memory_bytes = p->overload.memory_bytes,
        .memory_limit_bytes = p->overload.memory_limit_bytes,
        .fds_n = p->overload.fds_n,
        .fds_limit_n = p->overload.fds_limit_n,
        .listeners_n = view != NULL ? view->listeners_n : 0,
        .pools_n = view != NULL ? view->pools_n : 0,
    };
    out->ready = sl_process_is_ready(p, &out->not_ready_because);
}

static void listener_info(struct sl_control *c, size_t i, struct sl_listener_info *out)
{
    const struct sl_view_listener *l = &shown(of(c))->listeners[i];
    uint64_t begun_n = sl_series_sum(l->handle->series, SL_LISTENER_CONNECTIONS);

    *out = (struct sl_listener_info){
        .name = l->conf->name,
        .address = l->handle->bound,
        .tls = l->conf->tls != NULL,
        .client_certificate = l->conf->tls != NULL && l->conf->tls->ca != NULL,
        .connections_n = begun_n - sl_series_sum(l->handle->series, SL_LISTENER_CONNECTIONS_ENDED),
        .connections_total_n = begun_n,
        .routes_n = l->routes_n,
    };
}

static void route_info(struct sl_control *c, size_t listener, size_t i, struct sl_route_info *out)
{
    const struct sl_view_route *r = &shown(of(c))->listeners[listener].routes[i];

    *out = (struct sl_route_info){
        .name = r->conf->name,
        .host = r->conf->host != NULL ? r->conf->host : "",
        .path = r->conf->path,
        .sides_n = r->sides_n,
    };
    if (r->split != NULL)
    { /* once for all sides: they are asked for one by one, and traffic goes on */
        (void)sl_split_counts(r->split, of(c)->side_counts); /* the sum is not asked for */
    }
}

static uint64_t requests_n(const struct sl_series *series)
{
    uint64_t n = 0;

    for (size_t reason = 0; reason < SL_REASONS_N * SL_CODE_CLASSES_N; reason++) {
        n += sl_series_sum(series, SL_ROUTE_REQUESTS + reason);
    }
    return n;
}

static void side_info(struct sl_control *c, size_t listener, size_t route, size_t i,
                      struct sl_side_info *out)
{
    const struct sl_view_route *r = &shown(of(c))->listeners[listener].routes[route];
    uint64_t picked_n = 0;
    uint64_t sum = 0;

    for (size_t s = 0; s < r->sides_n; s++) {
        sum += r->conf->sides[s].weight;
    }
    if (r->split != NULL) {
        picked_n = of(c)->side_counts[i];
    } else {
        for (const struct sl_view_side *s = r->sides; s != NULL; s = s->fallback) {
            picked_n += requests_n(s->series);
        }
    }
    *out = (struct sl_side_info){
        .pool = r->conf->sides[i].pool,
        .weight = r->conf->sides[i].weight,
        .share = sum > 0 ? (double)r->conf->sides[i].weight / (double)sum : 0.0,
        .picked_n = picked_n,
    };
}

static void pool_info(struct sl_control *c, size_t i, struct sl_pool_info *out)
{
    static const char *const checks[] = {
        [SL_HEALTH_CHECK_NONE] = "none",
        [SL_HEALTH_CHECK_HTTP] = "http",
        [SL_HEALTH_CHECK_TCP] = "tcp",
    };
    struct sl_process *p = of(c);
    const struct sl_view_pool *vp = &shown(p)->pools[i];
    const struct sl_source *source = vp->run->running->source;
    const struct sl_endpoint_set *set = vp->pool->newest;

    *out = (struct sl_pool_info){
        .name = vp->conf->name,
        .balance = vp->conf->balance,
        .fallback = vp->conf->fallback != NULL ? vp->conf->fallback : "",
        .source = source->ops->name,
        .health = checks[vp->conf->health.kind],
        .tls = vp->conf->tls != NULL,
        .now_ms = sl_loop_now_ms(p->loop),
        .picks_n = sl_pool_stat(vp->pool, SL_POOL_PICKS),
        .picks_draining_n = sl_pool_stat(vp->pool, SL_POOL_PICKS_DRAINING),
        .picks_any_n = sl_pool_stat(vp->pool, SL_POOL_PICKS_ANY),
        .prefer_zone = vp->conf->prefer_zone != NULL ? vp->conf->prefer_zone : "",
        .own_zone = set != NULL && set->own_zone != NULL ? set->own_zone : "",
        .picks_own_zone_n = sl_pool_stat(vp->pool, SL_POOL_PICKS_OWN_ZONE),
        .picks_other_zone_n = sl_pool_stat(vp->pool, SL_POOL_PICKS_OTHER_ZONE),
        .nobody_n = sl_pool_stat(vp->pool, SL_POOL_NOBODY),
        .ejections_n = sl_pool_stat(vp->pool, SL_POOL_EJECTIONS),
        .queued_n = sl_pool_queue_waiting_n(&vp->pool->queue),
        .queue_size_n = vp->conf->queue.size_n,
        .places_n = atomic_load_explicit(&vp->pool->queue.in_flight_n, memory_order_relaxed),
        .in_flight_max_n = vp->conf->limits.in_flight_n,
        .per_endpoint_max_n = vp->conf->limits.per_endpoint_n,
        .queued_bytes = sl_pool_queue_bytes(&vp->pool->queue),
        .queue_bytes_max = vp->conf->queue.bytes,
        .connections_n = atomic_load_explicit(&vp->pool->connections.open_n, memory_order_relaxed),
        .connections_max_n = vp->conf->limits.connections_n,
        .connections_per_endpoint_max_n = vp->conf->limits.connections_per_endpoint_n,
        .retries_n = atomic_load_explicit(&vp->pool->retries.running_n, memory_order_relaxed),
        .retries_max_n = vp->conf->limits.retries_n,
        .endpoints_n = set != NULL ? set->members_n : 0,
    };
    sl_run_source_status(vp->run->running, &out->discovery);
    if (vp->run->not_applied[0] != '\0')
    { /* found, and not in force: that goes on when the trouble of the source is over */
        _Static_assert(sizeof(out->discovery.last_error) == sizeof(vp->run->not_applied), "fits");
        memcpy(out->discovery.last_error, vp->run->not_applied, sizeof(vp->run->not_applied));
    }
}

static double share_of(const struct sl_endpoint_set *set, const struct sl_endpoint *ep,
                       uint64_t now_ms)
{
    uint64_t came_at_ms = atomic_load_explicit(&ep->came_at_ms, memory_order_relaxed);

    if (set->slow_start.window_ms == 0 || came_at_ms == 0) {
        return 1.0;
    }
    return sl_slow_start_share(&set->slow_start, now_ms > came_at_ms ? now_ms - came_at_ms : 0);
}

static void endpoint_info(struct sl_control *c, size_t pool, size_t i, struct sl_endpoint_info *out)
{
    static const struct sl_member_labels none = {.zone = ""};
    struct sl_process *p = of(c);
    const struct sl_endpoint_set *set = shown(p)->pools[pool].pool->newest;
    const struct sl_member *m = &set->members[i];
    const struct sl_member_labels *labels = set->labels != NULL ? &set->labels[i] : &none;
    const struct sl_endpoint *ep = m->endpoint;
    uint64_t now_ms = sl_loop_now_ms(p->loop);
    uint64_t until_ms = atomic_load_explicit(&ep->ejected_until_ms, memory_order_relaxed);
    bool by_hand = atomic_load_explicit(&ep->drained_by_hand, memory_order_relaxed);

    *out = (struct sl_endpoint_info){
        .address = ep->address,
        .pod = ep->pod_name,
        .zone = labels->zone,
        .version = labels->version,
        .model = labels->model,
        .weight = m->weight,
        .draining = m->draining || by_hand,
        .drained_by_hand = by_hand,
        .health = atomic_load_explicit(&ep->health, memory_order_relaxed),
        .ejected_ms = until_ms > now_ms ? until_ms - now_ms : 0,
        .keepalive_learned_ms = sl_idle_limit_learned(ep, now_ms),
        .slow_start_share = share_of(set, ep, now_ms),
        .in_flight_n = atomic_load_explicit(&ep->in_flight_n, memory_order_relaxed),
        .connections_n = atomic_load_explicit(&ep->connections_n, memory_order_relaxed),
    };
    for (int s = 0; s < SL_ENDPOINT_STATS_N; s++) {
        out->stats[s] = sl_endpoint_stat(ep, (enum sl_endpoint_stat)s);
    }
}

static int reload(struct sl_control *c)
{
    return sl_reload_start(of(c));
}

static void reload_info(struct sl_control *c, struct sl_reload_info *out)
{
    const struct sl_process *p = of(c);

    *out = (struct sl_reload_info){
        .asked_n = p->reload.asked_n,
        .answered_n = p->reload.answered_n,
        .error = p->reload_error,
        .changes = p->reload.changes,
        .not_synced = p->reload.not_synced,
    };
}

static void config(struct sl_control *c, struct sl_text *out)
{
    const struct sl_view *view = shown(of(c));

    if (view != NULL) {
        sl_config_print(view->config, out);
    }
}

static void drain(struct sl_control *c)
{
    sl_drain_start(of(c), false);
}

static void drain_info(struct sl_control *c, struct sl_drain_info *out)
{
    sl_drain_describe(of(c), out);
}

static void drain_endpoint(struct sl_control *c, const char *name, enum sl_drain_wish wish,
                           struct sl_endpoint_drain_info *out)
{
    sl_manual_drain(of(c), name, wish, out);
}

void sl_info_init(struct sl_process *p)
{
    p->control = (struct sl_control){
        .process = process_info,
        .listener = listener_info,
        .route = route_info,
        .side = side_info,
        .pool = pool_info,
        .endpoint = endpoint_info,
        .reload = reload,
        .reload_info = reload_info,
        .config = config,
        .drain = drain,
        .drain_info = drain_info,
        .drain_endpoint = drain_endpoint,
        .metrics = p->registry,
    };
}
