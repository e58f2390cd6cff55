/* SPDX-License-Identifier: Apache-2.0 */
#include "status_json.h"

#include <sluiced/time.h>
#include <sluiced/version.h>

#include "proxy/base/alloc.h"
#include "proxy/base/text.h"

#include <jansson.h>

#include <stdio.h>

#define ADDRESS_BYTES 128

/* Sticky: after the first lack of memory the rest is built in vain, and the caller asks once. */
struct builder {
    struct sl_control *control;
    size_t endpoints_left_n;
    bool failed;
};

static json_t *made(struct builder *b, json_t *value)
{
    b->failed |= value == NULL;
    return value;
}

/* Takes value over, and borrows it back. */
static json_t *put(struct builder *b, json_t *object, const char *key, json_t *value)
{
    b->failed |= json_object_set_new(object, key, value) != 0;
    return value;
}

static json_t *append(struct builder *b, json_t *array, json_t *value)
{
    b->failed |= json_array_append_new(array, value) != 0;
    return value;
}

/* Errors quote what files and servers said, which need not be UTF-8; a document must be. */
static json_t *text_of(const char *s)
{
    json_t *text = json_string(s);
    char *plain = text == NULL ? sl_strdup(s) : NULL;

    if (plain == NULL) {
        return text;
    }
    for (char *p = plain; *p != '\0'; p++) {
        *p = (unsigned char)*p < 0x80 ? *p : '?';
    }
    text = json_string(plain);
    sl_free(plain);
    return text;
}

static void put_text(struct builder *b, json_t *object, const char *key, const char *value)
{
    (void)put(b, object, key, text_of(value)); /* b knows */
}

static void put_n(struct builder *b, json_t *object, const char *key, uint64_t value)
{
    (void)put(b, object, key, json_integer((json_int_t)value));
}

static void put_bool(struct builder *b, json_t *object, const char *key, bool value)
{
    (void)put(b, object, key, json_boolean(value));
}

static void put_time(struct builder *b, json_t *object, const char *key, uint64_t unix_ms)
{
    char text[SL_TIME_TEXT_BYTES];

    sl_time_format(unix_ms, text);
    put_text(b, object, key, text);
}

static void put_address(struct builder *b, json_t *object, const struct sl_address *address)
{
    char text[ADDRESS_BYTES];

    sl_address_format(address, text, sizeof(text));
    put_text(b, object, "address", text);
}

static void put_process(struct builder *b, json_t *root, const struct sl_process_info *info)
{
    char hash[17];

    (void)snprintf(hash, sizeof(hash), "%016llx", (unsigned long long)info->content_hash);
    put_text(b, root, "version", SL_VERSION);
    put_n(b, root, "generation", info->generation);
    put_text(b, root, "config_hash", hash);
    put_text(b, root, "config_file", info->config_file);
    put_time(b, root, "applied_at", info->applied_unix_ms);
    put_time(b, root, "started_at", info->started_unix_ms);
    put_n(b, root, "workers", info->workers_n);
    put_bool(b, root, "ready", info->ready);
    put_text(b, root, "not_ready_because", info->not_ready_because);
    put_bool(b, root, "draining", info->draining);
    put_n(b, root, "live_views", info->live_views_n);

    json_t *overload = put(b, root, "overload", json_object());
    put_n(b, overload, "step", info->overload_step);
    put_n(b, overload, "memory_bytes", info->memory_bytes);
    put_n(b, overload, "memory_limit_bytes", info->memory_limit_bytes);
    put_n(b, overload, "fds", info->fds_n);
    put_n(b, overload, "fds_limit", info->fds_limit_n);

    json_t *reload = put(b, root, "reload", json_object());
    put_bool(b, reload, "ok", info->reload_error[0] == '\0');
    put_n(b, reload, "count", info->reloads_n);
    put_n(b, reload, "failures", info->reload_failures_n);
    put_text(b, root, "reload_error", info->reload_error);
}

/* Of a process that is on its way out: how far it is. */
static void put_drain(struct builder *b, json_t *root)
{
    struct sl_drain_info info;

    b->control->drain_info(b->control, &info);
    if (!info.draining) {
        return;
    }
    json_t *drain = put(b, root, "drain", json_object());
    put_bool(b, drain, "closing", info.closing);
    put_bool(b, drain, "outbound_served", info.outbound_served);
    put_n(b, drain, "elapsed_ms", info.elapsed_ms);
    put_n(b, drain, "timeout_ms", info.timeout_ms);
    put_n(b, drain, "inbound", info.inbound_n);
    put_n(b, drain, "outbound", info.outbound_n);
    put_n(b, drain, "requests", info.requests_n);
}

static json_t *route_of(struct builder *b, size_t listener, size_t i)
{
    json_t *route = made(b, json_object());
    struct sl_route_info info;

    b->control->route(b->control, listener, i, &info);
    put_text(b, route, "name", info.name);
    put_text(b, route, "host", info.host);
    put_text(b, route, "path", info.path);
    json_t *split = put(b, route, "split", json_array());
    for (size_t j = 0; j < info.sides_n; j++) {
        json_t *side = append(b, split, json_object());
        struct sl_side_info s;

        b->control->side(b->control, listener, i, j, &s);
        put_text(b, side, "pool", s.pool);
        put_n(b, side, "weight", s.weight);
        (void)put(b, side, "share", json_real(s.share));
        put_n(b, side, "picked", s.picked_n);
    }
    return route;
}

static json_t *listener_of(struct builder *b, size_t i)
{
    json_t *listener = made(b, json_object());
    struct sl_listener_info info;

    b->control->listener(b->control, i, &info);
    put_text(b, listener, "name", info.name);
    put_address(b, listener, &info.address);
    put_bool(b, listener, "tls", info.tls);
    put_bool(b, listener, "client_certificate", info.client_certificate);
    put_n(b, listener, "connections", info.connections_n);
    put_n(b, listener, "connections_total", info.connections_total_n);
    json_t *routes = put(b, listener, "routes", json_array());
    for (size_t j = 0; j < info.routes_n; j++) {
        (void)append(b, routes, route_of(b, i, j));
    }
    return listener;
}

static json_t *endpoint_of(struct builder *b, size_t pool, size_t i)
{
    static const char *const healths[] = {
        [SL_HEALTH_UNKNOWN] = "unknown",
        [SL_HEALTH_UP] = "up",
        [SL_HEALTH_DOWN] = "down",
    };
    json_t *endpoint = made(b, json_object());
    struct sl_endpoint_info info;

    b->control->endpoint(b->control, pool, i, &info);
    put_address(b, endpoint, &info.address);
    put_text(b, endpoint, "pod", info.pod);
    put_text(b, endpoint, "zone", info.zone);
    put_text(b, endpoint, "version", info.version);
    put_text(b, endpoint, "model", info.model);
    put_n(b, endpoint, "weight", info.weight);
    put_bool(b, endpoint, "draining", info.draining);
    put_bool(b, endpoint, "drained_by_hand", info.drained_by_hand);
    put_text(b, endpoint, "health", healths[info.health]);
    put_n(b, endpoint, "ejected_ms", info.ejected_ms);
    put_n(b, endpoint, "keepalive_learned_ms", info.keepalive_learned_ms);
    (void)put(b, endpoint, "slow_start_share", json_real(info.slow_start_share));
    put_n(b, endpoint, "in_flight", info.in_flight_n);
    put_n(b, endpoint, "connections", info.connections_n);
    put_n(b, endpoint, "requests", info.stats[SL_ENDPOINT_REQUESTS]);
    put_n(b, endpoint, "failures", info.stats[SL_ENDPOINT_FAILURES]);
    put_n(b, endpoint, "connects", info.stats[SL_ENDPOINT_CONNECTS]);
    put_n(b, endpoint, "ejections", info.stats[SL_ENDPOINT_EJECTIONS]);
    return endpoint;
}

/* null where it never was. */
static void put_ago(struct builder *b, json_t *object, const char *key, uint64_t ago_ms)
{
    if (ago_ms < UINT64_MAX) {
        put_n(b, object, key, ago_ms);
    } else {
        (void)put(b, object, key, json_null());
    }
}

static json_t *discovery_of(struct builder *b, const struct sl_pool_info *info)
{
    json_t *discovery = made(b, json_object());
    const struct sl_source_status *d = &info->discovery;

    put_text(b, discovery, "state", sl_source_state_name(d->state));
    put_bool(b, discovery, "synced", d->synced);
    put_bool(b, discovery, "connected", d->connected);
    put_ago(b, discovery, "age_ms", sl_source_age_ms(d, info->now_ms));
    put_ago(b, discovery, "last_event_ms", sl_source_ago_ms(d->event_at_ms, info->now_ms));
    put_ago(b, discovery, "last_bookmark_ms", sl_source_ago_ms(d->bookmark_at_ms, info->now_ms));
    put_n(b, discovery, "watches", d->watches_n);
    put_n(b, discovery, "events", d->events_n);
    json_t *relists = put(b, discovery, "relists", json_object());
    for (int i = 0; i < SL_RELIST_CAUSES_N; i++) {
        put_n(b, relists, sl_relist_cause_name((enum sl_relist_cause)i), d->relists_n[i]);
    }
    put_n(b, discovery, "reconnects", d->reconnects_n);
    put_n(b, discovery, "comparisons", d->comparisons_n);
    put_n(b, discovery, "drift", d->drift_n);
    put_n(b, discovery, "errors", d->errors_n);
    put_n(b, discovery, "cache_errors", d->cache_errors_n);
    put_text(b, discovery, "last_error", d->last_error);
    return discovery;
}

static json_t *pool_of(struct builder *b, size_t i)
{
    json_t *pool = made(b, json_object());
    struct sl_pool_info info;

    b->control->pool(b->control, i, &info);
    put_text(b, pool, "name", info.name);
    put_text(b, pool, "balance", info.balance);
    put_text(b, pool, "source", info.source);
    put_text(b, pool, "health", info.health);
    put_text(b, pool, "fallback", info.fallback);
    put_bool(b, pool, "tls", info.tls);
    (void)put(b, pool, "discovery", discovery_of(b, &info));
    put_n(b, pool, "picks", info.picks_n);
    put_n(b, pool, "picks_draining", info.picks_draining_n);
    put_n(b, pool, "picks_any", info.picks_any_n);
    put_text(b, pool, "prefer_zone", info.prefer_zone);
    put_text(b, pool, "own_zone", info.own_zone);
    put_n(b, pool, "picks_own_zone", info.picks_own_zone_n);
    put_n(b, pool, "picks_other_zone", info.picks_other_zone_n);
    put_n(b, pool, "nobody", info.nobody_n);
    put_n(b, pool, "ejections", info.ejections_n);
    put_n(b, pool, "queued", info.queued_n);
    put_n(b, pool, "queue_size", info.queue_size_n);
    put_n(b, pool, "places", info.places_n);
    put_n(b, pool, "in_flight_max", info.in_flight_max_n);
    put_n(b, pool, "per_endpoint_max", info.per_endpoint_max_n);
    put_n(b, pool, "queued_bytes", info.queued_bytes);
    put_n(b, pool, "queue_bytes_max", info.queue_bytes_max);
    put_n(b, pool, "connections", info.connections_n);
    put_n(b, pool, "connections_max", info.connections_max_n);
    put_n(b, pool, "connections_per_endpoint_max", info.connections_per_endpoint_max_n);
    put_n(b, pool, "retries", info.retries_n);
    put_n(b, pool, "retries_max", info.retries_max_n);
    put_n(b, pool, "endpoints_n", info.endpoints_n);
    json_t *endpoints = put(b, pool, "endpoints", json_array());
    for (size_t j = 0; j < info.endpoints_n && b->endpoints_left_n > 0; j++) {
        (void)append(b, endpoints, endpoint_of(b, i, j));
        b->endpoints_left_n--;
    }
    return pool;
}

static int on_piece(const char *buffer, size_t size, void *arg)
{
    struct sl_text *out = arg;

    sl_text_append(out, (struct sl_slice){buffer, size});
    return out->failed ? -1 : 0;
}

int sl_status_write(struct sl_control *c, struct sl_text *out)
{
    struct builder b = {.control = c, .endpoints_left_n = SL_STATUS_ENDPOINTS_MAX_N};
    struct sl_process_info info;
    json_t *root = made(&b, json_object());
    int rc = SL_ENOMEM;

    c->process(c, &info);
    put_process(&b, root, &info);
    put_drain(&b, root);
    json_t *listeners = put(&b, root, "listeners", json_array());
    for (size_t i = 0; i < info.listeners_n; i++) {
        (void)append(&b, listeners, listener_of(&b, i));
    }
    json_t *pools = put(&b, root, "pools", json_array());
    for (size_t i = 0; i < info.pools_n; i++) {
        (void)append(&b, pools, pool_of(&b, i));
    }
    if (!b.failed) {
        rc = json_dump_callback(root, on_piece, out, JSON_COMPACT | JSON_REAL_PRECISION(6)) == 0
                 ? SL_OK
                 : SL_ELIMIT;
        sl_text_append_str(out, "\n");
    }
    json_decref(root);
    return rc == SL_OK && out->failed ? SL_ELIMIT : rc;
}
