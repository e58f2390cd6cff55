/* SPDX-License-Identifier: Apache-2.0 */
/*
 * worker: a thread with a loop, and the mail by which the control thread tells it things. A batch
 * of mail is allocated whole before the first is posted, so that all workers hear of it or none.
 */
#include <sluiced/log.h>
#include <sluiced/time.h>

#include "process.h"

#include "proxy/base/alloc.h"
#include "proxy/l7/access_log.h"
#include "proxy/l7/admission.h"

#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define WORKERS_MAX_N 256

struct letter {
    struct sl_mail mail;
    struct sl_worker *to;
    struct sl_view *view;
    struct sl_run_pool *pool;
    struct sl_endpoint_set *set;
    uint64_t received_us;
    bool outbound_too;
};

static struct letter *of(struct sl_mail *m)
{
    return sl_container_of(m, struct letter, mail);
}

/* One letter a worker, filled alike. */
static int mail_all(struct sl_process *p, const struct letter *like,
                    void (*on_mail)(struct sl_mail *m))
{
    struct letter *letters[WORKERS_MAX_N];

    for (uint32_t i = 0; i < p->running_n; i++) {
        letters[i] = sl_alloc(sizeof(*letters[i]));
        if (letters[i] == NULL) {
            while (i > 0) {
                sl_free(letters[--i]);
            }
            return SL_ENOMEM;
        }
        *letters[i] = *like;
        letters[i]->to = &p->workers[i];
        letters[i]->mail.on_mail = on_mail;
    }
    for (uint32_t i = 0; i < p->running_n; i++) {
        sl_mailbox_post(p->workers[i].loop, &letters[i]->mail);
    }
    return SL_OK;
}

/* ---- On the worker's thread, but for on_taken */

static void on_taken(struct sl_mail *m)
{
    struct letter *l = of(m);

    sl_reload_worker_took(l->to->process, l->view);
    sl_free(l);
}

static void on_view(struct sl_mail *m)
{
    struct letter *l = of(m);

    struct sl_l7 *l7 = l->to->l7;
    struct sl_view *old = sl_l7_take_view(l7, l->view);

    m->on_mail = on_taken; /* the letter goes back as the receipt */
    sl_mailbox_post(l->to->process->loop, m);
    /* Only now: the old view must not come back before all receipts, for until then it is what the
     * control thread calls the running one. */
    sl_l7_let_go(l7, old);
}

static void on_set(struct sl_mail *m)
{
    struct letter *l = of(m);

    sl_l7_take_set(l->to->l7, l->pool->pool, l->set);
    if (l->received_us != 0) {
        sl_series_observe_us(l->pool->series, l->to->idx, SL_POOL_UPDATE,
                             sl_time_now_us() - l->received_us);
    }
    sl_free(l);
}

static void on_drain(struct sl_mail *m)
{
    struct letter *l = of(m);

    sl_l7_drain(l->to->l7, l->outbound_too);
    sl_free(l);
}

static void on_make_room(struct sl_mail *m)
{
    struct letter *l = of(m);

    sl_l7_close_idle(l->to->l7);
    sl_free(l);
}

static void on_stop(struct sl_mail *m)
{
    struct letter *l = of(m);

    sl_l7_stop_accepting(l->to->l7); /* first: it lets in who waits */
    sl_l7_close_all(l->to->l7);
    sl_l7_leave(l->to->l7);
    sl_loop_stop(l->to->loop);
    sl_free(l);
}

static void *run(void *arg)
{
    struct sl_worker *w = arg;
    char name[16];

    (void)snprintf(name, sizeof(name), "worker-%u", w->idx);
    (void)pthread_setname_np(pthread_self(), name); /* for people with top; no harm without */
    sl_loop_run(w->loop);
    return NULL;
}

/* ---- On the control thread */

int sl_workers_take_view(struct sl_process *p, struct sl_view *view)
{
    struct letter like = {.view = view};
    return mail_all(p, &like, on_view);
}

int sl_workers_take_set(struct sl_process *p, struct sl_run_pool *pool, struct sl_endpoint_set *set,
                        uint64_t received_us)
{
    struct letter like = {.pool = pool, .set = set, .received_us = received_us};
    return mail_all(p, &like, on_set);
}

int sl_workers_drain(struct sl_process *p, bool outbound_too)
{
    struct letter like = {.outbound_too = outbound_too};
    return mail_all(p, &like, on_drain);
}

void sl_workers_set_overload(struct sl_process *p, enum sl_overload_step step)
{
    for (uint32_t i = 0; i < p->workers_n; i++) {
        atomic_store_explicit(&p->workers[i].l7->overload, step, memory_order_relaxed);
    }
    if (step == SL_OVERLOAD_WAIT) {
        struct letter like = {0};
        (void)mail_all(p, &like, on_make_room); /* no memory: idle timeouts do it, later */
    }
}

void sl_workers_look(struct sl_process *p)
{
    for (uint32_t i = 0; i < p->running_n; i++) {
        sl_admission_tell(p->workers[i].l7);
    }
}

/* Rounded up from "max period" of cgroup v2; 0: no quota. */
static uint32_t quota_cpus(void)
{
    char text[64];
    unsigned long quota = 0;
    unsigned long period = 0;
    FILE *f = fopen("/sys/fs/cgroup/cpu.max", "re");
    if (f == NULL) {
        return 0;
    }
    if (fgets(text, sizeof(text), f) != NULL && strncmp(text, "max", 3) != 0) {
        char *rest = text;
        for (; *rest >= '0' && *rest <= '9'; rest++) {
            quota = quota * 10 + (unsigned long)(*rest - '0');
        }
        for (rest += *rest == ' '; *rest >= '0' && *rest <= '9'; rest++) {
            period = period * 10 + (unsigned long)(*rest - '0');
        }
    }
    (void)fclose(f); /* only read */
    return period > 0 ? (uint32_t)((quota + period - 1) / period) : 0;
}

uint32_t sl_workers_default_n(void)
{
    cpu_set_t set;
    uint32_t quota_n = quota_cpus();
    uint32_t cpus_n = sched_getaffinity(0, sizeof(set), &set) == 0 ? (uint32_t)CPU_COUNT(&set) : 1;

    if (quota_n > 0) {
        cpus_n = quota_n < cpus_n ? quota_n : cpus_n;
    } else if (secure_getenv("KUBERNETES_SERVICE_HOST") != NULL && cpus_n > 4) {
        cpus_n = 4; /* a pod without a quota shares the node: it should not take all of it */
    }
    return cpus_n < WORKERS_MAX_N ? cpus_n : WORKERS_MAX_N;
}

static int start_one(struct sl_process *p, struct sl_worker *w)
{
    int rc = sl_loop_new(&w->loop);
    if (rc == SL_OK) {
        rc = sl_access_log_new(w->loop, p->access_fd, p->series, w->idx, &w->log);
    }
    if (rc == SL_OK) {
        rc = sl_l7_new(w->loop, w->idx, p->workers_n, p->engines, w->log, p->series, &w->l7);
    }
    if (rc == SL_OK) {
        p->engines[w->idx] = w->l7;
    }
    return rc;
}

int sl_workers_start(struct sl_process *p, uint32_t workers_n)
{
    sigset_t all;
    sigset_t before;

    p->workers = sl_alloc_array(workers_n, sizeof(p->workers[0]));
    p->engines = (struct sl_l7 **)sl_alloc_array(workers_n, sizeof(struct sl_l7 *));
    if (p->workers == NULL || p->engines == NULL) {
        return SL_ENOMEM;
    }
    p->workers_n = workers_n;
    for (uint32_t i = 0; i < workers_n; i++) {
        p->workers[i].process = p;
        p->workers[i].idx = i;
        int rc = start_one(p, &p->workers[i]);
        if (rc != SL_OK) {
            return rc;
        }
    }
    /* Signals are the control thread's: a worker must not be interrupted by them. */
    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &before);
    int failed = 0;
    for (uint32_t i = 0; i < workers_n && failed == 0; i++) {
        failed = pthread_create(&p->workers[i].thread, NULL, run, &p->workers[i]);
        p->running_n += failed == 0;
    }
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    return failed == 0 ? SL_OK : sl_err_from_errno(failed);
}

void sl_workers_stop(struct sl_process *p)
{
    struct letter like = {0};

    /* Without memory for five words a worker the process may as well end as it is. */
    if (mail_all(p, &like, on_stop) != SL_OK) {
        _exit(1);
    }
    for (uint32_t i = 0; i < p->running_n; i++) {
        (void)pthread_join(p->workers[i].thread, NULL); /* fails only for what is no thread */
    }
}

void sl_workers_free(struct sl_process *p)
{
    for (uint32_t i = 0; i < p->workers_n; i++) {
        struct sl_worker *w = &p->workers[i];
        if (w->loop != NULL) {
            sl_loop_run_once(w->loop); /* the last mail: contexts to drop */
        }
        if (w->l7 != NULL) {
            sl_l7_free(w->l7);
        }
        if (w->log != NULL) {
            sl_access_log_free(w->log);
        }
        if (w->loop != NULL) {
            sl_loop_free(w->loop);
        }
    }
    sl_free(p->workers);
    sl_free((void *)p->engines);
    p->workers = NULL;
    p->workers_n = p->running_n = 0;
}
