/* SPDX-License-Identifier: Apache-2.0 */
/*
 * h1_downstream_response: heads are written into the worker's stage, so that what follows in the
 * same turn leaves with them in one send.
 */
#include "forwarded.h"
#include "h1_downstream_internal.h"

#include "proxy/io/socket.h"
#include "proxy/proto/h1_write.h"

#include <string.h>

static void informational(struct sl_downstream *d, const struct sl_response_head *h)
{
    struct sl_h1_downstream *c = sl_h1_downstream_of(d);
    struct sl_header extra;
    struct sl_h1_out o = {.extra = &extra, .framing = {.kind = SL_FRAMING_NONE}};
    size_t room;

    if (c->version_minor == 0) {
        return; /* RFC 9110 section 15.2: not to an HTTP/1.0 client */
    }
    o.extra_n = sl_forwarded_via(d->exchange, h->version_minor, &extra);
    char *buf = sl_stage_room(c->w, &c->stream, SL_STAGE_BYTES, &room);
    ssize_t len = sl_h1_write_response(buf, room, h, &o);
    SL_ASSERT(len > 0, "an interim head of %u fields does not fit", h->headers.n);
    sl_stage_commit(c->w, (size_t)len);
    if (h->status == 100 && c->state == SL_H1_DOWN_BODY) {
        sl_h1_downstream_await_body(c);
    }
}

static enum sl_h1_out_framing out_framing_for(const struct sl_h1_downstream *c,
                                              const struct sl_response_head *h)
{
    switch (h->framing.kind) {
    case SL_FRAMING_LENGTH:
        return SL_H1_OUT_LENGTH;
    case SL_FRAMING_CHUNKED:
        return c->version_minor > 0 ? SL_H1_OUT_CHUNKED : SL_H1_OUT_CLOSE;
    case SL_FRAMING_UNTIL_CLOSE:
        return c->version_minor > 0 ? SL_H1_OUT_WRAPPED : SL_H1_OUT_CLOSE;
    case SL_FRAMING_NONE:
        break;
    }
    if (h->status == 101) {
        return SL_H1_OUT_TUNNEL;
    }
    return SL_H1_OUT_NONE;
}

/* What the client said before it was told waits in pending. It is passed on when this turn ends,
 * for the exchange does not know yet. */
static void begin_tunnel(struct sl_h1_downstream *c)
{
    c->state = SL_H1_DOWN_TUNNEL;
    if (c->pending.len > 0) {
        sl_task_post(c->w->loop, &c->resume);
    } else if (!c->stream.reading) {
        sl_h1_downstream_resume(c); /* its end came before the answer */
    }
}

static void head(struct sl_downstream *d, struct sl_exchange *x, const struct sl_response_head *h,
                 const struct sl_header *extra, size_t extra_n)
{
    struct sl_h1_downstream *c = sl_h1_downstream_of(d);
    struct sl_h1_out o = {
        .extra = extra,
        .extra_n = extra_n,
        .drop_ids = sl_header_bit(SL_HEADER_X_REQUEST_ID),
        .framing = h->declared,
    };
    size_t room;

    c->out = out_framing_for(c, h);
    x->response_framed = c->out == SL_H1_OUT_CHUNKED;
    if (c->out == SL_H1_OUT_CHUNKED || c->out == SL_H1_OUT_WRAPPED) {
        o.framing = (struct sl_framing){.kind = SL_FRAMING_CHUNKED};
    } else if (c->version_minor == 0 && o.framing.kind == SL_FRAMING_CHUNKED) {
        o.framing = (struct sl_framing){.kind = SL_FRAMING_NONE};
    }
    if (c->out == SL_H1_OUT_CLOSE || c->out == SL_H1_OUT_TUNNEL || sl_h1_downstream_is_leaving(c) ||
        sl_l7_overload(c->w) >= SL_OVERLOAD_CLOSE || !sl_h1_downstream_may_outlive_body(c, x))
    {
        c->keep_alive = false;
    }
    if (c->out == SL_H1_OUT_TUNNEL) {
        o.connection = SL_H1_CONN_UPGRADE;
        begin_tunnel(c);
    } else if (!c->keep_alive) {
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

/* bytes as a chunk of our own; none at all when there are none, for that would be the last. */
static void send_wrapped(struct sl_h1_downstream *c, struct sl_slice bytes)
{
    size_t room;

    if (bytes.len == 0) {
        return;
    }
    char *line = sl_stage_room(c->w, &c->stream, SL_H1_CHUNK_HEAD_BYTES, &room);
    sl_stage_commit(c->w, sl_h1_write_chunk_head(bytes.len, line));
    sl_stage_send(c->w, &c->stream, bytes);
    char *end = sl_stage_room(c->w, &c->stream, 2, &room);
    memcpy(end, "\r\n", 2); /* NOLINT(bugprone-not-null-terminated-result): no text */
    sl_stage_commit(c->w, 2);
}

static void data(struct sl_downstream *d, struct sl_slice bytes)
{
    struct sl_h1_downstream *c = sl_h1_downstream_of(d);

    if (c->out == SL_H1_OUT_WRAPPED) {
        send_wrapped(c, bytes);
    } else {
        sl_stage_send(c->w, &c->stream, bytes);
    }
}

static void insert(struct sl_downstream *d, struct sl_slice bytes)
{
    struct sl_h1_downstream *c = sl_h1_downstream_of(d);

    if (c->out == SL_H1_OUT_CHUNKED || c->out == SL_H1_OUT_WRAPPED) {
        send_wrapped(c, bytes);
    } else if (c->out == SL_H1_OUT_CLOSE) {
        sl_stage_send(c->w, &c->stream, bytes);
    }
}

static void end(struct sl_downstream *d, const struct sl_headers *trailers)
{
    struct sl_h1_downstream *c = sl_h1_downstream_of(d);
    size_t room;

    if (c->out == SL_H1_OUT_CHUNKED || c->out == SL_H1_OUT_WRAPPED) {
        char *buf = sl_stage_room(c->w, &c->stream, SL_H1_TRAILERS_MAX_BYTES * 2, &room);
        ssize_t len = sl_h1_write_last_chunk(buf, room, trailers);
        SL_ASSERT(len > 0, "trailers do not fit into %zu bytes", room);
        sl_stage_commit(c->w, (size_t)len);
    } else if (c->out == SL_H1_OUT_TUNNEL) {
        c->half_close = true;
        sl_h1_downstream_half_close_if_sent(c);
    }
}

static void read_off(struct sl_downstream *d)
{
    struct sl_h1_downstream *c = sl_h1_downstream_of(d);

    c->read_bytes = SL_H1_READ_LEAST_BYTES;
    if (c->state == SL_H1_DOWN_BODY) {
        sl_deadline_clear(&c->deadline); /* it is us who stand still */
        sl_h1_downstream_pause(c);
    } else if (c->state == SL_H1_DOWN_TUNNEL) {
        sl_h1_downstream_pause(c);
    }
}

static void read_on(struct sl_downstream *d)
{
    struct sl_h1_downstream *c = sl_h1_downstream_of(d);

    if (c->state == SL_H1_DOWN_BODY && !c->stream.reading) {
        sl_h1_downstream_await_body(c);
        sl_h1_downstream_resume(c);
    } else if (c->state == SL_H1_DOWN_TUNNEL && !c->stream.reading && c->pending.len == 0) {
        sl_h1_downstream_resume(c); /* otherwise on_resume does */
    }
}

static bool is_high(struct sl_downstream *d)
{
    return sl_stream_is_high(&sl_h1_downstream_of(d)->stream);
}

static uint64_t stalled_ms(struct sl_downstream *d)
{
    return sl_stream_stalled_ms(&sl_h1_downstream_of(d)->stream);
}

static void done(struct sl_downstream *d, bool whole)
{
    struct sl_h1_downstream *c = sl_h1_downstream_of(d);

    if (!sl_h1_downstream_is_open(c)) {
        return;
    }
    if (!whole) {
        /* With RST: a cut response must not look like a short one. */
        sl_h1_downstream_close(c, true);
        return;
    }
    bool unread = c->state == SL_H1_DOWN_BODY || c->pending.len > 0;
    if (c->state == SL_H1_DOWN_BODY && c->keep_alive && !c->feeding &&
        !sl_h1_downstream_is_leaving(c))
    {
        sl_h1_downstream_discard_body(c);
        return;
    }
    if (c->state == SL_H1_DOWN_BODY || !c->keep_alive ||
        (sl_h1_downstream_is_leaving(c) && !unread && sl_socket_is_quiet(c->stream.fd)))
    {
        sl_h1_downstream_close_gracefully(c, unread);
        return;
    }
    sl_h1_downstream_go_idle(c);
    sl_h1_downstream_go_on(c);
}

const struct sl_downstream_ops sl_h1_downstream_ops = {
    .informational = informational,
    .head = head,
    .data = data,
    .insert = insert,
    .end = end,
    .read_off = read_off,
    .read_on = read_on,
    .is_high = is_high,
    .stalled_ms = stalled_ms,
    .done = done,
};
