/* SPDX-License-Identifier: Apache-2.0 */
/*
 * status_text: the document of /status as tables, for people at a terminal.
 *
 * Thread:    any
 * Errors:    SL_EPROTO when json is not such a document; SL_ENOMEM, SL_ELIMIT
 * Limits:    those of out
 */
#ifndef SL_ADMIN_STATUS_TEXT_H
#define SL_ADMIN_STATUS_TEXT_H

#include <sluiced/defs.h>
#include <sluiced/err.h>
#include <sluiced/slice.h>

struct sl_text;

/* `sluiced status`: the process, listeners with routes and shares, pools with their endpoints. */
int sl_status_text_write(struct sl_slice json, struct sl_text *out, struct sl_error *err)
    SL_MUST_CHECK;

/* `sluiced endpoints`: one line for each endpoint of each pool. */
int sl_status_text_write_endpoints(struct sl_slice json, struct sl_text *out, struct sl_error *err)
    SL_MUST_CHECK;

#endif
