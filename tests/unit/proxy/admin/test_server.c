/* SPDX-License-Identifier: Apache-2.0 */
#include "fake_control.h"

#include "proxy/admin/server.h"
#include "proxy/base/alloc.h"
#include "proxy/base/buf.h"
#include "proxy/io/loop.h"
#include "proxy/io/socket.h"
#include "tests/unit/check.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define GOT_BYTES ((size_t)4 * 1024 * 1024)
#define TURNS_MAX_N 200000

/* Somebody who asks. */
struct asker {
    int fd;
    char *got;
    size_t got_n;
    bool ended; /* FIN */
    bool reset;
};

static struct fake_control fake;
static struct sl_loop *loop;
static struct sl_chunk_pool chunks;
static struct sl_admin *admin;
static struct sl_address bound;
static struct asker asker;

static void serve_at(const struct sl_address *bind, bool probes_only)
{
    const struct sl_admin_conf conf = {loop, &chunks, &fake.control, bind, probes_only};
    struct sl_error err;

    sl_admin_close(&admin);
    int rc = sl_admin_open(&conf, &admin, &bound, &err);
    check(rc == SL_OK, "%s", rc != SL_OK ? err.message : "");
    assert_true(bound.is_unix || bound.port != 0);
}

static void serve(bool probes_only)
{
    static const struct sl_address bind = {"127.0.0.1", 0, false};
    serve_at(&bind, probes_only);
}

static void asker_open(struct asker *a)
{
    *a = (struct asker){.fd = -1, .got = calloc(1, GOT_BYTES)};
    assert_non_null(a->got);
    int rc = sl_socket_connect(&bound, &a->fd);
    assert_true(rc == SL_OK || rc == SL_AGAIN); /* loopback: decided by now */
}

static void asker_close(struct asker *a)
{
    if (a->got != NULL) {
        (void)close(a->fd); /* what is lost does not matter any more */
        free(a->got);
        a->got = NULL;
    }
}

static int setup(void **state)
{
    (void)state;
    fake_control_init(&fake);
    sl_chunk_pool_init(&chunks, (size_t)1024 * 1024, 4);
    if (sl_loop_new(&loop) != SL_OK) {
        return -1;
    }
    serve(false);
    asker_open(&asker);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    sl_alloc_hook = NULL;
    asker_close(&asker);
    sl_admin_close(&admin);
    sl_loop_free(loop);
    sl_chunk_pool_fini(&chunks);
    fake_control_fini(&fake);
    return 0;
}

static void reopen(void)
{
    asker_close(&asker);
    asker_open(&asker);
}

static void send_all(struct asker *a, const char *bytes, size_t len)
{
    for (unsigned i = 0; len > 0; i++) {
        ssize_t n = send(a->fd, bytes, len, MSG_NOSIGNAL);

        check(i < TURNS_MAX_N, "the server does not read");
        if (n > 0) {
            bytes += n;
            len -= (size_t)n;
        } else if (errno != EAGAIN) {
            return; /* it was closed: the answer says why */
        }
        sl_loop_run_once(loop);
    }
}

static void send_text(struct asker *a, const char *text)
{
    send_all(a, text, strlen(text));
}

static void turn(struct asker *a)
{
    sl_loop_run_once(loop);
    ssize_t n = recv(a->fd, a->got + a->got_n, GOT_BYTES - 1 - a->got_n, MSG_DONTWAIT);
    if (n > 0) {
        a->got_n += (size_t)n;
        a->got[a->got_n] = '\0';
    } else if (n == 0) {
        a->ended = true;
    } else if (errno != EAGAIN) {
        a->ended = a->reset = true;
    }
}

/* Length of the first answer in what was got, 0 when it is not known yet. */
static size_t answer_len(const struct asker *a)
{
    const char *end = strstr(a->got, "\r\n\r\n");
    const char *length = strstr(a->got, "\r\nContent-Length: ");
    size_t n = 0;

    if (end == NULL) {
        return 0;
    }
    if (length != NULL && length < end) {
        for (const char *p = length + 18; *p >= '0' && *p <= '9'; p++) {
            n = n * 10 + (size_t)(*p - '0');
        }
    }
    return (size_t)(end + 4 - a->got) + n;
}

static void wait_answer(struct asker *a)
{
    size_t len = answer_len(a);

    for (unsigned i = 0; i < TURNS_MAX_N && (len == 0 || a->got_n < len) && !a->ended; i++) {
        turn(a);
        len = len == 0 ? answer_len(a) : len;
    }
    check(len > 0 && a->got_n >= len, "no answer; %s, got %zu of %zu: %.500s",
          a->reset   ? "reset"
          : a->ended ? "closed"
                     : "open",
          a->got_n, len, a->got);
}

static void wait_end(struct asker *a)
{
    for (unsigned i = 0; i < TURNS_MAX_N && !a->ended; i++) {
        turn(a);
    }
    check(a->ended && !a->reset, "the connection was %s", a->reset ? "reset" : "not closed");
}

/* Forgets the first answer. */
static void next(struct asker *a)
{
    size_t n = answer_len(a);

    memmove(a->got, a->got + n, a->got_n - n + 1);
    a->got_n -= n;
}

static void ask(const char *request)
{
    next(&asker);
    send_text(&asker, request);
    wait_answer(&asker);
}

static int status_of(const struct asker *a)
{
    check(strncmp(a->got, "HTTP/1.1 ", 9) == 0, "no status line: %.80s", a->got);
    return (a->got[9] - '0') * 100 + (a->got[10] - '0') * 10 + (a->got[11] - '0');
}

static void check_answer(const char *what, int status, const char *text)
{
    check(status_of(&asker) == status, "%s: %.300s", what, asker.got);
    check(strstr(asker.got, text) != NULL, "%s: without \"%s\": %.300s", what, text, asker.got);
}

static void request_of(char *buf, size_t size_bytes, const char *method, const char *path)
{
    (void)snprintf(buf, size_bytes, "%s %s HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", method, path);
}

struct row {
    const char *method;
    const char *path;
    int status;
    const char *text;
};

static void check_rows(const struct row *rows, size_t n)
{
    char request[256];

    for (size_t i = 0; i < n; i++) {
        request_of(request, sizeof(request), rows[i].method, rows[i].path);
        ask(request); /* all on one connection */
        check_answer(rows[i].path, rows[i].status, rows[i].text);
    }
    assert_false(asker.ended);
}

static void the_admin_listener_answers_all_routes(void **state)
{
    static const struct row rows[] = {
        {"GET", "/healthz", 200, "\r\n\r\nok\n"},
        {"GET", "/readyz", 200, "\r\n\r\nready\n"},
        {"GET", "/metrics", 200, "Content-Type: text/plain; version=0.0.4; charset=utf-8\r\n"},
        {"GET", "/metrics", 200, "\nsluiced_generation 7\n"},
        {"GET", "/status", 200, "Content-Type: application/json\r\n"},
        {"GET", "/status", 200, "\"generation\":7,"},
        {"GET", "/status?x=1", 200, "\"generation\":7,"},
        {"POST", "/reload", 200, "\r\n\r\n{\"generation\":7,\"asked\":1}\n"},
        {"GET", "/reload", 200,
         "{\"asked\":1,\"answered\":1,\"ok\":true,\"generation\":7,"
         "\"config_hash\":\"0000000000000abc\",\"config_file\":\"/etc/sluiced.yaml\","
         "\"changes\":\"1 change: + pools.v2\",\"not_synced\":\"v2\",\"error\":\"\"}\n"},
        {"GET", "/config", 200, "\r\n\r\npools.v1:\npools.v1.balance: least_request\n"},
        {"GET", "/drain", 200,
         "{\"draining\":false,\"closing\":false,\"outbound_served\":true,\"elapsed_ms\":1500,"
         "\"delay_ms\":5000,\"timeout_ms\":600000,\"inbound\":4,\"outbound\":3,"
         "\"requests\":2}\n"},
        {"POST", "/drain", 200, "\r\n\r\n{\"draining\":true}\n"},
        {"POST", "/drain/endpoint?endpoint=a-1", 200,
         "\r\n\r\n{\"matched\":1,\"drained\":1,\"in_flight\":3}\n"},
        {"GET", "/drain/endpoint?endpoint=%5b::1%5D:80", 200, "\"drained\":1,"},
        {"POST", "/drain/endpoint?endpoint=a-1&undo=1", 200, "\"drained\":0,"},
        {"POST", "/drain/endpoint?endpoint=a-1&undo=yes", 400, "undo= takes 1 alone\n"},
        {"POST", "/drain/endpoint", 400, "endpoint= is missing"},
        {"POST", "/drain/endpoint?endpoint=b-1", 404, "no pool has an endpoint \"b-1\"\n"},
        {"GET", "/", 200, "POST /reload          read the configuration again\n"},
        {"GET", "/nonsense", 404, "not found; GET / lists what there is\n"},
        {"GET", "/healthz/", 404, "not found"},
        {"POST", "/status", 405, "\r\nAllow: GET, HEAD\r\n"},
        {"BREW", "/reload", 405, "\r\nAllow: GET, HEAD, POST\r\n"},
        {"BREW", "/healthz", 405, "\r\nAllow: GET, HEAD\r\n"},
    };
    (void)state;

    check_rows(rows, SL_ARRAY_LEN(rows));
    assert_int_equal(fake.reloads_n, 1);
    assert_int_equal(fake.drains_n, 1);
}

static void the_probes_listener_answers_probes_alone(void **state)
{
    static const struct row rows[] = {
        {"GET", "/healthz", 200, "ok\n"},
        {"GET", "/readyz", 200, "ready\n"},
        {"GET", "/metrics", 200, "sluiced_generation 7\n"},
        {"GET", "/status", 404, "not found\n"},
        {"GET", "/", 404, "not found\n"},
        {"POST", "/reload", 404, "not found\n"},
        {"POST", "/drain", 404, "not found\n"},
        {"POST", "/healthz", 405, "Allow: GET, HEAD\r\n"},
    };
    (void)state;

    serve(true);
    reopen();
    check_rows(rows, SL_ARRAY_LEN(rows));
    ask("GET /healthz HTTP/1.1\r\nHost: sluiced.prod.svc\r\n\r\n"); /* a name is fine here */
    check_answer("a name", 200, "ok\n");
    assert_int_equal(fake.reloads_n + fake.drains_n, 0);
}

static void head_has_the_length_and_no_body(void **state)
{
    (void)state;

    send_text(&asker, "HEAD /healthz HTTP/1.1\r\nHost: [::1]:1\r\n\r\n");
    send_text(&asker, "GET /nonsense HTTP/1.1\r\nHost: [::1]:1\r\n\r\n");
    for (unsigned i = 0; i < 1000; i++) {
        turn(&asker);
    }
    const char *end = strstr(asker.got, "\r\n\r\n");
    assert_non_null(end);
    assert_non_null(strstr(asker.got, "Content-Length: 3\r\n"));
    assert_int_equal(strncmp(end + 4, "HTTP/1.1 404 ", 13), 0);
}

static void not_ready_says_why(void **state)
{
    (void)state;

    fake.process.ready = false;
    fake.process.not_ready_because = "pool v2 has not synced";
    ask("GET /readyz HTTP/1.1\r\nHost: localhost\r\n\r\n");
    check_answer("not ready", 503, "\r\n\r\npool v2 has not synced\n");
}

static void a_refused_reload_gives_the_errors(void **state)
{
    (void)state;

    fake.reload_code = SL_ECONFIG;
    fake.process.reload_error = "a.yaml:1:2: \"x\"\na.yaml:2:2: no";
    ask("POST /reload HTTP/1.1\r\nHost: localhost\r\n\r\n");
    check_answer("reload", 422, "{\"error\":\"a.yaml:1:2: \\\"x\\\"\\na.yaml:2:2: no\"}\n");
}

static void a_browser_cannot_be_used_as_a_tool(void **state)
{
    static const struct {
        const char *request;
        int status;
    } rows[] = {
        {"POST /drain HTTP/1.1\r\nHost: 127.0.0.1:9901\r\nOrigin: http://evil.test\r\n\r\n", 403},
        {"POST /drain HTTP/1.1\r\nHost: 127.0.0.1:9901\r\nOrigin: null\r\n\r\n", 403},
        {"GET /status HTTP/1.1\r\nHost: evil.test\r\n\r\n", 403},
        {"GET /status HTTP/1.1\r\nHost: 127.0.0.1.evil.test\r\n\r\n", 403},
        {"GET /status HTTP/1.1\r\nHost: localhost.evil.test\r\n\r\n", 403},
        {"GET /status HTTP/1.1\r\nHost: 1234567890123456.test\r\n\r\n", 403},
        {"POST /reload HTTP/1.1\r\nHost: evil.test\r\n\r\n", 403},
        {"GET /status HTTP/1.1\r\nHost: LOCALHOST:9901\r\n\r\n", 200},
        {"GET /status HTTP/1.1\r\nHost: [fd00::1]:9901\r\n\r\n", 200},
        {"GET /status HTTP/1.1\r\nHost: 10.1.2.3\r\n\r\n", 200},
        {"GET http://evil.test/status HTTP/1.1\r\nHost: evil.test\r\n\r\n", 403},
        {"GET /status HTTP/1.1\r\nHost: 127.0.0.1\r\nOrigin: http://x\r\n\r\n", 200},
    };
    (void)state;

    for (size_t i = 0; i < SL_ARRAY_LEN(rows); i++) {
        ask(rows[i].request);
        check_answer(rows[i].request, rows[i].status, "");
    }
    assert_int_equal(fake.reloads_n + fake.drains_n, 0);
}

static void bytes_may_come_one_by_one(void **state)
{
    static const char request[] =
        "\r\nPOST /reload HTTP/1.1\r\nHost: localhost\r\n"
        "Transfer-Encoding: chunked\r\n\r\n"
        "3;x=y\r\nabc\r\n0\r\nT: v\r\n\r\n"
        "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n";
    (void)state;

    for (size_t i = 0; i < sizeof(request) - 1; i++) {
        send_all(&asker, request + i, 1);
        turn(&asker);
    }
    wait_answer(&asker);
    check_answer("reload", 200, "generation");
    next(&asker);
    wait_answer(&asker);
    check_answer("after it", 200, "ok\n");
    assert_int_equal(fake.reloads_n, 1);
}

static void pipelined_requests_are_answered_in_order(void **state)
{
    static const char request[] =
        "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
        "POST /drain HTTP/1.1\r\nHost: localhost\r\n"
        "Content-Length: 5\r\n\r\nhello"
        "GET /nonsense HTTP/1.1\r\nHost: localhost\r\n\r\n"
        "GET /readyz HTTP/1.1\r\nHost: localhost\r\n"
        "Connection: close\r\n\r\n"
        "POST /reload HTTP/1.1\r\nHost: localhost\r\n\r\n";
    static const char *const texts[] = {"ok\n", "{\"draining\":true}\n", "not found", "ready\n"};
    (void)state;

    send_all(&asker, request, sizeof(request) - 1);
    for (size_t i = 0; i < SL_ARRAY_LEN(texts); i++) {
        wait_answer(&asker);
        check_answer("pipelined", i == 2 ? 404 : 200, texts[i]);
        if (i + 1 < SL_ARRAY_LEN(texts)) {
            next(&asker);
        }
    }
    assert_non_null(strstr(asker.got, "\r\nConnection: close\r\n"));
    wait_end(&asker);
    assert_int_equal(fake.reloads_n, 0); /* stood behind the end */
}

static void nonsense_is_refused_and_the_connection_closed(void **state)
{
    static const struct row rows[] = {
        {"garbage\r\n\r\n", "", 400, "start_line"},
        {"GET / HTTP/2.0\r\n\r\n", "", 505, "version"},
        {"GET / HTTP/1.1\r\n\r\n", "", 400, "host_missing"},
        {"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", "", 400, "host_repeated"},
        {"GET / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\n"
         "Transfer-Encoding: chunked\r\n\r\n",
         "", 400, "content_length_and_transfer_encoding"},
        {"POST /drain HTTP/1.1\r\nHost: localhost\r\nContent-Length: 65537\r\n\r\n", "", 413,
         "64 KiB"},
        {"POST /drain HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", "",
         400, "malformed body"},
    };
    (void)state;

    for (size_t i = 0; i < SL_ARRAY_LEN(rows); i++) {
        ask(rows[i].method);
        check_answer(rows[i].method, rows[i].status, rows[i].text);
        assert_non_null(strstr(asker.got, "\r\nConnection: close\r\n"));
        wait_end(&asker);
        reopen();
    }
    assert_int_equal(fake.drains_n, 0);
}

static void a_head_that_is_too_large_is_refused(void **state)
{
    static char request[20000];
    int n = snprintf(request, sizeof(request), "GET / HTTP/1.1\r\nHost: localhost\r\nX: ");
    (void)state;

    memset(request + n, 'x', sizeof(request) - (size_t)n);
    send_all(&asker, request, sizeof(request));
    wait_answer(&asker);
    check_answer("large head", 431, "head_too_large");
    wait_end(&asker); /* by FIN, although bytes were left unread */
}

static void bodies_are_skipped_up_to_the_limit(void **state)
{
    static char body[65536];
    (void)state;

    memset(body, 'b', sizeof(body));
    send_text(&asker, "POST /drain HTTP/1.1\r\nHost: localhost\r\nContent-Length: 65536\r\n\r\n");
    send_all(&asker, body, sizeof(body));
    wait_answer(&asker);
    check_answer("64 KiB", 200, "draining");

    next(&asker);
    send_text(&asker,
              "POST /drain HTTP/1.1\r\nHost: localhost\r\n"
              "Transfer-Encoding: chunked\r\n\r\n10001\r\n");
    send_all(&asker, body, sizeof(body));
    send_text(&asker, "b\r\n0\r\n\r\n");
    wait_answer(&asker);
    check_answer("64 KiB and one byte", 413, "64 KiB");
    wait_end(&asker);
    assert_int_equal(fake.drains_n, 1);
}

static void who_expects_to_be_asked_is_asked(void **state)
{
    (void)state;

    ask("POST /drain HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n"
        "Expect: 100-continue\r\n\r\n");
    assert_string_equal(asker.got, "HTTP/1.1 100 Continue\r\n\r\n");
    assert_int_equal(fake.drains_n, 0);
    ask("hi");
    check_answer("after the body", 200, "draining");
}

static void http_1_0_is_closed_unless_it_asks_to_stay(void **state)
{
    (void)state;

    ask("GET /healthz HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    check_answer("kept", 200, "\r\nConnection: keep-alive\r\n");
    ask("GET /healthz HTTP/1.0\r\n\r\n");
    check_answer("closed", 200, "\r\nConnection: close\r\n");
    wait_end(&asker);
}

static void a_slow_reader_gets_a_large_answer_whole(void **state)
{
    /* Over TCP the kernel's window timers would decide how long this takes. */
    struct sl_address path = {.is_unix = true};
    char folder[] = "/tmp/sluiced-admin-XXXXXX";
    (void)state;

    assert_non_null(mkdtemp(folder));
    (void)snprintf(path.host, sizeof(path.host), "%s/admin.sock", folder);
    serve_at(&path, false);
    reopen();
    (void)unlink(path.host); /* nobody else is to connect */
    (void)rmdir(folder);
    fake.many_n = 9000;
    send_text(&asker, "GET /status HTTP/1.1\r\nHost: localhost\r\n\r\n");
    for (int i = 0; i < 100; i++) { /* it takes nothing for a while */
        sl_loop_run_once(loop);
    }
    check(chunks.used_n > 0 && chunks.used_n < 16, "%u chunks hold what nobody reads",
          chunks.used_n);
    wait_answer(&asker);
    assert_int_equal(status_of(&asker), 200);
    check(asker.got_n > 1000000, "%zu bytes", asker.got_n);
    assert_memory_equal(asker.got + asker.got_n - 5, "]}]}\n", 5);
    ask("GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n");
    check_answer("after it", 200, "ok\n");
}

/* Until ms after from_ms. */
static void pass(uint64_t from_ms, uint64_t ms)
{
    sl_wheel_advance(sl_loop_wheel(loop), from_ms + ms);
}

static void who_waits_too_long_is_told_or_closed(void **state)
{
    uint64_t from_ms = sl_loop_now_ms(loop);
    (void)state;

    reopen();
    send_text(&asker, "GET /hea");
    for (int i = 0; i < 100; i++) {
        sl_loop_run_once(loop);
    }
    pass(from_ms, 9900);
    turn(&asker);
    assert_int_equal(asker.got_n, 0);
    pass(sl_loop_now_ms(loop), 10100);
    wait_answer(&asker);
    check_answer("half a head", 408, "did not arrive in time");
    wait_end(&asker);

    serve(false); /* a wheel that went ahead does not go back */
    reopen();
    from_ms = sl_loop_now_ms(loop);
    ask("GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n");
    next(&asker);
    pass(from_ms, 29000);
    turn(&asker);
    assert_false(asker.ended);
    pass(sl_loop_now_ms(loop), 30100);
    wait_end(&asker);
    assert_int_equal(asker.got_n, 0);
}

static void the_longest_idle_makes_room(void **state)
{
    static struct asker many[64];
    (void)state;

    ask("GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"); /* the first, idle from now */
    for (size_t i = 0; i < SL_ARRAY_LEN(many); i++) {
        asker_open(&many[i]);
        send_text(&many[i], "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n");
        wait_answer(&many[i]);
    }
    next(&asker);
    wait_end(&asker);
    size_t ended_n = 0;
    for (size_t i = 0; i < SL_ARRAY_LEN(many); i++) {
        turn(&many[i]);
        ended_n += many[i].ended ? 1 : 0;
        asker_close(&many[i]);
    }
    assert_int_equal(ended_n, 0);
}

static void close_server(void *arg)
{
    (void)arg;
    sl_admin_close(&admin);
}

static void an_operation_may_close_the_server(void **state)
{
    (void)state;

    fake.on_reload = close_server;
    send_text(&asker, "POST /reload HTTP/1.1\r\nHost: localhost\r\n\r\n");
    wait_end(&asker);
    assert_null(admin);
    assert_int_equal(fake.reloads_n, 1);
    sl_admin_close(&admin); /* safe to repeat */
}

static void an_address_that_cannot_be_bound_is_an_error_in_words(void **state)
{
    static const struct sl_address nowhere = {"192.0.2.1", 0, false};
    const struct sl_admin_conf conf = {loop, &chunks, &fake.control, &nowhere, false};
    struct sl_admin *none = NULL;
    struct sl_error err;
    (void)state;

    assert_int_equal(sl_admin_open(&conf, &none, &bound, &err), SL_ECONFIG);
    assert_null(none);
    check(strstr(err.message, "192.0.2.1:0") != NULL, "%s", err.message);
}

static bool no_memory(size_t size_bytes)
{
    (void)size_bytes;
    return false;
}

static void without_memory_it_says_no_and_lives_on(void **state)
{
    static const struct sl_address bind = {"127.0.0.1", 0, false};
    const struct sl_admin_conf conf = {loop, &chunks, &fake.control, &bind, false};
    struct sl_admin *none = NULL;
    struct sl_error err;
    (void)state;

    ask("GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n");
    sl_alloc_hook = no_memory;
    assert_int_equal(sl_admin_open(&conf, &none, &bound, &err), SL_ENOMEM);
    ask("GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n");
    check_answer("no memory", 500, "Content-Length: 0\r\n");
    sl_alloc_hook = NULL;
    ask("GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n");
    check_answer("memory again", 200, "sluiced_generation 7\n");
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(the_admin_listener_answers_all_routes),
        TEST(the_probes_listener_answers_probes_alone),
        TEST(head_has_the_length_and_no_body),
        TEST(not_ready_says_why),
        TEST(a_refused_reload_gives_the_errors),
        TEST(a_browser_cannot_be_used_as_a_tool),
        TEST(bytes_may_come_one_by_one),
        TEST(pipelined_requests_are_answered_in_order),
        TEST(nonsense_is_refused_and_the_connection_closed),
        TEST(a_head_that_is_too_large_is_refused),
        TEST(bodies_are_skipped_up_to_the_limit),
        TEST(who_expects_to_be_asked_is_asked),
        TEST(http_1_0_is_closed_unless_it_asks_to_stay),
        TEST(a_slow_reader_gets_a_large_answer_whole),
        TEST(who_waits_too_long_is_told_or_closed),
        TEST(the_longest_idle_makes_room),
        TEST(an_operation_may_close_the_server),
        TEST(an_address_that_cannot_be_bound_is_an_error_in_words),
        TEST(without_memory_it_says_no_and_lives_on),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
