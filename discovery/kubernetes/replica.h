/* SPDX-License-Identifier: Apache-2.0 */
/*
 * replica: what is known of one collection of objects, and at which version of it; lists and
 * events are applied to it.
 *
 * Lifetime:  one list and watch
 * Thread:    control thread
 * Errors:    SL_EPROTO: what came is no list or no event; SL_ENOMEM. In both cases the replica may
 *            be half new, and only a list makes it whole again
 * Source:    Kubernetes API concepts: resource versions, watch events
 */
#ifndef SL_KUBERNETES_REPLICA_H
#define SL_KUBERNETES_REPLICA_H

#include <sluiced/slice.h>

#include "store.h"

struct sl_replica {
    enum sl_kube_kind kind;
    struct sl_store store;
    char version[64]; /* opaque; of the last event, or of the list */
};

void sl_replica_init(struct sl_replica *r, enum sl_kube_kind kind);
void sl_replica_fini(struct sl_replica *r);

/* Applies one page of a list. is_first: what no page from this one on names will be swept.
 * *next_page: the token of the page that follows, the caller's to sl_free; NULL after the last,
 * when the list is complete. */
int sl_replica_apply_page(struct sl_replica *r, struct sl_slice text, bool is_first,
                          char **next_page) SL_MUST_CHECK;

enum sl_replica_event {
    SL_REPLICA_CHANGE,   /* an object was added, changed or removed */
    SL_REPLICA_BOOKMARK, /* only the version moved on */
    SL_REPLICA_GONE,     /* the server says that our version is too old */
    SL_REPLICA_ERROR,    /* it says that it has trouble */
};

struct sl_replica_result {
    enum sl_replica_event event;
    bool progressed; /* the version is another one now */
    char error[128]; /* of GONE and ERROR: "410: too old resource version" */
};

/* Applies one line of a watch. */
int sl_replica_apply_event(struct sl_replica *r, struct sl_slice line,
                           struct sl_replica_result *out) SL_MUST_CHECK;

#endif
