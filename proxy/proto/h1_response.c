/* SPDX-License-Identifier: Apache-2.0 */
#include <sluiced/err.h>

#include "h1.h"
#include "h1_parts.h"

#include <string.h>

enum {
    VERSION_BYTES = 8,
    STATUS_END = VERSION_BYTES + 4 /* "HTTP/1.1 200" */
};

static void reset(struct sl_response_head *r)
{
    struct sl_headers mine = {.items = r->headers.items, .capacity_n = r->headers.capacity_n};

    *r = (struct sl_response_head){.headers = mine};
}

/* The space behind the status is missing in the wild where there is no reason; the line is
 * written anew, so that does no harm. */
static enum sl_h1_fault parse_line(struct sl_slice line, struct sl_response_head *r)
{
    reset(r);
    if (line.len < STATUS_END || line.ptr[VERSION_BYTES] != ' ' ||
        (line.len > STATUS_END && line.ptr[STATUS_END] != ' '))
    {
        return SL_H1_FAULT_START_LINE;
    }
    enum sl_h1_fault fault =
        sl_h1_parse_version((struct sl_slice){line.ptr, VERSION_BYTES}, &r->version_minor);
    if (fault != SL_H1_FAULT_NONE) {
        return fault;
    }
    for (size_t i = VERSION_BYTES + 1; i < STATUS_END; i++) {
        if (line.ptr[i] < '0' || line.ptr[i] > '9') {
            return SL_H1_FAULT_STATUS;
        }
        r->status = (uint16_t)(r->status * 10 + (line.ptr[i] - '0'));
    }
    if (r->status < 100 || r->status > 599) {
        return SL_H1_FAULT_STATUS; /* RFC 9110 15: others are invalid */
    }
    if (line.len > STATUS_END) {
        r->reason = (struct sl_slice){line.ptr + STATUS_END + 1, line.len - STATUS_END - 1};
    }
    return SL_H1_FAULT_NONE;
}

static bool says_body(const struct sl_framing *f)
{
    return f->kind == SL_FRAMING_CHUNKED || f->length_bytes > 0;
}

/* 101 is the end of HTTP here, so it must have been asked for and be meant. */
static enum sl_h1_fault switch_protocols(struct sl_response_head *r,
                                         const struct sl_h1_facts *facts,
                                         const struct sl_h1_asked *asked)
{
    if (!asked->upgrade || facts->upgrades_n != 1 || facts->upgrade.len == 0 ||
        !facts->upgrade_option)
    {
        return SL_H1_FAULT_UPGRADE_UNASKED;
    }
    r->upgrade = facts->upgrade;
    r->keep_alive = false;
    return SL_H1_FAULT_NONE;
}

/* RFC 9112 section 6.3, in its order. */
static enum sl_h1_fault apply(struct sl_response_head *r, const struct sl_h1_facts *facts,
                              const struct sl_h1_asked *asked)
{
    struct sl_framing said;
    enum sl_h1_fault fault = sl_h1_resolve_framing(facts, r->version_minor, &said);

    if (fault != SL_H1_FAULT_NONE) {
        return fault;
    }
    r->nominates = facts->nominates;
    r->keep_alive = sl_h1_persists(facts, r->version_minor);
    if (r->status < 200) {
        /* No 1xx has a body; one that says so leaves open where the next head begins. */
        if (says_body(&said)) {
            return SL_H1_FAULT_LENGTH;
        }
        return r->status == 101 ? switch_protocols(r, facts, asked) : SL_H1_FAULT_NONE;
    }
    if (asked->method == SL_METHOD_CONNECT && r->status < 300) {
        r->keep_alive = false; /* a tunnel: what the fields say of a body is to be ignored */
        return SL_H1_FAULT_NONE;
    }
    if (r->status == 204) {
        r->keep_alive = r->keep_alive && !says_body(&said); /* bytes may follow all the same */
        return SL_H1_FAULT_NONE;
    }
    r->declared = said;
    if (asked->method == SL_METHOD_HEAD || r->status == 304) {
        return SL_H1_FAULT_NONE;
    }
    if (said.kind == SL_FRAMING_NONE) {
        r->declared.kind = SL_FRAMING_UNTIL_CLOSE;
        r->keep_alive = false;
    }
    r->framing = r->declared;
    return SL_H1_FAULT_NONE;
}

/* Finds the status line and parses it. Returns where it ends. */
static ssize_t read_line(struct sl_h1_scan *scan, const char *buf, size_t len,
                         struct sl_response_head *out)
{
    size_t limit = len < SL_H1_HEAD_MAX_BYTES ? len : SL_H1_HEAD_MAX_BYTES;
    ssize_t end = sl_h1_next_line(scan, buf, limit);

    if (end == SL_AGAIN && limit == SL_H1_HEAD_MAX_BYTES) {
        return sl_h1_refuse(scan, SL_H1_FAULT_HEAD_TOO_LARGE);
    }
    if (end < 0) {
        return end;
    }
    enum sl_h1_fault fault = parse_line((struct sl_slice){buf, (size_t)end}, out);
    return fault == SL_H1_FAULT_NONE ? end : sl_h1_refuse(scan, fault);
}

ssize_t sl_h1_parse_response(struct sl_h1_scan *scan, const char *buf, size_t len,
                             const struct sl_h1_asked *asked, struct sl_response_head *out)
{
    /* No name is dropped: what a pod calls its fields is its own business, and the client's. */
    static const struct sl_h1_field_rules rules = {SL_H1_FIELDS_MAX_N, SL_H1_UNDERSCORES_KEEP};
    struct sl_h1_facts facts = {.hosts_n = 0};
    SL_H1_UNINITIALISED struct sl_h1_lines lines;
    bool resumed = scan->start_line_ok;
    size_t at = 0;

    if (!resumed) {
        ssize_t line_end = read_line(scan, buf, len, out);
        if (line_end < 0) {
            return line_end;
        }
        scan->start_line_ok = true;
        at = (size_t)line_end + 2;
    }
    lines.n = 0;
    ssize_t end = sl_h1_find_end(scan, buf, len, SL_H1_HEAD_MAX_BYTES, &lines);
    if (end > 0 && resumed) { /* as in requests: nothing was kept */
        struct sl_h1_scan again = {.scanned_bytes = 0};
        end = sl_h1_parse_response(&again, buf, (size_t)end, asked, out);
        scan->fault = again.fault;
        return end;
    }
    if (end < 0) {
        return end;
    }
    enum sl_h1_fault fault = sl_h1_parse_fields((struct sl_slice){buf, (size_t)end}, at, &lines,
                                                &rules, &out->headers, &facts);
    if (fault == SL_H1_FAULT_NONE) {
        fault = apply(out, &facts, asked);
    }
    return fault == SL_H1_FAULT_NONE ? end : sl_h1_refuse(scan, fault);
}
