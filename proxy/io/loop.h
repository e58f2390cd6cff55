/* SPDX-License-Identifier: Apache-2.0 */
/*
 * loop: libev behind our own names: fds, timers, signals, mail from other threads, late frees.
 *
 * Lifetime:  loop: its thread's; watchers are embedded in what they watch and stopped before
 *            that is freed
 * Thread:    all calls on the loop's own thread, but sl_mailbox_post
 * Ownership: callers own their watchers; sl_loop_defer_free takes the memory over
 * Errors:    start calls cannot fail; sl_loop_new may
 * Limits:    one clock reading a turn; epoll, level-triggered, blocking (research: io-floor)
 */
#ifndef SL_IO_LOOP_H
#define SL_IO_LOOP_H

#include <sluiced/defs.h>
#include <sluiced/err.h>

#include "proxy/base/wheel.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct sl_loop;

enum {
    SL_READABLE = 1,
    SL_WRITABLE = 2,
};

/* Opaque room for libev's watchers; loop.c asserts that it suffices. */
struct sl_io {
    void (*on_ready)(struct sl_io *io, int events); /* SL_READABLE, SL_WRITABLE, or both */
    struct sl_loop *loop;
    _Alignas(8) unsigned char watcher[48];
};

struct sl_timer {
    void (*on_timer)(struct sl_timer *t);
    struct sl_loop *loop;
    _Alignas(8) unsigned char watcher[48];
};

struct sl_signal {
    void (*on_signal)(struct sl_signal *s, int signum);
    struct sl_loop *loop;
    _Alignas(8) unsigned char watcher[48];
};

int sl_loop_new(struct sl_loop **out) SL_MUST_CHECK;
void sl_loop_free(struct sl_loop *l); /* runs what is left of the late frees */

/* Until sl_loop_stop. */
void sl_loop_run(struct sl_loop *l);
void sl_loop_stop(struct sl_loop *l); /* after this turn */

/* One turn that does not block: for tests. */
void sl_loop_run_once(struct sl_loop *l);

/* The turn's clock (sl_time): read once a turn, after the wait. */
uint64_t sl_loop_now_ms(const struct sl_loop *l);
uint64_t sl_loop_now_us(const struct sl_loop *l);

uint64_t sl_loop_turn(const struct sl_loop *l); /* counts up by one each turn */

/* The loop's deadlines; advanced by the loop, which sleeps no longer than they allow. */
struct sl_wheel *sl_loop_wheel(struct sl_loop *l);

/* fd is watched until sl_io_stop. Reading and writing are toggled apart; a toggle costs nothing
 * while the state is as asked. sl_io_stop before close(fd); safe to repeat. */
void sl_io_init(struct sl_io *io, struct sl_loop *l, int fd,
                void (*on_ready)(struct sl_io *io, int events));

/* After init: its events come before all others of the same turn. */
void sl_io_make_urgent(struct sl_io *io);
void sl_io_want_read(struct sl_io *io, bool on);
void sl_io_want_write(struct sl_io *io, bool on);
bool sl_io_wants_read(const struct sl_io *io);
void sl_io_stop(struct sl_io *io);

/* For rare timers of the control thread; connections use the wheel. repeat_ms 0: once. */
void sl_timer_init(struct sl_timer *t, struct sl_loop *l, void (*on_timer)(struct sl_timer *t));
void sl_timer_start(struct sl_timer *t, uint64_t after_ms, uint64_t repeat_ms);
void sl_timer_stop(struct sl_timer *t); /* safe to repeat */
bool sl_timer_active(const struct sl_timer *t);

void sl_signal_start(struct sl_signal *s, struct sl_loop *l, int signum,
                     void (*on_signal)(struct sl_signal *s, int signum));
void sl_signal_stop(struct sl_signal *s);

/* Whether the other side of a paused fd hung up (FIN or RST) is seen through an auxiliary epoll
 * (EPOLLRDHUP | EPOLLET) that is itself one watched fd, so that watching it costs no wake-up for
 * the bytes that wait. on_hangup runs once; unwatch before close; both safe to repeat. */
struct sl_hangup {
    void (*on_hangup)(struct sl_hangup *h);
    int fd; /* -1: not watched */
};
void sl_hangup_init(struct sl_hangup *h, void (*on_hangup)(struct sl_hangup *h));
int sl_hangup_watch(struct sl_loop *l, struct sl_hangup *h, int fd) SL_MUST_CHECK;

/* The same for one whose peer has ended its side: only a break is news. */
int sl_hangup_watch_errors(struct sl_loop *l, struct sl_hangup *h, int fd) SL_MUST_CHECK;
void sl_hangup_unwatch(struct sl_loop *l, struct sl_hangup *h);

/* Calls fn(arg) at the end of this turn, before the loop sleeps; in order. task is embedded and
 * must stay until it ran or was cancelled. Posting a posted task does nothing. */
struct sl_task {
    struct sl_list link;
    void (*run)(struct sl_task *t);
};
void sl_task_init(struct sl_task *t, void (*run)(struct sl_task *t));
void sl_task_post(struct sl_loop *l, struct sl_task *t);
void sl_task_cancel(struct sl_task *t);

/* Frees p (from sl_alloc) after the current turn: two-step death. Needs no memory: the first
 * bytes of p are used as the link, so p is at least 16 bytes and no longer read by anyone. */
void sl_loop_defer_free(struct sl_loop *l, void *p);

/* Mail: embedded in what is sent, at most once at a time. */
struct sl_mail {
    struct sl_mail *next;
    void (*on_mail)(struct sl_mail *m); /* on the receiving loop's thread */
};

/* From any thread. Delivered in the order of posting (of each sender); wakes the loop once for
 * many. The receiver owns m from then on. */
void sl_mailbox_post(struct sl_loop *to, struct sl_mail *m);

#endif
