/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fetch_setup: from a request to the options of a libcurl handle.
 */
#include <sluiced/version.h>

#include "fetch_internal.h"

#include "proxy/base/alloc.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
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
    SET(SSL_VERIFYPEER, 1L);
    SET(SSL_VERIFYHOST, 2L);
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

static CURLcode set_headers(struct sl_fetch *f, const struct sl_fetch_request *r)
{
    CURLcode rc = CURLE_OK;

    for (size_t i = 0; i <= r->headers_n; i++) {
        /* The last takes away libcurl's "Expect: 100-continue", which costs a POST a second. */
        const char *header = i < r->headers_n ? r->headers[i] : "Expect:";
        struct curl_slist *longer = curl_slist_append(f->headers, header);

        if (longer == NULL) {
            return CURLE_OUT_OF_MEMORY;
        }
        f->headers = longer;
    }
    SET(HTTPHEADER, f->headers);
    return rc;
}

static CURLcode set_request(struct sl_fetch *f, const struct sl_fetch_request *r)
{
    CURLcode rc = CURLE_OK;

    SET(URL, r->url);
    SET(PROTOCOLS_STR, "https,http");
    SET(USERAGENT, "sluiced/" SL_VERSION);          /* the API server pretty-prints for curl's */
    SET(HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1); /* one event is one chunk; no GOAWAY */
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
    SET(TIMEOUT_MS, (long)r->total_timeout_ms);
    SET(SOCKOPTFUNCTION, tune_socket);
    SET(ERRORBUFFER, f->error);
    SET(PRIVATE, f);
    return rc;
}

CURLcode sl_fetch_setup(struct sl_fetch *f, const struct sl_fetch_request *r)
{
    CURLcode rc = set_request(f, r);

    rc = rc == CURLE_OK ? set_tls(f, r) : rc;
    return rc == CURLE_OK ? set_headers(f, r) : rc;
}
