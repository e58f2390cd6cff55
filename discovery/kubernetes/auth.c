/* SPDX-License-Identifier: Apache-2.0 */
#include "auth.h"

#include <sluiced/log.h>

#include "kubeconfig.h"

#include "proxy/base/alloc.h"
#include "proxy/base/num.h"
#include "proxy/io/fetch.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SERVICE_ACCOUNT_DIR "/var/run/secrets/kubernetes.io/serviceaccount"
#define SMALL_FILE_MAX_BYTES 65536
#define BEARER "Authorization: Bearer "

static void wipe(char *secret, size_t len)
{
    if (secret != NULL) {
        explicit_bzero(secret, len);
        sl_free(secret);
    }
}

static void set_read_error(const char *path, int errnum, struct sl_error *err)
{
    char text[96];
    (void)sl_error_set(err, SL_ECONFIG, NULL, "cannot read %s: %s", path,
                       sl_errno_text(errnum, text, sizeof(text)));
}

/* Up to max_bytes of fd, terminated; err is set where there are more, or they cannot be read. */
static int read_fd(int fd, const char *path, char *data, size_t max_bytes, size_t *len,
                   struct sl_error *err)
{
    size_t have_bytes = 0;
    ssize_t n = 1;

    while (n != 0 && have_bytes <= max_bytes) {
        n = read(fd, data + have_bytes, max_bytes + 1 - have_bytes);
        if (n < 0 && errno != EINTR) {
            set_read_error(path, errno, err);
            return SL_ECONFIG;
        }
        have_bytes += n > 0 ? (size_t)n : 0;
    }
    if (have_bytes > max_bytes) {
        (void)sl_error_set(err, SL_ECONFIG, NULL, "%s is larger than %zu bytes", path, max_bytes);
        return SL_ECONFIG;
    }
    data[have_bytes] = '\0';
    *len = have_bytes;
    return SL_OK;
}

int sl_kube_read_file(const char *path, size_t max_bytes, char **out, size_t *len,
                      struct sl_error *err)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);

    if (fd < 0) {
        set_read_error(path, errno, err);
        return SL_ECONFIG;
    }
    /* Not grown by steps: each would leave a copy of a secret behind. */
    char *data = sl_alloc(max_bytes + 1);
    if (data == NULL) {
        (void)close(fd); /* only read from */
        (void)sl_error_set(err, SL_ENOMEM, NULL, "no memory to read %s", path);
        return SL_ENOMEM;
    }
    int rc = read_fd(fd, path, data, max_bytes, len, err);
    (void)close(fd); /* only read from */
    if (rc != SL_OK) {
        wipe(data, max_bytes + 1);
        return rc;
    }
    *out = data;
    return SL_OK;
}

static bool is_loopback(struct sl_slice host)
{
    static const char *const names[] = {"localhost", "127.0.0.1", "[::1]"};

    for (size_t i = 0; i < SL_ARRAY_LEN(names); i++) {
        size_t len = strlen(names[i]);
        if (sl_slice_starts(host, sl_slice_of(names[i])) &&
            (host.len == len || host.ptr[len] == ':'))
        {
            return true;
        }
    }
    return false;
}

int sl_kube_check_server(const char *server, const struct sl_pos *pos, char **out,
                         struct sl_error *err)
{
    struct sl_slice url = sl_slice_of(server);
    bool is_http = sl_slice_starts(url, SL_SLICE("http://"));
    size_t scheme_len = is_http ? 7 : 8;

    if (!is_http && !sl_slice_starts(url, SL_SLICE("https://"))) {
        return sl_error_set(err, SL_ECONFIG, pos, "expected https://host:port, found \"%.64s\"",
                            server);
    }
    for (size_t i = 0; i < url.len; i++) {
        if (url.ptr[i] <= ' ' || url.ptr[i] > '~' || strchr("@?#", url.ptr[i]) != NULL) {
            return sl_error_set(err, SL_ECONFIG, pos,
                                "expected https://host:port without user, query and fragment");
        }
    }
    struct sl_slice host = {url.ptr + scheme_len, strcspn(url.ptr + scheme_len, "/")};
    if (host.len == 0) {
        return sl_error_set(err, SL_ECONFIG, pos, "expected a host after \"%s\"", server);
    }
    if (is_http && !is_loopback(host)) {
        return sl_error_set(err, SL_ECONFIG, pos,
                            "plain http to another machine would show everyone our token and "
                            "let anyone name endpoints; write https://");
    }
    while (url.len > scheme_len && url.ptr[url.len - 1] == '/') {
        url.len--;
    }
    char *copy = sl_slice_dup(url);
    if (copy == NULL) {
        return sl_error_set(err, SL_ENOMEM, NULL, "no memory for the server's address");
    }
    *out = copy;
    return SL_OK;
}

static char *join(const char *dir, const char *name)
{
    char path[4096];
    int len = snprintf(path, sizeof(path), "%s/%s", dir, name);
    return len > 0 && (size_t)len < sizeof(path) ? sl_strdup(path) : NULL;
}

/* Without white space around; in place. */
static size_t trim(char *text, size_t len)
{
    size_t start = 0;

    while (len > 0 && strchr(" \t\r\n", text[len - 1]) != NULL) {
        len--;
    }
    while (start < len && strchr(" \t\r\n", text[start]) != NULL) {
        start++;
    }
    memmove(text, text + start, len - start);
    text[len - start] = '\0';
    return len - start;
}

static int in_cluster_server(char **out, struct sl_error *err)
{
    /* Nobody in this process sets the environment.
     * NOLINTBEGIN(concurrency-mt-unsafe) */
    const char *host = getenv("KUBERNETES_SERVICE_HOST");
    const char *port = getenv("KUBERNETES_SERVICE_PORT");
    /* NOLINTEND(concurrency-mt-unsafe) */
    char url[300];
    uint64_t number;

    if (host == NULL || host[0] == '\0') {
        return sl_error_set(err, SL_ECONFIG, NULL,
                            "not in a pod: KUBERNETES_SERVICE_HOST is not set; set "
                            "kubernetes.kubeconfig to the path of a kubeconfig");
    }
    if (port == NULL || sl_num_parse_below(sl_slice_of(port), 65535, &number) != SL_OK) {
        return sl_error_set(err, SL_ECONFIG, NULL,
                            "KUBERNETES_SERVICE_PORT: expected a port, found \"%.32s\"",
                            port != NULL ? port : "");
    }
    bool is_ipv6 = strchr(host, ':') != NULL;
    int len = snprintf(url, sizeof(url), "https://%s%s%s:%s", is_ipv6 ? "[" : "", host,
                       is_ipv6 ? "]" : "", port);
    if (len < 0 || (size_t)len >= sizeof(url)) {
        return sl_error_set(err, SL_ECONFIG, NULL, "KUBERNETES_SERVICE_HOST is too long");
    }
    return sl_kube_check_server(url, NULL, out, err);
}

static int load_in_cluster(const struct sl_config *config, struct sl_kube_access *a,
                           struct sl_error *err)
{
    const char *dir = config->kubernetes.service_account != NULL
                          ? config->kubernetes.service_account
                          : SERVICE_ACCOUNT_DIR;
    struct sl_error ignored;
    size_t len;
    int rc = in_cluster_server(&a->server, err);

    if (rc != SL_OK) {
        return rc;
    }
    a->ca_file = join(dir, "ca.crt");
    a->token_file = join(dir, "token");
    char *namespace_file = join(dir, "namespace");
    if (a->ca_file == NULL || a->token_file == NULL || namespace_file == NULL) {
        sl_free(namespace_file);
        return sl_error_set(err, SL_ENOMEM, NULL, "no memory for the paths in %.128s", dir);
    }
    /* A pool that names its namespace does not need it. */
    if (sl_kube_read_file(namespace_file, SMALL_FILE_MAX_BYTES, &a->namespace_, &len, &ignored) ==
            SL_OK &&
        trim(a->namespace_, len) == 0)
    {
        sl_free(a->namespace_);
        a->namespace_ = NULL;
    }
    sl_free(namespace_file);
    return SL_OK;
}

int sl_kube_access_load(const struct sl_config *config, struct sl_kube_access **out,
                        struct sl_error *err)
{
    const char *file = config->kubernetes.kubeconfig;
    struct sl_kube_access *a = sl_alloc(sizeof(*a));

    if (a == NULL) {
        return sl_error_set(err, SL_ENOMEM, NULL, "no memory for the Kubernetes access");
    }
    int rc = file != NULL ? sl_kubeconfig_load(file, config->kubernetes.context,
                                               config->kubernetes.allow_insecure_tls, a, err)
                          : load_in_cluster(config, a, err);
    if (rc != SL_OK) {
        sl_kube_access_free(a);
        return rc;
    }
    if (a->insecure) {
        sl_log(SL_LOG_WARN, "discovery_insecure", {"server", SL_LOG_STR(a->server)},
               {"kubeconfig", SL_LOG_STR(file)});
    }
    *out = a;
    return SL_OK;
}

void sl_kube_access_free(struct sl_kube_access *a)
{
    if (a == NULL) {
        return;
    }
    char *const plain[] = {a->server,    a->namespace_, a->tls_name,  a->ca_file,
                           a->cert_file, a->key_file,   a->token_file};
    const struct sl_kube_pem pems[] = {a->ca_pem, a->cert_pem, a->key_pem};

    for (size_t i = 0; i < SL_ARRAY_LEN(plain); i++) {
        sl_free(plain[i]);
    }
    for (size_t i = 0; i < SL_ARRAY_LEN(pems); i++) {
        wipe(pems[i].ptr, pems[i].len);
    }
    wipe(a->token, a->token != NULL ? strlen(a->token) : 0);
    sl_free(a);
}

/* RFC 6750 section 2.1: what a token is made of; a control character would forge a header. */
static bool is_token(const char *text, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        if (text[i] <= ' ' || text[i] > '~') {
            return false;
        }
    }
    return len > 0;
}

int sl_kube_access_header(const struct sl_kube_access *a, char *buf, struct sl_error *err)
{
    char *text = NULL;
    size_t len = 0;
    int rc = SL_OK;

    buf[0] = '\0';
    if (a->token_file == NULL && a->token == NULL) {
        return SL_OK;
    }
    if (a->token_file != NULL) {
        rc = sl_kube_read_file(a->token_file, SMALL_FILE_MAX_BYTES, &text, &len, err);
        if (rc != SL_OK) {
            return rc;
        }
        len = trim(text, len);
    }
    const char *token = text != NULL ? text : a->token;
    size_t token_len = text != NULL ? len : strlen(a->token);
    if (is_token(token, token_len) && token_len < SL_KUBE_HEADER_BYTES - sizeof(BEARER)) {
        memcpy(buf, BEARER, sizeof(BEARER) - 1);
        memcpy(buf + sizeof(BEARER) - 1, token, token_len);
        buf[sizeof(BEARER) - 1 + token_len] = '\0';
    } else {
        rc = sl_error_set(err, SL_ECONFIG, NULL,
                          "%s holds no token: it is empty, or not of "
                          "printable characters",
                          a->token_file != NULL ? a->token_file : "the kubeconfig");
    }
    wipe(text, text != NULL ? SMALL_FILE_MAX_BYTES + 1 : 0);
    return rc;
}

void sl_kube_access_apply(const struct sl_kube_access *a, struct sl_fetch_request *r)
{
    r->tls_name = a->tls_name;
    r->insecure = a->insecure;
    r->ca_file = a->ca_file;
    r->cert_file = a->cert_file;
    r->key_file = a->key_file;
    r->ca_pem = (struct sl_slice){a->ca_pem.ptr, a->ca_pem.len};
    r->cert_pem = (struct sl_slice){a->cert_pem.ptr, a->cert_pem.len};
    r->key_pem = (struct sl_slice){a->key_pem.ptr, a->key_pem.len};
}
