/* SPDX-License-Identifier: Apache-2.0 */
/*
 * alloc: the only way to the heap, so that a limit or a test can say no.
 *
 * Thread:    any, but the hook is set before the first thread starts
 * Errors:    NULL, always to be handled: startup exits with a message, an exchange answers 503
 */
#ifndef SL_BASE_ALLOC_H
#define SL_BASE_ALLOC_H

#include <sluiced/defs.h>
#include <sluiced/slice.h>

#include <stdbool.h>
#include <stddef.h>

/* Asked before each allocation; false makes it return NULL. NULL in production. */
typedef bool (*sl_alloc_hook_fn)(size_t size_bytes);
extern sl_alloc_hook_fn sl_alloc_hook;

/* Zeroed memory; NULL also when a product or sum overflows, never for 0 bytes. Freed with
 * sl_free. */
void *sl_alloc(size_t size_bytes) SL_MUST_CHECK;
void *sl_alloc_array(size_t n, size_t item_bytes) SL_MUST_CHECK;

/* For a struct of head_bytes whose flexible array has n items. */
void *sl_alloc_flex(size_t head_bytes, size_t n, size_t item_bytes) SL_MUST_CHECK;

/* Zeroed. align: a power of two and at least sizeof(void *): 64 keeps two threads off one cache
 * line. */
void *sl_alloc_aligned(size_t align, size_t size_bytes) SL_MUST_CHECK;

/* Memory that is not zeroed, for buffers that are written before they are read. */
void *sl_alloc_raw(size_t size_bytes) SL_MUST_CHECK;

/* Grows or shrinks p (or NULL) to n items; what is new is not zeroed. NULL: p stands as it was. */
void *sl_realloc_array(void *p, size_t n, size_t item_bytes) SL_MUST_CHECK;

char *sl_strdup(const char *text) SL_MUST_CHECK;
char *sl_slice_dup(struct sl_slice s) SL_MUST_CHECK; /* terminated */

void sl_free(void *p); /* accepts NULL */

/* Memory of sl_alloc_trim between two calls, zeroed before the first. */
struct sl_alloc_idle {
    size_t left_bytes; /* free after the last time that memory was given back, or less since */
    size_t seen_bytes; /* free at the last call */
};

/* Gives memory that is free back to the system, when it has been SL_ALLOC_IDLE_BYTES more than the
 * last time at two calls in a row. Without it what a crowd of connections took stays with the
 * process, because what lives longer lies behind it. Called now and then by one thread; allocations
 * of others wait meanwhile. True: it did. */
#define SL_ALLOC_IDLE_BYTES ((size_t)2 * 1024 * 1024)
bool sl_alloc_trim(struct sl_alloc_idle *idle);

/* For libraries that take an allocator (jansson): as malloc, through the hook. */
void *sl_alloc_for_library(size_t size_bytes);

#endif
