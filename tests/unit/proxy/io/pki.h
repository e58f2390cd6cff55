/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pki: what most tests of TLS need: a CA, one certificate for each side, contexts of them.
 *
 * server.crt: 10.0.0.7 and llama.prod.svc; client.crt: app.prod.svc; renewed.crt:
 * new.prod.svc; ca.crt and other.crt: CAs.
 */
#ifndef SL_TEST_PKI_H
#define SL_TEST_PKI_H

#include "certs.h"

#include "proxy/io/tls.h"

extern const struct sl_address pki_upstream; /* 10.0.0.7:8000 */
extern struct certs pki_files;

int pki_setup(void **state);
int pki_teardown(void **state);

const char *pki_path(const char *file);

/* mutual: both show a certificate. */
struct sl_tls_context *pki_server(const char *name, bool mutual);
struct sl_tls_context *pki_client(bool mutual);

struct sl_tls_context *pki_server_of(const char *name, const struct sl_tls_config *conf,
                                     const struct sl_tls_secret *secret);
struct sl_tls_context *pki_client_of(const struct sl_tls_config *conf);

extern const struct sl_tls_secret pki_secret;

#endif
