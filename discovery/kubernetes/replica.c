/* SPDX-License-Identifier: Apache-2.0 */
#include "replica.h"

#include <sluiced/err.h>

#include "json.h"

#include "proxy/base/alloc.h"

#include <stdio.h>
#include <string.h>

void sl_replica_init(struct sl_replica *r, enum sl_kube_kind kind)
{
    sl_kube_json_init();
    *r = (struct sl_replica){.kind = kind};
    sl_store_init(&r->store);
}

void sl_replica_fini(struct sl_replica *r)
{
    sl_store_fini(&r->store);
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

void sl_replica_begin(struct sl_replica *r)
{
    r->is_partial = true;
    sl_store_begin(&r->store);
}

int sl_replica_apply_item(struct sl_replica *r, struct sl_slice text)
{
    int rc = put(r, sl_kube_json_parse(text));

    sl_kube_json_done();
    return rc;
}

void sl_replica_end(struct sl_replica *r, const char *version)
{
    (void)snprintf(r->version, sizeof(r->version), "%s", version); /* fits: it was one of ours */
    r->is_partial = false;
    sl_store_sweep(&r->store);
}

static void tell_error(const json_t *status, struct sl_replica_result *out)
{
    const char *message = json_string_value(json_object_get(status, "message"));
    json_int_t code = json_integer_value(json_object_get(status, "code"));

    out->event = code == 410 ? SL_REPLICA_GONE : SL_REPLICA_ERROR;
    (void)snprintf(out->error, sizeof(out->error), "%d: %s", (int)code,
                   message != NULL ? message : "no message"); /* cut on purpose */
}

static int apply_change(struct sl_replica *r, const char *type, const json_t *object,
                        struct sl_replica_result *out)
{
    char key[SL_KUBE_KEY_BYTES];
    int rc = sl_kube_key(object, key);

    if (rc != SL_OK) {
        return rc;
    }
    out->hash = sl_replica_hash(key);
    if (strcmp(type, "ADDED") == 0 || strcmp(type, "MODIFIED") == 0) {
        return put(r, object);
    }
    if (strcmp(type, "DELETED") != 0) {
        return SL_EPROTO;
    }
    sl_store_remove(&r->store, key);
    return SL_OK;
}

/* KEP-3157: the bookmark after which a stream that named what there is goes on as a watch. */
static bool is_marker(const json_t *object)
{
    const json_t *annotations = json_object_get(json_object_get(object, "metadata"), "annotations");
    const char *value =
        json_string_value(json_object_get(annotations, "k8s.io/initial-events-end"));

    return value != NULL && strcmp(value, "true") == 0;
}

static int apply_bookmark(struct sl_replica *r, const json_t *object, struct sl_replica_result *out)
{
    out->event = SL_REPLICA_BOOKMARK;
    if (r->is_partial && !is_marker(object)) {
        return SL_OK;
    }
    int rc = take_version(r, object, &out->progressed);
    if (rc == SL_OK && r->is_partial) {
        out->event = SL_REPLICA_COMPLETE;
        r->is_partial = false;
        sl_store_sweep(&r->store);
    }
    return rc;
}

int sl_replica_apply_event(struct sl_replica *r, struct sl_slice line,
                           struct sl_replica_result *out)
{
    const json_t *event = sl_kube_json_parse(line);
    const char *type = json_string_value(json_object_get(event, "type"));
    const json_t *object = json_object_get(event, "object");
    int rc = SL_OK;

    *out = (struct sl_replica_result){.event = SL_REPLICA_CHANGE};
    if (type == NULL || object == NULL) {
        rc = SL_EPROTO;
    } else if (strcmp(type, "ERROR") == 0) {
        tell_error(object, out); /* it carries no version */
    } else if (strcmp(type, "BOOKMARK") == 0) {
        rc = apply_bookmark(r, object, out);
    } else {
        rc = apply_change(r, type, object, out);
        if (rc == SL_OK && !r->is_partial) {
            rc = take_version(r, object, &out->progressed);
        }
    }
    sl_kube_json_done();
    return rc;
}
