/* SPDX-License-Identifier: Apache-2.0 */
/*
 * stream: one connected fd on a loop: a transport (plain or TLS) below, watermarks above.
 *
 * Reading: the owner's on_readable reads into memory of its own choice. Writing: what the kernel
 * does not take at once is queued and sent as it can; the owner looks at sl_stream_unsent() and
 * stops the side that produces when it passes SL_STREAM_HIGH_BYTES, until on_drained.
 *
 * Lifetime:  embedded in a connection; from sl_stream_open until sl_stream_close
 * Thread:    its loop's
 * Ownership: owns the fd and the TLS session; borrows loop and chunk pool
 * Errors:    reads return codes of err.h, failed sends come to on_broken.
 *            No callback after sl_stream_close, which every callback may call
 * Limits:    unsent bytes: whatever the pool allows; an idle stream holds no chunk
 */
#ifndef SL_IO_STREAM_H
#define SL_IO_STREAM_H

#include <sluiced/defs.h>
#include <sluiced/err.h>

#include "loop.h"

#include "proxy/base/buf.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

/* Between them the producing side is paused. */
#define SL_STREAM_HIGH_BYTES ((size_t)64 * 1024)
#define SL_STREAM_LOW_BYTES ((size_t)16 * 1024)

struct sl_stream;
struct sl_tls_session;

struct sl_transport_ops {
    const char *name;

    /* Goes on with the handshake: SL_OK done, SL_AGAIN when fd is ready as want says. */
    int (*handshake)(struct sl_stream *s, int *want);

    /* Bytes read (> 0), SL_AGAIN, SL_ECLOSED, or how it broke. */
    ssize_t (*read)(struct sl_stream *s, void *buf, size_t len);

    /* Bytes taken (> 0), SL_AGAIN, or how it broke. */
    ssize_t (*writev)(struct sl_stream *s, const struct iovec *iov, int n);

    /* Bytes that were received already and that no readiness of the fd will announce. */
    bool (*pending)(const struct sl_stream *s);

    /* Says goodbye where the protocol has one, without waiting. */
    void (*shutdown)(struct sl_stream *s);

    /* Frees the transport's state; the stream closes the fd. */
    void (*close)(struct sl_stream *s);
};

struct sl_stream_ops {
    /* Whether it is read before others in a turn: the end of a connection that lies idle has to be
     * seen before somebody in the same turn picks it to send on. */
    bool urgent;

    /* Connected and, over TLS, shaken hands; or how that failed: then only close is left. */
    void (*on_open)(struct sl_stream *s, int code);
    void (*on_readable)(struct sl_stream *s);
    /* All was sent, or unsent fell from high to SL_STREAM_LOW_BYTES or below. */
    void (*on_drained)(struct sl_stream *s);
    void (*on_broken)(struct sl_stream *s, int code); /* a send failed, at the end of the turn */
};

struct sl_stream {
    struct sl_io io;
    const struct sl_stream_ops *ops;
    const struct sl_transport_ops *transport;
    struct sl_tls_session *tls; /* of the TLS transport */
    struct sl_chunk_pool *chunks;
    struct sl_queue unsent;
    struct sl_task late;   /* on_broken is due, or on_readable again */
    int fd;                /* -1: closed */
    uint32_t taken_ms;     /* low bits of the loop's clock: the last progress of unsent */
    uint32_t kernel_bytes; /* what the kernel still had for the peer at the last look */
    int16_t broken_code;
    bool fails : 1; /* on_broken is due with broken_code */
    bool again : 1; /* bytes are left inside the transport */
    bool connecting : 1;
    bool open : 1; /* on_open came with SL_OK */
    bool reading : 1;
    bool wrote : 1;    /* the kernel took bytes since the owner last cleared this */
    bool was_high : 1; /* unsent passed the high mark: on_drained is owed */
};

extern const struct sl_transport_ops sl_transport_plain;

/* Takes fd over. connecting: its connect has not been decided yet. tls: a session that the TLS
 * transport made for it (taken over), NULL with sl_transport_plain. on_open follows, in this call
 * when there is nothing to wait for. */
void sl_stream_open(struct sl_stream *s, struct sl_loop *l, struct sl_chunk_pool *chunks, int fd,
                    bool connecting, const struct sl_transport_ops *transport,
                    struct sl_tls_session *tls, const struct sl_stream_ops *ops);

/* Whether on_readable is wanted. Off: bytes wait in the kernel, which pushes back. */
void sl_stream_read_on(struct sl_stream *s);
void sl_stream_read_off(struct sl_stream *s);

ssize_t sl_stream_read(struct sl_stream *s, void *buf, size_t len) SL_MUST_CHECK;

/* Sends all of iov, now or as the kernel takes it; borrowed for the call. Cannot fail here: a
 * connection that turns out broken, or a rest that no chunk is left for, comes to on_broken at the
 * end of the turn, so that nobody is closed under its own feet; sends until then are dropped. */
void sl_stream_send(struct sl_stream *s, const struct iovec *iov, int n);

static inline size_t sl_stream_unsent(const struct sl_stream *s)
{
    return s->unsent.bytes;
}

/* For how long the peer has taken nothing, while unsent is not empty. The kernel asks for more only
 * when a good part of what it has is through, so its own buffer is looked at: progress is noticed
 * by the second of two calls between which it happened. */
uint64_t sl_stream_stalled_ms(struct sl_stream *s);

/* Whether the producer has to stop: pair with on_drained. */
bool sl_stream_is_high(struct sl_stream *s);

/* No more will be sent; the other side sees an orderly end and may still send. */
void sl_stream_half_close(struct sl_stream *s);

/* Stops, says goodbye if all was sent, closes the fd; idempotent; unsent bytes are dropped. */
void sl_stream_close(struct sl_stream *s);

/* The same with RST, for a peer that must notice that something is missing. */
void sl_stream_reset(struct sl_stream *s);

#endif
