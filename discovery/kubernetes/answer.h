/* SPDX-License-Identifier: Apache-2.0 */
/*
 * answer: what an API server that says no means, in one line for people.
 *
 * Thread:    any (pure)
 * Source:    Kubernetes API conventions: Status; RBAC
 */
#ifndef SL_KUBERNETES_ANSWER_H
#define SL_KUBERNETES_ANSWER_H

#include <sluiced/defs.h>
#include <sluiced/slice.h>

#include <stddef.h>
#include <stdint.h>

#define SL_KUBE_ANSWER_MAX_BYTES 4096 /* of its body: enough for its message */

/* "status 500: etcdserver: ..." from a Status, or from the text that stands instead; of a 403 also
 * what to allow. path: what was asked for, without its query. Cut where buf is full. */
void sl_kube_describe(uint16_t status, struct sl_slice body, const char *path, char *buf,
                      size_t size_bytes);

#endif
