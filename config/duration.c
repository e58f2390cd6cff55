/* SPDX-License-Identifier: Apache-2.0 */
#include "duration.h"

#include "proxy/base/yaml_node.h"

#include <inttypes.h>
#include <stdio.h>

static const struct {
    const char *suffix;
    uint64_t ms;
} units[] = {{"ms", 1}, {"s", 1000}, {"m", 60 * 1000}, {"h", 3600 * 1000}};

/* 0 for what is no unit. */
static uint64_t unit_ms(struct sl_slice text)
{
    for (size_t i = 0; i < SL_ARRAY_LEN(units); i++) {
        if (sl_slice_eq(text, sl_slice_of(units[i].suffix))) {
            return units[i].ms;
        }
    }
    return 0;
}

/* Points at the character that is wrong and not at the value: in "1m30s" that is the "m". */
static int refuse(struct sl_slice text, size_t offset, const struct sl_pos *pos,
                  const char *expected, struct sl_error *err)
{
    struct sl_slice rest = {text.ptr + offset, text.len - offset};
    struct sl_pos at = *pos;

    at.column += (uint32_t)offset;
    return sl_error_set(err, SL_ECONFIG, &at,
                        "expected %s, found " SL_YAML_SHOWN_FMT "; write 150ms, 2s, 5m or 1h",
                        expected, SL_YAML_SHOWN_ARG(rest));
}

int sl_duration_parse(struct sl_slice text, const struct sl_pos *pos, uint64_t *out_ms,
                      struct sl_error *err)
{
    uint64_t value = 0;
    size_t digits_n = 0;

    for (; digits_n < text.len && text.ptr[digits_n] >= '0' && text.ptr[digits_n] <= '9';
         digits_n++)
    {
        value = value * 10 + (uint64_t)(text.ptr[digits_n] - '0');
        if (value > SL_DURATION_MAX_MS) { /* here, before the product can wrap */
            return refuse(text, 0, pos, "at most one year (8760h)", err);
        }
    }
    if (digits_n == 0) {
        return refuse(text, 0, pos, "a whole number", err);
    }
    uint64_t ms = unit_ms((struct sl_slice){text.ptr + digits_n, text.len - digits_n});
    if (ms == 0) {
        return refuse(text, digits_n, pos, "ms, s, m or h right after the number", err);
    }
    if (value > SL_DURATION_MAX_MS / ms) {
        return refuse(text, 0, pos, "at most one year (8760h)", err);
    }
    *out_ms = value * ms;
    return SL_OK;
}

const char *sl_duration_format(uint64_t ms, char *buf)
{
    size_t i = ms == 0 ? 1 : SL_ARRAY_LEN(units) - 1;

    while (ms % units[i].ms != 0) {
        i--;
    }
    (void)snprintf(buf, SL_DURATION_TEXT_BYTES, "%" PRIu64 "%s", ms / units[i].ms, units[i].suffix);
    return buf;
}
