/* SPDX-License-Identifier: Apache-2.0 */
#include "ends.h"
#include "pki.h"

#include "proxy/base/rng.h"
#include "proxy/io/tls_internal.h"
#include "tests/unit/check.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define LARGE_BYTES ((size_t)3 * 1024 * 1024)

/* Both ends of one connection with all that they need. */
struct fixture {
    struct sl_tls_context *server;
    struct sl_tls_context *client;
    struct ends e;
};

static void fixture_init(struct fixture *f, int max_version, size_t capacity, int buffer_bytes)
{
    f->server = pki_server("edge", true);
    f->client = pki_client(true);
    assert_int_equal(SSL_CTX_set_max_proto_version(f->server->ssl_ctx, max_version), 1);
    ends_init(&f->e, capacity);
    ends_open_tls(&f->e, f->server, f->client, &pki_upstream, buffer_bytes);
}

static void fixture_fini(struct fixture *f)
{
    ends_fini(&f->e);
    sl_tls_context_free(f->server);
    sl_tls_context_free(f->client);
}

static void opened(struct fixture *f)
{
    ends_turn_until(&f->e, ends_both_decided, "handshake");
    check(f->e.a.open_code == SL_OK && f->e.b.open_code == SL_OK, "open: \"%s\" and \"%s\"",
          f->e.a.failure, f->e.b.failure);
}

static const int versions[] = {TLS1_2_VERSION, TLS1_3_VERSION};

static bool both_got_five(struct ends *e)
{
    return e->a.got_n == 5 && e->b.got_n == 5;
}

static void bytes_queued_before_the_handshake_leave_after_it(void **state)
{
    struct fixture f;
    (void)state;

    for (size_t i = 0; i < SL_ARRAY_LEN(versions); i++) {
        fixture_init(&f, versions[i], 100, 0);
        end_send(&f.e.a, "hello", 5);
        end_send(&f.e.b, "world", 5);
        ends_turn_until(&f.e, both_got_five, "greetings");
        assert_memory_equal(f.e.a.got, "world", 5);
        assert_memory_equal(f.e.b.got, "hello", 5);
        assert_int_equal(f.e.a.opens_n, 1);
        assert_int_equal(f.e.b.opens_n, 1);
        fixture_fini(&f);
    }
}

static bool all_moved(struct ends *e)
{
    return e->a.got_n == LARGE_BYTES && e->b.got_n == LARGE_BYTES;
}

/* Vectors of odd sizes: some far below a record, some above. */
static void send_in_pieces(struct end *end, const unsigned char *bytes, size_t len,
                           struct sl_rng *rng)
{
    while (len > 0) {
        struct iovec iov[7];
        int n = 0;
        for (; n < 7 && len > 0; n++) {
            size_t most = sl_rng_below(rng, 4) == 0 ? 50000 : 700;
            size_t part = sl_rng_below(rng, most);
            part = part < len ? part : len;
            iov[n] = (struct iovec){(void *)(uintptr_t)bytes, part};
            bytes += part;
            len -= part;
        }
        sl_stream_send(&end->stream, iov, n);
    }
}

static void large_bodies_cross_small_buffers_both_ways_unchanged(void **state)
{
    static const size_t read_sizes[] = {65536, 16384, 1000};
    unsigned char *sent[2] = {malloc(LARGE_BYTES), malloc(LARGE_BYTES)};
    struct sl_rng rng = {.state = 11};
    struct fixture f;
    (void)state;

    assert_non_null(sent[0]);
    assert_non_null(sent[1]);
    for (size_t i = 0; i < LARGE_BYTES; i++) {
        sent[0][i] = (unsigned char)sl_rng_next(&rng);
        sent[1][i] = (unsigned char)sl_rng_next(&rng);
    }
    for (size_t i = 0; i < SL_ARRAY_LEN(read_sizes); i++) {
        fixture_init(&f, versions[i % 2], LARGE_BYTES, 4096);
        f.e.a.read_max = read_sizes[i];
        f.e.b.read_max = read_sizes[(i + 1) % SL_ARRAY_LEN(read_sizes)];
        opened(&f);
        send_in_pieces(&f.e.a, sent[0], LARGE_BYTES, &rng);
        send_in_pieces(&f.e.b, sent[1], LARGE_BYTES, &rng);
        check(sl_stream_unsent(&f.e.a.stream) > 0, "the buffer took all of it at once");
        ends_turn_until(&f.e, all_moved, "all bytes");
        assert_memory_equal(f.e.b.got, sent[0], LARGE_BYTES);
        assert_memory_equal(f.e.a.got, sent[1], LARGE_BYTES);
        fixture_fini(&f);
    }
    free(sent[0]);
    free(sent[1]);
}

static void small_pieces_leave_as_one_record(void **state)
{
    struct iovec iov[100];
    struct fixture f;
    (void)state;

    fixture_init(&f, TLS1_3_VERSION, 1000, 0);
    opened(&f);
    for (size_t i = 0; i < SL_ARRAY_LEN(iov); i++) {
        iov[i] = (struct iovec){(void *)(uintptr_t)"x", 1};
    }
    uint64_t before = BIO_number_written(SSL_get_wbio(f.e.a.stream.tls->ssl));
    sl_stream_send(&f.e.a.stream, iov, SL_ARRAY_LEN(iov));
    uint64_t wire_n = BIO_number_written(SSL_get_wbio(f.e.a.stream.tls->ssl)) - before;
    check(wire_n > 100 && wire_n < 130, "%d bytes on the wire for 100", (int)wire_n);
    fixture_fini(&f);
}

static void a_goodbye_is_told_from_a_cut(void **state)
{
    struct fixture f;
    (void)state;

    for (size_t i = 0; i < SL_ARRAY_LEN(versions); i++) {
        fixture_init(&f, versions[i], 100, 0);
        opened(&f);
        end_send(&f.e.a, "whole", 5);
        sl_stream_close(&f.e.a.stream);
        f.e.a.read_code = SL_ECLOSED;
        ends_turn_until(&f.e, ends_both_ended, "goodbye");
        assert_int_equal(f.e.b.got_n, 5);
        assert_int_equal(f.e.b.read_code, SL_ECLOSED);
        fixture_fini(&f);

        fixture_init(&f, versions[i], 100, 0);
        opened(&f);
        end_send(&f.e.a, "cut", 3);
        assert_int_equal(shutdown(f.e.a.stream.fd, SHUT_WR), 0);
        f.e.a.read_code = SL_ECLOSED;
        ends_turn_until(&f.e, ends_both_ended, "cut");
        assert_int_equal(f.e.b.got_n, 3);
        assert_int_equal(f.e.b.read_code, SL_ERESET);
        fixture_fini(&f);
    }
}

static bool b_ended(struct ends *e)
{
    return e->b.read_code != SL_OK;
}

static void closing_on_unsent_bytes_says_no_goodbye(void **state)
{
    static unsigned char body[1000000];
    struct fixture f;
    (void)state;

    fixture_init(&f, TLS1_3_VERSION, sizeof(body), 4096);
    opened(&f);
    end_send(&f.e.a, body, sizeof(body));
    ends_turn(&f.e, 3);
    check(sl_stream_unsent(&f.e.a.stream) > 0, "all was sent");
    sl_stream_close(&f.e.a.stream);
    ends_turn_until(&f.e, b_ended, "end");
    assert_int_equal(f.e.b.read_code, SL_ERESET);
    fixture_fini(&f);
}

static bool b_got_200(struct ends *e)
{
    return e->b.got_n == 200;
}

static void half_a_record_is_waited_for_without_spinning(void **state)
{
    static const char body[200] = "half";
    struct fixture f;
    char record[400];
    (void)state;

    fixture_init(&f, TLS1_3_VERSION, sizeof(body), 0);
    opened(&f);
    ends_turn(&f.e, 3); /* tickets */
    BIO *wire = BIO_new(BIO_s_mem());
    assert_non_null(wire);
    SSL_set0_wbio(f.e.a.stream.tls->ssl, wire);
    end_send(&f.e.a, body, sizeof(body));
    int len = BIO_read(wire, record, sizeof(record));
    check(len > 200, "%d bytes", len);
    f.e.b.reads_n = 0;
    assert_int_equal(send(f.e.a.stream.fd, record, 100, 0), 100);
    ends_turn(&f.e, 10);
    check(f.e.b.reads_n > 0 && f.e.b.reads_n <= 2, "%u reads of half a record", f.e.b.reads_n);
    assert_int_equal(f.e.b.got_n, 0);
    assert_int_equal(send(f.e.a.stream.fd, record + 100, (size_t)len - 100, 0), len - 100);
    ends_turn_until(&f.e, b_got_200, "the rest");
    assert_memory_equal(f.e.b.got, body, sizeof(body));
    fixture_fini(&f);
}

static void a_broken_record_ends_the_connection(void **state)
{
    struct fixture f;
    (void)state;

    fixture_init(&f, TLS1_3_VERSION, 100, 0);
    opened(&f);
    assert_int_equal(send(f.e.a.stream.fd, "\x17\x03\x03\x00\x14garbage-garbage-garb", 25, 0), 25);
    ends_turn_until(&f.e, b_ended, "end");
    assert_int_equal(f.e.b.read_code, SL_ETLS);
    check(f.e.b.failure[0] != '\0', "no reason");
    fixture_fini(&f);
}

static bool a_decided(struct ends *e)
{
    return e->a.open_code != ENDS_PENDING;
}

static void what_is_no_tls_is_refused_with_words(void **state)
{
    static const struct {
        const char *sent;
        int code;
        const char *says;
    } rows[] = {
        {"GET / HTTP/1.1\r\n\r\n", SL_ETLS, "plain HTTP on a TLS port"},
        {"SSH-2.0-OpenSSH_9.2\r\n", SL_ETLS, "version"},
        {"", SL_ERESET, "the connection was cut"},
        {"\x16\x03\x01\x02", SL_ERESET, "the connection was cut"},
    };
    struct sl_tls_context *server = pki_server("edge", false);
    (void)state;

    for (size_t i = 0; i < SL_ARRAY_LEN(rows); i++) {
        size_t len = strlen(rows[i].sent);
        struct ends e;
        int fds[2];

        ends_init(&e, 100);
        ends_pair(fds, 0);
        end_open(&e, &e.a, fds[0], sl_tls_accept(server));
        assert_int_equal(e.a.open_code, ENDS_PENDING);
        assert_int_equal(send(fds[1], rows[i].sent, len, 0), len);
        assert_int_equal(shutdown(fds[1], SHUT_WR), 0);
        ends_turn_until(&e, a_decided, rows[i].sent);
        check(e.a.open_code == rows[i].code && strstr(e.a.failure, rows[i].says) != NULL,
              "\"%s\": %s, \"%s\"", rows[i].sent, sl_err_name(e.a.open_code), e.a.failure);
        (void)close(fds[1]); /* a socket of the test */
        ends_fini(&e);
    }
    sl_tls_context_free(server);
}

static void a_burst_is_shaken_hands_with_four_steps_a_turn(void **state)
{
    enum {
        CONNECTIONS_N = 12
    };
    struct sl_tls_context *server = pki_server("edge", true);
    struct sl_tls_context *clients[CONNECTIONS_N];
    static struct ends e[CONNECTIONS_N];
    unsigned turns_n = 0;
    unsigned open_n = 0;
    struct sl_loop *l = NULL;
    (void)state;

    assert_int_equal(sl_loop_new(&l), SL_OK);
    for (int i = 0; i < CONNECTIONS_N; i++) {
        ends_init_on(&e[i], l, 100);
        clients[i] = pki_client(true); /* each with a limit of its own: only the server's counts */
        ends_open_tls(&e[i], server, clients[i], &pki_upstream, 0);
    }
    for (; open_n < CONNECTIONS_N; turns_n++) {
        unsigned before_n = open_n;
        check(turns_n < 1000, "%u of %d open", open_n, CONNECTIONS_N);
        sl_loop_run_once(l);
        check(server->steps_n <= SL_TLS_HANDSHAKES_A_TURN_N, "%u steps", server->steps_n);
        open_n = 0;
        for (int i = 0; i < CONNECTIONS_N; i++) {
            check(e[i].a.open_code == ENDS_PENDING || e[i].a.open_code == SL_OK, "%s",
                  e[i].a.failure);
            open_n += e[i].a.open_code == SL_OK;
        }
        check(open_n - before_n <= SL_TLS_HANDSHAKES_A_TURN_N, "%u in one turn", open_n - before_n);
    }
    check(turns_n >= 2 * CONNECTIONS_N / SL_TLS_HANDSHAKES_A_TURN_N, "in %u turns", turns_n);
    for (int i = 0; i < CONNECTIONS_N; i++) {
        ends_fini(&e[i]);
        sl_tls_context_free(clients[i]);
    }
    sl_loop_free(l);
    sl_tls_context_free(server);
}

static void alpn_chooses_http_1_1_and_refuses_who_offers_others_only(void **state)
{
    static const struct {
        const char *offer;
        int code;
        const char *chosen;
    } rows[] = {
        {"\x02h2\x08http/1.1", SL_OK, "http/1.1"},
        {"\x08http/1.1", SL_OK, "http/1.1"},
        {"", SL_OK, ""},
        {"\x02h2", SL_ETLS, ""},
        {"\x08http/1.0", SL_ETLS, ""},
    };
    (void)state;

    for (size_t i = 0; i < SL_ARRAY_LEN(rows); i++) {
        struct sl_tls_context *server = pki_server("edge", false);
        struct sl_tls_context *client = pki_client(false);
        const unsigned char *chosen = NULL;
        unsigned chosen_n = 0;
        struct ends e;

        assert_int_equal(SSL_CTX_set_alpn_protos(client->ssl_ctx,
                                                 (const unsigned char *)rows[i].offer,
                                                 (unsigned)strlen(rows[i].offer)),
                         0);
        ends_init(&e, 100);
        ends_open_tls(&e, server, client, &pki_upstream, 0);
        ends_turn_until(&e, ends_both_decided, rows[i].offer);
        check(e.a.open_code == rows[i].code, "offer %zu: %s", i, e.a.failure);
        if (rows[i].code == SL_OK) {
            SSL_get0_alpn_selected(e.a.stream.tls->ssl, &chosen, &chosen_n);
            assert_int_equal(chosen_n, strlen(rows[i].chosen));
            check(chosen_n == 0 || memcmp(chosen, rows[i].chosen, chosen_n) == 0, "offer %zu", i);
        }
        ends_fini(&e);
        sl_tls_context_free(server);
        sl_tls_context_free(client);
    }
}

static void a_stream_may_be_closed_at_any_moment(void **state)
{
    struct fixture f;
    (void)state;

    for (unsigned turns_n = 0; turns_n < 6; turns_n++) {
        fixture_init(&f, TLS1_3_VERSION, 100, 0);
        f.e.a.close_on_open = turns_n % 2 == 1;
        ends_turn(&f.e, turns_n);
        sl_stream_close(&f.e.b.stream);
        sl_stream_close(&f.e.b.stream);
        ends_turn(&f.e, 4);
        check(f.e.a.open_code != ENDS_PENDING, "after %u turns", turns_n);
        fixture_fini(&f);
    }
}

struct worker {
    pthread_t thread;
    struct sl_tls_context *server;
    struct sl_tls_context *client;
    unsigned done_n;
};

static void *work(void *arg)
{
    struct worker *w = arg;

    for (; w->done_n < 5; w->done_n++) {
        struct ends e;
        ends_init(&e, 100);
        ends_open_tls(&e, w->server, w->client, &pki_upstream, 0);
        end_send(&e.a, "hello", 5);
        end_send(&e.b, "world", 5);
        ends_turn_until(&e, both_got_five, "greetings");
        ends_fini(&e);
    }
    return NULL;
}

/* For ThreadSanitizer: contexts are made on one thread and used on others, one each. */
static void workers_with_contexts_of_their_own_share_nothing(void **state)
{
    struct worker workers[2] = {0};
    (void)state;

    for (size_t i = 0; i < SL_ARRAY_LEN(workers); i++) {
        workers[i].server = pki_server("edge", true);
        workers[i].client = pki_client(true);
    }
    for (size_t i = 0; i < SL_ARRAY_LEN(workers); i++) {
        assert_int_equal(pthread_create(&workers[i].thread, NULL, work, &workers[i]), 0);
    }
    for (size_t i = 0; i < SL_ARRAY_LEN(workers); i++) {
        assert_int_equal(pthread_join(workers[i].thread, NULL), 0);
        assert_int_equal(workers[i].done_n, 5);
        sl_tls_context_free(workers[i].server);
        sl_tls_context_free(workers[i].client);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bytes_queued_before_the_handshake_leave_after_it),
        cmocka_unit_test(large_bodies_cross_small_buffers_both_ways_unchanged),
        cmocka_unit_test(small_pieces_leave_as_one_record),
        cmocka_unit_test(a_goodbye_is_told_from_a_cut),
        cmocka_unit_test(closing_on_unsent_bytes_says_no_goodbye),
        cmocka_unit_test(half_a_record_is_waited_for_without_spinning),
        cmocka_unit_test(a_broken_record_ends_the_connection),
        cmocka_unit_test(what_is_no_tls_is_refused_with_words),
        cmocka_unit_test(a_burst_is_shaken_hands_with_four_steps_a_turn),
        cmocka_unit_test(alpn_chooses_http_1_1_and_refuses_who_offers_others_only),
        cmocka_unit_test(workers_with_contexts_of_their_own_share_nothing),
        cmocka_unit_test(a_stream_may_be_closed_at_any_moment),
    };
    return cmocka_run_group_tests(tests, pki_setup, pki_teardown);
}
