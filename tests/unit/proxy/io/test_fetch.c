/* SPDX-License-Identifier: Apache-2.0 */
#include "proxy/base/alloc.h"
#include "proxy/io/fetch.h"
#include "proxy/io/loop.h"
#include "tests/unit/check.h"
#include "tests/unit/discovery/fake_api.h"

#include <stdio.h>
#include <string.h>

/* One request and what came of it. */
struct call {
    struct sl_fetch *fetch;
    struct sl_fetch_result result;
    int heads_n;
    int dones_n;
    int data_n;
    uint16_t status; /* as told to on_data */
    char body[4096];
    size_t body_len;
    uint64_t heard_ms; /* the loop's clock */
    uint64_t done_ms;
    bool cancel_in_data;
    struct call *other; /* cancelled in on_data, too */
};

struct rig {
    struct sl_loop *loop;
    struct sl_fetcher *fetcher;
    struct fake_api api;
};

static struct rig rig;

static void on_head(void *arg, uint16_t status)
{
    struct call *c = arg;
    c->heads_n++;
    c->heard_ms = sl_loop_now_ms(rig.loop);
    c->status = status;
}

static void on_data(void *arg, uint16_t status, struct sl_slice data)
{
    struct call *c = arg;

    assert_int_equal(c->dones_n, 0);
    assert_true(c->body_len + data.len < sizeof(c->body));
    memcpy(c->body + c->body_len, data.ptr, data.len);
    c->body_len += data.len;
    c->data_n++;
    c->heard_ms = sl_loop_now_ms(rig.loop);
    c->status = status;
    if (c->other != NULL) {
        sl_fetch_cancel(c->other->fetch);
    }
    if (c->cancel_in_data) {
        sl_fetch_cancel(c->fetch);
    }
}

static void on_done(void *arg, const struct sl_fetch_result *result)
{
    struct call *c = arg;

    c->dones_n++;
    c->done_ms = sl_loop_now_ms(rig.loop);
    c->result = *result;
    sl_fetch_cancel(c->fetch); /* allowed, and without effect */
}

static const struct sl_fetch_ops ops = {.on_head = on_head, .on_data = on_data, .on_done = on_done};

static bool is_done(void *arg)
{
    const struct call *c = arg;
    return c->dones_n > 0;
}

static bool has_data(void *arg)
{
    const struct call *c = arg;
    return c->data_n > 0;
}

static bool has_head(void *arg)
{
    const struct call *c = arg;
    return c->heads_n > 0;
}

static int setup(void **state)
{
    (void)state;
    assert_int_equal(sl_loop_new(&rig.loop), SL_OK);
    assert_int_equal(sl_fetcher_new(rig.loop, &rig.fetcher), SL_OK);
    fake_start(&rig.api, rig.loop);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    sl_fetcher_free(rig.fetcher);
    fake_stop(&rig.api);
    sl_loop_free(rig.loop);
    return 0;
}

static void start(struct call *c, const char *path, struct sl_fetch_request r)
{
    char url[128];

    (void)snprintf(url, sizeof(url), "%s%s", rig.api.url, path);
    r.url = url;
    r.connect_timeout_ms = 60000;
    assert_int_equal(sl_fetch_start(rig.fetcher, &r, &ops, c, &c->fetch), SL_OK);
}

static void a_response_comes_whole_whatever_its_status(void **state)
{
    static const struct {
        int status;
        const char *extra;
        uint32_t retry_after_s;
    } rows[] = {
        {200, "", 0},
        {410, "", 0},
        {429, "Retry-After: 7\r\n", 7},
        {503, "Retry-After: nonsense\r\n", 0},
        {301, "Location: /elsewhere\r\n", 0},
    };
    (void)state;

    for (size_t i = 0; i < SL_ARRAY_LEN(rows); i++) {
        struct call c = {0};

        start(&c, "/x", (struct sl_fetch_request){0});
        fake_answer(fake_take(&rig.api, "GET /x "), rows[i].status, rows[i].extra, "hello");
        fake_run_until(rig.loop, is_done, &c, 5000, "done");
        check(c.result.code == SL_OK, "%d: %s", rows[i].status, c.result.error);
        assert_int_equal(c.result.status, rows[i].status);
        assert_int_equal(c.status, rows[i].status);
        assert_int_equal(c.result.retry_after_s, rows[i].retry_after_s);
        assert_int_equal(c.body_len, 5);
        assert_int_equal(c.heads_n, 1);
        assert_int_equal(c.dones_n, 1);
    }
    assert_int_equal(rig.api.requests_n, SL_ARRAY_LEN(rows)); /* nobody followed the redirect */
}

static void our_headers_are_sent_and_curls_name_is_not(void **state)
{
    const char *const headers[] = {"Authorization: Bearer secret", "Accept: application/json"};
    struct call c = {0};
    (void)state;

    start(&c, "/x",
          (struct sl_fetch_request){
              .headers = headers, .headers_n = 2, .body = SL_SLICE("{}"), .method = "POST"});
    struct fake_conn *conn = fake_take(&rig.api, "POST /x HTTP/1.1\r\n");
    assert_non_null(strstr(conn->request, "\r\nAuthorization: Bearer secret\r\n"));
    assert_non_null(strstr(conn->request, "\r\nAccept: application/json\r\n"));
    assert_non_null(strstr(conn->request, "\r\nUser-Agent: sluiced/"));
    assert_null(strstr(conn->request, "curl"));
    assert_null(strstr(conn->request, "Expect:"));
    fake_answer(conn, 200, "", "");
    fake_run_until(rig.loop, is_done, &c, 5000, "done");
}

static void the_head_is_told_before_the_body_and_bytes_as_they_come(void **state)
{
    struct call c = {0};
    (void)state;

    start(&c, "/watch", (struct sl_fetch_request){0});
    struct fake_conn *conn = fake_take(&rig.api, "/watch");
    fake_open(conn);
    fake_run_until(rig.loop, has_head, &c, 5000, "head");
    assert_int_equal(c.data_n, 0);
    fake_chunk(conn, "one");
    fake_run_until(rig.loop, has_data, &c, 5000, "data");
    assert_int_equal(c.dones_n, 0);
    fake_end(conn);
    fake_run_until(rig.loop, is_done, &c, 5000, "done");
    assert_int_equal(c.result.code, SL_OK);
    assert_memory_equal(c.body, "one", 3);
}

static void what_breaks_is_named(void **state)
{
    static const struct {
        const char *sent;
        int code;
    } rows[] = {
        {"", SL_ERESET},
        {"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf", SL_ERESET},
        {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhalf", SL_ERESET},
        {"SSH-2.0-OpenSSH\r\n\r\n", SL_EPROTO},
    };
    (void)state;

    for (size_t i = 0; i < SL_ARRAY_LEN(rows); i++) {
        struct call c = {0};

        start(&c, "/x", (struct sl_fetch_request){0});
        struct fake_conn *conn = fake_take(&rig.api, "/x");
        fake_send(conn, rows[i].sent);
        fake_cut(conn);
        fake_run_until(rig.loop, is_done, &c, 5000, "done");
        check(c.result.code == rows[i].code, "row %zu: %d, %s", i, c.result.code, c.result.error);
        check(c.result.error[0] != '\0', "row %zu: no words", i);
    }
}

static void nobody_there_is_refused(void **state)
{
    struct call c = {0};
    struct sl_fetch_request r = {.url = "http://127.0.0.1:1/", .connect_timeout_ms = 2000};
    (void)state;

    assert_int_equal(sl_fetch_start(rig.fetcher, &r, &ops, &c, &c.fetch), SL_OK);
    assert_int_equal(c.dones_n, 0); /* start never calls back */
    fake_run_until(rig.loop, is_done, &c, 5000, "done");
    assert_int_equal(c.result.code, SL_EREFUSED);
    assert_int_equal(c.result.status, 0);
}

static void a_server_that_does_not_speak_tls_costs_the_connect_timeout_at_most(void **state)
{
    char url[64];
    struct call c = {0};
    struct sl_fetch_request r = {.url = url, .connect_timeout_ms = 150};
    (void)state;

    /* It accepts, and never answers the ClientHello. */
    (void)snprintf(url, sizeof(url), "https%.50s", rig.api.url + 4);
    assert_int_equal(sl_fetch_start(rig.fetcher, &r, &ops, &c, &c.fetch), SL_OK);
    fake_run_until(rig.loop, is_done, &c, 3000, "done");
    assert_int_equal(c.result.code, SL_ETIMEOUT);
}

static bool is_asked_or_done(void *arg)
{
    return is_done(arg) || fake_has(&rig.api, "/watch");
}

static void silence_ends_at_the_idle_timeout_and_a_byte_puts_it_off(void **state)
{
    struct call c = {0};
    struct fake_conn *conn = NULL;
    (void)state;

    start(&c, "/watch", (struct sl_fetch_request){.idle_timeout_ms = 200});
    c.heard_ms = sl_loop_now_ms(rig.loop);
    fake_run_until(rig.loop, is_asked_or_done, &c, 5000, "a request");
    /* While it is not done it hears; where this machine stands still, it is done sooner. */
    for (int i = 0; i < 6 && c.dones_n == 0; i++) {
        if (i == 0) {
            conn = fake_take(&rig.api, "/watch");
            fake_open(conn);
        } else {
            fake_chunk(conn, "x");
        }
        fake_run_for(rig.loop, 80);
    }
    fake_run_until(rig.loop, is_done, &c, 5000, "done");
    assert_int_equal(c.result.code, SL_ETIMEOUT);
    assert_non_null(strstr(c.result.error, "no byte for "));
    check(c.done_ms - c.heard_ms >= 200, "%ju ms after the last byte",
          (uintmax_t)(c.done_ms - c.heard_ms));
}

static void a_cancelled_fetch_says_no_more_wherever_it_is_cancelled(void **state)
{
    struct call first = {.cancel_in_data = true};
    struct call second = {0};
    struct call third = {0};
    (void)state;

    start(&third, "/third", (struct sl_fetch_request){0});
    sl_fetch_cancel(third.fetch); /* before the loop ever saw it */
    first.other = &second;
    start(&second, "/second", (struct sl_fetch_request){0});
    struct fake_conn *idle = fake_take(&rig.api, "/second");
    start(&first, "/first", (struct sl_fetch_request){0});
    struct fake_conn *conn = fake_take(&rig.api, "/first");
    fake_open(idle);
    fake_open(conn);
    fake_chunk(conn, "one");
    fake_run_until(rig.loop, has_data, &first, 5000, "data");
    fake_run_for(rig.loop, 50);
    assert_int_equal(first.dones_n + second.dones_n + third.dones_n, 0);
    assert_int_equal(first.data_n, 1);
    assert_int_equal(conn->fd, -1); /* both connections were closed */
    assert_int_equal(idle->fd, -1);
    assert_false(fake_has(&rig.api, "/third"));
}

static void a_connection_is_used_again(void **state)
{
    struct fake_conn *conns[2];
    (void)state;

    for (size_t i = 0; i < SL_ARRAY_LEN(conns); i++) {
        struct call c = {0};
        start(&c, "/x", (struct sl_fetch_request){0});
        conns[i] = fake_take(&rig.api, "/x");
        fake_answer(conns[i], 200, "", "ok");
        fake_run_until(rig.loop, is_done, &c, 5000, "done");
    }
    assert_ptr_equal(conns[0], conns[1]);
}

static void the_fetcher_takes_what_runs_with_it(void **state)
{
    struct call running = {0};
    struct call pending = {0};
    (void)state;

    start(&running, "/running", (struct sl_fetch_request){.idle_timeout_ms = 1000});
    (void)fake_take(&rig.api, "/running");
    start(&pending, "/pending", (struct sl_fetch_request){0});
    sl_fetcher_free(rig.fetcher);
    assert_int_equal(running.dones_n + pending.dones_n, 0);
    assert_int_equal(sl_fetcher_new(rig.loop, &rig.fetcher), SL_OK); /* for the teardown */
}

static int allocs_left_n;

static bool allow_alloc(size_t size_bytes)
{
    (void)size_bytes;
    return allocs_left_n-- > 0;
}

static void a_lack_of_memory_ends_one_fetch_and_not_the_fetcher(void **state)
{
    const struct sl_fetch_request r = {.url = rig.api.url, .connect_timeout_ms = 2000};
    (void)state;

    for (int allowed_n = 0; allowed_n < 4; allowed_n++) {
        struct call c = {0};

        allocs_left_n = allowed_n;
        sl_alloc_hook = allow_alloc;
        int rc = sl_fetch_start(rig.fetcher, &r, &ops, &c, &c.fetch);
        if (rc == SL_OK) {
            for (int i = 0; i < 100 && c.dones_n == 0; i++) {
                sl_loop_run_once(rig.loop);
            }
        }
        sl_alloc_hook = NULL;
        check(allowed_n > 0 || rc == SL_ENOMEM, "start without memory: %d", rc);
        if (rc == SL_OK && c.dones_n == 0) {
            fake_answer(fake_take(&rig.api, "GET / "), 200, "", "ok");
            fake_run_until(rig.loop, is_done, &c, 5000, "done");
        }
        check(rc == SL_ENOMEM || c.dones_n == 1, "%d allowed: no end", allowed_n);
        check(allowed_n != 1 || c.result.code == SL_ENOMEM, "one allowed: %d", c.result.code);
    }
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_response_comes_whole_whatever_its_status),
        TEST(our_headers_are_sent_and_curls_name_is_not),
        TEST(the_head_is_told_before_the_body_and_bytes_as_they_come),
        TEST(what_breaks_is_named),
        TEST(nobody_there_is_refused),
        TEST(a_server_that_does_not_speak_tls_costs_the_connect_timeout_at_most),
        TEST(silence_ends_at_the_idle_timeout_and_a_byte_puts_it_off),
        TEST(a_cancelled_fetch_says_no_more_wherever_it_is_cancelled),
        TEST(a_connection_is_used_again),
        TEST(the_fetcher_takes_what_runs_with_it),
        TEST(a_lack_of_memory_ends_one_fetch_and_not_the_fetcher),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
