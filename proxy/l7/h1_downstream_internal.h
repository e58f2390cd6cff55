/* SPDX-License-Identifier: Apache-2.0 */
/*
 * h1_downstream_internal: the connection that three files share: h1_downstream.c is its life,
 * h1_downstream_request.c what comes in, h1_downstream_response.c what goes out.
 *
 * Lifetime:  connection
 * Thread:    worker-local
 */
#ifndef SL_L7_H1_DOWNSTREAM_INTERNAL_H
#define SL_L7_H1_DOWNSTREAM_INTERNAL_H

#include "exchange_internal.h"
#include "h1_connection.h"
#include "h1_downstream.h"

/* The rest of a body that was answered is read for nothing, so long and so much, for the sake of
 * the next request. */
#define SL_H1_DISCARD_MS 2000ULL
#define SL_H1_DISCARD_MAX_BYTES (1024U * 1024U)

enum sl_h1_downstream_state {
    SL_H1_DOWN_OPENING, /* TLS handshake */
    SL_H1_DOWN_IDLE,    /* nothing of the next request was seen */
    SL_H1_DOWN_HEAD,    /* a part of it */
    SL_H1_DOWN_BODY,
    SL_H1_DOWN_DISCARDING, /* the rest of a body that was answered before its end */
    SL_H1_DOWN_RESPONSE,   /* the request is whole; its response is awaited or going out */
    SL_H1_DOWN_TUNNEL,     /* what comes is not HTTP any more */
    SL_H1_DOWN_FLUSHING,   /* the last response waits for the client; then close */
    SL_H1_DOWN_LINGERING,  /* our side is closed; what still comes is dropped */
};

enum sl_h1_out_framing {
    SL_H1_OUT_NONE,
    SL_H1_OUT_LENGTH,
    SL_H1_OUT_CHUNKED, /* the upstream's chunks, as they came */
    SL_H1_OUT_WRAPPED, /* chunks of our own around an upstream that ends by closing */
    SL_H1_OUT_CLOSE,
    SL_H1_OUT_TUNNEL,
};

struct sl_h1_downstream {
    struct sl_downstream base;
    struct sl_stream stream;
    struct sl_l7 *w;
    struct sl_list link;
    struct sl_deadline deadline;
    struct sl_hangup hangup;
    struct sl_task resume; /* pending may hold the next request, or a tunnel's first bytes */
    struct sl_h1_pending pending;
    struct sl_h1_scan scan;
    struct sl_h1_body body;
    uint32_t due_ms; /* low bits of the loop's clock: of IDLE and LINGERING, the end */
    uint32_t discarded_bytes;
    uint32_t read_bytes;
    uint8_t state; /* enum sl_h1_downstream_state */
    uint8_t out;   /* enum sl_h1_out_framing */
    uint8_t version_minor;
    bool keep_alive;
    bool unread;      /* while flushing: the client may be sending still */
    bool feeding;     /* a body's bytes are being passed on: they may end the exchange */
    bool half_close;  /* our side of a tunnel ends with what is unsent */
    char address[40]; /* the longest of IPv6; what is mapped from IPv4 is written as that */
};

static inline struct sl_h1_downstream *sl_h1_downstream_of(struct sl_downstream *d)
{
    return sl_container_of(d, struct sl_h1_downstream, base);
}

static inline struct sl_h1_downstream *sl_h1_downstream_of_stream(struct sl_stream *s)
{
    return sl_container_of(s, struct sl_h1_downstream, stream);
}

static inline void sl_h1_downstream_set_deadline(struct sl_h1_downstream *c, uint64_t after_ms)
{
    sl_deadline_set(sl_loop_wheel(c->w->loop), &c->deadline, sl_loop_now_ms(c->w->loop) + after_ms);
}

static inline const struct sl_listener_cell *sl_h1_downstream_cell(const struct sl_h1_downstream *c)
{
    return &c->base.listener->cells[c->w->idx];
}

static inline bool sl_h1_downstream_is_open(const struct sl_h1_downstream *c)
{
    return c->stream.fd >= 0;
}

/* The next bytes of a body are the client's to send, within its time. */
static inline void sl_h1_downstream_await_body(struct sl_h1_downstream *c)
{
    sl_h1_downstream_set_deadline(c, sl_h1_downstream_cell(c)->timeouts.body_ms);
}

/* No further request is wanted: the listener drains, or no config names it any more. */
static inline bool sl_h1_downstream_is_leaving(const struct sl_h1_downstream *c)
{
    const struct sl_listener_cell *cell = sl_h1_downstream_cell(c);

    return cell->draining || cell->current == NULL;
}

/* ---- h1_downstream.c */

/* Idempotent; with RST where the client must notice that something is missing. The exchange, if
 * any, has been told or will not mind. */
void sl_h1_downstream_close(struct sl_h1_downstream *c, bool reset);

/* The client left: what runs for it ends at once, upstream included. */
void sl_h1_downstream_client_left(struct sl_h1_downstream *c);

/* It sends no more, and may still read. */
void sl_h1_downstream_client_ended(struct sl_h1_downstream *c);

/* After all was sent. unread: the client may be sending still. */
void sl_h1_downstream_close_gracefully(struct sl_h1_downstream *c, bool unread);

/* Something came that was dropped: waits for more, within limits. */
void sl_h1_downstream_linger_on(struct sl_h1_downstream *c);

/* Ends our side of a tunnel as soon as everything was sent. */
void sl_h1_downstream_half_close_if_sent(struct sl_h1_downstream *c);

/* Paused, an end is still seen. */
void sl_h1_downstream_pause(struct sl_h1_downstream *c);
void sl_h1_downstream_resume(struct sl_h1_downstream *c);

/* ---- h1_downstream_request.c */

void sl_h1_downstream_on_readable(struct sl_stream *s);
void sl_h1_downstream_on_resume(struct sl_task *t);

/* Answers a request that was not understood: as much of it as is known stands in for it. */
void sl_h1_downstream_refuse(struct sl_h1_downstream *c, const struct sl_request_head *known,
                             enum sl_reason reason);

/* Between two requests. */
void sl_h1_downstream_go_idle(struct sl_h1_downstream *c);

/* Its time begins, now that the answers have left. */
void sl_h1_downstream_begin_idle(struct sl_h1_downstream *c);

/* Whether another request may follow an answer that is given now: what is left of the body is not
 * too much to be read for nothing, and known to come. */
bool sl_h1_downstream_may_outlive_body(const struct sl_h1_downstream *c,
                                       const struct sl_exchange *x);

/* Reads the rest of the body for nothing, within limits, and then the next request. */
void sl_h1_downstream_discard_body(struct sl_h1_downstream *c);

/* Between two requests: the next one, unless the answers to earlier ones have to leave first. */
void sl_h1_downstream_go_on(struct sl_h1_downstream *c);

/* ---- h1_downstream_response.c */

extern const struct sl_downstream_ops sl_h1_downstream_ops;

#endif
