/* SPDX-License-Identifier: Apache-2.0 */
/*
 * list_watch: keeps a store equal to what the API server has: all there is, and then one watch
 * after the other, each from where the last one ended.
 *
 * All there is comes as the beginning of a watch where the server can do that, else as a list.
 * What proves that nothing was missed: a watch begins at the version that a list or an event gave;
 * a version that is too old (410, as a status or inside the stream) means to ask for all again;
 * watches are finite, a silent one is given up; and what we hold is compared with what the server
 * has every hour, and when the data path finds an endpoint dead.
 *
 * Lifetime:  a source's; stop before the memory goes
 * Thread:    control thread
 * Ownership: borrows all strings of conf, and access, until stop
 * Errors:    none is fatal, the store keeps what it has: tried again with a delay that doubles
 * Limits:    an object of 8 MiB; a list of any size, for it is never held as a whole
 * Source:    Kubernetes API concepts, "Efficient detection of changes"; KEP-3157, lists that are
 *            streamed; client-go's reflector for which version to list at
 */
#ifndef SL_KUBERNETES_LIST_WATCH_H
#define SL_KUBERNETES_LIST_WATCH_H

#include <sluiced/discovery.h>

#include "auth.h"
#include "compare.h"
#include "items.h"
#include "lines.h"
#include "replica.h"
#include "watch_conf.h"

#include "proxy/base/rng.h"
#include "proxy/base/text.h"
#include "proxy/io/fetch.h"
#include "proxy/io/loop.h"

struct sl_list_watch {
    struct sl_replica replica;
    struct sl_source_status status; /* of this one; synced: all there is came once */
    uint64_t changed_us;            /* loop's clock when the last change was readable */
    /* The store changed, or all there is has come. Must not stop it. */
    void (*on_change)(struct sl_list_watch *lw);
    /* All there is was asked for, and answered by another status than 200. May be NULL; the same
     * holds. */
    void (*on_refused)(struct sl_list_watch *lw, uint16_t status);

    struct sl_list_watch_conf conf;
    const struct sl_list_watch_times *times;
    const struct sl_kube_access *access;
    struct sl_loop *loop;
    struct sl_fetcher *fetcher;
    struct sl_fetch *fetch; /* NULL while we wait */
    struct sl_compare compare;
    struct sl_timer retry;
    struct sl_timer silence; /* of a stream that has not come to the end of its beginning */
    struct sl_rng rng;
    struct sl_text body; /* of an answer that says no */
    struct sl_items items;
    struct sl_lines lines;
    enum sl_list_watch_phase {
        SL_PHASE_LIST,   /* whole, or by pages */
        SL_PHASE_STREAM, /* a watch, up to the end of its initial events */
        SL_PHASE_WATCH,
    } phase; /* of the last request */
    uint64_t phase_at_ms;
    enum sl_relist_cause list_cause; /* of asking for all again */
    bool wants_list;                 /* what to do next */
    bool is_latest;                  /* all as it is true, not as the server has it at hand */
    bool is_refused;             /* the server cannot stream, if a list proves that it can list */
    bool is_plain_next;          /* a stream failed: try a list in its place, once */
    bool warned;                 /* what the server warned of was logged */
    bool is_open;                /* the stream has answered */
    bool is_unauthorized;        /* the last answer was 401 */
    bool is_away;                /* the last request got no answer */
    bool progressed;             /* the watch moved the version on */
    char *next_page;             /* continue token of the list, NULL at its start */
    uint64_t no_stream_until_ms; /* where conf has no memory of it to share */
    uint64_t watches_n;
    uint64_t doubted_until_ms;
    uint64_t retry_at_ms;
    uint64_t retry_floor_ms; /* the server does not want us before */
    uint32_t failures_n;     /* in a row */
    uint32_t expired_n;      /* versions too old, in a row */
    uint32_t quick_ends_n;   /* watches that ended in order, but at once and without an event */
};

/* lw: on_change is set, all else is overwritten. Never calls back before it returns. */
void sl_list_watch_start(struct sl_list_watch *lw, const struct sl_list_watch_conf *conf,
                         const struct sl_list_watch_times *times,
                         const struct sl_kube_access *access, struct sl_loop *loop,
                         struct sl_fetcher *fetcher);
void sl_list_watch_stop(struct sl_list_watch *lw);

/* What the store says was found wrong: no connection to an endpoint. A comparison is made soon,
 * and for a while no wait between two tries is long. May be called as often as one likes. */
void sl_list_watch_doubt(struct sl_list_watch *lw);

#endif
