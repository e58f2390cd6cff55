/* SPDX-License-Identifier: Apache-2.0 */
/*
 * arena: memory that is given back all at once: a config generation's, an exchange's.
 *
 * Lifetime:  its owner's; sl_arena_fini frees all that was taken from it
 * Thread:    one at a time
 * Ownership: never holds an fd, a watcher, an SSL, a refcount or a chunk: only plain data
 * Errors:    NULL on lack of memory or when the limit is reached
 * Limits:    limit_bytes over all blocks from the heap; blocks double up to 64 KiB. Under
 *            AddressSanitizer every allocation is a block of its own, so that an overrun is seen
 */
#ifndef SL_BASE_ARENA_H
#define SL_BASE_ARENA_H

#include <sluiced/defs.h>
#include <sluiced/slice.h>

#include <stddef.h>

struct sl_arena_block;

struct sl_arena {
    char *next; /* free space of the current block: [next, end) */
    char *end;
    struct sl_arena_block *blocks; /* newest first */
    size_t block_bytes;            /* of the next block, unless one item needs more */
    size_t used_bytes;             /* of the heap, in blocks */
    size_t limit_bytes;
};

/* Takes no memory yet. block_bytes: a typical total; limit_bytes: 0 for none.
 * first, first_bytes: memory of the caller's to use before the heap; NULL, 0 for none. It must
 * stay until sl_arena_fini. */
void sl_arena_init(struct sl_arena *a, size_t block_bytes, size_t limit_bytes, void *first,
                   size_t first_bytes);
void sl_arena_fini(struct sl_arena *a);

/* Zeroes all that was taken from the heap, for secrets, right before sl_arena_fini. */
void sl_arena_wipe(struct sl_arena *a);

/* Aligned for any type; zeroed. */
void *sl_arena_alloc(struct sl_arena *a, size_t size_bytes) SL_MUST_CHECK;
void *sl_arena_alloc_array(struct sl_arena *a, size_t n, size_t item_bytes) SL_MUST_CHECK;

/* Not aligned, not zeroed: for text and buffers. */
char *sl_arena_alloc_bytes(struct sl_arena *a, size_t size_bytes) SL_MUST_CHECK;
char *sl_arena_strdup(struct sl_arena *a, struct sl_slice text) SL_MUST_CHECK; /* terminated */

#endif
