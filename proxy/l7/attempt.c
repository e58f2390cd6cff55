/* SPDX-License-Identifier: Apache-2.0 */
#include "attempt.h"

#include "admission.h"
#include "balance_key.h"
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
    if (!x->reused) {
        sl_pool_connected(x->endpoint, x->began_us / 1000, now_ms(x));
    }
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

/* ---- Where to */

/* What x may be sent to; nobody else is, until it goes there or leaves it. */
struct aim {
    const struct sl_view_side *side;
    struct sl_endpoint_set *set; /* pinned */
    struct sl_endpoint *ep;      /* not tried yet; counted in flight */
    struct sl_pool_queue *place; /* see sl_admission_take_place */
    bool connects;               /* a new connection is counted for it, else one lies idle */
};

/* Whom x looks for, besides anybody in order of tiers. */
struct wish {
    bool only_ready;
    bool as_is; /* nobody is asked to make room: x would not wait for it */
    bool later; /* x goes there after a wait: what lies idle may have ended by then */
};

static struct sl_endpoint *pick_or_make_room(struct sl_exchange *x, const struct aim *aim,
                                             const struct wish *wish, const struct sl_pick *ctx,
                                             enum sl_tier *tier)
{
    const struct sl_view_pool *vp = aim->side->pool;
    struct sl_endpoint *ep = sl_pool_pick(aim->set, x->w->idx, ctx, tier);

    if (ep != NULL || !ctx->connection->lacks || wish->as_is) {
        return ep;
    }
    if (sl_pool_connections_are_full(&vp->pool->connections) &&
        sl_h1_upstream_close_spare(x->w, aim->set, false))
    {
        sl_series_add(vp->series, x->w->idx, SL_POOL_IDLE_CLOSED, 1);
        *ctx->connection = (struct sl_pick_connection){0};
        ep = sl_pool_pick(aim->set, x->w->idx, ctx, tier);
    }
    if (ep == NULL && ctx->connection->lacks) {
        sl_admission_want_connection(x, aim->side); /* one of another worker, until the next look */
    }
    return ep;
}

/* Somebody of side's pool. No room: somebody would do, but is busy, or others wait for him. */
static enum sl_attempt_room aim_at(struct sl_exchange *x, const struct sl_view_side *side,
                                   const struct wish *wish, struct aim *out)
{
    struct sl_pick_connection connection = {0};
    const struct sl_pick ctx = {
        .now_ms = now_ms(x),
        .key_hash = side == x->side ? x->key_hash : sl_balance_key(x, side->pool->conf),
        .tried = x->tried,
        .tried_n = x->tried_n,
        .again = x->waiter.waits,
        .only_ready = wish->only_ready,
        .wants_new = sl_h1_upstream_wants_new(x) || wish->later,
        .connection = &connection,
    };
    struct aim aim = {.side = side, .set = sl_pool_pin(side->pool->pool, x->w->idx)};
    enum sl_tier tier = SL_TIER_READY;

    if (aim.set == NULL) {
        return SL_ATTEMPT_NO_ENDPOINT;
    }
    if (sl_admission_is_turn(x, side) && sl_admission_take_place(x, side, &aim.place)) {
        aim.ep = pick_or_make_room(x, &aim, wish, &ctx, &tier);
    } else if (wish->only_ready && !sl_pool_has_ready(aim.set, &ctx)) {
        tier = SL_TIERS_N; /* those that wait for it are no reason to stay */
    }
    if (aim.ep == NULL) {
        sl_pool_unpin(aim.set, x->w->idx);
        sl_admission_give_place(x, aim.place);
        return tier == SL_TIERS_N         ? SL_ATTEMPT_NO_ENDPOINT
               : tier == SL_TIER_REFUSING ? SL_ATTEMPT_ALL_REFUSE
                                          : SL_ATTEMPT_NO_ROOM;
    }
    aim.connects = connection.taken;
    *out = aim;
    return SL_ATTEMPT_BEGUN;
}

/* The same, or of those that it falls back on. *where: the pool that has no room. */
static enum sl_attempt_room aim_along(struct sl_exchange *x, const struct sl_view_side *first,
                                      const struct wish *wish, struct aim *out,
                                      const struct sl_view_side **where)
{
    enum sl_attempt_room found = SL_ATTEMPT_NO_ENDPOINT;

    for (const struct sl_view_side *s = first; s != NULL; s = s->fallback) {
        enum sl_attempt_room room = aim_at(x, s, wish, out);
        if (room < found) {
            found = room;
            *where = s;
        }
        if (room < SL_ATTEMPT_ALL_REFUSE) {
            break;
        }
    }
    return found;
}

/* Somebody ready, of side's pool or of those that it falls back on; else anybody, in the same
 * order. */
static enum sl_attempt_room find_aim(struct sl_exchange *x, const struct sl_view_side *first,
                                     struct aim *out, const struct sl_view_side **where)
{
    static const struct wish ready = {.only_ready = true};
    static const struct wish anybody = {0};
    enum sl_attempt_room room = SL_ATTEMPT_NO_ENDPOINT;

    if (first->fallback != NULL) {
        room = aim_along(x, first, &ready, out, where);
    }
    return room == SL_ATTEMPT_NO_ENDPOINT ? aim_along(x, first, &anybody, out, where) : room;
}

/* x, which runs nowhere and waits nowhere, is with side's pool from now on. */
static void move_to(struct sl_exchange *x, const struct sl_view_side *side)
{
    if (side == x->side) {
        return;
    }
    if (x->attempts_n > 0) {
        sl_admission_wake(x); /* where it has had a place */
    }
    x->side = side;
    x->key_hash = sl_balance_key(x, side->pool->conf);
    sl_exchange_limit_total(x);
}

/* x is there from now on, with all that was taken for it. */
static void assign(struct sl_exchange *x, const struct aim *aim)
{
    sl_attempt_forget(x);
    sl_admission_begin(x);
    sl_admission_hold_place(x, aim->place);
    move_to(x, aim->side);
    sl_retry_resume(x);
    x->set = aim->set;
    x->endpoint = aim->ep;
    x->holds_connection = aim->connects;
    x->tried[x->tried_n++] = aim->ep;
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
    if (x->side != x->home && !x->fell_back) {
        x->fell_back = true;
        sl_series_add(x->home->pool->series, x->w->idx, SL_POOL_FALLBACKS, 1);
    }
    sl_endpoint_count(x->endpoint, x->w->idx, SL_ENDPOINT_REQUESTS);
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

/* *where: the pool that x may wait at. */
static enum sl_attempt_room try_from(struct sl_exchange *x, const struct sl_view_side **where)
{
    /* A retry goes on where it is; who waits may have come too far. */
    const struct sl_view_side *first = x->attempts_n > 0 && !x->waiter.waits ? x->side : x->home;
    struct aim aim;

    *where = first;
    enum sl_attempt_room room = find_aim(x, first, &aim, where);
    if (room == SL_ATTEMPT_BEGUN) {
        assign(x, &aim);
        connect_assigned(x);
    } else if (room == SL_ATTEMPT_NO_ENDPOINT && !sl_pool_is_synced(first->pool->pool, x->w->idx)) {
        sl_exchange_fail(x, SL_REASON_POOL_NOT_SYNCED);
        return SL_ATTEMPT_BEGUN;
    }
    return room;
}

enum sl_attempt_room sl_attempt_try(struct sl_exchange *x)
{
    const struct sl_view_side *where;
    enum sl_attempt_room room = try_from(x, &where);

    if (room == SL_ATTEMPT_BEGUN || where == x->side) {
        return room;
    }
    /* It would keep those behind it waiting for what is none of theirs. */
    sl_admission_leave(x);
    move_to(x, where);
    sl_admission_wait(x, room);
    return SL_ATTEMPT_BEGUN;
}

static void end_with_failure(struct sl_exchange *x, enum sl_refusal why)
{
    sl_retry_count(x, why);
    sl_exchange_fail(x, x->last_failure);
}

/* A retry knows by now what to tell the client, and does not wait for who is busy. */
static bool may_wait(const struct sl_exchange *x, enum sl_attempt_room room)
{
    if (room == SL_ATTEMPT_NO_ENDPOINT) {
        return x->retries_n == 0 && x->tried_n == 0;
    }
    return room == SL_ATTEMPT_ALL_REFUSE || x->retries_n == 0 || x->wait_due_ms != 0;
}

void sl_attempt_begin(struct sl_exchange *x)
{
    const struct sl_view_side *where = x->side;
    enum sl_attempt_room room = SL_ATTEMPT_ALL_REFUSE; /* as far as x may ask at a time */
    bool asked_many = x->unsent_n >= SL_EXCHANGE_UNSENT_MAX_N;

    if (asked_many && x->last_failure != SL_REASON_UPSTREAM_REFUSED) {
        end_with_failure(x, SL_REFUSAL_ATTEMPTS);
        return;
    }
    if (!asked_many) {
        room = try_from(x, &where);
    }
    if (room == SL_ATTEMPT_BEGUN) {
        return;
    }
    if (!may_wait(x, room)) {
        end_with_failure(x, SL_REFUSAL_NO_ENDPOINT);
    } else {
        sl_retry_end(x); /* the pool's retries are for those that run */
        sl_admission_hold_place(x, NULL);
        move_to(x, where);
        sl_admission_wait(x, room);
    }
}

/* After a wait: discovery, or a person, may have taken its endpoint away meanwhile. */
static bool may_still_go(const struct sl_exchange *x)
{
    return sl_endpoint_is_named(x->endpoint, x->w->idx) &&
           !atomic_load_explicit(&x->endpoint->drained_by_hand, memory_order_relaxed);
}

void sl_attempt_resume(struct sl_exchange *x)
{
    if (x->endpoint == NULL) {
        sl_attempt_begin(x);
    } else if (may_still_go(x)) {
        connect_assigned(x);
    } else {
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
    x->may_be_done = x->may_be_done || was_sent;
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
            x->unfit_n += reason != SL_REASON_UPSTREAM_REFUSED;
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
 * so that it is there after it, with its connection and its place. */
static bool leave(struct sl_exchange *x, enum sl_verdict verdict, bool at_once)
{
    const struct wish wish = {.only_ready = true, .as_is = true, .later = !at_once};
    struct sl_retry_budget *budget = sl_retry_try(x);
    const struct sl_view_side *where;
    struct aim aim;

    if (budget == NULL) { /* before anybody is picked, and counted, for nothing */
        return false;
    }
    if (aim_along(x, x->side, &wish, &aim, &where) != SL_ATTEMPT_BEGUN) {
        sl_retry_undo(x, budget);
        sl_retry_count(x, SL_REFUSAL_NO_ENDPOINT);
        return false;
    }
    if (!at_once && !aim.connects) {
        sl_h1_upstream_trade_idle(x->w, aim.ep);
        sl_series_add(aim.side->pool->series, x->w->idx, SL_POOL_IDLE_CLOSED, 1);
        aim.connects = true;
    }
    sl_retry_begin(x, budget);
    x->may_be_done = x->may_be_done || !at_once; /* at once: it was refused */
    x->wants_new = x->wants_new || wish.later;
    sl_attempt_let_go(x, false);
    sl_attempt_end(x, verdict);
    assign(x, &aim);
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
