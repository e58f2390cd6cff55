/* SPDX-License-Identifier: Apache-2.0 */
#include "json.h"

#include <sluiced/defs.h>
#include <sluiced/err.h>

#include "proxy/base/alloc.h"

#define ALIGN_BYTES _Alignof(max_align_t)
#define BLOCK_MIN_BYTES 4096U
#define TREE_PER_TEXT 8U /* an event of a slice fits into one block */

struct block {
    struct block *older;
    size_t used_bytes;
    size_t size_bytes;
    _Alignas(max_align_t) char data[];
};

static _Thread_local struct block *blocks; /* newest first; NULL: no tree is being looked at */

static bool add_block(size_t size_bytes)
{
    struct block *b = sl_alloc_raw(sizeof(*b) + size_bytes);

    if (b == NULL) {
        return false;
    }
    b->older = blocks;
    b->used_bytes = 0;
    b->size_bytes = size_bytes;
    blocks = b;
    return true;
}

static void *take(size_t size_bytes)
{
    if (blocks == NULL) {
        return sl_alloc_for_library(size_bytes);
    }
    if (size_bytes > SIZE_MAX / 4) {
        return NULL;
    }
    size_bytes = (size_bytes + ALIGN_BYTES - 1) & ~(ALIGN_BYTES - 1);
    if (blocks->size_bytes - blocks->used_bytes < size_bytes) {
        size_t next_bytes = blocks->size_bytes * 2;
        if (!add_block(next_bytes > size_bytes ? next_bytes : size_bytes)) {
            return NULL;
        }
    }
    void *taken = blocks->data + blocks->used_bytes;
    blocks->used_bytes += size_bytes;
    return taken;
}

static void give_back(void *taken)
{
    if (blocks == NULL) {
        sl_free(taken);
    }
}

void sl_kube_json_init(void)
{
    static bool is_set;

    if (!is_set) { /* never again: others may be in there by now */
        json_set_alloc_funcs(take, give_back);
        is_set = true;
    }
}

json_t *sl_kube_json_parse(struct sl_slice text)
{
    size_t size_bytes = text.len < SIZE_MAX / TREE_PER_TEXT ? text.len * TREE_PER_TEXT : 0;

    SL_ASSERT(blocks == NULL, "there is a tree already, in block %p", (void *)blocks);
    if (text.len == 0 || !add_block(size_bytes > BLOCK_MIN_BYTES ? size_bytes : BLOCK_MIN_BYTES)) {
        return NULL;
    }
    return json_loadb(text.ptr, text.len, JSON_ALLOW_NUL, NULL);
}

void sl_kube_json_done(void)
{
    while (blocks != NULL) {
        struct block *b = blocks;
        blocks = b->older;
        sl_free(b);
    }
}
