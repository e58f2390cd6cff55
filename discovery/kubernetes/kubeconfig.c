/* SPDX-License-Identifier: Apache-2.0 */
#include "kubeconfig.h"

#include "proxy/base/alloc.h"
#include "proxy/base/arena.h"
#include "proxy/base/yaml.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>

#define FILE_MAX_BYTES (1U << 20)
#define BLOCK_BYTES (16U * 1024)

struct reader {
    const char *file;
    const struct sl_yaml_node *root; /* NULL: the file is empty */
    struct sl_kube_access *access;
    bool allow_insecure;
    struct sl_error *err;
    struct sl_pos pos; /* of the error at hand */
};

struct refusal {
    const char *key;
    const char *instead;
};

static const struct sl_pos *at(struct reader *r, const struct sl_yaml_node *node, const char *key)
{
    r->pos = (struct sl_pos){
        .file = r->file,
        .key = key,
        .line = node != NULL ? node->line : 1,
        .column = node != NULL ? node->column : 1,
    };
    return &r->pos;
}

static const struct sl_yaml_node *get(const struct sl_yaml_node *map, const char *key)
{
    return sl_yaml_find(map, sl_slice_of(key));
}

/* The value of key as text; NULL also for an empty one and for a bare null. */
static const char *text_of(const struct sl_yaml_node *map, const char *key)
{
    const struct sl_yaml_node *node = get(map, key);

    if (node == NULL || node->kind != SL_YAML_TEXT || node->text.len == 0) {
        return NULL;
    }
    const char *text = node->text.ptr;
    bool is_null = node->is_plain && (strcmp(text, "null") == 0 || strcmp(text, "~") == 0);
    return is_null ? NULL : text;
}

/* From a list of {name: x, <kind>: {...}} the mapping of the one named. */
static int find(struct reader *r, const char *list, const char *kind, const char *name,
                const struct sl_yaml_node **out)
{
    const struct sl_yaml_node *items = get(r->root, list);
    const struct sl_yaml_node *item =
        items != NULL && items->kind == SL_YAML_LIST ? items->first : NULL;

    for (; item != NULL; item = item->next) {
        const char *item_name = text_of(item, "name");

        if (item_name != NULL && strcmp(item_name, name) == 0) {
            *out = get(item, kind);
            return SL_OK;
        }
    }
    return sl_error_set(r->err, SL_ECONFIG, at(r, items, list),
                        "expected one named \"%.128s\", found none", name);
}

/* Each that is there, unless it is empty, null or false. */
static int refuse(struct reader *r, const struct sl_yaml_node *map, const struct refusal *refusals,
                  size_t refusals_n)
{
    for (size_t i = 0; i < refusals_n; i++) {
        const char *key = refusals[i].key;
        const struct sl_yaml_node *node = get(map, key);
        const char *text = text_of(map, key);

        if (node != NULL &&
            (text != NULL ? strcmp(text, "false") != 0 : node->kind != SL_YAML_TEXT))
        {
            return sl_error_set(r->err, SL_ECONFIG, at(r, node, key), "is not supported; %s",
                                refusals[i].instead);
        }
    }
    return SL_OK;
}

/* what: for the message. text NULL: nothing to take. */
static int take_text(struct reader *r, const char *text, const char *what, char **out)
{
    if (text == NULL) {
        return SL_OK;
    }
    *out = sl_strdup(text);
    return *out != NULL ? SL_OK : sl_error_set(r->err, SL_ENOMEM, NULL, "no memory for %s", what);
}

/* A path as text, from the folder of the kubeconfig when it is relative; NULL where unset. */
static int take_path(struct reader *r, const struct sl_yaml_node *map, const char *key, char **out)
{
    const char *text = text_of(map, key);
    const char *slash = strrchr(r->file, '/');
    char path[4096];

    if (text == NULL) {
        return SL_OK;
    }
    int dir_len = text[0] != '/' && slash != NULL ? (int)(slash - r->file) + 1 : 0;
    int len = snprintf(path, sizeof(path), "%.*s%s", dir_len, r->file, text);
    if (len < 0 || (size_t)len >= sizeof(path)) {
        return sl_error_set(r->err, SL_ECONFIG, at(r, get(map, key), key),
                            "expected a path below 4096 bytes");
    }
    return take_text(r, path, "a path", out);
}

/* RFC 4648 section 4: the value of a character, -1 for what is none. */
static int base64_value(char ch)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const char *digit = memchr(digits, ch, sizeof(digits) - 1);

    return digit != NULL ? (int)(digit - digits) : -1;
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

static int take_pem(struct reader *r, const struct sl_yaml_node *map, const char *key,
                    struct sl_kube_pem *out)
{
    const char *text = text_of(map, key);
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
        explicit_bzero(pem, len);
        sl_free(pem);
        return sl_error_set(r->err, SL_ECONFIG, at(r, get(map, key), key),
                            "expected PEM in base64");
    }
    *out = (struct sl_kube_pem){pem, pem_len};
    return SL_OK;
}

/* The data of a thing goes before its file, as in kubectl. */
static int take_pem_or_path(struct reader *r, const struct sl_yaml_node *map, const char *key,
                            struct sl_kube_pem *pem, char **file)
{
    char data_key[64];

    (void)snprintf(data_key, sizeof(data_key), "%s-data", key);
    int rc = take_pem(r, map, data_key, pem);
    return rc == SL_OK && pem->len == 0 ? take_path(r, map, key, file) : rc;
}

/* A flag of YAML 1.2's core schema, as Go reads it; absent is false. */
static int take_flag(struct reader *r, const struct sl_yaml_node *map, const char *key, bool *out)
{
    const char *text = text_of(map, key);

    if (text != NULL && strcmp(text, "true") != 0 && strcmp(text, "false") != 0) {
        return sl_error_set(r->err, SL_ECONFIG, at(r, get(map, key), key),
                            "expected true or false, found \"%.64s\"", text);
    }
    *out = text != NULL && strcmp(text, "true") == 0;
    return SL_OK;
}

/* It goes into an URL, and to the server in the clear. */
static int take_tls_name(struct reader *r, const struct sl_yaml_node *cluster)
{
    static const char key[] = "tls-server-name";
    const char *name = text_of(cluster, key);
    unsigned char ip[sizeof(struct in6_addr)];

    if (name == NULL) {
        return SL_OK;
    }
    size_t len = strlen(name);
    bool is_name = len <= 253 && len == strspn(name,
                                               "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                               "abcdefghijklmnopqrstuvwxyz0123456789-_.");
    if (!is_name && inet_pton(AF_INET6, name, ip) != 1) {
        return sl_error_set(r->err, SL_ECONFIG, at(r, get(cluster, key), key),
                            "expected a name or an address that the server's certificate has");
    }
    return take_text(r, name, key, &r->access->tls_name);
}

static int take_insecure(struct reader *r, const struct sl_yaml_node *cluster)
{
    static const char key[] = "insecure-skip-tls-verify";
    struct sl_kube_access *a = r->access;
    int rc = take_flag(r, cluster, key, &a->insecure);

    if (rc != SL_OK || !a->insecure) {
        return rc;
    }
    if (!r->allow_insecure) {
        return sl_error_set(r->err, SL_ECONFIG, at(r, get(cluster, key), key),
                            "anyone on the way could name endpoints and read our token; give "
                            "certificate-authority, or set kubernetes.allow_insecure_tls: true");
    }
    if (a->ca_file != NULL || a->ca_pem.len > 0) {
        return sl_error_set(r->err, SL_ECONFIG, at(r, get(cluster, key), key),
                            "expected it without certificate-authority: one of them is not meant");
    }
    return SL_OK;
}

static int read_cluster(struct reader *r, const struct sl_yaml_node *cluster)
{
    static const struct refusal refusals[] = {
        {"proxy-url", "the API server is reached directly: allow that and take proxy-url away"},
    };
    struct sl_kube_access *a = r->access;
    const struct sl_yaml_node *node = get(cluster, "server");
    const char *server = text_of(cluster, "server");

    node = node != NULL ? node : cluster;
    if (server == NULL) {
        return sl_error_set(r->err, SL_ECONFIG, at(r, node, "server"),
                            "expected https://host:port, found nothing");
    }
    int rc = refuse(r, cluster, refusals, SL_ARRAY_LEN(refusals));
    if (rc == SL_OK) {
        rc = sl_kube_check_server(server, at(r, node, "server"), &a->server, r->err);
    }
    if (rc == SL_OK) {
        rc = take_pem_or_path(r, cluster, "certificate-authority", &a->ca_pem, &a->ca_file);
    }
    rc = rc == SL_OK ? take_tls_name(r, cluster) : rc;
    rc = rc == SL_OK ? take_insecure(r, cluster) : rc;
    return rc == SL_OK ? take_flag(r, cluster, "disable-compression", &a->no_gzip) : rc;
}

#define PLUGIN                                                                                 \
    "no program is run to log in; give a token, tokenFile or client-certificate, for example " \
    "of a service account"
#define PASSWORD \
    "API servers take no passwords since 1.19; give a token, tokenFile or client-certificate"
#define IMPERSONATE "give the rights to the user itself, by a Role and a RoleBinding"

static int read_user(struct reader *r, const struct sl_yaml_node *user)
{
    static const struct refusal refusals[] = {
        {"exec", PLUGIN},           {"auth-provider", PLUGIN},
        {"username", PASSWORD},     {"password", PASSWORD},
        {"as", IMPERSONATE},        {"as-uid", IMPERSONATE},
        {"as-groups", IMPERSONATE}, {"as-user-extra", IMPERSONATE},
    };
    struct sl_kube_access *a = r->access;
    int rc = refuse(r, user, refusals, SL_ARRAY_LEN(refusals));

    if (rc == SL_OK) {
        rc = take_pem_or_path(r, user, "client-certificate", &a->cert_pem, &a->cert_file);
    }
    if (rc == SL_OK) {
        rc = take_pem_or_path(r, user, "client-key", &a->key_pem, &a->key_file);
    }
    rc = rc == SL_OK ? take_path(r, user, "tokenFile", &a->token_file) : rc;
    if (rc == SL_OK && a->token_file == NULL) {
        rc = take_text(r, text_of(user, "token"), "a text", &a->token);
    }
    bool has_cert = a->cert_file != NULL || a->cert_pem.len > 0;
    bool has_key = a->key_file != NULL || a->key_pem.len > 0;
    if (rc == SL_OK && has_cert != has_key) {
        return sl_error_set(r->err, SL_ECONFIG, at(r, user, "users"),
                            "expected client-certificate and client-key, "
                            "found one without the other");
    }
    return rc;
}

static int read_context(struct reader *r, const char *name)
{
    const struct sl_yaml_node *context = NULL;
    const struct sl_yaml_node *node = NULL;

    name = name != NULL ? name : text_of(r->root, "current-context");
    if (name == NULL) {
        return sl_error_set(r->err, SL_ECONFIG, at(r, r->root, "current-context"),
                            "expected a context, found none; set kubernetes.context");
    }
    int rc = find(r, "contexts", "context", name, &context);
    if (rc != SL_OK) {
        return rc;
    }
    const char *cluster = text_of(context, "cluster");
    const char *user = text_of(context, "user");
    const char *ns = text_of(context, "namespace");
    if (cluster == NULL) {
        return sl_error_set(r->err, SL_ECONFIG, at(r, context, "contexts"),
                            "expected a cluster in the context");
    }
    rc = find(r, "clusters", "cluster", cluster, &node);
    rc = rc == SL_OK ? read_cluster(r, node) : rc;
    if (rc == SL_OK && user != NULL) {
        rc = find(r, "users", "user", user, &node);
        rc = rc == SL_OK ? read_user(r, node) : rc;
    }
    ns = ns != NULL ? ns : "default";
    return rc == SL_OK ? take_text(r, ns, "the namespace", &r->access->namespace_) : rc;
}

int sl_kubeconfig_parse(const char *file, struct sl_slice text, const char *context,
                        bool allow_insecure, struct sl_kube_access *a, struct sl_error *err)
{
    struct reader r = {.file = file, .access = a, .allow_insecure = allow_insecure, .err = err};
    struct sl_yaml_input in = {
        .file = file,
        .text = text,
        .root_name = "",
        .refusal = "expected YAML",
        .has_lines = true, /* base64 in lines, and scripts of users that are not ours */
    };
    struct sl_arena arena;

    sl_arena_init(&arena, BLOCK_BYTES, 0, NULL, 0);
    int rc = sl_yaml_read(&in, &arena, &r.root, err);
    rc = rc == SL_OK ? read_context(&r, context) : rc;
    /* Tokens and keys may be in it; libyaml's copies we cannot reach. */
    sl_arena_wipe(&arena);
    sl_arena_fini(&arena);
    return rc;
}

int sl_kubeconfig_load(const char *file, const char *context, bool allow_insecure,
                       struct sl_kube_access *a, struct sl_error *err)
{
    char *text;
    size_t len;
    int rc = sl_kube_read_file(file, FILE_MAX_BYTES, &text, &len, err);

    if (rc != SL_OK) {
        return rc;
    }
    rc = sl_kubeconfig_parse(file, (struct sl_slice){text, len}, context, allow_insecure, a, err);
    explicit_bzero(text, len);
    sl_free(text);
    return rc;
}
