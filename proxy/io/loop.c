/* SPDX-License-Identifier: Apache-2.0 */
/*
 * loop: one turn is wait, read the clock, fire due deadlines, watchers, then tasks and late frees.
 *
 * The wheel's timer is armed for the earliest linked deadline and left alone while that does not
 * move forward, so a busy keep-alive connection touches neither heap nor wheel.
 */
#include "loop.h"

#include <sluiced/time.h>

#include "proxy/base/alloc.h"
#include "proxy/base/list.h"

#include <ev.h>

#include <errno.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define HANGUP_BATCH_N 64

struct late_free {
    struct late_free *next;
};

struct sl_loop {
    struct ev_loop *ev;
    ev_prepare prepare;
    ev_check check;
    ev_async mail_arrived;
    ev_idle more_tasks; /* active: do not sleep, tasks were posted by tasks */
    ev_timer wheel_timer;
    ev_io hangup_io;
    uint64_t now_us;
    uint64_t turn;
    uint64_t wheel_armed_ms; /* what wheel_timer waits for; UINT64_MAX: nothing */
    struct sl_wheel wheel;
    struct sl_list tasks;
    struct late_free *late;
    _Atomic(struct sl_mail *) mail; /* newest first */
    int hangup_epoll_fd;
    int hangup_batch_n;
    struct epoll_event hangup_batch[HANGUP_BATCH_N]; /* ptr NULLed when unwatched meanwhile */
};

_Static_assert(sizeof(ev_io) <= sizeof(((struct sl_io *)0)->watcher), "room for ev_io");
/* NOLINTBEGIN(readability-redundant-casting): gcc warns of a comparison of two enums */
_Static_assert((int)SL_READABLE == (int)EV_READ && (int)SL_WRITABLE == (int)EV_WRITE,
               "events pass as they are");
/* NOLINTEND(readability-redundant-casting) */
_Static_assert(sizeof(ev_timer) <= sizeof(((struct sl_timer *)0)->watcher), "room for ev_timer");
_Static_assert(sizeof(ev_signal) <= sizeof(((struct sl_signal *)0)->watcher), "room for ev_signal");

static ev_io *watcher_of(struct sl_io *io)
{
    return (ev_io *)(void *)io->watcher;
}

static ev_timer *timer_of(struct sl_timer *t)
{
    return (ev_timer *)(void *)t->watcher;
}

static ev_signal *signal_of(struct sl_signal *s)
{
    return (ev_signal *)(void *)s->watcher;
}

static void free_late(struct sl_loop *l)
{
    while (l->late != NULL) {
        struct late_free *f = l->late;
        l->late = f->next;
        sl_free(f);
    }
}

static void run_tasks(struct sl_loop *l)
{
    struct sl_list batch;

    sl_list_take_all(&batch, &l->tasks);
    while (!sl_list_empty(&batch)) {
        struct sl_task *t = sl_container_of(batch.next, struct sl_task, link);
        sl_list_unlink(&t->link);
        t->run(t);
    }
}

/* Sleeps no longer than the wheel allows. earliest_ms may be too early, never too late. */
static void arm_wheel(struct sl_loop *l)
{
    uint64_t due_ms = l->wheel.earliest_ms;

    if (due_ms >= l->wheel_armed_ms) {
        return;
    }
    uint64_t now_ms = sl_time_now_ms();
    ev_timer_stop(l->ev, &l->wheel_timer);
    ev_now_update(l->ev);
    ev_timer_set(&l->wheel_timer, due_ms > now_ms ? (double)(due_ms - now_ms) / 1000.0 : 0.0, 0.0);
    ev_timer_start(l->ev, &l->wheel_timer);
    l->wheel_armed_ms = due_ms;
}

static void on_wheel_timer(struct ev_loop *ev, ev_timer *w, int events)
{
    struct sl_loop *l = ev_userdata(ev);
    (void)w;
    (void)events;

    l->wheel_armed_ms = UINT64_MAX;
    sl_wheel_advance(&l->wheel, l->now_us / 1000);
}

static void on_prepare(struct ev_loop *ev, ev_prepare *w, int events)
{
    struct sl_loop *l = ev_userdata(ev);
    (void)w;
    (void)events;

    run_tasks(l);
    if (sl_list_empty(&l->tasks)) {
        ev_idle_stop(ev, &l->more_tasks);
    } else {
        ev_idle_start(ev, &l->more_tasks);
    }
    free_late(l);
    arm_wheel(l);
}

static void on_check(struct ev_loop *ev, ev_check *w, int events)
{
    struct sl_loop *l = ev_userdata(ev);
    (void)w;
    (void)events;

    l->now_us = sl_time_now_us();
    l->turn++;
}

static void on_idle(struct ev_loop *ev, ev_idle *w, int events)
{
    (void)ev;
    (void)w;
    (void)events;
}

static void on_mail_arrived(struct ev_loop *ev, ev_async *w, int events)
{
    struct sl_loop *l = ev_userdata(ev);
    struct sl_mail *in_order = NULL;
    struct sl_mail *m = atomic_exchange_explicit(&l->mail, NULL, memory_order_acquire);
    (void)w;
    (void)events;

    while (m != NULL) {
        struct sl_mail *next = m->next;
        m->next = in_order;
        in_order = m;
        m = next;
    }
    while (in_order != NULL) {
        m = in_order;
        in_order = m->next; /* before the call: the receiver may free or post it again */
        m->on_mail(m);
    }
}

static void on_hangups(struct ev_loop *ev, ev_io *w, int events)
{
    struct sl_loop *l = ev_userdata(ev);
    (void)w;
    (void)events;

    int n = epoll_wait(l->hangup_epoll_fd, l->hangup_batch, HANGUP_BATCH_N, 0);
    l->hangup_batch_n = n > 0 ? n : 0;
    for (int i = 0; i < l->hangup_batch_n; i++) {
        struct sl_hangup *h = l->hangup_batch[i].data.ptr;
        if (h != NULL) {
            sl_hangup_unwatch(l, h);
            h->on_hangup(h);
        }
    }
    l->hangup_batch_n = 0;
}

/* libev takes an epoll set and an eventfd, and aborts the process where the second is not to be
 * had: so both are tried first. */
static bool has_fds_for_ev(void)
{
    int fds[2] = {eventfd(0, EFD_CLOEXEC), -1};
    fds[1] = fds[0] >= 0 ? eventfd(0, EFD_CLOEXEC) : -1;
    bool had = fds[1] >= 0;

    for (int i = 0; i < 2; i++) {
        if (fds[i] >= 0) {
            (void)close(fds[i]); /* nothing was ever in it */
        }
    }
    return had;
}

/* NOLINTNEXTLINE(readability-function-size): libev's macros are many statements */
int sl_loop_new(struct sl_loop **out)
{
    int rc = SL_ENOMEM;
    struct sl_loop *l = sl_alloc(sizeof(*l));
    if (l == NULL) {
        return SL_ENOMEM;
    }
    l->hangup_epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (l->hangup_epoll_fd < 0) {
        rc = sl_err_from_errno(errno);
        goto fail_alloc;
    }
    l->ev = has_fds_for_ev() ? ev_loop_new(EVBACKEND_EPOLL | EVFLAG_NOENV) : NULL;
    if (l->ev == NULL) {
        rc = SL_EIO;
        goto fail_epoll;
    }
    ev_set_userdata(l->ev, l);
    l->now_us = sl_time_now_us();
    l->wheel_armed_ms = UINT64_MAX;
    sl_wheel_init(&l->wheel, l->now_us / 1000);
    sl_list_init(&l->tasks);
    atomic_init(&l->mail, NULL);
    ev_prepare_init(&l->prepare, on_prepare);
    ev_prepare_start(l->ev, &l->prepare);
    ev_check_init(&l->check, on_check);
    ev_set_priority(&l->check, EV_MAXPRI); /* the clock before all who read it */
    ev_check_start(l->ev, &l->check);
    ev_async_init(&l->mail_arrived, on_mail_arrived);
    ev_async_start(l->ev, &l->mail_arrived);
    ev_idle_init(&l->more_tasks, on_idle);
    ev_timer_init(&l->wheel_timer, on_wheel_timer, 0.0, 0.0);
    ev_io_init(&l->hangup_io, on_hangups, l->hangup_epoll_fd, EV_READ);
    ev_io_start(l->ev, &l->hangup_io);
    *out = l;
    return SL_OK;
fail_epoll:
    (void)close(l->hangup_epoll_fd); /* nothing was ever in it */
fail_alloc:
    sl_free(l);
    return rc;
}

void sl_loop_free(struct sl_loop *l)
{
    run_tasks(l);
    free_late(l);
    ev_loop_destroy(l->ev);
    (void)close(l->hangup_epoll_fd); /* an epoll set: close cannot lose data */
    sl_free(l);
}

void sl_loop_run(struct sl_loop *l)
{
    (void)ev_run(l->ev, 0); /* says whether watchers are left: the mailbox always is */
}

void sl_loop_stop(struct sl_loop *l)
{
    ev_break(l->ev, EVBREAK_ALL);
}

void sl_loop_run_once(struct sl_loop *l)
{
    (void)ev_run(l->ev, EVRUN_NOWAIT);
    l->now_us = sl_time_now_us();
    run_tasks(l);
    free_late(l);
}

uint64_t sl_loop_now_ms(const struct sl_loop *l)
{
    return l->now_us / 1000;
}

uint64_t sl_loop_now_us(const struct sl_loop *l)
{
    return l->now_us;
}

uint64_t sl_loop_turn(const struct sl_loop *l)
{
    return l->turn;
}

struct sl_wheel *sl_loop_wheel(struct sl_loop *l)
{
    return &l->wheel;
}

static void on_io(struct ev_loop *ev, ev_io *w, int events)
{
    struct sl_io *io = w->data;
    (void)ev;
    io->on_ready(io, events & (EV_READ | EV_WRITE));
}

void sl_io_init(struct sl_io *io, struct sl_loop *l, int fd,
                void (*on_ready)(struct sl_io *io, int events))
{
    io->on_ready = on_ready;
    io->loop = l;
    ev_io_init(watcher_of(io), on_io, fd, EV_NONE);
    watcher_of(io)->data = io;
}

void sl_io_make_urgent(struct sl_io *io)
{
    ev_set_priority(watcher_of(io), EV_MAXPRI - 1); /* the clock is at EV_MAXPRI */
}

static int wanted_of(const struct sl_io *io)
{
    const ev_io *w = (const ev_io *)(const void *)io->watcher; /* ev_is_active drops const */
    return w->active != 0 ? w->events & (EV_READ | EV_WRITE) : EV_NONE;
}

/* libev tells the kernel once, before it waits, whatever happens to a watcher until then. */
static void want(struct sl_io *io, int wanted)
{
    ev_io *w = watcher_of(io);

    if (wanted == wanted_of(io)) {
        return;
    }
    ev_io_stop(io->loop->ev, w);
    if (wanted != EV_NONE) {
        ev_io_modify(w, wanted);
        ev_io_start(io->loop->ev, w);
    }
}

void sl_io_want_read(struct sl_io *io, bool on)
{
    want(io, on ? wanted_of(io) | EV_READ : wanted_of(io) & ~EV_READ);
}

void sl_io_want_write(struct sl_io *io, bool on)
{
    want(io, on ? wanted_of(io) | EV_WRITE : wanted_of(io) & ~EV_WRITE);
}

bool sl_io_wants_read(const struct sl_io *io)
{
    return (wanted_of(io) & EV_READ) != 0;
}

void sl_io_stop(struct sl_io *io)
{
    want(io, EV_NONE);
}

static void on_ev_timer(struct ev_loop *ev, ev_timer *w, int events)
{
    struct sl_timer *t = w->data;
    (void)ev;
    (void)events;
    t->on_timer(t);
}

void sl_timer_init(struct sl_timer *t, struct sl_loop *l, void (*on_timer)(struct sl_timer *t))
{
    t->on_timer = on_timer;
    t->loop = l;
    ev_timer_init(timer_of(t), on_ev_timer, 0.0, 0.0);
    timer_of(t)->data = t;
}

void sl_timer_start(struct sl_timer *t, uint64_t after_ms, uint64_t repeat_ms)
{
    ev_timer_stop(t->loop->ev, timer_of(t));
    ev_now_update(t->loop->ev); /* from now, not from when this turn began */
    ev_timer_set(timer_of(t), (double)after_ms / 1000.0, (double)repeat_ms / 1000.0);
    ev_timer_start(t->loop->ev, timer_of(t));
}

void sl_timer_stop(struct sl_timer *t)
{
    ev_timer_stop(t->loop->ev, timer_of(t));
}

bool sl_timer_active(const struct sl_timer *t)
{
    return ((const ev_timer *)(const void *)t->watcher)->active != 0; /* the macro drops const */
}

static void on_ev_signal(struct ev_loop *ev, ev_signal *w, int events)
{
    struct sl_signal *s = w->data;
    (void)ev;
    (void)events;
    s->on_signal(s, w->signum);
}

void sl_signal_start(struct sl_signal *s, struct sl_loop *l, int signum,
                     void (*on_signal)(struct sl_signal *s, int signum))
{
    s->on_signal = on_signal;
    s->loop = l;
    ev_signal_init(signal_of(s), on_ev_signal, signum);
    signal_of(s)->data = s;
    ev_signal_start(l->ev, signal_of(s));
}

void sl_signal_stop(struct sl_signal *s)
{
    ev_signal_stop(s->loop->ev, signal_of(s));
}

void sl_hangup_init(struct sl_hangup *h, void (*on_hangup)(struct sl_hangup *h))
{
    h->on_hangup = on_hangup;
    h->fd = -1;
}

static int hangup_watch(struct sl_loop *l, struct sl_hangup *h, int fd, uint32_t events)
{
    struct epoll_event e = {.events = events | EPOLLET, .data.ptr = h};

    if (h->fd >= 0) {
        return SL_OK;
    }
    if (epoll_ctl(l->hangup_epoll_fd, EPOLL_CTL_ADD, fd, &e) != 0) {
        return sl_err_from_errno(errno);
    }
    h->fd = fd;
    return SL_OK;
}

int sl_hangup_watch(struct sl_loop *l, struct sl_hangup *h, int fd)
{
    return hangup_watch(l, h, fd, EPOLLRDHUP);
}

int sl_hangup_watch_errors(struct sl_loop *l, struct sl_hangup *h, int fd)
{
    return hangup_watch(l, h, fd, 0); /* EPOLLERR and EPOLLHUP come unasked */
}

void sl_hangup_unwatch(struct sl_loop *l, struct sl_hangup *h)
{
    if (h->fd < 0) {
        return;
    }
    /* Cannot fail for an fd that is in the set and open, which watch and the contract ensure. */
    (void)epoll_ctl(l->hangup_epoll_fd, EPOLL_CTL_DEL, h->fd, NULL);
    h->fd = -1;
    for (int i = 0; i < l->hangup_batch_n; i++) {
        if (l->hangup_batch[i].data.ptr == h) {
            l->hangup_batch[i].data.ptr = NULL;
        }
    }
}

void sl_task_init(struct sl_task *t, void (*run)(struct sl_task *t))
{
    sl_list_init(&t->link);
    t->run = run;
}

void sl_task_post(struct sl_loop *l, struct sl_task *t)
{
    if (sl_list_empty(&t->link)) {
        sl_list_push_back(&l->tasks, &t->link);
    }
}

void sl_task_cancel(struct sl_task *t)
{
    sl_list_unlink(&t->link);
}

void sl_loop_defer_free(struct sl_loop *l, void *p)
{
    struct late_free *f = p;
    f->next = l->late;
    l->late = f;
}

void sl_mailbox_post(struct sl_loop *to, struct sl_mail *m)
{
    struct sl_mail *head = atomic_load_explicit(&to->mail, memory_order_relaxed);
    do {
        m->next = head;
    } while (!atomic_compare_exchange_weak_explicit(&to->mail, &head, m, memory_order_release,
                                                    memory_order_relaxed));
    ev_async_send(to->ev, &to->mail_arrived);
}
