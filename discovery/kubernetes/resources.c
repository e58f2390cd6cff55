/* SPDX-License-Identifier: Apache-2.0 */
#include "resources.h"

#include <stdio.h>
#include <string.h>

bool sl_resource_is_name(const char *text)
{
    size_t len = strlen(text);

    return len >= 1 && len <= SL_KUBE_NAME_LEN && text[0] != '.' && text[0] != '-' &&
           strspn(text, "abcdefghijklmnopqrstuvwxyz0123456789-.") == len;
}

/* All of it fits: a namespace has at most 63 bytes, a name 253. */
static void write_path(char *buf, const char *group, const char *namespace_, const char *resource)
{
    bool is_all = strcmp(namespace_, "*") == 0;

    (void)snprintf(buf, SL_KUBE_PATH_BYTES, "%s%s%.63s/%s", group, is_all ? "" : "/namespaces/",
                   is_all ? "" : namespace_, resource);
}

static void by_name(struct sl_resource *r, const char *name)
{
    (void)snprintf(r->field_selector, sizeof(r->field_selector), "metadata.name=%.253s", name);
    r->what.field_selector = r->field_selector;
}

static void endpoints(struct sl_resource *r, const struct sl_kubernetes_config *c,
                      const char *namespace_)
{
    write_path(r->path, "/api/v1", namespace_, "endpoints");
    r->what.resource = "endpoints";
    r->what.kind = SL_KUBE_ENDPOINTS;
    if (c->service != NULL) {
        by_name(r, c->service);
    } else {
        r->what.selector = c->slices;
    }
}

static void slices(struct sl_resource *r, const struct sl_kubernetes_config *c,
                   const char *namespace_)
{
    write_path(r->path, "/apis/discovery.k8s.io/v1", namespace_, "endpointslices");
    r->what.resource = "endpointslices";
    r->what.kind = SL_KUBE_SLICE;
    r->what.selector = c->slices;
    r->what.service = c->service;
}

void sl_resource_main(struct sl_resource *r, const struct sl_kubernetes_config *c,
                      const char *namespace_, bool legacy)
{
    r->what = (struct sl_watch_what){.path = r->path};
    if (c->inference_pool != NULL) {
        write_path(r->path, "/apis/inference.networking.k8s.io/v1", namespace_, "inferencepools");
        r->what.resource = "inferencepools";
        r->what.kind = SL_KUBE_INFERENCE_POOL;
        by_name(r, c->inference_pool);
    } else if (!sl_kube_uses_slices(c)) {
        sl_resource_pods(r, c, namespace_);
    } else if (legacy) {
        endpoints(r, c, namespace_);
    } else {
        slices(r, c, namespace_);
    }
}

void sl_resource_pods_path(const char *namespace_, char *buf)
{
    write_path(buf, "/api/v1", namespace_, "pods");
}

void sl_resource_pods(struct sl_resource *r, const struct sl_kubernetes_config *c,
                      const char *namespace_)
{
    r->what = (struct sl_watch_what){
        .path = r->path,
        .resource = "pods",
        .selector = c->pods[0] != '\0' ? c->pods : NULL,
        .kind = sl_kube_uses_slices(c) ? SL_KUBE_POD_NAME : SL_KUBE_POD,
    };
    sl_resource_pods_path(namespace_, r->path);
}
