/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Chunked bodies: body, end and fault do not depend on how the input was cut, and what would be
 * forwarded is a chunked body with the same data. The first byte is the size of the pieces.
 */
#include "proxy/proto/h1_chunk.h"
#include "proxy/proto/h1_write.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool ok)
{
    if (!ok) {
        abort();
    }
}

struct bytes {
    char *ptr;
    size_t len;
    size_t capacity;
};

static void append(struct bytes *b, struct sl_slice s)
{
    if (b->capacity - b->len < s.len) {
        b->capacity = b->capacity * 2 + s.len;
        b->ptr = realloc(b->ptr, b->capacity);
        check(b->ptr != NULL);
    }
    if (s.len > 0) {
        memcpy(b->ptr + b->len, s.ptr, s.len);
        b->len += s.len;
    }
}

struct decoded {
    struct sl_h1_chunk chunk;
    struct bytes body;
    struct bytes out;
    size_t used;
    bool failed;
};

static void feed(struct decoded *d, const char *in, size_t len)
{
    char *copy = malloc(len); /* ends with its block, so that reading beyond is seen */
    size_t at = 0;

    check(copy != NULL);
    memcpy(copy, in, len);
    while (at < len && !sl_h1_chunk_done(&d->chunk) && !d->failed) {
        struct sl_h1_chunk_run run;
        ssize_t n = sl_h1_chunk_next(&d->chunk, copy + at, len - at, &run);
        d->failed = n < 0;
        if (n < 0) {
            break;
        }
        check(n > 0);
        append(&d->out, run.head);
        append(&d->out, run.raw);
        for (size_t i = 0; i < run.data_n && !d->chunk.forwards; i++) {
            append(&d->body, run.data[i]);
        }
        at += (size_t)n;
    }
    d->used += at;
    free(copy);
}

static void decode(struct decoded *d, const char *in, size_t len, size_t piece, bool forwards)
{
    *d = (struct decoded){.chunk = {.forwards = forwards}};
    for (size_t at = 0; at < len && !d->failed && !sl_h1_chunk_done(&d->chunk); at += piece) {
        feed(d, in + at, len - at < piece ? len - at : piece);
    }
}

static void fini(struct decoded *d)
{
    sl_h1_chunk_fini(&d->chunk);
    free(d->body.ptr);
    free(d->out.ptr);
}

static bool same(const struct bytes *a, const struct bytes *b)
{
    return a->len == b->len && (a->len == 0 || memcmp(a->ptr, b->ptr, a->len) == 0);
}

static void same_trailers(const struct decoded *a, const struct decoded *b)
{
    struct sl_headers x = sl_h1_chunk_trailers(&a->chunk);
    struct sl_headers y = sl_h1_chunk_trailers(&b->chunk);

    check(x.n == y.n);
    for (uint32_t i = 0; i < x.n; i++) {
        check(sl_slice_eq(x.items[i].name, y.items[i].name) &&
              sl_slice_eq(x.items[i].value, y.items[i].value));
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct decoded whole;
    struct decoded pieces;
    struct decoded forwarded;
    struct decoded raw;
    static char last[2 * SL_H1_TRAILERS_MAX_BYTES];

    if (size == 0) {
        return 0;
    }
    const char *in = (const char *)data + 1;
    decode(&whole, in, size - 1, size, false);
    decode(&pieces, in, size - 1, 1U + data[0], false);
    decode(&raw, in, size - 1, 1U + data[0], true);
    check(raw.failed == pieces.failed && raw.chunk.body_bytes == pieces.chunk.body_bytes);
    check(raw.failed || (raw.used == pieces.used && same(&raw.out, &pieces.out)));
    fini(&raw);
    check(whole.failed == pieces.failed && whole.chunk.fault == pieces.chunk.fault);
    check(sl_h1_chunk_done(&whole.chunk) == sl_h1_chunk_done(&pieces.chunk));
    if (!whole.failed) {
        check(whole.used == pieces.used && same(&whole.body, &pieces.body));
    }
    if (sl_h1_chunk_done(&whole.chunk)) {
        same_trailers(&whole, &pieces);
        struct sl_headers trailers = sl_h1_chunk_trailers(&pieces.chunk);
        ssize_t n = sl_h1_write_last_chunk(last, sizeof(last), &trailers);
        check(n > 0);
        append(&pieces.out, (struct sl_slice){last, (size_t)n});
        decode(&forwarded, pieces.out.ptr, pieces.out.len, pieces.out.len, false);
        /* Trailers at their limit may pass it by the blank that the writer puts. */
        if (n < (ssize_t)SL_H1_TRAILERS_MAX_BYTES) {
            check(sl_h1_chunk_done(&forwarded.chunk) && forwarded.used == pieces.out.len);
            check(same(&forwarded.body, &whole.body));
            same_trailers(&forwarded, &whole);
        }
        fini(&forwarded);
    }
    fini(&whole);
    fini(&pieces);
    return 0;
}
