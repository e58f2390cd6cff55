/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fetch_setup: from a request to the options of a libcurl handle.
 */
#include <sluiced/version.h>

#include "fetch_internal.h"

#include "proxy/base/alloc.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>

/* A network that swallows packets is noticed by the kernel, long before a watch's idle timeout. */
#define KEEPALIVE_IDLE_S 15
#define KEEPALIVE_INTERVAL_S 5
#define UNACKED_MAX_MS 30000

static int tune_socket(void *arg, curl_socket_t fd, curlsocktype purpose)
{
    const int on = 1;
    const int idle_s = KEEPALIVE_IDLE_S;
    const int interval_s = KEEPALIVE_INTERVAL_S;
    const unsigned unacked_ms = UNACKED_MAX_MS;
    (void)arg;
    (void)purpose;

    /* A kernel without one of them is slower to notice, nothing else. */
    (void)setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
    (void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle_s, sizeof(idle_s));
    (void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &interval_s, sizeof(interval_s));
    (void)setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &unacked_ms, sizeof(unacked_ms));
    return CURL_SOCKOPT_OK;
}

#define SET(option, value) \
    (rc = rc == CURLE_OK ? curl_easy_setopt(f->easy, CURLOPT_##option, (value)) : rc)

static CURLcode set_pem(struct sl_fetch *f, enum pem which, CURLoption option, struct sl_slice pem)
{
    if (pem.len == 0) {
        return CURLE_OK;
    }
    char *copy = sl_slice_dup(pem);
    if (copy == NULL) {
        return CURLE_OUT_OF_MEMORY;
    }
    f->pems[which].ptr = copy;
    f->pems[which].len = pem.len;
    struct curl_blob blob = {.data = copy, .len = pem.len, .flags = CURL_BLOB_NOCOPY};
    return curl_easy_setopt(f->easy, option, &blob);
}

static CURLcode set_tls(struct sl_fetch *f, const struct sl_fetch_request *r)
{
    CURLcode rc = CURLE_OK;

    SET(SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
    SET(SSL_VERIFYPEER, r->insecure ? 0L : 1L);
    SET(SSL_VERIFYHOST, r->insecure ? 0L : 2L);
    if (r->ca_file != NULL) {
        SET(CAINFO, r->ca_file);
        SET(CA_CACHE_TIMEOUT, 0L); /* 24 h otherwise: a rotated cluster CA must count at once */
    }
    if (r->ca_file != NULL || r->ca_pem.len > 0) {
        SET(CAPATH, (char *)NULL); /* only what was named, not the system's beside it */
    }
    if (r->cert_file != NULL) {
        SET(SSLCERT, r->cert_file);
    }
    if (r->key_file != NULL) {
        SET(SSLKEY, r->key_file);
    }
    rc = rc == CURLE_OK ? set_pem(f, PEM_CA, CURLOPT_CAINFO_BLOB, r->ca_pem) : rc;
    rc = rc == CURLE_OK ? set_pem(f, PEM_CERT, CURLOPT_SSLCERT_BLOB, r->cert_pem) : rc;
    rc = rc == CURLE_OK ? set_pem(f, PEM_KEY, CURLOPT_SSLKEY_BLOB, r->key_pem) : rc;
    return rc;
}

static CURLcode append(struct curl_slist **list, const char *text)
{
    struct curl_slist *longer = curl_slist_append(*list, text);

    if (longer == NULL) {
        return CURLE_OUT_OF_MEMORY;
    }
    *list = longer;
    return CURLE_OK;
}

/* What the server is called in its URL, and where that is. */
struct place {
    char *scheme;
    char *host; /* IPv6 in brackets */
    char *port;
};

static void place_fini(struct place *p)
{
    curl_free(p->scheme);
    curl_free(p->host);
    curl_free(p->port);
}

static CURLUcode place_of(CURLU *url, struct place *out)
{
    CURLUcode rc = curl_url_get(url, CURLUPART_SCHEME, &out->scheme, 0);

    rc = rc == CURLUE_OK ? curl_url_get(url, CURLUPART_HOST, &out->host, 0) : rc;
    return rc == CURLUE_OK ? curl_url_get(url, CURLUPART_PORT, &out->port, CURLU_DEFAULT_PORT) : rc;
}

static CURLcode set_named_url(struct sl_fetch *f, CURLU *url, const struct place *at,
                              const char *name)
{
    bool is_v6 = strchr(name, ':') != NULL;
    char host[300];
    char authority[300];
    char connect_to[300];
    CURLcode rc = CURLE_OK;
    int host_len = snprintf(host, sizeof(host), is_v6 ? "[%s]" : "%s", name);
    int authority_len = snprintf(authority, sizeof(authority), "Host: %s:%s", at->host, at->port);
    int to_len = snprintf(connect_to, sizeof(connect_to), "::%s:%s", at->host, at->port);
    char *text = NULL;

    if (host_len < 0 || (size_t)host_len >= sizeof(host) || authority_len < 0 ||
        (size_t)authority_len >= sizeof(authority) || to_len < 0 ||
        (size_t)to_len >= sizeof(connect_to) ||
        curl_url_set(url, CURLUPART_HOST, host, 0) != CURLUE_OK ||
        curl_url_get(url, CURLUPART_URL, &text, 0) != CURLUE_OK)
    {
        return CURLE_URL_MALFORMAT;
    }
    rc = append(&f->connect_to, connect_to);
    rc = rc == CURLE_OK ? append(&f->headers, authority) : rc;
    SET(CONNECT_TO, f->connect_to);
    SET(URL, text);
    curl_free(text);
    return rc;
}

/* libcurl takes SNI and the name to verify from the URL alone. So that says the name, CONNECT_TO
 * where it is, and the request has the Host that it would have had. */
static CURLcode set_url(struct sl_fetch *f, const struct sl_fetch_request *r)
{
    struct place at = {0};
    CURLcode rc = CURLE_OK;
    CURLU *url = r->tls_name != NULL ? curl_url() : NULL;

    if (r->tls_name == NULL) {
        SET(URL, r->url);
        return rc;
    }
    if (url == NULL) {
        return CURLE_OUT_OF_MEMORY;
    }
    if (curl_url_set(url, CURLUPART_URL, r->url, 0) != CURLUE_OK || place_of(url, &at) != CURLUE_OK)
    {
        rc = CURLE_URL_MALFORMAT;
    } else if (strcmp(at.scheme, "https") == 0) {
        rc = set_named_url(f, url, &at, r->tls_name);
    } else {
        SET(URL, r->url);
    }
    place_fini(&at);
    curl_url_cleanup(url);
    return rc;
}

static CURLcode set_headers(struct sl_fetch *f, const struct sl_fetch_request *r)
{
    CURLcode rc = CURLE_OK;

    for (size_t i = 0; i <= r->headers_n; i++) {
        /* The last takes away libcurl's "Expect: 100-continue", which costs a POST a second. */
        const char *header = i < r->headers_n ? r->headers[i] : "Expect:";

        rc = rc == CURLE_OK ? append(&f->headers, header) : rc;
    }
    SET(HTTPHEADER, f->headers);
    return rc;
}

static CURLcode set_request(struct sl_fetch *f, const struct sl_fetch_request *r)
{
    CURLcode rc = CURLE_OK;

    SET(PROTOCOLS_STR, "https,http");
    SET(USERAGENT, "sluiced/" SL_VERSION); /* the API server pretty-prints for curl's */
    SET(HTTP_VERSION, (long)CURL_HTTP_VERSION_2TLS);
    /* A hundred watches that start together wait for the one connection; of plain http there will
     * be none to share, and libcurl would learn so from the first response only. */
    SET(PIPEWAIT, strncasecmp(r->url, "https:", 6) == 0 ? 1L : 0L);
    if (r->body.len > 0) {
        SET(POSTFIELDSIZE_LARGE, (curl_off_t)r->body.len); /* before the bytes are copied */
        SET(COPYPOSTFIELDS, r->body.ptr);
    }
    if (r->method != NULL) {
        SET(CUSTOMREQUEST, r->method);
    }
    if (r->accept_gzip) {
        SET(ACCEPT_ENCODING, "gzip");
    }
    SET(NOSIGNAL, 1L);
    SET(NOPROXY, "*");
    SET(FOLLOWLOCATION, 0L);
    SET(CONNECTTIMEOUT_MS, (long)r->connect_timeout_ms);
    SET(SOCKOPTFUNCTION, tune_socket);
    SET(ERRORBUFFER, f->error);
    SET(PRIVATE, f);
    return rc;
}

CURLcode sl_fetch_setup(struct sl_fetch *f, const struct sl_fetch_request *r)
{
    CURLcode rc = set_url(f, r);

    rc = rc == CURLE_OK ? set_request(f, r) : rc;
    rc = rc == CURLE_OK ? set_tls(f, r) : rc;
    return rc == CURLE_OK ? set_headers(f, r) : rc;
}
