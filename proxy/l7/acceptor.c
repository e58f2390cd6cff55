/* SPDX-License-Identifier: Apache-2.0 */
#include "acceptor.h"

#include <sluiced/log.h>

#include "h1_downstream.h"
#include "l7.h"
#include "listener.h"

#include "proxy/base/alloc.h"
#include "proxy/io/socket.h"

#include <unistd.h>

#define ACCEPTS_A_TURN_MAX_N 16 /* then what is open already gets its turn */
#define ACCEPT_PAUSE_MS 100
#define HAND_OFF_SLACK_N                                                    \
    8 /* so many more than the least busy one, and a quarter, before giving \
       */

struct handed_over {
    struct sl_mail mail;
    struct sl_l7 *to;
    struct sl_listener *listener;
    struct sl_address from;
    int fd;
};

static uint32_t open_of(const struct sl_l7 *w)
{
    return atomic_load_explicit(&w->open_n, memory_order_relaxed);
}

static struct sl_l7 *least_busy(struct sl_l7 *w)
{
    struct sl_l7 *least = w;

    for (uint32_t i = 0; i < w->workers_n; i++) {
        if (open_of(w->peers[i]) < open_of(least)) {
            least = w->peers[i];
        }
    }
    uint32_t own_n = open_of(w);
    uint32_t least_n = open_of(least);
    return own_n >= least_n + HAND_OFF_SLACK_N && own_n > least_n + least_n / 4 ? least : w;
}

static void on_handed_over(struct sl_mail *mail)
{
    struct handed_over *h = sl_container_of(mail, struct handed_over, mail);

    sl_h1_downstream_open(h->to, h->listener, h->fd, &h->from);
    sl_free(h);
}

/* False: no memory, so the connection stays here. */
static bool hand_over(struct sl_l7 *w, struct sl_l7 *to, struct sl_listener *l, int fd,
                      const struct sl_address *from)
{
    struct handed_over *h = sl_alloc(sizeof(*h));
    if (h == NULL) {
        return false;
    }
    h->mail.on_mail = on_handed_over;
    h->to = to;
    h->listener = l;
    h->from = *from;
    h->fd = fd;
    sl_series_add(w->process, w->idx, SL_PROCESS_HANDED_OFF, 1);
    sl_mailbox_post(to->loop, &h->mail);
    return true;
}

static void on_pause_over(struct sl_deadline *d)
{
    struct sl_listener_cell *cell = sl_container_of(d, struct sl_listener_cell, pause);

    if (cell->accepting) {
        sl_io_want_read(&cell->io, true);
    }
}

/* Out of descriptors or memory: the queue stays readable, and asking again at once would be all
 * that this worker does. Clients wait in the kernel meanwhile. */
static void pause_accepting(struct sl_listener_cell *cell, int code)
{
    struct sl_loop *loop = cell->worker->loop;

    sl_log(SL_LOG_WARN, "accept_failed", {"listener", SL_LOG_STR(cell->listener->name)},
           {"error", SL_LOG_STR(sl_err_name(code))}, {"pause_ms", SL_LOG_UINT(ACCEPT_PAUSE_MS)});
    sl_io_want_read(&cell->io, false);
    sl_deadline_set(sl_loop_wheel(loop), &cell->pause, sl_loop_now_ms(loop) + ACCEPT_PAUSE_MS);
}

/* Takes up to max connections; false when the queue is known to be empty. */
static bool accept_some(struct sl_listener_cell *cell, unsigned max)
{
    struct sl_l7 *w = cell->worker;
    struct sl_listener *l = cell->listener;

    for (unsigned i = 0; i < max; i++) {
        struct sl_address from;
        int fd;
        int rc = sl_socket_accept(cell->fd, &fd, &from);
        if (rc != SL_OK) {
            if (rc != SL_AGAIN) {
                pause_accepting(cell, rc);
            }
            return false;
        }
        atomic_fetch_add_explicit(&l->refs_n, 1, memory_order_relaxed);
        struct sl_l7 *to = least_busy(w);
        if (to == w || !hand_over(w, to, l, fd, &from)) {
            sl_h1_downstream_open(w, l, fd, &from);
        }
    }
    return true;
}

/* They wait in the kernel, and nothing is spun for them. */
static void make_wait(struct sl_listener_cell *cell)
{
    struct sl_loop *loop = cell->worker->loop;

    sl_io_want_read(&cell->io, false);
    sl_deadline_set(sl_loop_wheel(loop), &cell->pause, sl_loop_now_ms(loop) + ACCEPT_PAUSE_MS);
}

/* One at a readiness event, so that no accept is in vain: whether there is another, the next turn
 * says. Where it does so again and again, a turn for each is what is in vain: one more each time,
 * until the queue is empty. */
static void on_acceptable(struct sl_io *io, int events)
{
    struct sl_listener_cell *cell = sl_container_of(io, struct sl_listener_cell, io);
    (void)events;

    if (sl_l7_overload(cell->worker) >= SL_OVERLOAD_WAIT) {
        make_wait(cell);
        return;
    }
    uint64_t turn = sl_loop_turn(cell->worker->loop);
    bool again = turn == cell->last_turn + 1;

    cell->last_turn = turn;
    if (!again || cell->burst_n == 0) {
        cell->burst_n = 1;
    } else if (cell->burst_n < ACCEPTS_A_TURN_MAX_N) {
        cell->burst_n++;
    }
    if (!accept_some(cell, cell->burst_n)) {
        cell->burst_n = 0;
    }
}

static void start(struct sl_l7 *w, struct sl_listener_cell *cell)
{
    if (cell->accepting || cell->fd < 0) {
        return;
    }
    cell->worker = w;
    cell->accepting = true;
    sl_deadline_init(&cell->pause, on_pause_over);
    sl_io_init(&cell->io, w->loop, cell->fd, on_acceptable);
    sl_io_want_read(&cell->io, true);
}

static void stop(struct sl_listener_cell *cell)
{
    if (!cell->accepting) {
        return;
    }
    cell->accepting = false;
    sl_io_stop(&cell->io);
    /* Who was let in by the kernel is not turned away: closing would reset them. */
    while (accept_some(cell, ACCEPTS_A_TURN_MAX_N)) {
    }
    sl_deadline_remove(sl_loop_wheel(cell->worker->loop), &cell->pause);
    (void)close(cell->fd); /* listening sockets hold no data */
    cell->fd = -1;
}

void sl_acceptors_take_view(struct sl_l7 *w, const struct sl_view *old, const struct sl_view *view)
{
    for (size_t i = 0; old != NULL && i < old->listeners_n; i++) {
        struct sl_listener *l = old->listeners[i].handle;
        if (!sl_view_names(view, l)) {
            stop(&l->cells[w->idx]); /* whom it still lets in is served by the old view */
            l->cells[w->idx].current = NULL;
            sl_h1_downstream_close_idle_of(w, l);
        }
    }
    for (size_t i = 0; i < view->listeners_n; i++) {
        struct sl_listener_cell *cell = &view->listeners[i].handle->cells[w->idx];
        cell->current = &view->listeners[i];
        cell->timeouts = cell->current->conf->timeouts;
        cell->keeps_half_open = cell->current->conf->keeps_half_open;
        cell->policy = cell->current->conf->ambiguous != NULL ? *cell->current->conf->ambiguous
                                                              : (struct sl_h1_policy){0};
        start(w, cell);
    }
}

void sl_acceptors_stop(struct sl_l7 *w)
{
    for (size_t i = 0; i < w->view->listeners_n; i++) {
        stop(&w->view->listeners[i].handle->cells[w->idx]);
    }
}

void sl_acceptors_drain(struct sl_l7 *w, bool outbound_too)
{
    for (size_t i = 0; i < w->view->listeners_n; i++) {
        const struct sl_view_listener *vl = &w->view->listeners[i];
        if (outbound_too || !vl->conf->is_outbound) {
            struct sl_listener_cell *cell = &vl->handle->cells[w->idx];
            stop(cell);
            cell->draining = true;
            sl_h1_downstream_close_idle_of(w, vl->handle);
        }
    }
}
