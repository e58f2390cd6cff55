/* SPDX-License-Identifier: Apache-2.0 */
/*
 * admin routes: what may be asked of the admin and probes listeners, by whom, and what is answered.
 *
 * Thread:    control thread
 * Limits:    an answer is bounded by the limit of its text
 */
#ifndef SL_ADMIN_ROUTES_H
#define SL_ADMIN_ROUTES_H

#include <sluiced/control.h>

#include "proxy/base/text.h"
#include "proxy/proto/message.h"

#include <stdbool.h>
#include <stdint.h>

struct sl_admin_reply {
    uint16_t status;
    const char *content_type; /* static */
    const char *allow;        /* static: the value of Allow; NULL: none */
    struct sl_text body;      /* initialised and freed by the caller */
};

/* query: without '?', borrowed for the call. */
typedef void (*sl_admin_handler_fn)(struct sl_control *c, struct sl_slice query,
                                    struct sl_admin_reply *reply);

#define SL_ADMIN_QUERY_BYTES 1024

/* What to do once the request was read: the handler, or the refusal. */
struct sl_admin_decision {
    sl_admin_handler_fn handler; /* NULL: refused */
    uint16_t status;
    const char *text;  /* static, why */
    const char *allow; /* static, or NULL */
    size_t query_len;
    char query[SL_ADMIN_QUERY_BYTES];
};

/* From the head alone; nothing of it is kept. */
struct sl_admin_decision sl_admin_decide(const struct sl_request_head *r, bool probes_only);

/* Fills reply in: calls the handler or says why not. A body that failed (memory, limit) becomes a
 * 500 without one. */
void sl_admin_reply_fill(const struct sl_admin_decision *d, struct sl_control *c,
                         struct sl_admin_reply *reply);

#endif
