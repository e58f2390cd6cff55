/* SPDX-License-Identifier: Apache-2.0 */
#include "health_pod.h"

#include "proxy/base/alloc.h"
#include "proxy/io/socket.h"
#include "proxy/upstream/health_checker.h"
#include "tests/unit/check.h"
#include "tests/unit/proxy/io/pki.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define OK_TEXT "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

static const struct pod_step say_ok = {.answer = OK_TEXT};

struct fixture {
    struct sl_loop *loop;
    struct sl_chunk_pool chunks;
    struct sl_health_config conf;
    struct sl_health_target target;
    struct sl_health_check *check;
    struct sl_health_result result;
    unsigned reports_n;
    char scratch[SL_HEALTH_SCRATCH_BYTES];
    struct pod pod;
};

static struct fixture f; /* too large for a stack */

static void on_report(struct sl_health_check *check, const struct sl_health_result *result)
{
    assert_ptr_equal(check->owner, &f);
    f.result = *result;
    f.reports_n++;
}

static int setup(void **state)
{
    (void)state;

    memset(&f, 0, sizeof(f));
    assert_int_equal(sl_loop_new(&f.loop), SL_OK);
    sl_chunk_pool_init(&f.chunks, (size_t)64 * 1024, 4);
    f.conf = (struct sl_health_config){.kind = SL_HEALTH_CHECK_HTTP, .path = "/health?deep=1"};
    f.target = (struct sl_health_target){f.loop, &f.chunks, &f.conf, NULL, f.scratch, {0}};
    pod_init(&f.pod, f.loop, &say_ok, 1);
    f.check =
        sl_health_checker_get(SL_HEALTH_CHECK_HTTP)->new(&f.target, &f.pod.address, on_report, &f);
    assert_non_null(f.check);
    return 0;
}

static int teardown(void **state)
{
    (void)state;

    sl_alloc_hook = NULL;
    f.check->ops->free(f.check);
    pod_fini(&f.pod);
    sl_loop_free(f.loop);
    sl_chunk_pool_fini(&f.chunks);
    return 0;
}

static bool has_reported(void *arg)
{
    return f.reports_n >= *(unsigned *)arg;
}

static void probe(void)
{
    unsigned want_n = f.reports_n + 1;

    f.check->ops->start(f.check);
    pod_turn_until(f.loop, has_reported, &want_n, "a report");
    assert_int_equal(f.reports_n, want_n);
}

static bool all_closed(void *arg)
{
    return ((struct pod *)arg)->open_n == 0;
}

/* A probe's connection is kept when the pod sees it open a while later. */
static bool is_kept(void)
{
    for (int i = 0; i < 20; i++) {
        sl_loop_run_once(f.loop);
    }
    return f.pod.open_n > 0;
}

static void an_answer_decides_and_a_whole_one_keeps_the_connection(void **state)
{
    static const struct {
        const char *what;
        struct pod_step step;
        int code;
        uint16_t status;
        bool kept;
    } rows[] = {
        {"length", {.answer = OK_TEXT}, SL_OK, 200, true},
        {"no content", {.answer = "HTTP/1.1 204 No Content\r\n\r\n"}, SL_OK, 204, true},
        {"chunked",
         {.answer = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
                    "3;a=b\r\nabc\r\n1\r\nd\r\n0\r\nA: b\r\n\r\n"},
         SL_OK,
         200,
         true},
        {"until close",
         {.answer = "HTTP/1.0 200 OK\r\n\r\nfine", .end = POD_CLOSE},
         SL_OK,
         200,
         false},
        {"close asked for",
         {.answer = "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"},
         SL_OK,
         200,
         false},
        {"redirect",
         {.answer = "HTTP/1.1 302 Found\r\nLocation: /\r\nContent-Length: 0\r\n\r\n"},
         SL_OK,
         302,
         true},
        {"unavailable",
         {.answer = "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 4\r\n\r\nbusy"},
         SL_OK,
         503,
         true},
        {"interim",
         {.answer =
              "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nA: b\r\n\r\n" OK_TEXT},
         SL_OK,
         200,
         true},
        {"more than asked for", {.answer = OK_TEXT "HTTP/1.1 "}, SL_OK, 200, false},
        {"64 KiB of body",
         {.answer = "HTTP/1.1 200 OK\r\nContent-Length: 65536\r\n\r\n", .filler_bytes = 65536},
         SL_OK,
         200,
         true},
        {"a body too long",
         {.answer = "HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n", .filler_bytes = 90000},
         SL_OK,
         200,
         false},
        {"no protocol", {.answer = "SSH-2.0-OpenSSH_9.2\r\n"}, SL_EPROTO, 0, false},
        {"switched", {.answer = "HTTP/1.1 101 Go\r\n\r\n"}, SL_EPROTO, 0, false},
        {"bad chunk",
         {.answer = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n"},
         SL_EPROTO,
         0,
         false},
        {"head too long",
         {.answer = "HTTP/1.1 200 OK\r\nA: ", .filler_bytes = 17000},
         SL_EPROTO,
         0,
         false},
        {"silent end", {.end = POD_CLOSE}, SL_ECLOSED, 0, false},
        {"end in the head", {.answer = "HTTP/1.1 20", .end = POD_CLOSE}, SL_ECLOSED, 0, false},
        {"end in the body",
         {.answer = "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nok", .end = POD_CLOSE},
         SL_ECLOSED,
         0,
         false},
        {"reset", {.end = POD_RESET}, SL_ERESET, 0, false},
        {"reset in the body",
         {.answer = "HTTP/1.0 200 OK\r\n\r\nok", .piece_bytes = 1, .end = POD_RESET},
         SL_ERESET,
         0,
         false},
    };
    static const size_t pieces[] = {0, 7, 1};
    (void)state;

    for (size_t i = 0; i < SL_ARRAY_LEN(rows); i++) {
        for (size_t k = 0; k < SL_ARRAY_LEN(pieces); k++) {
            struct pod_step step = rows[i].step;
            if (step.filler_bytes == 0 && step.piece_bytes == 0) {
                step.piece_bytes = pieces[k];
            }
            pod_say(&f.pod, &step);
            probe();
            check(f.result.code == rows[i].code && f.result.status == rows[i].status,
                  "%s in %zu: code %d, status %u, %s", rows[i].what, pieces[k], f.result.code,
                  f.result.status, f.result.detail);
            check((f.result.detail[0] != '\0') == (rows[i].code == SL_EPROTO), "%s: detail \"%s\"",
                  rows[i].what, f.result.detail);
            check(is_kept() == rows[i].kept, "%s in %zu: kept: %d", rows[i].what, pieces[k],
                  !rows[i].kept);
            f.check->ops->stop(f.check);
            pod_turn_until(f.loop, all_closed, &f.pod, "all to close");
        }
    }
}

static void more_than_16_interim_heads_are_a_fault(void **state)
{
    char text[2048] = "";
    (void)state;

    for (size_t n = 16; n <= 17; n++) {
        text[0] = '\0';
        for (size_t i = 0; i < n; i++) {
            size_t len = strlen(text);
            (void)snprintf(text + len, sizeof(text) - len, "HTTP/1.1 102 Wait\r\n\r\n"); /* fits */
        }
        size_t len = strlen(text);
        (void)snprintf(text + len, sizeof(text) - len, OK_TEXT); /* fits */
        const struct pod_step step = {.answer = text};
        pod_say(&f.pod, &step);
        probe();
        check(f.result.code == (n == 16 ? SL_OK : SL_EPROTO), "%zu: %d", n, f.result.code);
    }
    assert_string_equal(f.result.detail, "too many interim responses");
}

static void what_is_asked_is_one_plain_get(void **state)
{
    char want[256];
    (void)state;

    probe();
    (void)snprintf(want, sizeof(want),
                   "GET /health?deep=1 HTTP/1.1\r\nHost: 127.0.0.1:%u\r\n"
                   "User-Agent: sluiced-health\r\n\r\n",
                   f.pod.address.port); /* fits */
    assert_string_equal(f.pod.request, want);
}

static void host_and_headers_of_the_config_are_sent(void **state)
{
    static const struct sl_sent_header headers[] = {{"Authorization", "Bearer x y"}, {"A", ""}};
    (void)state;

    f.conf.host = "llm.example.com";
    f.conf.headers = headers;
    f.conf.headers_n = SL_ARRAY_LEN(headers);
    probe();
    assert_string_equal(f.pod.request,
                        "GET /health?deep=1 HTTP/1.1\r\nHost: llm.example.com\r\n"
                        "User-Agent: sluiced-health\r\n"
                        "Authorization: Bearer x y\r\nA: \r\n\r\n");
}

static void a_port_of_its_own_is_asked_instead_of_the_endpoints(void **state)
{
    struct sl_address elsewhere = f.pod.address;
    char want[64];
    (void)state;

    elsewhere.port = 1;
    f.conf.port = f.pod.address.port;
    struct sl_health_check *own = f.check;
    f.check = sl_health_checker_http.new(&f.target, &elsewhere, on_report, &f);
    assert_non_null(f.check);
    probe();
    own->ops->free(own);
    assert_int_equal(f.result.status, 200);
    (void)snprintf(want, sizeof(want), "\r\nHost: 127.0.0.1:%u\r\n", f.pod.address.port); /* fits */
    assert_non_null(strstr(f.pod.request, want));
}

/* In every framing, whole and byte by byte, kept or not. */
static void the_text_must_stand_in_the_body_however_it_is_cut(void **state)
{
    static const struct {
        const char *what;
        struct pod_step step;
        bool lacks;
        bool kept;
    } rows[] = {
        {"there",
         {.answer = "HTTP/1.1 200 OK\r\nContent-Length: 12\r\n\r\nx ready! yes"},
         false,
         true},
        {"not there",
         {.answer = "HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nReady! x"},
         true,
         true},
        {"cut off", {.answer = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nready"}, true, true},
        {"no body", {.answer = "HTTP/1.1 204 No Content\r\n\r\n"}, true, true},
        {"in a header only",
         {.answer = "HTTP/1.1 200 OK\r\nA: ready!\r\nContent-Length: 0\r\n\r\n"},
         true,
         true},
        {"across chunks",
         {.answer = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
                    "4\r\n rea\r\n2\r\ndy\r\n1\r\n!\r\n0\r\n\r\n"},
         false,
         true},
        {"in a trailer only",
         {.answer = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
                    "1\r\nx\r\n0\r\nA: ready!\r\n\r\n"},
         true,
         true},
        {"until close",
         {.answer = "HTTP/1.0 200 OK\r\n\r\nready!", .end = POD_CLOSE},
         false,
         false},
        {"behind the body",
         {.answer = "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nxready!"},
         true,
         false},
        {"in more than 64 KiB",
         {.answer = "HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\nready!",
          .filler_bytes = 99994},
         false,
         false},
        {"in vain in more than 64 KiB",
         {.answer = "HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n", .filler_bytes = 100000},
         true,
         false},
    };
    (void)state;

    sl_health_text_init(&f.target.body, "ready!");
    for (size_t i = 0; i < 2 * SL_ARRAY_LEN(rows); i++) {
        struct pod_step step = rows[i / 2].step;
        step.piece_bytes = i % 2 == 0 || step.filler_bytes > 0 ? 0 : 1;
        pod_say(&f.pod, &step);
        probe();
        check(f.result.code == SL_OK, "%s: %d %s", rows[i / 2].what, f.result.code,
              f.result.detail);
        check(f.result.body_lacks == rows[i / 2].lacks, "%s, pieces of %zu", rows[i / 2].what,
              step.piece_bytes);
        if (step.piece_bytes == 0) { /* else the rest may still be on its way */
            check(is_kept() == rows[i / 2].kept, "%s: kept or not", rows[i / 2].what);
        }
        f.check->ops->stop(f.check);
        pod_turn_until(f.loop, all_closed, &f.pod, "all to close");
    }
}

static void the_connection_is_kept_from_probe_to_probe(void **state)
{
    (void)state;

    for (unsigned i = 1; i <= 5; i++) {
        probe();
        assert_int_equal(f.result.status, 200);
        assert_int_equal(f.pod.requests_n, i);
    }
    assert_int_equal(f.pod.connections_n, 1);
}

static void a_connection_closed_between_probes_is_made_anew(void **state)
{
    (void)state;

    probe();
    pod_close_conns(&f.pod);
    assert_false(is_kept());
    assert_int_equal(f.reports_n, 1); /* the end was seen, and is nobody's failure */
    probe();
    assert_int_equal(f.result.status, 200);
    assert_int_equal(f.pod.connections_n, 2);
}

static void a_connection_closed_before_we_noticed_is_made_anew(void **state)
{
    (void)state;

    probe();
    pod_close_conns(&f.pod); /* no turn between: the end waits in the kernel */
    probe();
    assert_int_equal(f.result.code, SL_OK);
    assert_int_equal(f.result.status, 200);
    assert_int_equal(f.pod.connections_n, 2);
}

static void a_kept_connection_that_ends_instead_of_answering_is_tried_once_more(void **state)
{
    static const enum pod_end ends[] = {POD_CLOSE, POD_RESET};
    (void)state;

    for (size_t i = 0; i < SL_ARRAY_LEN(ends); i++) {
        const struct pod_step steps[] = {say_ok, {.end = ends[i]}, say_ok, {.end = ends[i]}};
        f.pod.steps = steps;
        f.pod.steps_n = SL_ARRAY_LEN(steps);
        f.pod.requests_n = 0;
        probe();
        probe();
        check(f.result.code == SL_OK && f.result.status == 200, "end %zu: %d", i, f.result.code);
        assert_int_equal(f.pod.requests_n, 3);
        probe(); /* and now the new connection does it as well */
        check(f.result.code != SL_OK, "end %zu: a new connection's end is no failure", i);
        assert_int_equal(f.pod.requests_n, 5);
        pod_say(&f.pod, &say_ok);
    }
}

static void bytes_that_nobody_asked_for_close_an_idle_connection(void **state)
{
    (void)state;

    probe();
    struct iovec iov = {.iov_base = (char[]){"HTTP/1.1 408 Late\r\n\r\n"}, .iov_len = 21};
    sl_stream_send(&f.pod.conns[0].stream, &iov, 1);
    assert_false(is_kept());
    probe();
    assert_int_equal(f.result.status, 200);
}

static void a_port_where_nobody_listens_is_refused(void **state)
{
    (void)state;

    pod_stop_listening(&f.pod);
    probe();
    assert_int_equal(f.result.code, SL_EREFUSED);
    pod_listen_again(&f.pod);
    probe();
    assert_int_equal(f.result.status, 200);
}

static void a_stopped_probe_reports_nothing_and_can_start_again(void **state)
{
    static const struct pod_step hang = {.answer = "HTTP/1.1 200 OK\r\nContent-Le"};
    (void)state;

    pod_say(&f.pod, &hang);
    for (int turns = 0; turns < 30; turns++) { /* wherever it is by then */
        f.check->ops->start(f.check);
        for (int i = 0; i < turns; i++) {
            sl_loop_run_once(f.loop);
        }
        f.check->ops->stop(f.check);
        f.check->ops->stop(f.check);
        pod_turn_until(f.loop, all_closed, &f.pod, "all to close");
    }
    assert_int_equal(f.reports_n, 0);
    pod_say(&f.pod, &say_ok);
    probe();
    assert_int_equal(f.result.status, 200);
}

static void a_unix_socket_is_asked_as_localhost(void **state)
{
    struct sl_address address = {.is_unix = true};
    struct sl_address bound;
    struct sl_error err = {0};
    (void)state;

    (void)snprintf(address.host, sizeof(address.host), "%s", pki_path("pod.sock")); /* fits */
    pod_stop_listening(&f.pod);
    assert_int_equal(sl_socket_listen(&address, false, &f.pod.listen_fd, &bound, &err), SL_OK);
    sl_io_init(&f.pod.listen_io, f.loop, f.pod.listen_fd, f.pod.listen_io.on_ready);
    sl_io_want_read(&f.pod.listen_io, true);
    f.pod.address = address;
    probe();
    assert_int_equal(f.result.status, 200);
    assert_non_null(strstr(f.pod.request, "\r\nHost: localhost\r\n"));
    assert_int_equal(unlink(address.host), 0);
    probe(); /* on the connection that is kept */
    assert_int_equal(f.pod.connections_n, 1);
}

/* They come behind the handshake, and here long before the answer. */
static void session_tickets_are_no_answer(void **state)
{
    static const struct pod_step say_nothing = {.answer = NULL};
    const char *names[] = {"llama.prod.svc"};
    const struct sl_tls_config good = {.ca = pki_path("ca.crt"), .san = {names, 1}};
    struct sl_tls_context *server = pki_server("edge", false);
    struct sl_tls_context *trusts = pki_client_of(&good);
    struct iovec iov = {.iov_base = (char[]){OK_TEXT}, .iov_len = sizeof(OK_TEXT) - 1};
    unsigned want_n = 1;
    (void)state;

    f.pod.tls = server;
    f.target.tls = trusts;
    pod_say(&f.pod, &say_nothing);
    f.check->ops->start(f.check);
    for (int i = 0; i < 50; i++) {
        sl_loop_run_once(f.loop);
    }
    assert_int_equal(f.pod.requests_n, 1);
    check(f.reports_n == 0, "it took tickets for an answer: %d", f.result.code);
    sl_stream_send(&f.pod.conns[0].stream, &iov, 1);
    pod_turn_until(f.loop, has_reported, &want_n, "a report");
    assert_int_equal(f.result.status, 200);
    f.check->ops->stop(f.check);
    pod_turn_until(f.loop, all_closed, &f.pod, "all to close");
    sl_tls_context_free(server);
    sl_tls_context_free(trusts);
}

static void over_tls_the_pools_own_context_decides(void **state)
{
    const char *names[] = {"llama.prod.svc"};
    const struct sl_tls_config good = {.ca = pki_path("ca.crt"), .san = {names, 1}};
    const struct sl_tls_config bad = {.ca = pki_path("other.crt"), .san = {names, 1}};
    struct sl_tls_context *server = pki_server("edge", false);
    struct sl_tls_context *trusts = pki_client_of(&good);
    struct sl_tls_context *doubts = pki_client_of(&bad);
    (void)state;

    f.pod.tls = server;
    f.target.tls = trusts;
    probe();
    assert_int_equal(f.result.code, SL_OK);
    assert_int_equal(f.result.status, 200);
    assert_true(is_kept());
    probe();
    assert_int_equal(f.result.status, 200);
    assert_int_equal(f.pod.connections_n, 1);
    pod_close_conns(&f.pod);
    probe();
    assert_int_equal(f.result.status, 200);
    f.check->ops->stop(f.check);

    f.target.tls = doubts;
    probe();
    assert_int_equal(f.result.code, SL_ETLS);
    check(f.result.detail[0] != '\0', "TLS failed without words");
    f.target.tls = NULL;
    pod_turn_until(f.loop, all_closed, &f.pod, "all to close");
    probe(); /* plaintext to a pod that speaks TLS */
    check(f.result.code != SL_OK, "an answer of %u", f.result.status);
    pod_turn_until(f.loop, all_closed, &f.pod, "all to close");
    sl_tls_context_free(server);
    sl_tls_context_free(trusts);
    sl_tls_context_free(doubts);
}

static unsigned allocs_n;
static unsigned alloc_fails_at;

static bool fail_one(size_t size_bytes)
{
    (void)size_bytes;
    return ++allocs_n != alloc_fails_at;
}

/* The pod allocates nothing for a small answer, so whatever fails here is ours. */
static void without_memory_the_result_is_ours_and_the_next_probe_is_well(void **state)
{
    static const struct pod_step pieces = {.answer = OK_TEXT, .piece_bytes = 5};
    (void)state;

    pod_say(&f.pod, &pieces);
    for (alloc_fails_at = 1;; alloc_fails_at++) {
        allocs_n = 0;
        sl_alloc_hook = fail_one;
        probe();
        sl_alloc_hook = NULL;
        f.check->ops->stop(f.check);
        pod_turn_until(f.loop, all_closed, &f.pod, "all to close");
        if (allocs_n < alloc_fails_at) {
            break;
        }
        assert_int_equal(f.result.code, SL_ENOMEM);
    }
    assert_true(alloc_fails_at > 2);
    assert_int_equal(f.result.status, 200);
}

static void no_memory_for_a_check_gives_none(void **state)
{
    (void)state;

    allocs_n = 0;
    alloc_fails_at = 1;
    sl_alloc_hook = fail_one;
    struct sl_health_check *c =
        sl_health_checker_http.new(&f.target, &f.pod.address, on_report, &f);
    sl_alloc_hook = NULL;
    assert_null(c);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(an_answer_decides_and_a_whole_one_keeps_the_connection),
        T(more_than_16_interim_heads_are_a_fault),
        T(what_is_asked_is_one_plain_get),
        T(host_and_headers_of_the_config_are_sent),
        T(a_port_of_its_own_is_asked_instead_of_the_endpoints),
        T(the_text_must_stand_in_the_body_however_it_is_cut),
        T(the_connection_is_kept_from_probe_to_probe),
        T(a_connection_closed_between_probes_is_made_anew),
        T(a_connection_closed_before_we_noticed_is_made_anew),
        T(a_kept_connection_that_ends_instead_of_answering_is_tried_once_more),
        T(bytes_that_nobody_asked_for_close_an_idle_connection),
        T(a_port_where_nobody_listens_is_refused),
        T(a_stopped_probe_reports_nothing_and_can_start_again),
        T(a_unix_socket_is_asked_as_localhost),
        T(session_tickets_are_no_answer),
        T(over_tls_the_pools_own_context_decides),
        T(without_memory_the_result_is_ours_and_the_next_probe_is_well),
        T(no_memory_for_a_check_gives_none),
    };
    return cmocka_run_group_tests(tests, pki_setup, pki_teardown);
}
