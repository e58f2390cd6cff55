/* SPDX-License-Identifier: Apache-2.0 */
/*
 * h1_upstream_response: one recv into the worker's scratch, worked off in place; only a partial
 * head is kept, in pending.
 */
#include <sluiced/log.h>

#include "h1_upstream_internal.h"
#include "tunnel.h"

#include "proxy/proto/field.h"
#include "proxy/upstream/idle_limit.h"

static bool on_body_bytes(void *arg, struct sl_slice wire, uint64_t body_bytes)
{
    struct sl_h1_upstream *c = arg;
    struct sl_exchange *x = c->base.exchange;

    sl_exchange_response_data(x, wire, body_bytes);
    return c->base.exchange == x;
}

/* The response is whole; more_n bytes came after it, which nobody asked for. */
static void response_ended(struct sl_h1_upstream *c, size_t more_n)
{
    c->state = SL_H1_UP_ENDED;
    if (more_n > 0) {
        c->keep_alive = false;
    }
    struct sl_headers trailers = {0};
    if (c->body.kind == SL_FRAMING_CHUNKED) {
        trailers = sl_h1_chunk_trailers(&c->body.chunk);
    }
    sl_exchange_response_end(c->base.exchange, trailers.n > 0 ? &trailers : NULL);
}

static size_t take_body(struct sl_h1_upstream *c, const char *buf, size_t len)
{
    struct sl_exchange *x = c->base.exchange;
    ssize_t n = sl_h1_body_feed(&c->body, buf, len, x->response_framed, on_body_bytes, c);

    if (c->base.exchange != x) {
        return 0;
    }
    if (n < 0) {
        sl_h1_upstream_fail(c, n == SL_ENOMEM ? SL_REASON_OVERLOAD : SL_REASON_UPSTREAM_PROTOCOL);
        return 0;
    }
    if (sl_h1_body_ended(&c->body)) {
        response_ended(c, len - (size_t)n);
    }
    return (size_t)n;
}

/* True: the head waits for a byte of the body; it is read again when more comes. */
static bool hold(struct sl_h1_upstream *c, const struct sl_response_head *h, size_t more_n)
{
    bool empty = h->framing.kind == SL_FRAMING_NONE ||
                 (h->framing.kind == SL_FRAMING_LENGTH && h->framing.length_bytes == 0);

    if (more_n > 0 || empty || c->head_is_due || !sl_exchange_holds_head(c->base.exchange, h)) {
        return false;
    }
    c->scan = (struct sl_h1_scan){0};
    return true;
}

/* What many say beside closing silently: Keep-Alive: timeout=5 (RFC 2068 section 19.7.1.1). */
static void note_keep_alive(struct sl_h1_upstream *c, const struct sl_response_head *h)
{
    const struct sl_header *f = sl_headers_find(&h->headers, SL_HEADER_KEEP_ALIVE);
    uint32_t seconds;

    if (f != NULL && sl_field_parse_keep_alive(f->value, &seconds) == SL_OK) {
        uint64_t below_ms = sl_idle_limit_below((uint64_t)seconds * 1000);
        c->idle_told_ms = below_ms < c->idle_told_ms ? below_ms : c->idle_told_ms;
    }
}

/* Bytes worked off; 0 when more are needed or the connection is another's business by now. */
static size_t take_head(struct sl_h1_upstream *c, const char *buf, size_t len)
{
    struct sl_exchange *x = c->base.exchange;
    struct sl_h1_asked asked = {
        .method = x->request.method,
        .upgrade = x->request.upgrade.len > 0,
    };
    struct sl_response_head h;

    sl_response_head_init(&h, c->w->fields, SL_H1_FIELDS_MAX_N);
    ssize_t n = sl_h1_parse_response(&c->scan, buf, len, &asked, &h);
    if (n == SL_AGAIN) {
        return 0;
    }
    if (n > 0 && h.status == 101 && !sl_tunnel_offers(x, h.upgrade)) {
        c->scan.fault = SL_H1_FAULT_UPGRADE_UNASKED;
        n = SL_EPROTO;
    }
    bool interim = n > 0 && h.status < 200 && h.status != 101;
    if (n < 0 || (interim && ++c->interim_n > SL_UPSTREAM_INTERIM_MAX_N)) {
        sl_log(SL_LOG_WARN, "upstream_protocol", {"pod", SL_LOG_STR(c->endpoint->pod_name)},
               {"address", SL_LOG_STR(c->endpoint->address.host)},
               {"port", SL_LOG_UINT(c->endpoint->address.port)},
               {"fault", SL_LOG_STR(n < 0 ? sl_h1_fault_code((enum sl_h1_fault)c->scan.fault)
                                          : "too_many_interim")});
        sl_h1_upstream_fail(c, SL_REASON_UPSTREAM_PROTOCOL);
        return 0;
    }
    x->reused = false; /* it has begun to answer: what ends it now is news */
    if (!interim && hold(c, &h, len - (size_t)n)) {
        return 0;
    }
    c->scan = (struct sl_h1_scan){0};
    if (!interim) {
        note_keep_alive(c, &h);
        c->keep_alive = h.keep_alive;
        c->state = h.status == 101 ? SL_H1_UP_TUNNEL : SL_H1_UP_BODY;
        sl_h1_body_init(&c->body, &h.framing);
    }
    sl_exchange_response_head(x, &h);
    c->body.wants_tail = c->base.exchange == x && x->heartbeat_ms != 0;
    if (c->base.exchange == x && c->state == SL_H1_UP_BODY && sl_h1_body_ended(&c->body)) {
        response_ended(c, len - (size_t)n);
    }
    return (size_t)n;
}

/* Bytes worked off: all, or 0 when the connection is another's business by now. */
static size_t take(struct sl_h1_upstream *c, const char *buf, size_t len)
{
    struct sl_exchange *x = c->base.exchange;

    if (c->state == SL_H1_UP_HEAD) {
        return take_head(c, buf, len);
    }
    if (c->state == SL_H1_UP_BODY) {
        return take_body(c, buf, len);
    }
    sl_exchange_response_data(x, (struct sl_slice){buf, len}, len);
    return c->base.exchange == x ? len : 0;
}

static void work(struct sl_h1_upstream *c, const char *buf, size_t len)
{
    size_t used = 0;

    while (used < len && c->base.exchange != NULL &&
           (c->state == SL_H1_UP_HEAD || c->state == SL_H1_UP_BODY || c->state == SL_H1_UP_TUNNEL))
    {
        size_t n = take(c, buf + used, len - used);
        if (n == 0) {
            break;
        }
        used += n;
    }
    if (c->stream.fd < 0) {
        return;
    }
    if (c->state != SL_H1_UP_HEAD) {
        used = len; /* what came after the end was noted in response_ended */
    } else if (used < len && c->base.exchange != NULL) {
        c->base.exchange->reused = false; /* likewise */
    }
    if (sl_h1_pending_keep(&c->pending, buf, len, used) != SL_OK) {
        sl_h1_upstream_fail(c, SL_REASON_OVERLOAD);
    }
}

void sl_h1_upstream_head_due(struct sl_upstream *u)
{
    struct sl_h1_upstream *c = sl_h1_upstream_of(u);

    c->head_is_due = true;
    work(c, c->pending.buf, c->pending.len);
}

/* The other side has ended: for a body that lasts until then, that is the end. */
static void on_end(struct sl_h1_upstream *c, int code)
{
    if (c->base.exchange == NULL) {
        if (c->state == SL_H1_UP_IDLE) {
            uint64_t now = sl_h1_upstream_now_ms(c);
            sl_idle_limit_on_closed(c->endpoint, now - c->idle_since_ms, now);
        }
        sl_h1_upstream_close(c);
    } else if (c->state == SL_H1_UP_BODY && c->body.kind == SL_FRAMING_UNTIL_CLOSE &&
               code == SL_ECLOSED)
    {
        c->keep_alive = false;
        response_ended(c, 0);
    } else if (c->state == SL_H1_UP_TUNNEL && code == SL_ECLOSED && !c->broken) {
        sl_stream_read_off(&c->stream); /* for good: it would be readable for ever */
        sl_exchange_response_end(c->base.exchange, NULL);
    } else {
        sl_h1_upstream_fail(c, SL_REASON_UPSTREAM_RESET);
    }
}

void sl_h1_upstream_on_readable(struct sl_stream *s)
{
    struct sl_h1_upstream *c = sl_h1_upstream_of_stream(s);
    struct sl_l7 *w = c->w;
    size_t room =
        c->pending.len > 0 ? sl_h1_pending_room(&c->pending) : sl_h1_read_room(c->w, c->read_bytes);

    if (room == 0) {
        sl_h1_upstream_fail(c, SL_REASON_UPSTREAM_PROTOCOL);
        return;
    }
    ssize_t n = sl_stream_read(s, w->scratch, room);
    if (n == SL_AGAIN) {
        return;
    }
    if (n > 0) {
        c->read_bytes = sl_h1_next_read_bytes(c->read_bytes, (size_t)n);
    }
    if (n < 0) {
        on_end(c, (int)n);
    } else if (c->base.exchange == NULL) {
        sl_h1_upstream_close(
            c); /* a response that nobody asked for must not become the next one's */
    } else if (c->pending.len == 0) {
        work(c, w->scratch, (size_t)n);
    } else if (sl_h1_pending_append(&c->pending, w->scratch, (size_t)n) == SL_OK) {
        work(c, c->pending.buf, c->pending.len);
    } else {
        sl_h1_upstream_fail(c, SL_REASON_OVERLOAD);
    }
    sl_stage_flush(w);
}
