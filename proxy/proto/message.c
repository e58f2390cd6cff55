/* SPDX-License-Identifier: Apache-2.0 */
#include "message.h"

#include <sluiced/defs.h>

void sl_request_head_rebase(struct sl_request_head *r, const char *old_base, size_t len,
                            const char *new_base)
{
    struct sl_slice *const moved[] = {
        &r->method_text, &r->target,  &r->scheme, &r->authority,
        &r->host.host,   &r->upgrade, &r->query,
    };

    for (size_t i = 0; i < SL_ARRAY_LEN(moved); i++) {
        *moved[i] = sl_slice_rebase(*moved[i], old_base, len, new_base);
    }
    if (!r->path_rewritten) {
        r->path = sl_slice_rebase(r->path, old_base, len, new_base);
    }
    sl_headers_rebase(&r->headers, old_base, len, new_base);
}

void sl_response_head_rebase(struct sl_response_head *r, const char *old_base, size_t len,
                             const char *new_base)
{
    r->reason = sl_slice_rebase(r->reason, old_base, len, new_base);
    r->upgrade = sl_slice_rebase(r->upgrade, old_base, len, new_base);
    sl_headers_rebase(&r->headers, old_base, len, new_base);
}

struct sl_slice sl_status_phrase(unsigned status)
{
    static const struct {
        unsigned status;
        struct sl_slice phrase;
    } rows[] = {
#define ROW(status, phrase) {status, {phrase, sizeof(phrase) - 1}}
        ROW(100, "Continue"),
        ROW(101, "Switching Protocols"),
        ROW(103, "Early Hints"),
        ROW(200, "OK"),
        ROW(201, "Created"),
        ROW(202, "Accepted"),
        ROW(203, "Non-Authoritative Information"),
        ROW(204, "No Content"),
        ROW(205, "Reset Content"),
        ROW(206, "Partial Content"),
        ROW(300, "Multiple Choices"),
        ROW(301, "Moved Permanently"),
        ROW(302, "Found"),
        ROW(303, "See Other"),
        ROW(304, "Not Modified"),
        ROW(307, "Temporary Redirect"),
        ROW(308, "Permanent Redirect"),
        ROW(400, "Bad Request"),
        ROW(401, "Unauthorized"),
        ROW(402, "Payment Required"),
        ROW(403, "Forbidden"),
        ROW(404, "Not Found"),
        ROW(405, "Method Not Allowed"),
        ROW(406, "Not Acceptable"),
        ROW(407, "Proxy Authentication Required"),
        ROW(408, "Request Timeout"),
        ROW(409, "Conflict"),
        ROW(410, "Gone"),
        ROW(411, "Length Required"),
        ROW(412, "Precondition Failed"),
        ROW(413, "Content Too Large"),
        ROW(414, "URI Too Long"),
        ROW(415, "Unsupported Media Type"),
        ROW(416, "Range Not Satisfiable"),
        ROW(417, "Expectation Failed"),
        ROW(421, "Misdirected Request"),
        ROW(422, "Unprocessable Content"),
        ROW(425, "Too Early"),
        ROW(426, "Upgrade Required"),
        ROW(429, "Too Many Requests"),
        ROW(431, "Request Header Fields Too Large"),
        ROW(500, "Internal Server Error"),
        ROW(501, "Not Implemented"),
        ROW(502, "Bad Gateway"),
        ROW(503, "Service Unavailable"),
        ROW(504, "Gateway Timeout"),
        ROW(505, "HTTP Version Not Supported"),
        ROW(508, "Loop Detected"),
#undef ROW
    };

    for (size_t i = 0; i < SL_ARRAY_LEN(rows); i++) {
        if (rows[i].status == status) {
            return rows[i].phrase;
        }
    }
    return SL_SLICE("");
}
