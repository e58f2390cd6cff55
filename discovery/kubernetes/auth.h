/* SPDX-License-Identifier: Apache-2.0 */
/*
 * auth: where the API server is, how we know it, and as whom we speak.
 *
 * Lifetime:  a source's
 * Thread:    control thread; reads small files of the local disk
 * Errors:    SL_ECONFIG with a message for people
 * Limits:    files 1 MiB (kubeconfig), 64 KiB (token)
 */
#ifndef SL_KUBERNETES_AUTH_H
#define SL_KUBERNETES_AUTH_H

#include <sluiced/config.h>
#include <sluiced/defs.h>
#include <sluiced/err.h>

#include <stdbool.h>
#include <stddef.h>

struct sl_fetch_request;

struct sl_kube_pem {
    char *ptr; /* NULL where there is none */
    size_t len;
};

struct sl_kube_access {
    char *server;     /* "https://10.96.0.1:443", no slash at the end */
    char *namespace_; /* NULL: not known */
    char *tls_name;   /* what the certificate is to name, where it is not the server's host */
    bool insecure;    /* the certificate is not looked at: two files asked for it */
    bool no_gzip;     /* answers come as they are */
    char *ca_file;
    char *cert_file;
    char *key_file;
    char *token_file; /* read for each request: tokens rotate within the hour */
    char *token;
    struct sl_kube_pem ca_pem;
    struct sl_kube_pem cert_pem;
    struct sl_kube_pem key_pem;
};

/* The pod's service account, or the kubeconfig that the config names. *out is the caller's. Says in
 * the log when the server is not verified. */
int sl_kube_access_load(const struct sl_config *config, struct sl_kube_access **out,
                        struct sl_error *err) SL_MUST_CHECK;
void sl_kube_access_free(struct sl_kube_access *a); /* accepts NULL; wipes secrets */

#define SL_KUBE_HEADER_BYTES 65600

/* Writes "Authorization: Bearer <token>" of now, or "" for an access without a token. buf has
 * SL_KUBE_HEADER_BYTES; the caller wipes it. */
int sl_kube_access_header(const struct sl_kube_access *a, char *buf, struct sl_error *err)
    SL_MUST_CHECK;

/* Sets what r needs to know of TLS; it is borrowed from a. */
void sl_kube_access_apply(const struct sl_kube_access *a, struct sl_fetch_request *r);

/* Whole file in memory, terminated (and len beside it, NUL bytes count). The caller frees it. */
int sl_kube_read_file(const char *path, size_t max_bytes, char **out, size_t *len,
                      struct sl_error *err) SL_MUST_CHECK;

/* Takes server over into *out when it is an URL that we may use: https, or http to this machine.
 * pos: of server in its file, NULL for none. */
int sl_kube_check_server(const char *server, const struct sl_pos *pos, char **out,
                         struct sl_error *err) SL_MUST_CHECK;

#endif
