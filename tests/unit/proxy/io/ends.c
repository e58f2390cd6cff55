/* SPDX-License-Identifier: Apache-2.0 */
#include "ends.h"

#include "tests/unit/check.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#define TURNS_MAX_N 200000

static struct end *end_of(struct sl_stream *s)
{
    return sl_container_of(s, struct end, stream);
}

static void note_tls(struct end *end)
{
    if (end->stream.tls != NULL) {
        (void)snprintf(end->failure, sizeof(end->failure), "%s", sl_tls_failure(end->stream.tls));
        (void)snprintf(end->peer_name, sizeof(end->peer_name), "%s",
                       sl_tls_peer_name(end->stream.tls));
    }
}

static void on_open(struct sl_stream *s, int code)
{
    struct end *end = end_of(s);

    end->open_code = code;
    end->opens_n++;
    note_tls(end);
    if (code != SL_OK || end->close_on_open) {
        sl_stream_close(s);
    }
}

static void on_readable(struct sl_stream *s)
{
    struct end *end = end_of(s);
    size_t room = end->got_max - end->got_n;

    end->reads_n++;
    check(room > 0, "more than %zu bytes came", end->got_max);
    ssize_t n =
        sl_stream_read(s, end->got + end->got_n, room < end->read_max ? room : end->read_max);
    if (n > 0) {
        end->got_n += (size_t)n;
    } else if (n != SL_AGAIN) {
        end->read_code = (int)n;
        note_tls(end);
        sl_stream_read_off(s);
        if (end->close_on_end) {
            sl_stream_close(s);
        }
    }
}

static void on_drained(struct sl_stream *s)
{
    struct end *end = end_of(s);

    if (end->drained_n < SL_ARRAY_LEN(end->drained_at)) {
        end->drained_at[end->drained_n] = sl_stream_unsent(s);
    }
    end->drained_n++;
}

static void on_broken(struct sl_stream *s, int code)
{
    end_of(s)->broken_code = code;
    end_of(s)->broken_n++;
}

static const struct sl_stream_ops ops = {
    .on_open = on_open,
    .on_readable = on_readable,
    .on_drained = on_drained,
    .on_broken = on_broken,
};

static void end_init(struct end *end, size_t capacity)
{
    *end = (struct end){
        .stream = {.fd = -1},
        .open_code = ENDS_PENDING,
        .read_max = 65536,
        .got = malloc(capacity + 1),
        .got_max = capacity + 1,
    };
    check(end->got != NULL, "out of memory");
}

void ends_init(struct ends *e, size_t capacity)
{
    struct sl_loop *l = NULL;

    assert_int_equal(sl_loop_new(&l), SL_OK);
    ends_init_on(e, l, capacity);
    e->owns_loop = true;
}

void ends_init_on(struct ends *e, struct sl_loop *l, size_t capacity)
{
    (void)signal(SIGPIPE, SIG_IGN); /* as the process does */
    e->loop = l;
    e->owns_loop = false;
    sl_chunk_pool_init(&e->chunks, (size_t)64 * 1024 * 1024, 4);
    end_init(&e->a, capacity);
    end_init(&e->b, capacity);
}

void ends_fini(struct ends *e)
{
    sl_stream_close(&e->a.stream);
    sl_stream_close(&e->b.stream);
    if (e->owns_loop) {
        sl_loop_free(e->loop);
    }
    sl_chunk_pool_fini(&e->chunks);
    free(e->a.got);
    free(e->b.got);
}

void ends_pair(int fds[2], int buffer_bytes)
{
    check(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds) == 0, "no pair");
    for (int i = 0; i < 2 && buffer_bytes > 0; i++) {
        check(setsockopt(fds[i], SOL_SOCKET, SO_SNDBUF, &buffer_bytes, sizeof(buffer_bytes)) == 0,
              "SO_SNDBUF");
    }
}

void end_open(struct ends *e, struct end *end, int fd, struct sl_tls_session *tls)
{
    sl_stream_open(&end->stream, e->loop, &e->chunks, fd, false,
                   tls != NULL ? &sl_transport_tls : &sl_transport_plain, tls, &ops);
}

void end_open_connecting(struct ends *e, struct end *end, int fd)
{
    sl_stream_open(&end->stream, e->loop, &e->chunks, fd, true, &sl_transport_plain, NULL, &ops);
}

void ends_open_plain(struct ends *e, int buffer_bytes)
{
    int fds[2];

    ends_pair(fds, buffer_bytes);
    end_open(e, &e->a, fds[0], NULL);
    end_open(e, &e->b, fds[1], NULL);
}

void ends_open_tls(struct ends *e, struct sl_tls_context *server, struct sl_tls_context *client,
                   const struct sl_address *address, int buffer_bytes)
{
    struct sl_tls_session *a = sl_tls_accept(server);
    struct sl_tls_session *b = sl_tls_connect(client, address);
    int fds[2];

    check(a != NULL && b != NULL, "no session");
    ends_pair(fds, buffer_bytes);
    end_open(e, &e->a, fds[0], a);
    end_open(e, &e->b, fds[1], b);
}

void end_send(struct end *end, const void *bytes, size_t len)
{
    struct iovec iov = {.iov_base = (void *)(uintptr_t)bytes, .iov_len = len};

    sl_stream_send(&end->stream, &iov, 1);
}

void ends_turn(struct ends *e, unsigned turns_n)
{
    for (unsigned i = 0; i < turns_n; i++) {
        sl_loop_run_once(e->loop);
    }
}

void ends_turn_until(struct ends *e, bool (*done)(struct ends *e), const char *what)
{
    for (unsigned i = 0; i < TURNS_MAX_N; i++) {
        if (done(e)) {
            return;
        }
        sl_loop_run_once(e->loop);
    }
    fail_msg("%s: did not happen; open %d and %d, got %zu and %zu, \"%s\" and \"%s\"", what,
             e->a.open_code, e->b.open_code, e->a.got_n, e->b.got_n, e->a.failure, e->b.failure);
}

bool ends_both_decided(struct ends *e)
{
    return e->a.open_code != ENDS_PENDING && e->b.open_code != ENDS_PENDING;
}

bool ends_both_ended(struct ends *e)
{
    return e->a.read_code != SL_OK && e->b.read_code != SL_OK;
}
