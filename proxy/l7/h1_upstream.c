/* SPDX-License-Identifier: Apache-2.0 */
#include "h1_upstream.h"

#include <sluiced/log.h>

#include "h1_upstream_internal.h"

#include "proxy/base/alloc.h"
#include "proxy/io/socket.h"
#include "proxy/io/tls.h"
#include "proxy/proto/h1_write.h"

#include <string.h>

void sl_h1_upstream_close(struct sl_h1_upstream *c)
{
    struct sl_l7 *w = c->w;

    if (c->stream.fd < 0) {
        return;
    }
    if (c->state == SL_H1_UP_IDLE) {
        sl_h1_upstream_unlink_idle(c);
    }
    sl_stage_drop_of(w, &c->stream);
    sl_deadline_remove(sl_loop_wheel(w->loop), &c->deadline);
    sl_stream_close(&c->stream);
    if (c->is_counted) {
        sl_pool_connections_give(&c->pool->connections, c->endpoint);
    }
    sl_h1_body_fini(&c->body);
    sl_h1_pending_clear(&c->pending);
    sl_loop_defer_free(w->loop, c);
}

static void on_idle_deadline(struct sl_deadline *d)
{
    sl_h1_upstream_close(sl_container_of(d, struct sl_h1_upstream, deadline));
}

/* ---- Requests out */

static void head(struct sl_upstream *u, struct sl_exchange *x, const struct sl_header *extra,
                 size_t extra_n, uint64_t drop_ids)
{
    struct sl_h1_upstream *c = sl_h1_upstream_of(u);
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
    c->requests_left_n--;
}

static void data(struct sl_upstream *u, struct sl_slice bytes)
{
    struct sl_h1_upstream *c = sl_h1_upstream_of(u);
    sl_stage_send(c->w, &c->stream, bytes);
}

static bool is_sent(struct sl_upstream *u)
{
    struct sl_h1_upstream *c = sl_h1_upstream_of(u);

    sl_stage_flush_of(c->w, &c->stream);
    return sl_stream_unsent(&c->stream) == 0;
}

static bool has_sent(struct sl_upstream *u)
{
    struct sl_h1_upstream *c = sl_h1_upstream_of(u);

    sl_stage_flush_of(c->w, &c->stream);
    return c->stream.wrote;
}

static uint64_t stalled_ms(struct sl_upstream *u)
{
    return sl_stream_stalled_ms(&sl_h1_upstream_of(u)->stream);
}

static void half_close_if_sent(struct sl_h1_upstream *c)
{
    if (c->half_close && is_sent(&c->base)) {
        c->half_close = false;
        sl_stream_half_close(&c->stream);
    }
}

static void end(struct sl_upstream *u, const struct sl_headers *trailers)
{
    struct sl_h1_upstream *c = sl_h1_upstream_of(u);
    size_t room;

    if (c->state == SL_H1_UP_TUNNEL) {
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
    sl_h1_upstream_of(u)->read_bytes = SL_H1_READ_LEAST_BYTES;
    sl_stream_read_off(&sl_h1_upstream_of(u)->stream);
}

static void read_on(struct sl_upstream *u)
{
    sl_stream_read_on(&sl_h1_upstream_of(u)->stream);
}

static bool is_high(struct sl_upstream *u)
{
    return sl_stream_is_high(&sl_h1_upstream_of(u)->stream);
}

static bool reusable(const struct sl_h1_upstream *c)
{
    return c->state == SL_H1_UP_ENDED && c->keep_alive && !c->broken &&
           c->stream.broken_code == SL_OK && sl_stream_unsent(&c->stream) == 0 &&
           c->requests_left_n > 0 && sl_h1_upstream_now_ms(c) < c->retire_ms && !c->w->draining &&
           sl_endpoint_is_named(c->endpoint, c->w->idx);
}

/* Whether a request on another worker, which cannot use an idle one of ours, goes before those that
 * wait here: the place among the pool's connections is its. */
static bool is_wanted_elsewhere(const struct sl_h1_upstream *c)
{
    struct sl_pool *pool = c->pool;
    uint32_t idx = c->w->idx;

    if (!sl_pool_connections_are_wanted(&pool->connections, idx)) {
        return false;
    }
    const struct sl_waiter *first = sl_pool_queue_first(&pool->queue, idx);
    if (first != NULL && sl_pool_queue_before(&pool->queue, idx, first->rank_ms) == idx) {
        return false;
    }
    sl_pool_connections_gave(&pool->connections);
    return true;
}

static bool is_between_events(struct sl_upstream *u)
{
    return sl_h1_body_is_between_events(&sl_h1_upstream_of(u)->body);
}

static void release(struct sl_upstream *u, bool whole)
{
    struct sl_h1_upstream *c = sl_h1_upstream_of(u);

    u->exchange = NULL;
    if (!whole && c->state == SL_H1_UP_TUNNEL) { /* what is cut must not look like an orderly end */
        sl_socket_reset_on_close(c->stream.fd);
    }
    uint64_t idle_ms =
        whole && reusable(c) && !is_wanted_elsewhere(c) ? sl_h1_upstream_may_idle_ms(c) : 0;
    if (idle_ms == 0) {
        sl_h1_upstream_close(c);
        return;
    }
    sl_h1_body_fini(&c->body);
    if (!c->stream.reading) {
        sl_stream_read_on(&c->stream);
    }
    sl_h1_upstream_keep_idle(c, idle_ms);
}

static const struct sl_upstream_ops upstream_ops = {
    .head = head,
    .data = data,
    .end = end,
    .read_off = read_off,
    .read_on = read_on,
    .is_high = is_high,
    .is_sent = is_sent,
    .has_sent = has_sent,
    .stalled_ms = stalled_ms,
    .head_due = sl_h1_upstream_head_due,
    .is_between_events = is_between_events,
    .release = release,
};

void sl_h1_upstream_fail(struct sl_h1_upstream *c, enum sl_reason reason)
{
    struct sl_exchange *x = c->base.exchange;

    c->base.exchange = NULL;
    sl_h1_upstream_close(c);
    if (x != NULL) {
        x->sent = x->sent && c->stream.wrote;
        sl_exchange_upstream_failed(x, reason);
    }
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
    struct sl_h1_upstream *c = sl_h1_upstream_of_stream(s);

    if (code == SL_ETLS) {
        sl_log(SL_LOG_WARN, "upstream_tls", {"pod", SL_LOG_STR(c->endpoint->pod_name)},
               {"address", SL_LOG_STR(c->endpoint->address.host)},
               {"port", SL_LOG_UINT(c->endpoint->address.port)},
               {"error", SL_LOG_STR(sl_tls_failure(s->tls))});
    }
    c->open_code = code;
    if (code == SL_OK) {
        c->state = SL_H1_UP_HEAD;
    }
    if (c->attaching) {
        return; /* attach looks at the code itself */
    }
    if (code != SL_OK) {
        sl_h1_upstream_fail(c, reason_of_open(code));
        return;
    }
    sl_exchange_upstream_open(c->base.exchange);
    sl_stage_flush(c->w);
}

static void on_drained(struct sl_stream *s)
{
    struct sl_h1_upstream *c = sl_h1_upstream_of_stream(s);

    if (c->base.exchange != NULL) {
        half_close_if_sent(c);
        sl_exchange_upstream_drained(c->base.exchange);
    }
}

/* The other side may have answered before it stopped listening: the answer counts. */
static void on_broken(struct sl_stream *s, int code)
{
    struct sl_h1_upstream *c = sl_h1_upstream_of_stream(s);
    struct sl_l7 *w = c->w;

    c->broken = true;
    sl_h1_upstream_on_readable(s);
    /* A tunnel that was reset ends by itself, behind what was received. */
    bool hopeless = c->state == SL_H1_UP_HEAD || c->state == SL_H1_UP_OPENING ||
                    (c->state == SL_H1_UP_TUNNEL && code != SL_ERESET);
    if (c->stream.fd >= 0 && hopeless) {
        sl_h1_upstream_fail(c, code == SL_ENOMEM ? SL_REASON_OVERLOAD : SL_REASON_UPSTREAM_RESET);
    }
    sl_stage_flush(w);
}

static const struct sl_stream_ops stream_ops = {
    .urgent = true,
    .on_open = on_open,
    .on_readable = sl_h1_upstream_on_readable,
    .on_drained = on_drained,
    .on_broken = on_broken,
};

static void begin(struct sl_h1_upstream *c, const struct sl_view_pool *pool, struct sl_exchange *x)
{
    c->state = SL_H1_UP_HEAD;
    c->interim_n = 0;
    c->head_is_due = false;
    c->stream.wrote = false;
    c->scan = (struct sl_h1_scan){0};
    c->idle_wanted_ms = pool->conf->timeouts.keepalive_idle_ms;
    c->base.exchange = x;
    x->up = &c->base;
}

/* A connection to ep, which is counted, and whose opening has begun; NULL, and *code says why, when
 * it has not. */
static struct sl_h1_upstream *connect_new(struct sl_l7 *w, const struct sl_view_pool *pool,
                                          struct sl_endpoint *ep, int *code)
{
    struct sl_tls_session *tls = NULL;
    struct sl_h1_upstream *c = sl_alloc(sizeof(*c));
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
    c->pool = pool->pool;
    c->endpoint = ep;
    c->is_counted = true;
    c->transport_identity = pool->transport_identity;
    c->retire_ms =
        now + SL_UPSTREAM_AGE_MS * 9 / 10 + sl_rng_below(&w->rng, SL_UPSTREAM_AGE_MS / 5);
    c->idle_told_ms = UINT64_MAX;
    c->read_bytes = SL_H1_READ_FIRST_BYTES;
    c->requests_left_n = SL_UPSTREAM_REQUESTS_N * 9 / 10 +
                         (uint32_t)sl_rng_below(&w->rng, SL_UPSTREAM_REQUESTS_N / 5);
    sl_deadline_init(&c->deadline, on_idle_deadline);
    c->attaching = true;
    c->open_code = SL_AGAIN;
    sl_stream_open(&c->stream, w->loop, &w->chunks, fd, rc == SL_AGAIN,
                   tls != NULL ? &sl_transport_tls : &sl_transport_plain, tls, &stream_ops);
    c->attaching = false;
    return c;
}

int sl_h1_upstream_attach(struct sl_l7 *w, const struct sl_view_pool *pool, struct sl_endpoint *ep,
                          struct sl_exchange *x, bool connects)
{
    struct sl_h1_upstream *c =
        sl_h1_upstream_take_idle(w, pool, ep, sl_h1_upstream_wants_new(x), &connects);

    x->reused = c != NULL;
    if (c != NULL) {
        if (connects) { /* a place of one that was closed on the way to this one */
            sl_pool_connections_give(&pool->pool->connections, ep);
        }
        sl_series_add(pool->series, w->idx, SL_POOL_REUSES, 1);
        begin(c, pool, x);
        return SL_OK;
    }
    sl_series_add(pool->series, w->idx, SL_POOL_CONNECTS, 1);
    sl_endpoint_count(ep, w->idx, SL_ENDPOINT_CONNECTS);
    int rc;
    SL_ASSERT(connects, "endpoint %u: a connection that nobody counted", ep->id);
    c = connect_new(w, pool, ep, &rc);
    if (c == NULL) {
        sl_pool_connections_give(&pool->pool->connections, ep);
        return rc;
    }
    if (c->open_code != SL_OK && c->open_code != SL_AGAIN) {
        rc = c->open_code;
        sl_h1_upstream_close(c);
        return rc;
    }
    rc = c->open_code;
    begin(c, pool, x);
    if (rc == SL_AGAIN) {
        c->state = SL_H1_UP_OPENING;
    }
    return rc;
}
