/* SPDX-License-Identifier: Apache-2.0 */
/*
 * list_watch: keeps a store equal to what the API server has, as one list and then one watch after
 * the other, each from where the last one ended.
 *
 * What proves that nothing was missed: a watch begins at the version that a list or an event gave;
 * a version that is too old (410, as a status or inside the stream) means a new list; watches are
 * finite, a silent one is given up; and after relist_ms a list is made although nothing is wrong.
 *
 * Lifetime:  a source's; stop before the memory goes
 * Thread:    control thread
 * Ownership: borrows all strings of conf, and access, until stop
 * Errors:    none is fatal, the store keeps what it has: tried again with a delay that doubles
 * Limits:    a list of 32 MiB (then by pages of 500), an event of 8 MiB
 * Source:    Kubernetes API concepts, "Efficient detection of changes"; client-go's reflector for
 *            which version to list at
 */
#ifndef SL_KUBERNETES_LIST_WATCH_H
#define SL_KUBERNETES_LIST_WATCH_H

#include <sluiced/discovery.h>

#include "auth.h"
#include "lines.h"
#include "replica.h"

#include "proxy/base/rng.h"
#include "proxy/base/text.h"
#include "proxy/io/fetch.h"
#include "proxy/io/loop.h"

/* What tests shorten. */
struct sl_list_watch_times {
    uint64_t connect_ms;
    uint64_t list_idle_ms;
    uint64_t list_total_ms;
    uint64_t watch_idle_ms; /* above the 60 s after which a bookmark comes */
    uint64_t watch_s;       /* what we ask for; up to a fifth more, or all would end at once */
    uint64_t relist_ms;     /* likewise; looked at when a watch ends */
    uint64_t backoff_min_ms;
    uint64_t backoff_max_ms;
};

extern const struct sl_list_watch_times sl_list_watch_times;

struct sl_list_watch_conf {
    const char *pool;           /* for logs */
    const char *path;           /* "/api/v1/namespaces/x/pods" */
    const char *resource;       /* "pods" */
    const char *selector;       /* NULL: all */
    const char *field_selector; /* NULL: all */
    enum sl_kube_kind kind;
    bool once; /* ask for one object, say on_change if an answer came, and be done */
};

struct sl_list_watch {
    struct sl_replica replica;
    struct sl_source_status status; /* of this one; synced: a list was complete */
    uint64_t changed_us;            /* loop's clock when the last change was readable */
    /* The store changed, or the first list is complete. Must not stop it. */
    void (*on_change)(struct sl_list_watch *lw);
    /* A list was answered by another status than 200, and will be tried again. Must not stop it.
     * May be NULL. */
    void (*on_refused)(struct sl_list_watch *lw, uint16_t status);

    struct sl_list_watch_conf conf;
    const struct sl_list_watch_times *times;
    const struct sl_kube_access *access;
    struct sl_loop *loop;
    struct sl_fetcher *fetcher;
    struct sl_fetch *fetch; /* NULL while we wait */
    struct sl_timer retry;
    struct sl_rng rng;
    struct sl_text body; /* of a list, or of an answer that says no */
    struct sl_lines lines;
    enum sl_list_at {
        SL_LIST_ANY,    /* what the server has at hand: the first */
        SL_LIST_NEWER,  /* at least what we have seen */
        SL_LIST_LATEST, /* what is true, by pages: the proof */
    } list_at;
    enum sl_relist_cause list_cause; /* of the next list, unless it is the first */
    bool wants_list;                 /* what to do next */
    bool watches;                    /* the last request was a watch */
    bool progressed;                 /* and it moved the version on */
    char *next_page;                 /* continue token of the list, NULL at its start */
    uint64_t watch_at_ms;
    uint64_t relist_at_ms;
    uint64_t watches_n;
    uint32_t failures_n;   /* in a row */
    uint32_t expired_n;    /* versions too old, in a row */
    uint32_t quick_ends_n; /* watches that ended in order, but at once and without an event */
};

/* lw: on_change and on_refused are set, all else is overwritten. Never calls back before it
 * returns. */
void sl_list_watch_start(struct sl_list_watch *lw, const struct sl_list_watch_conf *conf,
                         const struct sl_list_watch_times *times,
                         const struct sl_kube_access *access, struct sl_loop *loop,
                         struct sl_fetcher *fetcher);
void sl_list_watch_stop(struct sl_list_watch *lw);

/* It may have missed something: the next list comes when the watch ends, whatever its age. */
void sl_list_watch_doubt(struct sl_list_watch *lw);

#endif
