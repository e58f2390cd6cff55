/* SPDX-License-Identifier: Apache-2.0 */
/*
 * h1_connection: what both ends of HTTP/1 share: bytes that wait for more, and bodies.
 *
 * Lifetime:  connection
 * Thread:    worker-local
 */
#ifndef SL_L7_H1_CONNECTION_H
#define SL_L7_H1_CONNECTION_H

#include <sluiced/defs.h>
#include <sluiced/slice.h>

#include "l7.h"

#include "proxy/proto/h1_chunk.h"
#include "proxy/proto/message.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* Received and not yet understood: a partial head, or what was pipelined. Held only while there is
 * something in it. */
struct sl_h1_pending {
    char *buf;
    uint32_t len;
    uint32_t capacity;
};

/* How much more it takes; 0 is a limit that a head which is refused in time never reaches. */
size_t sl_h1_pending_room(const struct sl_h1_pending *p);

/* Puts [buf, buf + len), at most what there is room for, behind what it holds. SL_ENOMEM. */
int sl_h1_pending_append(struct sl_h1_pending *p, const char *buf, size_t len) SL_MUST_CHECK;

/* Of [buf, buf + len), which is p's own content or foreign, used bytes are done with: the rest is
 * kept, or the memory given back when there is none. */
int sl_h1_pending_keep(struct sl_h1_pending *p, const char *buf, size_t len, size_t used)
    SL_MUST_CHECK;
void sl_h1_pending_clear(struct sl_h1_pending *p);

/* How much is read at once. A large body costs by the call, so it doubles while reads come full;
 * what the other side does not take has to be kept, so that it is the least again when it did not,
 * and the least for all while much is kept: many readers that stand still cost 64 KiB each. */
#define SL_H1_READ_FIRST_BYTES (256U * 1024U)
#define SL_H1_READ_LEAST_BYTES (64U * 1024U)
#define SL_H1_KEPT_LITTLE_BYTES (2U * 1024U * 1024U) /* of a worker */

static inline uint32_t sl_h1_next_read_bytes(uint32_t read_bytes, size_t came_bytes)
{
    return came_bytes == read_bytes && came_bytes < SL_SCRATCH_BYTES ? read_bytes * 2 : read_bytes;
}

static inline uint32_t sl_h1_read_room(const struct sl_l7 *w, uint32_t read_bytes)
{
    bool little = w->chunks.used_n < SL_H1_KEPT_LITTLE_BYTES / SL_CHUNK_BYTES;

    return little ? read_bytes : SL_H1_READ_LEAST_BYTES;
}

struct sl_h1_body {
    uint8_t kind;        /* enum sl_framing_kind */
    bool wants_tail;     /* set by the owner after init */
    uint32_t tail;       /* the last four bytes of data, if they are wanted; 0 before the first */
    uint64_t left_bytes; /* of SL_FRAMING_LENGTH */
    struct sl_h1_chunk chunk;
};

void sl_h1_body_init(struct sl_h1_body *b, const struct sl_framing *framing);
void sl_h1_body_fini(struct sl_h1_body *b);

/* Never for a body that lasts until close. */
bool sl_h1_body_ended(const struct sl_h1_body *b);

/* Whether the body, whose tail is wanted, ends so far with a blank line, or has not begun; and a
 * chunk of our own may follow. */
bool sl_h1_body_is_between_events(const struct sl_h1_body *b);

/* Gets body bytes in the form asked for, body_bytes of them data. False: stop, whoever wanted
 * them is gone. */
typedef bool (*sl_h1_body_fn)(void *arg, struct sl_slice wire, uint64_t body_bytes);

/* Passes on what of [buf, buf + len) belongs to the body; returns how much that was, SL_EPROTO
 * (b->chunk.fault) or SL_ENOMEM. framed: with chunk framing, but for the last chunk. After the
 * callback said stop, the number means nothing. */
ssize_t sl_h1_body_feed(struct sl_h1_body *b, const char *buf, size_t len, bool framed,
                        sl_h1_body_fn fn, void *arg) SL_MUST_CHECK;

#endif
