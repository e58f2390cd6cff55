/* SPDX-License-Identifier: Apache-2.0 */
/*
 * lines: cuts a watch's body into its lines, one JSON event each, however the bytes arrive.
 *
 * Lifetime:  one watch; sl_lines_fini frees
 * Thread:    control thread
 * Errors:    SL_ENOMEM; SL_ELIMIT for a line that is too long
 * Limits:    max_bytes a line; a line that came whole is handed out without a copy
 */
#ifndef SL_KUBERNETES_LINES_H
#define SL_KUBERNETES_LINES_H

#include <sluiced/defs.h>
#include <sluiced/slice.h>

#include <stddef.h>

/* line: without its newline, borrowed for the call. Not SL_OK: stop, and return that. */
typedef int (*sl_line_fn)(void *arg, struct sl_slice line);

struct sl_lines {
    char *head; /* of a line whose end has not come */
    size_t head_bytes;
    size_t capacity;
    size_t max_bytes;
};

void sl_lines_init(struct sl_lines *l, size_t max_bytes);
void sl_lines_fini(struct sl_lines *l);

/* Empty lines are left out. After an error l is of no more use. */
int sl_lines_feed(struct sl_lines *l, struct sl_slice data, sl_line_fn on_line, void *arg)
    SL_MUST_CHECK;

#endif
