/* SPDX-License-Identifier: Apache-2.0 */
#include "decode.h"

#include <sluiced/err.h>

#include "proxy/base/alloc.h"

#include <arpa/inet.h>
#include <string.h>

/* Copies a JSON string that fits and has no NUL inside; else leaves "". */
static bool copy_text(char *out, size_t size_bytes, const json_t *value)
{
    const char *text = json_string_value(value);
    size_t len = json_string_length(value);

    if (text == NULL || len >= size_bytes || memchr(text, '\0', len) != NULL) {
        out[0] = '\0';
        return false;
    }
    memcpy(out, text, len + 1);
    return true;
}

static bool is_text(const json_t *value, const char *text)
{
    return json_is_string(value) && strcmp(json_string_value(value), text) == 0;
}

const char *sl_kube_metadata(const json_t *object, const char *key)
{
    return json_string_value(json_object_get(json_object_get(object, "metadata"), key));
}

/* Writes value as canonical text. family_text: the slice's addressType, NULL for either. */
static bool copy_host(char *out, size_t size_bytes, const json_t *value, const json_t *family_text)
{
    unsigned char raw[sizeof(struct in6_addr)];
    const char *text = json_string_value(value);
    int family;

    if (text == NULL) {
        return false;
    }
    if (family_text != NULL) {
        family = is_text(family_text, "IPv4") ? AF_INET : AF_INET6;
    } else {
        family = strchr(text, ':') != NULL ? AF_INET6 : AF_INET;
    }
    return inet_pton(family, text, raw) == 1 &&
           inet_ntop(family, raw, out, (socklen_t)size_bytes) != NULL;
}

/* Condition of an endpoint; JSON null and nothing are alike: the value that the API gives it. */
static bool condition(const json_t *conditions, const char *key, bool when_unset)
{
    const json_t *value = json_object_get(conditions, key);
    return json_is_boolean(value) ? json_is_true(value) : when_unset;
}

/* Whether it may get requests. */
static bool decode_endpoint(const json_t *json, const json_t *address_type,
                            struct sl_kube_endpoint *out)
{
    const json_t *conditions = json_object_get(json, "conditions");
    const json_t *target = json_object_get(json, "targetRef");
    bool ready = condition(conditions, "ready", true);
    bool serving = condition(conditions, "serving", ready);
    bool terminating = condition(conditions, "terminating", false);

    *out = (struct sl_kube_endpoint){.draining = !ready || terminating};
    /* A terminating endpoint is ready only in a service that publishes those that are not. */
    if (!ready && !(serving && terminating)) {
        return false;
    }
    /* The API: "all addresses of an endpoint are fungible, consumers should use the first". */
    if (!copy_host(out->host, sizeof(out->host),
                   json_array_get(json_object_get(json, "addresses"), 0), address_type))
    {
        return false;
    }
    if (is_text(json_object_get(target, "kind"), "Pod")) {
        /* Without them it is an endpoint of no known pod. */
        (void)copy_text(out->pod_uid, sizeof(out->pod_uid), json_object_get(target, "uid"));
        (void)copy_text(out->pod_name, sizeof(out->pod_name), json_object_get(target, "name"));
    }
    return true;
}

/* Appends the ports of an array whose numbers stand under number_key; room was made before. */
static void append_ports(struct sl_kube_object *o, const json_t *ports, const char *number_key)
{
    for (size_t i = 0; i < json_array_size(ports); i++) {
        const json_t *json = json_array_get(ports, i);
        const json_t *protocol = json_object_get(json, "protocol");
        json_int_t number = json_integer_value(json_object_get(json, number_key));

        if ((json_is_string(protocol) && !is_text(protocol, "TCP")) || number < 1 || number > 65535)
        {
            continue; /* without a number it means "all ports": then the config names one */
        }
        struct sl_kube_port *p = &o->ports[o->ports_n++];
        p->number = (uint16_t)number;
        (void)copy_text(p->name, sizeof(p->name), json_object_get(json, "name")); /* or none */
    }
}

/* An object with room for so many; name, uid and version are set. */
static int object_new(const json_t *json, size_t endpoints_n, size_t ports_n,
                      struct sl_kube_object **out)
{
    const json_t *metadata = json_object_get(json, "metadata");
    struct sl_kube_object *o =
        sl_alloc_flex(sizeof(*o), endpoints_n, sizeof(struct sl_kube_endpoint));
    int rc = SL_ENOMEM;

    if (o == NULL) {
        return rc;
    }
    o->ports = sl_alloc_array(ports_n > 0 ? ports_n : 1, sizeof(o->ports[0]));
    if (o->ports == NULL) {
        goto fail;
    }
    if (!copy_text(o->name, sizeof(o->name), json_object_get(metadata, "name")) ||
        o->name[0] == '\0')
    {
        rc = SL_EPROTO;
        goto fail;
    }
    (void)copy_text(o->uid, sizeof(o->uid), json_object_get(metadata, "uid")); /* or none */
    (void)copy_text(o->version, sizeof(o->version), json_object_get(metadata, "resourceVersion"));
    *out = o;
    return SL_OK;
fail:
    sl_kube_object_free(o);
    return rc;
}

static int decode_slice(const json_t *json, struct sl_kube_object **out)
{
    /* Both may be null: json_array_size of anything but an array is 0. */
    const json_t *endpoints = json_object_get(json, "endpoints");
    const json_t *ports = json_object_get(json, "ports");
    const json_t *address_type = json_object_get(json, "addressType");
    struct sl_kube_object *o;
    int rc = object_new(json, json_array_size(endpoints), json_array_size(ports), &o);

    if (rc != SL_OK) {
        return rc;
    }
    append_ports(o, ports, "port");
    o->is_fqdn = !is_text(address_type, "IPv4") && !is_text(address_type, "IPv6");
    for (size_t i = 0; !o->is_fqdn && i < json_array_size(endpoints); i++) {
        o->endpoints_n += decode_endpoint(json_array_get(endpoints, i), address_type,
                                          &o->endpoints[o->endpoints_n]);
    }
    *out = o;
    return SL_OK;
}

static bool is_pod_ready(const json_t *status)
{
    const json_t *conditions = json_object_get(status, "conditions");

    for (size_t i = 0; i < json_array_size(conditions); i++) {
        const json_t *c = json_array_get(conditions, i);
        if (is_text(json_object_get(c, "type"), "Ready")) {
            return is_text(json_object_get(c, "status"), "True");
        }
    }
    return false;
}

/* Init containers that restart always are sidecars and may serve; others are gone by now. */
static bool has_ports(const json_t *container, bool is_init)
{
    return !is_init || is_text(json_object_get(container, "restartPolicy"), "Always");
}

static int decode_pod(const json_t *json, struct sl_kube_object **out)
{
    const json_t *spec = json_object_get(json, "spec");
    const json_t *status = json_object_get(json, "status");
    const json_t *const lists[] = {json_object_get(spec, "containers"),
                                   json_object_get(spec, "initContainers")};
    struct sl_kube_object *o;
    size_t ports_n = 0;

    for (size_t l = 0; l < SL_ARRAY_LEN(lists); l++) {
        for (size_t i = 0; i < json_array_size(lists[l]); i++) {
            ports_n += json_array_size(json_object_get(json_array_get(lists[l], i), "ports"));
        }
    }
    int rc = object_new(json, 1, ports_n, &o);
    if (rc != SL_OK) {
        return rc;
    }
    for (size_t l = 0; l < SL_ARRAY_LEN(lists); l++) {
        for (size_t i = 0; i < json_array_size(lists[l]); i++) {
            const json_t *container = json_array_get(lists[l], i);
            if (has_ports(container, l == 1)) {
                append_ports(o, json_object_get(container, "ports"), "containerPort");
            }
        }
    }
    struct sl_kube_endpoint *ep = &o->endpoints[0];
    if (is_pod_ready(status) &&
        copy_host(ep->host, sizeof(ep->host), json_object_get(status, "podIP"), NULL))
    {
        memcpy(ep->pod_name, o->name, sizeof(ep->pod_name));
        memcpy(ep->pod_uid, o->uid, sizeof(ep->pod_uid));
        ep->draining = sl_kube_metadata(json, "deletionTimestamp") != NULL;
        o->endpoints_n = 1;
    }
    *out = o;
    return SL_OK;
}

int sl_kube_decode(enum sl_kube_kind kind, const json_t *object, struct sl_kube_object **out)
{
    switch (kind) {
    case SL_KUBE_SLICE:
        return decode_slice(object, out);
    case SL_KUBE_POD:
        return decode_pod(object, out);
    case SL_KUBE_POD_NAME:
    default:
        return object_new(object, 0, 0, out);
    }
}

void sl_kube_object_free(struct sl_kube_object *o)
{
    if (o != NULL) {
        sl_free(o->ports);
        sl_free(o);
    }
}
