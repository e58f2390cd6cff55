/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kubernetes: endpoints of a service, of labelled EndpointSlices, or of pods.
 *
 * One list and watch brings the objects that have the endpoints, a second one, where the config
 * asks for it, the pods that they are narrowed to. Whenever one of them changes, the whole set is
 * made anew: at once when it was quiet, else after SL_MERGE_QUIET_MS.
 *
 * Lifetime:  a pool's; shares nothing with other pools but the fetcher
 * Thread:    control thread
 */
#include <sluiced/log.h>

#include "auth.h"
#include "list_watch.h"
#include "merge.h"

#include "discovery/discovery.h"
#include "discovery/found.h"
#include "discovery/sources.h"
#include "proxy/base/alloc.h"
#include "proxy/base/text.h"
#include "proxy/io/loop.h"

#include <stdio.h>
#include <string.h>

#define SERVICE_LABEL "kubernetes.io/service-name="
#define PATH_BYTES 384

struct kubernetes {
    struct sl_source base;
    const struct sl_pool_config *pool;
    struct sl_loop *loop;
    struct sl_fetcher *fetcher;
    struct sl_sink *sink;
    struct sl_kube_access *access;
    struct sl_list_watch main; /* slices, or the pods when they are all that is watched */
    struct sl_list_watch filter;
    struct sl_list_watch hint; /* are there pods for a selector that no slice matches? */
    bool has_filter;
    bool has_hint;
    bool warned_fqdn;
    bool pushed;
    char slices_path[PATH_BYTES];
    char pods_path[PATH_BYTES];
    char service_selector[320];
    char note[160]; /* what is wrong with what we were told, "" for nothing */
    struct sl_found *last;
    size_t last_n;
    uint64_t applied_at_ms;
    uint64_t changed_us; /* first change that is not applied; 0: none */
    struct sl_task apply_now;
    struct sl_timer apply_later;
};

static const struct sl_kubernetes_config *conf_of(const struct kubernetes *k)
{
    return &k->pool->discover.kubernetes;
}

static bool uses_slices(const struct kubernetes *k)
{
    return conf_of(k)->service != NULL || conf_of(k)->slices != NULL;
}

/* Says it once, as long as it stays the same. text "": nothing is wrong. */
static void note(struct kubernetes *k, const char *text)
{
    if (strcmp(k->note, text) == 0) {
        return;
    }
    (void)snprintf(k->note, sizeof(k->note), "%s", text); /* cut on purpose */
    if (text[0] != '\0') {
        sl_log(SL_LOG_WARN, "discovery_odd", {"pool", SL_LOG_STR(k->pool->name)},
               {"reason", SL_LOG_STR(k->note)});
    }
}

static void on_hint(struct sl_list_watch *lw)
{
    struct kubernetes *k = sl_container_of(lw, struct kubernetes, hint);
    char text[160];

    if (lw->replica.store.n > 0 && k->main.replica.store.n == 0) {
        (void)snprintf(text, sizeof(text),
                       "no EndpointSlice matches slices: \"%.48s\", but pods do: slices carry "
                       "their Service's labels; write pods: instead",
                       conf_of(k)->slices); /* cut on purpose */
        note(k, text);
    }
}

/* The first list of a slices: selector found none: a label of the pods was meant, maybe. */
static void ask_for_hint(struct kubernetes *k)
{
    const struct sl_list_watch_conf conf = {
        .pool = k->pool->name,
        .path = k->pods_path,
        .resource = "pods",
        .selector = conf_of(k)->slices,
        .kind = SL_KUBE_POD_NAME,
        .once = true,
    };

    if (conf_of(k)->slices == NULL || k->main.replica.store.n > 0 || k->has_hint) {
        return;
    }
    k->has_hint = true;
    k->hint.on_change = on_hint;
    sl_list_watch_start(&k->hint, &conf, &sl_list_watch_times, k->access, k->loop, k->fetcher);
}

static void note_merge(struct kubernetes *k, const struct sl_merge_notes *notes)
{
    char text[160] = "";

    if (notes->fqdn != NULL && !k->warned_fqdn) {
        k->warned_fqdn = true;
        sl_log(SL_LOG_WARN, "discovery_fqdn_skipped", {"pool", SL_LOG_STR(k->pool->name)},
               {"slice", SL_LOG_STR(notes->fqdn)});
    }
    if (notes->portless != NULL) {
        (void)snprintf(
            text, sizeof(text), "%.64s has %zu TCP ports and %s%.40s; set port:", notes->portless,
            notes->portless_ports_n,
            conf_of(k)->port_name != NULL ? "none named " : "none was chosen",
            conf_of(k)->port_name != NULL ? conf_of(k)->port_name : ""); /* cut on purpose */
        note(k, text);
    } else if (k->main.replica.store.n > 0 || !k->has_hint) {
        note(k, ""); /* a hint stands until there are slices */
    }
}

static void push(struct kubernetes *k)
{
    const struct sl_snapshot snapshot = {
        .items = k->last,
        .n = k->last_n,
        .received_us = k->changed_us,
    };

    k->pushed = true;
    k->sink->on_snapshot(k->sink, &snapshot);
}

static void apply(struct kubernetes *k)
{
    const struct sl_merge_input in = {
        .objects = &k->main.replica.store,
        .pods = k->has_filter ? &k->filter.replica.store : NULL,
        .port_name = conf_of(k)->port_name,
        .port = conf_of(k)->port,
    };
    struct sl_merge_notes notes;
    struct sl_found *found;
    size_t found_n;

    k->applied_at_ms = sl_loop_now_ms(k->loop);
    if (sl_merge(&in, &found, &found_n, &notes) != SL_OK) {
        note(k, "no memory for the set of endpoints");
        sl_timer_start(&k->apply_later, 1000, 0); /* the change is not lost, only late */
        return;
    }
    note_merge(k, &notes);
    if (k->pushed && sl_found_equal(found, found_n, k->last, k->last_n)) {
        sl_free(found); /* a label, a heartbeat: nothing that we look at */
    } else {
        sl_free(k->last);
        k->last = found;
        k->last_n = found_n;
        push(k);
    }
    k->changed_us = 0;
}

static void on_apply_now(struct sl_task *t)
{
    apply(sl_container_of(t, struct kubernetes, apply_now));
}

static void on_apply_later(struct sl_timer *t)
{
    apply(sl_container_of(t, struct kubernetes, apply_later));
}

static void on_change(struct kubernetes *k, const struct sl_list_watch *lw)
{
    if (!k->main.status.synced || (k->has_filter && !k->filter.status.synced)) {
        return; /* half of the truth is none */
    }
    if (k->changed_us != 0) {
        return; /* it will be applied with what is waiting */
    }
    k->changed_us = lw->changed_us;
    uint64_t delay_ms =
        k->pushed ? sl_merge_delay_ms(k->applied_at_ms, sl_loop_now_ms(k->loop)) : 0;
    if (delay_ms == 0) {
        sl_task_post(k->loop, &k->apply_now); /* after all events of this turn */
    } else {
        sl_timer_start(&k->apply_later, delay_ms, 0);
    }
}

static void on_main_change(struct sl_list_watch *lw)
{
    struct kubernetes *k = sl_container_of(lw, struct kubernetes, main);

    ask_for_hint(k);
    on_change(k, lw);
}

static void on_filter_change(struct sl_list_watch *lw)
{
    on_change(sl_container_of(lw, struct kubernetes, filter), lw);
}

static void start_watches(struct kubernetes *k)
{
    const struct sl_kubernetes_config *c = conf_of(k);
    const struct sl_list_watch_conf pods = {
        .pool = k->pool->name,
        .path = k->pods_path,
        .resource = "pods",
        .selector = c->pods,
        .kind = uses_slices(k) ? SL_KUBE_POD_NAME : SL_KUBE_POD,
    };
    const struct sl_list_watch_conf slices = {
        .pool = k->pool->name,
        .path = k->slices_path,
        .resource = "endpointslices",
        .selector = c->slices != NULL ? c->slices : k->service_selector,
        .kind = SL_KUBE_SLICE,
    };

    k->has_filter = uses_slices(k) && c->pods != NULL;
    k->main.on_change = on_main_change;
    sl_list_watch_start(&k->main, uses_slices(k) ? &slices : &pods, &sl_list_watch_times, k->access,
                        k->loop, k->fetcher);
    if (k->has_filter) {
        k->filter.on_change = on_filter_change;
        sl_list_watch_start(&k->filter, &pods, &sl_list_watch_times, k->access, k->loop,
                            k->fetcher);
    }
}

/* A label of DNS (RFC 1123), as names of namespaces are: it becomes part of a path. */
static bool is_namespace(const char *text)
{
    size_t len = strlen(text);
    return len >= 1 && len <= 63 && strspn(text, "abcdefghijklmnopqrstuvwxyz0123456789-") == len;
}

static int choose_paths(struct kubernetes *k, struct sl_error *err)
{
    const struct sl_kubernetes_config *c = conf_of(k);
    const char *ns = c->namespace_ != NULL ? c->namespace_ : k->access->namespace_;

    if (ns == NULL || !is_namespace(ns)) {
        return sl_error_set(err, SL_ECONFIG, &k->pool->pos,
                            "expected the name of a namespace, found \"%.64s\"; set "
                            "discover.kubernetes.namespace",
                            ns != NULL ? ns : "");
    }
    /* Both fit: a namespace has at most 63 bytes, a service 253 at the worst. */
    (void)snprintf(k->slices_path, sizeof(k->slices_path),
                   "/apis/discovery.k8s.io/v1/namespaces/%.63s/endpointslices", ns);
    (void)snprintf(k->pods_path, sizeof(k->pods_path), "/api/v1/namespaces/%.63s/pods", ns);
    (void)snprintf(k->service_selector, sizeof(k->service_selector), SERVICE_LABEL "%.253s",
                   c->service != NULL ? c->service : "");
    return SL_OK;
}

static int start(const struct sl_pool_config *pool, const struct sl_config *config,
                 struct sl_discovery *d, struct sl_sink *sink, struct sl_source **out,
                 struct sl_error *err)
{
    struct kubernetes *k = sl_alloc(sizeof(*k));

    if (k == NULL) {
        return sl_error_set(err, SL_ENOMEM, NULL, "no memory to discover %.128s", pool->name);
    }
    k->base.ops = &sl_kubernetes_source_ops;
    k->pool = pool;
    k->loop = d->loop;
    k->fetcher = d->fetcher;
    k->sink = sink;
    sl_task_init(&k->apply_now, on_apply_now);
    sl_timer_init(&k->apply_later, k->loop, on_apply_later);
    int rc = sl_kube_access_load(config, &k->access, err);
    if (rc == SL_OK) {
        rc = choose_paths(k, err);
    }
    if (rc != SL_OK) {
        sl_kube_access_free(k->access);
        sl_free(k);
        return rc;
    }
    start_watches(k);
    *out = &k->base;
    return SL_OK;
}

static void stop(struct sl_source *source)
{
    SL_ASSERT(source->ops == &sl_kubernetes_source_ops, "source %p", (void *)source);
    struct kubernetes *k = sl_container_of(source, struct kubernetes, base);

    sl_list_watch_stop(&k->main);
    if (k->has_filter) {
        sl_list_watch_stop(&k->filter);
    }
    if (k->has_hint) {
        sl_list_watch_stop(&k->hint);
    }
    sl_task_cancel(&k->apply_now);
    sl_timer_stop(&k->apply_later);
    sl_kube_access_free(k->access);
    sl_free(k->last);
    sl_free(k);
}

static void add_status(struct sl_source_status *sum, const struct sl_source_status *one)
{
    sum->connected = sum->connected && one->connected;
    sum->fresh_at_ms = sum->fresh_at_ms < one->fresh_at_ms ? sum->fresh_at_ms : one->fresh_at_ms;
    sum->events_n += one->events_n;
    for (size_t i = 0; i < SL_RELIST_CAUSES_N; i++) {
        sum->relists_n[i] += one->relists_n[i];
    }
    sum->reconnects_n += one->reconnects_n;
    sum->errors_n += one->errors_n;
    if (sum->last_error[0] == '\0') {
        memcpy(sum->last_error, one->last_error, sizeof(sum->last_error));
    }
}

static void status(const struct sl_source *source, struct sl_source_status *out)
{
    SL_ASSERT(source->ops == &sl_kubernetes_source_ops, "source %p", (const void *)source);
    const struct kubernetes *k = sl_container_of_const(source, struct kubernetes, base);

    *out = k->main.status;
    if (k->has_filter) {
        add_status(out, &k->filter.status);
    }
    out->synced = k->pushed;
    if (out->last_error[0] == '\0') {
        memcpy(out->last_error, k->note, sizeof(out->last_error));
    }
}

const struct sl_source_ops sl_kubernetes_source_ops = {
    .name = "kubernetes",
    .start = start,
    .stop = stop,
    .status = status,
};
