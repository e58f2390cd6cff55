/* SPDX-License-Identifier: Apache-2.0 */
/*
 * decode_endpoints: EndpointSlices, and the Endpoints that were there before them.
 */
#include <sluiced/err.h>

#include "decode.h"

#include <arpa/inet.h>
#include <string.h>

/* Into e->host as canonical text; "" for what is no address of that family. */
static int take_host(struct sl_kube_object *o, struct sl_kube_endpoint *e, const json_t *value,
                     int family)
{
    unsigned char raw[sizeof(struct in6_addr)];
    char text[INET6_ADDRSTRLEN];
    const char *host = json_string_value(value);

    e->host = "";
    e->is_ipv6 = family == AF_INET6;
    if (host == NULL || inet_pton(family, host, raw) != 1 ||
        inet_ntop(family, raw, text, sizeof(text)) == NULL)
    {
        return SL_OK;
    }
    e->host = sl_arena_strdup(&o->arena, sl_slice_of(text));
    return e->host != NULL ? SL_OK : SL_ENOMEM;
}

/* targetRef of both kinds; one that is no pod is as none. */
static int take_pod(struct sl_kube_object *o, struct sl_kube_endpoint *e, const json_t *target)
{
    const json_t *name = json_object_get(target, "name");
    const char *namespace_ = json_string_value(json_object_get(target, "namespace"));
    size_t own_len = (size_t)(o->name - 1 - o->key);
    struct sl_slice space = {o->key, own_len};

    e->pod_key = e->pod_uid = "";
    if (!sl_kube_is_text(json_object_get(target, "kind"), "Pod")) {
        return SL_OK;
    }
    e->pod_uid = sl_kube_text(&o->arena, json_object_get(target, "uid"), SL_KUBE_UID_LEN);
    if (e->pod_uid == NULL) {
        return SL_ENOMEM;
    }
    space = namespace_ != NULL ? sl_slice_of(namespace_) : space;
    size_t len = json_string_length(name);
    if (len == 0 || len > SL_KUBE_NAME_LEN || space.len > SL_KUBE_LABEL_LEN ||
        memchr(json_string_value(name), '\0', len) != NULL)
    {
        return SL_OK;
    }
    char *key = sl_arena_alloc_bytes(&o->arena, space.len + 1 + len + 1);
    if (key == NULL) {
        return SL_ENOMEM;
    }
    memcpy(key, space.ptr, space.len);
    key[space.len] = '/';
    memcpy(key + space.len + 1, json_string_value(name), len + 1);
    e->pod_key = key;
    return SL_OK;
}

/* Condition of an endpoint; JSON null and nothing are alike: the value that the API gives it. */
static bool condition(const json_t *conditions, const char *key, bool when_unset)
{
    const json_t *value = json_object_get(conditions, key);
    return json_is_boolean(value) ? json_is_true(value) : when_unset;
}

/* "a\0b\0\0": the zones that it is hinted for. */
static int take_hints(struct sl_kube_object *o, struct sl_kube_endpoint *e, const json_t *zones)
{
    size_t room_bytes = 1;

    e->hints = "";
    for (size_t i = 0; i < json_array_size(zones); i++) {
        room_bytes += json_string_length(json_object_get(json_array_get(zones, i), "name")) + 1;
    }
    if (room_bytes == 1) {
        return SL_OK;
    }
    char *text = sl_arena_alloc_bytes(&o->arena, room_bytes);
    char *at = text;
    if (text == NULL) {
        return SL_ENOMEM;
    }
    for (size_t i = 0; i < json_array_size(zones); i++) {
        const char *name = json_string_value(json_object_get(json_array_get(zones, i), "name"));
        if (name != NULL && name[0] != '\0') {
            size_t len = strlen(name);
            memcpy(at, name, len + 1);
            at += len + 1;
        }
    }
    *at = '\0';
    e->hints = text;
    return SL_OK;
}

/* Neighbours are mostly of one zone: its name is kept once. */
static int take_zone(struct sl_kube_object *o, struct sl_kube_endpoint *e, const json_t *zone)
{
    const char *before = o->endpoints_n > 0 ? e[-1].zone : "";

    e->zone =
        sl_kube_is_text(zone, before) ? before : sl_kube_text(&o->arena, zone, SL_KUBE_LABEL_LEN);
    return e->zone != NULL ? SL_OK : SL_ENOMEM;
}

static int append_endpoint(struct sl_kube_object *o, const json_t *json, int family)
{
    const json_t *conditions = json_object_get(json, "conditions");
    const json_t *hints = json_object_get(json_object_get(json, "hints"), "forZones");
    bool ready = condition(conditions, "ready", true);
    bool serving = condition(conditions, "serving", ready);
    bool terminating = condition(conditions, "terminating", false);
    struct sl_kube_endpoint *e = &o->endpoints[o->endpoints_n];

    /* A terminating endpoint is ready only in a service that publishes those that are not. */
    if (!ready && !(serving && terminating)) {
        return SL_OK;
    }
    *e = (struct sl_kube_endpoint){
        .ports_n = (uint32_t)o->ports_n,
        .draining = !ready || terminating,
    };
    /* The API: "all addresses of an endpoint are fungible, consumers should use the first". */
    int rc = take_host(o, e, json_array_get(json_object_get(json, "addresses"), 0), family);
    rc = rc == SL_OK ? take_pod(o, e, json_object_get(json, "targetRef")) : rc;
    rc = rc == SL_OK ? take_hints(o, e, hints) : rc;
    rc = rc == SL_OK ? take_zone(o, e, json_object_get(json, "zone")) : rc;
    o->endpoints_n += rc == SL_OK && e->host[0] != '\0';
    return rc;
}

static int make_room(struct sl_kube_object *o, size_t ports_n, size_t endpoints_n)
{
    o->ports = sl_arena_alloc_array(&o->arena, ports_n > 0 ? ports_n : 1, sizeof(o->ports[0]));
    o->endpoints =
        sl_arena_alloc_array(&o->arena, endpoints_n > 0 ? endpoints_n : 1, sizeof(o->endpoints[0]));
    return o->ports != NULL && o->endpoints != NULL ? SL_OK : SL_ENOMEM;
}

static int take_service(struct sl_kube_object *o, const json_t *object)
{
    const json_t *labels = json_object_get(json_object_get(object, "metadata"), "labels");

    o->service =
        sl_kube_text(&o->arena, json_object_get(labels, SL_KUBE_SERVICE_LABEL), SL_KUBE_LABEL_LEN);
    return o->service != NULL ? SL_OK : SL_ENOMEM;
}

int sl_kube_decode_slice(struct sl_kube_object *o, const json_t *object)
{
    /* Both may be null: json_array_size of anything but an array is 0. */
    const json_t *endpoints = json_object_get(object, "endpoints");
    const json_t *ports = json_object_get(object, "ports");
    const json_t *address_type = json_object_get(object, "addressType");
    int family = sl_kube_is_text(address_type, "IPv4") ? AF_INET : AF_INET6;
    int rc = make_room(o, json_array_size(ports), json_array_size(endpoints));

    o->is_fqdn = family == AF_INET6 && !sl_kube_is_text(address_type, "IPv6");
    rc = rc == SL_OK ? take_service(o, object) : rc;
    rc = rc == SL_OK ? sl_kube_append_ports(o, ports, "port") : rc;
    for (size_t i = 0; rc == SL_OK && !o->is_fqdn && i < json_array_size(endpoints); i++) {
        rc = append_endpoint(o, json_array_get(endpoints, i), family);
    }
    return rc;
}

static int append_address(struct sl_kube_object *o, const json_t *json, size_t port_idx)
{
    struct sl_kube_endpoint *e = &o->endpoints[o->endpoints_n];
    const json_t *ip = json_object_get(json, "ip");

    *e = (struct sl_kube_endpoint){
        .zone = "",
        .hints = "",
        .port_idx = (uint32_t)port_idx,
        .ports_n = (uint32_t)(o->ports_n - port_idx),
    };
    int family =
        json_is_string(ip) && strchr(json_string_value(ip), ':') != NULL ? AF_INET6 : AF_INET;
    int rc = take_host(o, e, ip, family);
    rc = rc == SL_OK ? take_pod(o, e, json_object_get(json, "targetRef")) : rc;
    o->endpoints_n += rc == SL_OK && e->host[0] != '\0';
    return rc;
}

/* Each subset is addresses by ports. notReadyAddresses are those of pods that start and of pods
 * that end alike: nothing tells which may be a last resort. */
int sl_kube_decode_endpoints(struct sl_kube_object *o, const json_t *object)
{
    const json_t *subsets = json_object_get(object, "subsets");
    size_t ports_n = 0;
    size_t addresses_n = 0;

    for (size_t i = 0; i < json_array_size(subsets); i++) {
        const json_t *subset = json_array_get(subsets, i);
        ports_n += json_array_size(json_object_get(subset, "ports"));
        addresses_n += json_array_size(json_object_get(subset, "addresses"));
    }
    int rc = make_room(o, ports_n, addresses_n);
    for (size_t i = 0; rc == SL_OK && i < json_array_size(subsets); i++) {
        const json_t *subset = json_array_get(subsets, i);
        const json_t *addresses = json_object_get(subset, "addresses");
        size_t port_idx = o->ports_n;

        rc = sl_kube_append_ports(o, json_object_get(subset, "ports"), "port");
        for (size_t a = 0; rc == SL_OK && a < json_array_size(addresses); a++) {
            rc = append_address(o, json_array_get(addresses, a), port_idx);
        }
    }
    return rc;
}
