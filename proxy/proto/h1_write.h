/* SPDX-License-Identifier: Apache-2.0 */
/*
 * h1_write: heads of HTTP/1.1 messages and chunk frames, into a buffer of the caller's.
 *
 * What was parsed is written again field by field; what belongs to one hop is not: Connection and
 * the unknown fields that it names, Keep-Alive, Proxy-Connection, TE, Transfer-Encoding, Upgrade,
 * HTTP2-Settings, Content-Length, Host. The last five come back as the caller's options say.
 * Connection cannot remove a name of the header table, nor any X-Forwarded-*: a client must not
 * strip what the next hop trusts (RFC 9110 section 7.6.1 allows to ignore that). An Expect that
 * came in HTTP/1.0 is left out: there it means nothing.
 *
 * Thread:    any (pure)
 * Errors:    SL_ELIMIT: the buffer is too small; its contents are then undefined
 * Source:    RFC 9112 sections 3, 4, 6 and 7
 */
#ifndef SL_PROTO_H1_WRITE_H
#define SL_PROTO_H1_WRITE_H

#include <sluiced/defs.h>
#include <sluiced/slice.h>

#include "message.h"

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

enum sl_h1_connection {
    SL_H1_CONN_DEFAULT,    /* nothing is written: HTTP/1.1 persists */
    SL_H1_CONN_KEEP_ALIVE, /* for a downstream that speaks HTTP/1.0 */
    SL_H1_CONN_CLOSE,
    SL_H1_CONN_UPGRADE, /* Connection: upgrade, and Upgrade with the head's value */
};

/* What is common to both directions. extra and what it points to are borrowed; they are written
 * after the head's own fields, and nothing removes them. Their bytes are the caller's promise. */
struct sl_h1_out {
    const struct sl_header *extra; /* name and value; id is not looked at */
    size_t extra_n;
    uint64_t drop_ids;         /* sl_header_bit()s: fields of the head to leave out as well */
    struct sl_framing framing; /* NONE and UNTIL_CLOSE write no field */
    enum sl_h1_connection connection;
};

/* host: replaces the head's authority unless empty. The path goes out as it was routed, in origin
 * form ("*" for the asterisk form). Not for CONNECT: SL_EPROTO. Returns the length. */
ssize_t sl_h1_write_request(char *buf, size_t size_bytes, const struct sl_request_head *r,
                            struct sl_slice host, const struct sl_h1_out *out) SL_MUST_CHECK;

/* A reason that is empty is replaced by the usual phrase. A 1xx or 204 gets no framing fields
 * whatever out says. Pass r->declared as framing to forward what a HEAD said. */
ssize_t sl_h1_write_response(char *buf, size_t size_bytes, const struct sl_response_head *r,
                             const struct sl_h1_out *out) SL_MUST_CHECK;

#define SL_H1_CHUNK_HEAD_BYTES 20 /* 16 digits and CRLF, rounded up */

/* The size line of a chunk of n > 0 bytes; buf has SL_H1_CHUNK_HEAD_BYTES. Returns the length.
 * After the data comes CRLF. */
size_t sl_h1_write_chunk_head(uint64_t n, char *buf);

/* "0" CRLF, trailers (or NULL), CRLF: the end of a chunked body. */
ssize_t sl_h1_write_last_chunk(char *buf, size_t size_bytes, const struct sl_headers *trailers)
    SL_MUST_CHECK;

#endif
