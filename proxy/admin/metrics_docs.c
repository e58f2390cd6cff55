/* SPDX-License-Identifier: Apache-2.0 */
#include <sluiced/reason.h>

#include "metrics_table.h"
#include "metrics_text.h"

#include "proxy/base/text.h"

static const char intro[] =
    "<!-- Generated from proxy/admin/metrics_table.c: SL_REGENERATE=1 with the unit test of "
    "proxy/admin/metrics_text.c. -->\n"
    "# Metrics\n"
    "\n"
    "`GET /metrics`, on the admin and on the probes listener, in the Prometheus text format 0.0.4."
    "\n"
    "\n"
    "- A counter starts at 0 with the process; a reload that keeps a listener, route or pool keeps "
    "its totals.\n"
    "- `sluiced_requests_total` and `sluiced_listener_refused_total` say only what is not 0, and a "
    "histogram appears with its first observation.\n"
    "- Buckets of all histograms double from 0.25 ms to 32.8 s.\n";

static void write_limits(struct sl_text *out)
{
    sl_text_printf(out,
                   "- Bounded: %d label sets for listeners, for routes and for pools, and %d "
                   "endpoints; what exceeds them is summed up under `_other`.\n",
                   SL_SERIES_MAX_N, SL_METRICS_ENDPOINTS_MAX_N);
}

static void write_reasons(struct sl_text *out)
{
    sl_text_append_str(out,
                       "\n## Reasons\n\n"
                       "How an exchange ended: the label `reason`, the field `reason` of the "
                       "access log and of the answers that the proxy makes itself.\n\n"
                       "| reason | answered with | |\n|---|---|---|\n");
    for (size_t i = 0; i < SL_REASONS_N; i++) {
        enum sl_reason r = (enum sl_reason)i;

        sl_text_printf(out, "| `%s` | ", sl_reason_name(r));
        if (sl_reason_status(r) != 0) {
            sl_text_append_u64(out, sl_reason_status(r));
        }
        sl_text_printf(out, " | %s |\n", sl_reason_text(r));
    }
}

void sl_metrics_write_docs(struct sl_text *out)
{
    sl_text_append_str(out, intro);
    write_limits(out);
    sl_text_append_str(out, "\n| metric | type | labels | |\n|---|---|---|---|\n");
    for (size_t i = 0; i < sl_metrics_n; i++) {
        const struct sl_metric *m = &sl_metrics[i];
        sl_text_printf(out, "| `%s` | %s | %s | %s |\n", m->name, sl_metric_type_name(m->type),
                       m->labels, m->help);
    }
    write_reasons(out);
}
