/* SPDX-License-Identifier: Apache-2.0 */
#include "idle_limit.h"

#define LOAD(field) atomic_load_explicit(&(field), memory_order_relaxed)
#define STORE(field, v) atomic_store_explicit(&(field), (v), memory_order_relaxed)
#define SAME_LEAST_MS 50 /* what timers and the loop may be off by */
#define SEEN_N 3         /* closes that make a timer */

static bool is_same(uint64_t a_ms, uint64_t b_ms)
{
    uint64_t less = a_ms < b_ms ? a_ms : b_ms;
    uint64_t apart = a_ms < b_ms ? b_ms - a_ms : a_ms - b_ms;

    return apart <= SAME_LEAST_MS || apart <= less / 8;
}

static void see(struct sl_endpoint_idle *idle, uint64_t idle_ms, uint32_t n, uint64_t now_ms)
{
    STORE(idle->seen_ms, idle_ms);
    STORE(idle->seen_n, n);
    STORE(idle->seen_at_ms, now_ms);
}

void sl_idle_limit_on_closed(struct sl_endpoint *ep, uint64_t idle_ms, uint64_t now_ms)
{
    struct sl_endpoint_idle *idle = &ep->idle;
    uint64_t seen_at_ms = LOAD(idle->seen_at_ms);
    uint64_t seen_ms = LOAD(idle->seen_ms);
    uint32_t n = LOAD(idle->seen_n);

    if (idle_ms < SL_IDLE_LIMIT_LEAST_MS) {
        return; /* no server's timer is so short: it had another reason */
    }
    if (n == 0 || now_ms - seen_at_ms >= SL_IDLE_LIMIT_FORGET_MS || !is_same(seen_ms, idle_ms)) {
        see(idle, idle_ms, 1, now_ms);
        return;
    }
    if (now_ms - seen_at_ms < SL_IDLE_LIMIT_APART_MS) {
        return; /* perhaps the same event, which ends many */
    }
    uint64_t least_ms = seen_ms < idle_ms ? seen_ms : idle_ms;
    see(idle, least_ms, n < SEEN_N ? n + 1 : n, now_ms);
    if (n + 1 >= SEEN_N) {
        STORE(idle->limit_ms, least_ms);
        STORE(idle->learned_at_ms, now_ms);
    }
}

uint64_t sl_idle_limit_below(uint64_t limit_ms)
{
    return limit_ms - limit_ms / 5;
}

uint64_t sl_idle_limit_learned(const struct sl_endpoint *ep, uint64_t now_ms)
{
    uint64_t at_ms = LOAD(ep->idle.learned_at_ms);

    return at_ms != 0 && now_ms - at_ms < SL_IDLE_LIMIT_FORGET_MS ? LOAD(ep->idle.limit_ms) : 0;
}

uint64_t sl_idle_limit_apply(const struct sl_endpoint *ep, uint64_t wanted_ms, uint64_t now_ms)
{
    uint64_t learned_ms = sl_idle_limit_learned(ep, now_ms);

    if (learned_ms == 0 || sl_idle_limit_below(learned_ms) >= wanted_ms) {
        return wanted_ms;
    }
    return sl_idle_limit_below(learned_ms);
}
