/* SPDX-License-Identifier: Apache-2.0 */
#include "num.h"

#include <string.h>

int sl_num_parse_u64(struct sl_slice s, uint64_t *out)
{
    return sl_num_parse_below(s, UINT64_MAX, out);
}

int sl_num_parse_below(struct sl_slice s, uint64_t max, uint64_t *out)
{
    uint64_t value = 0;

    if (s.len == 0 || s.len > SL_NUM_TEXT_BYTES) {
        return SL_EPROTO;
    }
    for (size_t i = 0; i < s.len; i++) {
        if (s.ptr[i] < '0' || s.ptr[i] > '9') {
            return SL_EPROTO;
        }
        uint64_t digit = (uint64_t)(s.ptr[i] - '0');
        if (value > max / 10 || digit > max - value * 10) {
            return SL_EPROTO;
        }
        value = value * 10 + digit;
    }
    *out = value;
    return SL_OK;
}

static size_t format(uint64_t v, uint64_t base, char *buf)
{
    char text[SL_NUM_TEXT_BYTES];
    size_t at = sizeof(text);

    do {
        text[--at] = "0123456789abcdef"[v % base];
        v /= base;
    } while (v > 0);
    memcpy(buf, text + at, sizeof(text) - at);
    return sizeof(text) - at;
}

size_t sl_num_format_u64(uint64_t v, char *buf)
{
    return format(v, 10, buf);
}

size_t sl_num_format_hex(uint64_t v, char *buf)
{
    return format(v, 16, buf);
}
