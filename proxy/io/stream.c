/* SPDX-License-Identifier: Apache-2.0 */
#include "stream.h"

#include "socket.h"

#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

#define KERNEL_BYTES_UNKNOWN UINT32_MAX
#define SEND_BATCH_N 16     /* vectors of queued chunks a writev */
#define READ_AGAIN_MAX_N 16 /* calls of on_readable a turn for bytes inside the transport */

/* NOLINTNEXTLINE(readability-non-const-parameter): the transport has the type of it */
static int plain_handshake(struct sl_stream *s, int *want)
{
    (void)s;
    (void)want;
    return SL_OK;
}

static ssize_t plain_read(struct sl_stream *s, void *buf, size_t len)
{
    ssize_t n = recv(s->fd, buf, len, 0);

    if (n > 0) {
        return n;
    }
    return n == 0 ? SL_ECLOSED : sl_err_from_errno(errno);
}

static ssize_t plain_writev(struct sl_stream *s, const struct iovec *iov, int n)
{
    /* NOLINTNEXTLINE(performance-no-int-to-ptr): only read; the type wants it writable */
    struct msghdr m = {.msg_iov = (struct iovec *)(uintptr_t)iov, .msg_iovlen = (size_t)n};
    ssize_t sent = n == 1 ? send(s->fd, iov->iov_base, iov->iov_len, MSG_NOSIGNAL)
                          : sendmsg(s->fd, &m, MSG_NOSIGNAL);

    return sent >= 0 ? sent : sl_err_from_errno(errno);
}

static bool plain_pending(const struct sl_stream *s)
{
    (void)s;
    return false;
}

static void plain_nothing(struct sl_stream *s)
{
    (void)s;
}

const struct sl_transport_ops sl_transport_plain = {
    .name = "plain",
    .handshake = plain_handshake,
    .read = plain_read,
    .writev = plain_writev,
    .pending = plain_pending,
    .shutdown = plain_nothing,
    .close = plain_nothing,
};

static void read_again_later(struct sl_stream *s)
{
    s->again = true;
    sl_task_post(s->io.loop, &s->late);
}

static void opened(struct sl_stream *s, int code)
{
    s->open = code == SL_OK;
    sl_io_want_write(&s->io, s->open && s->unsent.bytes > 0);
    sl_io_want_read(&s->io, s->open && s->reading);
    s->ops->on_open(s, code);
    if (s->fd >= 0 && s->reading && s->transport->pending(s)) {
        read_again_later(s);
    }
}

/* Goes on with connect and handshake until something has to be waited for. */
static void advance_open(struct sl_stream *s)
{
    int want = 0;

    if (s->connecting) {
        int rc = sl_socket_connected(s->fd);
        if (rc != SL_OK) {
            opened(s, rc);
            return;
        }
        s->connecting = false;
    }
    int rc = s->transport->handshake(s, &want);
    if (rc != SL_AGAIN) {
        opened(s, rc);
        return;
    }
    sl_io_want_read(&s->io, (want & SL_READABLE) != 0);
    sl_io_want_write(&s->io, (want & SL_WRITABLE) != 0);
}

/* The plain case leaves after one call. */
static void deliver_readable(struct sl_stream *s)
{
    for (int i = 0; s->fd >= 0 && s->reading; i++) {
        if (i == READ_AGAIN_MAX_N) {
            read_again_later(s); /* others want their turn */
            return;
        }
        s->ops->on_readable(s);
        if (s->fd < 0 || !s->transport->pending(s)) {
            return;
        }
    }
}

static void note_taken(struct sl_stream *s, uint32_t kernel_bytes)
{
    s->taken_ms = (uint32_t)sl_loop_now_ms(s->io.loop);
    s->kernel_bytes = kernel_bytes;
}

uint64_t sl_stream_stalled_ms(struct sl_stream *s)
{
    uint32_t kernel_bytes = sl_socket_unsent(s->fd);

    if (s->kernel_bytes == KERNEL_BYTES_UNKNOWN) {
        s->kernel_bytes = kernel_bytes;
    } else if (s->kernel_bytes != kernel_bytes) {
        note_taken(s, kernel_bytes);
    }
    return (uint32_t)sl_loop_now_ms(s->io.loop) - s->taken_ms;
}

static int send_queued(struct sl_stream *s)
{
    while (s->unsent.bytes > 0) {
        struct iovec iov[SEND_BATCH_N];
        int n = sl_queue_peek(&s->unsent, iov, SEND_BATCH_N);
        ssize_t sent = s->transport->writev(s, iov, n);

        if (sent < 0) {
            return (int)sent;
        }
        s->wrote = true;
        note_taken(s, KERNEL_BYTES_UNKNOWN);
        sl_queue_consume(&s->unsent, s->chunks, (size_t)sent);
    }
    return SL_OK;
}

static void fail_later(struct sl_stream *s, int code)
{
    s->broken_code = (int16_t)code;
    s->fails = true;
    sl_io_want_write(&s->io, false);
    sl_task_post(s->io.loop, &s->late);
}

static void on_late(struct sl_task *t)
{
    struct sl_stream *s = sl_container_of(t, struct sl_stream, late);

    if (s->fails) {
        s->fails = false;
        s->ops->on_broken(s, s->broken_code);
    }
    if (s->again && s->fd >= 0) {
        s->again = false;
        deliver_readable(s);
    }
}

static void on_writable(struct sl_stream *s)
{
    int rc = send_queued(s);

    if (rc != SL_OK && rc != SL_AGAIN) {
        fail_later(s, rc);
        return;
    }
    if (rc == SL_OK) {
        sl_io_want_write(&s->io, false);
    }
    if (rc == SL_OK || (s->was_high && s->unsent.bytes <= SL_STREAM_LOW_BYTES)) {
        s->was_high = false;
        s->ops->on_drained(s);
    }
}

static void on_ready(struct sl_io *io, int events)
{
    struct sl_stream *s = sl_container_of(io, struct sl_stream, io);

    if (!s->open) {
        advance_open(s);
        return;
    }
    if ((events & SL_READABLE) != 0) {
        deliver_readable(s);
    }
    if ((events & SL_WRITABLE) != 0 && s->fd >= 0 && s->broken_code == SL_OK && s->unsent.bytes > 0)
    {
        on_writable(s);
    }
}

/* NOLINTNEXTLINE(readability-function-size): all of it comes from the owner */
void sl_stream_open(struct sl_stream *s, struct sl_loop *l, struct sl_chunk_pool *chunks, int fd,
                    bool connecting, const struct sl_transport_ops *transport,
                    struct sl_tls_session *tls, const struct sl_stream_ops *ops)
{
    *s = (struct sl_stream){
        .ops = ops,
        .transport = transport,
        .tls = tls,
        .chunks = chunks,
        .fd = fd,
        .connecting = connecting,
        .reading = true,
    };
    sl_io_init(&s->io, l, fd, on_ready);
    if (ops->urgent) {
        sl_io_make_urgent(&s->io);
    }
    sl_task_init(&s->late, on_late);
    if (connecting) {
        sl_io_want_write(&s->io, true);
        return;
    }
    advance_open(s);
}

void sl_stream_read_on(struct sl_stream *s)
{
    s->reading = true;
    if (s->open) {
        sl_io_want_read(&s->io, true);
        if (s->transport->pending(s)) {
            read_again_later(s);
        }
    }
}

void sl_stream_read_off(struct sl_stream *s)
{
    s->reading = false;
    if (s->open) {
        sl_io_want_read(&s->io, false);
    }
    s->again = false;
}

ssize_t sl_stream_read(struct sl_stream *s, void *buf, size_t len)
{
    return s->transport->read(s, buf, len);
}

/* Appends what is left of iov after its first skip bytes. */
static int queue_rest(struct sl_stream *s, const struct iovec *iov, int n, size_t skip)
{
    for (int i = 0; i < n; i++) {
        if (skip >= iov[i].iov_len) {
            skip -= iov[i].iov_len;
            continue;
        }
        int rc = sl_queue_append(&s->unsent, s->chunks, (const char *)iov[i].iov_base + skip,
                                 iov[i].iov_len - skip);
        if (rc != SL_OK) {
            return rc;
        }
        skip = 0;
    }
    return SL_OK;
}

void sl_stream_send(struct sl_stream *s, const struct iovec *iov, int n)
{
    size_t total = 0;
    size_t done = 0;

    if (s->fd < 0 || s->broken_code != SL_OK) {
        return;
    }
    for (int i = 0; i < n; i++) {
        total += iov[i].iov_len;
    }
    if (s->open && s->unsent.bytes == 0 && total > 0) {
        ssize_t sent = s->transport->writev(s, iov, n);
        if (sent < 0 && sent != SL_AGAIN) {
            fail_later(s, (int)sent);
            return;
        }
        done = sent > 0 ? (size_t)sent : 0;
        s->wrote |= sent > 0;
    }
    if (done == total) {
        return;
    }
    if (s->unsent.bytes == 0) {
        note_taken(s, KERNEL_BYTES_UNKNOWN);
    }
    int rc = queue_rest(s, iov, n, done);
    if (rc != SL_OK) {
        fail_later(s, rc);
        return;
    }
    if (s->open) {
        sl_io_want_write(&s->io, true);
    }
}

bool sl_stream_is_high(struct sl_stream *s)
{
    if (s->unsent.bytes > SL_STREAM_HIGH_BYTES) {
        s->was_high = true;
    }
    return s->was_high;
}

void sl_stream_half_close(struct sl_stream *s)
{
    s->transport->shutdown(s);
    (void)shutdown(s->fd, SHUT_WR); /* fails when the other side is gone already */
}

static void close_with(struct sl_stream *s, bool reset)
{
    if (s->fd < 0) {
        return;
    }
    sl_io_stop(&s->io);
    sl_task_cancel(&s->late);
    if (reset) {
        sl_socket_reset_on_close(s->fd);
    } else if (s->open && s->unsent.bytes == 0 && s->broken_code == SL_OK) {
        s->transport->shutdown(s);
    }
    s->transport->close(s);
    sl_queue_clear(&s->unsent, s->chunks);
    (void)close(s->fd); /* what it could report, nobody could act on */
    s->fd = -1;
}

void sl_stream_close(struct sl_stream *s)
{
    close_with(s, false);
}

void sl_stream_reset(struct sl_stream *s)
{
    close_with(s, true);
}
