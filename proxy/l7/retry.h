/* SPDX-License-Identifier: Apache-2.0 */
/*
 * retry: whether what an endpoint got may be sent to another one, how often, and after which wait.
 *
 * What counts is whether the endpoint may have carried the request out. It did not where it says so
 * (503 with Retry-After): any request goes on. It may have where it failed, answered with one of
 * the route's statuses, or is silent: only what is idempotent goes on, or what the route says is
 * (`replay: generation`). What nobody got anything of is not asked about here (attempt.h).
 *
 * Lifetime:  exchange
 * Thread:    worker-local
 */
#ifndef SL_L7_RETRY_H
#define SL_L7_RETRY_H

#include <sluiced/config.h>
#include <sluiced/reason.h>

#include "exchange.h"

#include <stdbool.h>
#include <stdint.h>

struct sl_retry_budget;
struct sl_rng;

/* Why x is not sent again, the pool's budget and endpoints aside; SL_REFUSALS_N: it may be.
 * untouched: the endpoint says that it did nothing. */
enum sl_refusal sl_retry_refusal(const struct sl_exchange *x, bool untouched);

/* The same, counted. */
bool sl_retry_may_follow(struct sl_exchange *x, bool untouched) SL_MUST_CHECK;

/* Takes one of the retries of the pool where x is, for an attempt that follows: begin makes it x's,
 * in the place of the one that x has, undo gives it back as if it had not been asked for. NULL,
 * which is counted: there is none. */
struct sl_retry_budget *sl_retry_try(struct sl_exchange *x) SL_MUST_CHECK;
void sl_retry_begin(struct sl_exchange *x, struct sl_retry_budget *b);
void sl_retry_undo(struct sl_exchange *x, struct sl_retry_budget *b);

/* Both, try and begin. */
bool sl_retry_take(struct sl_exchange *x) SL_MUST_CHECK;

/* Gives back the one that x has, wherever it took it. Later calls do nothing. */
void sl_retry_end(struct sl_exchange *x);

/* x, which is sent now, gave its retry back while it waited: it counts again where it is, asked or
 * not, for it had been granted. Otherwise does nothing. */
void sl_retry_resume(struct sl_exchange *x);

void sl_retry_count(struct sl_exchange *x, enum sl_refusal refusal);

/* Whether any answer, or none, could make the request be sent again: else its body is of no use
 * once it was sent. */
bool sl_retry_may_need_body(const struct sl_exchange *x);

/* How long an attempt may be without a head; 0: nobody is waiting for its end. */
uint64_t sl_retry_try_ms(const struct sl_exchange *x);

/* The wait before the n-th one, n from 1: from 1 to the bound, which doubles. */
uint64_t sl_retry_backoff_ms(const struct sl_retry_config *conf, uint32_t n, struct sl_rng *rng);

#endif
