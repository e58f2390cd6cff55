/* SPDX-License-Identifier: Apache-2.0 */
/*
 * drain: not ready at once; connections are still taken for drain.delay, until the last client has
 * heard; then every response says goodbye; at drain.timeout what is left is cut.
 */
#include <sluiced/log.h>

#include "process.h"

#define LOOK_MS 20

static void end(struct sl_process *p)
{
    sl_log(SL_LOG_INFO, "drained", {"connections_cut", SL_LOG_UINT(sl_workers_open_n(p))},
           {"took_ms", SL_LOG_UINT(sl_loop_now_ms(p->loop) - p->drain_started_ms)});
    sl_timer_stop(&p->drain_timer);
    sl_loop_stop(p->loop);
}

static void on_drain_timer(struct sl_timer *t)
{
    struct sl_process *p = sl_container_of(t, struct sl_process, drain_timer);
    const struct sl_config *config = p->view != NULL ? p->view->config : NULL;
    uint64_t elapsed_ms = sl_loop_now_ms(p->loop) - p->drain_started_ms;
    uint64_t timeout_ms = config != NULL ? config->drain.timeout_ms : 0;

    if (!p->drain_closing) {
        /* Tried again should there be no memory for the mail. */
        p->drain_closing = sl_workers_drain(p) == SL_OK;
        sl_timer_start(&p->drain_timer, LOOK_MS, LOOK_MS);
        return;
    }
    if (sl_workers_open_n(p) == 0 || elapsed_ms >= timeout_ms) {
        end(p);
    }
}

void sl_drain_start(struct sl_process *p, bool at_once)
{
    uint64_t delay_ms = p->view != NULL && !at_once ? p->view->config->drain.delay_ms : 0;

    if (p->view == NULL || (at_once && p->drain_closing)) {
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
    } else if (!at_once || p->drain_closing) {
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
    *out = (struct sl_drain_info){
        .draining = p->drain_started_ms != 0,
        .closing = p->drain_closing,
        .inbound_n = sl_workers_open_n(p),
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
            out->outbound_n +=
                atomic_load_explicit(&t->items[i]->in_flight_n, memory_order_relaxed);
        }
    }
}
