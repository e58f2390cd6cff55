/* SPDX-License-Identifier: Apache-2.0 */
/*
 * listener: an address that is listened on, by all workers, through all configs that name it.
 *
 * Each worker has a socket of its own (SO_REUSEPORT; of a unix path, and of a socket that we were
 * given, a copy), none of which is closed while the address is
 * configured: closing one would reset what waits in its queue.
 *
 * Lifetime:  process: from the config that first names (name, bind) until none does and its last
 *            connection is gone
 * Thread:    made and freed by the control thread; cells[i] is worker i's; refs_n is atomic
 * Ownership: sockets pass to the workers with the first view that names the listener
 */
#ifndef SL_L7_LISTENER_H
#define SL_L7_LISTENER_H

#include <sluiced/config.h>
#include <sluiced/defs.h>
#include <sluiced/err.h>
#include <sluiced/metrics.h>

#include "proxy/io/loop.h"
#include "proxy/proto/h1.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct sl_l7;
struct sl_view_listener;

struct sl_listener_cell {
    _Alignas(64) const struct sl_view_listener *current; /* NULL: no config names it any more */
    struct sl_listener_timeouts_config timeouts;         /* of current, or the last one */
    bool keeps_half_open;                                /* the same */
    struct sl_h1_policy policy;                          /* the same */
    struct sl_listener *listener;
    struct sl_l7 *worker;
    struct sl_io io;
    struct sl_deadline pause; /* no descriptor was left */
    uint64_t last_turn;       /* of the loop, in which connections were taken */
    unsigned burst_n;         /* how many at once, while the queue is that deep */
    int fd;                   /* -1: closed */
    bool accepting;
    bool draining; /* answer, then close */
};

struct sl_listener {
    struct sl_listener *next; /* control thread's list */
    char *name;
    struct sl_address bind;  /* as configured */
    struct sl_address bound; /* with the kernel's port */
    struct sl_series *series;
    _Atomic uint32_t refs_n; /* connections of all workers */
    uint32_t views_n;        /* control thread: live views that name it */
    bool announced;          /* control thread: the log has said where it listens */
    bool taken;              /* control thread: workers were told of it */
    bool path_is_ours;       /* control thread: the file of its unix socket */
    uint32_t workers_n;
    struct sl_listener_cell cells[];
};

/* Opens a socket for each worker; nothing is accepted before a view takes it. passed_fd: already
 * listens there and is copied, as one queue for all workers; -1: there is none. SL_ECONFIG names
 * the address and why. series is taken over on success. */
int sl_listener_open(const struct sl_listener_config *conf, int passed_fd, uint32_t workers_n,
                     struct sl_series *series, struct sl_listener **out, struct sl_error *err)
    SL_MUST_CHECK;

/* Control thread: all workers closed their sockets. A unix path is free for another one from now
 * on, though connections may be left. */
void sl_listener_retire(struct sl_listener *l);

/* Closes what is still open. No connection and no view is left, or the process ends. */
void sl_listener_free(struct sl_listener *l);

#endif
