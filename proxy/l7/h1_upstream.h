/* SPDX-License-Identifier: Apache-2.0 */
/*
 * h1_upstream: a connection to an endpoint that speaks HTTP/1.1, and the worker's idle ones.
 *
 * Idle connections hang on the endpoint's cell of this worker, newest first: what was used last is
 * the least likely to be closed by the other side. Their read side stays watched: an end, or a byte
 * that nobody asked for, closes them.
 *
 * Lifetime:  from the attempt that opened it until it is closed; idle at most
 *            timeouts.keepalive_idle, used for at most SL_UPSTREAM_AGE_MS and
 * SL_UPSTREAM_REQUESTS_N Thread:    worker-local Source:    RFC 9112 section 9
 */
#ifndef SL_L7_H1_UPSTREAM_H
#define SL_L7_H1_UPSTREAM_H

#include <sluiced/defs.h>
#include <sluiced/endpoint.h>

#include "exchange.h"

/* Both +-10 %, so that they do not end together. */
#define SL_UPSTREAM_AGE_MS (3600ULL * 1000)
#define SL_UPSTREAM_REQUESTS_N 10000
#define SL_UPSTREAM_INTERIM_MAX_N 16 /* 1xx heads before a response */

/* Gives x a connection to ep as x->up; connects: a new one was counted for it, else one lies idle,
 * or gives its place to a new one. SL_OK at once (x->reused says whether it is a kept one),
 * SL_AGAIN when sl_exchange_upstream_open or _failed will follow; SL_EREFUSED, SL_ELIMIT,
 * SL_ENOMEM: x->up is NULL and nothing follows. */
int sl_h1_upstream_attach(struct sl_l7 *w, const struct sl_view_pool *pool, struct sl_endpoint *ep,
                          struct sl_exchange *x, bool connects) SL_MUST_CHECK;

/* Whether x is not to be sent on a kept connection: that may be ending unseen, and an upgrade is
 * not sent twice. */
static inline bool sl_h1_upstream_wants_new(const struct sl_exchange *x)
{
    return x->request.upgrade.len > 0 || x->wants_new;
}

/* Closes one of this worker's idle connections to ep, of which there is one. What was counted for
 * it is the caller's. */
void sl_h1_upstream_trade_idle(struct sl_l7 *w, struct sl_endpoint *ep);

/* Closes this worker's idle connections to ep. */
void sl_h1_upstream_close_idle(struct sl_l7 *w, struct sl_endpoint *ep);

/* Closes the oldest of this worker's idle connections to that member of set which has the most;
 * capped: of those that are at their own limit. False: there is none. O(members). */
bool sl_h1_upstream_close_spare(struct sl_l7 *w, const struct sl_endpoint_set *set, bool capped);

#endif
