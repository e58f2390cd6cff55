/* SPDX-License-Identifier: Apache-2.0 */
#include <sluiced/err.h>

#include "proxy/base/alloc.h"
#include "proxy/l7/h1_connection.h"
#include "proxy/proto/h1.h"
#include "tests/unit/check.h"

#include <stdlib.h>
#include <string.h>

static void pending_holds_what_was_not_used_and_nothing_once_all_was(void **state)
{
    struct sl_h1_pending p = {0};
    (void)state;

    assert_int_equal(sl_h1_pending_keep(&p, "GET / HTTP", 10, 4), SL_OK);
    assert_int_equal(p.len, 6);
    assert_memory_equal(p.buf, "/ HTTP", 6);
    assert_int_equal(sl_h1_pending_append(&p, "/1.1", 4), SL_OK);
    assert_int_equal(sl_h1_pending_keep(&p, p.buf, p.len, 2), SL_OK); /* its own content */
    assert_int_equal(p.len, 8);
    assert_memory_equal(p.buf, "HTTP/1.1", 8);
    assert_int_equal(sl_h1_pending_keep(&p, p.buf, p.len, 8), SL_OK);
    assert_null(p.buf);
    assert_int_equal(p.len, 0);
    assert_int_equal(p.capacity, 0);
    sl_h1_pending_clear(&p);
}

static void pending_takes_the_largest_head_and_then_no_more(void **state)
{
    struct sl_h1_pending p = {0};
    (void)state;

    assert_int_equal(sl_h1_pending_keep(&p, "x", 1, 0), SL_OK);
    for (size_t room = sl_h1_pending_room(&p); room > 0; room = sl_h1_pending_room(&p)) {
        static const char piece[5000];
        size_t n = room < sizeof(piece) ? room : sizeof(piece);
        assert_int_equal(sl_h1_pending_append(&p, piece, n), SL_OK);
        assert_true(p.len <= p.capacity);
        assert_true(p.capacity <= (size_t)1024 * 1024);
    }
    assert_true(p.len > SL_H1_HEAD_MAX_BYTES + SL_H1_LINE_MAX_BYTES);
    sl_h1_pending_clear(&p);
}

static bool no_memory(size_t size_bytes)
{
    (void)size_bytes;
    return false;
}

static void pending_without_memory_says_so_and_stands_as_it_was(void **state)
{
    struct sl_h1_pending p = {0};
    static char large[8192];
    (void)state;

    assert_int_equal(sl_h1_pending_keep(&p, "abc", 3, 0), SL_OK);
    sl_alloc_hook = no_memory;
    int rc = sl_h1_pending_keep(&p, large, sizeof(large), 0);
    int append_rc = sl_h1_pending_append(&p, large, sizeof(large));
    sl_alloc_hook = NULL;
    assert_int_equal(append_rc, SL_ENOMEM);
    assert_int_equal(rc, SL_ENOMEM);
    assert_int_equal(p.len, 3);
    sl_h1_pending_clear(&p);
}

struct sink {
    char got[256];
    size_t len;
    uint64_t body_bytes;
    unsigned calls_n;
    unsigned stop_after_n; /* 0: never */
};

static bool take(void *arg, struct sl_slice wire, uint64_t body_bytes)
{
    struct sink *s = arg;

    assert_true(s->len + wire.len < sizeof(s->got));
    memcpy(s->got + s->len, wire.ptr, wire.len);
    s->len += wire.len;
    s->body_bytes += body_bytes;
    return ++s->calls_n != s->stop_after_n;
}

static void a_body_with_a_length_ends_there_and_leaves_the_rest(void **state)
{
    struct sl_framing f = {.kind = SL_FRAMING_LENGTH, .length_bytes = 5};
    struct sl_h1_body b;
    struct sink s = {0};
    (void)state;

    sl_h1_body_init(&b, &f);
    assert_false(sl_h1_body_ended(&b));
    assert_int_equal(sl_h1_body_feed(&b, "ab", 2, true, take, &s), 2);
    assert_false(sl_h1_body_ended(&b));
    assert_int_equal(sl_h1_body_feed(&b, "cdeGET", 6, true, take, &s), 3);
    assert_true(sl_h1_body_ended(&b));
    assert_int_equal(s.len, 5);
    assert_memory_equal(s.got, "abcde", 5);
    assert_int_equal(s.body_bytes, 5);
    assert_int_equal(sl_h1_body_feed(&b, "GET", 3, true, take, &s), 0);
    assert_int_equal(s.calls_n, 2);
    sl_h1_body_fini(&b);
}

static void a_length_of_zero_and_no_body_have_ended_before_they_begin(void **state)
{
    static const struct sl_framing framings[] = {{.kind = SL_FRAMING_NONE},
                                                 {.kind = SL_FRAMING_LENGTH}};
    (void)state;

    for (size_t i = 0; i < SL_ARRAY_LEN(framings); i++) {
        struct sl_h1_body b;
        sl_h1_body_init(&b, &framings[i]);
        assert_true(sl_h1_body_ended(&b));
        sl_h1_body_fini(&b);
    }
}

static void a_body_until_close_takes_everything_and_never_ends(void **state)
{
    struct sl_framing f = {.kind = SL_FRAMING_UNTIL_CLOSE};
    struct sl_h1_body b;
    struct sink s = {0};
    (void)state;

    sl_h1_body_init(&b, &f);
    assert_int_equal(sl_h1_body_feed(&b, "abc", 3, false, take, &s), 3);
    assert_false(sl_h1_body_ended(&b));
    assert_int_equal(s.body_bytes, 3);
    sl_h1_body_fini(&b);
}

/* However it is cut, both forms carry the same body, and the next message is left alone. */
static void a_chunked_body_is_the_same_however_it_arrives(void **state)
{
    static const char in[] = "3;x=1\r\nabc\r\n0A\r\n0123456789\r\n0\r\nX-T: v\r\n\r\nGET";
    static const struct sl_framing f = {.kind = SL_FRAMING_CHUNKED};
    const size_t len = sizeof(in) - 1;
    (void)state;

    for (size_t cut = 1; cut < len; cut++) {
        for (int framed = 0; framed < 2; framed++) {
            struct sl_h1_body b;
            struct sink s = {0};
            sl_h1_body_init(&b, &f);
            ssize_t one = sl_h1_body_feed(&b, in, cut, framed != 0, take, &s);
            assert_true(one >= 0);
            ssize_t two = sl_h1_body_feed(&b, in + one, len - (size_t)one, framed != 0, take, &s);
            check((size_t)(one + two) == len - 3, "cut at %zu: %zd and %zd", cut, one, two);
            assert_true(sl_h1_body_ended(&b));
            assert_int_equal(s.body_bytes, 13);
            if (framed == 0) {
                assert_int_equal(s.len, 13);
                assert_memory_equal(s.got, "abc0123456789", 13);
            } else {
                assert_null(memchr(s.got, ';', s.len));
                assert_null(memmem(s.got, s.len, "0\r\nX-T", 6)); /* the end is the writer's */
            }
            assert_int_equal(sl_h1_chunk_trailers(&b.chunk).n, 1);
            sl_h1_body_fini(&b);
        }
    }
}

static void a_callback_that_says_stop_is_not_called_again(void **state)
{
    static const struct sl_framing f = {.kind = SL_FRAMING_CHUNKED};
    static const char in[] = "1\r\na\r\n1\r\nb\r\n1\r\nc\r\n0\r\n\r\n";
    (void)state;

    for (int framed = 0; framed < 2; framed++) {
        struct sl_h1_body b;
        struct sink s = {.stop_after_n = 1};
        sl_h1_body_init(&b, &f);
        ssize_t n = sl_h1_body_feed(&b, in, sizeof(in) - 1, framed != 0, take, &s);
        assert_true(n >= 0); /* which means nothing */
        assert_int_equal(s.calls_n, 1);
        sl_h1_body_fini(&b);
    }
}

static void a_broken_chunk_is_a_fault(void **state)
{
    static const struct sl_framing f = {.kind = SL_FRAMING_CHUNKED};
    struct sl_h1_body b;
    struct sink s = {0};
    (void)state;

    sl_h1_body_init(&b, &f);
    assert_int_equal(sl_h1_body_feed(&b, "zz\r\n", 4, true, take, &s), SL_EPROTO);
    assert_int_equal(b.chunk.fault, SL_H1_FAULT_CHUNK_SIZE);
    sl_h1_body_fini(&b);
}

static bool ignore(void *arg, struct sl_slice wire, uint64_t body_bytes)
{
    (void)arg;
    (void)wire;
    (void)body_bytes;
    return true;
}

/* Where a comment may be put into an event stream: behind a blank line, and between chunks. */
static void a_body_knows_whether_it_stands_between_events(void **state)
{
    static const struct {
        enum sl_framing_kind kind;
        const char *bytes;
        bool between;
    } rows[] = {
        {SL_FRAMING_UNTIL_CLOSE, "", true},
        {SL_FRAMING_UNTIL_CLOSE, "data: x\n\n", true},
        {SL_FRAMING_UNTIL_CLOSE, "data: x\r\n\r\n", true},
        {SL_FRAMING_UNTIL_CLOSE, "data: x\r\r", true},
        {SL_FRAMING_UNTIL_CLOSE, "data: x\n\r\n", true},
        {SL_FRAMING_UNTIL_CLOSE, "\n\n", true},
        {SL_FRAMING_UNTIL_CLOSE, "data: x\n", false},
        {SL_FRAMING_UNTIL_CLOSE, "data: x\r\n", false},
        {SL_FRAMING_UNTIL_CLOSE, "data: x", false},
        {SL_FRAMING_UNTIL_CLOSE, "\n", false},
        {SL_FRAMING_CHUNKED, "", true},
        {SL_FRAMING_CHUNKED, "3\r\na\n\n\r\n", true},
        {SL_FRAMING_CHUNKED, "3\r\na\n\n\r\n5", true}, /* a part of a size line is not sent yet */
        {SL_FRAMING_CHUNKED, "3\r\na\n\n\r\n5;x", true},
        {SL_FRAMING_CHUNKED, "3\r\na\n\n\r\n5\r\n", false},
        {SL_FRAMING_CHUNKED, "3\r\na\n\n\r", false},
        {SL_FRAMING_CHUNKED, "3\r\na\n\n", false},
        {SL_FRAMING_CHUNKED, "9\r\na\n\n", false},
        {SL_FRAMING_CHUNKED, "2\r\na\n\r\n1\r\n\n\r\n", true}, /* an event of two chunks */
        {SL_FRAMING_CHUNKED, "2\r\na\n\r\n", false},
    };
    (void)state;

    for (size_t i = 0; i < SL_ARRAY_LEN(rows); i++) {
        for (size_t cut = 0; cut <= strlen(rows[i].bytes); cut++) {
            struct sl_framing framing = {.kind = rows[i].kind};
            struct sl_slice all = sl_slice_of(rows[i].bytes);
            struct sl_h1_body b;

            sl_h1_body_init(&b, &framing);
            b.wants_tail = true;
            assert_int_equal(sl_h1_body_feed(&b, all.ptr, cut, true, ignore, NULL), cut);
            assert_int_equal(sl_h1_body_feed(&b, all.ptr + cut, all.len - cut, true, ignore, NULL),
                             all.len - cut);
            check(sl_h1_body_is_between_events(&b) == rows[i].between, "\"%s\" cut at %zu",
                  rows[i].bytes, cut);
            sl_h1_body_fini(&b);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pending_holds_what_was_not_used_and_nothing_once_all_was),
        cmocka_unit_test(pending_takes_the_largest_head_and_then_no_more),
        cmocka_unit_test(pending_without_memory_says_so_and_stands_as_it_was),
        cmocka_unit_test(a_body_with_a_length_ends_there_and_leaves_the_rest),
        cmocka_unit_test(a_length_of_zero_and_no_body_have_ended_before_they_begin),
        cmocka_unit_test(a_body_until_close_takes_everything_and_never_ends),
        cmocka_unit_test(a_chunked_body_is_the_same_however_it_arrives),
        cmocka_unit_test(a_callback_that_says_stop_is_not_called_again),
        cmocka_unit_test(a_broken_chunk_is_a_fault),
        cmocka_unit_test(a_body_knows_whether_it_stands_between_events),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
