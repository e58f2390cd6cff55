/* SPDX-License-Identifier: Apache-2.0 */
#include "retry.h"

#include "proxy/upstream/retry_budget.h"

static const struct sl_retry_config *conf_of(const struct sl_exchange *x)
{
    return &x->route->conf->retry;
}

/* RFC 9110 section 9.2.2: whether doing it twice is as good as once, or the route says so. */
static bool is_repeatable(const struct sl_exchange *x)
{
    return sl_method_idempotent(x->request.method) || x->route->conf->replays_generations;
}

/* What says most about the request comes first: it is what one would have to change. */
enum sl_refusal sl_retry_refusal(const struct sl_exchange *x, bool untouched)
{
    if (x->request.upgrade.len > 0) {
        return SL_REFUSAL_UPGRADE;
    }
    if (x->response_started) {
        return SL_REFUSAL_RESPONSE_STARTED;
    }
    if (!untouched && !is_repeatable(x)) {
        return SL_REFUSAL_NOT_REPEATABLE;
    }
    if (x->retries_n >= conf_of(x)->attempts_n) {
        return SL_REFUSAL_ATTEMPTS;
    }
    return x->replay_whole ? SL_REFUSALS_N : SL_REFUSAL_BODY_NOT_KEPT;
}

bool sl_retry_may_follow(struct sl_exchange *x, bool untouched)
{
    enum sl_refusal refusal = sl_retry_refusal(x, untouched);

    if (refusal != SL_REFUSALS_N) {
        sl_retry_count(x, refusal);
    }
    return refusal == SL_REFUSALS_N;
}

struct sl_retry_budget *sl_retry_try(struct sl_exchange *x)
{
    struct sl_retry_budget *b = &x->side->pool->pool->retries;
    uint64_t now_ms = sl_loop_now_ms(x->w->loop);
    bool granted = x->retry_of == b ? sl_retry_budget_try_next(b, x->w->idx, now_ms)
                                    : sl_retry_budget_try(b, x->w->idx, now_ms);

    if (!granted) {
        sl_retry_count(x, SL_REFUSAL_BUDGET);
        return NULL;
    }
    return b;
}

void sl_retry_undo(struct sl_exchange *x, struct sl_retry_budget *b)
{
    sl_retry_budget_undo(b, x->w->idx, sl_loop_now_ms(x->w->loop));
    if (x->retry_of != b) {
        sl_retry_budget_done(b);
    }
}

void sl_retry_begin(struct sl_exchange *x, struct sl_retry_budget *b)
{
    if (x->retry_of != b) {
        sl_retry_end(x); /* the one before is over */
        x->retry_of = b;
    }
    x->retries_n++;
}

bool sl_retry_take(struct sl_exchange *x)
{
    struct sl_retry_budget *b = sl_retry_try(x);

    if (b == NULL) {
        return false;
    }
    sl_retry_begin(x, b);
    return true;
}

void sl_retry_end(struct sl_exchange *x)
{
    if (x->retry_of != NULL) {
        sl_retry_budget_done(x->retry_of);
        x->retry_of = NULL;
    }
}

void sl_retry_resume(struct sl_exchange *x)
{
    if (x->retries_n > 0 && x->retry_of == NULL) {
        x->retry_of = &x->side->pool->pool->retries;
        sl_retry_budget_resume(x->retry_of);
    }
}

void sl_retry_count(struct sl_exchange *x, enum sl_refusal refusal)
{
    sl_series_add(x->side->pool->series, x->w->idx, SL_POOL_RETRIES_REFUSED + (size_t)refusal, 1);
}

/* Anybody may say 503 with Retry-After until there is a head; and what is idempotent is sent again
 * where a kept connection had ended unseen. */
bool sl_retry_may_need_body(const struct sl_exchange *x)
{
    return (x->reused && sl_method_idempotent(x->request.method)) ||
           sl_retry_refusal(x, true) == SL_REFUSALS_N;
}

/* Who waits to be told to send its body is kept waiting by nobody's fault. */
uint64_t sl_retry_try_ms(const struct sl_exchange *x)
{
    if (conf_of(x)->per_try_ms == 0 || x->awaits_continue ||
        sl_retry_refusal(x, false) != SL_REFUSALS_N)
    {
        return 0;
    }
    return conf_of(x)->per_try_ms;
}

uint64_t sl_retry_backoff_ms(const struct sl_retry_config *conf, uint32_t n, struct sl_rng *rng)
{
    uint64_t bound_ms = conf->backoff_min_ms << (n - 1); /* n is small */

    bound_ms = bound_ms < conf->backoff_max_ms ? bound_ms : conf->backoff_max_ms;
    return 1 + sl_rng_below(rng, bound_ms);
}
