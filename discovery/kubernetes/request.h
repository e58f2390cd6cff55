/* SPDX-License-Identifier: Apache-2.0 */
/*
 * request: one GET to the API server: address, query, token, what to accept.
 *
 * Lifetime:  the struct is needed for the call only; what it points to, too
 * Thread:    control thread
 * Errors:    SL_ENOMEM, and what sl_kube_access_header says of a token
 */
#ifndef SL_KUBERNETES_REQUEST_H
#define SL_KUBERNETES_REQUEST_H

#include "auth.h"

#include "proxy/io/fetch.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SL_KUBE_PARAMS_MAX_N 8

struct sl_kube_request {
    const struct sl_kube_access *access;
    const char *path;
    struct {
        const char *name;
        const char *value; /* escaped on the way; NULL: the parameter is left out */
    } params[SL_KUBE_PARAMS_MAX_N];
    bool is_watch;
    bool is_object;     /* it asks for one, not for a list */
    bool metadata_only; /* of the objects; a server that cannot sends them whole */
    uint64_t connect_ms;
    uint64_t total_ms;
    uint64_t idle_ms;
};

/* As sl_fetch_start. */
int sl_kube_request_start(const struct sl_kube_request *r, struct sl_fetcher *fetcher,
                          const struct sl_fetch_ops *ops, void *arg, struct sl_fetch **out,
                          struct sl_error *err) SL_MUST_CHECK;

#endif
