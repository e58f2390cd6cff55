/* SPDX-License-Identifier: Apache-2.0 */
/*
 * compare: asks the API server now and then for names and versions of all objects, as they are
 * agreed upon by its quorum, and holds them against what the watch has made of our store.
 *
 * A watch that lost an event, a server that serves an old cache, a clone of a cluster: nothing in
 * a stream tells of these. A list and a watch are never at the same point in time, so that an
 * object counts as drifted only if it is different, and no event named it from before the list
 * was asked for until grace_ms after its end, with the watch open all the while.
 *
 * It runs beside the watch every compare_ms, and soon after a doubt.
 *
 * Lifetime:  a list and watch's; stop before the memory goes
 * Thread:    control thread
 * Ownership: borrows all it is given
 * Errors:    reported, and tried again later; the store is only read
 * Limits:    pages of 500; 8 bytes for each object listed, at most 2^20 of them, and for each
 *            event meanwhile, at most 65 536
 */
#ifndef SL_KUBERNETES_COMPARE_H
#define SL_KUBERNETES_COMPARE_H

#include "items.h"
#include "store.h"
#include "watch_conf.h"

#include "proxy/io/fetch.h"
#include "proxy/io/loop.h"

struct sl_kube_access;

#define SL_COMPARE_SAMPLES_N 4

/* Values in no order until they are sorted. */
struct sl_hashes {
    uint64_t *items;
    size_t n;
    size_t capacity;
};

/* A difference, for people. */
struct sl_compare_sample {
    uint64_t hash;
    char key[320];
    char held[64];   /* our version of it, "" where we have none */
    char served[64]; /* the server's */
};

struct sl_compare_report {
    size_t drift_n;
    const struct sl_compare_sample *samples[SL_COMPARE_SAMPLES_N]; /* of them, NULL at the end */
    const char *error; /* NULL: a comparison came to its end */
};

struct sl_compare {
    const struct sl_list_watch_conf *conf; /* set these before init */
    const struct sl_list_watch_times *times;
    const struct sl_kube_access *access;
    struct sl_loop *loop;
    struct sl_fetcher *fetcher;
    const struct sl_store *store;
    /* It is idle again when it says so; may be told anything but to stop. */
    void (*on_report)(struct sl_compare *c, const struct sl_compare_report *report);

    enum sl_compare_state {
        SL_COMPARE_IDLE,
        SL_COMPARE_ASKING,
        SL_COMPARE_GRACE, /* the list is complete: what differs may be on its way */
    } state;
    struct sl_timer timer; /* to the next, or the grace */
    struct sl_fetch *fetch;
    struct sl_items items;
    struct sl_text body; /* of an answer that says no */
    char *next_page;
    char version[64];
    struct sl_hashes listed;
    struct sl_hashes suspects;
    struct sl_hashes touched;
    bool lost_touch; /* there was no room for all that was touched */
    bool is_doubted; /* while it ran: what it found may be from before */
    struct sl_compare_sample samples[SL_COMPARE_SAMPLES_N];
    size_t samples_n;
    uint64_t due_at_ms;
    uint64_t begun_at_ms; /* the last, 0: none yet */
    uint64_t open_at_ms;  /* since when the watch is open, 0: it is not */
    uint32_t failures_n;  /* in a row */
    struct sl_rng rng;
};

void sl_compare_init(struct sl_compare *c);
void sl_compare_stop(struct sl_compare *c);

/* A whole list begins, of which the store is made anew. */
void sl_compare_cancel(struct sl_compare *c);
/* It is complete: there is nothing to compare for compare_ms. is_proof: not even for who doubts. */
void sl_compare_put_off(struct sl_compare *c, bool is_proof);

/* Nothing begins, and no verdict is given, while the watch is not open. */
void sl_compare_open(struct sl_compare *c);
void sl_compare_close(struct sl_compare *c);

/* An event named the object of this hash (sl_replica_hash). */
void sl_compare_touch(struct sl_compare *c, uint64_t hash);

/* Begins after a small random delay, at most once in compare_min_ms. */
void sl_compare_doubt(struct sl_compare *c);

#endif
