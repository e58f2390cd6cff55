/* SPDX-License-Identifier: Apache-2.0 */
/*
 * watch_conf: what one list and watch is asked to follow, and how patient it is; shared by its
 * parts.
 *
 * Lifetime:  as its users'
 * Thread:    control thread
 */
#ifndef SL_KUBERNETES_WATCH_CONF_H
#define SL_KUBERNETES_WATCH_CONF_H

#include "decode.h"

#include "proxy/base/rng.h"

#include <stdbool.h>
#include <stdint.h>

/* What tests shorten. */
struct sl_list_watch_times {
    uint64_t connect_ms;
    uint64_t list_idle_ms;
    uint64_t list_total_ms;
    uint64_t marker_ms;      /* silence without the end of the initial events: it will not come */
    uint64_t watch_idle_ms;  /* above the 60 s after which a bookmark comes */
    uint64_t watch_s;        /* what we ask for; up to twice that, or all would end at once */
    uint64_t compare_ms;     /* from one comparison to the next; up to a fifth more */
    uint64_t compare_min_ms; /* likewise, however much doubt there is */
    uint64_t doubt_ms;       /* from a doubt to its comparison; up to three times that */
    uint64_t grace_ms;       /* what a watch may be behind a list */
    uint64_t doubted_ms;     /* how long a doubt makes us hurry */
    uint64_t backoff_min_ms;
    uint64_t backoff_max_ms;
    uint64_t backoff_hurry_ms; /* the maximum in doubt, and while nobody answers */
    uint64_t no_stream_ms;     /* how long we remember that a server cannot stream a list */
};

extern const struct sl_list_watch_times sl_list_watch_times;

struct sl_list_watch_conf {
    const char *pool;           /* for logs */
    const char *path;           /* "/api/v1/namespaces/x/pods" */
    const char *resource;       /* "pods" */
    const char *selector;       /* of labels, NULL for none */
    const char *field_selector; /* "metadata.name=x", NULL for none */
    enum sl_kube_kind kind;
    bool once; /* ask for one object, say on_change if an answer came, and be done */
    /* Until when (loop's clock) the server is known not to stream lists; 0 at first. Shared by all
     * that speak to it. NULL: each finds out for itself. */
    uint64_t *no_stream_until_ms;
};

/* Up to a fifth more, so that what began together does not go on together. */
static inline uint64_t sl_watch_spread(struct sl_rng *rng, uint64_t value)
{
    return value + sl_rng_below(rng, value / 5 + 1);
}

/* Doubles with each failure in a row (1: the first), and a random half of it is left out. */
uint64_t sl_watch_backoff_ms(const struct sl_list_watch_times *times, struct sl_rng *rng,
                             uint32_t failures_n, bool hurries);

#endif
