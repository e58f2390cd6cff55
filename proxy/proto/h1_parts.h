/* SPDX-License-Identifier: Apache-2.0 */
/*
 * h1_parts: what the readers of requests, responses and trailers have in common. Private to the
 * codec: nobody else includes this.
 *
 * Reading goes in two steps. First the end of the head is looked for, and every byte on the way
 * judged by its value alone (controls, lone CR and LF): 16 at a time, resumable. Then, in a text
 * that is known to be whole lines, the grammar. The order of faults so depends on their position
 * in the input and not on how it was cut.
 *
 * Thread:    any (pure)
 */
#ifndef SL_PROTO_H1_PARTS_H
#define SL_PROTO_H1_PARTS_H

#include <sluiced/defs.h>
#include <sluiced/err.h>
#include <sluiced/slice.h>

#include "h1.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#ifdef __SSE2__
#include <emmintrin.h>
#endif

/* The first byte in [from, len) that no line may have inside it: a control other than HTAB; len
 * when there is none. */
static inline size_t sl_h1_scan_scalar(const char *buf, size_t from, size_t len)
{
    for (; from < len; from++) {
        unsigned char c = (unsigned char)buf[from];
        if ((c < ' ' && c != '\t') || c == 0x7f) {
            break;
        }
    }
    return from;
}

static inline size_t sl_h1_scan(const char *buf, size_t from, size_t len)
{
#ifdef __SSE2__
    const __m128i control_max = _mm_set1_epi8(0x1f);
    const __m128i tab = _mm_set1_epi8('\t');
    const __m128i del = _mm_set1_epi8(0x7f);

    for (; len - from >= 16; from += 16) {
        __m128i v = _mm_loadu_si128((const __m128i *)(const void *)(buf + from));
        __m128i low = _mm_cmpeq_epi8(_mm_min_epu8(v, control_max), v);
        __m128i bad =
            _mm_or_si128(_mm_andnot_si128(_mm_cmpeq_epi8(v, tab), low), _mm_cmpeq_epi8(v, del));
        unsigned mask = (unsigned)_mm_movemask_epi8(bad);
        if (mask != 0) {
            return from + (size_t)__builtin_ctz(mask);
        }
    }
#endif
    return sl_h1_scan_scalar(buf, from, len);
}

/* Sets scan->fault and returns SL_EPROTO. */
static inline ssize_t sl_h1_refuse(struct sl_h1_scan *scan, enum sl_h1_fault f)
{
    scan->fault = (uint8_t)f;
    return SL_EPROTO;
}

/* Where the field lines of a head end: the positions of their CRs, up to that of the empty line.
 * What is beyond the array is more fields than are allowed. */
#define SL_H1_LINES_N (SL_H1_FIELDS_MAX_N + 1)

struct sl_h1_lines {
    uint32_t n;
    uint32_t cr[SL_H1_LINES_N];
};

/* For an array of lines on the stack, of which n says what is filled: clearing 400 bytes a head
 * (-ftrivial-auto-var-init=zero) costs as much as parsing two fields. */
#define SL_H1_UNINITIALISED __attribute__((uninitialized))

/* From scan->scanned_bytes on: the position of the next CRLF, behind which scanned_bytes then
 * stands; SL_AGAIN or SL_EPROTO. */
ssize_t sl_h1_next_line(struct sl_h1_scan *scan, const char *buf, size_t len);

/* From scan->scanned_bytes on: the length up to and with the first empty line; SL_AGAIN or
 * SL_EPROTO, which it also is when there is none within max bytes. lines: n set to 0 by the
 * caller; gets the lines that end behind scanned_bytes. */
ssize_t sl_h1_find_end(struct sl_h1_scan *scan, const char *buf, size_t len, size_t max,
                       struct sl_h1_lines *lines);

/* What the fields of one message say that its framing depends on. Zeroed by the caller. */
struct sl_h1_facts {
    struct sl_slice host; /* the last of each name; how many there were is counted */
    struct sl_slice length;
    struct sl_slice coding;
    struct sl_slice upgrade;
    struct sl_slice expect;
    uint32_t hosts_n;
    uint32_t lengths_n;
    uint32_t codings_n;
    uint32_t upgrades_n;
    uint32_t expects_n;
    uint32_t dropped_n;
    uint32_t options_n; /* elements of Connection */
    bool close;
    bool keep_alive;
    bool upgrade_option;
    bool nominates;
    bool te_trailers;
};

struct sl_h1_field_rules {
    uint32_t max_n;
    enum sl_h1_underscores underscores;
};

/* Parses the field lines of a head, the first of which begins at `at`, into h. */
enum sl_h1_fault sl_h1_parse_fields(struct sl_slice head, size_t at,
                                    const struct sl_h1_lines *lines,
                                    const struct sl_h1_field_rules *rules, struct sl_headers *h,
                                    struct sl_h1_facts *facts);

/* RFC 9112 section 6.3, where it is the same for both directions: *out is SL_FRAMING_NONE when
 * neither Content-Length nor Transfer-Encoding was sent. */
enum sl_h1_fault sl_h1_resolve_framing(const struct sl_h1_facts *facts, uint8_t version_minor,
                                       struct sl_framing *out);

/* RFC 9112 section 9.3 */
bool sl_h1_persists(const struct sl_h1_facts *facts, uint8_t version_minor);

/* s: the eight bytes of "HTTP/1.1". */
enum sl_h1_fault sl_h1_parse_version(struct sl_slice s, uint8_t *minor);

/* Whether Connection may remove a field of that name. */
bool sl_h1_may_nominate(struct sl_slice name);

#endif
