/* SPDX-License-Identifier: Apache-2.0 */
/*
 * idle_limit: how long an endpoint keeps a connection that nobody uses, learned from watching it.
 *
 * A request that is sent while the endpoint closes is lost, or answered twice. So a connection must
 * be given up before the endpoint does it. One close proves nothing: it may be a restart, which
 * ends all connections at once, whatever their age. Three closes some time apart, of connections
 * that had been idle equally long, are a timer.
 *
 * Lifetime:  the state is in the endpoint
 * Thread:    any worker at any time; relaxed atomics: what two workers learn at once may be lost
 * Limits:    what was learned is forgotten after SL_IDLE_LIMIT_FORGET_MS and learned again, for
 *            the endpoint may have changed its mind
 */
#ifndef SL_UPSTREAM_IDLE_LIMIT_H
#define SL_UPSTREAM_IDLE_LIMIT_H

#include <sluiced/endpoint.h>

#include <stdint.h>

#define SL_IDLE_LIMIT_APART_MS 1000
#define SL_IDLE_LIMIT_FORGET_MS (600 * 1000)
#define SL_IDLE_LIMIT_LEAST_MS 250

/* ep closed a connection that had been idle for idle_ms. */
void sl_idle_limit_on_closed(struct sl_endpoint *ep, uint64_t idle_ms, uint64_t now_ms);

/* How long to keep a connection: wanted_ms, or 0.8 of what ep was seen to bear. */
uint64_t sl_idle_limit_apply(const struct sl_endpoint *ep, uint64_t wanted_ms, uint64_t now_ms);

/* After how long ep closes idle connections, as far as that is known; 0: not. */
uint64_t sl_idle_limit_learned(const struct sl_endpoint *ep, uint64_t now_ms);

/* 0.8 of an endpoint's limit. */
uint64_t sl_idle_limit_below(uint64_t limit_ms);

#endif
