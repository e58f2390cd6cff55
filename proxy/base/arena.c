/* SPDX-License-Identifier: Apache-2.0 */
/*
 * arena: a pointer that moves through blocks, each twice as large as the one before.
 */
#include "arena.h"

#include "alloc.h"

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#ifdef __SANITIZE_ADDRESS__
#define BLOCK_PER_ITEM 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define BLOCK_PER_ITEM 1
#endif
#endif
#ifndef BLOCK_PER_ITEM
#define BLOCK_PER_ITEM 0
#endif

#define ALIGN_BYTES _Alignof(max_align_t)
#define BLOCK_MIN_BYTES 256U
#define BLOCK_MAX_BYTES \
    (64U * 1024) /* doubling ends here: the last block is on average half empty */

struct sl_arena_block {
    struct sl_arena_block *older;
    size_t data_bytes;
    _Alignas(max_align_t) char data[];
};

void sl_arena_init(struct sl_arena *a, size_t block_bytes, size_t limit_bytes, void *first,
                   size_t first_bytes)
{
    *a = (struct sl_arena){
        .block_bytes = block_bytes > BLOCK_MIN_BYTES ? block_bytes : BLOCK_MIN_BYTES,
        .limit_bytes = limit_bytes > 0 ? limit_bytes : SIZE_MAX,
    };
    if (first != NULL && !BLOCK_PER_ITEM) {
        a->next = first;
        a->end = a->next + first_bytes;
    }
}

void sl_arena_fini(struct sl_arena *a)
{
    while (a->blocks != NULL) {
        struct sl_arena_block *b = a->blocks;

        a->blocks = b->older;
        sl_free(b);
    }
    a->next = a->end = NULL; /* first was the caller's */
    a->used_bytes = 0;
}

void sl_arena_wipe(struct sl_arena *a)
{
    for (struct sl_arena_block *b = a->blocks; b != NULL; b = b->older) {
        explicit_bzero(b->data, b->data_bytes);
    }
}

static struct sl_arena_block *add_block(struct sl_arena *a, size_t data_bytes)
{
    struct sl_arena_block *b;

    if (data_bytes > SIZE_MAX - sizeof(*b) || data_bytes > a->limit_bytes - a->used_bytes) {
        return NULL;
    }
    b = sl_alloc_raw(sizeof(*b) + data_bytes);
    if (b == NULL) {
        return NULL;
    }
    b->older = a->blocks;
    b->data_bytes = data_bytes;
    a->blocks = b;
    a->used_bytes += data_bytes;
    return b;
}

/* From a new block. An item that wants more than a block gets one of its own size, and what is
 * left of the current block stays in use. */
static char *take_new(struct sl_arena *a, size_t size_bytes)
{
    size_t left_bytes = a->limit_bytes - a->used_bytes;
    size_t data_bytes = a->block_bytes < left_bytes ? a->block_bytes : left_bytes;
    bool alone = BLOCK_PER_ITEM || size_bytes > data_bytes;
    struct sl_arena_block *b = add_block(a, alone ? size_bytes : data_bytes);

    if (b == NULL) {
        return NULL;
    }
    if (!alone) {
        a->next = b->data + size_bytes;
        a->end = b->data + data_bytes;
        a->block_bytes *= a->block_bytes < BLOCK_MAX_BYTES ? 2 : 1;
    }
    return b->data;
}

static char *take(struct sl_arena *a, size_t size_bytes, size_t align)
{
    size_t pad_bytes = -(uintptr_t)a->next & (align - 1);
    size_t left_bytes = (size_t)(a->end - a->next);

    if (size_bytes == 0) {
        size_bytes = 1; /* NULL means failure only */
    }
    if (pad_bytes > left_bytes || size_bytes > left_bytes - pad_bytes) {
        return take_new(a, size_bytes);
    }
    char *p = a->next + pad_bytes;
    a->next = p + size_bytes;
    return p;
}

void *sl_arena_alloc(struct sl_arena *a, size_t size_bytes)
{
    char *p = take(a, size_bytes, ALIGN_BYTES);

    return p != NULL ? memset(p, 0, size_bytes) : NULL;
}

void *sl_arena_alloc_array(struct sl_arena *a, size_t n, size_t item_bytes)
{
    return item_bytes != 0 && n > SIZE_MAX / item_bytes ? NULL : sl_arena_alloc(a, n * item_bytes);
}

char *sl_arena_alloc_bytes(struct sl_arena *a, size_t size_bytes)
{
    return take(a, size_bytes, 1);
}

char *sl_arena_strdup(struct sl_arena *a, struct sl_slice text)
{
    char *copy = text.len < SIZE_MAX ? take(a, text.len + 1, 1) : NULL;

    if (copy == NULL) {
        return NULL;
    }
    if (text.len > 0) {
        memcpy(copy, text.ptr, text.len);
    }
    copy[text.len] = '\0';
    return copy;
}
