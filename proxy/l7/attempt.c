/* SPDX-License-Identifier: Apache-2.0 */
#include "attempt.h"

#include "admission.h"
#include "exchange_internal.h"
#include "h1_upstream.h"
#include "retry.h"

#include "proxy/upstream/hang.h"
#include "proxy/upstream/retry_budget.h"

/* Each try adds one, but for kept connections that ended, which do not count. */
_Static_assert(SL_TRIED_MAX_N == SL_EXCHANGE_UNSENT_MAX_N + SL_RETRY_ATTEMPTS_MAX_N,
               "all that may be tried can be noted");

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
    if (x->holds_connection) { /* it never got so far */
        x->holds_connection = false;
        sl_pool_connections_give(&x->set->pool->connections, x->endpoint);
    }
    sl_pool_done(x->set, x->w->idx, x->endpoint, &o, now_ms(x));
    x->endpoint = NULL;
    sl_admission_attempt_ended(x);
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
                                enum sl_tier *tier, struct sl_pick_connection *connection)
{
    struct sl_pick ctx = {
        .now_ms = now_ms(x),
        .key_hash = x->key_hash,
        .tried = x->tried,
        .tried_n = x->tried_n,
        .again = x->waiter.waits,
        .wants_new = sl_h1_upstream_wants_new(x),
        .connection = connection,
    };
    *connection = (struct sl_pick_connection){0};
    return sl_pool_pick(set, x->w->idx, &ctx, tier);
}

/* x is ep's from now on, which was picked from set, which is pinned; holds_connection: a new one is
 * counted for it, else one lies idle. */
static void assign(struct sl_exchange *x, struct sl_endpoint_set *set, struct sl_endpoint *ep,
                   bool holds_connection)
{
    sl_attempt_forget(x);
    x->set = set;
    x->endpoint = ep;
    x->holds_connection = holds_connection;
    x->tried[x->tried_n++] = ep;
    x->sent = false;
    x->status = 0;
    x->retry_after_ms = 0;
    x->heartbeat_ms = 0;
    x->first_byte_us = 0;
    x->sent_us = 0;
    x->began_us = sl_loop_now_us(x->w->loop);
}

/* Connects to the endpoint that x was assigned to. */
static void connect_assigned(struct sl_exchange *x)
{
    if (x->attempts_n++ == 0) { /* one that is refused, or only waits, earns no retries */
        sl_retry_budget_on_request(&x->side->pool->pool->retries, x->w->idx, now_ms(x));
    } else {
        sl_series_add(x->side->pool->series, x->w->idx, SL_POOL_RETRIES, 1);
    }
    x->last = x->endpoint;
    x->began_us = sl_loop_now_us(x->w->loop);
    bool connects = x->holds_connection;
    x->holds_connection = false; /* it is the connection's now, or given back */
    int rc = sl_h1_upstream_attach(x->w, x->side->pool, x->endpoint, x, connects);
    if (rc == SL_AGAIN) {
        sl_exchange_enter(x, SL_PHASE_CONNECTING, x->side->pool->conf->timeouts.connect_ms);
    } else if (rc != SL_OK) {
        sl_attempt_failed(x, rc == SL_EREFUSED ? SL_REASON_UPSTREAM_REFUSED : SL_REASON_OVERLOAD);
    } else {
        sl_attempt_send(x);
    }
}

/* The same, where an idle connection to somebody else may make room for it: one of this worker now,
 * or one of another worker until the next look. */
static struct sl_endpoint *pick_or_make_room(struct sl_exchange *x, struct sl_endpoint_set *set,
                                             enum sl_tier *tier,
                                             struct sl_pick_connection *connection)
{
    const struct sl_view_pool *vp = x->side->pool;
    struct sl_endpoint *ep = pick(x, set, tier, connection);

    if (ep != NULL || !connection->lacks) {
        return ep;
    }
    if (sl_pool_connections_are_full(&vp->pool->connections) &&
        sl_h1_upstream_close_spare(x->w, set, false))
    {
        sl_series_add(vp->series, x->w->idx, SL_POOL_IDLE_CLOSED, 1);
        ep = pick(x, set, tier, connection);
    }
    if (ep == NULL && connection->lacks) {
        sl_admission_want_connection(x);
    }
    return ep;
}

enum sl_attempt_room sl_attempt_try(struct sl_exchange *x)
{
    enum sl_tier tier = SL_TIER_READY;
    struct sl_endpoint *ep = NULL;
    struct sl_pick_connection connection;
    struct sl_endpoint_set *set = sl_pool_pin(x->side->pool->pool, x->w->idx);

    if (set == NULL) {
        sl_exchange_fail(x, SL_REASON_POOL_NOT_SYNCED);
        return SL_ATTEMPT_BEGUN;
    }
    if (sl_admission_take_place(x)) {
        ep = pick_or_make_room(x, set, &tier, &connection);
    }
    if (ep == NULL) {
        sl_pool_unpin(set, x->w->idx);
        sl_admission_give_place(x);
        return tier == SL_TIERS_N ? SL_ATTEMPT_NO_ENDPOINT : SL_ATTEMPT_NO_ROOM;
    }
    sl_admission_begin(x);
    assign(x, set, ep, connection.taken);
    connect_assigned(x);
    return SL_ATTEMPT_BEGUN;
}

void sl_attempt_begin(struct sl_exchange *x)
{
    enum sl_attempt_room room = SL_ATTEMPT_NO_ROOM;

    if (x->unsent_n >= SL_EXCHANGE_UNSENT_MAX_N) {
        sl_retry_count(x, SL_REFUSAL_ATTEMPTS);
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
        sl_retry_count(x, SL_REFUSAL_NO_ENDPOINT);
        sl_exchange_fail(x, x->last_failure);
    } else {
        sl_admission_wait(x, room == SL_ATTEMPT_NO_ENDPOINT);
    }
}

void sl_attempt_resume(struct sl_exchange *x)
{
    if (x->endpoint == NULL) {
        sl_attempt_begin(x);
    } else if (sl_endpoint_is_named(x->endpoint, x->w->idx)) {
        connect_assigned(x);
    } else { /* discovery took it away meanwhile */
        x->tried_n--;
        sl_attempt_end(x, SL_VERDICT_ABANDONED);
        sl_attempt_begin(x);
    }
}

static void back_off(struct sl_exchange *x)
{
    sl_exchange_enter(x, SL_PHASE_BACKOFF,
                      sl_retry_backoff_ms(&x->route->conf->retry, x->retries_n, &x->w->rng));
}

/* An idle connection dies once in an exchange: then a new one is wanted. If its endpoint died with
 * it, that is known only when the next attempt, which may be there again, has failed as well; the
 * retry is left for the one after. But a generation is never begun a third time. */
static bool takes_no_retry(const struct sl_exchange *x, bool stale)
{
    return stale && x->replay_whole && !x->response_started && x->request.upgrade.len == 0 &&
           sl_method_idempotent(x->request.method);
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
            x->unsent_n++;
            sl_series_add(x->side->pool->series, x->w->idx, SL_POOL_CONNECT_FAILURES, 1);
        }
        sl_attempt_begin(x);
        return;
    }
    if (takes_no_retry(x, stale)) {
        sl_attempt_begin(x);
    } else if (sl_retry_may_follow(x, false) && sl_retry_take(x)) {
        back_off(x);
    } else {
        sl_exchange_fail(x, reason);
    }
}

/* Leaves the attempt that runs for another ready endpoint, if there is one within the pool's
 * budget: both are certain before anything is given up. The endpoint is picked before the back-off
 * so that it is there after it. */
static bool leave(struct sl_exchange *x, enum sl_verdict verdict, bool at_once)
{
    static const struct sl_outcome unused = {.abandoned = true};
    enum sl_tier tier;
    struct sl_pick_connection connection;
    struct sl_pool *pool = x->side->pool->pool;
    struct sl_endpoint_set *set = sl_pool_pin(pool, x->w->idx);
    x->wants_new = x->wants_new || !at_once; /* what lies idle now may not after the wait */
    struct sl_endpoint *other = set != NULL ? pick(x, set, &tier, &connection) : NULL;
    bool is_ready = other != NULL && tier == SL_TIER_READY && (at_once || connection.taken);

    if (!is_ready) {
        sl_retry_count(x, SL_REFUSAL_NO_ENDPOINT);
    }
    if (!is_ready || !sl_retry_take(x)) {
        if (other != NULL) {
            if (connection.taken) {
                sl_pool_connections_give(&pool->connections, other);
            }
            sl_pool_done(set, x->w->idx, other, &unused, now_ms(x));
        }
        if (set != NULL) {
            sl_pool_unpin(set, x->w->idx);
        }
        return false;
    }
    sl_attempt_let_go(x, false);
    sl_attempt_end(x, verdict);
    assign(x, set, other, connection.taken);
    if (at_once) {
        connect_assigned(x);
    } else {
        back_off(x);
    }
    return true;
}

bool sl_attempt_moved_on(struct sl_exchange *x, const struct sl_response_head *head)
{
    const struct sl_retry_config *retry = &x->route->conf->retry;
    bool untouched = head->status == 503 && x->retry_after_ms != 0;

    if ((!untouched && !sl_status_is_in(retry->statuses, retry->statuses_n, head->status)) ||
        !sl_retry_may_follow(x, untouched))
    {
        return false;
    }
    x->last_failure = SL_REASON_NO_ENDPOINT; /* if the other one goes meanwhile */
    return leave(x, SL_VERDICT_ANSWERED, untouched);
}

bool sl_attempt_given_up(struct sl_exchange *x)
{
    if (!sl_retry_may_follow(x, false)) {
        return false;
    }
    x->last_failure = SL_REASON_FIRST_BYTE_TIMEOUT;
    return leave(x, SL_VERDICT_FAILED, false);
}
