/* SPDX-License-Identifier: Apache-2.0 */
/*
 * drain: not ready at once; connections are still taken for drain.delay, until the last client has
 * heard; then every response says goodbye; at drain.timeout what is left is cut. Outbound listeners
 * are the application's, which needs them to finish what came in: theirs is the same, but only when
 * nothing inbound is left and the application is quiet.
 */
#include <sluiced/log.h>
#include <sluiced/metrics.h>

#include "process.h"

#include "proxy/l7/listener.h"

#define LOOK_MS 20

struct open_n {
    uint64_t inbound;
    uint64_t outbound;
    uint64_t begun; /* ever, of both: some end between two looks */
};

static bool is_outbound(const struct sl_view *view, const struct sl_listener *l)
{
    for (size_t i = 0; view != NULL && i < view->listeners_n; i++) {
        if (view->listeners[i].handle == l) {
            return view->listeners[i].conf->is_outbound;
        }
    }
    return false; /* removed: whoever is left there is asked to leave already */
}

/* Those on their way from one worker to another count, too. */
static struct open_n count_open(const struct sl_process *p)
{
    struct open_n open = {0};

    for (const struct sl_listener *l = p->listeners; l != NULL; l = l->next) {
        uint32_t n = atomic_load_explicit(&l->refs_n, memory_order_relaxed);
        *(is_outbound(p->view, l) ? &open.outbound : &open.inbound) += n;
        open.begun += sl_series_sum(l->series, SL_LISTENER_CONNECTIONS);
    }
    return open;
}

static bool has_outbound(const struct sl_config *config)
{
    for (size_t i = 0; i < config->listeners_n; i++) {
        if (config->listeners[i].is_outbound) {
            return true;
        }
    }
    return false;
}

static void end(struct sl_process *p)
{
    struct open_n open = count_open(p);

    sl_log(SL_LOG_INFO, "drained", {"connections_cut", SL_LOG_UINT(open.inbound + open.outbound)},
           {"took_ms", SL_LOG_UINT(sl_loop_now_ms(p->loop) - p->drain_started_ms)});
    sl_timer_stop(&p->drain_timer);
    sl_loop_stop(p->loop);
}

/* Tried again should there be no memory for the mail. */
static void close_listeners(struct sl_process *p, bool outbound_too)
{
    if (sl_workers_drain(p, outbound_too) == SL_OK) {
        p->drain_step = outbound_too ? SL_DRAIN_ALL : SL_DRAIN_INBOUND;
        p->drain_quiet_ms = sl_loop_now_ms(p->loop);
    }
}

static void on_drain_timer(struct sl_timer *t)
{
    struct sl_process *p = sl_container_of(t, struct sl_process, drain_timer);
    const struct sl_config *config = p->view->config;
    uint64_t now_ms = sl_loop_now_ms(p->loop);
    struct open_n open = count_open(p);
    bool is_open = open.inbound + open.outbound > 0;

    switch (p->drain_step) {
    case SL_DRAIN_ACCEPTING:
        close_listeners(p, !has_outbound(config));
        sl_timer_start(&p->drain_timer, LOOK_MS, LOOK_MS);
        return;
    case SL_DRAIN_INBOUND:
        if (is_open || open.begun != p->drain_begun_n) {
            p->drain_quiet_ms = now_ms;
            p->drain_begun_n = open.begun;
        } else if (now_ms - p->drain_quiet_ms >= config->drain.quiet_ms) {
            close_listeners(p, true);
            return;
        }
        break;
    case SL_DRAIN_ALL:
        if (!is_open) {
            end(p);
            return;
        }
        break;
    }
    if (now_ms - p->drain_started_ms >= config->drain.timeout_ms) {
        end(p);
    }
}

void sl_drain_start(struct sl_process *p, bool at_once)
{
    uint64_t delay_ms = p->view != NULL && !at_once ? p->view->config->drain.delay_ms : 0;
    bool accepts = p->drain_step == SL_DRAIN_ACCEPTING;

    if (p->view == NULL || (at_once && !accepts)) {
        sl_drain_cut(p); /* nothing was begun, or asked for twice */
        return;
    }
    if (p->drain_started_ms == 0) {
        sl_reload_cancel(p);
        sl_timer_init(&p->drain_timer, p->loop, on_drain_timer);
        p->drain_started_ms = sl_loop_now_ms(p->loop);
        sl_log(SL_LOG_INFO, "draining", {"delay_ms", SL_LOG_UINT(delay_ms)},
               {"timeout_ms", SL_LOG_UINT(p->view->config->drain.timeout_ms)});
        sl_notify_stopping(&p->notify, "draining");
    } else if (!at_once || !accepts) {
        return;
    }
    sl_timer_start(&p->drain_timer, delay_ms, LOOK_MS);
}

void sl_drain_cut(struct sl_process *p)
{
    if (p->drain_started_ms != 0) {
        end(p);
    } else {
        sl_loop_stop(p->loop);
    }
}

void sl_drain_describe(const struct sl_process *p, struct sl_drain_info *out)
{
    struct open_n open = count_open(p);

    *out = (struct sl_drain_info){
        .draining = p->drain_started_ms != 0,
        .closing = p->drain_step != SL_DRAIN_ACCEPTING,
        .outbound_served = p->drain_step == SL_DRAIN_INBOUND,
        .inbound_n = open.inbound,
        .outbound_n = open.outbound,
    };
    if (out->draining) {
        out->elapsed_ms = sl_loop_now_ms(p->loop) - p->drain_started_ms;
    }
    if (p->view != NULL) {
        out->delay_ms = p->view->config->drain.delay_ms;
        out->timeout_ms = p->view->config->drain.timeout_ms;
    }
    for (const struct sl_list *l = p->pools.next; l != &p->pools; l = l->next) {
        const struct sl_run_pool *rp = sl_container_of_const(l, struct sl_run_pool, link);
        const struct sl_endpoint_table *t = &rp->pool->endpoints;

        for (size_t i = 0; i < t->n; i++) {
            out->requests_n +=
                atomic_load_explicit(&t->items[i]->in_flight_n, memory_order_relaxed);
        }
    }
}
