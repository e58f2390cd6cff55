/* SPDX-License-Identifier: Apache-2.0 */
/*
 * h1_describe: what was parsed as a text, so that two ways to the same head can be compared; and
 * those two ways. Used by unit tests and fuzz targets.
 */
#ifndef SL_TEST_H1_DESCRIBE_H
#define SL_TEST_H1_DESCRIBE_H

#include <sluiced/err.h>

#include "proxy/proto/h1.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DESCRIBED_BYTES (192 * 1024)

/* Each result and its description. */
struct described {
    const struct sl_h1_policy *policy; /* of requests; NULL: the default */
    ssize_t rc;
    unsigned fault;
    size_t len;
    char text[DESCRIBED_BYTES];
};

static inline void SL_PRINTF(2, 3) describe(struct described *d, const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    int n = vsnprintf(d->text + d->len, sizeof(d->text) - d->len, fmt, args);
    va_end(args);
    d->len += (size_t)n;
    if (d->len >= sizeof(d->text)) {
        abort(); /* the limits of a head make this impossible */
    }
}

static inline void describe_slice(struct described *d, const char *name, struct sl_slice s)
{
    describe(d, "%s=", name);
    for (size_t i = 0; i < s.len; i++) { /* not %.*s, which stops at NUL */
        d->text[d->len++] = s.ptr[i];
    }
    describe(d, "\n");
}

static inline void describe_headers(struct described *d, const struct sl_headers *h)
{
    for (uint32_t i = 0; i < h->n; i++) {
        describe(d, "field %d ", h->items[i].id);
        describe_slice(d, "name", h->items[i].name);
        describe_slice(d, "value", h->items[i].value);
    }
}

/* hop: also what belongs to this connection only. */
static inline void describe_request(struct described *d, const struct sl_request_head *r, bool hop)
{
    describe(d, "method %d framing %d %ju\n", (int)r->method, (int)r->framing.kind,
             (uintmax_t)r->framing.length_bytes);
    describe_slice(d, "method", r->method_text);
    describe_slice(d, "authority", r->authority);
    describe_slice(d, "host", r->host.host);
    describe_slice(d, "path", r->path);
    describe(d, "query %d ", r->has_query);
    describe_slice(d, "query", r->query);
    if (hop) {
        describe(d, "port %d form %d minor %d keep %d expect %d te %d nominates %d dropped %u\n",
                 r->host.port, (int)r->form, r->version_minor, r->keep_alive, r->expect_continue,
                 r->te_trailers, r->nominates, r->dropped_n);
        describe_slice(d, "target", r->target);
        describe_slice(d, "scheme", r->scheme);
        describe_slice(d, "upgrade", r->upgrade);
        describe_headers(d, &r->headers);
    }
}

static inline void describe_response(struct described *d, const struct sl_response_head *r,
                                     bool hop)
{
    describe(d, "status %d framing %d %ju declared %d %ju\n", r->status, (int)r->framing.kind,
             (uintmax_t)r->framing.length_bytes, (int)r->declared.kind,
             (uintmax_t)r->declared.length_bytes);
    if (hop) {
        describe_slice(d, "reason", r->reason);
        describe_slice(d, "upgrade", r->upgrade);
        describe(d, "minor %d keep %d nominates %d\n", r->version_minor, r->keep_alive,
                 r->nominates);
        describe_headers(d, &r->headers);
    }
}

/* A copy that ends where its heap block does, so that reading beyond is seen. */
static inline char *copy_exactly(const char *bytes, size_t len)
{
    char *copy = malloc(len > 0 ? len : 1);

    if (copy == NULL) {
        abort();
    }
    if (len > 0) {
        memcpy(copy, bytes, len);
    }
    return copy;
}

/* Parses bytes as they grow from one element of cuts (ascending) to the next, and at last whole,
 * each time at another address. asked: NULL for a request. */
static inline void parse_in_pieces(const char *bytes, size_t len, const size_t *cuts, size_t cuts_n,
                                   const struct sl_h1_asked *asked, struct described *d)
{
    static char path_buf[SL_H1_LINE_MAX_BYTES];
    struct sl_header items[SL_H1_FIELDS_MAX_N];
    struct sl_h1_scan scan = {.scanned_bytes = 0};

    d->rc = SL_AGAIN;
    d->len = 0;
    for (size_t i = 0; i <= cuts_n && d->rc == SL_AGAIN; i++) {
        size_t n = i < cuts_n ? cuts[i] : len;
        char *copy = copy_exactly(bytes, n);
        if (asked == NULL) {
            struct sl_request_head r;
            sl_request_head_init(&r, items, SL_H1_FIELDS_MAX_N, path_buf, sizeof(path_buf));
            d->rc = sl_h1_parse_request(&scan, copy, n, d->policy, &r);
            if (d->rc > 0) {
                describe_request(d, &r, true);
            }
        } else {
            struct sl_response_head r;
            sl_response_head_init(&r, items, SL_H1_FIELDS_MAX_N);
            d->rc = sl_h1_parse_response(&scan, copy, n, asked, &r);
            if (d->rc > 0) {
                describe_response(d, &r, true);
            }
        }
        free(copy);
    }
    d->fault = scan.fault;
}

static inline bool described_same(const struct described *a, const struct described *b)
{
    return a->rc == b->rc && a->fault == b->fault && a->len == b->len &&
           (a->len == 0 || memcmp(a->text, b->text, a->len) == 0);
}

#endif
