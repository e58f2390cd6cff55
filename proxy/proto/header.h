/* SPDX-License-Identifier: Apache-2.0 */
/*
 * header: fields of a message, and the names of those that a proxy has business with.
 *
 * A name is looked up once, when it is parsed; everybody after that compares a small number.
 *
 * Lifetime:  slices last until the bytes they were parsed from move; see sl_headers_rebase
 * Thread:    any (plain values)
 * Limits:    63 names, so that a set of them is a uint64_t: sl_header_bit()
 */
#ifndef SL_PROTO_HEADER_H
#define SL_PROTO_HEADER_H

#include <sluiced/defs.h>
#include <sluiced/slice.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* X(ID, "name", first, last but one, last): these characters and the length make the hash. A name
 * that collides with another draws a warning (-Woverride-init) and fails the unit test, as do
 * characters that are not the name's: then other factors in header.c must be found. */
#define SL_HEADER_NAMES(X)                                       \
    X(HOST, "host", 'h', 's', 't')                               \
    X(CONNECTION, "connection", 'c', 'o', 'n')                   \
    X(CONTENT_LENGTH, "content-length", 'c', 't', 'h')           \
    X(TRANSFER_ENCODING, "transfer-encoding", 't', 'n', 'g')     \
    X(TE, "te", 't', 't', 'e')                                   \
    X(TRAILER, "trailer", 't', 'e', 'r')                         \
    X(UPGRADE, "upgrade", 'u', 'd', 'e')                         \
    X(EXPECT, "expect", 'e', 'c', 't')                           \
    X(KEEP_ALIVE, "keep-alive", 'k', 'v', 'e')                   \
    X(PROXY_CONNECTION, "proxy-connection", 'p', 'o', 'n')       \
    X(PROXY_AUTHENTICATE, "proxy-authenticate", 'p', 't', 'e')   \
    X(PROXY_AUTHORIZATION, "proxy-authorization", 'p', 'o', 'n') \
    X(HTTP2_SETTINGS, "http2-settings", 'h', 'g', 's')           \
    X(X_FORWARDED_FOR, "x-forwarded-for", 'x', 'o', 'r')         \
    X(X_FORWARDED_PROTO, "x-forwarded-proto", 'x', 't', 'o')     \
    X(X_FORWARDED_HOST, "x-forwarded-host", 'x', 's', 't')       \
    X(X_FORWARDED_PORT, "x-forwarded-port", 'x', 'r', 't')       \
    X(X_REAL_IP, "x-real-ip", 'x', 'i', 'p')                     \
    X(FORWARDED, "forwarded", 'f', 'e', 'd')                     \
    X(VIA, "via", 'v', 'i', 'a')                                 \
    X(X_REQUEST_ID, "x-request-id", 'x', 'i', 'd')               \
    X(TRACEPARENT, "traceparent", 't', 'n', 't')                 \
    X(TRACESTATE, "tracestate", 't', 't', 'e')                   \
    X(MAX_FORWARDS, "max-forwards", 'm', 'd', 's')               \
    X(CONTENT_TYPE, "content-type", 'c', 'p', 'e')               \
    X(CONTENT_ENCODING, "content-encoding", 'c', 'n', 'g')       \
    X(CONTENT_RANGE, "content-range", 'c', 'g', 'e')             \
    X(RETRY_AFTER, "retry-after", 'r', 'e', 'r')                 \
    X(DATE, "date", 'd', 't', 'e')                               \
    X(SERVER, "server", 's', 'e', 'r')                           \
    X(AGE, "age", 'a', 'g', 'e')                                 \
    X(EXPIRES, "expires", 'e', 'e', 's')                         \
    X(VARY, "vary", 'v', 'r', 'y')                               \
    X(ETAG, "etag", 'e', 'a', 'g')                               \
    X(LOCATION, "location", 'l', 'o', 'n')                       \
    X(CACHE_CONTROL, "cache-control", 'c', 'o', 'l')             \
    X(AUTHORIZATION, "authorization", 'a', 'o', 'n')             \
    X(WWW_AUTHENTICATE, "www-authenticate", 'w', 't', 'e')       \
    X(COOKIE, "cookie", 'c', 'i', 'e')                           \
    X(SET_COOKIE, "set-cookie", 's', 'i', 'e')                   \
    X(RANGE, "range", 'r', 'g', 'e')                             \
    X(ACCEPT, "accept", 'a', 'p', 't')                           \
    X(ACCEPT_ENCODING, "accept-encoding", 'a', 'n', 'g')         \
    X(USER_AGENT, "user-agent", 'u', 'n', 't')

enum sl_header_id {
    SL_HEADER_OTHER,
#define X(id, name, first, before, last) SL_HEADER_##id,
    SL_HEADER_NAMES(X)
#undef X
    SL_HEADER_IDS_N,
};

struct sl_header {
    struct sl_slice name; /* as it came: any case */
    struct sl_slice value;
    uint8_t id; /* enum sl_header_id */
};

struct sl_headers {
    struct sl_header *items; /* the caller's array */
    uint32_t n;
    uint32_t capacity_n;
};

/* A set of ids is the sum of their bits. */
static inline uint64_t sl_header_bit(unsigned id)
{
    return 1ULL << id;
}

/* name: a token, in any case. */
enum sl_header_id sl_header_id_of(struct sl_slice name);
struct sl_slice sl_header_name(enum sl_header_id id); /* lower case; "" for SL_HEADER_OTHER */

/* The first field of that name, or NULL. Borrowed until the list changes. O(n). */
const struct sl_header *sl_headers_find(const struct sl_headers *h, enum sl_header_id id);
const struct sl_header *sl_headers_find_name(const struct sl_headers *h, struct sl_slice name);

/* Appends a field; looks the id up. SL_ELIMIT when the array is full. name and value are
 * borrowed, and taken as they are: not from a peer without having been checked. */
int sl_headers_add(struct sl_headers *h, struct sl_slice name, struct sl_slice value) SL_MUST_CHECK;

/* Takes out all fields of that name, any case; keeps the order of the others. Returns how many. */
size_t sl_headers_remove(struct sl_headers *h, struct sl_slice name);

/* The bytes [old_base, old_base + len) now stand at new_base: moves each slice that pointed
 * there, and no other. The old bytes are not read. */
void sl_headers_rebase(struct sl_headers *h, const char *old_base, size_t len,
                       const char *new_base);
struct sl_slice sl_slice_rebase(struct sl_slice s, const char *old_base, size_t len,
                                const char *new_base);

#endif
