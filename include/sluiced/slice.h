/* SPDX-License-Identifier: Apache-2.0 */
/*
 * slice: a run of bytes that somebody else owns.
 *
 * Lifetime:  the owner says until when; a slice of a parser's output lasts until its input moves
 * Thread:    any (a plain value)
 */
#ifndef SL_SLICE_H
#define SL_SLICE_H

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

struct sl_slice {
    const char *ptr; /* may be NULL when len is 0; not terminated */
    size_t len;
};

/* Of a string literal. */
#define SL_SLICE(literal) ((struct sl_slice){(literal), sizeof(literal) - 1})
#define SL_SLICE_FMT "%.*s"
#define SL_SLICE_ARG(s) ((int)(s).len), (s).ptr

static inline struct sl_slice sl_slice_of(const char *text)
{
    return (struct sl_slice){text, text != NULL ? strlen(text) : 0};
}

static inline bool sl_slice_eq(struct sl_slice a, struct sl_slice b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.ptr, b.ptr, a.len) == 0);
}

static inline char sl_ascii_lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c | 0x20) : c;
}

/* ASCII case is folded, as header names, hosts and tokens want it; no locale. */
static inline bool sl_slice_ieq(struct sl_slice a, struct sl_slice b)
{
    if (a.len != b.len) {
        return false;
    }
    for (size_t i = 0; i < a.len; i++) {
        if (sl_ascii_lower(a.ptr[i]) != sl_ascii_lower(b.ptr[i])) {
            return false;
        }
    }
    return true;
}

static inline bool sl_slice_starts(struct sl_slice s, struct sl_slice prefix)
{
    return s.len >= prefix.len && (prefix.len == 0 || memcmp(s.ptr, prefix.ptr, prefix.len) == 0);
}

#endif
