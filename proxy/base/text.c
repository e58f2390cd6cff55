/* SPDX-License-Identifier: Apache-2.0 */
#include "text.h"

#include "alloc.h"
#include "escape.h"
#include "num.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define FIRST_BYTES 256U

void sl_text_init(struct sl_text *t, size_t limit_bytes)
{
    /* Half of the address space, so that no sum below wraps. */
    *t = (struct sl_text){.limit_bytes = limit_bytes < SIZE_MAX / 2 ? limit_bytes : SIZE_MAX / 2};
}

void sl_text_fini(struct sl_text *t)
{
    sl_free(t->ptr);
    t->ptr = NULL;
    t->len = t->capacity = 0;
}

/* Room for more bytes and the terminator, which capacity does not count. */
static bool reserve(struct sl_text *t, size_t more)
{
    if (t->failed || more > t->limit_bytes - t->len) {
        t->failed = true;
        return false;
    }
    size_t need = t->len + more;
    if (t->ptr != NULL && need <= t->capacity) {
        return true;
    }
    size_t grown = t->capacity < FIRST_BYTES / 2 ? FIRST_BYTES : t->capacity * 2;
    if (grown > t->limit_bytes) {
        grown = t->limit_bytes;
    }
    if (grown < need) {
        grown = need;
    }
    char *p = sl_realloc_array(t->ptr, grown + 1, 1);
    if (p == NULL) {
        t->failed = true;
        return false;
    }
    t->ptr = p;
    t->capacity = grown;
    t->ptr[t->len] = '\0';
    return true;
}

void sl_text_append(struct sl_text *t, struct sl_slice s)
{
    if (!reserve(t, s.len) || s.len == 0) {
        return;
    }
    memcpy(t->ptr + t->len, s.ptr, s.len);
    t->len += s.len;
    t->ptr[t->len] = '\0';
}

void sl_text_append_str(struct sl_text *t, const char *s)
{
    sl_text_append(t, sl_slice_of(s));
}

void sl_text_append_u64(struct sl_text *t, uint64_t v)
{
    char digits[SL_NUM_TEXT_BYTES];

    sl_text_append(t, (struct sl_slice){digits, sl_num_format_u64(v, digits)});
}

void sl_text_printf(struct sl_text *t, const char *fmt, ...)
{
    va_list args;
    va_list again;

    if (!reserve(t, 0)) {
        return;
    }
    size_t room = t->capacity - t->len + 1;
    va_start(args, fmt);
    va_copy(again, args);
    int n = vsnprintf(t->ptr + t->len, room, fmt, args);
    if (n >= 0 && (size_t)n < room) {
        t->len += (size_t)n;
    } else if (n >= 0 && reserve(t, (size_t)n)) {
        (void)vsnprintf(t->ptr + t->len, (size_t)n + 1, fmt, again); /* as long as before */
        t->len += (size_t)n;
    } else {
        t->failed = true;
        t->ptr[t->len] = '\0'; /* takes back what was half written */
    }
    va_end(again);
    va_end(args);
}

void sl_text_append_json(struct sl_text *t, struct sl_slice s)
{
    sl_text_append_str(t, "\"");
    while (s.len > 0 && !t->failed) {
        t->len += sl_json_escape_some(&s, t->ptr + t->len, t->capacity - t->len);
        t->ptr[t->len] = '\0';
        if (s.len > 0) {
            (void)reserve(t, SL_ESCAPE_MAX_BYTES); /* its failure is sticky and ends the loop */
        }
    }
    sl_text_append_str(t, "\"");
}
