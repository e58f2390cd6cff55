/* SPDX-License-Identifier: Apache-2.0 */
/*
 * admin server: a connection reads a head, decides, skips the body, answers, and begins again.
 *
 * What is decided waits for the body's end, so that a refusal, too, leaves the connection usable.
 * An answer is built whole and then sent in pieces, so that a slow reader costs one text and not
 * the loop's chunks.
 */
#include "server.h"

#include <sluiced/log.h>

#include "routes.h"

#include "proxy/base/alloc.h"
#include "proxy/io/socket.h"
#include "proxy/io/stream.h"
#include "proxy/proto/h1.h"
#include "proxy/proto/h1_chunk.h"
#include "proxy/proto/h1_write.h"

#include <string.h>
#include <unistd.h>

#define CONNECTIONS_MAX_N 64
#define ACCEPTS_A_TURN_N 16
#define IN_BYTES 16384
#define HEAD_OUT_BYTES 512
#define BODY_MAX_BYTES 65536
#define PIECE_BYTES 32768
#define ANSWER_MAX_BYTES ((size_t)64 * 1024 * 1024) /* of one, and of all that wait */
#define REQUEST_TIMEOUT_MS 10000
#define IDLE_TIMEOUT_MS 30000 /* also: of a reader that takes nothing */
#define LINGER_TIMEOUT_MS 1000
#define ACCEPT_RETRY_MS 1000

struct sl_admin {
    struct sl_io io;
    struct sl_deadline accept_retry;
    struct sl_loop *loop;
    struct sl_chunk_pool *chunks;
    struct sl_control *control;
    struct sl_list conns;
    size_t conns_n;
    size_t waiting_bytes; /* of answers */
    int fd;
    bool probes_only;
};

enum conn_state {
    READING_HEAD,
    READING_BODY,
    ANSWERING,
    LINGERING, /* the answer is out; what still comes is thrown away, lest a RST overtakes it */
};

struct conn {
    struct sl_stream stream;
    struct sl_deadline deadline;
    struct sl_list link;
    struct sl_admin *admin;
    enum conn_state state;
    uint64_t idle_since_ms;
    struct sl_h1_scan scan;
    struct sl_h1_chunk chunked;
    struct sl_framing framing;
    uint64_t body_bytes; /* of the request, read so far */
    struct sl_admin_decision decision;
    struct sl_text answer; /* the body */
    size_t answered_bytes;
    bool keep_alive;
    bool says_keep_alive; /* to HTTP/1.0 */
    bool head_only;
    size_t in_bytes;
    char in[IN_BYTES];
};

static void close_conn(struct conn *c)
{
    struct sl_admin *a = c->admin;

    if (c->stream.fd < 0) {
        return;
    }
    sl_stream_close(&c->stream);
    sl_deadline_remove(sl_loop_wheel(a->loop), &c->deadline);
    sl_h1_chunk_fini(&c->chunked);
    a->waiting_bytes -= c->answer.len;
    sl_text_fini(&c->answer);
    sl_list_unlink(&c->link);
    a->conns_n--;
    if (a->fd >= 0) {
        sl_io_want_read(&a->io, true);
    }
    sl_loop_defer_free(a->loop, c);
}

static void set_timeout(struct conn *c, uint64_t ms)
{
    sl_deadline_set(sl_loop_wheel(c->admin->loop), &c->deadline,
                    sl_loop_now_ms(c->admin->loop) + ms);
}

static void consume(struct conn *c, size_t n)
{
    c->in_bytes -= n;
    memmove(c->in, c->in + n, c->in_bytes);
}

/* The next state once the head of the answer is in the stream. */
static void start_answer(struct conn *c, const struct sl_admin_reply *reply)
{
    char head[HEAD_OUT_BYTES];
    struct sl_response_head r;
    const struct sl_header extra[] = {
        {SL_SLICE("Content-Type"), sl_slice_of(reply->content_type), 0},
        {SL_SLICE("Cache-Control"), SL_SLICE("no-store"), 0},
        {SL_SLICE("X-Content-Type-Options"), SL_SLICE("nosniff"), 0},
        {SL_SLICE("Allow"), sl_slice_of(reply->allow), 0},
    };
    const struct sl_h1_out out = {
        .extra = extra,
        .extra_n = SL_ARRAY_LEN(extra) - (reply->allow == NULL ? 1 : 0),
        .framing = {SL_FRAMING_LENGTH, reply->body.len},
        .connection = !c->keep_alive       ? SL_H1_CONN_CLOSE
                      : c->says_keep_alive ? SL_H1_CONN_KEEP_ALIVE
                                           : SL_H1_CONN_DEFAULT,
    };

    sl_response_head_init(&r, NULL, 0);
    r.status = reply->status;
    ssize_t n = sl_h1_write_response(head, sizeof(head), &r, &out);
    SL_ASSERT(n > 0, "the head of a %u needs more than %d bytes", (unsigned)reply->status,
              HEAD_OUT_BYTES);
    c->state = ANSWERING;
    set_timeout(c, IDLE_TIMEOUT_MS);
    sl_stream_send(&c->stream, &(struct iovec){head, (size_t)n}, 1);
}

static void answer(struct conn *c)
{
    struct sl_admin *a = c->admin;
    struct sl_admin_reply reply = {0};

    if (a->waiting_bytes > ANSWER_MAX_BYTES) {
        c->decision = (struct sl_admin_decision){.status = 503,
                                                 .text = "too many answers wait for slow readers"};
    }
    /* Not in c: an operation may close this server, and c with it. */
    sl_text_init(&reply.body, ANSWER_MAX_BYTES);
    sl_admin_reply_fill(&c->decision, a->control, &reply);
    if (c->stream.fd < 0) {
        sl_text_fini(&reply.body);
        return;
    }
    start_answer(c, &reply);
    if (c->head_only) {
        sl_text_fini(&reply.body);
    }
    c->answer = reply.body;
    c->answered_bytes = 0;
    a->waiting_bytes += c->answer.len;
}

/* For what makes the rest of the connection meaningless, or too long. */
static void refuse(struct conn *c, unsigned status, const char *text)
{
    c->decision = (struct sl_admin_decision){.status = (uint16_t)status, .text = text};
    c->keep_alive = false;
    c->head_only = false;
    answer(c);
}

static void finish_answer(struct conn *c)
{
    c->admin->waiting_bytes -= c->answer.len;
    sl_text_fini(&c->answer);
    sl_h1_chunk_fini(&c->chunked);
    if (!c->keep_alive) {
        sl_stream_half_close(&c->stream);
        c->state = LINGERING;
        set_timeout(c, LINGER_TIMEOUT_MS);
    } else {
        c->state = READING_HEAD;
        c->scan = (struct sl_h1_scan){0};
        c->idle_since_ms = sl_loop_now_ms(c->admin->loop);
        set_timeout(c, c->in_bytes > 0 ? REQUEST_TIMEOUT_MS : IDLE_TIMEOUT_MS);
    }
    sl_stream_read_on(&c->stream);
}

/* Each of these does what can be done in its state; false: wait for the loop. */
static bool go_on_answering(struct conn *c)
{
    while (sl_stream_unsent(&c->stream) == 0 && c->answered_bytes < c->answer.len) {
        size_t n = c->answer.len - c->answered_bytes;

        n = n < PIECE_BYTES ? n : PIECE_BYTES;
        sl_stream_send(&c->stream, &(struct iovec){c->answer.ptr + c->answered_bytes, n}, 1);
        c->answered_bytes += n;
    }
    if (sl_stream_unsent(&c->stream) > 0) {
        sl_stream_read_off(&c->stream);
        return false;
    }
    finish_answer(c);
    return true;
}

static bool go_on_with_chunks(struct conn *c)
{
    while (c->in_bytes > 0 && !sl_h1_chunk_done(&c->chunked)) {
        struct sl_h1_chunk_run run;
        ssize_t n = sl_h1_chunk_next(&c->chunked, c->in, c->in_bytes, &run);

        if (n < 0) {
            refuse(c, 400, "malformed body");
            return true;
        }
        c->body_bytes += run.data_bytes;
        consume(c, (size_t)n);
        if (c->body_bytes > BODY_MAX_BYTES) {
            refuse(c, 413, "the body is larger than 64 KiB");
            return true;
        }
    }
    if (!sl_h1_chunk_done(&c->chunked)) {
        return false;
    }
    answer(c);
    return true;
}

static bool go_on_with_body(struct conn *c)
{
    if (c->framing.kind == SL_FRAMING_CHUNKED) {
        return go_on_with_chunks(c);
    }
    uint64_t left = c->framing.length_bytes - c->body_bytes;
    size_t n = left < c->in_bytes ? (size_t)left : c->in_bytes;
    c->body_bytes += n;
    consume(c, n);
    if (c->body_bytes < c->framing.length_bytes) {
        return false;
    }
    answer(c);
    return true;
}

static void begin_body(struct conn *c, const struct sl_request_head *r)
{
    char interim[] = "HTTP/1.1 100 Continue\r\n\r\n";

    c->state = READING_BODY;
    c->framing = r->framing;
    c->body_bytes = 0;
    c->chunked = (struct sl_h1_chunk){0};
    if (r->framing.length_bytes > BODY_MAX_BYTES) {
        refuse(c, 413, "the body is larger than 64 KiB");
    } else if (r->expect_continue && r->framing.kind != SL_FRAMING_NONE && c->in_bytes == 0) {
        sl_stream_send(&c->stream, &(struct iovec){interim, sizeof(interim) - 1}, 1);
    }
}

static bool go_on_with_head(struct conn *c)
{
    struct sl_header fields[SL_H1_FIELDS_MAX_N];
    char path[IN_BYTES];
    struct sl_request_head r;

    if (c->in_bytes == 0) {
        return false;
    }
    sl_request_head_init(&r, fields, SL_H1_FIELDS_MAX_N, path, sizeof(path));
    ssize_t n = sl_h1_parse_request(&c->scan, c->in, c->in_bytes, NULL, &r);
    if (n == SL_AGAIN && c->in_bytes < IN_BYTES) {
        return false;
    }
    if (n <= 0) {
        enum sl_h1_fault fault =
            n == SL_AGAIN ? SL_H1_FAULT_HEAD_TOO_LARGE : (enum sl_h1_fault)c->scan.fault;
        refuse(c, sl_h1_fault_status(fault), sl_h1_fault_code(fault));
        return true;
    }
    c->decision = sl_admin_decide(&r, c->admin->probes_only);
    c->keep_alive = r.keep_alive;
    c->says_keep_alive = r.version_minor == 0;
    c->head_only = r.method == SL_METHOD_HEAD;
    consume(c, (size_t)n);
    begin_body(c, &r);
    return true;
}

static void go_on(struct conn *c)
{
    static bool (*const steps[])(struct conn *) = {
        [READING_HEAD] = go_on_with_head,
        [READING_BODY] = go_on_with_body,
        [ANSWERING] = go_on_answering,
    };

    while (c->stream.fd >= 0 && c->state != LINGERING && steps[c->state](c)) {
    }
}

static void on_open(struct sl_stream *s, int code)
{
    (void)s;
    (void)code; /* a plain stream that was accepted is open */
}

static void on_readable(struct sl_stream *s)
{
    struct conn *c = sl_container_of(s, struct conn, stream);

    if (c->state == LINGERING) {
        c->in_bytes = 0;
    }
    /* There is room: a full buffer without a whole head was refused, bodies are taken out. */
    ssize_t n = sl_stream_read(s, c->in + c->in_bytes, IN_BYTES - c->in_bytes);
    if (n == SL_AGAIN) {
        return;
    }
    if (n <= 0) {
        close_conn(c);
        return;
    }
    if (c->state == READING_HEAD && c->in_bytes == 0) {
        set_timeout(c, REQUEST_TIMEOUT_MS);
    }
    c->in_bytes += (size_t)n;
    go_on(c);
}

static void on_drained(struct sl_stream *s)
{
    struct conn *c = sl_container_of(s, struct conn, stream);

    if (c->state == ANSWERING) {
        set_timeout(c, IDLE_TIMEOUT_MS);
        go_on(c);
    }
}

static void on_broken(struct sl_stream *s, int code)
{
    (void)code; /* whoever asked is gone; that is their affair */
    close_conn(sl_container_of(s, struct conn, stream));
}

static void on_timeout(struct sl_deadline *d)
{
    struct conn *c = sl_container_of(d, struct conn, deadline);
    bool is_idle = c->state == READING_HEAD && c->in_bytes == 0;

    if (c->state > READING_BODY || is_idle) {
        close_conn(c);
        return;
    }
    refuse(c, 408, "the request did not arrive in time");
    go_on(c);
}

static void open_conn(struct sl_admin *a, int fd)
{
    static const struct sl_stream_ops ops = {
        .on_open = on_open,
        .on_readable = on_readable,
        .on_drained = on_drained,
        .on_broken = on_broken,
    };
    struct conn *c = sl_alloc(sizeof(*c));

    if (c == NULL) {
        (void)close(fd); /* no data yet */
        return;
    }
    c->admin = a;
    c->idle_since_ms = sl_loop_now_ms(a->loop);
    sl_deadline_init(&c->deadline, on_timeout);
    sl_list_push_back(&a->conns, &c->link);
    a->conns_n++;
    set_timeout(c, REQUEST_TIMEOUT_MS);
    sl_stream_open(&c->stream, a->loop, a->chunks, fd, false, &sl_transport_plain, NULL, &ops);
}

/* So that sixty-four forgotten browsers do not keep the kubelet out. */
static bool make_room(struct sl_admin *a)
{
    struct conn *oldest = NULL;

    for (struct sl_list *l = a->conns.next; l != &a->conns; l = l->next) {
        struct conn *c = sl_container_of(l, struct conn, link);
        if (c->state == READING_HEAD && c->in_bytes == 0 &&
            (oldest == NULL || c->idle_since_ms < oldest->idle_since_ms))
        {
            oldest = c;
        }
    }
    if (oldest != NULL) {
        close_conn(oldest);
    }
    return oldest != NULL;
}

/* Most likely no file descriptor is left: asking again at once would spin. */
static void pause_accepting(struct sl_admin *a, int code)
{
    sl_log(SL_LOG_WARN, "accept_failed",
           {"listener", SL_LOG_STR(a->probes_only ? "probes" : "admin")},
           {"error", SL_LOG_STR(sl_err_name(code))});
    sl_io_want_read(&a->io, false);
    sl_deadline_set(sl_loop_wheel(a->loop), &a->accept_retry,
                    sl_loop_now_ms(a->loop) + ACCEPT_RETRY_MS);
}

static void on_acceptable(struct sl_io *io, int events)
{
    struct sl_admin *a = sl_container_of(io, struct sl_admin, io);
    (void)events;

    for (int i = 0; i < ACCEPTS_A_TURN_N; i++) {
        struct sl_address from;
        int fd;
        int rc = sl_socket_accept(a->fd, &fd, &from);

        if (rc == SL_AGAIN) {
            return;
        }
        if (rc != SL_OK) {
            pause_accepting(a, rc);
            return;
        }
        if (a->conns_n >= CONNECTIONS_MAX_N && !make_room(a)) {
            (void)close(fd); /* all are busy: the next probe has a better chance */
            continue;
        }
        open_conn(a, fd);
    }
}

static void on_accept_retry(struct sl_deadline *d)
{
    struct sl_admin *a = sl_container_of(d, struct sl_admin, accept_retry);
    sl_io_want_read(&a->io, true);
}

int sl_admin_open(const struct sl_admin_conf *conf, struct sl_admin **out, struct sl_address *bound,
                  struct sl_error *err)
{
    int fd;
    struct sl_admin *a = sl_alloc(sizeof(*a));

    if (a == NULL) {
        return sl_error_set(err, SL_ENOMEM, NULL, "no memory for the admin listener");
    }
    int rc = sl_socket_listen(conf->bind, true, &fd, bound, err);
    if (rc != SL_OK) {
        sl_free(a);
        return rc;
    }
    a->loop = conf->loop;
    a->chunks = conf->chunks;
    a->control = conf->control;
    a->probes_only = conf->probes_only;
    a->fd = fd;
    sl_list_init(&a->conns);
    sl_deadline_init(&a->accept_retry, on_accept_retry);
    sl_io_init(&a->io, a->loop, fd, on_acceptable);
    sl_io_want_read(&a->io, true);
    *out = a;
    return SL_OK;
}

void sl_admin_close(struct sl_admin **admin)
{
    struct sl_admin *a = *admin;

    *admin = NULL;
    if (a == NULL) {
        return;
    }
    sl_io_stop(&a->io);
    (void)close(a->fd); /* listening sockets hold no data */
    a->fd = -1;
    sl_deadline_remove(sl_loop_wheel(a->loop), &a->accept_retry);
    while (!sl_list_empty(&a->conns)) {
        close_conn(sl_container_of(a->conns.next, struct conn, link));
    }
    sl_loop_defer_free(a->loop, a);
}
