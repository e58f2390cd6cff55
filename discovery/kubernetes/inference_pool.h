/* SPDX-License-Identifier: Apache-2.0 */
/*
 * inference_pool: the pods that an InferencePool selects. It names them by labels that may change:
 * then the pods of before stay in use until those of now are known.
 *
 * Lifetime:  a source's
 * Thread:    control thread
 */
#ifndef SL_KUBERNETES_INFERENCE_POOL_H
#define SL_KUBERNETES_INFERENCE_POOL_H

#include "watches.h"

struct sl_inference_side {
    struct sl_watch_sub sub;
    char *selector; /* NULL: it follows none */
};

struct sl_inference {
    struct sl_watches *watches;
    struct sl_watches_access *access;
    const char *pods_path; /* borrowed */
    struct sl_inference_side sides[2];
    unsigned used; /* which of them has the pods in use */
};

/* sub: pool, arg and on_change of it are taken over. */
void sl_inference_init(struct sl_inference *i, struct sl_watches *watches,
                       struct sl_watches_access *access, const char *pods_path,
                       const struct sl_watch_sub *sub);
void sl_inference_fini(struct sl_inference *i);

/* Follows the pods of selector, or none where that is NULL. *pods: those to be used now; NULL:
 * none is known yet, or none is to be used. Not from on_change. On SL_ENOMEM it stays as it is. */
int sl_inference_follow(struct sl_inference *i, const char *selector, const struct sl_store **pods)
    SL_MUST_CHECK;

#endif
