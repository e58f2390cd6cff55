/* SPDX-License-Identifier: Apache-2.0 */
#include "lines.h"

#include <sluiced/err.h>

#include "proxy/base/alloc.h"

#include <string.h>

#define FIRST_CAPACITY_BYTES 4096
#define KEEP_CAPACITY_BYTES 65536 /* one huge event must not cost its size for the watch's life */

void sl_lines_init(struct sl_lines *l, size_t max_bytes)
{
    *l = (struct sl_lines){.max_bytes = max_bytes};
}

void sl_lines_fini(struct sl_lines *l)
{
    sl_free(l->head);
    *l = (struct sl_lines){.max_bytes = l->max_bytes};
}

static int keep(struct sl_lines *l, const char *data, size_t len)
{
    size_t want_bytes = l->head_bytes + len; /* both are at most max_bytes */

    if (want_bytes > l->capacity) {
        size_t capacity =
            l->capacity * 2 > FIRST_CAPACITY_BYTES ? l->capacity * 2 : FIRST_CAPACITY_BYTES;
        capacity = capacity > want_bytes ? capacity : want_bytes;
        char *head = sl_realloc_array(l->head, capacity, 1);
        if (head == NULL) {
            return SL_ENOMEM;
        }
        l->head = head;
        l->capacity = capacity;
    }
    memcpy(l->head + l->head_bytes, data, len);
    l->head_bytes = want_bytes;
    return SL_OK;
}

int sl_lines_feed(struct sl_lines *l, struct sl_slice data, sl_line_fn on_line, void *arg)
{
    int rc = SL_OK;

    while (rc == SL_OK && data.len > 0) {
        const char *newline = memchr(data.ptr, '\n', data.len);
        struct sl_slice line = {data.ptr,
                                newline != NULL ? (size_t)(newline - data.ptr) : data.len};
        size_t used_bytes = line.len + (newline != NULL);

        if (line.len > l->max_bytes - l->head_bytes) {
            return SL_ELIMIT;
        }
        if (newline == NULL || l->head_bytes > 0) {
            rc = keep(l, line.ptr, line.len);
            line = (struct sl_slice){l->head, l->head_bytes};
        }
        if (rc == SL_OK && newline != NULL) {
            l->head_bytes = 0; /* line stays readable until the next keep */
            rc = line.len > 0 ? on_line(arg, line) : SL_OK;
            if (l->capacity > KEEP_CAPACITY_BYTES) {
                sl_lines_fini(l);
            }
        }
        data.ptr += used_bytes;
        data.len -= used_bytes;
    }
    return rc;
}
