/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rate: how often something happened in the last seconds.
 *
 * Each bucket is a second in its upper half and the count of it in the lower: so a reader never
 * joins an old count with a new second.
 *
 * Lifetime:  its owner's; all zero at first
 * Thread:    add, take_back: one; sum: any, for who asks may be another worker
 * Limits:    the second that runs and the SL_RATE_BUCKETS_N - 2 before it
 */
#ifndef SL_UPSTREAM_RATE_H
#define SL_UPSTREAM_RATE_H

#include <sluiced/err.h>

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#define SL_RATE_BUCKETS_N 16

struct sl_rate {
    _Atomic uint64_t buckets[SL_RATE_BUCKETS_N];
};

static inline void sl_rate_add(struct sl_rate *r, uint64_t now_ms)
{
    uint64_t second = now_ms / 1000;
    _Atomic uint64_t *bucket = &r->buckets[second % SL_RATE_BUCKETS_N];
    uint64_t v = atomic_load_explicit(bucket, memory_order_relaxed);

    v = v >> 32 == second ? v + 1 : second << 32 | 1;
    atomic_store_explicit(bucket, v, memory_order_relaxed);
}

/* What add counted with the same clock did not happen. */
static inline void sl_rate_take_back(struct sl_rate *r, uint64_t now_ms)
{
    _Atomic uint64_t *bucket = &r->buckets[now_ms / 1000 % SL_RATE_BUCKETS_N];
    uint64_t v = atomic_load_explicit(bucket, memory_order_relaxed);

    SL_ASSERT(v >> 32 == now_ms / 1000 && (v & UINT32_MAX) > 0, "nothing was added in this second");
    atomic_store_explicit(bucket, v - 1, memory_order_relaxed);
}

/* In the second that runs and so many before it. */
static inline uint64_t sl_rate_sum(const struct sl_rate *r, uint64_t now_ms, uint64_t seconds_n)
{
    uint64_t second = now_ms / 1000;
    uint64_t total = 0;

    for (size_t i = 0; i < SL_RATE_BUCKETS_N; i++) {
        uint64_t v = atomic_load_explicit(&r->buckets[i], memory_order_relaxed);
        /* Another worker's turn may have begun a moment later: what is ahead counts too. */
        if ((v >> 32) + seconds_n >= second) {
            total += v & UINT32_MAX;
        }
    }
    return total;
}

#endif
