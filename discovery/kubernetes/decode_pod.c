/* SPDX-License-Identifier: Apache-2.0 */
/*
 * decode_pod: Pods, and what is written on them for us.
 */
#include <sluiced/err.h>

#include "decode.h"

#include "proxy/base/num.h"

#include <arpa/inet.h>
#include <string.h>

#define WEIGHT "sluiced.io/weight"
#define DRAIN "sluiced.io/drain"

enum {
    HOSTS_MAX_N = 2
}; /* the API: at most one of each family */

/* An annotation stands above a label: it is what an operator adds by hand to a running pod. */
static const json_t *find_mark(const json_t *metadata, const char *key)
{
    const json_t *value = json_object_get(json_object_get(metadata, "annotations"), key);
    return value != NULL ? value : json_object_get(json_object_get(metadata, "labels"), key);
}

int sl_kube_decode_labels(struct sl_kube_object *o, const json_t *object)
{
    const json_t *metadata = json_object_get(object, "metadata");
    const json_t *labels = json_object_get(metadata, "labels");
    const json_t *weight = find_mark(metadata, WEIGHT);
    const json_t *version = json_object_get(labels, "version");
    struct sl_kube_labels *l = &o->labels;
    uint64_t number;

    if (json_is_string(weight)) {
        const struct sl_slice text = {json_string_value(weight), json_string_length(weight)};
        l->has_bad_weight = sl_num_parse_below(text, UINT16_MAX, &number) != SL_OK;
        l->weight = l->has_bad_weight ? 1 : (uint16_t)number;
    }
    if (version == NULL) {
        version = json_object_get(labels, "app.kubernetes.io/version");
    }
    l->drains = sl_kube_is_text(find_mark(metadata, DRAIN), "true");
    l->version = sl_kube_text(&o->arena, version, SL_KUBE_LABEL_LEN);
    l->model = sl_kube_text(&o->arena, json_object_get(labels, "model"), SL_KUBE_LABEL_LEN);
    return l->version != NULL && l->model != NULL ? SL_OK : SL_ENOMEM;
}

static bool is_ready(const json_t *status)
{
    const json_t *conditions = json_object_get(status, "conditions");

    for (size_t i = 0; i < json_array_size(conditions); i++) {
        const json_t *c = json_array_get(conditions, i);
        if (sl_kube_is_text(json_object_get(c, "type"), "Ready")) {
            return sl_kube_is_text(json_object_get(c, "status"), "True");
        }
    }
    return false;
}

static int append_host(struct sl_kube_object *o, const json_t *value, bool drains)
{
    unsigned char raw[sizeof(struct in6_addr)];
    char text[INET6_ADDRSTRLEN];
    const char *host = json_string_value(value);
    bool is_ipv6 = host != NULL && strchr(host, ':') != NULL;
    int family = is_ipv6 ? AF_INET6 : AF_INET;

    if (host == NULL || o->endpoints_n == HOSTS_MAX_N || inet_pton(family, host, raw) != 1 ||
        inet_ntop(family, raw, text, sizeof(text)) == NULL)
    {
        return SL_OK;
    }
    for (size_t i = 0; i < o->endpoints_n; i++) {
        if (o->endpoints[i].is_ipv6 == is_ipv6) {
            return SL_OK; /* podIPs begins with podIP */
        }
    }
    struct sl_kube_endpoint *e = &o->endpoints[o->endpoints_n];
    *e = (struct sl_kube_endpoint){
        .host = sl_arena_strdup(&o->arena, sl_slice_of(text)),
        .pod_key = o->key,
        .pod_uid = o->uid,
        .zone = "",
        .hints = "",
        .ports_n = (uint32_t)o->ports_n,
        .is_ipv6 = is_ipv6,
        .draining = drains,
    };
    o->endpoints_n += e->host != NULL;
    return e->host != NULL ? SL_OK : SL_ENOMEM;
}

/* Init containers that restart always are sidecars and may serve; others are gone by now. */
static bool has_ports(const json_t *container, bool is_init)
{
    return !is_init || sl_kube_is_text(json_object_get(container, "restartPolicy"), "Always");
}

static int append_all_ports(struct sl_kube_object *o, const json_t *spec)
{
    static const char *const lists[] = {"containers", "initContainers"};
    size_t ports_n = 0;
    int rc = SL_OK;

    for (size_t l = 0; l < SL_ARRAY_LEN(lists); l++) {
        const json_t *list = json_object_get(spec, lists[l]);
        for (size_t i = 0; i < json_array_size(list); i++) {
            ports_n += json_array_size(json_object_get(json_array_get(list, i), "ports"));
        }
    }
    o->ports = sl_arena_alloc_array(&o->arena, ports_n > 0 ? ports_n : 1, sizeof(o->ports[0]));
    if (o->ports == NULL) {
        return SL_ENOMEM;
    }
    for (size_t l = 0; l < SL_ARRAY_LEN(lists); l++) {
        const json_t *list = json_object_get(spec, lists[l]);
        for (size_t i = 0; rc == SL_OK && i < json_array_size(list); i++) {
            const json_t *container = json_array_get(list, i);
            if (has_ports(container, l == 1)) {
                rc = sl_kube_append_ports(o, json_object_get(container, "ports"), "containerPort");
            }
        }
    }
    return rc;
}

int sl_kube_decode_pod(struct sl_kube_object *o, const json_t *object)
{
    const json_t *status = json_object_get(object, "status");
    const json_t *ips = json_object_get(status, "podIPs");
    bool drains = sl_kube_metadata(object, "deletionTimestamp") != NULL;
    int rc = sl_kube_decode_labels(o, object);

    rc = rc == SL_OK ? append_all_ports(o, json_object_get(object, "spec")) : rc;
    if (rc != SL_OK || !is_ready(status)) {
        return rc;
    }
    o->endpoints = sl_arena_alloc_array(&o->arena, HOSTS_MAX_N, sizeof(o->endpoints[0]));
    if (o->endpoints == NULL) {
        return SL_ENOMEM;
    }
    rc = append_host(o, json_object_get(status, "podIP"), drains);
    for (size_t i = 0; rc == SL_OK && i < json_array_size(ips); i++) {
        rc = append_host(o, json_object_get(json_array_get(ips, i), "ip"), drains);
    }
    return rc;
}
