/* SPDX-License-Identifier: Apache-2.0 */
/*
 * exchange: the state machine between the two adapters: route, pick, send, retry, relay, account.
 *
 * Two rules keep it simple. A request body byte is in replay until it cannot be needed again, so a
 * new attempt is the old one from the start. And whoever ends the exchange does it through
 * finish(), the last thing that its caller does.
 */
#include "exchange.h"

#include <sluiced/time.h>

#include "access_log.h"
#include "admission.h"
#include "attempt.h"
#include "balance_key.h"
#include "exchange_internal.h"
#include "forwarded.h"
#include "retry.h"
#include "route.h"
#include "tunnel.h"

#include "proxy/base/alloc.h"
#include "proxy/proto/field.h"
#include "proxy/upstream/hang.h"
#include "proxy/upstream/outlier.h"

#include <stddef.h>
#include <string.h>

#define FREE_EXCHANGES_KEPT_N 256
#define STEP_BYTES 256           /* exchanges with their heads are multiples of it */
#define ARENA_BYTES 1024         /* beyond the head, where that is needed */
#define AUTHORITY_MAX_BYTES 1024 /* no name is longer; it goes out twice: X-Forwarded-Host */

static uint64_t now_ms(const struct sl_exchange *x)
{
    return sl_loop_now_ms(x->w->loop);
}

static const struct sl_pool_config *pool_conf(const struct sl_exchange *x)
{
    return x->side->pool->conf;
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
}

void sl_exchange_drop_replay(struct sl_exchange *x)
{
    x->w->replay_bytes -= x->replay.bytes;
    sl_queue_clear(&x->replay, &x->w->chunks);
    x->replay_whole = false;
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

    sl_attempt_let_go(x, whole && x->request_ended);
    sl_attempt_end(x, reason == SL_REASON_OK ? SL_VERDICT_ANSWERED : SL_VERDICT_ABANDONED);
    sl_retry_end(x);
    sl_admission_end(x);
    count(x, reason);
    sl_access_log_exchange(w->log, x, sl_reason_name(reason));
    sl_attempt_forget(x);
    sl_deadline_remove(sl_loop_wheel(w->loop), &x->deadline);
    sl_exchange_drop_replay(x);
    d->exchange = NULL;
    struct sl_view *view = x->view;
    give_back(x);
    sl_published_unpin(&view->published, &view->cells[w->idx].published);
    d->ops->done(d, whole);
}

void sl_exchange_fail(struct sl_exchange *x, enum sl_reason reason)
{
    sl_attempt_let_go(x, false);
    if (x->response_started || sl_reason_status(reason) == 0) {
        sl_exchange_finish(x, reason, false);
        return;
    }
    sl_exchange_reply(x, reason);
    sl_exchange_finish(x, reason, true);
}

/* ---- Begin */

/* With room for its head, and little more: what each costs of many that wait, or stream. The block
 * used last is taken; one that is too small makes way, so that they become as large as needed. */
static struct sl_exchange *take_block(struct sl_l7 *w, size_t head_bytes)
{
    size_t least = sizeof(struct sl_exchange) + _Alignof(max_align_t) + head_bytes;
    size_t bytes = (least + STEP_BYTES - 1) / STEP_BYTES * STEP_BYTES;
    struct sl_exchange *x = w->free_exchanges;

    if (x != NULL) {
        w->free_exchanges = x->next_free;
        w->free_exchanges_n--;
        if (x->block_bytes >= bytes) {
            return x;
        }
        sl_free(x);
    }
    x = sl_alloc_raw(bytes);
    if (x != NULL) {
        x->block_bytes = (uint32_t)bytes;
    }
    return x;
}

struct sl_exchange *sl_exchange_new(struct sl_l7 *w, struct sl_downstream *d,
                                    const struct sl_request_head *head, const char *base,
                                    size_t len)
{
    struct sl_exchange *x = take_block(w, sl_exchange_head_bytes(head, len));

    if (x == NULL) {
        return NULL;
    }
    *x = (struct sl_exchange){
        .block_bytes = x->block_bytes,
        .head_bytes = (uint32_t)sl_exchange_head_bytes(head, len), /* far below 4 GiB */
        .w = w,
        .down = d,
        .view = w->view,
        .listener = d->listener->cells[w->idx].current,
        .replay_whole = true,
        .start_us = sl_loop_now_us(w->loop),
        .phase_due_ms = UINT64_MAX,
        .total_due_ms = UINT64_MAX,
        .try_due_ms = UINT64_MAX,
        .beat_due_ms = UINT64_MAX,
        .awaits_continue = head->expect_continue,
    };
    sl_arena_init(&x->arena, ARENA_BYTES, 0, x + 1, x->block_bytes - sizeof(*x));
    sl_deadline_init(&x->deadline, sl_exchange_on_deadline);
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
    enum sl_reason refused = sl_forwarded_prepare(x);
    if (refused == SL_REASON_OK && sl_l7_overload(x->w) >= SL_OVERLOAD_REFUSE) {
        refused = SL_REASON_OVERLOAD;
    }
    if (refused != SL_REASON_OK) {
        sl_exchange_fail(x, refused);
        return;
    }
    x->request_framed = r->framing.kind == SL_FRAMING_CHUNKED;
    if (r->method == SL_METHOD_CONNECT) {
        sl_exchange_fail(x, SL_REASON_NOT_IMPLEMENTED);
        return;
    }
    if (sl_tunnel_prepare(x) != SL_OK) {
        sl_exchange_fail(x, SL_REASON_OVERLOAD);
        return;
    }
    if (r->authority.len > AUTHORITY_MAX_BYTES) {
        sl_exchange_fail(x, SL_REASON_BAD_REQUEST);
        return;
    }
    x->route = x->listener != NULL ? sl_route_match(x->listener, r->host.host, r->path) : NULL;
    if (x->route == NULL) {
        sl_exchange_fail(x, SL_REASON_NO_ROUTE);
        return;
    }
    x->home = &x->route->sides[x->route->split != NULL ? sl_split_pick(x->route->split) : 0];
    x->side = x->home;
    x->key_hash = sl_balance_key(x, pool_conf(x));
    if (r->framing.kind == SL_FRAMING_LENGTH &&
        r->framing.length_bytes > x->route->conf->max_body_bytes)
    {
        sl_exchange_fail(x, SL_REASON_BODY_TOO_LARGE);
        return;
    }
    sl_exchange_limit_total(x);
    sl_attempt_begin(x);
}

/* ---- From the downstream adapter */

/* Whether to keep n more bytes: where that is worth the memory, and as long as the endpoint got
 * nothing at all, for then the next attempt needs them. Whether it did is not asked with the first
 * ones: the head waits to leave with them. */
static bool may_keep(const struct sl_exchange *x, size_t n)
{
    const struct sl_framing *f = &x->request.framing;
    uint64_t whole = f->kind == SL_FRAMING_LENGTH ? f->length_bytes : x->replay.bytes + n;
    bool cheap = whole <= SL_REPLAY_MAX_BYTES &&
                 (x->replay.bytes == 0 || sl_retry_may_need_body(x)) &&
                 x->w->replay_bytes + n <= SL_REPLAY_BUDGET_BYTES / x->w->workers_n;

    return cheap || !x->sent || !x->up->ops->has_sent(x->up);
}

static void keep_for_replay(struct sl_exchange *x, struct sl_slice wire)
{
    if (!x->replay_whole) {
        return;
    }
    if (!may_keep(x, wire.len) ||
        sl_queue_append(&x->replay, &x->w->chunks, wire.ptr, wire.len) != SL_OK)
    {
        sl_exchange_drop_replay(x);
        return;
    }
    x->w->replay_bytes += wire.len;
}

void sl_exchange_request_data(struct sl_exchange *x, struct sl_slice wire, uint64_t body_bytes)
{
    if (x->phase == SL_PHASE_TUNNEL) {
        sl_tunnel_request_data(x, wire);
        return;
    }
    x->awaits_continue = false; /* it did not wait */
    x->bytes_in += body_bytes;
    if (x->bytes_in > x->route->conf->max_body_bytes) {
        sl_exchange_fail(x, SL_REASON_BODY_TOO_LARGE);
        return;
    }
    keep_for_replay(x, wire);
    if (x->waiter.waits && !sl_admission_grow(x, wire.len)) {
        return;
    }
    if (x->sent) {
        x->up->ops->data(x->up, wire);
        if (x->up->ops->is_high(x->up)) {
            x->down->ops->read_off(x->down);
        }
        if (x->first_byte_us == 0) {
            sl_exchange_await(x);
        }
    } else if (!x->replay_whole) {
        sl_exchange_fail(x, SL_REASON_OVERLOAD);
    } else if (x->replay.bytes >= SL_UNSENT_BODY_BYTES || x->phase == SL_PHASE_QUEUED) {
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
        if (x->first_byte_us == 0) {
            sl_exchange_await(x);
        }
    }
}

void sl_exchange_request_failed(struct sl_exchange *x, enum sl_reason reason)
{
    sl_exchange_fail(x, reason);
}

void sl_exchange_client_gone(struct sl_exchange *x)
{
    if (x->up != NULL) {
        struct sl_series *s = x->side->pool->series;
        sl_attempt_let_go(x, false);
        sl_series_add(s, x->w->idx, SL_POOL_CANCELS, 1);
        sl_series_observe_us(s, x->w->idx, SL_POOL_CANCEL,
                             sl_time_now_us() - sl_loop_now_us(x->w->loop));
    }
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
    sl_attempt_send(x);
}

void sl_exchange_upstream_drained(struct sl_exchange *x)
{
    if (x->phase == SL_PHASE_TUNNEL) {
        sl_tunnel_upstream_drained(x);
        return;
    }
    if (!x->request_ended) {
        x->down->ops->read_on(x->down);
    }
    if (x->first_byte_us == 0) {
        sl_exchange_await(x);
    }
}

static bool is_event_stream(const struct sl_response_head *head)
{
    const struct sl_header *type = sl_headers_find(&head->headers, SL_HEADER_CONTENT_TYPE);

    return head->status / 100 == 2 && type != NULL &&
           sl_field_is_media_type(type->value, SL_SLICE("text/event-stream"));
}

/* Whether something of ours may stand between the events: not where the length was told before, nor
 * within what is compressed. */
static bool wants_heartbeat(const struct sl_exchange *x, const struct sl_response_head *head)
{
    return x->route->conf->heartbeat_ms != 0 && is_event_stream(head) &&
           (head->framing.kind == SL_FRAMING_CHUNKED ||
            head->framing.kind == SL_FRAMING_UNTIL_CLOSE) &&
           sl_headers_find(&head->headers, SL_HEADER_CONTENT_ENCODING) == NULL;
}

bool sl_exchange_holds_head(struct sl_exchange *x, const struct sl_response_head *head)
{
    bool streams = x->request.method == SL_METHOD_POST && is_event_stream(head);

    if (streams && wants_heartbeat(x, head)) {
        sl_exchange_begin_heartbeat(x);
    }
    /* A whole document: nobody can do anything with its head alone. */
    bool holds = streams || (head->status / 100 == 2 && head->framing.kind == SL_FRAMING_LENGTH);
    if (holds && sl_retry_refusal(x, false) != SL_REFUSALS_N) { /* it was not refused */
        sl_exchange_drop_replay(x);
    }
    return holds;
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
        if (head->status == 100 && x->awaits_continue) {
            x->awaits_continue = false;
            sl_exchange_await(x);
        }
        return;
    }
    x->status = head->status;
    note_retry_after(x, head);
    if (sl_attempt_moved_on(x, head)) {
        return;
    }
    struct sl_header extra[2] = {
        {.name = SL_SLICE("x-request-id"), .value = {x->request_id, x->request_id_len}},
    };
    size_t extra_n = 1 + sl_forwarded_via(x, head->version_minor, &extra[1]);
    if (head->status < 500) {
        sl_pool_answered(x->endpoint, x->began_us / 1000, now_ms(x));
    }
    x->response_started = true;
    sl_exchange_drop_replay(x);
    x->down->ops->head(x->down, x, head, extra, extra_n);
    if (head->status == 101) {
        sl_tunnel_begin(x);
    } else if (head->status / 100 != 2) {
        x->first_byte_us = sl_loop_now_us(x->w->loop);
        sl_exchange_enter(x, SL_PHASE_BODY, pool_conf(x)->timeouts.inter_byte_ms);
    } else {
        if (x->request.method != SL_METHOD_POST) { /* it may be long until there is an event */
            sl_attempt_end_wait(x, true);
        }
        if (x->heartbeat_ms == 0 && wants_heartbeat(x, head)) {
            sl_exchange_begin_heartbeat(x);
        }
    }
}

void sl_exchange_response_data(struct sl_exchange *x, struct sl_slice wire, uint64_t body_bytes)
{
    sl_hang_on_byte(x->endpoint, now_ms(x));
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
        sl_exchange_enter(x, SL_PHASE_STALLED,
                          (x->down->listener->cells[x->w->idx].timeouts.write_ms + 1) / 2);
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
        sl_attempt_failed(x, reason);
        return;
    }
    if (x->phase != SL_PHASE_TUNNEL) {
        sl_retry_count(x, SL_REFUSAL_RESPONSE_STARTED);
    }
    sl_attempt_end(x, sl_attempt_verdict(reason, false));
    sl_exchange_fail(x, reason);
}
