/* SPDX-License-Identifier: Apache-2.0 */
/*
 * text: a growing string, for answers and messages that are built once and sent.
 *
 * Lifetime:  its caller's; sl_text_fini frees
 * Thread:    one at a time
 * Errors:    sticky: after the first failure all appends do nothing and failed is true, so a
 *            caller appends freely and asks once
 * Limits:    limit_bytes given at init
 */
#ifndef SL_BASE_TEXT_H
#define SL_BASE_TEXT_H

#include <sluiced/defs.h>
#include <sluiced/slice.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct sl_text {
    char *ptr; /* terminated when not NULL */
    size_t len;
    size_t capacity;
    size_t limit_bytes;
    bool failed;
};

void sl_text_init(struct sl_text *t, size_t limit_bytes);
void sl_text_fini(struct sl_text *t);

void sl_text_append(struct sl_text *t, struct sl_slice s);
void sl_text_append_str(struct sl_text *t, const char *s);
void sl_text_append_u64(struct sl_text *t, uint64_t v);
void sl_text_printf(struct sl_text *t, const char *fmt, ...) SL_PRINTF(2, 3);

/* With quotes around and escapes inside (RFC 8259 section 7). */
void sl_text_append_json(struct sl_text *t, struct sl_slice s);

static inline struct sl_slice sl_text_slice(const struct sl_text *t)
{
    return (struct sl_slice){t->ptr, t->len};
}

#endif
