/* SPDX-License-Identifier: Apache-2.0 */
/*
 * publish: how immutable objects (config views, endpoint sets) reach the workers and come back.
 *
 * The control thread mails an object to every worker. A worker that takes it makes it current in
 * place of the one before; what runs pins the object it started with, by a count in the worker's
 * own cell. When a worker holds an object neither as current nor by a pin it takes one off
 * workers_left; who takes the last one off hands the object back to the control thread, which
 * frees it. Picking takes no lock and touches no shared count.
 *
 * Lifetime:  from sl_published_init until on_released, which runs on the control thread
 * Thread:    cell i: worker i alone; workers_left: atomic
 * Ownership: the control thread's; workers borrow
 */
#ifndef SL_PUBLISH_H
#define SL_PUBLISH_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct sl_published;

/* Called by the worker that let go last, on that worker: must only hand p to the control thread
 * (a mailbox post), never free it. */
typedef void (*sl_published_done_fn)(struct sl_published *p);

struct sl_published {
    _Atomic uint32_t workers_left;
    sl_published_done_fn on_done;
    void *owner; /* on_done's: what the control thread needs to take it back */
};

struct sl_published_cell {
    uint32_t pins_n;
    bool current;
};

static inline void sl_published_init(struct sl_published *p, uint32_t workers_n,
                                     sl_published_done_fn on_done)
{
    atomic_init(&p->workers_left, workers_n);
    p->on_done = on_done;
}

static inline void sl_published_let_go(struct sl_published *p, const struct sl_published_cell *c)
{
    /* Release: what this worker read happened before; acquire: whoever frees sees all of it. */
    if (!c->current && c->pins_n == 0 &&
        atomic_fetch_sub_explicit(&p->workers_left, 1, memory_order_acq_rel) == 1)
    {
        p->on_done(p);
    }
}

/* Makes the object current on the worker of cell c: once, before anything else there. */
static inline void sl_published_take(struct sl_published_cell *c)
{
    c->current = true;
}

/* Only while the object is current on this worker or already pinned there. */
static inline void sl_published_pin(struct sl_published_cell *c)
{
    c->pins_n++;
}

/* p may be gone on return. */
static inline void sl_published_unpin(struct sl_published *p, struct sl_published_cell *c)
{
    c->pins_n--;
    sl_published_let_go(p, c);
}

/* The worker stops holding p as current; pins keep it. Without a pin p is gone on return. */
static inline void sl_published_retire(struct sl_published *p, struct sl_published_cell *c)
{
    c->current = false;
    sl_published_let_go(p, c);
}

#endif
