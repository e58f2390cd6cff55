/* SPDX-License-Identifier: Apache-2.0 */
/*
 * resources: which collections a pool's config asks for, in the words of the API server.
 *
 * Thread:    any (pure)
 */
#ifndef SL_KUBERNETES_RESOURCES_H
#define SL_KUBERNETES_RESOURCES_H

#include <sluiced/config.h>

#include "watches.h"

#define SL_KUBE_PATH_BYTES 384

/* Room for what a sl_watch_what points to. */
struct sl_resource {
    struct sl_watch_what what;
    char path[SL_KUBE_PATH_BYTES];
    char field_selector[320];
};

static inline bool sl_kube_uses_slices(const struct sl_kubernetes_config *c)
{
    return c->service != NULL || c->slices != NULL;
}

/* RFC 1123 subdomain, as most names in Kubernetes are: it may become part of a path. */
bool sl_resource_is_name(const char *text);

/* What has the endpoints, or the InferencePool that says where they are. namespace_: "*" for all.
 * legacy: Endpoints in the place of EndpointSlices. */
void sl_resource_main(struct sl_resource *r, const struct sl_kubernetes_config *c,
                      const char *namespace_, bool legacy);

/* The pods that these are narrowed to, or take their labels from. */
void sl_resource_pods(struct sl_resource *r, const struct sl_kubernetes_config *c,
                      const char *namespace_);

/* buf has SL_KUBE_PATH_BYTES. */
void sl_resource_pods_path(const char *namespace_, char *buf);

#endif
