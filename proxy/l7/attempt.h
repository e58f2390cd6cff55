/* SPDX-License-Identifier: Apache-2.0 */
/*
 * attempt: an exchange at one endpoint: pick, connect, send; and whether another one follows.
 *
 * Nothing was sent: up to SL_EXCHANGE_UNSENT_MAX_N endpoints, and where they refused the connection
 * again after a wait, as long as the queue lets it wait. Sent: as retry.h says. What the client was
 * given a byte of is never repeated.
 *
 * Lifetime:  exchange
 * Thread:    worker-local
 */
#ifndef SL_L7_ATTEMPT_H
#define SL_L7_ATTEMPT_H

#include "exchange.h"

#include <stdbool.h>

/* What the pool learns of an attempt. */
enum sl_verdict {
    SL_VERDICT_ANSWERED,  /* the status speaks */
    SL_VERDICT_ABANDONED, /* not the endpoint's doing */
    SL_VERDICT_FAILED,
    SL_VERDICT_REFUSED,
    SL_VERDICT_UNCONNECTED, /* in time */
};

/* What there is for an exchange that is to be sent. */
enum sl_attempt_room {
    SL_ATTEMPT_BEGUN,
    SL_ATTEMPT_NO_ROOM,     /* all that would do are busy */
    SL_ATTEMPT_ALL_REFUSE,  /* none listened when last asked, which may change any moment */
    SL_ATTEMPT_NO_ENDPOINT, /* none would do */
};

/* Sends x, which waits, if there is room; where it has to wait for that in another pool, it waits
 * there from now on, or is answered that it cannot. Begun: x is out of its queue, and may be gone.
 * Otherwise x is as it was, but for its place. */
enum sl_attempt_room sl_attempt_try(struct sl_exchange *x);

/* Picks an endpoint and sends, now or when the connection is open; or waits for one. x may be gone
 * afterwards. */
void sl_attempt_begin(struct sl_exchange *x);

/* The connection is open: the head leaves, and what there is of the body. */
void sl_attempt_send(struct sl_exchange *x);

/* It failed, and x->up is gone already: another one, or the answer that says why there is none. x
 * may be gone afterwards. */
void sl_attempt_failed(struct sl_exchange *x, enum sl_reason reason);

/* The back-off is over. x may be gone afterwards. */
void sl_attempt_resume(struct sl_exchange *x);

/* An answer that is worth another attempt, and another endpoint is ready: true when it is, or will
 * be, sent there. x may be gone then. */
bool sl_attempt_moved_on(struct sl_exchange *x, const struct sl_response_head *head) SL_MUST_CHECK;

/* The same where there is no answer in the time of one try. False: the attempt goes on. */
bool sl_attempt_given_up(struct sl_exchange *x) SL_MUST_CHECK;

/* What a failure says of the endpoint. stale: a kept connection ended before it answered, as they
 * do; that is no fault of anybody. */
enum sl_verdict sl_attempt_verdict(enum sl_reason reason, bool stale);

/* The wait for a first byte, if there was one, is over; answered: with such a byte. */
void sl_attempt_end_wait(struct sl_exchange *x, bool answered);

/* It is over: the pool learns how it went. Once; later calls do nothing. */
void sl_attempt_end(struct sl_exchange *x, enum sl_verdict verdict);

/* Gives the connection back (whole) or cuts it. */
void sl_attempt_let_go(struct sl_exchange *x, bool whole);

/* Unpins the set of the last attempt: the endpoint that the log speaks of may be gone then. */
void sl_attempt_forget(struct sl_exchange *x);

#endif
