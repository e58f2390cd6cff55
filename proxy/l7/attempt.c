/* SPDX-License-Identifier: Apache-2.0 */
#include "attempt.h"

#include "admission.h"
#include "exchange_internal.h"
#include "h1_upstream.h"

#include "proxy/upstream/hang.h"
#include "proxy/upstream/retry_budget.h"

#define BACKOFF_MAX_MS 25 /* full jitter, before the one retry of what was sent */

static uint64_t now_ms(const struct sl_exchange *x)
{
    return sl_loop_now_ms(x->w->loop);
}

void sl_attempt_end_wait(struct sl_exchange *x, bool answered)
{
    if (x->waits_since_ms != 0) {
        sl_hang_wait_ends(x->set->pool, x->w->idx, x->endpoint, x->waits_since_ms, now_ms(x),
                          answered);
        x->waits_since_ms = 0;
    }
}

void sl_attempt_end(struct sl_exchange *x, enum sl_verdict verdict)
{
    if (x->endpoint == NULL) {
        return;
    }
    sl_attempt_end_wait(x, verdict == SL_VERDICT_ANSWERED);
    bool unreachable = verdict == SL_VERDICT_REFUSED || verdict == SL_VERDICT_UNCONNECTED;
    struct sl_outcome o = {
        .failed = verdict == SL_VERDICT_FAILED || unreachable,
        .refused = verdict == SL_VERDICT_REFUSED,
        .unreachable = unreachable,
        .abandoned = verdict == SL_VERDICT_ABANDONED,
        .status = verdict == SL_VERDICT_ANSWERED ? x->status : 0,
        .retry_after_ms = x->retry_after_ms,
    };
    o.duration_us = sl_loop_now_us(x->w->loop) - x->began_us;
    if (x->sent_us != 0) {
        o.ttft_us = x->first_byte_us > x->sent_us ? x->first_byte_us - x->sent_us : 0;
    }
    sl_pool_done(x->set, x->w->idx, x->endpoint, &o, now_ms(x));
    x->endpoint = NULL;
    if (x->side->pool->conf->limits.per_endpoint_n != 0) {
        sl_admission_wake(x);
    }
}

void sl_attempt_forget(struct sl_exchange *x)
{
    if (x->set != NULL) {
        sl_pool_unpin(x->set, x->w->idx);
        x->set = NULL;
        x->last = NULL;
    }
}

void sl_attempt_let_go(struct sl_exchange *x, bool whole)
{
    if (x->up != NULL) {
        struct sl_upstream *u = x->up;
        x->up = NULL;
        u->ops->release(u, whole);
    }
}

void sl_attempt_send(struct sl_exchange *x)
{
    struct sl_upstream *u = x->up;
    struct iovec iov[16];
    size_t skip = 0;

    x->sent = true;
    x->sent_us = sl_loop_now_us(x->w->loop);
    sl_exchange_send_head(x);
    while (skip < x->replay.bytes) {
        int n = sl_queue_peek_from(&x->replay, skip, iov, 16);
        for (int i = 0; i < n; i++) {
            u->ops->data(u, (struct sl_slice){iov[i].iov_base, iov[i].iov_len});
            skip += iov[i].iov_len;
        }
    }
    if (x->request_ended) {
        u->ops->end(u, x->request_trailers.n > 0 ? &x->request_trailers : NULL);
    } else if (!u->ops->is_high(u)) {
        x->down->ops->read_on(x->down);
    }
    sl_exchange_await(x);
}

/* An endpoint that was not tried, counted as in flight; NULL when there is none. */
static struct sl_endpoint *pick(struct sl_exchange *x, struct sl_endpoint_set *set,
                                enum sl_tier *tier)
{
    struct sl_pick ctx = {
        .now_ms = now_ms(x),
        .key_hash = x->key_hash,
        .tried = x->tried,
        .tried_n = x->tried_n,
        .again = x->waiter.waits,
    };
    return sl_pool_pick(set, x->w->idx, &ctx, tier);
}

/* Connects to ep, which was picked from set, which is pinned. */
static void attempt_at(struct sl_exchange *x, struct sl_endpoint_set *set, struct sl_endpoint *ep)
{
    sl_attempt_forget(x);
    x->set = set;
    x->endpoint = ep;
    x->last = ep;
    x->tried[x->tried_n++] = ep;
    if (x->attempts_n++ == 0) { /* one that is refused, or only waits, earns no retries */
        sl_retry_budget_on_request(&x->side->pool->pool->retries, x->w->idx, now_ms(x));
    } else {
        sl_series_add(x->side->pool->series, x->w->idx, SL_POOL_RETRIES, 1);
    }
    x->sent = false;
    x->status = 0;
    x->retry_after_ms = 0;
    x->first_byte_us = 0;
    x->sent_us = 0;
    x->began_us = sl_loop_now_us(x->w->loop);
    int rc = sl_h1_upstream_attach(x->w, x->side->pool, ep, x);
    if (rc == SL_AGAIN) {
        sl_exchange_enter(x, SL_PHASE_CONNECTING, x->side->pool->conf->timeouts.connect_ms);
    } else if (rc != SL_OK) {
        sl_attempt_failed(x, rc == SL_EREFUSED ? SL_REASON_UPSTREAM_REFUSED : SL_REASON_OVERLOAD);
    } else {
        sl_attempt_send(x);
    }
}

enum sl_attempt_room sl_attempt_try(struct sl_exchange *x)
{
    enum sl_tier tier = SL_TIER_READY;
    struct sl_endpoint *ep = NULL;
    struct sl_endpoint_set *set = sl_pool_pin(x->side->pool->pool, x->w->idx);

    if (set == NULL) {
        sl_exchange_fail(x, SL_REASON_POOL_NOT_SYNCED);
        return SL_ATTEMPT_BEGUN;
    }
    if (sl_admission_take_place(x)) {
        ep = pick(x, set, &tier);
    }
    if (ep == NULL) {
        sl_pool_unpin(set, x->w->idx);
        sl_admission_give_place(x);
        return tier == SL_TIERS_N ? SL_ATTEMPT_NO_ENDPOINT : SL_ATTEMPT_NO_ROOM;
    }
    sl_admission_begin(x);
    attempt_at(x, set, ep);
    return SL_ATTEMPT_BEGUN;
}

void sl_attempt_begin(struct sl_exchange *x)
{
    enum sl_attempt_room room = SL_ATTEMPT_NO_ROOM;

    if (x->tried_n + x->forgotten_n >= SL_EXCHANGE_TRIES_N) {
        sl_exchange_fail(x, x->last_failure);
        return;
    }
    if (x->attempts_n > 0 || sl_admission_is_turn(x)) { /* it has had its turn, or it is now */
        room = sl_attempt_try(x);
    }
    if (room == SL_ATTEMPT_BEGUN) {
        return;
    }
    /* What was sent once has taken its part of the pool's retries: that is not to lie idle. */
    if (x->counts_retry || (x->tried_n > 0 && room == SL_ATTEMPT_NO_ENDPOINT)) {
        sl_exchange_fail(x, x->last_failure);
    } else {
        sl_admission_wait(x, room == SL_ATTEMPT_NO_ENDPOINT);
    }
}

/* RFC 9110 section 9.2.2: whether doing it twice is as good as once, or the route says so. */
static bool is_repeatable(const struct sl_exchange *x)
{
    return sl_method_idempotent(x->request.method) || x->route->conf->replays_generations;
}

/* Whether x is there to be sent once more, and nobody has seen anything of an answer. */
static bool is_whole(const struct sl_exchange *x)
{
    return x->replay_whole && !x->response_started &&
           x->request.upgrade.len == 0; /* the endpoint may have begun to talk */
}

/* What was processed somewhere may be sent again only within the pool's budget, and once. */
static bool may_repeat(struct sl_exchange *x)
{
    struct sl_pool *pool = x->side->pool->pool;

    if (!is_whole(x) || x->counts_retry) {
        return false;
    }
    if (!sl_retry_budget_try(&pool->retries, x->w->idx, now_ms(x))) {
        sl_series_add(x->side->pool->series, x->w->idx, SL_POOL_RETRIES_SPENT, 1);
        return false;
    }
    x->counts_retry = true;
    return true;
}

/* An idle connection dies once in an exchange: then a new one is wanted. If its endpoint died with
 * it, that is known only when the next attempt, which may be there again, has failed as well; the
 * retry is left for the one after. But a generation is never begun a third time. */
static bool takes_no_retry(const struct sl_exchange *x, bool stale)
{
    return stale && is_whole(x) && sl_method_idempotent(x->request.method);
}

enum sl_verdict sl_attempt_verdict(enum sl_reason reason, bool stale)
{
    if (stale || reason == SL_REASON_OVERLOAD) {
        return SL_VERDICT_ABANDONED;
    }
    if (reason == SL_REASON_UPSTREAM_REFUSED) {
        return SL_VERDICT_REFUSED;
    }
    return reason == SL_REASON_UPSTREAM_CONNECT_TIMEOUT ? SL_VERDICT_UNCONNECTED
                                                        : SL_VERDICT_FAILED;
}

void sl_attempt_failed(struct sl_exchange *x, enum sl_reason reason)
{
    bool was_sent = x->sent;
    bool stale = x->reused && reason == SL_REASON_UPSTREAM_RESET;

    x->last_failure = reason;
    x->sent = false; /* what the client sends while a retry waits is kept for it */
    x->heartbeat_ms = 0;
    if (stale) { /* its idle connection died, not the endpoint; the others may be as old */
        x->tried_n--;
        x->wants_new = true;
    }
    sl_attempt_end(x, sl_attempt_verdict(reason, stale));
    if (reason == SL_REASON_OVERLOAD) {
        sl_exchange_fail(x, reason);
        return;
    }
    if (!was_sent && x->replay_whole) {
        if (!stale) {
            sl_series_add(x->side->pool->series, x->w->idx, SL_POOL_CONNECT_FAILURES, 1);
        }
        sl_attempt_begin(x);
        return;
    }
    if (!is_repeatable(x) || !(takes_no_retry(x, stale) || may_repeat(x))) {
        sl_exchange_fail(x, reason);
        return;
    }
    sl_exchange_enter(x, SL_PHASE_BACKOFF, 1 + sl_rng_below(&x->w->rng, BACKOFF_MAX_MS));
}

bool sl_attempt_moved_on(struct sl_exchange *x, const struct sl_response_head *head)
{
    if (head->status != 503 || x->retry_after_ms == 0 ||
        x->tried_n + x->forgotten_n >= SL_EXCHANGE_TRIES_N || !x->replay_whole || x->counts_retry ||
        x->request.upgrade.len > 0)
    {
        return false; /* before anybody is picked for it, and counted */
    }
    static const struct sl_outcome unused = {.abandoned = true};
    enum sl_tier tier;
    struct sl_endpoint_set *set = sl_pool_pin(x->side->pool->pool, x->w->idx);
    struct sl_endpoint *other = set != NULL ? pick(x, set, &tier) : NULL;
    if (other == NULL || tier != SL_TIER_READY || !may_repeat(x)) {
        if (other != NULL) {
            sl_pool_done(set, x->w->idx, other, &unused, now_ms(x));
        }
        if (set != NULL) {
            sl_pool_unpin(set, x->w->idx);
        }
        return false;
    }
    sl_attempt_let_go(x, false);
    sl_attempt_end(x, SL_VERDICT_ANSWERED);
    attempt_at(x, set, other);
    return true;
}
