/* SPDX-License-Identifier: Apache-2.0 */
/*
 * h1_downstream: an HTTP/1.x client's connection: requests in, responses out, one after the other.
 *
 * Lifetime:  from sl_h1_downstream_open until the connection closed; linked in w->downstreams
 * Thread:    worker-local
 * Ownership: owns the stream and what was received and not yet understood
 * Limits:    a head of 64 KiB and what was pipelined behind it; reading stops there
 * Source:    RFC 9112
 */
#ifndef SL_L7_H1_DOWNSTREAM_H
#define SL_L7_H1_DOWNSTREAM_H

#include <sluiced/config.h>

#include "l7.h"
#include "listener.h"

/* Takes over fd, and the reference on listener that was counted for it. What it cannot serve for
 * want of memory it closes. */
void sl_h1_downstream_open(struct sl_l7 *w, struct sl_listener *listener, int fd,
                           const struct sl_address *from);

/* Closes connections between two requests: all, or those of one listener. The others are closed
 * after the response that they are about. */
void sl_h1_downstream_close_idle(struct sl_l7 *w);
void sl_h1_downstream_close_idle_of(struct sl_l7 *w, const struct sl_listener *listener);

/* Ends everything now. */
void sl_h1_downstream_close_all(struct sl_l7 *w);

#endif
