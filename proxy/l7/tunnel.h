/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tunnel: an exchange whose two sides have agreed on another protocol: bytes both ways.
 *
 * It is the same exchange: the adapters go on calling sl_exchange_request_data, _request_end,
 * _response_data and _response_end, and are called through the same ops; only, both bodies run at
 * once, neither has framing, and the end of one is a half-close that the other direction survives.
 * It is over when both have ended and all was sent, or when one side breaks.
 *
 * Lifetime:  exchange, from the answer that agrees
 * Thread:    worker-local
 * Limits:    what is unsent to one side stops the reading of the other (SL_STREAM_HIGH_BYTES); the
 *            pool's inter_byte is how long both may be silent
 * Source:    RFC 9110 section 7.8
 */
#ifndef SL_L7_TUNNEL_H
#define SL_L7_TUNNEL_H

#include <sluiced/defs.h>

#include "exchange.h"

#include <stdbool.h>

/* Takes out of x->request.upgrade what is HTTP again (h2c, HTTP/2.0, TLS/1.0): behind such an
 * answer requests would pass that nobody routed or counted. Left empty, the request is a plain one.
 * SL_ENOMEM: no memory, nothing changed. */
int sl_tunnel_prepare(struct sl_exchange *x) SL_MUST_CHECK;

/* Whether protocol is one of those that x asks the endpoint for. */
bool sl_tunnel_offers(const struct sl_exchange *x, struct sl_slice protocol);

/* The endpoint has agreed and the downstream was given the head. */
void sl_tunnel_begin(struct sl_exchange *x);

/* What the calls of exchange.h mean from then on; x may be gone afterwards. */
void sl_tunnel_request_data(struct sl_exchange *x, struct sl_slice bytes);
void sl_tunnel_request_end(struct sl_exchange *x);
void sl_tunnel_response_data(struct sl_exchange *x, struct sl_slice bytes);
void sl_tunnel_response_end(struct sl_exchange *x);
void sl_tunnel_upstream_drained(struct sl_exchange *x);
void sl_tunnel_downstream_drained(struct sl_exchange *x);

#endif
