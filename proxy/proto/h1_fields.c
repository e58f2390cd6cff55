/* SPDX-License-Identifier: Apache-2.0 */
#include <sluiced/err.h>

#include "field.h"
#include "h1_parts.h"

#include "proxy/base/num.h"

enum {
    TWO_BLOCKS_BYTES = 32,
    OPTIONS_MAX_N = 64 /* the writer compares each with each field */
};

bool sl_h1_may_nominate(struct sl_slice name)
{
    static const struct sl_slice forwarded = {"x-forwarded-", 12};

    if (name.len >= forwarded.len &&
        sl_slice_ieq((struct sl_slice){name.ptr, forwarded.len}, forwarded))
    {
        return false;
    }
    return sl_header_id_of(name) == SL_HEADER_OTHER;
}

static enum sl_h1_fault read_connection(struct sl_slice value, struct sl_h1_facts *f)
{
    struct sl_slice option;

    if (sl_slice_ieq(value, SL_SLICE("keep-alive"))) { /* what most of them say */
        f->keep_alive = true;
        return SL_H1_FAULT_NONE;
    }
    while (sl_field_next(&value, &option)) {
        if (option.len == 0) {
            continue; /* RFC 9110 5.6.1.2: empty elements are to be borne */
        }
        if (!sl_field_is_token(option) || f->options_n++ == OPTIONS_MAX_N) {
            return SL_H1_FAULT_CONNECTION;
        }
        if (sl_slice_ieq(option, SL_SLICE("close"))) {
            f->close = true;
        } else if (sl_slice_ieq(option, SL_SLICE("keep-alive"))) {
            f->keep_alive = true;
        } else if (sl_slice_ieq(option, SL_SLICE("upgrade"))) {
            f->upgrade_option = true;
        } else {
            f->nominates |= sl_h1_may_nominate(option);
        }
    }
    return SL_H1_FAULT_NONE;
}

/* Files away what framing and routing will ask for. */
static enum sl_h1_fault note(enum sl_header_id id, struct sl_slice value, struct sl_h1_facts *f)
{
    if (id == SL_HEADER_OTHER || id > SL_HEADER_EXPECT) {
        return SL_H1_FAULT_NONE; /* most of them: the table begins with those that matter */
    }
    if (id == SL_HEADER_HOST) {
        f->host = value;
        f->hosts_n++;
    } else if (id == SL_HEADER_CONNECTION) {
        return read_connection(value, f);
    } else if (id == SL_HEADER_CONTENT_LENGTH) {
        f->length = value;
        f->lengths_n++;
    } else if (id == SL_HEADER_TRANSFER_ENCODING) {
        f->coding = value;
        f->codings_n++;
    } else if (id == SL_HEADER_TE) {
        f->te_trailers |= sl_field_has_token(value, SL_SLICE("trailers"));
    } else if (id == SL_HEADER_UPGRADE) {
        f->upgrade = value;
        f->upgrades_n++;
    } else if (id == SL_HEADER_EXPECT) {
        f->expect = value;
        f->expects_n++;
    }
    return SL_H1_FAULT_NONE;
}

/* A field name while it is read. */
struct name {
    size_t len;
    bool underscore;
};

/* Reads a name up to what is no token byte, at the latest the CR of the line that p stands in. */
static struct name read_name_scalar(const char *p)
{
    struct name n = {.len = 0};

    for (; sl_is_token_byte(p[n.len]); n.len++) {
        n.underscore |= p[n.len] == '_';
    }
    return n;
}

#ifdef __SSE2__
/* Of sixteen bytes, a bit set in *colons for each ':' and in *plain for each letter, digit, '-'. */
static void read_block(const char *p, unsigned *colons, unsigned *plain)
{
    __m128i v = _mm_loadu_si128((const __m128i *)(const void *)p);
    __m128i low = _mm_or_si128(v, _mm_set1_epi8(0x20));
    __m128i is_letter = _mm_and_si128(_mm_cmpgt_epi8(low, _mm_set1_epi8('a' - 1)),
                                      _mm_cmplt_epi8(low, _mm_set1_epi8('z' + 1)));
    __m128i is_digit = _mm_and_si128(_mm_cmpgt_epi8(v, _mm_set1_epi8('0' - 1)),
                                     _mm_cmplt_epi8(v, _mm_set1_epi8('9' + 1)));
    __m128i is_dash = _mm_cmpeq_epi8(v, _mm_set1_epi8('-'));

    *colons = (unsigned)_mm_movemask_epi8(_mm_cmpeq_epi8(v, _mm_set1_epi8(':')));
    *plain = (unsigned)_mm_movemask_epi8(_mm_or_si128(_mm_or_si128(is_letter, is_digit), is_dash));
}
#endif

/* The same, fast for names of letters, digits and '-' with a colon behind. */
static struct name read_name(const char *p, const char *end)
{
#ifdef __SSE2__
    if (end - p >= TWO_BLOCKS_BYTES) {
        unsigned colons;
        unsigned plain;
        read_block(p, &colons, &plain);
        if (colons == 0) {
            unsigned colons_high;
            unsigned plain_high;
            read_block(p + 16, &colons_high, &plain_high);
            colons = colons_high << 16;
            plain |= plain_high << 16;
        }
        unsigned before = (colons & -colons) - 1; /* the bits below the first colon */
        if (colons != 0 && (plain & before) == before) {
            return (struct name){.len = (size_t)__builtin_ctz(colons)};
        }
    }
#else
    (void)end;
#endif
    return read_name_scalar(p);
}

/* What stands between a colon and a line's end, without the blanks around it. */
static struct sl_slice trim_value(const char *p, const char *line_end)
{
    while (p < line_end && (*p == ' ' || *p == '\t')) {
        p++;
    }
    while (line_end > p && (line_end[-1] == ' ' || line_end[-1] == '\t')) {
        line_end--;
    }
    return (struct sl_slice){p, (size_t)(line_end - p)};
}

enum sl_h1_fault sl_h1_parse_fields(struct sl_slice head, size_t at,
                                    const struct sl_h1_lines *lines,
                                    const struct sl_h1_field_rules *rules, struct sl_headers *h,
                                    struct sl_h1_facts *facts)
{
    uint32_t max_n = rules->max_n < h->capacity_n ? rules->max_n : h->capacity_n;
    size_t cost_bytes = 0;

    h->n = 0;
    for (uint32_t i = 0; lines->cr[i] != at; i++) {
        const char *p = head.ptr + at;
        const char *line_end = head.ptr + lines->cr[i];

        if (i >= max_n) {
            return SL_H1_FAULT_TOO_MANY_FIELDS;
        }
        struct sl_header *f = &h->items[h->n];
        struct name name = read_name(p, head.ptr + head.len);
        if (*p == ' ' || *p == '\t') {
            return SL_H1_FAULT_FOLDED_FIELD; /* RFC 9112 5.2: obs-fold */
        }
        if (name.len == 0 || p[name.len] != ':') {
            return SL_H1_FAULT_FIELD_NAME; /* RFC 9112 5.1: no space before the colon either */
        }
        f->name = (struct sl_slice){p, name.len};
        f->value = trim_value(p + name.len + 1, line_end);
        f->id = (uint8_t)sl_header_id_of(f->name);
        at = lines->cr[i] + 2U;

        cost_bytes += f->name.len + f->value.len + SL_H1_FIELD_COST_BYTES;
        if (cost_bytes > SL_H1_HEAD_MAX_BYTES) {
            return SL_H1_FAULT_HEAD_TOO_LARGE;
        }
        if (name.underscore && rules->underscores != SL_H1_UNDERSCORES_KEEP) {
            if (rules->underscores == SL_H1_UNDERSCORES_REFUSE) {
                return SL_H1_FAULT_UNDERSCORE;
            }
            facts->dropped_n++;
            continue;
        }
        enum sl_h1_fault fault = note((enum sl_header_id)f->id, f->value, facts);
        if (fault != SL_H1_FAULT_NONE) {
            return fault;
        }
        h->n++;
    }
    return SL_H1_FAULT_NONE;
}

/* A list of well-formed codings that ends in at most one chunked is understood and not supported;
 * all else is not understood, and where a body ends then is anybody's guess. */
static enum sl_h1_fault judge_coding(struct sl_slice value)
{
    struct sl_slice coding;
    bool chunked = false;
    size_t codings_n = 0;

    if (sl_slice_ieq(value, SL_SLICE("chunked"))) {
        return SL_H1_FAULT_NONE;
    }
    for (; sl_field_next(&value, &coding); codings_n++) {
        size_t len = 0;
        while (len < coding.len && coding.ptr[len] != ';') {
            len++;
        }
        bool has_params = len < coding.len;
        coding = sl_field_trim((struct sl_slice){coding.ptr, len});
        if (!sl_field_is_token(coding) || chunked) {
            return SL_H1_FAULT_CODING;
        }
        chunked = sl_slice_ieq(coding, SL_SLICE("chunked"));
        if (chunked && has_params) {
            return SL_H1_FAULT_CODING; /* RFC 9112 7.1: chunked has none */
        }
    }
    /* One chunked here is one with a comma. */
    bool unknown = codings_n > (chunked ? 1 : 0);
    return unknown ? SL_H1_FAULT_CODING_UNKNOWN : SL_H1_FAULT_CODING;
}

enum sl_h1_fault sl_h1_resolve_framing(const struct sl_h1_facts *facts, uint8_t version_minor,
                                       struct sl_framing *out)
{
    struct sl_framing framing = {.kind = SL_FRAMING_NONE};

    if (facts->codings_n > 0) {
        /* RFC 9112 6.1 and 6.3 would let Transfer-Encoding win over Content-Length; two of them
         * are two readings. HTTP/1.0 has none, and a hop that does not know it is a third. */
        if (facts->lengths_n > 0) {
            return SL_H1_FAULT_LENGTH_AND_CODING;
        }
        if (facts->codings_n > 1 || version_minor == 0) {
            return SL_H1_FAULT_CODING;
        }
        enum sl_h1_fault fault = judge_coding(facts->coding);
        if (fault != SL_H1_FAULT_NONE) {
            return fault;
        }
        framing.kind = SL_FRAMING_CHUNKED;
    } else if (facts->lengths_n > 0) {
        struct sl_slice s = facts->length;
        if (facts->lengths_n > 1) {
            return SL_H1_FAULT_LENGTH_REPEATED; /* equal ones too */
        }
        /* A leading zero is within the grammar, but octal to some. */
        if ((s.len > 1 && s.ptr[0] == '0') ||
            sl_num_parse_below(s, INT64_MAX, &framing.length_bytes) != SL_OK)
        {
            return SL_H1_FAULT_LENGTH;
        }
        framing.kind = SL_FRAMING_LENGTH;
    }
    *out = framing;
    return SL_H1_FAULT_NONE;
}

bool sl_h1_persists(const struct sl_h1_facts *facts, uint8_t version_minor)
{
    return !facts->close && (version_minor > 0 || facts->keep_alive);
}
