/* SPDX-License-Identifier: Apache-2.0 */
/*
 * process: the control thread's state: everything that outlives one config, and what is under way.
 *
 *   process.c  start, run, end          pools.c   pools, their sources, sets on their way
 *   view.c     a view from a config     reload.c  load, wait, commit, and who triggers it
 *   worker.c   threads and their mail   drain.c   the orderly end
 *   info.c     what admin may ask       watch.c   files that changed
 *   last_set.c what sources found last, on disk
 *   manual_drain.c  endpoints taken out by a person
 *   notify.c   what the service manager is told    activation.c   sockets that it gave us
 *   overload.c memory and descriptors that run out
 *   changes.c  what a reload changed
 *
 * Lifetime:  process
 * Thread:    control thread, but for what its comments say
 */
#ifndef SL_RUN_PROCESS_H
#define SL_RUN_PROCESS_H

#include <sluiced/control.h>

#include "activation.h"
#include "notify.h"
#include "overload.h"
#include "watch.h"

#include "proxy/admin/server.h"
#include "proxy/base/alloc.h"
#include "proxy/base/buf.h"
#include "proxy/base/list.h"
#include "proxy/base/rng.h"
#include "proxy/io/fetch.h"
#include "proxy/io/loop.h"
#include "proxy/io/tls.h"
#include "proxy/l7/l7.h"
#include "proxy/l7/view.h"
#include "proxy/upstream/health.h"

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define SL_SYNC_WAIT_MS 10000 /* what a view waits for its pools' first endpoints */
#define SL_ERROR_TEXT_BYTES 4096
#define SL_RELOAD_TEXT_BYTES 512

struct sl_process;

struct sl_worker {
    struct sl_process *process;
    struct sl_loop *loop;
    struct sl_l7 *l7;
    struct sl_access_log *log;
    pthread_t thread;
    uint32_t idx;
};

/* A source with what it last found, and the config that it borrows. */
struct sl_run_source {
    struct sl_sink sink;
    struct sl_run_pool *pool;
    const struct sl_config *config; /* one reference */
    uint64_t identity_hash;
    uint64_t version; /* of what it was loaded from beside the config */
    struct sl_source *source;
    struct sl_found *found; /* of the last snapshot, to build again by another policy */
    size_t found_n;
    char own_zone[64]; /* where we run, as it has learned; "": it has not */
    uint64_t received_us;
    uint64_t started_at_ms;
    bool synced;

    /* last_set.c */
    bool cached;             /* found is what was written down before; the source is silent yet */
    bool unwritten;          /* found is not on disk */
    uint64_t cached_unix_ms; /* when that was */
    uint64_t written_at_ms;  /* the last attempt; 0: none */
    struct sl_timer write_later;
    struct sl_timer look; /* whether the source has failed to begin with */
};

/* A pool through all configs that name it. */
struct sl_run_pool {
    struct sl_list link;
    struct sl_process *process;
    struct sl_pool *pool;
    struct sl_series *series;
    const struct sl_config *config; /* one reference: sets are made by its conf */
    const struct sl_pool_config *conf;
    struct sl_run_source *running;
    struct sl_run_source *next; /* of a config that is not committed yet, where it differs */
    struct sl_health_watch *health;
    const struct sl_config *health_config; /* one reference: what the checks borrow */
    const struct sl_pool_config *health_conf;
    struct sl_tls_context *health_tls;
    char not_applied[160];   /* why the last set could not be made; "": it was, and is in force */
    struct sl_mail doubt;    /* under way while pool->doubted is set */
    uint64_t cache_errors_n; /* sets that could not be written down */
    bool cache_failed;       /* the last of them was said */
    uint32_t views_n;        /* live views that name it */
    bool ending;             /* no view names it any more: its last set is on the way back */
};

/* A config on its way to becoming the running one. */
struct sl_reload {
    struct sl_view *view; /* NULL: none is under way */
    struct sl_timer give_up;
    bool committed; /* mailed; acks_n workers have not taken it yet */
    uint32_t acks_n;
    bool again; /* asked for meanwhile */

    uint64_t asked_n;                      /* reloads, by anybody */
    uint64_t answered_n;                   /* see sl_reload_info */
    uint64_t view_asked_n;                 /* asked_n when view was built */
    char missing[SL_RELOAD_TEXT_BYTES];    /* pools that view was committed without */
    char not_synced[SL_RELOAD_TEXT_BYTES]; /* the same, of the running view */
    char changes[SL_RELOAD_TEXT_BYTES];    /* of the running view against the one before */
};

enum sl_drain_step {
    SL_DRAIN_ACCEPTING, /* not draining, or the delay is not over */
    SL_DRAIN_INBOUND,   /* inbound listeners close, outbound ones go on */
    SL_DRAIN_ALL,
};

struct sl_process {
    struct sl_control control;
    struct sl_loop *loop;
    struct sl_fetcher *fetcher;
    struct sl_discovery *discovery;
    struct sl_chunk_pool chunks;
    struct sl_registry *registry;
    struct sl_series *series;
    struct sl_health_runner *health;
    struct sl_tls_secret tls_secret;
    struct sl_endpoint_ids endpoint_ids;

    const char *config_file;
    const struct sl_config *first; /* one reference: what only a restart changes */
    struct sl_worker *workers;
    struct sl_l7 **engines; /* the workers', for handing connections over */
    uint32_t workers_n;
    uint32_t running_n; /* of them, the first: their threads began */

    struct sl_list pools;          /* struct sl_run_pool */
    struct sl_listener *listeners; /* all that are not freed yet */
    struct sl_view *view;          /* the running one */
    uint32_t live_views_n;
    uint64_t last_generation;
    struct sl_reload reload;

    struct sl_admin *admin;
    struct sl_admin *probes;
    int access_fd;

    uint64_t started_unix_ms;
    uint64_t applied_unix_ms;
    uint64_t reloads_n;
    uint64_t reload_failures_n;
    char reload_error[SL_ERROR_TEXT_BYTES];
    char not_ready[192];                        /* what sl_process_is_ready said last */
    uint64_t generation;                        /* that all workers have taken */
    uint64_t side_counts[SL_SPLIT_SIDES_MAX_N]; /* of the route that admin asks about */

    struct sl_activation activation;
    struct sl_notify notify;
    struct sl_overload overload;
    struct sl_watch *watch;
    struct sl_signal on_hup;
    struct sl_signal on_term;
    struct sl_signal on_int;
    struct sl_timer trim_timer;
    struct sl_alloc_idle idle_memory;
    struct sl_timer hang_timer;
    struct sl_rng hang_rng;
    struct sl_timer drain_timer;
    uint64_t drain_started_ms; /* 0: not draining */
    uint64_t drain_quiet_ms;   /* since when nothing is open */
    uint64_t drain_begun_n;    /* connections, as of then */
    enum sl_drain_step drain_step;
    uint32_t terms_n; /* SIGTERMs */
    bool ending;      /* no config and no set is applied any more */
};

/* process.c. Runs until drained; returns the exit code. */
int sl_process_run(const char *config_file);

/* To stderr, a line each, for who has no log yet. */
void sl_print_config_errors(const struct sl_config_errors *errors);

/* worker.c */
int sl_workers_start(struct sl_process *p, uint32_t workers_n) SL_MUST_CHECK;
/* Ends the threads: they let go of all views and sets, which come back as mail. */
void sl_workers_stop(struct sl_process *p);
void sl_workers_free(struct sl_process *p);
uint32_t sl_workers_default_n(void);

/* Mails every worker; SL_ENOMEM: none was mailed. */
int sl_workers_take_view(struct sl_process *p, struct sl_view *view) SL_MUST_CHECK;
int sl_workers_take_set(struct sl_process *p, struct sl_run_pool *pool, struct sl_endpoint_set *set,
                        uint64_t received_us) SL_MUST_CHECK;
int sl_workers_drain(struct sl_process *p, bool outbound_too) SL_MUST_CHECK;
void sl_workers_drop_tls(struct sl_process *p,
                         struct sl_view *view); /* contexts, each on its own */
void sl_workers_set_overload(struct sl_process *p, enum sl_overload_step step);
/* Requests that wait for an endpoint look whether there is one. */
void sl_workers_look(struct sl_process *p);

/* Of config: NULL is like NULL alone. */
static inline bool sl_same_text(const char *a, const char *b)
{
    return a == b || (a != NULL && b != NULL && strcmp(a, b) == 0);
}

/* pools.c */
struct sl_run_pool *sl_run_pool_find(struct sl_process *p, const char *name);

/* The pool that conf speaks of, made when new, with a source that conf asks for: running when the
 * pool is new, else as next until commit or cancel. One reference. */
int sl_run_pool_prepare(struct sl_process *p, const struct sl_config *config,
                        const struct sl_pool_config *conf, struct sl_run_pool **out,
                        struct sl_error *err) SL_MUST_CHECK;
void sl_run_pool_commit(struct sl_run_pool *rp, const struct sl_config *config,
                        const struct sl_pool_config *conf);
void sl_run_pool_cancel(struct sl_run_pool *rp);

/* Whether it has endpoints to commit with, or knows that there are none. */
bool sl_run_pool_is_synced(const struct sl_run_pool *rp);
void sl_run_pool_unref(struct sl_run_pool *rp);

/* What a source found, or (cached) what was written down of it. */
void sl_run_source_take(struct sl_run_source *rs, const struct sl_snapshot *s, bool cached);
void sl_run_source_status(const struct sl_run_source *rs, struct sl_source_status *out);

/* Makes the set anew of what was found. Keeps the one there is, and logs why, when it cannot be
 * made: the next snapshot tries again. */
void sl_run_pool_publish(struct sl_run_pool *rp);

/* own_zone.c: the zone that rp prefers, as long as nobody learns another; NULL: none, or not known
 * yet. */
const char *sl_own_zone(const struct sl_run_pool *rp);
void sl_own_zone_learn(struct sl_run_source *rs, const char *zone);
void sl_own_zone_apply(struct sl_process *p); /* to the sets in force, after a commit */

/* pool_checks.c. A failure leaves the checks as they are. */
int sl_run_pool_update_checks(struct sl_run_pool *rp, const struct sl_config *config,
                              const struct sl_pool_config *conf, struct sl_error *err)
    SL_MUST_CHECK;
void sl_run_pool_stop_checks(struct sl_run_pool *rp);

/* last_set.c. init before the source starts; begin after it, where no set is known yet: the one on
 * disk is used should the source fail. end writes what is not on disk. */
void sl_last_set_init(struct sl_run_source *rs);
void sl_last_set_begin(struct sl_run_source *rs, const struct sl_pool_config *conf);
void sl_last_set_end(struct sl_run_source *rs);
void sl_last_set_found(struct sl_run_source *rs);  /* rs->found is news */
void sl_last_set_commit(struct sl_run_source *rs); /* rs may run now */
uint64_t sl_last_set_age_ms(const struct sl_run_source *rs);

/* view.c. A failure leaves nothing behind. */
int sl_view_build(struct sl_process *p, const struct sl_config *config, struct sl_view **out,
                  struct sl_error *err) SL_MUST_CHECK;
void sl_view_free(struct sl_process *p, struct sl_view *view); /* no worker holds it */
/* The same for one that was never committed: sources that it started end with it. */
void sl_view_drop(struct sl_process *p, struct sl_view *view);
void sl_listeners_sweep(struct sl_process *p);

/* Between them no listener is freed, so that one config can take over what another opened. hold
 * returns what let_go wants. */
struct sl_listener *sl_listeners_hold(struct sl_process *p);
void sl_listeners_let_go(struct sl_process *p, struct sl_listener *held);

void sl_listeners_taken(const struct sl_view *view); /* it was mailed */
void sl_listeners_retire(struct sl_process *p);      /* p->view is all that workers accept for */

/* reload.c */
void sl_reload_init(struct sl_process *p);
int sl_reload_start(struct sl_process *p); /* SL_ECONFIG: logged, and in reload_error */
void sl_reload_pool_synced(struct sl_process *p);
void sl_reload_worker_took(struct sl_process *p, struct sl_view *view);
void sl_reload_cancel(struct sl_process *p);

/* hangs.c */
void sl_hangs_start(struct sl_process *p);
void sl_hangs_stop(struct sl_process *p);

/* changes.c. In one line into buf; before NULL: the first config. */
void sl_changes_describe(const struct sl_config *before, const struct sl_config *after, char *buf,
                         size_t size_bytes);

/* drain.c */
void sl_drain_start(struct sl_process *p, bool at_once);
void sl_drain_cut(struct sl_process *p); /* ends now, whatever runs */
void sl_drain_describe(const struct sl_process *p, struct sl_drain_info *out);

/* manual_drain.c */
void sl_manual_drain(struct sl_process *p, const char *name, enum sl_drain_wish wish,
                     struct sl_endpoint_drain_info *out);

/* info.c */
void sl_info_init(struct sl_process *p);
bool sl_process_is_ready(struct sl_process *p, const char **because);

#endif
