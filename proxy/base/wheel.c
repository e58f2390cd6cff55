/* SPDX-License-Identifier: Apache-2.0 */
/*
 * wheel: between two calls, every linked deadline stands in the slot of a tick in
 * (w->tick, w->tick + SL_WHEEL_SLOTS_N]: each slot means one tick, and one walk over all slots
 * finds everything, however far the clock jumped.
 */
#include "wheel.h"

#include <sluiced/defs.h>

/* The first tick at which due_ms has passed: rounded up, so that nothing fires early. */
static uint64_t tick_after(uint64_t due_ms)
{
    return due_ms / SL_WHEEL_TICK_MS + (due_ms % SL_WHEEL_TICK_MS != 0);
}

static struct sl_list *slot_of(struct sl_wheel *w, uint64_t tick)
{
    return &w->slots[tick % SL_WHEEL_SLOTS_N];
}

static void link_at(struct sl_wheel *w, struct sl_deadline *d, uint64_t tick)
{
    if (tick <= w->tick) {
        tick = w->tick + 1;
    } else if (tick - w->tick > SL_WHEEL_SLOTS_N) {
        tick = w->tick + SL_WHEEL_SLOTS_N;
    }
    sl_list_push_back(slot_of(w, tick), &d->link);
    d->slot_tick = tick;
    w->linked_n++;
    if (tick * SL_WHEEL_TICK_MS < w->earliest_ms) {
        w->earliest_ms = tick * SL_WHEEL_TICK_MS;
    }
}

void sl_wheel_init(struct sl_wheel *w, uint64_t now_ms)
{
    for (size_t i = 0; i < SL_WHEEL_SLOTS_N; i++) {
        sl_list_init(&w->slots[i]);
    }
    w->tick = now_ms / SL_WHEEL_TICK_MS;
    w->linked_n = 0;
    w->earliest_ms = UINT64_MAX;
}

void sl_deadline_init(struct sl_deadline *d, sl_deadline_fn on_due)
{
    *d = (struct sl_deadline){.on_due = on_due};
    sl_list_init(&d->link);
}

void sl_deadline_set(struct sl_wheel *w, struct sl_deadline *d, uint64_t due_ms)
{
    uint64_t tick = tick_after(due_ms);

    d->due_ms = due_ms;
    if (d->slot_tick != 0 && d->slot_tick <= tick) {
        return; /* it will be looked at before, and moved on then */
    }
    sl_deadline_remove(w, d);
    d->due_ms = due_ms;
    link_at(w, d, tick);
}

void sl_deadline_remove(struct sl_wheel *w, struct sl_deadline *d)
{
    d->due_ms = 0;
    if (d->slot_tick == 0) {
        return;
    }
    sl_list_unlink(&d->link);
    d->slot_tick = 0;
    w->linked_n--;
}

static void look_at(struct sl_wheel *w, struct sl_deadline *d, uint64_t now_ms)
{
    uint64_t due_ms = d->due_ms;

    sl_deadline_remove(w, d);
    if (due_ms > now_ms) {
        d->due_ms = due_ms;
        link_at(w, d, tick_after(due_ms));
    } else if (due_ms != 0) {
        d->on_due(d); /* last: d may be gone */
    }
}

static uint64_t earliest_ms(struct sl_wheel *w)
{
    uint64_t tick = w->tick + 1;

    if (w->linked_n == 0) {
        return UINT64_MAX;
    }
    while (sl_list_empty(slot_of(w, tick))) {
        tick++; /* ends: what is linked stands in some slot */
    }
    return tick * SL_WHEEL_TICK_MS;
}

void sl_wheel_advance(struct sl_wheel *w, uint64_t now_ms)
{
    uint64_t last = now_ms / SL_WHEEL_TICK_MS;
    uint64_t tick = w->tick;

    if (last <= tick) {
        return;
    }
    if (last - tick > SL_WHEEL_SLOTS_N) {
        tick = last - SL_WHEEL_SLOTS_N;
    }
    /* Before any callback: what one arms goes beyond last, so this call ends. */
    w->tick = last;
    while (tick < last && w->linked_n > 0) {
        struct sl_list due; /* a ring of its own: a callback may unlink any that still waits here */

        sl_list_take_all(&due, slot_of(w, ++tick));
        while (!sl_list_empty(&due)) {
            look_at(w, sl_container_of(due.next, struct sl_deadline, link), now_ms);
        }
    }
    w->earliest_ms = earliest_ms(w);
}
