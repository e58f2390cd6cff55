/* SPDX-License-Identifier: Apache-2.0 */
#include <sluiced/err.h>

#include "h1_describe.h"

#include "proxy/base/alloc.h"
#include "proxy/proto/h1_chunk.h"
#include "proxy/proto/h1_write.h"
#include "tests/unit/check.h"

#include <string.h>

#define BYTES(literal) (literal), sizeof(literal) - 1
#define END "0\r\n\r\n"

/* What one decoder made of an input. */
struct decoded {
    ssize_t rc; /* bytes that belong to the body, or the error */
    unsigned fault;
    bool done;
    size_t body_len;
    char body[4096];
    size_t out_len; /* what would be forwarded */
    char out[16384];
    size_t heads_n;
    uint32_t trailers_n;
    char trailers[16384];
};

static void append(char *to, size_t size, size_t *len, struct sl_slice s)
{
    check(s.len <= size - *len, "the test's buffer is too small");
    if (s.len > 0) {
        memcpy(to + *len, s.ptr, s.len);
        *len += s.len;
    }
}

/* Feeds [in, in + len), copied to where it ends with its block, until it is taken. */
static ssize_t feed(struct sl_h1_chunk *c, struct decoded *d, const char *in, size_t len)
{
    char *copy = copy_exactly(in, len);
    size_t used = 0;
    ssize_t n = 0;

    while (used < len && !sl_h1_chunk_done(c) && n >= 0) {
        struct sl_h1_chunk_run run;
        n = sl_h1_chunk_next(c, copy + used, len - used, &run);
        if (n < 0) {
            break;
        }
        check(n > 0, "no progress at %zu of %zu", used, len);
        used += (size_t)n;
        d->heads_n += run.head.len > 0;
        append(d->out, sizeof(d->out), &d->out_len, run.head);
        append(d->out, sizeof(d->out), &d->out_len, run.raw);
        uint64_t bytes = 0;
        for (size_t i = 0; i < run.data_n; i++) {
            bytes += run.data[i].len;
            append(d->body, sizeof(d->body), &d->body_len, run.data[i]);
        }
        check(bytes == run.data_bytes, "data_bytes is not the sum");
    }
    free(copy);
    return n < 0 ? n : (ssize_t)used;
}

/* piece: bytes a call, SIZE_MAX for all. */
static void decode(const char *in, size_t len, size_t piece, struct decoded *d)
{
    struct sl_h1_chunk c = {.state = 0};
    size_t used = 0;

    memset(d, 0, sizeof(*d));
    while (used < len && !sl_h1_chunk_done(&c) && d->rc >= 0) {
        size_t n = len - used < piece ? len - used : piece;
        ssize_t rc = feed(&c, d, in + used, n);
        d->rc = rc < 0 ? rc : d->rc + rc;
        used += n;
    }
    d->done = sl_h1_chunk_done(&c);
    d->fault = c.fault;
    struct sl_headers trailers = sl_h1_chunk_trailers(&c);
    d->trailers_n = trailers.n;
    size_t at = 0;
    for (uint32_t i = 0; i < trailers.n; i++) {
        append(d->trailers, sizeof(d->trailers) - 1, &at, trailers.items[i].name);
        append(d->trailers, sizeof(d->trailers) - 1, &at, SL_SLICE("="));
        append(d->trailers, sizeof(d->trailers) - 1, &at, trailers.items[i].value);
        append(d->trailers, sizeof(d->trailers) - 1, &at, SL_SLICE(";"));
    }
    sl_h1_chunk_fini(&c);
}

static const struct {
    const char *in;
    size_t len;
    const char *body; /* NULL: refused */
    size_t left;      /* bytes behind the end */
    enum sl_h1_fault fault;
} rows[] = {
    {BYTES(END), "", 0, 0},
    {BYTES("5\r\nhello\r\n" END), "hello", 0, 0},
    {BYTES("5\r\nhello\r\n" END "GET /"), "hello", 5, 0},
    {BYTES("3\r\nabc\r\n2\r\nde\r\n1\r\nf\r\n000\r\n\r\n"), "abcdef", 0, 0},
    {BYTES("0a\r\n0123456789\r\nA\r\n0123456789\r\n" END), "01234567890123456789", 0, 0},
    {BYTES("0000000000000001\r\nx\r\n" END), "x", 0, 0},
    {BYTES("4\r\n\r\n\r\n\r\n" END), "\r\n\r\n", 0, 0},
    /* 4: chunk sizes */
    {BYTES("0x1\r\nx\r\n" END), NULL, 0, SL_H1_FAULT_CHUNK_SIZE},
    {BYTES("+1\r\nx\r\n" END), NULL, 0, SL_H1_FAULT_CHUNK_SIZE},
    {BYTES("-1\r\nx\r\n" END), NULL, 0, SL_H1_FAULT_CHUNK_SIZE},
    {BYTES("1_0\r\nx\r\n" END), NULL, 0, SL_H1_FAULT_CHUNK_SIZE},
    {BYTES("_1\r\nx\r\n" END), NULL, 0, SL_H1_FAULT_CHUNK_SIZE},
    {BYTES(" 1\r\nx\r\n" END), NULL, 0, SL_H1_FAULT_CHUNK_SIZE},
    {BYTES("1 \r\nx\r\n" END), NULL, 0, SL_H1_FAULT_CHUNK_EXT},
    {BYTES("1\t\r\nx\r\n" END), NULL, 0, SL_H1_FAULT_CHUNK_EXT},
    {BYTES("1these-bytes\r\nx\r\n" END), NULL, 0, SL_H1_FAULT_CHUNK_SIZE},
    {BYTES("0_2e\r\n\r\n"), NULL, 0, SL_H1_FAULT_CHUNK_SIZE},
    {BYTES("\r\nx\r\n" END), NULL, 0, SL_H1_FAULT_CHUNK_SIZE},
    {BYTES(";a\r\nx\r\n" END), NULL, 0, SL_H1_FAULT_CHUNK_SIZE},
    {BYTES("g\r\n"), NULL, 0, SL_H1_FAULT_CHUNK_SIZE},
    {BYTES("1.0\r\nx\r\n" END), NULL, 0, SL_H1_FAULT_CHUNK_SIZE},
    {BYTES("1,1\r\nx\r\n" END), NULL, 0, SL_H1_FAULT_CHUNK_SIZE},
    {BYTES("00000000000000001\r\nx\r\n" END), NULL, 0, SL_H1_FAULT_CHUNK_SIZE},
    {BYTES("10000000000000001\r\nx\r\n" END), NULL, 0, SL_H1_FAULT_CHUNK_SIZE},
    {BYTES("8000000000000000\r\n"), NULL, 0, SL_H1_FAULT_CHUNK_SIZE},
    {BYTES("ffffffffffffffff\r\n"), NULL, 0, SL_H1_FAULT_CHUNK_SIZE},
    /* 5: extensions */
    {BYTES("1;a\r\nx\r\n" END), "x", 0, 0},
    {BYTES("1;a=b;c=\"d\\\"\t;\xe9\" \t;e\r\nx\r\n" END), "x", 0, 0},
    {BYTES("1 ; a = b\r\nx\r\n0;last\r\n\r\n"), "x", 0, 0},
    {BYTES("1\r;a\r\nx\r\n" END), NULL, 0, SL_H1_FAULT_CHUNK_SIZE},
    {BYTES("1;a\rb\r\nx\r\n" END), NULL, 0, SL_H1_FAULT_CHUNK_SIZE},
    {BYTES("1;a\nb\r\nx\r\n" END), NULL, 0, SL_H1_FAULT_CHUNK_EXT},
    {BYTES("1;\nx\r\n" END), NULL, 0, SL_H1_FAULT_CHUNK_EXT},
    {BYTES("1;\r\nx\r\n" END), NULL, 0, SL_H1_FAULT_CHUNK_EXT},
    {BYTES("1;;a\r\nx\r\n" END), NULL, 0, SL_H1_FAULT_CHUNK_EXT},
    {BYTES("1;a=\r\nx\r\n" END), NULL, 0, SL_H1_FAULT_CHUNK_EXT},
    {BYTES("1;=b\r\nx\r\n" END), NULL, 0, SL_H1_FAULT_CHUNK_EXT},
    {BYTES("1;a=\"b\r\n\"\r\nx\r\n" END), NULL, 0, SL_H1_FAULT_CHUNK_EXT},
    {BYTES("1;a=\"b\\\r\n\"\r\nx\r\n" END), NULL, 0, SL_H1_FAULT_CHUNK_EXT},
    {BYTES("1;a=\"b\"c\r\nx\r\n" END), NULL, 0, SL_H1_FAULT_CHUNK_EXT},
    {BYTES("1;a b\r\nx\r\n" END), NULL, 0, SL_H1_FAULT_CHUNK_EXT},
    {BYTES("1;a=b \r\nx\r\n" END), NULL, 0, SL_H1_FAULT_CHUNK_EXT},
    {BYTES("1;a\0\r\nx\r\n" END), NULL, 0, SL_H1_FAULT_CHUNK_EXT},
    /* 6: terminators */
    {BYTES("1\nx\r\n" END), NULL, 0, SL_H1_FAULT_CHUNK_SIZE},
    {BYTES("1\r\r\nx\r\n" END), NULL, 0, SL_H1_FAULT_CHUNK_SIZE},
    {BYTES("1\rXx\r\n" END), NULL, 0, SL_H1_FAULT_CHUNK_SIZE},
    {BYTES("1\r\nx\n" END), NULL, 0, SL_H1_FAULT_CHUNK_END},
    {BYTES("1\r\nx\rX" END), NULL, 0, SL_H1_FAULT_CHUNK_END},
    {BYTES("1\r\nxXX" END), NULL, 0, SL_H1_FAULT_CHUNK_END},
    {BYTES("1\r\nx" END), NULL, 0, SL_H1_FAULT_CHUNK_END},
    {BYTES("1\r\nx\r\n\r\n" END), NULL, 0, SL_H1_FAULT_CHUNK_SIZE},
    {BYTES("1\r\nx\r\n0\n\n"), NULL, 0, SL_H1_FAULT_CHUNK_SIZE},
    {BYTES("0\r\n\n"), NULL, 0, SL_H1_FAULT_BARE_LF},
    {BYTES("0\r\n\rX"), NULL, 0, SL_H1_FAULT_CHUNK_END},
    {BYTES("0\r\nX\r\n\r\n"), NULL, 0, SL_H1_FAULT_FIELD_NAME},
    /* trailers: the rules of fields */
    {BYTES("0\r\nA: b\r\n\r\n"), "", 0, 0},
    {BYTES("0\r\nA: b\r\n c\r\n\r\n"), NULL, 0, SL_H1_FAULT_FOLDED_FIELD},
    {BYTES("0\r\nA: b\n\r\n"), NULL, 0, SL_H1_FAULT_BARE_LF},
    {BYTES("0\r\nA : b\r\n\r\n"), NULL, 0, SL_H1_FAULT_FIELD_NAME},
    {BYTES("0\r\nA: b\0\r\n\r\n"), NULL, 0, SL_H1_FAULT_CONTROL_BYTE},
    {BYTES("0\r\nA: b\rX\r\n\r\n"), NULL, 0, SL_H1_FAULT_BARE_CR},
};

static void each_body_is_decoded_or_refused_in_any_pieces(void **state)
{
    static const size_t pieces[] = {SIZE_MAX, 1, 2, 3, 7};
    static struct decoded d;
    (void)state;

    for (size_t i = 0; i < SL_ARRAY_LEN(rows); i++) {
        bool refused = rows[i].fault != SL_H1_FAULT_NONE;
        const char *body = rows[i].body;

        for (size_t k = 0; k < SL_ARRAY_LEN(pieces); k++) {
            decode(rows[i].in, rows[i].len, pieces[k], &d);
            ssize_t want = refused ? SL_EPROTO : (ssize_t)(rows[i].len - rows[i].left);
            check(d.rc == want && d.fault == (unsigned)rows[i].fault && d.done == !refused,
                  "row %zu, pieces of %zu: %zd, %s, done %d, expected %zd, %s:\n%s", i, pieces[k],
                  d.rc, sl_h1_fault_code((enum sl_h1_fault)d.fault), d.done, want,
                  sl_h1_fault_code(rows[i].fault), rows[i].in);
            if (!refused) {
                check(d.body_len == strlen(body) && memcmp(d.body, body, d.body_len) == 0,
                      "row %zu, pieces of %zu: body \"%.*s\"", i, pieces[k], (int)d.body_len,
                      d.body);
            }
        }
    }
}

static void what_is_forwarded_decodes_to_the_same_and_has_no_extension(void **state)
{
    static struct decoded d;
    static struct decoded again;
    static const size_t pieces[] = {SIZE_MAX, 1, 2, 3, 7};
    (void)state;

    for (size_t i = 0; i < SL_ARRAY_LEN(rows); i++) {
        if (rows[i].fault != SL_H1_FAULT_NONE) {
            continue;
        }
        for (size_t k = 0; k < SL_ARRAY_LEN(pieces); k++) {
            decode(rows[i].in, rows[i].len, pieces[k], &d);
            check(memchr(d.out, ';', d.out_len) == NULL, "row %zu: an extension went out", i);
            append(d.out, sizeof(d.out), &d.out_len, SL_SLICE(END));
            decode(d.out, d.out_len, SIZE_MAX, &again);
            check(again.done && again.rc == (ssize_t)d.out_len && again.body_len == d.body_len &&
                      memcmp(again.body, d.body, d.body_len) == 0,
                  "row %zu, pieces of %zu: forwarded \"%.*s\"", i, pieces[k], (int)d.out_len,
                  d.out);
        }
    }
}

static void whole_chunks_go_out_in_one_piece_as_they_came(void **state)
{
    static const char in[] = "3\r\nabc\r\n00A\r\n0123456789\r\n4\r\nhalf";
    struct sl_h1_chunk c = {.state = 0};
    struct sl_h1_chunk_run run;
    (void)state;

    assert_int_equal(sl_h1_chunk_next(&c, BYTES(in), &run), (ssize_t)(sizeof(in) - 1));
    assert_int_equal(run.head.len, 0);
    assert_ptr_equal(run.raw.ptr, in);
    assert_int_equal(run.raw.len, sizeof(in) - 1);
    assert_int_equal(run.data_n, 3);
    assert_int_equal(run.data_bytes, 17);
    assert_int_equal(c.body_bytes, 17);

    assert_int_equal(sl_h1_chunk_next(&c, BYTES("\r\n1"), &run), 3); /* its line is not whole */
    assert_true(sl_slice_eq(run.raw, SL_SLICE("\r\n")));
    assert_int_equal(sl_h1_chunk_next(&c, BYTES("0\r\nx"), &run), 4);
    assert_true(sl_slice_eq(run.head, SL_SLICE("10\r\n")));
    assert_true(sl_slice_eq(run.raw, SL_SLICE("x")));
    sl_h1_chunk_fini(&c);
}

static void who_forwards_gets_any_number_of_chunks_in_one_run(void **state)
{
    char in[100 * 6];
    struct sl_h1_chunk c = {.forwards = true};
    struct sl_h1_chunk_run run;
    (void)state;

    for (size_t i = 0; i < 100; i++) {
        memcpy(in + 6 * i, "1\r\nx\r\n", 6);
    }
    in[99 * 6 + 3] = 'y';
    assert_int_equal(sl_h1_chunk_next(&c, in, sizeof(in), &run), (ssize_t)sizeof(in));
    assert_ptr_equal(run.raw.ptr, in);
    assert_int_equal(run.raw.len, sizeof(in));
    assert_int_equal(run.data_bytes, 100);
    assert_int_equal(run.data_n, 1); /* the last one */
    assert_true(sl_slice_eq(run.data[0], SL_SLICE("y")));
    sl_h1_chunk_fini(&c);
}

static void an_extension_ends_the_run_and_is_cut(void **state)
{
    static const char in[] = "1\r\na\r\n2;ext=\"1\"\r\nbc\r\n1\r\nd\r\n0;last\r\n\r\nnext";
    struct sl_h1_chunk c = {.state = 0};
    struct sl_h1_chunk_run run;
    (void)state;

    assert_int_equal(sl_h1_chunk_next(&c, BYTES(in), &run), 6);
    assert_true(sl_slice_eq(run.raw, SL_SLICE("1\r\na\r\n")));
    ssize_t n = sl_h1_chunk_next(&c, in + 6, sizeof(in) - 1 - 6, &run);
    assert_int_equal(n, (ssize_t)(sizeof(in) - 1 - 6 - 4));
    assert_true(sl_slice_eq(run.head, SL_SLICE("2\r\n")));
    assert_true(sl_slice_eq(run.raw, SL_SLICE("bc\r\n1\r\nd\r\n")));
    assert_int_equal(run.data_n, 2);
    assert_true(sl_h1_chunk_done(&c));
    assert_int_equal(sl_h1_chunk_next(&c, BYTES("next"), &run), 0);
    sl_h1_chunk_fini(&c);
}

static void many_small_chunks_take_several_runs(void **state)
{
    static char in[600];
    static struct decoded d;
    size_t len = 0;
    (void)state;

    for (size_t i = 0; i < 80; i++) {
        append(in, sizeof(in), &len, SL_SLICE("1\r\nx\r\n"));
    }
    append(in, sizeof(in), &len, SL_SLICE(END));
    decode(in, len, SIZE_MAX, &d);
    assert_true(d.done);
    assert_int_equal(d.body_len, 80);
    assert_int_equal(d.heads_n, 0);
    assert_int_equal(d.out_len, 480);
    assert_memory_equal(d.out, in, 480);
}

static void extensions_have_a_limit_over_the_whole_message(void **state)
{
    static char in[64 * 1024];
    static struct decoded d;
    size_t len = 0;
    (void)state;

    /* Each ";" + 1022 * "e" + CR counts as extension up to the CR: 1023 bytes. */
    for (size_t i = 0; i < 9; i++) {
        append(in, sizeof(in), &len, SL_SLICE("1;"));
        memset(in + len, 'e', 1022);
        len += 1022;
        append(in, sizeof(in), &len, SL_SLICE("\r\nx\r\n"));
    }
    decode(in, 8 * 1029, SIZE_MAX, &d);
    assert_int_equal(d.rc, 8 * 1029);
    decode(in, len, SIZE_MAX, &d);
    assert_int_equal(d.rc, SL_EPROTO);
    assert_int_equal(d.fault, SL_H1_FAULT_CHUNK_EXT_TOO_LONG);
    decode(in, len, 1, &d);
    assert_int_equal(d.fault, SL_H1_FAULT_CHUNK_EXT_TOO_LONG);
}

static void trailers_are_kept_without_what_they_must_not_say(void **state)
{
    static const char in[] =
        "1\r\nx\r\n0\r\nGrpc-Status: 0\r\nContent-Length: 5\r\nHost: evil\r\n"
        "Transfer-Encoding: chunked\r\nX-Forwarded-For: 1\r\nA_B: c\r\n"
        "x-forwarded-else: 1\r\nAuthorization: x\r\nX-Sum:\t abc \r\n\r\nnext";
    static struct decoded d;
    static const size_t pieces[] = {SIZE_MAX, 1, 5, 64};
    (void)state;

    for (size_t k = 0; k < SL_ARRAY_LEN(pieces); k++) {
        decode(in, sizeof(in) - 1, pieces[k], &d);
        assert_true(d.done);
        assert_int_equal(d.rc, (ssize_t)(sizeof(in) - 1 - 4));
        assert_string_equal(d.trailers, "Grpc-Status=0;X-Sum=abc;");
        assert_int_equal(memcmp(d.out, "1\r\nx\r\n", 6), 0);
        assert_int_equal(d.out_len, 6);
    }
}

static void trailers_have_limits(void **state)
{
    static char in[32 * 1024];
    static struct decoded d;
    static const size_t pieces[] = {SIZE_MAX, 100};
    (void)state;

    for (size_t k = 0; k < SL_ARRAY_LEN(pieces); k++) {
        size_t len = 0;
        append(in, sizeof(in), &len, SL_SLICE("0\r\nA: "));
        memset(in + len, 'v', SL_H1_TRAILERS_MAX_BYTES - 7);
        len += SL_H1_TRAILERS_MAX_BYTES - 7;
        append(in, sizeof(in), &len, SL_SLICE("\r\n\r\n"));
        decode(in, len, pieces[k], &d);
        check(d.done && d.trailers_n == 1, "at the limit: %s",
              sl_h1_fault_code((enum sl_h1_fault)d.fault));
        memcpy(in + len - 4, "v\r\n\r\n", 5);
        decode(in, len + 1, pieces[k], &d);
        check(d.fault == SL_H1_FAULT_TRAILERS_TOO_LARGE, "one more byte: %s",
              sl_h1_fault_code((enum sl_h1_fault)d.fault));

        for (size_t n = SL_H1_TRAILERS_MAX_N; n <= SL_H1_TRAILERS_MAX_N + 1; n++) {
            len = 0;
            append(in, sizeof(in), &len, SL_SLICE("0\r\n"));
            for (size_t i = 0; i < n; i++) {
                append(in, sizeof(in), &len, SL_SLICE("A:\r\n"));
            }
            append(in, sizeof(in), &len, SL_SLICE("\r\n"));
            decode(in, len, pieces[k], &d);
            check(d.done == (n == SL_H1_TRAILERS_MAX_N), "%zu trailers: %s", n,
                  sl_h1_fault_code((enum sl_h1_fault)d.fault));
        }
    }
    assert_int_equal(d.fault, SL_H1_FAULT_TRAILERS_TOO_LARGE);
}

static bool no_memory(size_t size_bytes)
{
    (void)size_bytes;
    return false;
}

static void only_trailers_need_memory(void **state)
{
    struct sl_h1_chunk c = {.state = 0};
    struct sl_h1_chunk_run run;
    (void)state;

    sl_alloc_hook = no_memory;
    assert_int_equal(sl_h1_chunk_next(&c, BYTES("1\r\nx\r\n" END), &run), 11);
    assert_true(sl_h1_chunk_done(&c));
    sl_h1_chunk_fini(&c);
    assert_int_equal(sl_h1_chunk_next(&c, BYTES("0\r\nA: b\r\n\r\n"), &run), SL_ENOMEM);
    sl_alloc_hook = NULL;
    sl_h1_chunk_fini(&c);
}

static void a_refused_body_stays_refused(void **state)
{
    struct sl_h1_chunk c = {.state = 0};
    struct sl_h1_chunk_run run;
    (void)state;

    assert_int_equal(sl_h1_chunk_next(&c, BYTES("x"), &run), SL_EPROTO);
    assert_int_equal(sl_h1_chunk_next(&c, BYTES(END), &run), SL_EPROTO);
    assert_int_equal(c.fault, SL_H1_FAULT_CHUNK_SIZE);
    assert_false(sl_h1_chunk_done(&c));
    sl_h1_chunk_fini(&c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_body_is_decoded_or_refused_in_any_pieces),
        cmocka_unit_test(what_is_forwarded_decodes_to_the_same_and_has_no_extension),
        cmocka_unit_test(whole_chunks_go_out_in_one_piece_as_they_came),
        cmocka_unit_test(who_forwards_gets_any_number_of_chunks_in_one_run),
        cmocka_unit_test(an_extension_ends_the_run_and_is_cut),
        cmocka_unit_test(many_small_chunks_take_several_runs),
        cmocka_unit_test(extensions_have_a_limit_over_the_whole_message),
        cmocka_unit_test(trailers_are_kept_without_what_they_must_not_say),
        cmocka_unit_test(trailers_have_limits),
        cmocka_unit_test(only_trailers_need_memory),
        cmocka_unit_test(a_refused_body_stays_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
