/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fetch: HTTP requests of our own (API server, later OTLP and webhooks), libcurl on the loop.
 *
 * HTTP/2 over TLS where the server has it: fetches of the same server, CA and client certificate
 * share a connection; plain http is HTTP/1.1. TLS is verified unless insecure asks not to,
 * redirects are not followed, proxies of the environment are not used.
 *
 * Lifetime:  fetcher: process; fetch: from start until on_done returned or sl_fetch_cancel
 * Thread:    control thread
 * Ownership: request strings are copied; what callbacks get is borrowed for the call
 * Errors:    on_done says how it ended, exactly once unless cancelled. sl_fetch_cancel may be
 *            called from any callback of any fetch; no callback follows it. Start never calls back
 * Limits:    a response head of 64 KiB; bodies are streamed, the caller bounds what it keeps
 */
#ifndef SL_IO_FETCH_H
#define SL_IO_FETCH_H

#include <sluiced/defs.h>
#include <sluiced/err.h>
#include <sluiced/slice.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct sl_loop;
struct sl_fetcher;
struct sl_fetch;

#define SL_FETCH_WARNING_BYTES 160

struct sl_fetch_request {
    const char *method; /* NULL: GET */
    const char *url;
    const char *const *headers; /* "Name: value", headers_n of them */
    size_t headers_n;
    struct sl_slice body;  /* sent with a POST */
    const char *ca_file;   /* NULL, and no ca_pem: the system's. Read for each connection */
    const char *cert_file; /* client certificate and key, or NULL */
    const char *key_file;
    struct sl_slice ca_pem; /* the same from memory, len 0 where not used; wiped at the end */
    struct sl_slice cert_pem;
    struct sl_slice key_pem;
    const char *tls_name; /* sent as SNI and looked for in the certificate, in place of the host of
                             url; NULL: that host. Only for https */
    bool insecure;        /* whoever answers is trusted. Never set by default */
    bool accept_gzip;     /* the body comes unpacked */
    uint64_t connect_timeout_ms; /* TCP and TLS together; not 0 */
    uint64_t total_timeout_ms;   /* 0: none, as for a watch */
    uint64_t idle_timeout_ms;    /* no byte for that long: SL_ETIMEOUT; 0: none */
};

struct sl_fetch_result {
    int code;               /* SL_OK: a whole response was received, whatever its status */
    uint16_t status;        /* 0: none was received */
    bool nobody_listens;    /* of SL_EREFUSED: the host said so, not that no way leads to it */
    uint32_t retry_after_s; /* of the response's Retry-After in seconds; 0: none */
    char error[128];        /* in words, when code is not SL_OK */
    char warning[SL_FETCH_WARNING_BYTES]; /* text of the response's first Warning, printable; or ""
                                           */
};

struct sl_fetch_ops {
    /* The head of the response is complete; it may be long before the first byte of the body, as
     * for a watch. May be NULL. */
    void (*on_head)(void *arg, uint16_t status);
    /* Response body bytes as they come, whatever the status, which is known and final; the loop's
     * clock says when they were readable. May be NULL. */
    void (*on_data)(void *arg, uint16_t status, struct sl_slice data);
    void (*on_done)(void *arg, const struct sl_fetch_result *result);
};

int sl_fetcher_new(struct sl_loop *loop, struct sl_fetcher **out) SL_MUST_CHECK;

/* Cancels what runs. Not from a callback of a fetch. */
void sl_fetcher_free(struct sl_fetcher *f);

int sl_fetch_start(struct sl_fetcher *f, const struct sl_fetch_request *request,
                   const struct sl_fetch_ops *ops, void *arg, struct sl_fetch **out) SL_MUST_CHECK;
void sl_fetch_cancel(struct sl_fetch *fetch);

/* From on_head on, as in the result; borrowed until the next turn. */
const char *sl_fetch_warning(const struct sl_fetch *fetch);

#endif
