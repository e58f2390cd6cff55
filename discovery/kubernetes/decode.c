/* SPDX-License-Identifier: Apache-2.0 */
#include "decode.h"

#include <sluiced/err.h>

#include "proxy/base/alloc.h"

#include <stdio.h>
#include <string.h>

#define OBJECT_BYTES 512   /* of texts and ports beside the endpoints */
#define ENDPOINT_BYTES 144 /* of an endpoint with its texts: more costs another block */

bool sl_kube_is_text(const json_t *value, const char *text)
{
    return json_is_string(value) && strcmp(json_string_value(value), text) == 0;
}

const char *sl_kube_metadata(const json_t *object, const char *key)
{
    return json_string_value(json_object_get(json_object_get(object, "metadata"), key));
}

const char *sl_kube_text(struct sl_arena *a, const json_t *value, size_t max_len)
{
    const char *text = json_string_value(value);
    size_t len = json_string_length(value);

    if (text == NULL || len == 0 || len > max_len || memchr(text, '\0', len) != NULL) {
        return "";
    }
    return sl_arena_strdup(a, (struct sl_slice){text, len});
}

int sl_kube_key(const json_t *object, char *buf)
{
    const json_t *metadata = json_object_get(object, "metadata");
    const json_t *name = json_object_get(metadata, "name");
    const char *namespace_ = json_string_value(json_object_get(metadata, "namespace"));
    size_t len = json_string_length(name);

    if (len == 0 || len > SL_KUBE_NAME_LEN || strlen(json_string_value(name)) != len ||
        (namespace_ != NULL && strlen(namespace_) > SL_KUBE_LABEL_LEN))
    {
        return SL_EPROTO;
    }
    (void)snprintf(buf, SL_KUBE_KEY_BYTES, "%s/%s", namespace_ != NULL ? namespace_ : "",
                   json_string_value(name)); /* fits */
    return SL_OK;
}

/* Gateway API's names and those of Kubernetes (KEP-3726), and what people write in their place. */
enum sl_kube_protocol sl_kube_protocol_of(const json_t *app_protocol)
{
    static const struct {
        const char *name;
        enum sl_kube_protocol protocol;
    } known[] = {
        {"https", SL_KUBE_HTTPS}, {"kubernetes.io/wss", SL_KUBE_HTTPS},
        {"h2c", SL_KUBE_HTTP2},   {"kubernetes.io/h2c", SL_KUBE_HTTP2},
        {"grpc", SL_KUBE_HTTP2},  {"http2", SL_KUBE_HTTP2},
    };

    for (size_t i = 0; i < SL_ARRAY_LEN(known); i++) {
        if (sl_kube_is_text(app_protocol, known[i].name)) {
            return known[i].protocol;
        }
    }
    return SL_KUBE_HTTP;
}

int sl_kube_append_ports(struct sl_kube_object *o, const json_t *ports, const char *number_key)
{
    for (size_t i = 0; i < json_array_size(ports); i++) {
        const json_t *json = json_array_get(ports, i);
        const json_t *protocol = json_object_get(json, "protocol");
        json_int_t number = json_integer_value(json_object_get(json, number_key));

        if ((json_is_string(protocol) && !sl_kube_is_text(protocol, "TCP")) || number < 1 ||
            number > 65535)
        {
            continue; /* without a number it means "all ports": then the config names one */
        }
        struct sl_kube_port *p = &o->ports[o->ports_n];
        p->number = (uint16_t)number;
        p->protocol = sl_kube_protocol_of(json_object_get(json, "appProtocol"));
        p->name = sl_kube_text(&o->arena, json_object_get(json, "name"), SL_KUBE_LABEL_LEN);
        if (p->name == NULL) {
            return SL_ENOMEM;
        }
        o->ports_n++;
    }
    return SL_OK;
}

/* One block for all, where the texts are as long as they use to be. */
static int object_new(const json_t *json, size_t endpoints_n, struct sl_kube_object **out)
{
    const json_t *metadata = json_object_get(json, "metadata");
    char key[SL_KUBE_KEY_BYTES];
    int rc = sl_kube_key(json, key);

    if (rc != SL_OK) {
        return rc;
    }
    size_t texts_bytes = OBJECT_BYTES + endpoints_n * ENDPOINT_BYTES; /* of JSON in memory */
    struct sl_kube_object *o = sl_alloc(sizeof(*o) + texts_bytes);
    if (o == NULL) {
        return SL_ENOMEM;
    }
    sl_arena_init(&o->arena, OBJECT_BYTES, 0, o + 1, texts_bytes);
    o->key = sl_arena_strdup(&o->arena, sl_slice_of(key));
    o->uid = sl_kube_text(&o->arena, json_object_get(metadata, "uid"), SL_KUBE_UID_LEN);
    o->version =
        sl_kube_text(&o->arena, json_object_get(metadata, "resourceVersion"), SL_KUBE_LABEL_LEN);
    o->service = "";
    o->labels = (struct sl_kube_labels){.version = "", .model = "", .weight = 1};
    if (o->key == NULL || o->uid == NULL || o->version == NULL) {
        sl_kube_object_free(o);
        return SL_ENOMEM;
    }
    o->name = strchr(o->key, '/') + 1;
    *out = o;
    return SL_OK;
}

int sl_kube_decode(enum sl_kube_kind kind, const json_t *object, struct sl_kube_object **out)
{
    static int (*const decoders[SL_KUBE_KINDS_N])(struct sl_kube_object *, const json_t *) = {
        [SL_KUBE_SLICE] = sl_kube_decode_slice,
        [SL_KUBE_POD] = sl_kube_decode_pod,
        [SL_KUBE_POD_NAME] = sl_kube_decode_labels,
        [SL_KUBE_ENDPOINTS] = sl_kube_decode_endpoints,
        [SL_KUBE_INFERENCE_POOL] = sl_kube_decode_inference_pool,
    };
    struct sl_kube_object *o;
    int rc = object_new(object, json_array_size(json_object_get(object, "endpoints")), &o);

    if (rc != SL_OK) {
        return rc;
    }
    rc = decoders[kind](o, object);
    if (rc != SL_OK) {
        sl_kube_object_free(o);
        return rc;
    }
    *out = o;
    return SL_OK;
}

void sl_kube_object_free(struct sl_kube_object *o)
{
    if (o != NULL) {
        sl_arena_fini(&o->arena);
        sl_free(o);
    }
}
