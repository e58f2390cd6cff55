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

#include "proxy/base/hash.h"

struct sl_replica {
    enum sl_kube_kind kind;
    struct sl_store store;
    char version[64]; /* opaque; of the last event, or of the list */
    bool is_partial;  /* events name what there is, and have not named all of it */
};

void sl_replica_init(struct sl_replica *r, enum sl_kube_kind kind);
void sl_replica_fini(struct sl_replica *r);

static inline uint64_t sl_replica_hash(const char *key)
{
    return sl_hash(sl_slice_of(key), 0);
}

/* All there is comes now: by items and an end, or by events up to SL_REPLICA_COMPLETE. What none
 * of them names is swept at the end; without one, nothing is. */
void sl_replica_begin(struct sl_replica *r);

/* An object of a list. */
int sl_replica_apply_item(struct sl_replica *r, struct sl_slice text) SL_MUST_CHECK;

/* The list, which was at version, is complete. */
void sl_replica_end(struct sl_replica *r, const char *version);

enum sl_replica_event {
    SL_REPLICA_CHANGE,   /* an object was added, changed or removed */
    SL_REPLICA_BOOKMARK, /* only the version moved on */
    SL_REPLICA_COMPLETE, /* since the begin all there is was named */
    SL_REPLICA_GONE,     /* the server says that our version is too old */
    SL_REPLICA_ERROR,    /* it says that it has trouble */
};

struct sl_replica_result {
    enum sl_replica_event event;
    bool progressed; /* the version is another one now */
    uint64_t hash;   /* of CHANGE: of the object's key */
    char error[128]; /* of GONE and ERROR: "410: too old resource version" */
};

/* Applies one line of a watch. Before SL_REPLICA_COMPLETE events are in no order, and the version
 * stays as it is. */
int sl_replica_apply_event(struct sl_replica *r, struct sl_slice line,
                           struct sl_replica_result *out) SL_MUST_CHECK;

#endif
