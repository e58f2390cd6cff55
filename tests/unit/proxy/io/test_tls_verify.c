/* SPDX-License-Identifier: Apache-2.0 */
#include "certs.h"
#include "ends.h"

#include "proxy/io/tls_internal.h"
#include "tests/unit/check.h"

#include <stdio.h>
#include <string.h>

static struct certs files;
static const struct sl_address upstream = {.host = "10.0.0.7", .port = 8000};
static const struct sl_tls_secret secret = {.bytes = {1}};

static int make_files(void **state)
{
    static const struct certs_leaf leaves[] = {
        {"server", "DNS:llama.prod.svc,IP:10.0.0.7,IP:fd00::7,URI:spiffe://corp/ns/prod/sa/llama",
         -1, 90, NULL, NULL},
        {"wild", "DNS:*.prod.svc", -1, 90, NULL, NULL},
        {"client", "DNS:app.prod.svc", -1, 90, "clientAuth", NULL},
        {"spiffe", "URI:spiffe://corp/ns/prod/sa/app", -1, 90, NULL, NULL},
        {"two_uris", "URI:spiffe://corp/ns/prod/sa/app,URI:spiffe://corp/ns/prod/sa/b", -1, 90,
         NULL, NULL},
        {"expired", "DNS:app.prod.svc", -9, -1, NULL, NULL},
        {"future", "DNS:app.prod.svc", 1, 9, NULL, NULL},
        {"not_for_clients", "DNS:app.prod.svc", -1, 90, "serverAuth", NULL},
        {"nul", "DNS:app.prod.svc~.evil.example", -1, 90, NULL, NULL},
        {"nul_beside", "DNS:app.prod.svc,DNS:x~y", -1, 90, NULL, NULL},
        {"nameless", NULL, -1, 90, NULL, NULL},
        {"dns_that_spells", "DNS:10.0.0.7,DNS:spiffe://corp/ns/prod/sa/app", -1, 90, NULL, NULL},
    };
    (void)state;

    certs_init(&files);
    struct certs_ca *ca = certs_ca_new(&files, "ca", NULL);
    struct certs_ca *other = certs_ca_new(&files, "other", NULL);
    struct certs_ca *middle = certs_ca_new(&files, "middle", ca);
    for (size_t i = 0; i < SL_ARRAY_LEN(leaves); i++) {
        certs_issue(&files, ca, &leaves[i], false);
    }
    certs_issue(&files, other, &(struct certs_leaf){"stranger", "DNS:app.prod.svc", -1, 90, 0, 0},
                false);
    certs_issue(&files, middle, &(struct certs_leaf){"below", "DNS:app.prod.svc", -1, 90, 0, 0},
                true);
    certs_ca_free(ca);
    certs_ca_free(other);
    certs_ca_free(middle);
    return 0;
}

static int remove_files(void **state)
{
    (void)state;
    certs_fini(&files);
    return 0;
}

static const char *file_of(const char *name, const char *suffix)
{
    char file[64];

    if (name == NULL) {
        return NULL;
    }
    (void)snprintf(file, sizeof(file), "%s.%s", name, suffix);
    return certs_path(&files, file);
}

static void a_name_matches_its_pattern_and_nothing_beside_it(void **state)
{
    static const struct {
        const char *pattern;
        const char *name;
        bool is_dns;
        bool want;
    } rows[] = {
        {"app.prod.svc", "app.prod.svc", true, true},
        {"app.prod.svc", "APP.prod.Svc", true, true},
        {"app.prod.svc", "xapp.prod.svc", true, false},
        {"app.prod.svc", "app.prod.svc.evil", true, false},
        {"*.prod.svc", "app.prod.svc", true, true},
        {"*.prod.svc", "a.b.prod.svc", true, false},
        {"*.prod.svc", ".prod.svc", true, false},
        {"*.prod.svc", "prod.svc", true, false},
        {"*.prod.svc", "app.PROD.svc", true, true},
        {"*.prod.svc", "spiffe://x.prod.svc", false, false},
        {"*", "app", true, false},
        {"*.", "app.", true, false},
        {"*app.svc", "xapp.svc", true, false},
        {"app*", "apple", true, false},
        {"a*p.svc", "app.svc", true, false},
        {"*.*.svc", "a.b.svc", true, false},
        {"", "", true, false},
        {"app", "", true, false},
        {"spiffe://corp/ns/prod/sa/app", "spiffe://corp/ns/prod/sa/app", false, true},
        {"spiffe://corp/ns/prod/sa/app", "spiffe://corp/ns/prod/sa/App", false, false},
        {"spiffe://corp/ns/prod/sa/app", "spiffe://corp/ns/prod/sa/app", true, false},
        {"spiffe://corp/ns/prod/sa/*", "spiffe://corp/ns/prod/sa/app", false, true},
        {"spiffe://corp/ns/prod/sa/app-*", "spiffe://corp/ns/prod/sa/app-7", false, true},
        {"spiffe://corp/ns/prod/sa/*", "spiffe://corp/ns/prod/sa/", false, false},
        {"spiffe://corp/ns/prod/sa/*", "spiffe://corp/ns/prod/sa/a/b", false, false},
        {"spiffe://corp/ns/prod/sa/*", "spiffe://corp/ns/dev/sa/app", false, false},
        {"spiffe://corp*", "spiffe://corp.evil", false, false},
        {"spiffe://*/sa", "spiffe://corp/sa", false, false},
        {"*://corp/sa", "spiffe://corp/sa", false, false},
        {"10.0.0.7", "10.0.0.7", true, false},
        {"fd00::7", "fd00::7", false, false},
    };
    (void)state;

    for (size_t i = 0; i < SL_ARRAY_LEN(rows); i++) {
        bool got = sl_tls_name_matches(rows[i].pattern, rows[i].name, rows[i].is_dns);
        check(got == rows[i].want, "pattern \"%s\", name \"%s\": %d", rows[i].pattern, rows[i].name,
              got);
    }
}

struct side {
    const char *cert;
    const char *ca;
    const char *san[3];
    const char *sni;
};

struct meeting {
    const char *label;
    struct side server;
    struct side client;
    int server_code;
    const char *server_says; /* failure, or the name it knows the client by */
    int client_code;         /* of the handshake, else of the first read, which always ends */
    const char *client_says;
};

static struct sl_tls_config config_of(const struct side *s)
{
    size_t n = 0;

    while (n < SL_ARRAY_LEN(s->san) && s->san[n] != NULL) {
        n++;
    }
    return (struct sl_tls_config){
        .cert = file_of(s->cert, "crt"),
        .key = file_of(s->cert, "key"),
        .ca = file_of(s->ca, "crt"),
        .san = {.items = s->san, .n = n},
        .sni = s->sni,
    };
}

static void check_end(const struct meeting *m, const char *which, const struct end *end, int want,
                      const char *says)
{
    const char *said = want == SL_OK ? end->peer_name : end->failure;
    int code = end->open_code != SL_OK ? end->open_code : end->read_code;

    check(code == want, "%s: %s: %s, expected %s (\"%s\")", m->label, which, sl_err_name(code),
          sl_err_name(want), end->failure);
    check(strstr(said, says) != NULL && (says[0] != '\0') == (said[0] != '\0'),
          "%s: %s says \"%s\", expected \"%s\"", m->label, which, said, says);
}

static void meet(const struct meeting *m, int max_version)
{
    struct sl_tls_config server_conf = config_of(&m->server);
    struct sl_tls_config client_conf = config_of(&m->client);
    struct sl_tls_context *server = NULL;
    struct sl_tls_context *client = NULL;
    struct sl_error err = {0};
    struct ends e;

    int rc = sl_tls_server_context_new("edge", &server_conf, &secret, &server, &err);
    check(rc == SL_OK, "%s: server: %s", m->label, err.message);
    rc = sl_tls_client_context_new("pool", &client_conf, &client, &err);
    check(rc == SL_OK, "%s: client: %s", m->label, err.message);
    assert_int_equal(SSL_CTX_set_max_proto_version(server->ssl_ctx, max_version), 1);
    ends_init(&e, 100);
    ends_open_tls(&e, server, client, &upstream, 0);
    ends_turn_until(&e, ends_both_decided, m->label);
    if (e.b.open_code == SL_OK && e.a.open_code != SL_OK) {
        ends_turn(&e, 5); /* TLS 1.3: the client hears of it as its first read */
    }
    check_end(m, "server", &e.a, m->server_code, m->server_says);
    check_end(m, "client", &e.b, m->client_code, m->client_says);
    ends_fini(&e);
    sl_tls_context_free(server);
    sl_tls_context_free(client);
}

/* What a client sees of a server that refused it depends on the version; that it sees an alert
 * does not. */
static const struct meeting meetings[] = {
    {"nobody asks for a client certificate",
     {"server", NULL, {0}, NULL},
     {NULL, "ca", {0}, NULL},
     SL_OK,
     "",
     SL_OK,
     "10.0.0.7"},
    {"one that is shown unasked is not looked at",
     {"server", NULL, {0}, NULL},
     {"stranger", "ca", {0}, NULL},
     SL_OK,
     "",
     SL_OK,
     "10.0.0.7"},
    {"any certificate of the CA",
     {"server", "ca", {0}, NULL},
     {"client", "ca", {0}, NULL},
     SL_OK,
     "app.prod.svc",
     SL_OK,
     "10.0.0.7"},
    {"no certificate",
     {"server", "ca", {0}, NULL},
     {NULL, "ca", {0}, NULL},
     SL_ETLS,
     "no client certificate",
     SL_ETLS,
     "the other side refused"},
    {"a certificate of another CA",
     {"server", "ca", {0}, NULL},
     {"stranger", "ca", {0}, NULL},
     SL_ETLS,
     "certificate verify failed: unable to get",
     SL_ETLS,
     "the other side refused"},
    {"an expired certificate",
     {"server", "ca", {0}, NULL},
     {"expired", "ca", {0}, NULL},
     SL_ETLS,
     "certificate has expired",
     SL_ETLS,
     "the other side refused"},
    {"one that is not valid yet",
     {"server", "ca", {0}, NULL},
     {"future", "ca", {0}, NULL},
     SL_ETLS,
     "not yet valid",
     SL_ETLS,
     "the other side refused"},
    {"one that is for servers",
     {"server", "ca", {0}, NULL},
     {"not_for_clients", "ca", {0}, NULL},
     SL_ETLS,
     "certificate verify failed: un",
     SL_ETLS,
     "the other side refused"},
    {"a chain with its intermediate",
     {"server", "ca", {0}, NULL},
     {"below", "ca", {0}, NULL},
     SL_OK,
     "app.prod.svc",
     SL_OK,
     "10.0.0.7"},
    {"an intermediate as the CA",
     {"server", "middle", {0}, NULL},
     {"below", "ca", {0}, NULL},
     SL_OK,
     "app.prod.svc",
     SL_OK,
     "10.0.0.7"},
    {"a DNS name that matches",
     {"server", "ca", {"spiffe://corp/ns/prod/sa/*", "*.prod.svc"}, NULL},
     {"client", "ca", {0}, NULL},
     SL_OK,
     "app.prod.svc",
     SL_OK,
     "10.0.0.7"},
    {"a SPIFFE wildcard that matches",
     {"server", "ca", {"spiffe://corp/ns/prod/sa/*"}, NULL},
     {"spiffe", "ca", {0}, NULL},
     SL_OK,
     "spiffe://corp/ns/prod/sa/app",
     SL_OK,
     "10.0.0.7"},
    {"a SPIFFE wildcard of another namespace",
     {"server", "ca", {"spiffe://corp/ns/dev/sa/*"}, NULL},
     {"spiffe", "ca", {0}, NULL},
     SL_ETLS,
     "no name of the certificate matches client_san",
     SL_ETLS,
     "the other side refused"},
    {"two SPIFFE names",
     {"server", "ca", {"spiffe://corp/ns/prod/sa/*"}, NULL},
     {"two_uris", "ca", {0}, NULL},
     SL_ETLS,
     "more than one URI",
     SL_ETLS,
     "the other side refused"},
    {"a name cut by a NUL",
     {"server", "ca", {"app.prod.svc"}, NULL},
     {"nul", "ca", {0}, NULL},
     SL_ETLS,
     "malformed",
     SL_ETLS,
     "the other side refused"},
    {"a NUL in a name beside the right one",
     {"server", "ca", {"app.prod.svc"}, NULL},
     {"nul_beside", "ca", {0}, NULL},
     SL_ETLS,
     "malformed",
     SL_ETLS,
     "the other side refused"},
    {"no names where one is wanted",
     {"server", "ca", {"nameless"}, NULL},
     {"nameless", "ca", {0}, NULL},
     SL_ETLS,
     "no name of the certificate matches client_san",
     SL_ETLS,
     "the other side refused"},
    {"no names where none is wanted",
     {"server", "ca", {0}, NULL},
     {"nameless", "ca", {0}, NULL},
     SL_OK,
     "",
     SL_OK,
     "10.0.0.7"},
    {"a DNS name that spells an address and a URI",
     {"server", "ca", {"10.0.0.7", "spiffe://corp/ns/prod/sa/*"}, NULL},
     {"dns_that_spells", "ca", {0}, NULL},
     SL_ETLS,
     "no name of the certificate matches client_san",
     SL_ETLS,
     "the other side refused"},
    {"an upstream of another CA",
     {"server", NULL, {0}, NULL},
     {NULL, "other", {0}, NULL},
     SL_ETLS,
     "the other side refused",
     SL_ETLS,
     "certificate verify failed: "},
    {"an upstream with another address",
     {"wild", NULL, {0}, NULL},
     {NULL, "ca", {0}, NULL},
     SL_ETLS,
     "the other side refused",
     SL_ETLS,
     "the certificate is not for 10.0.0.7"},
    {"an upstream by the name asked for",
     {"server", NULL, {0}, NULL},
     {NULL, "ca", {0}, "llama.prod.svc"},
     SL_OK,
     "",
     SL_OK,
     "llama.prod.svc"},
    {"an upstream whose wildcard covers the name",
     {"wild", NULL, {0}, NULL},
     {NULL, "ca", {0}, "llama.prod.svc"},
     SL_OK,
     "",
     SL_OK,
     "llama.prod.svc"},
    {"an upstream without the name",
     {"server", NULL, {0}, NULL},
     {NULL, "ca", {0}, "mistral.prod.svc"},
     SL_ETLS,
     "the other side refused",
     SL_ETLS,
     "the certificate is not for mistral.prod.svc"},
    {"an upstream by its SPIFFE name, whatever its address",
     {"spiffe", NULL, {0}, NULL},
     {NULL, "ca", {"spiffe://corp/ns/prod/sa/app"}, NULL},
     SL_OK,
     "",
     SL_OK,
     "spiffe://corp/ns/prod/sa/app"},
    {"an upstream by another spelling of its address",
     {"server", NULL, {0}, NULL},
     {NULL, "ca", {"fd00:0:0::7"}, NULL},
     SL_OK,
     "",
     SL_OK,
     "fd00::7"},
    {"an upstream that no pattern knows",
     {"server", NULL, {0}, NULL},
     {NULL, "ca", {"10.0.0.8", "*.dev.svc"}, "llama.prod.svc"},
     SL_ETLS,
     "the other side refused",
     SL_ETLS,
     "no name of the certificate matches san"},
};

static void who_may_connect_to_whom_over_tls_1_3(void **state)
{
    (void)state;
    for (size_t i = 0; i < SL_ARRAY_LEN(meetings); i++) {
        meet(&meetings[i], TLS1_3_VERSION);
    }
}

static void who_may_connect_to_whom_over_tls_1_2(void **state)
{
    (void)state;
    for (size_t i = 0; i < SL_ARRAY_LEN(meetings); i++) {
        meet(&meetings[i], TLS1_2_VERSION);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_name_matches_its_pattern_and_nothing_beside_it),
        cmocka_unit_test(who_may_connect_to_whom_over_tls_1_3),
        cmocka_unit_test(who_may_connect_to_whom_over_tls_1_2),
    };
    return cmocka_run_group_tests(tests, make_files, remove_files);
}
