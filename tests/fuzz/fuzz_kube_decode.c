/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One object as each kind that there is: what is decoded keeps its promises, and merging it with
 * what its labels say does so too. First byte: how it is merged.
 */
#include "discovery/kubernetes/merge.h"
#include "proxy/base/alloc.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void demand(bool holds)
{
    if (!holds) {
        abort();
    }
}

static void check_object(const struct sl_kube_object *o)
{
    demand(strcmp(strchr(o->key, '/') + 1, o->name) == 0 || strchr(o->name, '/') != NULL);
    demand(o->name[0] != '\0' && strlen(o->key) < SL_KUBE_KEY_BYTES);
    for (size_t i = 0; i < o->ports_n; i++) {
        demand(o->ports[i].number > 0 && strlen(o->ports[i].name) <= SL_KUBE_LABEL_LEN);
    }
    for (size_t i = 0; i < o->endpoints_n; i++) {
        const struct sl_kube_endpoint *e = &o->endpoints[i];
        demand(e->host[0] != '\0' && e->is_ipv6 == (strchr(e->host, ':') != NULL));
        demand(strlen(e->pod_uid) <= SL_KUBE_UID_LEN && strlen(e->zone) <= SL_KUBE_LABEL_LEN);
        demand((size_t)e->port_idx + e->ports_n <= o->ports_n);
        for (const char *h = e->hints; *h != '\0'; h += strlen(h) + 1) {
        }
    }
    demand(o->selector == NULL || strpbrk(o->selector, "!() \t&") == NULL);
    demand(!o->labels.has_bad_weight || o->labels.weight == 1);
}

static void merge(const struct sl_store *objects, const struct sl_store *pods, uint8_t how)
{
    const struct sl_merge_part part = {.objects = objects, .pods = how & 1 ? pods : NULL};
    const struct sl_merge_input in = {
        .parts = &part,
        .parts_n = 1,
        .keeps_all = (how & 2) != 0,
        .has_tls = (how & 4) != 0,
        .zone = how & 8 ? "za" : NULL,
        .family = (enum sl_kube_family)((how >> 4) % 3),
        .port = how & 64 ? 8000 : 0,
    };
    struct sl_merge_notes notes;
    struct sl_found *items = NULL;
    struct sl_found *again = NULL;
    size_t n = 0;
    size_t again_n = 0;
    bool same = true;

    demand(sl_merge(&in, NULL, 0, &items, &n, &same, &notes) == SL_OK && !same);
    for (size_t i = 0; i < n; i++) {
        demand(items[i].address.port != 0);
        demand(i == 0 || strcmp(items[i - 1].address.host, items[i].address.host) <= 0);
    }
    demand(sl_merge(&in, items, n, &again, &again_n, &same, &notes) == SL_OK && same);
    demand(again == NULL);
    sl_free(items);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct sl_store stores[SL_KUBE_KINDS_N];
    json_t *json =
        size > 1 ? json_loadb((const char *)data + 1, size - 1, JSON_ALLOW_NUL, NULL) : NULL;

    if (json == NULL) {
        return 0;
    }
    for (int kind = 0; kind < (int)SL_KUBE_KINDS_N; kind++) {
        struct sl_kube_object *o = NULL;
        sl_store_init(&stores[kind]);
        if (sl_kube_decode((enum sl_kube_kind)kind, json, &o) == SL_OK) {
            check_object(o);
            demand(sl_store_put(&stores[kind], o) == SL_OK);
        }
    }
    for (int kind = 0; kind < (int)SL_KUBE_KINDS_N; kind++) {
        merge(&stores[kind], &stores[SL_KUBE_POD_NAME], data[0]);
    }
    for (int kind = 0; kind < (int)SL_KUBE_KINDS_N; kind++) {
        sl_store_fini(&stores[kind]);
    }
    json_decref(json);
    return 0;
}
