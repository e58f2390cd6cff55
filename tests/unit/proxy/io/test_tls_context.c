/* SPDX-License-Identifier: Apache-2.0 */
#include "pki.h"

#include "proxy/base/alloc.h"
#include "proxy/io/tls_internal.h"
#include "tests/unit/check.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static int setup(void **state)
{
    static const struct certs_leaf locked = {"locked", "DNS:a", -1, 90, NULL, "open sesame"};
    static const struct certs_leaf soon = {"soon", "DNS:a", -1, 3, NULL, NULL};
    static const struct certs_leaf expired = {"expired", "DNS:a", -9, -1, NULL, NULL};
    int rc = pki_setup(state);
    struct certs_ca *ca = certs_ca_new(&pki_files, "ca2", NULL);

    certs_issue(&pki_files, ca, &locked, false);
    certs_issue(&pki_files, ca, &soon, true);
    certs_issue(&pki_files, ca, &expired, false);
    certs_ca_free(ca);
    certs_write(&pki_files, "empty.crt", "");
    certs_write(&pki_files, "text.crt", "this is no certificate\n");
    certs_write(&pki_files, "broken.crt",
                "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
    return rc;
}

/* Files by name; NULL: not set. */
struct row {
    const char *cert;
    const char *key;
    const char *ca;
    const char *pattern;
    const char *sni;
    const char *says;
};

static const char *path_or_null(const char *file)
{
    return file != NULL ? pki_path(file) : NULL;
}

static void check_refused(const struct row *r, bool is_server)
{
    struct sl_tls_context *c = NULL;
    struct sl_error err = {0};
    const struct sl_tls_config conf = {
        .cert = path_or_null(r->cert),
        .key = path_or_null(r->key),
        .ca = path_or_null(r->ca),
        .san = {.items = &r->pattern, .n = r->pattern != NULL},
        .sni = r->sni,
    };
    int rc = is_server ? sl_tls_server_context_new("edge", &conf, &pki_secret, &c, &err)
                       : sl_tls_client_context_new("pool", &conf, &c, &err);

    check(rc == SL_ECONFIG && c == NULL, "\"%s\" was expected, got %s", r->says, sl_err_name(rc));
    check(strstr(err.message, r->says) != NULL, "\"%s\": expected \"%s\"", err.message, r->says);
}

static void what_a_listener_cannot_use_is_refused_with_option_and_file(void **state)
{
    static const struct row rows[] = {
        {NULL, NULL, NULL, NULL, NULL, "needs cert and key"},
        {"server.crt", NULL, NULL, NULL, NULL, "needs cert and key"},
        {"none.crt", "server.key", NULL, NULL, NULL, "none.crt: cannot read it: No such file"},
        {"server.crt", "none.key", NULL, NULL, NULL, "none.key: cannot read it: No such file"},
        {"empty.crt", "server.key", NULL, NULL, NULL, "empty.crt: expected a file in PEM"},
        {"", "server.key", NULL, NULL, NULL, "expected a file in PEM"}, /* the directory */
        {"text.crt", "server.key", NULL, NULL, NULL, "text.crt: no certificate in it"},
        {"broken.crt", "server.key", NULL, NULL, NULL, "broken.crt: a certificate in it is broken"},
        {"server.key", "server.key", NULL, NULL, NULL, "server.key: no certificate in it"},
        {"server.crt", "server.crt", NULL, NULL, NULL, "server.crt: no private key in it"},
        {"server.crt", "client.key", NULL, NULL, NULL, "client.key does not fit cert"},
        {"locked.crt", "locked.key", NULL, NULL, NULL, "locked.key: protected by a passphrase"},
        {"server.crt", "server.key", "none.crt", NULL, NULL, "client_ca "},
        {"server.crt", "server.key", "text.crt", NULL, NULL, "text.crt: no certificate in it"},
        {"server.crt", "server.key", NULL, "a.svc", NULL, "client_san needs client_ca"},
        {"server.crt", "server.key", "ca.crt", "a*b", NULL, "name pattern \"a*b\""},
        {"server.crt", "server.key", "ca.crt", "spiffe://corp*", NULL, "\"spiffe://corp*\""},
    };
    (void)state;

    for (size_t i = 0; i < SL_ARRAY_LEN(rows); i++) {
        check_refused(&rows[i], true);
    }
}

static void what_a_pool_cannot_use_is_refused_with_option_and_file(void **state)
{
    static const struct row rows[] = {
        {NULL, NULL, NULL, NULL, NULL, "tls of a pool needs ca"},
        {"client.crt", NULL, "ca.crt", NULL, NULL, "cert and key"},
        {NULL, "client.key", "ca.crt", NULL, NULL, "cert and key"},
        {NULL, NULL, "text.crt", NULL, NULL, "ca /"},
        {NULL, NULL, "ca.crt", NULL, "10.0.0.7", "sni \"10.0.0.7\""},
        {NULL, NULL, "ca.crt", NULL, "", "sni \"\""},
        {NULL, NULL, "ca.crt", "*", NULL, "name pattern \"*\""},
    };
    (void)state;

    for (size_t i = 0; i < SL_ARRAY_LEN(rows); i++) {
        check_refused(&rows[i], false);
    }
}

/* What make writes to stderr, where the log goes. */
static void log_of(const char *cert, const char *key, char *buf, size_t size_bytes)
{
    int saved = dup(STDERR_FILENO);
    int fds[2];

    assert_int_equal(pipe2(fds, O_CLOEXEC | O_NONBLOCK), 0);
    assert_int_equal(dup2(fds[1], STDERR_FILENO), STDERR_FILENO);
    const struct sl_tls_config conf = {.cert = pki_path(cert), .key = pki_path(key)};
    sl_tls_context_free(pki_server_of("edge", &conf, &pki_secret));
    assert_int_equal(dup2(saved, STDERR_FILENO), STDERR_FILENO);
    ssize_t n = read(fds[0], buf, size_bytes - 1);
    buf[n > 0 ? n : 0] = '\0';
    (void)close(saved); /* the test's own */
    (void)close(fds[0]);
    (void)close(fds[1]);
}

static void a_certificate_near_or_past_its_end_is_used_and_warned_of(void **state)
{
    char log[1000];
    (void)state;

    log_of("server.crt", "server.key", log, sizeof(log));
    assert_string_equal(log, "");
    log_of("soon.crt", "soon.key", log, sizeof(log));
    check(strstr(log, "\"event\":\"certificate_expires_soon\",\"name\":\"edge\"") != NULL, "%s",
          log);
    log_of("expired.crt", "expired.key", log, sizeof(log));
    check(strstr(log, "\"event\":\"certificate_expired\",\"name\":\"edge\"") != NULL, "%s", log);
}

static void identity_follows_what_the_files_hold(void **state)
{
    char pem[8192];
    (void)state;

    FILE *f = fopen(pki_path("ca.crt"), "re");
    assert_non_null(f);
    size_t n = fread(pem, 1, sizeof(pem) - 1, f);
    pem[n] = '\0';
    (void)fclose(f); /* only read */
    certs_write(&pki_files, "copy.crt", pem);
    const struct sl_tls_config one = {.ca = pki_path("ca.crt")};
    const struct sl_tls_config copy = {.ca = pki_path("copy.crt")};
    const struct sl_tls_config other = {.ca = pki_path("other.crt")};
    const struct sl_tls_config shows = {
        .ca = pki_path("ca.crt"),
        .cert = pki_path("client.crt"),
        .key = pki_path("client.key"),
    };
    struct sl_tls_context *contexts[] = {pki_client_of(&one), pki_client_of(&copy),
                                         pki_client_of(&other), pki_client_of(&shows)};
    uint64_t id = sl_tls_context_identity(contexts[0]);
    assert_true(sl_tls_context_identity(contexts[1]) == id);
    assert_true(sl_tls_context_identity(contexts[2]) != id);
    assert_true(sl_tls_context_identity(contexts[3]) != id);
    for (size_t i = 0; i < SL_ARRAY_LEN(contexts); i++) {
        sl_tls_context_free(contexts[i]);
    }
}

static unsigned allow_n;

static bool allow_some(size_t size_bytes)
{
    (void)size_bytes;
    return allow_n > 0 && allow_n-- > 0;
}

static void running_out_of_memory_anywhere_is_an_error_and_no_leak(void **state)
{
    static const char *const names[] = {"app.prod.svc", "*.prod.svc"};
    const struct sl_tls_config conf = {
        .cert = pki_path("server.crt"),
        .key = pki_path("server.key"),
        .ca = pki_path("ca.crt"),
        .san = {.items = names, .n = 2},
        .sni = "llama.prod.svc",
    };
    (void)state;

    for (unsigned n = 0;; n++) {
        struct sl_tls_context *c = NULL;
        struct sl_error err = {0};

        check(n < 100, "never succeeds");
        allow_n = n;
        sl_alloc_hook = allow_some;
        int rc = sl_tls_client_context_new("pool", &conf, &c, &err);
        struct sl_tls_session *s = rc == SL_OK ? sl_tls_connect(c, &pki_upstream) : NULL;
        sl_alloc_hook = NULL;
        if (s != NULL) {
            struct sl_stream stream = {.tls = s};
            sl_transport_tls.close(&stream);
            sl_tls_context_free(c);
            check(n > 6, "after %u allocations", n);
            return;
        }
        check(rc == SL_OK || (rc == SL_ENOMEM && c == NULL), "%u: %s", n, err.message);
        sl_tls_context_free(c);
    }
}

static void secrets_differ(void **state)
{
    struct sl_tls_secret a = {0};
    struct sl_tls_secret b = {0};
    (void)state;

    assert_int_equal(sl_tls_secret_new(&a), SL_OK);
    assert_int_equal(sl_tls_secret_new(&b), SL_OK);
    assert_memory_not_equal(&a, &b, sizeof(a));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_a_listener_cannot_use_is_refused_with_option_and_file),
        cmocka_unit_test(what_a_pool_cannot_use_is_refused_with_option_and_file),
        cmocka_unit_test(a_certificate_near_or_past_its_end_is_used_and_warned_of),
        cmocka_unit_test(identity_follows_what_the_files_hold),
        cmocka_unit_test(running_out_of_memory_anywhere_is_an_error_and_no_leak),
        cmocka_unit_test(secrets_differ),
    };
    return cmocka_run_group_tests(tests, setup, pki_teardown);
}
