/* SPDX-License-Identifier: Apache-2.0 */
#include "ends.h"
#include "pki.h"

#include "proxy/base/alloc.h"
#include "proxy/io/tls_internal.h"
#include "tests/unit/check.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const int versions[] = {TLS1_2_VERSION, TLS1_3_VERSION};

struct visit {
    int server_code;
    bool resumed;
    char name[256];
    char failure[192];
};

static bool b_greeted(struct ends *e)
{
    return e->b.got_n == 2 || e->b.read_code != SL_OK || e->b.open_code < SL_OK;
}

/* One connection from client to server, whose greeting brings the tickets of TLS 1.3 along. */
static struct visit visit_at(struct sl_tls_context *server, struct sl_tls_context *client,
                             const struct sl_address *address)
{
    struct visit v = {0};
    struct ends e;

    ends_init(&e, 100);
    ends_open_tls(&e, server, client, address, 0);
    end_send(&e.a, "hi", 2);
    ends_turn_until(&e, b_greeted, "greeting");
    ends_turn_until(&e, ends_both_decided, "handshake");
    v.server_code = e.a.open_code;
    memcpy(v.name, e.a.peer_name, sizeof(v.name));
    memcpy(v.failure, e.a.failure, sizeof(v.failure));
    if (v.server_code == SL_OK) {
        v.resumed = SSL_session_reused(e.a.stream.tls->ssl) == 1;
        check(v.resumed == (SSL_session_reused(e.b.stream.tls->ssl) == 1), "the sides disagree");
    }
    sl_stream_reset(&e.b.stream); /* a session outlives a connection that ended badly */
    ends_fini(&e);
    return v;
}

static struct visit visit(struct sl_tls_context *server, struct sl_tls_context *client)
{
    return visit_at(server, client, &pki_upstream);
}

static void a_session_resumes_on_another_worker_of_the_same_listener(void **state)
{
    (void)state;

    for (size_t i = 0; i < SL_ARRAY_LEN(versions); i++) {
        struct sl_tls_context *one = pki_server("edge", true);
        struct sl_tls_context *two = pki_server("edge", true);
        struct sl_tls_context *client = pki_client(true);

        assert_int_equal(SSL_CTX_set_max_proto_version(client->ssl_ctx, versions[i]), 1);
        assert_true(sl_tls_context_identity(one) == sl_tls_context_identity(two));
        assert_false(visit(one, client).resumed);
        for (int again = 0; again < 3; again++) { /* each resumption brings the next ticket */
            struct visit v = visit(again % 2 == 0 ? two : one, client);
            check(v.resumed, "version %x, visit %d: a full handshake", (unsigned)versions[i],
                  again);
            assert_string_equal(v.name, "app.prod.svc");
        }
        sl_tls_context_free(one);
        sl_tls_context_free(two);
        sl_tls_context_free(client);
    }
}

static void a_ticket_opens_under_its_own_listener_and_trust_only(void **state)
{
    static const char *const names[] = {"app.prod.svc"};
    static const struct sl_tls_secret other_secret = {.bytes = {8}};
    const struct sl_tls_config same = {
        .cert = pki_path("server.crt"),
        .key = pki_path("server.key"),
        .ca = pki_path("ca.crt"),
    };
    struct sl_tls_config other_ca = same;
    struct sl_tls_config other_san = same;
    struct sl_tls_config other_version = same;
    const struct {
        const char *label;
        const char *name;
        const struct sl_tls_config *conf;
        const struct sl_tls_secret *secret;
        bool resumes;
        int code;
    } rows[] = {
        {"the same", "edge", &same, &pki_secret, true, SL_OK},
        {"another listener", "admin", &same, &pki_secret, false, SL_OK},
        {"another client CA", "edge", &other_ca, &pki_secret, false, SL_ETLS},
        {"another list of names", "edge", &other_san, &pki_secret, false, SL_OK},
        {"another minimum", "edge", &other_version, &pki_secret, false, SL_OK},
        {"another secret", "edge", &same, &other_secret, false, SL_OK},
    };
    (void)state;

    other_ca.ca = pki_path("other.crt");
    other_san.san = (struct sl_strings){.items = names, .n = 1};
    other_version.min_version = TLS1_3_VERSION;
    for (size_t i = 0; i < SL_ARRAY_LEN(rows) * SL_ARRAY_LEN(versions); i++) {
        size_t r = i / SL_ARRAY_LEN(versions);
        int version = versions[i % SL_ARRAY_LEN(versions)];
        struct sl_tls_context *first = pki_server_of("edge", &same, &pki_secret);
        struct sl_tls_context *then = pki_server_of(rows[r].name, rows[r].conf, rows[r].secret);
        struct sl_tls_context *client = pki_client(true);

        if (rows[r].conf != &other_version) {
            assert_int_equal(SSL_CTX_set_max_proto_version(client->ssl_ctx, version), 1);
        }
        check((sl_tls_context_identity(first) == sl_tls_context_identity(then)) ==
                  (rows[r].resumes || rows[r].secret == &other_secret),
              "%s: identity", rows[r].label);
        assert_false(visit(first, client).resumed);
        check(client->resumable_n == 1, "%s, %x: no session kept", rows[r].label,
              (unsigned)version);
        struct visit v = visit(then, client);
        check(v.resumed == rows[r].resumes && v.server_code == rows[r].code,
              "%s, %x: resumed %d, %s (%s)", rows[r].label, (unsigned)version, v.resumed,
              sl_err_name(v.server_code), v.failure);
        sl_tls_context_free(first);
        sl_tls_context_free(then);
        sl_tls_context_free(client);
    }
}

static void use_renewed(struct sl_tls_context *c)
{
    assert_int_equal(
        SSL_CTX_use_certificate_file(c->ssl_ctx, pki_path("renewed.crt"), SSL_FILETYPE_PEM), 1);
    assert_int_equal(
        SSL_CTX_use_PrivateKey_file(c->ssl_ctx, pki_path("renewed.key"), SSL_FILETYPE_PEM), 1);
}

static void an_identity_that_ran_out_shakes_hands_in_full(void **state)
{
    static const char *const wanted[] = {"app.prod.svc"};
    (void)state;

    for (size_t i = 0; i < SL_ARRAY_LEN(versions); i++) {
        const struct sl_tls_config conf = {
            .cert = pki_path("server.crt"),
            .key = pki_path("server.key"),
            .ca = pki_path("ca.crt"),
            .san = {.items = wanted, .n = 1},
        };
        struct sl_tls_context *server = pki_server_of("edge", &conf, &pki_secret);
        struct sl_tls_context *client = pki_client(true);

        assert_int_equal(SSL_CTX_set_max_proto_version(client->ssl_ctx, versions[i]), 1);
        assert_false(visit(server, client).resumed);
        /* As if the policy had become stricter under a ticket that still opens. */
        char *pattern = server->san[0];
        server->san[0] = sl_strdup("new.prod.svc");
        struct visit v = visit(server, client);
        check(!v.resumed && v.server_code == SL_ETLS, "%x: resumed %d, %s", (unsigned)versions[i],
              v.resumed, sl_err_name(v.server_code));
        assert_string_equal(v.failure, "no name of the certificate matches client_san");
        sl_free(server->san[0]);
        server->san[0] = pattern;
        assert_int_equal(visit(server, client).server_code, SL_OK);
        server->san[0] = sl_strdup("new.prod.svc");
        use_renewed(client); /* the old ticket is offered still, and must not cost the connection */
        v = visit(server, client);
        check(!v.resumed && v.server_code == SL_OK, "%x: resumed %d, %s", (unsigned)versions[i],
              v.resumed, v.failure);
        assert_string_equal(v.name, "new.prod.svc");
        sl_free(server->san[0]);
        server->san[0] = pattern;
        sl_tls_context_free(server);
        sl_tls_context_free(client);
    }
}

static void sessions_are_kept_by_address_and_the_oldest_goes(void **state)
{
    struct sl_tls_context *server = pki_server("edge", false);
    const struct sl_tls_config conf = {.ca = pki_path("ca.crt"), .sni = "llama.prod.svc"};
    struct sl_tls_context *client = pki_client_of(&conf);
    struct sl_address a = pki_upstream;
    (void)state;

    for (int i = 0; i < SL_TLS_RESUMABLE_MAX_N; i++) {
        a.port = (uint16_t)(8000 + i);
        assert_false(visit_at(server, client, &a).resumed);
    }
    assert_int_equal(client->resumable_n, SL_TLS_RESUMABLE_MAX_N);
    assert_true(visit(server, client).resumed); /* the first: now the last used */
    a.port = 9000;
    assert_false(visit_at(server, client, &a).resumed);
    assert_int_equal(client->resumable_n, SL_TLS_RESUMABLE_MAX_N);
    assert_true(visit(server, client).resumed);
    a.port = 8001;
    assert_false(visit_at(server, client, &a).resumed);
    sl_tls_context_free(server);
    sl_tls_context_free(client);
}

static void a_resumed_upstream_is_checked_for_its_address_again(void **state)
{
    struct sl_tls_context *server = pki_server("edge", false);
    struct sl_tls_context *client = pki_client(false);
    (void)state;

    assert_false(visit(server, client).resumed);
    struct resumable_view {
        struct sl_list link;
        struct sl_address address;
    } *kept = sl_container_of(client->resumable.next, struct resumable_view, link);
    /* As if the session of one pod had come under the address of another. */
    (void)snprintf(kept->address.host, sizeof(kept->address.host), "10.0.0.8");
    const struct sl_address other = kept->address;
    struct visit v = visit_at(server, client, &other);
    assert_false(v.resumed);
    assert_int_equal(v.server_code, SL_ETLS); /* it was not offered, and the full one failed */
    assert_int_equal(client->resumable_n, 0);
    sl_tls_context_free(server);
    sl_tls_context_free(client);
}

static void ticket_keys_last_for_their_epoch_and_the_next(void **state)
{
    struct sl_tls_context *c = pki_server("edge", true);
    struct sl_tls_context *other = pki_server("admin", true);
    unsigned char name[SL_TLS_TICKET_NAME_BYTES];
    (void)state;

    assert_true(sl_tls_ticket_name(c, 100, name));
    assert_int_equal(sl_tls_ticket_age(c, 99, name), -1);
    assert_int_equal(sl_tls_ticket_age(c, 100, name), 0);
    assert_int_equal(sl_tls_ticket_age(c, 101, name), 1);
    assert_int_equal(sl_tls_ticket_age(c, 102, name), -1);
    assert_int_equal(sl_tls_ticket_age(other, 100, name), -1);
    sl_tls_context_free(other);
    sl_tls_context_free(c);
}

static void a_context_outlives_its_owner_until_the_last_session_ends(void **state)
{
    struct sl_tls_context *server = pki_server("edge", false);
    struct sl_tls_context *client = pki_client(false);
    struct ends e;
    (void)state;

    ends_init(&e, 100);
    ends_open_tls(&e, server, client, &pki_upstream, 0);
    sl_tls_context_free(server);
    sl_tls_context_free(client);
    end_send(&e.a, "hi", 2); /* the ticket that comes along is kept by the context */
    ends_turn_until(&e, b_greeted, "greeting");
    assert_int_equal(e.b.got_n, 2);
    ends_fini(&e); /* ASan tells of what is left, or was gone before */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_session_resumes_on_another_worker_of_the_same_listener),
        cmocka_unit_test(a_ticket_opens_under_its_own_listener_and_trust_only),
        cmocka_unit_test(an_identity_that_ran_out_shakes_hands_in_full),
        cmocka_unit_test(sessions_are_kept_by_address_and_the_oldest_goes),
        cmocka_unit_test(ticket_keys_last_for_their_epoch_and_the_next),
        cmocka_unit_test(a_context_outlives_its_owner_until_the_last_session_ends),
        cmocka_unit_test(a_resumed_upstream_is_checked_for_its_address_again),
    };
    return cmocka_run_group_tests(tests, pki_setup, pki_teardown);
}
