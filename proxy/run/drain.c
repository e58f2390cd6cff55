/* SPDX-License-Identifier: Apache-2.0 */
/*
 * drain: not ready at once; connections are still taken for drain.delay, until the last client has
 * heard; then every response says goodbye; at drain.timeout what is left is cut.
 */
#include <sluiced/log.h>

#include "process.h"

#define LOOK_MS 20

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
    uint32_t open_n = sl_workers_open_n(p);
    if (open_n == 0 || elapsed_ms >= timeout_ms) {
        sl_log(SL_LOG_INFO, "drained", {"connections_cut", SL_LOG_UINT(open_n)},
               {"took_ms", SL_LOG_UINT(elapsed_ms)});
        sl_timer_stop(&p->drain_timer);
        sl_loop_stop(p->loop);
    }
}

void sl_drain_start(struct sl_process *p, bool at_once)
{
    uint64_t delay_ms = p->view != NULL && !at_once ? p->view->config->drain.delay_ms : 0;

    if (p->view == NULL || (p->drain_started_ms != 0 && at_once && p->drain_closing)) {
        sl_loop_stop(p->loop); /* nothing was begun, or asked for twice */
        return;
    }
    if (p->drain_started_ms == 0) {
        sl_reload_cancel(p);
        sl_timer_init(&p->drain_timer, p->loop, on_drain_timer);
        p->drain_started_ms = sl_loop_now_ms(p->loop);
        sl_log(SL_LOG_INFO, "draining", {"delay_ms", SL_LOG_UINT(delay_ms)},
               {"timeout_ms", SL_LOG_UINT(p->view->config->drain.timeout_ms)});
    } else if (!at_once || p->drain_closing) {
        return;
    }
    sl_timer_start(&p->drain_timer, delay_ms, LOOK_MS);
}
