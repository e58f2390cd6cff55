/* SPDX-License-Identifier: Apache-2.0 */
#include "h1_upstream.h"

#include <sluiced/log.h>

#include "h1_connection.h"
#include "tunnel.h"

#include "proxy/base/alloc.h"
#include "proxy/io/socket.h"
#include "proxy/io/tls.h"
#include "proxy/proto/h1_write.h"

#include <string.h>

#define LOOK_AFTER_MS 100 /* idle for longer: one recv tells whether the end is on its way */

enum state {
    OPENING,
    IDLE,
    HEAD, /* of the response, also while the request is being sent */
    BODY,
    ENDED, /* the response is whole */
    TUNNEL,
};

struct conn {
    struct sl_upstream base;
    struct sl_stream stream;
    struct sl_l7 *w;
    struct sl_endpoint *endpoint;
    struct conn *idle_prev; /* neighbours among the endpoint's idle ones */
    struct conn *idle_next;
    struct sl_deadline deadline; /* while idle */
    struct sl_h1_pending pending;
    struct sl_h1_scan scan;
    struct sl_h1_body body;
    enum state state;
    int open_code; /* how opening ended before attach returned */
    bool attaching;
    bool keep_alive; /* the response allows another one */
    bool half_close; /* our side of a tunnel ends with what is unsent */
    bool broken;     /* sending failed: what was received is still read */
    uint32_t requests_n;
    uint32_t interim_n;
    uint64_t transport_identity;
    uint64_t keepalive_idle_ms;
    uint64_t retire_ms;
    uint64_t idle_since_ms;
};

static struct conn *of(struct sl_upstream *u)
{
    return sl_container_of(u, struct conn, base);
}

static struct conn *of_stream(struct sl_stream *s)
{
    return sl_container_of(s, struct conn, stream);
}

static uint64_t now_ms(const struct conn *c)
{
    return sl_loop_now_ms(c->w->loop);
}

/* ---- Idle ones */

static void unlink_idle(struct conn *c)
{
    struct sl_endpoint_cell *cell = &c->endpoint->cells[c->w->idx];

    if (c->idle_prev != NULL) {
        c->idle_prev->idle_next = c->idle_next;
    } else {
        cell->idle_head = c->idle_next;
    }
    if (c->idle_next != NULL) {
        c->idle_next->idle_prev = c->idle_prev;
    }
    c->idle_prev = c->idle_next = NULL;
    cell->idle_n--;
}

static void close_conn(struct conn *c)
{
    struct sl_l7 *w = c->w;

    if (c->stream.fd < 0) {
        return;
    }
    if (c->state == IDLE) {
        unlink_idle(c);
    }
    sl_stage_flush_of(w, &c->stream);
    sl_deadline_remove(sl_loop_wheel(w->loop), &c->deadline);
    sl_stream_close(&c->stream);
    sl_h1_body_fini(&c->body);
    sl_h1_pending_clear(&c->pending);
    sl_loop_defer_free(w->loop, c);
}

static void on_idle_deadline(struct sl_deadline *d)
{
    close_conn(sl_container_of(d, struct conn, deadline));
}

static void keep_idle(struct conn *c)
{
    struct sl_endpoint_cell *cell = &c->endpoint->cells[c->w->idx];
    struct conn *head = cell->idle_head;

    c->state = IDLE;
    c->idle_since_ms = now_ms(c);
    c->idle_next = head;
    if (head != NULL) {
        head->idle_prev = c;
    }
    cell->idle_head = c;
    cell->idle_n++;
    sl_deadline_set(sl_loop_wheel(c->w->loop), &c->deadline,
                    c->idle_since_ms + c->keepalive_idle_ms);
}

static struct conn *take_idle(struct sl_l7 *w, const struct sl_view_pool *pool,
                              struct sl_endpoint *ep)
{
    struct conn *c = ep->cells[w->idx].idle_head;

    while (c != NULL) {
        struct conn *next = c->idle_next;
        bool usable =
            c->transport_identity == pool->transport_identity &&
            (now_ms(c) - c->idle_since_ms < LOOK_AFTER_MS || sl_socket_is_quiet(c->stream.fd));
        if (usable) {
            unlink_idle(c);
            sl_deadline_clear(&c->deadline);
            return c;
        }
        close_conn(c);
        c = next;
    }
    return NULL;
}

void sl_h1_upstream_close_idle(struct sl_l7 *w, struct sl_endpoint *ep)
{
    while (ep->cells[w->idx].idle_head != NULL) {
        close_conn(ep->cells[w->idx].idle_head);
    }
}

/* ---- Requests out */

static void head(struct sl_upstream *u, struct sl_exchange *x, const struct sl_header *extra,
                 size_t extra_n, uint64_t drop_ids)
{
    struct conn *c = of(u);
    struct sl_h1_out o = {
        .extra = extra,
        .extra_n = extra_n,
        .drop_ids = drop_ids,
        .framing = x->request.framing,
        .connection = x->request.upgrade.len > 0 ? SL_H1_CONN_UPGRADE : SL_H1_CONN_DEFAULT,
    };
    size_t room;

    char *buf = sl_stage_room(c->w, &c->stream, SL_STAGE_BYTES, &room);
    ssize_t len = sl_h1_write_request(buf, room, &x->request, (struct sl_slice){0}, &o);
    /* The head was parsed from 64 KiB, its line from 16; the stage holds both, and what we add. */
    SL_ASSERT(len > 0, "a request head of %u fields does not fit", x->request.headers.n);
    sl_stage_commit(c->w, (size_t)len);
    c->requests_n++;
}

static void data(struct sl_upstream *u, struct sl_slice bytes)
{
    struct conn *c = of(u);
    sl_stage_send(c->w, &c->stream, bytes);
}

static bool is_sent(struct sl_upstream *u)
{
    struct conn *c = of(u);

    sl_stage_flush_of(c->w, &c->stream);
    return sl_stream_unsent(&c->stream) == 0;
}

static void half_close_if_sent(struct conn *c)
{
    if (c->half_close && is_sent(&c->base)) {
        c->half_close = false;
        sl_stream_half_close(&c->stream);
    }
}

static void end(struct sl_upstream *u, const struct sl_headers *trailers)
{
    struct conn *c = of(u);
    size_t room;

    if (c->state == TUNNEL) {
        c->half_close = true;
        half_close_if_sent(c);
    } else if (u->exchange->request_framed) {
        char *buf = sl_stage_room(c->w, &c->stream, SL_H1_TRAILERS_MAX_BYTES * 2, &room);
        ssize_t len = sl_h1_write_last_chunk(buf, room, trailers);
        SL_ASSERT(len > 0, "trailers do not fit into %zu bytes", room);
        sl_stage_commit(c->w, (size_t)len);
    }
}

static void read_off(struct sl_upstream *u)
{
    sl_stream_read_off(&of(u)->stream);
}

static void read_on(struct sl_upstream *u)
{
    sl_stream_read_on(&of(u)->stream);
}

static bool is_high(struct sl_upstream *u)
{
    return sl_stream_is_high(&of(u)->stream);
}

static bool reusable(const struct conn *c)
{
    return c->state == ENDED && c->keep_alive && !c->broken && c->keepalive_idle_ms > 0 &&
           c->stream.broken_code == SL_OK && sl_stream_unsent(&c->stream) == 0 &&
           c->requests_n < SL_UPSTREAM_REQUESTS_N && now_ms(c) < c->retire_ms && !c->w->draining &&
           sl_endpoint_is_named(c->endpoint, c->w->idx);
}

static void release(struct sl_upstream *u, bool whole)
{
    struct conn *c = of(u);

    u->exchange = NULL;
    if (!whole && c->state == TUNNEL) { /* what is cut must not look like an orderly end */
        sl_socket_reset_on_close(c->stream.fd);
    }
    if (!whole || !reusable(c)) {
        close_conn(c);
        return;
    }
    sl_h1_body_fini(&c->body);
    if (!c->stream.reading) {
        sl_stream_read_on(&c->stream);
    }
    keep_idle(c);
}

static const struct sl_upstream_ops upstream_ops = {
    .head = head,
    .data = data,
    .end = end,
    .read_off = read_off,
    .read_on = read_on,
    .is_high = is_high,
    .is_sent = is_sent,
    .release = release,
};

/* ---- Responses in */

static void fail(struct conn *c, enum sl_reason reason)
{
    struct sl_exchange *x = c->base.exchange;

    c->base.exchange = NULL;
    close_conn(c);
    if (x != NULL) {
        sl_exchange_upstream_failed(x, reason);
    }
}

static bool on_body_bytes(void *arg, struct sl_slice wire, uint64_t body_bytes)
{
    struct conn *c = arg;
    struct sl_exchange *x = c->base.exchange;

    sl_exchange_response_data(x, wire, body_bytes);
    return c->base.exchange == x;
}

/* The response is whole; more_n bytes came after it, which nobody asked for. */
static void response_ended(struct conn *c, size_t more_n)
{
    c->state = ENDED;
    if (more_n > 0) {
        c->keep_alive = false;
    }
    struct sl_headers trailers = {0};
    if (c->body.kind == SL_FRAMING_CHUNKED) {
        trailers = sl_h1_chunk_trailers(&c->body.chunk);
    }
    sl_exchange_response_end(c->base.exchange, trailers.n > 0 ? &trailers : NULL);
}

static size_t take_body(struct conn *c, const char *buf, size_t len)
{
    struct sl_exchange *x = c->base.exchange;
    ssize_t n = sl_h1_body_feed(&c->body, buf, len, x->response_framed, on_body_bytes, c);

    if (c->base.exchange != x) {
        return 0;
    }
    if (n < 0) {
        fail(c, n == SL_ENOMEM ? SL_REASON_OVERLOAD : SL_REASON_UPSTREAM_PROTOCOL);
        return 0;
    }
    if (sl_h1_body_ended(&c->body)) {
        response_ended(c, len - (size_t)n);
    }
    return (size_t)n;
}

/* True: the head waits for a byte of the body; it is read again when more comes. */
static bool hold(struct conn *c, const struct sl_response_head *h, size_t more_n)
{
    bool empty = h->framing.kind == SL_FRAMING_NONE ||
                 (h->framing.kind == SL_FRAMING_LENGTH && h->framing.length_bytes == 0);

    if (more_n > 0 || empty || !sl_exchange_holds_head(c->base.exchange, h)) {
        return false;
    }
    c->scan = (struct sl_h1_scan){0};
    return true;
}

/* Bytes worked off; 0 when more are needed or the connection is another's business by now. */
static size_t take_head(struct conn *c, const char *buf, size_t len)
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
        fail(c, SL_REASON_UPSTREAM_PROTOCOL);
        return 0;
    }
    if (!interim && hold(c, &h, len - (size_t)n)) {
        return 0;
    }
    c->scan = (struct sl_h1_scan){0};
    if (!interim) {
        c->keep_alive = h.keep_alive;
        c->state = h.status == 101 ? TUNNEL : BODY;
        sl_h1_body_init(&c->body, &h.framing);
    }
    sl_exchange_response_head(x, &h);
    if (c->base.exchange == x && c->state == BODY && sl_h1_body_ended(&c->body)) {
        response_ended(c, len - (size_t)n);
    }
    return (size_t)n;
}

/* Bytes worked off: all, or 0 when the connection is another's business by now. */
static size_t take(struct conn *c, const char *buf, size_t len)
{
    struct sl_exchange *x = c->base.exchange;

    if (c->state == HEAD) {
        return take_head(c, buf, len);
    }
    if (c->state == BODY) {
        return take_body(c, buf, len);
    }
    sl_exchange_response_data(x, (struct sl_slice){buf, len}, len);
    return c->base.exchange == x ? len : 0;
}

static void work(struct conn *c, const char *buf, size_t len)
{
    size_t used = 0;

    while (used < len && c->base.exchange != NULL &&
           (c->state == HEAD || c->state == BODY || c->state == TUNNEL))
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
    if (c->state != HEAD) {
        used = len; /* what came after the end was noted in response_ended */
    }
    if (sl_h1_pending_keep(&c->pending, buf, len, used) != SL_OK) {
        fail(c, SL_REASON_OVERLOAD);
    }
}

/* The other side has ended: for a body that lasts until then, that is the end. */
static void on_end(struct conn *c, int code)
{
    if (c->base.exchange == NULL) {
        close_conn(c);
    } else if (c->state == BODY && c->body.kind == SL_FRAMING_UNTIL_CLOSE && code == SL_ECLOSED) {
        c->keep_alive = false;
        response_ended(c, 0);
    } else if (c->state == TUNNEL && code == SL_ECLOSED && !c->broken) {
        sl_stream_read_off(&c->stream); /* for good: it would be readable for ever */
        sl_exchange_response_end(c->base.exchange, NULL);
    } else {
        fail(c, SL_REASON_UPSTREAM_RESET);
    }
}

static void on_readable(struct sl_stream *s)
{
    struct conn *c = of_stream(s);
    struct sl_l7 *w = c->w;
    char *buf = w->scratch;
    size_t room = SL_SCRATCH_BYTES;

    if (c->pending.len > 0 && !sl_h1_pending_room(&c->pending, &buf, &room)) {
        fail(c, SL_REASON_UPSTREAM_PROTOCOL);
        return;
    }
    ssize_t n = sl_stream_read(s, buf, room);
    if (n == SL_AGAIN) {
        return;
    }
    if (n < 0) {
        on_end(c, (int)n);
    } else if (c->base.exchange == NULL) {
        close_conn(c); /* a response that nobody asked for must not become the next one's */
    } else if (c->pending.len > 0) {
        c->pending.len += (size_t)n;
        work(c, c->pending.buf, c->pending.len);
    } else {
        work(c, buf, (size_t)n);
    }
    sl_stage_flush(w);
}

/* ---- The connection */

static enum sl_reason reason_of_open(int code)
{
    switch (code) {
    case SL_ETLS:
        return SL_REASON_UPSTREAM_TLS;
    case SL_ETIMEOUT:
        return SL_REASON_UPSTREAM_CONNECT_TIMEOUT;
    case SL_ENOMEM:
    case SL_ELIMIT:
        return SL_REASON_OVERLOAD;
    default:
        return SL_REASON_UPSTREAM_REFUSED;
    }
}

static void on_open(struct sl_stream *s, int code)
{
    struct conn *c = of_stream(s);

    if (code == SL_ETLS) {
        sl_log(SL_LOG_WARN, "upstream_tls", {"pod", SL_LOG_STR(c->endpoint->pod_name)},
               {"address", SL_LOG_STR(c->endpoint->address.host)},
               {"port", SL_LOG_UINT(c->endpoint->address.port)},
               {"error", SL_LOG_STR(sl_tls_failure(s->tls))});
    }
    c->open_code = code;
    if (code == SL_OK) {
        c->state = HEAD;
    }
    if (c->attaching) {
        return; /* attach looks at the code itself */
    }
    if (code != SL_OK) {
        fail(c, reason_of_open(code));
        return;
    }
    sl_exchange_upstream_open(c->base.exchange);
    sl_stage_flush(c->w);
}

static void on_drained(struct sl_stream *s)
{
    struct conn *c = of_stream(s);

    if (c->base.exchange != NULL) {
        half_close_if_sent(c);
        sl_exchange_upstream_drained(c->base.exchange);
    }
}

/* The other side may have answered before it stopped listening: the answer counts. */
static void on_broken(struct sl_stream *s, int code)
{
    struct conn *c = of_stream(s);
    struct sl_l7 *w = c->w;

    c->broken = true;
    on_readable(s);
    /* A tunnel that was reset ends by itself, behind what was received. */
    bool hopeless =
        c->state == HEAD || c->state == OPENING || (c->state == TUNNEL && code != SL_ERESET);
    if (c->stream.fd >= 0 && hopeless) {
        fail(c, code == SL_ENOMEM ? SL_REASON_OVERLOAD : SL_REASON_UPSTREAM_RESET);
    }
    sl_stage_flush(w);
}

static const struct sl_stream_ops stream_ops = {
    .urgent = true,
    .on_open = on_open,
    .on_readable = on_readable,
    .on_drained = on_drained,
    .on_broken = on_broken,
};

static void begin(struct conn *c, const struct sl_view_pool *pool, struct sl_exchange *x)
{
    c->state = HEAD;
    c->interim_n = 0;
    c->scan = (struct sl_h1_scan){0};
    c->keepalive_idle_ms = pool->conf->timeouts.keepalive_idle_ms;
    c->base.exchange = x;
    x->up = &c->base;
}

/* A connection to ep whose opening has begun; NULL, and *code says why, when it has not. */
static struct conn *connect_new(struct sl_l7 *w, const struct sl_view_pool *pool,
                                struct sl_endpoint *ep, int *code)
{
    struct sl_tls_session *tls = NULL;
    struct conn *c = sl_alloc(sizeof(*c));
    int fd;

    *code = SL_ENOMEM;
    if (c == NULL) {
        return NULL;
    }
    if (pool->tls != NULL) {
        tls = sl_tls_connect(pool->tls[w->idx], &ep->address);
        if (tls == NULL) {
            sl_free(c);
            return NULL;
        }
    }
    int rc = sl_socket_connect(&ep->address, &fd);
    if (rc != SL_OK && rc != SL_AGAIN) {
        sl_tls_session_free(tls);
        sl_free(c);
        *code = rc;
        return NULL;
    }
    uint64_t now = sl_loop_now_ms(w->loop);
    c->w = w;
    c->base.ops = &upstream_ops;
    c->endpoint = ep;
    c->transport_identity = pool->transport_identity;
    c->retire_ms =
        now + SL_UPSTREAM_AGE_MS * 9 / 10 + sl_rng_below(&w->rng, SL_UPSTREAM_AGE_MS / 5);
    sl_deadline_init(&c->deadline, on_idle_deadline);
    c->attaching = true;
    c->open_code = SL_AGAIN;
    sl_stream_open(&c->stream, w->loop, &w->chunks, fd, rc == SL_AGAIN,
                   tls != NULL ? &sl_transport_tls : &sl_transport_plain, tls, &stream_ops);
    c->attaching = false;
    return c;
}

int sl_h1_upstream_attach(struct sl_l7 *w, const struct sl_view_pool *pool, struct sl_endpoint *ep,
                          struct sl_exchange *x)
{
    /* A kept connection may be ending unseen, and an upgrade is not sent twice. */
    struct conn *c = x->request.upgrade.len == 0 ? take_idle(w, pool, ep) : NULL;

    x->reused = c != NULL;
    if (c != NULL) {
        sl_series_add(pool->series, w->idx, SL_POOL_REUSES, 1);
        begin(c, pool, x);
        return SL_OK;
    }
    sl_series_add(pool->series, w->idx, SL_POOL_CONNECTS, 1);
    sl_endpoint_count(ep, w->idx, SL_ENDPOINT_CONNECTS);
    int rc;
    c = connect_new(w, pool, ep, &rc);
    if (c == NULL) {
        return rc;
    }
    if (c->open_code != SL_OK && c->open_code != SL_AGAIN) {
        rc = c->open_code;
        close_conn(c);
        return rc;
    }
    rc = c->open_code;
    begin(c, pool, x);
    if (rc == SL_AGAIN) {
        c->state = OPENING;
    }
    return rc;
}
