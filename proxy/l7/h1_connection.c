/* SPDX-License-Identifier: Apache-2.0 */
#include "h1_connection.h"

#include <sluiced/err.h>

#include "proxy/base/alloc.h"
#include "proxy/proto/h1.h"

#include <string.h>

#define PENDING_FIRST_BYTES ((size_t)256)
/* A head of the largest size, with its request line, and one byte that proves it too large. */
#define PENDING_MAX_BYTES ((size_t)SL_H1_HEAD_MAX_BYTES + SL_H1_LINE_MAX_BYTES + 4096)

static int grow(struct sl_h1_pending *p, size_t least)
{
    size_t capacity = p->capacity > 0 ? p->capacity : PENDING_FIRST_BYTES;

    while (capacity < least) {
        capacity *= 2;
    }
    if (capacity == p->capacity) {
        return SL_OK;
    }
    char *buf = sl_realloc_array(p->buf, capacity, 1);
    if (buf == NULL) {
        return SL_ENOMEM;
    }
    p->buf = buf;
    p->capacity = (uint32_t)capacity; /* the limit is far below */
    return SL_OK;
}

size_t sl_h1_pending_room(const struct sl_h1_pending *p)
{
    return p->len < PENDING_MAX_BYTES ? PENDING_MAX_BYTES - p->len : 0;
}

int sl_h1_pending_append(struct sl_h1_pending *p, const char *buf, size_t len)
{
    int rc = grow(p, p->len + len);

    if (rc == SL_OK) {
        memcpy(p->buf + p->len, buf, len);
        p->len += (uint32_t)len;
    }
    return rc;
}

int sl_h1_pending_keep(struct sl_h1_pending *p, const char *buf, size_t len, size_t used)
{
    if (used == len) {
        sl_h1_pending_clear(p);
        return SL_OK;
    }
    if (buf != p->buf && grow(p, len - used) != SL_OK) {
        return SL_ENOMEM;
    }
    memmove(p->buf, buf + used, len - used);
    p->len = (uint32_t)(len - used);
    return SL_OK;
}

void sl_h1_pending_clear(struct sl_h1_pending *p)
{
    if (p->buf != NULL) {
        sl_free(p->buf);
        *p = (struct sl_h1_pending){0};
    }
}

void sl_h1_body_init(struct sl_h1_body *b, const struct sl_framing *framing)
{
    *b = (struct sl_h1_body){.kind = (uint8_t)framing->kind, .left_bytes = framing->length_bytes};
}

void sl_h1_body_fini(struct sl_h1_body *b)
{
    if (b->kind == SL_FRAMING_CHUNKED) {
        sl_h1_chunk_fini(&b->chunk);
    }
    b->kind = SL_FRAMING_NONE;
}

bool sl_h1_body_ended(const struct sl_h1_body *b)
{
    switch ((enum sl_framing_kind)b->kind) {
    case SL_FRAMING_LENGTH:
        return b->left_bytes == 0;
    case SL_FRAMING_CHUNKED:
        return sl_h1_chunk_done(&b->chunk);
    case SL_FRAMING_UNTIL_CLOSE:
        return false;
    case SL_FRAMING_NONE:
        break;
    }
    return true;
}

static void note_tail(struct sl_h1_body *b, struct sl_slice data)
{
    size_t from = data.len > sizeof(b->tail) ? data.len - sizeof(b->tail) : 0;

    for (size_t i = from; i < data.len; i++) {
        b->tail = b->tail << 8 | (unsigned char)data.ptr[i];
    }
}

/* HTML Living Standard 9.2.5: a line ends with CR LF, LF or CR. */
bool sl_h1_body_is_between_events(const struct sl_h1_body *b)
{
    uint32_t two = b->tail & 0xffff;
    bool blank_line =
        b->tail == 0 || two == 0x0a0a || two == 0x0d0d || (b->tail & 0xffffff) == 0x0a0d0a;

    return blank_line && (b->kind != SL_FRAMING_CHUNKED || sl_h1_chunk_is_between(&b->chunk));
}

/* False: fn said stop. */
static bool pass_run(struct sl_h1_body *b, const struct sl_h1_chunk_run *run, bool framed,
                     sl_h1_body_fn fn, void *arg)
{
    for (size_t i = 0; b->wants_tail && i < run->data_n; i++) {
        note_tail(b, run->data[i]);
    }
    if (framed) {
        return (run->head.len == 0 || fn(arg, run->head, 0)) &&
               (run->raw.len == 0 || fn(arg, run->raw, run->data_bytes));
    }
    for (size_t i = 0; i < run->data_n; i++) {
        if (!fn(arg, run->data[i], run->data[i].len)) {
            return false;
        }
    }
    return true;
}

static ssize_t feed_chunked(struct sl_h1_body *b, const char *buf, size_t len, bool framed,
                            sl_h1_body_fn fn, void *arg)
{
    size_t used = 0;

    b->chunk.forwards = framed && !b->wants_tail; /* which goes over all pieces */
    while (used < len && !sl_h1_chunk_done(&b->chunk)) {
        struct sl_h1_chunk_run run;
        ssize_t n = sl_h1_chunk_next(&b->chunk, buf + used, len - used, &run);
        if (n < 0) {
            return n;
        }
        used += (size_t)n;
        if (!pass_run(b, &run, framed, fn, arg)) {
            break;
        }
    }
    return (ssize_t)used;
}

ssize_t sl_h1_body_feed(struct sl_h1_body *b, const char *buf, size_t len, bool framed,
                        sl_h1_body_fn fn, void *arg)
{
    if (b->kind == SL_FRAMING_CHUNKED) {
        return feed_chunked(b, buf, len, framed, fn, arg);
    }
    if (b->kind == SL_FRAMING_LENGTH) {
        len = len < b->left_bytes ? len : (size_t)b->left_bytes;
        b->left_bytes -= len;
    }
    if (b->wants_tail) {
        note_tail(b, (struct sl_slice){buf, len});
    }
    if (len > 0) {
        (void)fn(arg, (struct sl_slice){buf, len}, len); /* the caller sees for itself */
    }
    return (ssize_t)len;
}
