/* SPDX-License-Identifier: Apache-2.0 */
/*
 * admission: whether an exchange may try an endpoint now, or waits in the queue of its pool.
 *
 * Waiting costs nothing but the exchange: it holds no place, no endpoint and no retry, and its body
 * is not read. Who waits looks again when a request of the pool ends on this worker, when another
 * worker says that one ended there, when endpoints (or who of them is drained by hand) or the
 * config have changed, and, as long as it is room that lacks, each SL_ADMISSION_LOOK_MS: what is
 * said between workers may come too late to be heard. The order is that of all workers, but for
 * that long: a worker whose turn it is may be busy.
 *
 * Lifetime:  exchange; what a worker has of it, process
 * Thread:    worker-local, but for the wake-up, which is mail
 */
#ifndef SL_L7_ADMISSION_H
#define SL_L7_ADMISSION_H

#include "attempt.h"

#include <stdbool.h>
#include <stdint.h>

#define SL_ADMISSION_LOOK_MS 5

void sl_admission_init(struct sl_l7 *w);
void sl_admission_fini(struct sl_l7 *w);

/* Whether x may try side's pool now: nobody waits there who came before. */
bool sl_admission_is_turn(const struct sl_exchange *x, const struct sl_view_side *side);

/* A place within the limit of side's pool, the one that x holds there or a new one. False: all are
 * taken. *place: NULL where there is no limit. give_place undoes it, hold_place makes it x's, in
 * the place of the one that it has. */
bool sl_admission_take_place(const struct sl_exchange *x, const struct sl_view_side *side,
                             struct sl_pool_queue **place) SL_MUST_CHECK;
void sl_admission_give_place(const struct sl_exchange *x, struct sl_pool_queue *place);
void sl_admission_hold_place(struct sl_exchange *x, struct sl_pool_queue *place);

/* x, which holds no place, waits, for the reason that room is; or is answered that it cannot, and
 * gone. */
void sl_admission_wait(struct sl_exchange *x, enum sl_attempt_room room);

/* x has waited for as long as it may: it is answered so. */
void sl_admission_timed_out(struct sl_exchange *x);

/* x, which may have waited where it is, is sent. */
void sl_admission_begin(struct sl_exchange *x);

/* x, which waits, waits here no more: for it will be elsewhere. */
void sl_admission_leave(struct sl_exchange *x);

/* x has ended, whatever it did. Once, and before it is counted and logged. */
void sl_admission_end(struct sl_exchange *x);

/* An attempt of x has, and its connection is idle, or closed. */
void sl_admission_attempt_ended(struct sl_exchange *x);

/* There may be room in x's pool. */
void sl_admission_wake(struct sl_exchange *x);

/* x would be served by side's pool, if another worker closed a connection to it that lies idle
 * there: they are asked to. */
void sl_admission_want_connection(struct sl_exchange *x, const struct sl_view_side *side);

/* x, which waits, holds so much more of its body. False: it is answered that it cannot, and
 * gone. */
bool sl_admission_grow(struct sl_exchange *x, size_t bytes) SL_MUST_CHECK;

/* Endpoints or limits have changed: whoever waits looks at the end of this turn. */
void sl_admission_look(struct sl_l7 *w);

/* The same, of any thread, as long as peer's loop runs; needs no memory. */
void sl_admission_tell(struct sl_l7 *peer);

/* For the answer to x, which could not wait, or not any longer. */
uint32_t sl_admission_retry_after_s(const struct sl_exchange *x);

#endif
