/* SPDX-License-Identifier: Apache-2.0 */
/*
 * h1_chunk: the chunked transfer coding, read strictly in whatever pieces it arrives.
 *
 * One decoder serves two kinds of caller. Who wants the body takes data[]. Who forwards the
 * stream sends head, then raw, of each run: that is the chunks as they came, in most cases one
 * slice for the whole input. What must not travel is left out: extensions are cut (the size line
 * is written anew, in head), and last chunk and trailers are for the caller to write, with
 * sl_h1_write_last_chunk().
 *
 * Lifetime:  exchange; zeroed before the first call, sl_h1_chunk_fini() at the end
 * Thread:    worker-local
 * Ownership: the trailers and their bytes belong to the decoder
 * Errors:    SL_EPROTO (fault says why; what the same call saw before it is lost), SL_ENOMEM
 * Limits:    chunk size 2^63 - 1 in at most 16 digits; extensions 8 KiB a message; trailers
 *            8 KiB and 64 fields, allocated only when one comes
 * Source:    RFC 9112 section 7.1, RFC 9110 section 6.5
 */
#ifndef SL_PROTO_H1_CHUNK_H
#define SL_PROTO_H1_CHUNK_H

#include <sluiced/defs.h>
#include <sluiced/slice.h>

#include "h1.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define SL_H1_CHUNK_EXT_MAX_BYTES 8192U
#define SL_H1_TRAILERS_MAX_BYTES 8192U
#define SL_H1_TRAILERS_MAX_N 64U
#define SL_H1_CHUNK_LINE_BYTES 20 /* room for a size line: SL_H1_CHUNK_HEAD_BYTES */
#define SL_H1_CHUNK_DATA_N 16

struct sl_h1_trailers;

struct sl_h1_chunk {
    uint64_t left_bytes;             /* of the chunk at hand; while its size is read: the size */
    uint64_t body_bytes;             /* handed out so far */
    struct sl_h1_trailers *trailers; /* NULL: none came */
    uint32_t ext_bytes;
    uint8_t state;
    uint8_t digits_n;
    bool line_split; /* the size line began in an earlier input, or has an extension */
    bool forwards;   /* set by who wants raw alone: of data[] there is then the last piece only, and
                      * a run does not end where it would be full */
    uint8_t fault;   /* enum sl_h1_fault, after SL_EPROTO */
    char line[SL_H1_CHUNK_LINE_BYTES];
};

/* One contiguous piece of progress. */
struct sl_h1_chunk_run {
    struct sl_slice head; /* in the decoder, until its next call: forward it before raw */
    struct sl_slice raw;  /* in the input: chunk framing and data that may go out as they came */
    struct sl_slice data[SL_H1_CHUNK_DATA_N]; /* in the input: the body bytes in raw */
    size_t data_n;
    uint64_t data_bytes; /* sum of data[] */
};

/* Reads from [in, in + len) and returns how many bytes belong to this body and are done with.
 * When that is less than len and the body has not ended, call again with the rest: a run ends
 * where data[] is full or where what follows is not adjacent. Never 0 for len > 0 before the end.
 */
ssize_t sl_h1_chunk_next(struct sl_h1_chunk *c, const char *in, size_t len,
                         struct sl_h1_chunk_run *out) SL_MUST_CHECK;

/* The last byte of the body, trailers included, was read. What follows is another message. */
bool sl_h1_chunk_done(const struct sl_h1_chunk *c);

/* Whether what was forwarded of head and raw ends between two chunks, so that another chunk may be
 * put in. */
bool sl_h1_chunk_is_between(const struct sl_h1_chunk *c);

/* After the end: the trailer fields, without those that may not come as trailers (framing,
 * routing, authentication, payload processing: every name of the header table). Empty when none
 * came. Valid until fini. */
struct sl_headers sl_h1_chunk_trailers(const struct sl_h1_chunk *c);

void sl_h1_chunk_fini(struct sl_h1_chunk *c); /* frees trailers; c is as if zeroed */

#endif
