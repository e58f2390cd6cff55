/* SPDX-License-Identifier: Apache-2.0 */
/*
 * metrics_line: one sample of the exposition: a name, labels and a value.
 *
 * Thread:    any
 * Ownership: labels borrow names and values until they are put
 * Errors:    those of struct sl_text
 * Source:    Prometheus text exposition format 0.0.4
 */
#ifndef SL_ADMIN_METRICS_LINE_H
#define SL_ADMIN_METRICS_LINE_H

#include <stddef.h>
#include <stdint.h>

struct sl_text;

#define SL_METRIC_LABELS_MAX_N 6
#define SL_METRIC_SECONDS_BYTES 32

struct sl_metric_labels {
    struct {
        const char *name;
        const char *value;
    } items[SL_METRIC_LABELS_MAX_N];
    size_t n;
};

/* At most SL_METRIC_LABELS_MAX_N. */
void sl_metric_label(struct sl_metric_labels *l, const char *name, const char *value);

/* Append a line; suffix follows the name: "_bucket", or "". */
void sl_metric_put_count(struct sl_text *out, const char *name, const char *suffix,
                         const struct sl_metric_labels *l, uint64_t value);
void sl_metric_put_seconds(struct sl_text *out, const char *name, const char *suffix,
                           const struct sl_metric_labels *l, uint64_t us);

/* Exact, without trailing zeros: 0.00025, 32.768, 2. */
void sl_metric_format_seconds(uint64_t us, char buf[SL_METRIC_SECONDS_BYTES]);

#endif
