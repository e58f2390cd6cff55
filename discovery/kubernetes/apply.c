/* SPDX-License-Identifier: Apache-2.0 */
/*
 * apply: what the watches of a source brought, made into a set. The whole of it, whenever one of
 * them changed: at once when it was quiet, else after a gap that a set of that size is worth.
 */
#include <sluiced/log.h>
#include <sluiced/time.h>

#include "kubernetes.h"

#include "proxy/base/alloc.h"

#include <stdio.h>
#include <string.h>

/* Of all parts. */
static size_t objects_n(const struct sl_kubernetes *k)
{
    size_t n = 0;

    for (size_t i = 0; i < k->parts_n; i++) {
        const struct sl_store *objects = sl_watch_objects(&k->parts[i].main);
        n += objects != NULL ? objects->n : 0;
    }
    return n;
}

static bool is_known(const struct sl_kubernetes *k)
{
    for (size_t i = 0; i < k->parts_n; i++) {
        if (!sl_watch_synced(&k->parts[i].main) ||
            (sl_kubernetes_has_pods_beside(k) && !sl_watch_synced(&k->parts[i].pods)))
        {
            return false; /* half of the truth is none */
        }
    }
    return true;
}

/* ---- What is odd about it */

/* Says it once, as long as it stays the same. text "": nothing is wrong. */
static void note(struct sl_kubernetes *k, const char *text)
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
    struct sl_kubernetes *k = sl_container_of(lw, struct sl_kubernetes, hint);
    char text[160];

    if (lw->replica.store.n > 0 && objects_n(k) == 0) {
        (void)snprintf(text, sizeof(text),
                       "no EndpointSlice matches slices: \"%.48s\", but pods do: slices carry "
                       "their Service's labels; write pods: instead",
                       sl_kubernetes_conf(k)->slices); /* cut on purpose */
        note(k, text);
    }
}

/* The first list of a slices: selector found none: a label of the pods was meant, maybe. */
static void ask_for_hint(struct sl_kubernetes *k)
{
    const struct sl_list_watch_conf conf = {
        .pool = k->pool->name,
        .path = k->pods_path,
        .resource = "pods",
        .selector = sl_kubernetes_conf(k)->slices,
        .kind = SL_KUBE_POD_NAME,
        .once = true,
        .no_stream_until_ms = &k->access->no_stream_until_ms,
    };

    if (sl_kubernetes_conf(k)->slices == NULL || k->has_hint || objects_n(k) > 0) {
        return;
    }
    k->has_hint = true;
    k->hint.on_change = on_hint;
    sl_list_watch_start(&k->hint, &conf, &sl_list_watch_times, k->access->access, k->loop,
                        k->watches->fetcher);
}

static void describe_refused(const struct sl_kubernetes *k, const struct sl_merge_notes *notes,
                             char *text, size_t size_bytes)
{
    const char *pool = sl_kubernetes_conf(k)->inference_pool;

    (void)snprintf(text, size_bytes, "%.64s: its appProtocol %s",
                   pool != NULL ? pool : notes->refused,
                   notes->refused_protocol == SL_KUBE_HTTPS
                       ? "is https; set tls: for the pool"
                       : "means HTTP/2, which we do not speak to endpoints"); /* fits */
}

/* The gravest of them. */
static void note_merge(struct sl_kubernetes *k, const struct sl_merge_notes *notes)
{
    const char *port_name = sl_kubernetes_conf(k)->port_name;
    char text[160] = "";

    if (notes->fqdn != NULL && !k->warned_fqdn) {
        k->warned_fqdn = true;
        sl_log(SL_LOG_WARN, "discovery_fqdn_skipped", {"pool", SL_LOG_STR(k->pool->name)},
               {"slice", SL_LOG_STR(notes->fqdn)});
    }
    if (notes->refused != NULL) {
        describe_refused(k, notes, text, sizeof(text));
    } else if (notes->portless != NULL) {
        (void)snprintf(
            text, sizeof(text), "%.64s has %zu TCP ports and %s%.40s; set port:", notes->portless,
            notes->portless_ports_n, port_name != NULL ? "none named " : "none was chosen",
            port_name != NULL ? port_name : ""); /* cut on purpose */
    } else if (notes->bad_weight != NULL) {
        (void)snprintf(text, sizeof(text),
                       "pod %.100s: sluiced.io/weight is no number from 0 to 65535",
                       notes->bad_weight); /* cut on purpose */
    } else if (k->has_hint && objects_n(k) == 0) {
        return; /* a hint stands until there are slices */
    }
    note(k, text);
}

/* ---- Applying */

static void retry_later(struct sl_kubernetes *k)
{
    note(k, "no memory for the set of endpoints");
    sl_timer_start(&k->apply_later, SL_KUBERNETES_RETRY_MS, 0); /* it is not lost, only late */
}

static void push(struct sl_kubernetes *k)
{
    const struct sl_snapshot snapshot = {
        .items = k->last,
        .n = k->last_n,
        .received_us = k->changed_us,
        .own_zone = sl_zone_name(&k->zone_sub), /* once it is known it stays */
    };

    k->pushed = true;
    k->zone_pushed = snapshot.own_zone != NULL;
    k->sink->on_snapshot(k->sink, &snapshot);
}

/* Endpoints of an InferencePool: its pods by its ports. SL_AGAIN: they are not known yet. */
static int use_inference_pool(struct sl_kubernetes *k, struct sl_merge_input *in, const char **odd)
{
    static const struct sl_kube_port no_port = {.name = ""};
    const struct sl_store *pools = sl_watch_objects(&k->parts[0].main);
    const struct sl_kube_object *pool = pools->n > 0 ? pools->items[0] : NULL;
    const char *selector = pool != NULL ? pool->selector : NULL;
    int rc = sl_inference_follow(&k->inference, selector, &k->merge_parts[0].objects);

    if (rc != SL_OK) {
        return rc;
    }
    if (pool == NULL) {
        *odd = "does not exist";
    } else if (selector == NULL) {
        *odd = "has no selector of valid labels";
    } else if (pool->ports_n == 0) {
        *odd = "has no valid targetPorts";
    }
    if (selector == NULL) {
        in->parts_n = 0;
        return SL_OK;
    }
    in->ports = pool->ports_n > 0 ? pool->ports : &no_port;
    in->ports_n = pool->ports_n;
    return k->merge_parts[0].objects != NULL ? SL_OK : SL_AGAIN;
}

static int choose_input(struct sl_kubernetes *k, struct sl_merge_input *in, const char **odd)
{
    const struct sl_kubernetes_config *c = sl_kubernetes_conf(k);

    *in = (struct sl_merge_input){
        .parts = k->merge_parts,
        .parts_n = k->parts_n,
        .keeps_all = c->pods != NULL && c->pods[0] == '\0',
        .port_name = c->port_name,
        .port = c->port,
        .family = c->family,
        .has_tls = k->pool->tls != NULL,
        .zone = k->zone != NULL ? k->zone : sl_zone_name(&k->zone_sub),
    };
    if (k->pool->prefer_zone != NULL) {
        in->zone = NULL; /* the pool wants to know the others, too */
    }
    if (c->inference_pool != NULL) {
        return use_inference_pool(k, in, odd);
    }
    for (size_t i = 0; i < k->parts_n; i++) {
        const struct sl_kubernetes_part *part = &k->parts[i];
        k->merge_parts[i].objects = sl_watch_objects(&part->main);
        k->merge_parts[i].pods = sl_watch_objects(&part->pods);
    }
    return SL_OK;
}

static void take_set(struct sl_kubernetes *k, const struct sl_merge_input *in, const char *odd)
{
    struct sl_merge_notes notes;
    struct sl_found *found;
    char text[160];
    size_t found_n;
    bool same;

    if (sl_merge(in, k->pushed ? k->last : NULL, k->last_n, &found, &found_n, &same, &notes) !=
        SL_OK)
    {
        retry_later(k);
        return;
    }
    if (odd != NULL) {
        (void)snprintf(text, sizeof(text), "InferencePool %.64s %s",
                       sl_kubernetes_conf(k)->inference_pool, odd); /* fits */
        note(k, text);
    } else {
        note_merge(k, &notes);
    }
    if (!same) { /* else it was a label, a heartbeat: nothing that we look at */
        sl_free(k->last);
        k->last = found;
        k->last_n = found_n;
    }
    if (!same || (!k->zone_pushed && sl_zone_name(&k->zone_sub) != NULL)) {
        push(k);
    }
    k->changed_us = 0;
}

static void apply(struct sl_kubernetes *k)
{
    struct sl_merge_input in;
    const char *odd = NULL;
    uint64_t began_us = sl_time_now_us();

    k->applied_at_ms = sl_loop_now_ms(k->loop);
    int rc = is_known(k) ? choose_input(k, &in, &odd) : SL_AGAIN;
    if (rc == SL_OK) {
        take_set(k, &in, odd);
    } else if (rc == SL_AGAIN) {
        k->changed_us = 0; /* what is missing tells when it is there */
    } else {
        retry_later(k);
    }
    k->gap_ms = sl_merge_gap_ms(sl_time_now_us() - began_us);
}

static void on_apply_now(struct sl_task *t)
{
    apply(sl_container_of(t, struct sl_kubernetes, apply_now));
}

static void on_apply_later(struct sl_timer *t)
{
    apply(sl_container_of(t, struct sl_kubernetes, apply_later));
}

void sl_kubernetes_schedule(struct sl_kubernetes *k, uint64_t changed_us)
{
    if (!is_known(k)) {
        return;
    }
    ask_for_hint(k);
    if (k->changed_us != 0) {
        return; /* it will be applied with what is waiting */
    }
    k->changed_us = changed_us;
    uint64_t delay_ms =
        k->pushed ? sl_merge_delay_ms(k->applied_at_ms, k->gap_ms, sl_loop_now_ms(k->loop)) : 0;
    if (delay_ms == 0) {
        sl_task_post(k->loop, &k->apply_now); /* after all events of this turn */
    } else {
        sl_timer_start(&k->apply_later, delay_ms, 0);
    }
}

void sl_kubernetes_apply_init(struct sl_kubernetes *k)
{
    sl_task_init(&k->apply_now, on_apply_now);
    sl_timer_init(&k->apply_later, k->loop, on_apply_later);
}

void sl_kubernetes_apply_fini(struct sl_kubernetes *k)
{
    if (k->has_hint) {
        sl_list_watch_stop(&k->hint);
    }
    sl_task_cancel(&k->apply_now);
    sl_timer_stop(&k->apply_later);
    sl_free(k->last);
}
