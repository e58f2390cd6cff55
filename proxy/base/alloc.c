/* SPDX-License-Identifier: Apache-2.0 */
#include "alloc.h"

#include <malloc.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

sl_alloc_hook_fn sl_alloc_hook = NULL;

static bool may(size_t size_bytes)
{
    return sl_alloc_hook == NULL || sl_alloc_hook(size_bytes);
}

/* NULL must mean failure only, and of 0 bytes the C library may give NULL. */
static size_t at_least_one(size_t size_bytes)
{
    return size_bytes > 0 ? size_bytes : 1;
}

void *sl_alloc(size_t size_bytes)
{
    return may(size_bytes) ? calloc(1, at_least_one(size_bytes)) : NULL;
}

void *sl_alloc_array(size_t n, size_t item_bytes)
{
    return sl_alloc_flex(0, n, item_bytes);
}

void *sl_alloc_flex(size_t head_bytes, size_t n, size_t item_bytes)
{
    if (item_bytes != 0 && n > (SIZE_MAX - head_bytes) / item_bytes) {
        return NULL;
    }
    return sl_alloc(head_bytes + n * item_bytes);
}

void *sl_alloc_aligned(size_t align, size_t size_bytes)
{
    void *p = NULL;

    if (!may(size_bytes) || posix_memalign(&p, align, at_least_one(size_bytes)) != 0) {
        return NULL;
    }
    memset(p, 0, size_bytes);
    return p;
}

void *sl_alloc_raw(size_t size_bytes)
{
    return may(size_bytes) ? malloc(at_least_one(size_bytes)) : NULL;
}

void *sl_realloc_array(void *p, size_t n, size_t item_bytes)
{
    if (item_bytes != 0 && n > SIZE_MAX / item_bytes) {
        return NULL;
    }
    return may(n * item_bytes) ? realloc(p, at_least_one(n * item_bytes)) : NULL;
}

char *sl_strdup(const char *text)
{
    return sl_slice_dup(sl_slice_of(text));
}

char *sl_slice_dup(struct sl_slice s)
{
    char *copy = s.len < SIZE_MAX ? sl_alloc_raw(s.len + 1) : NULL;

    if (copy == NULL) {
        return NULL;
    }
    if (s.len > 0) { /* memcpy may not be given NULL, a slice may be */
        memcpy(copy, s.ptr, s.len);
    }
    copy[s.len] = '\0';
    return copy;
}

void sl_free(void *p)
{
    free(p);
}

void *sl_alloc_for_library(size_t size_bytes)
{
    return sl_alloc_raw(size_bytes);
}

bool sl_alloc_trim(struct sl_alloc_idle *idle)
{
    size_t free_bytes = mallinfo2().fordblks; /* of all arenas, given back or not */
    size_t enough_bytes = idle->left_bytes + SL_ALLOC_IDLE_BYTES;
    bool due = free_bytes >= enough_bytes && idle->seen_bytes >= enough_bytes;

    if (due) {
        (void)malloc_trim(0); /* says whether there was any */
        idle->left_bytes = free_bytes;
    } else if (free_bytes < idle->left_bytes) {
        idle->left_bytes = free_bytes;
    }
    idle->seen_bytes = free_bytes;
    return due;
}
