/* SPDX-License-Identifier: Apache-2.0 */
#include <sluiced/err.h>

#include "proxy/proto/h1.h"
#include "proxy/proto/h1_write.h"
#include "tests/unit/check.h"

#include <string.h>

struct written {
    struct sl_header items[SL_H1_FIELDS_MAX_N];
    char path_buf[256];
    struct sl_request_head request;
    struct sl_response_head response;
    char text[1024];
};

static void expect_text(const struct written *w, ssize_t len, const char *want)
{
    check(len == (ssize_t)strlen(want) && memcmp(w->text, want, strlen(want)) == 0,
          "%zd bytes:\n%.*s\nexpected %zu:\n%s", len, len > 0 ? (int)len : 0, w->text, strlen(want),
          want);
}

static void parse_request(struct written *w, const char *text)
{
    struct sl_h1_scan scan = {.scanned_bytes = 0};

    sl_request_head_init(&w->request, w->items, SL_H1_FIELDS_MAX_N, w->path_buf,
                         sizeof(w->path_buf));
    ssize_t rc = sl_h1_parse_request(&scan, text, strlen(text), NULL, &w->request);
    check(rc > 0, "%zd, %s:\n%s", rc, sl_h1_fault_code((enum sl_h1_fault)scan.fault), text);
}

static void parse_response(struct written *w, const char *text, const struct sl_h1_asked *asked)
{
    struct sl_h1_scan scan = {.scanned_bytes = 0};

    sl_response_head_init(&w->response, w->items, SL_H1_FIELDS_MAX_N);
    ssize_t rc = sl_h1_parse_response(&scan, text, strlen(text), asked, &w->response);
    check(rc > 0, "%zd, %s:\n%s", rc, sl_h1_fault_code((enum sl_h1_fault)scan.fault), text);
}

static void a_request_is_written_without_what_was_for_this_hop(void **state)
{
    static const struct {
        const char *in;
        const char *out;
    } rows[] = {
        {"GET /a/./b?x HTTP/1.1\r\nHost: h\r\nAccept:  c \r\nX:\r\n\r\n",
         "GET /a/b?x HTTP/1.1\r\nHost: h\r\nAccept: c\r\nX: \r\n\r\n"},
        {"GET /a? HTTP/1.0\r\nConnection: keep-alive\r\nA: b\r\n\r\n",
         "GET /a? HTTP/1.1\r\nHost: \r\nA: b\r\n\r\n"},
        {"POST / HTTP/1.0\r\nHost: h\r\nExpect: x\r\nContent-Length: 1\r\n\r\n",
         "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\n\r\n"},
        {"POST / HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\n",
         "POST / HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\n"},
        {"GET http://H:80 HTTP/1.1\r\nA: b\r\nHost: h\r\n\r\n",
         "GET / HTTP/1.1\r\nHost: H:80\r\nA: b\r\n\r\n"},
        {"OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n", "OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n"},
        {"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\nA: b\r\n\r\n",
         "POST / HTTP/1.1\r\nHost: h\r\nA: b\r\nContent-Length: 5\r\n\r\n"},
        {"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding:CHUNKED\r\n\r\n",
         "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"},
        {"GET / HTTP/1.1\r\nHost: h\r\nKeep-Alive: 5\r\nProxy-Connection: close\r\nUpgrade: x\r\n"
         "HTTP2-Settings: y\r\nA: b\r\n\r\n",
         "GET / HTTP/1.1\r\nHost: h\r\nA: b\r\n\r\n"},
        {"GET / HTTP/1.1\r\nHost: h\r\nTE: gzip, trailers\r\n\r\n",
         "GET / HTTP/1.1\r\nHost: h\r\nConnection: te\r\nTE: trailers\r\n\r\n"},
        {"GET / HTTP/1.1\r\nHost: h\r\nTE: gzip\r\nTrailer: X\r\n\r\n",
         "GET / HTTP/1.1\r\nHost: h\r\nTrailer: X\r\n\r\n"},
        /* Connection removes what it may, wherever that stands, and nothing else. */
        {"GET / HTTP/1.1\r\nX-A: 1\r\nHost: h\r\nConnection: close, x-a\r\nConnection: X-b\r\n"
         "X-B: 2\r\nX-AB: 3\r\n\r\n",
         "GET / HTTP/1.1\r\nHost: h\r\nX-AB: 3\r\n\r\n"},
        {"GET / HTTP/1.1\r\nHost: h\r\nX-Forwarded-For: 1\r\nX-Forwarded-Else: 2\r\n"
         "X-Request-Id: 3\r\nAuthorization: 4\r\nConnection: X-Forwarded-For, x-forwarded-else, "
         "X-Request-Id, Authorization, Host, Content-Length, zzz\r\nContent-Length: 0\r\n\r\n",
         "GET / HTTP/1.1\r\nHost: h\r\nX-Forwarded-For: 1\r\nX-Forwarded-Else: 2\r\n"
         "X-Request-Id: 3\r\nAuthorization: 4\r\nContent-Length: 0\r\n\r\n"},
    };
    (void)state;

    for (size_t i = 0; i < SL_ARRAY_LEN(rows); i++) {
        struct written w;
        parse_request(&w, rows[i].in);
        struct sl_h1_out out = {.framing = w.request.framing};
        ssize_t len = sl_h1_write_request(w.text, sizeof(w.text), &w.request, SL_SLICE(""), &out);
        expect_text(&w, len, rows[i].out);
    }
}

static void the_caller_drops_adds_and_says_how_to_go_on(void **state)
{
    static const struct sl_header extra[] = {
        {.name = {"X-Forwarded-For", 15}, .value = {"10.0.0.1", 8}},
        {.name = {"X-Empty", 7}, .value = {NULL, 0}},
    };
    struct written w;
    struct sl_h1_out out = {
        .extra = extra,
        .extra_n = 2,
        .drop_ids = sl_header_bit(SL_HEADER_X_FORWARDED_FOR) | sl_header_bit(SL_HEADER_EXPECT),
        .framing = {.kind = SL_FRAMING_CHUNKED},
        .connection = SL_H1_CONN_CLOSE,
    };
    (void)state;

    parse_request(&w,
                  "POST / HTTP/1.1\r\nHost: h\r\nx-forwarded-for: evil\r\n"
                  "Expect: 100-continue\r\nTE: trailers\r\n"
                  "Connection: x-empty\r\nContent-Length: 5\r\n\r\n");
    ssize_t len = sl_h1_write_request(w.text, sizeof(w.text), &w.request, SL_SLICE("pod:80"), &out);
    expect_text(&w, len,
                "POST / HTTP/1.1\r\nHost: pod:80\r\nX-Forwarded-For: 10.0.0.1\r\nX-Empty: \r\n"
                "Transfer-Encoding: chunked\r\nConnection: close, te\r\nTE: trailers\r\n\r\n");
}

static void an_upgrade_is_passed_on_when_it_is_tunnelled(void **state)
{
    static const char in[] =
        "GET /ws HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\n"
        "Upgrade: websocket\r\nSec-WebSocket-Key: k\r\n\r\n";
    struct written w;
    struct sl_h1_out out = {.connection = SL_H1_CONN_UPGRADE};
    (void)state;

    parse_request(&w, in);
    ssize_t len = sl_h1_write_request(w.text, sizeof(w.text), &w.request, SL_SLICE(""), &out);
    expect_text(&w, len,
                "GET /ws HTTP/1.1\r\nHost: h\r\nSec-WebSocket-Key: k\r\nConnection: upgrade\r\n"
                "Upgrade: websocket\r\n\r\n");
}

static void connect_is_not_forwarded(void **state)
{
    struct written w;
    struct sl_h1_out out = {.connection = SL_H1_CONN_DEFAULT};
    (void)state;

    parse_request(&w, "CONNECT h:443 HTTP/1.1\r\nHost: h:443\r\n\r\n");
    assert_int_equal(sl_h1_write_request(w.text, sizeof(w.text), &w.request, SL_SLICE(""), &out),
                     SL_EPROTO);
}

static void a_response_is_written_without_what_was_for_this_hop(void **state)
{
    static const struct sl_h1_asked get = {.method = SL_METHOD_GET};
    static const struct sl_h1_asked head = {.method = SL_METHOD_HEAD};
    static const struct sl_h1_asked upgrade = {.method = SL_METHOD_GET, .upgrade = true};
    static const struct {
        const char *in;
        const struct sl_h1_asked *asked;
        enum sl_h1_connection connection;
        const char *out;
    } rows[] = {
        {"HTTP/1.0 200 Fine\r\nServer: u\r\nContent-Length: 5\r\n\r\n", &get, SL_H1_CONN_DEFAULT,
         "HTTP/1.1 200 Fine\r\nServer: u\r\nContent-Length: 5\r\n\r\n"},
        {"HTTP/1.1 200\r\nTransfer-Encoding: chunked\r\nX_Y: z\r\n\r\n", &get, SL_H1_CONN_CLOSE,
         "HTTP/1.1 200 OK\r\nX_Y: z\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"},
        {"HTTP/1.1 200 OK\r\n\r\n", &get, SL_H1_CONN_CLOSE,
         "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n"},
        {"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: X-A\r\nX-A: 1\r\n\r\n", &head,
         SL_H1_CONN_KEEP_ALIVE,
         "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: keep-alive\r\n\r\n"},
        {"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\nETag: e\r\n\r\n", &get,
         SL_H1_CONN_DEFAULT, "HTTP/1.1 304 Not Modified\r\nETag: e\r\nContent-Length: 5\r\n\r\n"},
        {"HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n", &get, SL_H1_CONN_DEFAULT,
         "HTTP/1.1 204 No Content\r\n\r\n"},
        {"HTTP/1.1 101 \r\nConnection: upgrade\r\nUpgrade: websocket\r\nA: b\r\n\r\n", &upgrade,
         SL_H1_CONN_UPGRADE,
         "HTTP/1.1 101 Switching Protocols\r\nA: b\r\nConnection: upgrade\r\n"
         "Upgrade: websocket\r\n\r\n"},
        {"HTTP/1.1 299 \r\nContent-Length: 0\r\n\r\n", &get, SL_H1_CONN_DEFAULT,
         "HTTP/1.1 299 \r\nContent-Length: 0\r\n\r\n"},
    };
    (void)state;

    for (size_t i = 0; i < SL_ARRAY_LEN(rows); i++) {
        struct written w;
        parse_response(&w, rows[i].in, rows[i].asked);
        struct sl_h1_out out = {.framing = w.response.declared, .connection = rows[i].connection};
        ssize_t len = sl_h1_write_response(w.text, sizeof(w.text), &w.response, &out);
        expect_text(&w, len, rows[i].out);
    }
}

static void no_status_without_a_body_gets_framing_fields(void **state)
{
    static const uint16_t statuses[] = {100, 101, 103, 204};
    struct sl_h1_out out = {.framing = {.kind = SL_FRAMING_LENGTH, .length_bytes = 5}};
    (void)state;

    for (size_t i = 0; i < SL_ARRAY_LEN(statuses); i++) {
        struct written w;
        sl_response_head_init(&w.response, w.items, 0);
        w.response.status = statuses[i];
        ssize_t len = sl_h1_write_response(w.text, sizeof(w.text), &w.response, &out);
        check(len > 0 && memmem(w.text, (size_t)len, "Length", 6) == NULL, "%d: %.*s", statuses[i],
              (int)len, w.text);
    }
}

static void a_buffer_that_is_too_small_by_any_number_of_bytes_is_a_limit(void **state)
{
    static const struct sl_header extra = {.name = {"A", 1}, .value = {"b", 1}};
    struct written w;
    char small[1024];
    (void)state;

    parse_request(&w,
                  "POST /a//b?c HTTP/1.1\r\nHost: h\r\nX:y\r\nTE: trailers\r\n"
                  "Content-Length: 12345\r\n\r\n");
    struct sl_h1_out out = {.extra = &extra,
                            .extra_n = 1,
                            .framing = w.request.framing,
                            .connection = SL_H1_CONN_CLOSE};
    ssize_t len = sl_h1_write_request(w.text, sizeof(w.text), &w.request, SL_SLICE(""), &out);
    assert_true(len > 0);
    for (size_t n = 0; n < (size_t)len; n++) {
        memset(small, '#', sizeof(small));
        ssize_t rc = sl_h1_write_request(small, n, &w.request, SL_SLICE(""), &out);
        check(rc == SL_ELIMIT, "%zu bytes of %zd: %zd", n, len, rc);
        check(small[n] == '#', "wrote beyond %zu bytes", n);
    }
    assert_int_equal(sl_h1_write_request(small, (size_t)len, &w.request, SL_SLICE(""), &out), len);
}

static void chunk_frames_are_written(void **state)
{
    static struct sl_header items[] = {{.name = {"A", 1}, .value = {"b", 1}}};
    struct sl_headers trailers = {.items = items, .n = 1, .capacity_n = 1};
    char buf[64];
    (void)state;

    assert_int_equal(sl_h1_write_chunk_head(1, buf), 3);
    assert_memory_equal(buf, "1\r\n", 3);
    assert_int_equal(sl_h1_write_chunk_head(UINT64_MAX, buf), 18);
    assert_memory_equal(buf, "ffffffffffffffff\r\n", 18);
    assert_int_equal(sl_h1_write_last_chunk(buf, sizeof(buf), NULL), 5);
    assert_memory_equal(buf, "0\r\n\r\n", 5);
    assert_int_equal(sl_h1_write_last_chunk(buf, sizeof(buf), &trailers), 11);
    assert_memory_equal(buf, "0\r\nA: b\r\n\r\n", 11);
    assert_int_equal(sl_h1_write_last_chunk(buf, 10, &trailers), SL_ELIMIT);
}

static void what_was_written_is_parsed_to_the_same(void **state)
{
    static const char *const rows[] = {
        "GET /a?b HTTP/1.1\r\nHost: h:80\r\nA: b\r\nC:\r\n\r\n",
        "POST //a/%7e HTTP/1.1\r\nA: \xff\r\nHost: h\r\nContent-Length: 7\r\n\r\n",
        "PUT http://[::1]:8?q HTTP/1.1\r\nHost: [::1]:8\r\nTransfer-Encoding: chunked\r\n\r\n",
    };
    (void)state;

    for (size_t i = 0; i < SL_ARRAY_LEN(rows); i++) {
        struct written first;
        struct written second;
        char text[sizeof(first.text)];

        parse_request(&first, rows[i]);
        struct sl_h1_out out = {.framing = first.request.framing};
        ssize_t len =
            sl_h1_write_request(first.text, sizeof(first.text), &first.request, SL_SLICE(""), &out);
        assert_true(len > 0 && (size_t)len < sizeof(text));
        memcpy(text, first.text, (size_t)len);
        text[len] = '\0';
        parse_request(&second, text);
        check(sl_slice_eq(first.request.path, second.request.path), "%s: path", rows[i]);
        check(sl_slice_eq(first.request.query, second.request.query), "%s: query", rows[i]);
        check(sl_slice_eq(first.request.authority, second.request.authority), "%s: authority",
              rows[i]);
        check(first.request.framing.kind == second.request.framing.kind &&
                  first.request.framing.length_bytes == second.request.framing.length_bytes,
              "%s: framing", rows[i]);
        struct sl_h1_out again = {.framing = second.request.framing};
        ssize_t len2 = sl_h1_write_request(second.text, sizeof(second.text), &second.request,
                                           SL_SLICE(""), &again);
        check(len2 == len && memcmp(first.text, second.text, (size_t)len) == 0,
              "%s: written twice:\n%.*s", rows[i], (int)len2, second.text);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_request_is_written_without_what_was_for_this_hop),
        cmocka_unit_test(the_caller_drops_adds_and_says_how_to_go_on),
        cmocka_unit_test(an_upgrade_is_passed_on_when_it_is_tunnelled),
        cmocka_unit_test(connect_is_not_forwarded),
        cmocka_unit_test(a_response_is_written_without_what_was_for_this_hop),
        cmocka_unit_test(no_status_without_a_body_gets_framing_fields),
        cmocka_unit_test(a_buffer_that_is_too_small_by_any_number_of_bytes_is_a_limit),
        cmocka_unit_test(chunk_frames_are_written),
        cmocka_unit_test(what_was_written_is_parsed_to_the_same),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
