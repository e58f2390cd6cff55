/* SPDX-License-Identifier: Apache-2.0 */
#include "replica.h"

#include <sluiced/err.h>

#include "proxy/base/alloc.h"

#include <stdio.h>
#include <string.h>

void sl_replica_init(struct sl_replica *r, enum sl_kube_kind kind)
{
    *r = (struct sl_replica){.kind = kind};
    sl_store_init(&r->store);
}

void sl_replica_fini(struct sl_replica *r)
{
    sl_store_fini(&r->store);
}

/* NUL may stand inside a text: an annotation of somebody's must not cost us the whole list. */
static json_t *parse(struct sl_slice text)
{
    return text.len > 0 ? json_loadb(text.ptr, text.len, JSON_ALLOW_NUL, NULL) : NULL;
}

static int take_version(struct sl_replica *r, const json_t *object, bool *progressed)
{
    const char *version = sl_kube_metadata(object, "resourceVersion");

    if (version == NULL || version[0] == '\0' || strlen(version) >= sizeof(r->version)) {
        return SL_EPROTO;
    }
    *progressed = strcmp(r->version, version) != 0;
    (void)snprintf(r->version, sizeof(r->version), "%s", version); /* fits */
    return SL_OK;
}

static int put(struct sl_replica *r, const json_t *json)
{
    struct sl_kube_object *o;
    int rc = sl_kube_decode(r->kind, json, &o);

    if (rc != SL_OK) {
        return rc;
    }
    rc = sl_store_put(&r->store, o);
    if (rc != SL_OK) {
        sl_kube_object_free(o);
    }
    return rc;
}

static int apply_items(struct sl_replica *r, const json_t *page, bool is_first)
{
    const json_t *items = json_object_get(page, "items");
    bool progressed;

    /* Go writes an empty list as [] or null; what has neither is no page of a list. */
    if (!json_is_array(items) && !json_is_null(items)) {
        return SL_EPROTO;
    }
    int rc = take_version(r, page, &progressed);
    if (rc == SL_OK && is_first) {
        sl_store_begin(&r->store);
    }
    for (size_t i = 0; rc == SL_OK && i < json_array_size(items); i++) {
        rc = put(r, json_array_get(items, i));
    }
    return rc;
}

int sl_replica_apply_page(struct sl_replica *r, struct sl_slice text, bool is_first,
                          char **next_page)
{
    json_t *page = parse(text);
    const char *token = sl_kube_metadata(page, "continue");
    char *copy = NULL;
    int rc = apply_items(r, page, is_first);

    if (rc == SL_OK && token != NULL && token[0] != '\0') {
        copy = sl_strdup(token);
        rc = copy != NULL ? SL_OK : SL_ENOMEM;
    } else if (rc == SL_OK) {
        sl_store_sweep(&r->store);
    }
    json_decref(page);
    if (rc == SL_OK) {
        *next_page = copy;
    }
    return rc;
}

static void tell_error(const json_t *status, struct sl_replica_result *out)
{
    const char *message = json_string_value(json_object_get(status, "message"));
    json_int_t code = json_integer_value(json_object_get(status, "code"));

    out->event = code == 410 ? SL_REPLICA_GONE : SL_REPLICA_ERROR;
    (void)snprintf(out->error, sizeof(out->error), "%d: %s", (int)code,
                   message != NULL ? message : "no message"); /* cut on purpose */
}

static int apply_change(struct sl_replica *r, const char *type, const json_t *object)
{
    char key[SL_KUBE_KEY_BYTES];

    if (strcmp(type, "ADDED") == 0 || strcmp(type, "MODIFIED") == 0) {
        return put(r, object);
    }
    if (strcmp(type, "DELETED") != 0 || sl_kube_key(object, key) != SL_OK) {
        return SL_EPROTO;
    }
    sl_store_remove(&r->store, key);
    return SL_OK;
}

int sl_replica_apply_event(struct sl_replica *r, struct sl_slice line,
                           struct sl_replica_result *out)
{
    json_t *event = parse(line);
    const char *type = json_string_value(json_object_get(event, "type"));
    const json_t *object = json_object_get(event, "object");
    int rc = SL_OK;

    *out = (struct sl_replica_result){.event = SL_REPLICA_CHANGE};
    if (type == NULL || object == NULL) {
        rc = SL_EPROTO;
    } else if (strcmp(type, "ERROR") == 0) {
        tell_error(object, out); /* it carries no version */
    } else {
        if (strcmp(type, "BOOKMARK") == 0) {
            out->event = SL_REPLICA_BOOKMARK;
        } else {
            rc = apply_change(r, type, object);
        }
        rc = rc == SL_OK ? take_version(r, object, &out->progressed) : rc;
    }
    json_decref(event);
    return rc;
}
