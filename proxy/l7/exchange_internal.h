/* SPDX-License-Identifier: Apache-2.0 */
/*
 * exchange_internal: the parts of the exchange that are not its state machine.
 *
 * Thread:    worker-local
 */
#ifndef SL_L7_EXCHANGE_INTERNAL_H
#define SL_L7_EXCHANGE_INTERNAL_H

#include "exchange.h"

/* Ends x: whole, the client has all it will get. Nothing may touch x after it. */
void sl_exchange_finish(struct sl_exchange *x, enum sl_reason reason, bool whole);

/* Ends x with an answer in our own name, if that is still possible. */
void sl_exchange_fail(struct sl_exchange *x, enum sl_reason reason);

/* Nothing of the request can be sent again from now on. */
void sl_exchange_drop_replay(struct sl_exchange *x);

/* x is in phase, for at most after_ms; 0: this phase has no limit of its own. */
void sl_exchange_enter(struct sl_exchange *x, enum sl_exchange_phase phase, uint64_t after_ms);

/* From its start, x may take as long as x->side's pool allows. In force with the next phase. */
void sl_exchange_limit_total(struct sl_exchange *x);

/* All there is of the request was given to the upstream: waits for the rest of it, or the answer.
 */
void sl_exchange_await(struct sl_exchange *x);

/* The response is an event stream into which comments may be put while it is silent. */
void sl_exchange_begin_heartbeat(struct sl_exchange *x);
void sl_exchange_on_deadline(struct sl_deadline *deadline);

/* What copy_head takes of the arena. */
size_t sl_exchange_head_bytes(const struct sl_request_head *head, size_t len);

/* Copies head (and the bytes it points to) into x's arena. */
int sl_exchange_copy_head(struct sl_exchange *x, const struct sl_request_head *head,
                          const char *base, size_t len) SL_MUST_CHECK;

/* The client's own X-Request-Id when it is harmless in a log, else a new one. */
void sl_exchange_set_request_id(struct sl_exchange *x);

/* Gives x->up the request head with the fields that a proxy adds and removes. */
void sl_exchange_send_head(struct sl_exchange *x);

/* Answers with the reason's status and a JSON body in the shape of OpenAI's errors. The response
 * is complete after it. */
void sl_exchange_reply(struct sl_exchange *x, enum sl_reason reason);

#endif
