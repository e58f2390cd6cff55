/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kubeconfig: how kubectl's file says where the API server is.
 *
 * Thread:    control thread
 * Errors:    SL_ECONFIG at file:line:column. What we do not do is refused, never passed over:
 *            exec and auth-provider plugins, passwords, impersonation, proxies, and what
 *            proxy/base/yaml.h refuses in any file
 * Source:    client-go tools/clientcmd/api/v1: clusters, users, contexts, current-context
 */
#ifndef SL_KUBERNETES_KUBECONFIG_H
#define SL_KUBERNETES_KUBECONFIG_H

#include "auth.h"

/* Fills a, which is zeroed, from file; context: NULL for the current one; allow_insecure: whether
 * insecure-skip-tls-verify may be asked for. On failure a may be half filled and is still freed by
 * its owner. */
int sl_kubeconfig_load(const char *file, const char *context, bool allow_insecure,
                       struct sl_kube_access *a, struct sl_error *err) SL_MUST_CHECK;

/* The same of text; file: for messages, and the folder that relative paths count from. */
int sl_kubeconfig_parse(const char *file, struct sl_slice text, const char *context,
                        bool allow_insecure, struct sl_kube_access *a, struct sl_error *err)
    SL_MUST_CHECK;

#endif
