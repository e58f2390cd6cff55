/* SPDX-License-Identifier: Apache-2.0 */
/*
 * decode: what we need of an EndpointSlice, Endpoints, a Pod or an InferencePool, in one shape: a
 * pod is a slice of one endpoint whose ports are those of its containers.
 *
 * Lifetime:  an object: from decode to sl_kube_object_free; its texts and arrays are of its arena
 * Thread:    any
 * Errors:    SL_EPROTO for what cannot be an object at all (no name); single values that make no
 *            sense are left out, so that one odd endpoint does not hide a hundred good ones
 * Limits:    names as Kubernetes has them: object 253, namespace, port, label and zone 63, uid 36
 * Source:    discovery.k8s.io/v1 EndpointSlice, v1 Endpoints and Pod; KEP-1672 (serving,
 *            terminating); inference.networking.k8s.io/v1 InferencePool
 */
#ifndef SL_KUBERNETES_DECODE_H
#define SL_KUBERNETES_DECODE_H

#include <sluiced/defs.h>

#include "proxy/base/arena.h"

#include <jansson.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum sl_kube_kind {
    SL_KUBE_SLICE,
    SL_KUBE_POD,
    SL_KUBE_POD_NAME, /* a pod of which only its metadata matter */
    SL_KUBE_ENDPOINTS,
    SL_KUBE_INFERENCE_POOL,
    SL_KUBE_KINDS_N,
};

/* appProtocol of a port, by what it asks of us. */
enum sl_kube_protocol {
    SL_KUBE_HTTP, /* also where it says nothing, or what we do not know */
    SL_KUBE_HTTPS,
    SL_KUBE_HTTP2,
};

struct sl_kube_port {
    const char *name; /* "" where it has none */
    uint16_t number;
    enum sl_kube_protocol protocol;
};

/* One that may get requests, now or as a last resort. No text is NULL; "": not known. */
struct sl_kube_endpoint {
    const char *host;    /* canonical, so that equal addresses are equal strings */
    const char *pod_key; /* "namespace/name" */
    const char *pod_uid;
    const char *zone;
    const char *hints; /* zones that it is meant for, "a\0b\0\0"; "": none */
    uint32_t port_idx; /* its ports are ports_n of the object's from here */
    uint32_t ports_n;
    bool is_ipv6;
    bool draining;
};

/* Labels and annotations of a pod that mean something to us. */
struct sl_kube_labels {
    const char *version;
    const char *model;
    uint16_t weight;
    bool has_bad_weight; /* it is 1 then */
    bool drains;
};

struct sl_kube_object {
    struct sl_arena arena;
    const char *key;  /* "namespace/name" */
    const char *name; /* in it */
    const char *uid;
    const char *version;        /* resourceVersion */
    const char *service;        /* of a slice: that it belongs to, "" for none */
    bool is_fqdn;               /* a slice of names: it has no endpoints here */
    uint32_t generation;        /* the store's */
    struct sl_kube_port *ports; /* TCP, with a number */
    size_t ports_n;
    struct sl_kube_endpoint *endpoints;
    size_t endpoints_n;
    struct sl_kube_labels labels; /* pods */
    const char *selector;         /* InferencePool: of its pods; NULL: none that makes sense */
};

#define SL_KUBE_SERVICE_LABEL "kubernetes.io/service-name" /* of a slice */

/* object: an item of a list, or of a watch event. *out is the caller's. */
int sl_kube_decode(enum sl_kube_kind kind, const json_t *object, struct sl_kube_object **out)
    SL_MUST_CHECK;
void sl_kube_object_free(struct sl_kube_object *o); /* accepts NULL */

/* metadata.<key> as text, NULL where it is missing or no string. Borrowed from object. */
const char *sl_kube_metadata(const json_t *object, const char *key);

#define SL_KUBE_KEY_BYTES 320

/* "namespace/name" of object into buf, which has SL_KUBE_KEY_BYTES; SL_EPROTO where it has no name
 * or one that is too long. */
int sl_kube_key(const json_t *object, char *buf) SL_MUST_CHECK;

/* For the decoders of single kinds. */

bool sl_kube_is_text(const json_t *value, const char *text);

/* A copy in a of a JSON string of at most max_len bytes without NUL; "" for anything else; NULL
 * without memory. */
const char *sl_kube_text(struct sl_arena *a, const json_t *value, size_t max_len) SL_MUST_CHECK;

/* Appends the ports of an array whose numbers stand under number_key; o->ports has room. */
int sl_kube_append_ports(struct sl_kube_object *o, const json_t *ports, const char *number_key)
    SL_MUST_CHECK;
enum sl_kube_protocol sl_kube_protocol_of(const json_t *app_protocol);

enum {
    SL_KUBE_NAME_LEN = 253,
    SL_KUBE_LABEL_LEN = 63,
    SL_KUBE_UID_LEN = 36,
};

/* What each kind makes of object; o has its key and uid, all else is zero or "". */
int sl_kube_decode_slice(struct sl_kube_object *o, const json_t *object) SL_MUST_CHECK;
int sl_kube_decode_endpoints(struct sl_kube_object *o, const json_t *object) SL_MUST_CHECK;
int sl_kube_decode_pod(struct sl_kube_object *o, const json_t *object) SL_MUST_CHECK;
int sl_kube_decode_labels(struct sl_kube_object *o, const json_t *object) SL_MUST_CHECK;
int sl_kube_decode_inference_pool(struct sl_kube_object *o, const json_t *object) SL_MUST_CHECK;

#endif
