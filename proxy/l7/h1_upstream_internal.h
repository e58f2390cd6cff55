/* SPDX-License-Identifier: Apache-2.0 */
/*
 * h1_upstream_internal: the connection that three files share: h1_upstream.c is its life and what
 * goes out, h1_upstream_response.c what comes in, h1_upstream_idle.c its time between requests.
 *
 * Lifetime:  connection
 * Thread:    worker-local
 */
#ifndef SL_L7_H1_UPSTREAM_INTERNAL_H
#define SL_L7_H1_UPSTREAM_INTERNAL_H

#include "h1_connection.h"
#include "h1_upstream.h"

enum sl_h1_upstream_state {
    SL_H1_UP_OPENING,
    SL_H1_UP_IDLE,
    SL_H1_UP_HEAD, /* of the response, also while the request is being sent */
    SL_H1_UP_BODY,
    SL_H1_UP_ENDED, /* the response is whole */
    SL_H1_UP_TUNNEL,
};

struct sl_h1_upstream {
    struct sl_upstream base;
    struct sl_stream stream;
    struct sl_l7 *w;
    struct sl_pool *pool;
    struct sl_endpoint *endpoint;
    struct sl_h1_upstream *idle_prev; /* neighbours among the endpoint's idle ones */
    struct sl_h1_upstream *idle_next;
    struct sl_deadline deadline; /* while idle */
    struct sl_h1_pending pending;
    struct sl_h1_scan scan;
    struct sl_h1_body body;
    enum sl_h1_upstream_state state;
    int open_code; /* how opening ended before attach returned */
    bool attaching;
    bool is_counted;          /* among the pool's connections */
    bool keep_alive;          /* the response allows another one */
    bool head_is_due;         /* it is held no longer, body or not */
    bool half_close;          /* our side of a tunnel ends with what is unsent */
    bool broken;              /* sending failed: what was received is still read */
    uint32_t requests_left_n; /* before it is too old */
    uint32_t interim_n;
    uint32_t read_bytes;
    uint64_t transport_identity;
    uint64_t idle_wanted_ms;
    uint64_t idle_told_ms; /* the least of Keep-Alive: timeout, if it said so; UINT64_MAX */
    uint64_t retire_ms;
    uint64_t idle_since_ms;
};

static inline struct sl_h1_upstream *sl_h1_upstream_of(struct sl_upstream *u)
{
    return sl_container_of(u, struct sl_h1_upstream, base);
}

static inline struct sl_h1_upstream *sl_h1_upstream_of_stream(struct sl_stream *s)
{
    return sl_container_of(s, struct sl_h1_upstream, stream);
}

static inline uint64_t sl_h1_upstream_now_ms(const struct sl_h1_upstream *c)
{
    return sl_loop_now_ms(c->w->loop);
}

/* ---- h1_upstream.c */

/* Idempotent; the exchange, if any, has been told or will not mind. */
void sl_h1_upstream_close(struct sl_h1_upstream *c);

/* The attempt that runs on c, if any, has failed. */
void sl_h1_upstream_fail(struct sl_h1_upstream *c, enum sl_reason reason);

/* ---- h1_upstream_response.c */

void sl_h1_upstream_on_readable(struct sl_stream *s);
void sl_h1_upstream_head_due(struct sl_upstream *u);

/* ---- h1_upstream_idle.c */

/* A kept connection to ep that may be used again, out of the idle ones. NULL: there is none, or
 * wants_new. *connects, with either, is set if it was, or if one that was closed left its place: to
 * the new one, or to be given back. */
struct sl_h1_upstream *sl_h1_upstream_take_idle(struct sl_l7 *w, const struct sl_view_pool *pool,
                                                struct sl_endpoint *ep, bool wants_new,
                                                bool *connects);

/* How long c may wait for its next request before the endpoint might close it; 0: not at all. */
uint64_t sl_h1_upstream_may_idle_ms(const struct sl_h1_upstream *c);
void sl_h1_upstream_keep_idle(struct sl_h1_upstream *c, uint64_t idle_ms);
void sl_h1_upstream_unlink_idle(struct sl_h1_upstream *c);

#endif
