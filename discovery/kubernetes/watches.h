/* SPDX-License-Identifier: Apache-2.0 */
/*
 * watches: what the Kubernetes sources of a process share: accesses, and one list and watch for all
 * that need the same collection, be they pools of one config or of two during a reload.
 *
 * The slices of services of one namespace are one collection, too: those that are asked for in one
 * turn of the loop share a watch of "service-name in (a, b)". To an API server each watch is work
 * for every change of every slice that it has: a hundred of them are what makes it cut the slow.
 *
 * Lifetime:  process; an access and a watch live as long as somebody holds them
 * Thread:    control thread
 * Ownership: texts given in are copied, but for sl_watch_sub.pool
 */
#ifndef SL_KUBERNETES_WATCHES_H
#define SL_KUBERNETES_WATCHES_H

#include <sluiced/config.h>
#include <sluiced/defs.h>
#include <sluiced/err.h>

#include "list_watch.h"

#include "proxy/base/list.h"
#include "proxy/io/loop.h"

struct sl_watches {
    struct sl_loop *loop;
    struct sl_fetcher *fetcher;
    struct sl_list accesses;
    struct sl_list watches;
    struct sl_list zones; /* of zone.c */
    bool said_no_node;    /* that nobody says which node is ours */
};

void sl_watches_init(struct sl_watches *w, struct sl_loop *loop, struct sl_fetcher *fetcher);
void sl_watches_fini(struct sl_watches *w); /* all who held something have let go */

/* ---- Accesses: loaded once for each kubeconfig, context and service account. A kubeconfig that
 * was written anew since is another one. */

struct sl_watches_access {
    struct sl_kube_access *access; /* borrowed */
    struct sl_list link;
    char *identity;
    size_t refs_n;
    uint64_t no_stream_until_ms; /* see struct sl_list_watch_conf */
};

/* *out is a reference. Errors: as sl_kube_access_load. */
int sl_watches_access_get(struct sl_watches *w, const struct sl_config *config,
                          struct sl_watches_access **out, struct sl_error *err) SL_MUST_CHECK;
void sl_watches_access_unref(struct sl_watches_access **a); /* accepts a NULL in *a, and NULLs it */

/* ---- Watches */

/* All of it together says which one is meant. */
struct sl_watch_what {
    const char *path;
    const char *resource;       /* static */
    const char *service;        /* slices of this one; NULL: those of selector */
    const char *selector;       /* NULL: all */
    const char *field_selector; /* NULL: all */
    enum sl_kube_kind kind;
};

struct sl_watch;
struct sl_watch_service;

/* One that follows a watch. Its first members are the caller's to set before it joins; the rest is
 * zero until then. */
struct sl_watch_sub {
    const char *pool; /* for logs; borrowed until it leaves */
    void *arg;
    /* Its objects changed, or are known whole. Not before sl_watch_join returns, and it may neither
     * join nor leave. */
    void (*on_change)(struct sl_watch_sub *sub);
    /* A list was answered by another status than 200. The same holds. May be NULL. */
    void (*on_refused)(struct sl_watch_sub *sub, uint16_t status);

    const struct sl_list_watch *lw; /* NULL: it follows none */
    uint64_t changed_us;            /* when what on_change tells of was readable */
    struct sl_watch *watch;
    struct sl_watch_service *service; /* that it follows; NULL: all of the watch */
    struct sl_list link;
    struct sl_task told; /* of what was there before */
};

/* On SL_ENOMEM sub follows none. */
int sl_watch_join(struct sl_watches *w, struct sl_watches_access *access,
                  const struct sl_watch_what *what, struct sl_watch_sub *sub) SL_MUST_CHECK;
void sl_watch_leave(struct sl_watch_sub *sub); /* safe to repeat */
void sl_watch_doubt(struct sl_watch_sub *sub); /* likewise where it follows none */

/* What it follows. NULL where it follows none. Valid until it leaves. */
const struct sl_store *sl_watch_objects(const struct sl_watch_sub *sub);

/* Of the watch, but with the events of what it follows only. It follows one. */
void sl_watch_status(const struct sl_watch_sub *sub, struct sl_source_status *out);

/* Whether its objects are known whole. */
static inline bool sl_watch_synced(const struct sl_watch_sub *sub)
{
    return sub->lw != NULL && sub->lw->status.synced;
}

#endif
