/* SPDX-License-Identifier: Apache-2.0 */
#include "pki.h"

#include "tests/unit/check.h"

const struct sl_address pki_upstream = {.host = "10.0.0.7", .port = 8000};
const struct sl_tls_secret pki_secret = {.bytes = {7}};
struct certs pki_files;

int pki_setup(void **state)
{
    static const struct certs_leaf server = {
        .name = "server",
        .san = "DNS:llama.prod.svc,IP:10.0.0.7",
        .from_days = -1,
        .until_days = 90,
    };
    static const struct certs_leaf client = {
        .name = "client",
        .san = "DNS:app.prod.svc",
        .from_days = -1,
        .until_days = 90,
    };
    static const struct certs_leaf renewed = {
        .name = "renewed",
        .san = "DNS:new.prod.svc",
        .from_days = -1,
        .until_days = 90,
    };
    (void)state;

    certs_init(&pki_files);
    struct certs_ca *ca = certs_ca_new(&pki_files, "ca", NULL);
    certs_ca_free(certs_ca_new(&pki_files, "other", NULL));
    certs_issue(&pki_files, ca, &server, false);
    certs_issue(&pki_files, ca, &client, false);
    certs_issue(&pki_files, ca, &renewed, false);
    certs_ca_free(ca);
    return 0;
}

int pki_teardown(void **state)
{
    (void)state;
    certs_fini(&pki_files);
    return 0;
}

const char *pki_path(const char *file)
{
    return certs_path(&pki_files, file);
}

struct sl_tls_context *pki_server_of(const char *name, const struct sl_tls_config *conf,
                                     const struct sl_tls_secret *secret)
{
    struct sl_tls_context *c = NULL;
    struct sl_error err = {0};
    int rc = sl_tls_server_context_new(name, conf, secret, &c, &err);

    check(rc == SL_OK, "server context: %s", err.message);
    return c;
}

struct sl_tls_context *pki_client_of(const struct sl_tls_config *conf)
{
    struct sl_tls_context *c = NULL;
    struct sl_error err = {0};
    int rc = sl_tls_client_context_new("pool", conf, &c, &err);

    check(rc == SL_OK, "client context: %s", err.message);
    return c;
}

struct sl_tls_context *pki_server(const char *name, bool mutual)
{
    const struct sl_tls_config conf = {
        .cert = pki_path("server.crt"),
        .key = pki_path("server.key"),
        .ca = mutual ? pki_path("ca.crt") : NULL,
    };
    return pki_server_of(name, &conf, &pki_secret);
}

struct sl_tls_context *pki_client(bool mutual)
{
    const struct sl_tls_config conf = {
        .cert = mutual ? pki_path("client.crt") : NULL,
        .key = mutual ? pki_path("client.key") : NULL,
        .ca = pki_path("ca.crt"),
    };
    return pki_client_of(&conf);
}
