/* SPDX-License-Identifier: Apache-2.0 */
/*
 * metrics_text: all that is counted, as /metrics says it, and the page that explains it.
 *
 * Thread:    control thread
 * Errors:    those of struct sl_text
 * Limits:    SL_METRICS_ENDPOINTS_MAX_N endpoints have series of their own; the others are summed
 *            up in one for all pools, labelled "_other"
 * Source:    Prometheus text exposition format 0.0.4
 */
#ifndef SL_ADMIN_METRICS_TEXT_H
#define SL_ADMIN_METRICS_TEXT_H

#include <sluiced/control.h>

struct sl_text;

#define SL_METRICS_ENDPOINTS_MAX_N 2000
#define SL_METRICS_CONTENT_TYPE "text/plain; version=0.0.4; charset=utf-8"

/* Appends the exposition. */
void sl_metrics_write(struct sl_control *c, struct sl_text *out);

/* Appends docs/metrics.md. */
void sl_metrics_write_docs(struct sl_text *out);

#endif
