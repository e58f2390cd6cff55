/* SPDX-License-Identifier: Apache-2.0 */
/*
 * reason: how an exchange ended, in one fixed word: in the access log, in metrics, in local
 * replies; and why an attempt that failed was its last one, in another.
 *
 * One table, SL_REASONS, makes the enum, the names, the statuses and the texts; docs are checked
 * against it. SL_REFUSALS makes enum and names.
 *
 * Thread:    any (constant)
 */
#ifndef SL_REASON_H
#define SL_REASON_H

#include <stdint.h>

/* X(enum suffix, name, status of the local reply (0: none is possible or due), text for people) */
#define SL_REASONS(X)                                                                            \
    X(OK, "ok", 0, "the upstream's answer was delivered")                                        \
    X(ANSWERED_HERE, "answered_here", 200, "OPTIONS with Max-Forwards 0 ends here")              \
    X(BAD_REQUEST, "bad_request", 400, "the request is malformed or ambiguous")                  \
    X(METHOD_NOT_ALLOWED, "method_not_allowed", 405, "TRACE is not answered here")               \
    X(HEAD_TIMEOUT, "head_timeout", 408, "the request head did not arrive in time")              \
    X(BODY_TIMEOUT, "body_timeout", 408, "the request body stopped arriving")                    \
    X(BODY_TOO_LARGE, "body_too_large", 413, "the request body is larger than the route allows") \
    X(URI_TOO_LONG, "uri_too_long", 414, "the request line is longer than 16 KiB")               \
    X(EXPECTATION, "expectation", 417, "the only expectation known is 100-continue")             \
    X(HEAD_TOO_LARGE, "head_too_large", 431, "the request head has too many or too long fields") \
    X(NOT_IMPLEMENTED, "not_implemented", 501, "the method or transfer coding is not supported") \
    X(BAD_VERSION, "bad_version", 505, "only HTTP/1.0 and HTTP/1.1 are spoken here")             \
    X(LOOP, "loop", 508, "the request has passed here before: its Via says so")                  \
    X(NO_ROUTE, "no_route", 404, "no route matches host and path")                               \
    X(POOL_NOT_SYNCED, "pool_not_synced", 503, "discovery has not answered yet for this pool")   \
    X(NO_ENDPOINT, "no_endpoint", 503, "the pool has no endpoint to send the request to")        \
    X(QUEUE_FULL, "queue_full", 503, "too many requests wait for the pool already")              \
    X(QUEUE_TIMEOUT, "queue_timeout", 503, "no endpoint had room for the request in time")       \
    X(OVERLOAD, "overload", 503, "the proxy is out of memory or file descriptors")               \
    X(UPSTREAM_REFUSED, "upstream_refused", 502, "the endpoint refused the connection")          \
    X(UPSTREAM_CONNECT_TIMEOUT, "upstream_connect_timeout", 504,                                 \
      "no connection to the endpoint in time")                                                   \
    X(UPSTREAM_TLS, "upstream_tls", 502, "the endpoint's TLS handshake or identity failed")      \
    X(UPSTREAM_RESET, "upstream_reset", 502, "the endpoint broke the connection")                \
    X(UPSTREAM_PROTOCOL, "upstream_protocol", 502, "the endpoint's answer is not valid HTTP")    \
    X(UPSTREAM_STALLED, "upstream_stalled", 504, "the endpoint stopped taking the request")      \
    X(FIRST_BYTE_TIMEOUT, "first_byte_timeout", 504, "the endpoint's answer did not begin")      \
    X(INTER_BYTE_TIMEOUT, "inter_byte_timeout", 504, "the endpoint's answer stopped arriving")   \
    X(TOTAL_TIMEOUT, "total_timeout", 504, "the exchange took longer than the pool allows")      \
    X(CLIENT_STALLED, "client_stalled", 0, "the client stopped taking the response")             \
    X(CLIENT_GONE, "client_gone", 0, "the client left before the end")                           \
    X(DRAINED, "drained", 0, "the drain time ended before the exchange did")

enum sl_reason {
#define X(id, name, status, text) SL_REASON_##id,
    SL_REASONS(X)
#undef X
    SL_REASONS_N
};

/* Why a request was not sent again. X(enum suffix, name) */
#define SL_REFUSALS(X)                                                                \
    X(BUDGET, "budget")                     /* the pool's retries are used up */      \
    X(ATTEMPTS, "attempts")                 /* as many as there may be were made */   \
    X(NOT_REPEATABLE, "not_repeatable")     /* twice is not as good as once */        \
    X(BODY_NOT_KEPT, "body_not_kept")       /* it was too long, or all of them */     \
    X(RESPONSE_STARTED, "response_started") /* the client has a part of it */         \
    X(UPGRADE, "upgrade")                   /* the endpoint may have begun to talk */ \
    X(NO_ENDPOINT, "no_endpoint")           /* no other one, or none with room */

enum sl_refusal {
#define X(id, name) SL_REFUSAL_##id,
    SL_REFUSALS(X)
#undef X
    SL_REFUSALS_N /* none: it may be sent */
};

/* All static. */
const char *sl_refusal_name(enum sl_refusal refusal);
const char *sl_reason_name(enum sl_reason reason);
const char *sl_reason_text(enum sl_reason reason);
uint16_t sl_reason_status(enum sl_reason reason);

#endif
