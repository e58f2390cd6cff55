/* SPDX-License-Identifier: Apache-2.0 */
/*
 * exchange: one request and its response, in terms of no version of HTTP.
 *
 *     downstream adapter  --request-->  exchange  --request-->   upstream adapter
 *                         <-response--            <-response--
 *
 * The adapters (h1_downstream, h1_upstream; HTTP/2 later) turn bytes into the calls below and the
 * ops into bytes. The exchange routes, picks, retries, keeps the clocks, and accounts.
 *
 * When the endpoint agrees to an upgrade the exchange becomes a tunnel (tunnel.h): the calls below
 * then carry the bytes of another protocol.
 *
 * Body bytes travel in the form that the receiving side wants: as they are, or in chunked framing
 * when both sides speak that (request_framed, response_framed), so that a chunk goes out as it
 * came.
 *
 * Lifetime:  from sl_exchange_new until it calls downstream done(), after which it is gone; each
 *            call into it may end it, so adapters look at their own pointer afterwards
 * Thread:    worker-local
 * Ownership: the exchange owns its copy of the request head; response heads are borrowed for the
 * call
 * Limits:    SL_EXCHANGE_UNSENT_MAX_N endpoints that take no connection, and as many more as the
 *            route retries; replay of SL_REPLAY_MAX_BYTES of request body, and of
 *            SL_REPLAY_BUDGET_BYTES in all
 */
#ifndef SL_L7_EXCHANGE_H
#define SL_L7_EXCHANGE_H

#include <sluiced/balancer.h>
#include <sluiced/reason.h>

#include "l7.h"

#include "proxy/base/arena.h"
#include "proxy/base/wheel.h"
#include "proxy/proto/message.h"

#define SL_EXCHANGE_UNSENT_MAX_N 4
#define SL_UNSENT_BODY_BYTES ((size_t)64 * 1024) /* before there is a connection */
#define SL_REQUEST_ID_MAX_BYTES 64

struct sl_downstream;
struct sl_upstream;
struct sl_forwarded;

struct sl_downstream_ops {
    /* A 1xx, to be relayed if the client understands it. */
    void (*informational)(struct sl_downstream *d, const struct sl_response_head *head);

    /* Begins the response; sets x->response_framed to the form in which it wants the body. */
    void (*head)(struct sl_downstream *d, struct sl_exchange *x,
                 const struct sl_response_head *head, const struct sl_header *extra,
                 size_t extra_n);
    void (*data)(struct sl_downstream *d, struct sl_slice bytes);

    /* Body bytes of our own, between those of the upstream, framed as they have to be. */
    void (*insert)(struct sl_downstream *d, struct sl_slice bytes);

    /* In a tunnel, here and upstream: half-close once all was sent. */
    void (*end)(struct sl_downstream *d, const struct sl_headers *trailers);

    /* Reading of the request body. */
    void (*read_off)(struct sl_downstream *d);
    void (*read_on)(struct sl_downstream *d);

    /* Whether the response has to pause; sl_exchange_downstream_drained follows. */
    bool (*is_high)(struct sl_downstream *d);

    /* For how long the client has taken nothing of what waits for it. */
    uint64_t (*stalled_ms)(struct sl_downstream *d);

    /* The exchange is over, forget it. whole: the response was delivered to its end; otherwise
     * the client must notice that something is missing. */
    void (*done)(struct sl_downstream *d, bool whole);
};

/* First member of each downstream adapter's connection or stream. */
struct sl_downstream {
    const struct sl_downstream_ops *ops;
    struct sl_exchange *exchange; /* NULL: between requests */
    struct sl_listener *listener;
    const char *address;   /* the client's, in text */
    const char *peer_name; /* of its certificate; "" without */
    uint16_t port;
    bool over_tls;
};

struct sl_upstream_ops {
    /* All of the request head; the body follows in the form of x->request_framed. */
    void (*head)(struct sl_upstream *u, struct sl_exchange *x, const struct sl_header *extra,
                 size_t extra_n, uint64_t drop_ids);
    void (*data)(struct sl_upstream *u, struct sl_slice bytes);
    void (*end)(struct sl_upstream *u, const struct sl_headers *trailers);
    void (*read_off)(struct sl_upstream *u);
    void (*read_on)(struct sl_upstream *u);
    bool (*is_high)(struct sl_upstream *u);

    /* Whether all that it was given was sent; sl_exchange_upstream_drained follows when not. */
    bool (*is_sent)(struct sl_upstream *u);

    /* Whether the endpoint may have got anything of this request. */
    bool (*has_sent)(struct sl_upstream *u);

    /* For how long the endpoint has taken nothing of what it was given and is not sent yet. */
    uint64_t (*stalled_ms)(struct sl_upstream *u);

    /* The head that it holds (sl_exchange_holds_head) is due, body or not. */
    void (*head_due)(struct sl_upstream *u);

    /* Whether the body of an event stream stands at a blank line, or its beginning. Only where
     * x->heartbeat_ms was set with the head. */
    bool (*is_between_events)(struct sl_upstream *u);

    /* The exchange has what it wanted (whole), or wants no more: the endpoint must notice at
     * once. Either way u forgets the exchange. */
    void (*release)(struct sl_upstream *u, bool whole);
};

struct sl_upstream {
    const struct sl_upstream_ops *ops;
    struct sl_exchange *exchange; /* NULL: idle */
};

enum sl_exchange_phase {
    SL_PHASE_ROUTING,
    SL_PHASE_QUEUED, /* waits for room at an endpoint */
    SL_PHASE_BACKOFF,
    SL_PHASE_CONNECTING,
    SL_PHASE_SENDING,    /* the request is on its way */
    SL_PHASE_FIRST_BYTE, /* it was sent, or the client waits for 100 */
    SL_PHASE_BODY,       /* the first body byte has come */
    SL_PHASE_STALLED,    /* the response waits for the client */
    SL_PHASE_TUNNEL,     /* another protocol, both ways: to the end */
};

struct sl_exchange {
    struct sl_l7 *w;
    struct sl_exchange *next_free;
    struct sl_downstream *down;
    struct sl_upstream *up; /* of the attempt that runs */
    struct sl_view *view;   /* pinned */
    const struct sl_view_listener *listener;
    const struct sl_view_route *route;
    const struct sl_view_side *home; /* what was chosen for it, and where it looks first */
    const struct sl_view_side *side; /* that, or the fallback where it is, or was last */
    struct sl_endpoint_set *set;    /* of the last attempt, pinned to the end: last belongs to it */
    struct sl_endpoint *endpoint;   /* of the attempt that runs, or is to run after a back-off */
    const struct sl_endpoint *last; /* of the last attempt, for the log */
    const struct sl_endpoint *tried[SL_TRIED_MAX_N];
    uint32_t tried_n;    /* since it last waited: those before may be tried again */
    uint32_t unsent_n;   /* attempts of which the endpoint got nothing; but for unfit_n, since */
    uint32_t unfit_n;    /* of these, all whose endpoint did worse than refuse */
    uint32_t retries_n;  /* attempts after one of which it may have */
    uint32_t attempts_n; /* all of them */
    uint32_t head_bytes; /* of the request's, as it is kept */
    uint64_t key_hash;   /* for the pool's policy; 0: no key */
    struct sl_waiter waiter; /* while it is queued */

    struct sl_request_head request;
    struct sl_forwarded *forwarded; /* NULL: what earlier hops said is not taken */
    struct sl_headers request_trailers;
    struct sl_queue replay; /* request body: not sent yet, or kept to be sent again */

    struct sl_deadline deadline;
    enum sl_exchange_phase phase;
    uint64_t waits_since_ms; /* for a first byte, as the endpoint was told; 0: it does not */
    bool replay_whole;       /* replay has all of the body so far */
    bool sent;               /* the head left on the attempt that runs, which is up's */
    bool awaits_continue;    /* the client sends no body before it is told to */
    bool request_ended;
    bool response_ended; /* in a tunnel, where the request may go on */
    bool request_framed;
    bool response_framed;
    bool response_started; /* the downstream was given a head */
    bool reused;           /* the attempt runs on a kept connection, which has said nothing yet */
    bool wants_new;        /* kept connections are not to be trusted any more */
    bool holds_connection; /* one is counted for the endpoint, and not opened yet */
    bool lacked_connection;
    bool fell_back;   /* counted as one that went to a fallback */
    bool may_be_done; /* an endpoint got it, and did not say that it did nothing */
    enum sl_reason last_failure;

    /* Held until it ends: x may be at another pool by then. */
    struct sl_retry_budget *retry_of; /* a retry that counts there; NULL: none */
    struct sl_pool_queue *place_of;   /* a place within that pool's limit; NULL: none */

    uint16_t status;
    uint32_t retry_after_ms; /* asked for by the attempt's 503 or 429; 0: not */
    uint64_t began_us;       /* the attempt that runs: picked */
    uint64_t start_us;
    uint64_t sent_us;
    uint64_t first_byte_us;
    uint64_t waits_since_us; /* while it is queued */
    uint64_t queued_us;      /* in all */
    uint64_t wait_due_ms;    /* when it has waited for long enough; 0: it has not waited */
    uint64_t phase_due_ms;
    uint64_t try_due_ms; /* the attempt should have a head by then */
    uint64_t total_due_ms;
    uint64_t beat_due_ms;
    uint64_t heartbeat_ms; /* 0: nothing may be said in between */
    uint64_t bytes_in;
    uint64_t bytes_out;
    char request_id[SL_REQUEST_ID_MAX_BYTES];
    uint8_t request_id_len;

    uint32_t block_bytes; /* of the exchange and the first memory of its arena, behind it */
    struct sl_arena arena;
};

/* NULL: no memory. head, parsed from [base, base + len), is copied. */
struct sl_exchange *sl_exchange_new(struct sl_l7 *w, struct sl_downstream *d,
                                    const struct sl_request_head *head, const char *base,
                                    size_t len) SL_MUST_CHECK;

/* Routes and sends; the body may follow at once. */
void sl_exchange_start(struct sl_exchange *x);

/* ---- From the downstream adapter. wire: in the form of request_framed; body_bytes of it are body.
 */
void sl_exchange_request_data(struct sl_exchange *x, struct sl_slice wire, uint64_t body_bytes);
void sl_exchange_request_end(struct sl_exchange *x, const struct sl_headers *trailers);

/* The request cannot be understood or awaited any further. */
void sl_exchange_request_failed(struct sl_exchange *x, enum sl_reason reason);
void sl_exchange_client_gone(struct sl_exchange *x);
void sl_exchange_downstream_drained(struct sl_exchange *x);

/* ---- From the upstream adapter. */
void sl_exchange_upstream_open(struct sl_exchange *x);
void sl_exchange_upstream_drained(struct sl_exchange *x);

/* The response head, 1xx included. After it x->up may be another: then this one was let go. */
void sl_exchange_response_head(struct sl_exchange *x, const struct sl_response_head *head);
void sl_exchange_response_data(struct sl_exchange *x, struct sl_slice wire, uint64_t body_bytes);
void sl_exchange_response_end(struct sl_exchange *x, const struct sl_headers *trailers);

/* The attempt failed; the adapter closed its side already. */
void sl_exchange_upstream_failed(struct sl_exchange *x, enum sl_reason reason);

/* Whether the head of this response, which has a body, is to be held until a byte of it follows:
 * then a retry is still possible while the model thinks (DESIGN section 4). */
bool sl_exchange_holds_head(struct sl_exchange *x, const struct sl_response_head *head);

/* The drain time is over: ends without waiting for anybody. */
void sl_exchange_drained(struct sl_exchange *x);

#endif
