/* SPDX-License-Identifier: Apache-2.0 */
#include "proxy/base/alloc.h"
#include "proxy/io/fetch.h"
#include "proxy/io/fetch_internal.h"
#include "proxy/io/loop.h"
#include "tests/unit/check.h"
#include "tests/unit/discovery/fake_api.h"
#include "tests/unit/proxy/io/certs.h"
#include "tests/unit/proxy/io/h2_peer.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CALLS_MAX_N 160
#define MANY_N 50
#define INTERNAL_ERROR 2

struct call {
    struct sl_fetch *fetch;
    struct sl_fetch_result result;
    int heads_n;
    int dones_n;
    char body[64];
    size_t body_len;
    bool again; /* starts once more when it ends without a response */
};

static struct {
    struct sl_loop *loop;
    struct sl_fetcher *fetcher;
    struct h2_peer peer;
    struct certs certs;
    struct call calls[CALLS_MAX_N];
    size_t done_n;
} rig;

static void start(struct call *c, struct sl_fetch_request r);

static void on_head(void *arg, uint16_t status)
{
    struct call *c = arg;

    assert_int_equal(status, 200);
    c->heads_n++;
}

static void on_data(void *arg, uint16_t status, struct sl_slice data)
{
    struct call *c = arg;

    assert_int_equal(status, 200);
    assert_true(c->body_len + data.len < sizeof(c->body));
    memcpy(c->body + c->body_len, data.ptr, data.len);
    c->body_len += data.len;
}

static void on_done(void *arg, const struct sl_fetch_result *result)
{
    struct call *c = arg;

    c->dones_n++;
    c->result = *result;
    rig.done_n++;
    if (c->again && result->code != SL_OK) {
        start(c, (struct sl_fetch_request){0});
    }
}

static const struct sl_fetch_ops ops = {.on_head = on_head, .on_data = on_data, .on_done = on_done};

static void start(struct call *c, struct sl_fetch_request r)
{
    r.url = r.url != NULL ? r.url : rig.peer.url;
    r.ca_file = r.ca_file == NULL && r.ca_pem.len == 0 && !r.insecure
                    ? certs_path(&rig.certs, "ca.crt")
                    : r.ca_file;
    r.connect_timeout_ms = r.connect_timeout_ms > 0 ? r.connect_timeout_ms : 60000;
    assert_int_equal(sl_fetch_start(rig.fetcher, &r, &ops, c, &c->fetch), SL_OK);
}

static void start_many(size_t n, struct sl_fetch_request r)
{
    for (size_t i = 0; i < n; i++) {
        start(&rig.calls[i], r);
    }
}

static bool is_done(void *arg)
{
    return ((const struct call *)arg)->dones_n > 0;
}

static bool all_done(void *arg)
{
    return rig.done_n >= *(const size_t *)arg;
}

static bool has_head(void *arg)
{
    return ((const struct call *)arg)->heads_n > 0;
}

static bool has_data(void *arg)
{
    return ((const struct call *)arg)->body_len > 0;
}

static bool has_ack(void *arg)
{
    return ((const struct h2_conn *)arg)->had_ack;
}

static void wait_heads(size_t n)
{
    for (size_t i = 0; i < n; i++) {
        fake_run_until(rig.loop, has_head, &rig.calls[i], 10000, "head");
    }
}

/* Until nothing more comes by itself. */
static void wait_settled(size_t conn)
{
    h2_wait_streams(&rig.peer, h2_streams_n(&rig.peer) + 1);
    fake_run_until(rig.loop, has_ack, &rig.peer.conns[conn], 10000, "settings");
}

static void wait_done(struct call *c)
{
    fake_run_until(rig.loop, is_done, c, 10000, "done");
}

static void wait_all(size_t n)
{
    fake_run_until(rig.loop, all_done, &n, 10000, "all done");
}

static int make_certs(void **state)
{
    static const struct certs_leaf leaves[] = {
        {.name = "address", .san = "IP:127.0.0.1", .from_days = -1, .until_days = 9},
        {.name = "named", .san = "DNS:kube.test", .from_days = -1, .until_days = 9},
        {.name = "one", .san = "DNS:one", .from_days = -1, .until_days = 9},
        {.name = "two", .san = "DNS:two", .from_days = -1, .until_days = 9},
    };
    (void)state;

    (void)signal(SIGPIPE, SIG_IGN); /* as in the process */
    certs_init(&rig.certs);
    struct certs_ca *ca = certs_ca_new(&rig.certs, "ca", NULL);
    for (size_t i = 0; i < SL_ARRAY_LEN(leaves); i++) {
        certs_issue(&rig.certs, ca, &leaves[i], false);
    }
    certs_ca_free(ca);
    certs_ca_free(certs_ca_new(&rig.certs, "other", NULL));
    return 0;
}

static int drop_certs(void **state)
{
    (void)state;
    certs_fini(&rig.certs);
    return 0;
}

static void listen_as(const char *name)
{
    char cert[64];
    char key[64];

    (void)snprintf(cert, sizeof(cert), "%s.crt", name);
    (void)snprintf(key, sizeof(key), "%s.key", name);
    h2_start(&rig.peer, rig.loop, certs_path(&rig.certs, cert), certs_path(&rig.certs, key));
}

static int setup(void **state)
{
    (void)state;
    memset(rig.calls, 0, sizeof(rig.calls));
    rig.done_n = 0;
    assert_int_equal(sl_loop_new(&rig.loop), SL_OK);
    assert_int_equal(sl_fetcher_new(rig.loop, &rig.fetcher), SL_OK);
    listen_as("address");
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    sl_fetcher_free(rig.fetcher);
    h2_stop(&rig.peer);
    sl_loop_free(rig.loop);
    return 0;
}

static void a_hundred_watches_share_one_connection(void **state)
{
    (void)state;

    start_many(100, (struct sl_fetch_request){0});
    h2_wait_streams(&rig.peer, 100);
    assert_int_equal(rig.peer.conns_n, 1);
    struct h2_conn *conn = &rig.peer.conns[0];
    for (size_t i = 0; i < 100; i++) {
        h2_head(conn, conn->streams[i], NULL, NULL);
        h2_data(conn, conn->streams[i], "one", false);
        h2_data(conn, conn->streams[i], "two", true);
    }
    wait_all(100);
    for (size_t i = 0; i < 100; i++) {
        const struct call *c = &rig.calls[i];
        check(c->result.code == SL_OK, "%zu: %s", i, c->result.error);
        check(c->body_len == 6 && memcmp(c->body, "onetwo", 6) == 0, "%zu: %.8s", i, c->body);
    }
}

static void beyond_what_a_server_allows_another_connection_is_opened(void **state)
{
    (void)state;

    rig.peer.streams_max_n = 20;
    start(&rig.calls[50], (struct sl_fetch_request){0});
    h2_wait_streams(&rig.peer, 1);
    fake_run_until(rig.loop, has_ack, &rig.peer.conns[0], 10000, "its limit is known");
    start_many(49, (struct sl_fetch_request){0});
    h2_wait_streams(&rig.peer, 50);
    /* libcurl shares no connection that is being opened when there is one already, so those that
     * find no room in the same turn have one each; who comes later has room. */
    size_t conns_n = rig.peer.conns_n;
    check(conns_n > 1 && conns_n <= 31, "%zu connections", conns_n);
    for (size_t i = 0; i < conns_n; i++) {
        fake_run_until(rig.loop, has_ack, &rig.peer.conns[i], 10000, "its limit is known");
    }
    for (size_t i = 51; i < 71; i++) {
        start(&rig.calls[i], (struct sl_fetch_request){0});
    }
    h2_wait_streams(&rig.peer, 70);
    assert_int_equal(rig.peer.conns_n, conns_n);
    for (size_t i = 0; i < conns_n; i++) {
        check(rig.peer.conns[i].streams_n <= 20, "%zu: %zu", i, rig.peer.conns[i].streams_n);
    }
}

static void a_reset_stream_ends_its_own_fetch_alone(void **state)
{
    (void)state;

    start_many(3, (struct sl_fetch_request){0});
    h2_wait_streams(&rig.peer, 3);
    struct h2_conn *conn = &rig.peer.conns[0];
    for (size_t i = 0; i < 3; i++) {
        h2_head(conn, conn->streams[i], NULL, NULL);
    }
    wait_heads(3);
    h2_reset(conn, conn->streams[1], INTERNAL_ERROR);
    wait_all(1);
    assert_int_equal(rig.done_n, 1);
    assert_int_equal(rig.calls[1].result.code, SL_ERESET);
    assert_int_equal(rig.calls[1].result.status, 200);
    h2_data(conn, conn->streams[0], "x", true);
    h2_data(conn, conn->streams[2], "x", true);
    wait_all(3);
    assert_int_equal(rig.calls[0].result.code, SL_OK);
    assert_int_equal(rig.calls[2].result.code, SL_OK);
    start(&rig.calls[3], (struct sl_fetch_request){0});
    h2_wait_streams(&rig.peer, 4);
    assert_int_equal(rig.peer.conns_n, 1);
}

static void a_cancelled_fetch_leaves_the_connection_to_the_others(void **state)
{
    (void)state;

    start_many(2, (struct sl_fetch_request){0});
    h2_wait_streams(&rig.peer, 2);
    struct h2_conn *conn = &rig.peer.conns[0];
    sl_fetch_cancel(rig.calls[0].fetch);
    h2_head(conn, conn->streams[1], NULL, NULL);
    h2_data(conn, conn->streams[1], "x", true);
    wait_done(&rig.calls[1]);
    assert_int_equal(rig.calls[1].result.code, SL_OK);
    assert_int_equal(rig.calls[0].dones_n, 0);
    assert_int_equal(conn->resets_n, 1);
}

static void after_goaway_what_runs_goes_on_and_what_is_new_goes_elsewhere(void **state)
{
    (void)state;

    start_many(2, (struct sl_fetch_request){0});
    h2_wait_streams(&rig.peer, 2);
    struct h2_conn *old = &rig.peer.conns[0];
    h2_head(old, old->streams[0], NULL, NULL);
    h2_head(old, old->streams[1], NULL, NULL);
    h2_goaway(old, old->streams[1]);
    h2_data(old, old->streams[0], "a", false);
    fake_run_until(rig.loop, has_data, &rig.calls[0], 10000, "what came after GOAWAY");
    start(&rig.calls[2], (struct sl_fetch_request){0});
    h2_wait_streams(&rig.peer, 3);
    assert_int_equal(rig.peer.conns_n, 2);
    assert_int_equal(rig.done_n, 0);
    h2_data(old, old->streams[0], "x", true);
    h2_data(old, old->streams[1], "x", true);
    wait_all(2);
    assert_int_equal(rig.calls[0].result.code, SL_OK);
    assert_int_equal(rig.calls[1].result.code, SL_OK);
}

static void what_goaway_did_not_take_is_sent_again_elsewhere(void **state)
{
    (void)state;

    start_many(2, (struct sl_fetch_request){0});
    h2_wait_streams(&rig.peer, 2);
    struct h2_conn *old = &rig.peer.conns[0];
    h2_goaway(old, old->streams[0]); /* the second request was never looked at */
    h2_wait_streams(&rig.peer, 3);
    struct h2_conn *fresh = &rig.peer.conns[1];
    assert_int_equal(fresh->streams_n, 1);
    h2_head(fresh, fresh->streams[0], NULL, NULL);
    h2_data(fresh, fresh->streams[0], "x", true);
    wait_done(&rig.calls[1]);
    assert_int_equal(rig.calls[1].result.code, SL_OK);
    assert_int_equal(rig.calls[0].dones_n, 0);
}

static void a_cut_connection_ends_all_and_they_meet_again_on_a_fresh_one(void **state)
{
    (void)state;

    for (size_t i = 0; i < MANY_N; i++) {
        rig.calls[i].again = true;
    }
    start_many(MANY_N, (struct sl_fetch_request){0});
    h2_wait_streams(&rig.peer, MANY_N);
    struct h2_conn *old = &rig.peer.conns[0];
    for (size_t i = 0; i < MANY_N; i++) {
        h2_head(old, old->streams[i], NULL, NULL);
    }
    wait_heads(MANY_N);
    h2_cut(old);
    wait_all(MANY_N);
    h2_wait_streams(&rig.peer, 2 * MANY_N);
    assert_int_equal(rig.done_n, MANY_N);
    for (size_t i = 0; i < MANY_N; i++) {
        check(rig.calls[i].result.code == SL_ERESET, "%zu: %d, %s", i, rig.calls[i].result.code,
              rig.calls[i].result.error);
    }
    assert_int_equal(rig.peer.conns_n, 2);
    assert_int_equal(rig.peer.conns[1].streams_n, MANY_N);
}

/* Nothing comes for so long, and then this is found to be the limit of f: one that was short from
 * its start may end before all is as the test wants it. */
static void end_by_silence(struct sl_fetch *f, uint64_t *limit_ms)
{
    fake_run_for(rig.loop, 100);
    *limit_ms = 100;
    sl_timer_start(&f->timer, 0, 0);
}

static void a_silent_connection_is_cut_for_all_who_are_on_it(void **state)
{
    (void)state;

    start(&rig.calls[1], (struct sl_fetch_request){.idle_timeout_ms = 60000});
    wait_settled(0);
    start(&rig.calls[0], (struct sl_fetch_request){.idle_timeout_ms = 60000});
    h2_wait_streams(&rig.peer, 2);
    h2_deafen(&rig.peer.conns[0]);
    end_by_silence(rig.calls[0].fetch, &rig.calls[0].fetch->idle_timeout_ms);
    wait_all(2);
    assert_int_equal(rig.calls[0].result.code, SL_ETIMEOUT);
    assert_int_equal(rig.calls[1].result.code, SL_ERESET);
    start(&rig.calls[2], (struct sl_fetch_request){0});
    h2_wait_streams(&rig.peer, 3);
    assert_int_equal(rig.peer.conns_n, 2);
}

static void the_last_on_a_silent_connection_leaves_it_to_nobody(void **state)
{
    (void)state;

    for (size_t i = 0; i < 2; i++) {
        start(&rig.calls[i + 2], (struct sl_fetch_request){0});
        wait_settled(i);
        start(&rig.calls[i], (struct sl_fetch_request){0});
        h2_wait_streams(&rig.peer, 2 * i + 2);
        sl_fetch_cancel(rig.calls[i + 2].fetch);
        assert_int_equal(rig.peer.conns_n, i + 1);
        h2_deafen(&rig.peer.conns[i]);
        struct sl_fetch *f = rig.calls[i].fetch;
        end_by_silence(f, i == 0 ? &f->idle_timeout_ms : &f->total_timeout_ms);
        wait_done(&rig.calls[i]);
        assert_int_equal(rig.calls[i].result.code, SL_ETIMEOUT);
    }
}

static void a_slow_stream_does_not_cut_a_connection_that_others_hear_from(void **state)
{
    (void)state;

    start(&rig.calls[0], (struct sl_fetch_request){.idle_timeout_ms = 60000});
    start(&rig.calls[1], (struct sl_fetch_request){0});
    h2_wait_streams(&rig.peer, 2);
    struct h2_conn *conn = &rig.peer.conns[0];
    h2_head(conn, conn->streams[0], NULL, NULL);
    h2_head(conn, conn->streams[1], NULL, NULL);
    wait_heads(2);
    h2_data(conn, conn->streams[1], ".", false);
    fake_run_until(rig.loop, has_data, &rig.calls[1], 10000, "data of the other");
    struct sl_fetch *slow = rig.calls[0].fetch;
    slow->last_byte_ms -= slow->idle_timeout_ms; /* it was a minute ago */
    sl_timer_start(&slow->timer, 0, 0);
    wait_done(&rig.calls[0]);
    assert_int_equal(rig.calls[0].result.code, SL_ETIMEOUT);
    h2_data(conn, conn->streams[1], ".", true);
    wait_done(&rig.calls[1]);
    assert_int_equal(rig.calls[1].result.code, SL_OK);
    assert_int_equal(rig.calls[1].body_len, 2);
}

static void who_waits_for_a_connection_that_fails_tries_another(void **state)
{
    const size_t n = 10;
    (void)state;

    rig.peer.hangs = true;
    start_many(n, (struct sl_fetch_request){.connect_timeout_ms = 60});
    wait_all(n);
    for (size_t i = 0; i < n; i++) {
        assert_int_equal(rig.calls[i].result.code, SL_ETIMEOUT);
    }
    rig.peer.hangs = false;
    start_many(n, (struct sl_fetch_request){0});
    h2_wait_streams(&rig.peer, n);
    assert_int_equal(rig.peer.conns[rig.peer.conns_n - 1].streams_n, n);
}

static void a_server_that_left_refuses_each_of_many(void **state)
{
    (void)state;

    h2_stop_listening(&rig.peer);
    start_many(MANY_N, (struct sl_fetch_request){0});
    wait_all(MANY_N);
    for (size_t i = 0; i < MANY_N; i++) {
        assert_int_equal(rig.calls[i].result.code, SL_EREFUSED);
    }
}

static void another_ca_or_client_certificate_is_another_connection(void **state)
{
    char pems[3][4096];
    static const char *const files[3] = {"ca.crt", "one.crt", "one.key"};
    struct sl_slice slices[3];
    (void)state;

    for (size_t i = 0; i < 3; i++) {
        FILE *f = fopen(certs_path(&rig.certs, files[i]), "re");
        assert_non_null(f);
        slices[i] = (struct sl_slice){pems[i], fread(pems[i], 1, sizeof(pems[i]), f)};
        assert_int_equal(fclose(f), 0);
    }
    const struct sl_fetch_request rows[] = {
        {0},
        {.cert_file = certs_path(&rig.certs, "one.crt"),
         .key_file = certs_path(&rig.certs, "one.key")},
        {.cert_file = certs_path(&rig.certs, "two.crt"),
         .key_file = certs_path(&rig.certs, "two.key")},
        {.ca_pem = slices[0]},
        {.ca_pem = slices[0], .cert_pem = slices[1], .key_pem = slices[2]},
        {.insecure = true},
    };

    /* One at a time: each finds the connections of all before it, idle or not. */
    for (size_t i = 0; i < 2 * SL_ARRAY_LEN(rows); i++) {
        start(&rig.calls[i], rows[i % SL_ARRAY_LEN(rows)]);
        h2_wait_streams(&rig.peer, i + 1);
        size_t conns_n = i < SL_ARRAY_LEN(rows) ? i + 1 : SL_ARRAY_LEN(rows);
        check(rig.peer.conns_n == conns_n, "row %zu: %zu connections", i, rig.peer.conns_n);
    }
}

static void the_name_to_verify_may_differ_from_the_host(void **state)
{
    char host[96];
    (void)state;

    h2_stop(&rig.peer);
    listen_as("named");
    rig.peer.is_http1 = true;
    start(&rig.calls[0], (struct sl_fetch_request){0});
    wait_done(&rig.calls[0]);
    assert_int_equal(rig.calls[0].result.code, SL_ETLS);
    start(&rig.calls[1], (struct sl_fetch_request){.tls_name = "other.test"});
    wait_done(&rig.calls[1]);
    assert_int_equal(rig.calls[1].result.code, SL_ETLS);

    start(&rig.calls[2], (struct sl_fetch_request){.tls_name = "kube.test"});
    h2_wait_streams(&rig.peer, 1);
    struct h2_conn *conn = &rig.peer.conns[rig.peer.conns_n - 1];
    assert_string_equal(conn->sni, "kube.test");
    (void)snprintf(host, sizeof(host), "\r\nHost: %.60s\r\n", rig.peer.url + 8);
    check(strstr((const char *)conn->in, host) != NULL, "no %s in %s", host, conn->in);
    h2_raw(conn, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    wait_done(&rig.calls[2]);
    assert_int_equal(rig.calls[2].result.code, SL_OK);
}

static void a_stranger_is_refused_unless_one_asked_not_to(void **state)
{
    (void)state;

    start(&rig.calls[0], (struct sl_fetch_request){.ca_file = certs_path(&rig.certs, "other.crt")});
    wait_done(&rig.calls[0]);
    assert_int_equal(rig.calls[0].result.code, SL_ETLS);
    start(&rig.calls[1], (struct sl_fetch_request){.insecure = true});
    h2_wait_streams(&rig.peer, 1);
}

/* A balancer that has no server left: not the same as a certificate that is not ours. */
static void a_connection_that_is_dropped_in_the_handshake_is_no_fault_of_tls(void **state)
{
    (void)state;

    rig.peer.drops = true;
    start(&rig.calls[0], (struct sl_fetch_request){0});
    wait_done(&rig.calls[0]);
    assert_int_equal(rig.calls[0].result.code, SL_ERESET);
}

static void a_warning_of_the_server_is_told(void **state)
{
    static const struct {
        const char *sent;
        const char *told;
    } rows[] = {
        {"299 - \"v1 Endpoints is deprecated\"", "v1 Endpoints is deprecated"},
        {"299 - \"a \\\"quoted\\\" word\" \"date\"", "a \"quoted\" word"},
        {"299 - \"cut short", "cut short"},
        {"299 - \"a\tb\"", "a b"},
        {"299 - nothing", ""},
        {"\"", ""},
        {"\"\\", "\\"},
    };
    (void)state;

    for (size_t i = 0; i < SL_ARRAY_LEN(rows); i++) {
        struct call *c = &rig.calls[i];

        start(c, (struct sl_fetch_request){0});
        h2_wait_streams(&rig.peer, i + 1);
        struct h2_conn *conn = &rig.peer.conns[0];
        h2_head(conn, conn->streams[i], "warning", rows[i].sent);
        h2_data(conn, conn->streams[i], "x", true);
        wait_done(c);
        assert_int_equal(c->result.code, SL_OK);
        check(strcmp(c->result.warning, rows[i].told) == 0, "%s: %s", rows[i].sent,
              c->result.warning);
    }
}

static void a_server_of_http1_alone_has_a_connection_for_each(void **state)
{
    (void)state;

    rig.peer.is_http1 = true;
    start_many(3, (struct sl_fetch_request){0});
    h2_wait_streams(&rig.peer, 3);
    assert_int_equal(rig.peer.conns_n, 3);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    cmocka_set_test_filter(getenv("F"));
    const struct CMUnitTest tests[] = {
        TEST(a_hundred_watches_share_one_connection),
        TEST(beyond_what_a_server_allows_another_connection_is_opened),
        TEST(a_reset_stream_ends_its_own_fetch_alone),
        TEST(a_cancelled_fetch_leaves_the_connection_to_the_others),
        TEST(after_goaway_what_runs_goes_on_and_what_is_new_goes_elsewhere),
        TEST(what_goaway_did_not_take_is_sent_again_elsewhere),
        TEST(a_cut_connection_ends_all_and_they_meet_again_on_a_fresh_one),
        TEST(a_silent_connection_is_cut_for_all_who_are_on_it),
        TEST(the_last_on_a_silent_connection_leaves_it_to_nobody),
        TEST(a_slow_stream_does_not_cut_a_connection_that_others_hear_from),
        TEST(who_waits_for_a_connection_that_fails_tries_another),
        TEST(a_server_that_left_refuses_each_of_many),
        TEST(another_ca_or_client_certificate_is_another_connection),
        TEST(the_name_to_verify_may_differ_from_the_host),
        TEST(a_stranger_is_refused_unless_one_asked_not_to),
        TEST(a_connection_that_is_dropped_in_the_handshake_is_no_fault_of_tls),
        TEST(a_warning_of_the_server_is_told),
        TEST(a_server_of_http1_alone_has_a_connection_for_each),
    };
    return cmocka_run_group_tests(tests, make_certs, drop_certs);
}
