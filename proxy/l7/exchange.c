/* SPDX-License-Identifier: Apache-2.0 */
/*
 * exchange: the state machine between the two adapters: route, pick, send, retry, relay, account.
 *
 * Two rules keep it simple. A request body byte is in replay until it cannot be needed again, so a
 * new attempt is the old one from the start. And whoever ends the exchange does it through
 * finish(), the last thing that its caller does.
 */
#include "exchange.h"

#include "access_log.h"
#include "exchange_internal.h"
#include "h1_upstream.h"
#include "route.h"
#include "tunnel.h"

#include "proxy/base/alloc.h"
#include "proxy/proto/field.h"
#include "proxy/upstream/outlier.h"
#include "proxy/upstream/retry_budget.h"

#include <string.h>

#define FREE_EXCHANGES_KEPT_N 256
#define STALL_MS 60000ULL /* a client that takes nothing for that long has left in all but name */
#define AUTHORITY_MAX_BYTES 1024 /* no name is longer; it goes out twice: X-Forwarded-Host */
#define BACKOFF_MAX_MS 25        /* full jitter, before the one retry of what was sent */

static uint64_t now_ms(const struct sl_exchange *x)
{
    return sl_loop_now_ms(x->w->loop);
}

static const struct sl_pool_config *pool_conf(const struct sl_exchange *x)
{
    return x->side->pool->conf;
}

void sl_exchange_enter(struct sl_exchange *x, enum sl_exchange_phase phase, uint64_t after_ms)
{
    uint64_t due_ms = after_ms != 0 ? now_ms(x) + after_ms : UINT64_MAX;

    x->phase = phase;
    if (due_ms > x->total_due_ms) {
        due_ms = x->total_due_ms;
    }
    if (due_ms == UINT64_MAX) {
        sl_deadline_clear(&x->deadline);
    } else {
        sl_deadline_set(sl_loop_wheel(x->w->loop), &x->deadline, due_ms);
    }
}

/* How an attempt ended, for the pool. */
enum verdict {
    ANSWERED,  /* the status speaks */
    ABANDONED, /* not the endpoint's doing */
    FAILED,
    REFUSED,
};

/* The attempt is over: the pool learns how it went. */
static void end_attempt(struct sl_exchange *x, enum verdict verdict)
{
    if (x->endpoint == NULL) {
        return;
    }
    struct sl_outcome o = {
        .failed = verdict == FAILED || verdict == REFUSED,
        .refused = verdict == REFUSED,
        .abandoned = verdict == ABANDONED,
        .status = verdict == ANSWERED ? x->status : 0,
        .retry_after_ms = x->retry_after_ms,
    };
    o.duration_us = sl_loop_now_us(x->w->loop) - x->began_us;
    if (x->sent_us != 0) {
        o.ttft_us = x->first_byte_us > x->sent_us ? x->first_byte_us - x->sent_us : 0;
    }
    sl_pool_done(x->set, x->w->idx, x->endpoint, &o, now_ms(x));
    x->endpoint = NULL;
}

/* Without it the endpoint that the log speaks of may be gone. */
static void let_set_go(struct sl_exchange *x)
{
    if (x->set != NULL) {
        sl_pool_unpin(x->set, x->w->idx);
        x->set = NULL;
        x->last = NULL;
    }
}

static void release_upstream(struct sl_exchange *x, bool whole)
{
    if (x->up != NULL) {
        struct sl_upstream *u = x->up;
        x->up = NULL;
        u->ops->release(u, whole);
    }
}

static void count(struct sl_exchange *x, enum sl_reason reason)
{
    struct sl_l7 *w = x->w;
    uint64_t now_us = sl_loop_now_us(w->loop);

    if (x->side == NULL) {
        sl_series_add(x->down->listener->series, w->idx, SL_LISTENER_REFUSED + (size_t)reason, 1);
        return;
    }
    struct sl_series *s = x->side->series;
    size_t code_class = x->status / 100 < SL_CODE_CLASSES_N ? x->status / 100 : 0;
    sl_series_add(s, w->idx, SL_ROUTE_REQUESTS + (size_t)reason * SL_CODE_CLASSES_N + code_class,
                  1);
    sl_series_observe_us(s, w->idx, SL_ROUTE_DURATION, now_us - x->start_us);
    if (x->first_byte_us != 0) {
        sl_series_observe_us(s, w->idx, SL_ROUTE_FIRST_BYTE, x->first_byte_us - x->start_us);
    }
    sl_series_add(s, w->idx, SL_ROUTE_BYTES_IN, x->bytes_in);
    sl_series_add(s, w->idx, SL_ROUTE_BYTES_OUT, x->bytes_out);
    if (reason == SL_REASON_CLIENT_GONE) {
        sl_series_add(x->side->pool->series, w->idx, SL_POOL_CANCELS, 1);
    }
}

static void give_back(struct sl_exchange *x)
{
    struct sl_l7 *w = x->w;

    sl_arena_fini(&x->arena);
    if (w->free_exchanges_n < FREE_EXCHANGES_KEPT_N) {
        x->next_free = w->free_exchanges;
        w->free_exchanges = x;
        w->free_exchanges_n++;
    } else {
        sl_loop_defer_free(w->loop, x);
    }
}

void sl_exchange_finish(struct sl_exchange *x, enum sl_reason reason, bool whole)
{
    struct sl_l7 *w = x->w;
    struct sl_downstream *d = x->down;

    release_upstream(x, whole && x->request_ended);
    end_attempt(x, reason == SL_REASON_OK ? ANSWERED : ABANDONED);
    if (x->counts_retry) {
        sl_retry_budget_done(&x->side->pool->pool->retries);
    }
    count(x, reason);
    sl_access_log_exchange(w->log, x, sl_reason_name(reason));
    let_set_go(x);
    sl_deadline_remove(sl_loop_wheel(w->loop), &x->deadline);
    sl_queue_clear(&x->replay, &w->chunks);
    d->exchange = NULL;
    struct sl_view *view = x->view;
    give_back(x);
    sl_published_unpin(&view->published, &view->cells[w->idx].published);
    d->ops->done(d, whole);
}

/* Answers in our own name if that is still possible, and ends. */
static void fail(struct sl_exchange *x, enum sl_reason reason)
{
    release_upstream(x, false);
    if (x->response_started || sl_reason_status(reason) == 0) {
        sl_exchange_finish(x, reason, false);
        return;
    }
    sl_exchange_reply(x, reason);
    sl_exchange_finish(x, reason, true);
}

/* ---- The attempt */

static void send_request(struct sl_exchange *x)
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
    sl_exchange_enter(x, SL_PHASE_FIRST_BYTE, pool_conf(x)->timeouts.first_byte_ms);
}

/* An endpoint that was not tried, counted as in flight; NULL when there is none. */
static struct sl_endpoint *pick(struct sl_exchange *x, struct sl_endpoint_set *set,
                                enum sl_tier *tier)
{
    struct sl_pick ctx = {
        .now_ms = now_ms(x),
        .tried = x->tried,
        .tried_n = x->tried_n,
    };
    return sl_pool_pick(set, x->w->idx, &ctx, tier);
}

static void attempt_failed(struct sl_exchange *x, enum sl_reason reason);

/* Connects to ep, which was picked from set, which is pinned. */
static void attempt_at(struct sl_exchange *x, struct sl_endpoint_set *set, struct sl_endpoint *ep)
{
    let_set_go(x);
    x->set = set;
    x->endpoint = ep;
    x->last = ep;
    x->tried[x->tried_n++] = ep;
    if (x->attempts_n++ > 0) {
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
        sl_exchange_enter(x, SL_PHASE_CONNECTING, pool_conf(x)->timeouts.connect_ms);
    } else if (rc != SL_OK) {
        attempt_failed(x, rc == SL_EREFUSED ? SL_REASON_UPSTREAM_REFUSED : SL_REASON_OVERLOAD);
    } else {
        send_request(x);
    }
}

static void attempt(struct sl_exchange *x)
{
    enum sl_tier tier;
    struct sl_endpoint_set *set = sl_pool_pin(x->side->pool->pool, x->w->idx);

    if (set == NULL) {
        fail(x, SL_REASON_POOL_NOT_SYNCED);
        return;
    }
    struct sl_endpoint *ep = x->tried_n < SL_EXCHANGE_TRIES_N ? pick(x, set, &tier) : NULL;
    if (ep == NULL) {
        sl_pool_unpin(set, x->w->idx);
        fail(x, x->tried_n > 0 ? x->last_failure : SL_REASON_NO_ENDPOINT);
        return;
    }
    attempt_at(x, set, ep);
}

/* What was processed somewhere may be sent again only within the pool's budget, and once. */
static bool may_repeat(struct sl_exchange *x)
{
    struct sl_pool *pool = x->side->pool->pool;

    if (!x->replay_whole || x->response_started || x->counts_retry ||
        x->request.upgrade.len > 0) /* the endpoint may have begun to talk */
    {
        return false;
    }
    if (!sl_retry_budget_try(&pool->retries, x->w->idx, now_ms(x))) {
        sl_series_add(x->side->pool->series, x->w->idx, SL_POOL_RETRIES_SPENT, 1);
        return false;
    }
    x->counts_retry = true;
    return true;
}

/* stale: a kept connection ended before it answered, as they do; that is no fault of anybody. */
static enum verdict verdict_of(enum sl_reason reason, bool stale)
{
    if (stale || reason == SL_REASON_OVERLOAD) {
        return ABANDONED;
    }
    return reason == SL_REASON_UPSTREAM_REFUSED ? REFUSED : FAILED;
}

/* x->up is gone already. Nothing was sent: as many endpoints as we may try. Sent: once more, when
 * doing it twice is as good as once. */
static void attempt_failed(struct sl_exchange *x, enum sl_reason reason)
{
    bool was_sent = x->sent;
    bool stale = was_sent && x->reused && reason == SL_REASON_UPSTREAM_RESET;

    x->last_failure = reason;
    x->sent = false; /* what the client sends while a retry waits is kept for it */
    end_attempt(x, verdict_of(reason, stale));
    if (reason == SL_REASON_OVERLOAD) {
        fail(x, reason);
        return;
    }
    if (!was_sent) {
        sl_series_add(x->side->pool->series, x->w->idx, SL_POOL_CONNECT_FAILURES, 1);
        attempt(x);
        return;
    }
    if (!sl_method_idempotent(x->request.method) || !may_repeat(x)) {
        fail(x, reason);
        return;
    }
    if (stale) {
        x->tried_n--; /* its idle connection died, not the endpoint */
    }
    sl_exchange_enter(x, SL_PHASE_BACKOFF, 1 + sl_rng_below(&x->w->rng, BACKOFF_MAX_MS));
}

static void on_deadline(struct sl_deadline *deadline)
{
    struct sl_exchange *x = sl_container_of(deadline, struct sl_exchange, deadline);
    enum sl_reason reason = SL_REASON_INTER_BYTE_TIMEOUT;

    if (now_ms(x) >= x->total_due_ms) {
        fail(x, SL_REASON_TOTAL_TIMEOUT);
        return;
    }
    switch (x->phase) {
    case SL_PHASE_BACKOFF:
        attempt(x);
        return;
    case SL_PHASE_STALLED:
        sl_exchange_client_gone(x);
        return;
    case SL_PHASE_TUNNEL: /* both have gone quiet: not the endpoint's fault alone */
        sl_exchange_finish(x, reason, false);
        return;
    case SL_PHASE_CONNECTING:
        reason = SL_REASON_UPSTREAM_CONNECT_TIMEOUT;
        break;
    case SL_PHASE_FIRST_BYTE:
        reason = SL_REASON_FIRST_BYTE_TIMEOUT;
        break;
    case SL_PHASE_ROUTING:
    case SL_PHASE_BODY:
        break;
    }
    release_upstream(x, false);
    sl_exchange_upstream_failed(x, reason);
}

/* ---- Begin */

struct sl_exchange *sl_exchange_new(struct sl_l7 *w, struct sl_downstream *d,
                                    const struct sl_request_head *head, const char *base,
                                    size_t len)
{
    struct sl_exchange *x = w->free_exchanges;
    if (x != NULL) {
        w->free_exchanges = x->next_free;
        w->free_exchanges_n--;
    } else {
        x = sl_alloc_raw(SL_EXCHANGE_BYTES);
        if (x == NULL) {
            return NULL;
        }
    }
    *x = (struct sl_exchange){
        .w = w,
        .down = d,
        .view = w->view,
        .listener = d->listener->cells[w->idx].current,
        .replay_whole = true,
        .start_us = sl_loop_now_us(w->loop),
        .total_due_ms = UINT64_MAX,
    };
    sl_arena_init(&x->arena, SL_CHUNK_BYTES, 0, x + 1, SL_EXCHANGE_BYTES - sizeof(*x));
    sl_deadline_init(&x->deadline, on_deadline);
    if (sl_exchange_copy_head(x, head, base, len) != SL_OK) {
        give_back(x);
        return NULL;
    }
    sl_published_pin(&x->view->cells[w->idx].published);
    d->exchange = x;
    return x;
}

void sl_exchange_start(struct sl_exchange *x)
{
    const struct sl_request_head *r = &x->request;

    sl_exchange_set_request_id(x);
    x->request_framed = r->framing.kind == SL_FRAMING_CHUNKED;
    if (r->method == SL_METHOD_CONNECT) {
        fail(x, SL_REASON_NOT_IMPLEMENTED);
        return;
    }
    if (sl_tunnel_prepare(x) != SL_OK) {
        fail(x, SL_REASON_OVERLOAD);
        return;
    }
    if (r->authority.len > AUTHORITY_MAX_BYTES) {
        fail(x, SL_REASON_BAD_REQUEST);
        return;
    }
    x->route = x->listener != NULL ? sl_route_match(x->listener, r->host.host, r->path) : NULL;
    if (x->route == NULL) {
        fail(x, SL_REASON_NO_ROUTE);
        return;
    }
    x->side = &x->route->sides[x->route->split != NULL ? sl_split_pick(x->route->split) : 0];
    if (r->framing.kind == SL_FRAMING_LENGTH &&
        r->framing.length_bytes > x->route->conf->max_body_bytes)
    {
        fail(x, SL_REASON_BODY_TOO_LARGE);
        return;
    }
    if (pool_conf(x)->timeouts.total_ms != 0) {
        x->total_due_ms = now_ms(x) + pool_conf(x)->timeouts.total_ms;
    }
    sl_retry_budget_on_request(&x->side->pool->pool->retries, x->w->idx, now_ms(x));
    attempt(x);
}

/* ---- From the downstream adapter */

static void keep_for_replay(struct sl_exchange *x, struct sl_slice wire)
{
    if (!x->replay_whole) {
        return;
    }
    if ((x->sent && x->replay.bytes + wire.len > SL_REPLAY_BYTES) ||
        sl_queue_append(&x->replay, &x->w->chunks, wire.ptr, wire.len) != SL_OK)
    {
        sl_queue_clear(&x->replay, &x->w->chunks);
        x->replay_whole = false;
    }
}

void sl_exchange_request_data(struct sl_exchange *x, struct sl_slice wire, uint64_t body_bytes)
{
    if (x->phase == SL_PHASE_TUNNEL) {
        sl_tunnel_request_data(x, wire);
        return;
    }
    x->bytes_in += body_bytes;
    if (x->bytes_in > x->route->conf->max_body_bytes) {
        fail(x, SL_REASON_BODY_TOO_LARGE);
        return;
    }
    keep_for_replay(x, wire);
    if (x->sent) {
        x->up->ops->data(x->up, wire);
        if (x->up->ops->is_high(x->up)) {
            x->down->ops->read_off(x->down);
        }
    } else if (!x->replay_whole) {
        fail(x, SL_REASON_OVERLOAD);
    } else if (x->replay.bytes >= SL_REPLAY_BYTES) {
        x->down->ops->read_off(x->down);
    }
}

void sl_exchange_request_end(struct sl_exchange *x, const struct sl_headers *trailers)
{
    if (x->phase == SL_PHASE_TUNNEL) {
        sl_tunnel_request_end(x);
        return;
    }
    x->request_ended = true;
    if (trailers != NULL) {
        x->request_trailers = *trailers;
    }
    if (x->sent) {
        x->up->ops->end(x->up, trailers);
    }
}

void sl_exchange_request_failed(struct sl_exchange *x, enum sl_reason reason)
{
    fail(x, reason);
}

void sl_exchange_client_gone(struct sl_exchange *x)
{
    sl_exchange_finish(x, SL_REASON_CLIENT_GONE, false);
}

void sl_exchange_drained(struct sl_exchange *x)
{
    sl_exchange_finish(x, SL_REASON_DRAINED, false);
}

void sl_exchange_downstream_drained(struct sl_exchange *x)
{
    if (x->phase == SL_PHASE_TUNNEL) {
        sl_tunnel_downstream_drained(x);
    } else if (x->phase == SL_PHASE_STALLED && x->up != NULL) {
        sl_exchange_enter(x, SL_PHASE_BODY, pool_conf(x)->timeouts.inter_byte_ms);
        x->up->ops->read_on(x->up);
    }
}

/* ---- From the upstream adapter */

void sl_exchange_upstream_open(struct sl_exchange *x)
{
    send_request(x);
}

void sl_exchange_upstream_drained(struct sl_exchange *x)
{
    if (x->phase == SL_PHASE_TUNNEL) {
        sl_tunnel_upstream_drained(x);
    } else if (!x->request_ended) {
        x->down->ops->read_on(x->down);
    }
}

bool sl_exchange_holds_head(const struct sl_exchange *x, const struct sl_response_head *head)
{
    const struct sl_header *type = sl_headers_find(&head->headers, SL_HEADER_CONTENT_TYPE);

    return x->request.method == SL_METHOD_POST && head->status / 100 == 2 && type != NULL &&
           sl_field_is_media_type(type->value, SL_SLICE("text/event-stream"));
}

/* 503 with Retry-After: the endpoint did not take the request, so another one may. True when it
 * was sent elsewhere. */
static bool refused_and_repeated(struct sl_exchange *x, const struct sl_response_head *head)
{
    if (head->status != 503 || x->retry_after_ms == 0 || x->tried_n == SL_EXCHANGE_TRIES_N ||
        !x->replay_whole || x->counts_retry || x->request.upgrade.len > 0)
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
    release_upstream(x, false);
    end_attempt(x, ANSWERED);
    attempt_at(x, set, other);
    return true;
}

static void note_retry_after(struct sl_exchange *x, const struct sl_response_head *head)
{
    const struct sl_header *h = sl_headers_find(&head->headers, SL_HEADER_RETRY_AFTER);
    uint32_t seconds = 0;

    if (h == NULL || (head->status != 503 && head->status != 429)) {
        return;
    }
    if (sl_field_parse_delay(h->value, SL_OUTLIER_STEER_MAX_MS / 1000, &seconds) != SL_OK) {
        seconds = 1; /* a date, or nonsense: it wants to be left alone all the same */
    }
    x->retry_after_ms = seconds > 0 ? seconds * 1000 : 1; /* "0" is an answer too */
}

void sl_exchange_response_head(struct sl_exchange *x, const struct sl_response_head *head)
{
    if (head->status < 200 && head->status != 101) {
        x->down->ops->informational(x->down, head);
        return;
    }
    x->status = head->status;
    note_retry_after(x, head);
    if (refused_and_repeated(x, head)) {
        return;
    }
    struct sl_header extra = {
        .name = SL_SLICE("x-request-id"),
        .value = {x->request_id, x->request_id_len},
    };
    if (head->status < 500) {
        sl_pool_answered(x->endpoint, x->began_us / 1000, now_ms(x));
    }
    x->response_started = true;
    sl_queue_clear(&x->replay, &x->w->chunks);
    x->replay_whole = false;
    x->down->ops->head(x->down, x, head, &extra, 1);
    if (head->status == 101) {
        sl_tunnel_begin(x);
    } else if (head->status / 100 != 2) {
        x->first_byte_us = sl_loop_now_us(x->w->loop);
        sl_exchange_enter(x, SL_PHASE_BODY, pool_conf(x)->timeouts.inter_byte_ms);
    }
}

void sl_exchange_response_data(struct sl_exchange *x, struct sl_slice wire, uint64_t body_bytes)
{
    if (x->phase == SL_PHASE_TUNNEL) {
        sl_tunnel_response_data(x, wire);
        return;
    }
    if (x->first_byte_us == 0) {
        x->first_byte_us = sl_loop_now_us(x->w->loop);
    }
    x->bytes_out += body_bytes;
    x->down->ops->data(x->down, wire);
    if (x->down->ops->is_high(x->down)) {
        x->up->ops->read_off(x->up);
        sl_exchange_enter(x, SL_PHASE_STALLED, STALL_MS);
        return;
    }
    sl_exchange_enter(x, SL_PHASE_BODY, pool_conf(x)->timeouts.inter_byte_ms);
}

void sl_exchange_response_end(struct sl_exchange *x, const struct sl_headers *trailers)
{
    if (x->phase == SL_PHASE_TUNNEL) {
        sl_tunnel_response_end(x);
        return;
    }
    if (x->first_byte_us == 0) {
        x->first_byte_us = sl_loop_now_us(x->w->loop);
    }
    x->down->ops->end(x->down, trailers);
    sl_exchange_finish(x, SL_REASON_OK, true);
}

void sl_exchange_upstream_failed(struct sl_exchange *x, enum sl_reason reason)
{
    x->up = NULL;
    if (!x->response_started) {
        attempt_failed(x, reason);
        return;
    }
    end_attempt(x, verdict_of(reason, false));
    fail(x, reason);
}
