/* SPDX-License-Identifier: Apache-2.0 */
#include "split.h"

#include "proxy/base/alloc.h"
#include "proxy/base/fair.h"

#include <stdatomic.h>

struct sl_split {
    _Alignas(64) _Atomic uint64_t ticket; /* the one word that all workers write */

    _Alignas(64) uint32_t cycle_n;
    uint32_t sides_n;
    uint32_t per_cycle[SL_SPLIT_SIDES_MAX_N];
    uint8_t sides[]; /* of each ticket of a cycle */
};

static int check(const uint32_t *weights, size_t sides_n, struct sl_error *err)
{
    uint64_t total = 0;

    if (sides_n == 0 || sides_n > SL_SPLIT_SIDES_MAX_N) {
        return sl_error_set(err, SL_ECONFIG, NULL, "expected 1 to %d sides of a split, found %zu",
                            SL_SPLIT_SIDES_MAX_N, sides_n);
    }
    for (size_t i = 0; i < sides_n; i++) {
        if (weights[i] > SL_SPLIT_WEIGHT_MAX) {
            return sl_error_set(err, SL_ECONFIG, NULL, "expected a weight up to %d, found %u",
                                SL_SPLIT_WEIGHT_MAX, weights[i]);
        }
        total += weights[i];
    }
    return total > 0 ? SL_OK
                     : sl_error_set(err, SL_ECONFIG, NULL,
                                    "expected a weight above 0 on at least one side of the split");
}

int sl_split_build(const uint32_t *weights, size_t sides_n, struct sl_split **out,
                   struct sl_error *err)
{
    struct sl_fair fair;
    int rc = check(weights, sides_n, err);

    if (rc != SL_OK) {
        return rc;
    }
    if (sl_fair_init(&fair, weights, sides_n) != SL_OK) { /* within its limit, by check() */
        return sl_error_set(err, SL_ENOMEM, NULL, "no memory for a split of %zu sides", sides_n);
    }
    struct sl_split *s = sl_alloc_aligned(64, sizeof(*s) + fair.turns_n);
    if (s == NULL) {
        rc = sl_error_set(err, SL_ENOMEM, NULL, "no memory for a split of %u turns", fair.turns_n);
        goto fini_fair;
    }
    s->cycle_n = fair.turns_n;
    s->sides_n = (uint32_t)sides_n;
    for (uint32_t t = 0; t < s->cycle_n; t++) {
        uint32_t side = sl_fair_next(&fair);
        s->sides[t] = (uint8_t)side;
        s->per_cycle[side]++;
    }
    *out = s;
fini_fair:
    sl_fair_fini(&fair);
    return rc;
}

void sl_split_free(struct sl_split *s)
{
    sl_free(s);
}

uint32_t sl_split_pick(struct sl_split *s)
{
    /* Relaxed: the ticket orders the decisions, nothing else hangs on it. */
    return s->sides[atomic_fetch_add_explicit(&s->ticket, 1, memory_order_relaxed) % s->cycle_n];
}

uint64_t sl_split_counts(const struct sl_split *s, uint64_t *counts)
{
    uint64_t tickets_n = atomic_load_explicit(&s->ticket, memory_order_relaxed);

    for (uint32_t i = 0; i < s->sides_n; i++) {
        counts[i] = tickets_n / s->cycle_n * s->per_cycle[i];
    }
    for (uint32_t t = 0; t < tickets_n % s->cycle_n; t++) {
        counts[s->sides[t]]++;
    }
    return tickets_n;
}
