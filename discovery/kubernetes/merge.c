/* SPDX-License-Identifier: Apache-2.0 */
#include "merge.h"

#include "discovery/found.h"
#include "proxy/base/alloc.h"

#include <stdio.h>
#include <string.h>

/* The port of o's endpoints, 0 where there is none or no single one. */
static uint16_t port_of(const struct sl_merge_input *in, const struct sl_kube_object *o)
{
    if (in->port != 0) {
        return in
            ->port; /* whatever the slice says: a container may listen where no service leads */
    }
    if (in->port_name == NULL) {
        return o->ports_n == 1 ? o->ports[0].number : 0;
    }
    for (size_t i = 0; i < o->ports_n; i++) {
        if (strcmp(o->ports[i].name, in->port_name) == 0) {
            return o->ports[i].number;
        }
    }
    return 0;
}

static bool is_kept(const struct sl_store *pods, const struct sl_kube_endpoint *ep)
{
    if (pods == NULL) {
        return true;
    }
    const struct sl_kube_object *pod =
        ep->pod_name[0] != '\0' ? sl_store_get(pods, ep->pod_name) : NULL;
    /* A StatefulSet gives the next pod the same name: the uid tells them apart. */
    return pod != NULL &&
           (ep->pod_uid[0] == '\0' || pod->uid[0] == '\0' || strcmp(ep->pod_uid, pod->uid) == 0);
}

static void copy_endpoint(struct sl_found *out, const struct sl_kube_endpoint *ep, uint16_t port)
{
    *out = (struct sl_found){.address = {.port = port}, .weight = 1, .draining = ep->draining};
    memcpy(out->pod_uid, ep->pod_uid, sizeof(out->pod_uid));
    memcpy(out->pod_name, ep->pod_name, sizeof(out->pod_name));
    (void)snprintf(out->address.host, sizeof(out->address.host), "%s", ep->host); /* is shorter */
}

int sl_merge(const struct sl_merge_input *in, struct sl_found **items, size_t *n,
             struct sl_merge_notes *notes)
{
    size_t room_n = 0;
    size_t found_n = 0;

    *notes = (struct sl_merge_notes){0};
    for (size_t i = 0; i < in->objects->n; i++) {
        room_n += in->objects->items[i]->endpoints_n;
    }
    struct sl_found *found = sl_alloc_array(room_n > 0 ? room_n : 1, sizeof(found[0]));
    if (found == NULL) {
        return SL_ENOMEM;
    }
    for (size_t i = 0; i < in->objects->n; i++) {
        const struct sl_kube_object *o = in->objects->items[i];
        uint16_t port = port_of(in, o);

        if (o->is_fqdn) {
            notes->fqdn = o->name;
        }
        if (port == 0 && o->endpoints_n > 0) {
            notes->portless = o->name;
            notes->portless_ports_n = o->ports_n;
            continue;
        }
        for (size_t e = 0; e < o->endpoints_n; e++) {
            if (is_kept(in->pods, &o->endpoints[e])) {
                copy_endpoint(&found[found_n++], &o->endpoints[e], port);
            }
        }
    }
    *items = found;
    *n = sl_found_sort(found, found_n);
    return SL_OK;
}
