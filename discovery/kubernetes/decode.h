/* SPDX-License-Identifier: Apache-2.0 */
/*
 * decode: what we need of an EndpointSlice or a Pod, in one shape: a pod is a slice of one
 * endpoint whose ports are those of its containers.
 *
 * Lifetime:  an object: from decode to sl_kube_object_free
 * Thread:    any
 * Errors:    SL_EPROTO for what cannot be an object at all (no name); single values that make no
 *            sense are left out, so that one odd endpoint does not hide a hundred good ones
 * Limits:    names as Kubernetes has them: object 253, port 63, uid 36
 * Source:    discovery.k8s.io/v1 EndpointSlice, v1 Pod; KEP-1672 (serving, terminating)
 */
#ifndef SL_KUBERNETES_DECODE_H
#define SL_KUBERNETES_DECODE_H

#include <sluiced/defs.h>

#include <jansson.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum sl_kube_kind {
    SL_KUBE_SLICE,
    SL_KUBE_POD,
    SL_KUBE_POD_NAME, /* a pod of which only name and uid matter */
};

struct sl_kube_port {
    char name[64]; /* "" where it has none */
    uint16_t number;
};

/* One that may get requests, now or as a last resort. */
struct sl_kube_endpoint {
    char host[46]; /* canonical text, so that equal addresses are equal strings */
    char pod_uid[37];
    char pod_name[254];
    bool draining;
};

struct sl_kube_object {
    char name[254];
    char uid[37];
    char version[64];           /* its resourceVersion, "" where it has none that fits */
    bool is_fqdn;               /* a slice of names: it has no endpoints here */
    uint32_t generation;        /* the store's */
    struct sl_kube_port *ports; /* TCP, with a number */
    size_t ports_n;
    size_t endpoints_n;
    struct sl_kube_endpoint endpoints[];
};

/* object: an item of a list, or of a watch event. *out is the caller's. */
int sl_kube_decode(enum sl_kube_kind kind, const json_t *object, struct sl_kube_object **out)
    SL_MUST_CHECK;
void sl_kube_object_free(struct sl_kube_object *o); /* accepts NULL */

/* metadata.<key> as text, NULL where it is missing or no string. Borrowed from object. */
const char *sl_kube_metadata(const json_t *object, const char *key);

#endif
