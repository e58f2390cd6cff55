/* SPDX-License-Identifier: Apache-2.0 */
/*
 * h1_downstream: reading is one recv into the worker's scratch; what it holds is worked off in
 * place, and only a partial head or pipelined bytes are kept, in pending.
 */
#include "h1_downstream.h"

#include <sluiced/log.h>

#include "exchange_internal.h"
#include "h1_connection.h"

#include "proxy/base/alloc.h"
#include "proxy/io/socket.h"
#include "proxy/io/tls.h"
#include "proxy/proto/h1_write.h"

#include <stdio.h>
#include <string.h>

#define BODY_STALL_MS 60000ULL /* a request body that stands still for that long */
#define FLUSH_MS 60000ULL      /* a client that does not take the end of its response */
#define LINGER_MS 2000ULL      /* after our end of the connection: then it is cut */
#define LINGER_MAX_BYTES ((size_t)1024 * 1024)
#define PIPELINE_MAX_BYTES ((size_t)16 * 1024)
#define SHOWN_TARGET_MAX_BYTES ((size_t)256)

enum state {
    OPENING, /* TLS handshake */
    IDLE,    /* nothing of the next request was seen */
    HEAD,    /* a part of it */
    BODY,
    RESPONSE,  /* the request is whole; its response is awaited or going out */
    FLUSHING,  /* the last response waits for the client; then close */
    LINGERING, /* our side is closed; what still comes is dropped */
};

enum out_framing {
    OUT_NONE,
    OUT_LENGTH,
    OUT_CHUNKED, /* the upstream's chunks, as they came */
    OUT_WRAPPED, /* chunks of our own around an upstream that ends by closing */
    OUT_CLOSE,
};

struct conn {
    struct sl_downstream base;
    struct sl_stream stream;
    struct sl_l7 *w;
    struct sl_list link;
    struct sl_deadline deadline;
    struct sl_hangup hangup;
    struct sl_task resume; /* pending may hold the next request */
    struct sl_h1_pending pending;
    struct sl_h1_scan scan;
    struct sl_h1_body body;
    size_t lingered_bytes;
    enum state state;
    enum out_framing out;
    uint8_t version_minor;
    bool keep_alive;
    char address[46];
};

static struct conn *of(struct sl_downstream *d)
{
    return sl_container_of(d, struct conn, base);
}

static struct conn *of_stream(struct sl_stream *s)
{
    return sl_container_of(s, struct conn, stream);
}

static void set_deadline(struct conn *c, uint64_t after_ms)
{
    sl_deadline_set(sl_loop_wheel(c->w->loop), &c->deadline, sl_loop_now_ms(c->w->loop) + after_ms);
}

static const struct sl_listener_cell *own_cell(const struct conn *c)
{
    return &c->base.listener->cells[c->w->idx];
}

static bool is_open(const struct conn *c)
{
    return c->stream.fd >= 0;
}

/* ---- The end */

/* Idempotent. The exchange, if any, has been told or will not mind. */
static void close_conn(struct conn *c, bool reset)
{
    struct sl_l7 *w = c->w;

    if (!is_open(c)) {
        return;
    }
    if (w->stage.stream == &c->stream) {
        sl_stage_flush(w);
    }
    sl_hangup_unwatch(w->loop, &c->hangup);
    sl_deadline_remove(sl_loop_wheel(w->loop), &c->deadline);
    sl_task_cancel(&c->resume);
    if (reset) {
        sl_stream_reset(&c->stream);
    } else {
        sl_stream_close(&c->stream);
    }
    sl_h1_body_fini(&c->body);
    sl_h1_pending_clear(&c->pending);
    sl_list_unlink(&c->link);
    sl_series_add(c->base.listener->series, w->idx, SL_LISTENER_CONNECTIONS_ENDED, 1);
    atomic_fetch_sub_explicit(&w->open_n, 1, memory_order_relaxed);
    atomic_fetch_sub_explicit(&c->base.listener->refs_n, 1, memory_order_release);
    sl_loop_defer_free(w->loop, c);
}

/* The client left: what runs for it ends at once, upstream included. */
static void client_left(struct conn *c)
{
    if (c->base.exchange != NULL) {
        sl_exchange_client_gone(c->base.exchange); /* comes back through done() */
    } else {
        close_conn(c, false);
    }
}

/* A close with unread bytes in the kernel is a RST, which may overtake our last response: so our
 * side ends first, and the client's is read to its end, within limits. */
static void linger(struct conn *c)
{
    c->state = LINGERING;
    sl_stream_half_close(&c->stream);
    sl_hangup_unwatch(c->w->loop, &c->hangup);
    sl_stream_read_on(&c->stream);
    set_deadline(c, LINGER_MS);
}

static void close_gracefully(struct conn *c, bool unread)
{
    if (c->w->stage.stream == &c->stream) {
        sl_stage_flush(c->w);
    }
    if (sl_stream_unsent(&c->stream) > 0) {
        c->state = FLUSHING;
        c->keep_alive = unread; /* borrowed: whether to linger afterwards */
        sl_stream_read_off(&c->stream);
        set_deadline(c, FLUSH_MS);
    } else if (unread) {
        linger(c);
    } else {
        close_conn(c, false);
    }
}

static void on_hangup(struct sl_hangup *h)
{
    client_left(sl_container_of(h, struct conn, hangup));
}

static void pause_reading(struct conn *c)
{
    sl_stream_read_off(&c->stream);
    if (sl_hangup_watch(c->w->loop, &c->hangup, c->stream.fd) != SL_OK) {
        sl_log(SL_LOG_WARN, "hangup_unwatched", {"listener", SL_LOG_STR(c->base.listener->name)});
    }
}

static void resume_reading(struct conn *c)
{
    sl_hangup_unwatch(c->w->loop, &c->hangup);
    sl_stream_read_on(&c->stream);
}

/* ---- Requests in */

static enum sl_reason reason_of_fault(unsigned fault)
{
    switch (sl_h1_fault_status((enum sl_h1_fault)fault)) {
    case 414:
        return SL_REASON_URI_TOO_LONG;
    case 417:
        return SL_REASON_EXPECTATION;
    case 431:
        return SL_REASON_HEAD_TOO_LARGE;
    case 501:
        return SL_REASON_NOT_IMPLEMENTED;
    case 505:
        return SL_REASON_BAD_VERSION;
    default:
        return SL_REASON_BAD_REQUEST;
    }
}

/* Answers a request that was not understood: as much of it as is known stands in for it. */
static void refuse(struct conn *c, const struct sl_request_head *known, enum sl_reason reason)
{
    struct sl_request_head head;
    struct sl_slice m = known->method_text;
    struct sl_slice t = known->target;

    sl_request_head_init(&head, NULL, 0, NULL, 0);
    head.method_text = m;
    head.path =
        (struct sl_slice){t.ptr, t.len < SHOWN_TARGET_MAX_BYTES ? t.len : SHOWN_TARGET_MAX_BYTES};
    const char *base = m.len > 0 ? m.ptr : "";
    size_t len = m.len == 0  ? 0
                 : t.len > 0 ? (size_t)(head.path.ptr + head.path.len - base)
                             : m.len;
    c->keep_alive = false;
    c->version_minor = 1;
    c->state = BODY; /* whatever follows is not read as a request */
    struct sl_exchange *x = sl_exchange_new(c->w, &c->base, &head, base, len);
    if (x == NULL) {
        close_conn(c, true);
        return;
    }
    sl_exchange_set_request_id(x);
    sl_exchange_request_failed(x, reason);
}

/* Whether earlier responses wait for the client: on_drained goes on. */
static bool answers_pile_up(struct conn *c)
{
    return sl_stream_is_high(&c->stream);
}

/* Bytes of the head at buf, 0 when it is not whole yet or the connection ended. */
static size_t take_head(struct conn *c, const char *buf, size_t len)
{
    struct sl_l7 *w = c->w;
    struct sl_request_head head;

    sl_request_head_init(&head, w->fields, SL_H1_FIELDS_MAX_N, w->path_buf, SL_H1_LINE_MAX_BYTES);
    ssize_t n = sl_h1_parse_request(&c->scan, buf, len, NULL, &head);
    if (n == SL_AGAIN) {
        if (c->state == IDLE) {
            c->state = HEAD;
            set_deadline(c, own_cell(c)->head_timeout_ms);
        }
        return 0;
    }
    if (n < 0) {
        refuse(c, &head, reason_of_fault(c->scan.fault));
        return 0;
    }
    c->scan = (struct sl_h1_scan){0};
    c->version_minor = head.version_minor;
    c->keep_alive = head.keep_alive;
    if (head.dropped_n > 0) {
        sl_series_add(c->base.listener->series, w->idx, SL_LISTENER_HEADERS_DROPPED,
                      head.dropped_n);
    }
    sl_h1_body_init(&c->body, &head.framing);
    bool whole = sl_h1_body_ended(&c->body);
    c->state = whole ? RESPONSE : BODY;
    if (whole) {
        sl_deadline_clear(&c->deadline);
    } else {
        set_deadline(c, BODY_STALL_MS);
    }
    struct sl_exchange *x = sl_exchange_new(w, &c->base, &head, buf, (size_t)n);
    if (x == NULL) {
        close_conn(c, true);
        return 0;
    }
    sl_exchange_start(x);
    if (c->base.exchange == x && whole) {
        sl_exchange_request_end(x, NULL);
    }
    return (size_t)n;
}

static bool on_body_bytes(void *arg, struct sl_slice wire, uint64_t body_bytes)
{
    struct conn *c = arg;
    struct sl_exchange *x = c->base.exchange;

    if (x != NULL) {
        sl_exchange_request_data(x, wire, body_bytes);
    }
    return x != NULL && c->base.exchange == x;
}

static size_t take_body(struct conn *c, const char *buf, size_t len)
{
    struct sl_exchange *x = c->base.exchange;

    if (x == NULL) {
        return 0; /* answered before its end: the connection is on its way out */
    }
    ssize_t n = sl_h1_body_feed(&c->body, buf, len, x->request_framed, on_body_bytes, c);
    if (c->base.exchange != x) {
        return 0;
    }
    if (n < 0) {
        c->keep_alive = false;
        sl_exchange_request_failed(x, n == SL_ENOMEM ? SL_REASON_OVERLOAD
                                                     : reason_of_fault(c->body.chunk.fault));
        return 0;
    }
    if (!sl_h1_body_ended(&c->body)) {
        if (c->stream.reading) { /* otherwise it is us who stand still */
            set_deadline(c, BODY_STALL_MS);
        }
        return (size_t)n;
    }
    c->state = RESPONSE;
    sl_deadline_clear(&c->deadline);
    struct sl_headers trailers = sl_h1_chunk_trailers(&c->body.chunk);
    sl_exchange_request_end(x, trailers.n > 0 ? &trailers : NULL);
    return (size_t)n;
}

/* Works off what it can; returns how much that was. */
static size_t consume(struct conn *c, const char *buf, size_t len)
{
    size_t used = 0;

    while (used < len && is_open(c)) {
        size_t n = 0;
        if (c->state == IDLE && answers_pile_up(c)) {
            break;
        }
        if (c->state == IDLE || c->state == HEAD) {
            n = take_head(c, buf + used, len - used);
        } else if (c->state == BODY) {
            n = take_body(c, buf + used, len - used);
        }
        if (n == 0) {
            break;
        }
        used += n;
    }
    return used;
}

/* What was not worked off is the next request's beginning; a flood of them waits in the kernel, and
 * so does what comes from a client that takes no answers. */
static void keep_rest(struct conn *c, const char *buf, size_t len, size_t used)
{
    if (!is_open(c) || c->state == LINGERING || c->state == FLUSHING) {
        return;
    }
    if (sl_h1_pending_keep(&c->pending, buf, len, used) != SL_OK) {
        client_left(c); /* no memory for it */
        return;
    }
    if ((c->state == RESPONSE && c->pending.len > 0) || (c->state == IDLE && answers_pile_up(c))) {
        pause_reading(c);
    }
}

static void work(struct conn *c, const char *buf, size_t len)
{
    keep_rest(c, buf, len, consume(c, buf, len));
    sl_stage_flush(c->w);
}

static void drop_input(struct conn *c)
{
    ssize_t n = sl_stream_read(&c->stream, c->w->scratch, SL_SCRATCH_BYTES);

    if (n > 0 && (c->lingered_bytes += (size_t)n) <= LINGER_MAX_BYTES) {
        return;
    }
    if (n != SL_AGAIN) {
        close_conn(c, false);
    }
}

static void on_readable(struct sl_stream *s)
{
    struct conn *c = of_stream(s);
    char *buf = c->w->scratch;
    size_t room = SL_SCRATCH_BYTES;

    if (c->state == LINGERING) {
        drop_input(c);
        return;
    }
    if (c->state == RESPONSE) {
        room = PIPELINE_MAX_BYTES;
    }
    if (c->pending.len > 0 && !sl_h1_pending_room(&c->pending, &buf, &room)) {
        client_left(c);
        return;
    }
    ssize_t n = sl_stream_read(s, buf, room);
    if (n == SL_AGAIN) {
        return;
    }
    if (n < 0) {
        client_left(c);
        return;
    }
    if (c->pending.len > 0) {
        c->pending.len += (size_t)n;
        work(c, c->pending.buf, c->pending.len);
    } else {
        work(c, buf, (size_t)n);
    }
}

static void on_resume(struct sl_task *t)
{
    struct conn *c = sl_container_of(t, struct conn, resume);

    if (c->state == IDLE && c->pending.len > 0) {
        resume_reading(c);
        work(c, c->pending.buf, c->pending.len);
    }
}

/* Between two requests: the next one, unless the answers to earlier ones have to leave first. */
static void go_on(struct conn *c)
{
    if (answers_pile_up(c)) {
        pause_reading(c);
    } else if (c->pending.len > 0) {
        sl_task_post(c->w->loop, &c->resume); /* not from here: the stack would grow with them */
    } else if (!c->stream.reading) {
        resume_reading(c); /* the body's last bytes came as the upstream was full */
    }
}

/* No further request is wanted: the process drains, or no config names the listener any more. */
static bool is_leaving(const struct conn *c)
{
    return c->w->draining || own_cell(c)->current == NULL;
}

/* ---- Responses out */

static void informational(struct sl_downstream *d, const struct sl_response_head *h)
{
    struct conn *c = of(d);
    struct sl_h1_out o = {.framing = {.kind = SL_FRAMING_NONE}};
    size_t room;

    if (c->version_minor == 0) {
        return; /* RFC 9110 section 15.2: not to an HTTP/1.0 client */
    }
    char *buf = sl_stage_room(c->w, &c->stream, SL_STAGE_BYTES, &room);
    ssize_t len = sl_h1_write_response(buf, room, h, &o);
    SL_ASSERT(len > 0, "an interim head of %u fields does not fit", h->headers.n);
    sl_stage_commit(c->w, (size_t)len);
}

static enum out_framing out_framing_for(const struct conn *c, const struct sl_response_head *h)
{
    switch (h->framing.kind) {
    case SL_FRAMING_LENGTH:
        return OUT_LENGTH;
    case SL_FRAMING_CHUNKED:
        return c->version_minor > 0 ? OUT_CHUNKED : OUT_CLOSE;
    case SL_FRAMING_UNTIL_CLOSE:
        return c->version_minor > 0 ? OUT_WRAPPED : OUT_CLOSE;
    case SL_FRAMING_NONE:
        break;
    }
    return OUT_NONE;
}

static void head(struct sl_downstream *d, struct sl_exchange *x, const struct sl_response_head *h,
                 const struct sl_header *extra, size_t extra_n)
{
    struct conn *c = of(d);
    struct sl_h1_out o = {
        .extra = extra,
        .extra_n = extra_n,
        .drop_ids = sl_header_bit(SL_HEADER_X_REQUEST_ID),
        .framing = h->declared,
    };
    size_t room;

    c->out = out_framing_for(c, h);
    x->response_framed = c->out == OUT_CHUNKED;
    if (c->out == OUT_CHUNKED || c->out == OUT_WRAPPED) {
        o.framing = (struct sl_framing){.kind = SL_FRAMING_CHUNKED};
    } else if (c->version_minor == 0 && o.framing.kind == SL_FRAMING_CHUNKED) {
        o.framing = (struct sl_framing){.kind = SL_FRAMING_NONE};
    }
    if (c->out == OUT_CLOSE || is_leaving(c)) {
        c->keep_alive = false;
    }
    if (!c->keep_alive) {
        o.connection = SL_H1_CONN_CLOSE;
    } else if (c->version_minor == 0) {
        o.connection = SL_H1_CONN_KEEP_ALIVE;
    }
    char *buf = sl_stage_room(c->w, &c->stream, SL_STAGE_BYTES, &room);
    ssize_t len = sl_h1_write_response(buf, room, h, &o);
    /* 64 KiB of head as parsed, and 32 KiB for what we add: there is always room. */
    SL_ASSERT(len > 0, "a response head of %u fields does not fit", h->headers.n);
    sl_stage_commit(c->w, (size_t)len);
}

static void data(struct sl_downstream *d, struct sl_slice bytes)
{
    struct conn *c = of(d);
    size_t room;

    if (c->out != OUT_WRAPPED || bytes.len == 0) { /* an empty chunk would be the last */
        sl_stage_send(c->w, &c->stream, bytes);
        return;
    }
    char *line = sl_stage_room(c->w, &c->stream, SL_H1_CHUNK_HEAD_BYTES, &room);
    sl_stage_commit(c->w, sl_h1_write_chunk_head(bytes.len, line));
    sl_stage_send(c->w, &c->stream, bytes);
    char *end = sl_stage_room(c->w, &c->stream, 2, &room);
    memcpy(end, "\r\n", 2);
    sl_stage_commit(c->w, 2);
}

static void end(struct sl_downstream *d, const struct sl_headers *trailers)
{
    struct conn *c = of(d);
    size_t room;

    if (c->out == OUT_CHUNKED || c->out == OUT_WRAPPED) {
        char *buf = sl_stage_room(c->w, &c->stream, SL_H1_TRAILERS_MAX_BYTES * 2, &room);
        ssize_t len = sl_h1_write_last_chunk(buf, room, trailers);
        SL_ASSERT(len > 0, "trailers do not fit into %zu bytes", room);
        sl_stage_commit(c->w, (size_t)len);
    }
}

static void read_off(struct sl_downstream *d)
{
    struct conn *c = of(d);

    if (c->state == BODY) {
        sl_deadline_clear(&c->deadline); /* it is us who stand still */
        pause_reading(c);
    }
}

static void read_on(struct sl_downstream *d)
{
    struct conn *c = of(d);

    if (c->state == BODY && !c->stream.reading) {
        set_deadline(c, BODY_STALL_MS);
        resume_reading(c);
    }
}

static bool is_high(struct sl_downstream *d)
{
    return sl_stream_is_high(&of(d)->stream);
}

static void done(struct sl_downstream *d, bool whole)
{
    struct conn *c = of(d);

    if (!is_open(c)) {
        return;
    }
    if (!whole) {
        close_conn(c, true); /* with RST: a cut response must not look like a short one */
        return;
    }
    bool unread = c->state == BODY || c->pending.len > 0;
    if (c->state == BODY || !c->keep_alive ||
        (is_leaving(c) && !unread && sl_socket_is_quiet(c->stream.fd)))
    {
        close_gracefully(c, unread);
        return;
    }
    sl_h1_body_fini(&c->body);
    c->state = IDLE;
    set_deadline(c, own_cell(c)->idle_timeout_ms);
    go_on(c);
}

static const struct sl_downstream_ops downstream_ops = {
    .informational = informational,
    .head = head,
    .data = data,
    .end = end,
    .read_off = read_off,
    .read_on = read_on,
    .is_high = is_high,
    .done = done,
};

/* ---- The connection */

static void on_open(struct sl_stream *s, int code)
{
    struct conn *c = of_stream(s);

    if (code != SL_OK) {
        sl_series_add(c->base.listener->series, c->w->idx, SL_LISTENER_TLS_FAILURES, 1);
        sl_log(SL_LOG_INFO, "tls_handshake_failed",
               {"listener", SL_LOG_STR(c->base.listener->name)}, {"client", SL_LOG_STR(c->address)},
               {"error", SL_LOG_STR(s->tls != NULL ? sl_tls_failure(s->tls) : sl_err_name(code))});
        close_conn(c, false);
        return;
    }
    if (s->tls != NULL) {
        c->base.peer_name = sl_tls_peer_name(s->tls);
    }
    c->state = IDLE;
    set_deadline(c, own_cell(c)->head_timeout_ms);
}

static void on_drained(struct sl_stream *s)
{
    struct conn *c = of_stream(s);

    if (c->state == FLUSHING) {
        if (sl_stream_unsent(s) == 0) {
            bool unread = c->keep_alive;
            close_gracefully(c, unread);
        }
    } else if (c->base.exchange != NULL) {
        sl_exchange_downstream_drained(c->base.exchange);
    } else if (c->state == IDLE) {
        go_on(c);
    }
}

static void on_broken(struct sl_stream *s, int code)
{
    (void)code;
    client_left(of_stream(s));
}

static const struct sl_stream_ops stream_ops = {
    .on_open = on_open,
    .on_readable = on_readable,
    .on_drained = on_drained,
    .on_broken = on_broken,
};

static void on_deadline(struct sl_deadline *d)
{
    struct conn *c = sl_container_of(d, struct conn, deadline);
    struct sl_request_head nothing;

    switch (c->state) {
    case HEAD:
        sl_request_head_init(&nothing, NULL, 0, NULL, 0);
        refuse(c, &nothing, SL_REASON_HEAD_TIMEOUT);
        break;
    case BODY:
        if (c->base.exchange != NULL) {
            sl_exchange_request_failed(c->base.exchange, SL_REASON_BODY_TIMEOUT);
        }
        break;
    case OPENING:
    case IDLE:
    case RESPONSE:
    case FLUSHING:
    case LINGERING:
        close_conn(c, sl_stream_unsent(&c->stream) > 0); /* what is cut must not look whole */
        break;
    }
}

void sl_h1_downstream_open(struct sl_l7 *w, struct sl_listener *listener, int fd,
                           const struct sl_address *from)
{
    const struct sl_view_listener *conf = listener->cells[w->idx].current;
    struct conn *c = sl_alloc(sizeof(*c));
    struct sl_tls_session *tls = NULL;

    if (c != NULL && conf != NULL && conf->tls != NULL) {
        tls = sl_tls_accept(conf->tls[w->idx]);
    }
    if (c == NULL || conf == NULL || (conf->tls != NULL && tls == NULL)) {
        atomic_fetch_sub_explicit(&listener->refs_n, 1, memory_order_release);
        sl_free(c);
        sl_socket_close(fd);
        return;
    }
    c->w = w;
    c->base = (struct sl_downstream){
        .ops = &downstream_ops,
        .listener = listener,
        .address = c->address,
        .port = from->port,
        .peer_name = "",
        .over_tls = tls != NULL,
    };
    (void)snprintf(c->address, sizeof(c->address), "%.45s", from->host); /* numeric: it fits */
    sl_deadline_init(&c->deadline, on_deadline);
    sl_hangup_init(&c->hangup, on_hangup);
    sl_task_init(&c->resume, on_resume);
    sl_list_push_back(&w->downstreams, &c->link);
    atomic_fetch_add_explicit(&w->open_n, 1, memory_order_relaxed);
    sl_series_add(listener->series, w->idx, SL_LISTENER_CONNECTIONS, 1);
    set_deadline(c, own_cell(c)->head_timeout_ms);
    sl_stream_open(&c->stream, w->loop, &w->chunks, fd, false,
                   tls != NULL ? &sl_transport_tls : &sl_transport_plain, tls, &stream_ops);
    if (c->state == IDLE && is_open(c)) {
        on_readable(&c->stream); /* TCP_DEFER_ACCEPT: the request is here already */
    }
}

/* NULL: of any listener. */
static void close_idle(struct sl_l7 *w, const struct sl_listener *listener)
{
    struct sl_list *next;

    for (struct sl_list *l = w->downstreams.next; l != &w->downstreams; l = next) {
        struct conn *c = sl_container_of(l, struct conn, link);
        next = l->next;
        /* What waits in the kernel is a request that would be lost: it is answered, then closed. */
        if (c->state == IDLE && c->pending.len == 0 &&
            (listener == NULL || c->base.listener == listener) && sl_socket_is_quiet(c->stream.fd))
        {
            close_gracefully(c, false);
        }
    }
}

void sl_h1_downstream_close_idle(struct sl_l7 *w)
{
    close_idle(w, NULL);
}

void sl_h1_downstream_close_idle_of(struct sl_l7 *w, const struct sl_listener *listener)
{
    close_idle(w, listener);
}

void sl_h1_downstream_close_all(struct sl_l7 *w)
{
    while (!sl_list_empty(&w->downstreams)) {
        struct conn *c = sl_container_of(w->downstreams.next, struct conn, link);
        if (c->base.exchange != NULL) {
            sl_exchange_drained(c->base.exchange);
        }
        close_conn(c, false);
    }
}
