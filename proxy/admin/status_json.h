/* SPDX-License-Identifier: Apache-2.0 */
/*
 * status_json: what runs, as /status says it: a JSON document of the process, its listeners and
 * its pools.
 *
 * Thread:    control thread
 * Errors:    SL_ENOMEM; SL_ELIMIT when out's limit is reached
 * Limits:    SL_STATUS_ENDPOINTS_MAX_N endpoints are listed over all pools; "endpoints_n" of a
 *            pool counts them all
 */
#ifndef SL_ADMIN_STATUS_JSON_H
#define SL_ADMIN_STATUS_JSON_H

#include <sluiced/control.h>
#include <sluiced/defs.h>
#include <sluiced/err.h>

struct sl_text;

#define SL_STATUS_ENDPOINTS_MAX_N 10000

/* Appends the document and a line end. */
int sl_status_write(struct sl_control *c, struct sl_text *out) SL_MUST_CHECK;

#endif
