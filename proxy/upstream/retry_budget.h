/* SPDX-License-Identifier: Apache-2.0 */
/*
 * retry_budget: retries may add 20 % to the load of a pool, and no more: a pool in trouble is not
 * helped by twice the requests.
 *
 * A retry is granted while fewer than 3 run, or while those granted in the last 10 s, this one
 * included, are at most 20 % of the requests of the last 10 s; and never beyond the limit on those
 * that run, where there is one.
 *
 * Lifetime:  the pool's
 * Thread:    each worker with its own index; cells are written by their worker and summed by who
 *            asks, so 20 % may be exceeded by one retry for each worker that asks at the same
 * instant Errors:    init only Limits:    on_request: a plain add; try: O(workers)
 */
#ifndef SL_UPSTREAM_RETRY_BUDGET_H
#define SL_UPSTREAM_RETRY_BUDGET_H

#include <sluiced/defs.h>

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define SL_RETRY_BUDGET_PCT 20
#define SL_RETRY_BUDGET_LEAST_N 3
#define SL_RETRY_BUDGET_SECONDS_N 10 /* whole ones, and the one that runs */

struct sl_retry_cell;

struct sl_retry_budget {
    _Atomic uint32_t running_n;
    _Atomic uint32_t max_n; /* that run, whatever the share; 0: no such limit */
    uint32_t cells_n;
    struct sl_retry_cell *cells;
};

int sl_retry_budget_init(struct sl_retry_budget *b, uint32_t workers_n) SL_MUST_CHECK;
void sl_retry_budget_fini(struct sl_retry_budget *b);

/* Control thread: what limits.retries says. */
void sl_retry_budget_set_max(struct sl_retry_budget *b, uint32_t max_n);

/* A request begins; its retries are not requests. */
void sl_retry_budget_on_request(struct sl_retry_budget *b, uint32_t worker_idx, uint64_t now_ms);

/* Whether a retry may run now; if so, sl_retry_budget_done follows when it ended. */
bool sl_retry_budget_try(struct sl_retry_budget *b, uint32_t worker_idx, uint64_t now_ms)
    SL_MUST_CHECK;
void sl_retry_budget_done(struct sl_retry_budget *b);

/* One that was granted, and done for a while, runs again; done follows. */
void sl_retry_budget_resume(struct sl_retry_budget *b);

/* The same for one that runs and is to be followed by another in its place: done once for both. */
bool sl_retry_budget_try_next(struct sl_retry_budget *b, uint32_t worker_idx, uint64_t now_ms)
    SL_MUST_CHECK;

/* What this worker was granted in this turn was of no use, and counts in no share; done follows
 * nevertheless. */
void sl_retry_budget_undo(struct sl_retry_budget *b, uint32_t worker_idx, uint64_t now_ms);

#endif
