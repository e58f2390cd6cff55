/* SPDX-License-Identifier: Apache-2.0 */
/*
 * decode_pool: InferencePools of the Gateway API's inference extension: which pods, which ports.
 */
#include <sluiced/err.h>

#include "decode.h"

#include "proxy/base/alloc.h"

#include <stdlib.h>
#include <string.h>

enum {
    PORTS_MAX_N = 8,   /* the API's limit */
    LABELS_MAX_N = 64, /* likewise */
    KEY_LEN = SL_KUBE_NAME_LEN + 1 + SL_KUBE_LABEL_LEN,
};

static bool is_label_text(const char *text, size_t len, const char *extra)
{
    for (size_t i = 0; i < len; i++) {
        char c = text[i];
        bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
        if (!plain && (c == '\0' || strchr(extra, c) == NULL)) {
            return false;
        }
    }
    return true;
}

/* Only what a label may be gets into a selector, in which "," and "!" would mean something. */
static bool is_label(const char *key, const json_t *value)
{
    size_t key_len = strlen(key);

    return key_len > 0 && key_len <= KEY_LEN && is_label_text(key, key_len, "-_./") &&
           json_is_string(value) && json_string_length(value) <= SL_KUBE_LABEL_LEN &&
           is_label_text(json_string_value(value), json_string_length(value), "-_.");
}

static int compare_texts(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* Sorted, so that two pools of the same pods ask for them in the same words. n: of labels. */
static int write_selector(struct sl_kube_object *o, const json_t *labels, const char **keys,
                          size_t n, size_t room_bytes)
{
    char *text = sl_arena_alloc_bytes(&o->arena, room_bytes + 1);
    char *at = text;

    if (text == NULL) {
        return SL_ENOMEM;
    }
    qsort((void *)keys, n, sizeof(keys[0]), compare_texts);
    for (size_t i = 0; i < n; i++) {
        at = stpcpy(at, i > 0 ? "," : "");
        at = stpcpy(stpcpy(at, keys[i]), "=");
        at = stpcpy(at, json_string_value(json_object_get(labels, keys[i])));
    }
    o->selector = text;
    return SL_OK;
}

static int take_selector(struct sl_kube_object *o, const json_t *labels)
{
    /* jansson's iterators want it without const, and change nothing. */
    json_t *object = json_is_object(labels) ? (json_t *)(uintptr_t)labels : NULL;
    const char *keys[LABELS_MAX_N];
    const char *key;
    json_t *value;
    size_t n = 0;
    size_t room_bytes = 0;

    if (json_object_size(labels) == 0 || json_object_size(labels) > LABELS_MAX_N) {
        return SL_OK; /* an empty selector would mean all pods: the API refuses it */
    }
    json_object_foreach(object, key, value)
    {
        if (!is_label(key, value)) {
            return SL_OK;
        }
        keys[n++] = key;
        room_bytes += strlen(key) + json_string_length(value) + 2;
    }
    return write_selector(o, labels, keys, n, room_bytes);
}

int sl_kube_decode_inference_pool(struct sl_kube_object *o, const json_t *object)
{
    const json_t *spec = json_object_get(object, "spec");
    const json_t *ports = json_object_get(spec, "targetPorts");
    enum sl_kube_protocol protocol = sl_kube_protocol_of(json_object_get(spec, "appProtocol"));
    int rc = SL_OK;

    if (json_array_size(ports) <= PORTS_MAX_N) {
        o->ports = sl_arena_alloc_array(&o->arena, PORTS_MAX_N, sizeof(o->ports[0]));
        rc = o->ports != NULL ? sl_kube_append_ports(o, ports, "number") : SL_ENOMEM;
    }
    for (size_t i = 0; i < o->ports_n; i++) {
        o->ports[i].protocol = protocol;
    }
    if (rc != SL_OK) {
        return rc;
    }
    return take_selector(o, json_object_get(json_object_get(spec, "selector"), "matchLabels"));
}
