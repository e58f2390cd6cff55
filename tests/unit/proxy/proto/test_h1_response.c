/* SPDX-License-Identifier: Apache-2.0 */
#include <sluiced/err.h>

#include "h1_describe.h"

#include "proxy/proto/h1.h"
#include "tests/unit/check.h"

#include <string.h>

#define BYTES(literal) (literal), sizeof(literal) - 1
#define OK_LINE "HTTP/1.1 200 OK\r\n"

static const struct sl_h1_asked get = {.method = SL_METHOD_GET};
static const struct sl_h1_asked head = {.method = SL_METHOD_HEAD};
static const struct sl_h1_asked tunnel = {.method = SL_METHOD_CONNECT};
static const struct sl_h1_asked upgrade = {.method = SL_METHOD_GET, .upgrade = true};

static const struct {
    const char *bytes;
    size_t len;
    const struct sl_h1_asked *asked;
    enum sl_h1_fault fault;
    enum sl_framing_kind framing; /* of what is accepted */
    enum sl_framing_kind declared;
    bool keep_alive;
} rows[] = {
    {BYTES(OK_LINE "Content-Length: 5\r\n\r\n"), &get, SL_H1_FAULT_NONE, SL_FRAMING_LENGTH,
     SL_FRAMING_LENGTH, true},
    {BYTES(OK_LINE "Transfer-Encoding: chunked\r\n\r\n"), &get, SL_H1_FAULT_NONE,
     SL_FRAMING_CHUNKED, SL_FRAMING_CHUNKED, true},
    {BYTES(OK_LINE "\r\n"), &get, SL_H1_FAULT_NONE, SL_FRAMING_UNTIL_CLOSE, SL_FRAMING_UNTIL_CLOSE,
     false},
    {BYTES(OK_LINE "Connection: keep-alive\r\n\r\n"), &get, SL_H1_FAULT_NONE,
     SL_FRAMING_UNTIL_CLOSE, SL_FRAMING_UNTIL_CLOSE, false},
    {BYTES(OK_LINE "Connection: close\r\nContent-Length: 0\r\n\r\n"), &get, SL_H1_FAULT_NONE,
     SL_FRAMING_LENGTH, SL_FRAMING_LENGTH, false},
    {BYTES("HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\n"), &get, SL_H1_FAULT_NONE,
     SL_FRAMING_LENGTH, SL_FRAMING_LENGTH, false},
    {BYTES("HTTP/1.0 200 OK\r\nContent-Length: 5\r\nConnection: keep-alive\r\n\r\n"), &get,
     SL_H1_FAULT_NONE, SL_FRAMING_LENGTH, SL_FRAMING_LENGTH, true},
    /* bodies that do not follow */
    {BYTES(OK_LINE "Content-Length: 5\r\n\r\n"), &head, SL_H1_FAULT_NONE, SL_FRAMING_NONE,
     SL_FRAMING_LENGTH, true},
    {BYTES(OK_LINE "Transfer-Encoding: chunked\r\n\r\n"), &head, SL_H1_FAULT_NONE, SL_FRAMING_NONE,
     SL_FRAMING_CHUNKED, true},
    {BYTES(OK_LINE "\r\n"), &head, SL_H1_FAULT_NONE, SL_FRAMING_NONE, SL_FRAMING_NONE, true},
    {BYTES("HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n"), &get, SL_H1_FAULT_NONE,
     SL_FRAMING_NONE, SL_FRAMING_LENGTH, true},
    {BYTES("HTTP/1.1 204 No Content\r\n\r\n"), &get, SL_H1_FAULT_NONE, SL_FRAMING_NONE,
     SL_FRAMING_NONE, true},
    {BYTES("HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n"), &get, SL_H1_FAULT_NONE,
     SL_FRAMING_NONE, SL_FRAMING_NONE, true},
    {BYTES("HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n"), &get, SL_H1_FAULT_NONE,
     SL_FRAMING_NONE, SL_FRAMING_NONE, false},
    {BYTES("HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n"), &get, SL_H1_FAULT_NONE,
     SL_FRAMING_NONE, SL_FRAMING_NONE, false},
    {BYTES("HTTP/1.1 100 Continue\r\n\r\n"), &get, SL_H1_FAULT_NONE, SL_FRAMING_NONE,
     SL_FRAMING_NONE, true},
    {BYTES("HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n"), &get, SL_H1_FAULT_NONE, SL_FRAMING_NONE,
     SL_FRAMING_NONE, true},
    {BYTES("HTTP/1.1 100 Continue\r\nContent-Length: 5\r\n\r\n"), &get, SL_H1_FAULT_LENGTH, 0, 0,
     false},
    {BYTES("HTTP/1.1 100 Continue\r\nTransfer-Encoding: chunked\r\n\r\n"), &get, SL_H1_FAULT_LENGTH,
     0, 0, false},
    /* tunnels */
    {BYTES(OK_LINE "Content-Length: 5\r\n\r\n"), &tunnel, SL_H1_FAULT_NONE, SL_FRAMING_NONE,
     SL_FRAMING_NONE, false},
    {BYTES("HTTP/1.1 407 No\r\nContent-Length: 5\r\n\r\n"), &tunnel, SL_H1_FAULT_NONE,
     SL_FRAMING_LENGTH, SL_FRAMING_LENGTH, true},
    {BYTES("HTTP/1.1 101 X\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n"), &upgrade,
     SL_H1_FAULT_NONE, SL_FRAMING_NONE, SL_FRAMING_NONE, false},
    {BYTES("HTTP/1.1 101 X\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n"), &get,
     SL_H1_FAULT_UPGRADE_UNASKED, 0, 0, false},
    {BYTES("HTTP/1.1 101 X\r\nUpgrade: websocket\r\n\r\n"), &upgrade, SL_H1_FAULT_UPGRADE_UNASKED,
     0, 0, false},
    {BYTES("HTTP/1.1 101 X\r\nConnection: upgrade\r\n\r\n"), &upgrade, SL_H1_FAULT_UPGRADE_UNASKED,
     0, 0, false},
    {BYTES("HTTP/1.1 101 X\r\nConnection: upgrade\r\nUpgrade: a\r\nContent-Length: 5\r\n\r\n"),
     &upgrade, SL_H1_FAULT_LENGTH, 0, 0, false},
    /* two readings of one length */
    {BYTES(OK_LINE "Content-Length: 5\r\nContent-Length: 5\r\n\r\n"), &get,
     SL_H1_FAULT_LENGTH_REPEATED, 0, 0, false},
    {BYTES(OK_LINE "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n"), &get,
     SL_H1_FAULT_LENGTH_AND_CODING, 0, 0, false},
    {BYTES(OK_LINE "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n"), &head,
     SL_H1_FAULT_LENGTH_AND_CODING, 0, 0, false},
    {BYTES(OK_LINE "Content-Length: -5\r\n\r\n"), &get, SL_H1_FAULT_LENGTH, 0, 0, false},
    {BYTES(OK_LINE "Content-Length: 5, 5\r\n\r\n"), &get, SL_H1_FAULT_LENGTH, 0, 0, false},
    {BYTES(OK_LINE "Transfer-Encoding: gzip\r\n\r\n"), &get, SL_H1_FAULT_CODING_UNKNOWN, 0, 0,
     false},
    {BYTES(OK_LINE "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n"), &get,
     SL_H1_FAULT_CODING, 0, 0, false},
    {BYTES("HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"), &get, SL_H1_FAULT_CODING, 0, 0,
     false},
    /* the status line */
    {BYTES("HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n"), &get, SL_H1_FAULT_NONE, SL_FRAMING_LENGTH,
     SL_FRAMING_LENGTH, true},
    {BYTES("HTTP/1.1 200 \r\nContent-Length: 0\r\n\r\n"), &get, SL_H1_FAULT_NONE, SL_FRAMING_LENGTH,
     SL_FRAMING_LENGTH, true},
    {BYTES("HTTP/1.1 200 \xe9t\xe9 \r\nContent-Length: 0\r\n\r\n"), &get, SL_H1_FAULT_NONE,
     SL_FRAMING_LENGTH, SL_FRAMING_LENGTH, true},
    {BYTES("\r\nHTTP/1.1 200 OK\r\n\r\n"), &get, SL_H1_FAULT_START_LINE, 0, 0, false},
    {BYTES("HTTP/1.1  200 OK\r\n\r\n"), &get, SL_H1_FAULT_START_LINE, 0, 0, false},
    {BYTES("HTTP/1.1 20 OK\r\n\r\n"), &get, SL_H1_FAULT_START_LINE, 0, 0, false},
    {BYTES("HTTP/1.1 2000 OK\r\n\r\n"), &get, SL_H1_FAULT_START_LINE, 0, 0, false},
    {BYTES("HTTP/1.1 2x0 OK\r\n\r\n"), &get, SL_H1_FAULT_STATUS, 0, 0, false},
    {BYTES("HTTP/1.1 099 OK\r\n\r\n"), &get, SL_H1_FAULT_STATUS, 0, 0, false},
    {BYTES("HTTP/1.1 600 OK\r\n\r\n"), &get, SL_H1_FAULT_STATUS, 0, 0, false},
    {BYTES("HTTP/1.1 200\tOK\r\n\r\n"), &get, SL_H1_FAULT_START_LINE, 0, 0, false},
    {BYTES("HTTP/2.0 200 OK\r\n\r\n"), &get, SL_H1_FAULT_VERSION, 0, 0, false},
    {BYTES("ICY 200 OK\r\n\r\n"), &get, SL_H1_FAULT_START_LINE, 0, 0, false},
    {BYTES("HTTP/1.1 200 OK\n\n"), &get, SL_H1_FAULT_BARE_LF, 0, 0, false},
    {BYTES("HTTP/1.1 200 O\0K\r\n\r\n"), &get, SL_H1_FAULT_CONTROL_BYTE, 0, 0, false},
    {BYTES("HTTP/1.1 200 OK\rX: y\r\n\r\n"), &get, SL_H1_FAULT_BARE_CR, 0, 0, false},
    /* fields */
    {BYTES(OK_LINE "X: y\r\n z\r\n\r\n"), &get, SL_H1_FAULT_FOLDED_FIELD, 0, 0, false},
    {BYTES(OK_LINE "X : y\r\n\r\n"), &get, SL_H1_FAULT_FIELD_NAME, 0, 0, false},
    {BYTES(OK_LINE "X: y\nZ: z\r\n\r\n"), &get, SL_H1_FAULT_BARE_LF, 0, 0, false},
};

static struct described whole;
static struct described pieces;

static const char *fault_code(unsigned f)
{
    return sl_h1_fault_code((enum sl_h1_fault)f);
}

static void each_response_is_framed_as_the_rfc_says_or_refused(void **state)
{
    (void)state;

    for (size_t i = 0; i < SL_ARRAY_LEN(rows); i++) {
        struct sl_header items[SL_H1_FIELDS_MAX_N];
        struct sl_response_head r;
        struct sl_h1_scan scan = {.scanned_bytes = 0};

        sl_response_head_init(&r, items, SL_H1_FIELDS_MAX_N);
        ssize_t rc = sl_h1_parse_response(&scan, rows[i].bytes, rows[i].len, rows[i].asked, &r);
        ssize_t want = rows[i].fault == SL_H1_FAULT_NONE ? (ssize_t)rows[i].len : SL_EPROTO;
        check(rc == want && scan.fault == (unsigned)rows[i].fault,
              "row %zu: %zd, %s, expected %zd, %s:\n%s", i, rc, fault_code(scan.fault), want,
              sl_h1_fault_code(rows[i].fault), rows[i].bytes);
        if (rc > 0) {
            check(r.framing.kind == rows[i].framing && r.declared.kind == rows[i].declared &&
                      r.keep_alive == rows[i].keep_alive,
                  "row %zu: framing %d, declared %d, keep-alive %d:\n%s", i, (int)r.framing.kind,
                  (int)r.declared.kind, r.keep_alive, rows[i].bytes);
        }
    }
}

static void the_answer_does_not_depend_on_how_the_head_was_cut(void **state)
{
    static size_t every[512];
    (void)state;

    for (size_t i = 0; i < SL_ARRAY_LEN(every); i++) {
        every[i] = i;
    }
    for (size_t i = 0; i < SL_ARRAY_LEN(rows); i++) {
        parse_in_pieces(rows[i].bytes, rows[i].len, NULL, 0, rows[i].asked, &whole);
        for (size_t cut = 0; cut < rows[i].len; cut++) {
            parse_in_pieces(rows[i].bytes, rows[i].len, &cut, 1, rows[i].asked, &pieces);
            check(described_same(&whole, &pieces), "row %zu cut at %zu: %s, not %s", i, cut,
                  fault_code(pieces.fault), fault_code(whole.fault));
        }
        parse_in_pieces(rows[i].bytes, rows[i].len, every, rows[i].len, rows[i].asked, &pieces);
        check(described_same(&whole, &pieces), "row %zu byte by byte", i);
    }
}

static void a_head_is_taken_apart_and_follows_its_bytes(void **state)
{
    static const char text[] =
        "HTTP/1.1 429 Slow  down\r\nRetry-After: 7\r\nX_Y: kept\r\n"
        "Content-Length: 0\r\n\r\n";
    char old[128];
    struct sl_header items[8];
    struct sl_response_head r;
    struct sl_h1_scan scan = {.scanned_bytes = 0};
    (void)state;

    memcpy(old, text, sizeof(text));
    sl_response_head_init(&r, items, 8);
    assert_int_equal(sl_h1_parse_response(&scan, old, sizeof(text) - 1, &get, &r),
                     (ssize_t)(sizeof(text) - 1));
    memset(old, '!', sizeof(old));
    sl_response_head_rebase(&r, old, sizeof(text) - 1, text);
    assert_int_equal(r.status, 429);
    assert_true(sl_slice_eq(r.reason, SL_SLICE("Slow  down")));
    assert_int_equal(r.headers.n, 3);
    assert_int_equal(items[0].id, SL_HEADER_RETRY_AFTER);
    assert_true(sl_slice_eq(items[0].value, SL_SLICE("7")));
    assert_true(sl_slice_eq(items[1].name, SL_SLICE("X_Y")));
}

static void a_head_without_end_is_refused(void **state)
{
    static char text[SL_H1_HEAD_MAX_BYTES];
    struct sl_header items[1];
    struct sl_response_head r;
    struct sl_h1_scan scan = {.scanned_bytes = 0};
    (void)state;

    memset(text, 'x', sizeof(text));
    sl_response_head_init(&r, items, 1);
    assert_int_equal(sl_h1_parse_response(&scan, text, sizeof(text) - 1, &get, &r), SL_AGAIN);
    assert_int_equal(sl_h1_parse_response(&scan, text, sizeof(text), &get, &r), SL_EPROTO);
    assert_int_equal(scan.fault, SL_H1_FAULT_HEAD_TOO_LARGE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_response_is_framed_as_the_rfc_says_or_refused),
        cmocka_unit_test(the_answer_does_not_depend_on_how_the_head_was_cut),
        cmocka_unit_test(a_head_is_taken_apart_and_follows_its_bytes),
        cmocka_unit_test(a_head_without_end_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
