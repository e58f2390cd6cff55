/* SPDX-License-Identifier: Apache-2.0 */
/*
 * wheel: deadlines of connections, cheap to move: a deadline that only grows costs one store.
 *
 * An armed timer stands in the slot of the tick at which it is to be looked at next. Setting a
 * later deadline leaves it there: when its slot comes up it is moved on instead of fired. Setting
 * an earlier one relinks it, O(1).
 *
 * Lifetime:  wheel: a worker's; timer: embedded in what it times, disarmed before that is freed
 * Thread:    worker-local (no locks)
 * Limits:    ticks of SL_WHEEL_TICK_MS; a timer fires at most one tick late, never early; any
 *            deadline, however far: those beyond one turn are looked at once a turn
 * Source:    Varghese, Lauck, "Hashed and Hierarchical Timing Wheels", SOSP 1987, scheme 6
 */
#ifndef SL_BASE_WHEEL_H
#define SL_BASE_WHEEL_H

#include "list.h"

#include <stdbool.h>
#include <stdint.h>

#define SL_WHEEL_TICK_MS 8
#define SL_WHEEL_SLOTS_N 1024 /* a turn is 8.2 s */

struct sl_deadline;
typedef void (*sl_deadline_fn)(struct sl_deadline *d);

struct sl_deadline {
    struct sl_list link;
    sl_deadline_fn on_due; /* disarmed when called; may rearm, may free the object around it */
    uint64_t due_ms;       /* 0: disarmed, or will be found so when its slot comes up */
    uint64_t slot_tick;    /* where it is linked; 0: not linked */
};

struct sl_wheel {
    struct sl_list slots[SL_WHEEL_SLOTS_N];
    uint64_t tick; /* all ticks up to this one are done */
    uint32_t linked_n;
    uint64_t earliest_ms; /* no linked timer is to be looked at before; UINT64_MAX: none is linked.
                           * Lowered by sl_deadline_set, made exact by sl_wheel_advance */
};

void sl_wheel_init(struct sl_wheel *w, uint64_t now_ms);
void sl_deadline_init(struct sl_deadline *d, sl_deadline_fn on_due);

/* Fires at or just after due_ms (> 0). Replaces what was set before. */
void sl_deadline_set(struct sl_wheel *w, struct sl_deadline *d, uint64_t due_ms);

/* Will not fire; the link stays until its slot comes up, so this is one store. */
static inline void sl_deadline_clear(struct sl_deadline *d)
{
    d->due_ms = 0;
}

/* Unlinks as well: before the memory around it is freed. Safe to repeat. */
void sl_deadline_remove(struct sl_wheel *w, struct sl_deadline *d);

/* Fires all that is due at now_ms, then looks for the next slot in use: up to a whole turn of
 * them, so it is called when earliest_ms has come and not for each event. */
void sl_wheel_advance(struct sl_wheel *w, uint64_t now_ms);

#endif
