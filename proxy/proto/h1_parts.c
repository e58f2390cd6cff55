/* SPDX-License-Identifier: Apache-2.0 */
#include "h1_parts.h"

#include <sluiced/err.h>

#include <string.h>

static const struct {
    unsigned status;
    const char *code;
} faults[] = {[SL_H1_FAULT_NONE] = {0, "none"},
#define X(id, status, code) [SL_H1_FAULT_##id] = {(status), (code)},
              SL_H1_FAULTS(X)
#undef X
};

unsigned sl_h1_fault_status(enum sl_h1_fault f)
{
    return faults[f].status;
}

const char *sl_h1_fault_code(enum sl_h1_fault f)
{
    return faults[f].code;
}

/* What it means that [at, len) does not begin with CRLF, but with a control or not at all. */
static ssize_t judge(struct sl_h1_scan *scan, const char *buf, size_t at, size_t len)
{
    if (at == len) {
        return SL_AGAIN;
    }
    if (buf[at] == '\n') {
        return sl_h1_refuse(scan, SL_H1_FAULT_BARE_LF); /* RFC 9112 2.2 would tolerate it */
    }
    if (buf[at] != '\r') {
        return sl_h1_refuse(scan, SL_H1_FAULT_CONTROL_BYTE);
    }
    return at + 1 == len ? SL_AGAIN : sl_h1_refuse(scan, SL_H1_FAULT_BARE_CR);
}

static bool is_crlf(const char *buf, size_t at, size_t len)
{
    return len - at >= 2 && buf[at] == '\r' && buf[at + 1] == '\n';
}

ssize_t sl_h1_next_line(struct sl_h1_scan *scan, const char *buf, size_t len)
{
    size_t at = sl_h1_scan(buf, scan->scanned_bytes, len);

    if (!is_crlf(buf, at, len)) {
        scan->scanned_bytes = (uint32_t)at;
        return judge(scan, buf, at, len);
    }
    scan->scanned_bytes = (uint32_t)at + 2;
    return (ssize_t)at;
}

ssize_t sl_h1_find_end(struct sl_h1_scan *scan, const char *buf, size_t len, size_t max,
                       struct sl_h1_lines *lines)
{
    size_t limit = len < max ? len : max;
    size_t at = sl_h1_scan(buf, scan->scanned_bytes, limit);

    for (; is_crlf(buf, at, limit); at = sl_h1_scan(buf, at + 2, limit)) {
        if (lines->n < SL_H1_LINES_N) {
            lines->cr[lines->n++] = (uint32_t)at;
        }
        if (at == 0 || buf[at - 1] == '\n') {
            scan->scanned_bytes = (uint32_t)at + 2;
            return (ssize_t)at + 2;
        }
    }
    scan->scanned_bytes = (uint32_t)at;
    ssize_t rc = judge(scan, buf, at, limit);
    return rc == SL_AGAIN && limit == max ? sl_h1_refuse(scan, SL_H1_FAULT_HEAD_TOO_LARGE) : rc;
}

enum sl_h1_fault sl_h1_parse_version(struct sl_slice s, uint8_t *minor)
{
    if (s.len != 8 || memcmp(s.ptr, "HTTP/", 5) != 0 || s.ptr[5] < '0' || s.ptr[5] > '9' ||
        s.ptr[6] != '.' || s.ptr[7] < '0' || s.ptr[7] > '9')
    {
        return SL_H1_FAULT_START_LINE;
    }
    /* There is no HTTP/1.2: whoever says so is not to be guessed at. */
    if (s.ptr[5] != '1' || s.ptr[7] > '1') {
        return SL_H1_FAULT_VERSION;
    }
    *minor = (uint8_t)(s.ptr[7] - '0');
    return SL_H1_FAULT_NONE;
}
