/* SPDX-License-Identifier: Apache-2.0 */
#include "h1_write.h"

#include <sluiced/err.h>

#include "field.h"
#include "h1_parts.h"

#include "proxy/base/num.h"

#include <string.h>

/* Sticky: after the first lack of room the result is SL_ELIMIT whatever else is put. */
struct cursor {
    char *start;
    char *p;
    char *end;
    bool full;
};

static struct cursor cursor_at(char *buf, size_t size_bytes)
{
    return (struct cursor){.start = buf, .p = buf, .end = buf + size_bytes};
}

static ssize_t finish(const struct cursor *c)
{
    return c->full ? SL_ELIMIT : c->p - c->start;
}

static bool has_room(struct cursor *c, size_t n)
{
    if ((size_t)(c->end - c->p) < n) {
        c->full = true;
    }
    return !c->full;
}

static void put(struct cursor *c, struct sl_slice s)
{
    if (has_room(c, s.len) && s.len > 0) {
        memcpy(c->p, s.ptr, s.len);
        c->p += s.len;
    }
}

static void put_u64(struct cursor *c, uint64_t v)
{
    char digits[SL_NUM_TEXT_BYTES];

    put(c, (struct sl_slice){digits, sl_num_format_u64(v, digits)});
}

/* Whether name, ": " and value stand in one piece, as most that were parsed do. */
static bool is_canonical(struct sl_slice name, struct sl_slice value)
{
    return (uintptr_t)value.ptr == (uintptr_t)name.ptr + name.len + 2 &&
           name.ptr[name.len] == ':' && name.ptr[name.len + 1] == ' ';
}

static void put_field(struct cursor *c, struct sl_slice name, struct sl_slice value)
{
    if (!has_room(c, name.len + value.len + 4)) {
        return;
    }
    if (is_canonical(name, value)) {
        memcpy(c->p, name.ptr, name.len + 2 + value.len);
        c->p += name.len + 2 + value.len;
    } else {
        memcpy(c->p, name.ptr, name.len);
        c->p += name.len;
        *c->p++ = ':';
        *c->p++ = ' ';
        if (value.len > 0) {
            memcpy(c->p, value.ptr, value.len);
        }
        c->p += value.len;
    }
    *c->p++ = '\r';
    *c->p++ = '\n';
}

static uint64_t hop_ids(void)
{
    return sl_header_bit(SL_HEADER_HOST) | sl_header_bit(SL_HEADER_CONNECTION) |
           sl_header_bit(SL_HEADER_CONTENT_LENGTH) | sl_header_bit(SL_HEADER_TRANSFER_ENCODING) |
           sl_header_bit(SL_HEADER_TE) | sl_header_bit(SL_HEADER_UPGRADE) |
           sl_header_bit(SL_HEADER_KEEP_ALIVE) | sl_header_bit(SL_HEADER_PROXY_CONNECTION) |
           sl_header_bit(SL_HEADER_HTTP2_SETTINGS);
}

/* Whether some Connection field names f, and is allowed to. */
static bool is_nominated(const struct sl_headers *h, const struct sl_header *f)
{
    if (f->id != SL_HEADER_OTHER || !sl_h1_may_nominate(f->name)) {
        return false;
    }
    for (uint32_t i = 0; i < h->n; i++) {
        if (h->items[i].id == SL_HEADER_CONNECTION &&
            sl_field_has_token(h->items[i].value, f->name))
        {
            return true;
        }
    }
    return false;
}

/* skip: the ids that are left out. */
static void put_fields(struct cursor *c, const struct sl_headers *h, bool nominates, uint64_t skip,
                       const struct sl_h1_out *out)
{

    for (uint32_t i = 0; i < h->n; i++) {
        const struct sl_header *f = &h->items[i];
        if ((skip >> f->id & 1) == 0 && !(nominates && is_nominated(h, f))) {
            put_field(c, f->name, f->value);
        }
    }
    for (size_t i = 0; i < out->extra_n; i++) {
        put_field(c, out->extra[i].name, out->extra[i].value);
    }
}

static void put_framing(struct cursor *c, const struct sl_framing *f)
{
    if (f->kind == SL_FRAMING_LENGTH) {
        put(c, SL_SLICE("Content-Length: "));
        put_u64(c, f->length_bytes);
        put(c, SL_SLICE("\r\n"));
    } else if (f->kind == SL_FRAMING_CHUNKED) {
        put(c, SL_SLICE("Transfer-Encoding: chunked\r\n"));
    }
}

/* Connection and what it must name: RFC 9110 sections 7.6.1, 7.8 and 10.1.4. */
static void put_connection(struct cursor *c, enum sl_h1_connection connection,
                           struct sl_slice upgrade, bool te_trailers)
{
    static const struct sl_slice options[] = {
        [SL_H1_CONN_DEFAULT] = {"", 0},
        [SL_H1_CONN_KEEP_ALIVE] = {"keep-alive", 10},
        [SL_H1_CONN_CLOSE] = {"close", 5},
        [SL_H1_CONN_UPGRADE] = {"upgrade", 7},
    };
    struct sl_slice option = options[connection];

    if (option.len > 0 || te_trailers) {
        put(c, SL_SLICE("Connection: "));
        put(c, option);
        put(c, option.len > 0 && te_trailers ? SL_SLICE(", ") : SL_SLICE(""));
        put(c, te_trailers ? SL_SLICE("te\r\n") : SL_SLICE("\r\n"));
    }
    if (connection == SL_H1_CONN_UPGRADE) {
        put_field(c, SL_SLICE("Upgrade"), upgrade);
    }
    if (te_trailers) {
        put_field(c, SL_SLICE("TE"), SL_SLICE("trailers"));
    }
}

ssize_t sl_h1_write_request(char *buf, size_t size_bytes, const struct sl_request_head *r,
                            struct sl_slice host, const struct sl_h1_out *out)
{
    struct cursor c = cursor_at(buf, size_bytes);
    uint64_t skip = hop_ids() | out->drop_ids;

    if (r->form == SL_TARGET_AUTHORITY) {
        return SL_EPROTO;
    }
    if (r->version_minor == 0) {
        /* RFC 9110 10.1.1: ignored in HTTP/1.0, and what we write is HTTP/1.1. */
        skip |= sl_header_bit(SL_HEADER_EXPECT);
    }
    put(&c, r->method_text);
    put(&c, SL_SLICE(" "));
    put(&c, r->path);
    if (r->has_query) {
        put(&c, SL_SLICE("?"));
        put(&c, r->query);
    }
    put(&c, SL_SLICE(" HTTP/1.1\r\n"));
    put_field(&c, SL_SLICE("Host"), host.len > 0 ? host : r->authority);
    put_fields(&c, &r->headers, r->nominates, skip, out);
    put_framing(&c, &out->framing);
    put_connection(&c, out->connection, r->upgrade, r->te_trailers);
    put(&c, SL_SLICE("\r\n"));
    return finish(&c);
}

ssize_t sl_h1_write_response(char *buf, size_t size_bytes, const struct sl_response_head *r,
                             const struct sl_h1_out *out)
{
    struct cursor c = cursor_at(buf, size_bytes);

    put(&c, SL_SLICE("HTTP/1.1 "));
    put_u64(&c, r->status);
    put(&c, SL_SLICE(" "));
    put(&c, r->reason.len > 0 ? r->reason : sl_status_phrase(r->status));
    put(&c, SL_SLICE("\r\n"));
    put_fields(&c, &r->headers, r->nominates, hop_ids() | out->drop_ids, out);
    if (r->status >= 200 && r->status != 204) { /* RFC 9110 8.6, RFC 9112 6.1 */
        put_framing(&c, &out->framing);
    }
    put_connection(&c, out->connection, r->upgrade, false);
    put(&c, SL_SLICE("\r\n"));
    return finish(&c);
}

size_t sl_h1_write_chunk_head(uint64_t n, char *buf)
{
    size_t len = sl_num_format_hex(n, buf);

    buf[len++] = '\r';
    buf[len++] = '\n';
    return len;
}

ssize_t sl_h1_write_last_chunk(char *buf, size_t size_bytes, const struct sl_headers *trailers)
{
    struct cursor c = cursor_at(buf, size_bytes);

    put(&c, SL_SLICE("0\r\n"));
    for (uint32_t i = 0; trailers != NULL && i < trailers->n; i++) {
        put_field(&c, trailers->items[i].name, trailers->items[i].value);
    }
    put(&c, SL_SLICE("\r\n"));
    return finish(&c);
}
