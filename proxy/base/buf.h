/* SPDX-License-Identifier: Apache-2.0 */
/*
 * buf: bytes that wait: chunks from a worker's pool, and queues of them.
 *
 * What can be sent at once never comes here; only an unsent tail, a partial head or a body that
 * waits for its upstream does. An empty queue holds no chunk.
 *
 * Lifetime:  pool: process (one a loop); queue: connection or exchange
 * Thread:    worker-local (no locks)
 * Errors:    SL_ENOMEM, SL_ELIMIT when the pool's limit is reached
 * Limits:    limit_bytes of chunks in use a pool; up to keep_n free ones are kept for reuse
 */
#ifndef SL_BASE_BUF_H
#define SL_BASE_BUF_H

#include <sluiced/defs.h>

#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#define SL_CHUNK_BYTES 4096 /* with its header */

struct sl_chunk {
    struct sl_chunk *next;
    uint32_t start; /* the bytes are data[start..end) */
    uint32_t end;
    char data[SL_CHUNK_BYTES - sizeof(struct sl_chunk *) - 2 * sizeof(uint32_t)];
};

struct sl_chunk_pool {
    struct sl_chunk *free;
    uint32_t free_n;
    uint32_t keep_n;
    uint32_t used_n;
    uint32_t limit_n;
};

void sl_chunk_pool_init(struct sl_chunk_pool *p, size_t limit_bytes, uint32_t keep_n);
void sl_chunk_pool_fini(struct sl_chunk_pool *p); /* all chunks must be back */

struct sl_chunk *sl_chunk_take(struct sl_chunk_pool *p) SL_MUST_CHECK; /* NULL: limit or memory */
void sl_chunk_give(struct sl_chunk_pool *p, struct sl_chunk *c);

struct sl_queue {
    struct sl_chunk *head;
    struct sl_chunk *tail;
    size_t bytes;
};

/* Copies data to the end. On failure nothing was appended. */
int sl_queue_append(struct sl_queue *q, struct sl_chunk_pool *p, const void *data, size_t len)
    SL_MUST_CHECK;

/* Up to max vectors that cover the front; returns how many. Valid until the queue changes. */
int sl_queue_peek(const struct sl_queue *q, struct iovec *iov, int max);

/* The same for the bytes after the first skip < q->bytes ones. */
int sl_queue_peek_from(const struct sl_queue *q, size_t skip, struct iovec *iov, int max);

/* Drops n <= q->bytes bytes from the front; emptied chunks go back at once. */
void sl_queue_consume(struct sl_queue *q, struct sl_chunk_pool *p, size_t n);
void sl_queue_clear(struct sl_queue *q, struct sl_chunk_pool *p);

/* Copies up to len bytes from the front to out without consuming; returns how many. */
size_t sl_queue_copy(const struct sl_queue *q, void *out, size_t len);

#endif
