/* SPDX-License-Identifier: Apache-2.0 */
#include "h1_chunk.h"

#include <sluiced/err.h>

#include "field.h"
#include "h1_parts.h"
#include "h1_write.h"

#include "proxy/base/alloc.h"

#include <string.h>

/* Up to LINE_END the bytes of a size line are read one by one; zero is where each chunk begins. */
/* NOLINTNEXTLINE(cert-int09-c): one has two names */
enum state {
    SIZE,
    SIZE_BLANK, /* blanks between the size and the ';' that must follow */
    EXT_BEFORE_NAME,
    EXT_NAME,
    EXT_AFTER_NAME,
    EXT_BEFORE_VALUE,
    EXT_VALUE,
    EXT_QUOTED,
    EXT_QUOTED_PAIR,
    EXT_AFTER_QUOTED,
    EXT_AFTER_VALUE, /* blanks behind a value */
    SIZE_LF,
    LINE_END,
    DATA = LINE_END,
    DATA_CR,
    DATA_LF,
    TRAILERS_START,
    TRAILERS_LF, /* the LF that ends a body without trailers */
    TRAILERS,
    DONE,
    FAILED,
};

_Static_assert(SL_H1_CHUNK_LINE_BYTES >= SL_H1_CHUNK_HEAD_BYTES, "a size line fits");

enum {
    DIGITS_MAX_N = 16,
    SHORT_DIGITS_N = 7 /* so that nothing here can overflow */
};

struct sl_h1_trailers {
    struct sl_headers list;
    struct sl_h1_scan scan;
    size_t len;
    struct sl_header items[SL_H1_TRAILERS_MAX_N];
    char text[SL_H1_TRAILERS_MAX_BYTES];
};

static ssize_t refuse(struct sl_h1_chunk *c, enum sl_h1_fault f)
{
    c->fault = (uint8_t)f;
    c->state = FAILED;
    return SL_EPROTO;
}

static bool is_blank(char ch)
{
    return ch == ' ' || ch == '\t';
}

static int hex_value(char ch)
{
    if (ch >= '0' && ch <= '9') {
        return ch - '0';
    }
    ch = sl_ascii_lower(ch);
    return ch >= 'a' && ch <= 'f' ? ch - 'a' + 10 : -1;
}

/* RFC 9112 7.1: 1*HEXDIG, and nothing that only looks like it: no sign, prefix, blank or '_'. */
static int on_size(struct sl_h1_chunk *c, char ch)
{
    int digit = hex_value(ch);

    if (digit >= 0) {
        if (c->digits_n == DIGITS_MAX_N || c->left_bytes > (uint64_t)INT64_MAX >> 4) {
            return FAILED;
        }
        c->digits_n++;
        c->left_bytes = c->left_bytes << 4 | (uint64_t)digit;
        return SIZE;
    }
    if (c->digits_n == 0) {
        return FAILED;
    }
    if (ch == '\r') {
        return SIZE_LF;
    }
    if (ch == ';') {
        return EXT_BEFORE_NAME;
    }
    return is_blank(ch) ? SIZE_BLANK : FAILED;
}

/* What may follow a complete name or value, where blanks may stand before it. */
static int after_word(char ch, int on_blank, bool blanks_seen)
{
    if (ch == ';') {
        return EXT_BEFORE_NAME;
    }
    if (ch == '\r' && !blanks_seen) {
        return SIZE_LF;
    }
    return is_blank(ch) ? on_blank : FAILED;
}

static int on_quoted(int state, char ch)
{
    if (state == EXT_QUOTED && ch == '"') {
        return EXT_AFTER_QUOTED;
    }
    if (state == EXT_QUOTED && ch == '\\') {
        return EXT_QUOTED_PAIR;
    }
    return sl_h1_scan_scalar(&ch, 0, 1) == 1 ? EXT_QUOTED : FAILED;
}

/* RFC 9112 7.1.1: *( BWS ";" BWS name [ BWS "=" BWS ( token / quoted-string ) ] ) */
static int on_ext(int state, char ch)
{
    switch (state) {
    case EXT_BEFORE_NAME:
        return sl_is_token_byte(ch) ? EXT_NAME : is_blank(ch) ? EXT_BEFORE_NAME : FAILED;
    case EXT_NAME:
    case EXT_AFTER_NAME:
        if (state == EXT_NAME && sl_is_token_byte(ch)) {
            return EXT_NAME;
        }
        return ch == '=' ? EXT_BEFORE_VALUE
                         : after_word(ch, EXT_AFTER_NAME, state == EXT_AFTER_NAME);
    case EXT_BEFORE_VALUE:
        if (ch == '"') {
            return EXT_QUOTED;
        }
        return sl_is_token_byte(ch) ? EXT_VALUE : is_blank(ch) ? EXT_BEFORE_VALUE : FAILED;
    case EXT_VALUE:
        return sl_is_token_byte(ch) ? EXT_VALUE : after_word(ch, EXT_AFTER_VALUE, false);
    case EXT_QUOTED:
    case EXT_QUOTED_PAIR:
        return on_quoted(state, ch);
    default: /* SIZE_BLANK, EXT_AFTER_QUOTED, EXT_AFTER_VALUE */
        return after_word(ch, state == SIZE_BLANK ? SIZE_BLANK : EXT_AFTER_VALUE,
                          state != EXT_AFTER_QUOTED);
    }
}

/* One byte of a size line. */
static enum sl_h1_fault on_line_byte(struct sl_h1_chunk *c, char ch)
{
    int next;
    enum sl_h1_fault fault = SL_H1_FAULT_CHUNK_SIZE;

    if (c->state == SIZE) {
        next = on_size(c, ch);
    } else if (c->state == SIZE_LF) {
        next = ch == '\n' ? LINE_END : FAILED;
    } else {
        next = on_ext(c->state, ch);
        fault = SL_H1_FAULT_CHUNK_EXT;
    }
    if (next == FAILED) {
        return fault;
    }
    if (next > SIZE && next < SIZE_LF) {
        c->line_split = true;
        if (c->ext_bytes++ == SL_H1_CHUNK_EXT_MAX_BYTES) {
            return SL_H1_FAULT_CHUNK_EXT_TOO_LONG;
        }
    }
    c->state = (uint8_t)next;
    return SL_H1_FAULT_NONE;
}

static void begin_line(struct sl_h1_chunk *c)
{
    c->state = SIZE;
    c->digits_n = 0;
    c->left_bytes = 0;
    c->line_split = false;
}

/* All of the input before pos may go out as it came. */
static void extend(struct sl_h1_chunk_run *out, const char *pos)
{
    out->raw.len = (size_t)(pos - out->raw.ptr);
}

/* Reads a size line, or what there is of it, from in + at. Returns where it stopped; at itself
 * when the line cannot be part of this run. */
static ssize_t read_line(struct sl_h1_chunk *c, const char *in, size_t at, size_t len,
                         struct sl_h1_chunk_run *out)
{
    size_t pos = at;
    uint32_t ext_before_bytes = c->ext_bytes;

    while (pos < len && c->state < LINE_END) {
        enum sl_h1_fault fault = on_line_byte(c, in[pos++]);
        if (fault != SL_H1_FAULT_NONE) {
            return refuse(c, fault);
        }
    }
    if (c->state < LINE_END) {
        c->line_split = true; /* what came of it is not forwarded before it is understood */
        return (ssize_t)pos;
    }
    if (c->left_bytes == 0) {
        c->state = TRAILERS_START;
    } else if (!c->line_split) {
        extend(out, in + pos);
    } else if (out->raw.len > 0) {
        c->ext_bytes = ext_before_bytes;
        begin_line(c);
        return (ssize_t)at;
    } else {
        out->head = (struct sl_slice){c->line, sl_h1_write_chunk_head(c->left_bytes, c->line)};
        out->raw.ptr = in + pos;
    }
    return (ssize_t)pos;
}

/* False: the run has no room for more. */
static bool note_data(const struct sl_h1_chunk *c, struct sl_h1_chunk_run *out,
                      struct sl_slice data)
{
    if (c->forwards) {
        out->data_n = 0;
    } else if (out->data_n == SL_H1_CHUNK_DATA_N) {
        return false;
    }
    out->data[out->data_n++] = data;
    out->data_bytes += data.len;
    return true;
}

/* Takes data of the chunk at hand; 0 when the run has no room for it. */
static size_t read_data(struct sl_h1_chunk *c, const char *in, size_t len,
                        struct sl_h1_chunk_run *out)
{
    size_t n = len < c->left_bytes ? len : (size_t)c->left_bytes;

    if (!note_data(c, out, (struct sl_slice){in, n})) {
        return 0;
    }
    c->body_bytes += n;
    c->left_bytes -= n;
    if (c->left_bytes == 0) {
        c->state = DATA_CR;
    }
    extend(out, in + n);
    return n;
}

/* Leaves what a trailer must not say: it would be merged into a head that was acted on already
 * (RFC 9110 section 6.5.1). What the table knows, a proxy or its neighbours act on. */
static void drop_forbidden(struct sl_headers *h)
{
    uint32_t kept_n = 0;

    for (uint32_t i = 0; i < h->n; i++) {
        if (sl_h1_may_nominate(h->items[i].name)) {
            h->items[kept_n++] = h->items[i];
        }
    }
    h->n = kept_n;
}

static enum sl_h1_fault parse_trailers(struct sl_h1_trailers *t, size_t len)
{
    static const struct sl_h1_field_rules rules = {SL_H1_TRAILERS_MAX_N, SL_H1_UNDERSCORES_DROP};
    struct sl_h1_facts facts = {.hosts_n = 0};
    struct sl_h1_scan scan = {.scanned_bytes = 0};
    struct sl_h1_lines lines = {.n = 0};

    /* Again from the start, as its end was perhaps found in several calls. */
    (void)sl_h1_find_end(&scan, t->text, len, len, &lines); /* is len */
    t->list = (struct sl_headers){.items = t->items, .capacity_n = SL_H1_TRAILERS_MAX_N};
    return sl_h1_parse_fields((struct sl_slice){t->text, len}, 0, &lines, &rules, &t->list, &facts);
}

/* Collects the trailer section, as it may come in pieces. Returns how much of in it took. */
static ssize_t read_trailers(struct sl_h1_chunk *c, const char *in, size_t len)
{
    struct sl_h1_trailers *t = c->trailers;
    size_t before = t->len;
    size_t room = sizeof(t->text) - before;
    size_t n = len < room ? len : room;

    memcpy(t->text + before, in, n);
    t->len += n;
    struct sl_h1_lines lines = {.n = 0};
    ssize_t end = sl_h1_find_end(&t->scan, t->text, t->len, sizeof(t->text), &lines);
    if (end == SL_AGAIN) {
        return (ssize_t)n;
    }
    enum sl_h1_fault fault = (enum sl_h1_fault)t->scan.fault;
    if (end > 0) {
        fault = parse_trailers(t, (size_t)end);
    }
    if (fault != SL_H1_FAULT_NONE) {
        bool too_large =
            fault == SL_H1_FAULT_TOO_MANY_FIELDS || fault == SL_H1_FAULT_HEAD_TOO_LARGE;
        return refuse(c, too_large ? SL_H1_FAULT_TRAILERS_TOO_LARGE : fault);
    }
    drop_forbidden(&t->list);
    c->state = DONE;
    return end - (ssize_t)before;
}

/* Behind the last chunk: CRLF, or the first byte of a trailer, which is left where it is. */
static ssize_t start_trailers(struct sl_h1_chunk *c, char ch)
{
    if (ch == '\r') {
        c->state = TRAILERS_LF;
        return 1;
    }
    c->trailers = sl_alloc(sizeof(*c->trailers));
    if (c->trailers == NULL) {
        return SL_ENOMEM;
    }
    c->state = TRAILERS;
    return 0;
}

/* One byte that can only be one: what follows the data of a chunk, and what ends the body. */
static ssize_t expect(struct sl_h1_chunk *c, char ch, char wanted, enum state next)
{
    if (ch != wanted) {
        return refuse(c, SL_H1_FAULT_CHUNK_END);
    }
    c->state = (uint8_t)next;
    return 1;
}

/* Reads on from in + pos to the next change of state. Returns the bytes taken. */
static ssize_t step(struct sl_h1_chunk *c, const char *in, size_t pos, size_t len,
                    struct sl_h1_chunk_run *out)
{
    ssize_t n;

    switch (c->state) {
    case DATA:
        return (ssize_t)read_data(c, in + pos, len - pos, out);
    case DATA_CR:
        n = expect(c, in[pos], '\r', DATA_LF);
        break;
    case DATA_LF:
        n = expect(c, in[pos], '\n', SIZE);
        if (n > 0) {
            begin_line(c);
        }
        break;
    case TRAILERS_START:
        return start_trailers(c, in[pos]);
    case TRAILERS_LF:
        return expect(c, in[pos], '\n', DONE);
    case TRAILERS:
        return read_trailers(c, in + pos, len - pos);
    case FAILED:
        return SL_EPROTO;
    default:
        n = read_line(c, in, pos, len, out);
        return n < 0 ? n : n - (ssize_t)pos;
    }
    if (n > 0) {
        extend(out, in + pos + 1);
    }
    return n;
}

/* Most chunks are whole in the input, without extensions: these need no states. Returns where the
 * first one begins that is not, or for which the run has no room. */
static size_t skip_whole_chunks(struct sl_h1_chunk *c, const char *in, size_t pos, size_t len,
                                struct sl_h1_chunk_run *out)
{
    for (;;) {
        const char *p = in + pos;
        size_t left = len - pos;
        uint64_t size = 0;
        size_t n = 0;

        for (int digit; n < left && n < SHORT_DIGITS_N && (digit = hex_value(p[n])) >= 0; n++) {
            size = size << 4 | (uint64_t)digit;
        }
        if (n == 0 || size == 0 || left < n + size + 4 || memcmp(p + n, "\r\n", 2) != 0 ||
            memcmp(p + n + 2 + size, "\r\n", 2) != 0 ||
            !note_data(c, out, (struct sl_slice){p + n + 2, (size_t)size}))
        {
            return pos;
        }
        c->body_bytes += size;
        pos += n + (size_t)size + 4;
        extend(out, in + pos);
    }
}

ssize_t sl_h1_chunk_next(struct sl_h1_chunk *c, const char *in, size_t len,
                         struct sl_h1_chunk_run *out)
{
    size_t pos = 0;

    out->head = (struct sl_slice){NULL, 0};
    out->raw = (struct sl_slice){in, 0};
    out->data_n = 0;
    out->data_bytes = 0;
    while (pos < len && c->state != DONE) {
        if (c->state == SIZE && c->digits_n == 0 && !c->line_split) {
            pos = skip_whole_chunks(c, in, pos, len, out);
            if (pos == len) {
                break;
            }
        }
        uint8_t before = c->state;
        ssize_t n = step(c, in, pos, len, out);
        if (n < 0) {
            return n;
        }
        pos += (size_t)n;
        if (n == 0 && c->state == before) {
            break; /* the run ends here */
        }
    }
    return (ssize_t)pos;
}

bool sl_h1_chunk_done(const struct sl_h1_chunk *c)
{
    return c->state == DONE;
}

bool sl_h1_chunk_is_between(const struct sl_h1_chunk *c)
{
    return c->state < LINE_END; /* a size line is forwarded when it is whole, with its data */
}

struct sl_headers sl_h1_chunk_trailers(const struct sl_h1_chunk *c)
{
    if (c->state != DONE || c->trailers == NULL) {
        return (struct sl_headers){.n = 0};
    }
    return c->trailers->list;
}

void sl_h1_chunk_fini(struct sl_h1_chunk *c)
{
    sl_free(c->trailers);
    *c = (struct sl_h1_chunk){.trailers = NULL};
}
