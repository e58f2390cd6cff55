/* SPDX-License-Identifier: Apache-2.0 */
#include "connections.h"

#include <sluiced/err.h>

static uint32_t load(const _Atomic uint32_t *v)
{
    return atomic_load_explicit(v, memory_order_relaxed);
}

static bool take(_Atomic uint32_t *count, uint32_t max_n)
{
    uint32_t n = load(count);

    do {
        if (max_n != 0 && n >= max_n) {
            return false;
        }
    } while (!atomic_compare_exchange_weak_explicit(count, &n, n + 1, memory_order_relaxed,
                                                    memory_order_relaxed));
    return true;
}

static void give(_Atomic uint32_t *count)
{
    uint32_t before_n = atomic_fetch_sub_explicit(count, 1, memory_order_relaxed);

    SL_ASSERT(before_n > 0, "more connections were closed than opened");
}

bool sl_pool_connections_take(struct sl_pool_connections *c, struct sl_endpoint *ep)
{
    if (!take(&c->open_n, load(&c->max_n))) {
        return false;
    }
    if (!take(&ep->connections_n, load(&ep->connections_max_n))) {
        give(&c->open_n);
        return false;
    }
    return true;
}

void sl_pool_connections_give(struct sl_pool_connections *c, struct sl_endpoint *ep)
{
    give(&ep->connections_n);
    give(&c->open_n);
}

bool sl_pool_connections_are_full(const struct sl_pool_connections *c)
{
    uint32_t max_n = load(&c->max_n);

    return max_n != 0 && load(&c->open_n) >= max_n;
}

bool sl_pool_connections_want(struct sl_pool_connections *c, uint32_t worker_idx, uint64_t now_ms)
{
    uint64_t asked_ms = atomic_load_explicit(&c->asked_ms, memory_order_relaxed);

    atomic_store_explicit(&c->wanted_by, worker_idx + 1, memory_order_relaxed);
    return now_ms >= asked_ms + SL_CONNECTIONS_ASK_MS &&
           atomic_compare_exchange_strong_explicit(&c->asked_ms, &asked_ms, now_ms,
                                                   memory_order_relaxed, memory_order_relaxed);
}

bool sl_pool_connections_are_wanted(const struct sl_pool_connections *c, uint32_t worker_idx)
{
    uint32_t by = load(&c->wanted_by);

    return by != 0 && by != worker_idx + 1;
}

void sl_pool_connections_gave(struct sl_pool_connections *c)
{
    atomic_store_explicit(&c->wanted_by, 0, memory_order_relaxed);
}
