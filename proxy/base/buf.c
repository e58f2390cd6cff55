/* SPDX-License-Identifier: Apache-2.0 */
#include "buf.h"

#include <sluiced/err.h>

#include "alloc.h"

#include <string.h>

_Static_assert(sizeof(struct sl_chunk) == SL_CHUNK_BYTES, "a chunk is one page and nothing more");

void sl_chunk_pool_init(struct sl_chunk_pool *p, size_t limit_bytes, uint32_t keep_n)
{
    size_t limit_n = limit_bytes / SL_CHUNK_BYTES;

    *p = (struct sl_chunk_pool){
        .keep_n = keep_n,
        .limit_n = limit_n < UINT32_MAX ? (uint32_t)limit_n : UINT32_MAX,
    };
}

void sl_chunk_pool_fini(struct sl_chunk_pool *p)
{
    SL_ASSERT(p->used_n == 0, "%u chunks were not given back", p->used_n);
    while (p->free != NULL) {
        struct sl_chunk *c = p->free;

        p->free = c->next;
        sl_free(c);
    }
    p->free_n = 0;
}

struct sl_chunk *sl_chunk_take(struct sl_chunk_pool *p)
{
    struct sl_chunk *c = p->free;

    if (p->used_n >= p->limit_n) {
        return NULL;
    }
    if (c != NULL) {
        p->free = c->next;
        p->free_n--;
    } else {
        c = sl_alloc_raw(sizeof(*c));
        if (c == NULL) {
            return NULL;
        }
    }
    p->used_n++;
    c->next = NULL;
    c->start = c->end = 0;
    return c;
}

void sl_chunk_give(struct sl_chunk_pool *p, struct sl_chunk *c)
{
    SL_ASSERT(p->used_n > 0, "a chunk came back that this pool never gave");
    p->used_n--;
    if (p->free_n >= p->keep_n) {
        sl_free(c);
        return;
    }
    c->next = p->free;
    p->free = c;
    p->free_n++;
}

static void give_all(struct sl_chunk_pool *p, struct sl_chunk *c)
{
    while (c != NULL) {
        struct sl_chunk *next = c->next;

        sl_chunk_give(p, c);
        c = next;
    }
}

/* A chain of empty chunks with room for len bytes. */
static int take_chain(struct sl_chunk_pool *p, size_t len, struct sl_chunk **out)
{
    struct sl_chunk *chain = NULL;
    size_t room = 0;

    for (; room < len; room += sizeof(chain->data)) {
        struct sl_chunk *c = sl_chunk_take(p);

        if (c == NULL) {
            int rc = p->used_n >= p->limit_n ? SL_ELIMIT : SL_ENOMEM; /* before any goes back */

            give_all(p, chain);
            return rc;
        }
        c->next = chain;
        chain = c;
    }
    *out = chain;
    return SL_OK;
}

static size_t fill(struct sl_chunk *c, const char *data, size_t len)
{
    size_t room = sizeof(c->data) - c->end;
    size_t n = len < room ? len : room;

    memcpy(c->data + c->end, data, n);
    c->end += (uint32_t)n;
    return n;
}

int sl_queue_append(struct sl_queue *q, struct sl_chunk_pool *p, const void *data, size_t len)
{
    struct sl_chunk *chain = NULL;
    size_t room = q->tail != NULL ? sizeof(q->tail->data) - q->tail->end : 0;
    const char *at = data;

    if (len == 0) {
        return SL_OK; /* an empty queue holds no chunk, and data may be NULL */
    }
    if (len > room) { /* all that can fail comes before the first byte is copied */
        int rc = take_chain(p, len - room, &chain);
        if (rc != SL_OK) {
            return rc;
        }
    }
    q->bytes += len;
    if (room > 0) {
        size_t n = fill(q->tail, at, len);
        at += n;
        len -= n;
    }
    if (q->tail == NULL) {
        q->head = chain;
    } else {
        q->tail->next = chain;
    }
    for (struct sl_chunk *c = chain; c != NULL; c = c->next) {
        size_t n = fill(c, at, len);
        at += n;
        len -= n;
        q->tail = c;
    }
    return SL_OK;
}

int sl_queue_peek_from(const struct sl_queue *q, size_t skip, struct iovec *iov, int max)
{
    int n = 0;

    for (struct sl_chunk *c = q->head; c != NULL && n < max; c = c->next) {
        size_t held = c->end - c->start;
        if (skip >= held) {
            skip -= held;
            continue;
        }
        iov[n].iov_base = c->data + c->start + skip;
        iov[n].iov_len = held - skip;
        skip = 0;
        n++;
    }
    return n;
}

int sl_queue_peek(const struct sl_queue *q, struct iovec *iov, int max)
{
    return sl_queue_peek_from(q, 0, iov, max);
}

void sl_queue_consume(struct sl_queue *q, struct sl_chunk_pool *p, size_t n)
{
    SL_ASSERT(n <= q->bytes, "%zu bytes consumed of %zu", n, q->bytes);
    q->bytes -= n;
    while (n > 0) {
        struct sl_chunk *c = q->head;
        size_t held = c->end - c->start;

        if (n < held) {
            c->start += (uint32_t)n;
            return;
        }
        n -= held;
        q->head = c->next;
        sl_chunk_give(p, c);
    }
    if (q->head == NULL) {
        q->tail = NULL;
    }
}

void sl_queue_clear(struct sl_queue *q, struct sl_chunk_pool *p)
{
    give_all(p, q->head);
    *q = (struct sl_queue){0};
}

size_t sl_queue_copy(const struct sl_queue *q, void *out, size_t len)
{
    char *at = out;
    size_t copied = 0;

    for (const struct sl_chunk *c = q->head; c != NULL && copied < len; c = c->next) {
        size_t held = c->end - c->start;
        size_t n = len - copied < held ? len - copied : held;

        memcpy(at + copied, c->data + c->start, n);
        copied += n;
    }
    return copied;
}
