/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kubernetes: endpoints of a service, of labelled EndpointSlices, of pods, or of an InferencePool.
 *
 * For each namespace one watch brings the objects that have the endpoints, a second one, where the
 * config asks for it, the pods that they are narrowed to or take their labels from.
 */
#include "kubernetes.h"

#include <sluiced/log.h>

#include "discovery/discovery.h"
#include "discovery/sources.h"
#include "proxy/base/alloc.h"
#include "proxy/base/hash.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void on_change(struct sl_watch_sub *sub)
{
    struct sl_kubernetes *k = sub->arg;

    sl_kubernetes_schedule(k, sub->changed_us);
}

static void on_zone(struct sl_zone_sub *sub)
{
    struct sl_kubernetes *k = sub->arg;
    sl_kubernetes_schedule(k, sl_loop_now_us(k->loop));
}

/* ---- Watches */

static void leave_main(struct sl_kubernetes *k)
{
    for (size_t i = 0; i < k->parts_n; i++) {
        sl_watch_leave(&k->parts[i].main);
    }
}

static int join_main(struct sl_kubernetes *k)
{
    int rc = SL_OK;

    for (size_t i = 0; rc == SL_OK && i < k->parts_n; i++) {
        struct sl_resource r;
        sl_resource_main(&r, sl_kubernetes_conf(k), k->parts[i].namespace_, k->is_legacy);
        rc = sl_watch_join(k->watches, k->access, &r.what, &k->parts[i].main);
    }
    if (rc != SL_OK) {
        leave_main(k);
    }
    return rc;
}

static int join_pods(struct sl_kubernetes *k)
{
    int rc = SL_OK;

    for (size_t i = 0; sl_kubernetes_has_pods_beside(k) && rc == SL_OK && i < k->parts_n; i++) {
        struct sl_resource r;
        sl_resource_pods(&r, sl_kubernetes_conf(k), k->parts[i].namespace_);
        rc = sl_watch_join(k->watches, k->access, &r.what, &k->parts[i].pods);
    }
    return rc;
}

static void log_legacy(const struct sl_kubernetes *k, const char *reason)
{
    sl_log(SL_LOG_WARN, "discovery_legacy", {"pool", SL_LOG_STR(k->pool->name)},
           {"reason", SL_LOG_STR(reason)});
}

static void on_change_api(struct sl_timer *t)
{
    struct sl_kubernetes *k = sl_container_of(t, struct sl_kubernetes, change_api);

    leave_main(k);
    if (k->missing_n > 0) { /* else it is the second try */
        k->is_legacy = !k->is_legacy;
        k->missing_n = 0;
    }
    if (join_main(k) != SL_OK) {
        sl_timer_start(&k->change_api, SL_KUBERNETES_RETRY_MS, 0);
        return;
    }
    log_legacy(k, k->is_legacy
                      ? "the server has no EndpointSlices of discovery.k8s.io/v1: Endpoints "
                        "are used, without draining and zones"
                      : "the server has no Endpoints either: EndpointSlices are tried again");
}

static bool knows_api(const struct sl_kubernetes *k)
{
    for (size_t i = 0; i < k->parts_n; i++) {
        if (sl_watch_synced(&k->parts[i].main)) {
            return true;
        }
    }
    return false;
}

/* The server answers a list of a group that it does not have so; a namespace that is not there has
 * an empty list. Not once: what stands before a server that starts says 404 too. */
static void on_refused(struct sl_watch_sub *sub, uint16_t status)
{
    struct sl_kubernetes *k = sub->arg;
    bool missing = status == 404 || (status == 403 && k->is_legacy); /* few may read both */

    if (knows_api(k)) {
        return;
    }
    k->missing_n = missing ? k->missing_n + 1 : 0;
    if (k->missing_n >= SL_KUBERNETES_MISSING_N) {
        sl_timer_start(&k->change_api, 0, 0); /* not here: it leaves the watch that speaks */
    }
}

/* ---- Start and stop */

/* A label of DNS (RFC 1123), as names of namespaces are: it becomes part of a path. */
static bool is_namespace(const char *text)
{
    size_t len = strlen(text);
    return len >= 1 && len <= 63 && strspn(text, "abcdefghijklmnopqrstuvwxyz0123456789-") == len;
}

static int check_namespace(const struct sl_kubernetes *k, const char *ns, struct sl_error *err)
{
    bool is_all =
        ns != NULL && strcmp(ns, "*") == 0 && sl_kubernetes_conf(k)->inference_pool == NULL;

    if (ns != NULL && (is_all || is_namespace(ns))) {
        return SL_OK;
    }
    return sl_error_set(err, SL_ECONFIG, &k->pool->pos,
                        "expected the name of a namespace, found \"%.64s\"; set "
                        "discover.kubernetes.namespace",
                        ns != NULL ? ns : "");
}

static void init_sub(struct sl_kubernetes *k, struct sl_watch_sub *sub)
{
    sub->pool = k->pool->name;
    sub->arg = k;
    sub->on_change = on_change;
}

static int make_parts(struct sl_kubernetes *k, struct sl_error *err)
{
    const struct sl_strings *named = &sl_kubernetes_conf(k)->namespaces;
    size_t n = named->n > 0 ? named->n : 1;
    int rc = SL_OK;

    k->parts = sl_alloc_array(n, sizeof(k->parts[0]));
    k->merge_parts = sl_alloc_array(n, sizeof(k->merge_parts[0]));
    if (k->parts == NULL || k->merge_parts == NULL) {
        return sl_error_set(err, SL_ENOMEM, NULL, "no memory to discover %.128s", k->pool->name);
    }
    for (size_t i = 0; rc == SL_OK && i < n; i++) {
        struct sl_kubernetes_part *part = &k->parts[i];
        part->namespace_ = named->n > 0 ? named->items[i] : k->access->access->namespace_;
        init_sub(k, &part->main);
        init_sub(k, &part->pods);
        if (sl_kube_uses_slices(sl_kubernetes_conf(k)) &&
            sl_kubernetes_conf(k)->api == SL_KUBE_API_AUTO)
        {
            part->main.on_refused = on_refused;
        }
        rc = check_namespace(k, part->namespace_, err);
    }
    if (rc == SL_OK) {
        k->parts_n = n;
        sl_resource_pods_path(k->parts[0].namespace_, k->pods_path);
    }
    return rc;
}

static const char no_node[] =
    "zone: auto needs the name of the node in the environment variable NODE_NAME";

/* The environment stays as it is: said once, whatever number of pools. */
static void lack_node(struct sl_kubernetes *k)
{
    k->lacks_node = true;
    if (!k->watches->said_no_node) {
        k->watches->said_no_node = true;
        sl_log(SL_LOG_WARN, "discovery_zone_unknown", {"error", SL_LOG_STR(no_node)});
    }
}

/* The zone that is named, or that of a node. */
static int join_zone(struct sl_kubernetes *k, const struct sl_config *config)
{
    const char *zone = config->kubernetes.zone;
    const char *node = config->kubernetes.node;
    bool is_auto = zone != NULL && strcmp(zone, "auto") == 0;

    k->zone = is_auto ? NULL : zone;
    if (is_auto) {
        /* Nobody in this process sets the environment.
         * NOLINTNEXTLINE(concurrency-mt-unsafe) */
        node = getenv("NODE_NAME");
        if (node == NULL || !sl_resource_is_name(node)) {
            lack_node(k);
            return SL_OK;
        }
    }
    k->zone_sub.arg = k;
    k->zone_sub.on_change = on_zone;
    return node != NULL ? sl_zone_join(k->watches, k->access, node, &k->zone_sub) : SL_OK;
}

static void let_go(struct sl_kubernetes *k)
{
    for (size_t i = 0; i < k->parts_n; i++) {
        sl_watch_leave(&k->parts[i].main);
        sl_watch_leave(&k->parts[i].pods);
    }
    sl_inference_fini(&k->inference);
    sl_zone_leave(&k->zone_sub);
    sl_kubernetes_apply_fini(k);
    sl_timer_stop(&k->change_api);
    sl_watches_access_unref(&k->access);
    sl_free(k->parts);
    sl_free(k->merge_parts);
    sl_free(k);
}

static int join_all(struct sl_kubernetes *k, const struct sl_config *config, struct sl_error *err)
{
    int rc = sl_watches_access_get(k->watches, config, &k->access, err);

    if (rc == SL_OK) {
        rc = make_parts(k, err);
    }
    if (rc != SL_OK) {
        return rc;
    }
    const struct sl_watch_sub sub = {
        .pool = k->pool->name,
        .arg = k,
        .on_change = on_change,
    };
    sl_inference_init(&k->inference, k->watches, k->access, k->pods_path, &sub);
    rc = join_main(k);
    rc = rc == SL_OK ? join_pods(k) : rc;
    rc = rc == SL_OK ? join_zone(k, config) : rc;
    return rc == SL_OK ? SL_OK
                       : sl_error_set(err, rc, NULL, "no memory to discover %.128s", k->pool->name);
}

static int start(const struct sl_pool_config *pool, const struct sl_config *config,
                 struct sl_discovery *d, struct sl_sink *sink, struct sl_source **out,
                 struct sl_error *err)
{
    struct sl_kubernetes *k = sl_alloc(sizeof(*k));

    if (k == NULL) {
        return sl_error_set(err, SL_ENOMEM, NULL, "no memory to discover %.128s", pool->name);
    }
    k->base.ops = &sl_kubernetes_source_ops;
    k->pool = pool;
    k->loop = d->loop;
    k->watches = &d->watches;
    k->sink = sink;
    k->is_legacy = sl_kubernetes_conf(k)->api == SL_KUBE_API_ENDPOINTS;
    sl_kubernetes_apply_init(k);
    sl_timer_init(&k->change_api, k->loop, on_change_api);
    int rc = join_all(k, config, err);
    if (rc != SL_OK) {
        let_go(k);
        return rc;
    }
    if (k->is_legacy && sl_kube_uses_slices(sl_kubernetes_conf(k))) {
        log_legacy(k,
                   "Kubernetes calls Endpoints deprecated from 1.33 on, and they know no draining "
                   "and no zones; remove api: endpoints");
    }
    *out = &k->base;
    return SL_OK;
}

static void stop(struct sl_source *source)
{
    SL_ASSERT(source->ops == &sl_kubernetes_source_ops, "source %p", (void *)source);
    let_go(sl_container_of(source, struct sl_kubernetes, base));
}

static uint64_t identity(const struct sl_source *source)
{
    const struct sl_kubernetes *k = sl_container_of_const(source, struct sl_kubernetes, base);
    uint64_t h = sl_hash(sl_slice_of(k->access->access->server), 0);

    for (size_t i = 0; i < k->parts_n; i++) {
        const char *ns = k->parts[i].namespace_;
        h = sl_hash(sl_slice_of(ns != NULL ? ns : ""), h);
    }
    return h;
}

/* ---- Status */

static uint64_t later(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

/* Of all watches together: as fresh as the stalest, as busy as all. */
static void add_status(struct sl_source_status *sum, const struct sl_watch_sub *sub)
{
    if (sub->lw == NULL) {
        return;
    }
    struct sl_source_status one;
    bool is_first = sum->watches_n == 0;

    sl_watch_status(sub, &one);
    sum->watches_n++;
    sum->state = one.state > sum->state ? one.state : sum->state;
    sum->connected = (is_first || sum->connected) && one.connected;
    if (is_first || one.fresh_at_ms < sum->fresh_at_ms) {
        sum->fresh_at_ms = one.fresh_at_ms;
    }
    sum->event_at_ms = later(sum->event_at_ms, one.event_at_ms);
    sum->bookmark_at_ms = later(sum->bookmark_at_ms, one.bookmark_at_ms);
    sum->events_n += one.events_n;
    for (size_t i = 0; i < SL_RELIST_CAUSES_N; i++) {
        sum->relists_n[i] += one.relists_n[i];
    }
    sum->reconnects_n += one.reconnects_n;
    sum->comparisons_n += one.comparisons_n;
    sum->drift_n += one.drift_n;
    sum->errors_n += one.errors_n;
    if (sum->last_error[0] == '\0') {
        memcpy(sum->last_error, one.last_error, sizeof(sum->last_error));
    }
}

static void status(const struct sl_source *source, struct sl_source_status *out)
{
    SL_ASSERT(source->ops == &sl_kubernetes_source_ops, "source %p", (const void *)source);
    const struct sl_kubernetes *k = sl_container_of_const(source, struct sl_kubernetes, base);
    const char *const odd[] = {k->note, k->lacks_node ? no_node : sl_zone_error(&k->zone_sub)};

    *out = (struct sl_source_status){.synced = k->pushed};
    for (size_t i = 0; i < k->parts_n; i++) {
        add_status(out, &k->parts[i].main);
        add_status(out, &k->parts[i].pods);
    }
    for (size_t i = 0; i < SL_ARRAY_LEN(k->inference.sides); i++) {
        if (i == k->inference.used || !sl_watch_synced(&k->inference.sides[k->inference.used].sub))
        {
            add_status(out, &k->inference.sides[i].sub); /* the other is not in use yet */
        }
    }
    for (size_t i = 0; i < SL_ARRAY_LEN(odd) && out->last_error[0] == '\0'; i++) {
        (void)snprintf(out->last_error, sizeof(out->last_error), "%s", odd[i]); /* fits */
    }
}

static void doubt(struct sl_source *source)
{
    SL_ASSERT(source->ops == &sl_kubernetes_source_ops, "source %p", (void *)source);
    struct sl_kubernetes *k = sl_container_of(source, struct sl_kubernetes, base);

    for (size_t i = 0; i < k->parts_n; i++) {
        sl_watch_doubt(&k->parts[i].main);
        sl_watch_doubt(&k->parts[i].pods);
    }
    for (size_t i = 0; i < SL_ARRAY_LEN(k->inference.sides); i++) {
        sl_watch_doubt(&k->inference.sides[i].sub);
    }
}

const struct sl_source_ops sl_kubernetes_source_ops = {
    .name = "kubernetes",
    .start = start,
    .stop = stop,
    .status = status,
    .identity = identity,
    .doubt = doubt,
};
