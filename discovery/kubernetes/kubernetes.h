/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kubernetes: the state of a source, for its two files: kubernetes.c starts, stops and joins
 * watches; apply.c makes a set of what they brought.
 *
 * Lifetime:  a pool's; shares its watches with all that need the same
 * Thread:    control thread
 */
#ifndef SL_KUBERNETES_KUBERNETES_H
#define SL_KUBERNETES_KUBERNETES_H

#include "inference_pool.h"
#include "merge.h"
#include "resources.h"
#include "watches.h"
#include "zone.h"

#include "proxy/io/loop.h"

#define SL_KUBERNETES_MISSING_N 3
#define SL_KUBERNETES_RETRY_MS 1000 /* of what memory was lacking for */

/* One namespace, or all of them at once. */
struct sl_kubernetes_part {
    const char *namespace_;
    struct sl_watch_sub main; /* slices, Endpoints, an InferencePool, or pods alone */
    struct sl_watch_sub pods; /* beside slices or Endpoints */
};

struct sl_kubernetes {
    struct sl_source base;
    const struct sl_pool_config *pool;
    struct sl_loop *loop;
    struct sl_watches *watches;
    struct sl_sink *sink;
    struct sl_watches_access *access;
    struct sl_kubernetes_part *parts;
    struct sl_merge_part *merge_parts; /* parts_n, for apply */
    size_t parts_n;
    struct sl_inference inference;
    struct sl_zone_sub zone_sub;
    const char *zone;                   /* that the config names, or NULL */
    bool lacks_node;                    /* whose zone is asked for: nobody says which is ours */
    struct sl_list_watch hint;          /* are there pods for a selector that no slice matches? */
    char pods_path[SL_KUBE_PATH_BYTES]; /* of the first part */
    bool has_hint;
    bool is_legacy;     /* Endpoints instead of slices */
    uint32_t missing_n; /* answers in a row that there is no such API */
    bool warned_fqdn;
    bool pushed;
    bool zone_pushed; /* and with it where we run */
    char note[160];   /* what is wrong with what we were told, "" for nothing */
    struct sl_found *last;
    size_t last_n;
    uint64_t applied_at_ms;
    uint64_t gap_ms;     /* to the next set, by what the last one cost */
    uint64_t changed_us; /* first change that is not applied; 0: none */
    struct sl_task apply_now;
    struct sl_timer apply_later;
    struct sl_timer change_api;
};

static inline const struct sl_kubernetes_config *sl_kubernetes_conf(const struct sl_kubernetes *k)
{
    return &k->pool->discover.kubernetes;
}

static inline bool sl_kubernetes_has_pods_beside(const struct sl_kubernetes *k)
{
    return sl_kube_uses_slices(sl_kubernetes_conf(k)) && sl_kubernetes_conf(k)->pods != NULL;
}

/* Of apply.c. */

void sl_kubernetes_apply_init(struct sl_kubernetes *k);
void sl_kubernetes_apply_fini(struct sl_kubernetes *k);

/* Something changed, as bytes told that were readable at changed_us: a set is made of all, now or
 * soon, if all is known. */
void sl_kubernetes_schedule(struct sl_kubernetes *k, uint64_t changed_us);

#endif
