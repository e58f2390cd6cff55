/* SPDX-License-Identifier: Apache-2.0 */
#include "kubeconfig.h"

#include "proxy/base/alloc.h"

#include <yaml.h>

#include <stdio.h>
#include <string.h>

#define FILE_MAX_BYTES (1U << 20)

struct reader {
    const char *file;
    yaml_document_t doc;
    struct sl_kube_access *access;
    struct sl_error *err;
};

static struct sl_pos pos_of(const struct reader *r, const yaml_node_t *node, const char *key)
{
    return (struct sl_pos){
        .file = r->file,
        .key = key,
        .line = node != NULL ? (uint32_t)node->start_mark.line + 1 : 1,
        .column = node != NULL ? (uint32_t)node->start_mark.column + 1 : 1,
    };
}

/* The value of key in a mapping; NULL where there is none, or no mapping. */
static yaml_node_t *get(struct reader *r, const yaml_node_t *map, const char *key)
{
    if (map == NULL || map->type != YAML_MAPPING_NODE) {
        return NULL;
    }
    for (const yaml_node_pair_t *p = map->data.mapping.pairs.start; p < map->data.mapping.pairs.top;
         p++)
    {
        const yaml_node_t *k = yaml_document_get_node(&r->doc, p->key);
        if (k != NULL && k->type == YAML_SCALAR_NODE &&
            strcmp((const char *)k->data.scalar.value, key) == 0)
        {
            return yaml_document_get_node(&r->doc, p->value);
        }
    }
    return NULL;
}

/* The same as text; NULL also for an empty one and for a bare null. */
static const char *text_of(struct reader *r, const yaml_node_t *map, const char *key)
{
    const yaml_node_t *node = get(r, map, key);

    if (node == NULL || node->type != YAML_SCALAR_NODE || node->data.scalar.length == 0) {
        return NULL;
    }
    const char *text = (const char *)node->data.scalar.value;
    bool plain = node->data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
    return plain && (strcmp(text, "null") == 0 || strcmp(text, "~") == 0) ? NULL : text;
}

/* From a list of {name: x, <kind>: {...}} the mapping of the one named. */
static int find(struct reader *r, const char *list, const char *kind, const char *name,
                yaml_node_t **out)
{
    const yaml_node_t *root = yaml_document_get_root_node(&r->doc);
    const yaml_node_t *items = get(r, root, list);
    struct sl_pos pos = pos_of(r, items, list);

    if (items != NULL && items->type == YAML_SEQUENCE_NODE) {
        for (const yaml_node_item_t *i = items->data.sequence.items.start;
             i < items->data.sequence.items.top; i++)
        {
            const yaml_node_t *item = yaml_document_get_node(&r->doc, *i);
            const char *item_name = text_of(r, item, "name");

            if (item_name != NULL && strcmp(item_name, name) == 0) {
                *out = get(r, item, kind);
                return SL_OK;
            }
        }
    }
    return sl_error_set(r->err, SL_ECONFIG, &pos, "expected one named \"%.128s\", found none",
                        name);
}

static int refuse(struct reader *r, const yaml_node_t *map, const char *key, const char *instead)
{
    const yaml_node_t *node = get(r, map, key);
    struct sl_pos pos = pos_of(r, node, key);

    if (node == NULL || text_of(r, map, key) == NULL) {
        if (node == NULL || node->type == YAML_SCALAR_NODE) {
            return SL_OK; /* absent, empty or null */
        }
    } else if (strcmp(text_of(r, map, key), "false") == 0) {
        return SL_OK;
    }
    return sl_error_set(r->err, SL_ECONFIG, &pos, "is not supported; %s", instead);
}

/* A path as text, from the folder of the kubeconfig when it is relative; NULL where unset. */
static int take_path(struct reader *r, const yaml_node_t *map, const char *key, char **out)
{
    const char *text = text_of(r, map, key);
    const char *slash = strrchr(r->file, '/');
    char path[4096];

    if (text == NULL) {
        return SL_OK;
    }
    int dir_len = text[0] != '/' && slash != NULL ? (int)(slash - r->file) + 1 : 0;
    int len = snprintf(path, sizeof(path), "%.*s%s", dir_len, r->file, text);
    if (len < 0 || (size_t)len >= sizeof(path)) {
        struct sl_pos pos = pos_of(r, get(r, map, key), key);
        return sl_error_set(r->err, SL_ECONFIG, &pos, "expected a path below 4096 bytes");
    }
    *out = sl_strdup(path);
    return *out != NULL ? SL_OK : sl_error_set(r->err, SL_ENOMEM, NULL, "no memory for a path");
}

static int take_text(struct reader *r, const yaml_node_t *map, const char *key, char **out)
{
    const char *text = text_of(r, map, key);

    if (text == NULL) {
        return SL_OK;
    }
    *out = sl_strdup(text);
    return *out != NULL ? SL_OK : sl_error_set(r->err, SL_ENOMEM, NULL, "no memory for a text");
}

/* RFC 4648 section 4: the value of a character, -1 for what is none. */
static int base64_value(char ch)
{
    if (ch >= 'A' && ch <= 'Z') {
        return ch - 'A';
    }
    if (ch >= 'a' && ch <= 'z') {
        return ch - 'a' + 26;
    }
    if (ch >= '0' && ch <= '9') {
        return ch - '0' + 52;
    }
    if (ch == '+') {
        return 62;
    }
    return ch == '/' ? 63 : -1;
}

/* out has at least three quarters of len. Line ends are passed over, as in a folded scalar. */
static bool decode_base64(const char *text, size_t len, char *out, size_t *out_len)
{
    uint32_t bits = 0;
    size_t digits_n = 0;
    size_t pads_n = 0;
    size_t n = 0;

    for (size_t i = 0; i < len; i++) {
        int value = base64_value(text[i]);

        if (strchr(" \r\n", text[i]) != NULL) {
            continue;
        }
        if (text[i] == '=') {
            pads_n++;
            continue;
        }
        if (value < 0 || pads_n > 0) {
            return false;
        }
        bits = (bits << 6) | (uint32_t)value;
        digits_n++;
        if (digits_n % 4 != 1) {
            out[n++] = (char)((bits >> ((4 - digits_n % 4) * 2 % 8)) & 0xff);
        }
    }
    *out_len = n;
    return digits_n % 4 != 1 && (digits_n + pads_n) % 4 == 0 && pads_n <= 2;
}

static int take_pem(struct reader *r, const yaml_node_t *map, const char *key,
                    struct sl_kube_pem *out)
{
    const char *text = text_of(r, map, key);
    size_t pem_len;

    if (text == NULL) {
        return SL_OK;
    }
    size_t len = strlen(text);
    char *pem = sl_alloc(len + 1);
    if (pem == NULL) {
        return sl_error_set(r->err, SL_ENOMEM, NULL, "no memory for %s", key);
    }
    if (!decode_base64(text, len, pem, &pem_len) || pem_len == 0) {
        struct sl_pos pos = pos_of(r, get(r, map, key), key);
        explicit_bzero(pem, len);
        sl_free(pem);
        return sl_error_set(r->err, SL_ECONFIG, &pos, "expected PEM in base64");
    }
    *out = (struct sl_kube_pem){pem, pem_len};
    return SL_OK;
}

static int read_cluster(struct reader *r, const yaml_node_t *cluster)
{
    struct sl_kube_access *a = r->access;
    const yaml_node_t *node = get(r, cluster, "server");
    const char *server = text_of(r, cluster, "server");
    struct sl_pos pos = pos_of(r, node != NULL ? node : cluster, "server");
    int rc;

    if (server == NULL) {
        return sl_error_set(r->err, SL_ECONFIG, &pos, "expected https://host:port, found nothing");
    }
    rc = refuse(r, cluster, "insecure-skip-tls-verify",
                "name the CA of the server: certificate-authority");
    if (rc == SL_OK) {
        rc = refuse(r, cluster, "proxy-url", "the API server is reached directly");
    }
    if (rc == SL_OK) {
        rc = refuse(r, cluster, "tls-server-name", "write a server that its certificate names");
    }
    if (rc == SL_OK) {
        rc = sl_kube_check_server(server, &pos, &a->server, r->err);
    }
    if (rc == SL_OK) {
        rc = take_pem(r, cluster, "certificate-authority-data", &a->ca_pem);
    }
    /* The data of a thing goes before its file, as in kubectl. */
    if (rc == SL_OK && a->ca_pem.len == 0) {
        rc = take_path(r, cluster, "certificate-authority", &a->ca_file);
    }
    return rc;
}

static int refuse_user(struct reader *r, const yaml_node_t *user)
{
    static const char *const keys[] = {"exec", "auth-provider", "username",  "password",
                                       "as",   "as-uid",        "as-groups", "as-user-extra"};
    int rc = SL_OK;

    for (size_t i = 0; rc == SL_OK && i < SL_ARRAY_LEN(keys); i++) {
        rc = refuse(r, user, keys[i],
                    "use a token, tokenFile or client-certificate, for example of a service "
                    "account");
    }
    return rc;
}

static int read_user(struct reader *r, const yaml_node_t *user)
{
    struct sl_kube_access *a = r->access;
    int rc = refuse_user(r, user);

    if (rc == SL_OK) {
        rc = take_pem(r, user, "client-certificate-data", &a->cert_pem);
    }
    if (rc == SL_OK && a->cert_pem.len == 0) {
        rc = take_path(r, user, "client-certificate", &a->cert_file);
    }
    if (rc == SL_OK) {
        rc = take_pem(r, user, "client-key-data", &a->key_pem);
    }
    if (rc == SL_OK && a->key_pem.len == 0) {
        rc = take_path(r, user, "client-key", &a->key_file);
    }
    if (rc == SL_OK) {
        rc = take_path(r, user, "tokenFile", &a->token_file);
    }
    if (rc == SL_OK && a->token_file == NULL) {
        rc = take_text(r, user, "token", &a->token);
    }
    bool has_cert = a->cert_file != NULL || a->cert_pem.len > 0;
    bool has_key = a->key_file != NULL || a->key_pem.len > 0;
    if (rc == SL_OK && has_cert != has_key) {
        struct sl_pos pos = pos_of(r, user, "users");
        rc = sl_error_set(r->err, SL_ECONFIG, &pos,
                          "expected client-certificate and client-key, "
                          "found one without the other");
    }
    return rc;
}

static int read_document(struct reader *r, const char *name)
{
    const yaml_node_t *root = yaml_document_get_root_node(&r->doc);
    struct sl_pos pos = pos_of(r, root, "current-context");
    yaml_node_t *context = NULL;
    yaml_node_t *node = NULL;
    int rc;

    name = name != NULL ? name : text_of(r, root, "current-context");
    if (name == NULL) {
        return sl_error_set(r->err, SL_ECONFIG, &pos,
                            "expected a context, found none; set kubernetes.context");
    }
    rc = find(r, "contexts", "context", name, &context);
    if (rc != SL_OK) {
        return rc;
    }
    const char *cluster = text_of(r, context, "cluster");
    const char *user = text_of(r, context, "user");
    if (cluster == NULL) {
        pos = pos_of(r, context, "contexts");
        return sl_error_set(r->err, SL_ECONFIG, &pos, "expected a cluster in the context");
    }
    rc = find(r, "clusters", "cluster", cluster, &node);
    if (rc == SL_OK) {
        rc = read_cluster(r, node);
    }
    if (rc == SL_OK && user != NULL) {
        rc = find(r, "users", "user", user, &node);
        rc = rc == SL_OK ? read_user(r, node) : rc;
    }
    if (rc == SL_OK) {
        rc = take_text(r, context, "namespace", &r->access->namespace_);
    }
    if (rc == SL_OK && r->access->namespace_ == NULL) {
        r->access->namespace_ = sl_strdup("default");
        rc = r->access->namespace_ != NULL
                 ? SL_OK
                 : sl_error_set(r->err, SL_ENOMEM, NULL, "no memory for the namespace");
    }
    return rc;
}

int sl_kubeconfig_load(const char *file, const char *context, struct sl_kube_access *a,
                       struct sl_error *err)
{
    struct reader r = {.file = file, .access = a, .err = err};
    yaml_parser_t parser;
    char *text;
    size_t len;
    int rc = sl_kube_read_file(file, FILE_MAX_BYTES, &text, &len, err);

    if (rc != SL_OK) {
        return rc;
    }
    if (yaml_parser_initialize(&parser) == 0) {
        rc = sl_error_set(err, SL_ENOMEM, NULL, "no memory to read %.128s", file);
        goto out_text;
    }
    yaml_parser_set_input_string(&parser, (const unsigned char *)text, len);
    if (yaml_parser_load(&parser, &r.doc) == 0) {
        struct sl_pos pos = {
            .file = file,
            .key = "",
            .line = (uint32_t)parser.problem_mark.line + 1,
            .column = (uint32_t)parser.problem_mark.column + 1,
        };
        rc = sl_error_set(err, SL_ECONFIG, &pos, "expected YAML: %.160s",
                          parser.problem != NULL ? parser.problem : "out of memory");
        goto out_parser;
    }
    rc = read_document(&r, context);
    yaml_document_delete(&r.doc);
out_parser:
    yaml_parser_delete(&parser);
out_text:
    explicit_bzero(text, len); /* tokens and keys may be in it; libyaml's copies we cannot reach */
    sl_free(text);
    return rc;
}
