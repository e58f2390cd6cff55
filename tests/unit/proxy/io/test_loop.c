/* SPDX-License-Identifier: Apache-2.0 */
#include "proxy/base/alloc.h"
#include "proxy/io/loop.h"
#include "tests/unit/check.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static struct sl_loop *new_loop(void)
{
    struct sl_loop *l = NULL;

    assert_int_equal(sl_loop_new(&l), SL_OK);
    return l;
}

static char trace[64];

static void note(char c)
{
    size_t len = strlen(trace);

    check(len + 1 < sizeof(trace), "trace is full: %s", trace);
    trace[len] = c;
    trace[len + 1] = '\0';
}

struct named_task {
    struct sl_task task;
    struct sl_loop *loop;
    struct named_task *posts; /* when it runs */
    struct named_task *cancels;
    char name;
};

static void run_named(struct sl_task *t)
{
    struct named_task *n = sl_container_of(t, struct named_task, task);

    note(n->name);
    if (n->posts != NULL) {
        sl_task_post(n->loop, &n->posts->task);
    }
    if (n->cancels != NULL) {
        sl_task_cancel(&n->cancels->task);
    }
}

static void named_init(struct named_task *n, struct sl_loop *l, char name)
{
    *n = (struct named_task){.loop = l, .name = name};
    sl_task_init(&n->task, run_named);
}

static void tasks_run_once_and_in_the_order_of_posting(void **state)
{
    struct sl_loop *l = new_loop();
    struct named_task a;
    struct named_task b;
    struct named_task c;
    (void)state;

    trace[0] = '\0';
    named_init(&a, l, 'a');
    named_init(&b, l, 'b');
    named_init(&c, l, 'c');
    sl_task_post(l, &a.task);
    sl_task_post(l, &b.task);
    sl_task_post(l, &a.task);
    sl_task_post(l, &c.task);
    sl_task_cancel(&b.task);
    sl_loop_run_once(l);
    sl_loop_run_once(l);
    assert_string_equal(trace, "ac");
    sl_task_cancel(&b.task);
    sl_loop_free(l);
}

static void a_task_may_cancel_the_next_and_post_itself_again(void **state)
{
    struct sl_loop *l = new_loop();
    struct named_task a;
    struct named_task b;
    (void)state;

    trace[0] = '\0';
    named_init(&a, l, 'a');
    named_init(&b, l, 'b');
    a.cancels = &b;
    a.posts = &a;
    sl_task_post(l, &a.task);
    sl_task_post(l, &b.task);
    sl_loop_run_once(l);
    a.posts = NULL;
    sl_loop_run_once(l);
    size_t ran_n = strlen(trace);
    check(ran_n >= 2 && strspn(trace, "a") == ran_n, "%s", trace);
    sl_loop_run_once(l);
    assert_int_equal(strlen(trace), ran_n);
    sl_loop_free(l);
}

static void on_stop_task(struct sl_task *t)
{
    struct named_task *n = sl_container_of(t, struct named_task, task);

    note('s');
    sl_loop_stop(n->loop);
}

/* Nothing else would ever wake this loop. */
static void a_task_posted_by_a_task_keeps_the_loop_from_sleeping(void **state)
{
    struct sl_loop *l = new_loop();
    struct named_task a;
    struct named_task stop;
    (void)state;

    trace[0] = '\0';
    named_init(&a, l, 'a');
    named_init(&stop, l, 's');
    sl_task_init(&stop.task, on_stop_task);
    a.posts = &stop;
    sl_task_post(l, &a.task);
    sl_loop_run(l);
    assert_string_equal(trace, "as");
    sl_loop_free(l);
}

static void memory_freed_late_is_there_until_the_turn_ends(void **state)
{
    struct sl_loop *l = new_loop();
    char *p = sl_alloc(64);
    (void)state;

    assert_non_null(p);
    p[63] = 'x';
    sl_loop_defer_free(l, p);
    assert_int_equal(p[63], 'x'); /* ASan would tell */
    sl_loop_run_once(l);
    p = sl_alloc(16);
    assert_non_null(p);
    sl_loop_defer_free(l, p);
    sl_loop_free(l); /* LeakSanitizer would tell */
}

struct watch {
    struct sl_io io;
    unsigned reads_n;
    unsigned writes_n;
    bool stop_on_ready;
};

static void on_watch(struct sl_io *io, int events)
{
    struct watch *w = sl_container_of(io, struct watch, io);

    w->reads_n += (events & SL_READABLE) != 0;
    w->writes_n += (events & SL_WRITABLE) != 0;
    if (w->stop_on_ready) {
        sl_io_stop(io);
    }
}

static void pair(int fds[2])
{
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds), 0);
}

static void close_pair(const int fds[2])
{
    (void)close(fds[0]); /* a test's sockets */
    (void)close(fds[1]);
}

static void reading_and_writing_are_watched_apart(void **state)
{
    struct sl_loop *l = new_loop();
    struct watch w = {0};
    int fds[2];
    (void)state;

    pair(fds);
    sl_io_init(&w.io, l, fds[0], on_watch);
    assert_false(sl_io_wants_read(&w.io));
    sl_io_want_read(&w.io, true);
    sl_io_want_read(&w.io, true);
    assert_true(sl_io_wants_read(&w.io));
    sl_loop_run_once(l);
    assert_int_equal(w.reads_n + w.writes_n, 0);
    assert_int_equal(send(fds[1], "x", 1, 0), 1);
    sl_loop_run_once(l);
    sl_loop_run_once(l);
    assert_int_equal(w.reads_n, 2); /* level-triggered: nobody read */
    sl_io_want_read(&w.io, false);
    sl_io_want_write(&w.io, true);
    sl_loop_run_once(l);
    assert_int_equal(w.reads_n, 2);
    assert_int_equal(w.writes_n, 1);
    sl_io_want_read(&w.io, true);
    w.stop_on_ready = true;
    sl_loop_run_once(l);
    assert_int_equal(w.reads_n, 3); /* both in one call, and none after a stop */
    assert_int_equal(w.writes_n, 2);
    sl_io_stop(&w.io);
    sl_loop_run_once(l);
    assert_int_equal(w.reads_n + w.writes_n, 5);
    close_pair(fds);
    sl_loop_free(l);
}

struct gone {
    struct sl_hangup hangup;
    struct sl_loop *loop;
    struct gone *unwatches;
    unsigned n;
};

static void on_gone(struct sl_hangup *h)
{
    struct gone *g = sl_container_of(h, struct gone, hangup);

    g->n++;
    if (g->unwatches != NULL) {
        sl_hangup_unwatch(g->loop, &g->unwatches->hangup);
    }
}

static void turns(struct sl_loop *l, unsigned n)
{
    while (n-- > 0) {
        sl_loop_run_once(l);
    }
}

static void a_hangup_is_seen_once_and_bytes_that_wait_are_none(void **state)
{
    struct sl_loop *l = new_loop();
    struct gone g = {.loop = l};
    int fds[2];
    (void)state;

    pair(fds);
    sl_hangup_init(&g.hangup, on_gone);
    sl_hangup_unwatch(l, &g.hangup);
    assert_int_equal(sl_hangup_watch(l, &g.hangup, fds[0]), SL_OK);
    assert_int_equal(sl_hangup_watch(l, &g.hangup, fds[0]), SL_OK);
    assert_int_equal(send(fds[1], "x", 1, 0), 1);
    turns(l, 3);
    assert_int_equal(g.n, 0);
    assert_int_equal(shutdown(fds[1], SHUT_WR), 0);
    turns(l, 3);
    assert_int_equal(g.n, 1);
    assert_int_equal(sl_hangup_watch(l, &g.hangup, fds[0]), SL_OK); /* had happened before */
    turns(l, 3);
    assert_int_equal(g.n, 2);
    assert_int_equal(sl_hangup_watch(l, &g.hangup, fds[0]), SL_OK);
    sl_hangup_unwatch(l, &g.hangup);
    sl_hangup_unwatch(l, &g.hangup);
    turns(l, 3);
    assert_int_equal(g.n, 2);
    close_pair(fds);
    sl_loop_free(l);
}

/* Two peers hang up in one turn; whichever is told first stops the other. */
static void one_hangup_may_stop_the_watch_of_another(void **state)
{
    struct sl_loop *l = new_loop();
    struct gone a = {.loop = l};
    struct gone b = {.loop = l, .unwatches = &a};
    int fds_a[2];
    int fds_b[2];
    (void)state;

    a.unwatches = &b;
    pair(fds_a);
    pair(fds_b);
    sl_hangup_init(&a.hangup, on_gone);
    sl_hangup_init(&b.hangup, on_gone);
    assert_int_equal(sl_hangup_watch(l, &a.hangup, fds_a[0]), SL_OK);
    assert_int_equal(sl_hangup_watch(l, &b.hangup, fds_b[0]), SL_OK);
    assert_int_equal(shutdown(fds_a[1], SHUT_WR), 0);
    assert_int_equal(shutdown(fds_b[1], SHUT_WR), 0);
    turns(l, 3);
    assert_int_equal(a.n + b.n, 1);
    close_pair(fds_a);
    close_pair(fds_b);
    sl_loop_free(l);
}

struct letter {
    struct sl_mail mail;
    struct post *post;
    unsigned sender;
    unsigned number;
};

enum {
    SENDERS_N = 3,
    LETTERS_N = 2000,
};

struct post {
    struct sl_loop *loop;
    struct letter letters[SENDERS_N][LETTERS_N];
    unsigned next[SENDERS_N];
    unsigned got_n;
};

struct sender {
    pthread_t thread;
    struct post *post;
    unsigned idx;
};

static void on_letter(struct sl_mail *m)
{
    struct letter *got = sl_container_of(m, struct letter, mail);
    struct post *p = got->post;

    check(got->number == p->next[got->sender], "letter %u of sender %u, expected %u", got->number,
          got->sender, p->next[got->sender]);
    p->next[got->sender]++;
    if (++p->got_n == SENDERS_N * LETTERS_N) {
        sl_loop_stop(p->loop);
    }
}

static void *send_letters(void *arg)
{
    struct sender *s = arg;

    for (unsigned i = 0; i < LETTERS_N; i++) {
        struct letter *m = &s->post->letters[s->idx][i];
        *m = (struct letter){
            .mail.on_mail = on_letter, .post = s->post, .sender = s->idx, .number = i};
        sl_mailbox_post(s->post->loop, &m->mail);
    }
    return NULL;
}

static void mail_of_many_threads_comes_whole_and_in_order(void **state)
{
    struct post *p = calloc(1, sizeof(*p));
    struct sender senders[SENDERS_N];
    (void)state;

    assert_non_null(p);
    p->loop = new_loop();
    for (unsigned i = 0; i < SENDERS_N; i++) {
        senders[i] = (struct sender){.post = p, .idx = i};
        assert_int_equal(pthread_create(&senders[i].thread, NULL, send_letters, &senders[i]), 0);
    }
    sl_loop_run(p->loop); /* ends with the last letter */
    for (unsigned i = 0; i < SENDERS_N; i++) {
        assert_int_equal(pthread_join(senders[i].thread, NULL), 0);
        assert_int_equal(p->next[i], LETTERS_N);
    }
    sl_loop_free(p->loop);
    free(p);
}

struct due {
    struct sl_deadline deadline;
    struct sl_loop *loop;
    uint64_t at_ms;
    bool last;
    char name;
};

static void on_due(struct sl_deadline *d)
{
    struct due *due = sl_container_of(d, struct due, deadline);

    note(due->name);
    check(sl_loop_now_ms(due->loop) >= due->at_ms, "%c fired early", due->name);
    if (due->last) {
        sl_loop_stop(due->loop);
    }
}

static void deadlines_wake_a_sleeping_loop_in_their_order(void **state)
{
    struct sl_loop *l = new_loop();
    struct due due[3];
    static const unsigned after_ms[] = {60, 20, 40};
    (void)state;

    trace[0] = '\0';
    for (unsigned i = 0; i < 3; i++) {
        due[i] = (struct due){
            .loop = l,
            .at_ms = sl_loop_now_ms(l) + after_ms[i],
            .last = i == 0,
            .name = (char)('a' + i),
        };
        sl_deadline_init(&due[i].deadline, on_due);
        sl_deadline_set(sl_loop_wheel(l), &due[i].deadline, due[i].at_ms);
    }
    sl_loop_run(l);
    assert_string_equal(trace, "bca");
    sl_loop_free(l);
}

static void on_timer(struct sl_timer *t)
{
    note('t');
    if (strlen(trace) == 3) {
        sl_timer_stop(t);
        sl_loop_stop(t->loop);
    }
}

static void a_timer_repeats_until_it_is_stopped(void **state)
{
    struct sl_loop *l = new_loop();
    struct sl_timer t;
    (void)state;

    trace[0] = '\0';
    sl_timer_init(&t, l, on_timer);
    assert_false(sl_timer_active(&t));
    sl_timer_stop(&t);
    sl_timer_start(&t, 1, 1);
    assert_true(sl_timer_active(&t));
    sl_loop_run(l);
    assert_false(sl_timer_active(&t));
    assert_string_equal(trace, "ttt");
    sl_loop_free(l);
}

static void on_signal(struct sl_signal *s, int signum)
{
    check(signum == SIGUSR1, "signal %d", signum);
    note('u');
    sl_loop_stop(s->loop);
}

static void a_signal_arrives_on_the_loop(void **state)
{
    struct sl_loop *l = new_loop();
    struct sl_signal s;
    (void)state;

    trace[0] = '\0';
    sl_signal_start(&s, l, SIGUSR1, on_signal);
    assert_int_equal(raise(SIGUSR1), 0);
    sl_loop_run(l);
    assert_string_equal(trace, "u");
    sl_signal_stop(&s);
    sl_loop_free(l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tasks_run_once_and_in_the_order_of_posting),
        cmocka_unit_test(a_task_may_cancel_the_next_and_post_itself_again),
        cmocka_unit_test(a_task_posted_by_a_task_keeps_the_loop_from_sleeping),
        cmocka_unit_test(memory_freed_late_is_there_until_the_turn_ends),
        cmocka_unit_test(reading_and_writing_are_watched_apart),
        cmocka_unit_test(a_hangup_is_seen_once_and_bytes_that_wait_are_none),
        cmocka_unit_test(one_hangup_may_stop_the_watch_of_another),
        cmocka_unit_test(mail_of_many_threads_comes_whole_and_in_order),
        cmocka_unit_test(deadlines_wake_a_sleeping_loop_in_their_order),
        cmocka_unit_test(a_timer_repeats_until_it_is_stopped),
        cmocka_unit_test(a_signal_arrives_on_the_loop),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
