/* SPDX-License-Identifier: Apache-2.0 */
#include "uri.h"

#include <sluiced/err.h>

#include "field.h"

#include <arpa/inet.h>
#include <string.h>

enum {
    PORT_MAX = 65535
};

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool is_alnum(char c)
{
    return is_digit(c) || (sl_ascii_lower(c) >= 'a' && sl_ascii_lower(c) <= 'z');
}

/* RFC 3986 section 2.3 */
static bool is_unreserved(char c)
{
    return is_alnum(c) || c == '-' || c == '.' || c == '_' || c == '~';
}

static int hex_value(char c)
{
    if (is_digit(c)) {
        return c - '0';
    }
    c = sl_ascii_lower(c);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* A byte that stands for itself in path and query. Beyond the grammar these are "<>^`{|}[], which
 * some clients do not escape; they have one meaning only. */
static bool is_plain(char c)
{
    return c > ' ' && c < 0x7f && c != '#' && c != '%' && c != '\\';
}

/* A path under rewriting. */
struct rewrite {
    const struct sl_uri_policy *policy;
    char *out;
    size_t out_len;
    size_t part;   /* where in out the part began that could be a dot segment; NO_PART: none */
    bool embedded; /* that part is bounded by an escaped slash */
    bool escaped;  /* this segment had an escaped dot */
};

#define NO_PART SIZE_MAX

static bool is_dots(const struct rewrite *w)
{
    size_t n = w->part == NO_PART ? 0 : w->out_len - w->part;
    return n > 0 && n <= 2 && w->out[w->out_len - 1] == '.' && w->out[w->part] == '.';
}

/* At ';' or an escaped separator: somebody behind us may see the end of a segment here. */
static int end_part(struct rewrite *w, char separator)
{
    bool allowed = separator == ';' && !w->embedded ? w->policy->allow_dot_params
                                                    : w->policy->allow_escaped_dots;

    if (is_dots(w) && !allowed) {
        return SL_EPROTO;
    }
    w->part = NO_PART;
    return SL_OK;
}

static int put_escape(struct rewrite *w, const char *in)
{
    static const char digits[] = "0123456789ABCDEF";
    int high = hex_value(in[1]);
    int low = hex_value(in[2]);

    if (high < 0 || low < 0) {
        return SL_EPROTO;
    }
    char c = (char)(high * 16 + low);
    if ((c == '\0' && !w->policy->allow_escaped_nul) ||
        (c == '\\' && !w->policy->allow_escaped_backslash) ||
        (c == '/' && w->policy->refuse_escaped_slash))
    {
        return SL_EPROTO;
    }
    if (is_unreserved(c)) {
        w->escaped |= c == '.';
        w->out[w->out_len++] = c;
        return SL_OK;
    }
    if ((c == '/' || c == '\\' || c == ';') && end_part(w, c) != SL_OK) {
        return SL_EPROTO;
    }
    w->out[w->out_len++] = '%';
    w->out[w->out_len++] = digits[high];
    w->out[w->out_len++] = digits[low];
    if (c == '/' || c == '\\') {
        w->part = w->out_len;
        w->embedded = true;
    }
    return SL_OK;
}

static int put_plain(struct rewrite *w, char c)
{
    if (!is_plain(c) && !(c == '\\' && w->policy->allow_backslash) &&
        !((unsigned char)c > 0x7f && w->policy->allow_8bit))
    {
        return SL_EPROTO;
    }
    if ((c == ';' || c == '\\') && end_part(w, c) != SL_OK) {
        return SL_EPROTO;
    }
    w->out[w->out_len++] = c;
    if (c == '\\') {
        w->part = w->out_len;
        w->embedded = true;
    }
    return SL_OK;
}

/* Copies one segment in normal form. */
static int put_segment(struct rewrite *w, const char *in, size_t len)
{
    w->part = w->out_len;
    w->embedded = w->escaped = false;
    for (size_t i = 0; i < len; i++) {
        int rc;
        if (in[i] != '%') {
            rc = put_plain(w, in[i]);
        } else if (len - i < 3) {
            rc = SL_EPROTO;
        } else {
            rc = put_escape(w, in + i);
            i += 2;
        }
        if (rc != SL_OK) {
            return rc;
        }
    }
    return SL_OK;
}

/* RFC 3986 section 5.2.4: "." and ".." are carried out, above the root there is nothing. */
static int end_segment(struct rewrite *w, size_t start, bool last)
{
    size_t len = w->out_len - start;
    bool dots = is_dots(w);

    if (dots && (w->embedded || w->escaped) && !w->policy->allow_escaped_dots) {
        return SL_EPROTO;
    }
    if (dots && !w->embedded) {
        w->out_len = start;
        if (len == 2 && start > 1) {
            do {
                w->out_len--;
            } while (w->out[w->out_len - 1] != '/');
        }
    } else if (!last && (len > 0 || w->policy->keep_slashes)) {
        w->out[w->out_len++] = '/';
    }
    return SL_OK;
}

static int rewrite_path(struct rewrite *w, struct sl_slice in)
{
    const char *end = in.ptr + in.len;
    const char *p = in.ptr + 1;

    w->out[w->out_len++] = '/';
    for (bool last = false; !last;) {
        const char *slash = memchr(p, '/', (size_t)(end - p));
        size_t start = w->out_len;
        size_t len = (size_t)((slash != NULL ? slash : end) - p);

        last = slash == NULL;
        if (put_segment(w, p, len) != SL_OK || end_segment(w, start, last) != SL_OK) {
            return SL_EPROTO;
        }
        p += len + 1;
    }
    return SL_OK;
}

static bool is_normal(struct sl_slice in)
{
    char before = '\0';

    for (size_t i = 0; i < in.len; i++) {
        char c = in.ptr[i];
        if (!is_plain(c) || (before == '/' && (c == '/' || c == '.'))) {
            return false;
        }
        before = c;
    }
    return true;
}

int sl_uri_normalise_path(struct sl_slice in, const struct sl_uri_policy *policy, char *buf,
                          size_t buf_bytes, struct sl_slice *out)
{
    if (in.len == 0 || in.ptr[0] != '/') {
        return SL_EPROTO;
    }
    if (is_normal(in)) {
        *out = in;
        return SL_OK;
    }
    if (buf_bytes < in.len) {
        return SL_ELIMIT;
    }
    struct rewrite w = {.policy = policy, .out = buf};
    int rc = rewrite_path(&w, in);
    if (rc != SL_OK) {
        return rc;
    }
    struct sl_slice made = {buf, w.out_len};
    *out = sl_slice_eq(made, in) ? in : made;
    return SL_OK;
}

int sl_uri_check_query(struct sl_slice query, const struct sl_uri_policy *policy)
{
    for (size_t i = 0; i < query.len; i++) {
        char c = query.ptr[i];
        if (!is_plain(c) && c != '%' && c != '\\' &&
            !((unsigned char)c > 0x7f && policy->allow_8bit))
        {
            return SL_EPROTO;
        }
    }
    return SL_OK;
}

/* RFC 3986 reg-name without escapes and ','. An IPv4 address is one of these. Most of its bytes
 * are those of a token, for which there is a table. */
static bool is_host_byte(char c)
{
    switch (c) {
    case '(':
    case ')':
    case ';':
    case '=':
        return true;
    case '#':
    case '%':
    case '^':
    case '`':
    case '|':
        return false;
    default:
        return sl_is_token_byte(c);
    }
}

static int parse_ipv6(struct sl_slice s)
{
    char text[INET6_ADDRSTRLEN];
    struct in6_addr addr;

    if (s.len >= sizeof(text) || memchr(s.ptr, '\0', s.len) != NULL) {
        return SL_EPROTO;
    }
    memcpy(text, s.ptr, s.len);
    text[s.len] = '\0';
    return inet_pton(AF_INET6, text, &addr) == 1 ? SL_OK : SL_EPROTO;
}

/* RFC 3986 allows a port without digits, which is none. */
static int parse_port(struct sl_slice s, uint16_t *out)
{
    unsigned port = 0;

    if (s.len > 5) {
        return SL_EPROTO;
    }
    for (size_t i = 0; i < s.len; i++) {
        if (!is_digit(s.ptr[i])) {
            return SL_EPROTO;
        }
        port = port * 10 + (unsigned)(s.ptr[i] - '0');
    }
    if (port > PORT_MAX || (s.len > 0 && port == 0)) {
        return SL_EPROTO;
    }
    *out = (uint16_t)port;
    return SL_OK;
}

int sl_authority_parse(struct sl_slice s, struct sl_authority *out)
{
    struct sl_authority a = {.host = s};
    size_t end = 0; /* of the host, with its brackets */

    if (s.len > 0 && s.ptr[0] == '[') {
        const char *close = memchr(s.ptr, ']', s.len);
        if (close == NULL) {
            return SL_EPROTO;
        }
        a.host = (struct sl_slice){s.ptr + 1, (size_t)(close - s.ptr) - 1};
        a.is_ipv6 = true;
        if (parse_ipv6(a.host) != SL_OK) {
            return SL_EPROTO;
        }
        end = a.host.len + 2;
    } else {
        while (end < s.len && is_host_byte(s.ptr[end])) {
            end++;
        }
        a.host.len = end;
    }
    /* RFC 9110 section 4.2.1: an empty host is to be refused */
    if (end == 0 || (end < s.len && s.ptr[end] != ':')) {
        return SL_EPROTO;
    }
    if (end < s.len &&
        parse_port((struct sl_slice){s.ptr + end + 1, s.len - end - 1}, &a.port) != SL_OK)
    {
        return SL_EPROTO;
    }
    *out = a;
    return SL_OK;
}

bool sl_authority_same(const struct sl_authority *a, const struct sl_authority *b,
                       uint16_t default_port)
{
    unsigned a_port = a->port != 0 ? a->port : default_port;
    unsigned b_port = b->port != 0 ? b->port : default_port;

    return a->is_ipv6 == b->is_ipv6 && a_port == b_port && sl_slice_ieq(a->host, b->host);
}
