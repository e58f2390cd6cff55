/* SPDX-License-Identifier: Apache-2.0 */
#include "retry_budget.h"

#include <sluiced/err.h>

#include "rate.h"

#include "proxy/base/alloc.h"

struct sl_retry_cell {
    _Alignas(64) struct sl_rate requests;
    struct sl_rate retries;
};

int sl_retry_budget_init(struct sl_retry_budget *b, uint32_t workers_n)
{
    struct sl_retry_cell *cells = sl_alloc_aligned(64, workers_n * sizeof(*cells));

    if (cells == NULL) {
        return SL_ENOMEM;
    }
    b->cells = cells;
    b->cells_n = workers_n;
    atomic_init(&b->running_n, 0);
    atomic_init(&b->max_n, 0);
    return SL_OK;
}

void sl_retry_budget_fini(struct sl_retry_budget *b)
{
    sl_free(b->cells);
    b->cells = NULL;
    b->cells_n = 0;
}

void sl_retry_budget_set_max(struct sl_retry_budget *b, uint32_t max_n)
{
    atomic_store_explicit(&b->max_n, max_n, memory_order_relaxed);
}

void sl_retry_budget_on_request(struct sl_retry_budget *b, uint32_t worker_idx, uint64_t now_ms)
{
    sl_rate_add(&b->cells[worker_idx].requests, now_ms);
}

static bool within_share(const struct sl_retry_budget *b, uint64_t now_ms)
{
    uint64_t requests_n = 0;
    uint64_t retries_n = 1;

    for (uint32_t i = 0; i < b->cells_n; i++) {
        requests_n += sl_rate_sum(&b->cells[i].requests, now_ms, SL_RETRY_BUDGET_SECONDS_N);
        retries_n += sl_rate_sum(&b->cells[i].retries, now_ms, SL_RETRY_BUDGET_SECONDS_N);
    }
    return retries_n * 100 <= requests_n * SL_RETRY_BUDGET_PCT;
}

/* Whether there may be one more beside others_n that run. */
static bool grant(struct sl_retry_budget *b, uint32_t worker_idx, uint64_t now_ms,
                  uint32_t others_n)
{
    uint32_t max_n = atomic_load_explicit(&b->max_n, memory_order_relaxed);
    bool too_many = max_n != 0 && others_n >= max_n;

    if (too_many || (others_n >= SL_RETRY_BUDGET_LEAST_N && !within_share(b, now_ms))) {
        return false;
    }
    sl_rate_add(&b->cells[worker_idx].retries, now_ms);
    return true;
}

bool sl_retry_budget_try(struct sl_retry_budget *b, uint32_t worker_idx, uint64_t now_ms)
{
    uint32_t others_n = atomic_fetch_add_explicit(&b->running_n, 1, memory_order_relaxed);

    if (!grant(b, worker_idx, now_ms, others_n)) {
        atomic_fetch_sub_explicit(&b->running_n, 1, memory_order_relaxed);
        return false;
    }
    return true;
}

bool sl_retry_budget_try_next(struct sl_retry_budget *b, uint32_t worker_idx, uint64_t now_ms)
{
    uint32_t running_n = atomic_load_explicit(&b->running_n, memory_order_relaxed);

    return grant(b, worker_idx, now_ms, running_n - 1);
}

void sl_retry_budget_undo(struct sl_retry_budget *b, uint32_t worker_idx, uint64_t now_ms)
{
    sl_rate_take_back(&b->cells[worker_idx].retries, now_ms);
}

void sl_retry_budget_resume(struct sl_retry_budget *b)
{
    atomic_fetch_add_explicit(&b->running_n, 1, memory_order_relaxed);
}

void sl_retry_budget_done(struct sl_retry_budget *b)
{
    uint32_t before_n = atomic_fetch_sub_explicit(&b->running_n, 1, memory_order_relaxed);

    SL_ASSERT(before_n > 0, "more retries ended than began");
}
