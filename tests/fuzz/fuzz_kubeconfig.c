/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Any bytes as a kubeconfig. What is refused says why and where; what is accepted holds what
 * auth.h promises: it is a server that may be used, its token makes one header line, and TLS is
 * left unverified only where both sides asked for it.
 */
#include "discovery/kubernetes/auth.h"
#include "discovery/kubernetes/kubeconfig.h"
#include "proxy/base/alloc.h"

#include <stdint.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static char header[SL_KUBE_HEADER_BYTES];

static void check_access(struct sl_kube_access *a, bool allow_insecure)
{
    struct sl_error err = {0};
    char *server = NULL;

    SL_ASSERT(a->server != NULL && sl_kube_check_server(a->server, NULL, &server, &err) == SL_OK,
              "server %s: %s", a->server, err.message);
    SL_ASSERT(strcmp(server, a->server) == 0, "server %s", a->server);
    sl_free(server);
    SL_ASSERT(a->namespace_ != NULL, "no namespace");
    SL_ASSERT(!a->insecure || allow_insecure, "insecure and not allowed");
    SL_ASSERT(!a->insecure || (a->ca_file == NULL && a->ca_pem.len == 0), "insecure with a CA");
    SL_ASSERT((a->cert_file != NULL || a->cert_pem.len > 0) ==
                  (a->key_file != NULL || a->key_pem.len > 0),
              "a certificate without a key");
    SL_ASSERT(a->tls_name == NULL || strpbrk(a->tls_name, "/[]@?# \r\n") == NULL, "name %s",
              a->tls_name);
    if (a->token_file == NULL && sl_kube_access_header(a, header, &err) == SL_OK) {
        SL_ASSERT(strpbrk(header, "\r\n") == NULL, "a header of two lines");
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    for (int allow = 0; allow < 2; allow++) {
        struct sl_kube_access *a = sl_alloc(sizeof(*a));
        struct sl_error err = {0};

        if (a == NULL) {
            return 0;
        }
        int rc =
            sl_kubeconfig_parse("/etc/kube/config", (struct sl_slice){(const char *)data, size},
                                NULL, allow > 0, a, &err);
        if (rc == SL_OK) {
            check_access(a, allow > 0);
        } else {
            SL_ASSERT(rc == SL_ENOMEM || (err.message[0] != '\0' && err.line > 0),
                      "refused with %d at line %u: %s", rc, err.line, err.message);
        }
        sl_kube_access_free(a);
    }
    return 0;
}
