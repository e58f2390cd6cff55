/* SPDX-License-Identifier: Apache-2.0 */
/*
 * h1: heads of HTTP/1.0 and HTTP/1.1 messages, read strictly.
 *
 * Nothing is guessed or repaired: what two parsers could read differently is a fault. The input
 * is a contiguous buffer that grows; it may also move between calls, for nothing but an offset is
 * remembered. However it arrives in pieces, the answer is the same, and the work is linear.
 *
 * Lifetime:  struct sl_h1_scan: connection, zeroed for each message
 * Thread:    worker-local
 * Errors:    SL_AGAIN: more bytes are needed; SL_EPROTO: scan->fault says why, and whatever
 *            follows on this connection has no meaning any more
 * Limits:    the constants below; a parse allocates nothing
 * Source:    RFC 9112, RFC 9110
 */
#ifndef SL_PROTO_H1_H
#define SL_PROTO_H1_H

#include <sluiced/defs.h>
#include <sluiced/slice.h>

#include "message.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define SL_H1_LINE_MAX_BYTES 16384U /* request line, without its end */
#define SL_H1_HEAD_MAX_BYTES 65536U /* all of a head; also: names + values + 32 a field */
#define SL_H1_FIELDS_MAX_N 100U
#define SL_H1_FIELD_COST_BYTES 32U

/* X(ID, status to answer with, code for logs and metrics). In a response each is a 502. */
#define SL_H1_FAULTS(X)                                               \
    X(CONTROL_BYTE, 400, "control_byte")                              \
    X(BARE_CR, 400, "bare_cr")                                        \
    X(BARE_LF, 400, "bare_lf")                                        \
    X(START_LINE, 400, "start_line")                                  \
    X(METHOD, 400, "method")                                          \
    X(TARGET, 400, "target")                                          \
    X(PATH, 400, "path")                                              \
    X(LINE_TOO_LONG, 414, "line_too_long")                            \
    X(VERSION, 505, "version")                                        \
    X(STATUS, 400, "status")                                          \
    X(HEAD_TOO_LARGE, 431, "head_too_large")                          \
    X(TOO_MANY_FIELDS, 431, "too_many_fields")                        \
    X(FOLDED_FIELD, 400, "folded_field")                              \
    X(FIELD_NAME, 400, "field_name")                                  \
    X(UNDERSCORE, 400, "underscore")                                  \
    X(HOST_MISSING, 400, "host_missing")                              \
    X(HOST_REPEATED, 400, "host_repeated")                            \
    X(HOST, 400, "host")                                              \
    X(HOST_MISMATCH, 400, "host_mismatch")                            \
    X(LENGTH, 400, "content_length")                                  \
    X(LENGTH_REPEATED, 400, "content_length_repeated")                \
    X(LENGTH_AND_CODING, 400, "content_length_and_transfer_encoding") \
    X(CODING, 400, "transfer_encoding")                               \
    X(CODING_UNKNOWN, 501, "transfer_encoding_unknown")               \
    X(CONNECTION, 400, "connection")                                  \
    X(EXPECT, 417, "expect")                                          \
    X(UPGRADE_UNASKED, 400, "upgrade_unasked")                        \
    X(CHUNK_SIZE, 400, "chunk_size")                                  \
    X(CHUNK_EXT, 400, "chunk_extension")                              \
    X(CHUNK_EXT_TOO_LONG, 400, "chunk_extension_too_long")            \
    X(CHUNK_END, 400, "chunk_end")                                    \
    X(TRAILERS_TOO_LARGE, 431, "trailers_too_large")

enum sl_h1_fault {
    SL_H1_FAULT_NONE,
#define X(id, status, code) SL_H1_FAULT_##id,
    SL_H1_FAULTS(X)
#undef X
    SL_H1_FAULTS_N,
};

unsigned sl_h1_fault_status(enum sl_h1_fault f);  /* 0 for SL_H1_FAULT_NONE */
const char *sl_h1_fault_code(enum sl_h1_fault f); /* static; "none" for SL_H1_FAULT_NONE */

struct sl_h1_scan {
    uint32_t scanned_bytes; /* these need not be looked at again for the head's end */
    bool start_line_ok;
    uint8_t fault; /* enum sl_h1_fault, after SL_EPROTO */
};

/* Fields with '_' in the name: behind CGI "_" is "-", and X_Forwarded_For an alias. */
enum sl_h1_underscores {
    SL_H1_UNDERSCORES_DROP, /* and count */
    SL_H1_UNDERSCORES_KEEP,
    SL_H1_UNDERSCORES_REFUSE,
};

/* What is a choice in reading requests. All zero is the default. */
struct sl_h1_policy {
    struct sl_uri_policy uri;
    uint8_t underscores; /* enum sl_h1_underscores */
};

/* Parses one request head from [buf, buf + len), which begins where the message does (one empty
 * line before it is forgiven). Returns the bytes of the head (> 0), SL_AGAIN or SL_EPROTO.
 * policy: NULL for the defaults. out: initialised; complete only after success. After SL_EPROTO
 * method_text and target hold what was understood of the request line, for the log. */
ssize_t sl_h1_parse_request(struct sl_h1_scan *scan, const char *buf, size_t len,
                            const struct sl_h1_policy *policy, struct sl_request_head *out)
    SL_MUST_CHECK;

/* What a response can be understood from only with the request in mind. */
struct sl_h1_asked {
    enum sl_method method;
    bool upgrade; /* the request was sent with an Upgrade field: a 101 is legal */
};

/* The same for a response head. A 1xx other than 101 is a head of its own without a body
 * (SL_FRAMING_NONE): zero the scan and parse the next one; how many to bear is up to the caller.
 * A 101, and a 2xx to CONNECT, end HTTP on this connection: framing is SL_FRAMING_NONE and
 * keep_alive false. */
ssize_t sl_h1_parse_response(struct sl_h1_scan *scan, const char *buf, size_t len,
                             const struct sl_h1_asked *asked, struct sl_response_head *out)
    SL_MUST_CHECK;

#endif
