/* SPDX-License-Identifier: Apache-2.0 */
#include "health_pod.h"

#include <sluiced/time.h>

#include "proxy/io/socket.h"
#include "tests/unit/check.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define DEADLINE_MS 30000
#define CHUNKS_BYTES (1024 * 1024)

static void close_conn(struct pod_conn *c, bool reset)
{
    if (c->stream.fd < 0) {
        return;
    }
    if (reset) {
        sl_stream_reset(&c->stream);
    } else {
        sl_stream_close(&c->stream);
    }
    sl_task_cancel(&c->pump);
    c->pod->open_n--;
}

/* A piece a turn, so that the other side reads each one alone. */
static void on_pump(struct sl_task *t)
{
    struct pod_conn *c = sl_container_of(t, struct pod_conn, pump);
    const struct pod_step *step = c->step;
    size_t answer_bytes = step->answer != NULL ? strlen(step->answer) : 0;
    size_t total_bytes = answer_bytes + step->filler_bytes;
    char filler[4096];

    memset(filler, 'x', sizeof(filler));
    while (c->sent_bytes < total_bytes) {
        bool in_answer = c->sent_bytes < answer_bytes;
        size_t left_bytes = (in_answer ? answer_bytes : total_bytes) - c->sent_bytes;
        size_t most_bytes = step->piece_bytes > 0 ? step->piece_bytes : sizeof(filler);
        size_t n = left_bytes < most_bytes ? left_bytes : most_bytes;
        struct iovec iov = {.iov_len = n, .iov_base = filler};

        if (in_answer) {
            memcpy(filler, step->answer + c->sent_bytes, n);
        }
        sl_stream_send(&c->stream, &iov, 1);
        memset(filler, 'x', n);
        c->sent_bytes += n;
        if (step->piece_bytes > 0) {
            sl_task_post(c->pod->loop, t);
            return;
        }
    }
    c->step = NULL;
    c->request_bytes = 0;
    if (step->end != POD_KEEP) {
        close_conn(c, step->end == POD_RESET);
    }
}

static void on_open(struct sl_stream *s, int code)
{
    if (code != SL_OK) {
        close_conn(sl_container_of(s, struct pod_conn, stream), false);
    }
}

static void on_readable(struct sl_stream *s)
{
    struct pod_conn *c = sl_container_of(s, struct pod_conn, stream);
    struct pod *p = c->pod;
    size_t room = sizeof(p->request) - 1 - c->request_bytes;

    ssize_t n = sl_stream_read(s, p->request + c->request_bytes, room);
    if (n == SL_AGAIN) {
        return;
    }
    if (n < 0) {
        close_conn(c, false);
        return;
    }
    c->request_bytes += (size_t)n;
    p->request[c->request_bytes] = '\0';
    check(c->step == NULL, "a second request before the first was answered: %s", p->request);
    if (strstr(p->request, "\r\n\r\n") == NULL) {
        return;
    }
    size_t i = p->requests_n < p->steps_n ? p->requests_n : p->steps_n - 1;
    p->requests_n++;
    c->step = &p->steps[i];
    c->sent_bytes = 0;
    if (c->step->answer != NULL || c->step->end != POD_KEEP) {
        sl_task_post(p->loop, &c->pump);
    }
}

static void on_drained(struct sl_stream *s)
{
    (void)s;
}

static void on_broken(struct sl_stream *s, int code)
{
    (void)code;
    close_conn(sl_container_of(s, struct pod_conn, stream), false);
}

static const struct sl_stream_ops stream_ops = {
    .on_open = on_open,
    .on_readable = on_readable,
    .on_drained = on_drained,
    .on_broken = on_broken,
};

static void on_accept(struct sl_io *io, int events)
{
    struct pod *p = sl_container_of(io, struct pod, listen_io);
    struct sl_address from;
    int fd = -1;
    (void)events;

    while (sl_socket_accept(p->listen_fd, &fd, &from) == SL_OK) {
        size_t i = 0;
        while (i < POD_CONNS_MAX_N && p->conns[i].used && p->conns[i].stream.fd >= 0) {
            i++;
        }
        check(i < POD_CONNS_MAX_N, "more than %d connections", POD_CONNS_MAX_N);
        struct pod_conn *c = &p->conns[i];
        *c = (struct pod_conn){.pod = p, .used = true};
        sl_task_init(&c->pump, on_pump);
        p->connections_n++;
        p->open_n++;
        struct sl_tls_session *tls = p->tls != NULL ? sl_tls_accept(p->tls) : NULL;
        sl_stream_open(&c->stream, p->loop, &p->chunks, fd, false,
                       tls != NULL ? &sl_transport_tls : &sl_transport_plain, tls, &stream_ops);
    }
}

static void listen_at(struct pod *p, const struct sl_address *address)
{
    struct sl_error err = {0};

    check(sl_socket_listen(address, false, &p->listen_fd, &p->address, &err) == SL_OK, "%s",
          err.message);
    sl_io_init(&p->listen_io, p->loop, p->listen_fd, on_accept);
    sl_io_want_read(&p->listen_io, true);
}

void pod_init(struct pod *p, struct sl_loop *loop, const struct pod_step *steps, size_t steps_n)
{
    const struct sl_address any = {.host = "127.0.0.1"};

    /* As the process does: OpenSSL writes with write(2). */
    assert_true(signal(SIGPIPE, SIG_IGN) != SIG_ERR);
    memset(p, 0, sizeof(*p));
    p->loop = loop;
    p->steps = steps;
    p->steps_n = steps_n;
    sl_chunk_pool_init(&p->chunks, CHUNKS_BYTES, 4);
    listen_at(p, &any);
}

void pod_stop_listening(struct pod *p)
{
    if (p->listen_fd >= 0) {
        sl_io_stop(&p->listen_io);
        sl_socket_close(p->listen_fd);
        p->listen_fd = -1;
    }
}

void pod_listen_again(struct pod *p)
{
    const struct sl_address same = p->address;
    listen_at(p, &same);
}

void pod_close_conns(struct pod *p)
{
    for (size_t i = 0; i < POD_CONNS_MAX_N; i++) {
        if (p->conns[i].used) {
            close_conn(&p->conns[i], false);
        }
    }
}

void pod_fini(struct pod *p)
{
    pod_stop_listening(p);
    pod_close_conns(p);
    sl_chunk_pool_fini(&p->chunks);
}

void pod_say(struct pod *p, const struct pod_step *step)
{
    p->steps = step;
    p->steps_n = 1;
}

void pod_turn_until(struct sl_loop *loop, bool (*done)(void *arg), void *arg, const char *what)
{
    uint64_t until_ms = sl_time_now_ms() + DEADLINE_MS;

    while (!done(arg)) {
        check(sl_time_now_ms() < until_ms, "waited in vain: %s", what);
        sl_loop_run_once(loop);
    }
}

void pod_turn_ms(struct sl_loop *loop, uint64_t ms)
{
    uint64_t until_ms = sl_time_now_ms() + ms;

    do { /* once at least: this machine may have stood still */
        sl_loop_run_once(loop);
    } while (sl_time_now_ms() < until_ms);
}

static char log_text[64 * 1024];
static int log_fd = -1;
static int stderr_fd = -1;

void log_capture(void)
{
    log_fd = memfd_create("log", 0);
    stderr_fd = dup(STDERR_FILENO);
    assert_true(log_fd >= 0 && stderr_fd >= 0);
    assert_int_equal(fcntl(log_fd, F_SETFL, O_APPEND), 0);
    assert_int_equal(dup2(log_fd, STDERR_FILENO), STDERR_FILENO);
}

const char *log_captured(void)
{
    assert_int_equal(dup2(stderr_fd, STDERR_FILENO), STDERR_FILENO);
    ssize_t n = pread(log_fd, log_text, sizeof(log_text) - 1, 0);
    assert_true(n >= 0);
    (void)close(stderr_fd); /* nothing was written through these two that could be lost */
    (void)close(log_fd);
    log_text[n] = '\0';
    return log_text;
}
