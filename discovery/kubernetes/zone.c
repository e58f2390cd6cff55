/* SPDX-License-Identifier: Apache-2.0 */
#include "zone.h"

#include <sluiced/log.h>
#include <sluiced/time.h>

#include "request.h"

#include "proxy/base/alloc.h"
#include "proxy/base/rng.h"
#include "proxy/base/text.h"

#include <stdio.h>
#include <string.h>

#define ZONE_LABEL "topology.kubernetes.io/zone"
#define ANSWER_MAX_BYTES (1U << 20) /* a server without PartialObjectMetadata sends all images */
#define RETRY_MIN_MS 1000
#define RETRY_MAX_MS 300000

struct sl_zone {
    struct sl_list link;
    struct sl_list subs;
    struct sl_watches *watches;
    const struct sl_watches_access *access;
    char *path; /* "/api/v1/nodes/NAME" */
    struct sl_fetch *fetch;
    struct sl_timer retry;
    struct sl_rng rng;
    struct sl_text body;
    uint64_t retry_ms;
    char name[64]; /* "": not known */
    char error[160];
};

static const char *node_of(const struct sl_zone *z)
{
    return strrchr(z->path, '/') + 1;
}

static void fail(struct sl_zone *z, const char *error)
{
    char text[sizeof(z->error)];

    (void)snprintf(text, sizeof(text), "node %.64s: %s", node_of(z), error); /* cut on purpose */
    sl_log(strcmp(text, z->error) != 0 ? SL_LOG_WARN : SL_LOG_DEBUG, "discovery_zone_unknown",
           {"error", SL_LOG_STR(text)}, {"retry_ms", SL_LOG_UINT(z->retry_ms)});
    memcpy(z->error, text, sizeof(text));
    sl_timer_start(&z->retry, z->retry_ms + sl_rng_below(&z->rng, z->retry_ms / 5 + 1), 0);
    z->retry_ms = z->retry_ms < RETRY_MAX_MS / 2 ? z->retry_ms * 2 : RETRY_MAX_MS;
}

static void take(struct sl_zone *z, const json_t *node)
{
    const json_t *labels = json_object_get(json_object_get(node, "metadata"), "labels");
    const json_t *label = json_object_get(labels, ZONE_LABEL);
    size_t len = json_string_length(label);

    if (len == 0 || len >= sizeof(z->name) || strlen(json_string_value(label)) != len) {
        fail(z, "it has no label " ZONE_LABEL);
        return;
    }
    memcpy(z->name, json_string_value(label), len + 1);
    z->error[0] = '\0';
    sl_log(SL_LOG_INFO, "discovery_zone", {"node", SL_LOG_STR(node_of(z))},
           {"zone", SL_LOG_STR(z->name)});
    for (struct sl_list *l = z->subs.next; l != &z->subs; l = l->next) {
        struct sl_zone_sub *sub = sl_container_of(l, struct sl_zone_sub, link);
        sub->on_change(sub);
    }
}

static void on_data(void *arg, uint16_t status, struct sl_slice data)
{
    struct sl_zone *z = arg;

    (void)status;
    sl_text_append(&z->body, data); /* too much of it, and it is no JSON */
}

static void on_done(void *arg, const struct sl_fetch_result *result)
{
    struct sl_zone *z = arg;
    struct sl_slice text = sl_text_slice(&z->body);
    char error[128];

    z->fetch = NULL;
    json_t *json = text.len > 0 ? json_loadb(text.ptr, text.len, JSON_ALLOW_NUL, NULL) : NULL;
    if (result->code != SL_OK) {
        fail(z, result->error);
    } else if (result->status == 200) {
        take(z, json);
    } else {
        const char *message = json_string_value(json_object_get(json, "message"));
        (void)snprintf(error, sizeof(error), "status %u: %s", result->status,
                       message != NULL ? message : "no message"); /* cut on purpose */
        fail(z, error);
    }
    json_decref(json);
    sl_text_fini(&z->body);
}

static void ask(struct sl_zone *z)
{
    static const struct sl_fetch_ops ops = {.on_data = on_data, .on_done = on_done};
    const struct sl_kube_request r = {
        .access = z->access->access,
        .path = z->path,
        .is_object = true,
        .metadata_only = true,
        .connect_ms = sl_list_watch_times.connect_ms,
        .total_ms = sl_list_watch_times.list_total_ms,
        .idle_ms = sl_list_watch_times.list_idle_ms,
    };
    struct sl_error err;

    sl_text_init(&z->body, ANSWER_MAX_BYTES);
    if (sl_kube_request_start(&r, z->watches->fetcher, &ops, z, &z->fetch, &err) != SL_OK) {
        fail(z, err.message);
    }
}

static void on_retry(struct sl_timer *t)
{
    ask(sl_container_of(t, struct sl_zone, retry));
}

static struct sl_zone *find(const struct sl_watches *w, const struct sl_watches_access *access,
                            const char *path)
{
    for (struct sl_list *l = w->zones.next; l != &w->zones; l = l->next) {
        struct sl_zone *z = sl_container_of(l, struct sl_zone, link);
        if (z->access == access && strcmp(z->path, path) == 0) {
            return z;
        }
    }
    return NULL;
}

static struct sl_zone *zone_new(struct sl_watches *w, const struct sl_watches_access *access,
                                const char *path)
{
    struct sl_zone *z = sl_alloc(sizeof(*z));

    if (z == NULL) {
        return NULL;
    }
    z->path = sl_strdup(path);
    if (z->path == NULL) {
        sl_free(z);
        return NULL;
    }
    z->watches = w;
    z->access = access;
    z->retry_ms = RETRY_MIN_MS;
    z->rng.state = sl_time_now_us() ^ (uint64_t)(uintptr_t)z;
    sl_timer_init(&z->retry, w->loop, on_retry);
    sl_list_init(&z->subs);
    sl_list_push_back(&w->zones, &z->link);
    ask(z);
    return z;
}

int sl_zone_join(struct sl_watches *w, const struct sl_watches_access *access, const char *node,
                 struct sl_zone_sub *sub)
{
    char path[SL_KUBE_KEY_BYTES];

    (void)snprintf(path, sizeof(path), "/api/v1/nodes/%s", node); /* fits: 253 bytes */
    struct sl_zone *z = find(w, access, path);
    if (z == NULL) {
        z = zone_new(w, access, path);
    }
    if (z == NULL) {
        return SL_ENOMEM;
    }
    sub->zone = z;
    sl_list_push_back(&z->subs, &sub->link);
    return SL_OK;
}

void sl_zone_leave(struct sl_zone_sub *sub)
{
    struct sl_zone *z = sub->zone;

    if (z == NULL) {
        return;
    }
    sub->zone = NULL;
    sl_list_unlink(&sub->link);
    if (!sl_list_empty(&z->subs)) {
        return;
    }
    if (z->fetch != NULL) {
        sl_fetch_cancel(z->fetch);
    }
    sl_timer_stop(&z->retry);
    sl_text_fini(&z->body);
    sl_list_unlink(&z->link);
    sl_free(z->path);
    sl_free(z);
}

const char *sl_zone_name(const struct sl_zone_sub *sub)
{
    return sub->zone != NULL && sub->zone->name[0] != '\0' ? sub->zone->name : NULL;
}

const char *sl_zone_error(const struct sl_zone_sub *sub)
{
    return sub->zone != NULL ? sub->zone->error : "";
}
