/* SPDX-License-Identifier: Apache-2.0 */
/*
 * h1_downstream_request: reading is one recv into the worker's scratch; what it holds is worked off
 * in place, and only a partial head or pipelined bytes are kept, in pending.
 */
#include "h1_downstream_internal.h"

#include "proxy/proto/h1.h"

#define PIPELINE_MAX_BYTES ((size_t)16 * 1024)
#define SHOWN_TARGET_MAX_BYTES ((size_t)256)

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

void sl_h1_downstream_refuse(struct sl_h1_downstream *c, const struct sl_request_head *known,
                             enum sl_reason reason)
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
    c->state = SL_H1_DOWN_BODY; /* whatever follows is not read as a request */
    struct sl_exchange *x = sl_exchange_new(c->w, &c->base, &head, base, len);
    if (x == NULL) {
        sl_h1_downstream_close(c, true);
        return;
    }
    sl_exchange_set_request_id(x);
    sl_exchange_request_failed(x, reason);
}

/* Whether earlier responses wait for the client: on_drained goes on. */
static bool answers_pile_up(struct sl_h1_downstream *c)
{
    return sl_stream_is_high(&c->stream);
}

/* Bytes of the head at buf, 0 when it is not whole yet or the connection ended. */
static size_t take_head(struct sl_h1_downstream *c, const char *buf, size_t len)
{
    struct sl_l7 *w = c->w;
    struct sl_request_head head;

    sl_request_head_init(&head, w->fields, SL_H1_FIELDS_MAX_N, w->path_buf, SL_H1_LINE_MAX_BYTES);
    ssize_t n = sl_h1_parse_request(&c->scan, buf, len, &sl_h1_downstream_cell(c)->policy, &head);
    if (n == SL_AGAIN) {
        if (c->state == SL_H1_DOWN_IDLE) {
            c->state = SL_H1_DOWN_HEAD;
            sl_h1_downstream_set_deadline(c, sl_h1_downstream_cell(c)->timeouts.head_ms);
        }
        return 0;
    }
    if (n < 0) {
        sl_h1_downstream_refuse(c, &head, reason_of_fault(c->scan.fault));
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
    c->state = whole ? SL_H1_DOWN_RESPONSE : SL_H1_DOWN_BODY;
    if (whole || head.expect_continue) { /* it waits for the endpoint, whose clock runs */
        sl_deadline_clear(&c->deadline);
    } else {
        sl_h1_downstream_await_body(c);
    }
    struct sl_exchange *x = sl_exchange_new(w, &c->base, &head, buf, (size_t)n);
    if (x == NULL) {
        sl_h1_downstream_close(c, true);
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
    struct sl_h1_downstream *c = arg;
    struct sl_exchange *x = c->base.exchange;

    if (x != NULL) {
        sl_exchange_request_data(x, wire, body_bytes);
    }
    return x != NULL && c->base.exchange == x;
}

static size_t take_body(struct sl_h1_downstream *c, const char *buf, size_t len)
{
    struct sl_exchange *x = c->base.exchange;

    if (x == NULL) {
        return 0; /* answered before its end: the connection is on its way out */
    }
    c->feeding = true;
    ssize_t n = sl_h1_body_feed(&c->body, buf, len, x->request_framed, on_body_bytes, c);
    c->feeding = false;
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
            sl_h1_downstream_await_body(c);
        }
        return (size_t)n;
    }
    c->state = SL_H1_DOWN_RESPONSE;
    sl_deadline_clear(&c->deadline);
    struct sl_headers trailers = sl_h1_chunk_trailers(&c->body.chunk);
    sl_exchange_request_end(x, trailers.n > 0 ? &trailers : NULL);
    return (size_t)n;
}

static bool drop_bytes(void *arg, struct sl_slice wire, uint64_t body_bytes)
{
    (void)arg;
    (void)wire;
    (void)body_bytes;
    return true;
}

/* The rest of a body whose request was answered already. */
static size_t take_discarded(struct sl_h1_downstream *c, const char *buf, size_t len)
{
    ssize_t n = sl_h1_body_feed(&c->body, buf, len, true, drop_bytes, c);

    if (n < 0) {
        sl_h1_downstream_close_gracefully(c, true);
        return 0;
    }
    c->discarded_bytes += (uint32_t)n;
    if (sl_h1_body_ended(&c->body) && !sl_h1_downstream_is_leaving(c)) {
        sl_h1_downstream_go_idle(c);
    } else if (sl_h1_body_ended(&c->body) || c->discarded_bytes > SL_H1_DISCARD_MAX_BYTES) {
        sl_h1_downstream_close_gracefully(c, true);
        return 0;
    }
    return (size_t)n;
}

static size_t take_tunnel(struct sl_h1_downstream *c, const char *buf, size_t len)
{
    struct sl_exchange *x = c->base.exchange;

    sl_exchange_request_data(x, (struct sl_slice){buf, len}, len);
    return c->base.exchange == x ? len : 0;
}

/* Works off what it can; returns how much that was. */
static size_t consume(struct sl_h1_downstream *c, const char *buf, size_t len)
{
    size_t used = 0;

    while (used < len && sl_h1_downstream_is_open(c)) {
        size_t n = 0;
        if (c->state == SL_H1_DOWN_IDLE && answers_pile_up(c)) {
            break;
        }
        if (c->state == SL_H1_DOWN_IDLE || c->state == SL_H1_DOWN_HEAD) {
            n = take_head(c, buf + used, len - used);
        } else if (c->state == SL_H1_DOWN_BODY) {
            n = take_body(c, buf + used, len - used);
        } else if (c->state == SL_H1_DOWN_DISCARDING) {
            n = take_discarded(c, buf + used, len - used);
        } else if (c->state == SL_H1_DOWN_TUNNEL) {
            n = take_tunnel(c, buf + used, len - used);
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
static void keep_rest(struct sl_h1_downstream *c, const char *buf, size_t len, size_t used)
{
    if (!sl_h1_downstream_is_open(c) || c->state == SL_H1_DOWN_LINGERING ||
        c->state == SL_H1_DOWN_FLUSHING)
    {
        return;
    }
    if (sl_h1_pending_keep(&c->pending, buf, len, used) != SL_OK) {
        sl_h1_downstream_client_left(c); /* no memory for it */
        return;
    }
    if ((c->state == SL_H1_DOWN_RESPONSE && c->pending.len > 0) ||
        (c->state == SL_H1_DOWN_IDLE && answers_pile_up(c)))
    {
        sl_h1_downstream_pause(c);
    }
}

static void work(struct sl_h1_downstream *c, const char *buf, size_t len)
{
    keep_rest(c, buf, len, consume(c, buf, len));
    sl_stage_flush(c->w);
}

static void drop_input(struct sl_h1_downstream *c)
{
    ssize_t n = sl_stream_read(&c->stream, c->w->scratch, SL_SCRATCH_BYTES);

    if (n > 0) {
        sl_h1_downstream_linger_on(c);
    } else if (n != SL_AGAIN) {
        sl_h1_downstream_close(c, false);
    }
}

void sl_h1_downstream_on_readable(struct sl_stream *s)
{
    struct sl_h1_downstream *c = sl_h1_downstream_of_stream(s);
    char *buf = c->w->scratch;
    size_t room =
        c->pending.len > 0 ? sl_h1_pending_room(&c->pending) : sl_h1_read_room(c->w, c->read_bytes);

    if (c->state == SL_H1_DOWN_LINGERING) {
        drop_input(c);
        return;
    }
    if (c->state == SL_H1_DOWN_RESPONSE) {
        room = room < PIPELINE_MAX_BYTES ? room : PIPELINE_MAX_BYTES;
    }
    if (room == 0) {
        sl_h1_downstream_client_left(c);
        return;
    }
    ssize_t n = sl_stream_read(s, buf, room);
    if (n == SL_AGAIN) {
        return;
    }
    if (n == SL_ECLOSED) {
        sl_h1_downstream_client_ended(c);
        return;
    }
    if (n < 0) {
        sl_h1_downstream_client_left(c);
        return;
    }
    c->read_bytes = sl_h1_next_read_bytes(c->read_bytes, (size_t)n);
    if (c->pending.len == 0) {
        work(c, buf, (size_t)n);
    } else if (sl_h1_pending_append(&c->pending, buf, (size_t)n) == SL_OK) {
        work(c, c->pending.buf, c->pending.len);
    } else {
        sl_h1_downstream_client_left(c);
    }
}

void sl_h1_downstream_on_resume(struct sl_task *t)
{
    struct sl_h1_downstream *c = sl_container_of(t, struct sl_h1_downstream, resume);

    if ((c->state == SL_H1_DOWN_IDLE || c->state == SL_H1_DOWN_TUNNEL) && c->pending.len > 0) {
        sl_h1_downstream_resume(c);
        work(c, c->pending.buf, c->pending.len);
    }
}

void sl_h1_downstream_go_idle(struct sl_h1_downstream *c)
{
    sl_h1_body_fini(&c->body);
    c->state = SL_H1_DOWN_IDLE;
    sl_h1_downstream_begin_idle(c);
}

/* Whether the answer has left is not known yet: a look in time for its clock. */
void sl_h1_downstream_begin_idle(struct sl_h1_downstream *c)
{
    uint64_t idle_ms = sl_h1_downstream_cell(c)->timeouts.idle_ms;
    uint64_t look_ms = (sl_h1_downstream_cell(c)->timeouts.write_ms + 1) / 2;

    c->due_ms = (uint32_t)(sl_loop_now_ms(c->w->loop) + idle_ms);
    sl_h1_downstream_set_deadline(c, idle_ms < look_ms ? idle_ms : look_ms);
}

bool sl_h1_downstream_may_outlive_body(const struct sl_h1_downstream *c,
                                       const struct sl_exchange *x)
{
    if (c->state != SL_H1_DOWN_BODY) {
        return true;
    }
    /* Fed, it is known too late how much of the body was read. And RFC 9110 10.1.1: a client that
     * waits may send the body or not, and what comes would be taken for it. */
    return !c->feeding && !x->awaits_continue &&
           (c->body.kind != SL_FRAMING_LENGTH || c->body.left_bytes <= SL_H1_DISCARD_MAX_BYTES);
}

void sl_h1_downstream_discard_body(struct sl_h1_downstream *c)
{
    c->state = SL_H1_DOWN_DISCARDING;
    c->discarded_bytes = 0;
    sl_h1_downstream_set_deadline(c, SL_H1_DISCARD_MS);
    sl_h1_downstream_resume(c);
}

void sl_h1_downstream_go_on(struct sl_h1_downstream *c)
{
    if (answers_pile_up(c)) {
        sl_h1_downstream_pause(c);
    } else if (c->pending.len > 0) {
        sl_task_post(c->w->loop, &c->resume); /* not from here: the stack would grow with them */
    } else if (!c->stream.reading) {
        sl_h1_downstream_resume(c); /* the body's last bytes came as the upstream was full */
    }
}
