/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hangs: once a second the newest set of each pool is looked through for endpoints that hang.
 */
#include "process.h"

#include "proxy/upstream/hang.h"

static void on_look(struct sl_timer *t)
{
    struct sl_process *p = sl_container_of(t, struct sl_process, hang_timer);

    for (struct sl_list *l = p->pools.next; l != &p->pools; l = l->next) {
        const struct sl_run_pool *rp = sl_container_of(l, struct sl_run_pool, link);
        if (rp->pool->newest != NULL) {
            (void)sl_hang_look(rp->pool, rp->pool->newest, sl_loop_now_ms(p->loop),
                               &p->hang_rng); /* each is logged */
        }
    }
}

void sl_hangs_start(struct sl_process *p)
{
    p->hang_rng.state = (uint64_t)(uintptr_t)p ^ sl_loop_now_ms(p->loop);
    sl_timer_init(&p->hang_timer, p->loop, on_look);
    sl_timer_start(&p->hang_timer, SL_HANG_LOOK_MS, SL_HANG_LOOK_MS);
}

void sl_hangs_stop(struct sl_process *p)
{
    sl_timer_stop(&p->hang_timer);
}
