/* SPDX-License-Identifier: Apache-2.0 */
#include <sluiced/err.h>

#include "field.h"
#include "h1.h"
#include "h1_parts.h"

#include <string.h>

/* Forgets an earlier attempt; the caller's array and buffer stay. */
static void reset(struct sl_request_head *r)
{
    struct sl_request_head fresh = {
        .headers = {.items = r->headers.items, .capacity_n = r->headers.capacity_n},
        .path_buf = r->path_buf,
        .path_buf_bytes = r->path_buf_bytes,
    };

    *r = fresh;
}

/* The slice up to c, which *rest then begins behind; false when there is none. */
static bool take_until(struct sl_slice *rest, char c, struct sl_slice *out)
{
    const char *at = memchr(rest->ptr, c, rest->len);

    if (at == NULL) {
        return false;
    }
    size_t len = (size_t)(at - rest->ptr);
    *out = (struct sl_slice){rest->ptr, len};
    *rest = (struct sl_slice){at + 1, rest->len - len - 1};
    return true;
}

static enum sl_h1_fault set_path(struct sl_request_head *r, struct sl_slice path,
                                 const struct sl_uri_policy *policy)
{
    struct sl_slice rest = path;

    if (take_until(&rest, '?', &path)) {
        r->has_query = true;
        r->query = rest;
        if (sl_uri_check_query(r->query, policy) != SL_OK) {
            return SL_H1_FAULT_TARGET;
        }
    }
    if (path.len == 0) { /* only the absolute form can be without; RFC 9112 3.2.1, 3.2.4 */
        bool server_wide = r->method == SL_METHOD_OPTIONS && !r->has_query;
        r->path = server_wide ? SL_SLICE("*") : SL_SLICE("/");
        r->path_rewritten = true;
        return SL_H1_FAULT_NONE;
    }
    int rc = sl_uri_normalise_path(path, policy, r->path_buf, r->path_buf_bytes, &r->path);
    if (rc == SL_ELIMIT) {
        return SL_H1_FAULT_LINE_TOO_LONG;
    }
    if (rc != SL_OK) {
        return SL_H1_FAULT_PATH;
    }
    r->path_rewritten = r->path.ptr != path.ptr;
    return SL_H1_FAULT_NONE;
}

static uint16_t default_port(struct sl_slice scheme)
{
    return scheme.len == 5 ? 443 : 80; /* https, http: no other was accepted */
}

static enum sl_h1_fault set_absolute(struct sl_request_head *r, const struct sl_uri_policy *policy)
{
    struct sl_slice rest = r->target;

    r->form = SL_TARGET_ABSOLUTE;
    if (!take_until(&rest, ':', &r->scheme) || !sl_slice_starts(rest, SL_SLICE("//")) ||
        (!sl_slice_ieq(r->scheme, SL_SLICE("http")) && !sl_slice_ieq(r->scheme, SL_SLICE("https"))))
    {
        return SL_H1_FAULT_TARGET;
    }
    rest.ptr += 2;
    rest.len -= 2;
    r->authority.ptr = rest.ptr;
    while (r->authority.len < rest.len && rest.ptr[r->authority.len] != '/' &&
           rest.ptr[r->authority.len] != '?')
    {
        r->authority.len++;
    }
    if (sl_authority_parse(r->authority, &r->host) != SL_OK) {
        return SL_H1_FAULT_TARGET;
    }
    rest.ptr += r->authority.len;
    rest.len -= r->authority.len;
    return set_path(r, rest, policy);
}

/* RFC 9112 section 3.2 */
static enum sl_h1_fault set_target(struct sl_request_head *r, const struct sl_uri_policy *policy)
{
    if (r->target.len == 0) {
        return SL_H1_FAULT_TARGET;
    }
    if (r->method == SL_METHOD_CONNECT) {
        r->form = SL_TARGET_AUTHORITY;
        r->authority = r->target;
        bool ok = sl_authority_parse(r->authority, &r->host) == SL_OK && r->host.port != 0;
        return ok ? SL_H1_FAULT_NONE : SL_H1_FAULT_TARGET;
    }
    if (r->target.ptr[0] == '/') {
        r->form = SL_TARGET_ORIGIN;
        return set_path(r, r->target, policy);
    }
    if (r->method == SL_METHOD_OPTIONS && sl_slice_eq(r->target, SL_SLICE("*"))) {
        r->form = SL_TARGET_ASTERISK;
        r->path = r->target;
        return SL_H1_FAULT_NONE;
    }
    return set_absolute(r, policy);
}

/* method SP target SP version, each once, no other space. */
static enum sl_h1_fault parse_line(struct sl_slice line, const struct sl_h1_policy *policy,
                                   struct sl_request_head *r)
{
    reset(r);
    if (!take_until(&line, ' ', &r->method_text)) {
        return SL_H1_FAULT_START_LINE;
    }
    if (!sl_field_is_token(r->method_text)) {
        return SL_H1_FAULT_METHOD;
    }
    r->method = sl_method_of(r->method_text);
    if (!take_until(&line, ' ', &r->target)) {
        r->target = line;
        return SL_H1_FAULT_VERSION; /* HTTP/0.9 */
    }
    enum sl_h1_fault fault = sl_h1_parse_version(line, &r->version_minor);
    return fault != SL_H1_FAULT_NONE ? fault : set_target(r, &policy->uri);
}

/* RFC 9112 3.2.2 lets the target win over Host; the two differing, somebody behind us may have it
 * the other way. */
static enum sl_h1_fault check_host(struct sl_request_head *r, const struct sl_h1_facts *facts)
{
    struct sl_authority host;

    if (facts->hosts_n > 1) {
        return SL_H1_FAULT_HOST_REPEATED;
    }
    if (facts->hosts_n == 0) {
        return r->version_minor == 0 ? SL_H1_FAULT_NONE : SL_H1_FAULT_HOST_MISSING;
    }
    if (sl_authority_parse(facts->host, &host) != SL_OK) {
        return SL_H1_FAULT_HOST;
    }
    if (r->authority.len == 0) {
        r->authority = facts->host;
        r->host = host;
        return SL_H1_FAULT_NONE;
    }
    bool same = sl_authority_same(&host, &r->host, default_port(r->scheme));
    return same ? SL_H1_FAULT_NONE : SL_H1_FAULT_HOST_MISMATCH;
}

/* RFC 9110 10.1.1: HTTP/1.0 cannot be told to continue, and a message without a body need not. */
static enum sl_h1_fault check_expect(struct sl_request_head *r, const struct sl_h1_facts *facts)
{
    bool has_body = r->framing.kind == SL_FRAMING_CHUNKED || r->framing.length_bytes > 0;

    if (facts->expects_n == 0 || r->version_minor == 0) {
        return SL_H1_FAULT_NONE;
    }
    if (facts->expects_n > 1 || !sl_slice_ieq(facts->expect, SL_SLICE("100-continue"))) {
        return SL_H1_FAULT_EXPECT;
    }
    r->expect_continue = has_body;
    return SL_H1_FAULT_NONE;
}

static enum sl_h1_fault apply(struct sl_request_head *r, const struct sl_h1_facts *facts)
{
    enum sl_h1_fault fault = check_host(r, facts);

    if (fault == SL_H1_FAULT_NONE) {
        fault = sl_h1_resolve_framing(facts, r->version_minor, &r->framing);
    }
    if (fault == SL_H1_FAULT_NONE) {
        fault = check_expect(r, facts);
    }
    r->keep_alive = sl_h1_persists(facts, r->version_minor);
    r->te_trailers = facts->te_trailers;
    r->nominates = facts->nominates;
    r->dropped_n = facts->dropped_n;
    /* RFC 9110 7.8: not in HTTP/1.0, and only where Connection says so. */
    if (facts->upgrades_n == 1 && facts->upgrade_option && r->version_minor > 0 &&
        r->framing.kind != SL_FRAMING_CHUNKED && r->framing.length_bytes == 0)
    {
        r->upgrade = facts->upgrade;
    }
    return fault;
}

/* RFC 9112 2.2: one empty line before a request is forgiven, as old clients send it after a body.
 * Returns the bytes to skip. */
static ssize_t skip_empty_line(struct sl_h1_scan *scan, const char *buf, size_t len)
{
    if (len == 0 || buf[0] != '\r') {
        return 0;
    }
    if (len == 1) {
        return SL_AGAIN;
    }
    return buf[1] == '\n' ? 2 : sl_h1_refuse(scan, SL_H1_FAULT_BARE_CR);
}

static ssize_t find_line(struct sl_h1_scan *scan, const char *buf, size_t len, size_t start)
{
    size_t max = start + SL_H1_LINE_MAX_BYTES + 2;
    size_t limit = len < max ? len : max;

    if (scan->scanned_bytes < start) {
        scan->scanned_bytes = (uint32_t)start;
    }
    ssize_t end = sl_h1_next_line(scan, buf, limit);
    if (end == SL_AGAIN && limit == max) {
        return sl_h1_refuse(scan, SL_H1_FAULT_LINE_TOO_LONG);
    }
    return end;
}

/* Reads on from where scan stands. Returns the length of the head. */
static ssize_t parse_head(struct sl_h1_scan *scan, struct sl_slice in, size_t start,
                          const struct sl_h1_policy *policy, struct sl_request_head *out)
{
    struct sl_h1_facts facts = {.hosts_n = 0};
    SL_H1_UNINITIALISED struct sl_h1_lines lines;
    bool resumed = scan->start_line_ok;
    size_t at = start;

    if (!resumed) {
        ssize_t line_end = find_line(scan, in.ptr, in.len, start);
        if (line_end < 0) {
            return line_end;
        }
        /* Now, and not when the head is whole: nonsense is answered at once. */
        struct sl_slice line = {in.ptr + start, (size_t)line_end - start};
        enum sl_h1_fault fault = parse_line(line, policy, out);
        if (fault != SL_H1_FAULT_NONE) {
            return sl_h1_refuse(scan, fault);
        }
        scan->start_line_ok = true;
        at = (size_t)line_end + 2;
    }
    lines.n = 0;
    ssize_t end = sl_h1_find_end(scan, in.ptr, in.len, SL_H1_HEAD_MAX_BYTES, &lines);
    if (end > 0 && resumed) {
        /* All of it once more, as nothing was kept of it: out may not even be the same. */
        struct sl_h1_scan again = {.scanned_bytes = 0};
        end = parse_head(&again, (struct sl_slice){in.ptr, (size_t)end}, start, policy, out);
        scan->fault = again.fault;
        return end;
    }
    if (end < 0) {
        return end;
    }
    struct sl_h1_field_rules rules = {SL_H1_FIELDS_MAX_N,
                                      (enum sl_h1_underscores)policy->underscores};
    enum sl_h1_fault fault = sl_h1_parse_fields((struct sl_slice){in.ptr, (size_t)end}, at, &lines,
                                                &rules, &out->headers, &facts);
    if (fault == SL_H1_FAULT_NONE) {
        fault = apply(out, &facts);
    }
    return fault == SL_H1_FAULT_NONE ? end : sl_h1_refuse(scan, fault);
}

ssize_t sl_h1_parse_request(struct sl_h1_scan *scan, const char *buf, size_t len,
                            const struct sl_h1_policy *policy, struct sl_request_head *out)
{
    static const struct sl_h1_policy default_policy = {.underscores = SL_H1_UNDERSCORES_DROP};
    ssize_t start = skip_empty_line(scan, buf, len);

    if (start < 0) {
        return start;
    }
    return parse_head(scan, (struct sl_slice){buf, len}, (size_t)start,
                      policy != NULL ? policy : &default_policy, out);
}
