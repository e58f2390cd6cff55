/* SPDX-License-Identifier: Apache-2.0 */
/*
 * l7: what one worker needs to carry HTTP: its loop, its memory, the view it works by.
 *
 * Lifetime:  process; one a worker thread
 * Thread:    its worker's, but open_n, which other workers read to find the least busy one, and
 *            overload, which the control thread writes
 * Ownership: borrows loop, peers, log and series from proxy/run
 * Limits:    one scratch of SL_SCRATCH_BYTES to receive into; chunks up to SL_CHUNKS_MAX_BYTES
 */
#ifndef SL_L7_L7_H
#define SL_L7_L7_H

#include <sluiced/control.h>
#include <sluiced/defs.h>
#include <sluiced/metrics.h>

#include "view.h"

#include "proxy/base/buf.h"
#include "proxy/base/list.h"
#include "proxy/base/rng.h"
#include "proxy/io/stream.h"
#include "proxy/proto/h1.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SL_SCRATCH_BYTES ((size_t)1024 * 1024)
#define SL_CHUNKS_MAX_BYTES ((size_t)512 * 1024 * 1024)
#define SL_STAGE_BYTES ((size_t)(SL_H1_HEAD_MAX_BYTES + 32 * 1024))

struct sl_access_log;
struct sl_exchange;

/* Bytes on their way into one send: a head and the small pieces that follow it in the same turn.
 * One stream at a time; whoever comes next, or the end of the turn, sends them. */
struct sl_stage {
    struct sl_stream *stream; /* NULL: empty */
    size_t len;
    char *buf;
    struct sl_task flush;
};

/* The requests that wait for room (admission.h). Of the worker, not of a pool, so that a wake-up on
 * its way outlives any pool. */
struct sl_waiting {
    struct sl_list queues; /* the pools' queues in which somebody waits */
    struct sl_task serve;
    struct sl_timer look;
    struct sl_mail wake;             /* under way while woken is set */
    _Alignas(64) _Atomic bool woken; /* by other workers */
    _Atomic bool asked;              /* by them, for idle connections */
};

#define SL_REPLAY_MAX_BYTES ((size_t)1024 * 1024)         /* of one request's body */
#define SL_REPLAY_BUDGET_BYTES ((size_t)64 * 1024 * 1024) /* of all, in all workers together */

struct sl_l7 {
    uint32_t idx;
    uint32_t workers_n;
    struct sl_loop *loop;
    struct sl_l7 *const *peers; /* all workers, this one too */
    struct sl_chunk_pool chunks;
    size_t replay_bytes; /* of chunks that only wait for a retry, perhaps */
    struct sl_rng rng;
    struct sl_stage stage;
    char *scratch;
    struct sl_header fields[SL_H1_FIELDS_MAX_N]; /* of the head being parsed */
    char *path_buf;                              /* SL_H1_LINE_MAX_BYTES, for the same */

    struct sl_view *view; /* current; NULL before the first */
    struct sl_list downstreams;
    struct sl_exchange *free_exchanges; /* a few kept for reuse */
    uint32_t free_exchanges_n;
    struct sl_waiting waiting;
    struct sl_access_log *log;
    struct sl_series *process;
    bool draining; /* of the end: no listener is left */

    _Alignas(64) _Atomic uint32_t open_n;   /* downstream connections */
    _Atomic enum sl_overload_step overload; /* the control thread's word */
};

/* Relaxed: a request more or less makes no difference. */
static inline enum sl_overload_step sl_l7_overload(const struct sl_l7 *w)
{
    return atomic_load_explicit(&w->overload, memory_order_relaxed);
}

int sl_l7_new(struct sl_loop *loop, uint32_t idx, uint32_t workers_n, struct sl_l7 *const *peers,
              struct sl_access_log *log, struct sl_series *process, struct sl_l7 **out)
    SL_MUST_CHECK;
void sl_l7_free(struct sl_l7 *w); /* all connections are closed */

/* Makes view current and returns the one before (or NULL), to be let go of: what runs stays pinned
 * to it. */
struct sl_view *sl_l7_take_view(struct sl_l7 *w, struct sl_view *view);
void sl_l7_let_go(struct sl_l7 *w, struct sl_view *old); /* accepts NULL; old may be gone then */

/* No more connections are taken; those that wait already are. */
void sl_l7_stop_accepting(struct sl_l7 *w);

/* Makes set current for pool and closes idle connections to endpoints that it does not name. */
void sl_l7_take_set(struct sl_l7 *w, struct sl_pool *pool, struct sl_endpoint_set *set);

/* From now on no connection is taken, every response closes the one it is for, and idle ones are
 * closed: of inbound listeners, or of all. */
void sl_l7_drain(struct sl_l7 *w, bool outbound_too);

/* Makes room: connections between two requests are closed. */
void sl_l7_close_idle(struct sl_l7 *w);

/* Ends all connections now: the drain time is over. */
void sl_l7_close_all(struct sl_l7 *w);

/* Lets go of the view and of its pools' sets; nothing can be served any more. After stop_accepting
 * and close_all. */
void sl_l7_leave(struct sl_l7 *w);

/* Room for up to need bytes (<= SL_STAGE_BYTES) that will go to s; commit says how many came. */
char *sl_stage_room(struct sl_l7 *w, struct sl_stream *s, size_t need, size_t *room);
void sl_stage_commit(struct sl_l7 *w, size_t len);

/* Sends bytes after what is staged for s: copied behind it when small, else one writev. */
void sl_stage_send(struct sl_l7 *w, struct sl_stream *s, struct sl_slice bytes);
void sl_stage_flush(struct sl_l7 *w);

/* Forgets what is staged for s, which will not be sent any more. */
void sl_stage_drop_of(struct sl_l7 *w, const struct sl_stream *s);

/* Only if s is the one that something is staged for. */
static inline void sl_stage_flush_of(struct sl_l7 *w, const struct sl_stream *s)
{
    if (w->stage.stream == s) {
        sl_stage_flush(w);
    }
}

#endif
