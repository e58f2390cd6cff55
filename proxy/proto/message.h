/* SPDX-License-Identifier: Apache-2.0 */
/*
 * message: heads of requests and responses, in terms that no version of HTTP is named in.
 *
 * Lifetime:  exchange. Slices point into the bytes that were parsed; when those move, tell the
 *            head with sl_*_head_rebase()
 * Thread:    worker-local (plain values)
 * Ownership: the caller gives the array of fields and the path buffer, and keeps both
 */
#ifndef SL_PROTO_MESSAGE_H
#define SL_PROTO_MESSAGE_H

#include <sluiced/slice.h>

#include "header.h"
#include "method.h"
#include "uri.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum sl_framing_kind {
    SL_FRAMING_NONE,        /* no body */
    SL_FRAMING_LENGTH,      /* length_bytes of body, perhaps 0 */
    SL_FRAMING_CHUNKED,     /* struct sl_h1_chunk finds the end */
    SL_FRAMING_UNTIL_CLOSE, /* responses only */
};

struct sl_framing {
    enum sl_framing_kind kind;
    uint64_t length_bytes; /* of SL_FRAMING_LENGTH; at most 2^63 - 1 */
};

enum sl_target_form {
    SL_TARGET_ORIGIN,    /* /path?query */
    SL_TARGET_ABSOLUTE,  /* http://authority/path?query */
    SL_TARGET_AUTHORITY, /* host:port, CONNECT only */
    SL_TARGET_ASTERISK,  /* *, OPTIONS only */
};

struct sl_request_head {
    /* Set by sl_request_head_init. */
    struct sl_headers headers;
    char *path_buf; /* used only where the path had to be rewritten */
    size_t path_buf_bytes;

    struct sl_slice method_text;
    struct sl_slice target;    /* as it came; for logs: nothing else may read it */
    struct sl_slice scheme;    /* of the absolute form, any case; otherwise empty */
    struct sl_slice authority; /* of the target, else Host; empty in HTTP/1.0 without Host */
    struct sl_authority host;  /* the same, parsed; host.host is empty when authority is */
    struct sl_slice path;      /* normalised; "*" for the asterisk form, "" for CONNECT */
    struct sl_slice query;     /* without '?' */
    struct sl_slice upgrade;   /* see below; empty: no upgrade was asked for */
    struct sl_framing framing;
    enum sl_method method;
    enum sl_target_form form;
    uint32_t dropped_n;    /* fields not in headers because of '_' in the name */
    uint8_t version_minor; /* HTTP/1.x */
    bool has_query;        /* tells "/a?" from "/a" */
    bool path_rewritten;   /* path is not in the parsed bytes: in path_buf, or static */
    bool keep_alive;
    bool expect_continue;
    bool te_trailers; /* the sender wants trailers */
    bool nominates;   /* Connection names fields to be removed (the writer does) */
};

/* upgrade: the value of Upgrade when Connection says so too, the version is 1.1 and there is no
 * body. A request with a body is forwarded as a plain one: what follows it could be read as the
 * new protocol by one side and as a request by the other. */

struct sl_response_head {
    /* Set by sl_response_head_init. */
    struct sl_headers headers;

    struct sl_slice reason;
    struct sl_slice upgrade;    /* of a 101 */
    struct sl_framing framing;  /* of the body that follows */
    struct sl_framing declared; /* what the fields say, to be written again: for HEAD and 304 it
                                 * speaks of a body that does not follow */
    uint16_t status;
    uint8_t version_minor;
    bool keep_alive; /* the connection may carry another request after this response */
    bool nominates;
};

/* Must come before the first parse; items: capacity_n fields. */
static inline void sl_request_head_init(struct sl_request_head *r, struct sl_header *items,
                                        uint32_t capacity_n, char *path_buf, size_t path_buf_bytes)
{
    *r = (struct sl_request_head){
        .headers = {.items = items, .capacity_n = capacity_n},
        .path_buf_bytes = path_buf_bytes,
    };
    r->path_buf = path_buf;
}

static inline void sl_response_head_init(struct sl_response_head *r, struct sl_header *items,
                                         uint32_t capacity_n)
{
    *r = (struct sl_response_head){.headers = {.items = items, .capacity_n = capacity_n}};
}

/* The parsed bytes [old_base, old_base + len) now stand at new_base. A path in path_buf stays. */
void sl_request_head_rebase(struct sl_request_head *r, const char *old_base, size_t len,
                            const char *new_base);
void sl_response_head_rebase(struct sl_response_head *r, const char *old_base, size_t len,
                             const char *new_base);

/* The phrase of RFC 9110 section 15 (and 429, 431, 508); "" for a status that has none there. */
struct sl_slice sl_status_phrase(unsigned status);

#endif
