/* SPDX-License-Identifier: Apache-2.0 */
#include "admission.h"

#include "exchange_internal.h"
#include "h1_upstream.h"

#include "proxy/upstream/queue.h"

#define CLASS_UNSAID 2 /* some may be more urgent than who says nothing, and some less */

/* Of the pool where x is, which is where it waits. */
static struct sl_pool_queue *queue_of(const struct sl_exchange *x)
{
    return &x->side->pool->pool->queue;
}

static struct sl_pool_queue_cell *cell_of(const struct sl_exchange *x)
{
    return &queue_of(x)->cells[x->w->idx];
}

/* Whether an endpoint may lack room for what it would do. */
static bool has_caps(const struct sl_view_side *side)
{
    const struct sl_pool_config *conf = side->pool->conf;
    const struct sl_limits_config *limits = &conf->limits;
    uint32_t of_new_n = conf->slow_start != NULL ? conf->slow_start->per_endpoint_n : 0;

    return (limits->per_endpoint_n | limits->connections_n | limits->connections_per_endpoint_n |
            of_new_n) != 0;
}

static bool is_limited(const struct sl_view_side *side)
{
    return side->pool->conf->limits.in_flight_n != 0 || has_caps(side);
}

/* ---- Between workers */

void sl_admission_tell(struct sl_l7 *peer)
{
    /* Acquire and release: the letter is one, and there again before it is said to be. */
    if (!atomic_exchange_explicit(&peer->waiting.woken, true, memory_order_acq_rel)) {
        sl_mailbox_post(peer->loop, &peer->waiting.wake);
    }
}

static void tell(struct sl_l7 *w, uint32_t worker_idx)
{
    if (worker_idx != w->idx) {
        sl_admission_tell(w->peers[worker_idx]);
    }
}

/* Whether somebody of another worker goes before x, who is the next one here. That worker is told,
 * once, and has a moment to take what room there is: it may have nothing but to tell us the same of
 * another pool. */
static bool must_yield(struct sl_exchange *x)
{
    struct sl_pool_queue_cell *cell = cell_of(x);
    uint64_t now_ms = sl_loop_now_ms(x->w->loop);
    uint32_t before;

    if (!is_limited(x->side)) {
        return false; /* there is room for all, or for nobody */
    }
    before = sl_pool_queue_before(queue_of(x), x->w->idx, x->waiter.rank_ms);
    if (before == x->w->idx) {
        cell->yields_until_ms = 0;
        return false;
    }
    if (cell->yields_until_ms != 0 && now_ms >= cell->yields_until_ms) {
        cell->yields_until_ms = 0;
        return false;
    }
    if (cell->yields_until_ms == 0) {
        cell->yields_until_ms = now_ms + SL_ADMISSION_LOOK_MS;
        tell(x->w, before);
    }
    return true;
}

/* ---- Serving who waits */

static struct sl_exchange *first_of(const struct sl_l7 *w, const struct sl_pool_queue_cell *cell)
{
    return sl_container_of(sl_pool_queue_first(cell->queue, w->idx), struct sl_exchange, waiter);
}

/* For what the next one waits. */
static void note_why(struct sl_pool_queue_cell *cell, enum sl_attempt_room room)
{
    cell->lacks_endpoints = room == SL_ATTEMPT_NO_ENDPOINT;
    cell->all_refuse = room == SL_ATTEMPT_ALL_REFUSE;
}

/* False: x, the next one, waits on, or again. */
static bool serve(const struct sl_l7 *w, struct sl_pool_queue_cell *cell)
{
    struct sl_exchange *x = first_of(w, cell);
    enum sl_attempt_room room = SL_ATTEMPT_NO_ROOM;

    if (!must_yield(x)) {
        room = sl_attempt_try(x);
    }
    if (room == SL_ATTEMPT_BEGUN) {
        /* Who is back already was refused at once: in this turn it would be so again. */
        return cell->n == 0 || first_of(w, cell) != x;
    }
    note_why(cell, room);
    return false;
}

/* The pool is there as long as a view names it, and who is served may end at once: so one of the
 * views is held. */
static void serve_queue(struct sl_l7 *w, struct sl_pool_queue_cell *cell)
{
    struct sl_view *view = first_of(w, cell)->view;

    sl_published_pin(&view->cells[w->idx].published);
    while (cell->n > 0 && serve(w, cell)) {
    }
    sl_published_unpin(&view->published, &view->cells[w->idx].published);
}

static void look_on(struct sl_l7 *w)
{
    if (!sl_timer_active(&w->waiting.look)) {
        sl_timer_start(&w->waiting.look, SL_ADMISSION_LOOK_MS, SL_ADMISSION_LOOK_MS);
    }
}

static bool waits_for_room(const struct sl_l7 *w)
{
    for (struct sl_list *l = w->waiting.queues.next; l != &w->waiting.queues; l = l->next) {
        if (!sl_container_of(l, struct sl_pool_queue_cell, link)->lacks_endpoints) {
            return true;
        }
    }
    return false;
}

static void serve_all(struct sl_l7 *w)
{
    struct sl_list due;

    sl_list_take_all(&due, &w->waiting.queues);
    while (!sl_list_empty(&due)) {
        struct sl_pool_queue_cell *cell =
            sl_container_of(due.next, struct sl_pool_queue_cell, link);
        sl_list_unlink(&cell->link);
        sl_list_push_back(&w->waiting.queues, &cell->link);
        serve_queue(w, cell);
    }
    if (waits_for_room(w)) { /* also who came from another queue, to one that was served before */
        look_on(w);
    } else {
        sl_timer_stop(&w->waiting.look);
    }
}

static void on_serve(struct sl_task *t)
{
    serve_all(sl_container_of(t, struct sl_l7, waiting.serve));
}

static void on_look(struct sl_timer *t)
{
    serve_all(sl_container_of(t, struct sl_l7, waiting.look));
}

/* Closes an idle connection for each pool in which another worker wants one. */
static void close_wanted(struct sl_l7 *w)
{
    for (size_t i = 0; w->view != NULL && i < w->view->pools_n; i++) {
        const struct sl_view_pool *vp = &w->view->pools[i];
        struct sl_pool_connections *c = &vp->pool->connections;
        const struct sl_endpoint_set *set = vp->pool->cells[w->idx].set;

        if (set != NULL && sl_pool_connections_are_wanted(c, w->idx) &&
            sl_h1_upstream_close_spare(w, set, !sl_pool_connections_are_full(c)))
        {
            sl_pool_connections_gave(c);
            sl_series_add(vp->series, w->idx, SL_POOL_IDLE_CLOSED, 1);
        }
    }
}

static void on_wake(struct sl_mail *m)
{
    struct sl_l7 *w = sl_container_of(m, struct sl_l7, waiting.wake);

    /* First: from here on the letter is the others' again. */
    atomic_store_explicit(&w->waiting.woken, false, memory_order_release);
    if (atomic_exchange_explicit(&w->waiting.asked, false, memory_order_acq_rel)) {
        close_wanted(w);
    }
    sl_admission_look(w);
}

void sl_admission_init(struct sl_l7 *w)
{
    sl_list_init(&w->waiting.queues);
    sl_task_init(&w->waiting.serve, on_serve);
    sl_timer_init(&w->waiting.look, w->loop, on_look);
    w->waiting.wake.on_mail = on_wake;
}

void sl_admission_fini(struct sl_l7 *w)
{
    sl_task_cancel(&w->waiting.serve);
    sl_timer_stop(&w->waiting.look);
}

void sl_admission_look(struct sl_l7 *w)
{
    if (!sl_list_empty(&w->waiting.queues)) {
        sl_task_post(w->loop, &w->waiting.serve);
    }
}

/* ---- Places */

bool sl_admission_take_place(const struct sl_exchange *x, const struct sl_view_side *side,
                             struct sl_pool_queue **place)
{
    struct sl_pool_queue *q = &side->pool->pool->queue;
    bool held = x->place_of == q;

    if (!held && side->pool->conf->limits.in_flight_n != 0 && !sl_pool_queue_take_place(q, &held)) {
        return false;
    }
    *place = held ? q : NULL;
    return true;
}

void sl_admission_give_place(const struct sl_exchange *x, struct sl_pool_queue *place)
{
    if (place != NULL && place != x->place_of) {
        sl_pool_queue_give_place(place);
    }
}

void sl_admission_hold_place(struct sl_exchange *x, struct sl_pool_queue *place)
{
    struct sl_pool_queue *before = x->place_of;

    x->place_of = place;
    sl_admission_give_place(x, before);
}

void sl_admission_want_connection(struct sl_exchange *x, const struct sl_view_side *side)
{
    struct sl_l7 *w = x->w;

    if (!x->lacked_connection) {
        x->lacked_connection = true;
        sl_series_add(side->pool->series, w->idx, SL_POOL_CONNECTION_WAITS, 1);
    }
    if (w->workers_n == 1 ||
        !sl_pool_connections_want(&side->pool->pool->connections, w->idx, sl_loop_now_ms(w->loop)))
    {
        return;
    }
    for (uint32_t i = 0; i < w->workers_n; i++) {
        if (i != w->idx) {
            atomic_store_explicit(&w->peers[i]->waiting.asked, true, memory_order_release);
            sl_admission_tell(w->peers[i]);
        }
    }
}

void sl_admission_wake(struct sl_exchange *x)
{
    struct sl_pool_queue *q = queue_of(x);
    uint32_t idx = x->w->idx;

    if (sl_pool_queue_waiting_n(q) == 0) {
        return;
    }
    const struct sl_waiter *first = sl_pool_queue_first(q, idx);
    tell(x->w, sl_pool_queue_before(q, idx, first != NULL ? first->rank_ms : UINT64_MAX));
    if (first != NULL) {
        sl_admission_look(x->w);
    }
}

void sl_admission_attempt_ended(struct sl_exchange *x)
{
    if (has_caps(x->side)) {
        sl_admission_wake(x);
    }
}

/* ---- Waiting */

static uint8_t class_of(const struct sl_exchange *x, const char *header)
{
    const struct sl_header *h =
        header != NULL ? sl_headers_find_name(&x->request.headers, sl_slice_of(header)) : NULL;
    bool said = h != NULL && h->value.len == 1 && h->value.ptr[0] >= '0' &&
                h->value.ptr[0] < '0' + SL_QUEUE_CLASSES_N;

    return said ? (uint8_t)(h->value.ptr[0] - '0') : CLASS_UNSAID;
}

bool sl_admission_is_turn(const struct sl_exchange *x, const struct sl_view_side *side)
{
    const struct sl_pool_queue *q = &side->pool->pool->queue;

    if (x->attempts_n > 0 || (x->waiter.waits && x->side == side)) {
        return true; /* it has had its turn, or is asked because it is now */
    }
    if (q->cells[x->w->idx].n > 0) {
        return false;
    }
    if (!is_limited(side) || sl_pool_queue_waiting_n(q) == 0) {
        return true;
    }
    const struct sl_queue_config *conf = &side->pool->conf->queue;
    uint64_t rank_ms =
        sl_pool_queue_rank_ms(sl_loop_now_ms(x->w->loop), class_of(x, conf->priority_header),
                              conf->timeout_ms / SL_QUEUE_CLASSES_N);
    return sl_pool_queue_before(q, x->w->idx, rank_ms) == x->w->idx;
}

static bool join(struct sl_exchange *x)
{
    const struct sl_queue_config *conf = &x->side->pool->conf->queue;
    struct sl_l7 *w = x->w;

    if (x->wait_due_ms == 0) { /* whoever comes again is where it was */
        x->waiter.class_idx = class_of(x, conf->priority_header);
        x->waiter.rank_ms = sl_pool_queue_rank_ms(sl_loop_now_ms(w->loop), x->waiter.class_idx,
                                                  conf->timeout_ms / SL_QUEUE_CLASSES_N);
    }
    x->waiter.bytes = x->head_bytes + x->replay.bytes;
    if (!sl_pool_queue_push(queue_of(x), w->idx, &x->waiter, conf, x->waiter.rank_ms)) {
        return false;
    }
    if (sl_list_empty(&cell_of(x)->link)) {
        sl_list_push_back(&w->waiting.queues, &cell_of(x)->link);
    }
    x->waits_since_us = sl_loop_now_us(w->loop);
    return true;
}

static enum sl_reason reason_of_no_queue(const struct sl_exchange *x, enum sl_attempt_room room)
{
    if (room == SL_ATTEMPT_NO_ROOM) {
        return SL_REASON_QUEUE_FULL;
    }
    return x->attempts_n > 0 ? x->last_failure : SL_REASON_NO_ENDPOINT;
}

static void give_up(struct sl_exchange *x, bool all_refuse)
{
    /* Only x's own attempts are a reason to blame an endpoint. */
    bool refused = x->attempts_n > 0 && all_refuse;

    sl_exchange_fail(x, refused ? SL_REASON_UPSTREAM_REFUSED : SL_REASON_QUEUE_TIMEOUT);
}

void sl_admission_timed_out(struct sl_exchange *x)
{
    give_up(x, cell_of(x)->all_refuse);
}

void sl_admission_wait(struct sl_exchange *x, enum sl_attempt_room room)
{
    const struct sl_queue_config *conf = &x->side->pool->conf->queue;
    uint64_t now_ms = sl_loop_now_ms(x->w->loop);

    if (x->wait_due_ms != 0 && now_ms >= x->wait_due_ms) {
        give_up(x, room == SL_ATTEMPT_ALL_REFUSE);
        return;
    }
    if (!join(x)) {
        sl_exchange_fail(x, conf->size_n == 0 ? reason_of_no_queue(x, room) : SL_REASON_QUEUE_FULL);
        return;
    }
    if (x->wait_due_ms == 0) {
        x->wait_due_ms = now_ms + conf->timeout_ms;
        sl_series_add(x->side->pool->series, x->w->idx, SL_POOL_QUEUED, 1);
    }
    if (sl_pool_queue_first(queue_of(x), x->w->idx) == &x->waiter) {
        note_why(cell_of(x), room);
    }
    x->tried_n = 0;
    x->unsent_n = x->unfit_n;
    if (!x->request_ended && !x->awaits_continue) { /* who awaits the word sends nothing */
        x->down->ops->read_off(x->down);
    }
    sl_exchange_enter(x, SL_PHASE_QUEUED, x->wait_due_ms - now_ms);
    if (room != SL_ATTEMPT_NO_ENDPOINT) {
        look_on(x->w);
    }
}

static void leave(struct sl_exchange *x, bool served)
{
    struct sl_l7 *w = x->w;
    uint64_t us = sl_loop_now_us(w->loop) - x->waits_since_us;

    sl_pool_queue_remove(queue_of(x), w->idx, &x->waiter, served, sl_loop_now_ms(w->loop));
    x->queued_us += us;
    sl_series_observe_us(x->side->pool->series, w->idx, SL_POOL_QUEUE_TIME, us);
}

void sl_admission_begin(struct sl_exchange *x)
{
    if (x->waiter.waits) {
        leave(x, true);
    }
}

void sl_admission_leave(struct sl_exchange *x)
{
    leave(x, false);
}

void sl_admission_end(struct sl_exchange *x)
{
    if (x->side == NULL) {
        return; /* refused before a pool was known */
    }
    if (x->waiter.waits) {
        leave(x, false);
    }
    sl_admission_hold_place(x, NULL);
    if (is_limited(x->side)) {
        sl_admission_wake(x);
    }
}

bool sl_admission_grow(struct sl_exchange *x, size_t bytes)
{
    if (!sl_pool_queue_grow(queue_of(x), &x->waiter, &x->side->pool->conf->queue, bytes)) {
        sl_exchange_fail(x, SL_REASON_QUEUE_FULL);
        return false;
    }
    return true;
}

uint32_t sl_admission_retry_after_s(const struct sl_exchange *x)
{
    return sl_pool_queue_retry_after_s(queue_of(x), sl_loop_now_ms(x->w->loop), &x->w->rng);
}
