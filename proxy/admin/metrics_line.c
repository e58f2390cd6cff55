/* SPDX-License-Identifier: Apache-2.0 */
#include "metrics_line.h"

#include <sluiced/err.h>

#include "proxy/base/text.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

void sl_metric_label(struct sl_metric_labels *l, const char *name, const char *value)
{
    SL_ASSERT(l->n < SL_METRIC_LABELS_MAX_N, "label %s is one too many", name);
    l->items[l->n].name = name;
    l->items[l->n].value = value;
    l->n++;
}

static void put_escaped(struct sl_text *out, const char *value)
{
    for (;;) {
        size_t plain = strcspn(value, "\\\"\n");
        sl_text_append(out, (struct sl_slice){value, plain});
        value += plain;
        if (*value == '\0') {
            return;
        }
        sl_text_append_str(out, *value == '\n' ? "\\n" : *value == '"' ? "\\\"" : "\\\\");
        value++;
    }
}

/* All of a line but the value. */
static void put_name(struct sl_text *out, const char *name, const char *suffix,
                     const struct sl_metric_labels *l)
{
    sl_text_append_str(out, name);
    sl_text_append_str(out, suffix);
    for (size_t i = 0; i < l->n; i++) {
        sl_text_append_str(out, i == 0 ? "{" : ",");
        sl_text_append_str(out, l->items[i].name);
        sl_text_append_str(out, "=\"");
        put_escaped(out, l->items[i].value);
        sl_text_append_str(out, "\"");
    }
    sl_text_append_str(out, l->n > 0 ? "} " : " ");
}

void sl_metric_put_count(struct sl_text *out, const char *name, const char *suffix,
                         const struct sl_metric_labels *l, uint64_t value)
{
    put_name(out, name, suffix, l);
    sl_text_append_u64(out, value);
    sl_text_append_str(out, "\n");
}

void sl_metric_format_seconds(uint64_t us, char buf[SL_METRIC_SECONDS_BYTES])
{
    int n = snprintf(buf, SL_METRIC_SECONDS_BYTES, "%" PRIu64 ".%06" PRIu64, us / 1000000,
                     us % 1000000);
    size_t len = n > 0 && n < SL_METRIC_SECONDS_BYTES ? (size_t)n : 0;

    while (len > 0 && buf[len - 1] == '0') {
        len--;
    }
    if (len > 0 && buf[len - 1] == '.') {
        len--;
    }
    buf[len] = '\0';
}

void sl_metric_put_seconds(struct sl_text *out, const char *name, const char *suffix,
                           const struct sl_metric_labels *l, uint64_t us)
{
    char text[SL_METRIC_SECONDS_BYTES];

    sl_metric_format_seconds(us, text);
    put_name(out, name, suffix, l);
    sl_text_append_str(out, text);
    sl_text_append_str(out, "\n");
}
