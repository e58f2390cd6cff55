/* SPDX-License-Identifier: Apache-2.0 */
#include "lottery.h"

#include "proxy/base/alloc.h"
#include "proxy/base/rng.h"

#define DRAWS_N 4 /* with half of the weight out, one draw in 16 falls back to the walk */

struct sl_lottery *sl_lottery_new(const struct sl_endpoint_set *set)
{
    struct sl_lottery *l = sl_alloc_flex(sizeof(*l), set->members_n, sizeof(l->slots[0]));
    uint64_t weight = 0;

    if (l == NULL) {
        return NULL;
    }
    for (size_t i = 0; i < set->members_n; i++) {
        const struct sl_member *m = &set->members[i];
        if (m->weight > 0) {
            weight += m->weight;
            l->slots[l->slots_n++] = (struct sl_lottery_slot){.member = m, .weight_upto = weight};
        }
    }
    return l;
}

void sl_lottery_free(struct sl_lottery *l)
{
    sl_free(l);
}

/* The slot that owns point on the line [0, total weight): the first that reaches beyond it. */
static size_t slot_at(const struct sl_lottery *l, uint64_t point)
{
    size_t lo = 0;
    for (size_t n = l->slots_n; n > 1; n -= n / 2) {
        lo += point >= l->slots[lo + n / 2 - 1].weight_upto ? n / 2 : 0;
    }
    return lo;
}

/* Where chance fails, it walks round once. That favours who stands behind a row of dead; whoever
 * compares loads evens it. */
const struct sl_member *sl_lottery_draw(const struct sl_lottery *l, struct sl_rng *rng,
                                        const struct sl_pick *ctx, const struct sl_member *before)
{
    size_t idx = 0;
    for (size_t i = 0; l->slots_n > 0 && i < DRAWS_N + l->slots_n; i++) {
        idx = i < DRAWS_N ? slot_at(l, sl_rng_below(rng, l->slots[l->slots_n - 1].weight_upto))
                          : (idx + 1) % l->slots_n;
        const struct sl_member *m = l->slots[idx].member;
        if (m != before && sl_pick_allows(ctx, m)) {
            return m;
        }
    }
    return NULL;
}

/* Requests per weight, multiplied out: 32 x 16 bits cannot overflow. A tie is not busier: the
 * first draw stands, so an idle pool follows the weights exactly. */
static bool busier(const struct sl_member *a, const struct sl_member *b)
{
    uint64_t a_n = atomic_load_explicit(&a->endpoint->in_flight_n, memory_order_relaxed);
    uint64_t b_n = atomic_load_explicit(&b->endpoint->in_flight_n, memory_order_relaxed);
    return a_n * b->weight > b_n * a->weight;
}

const struct sl_member *sl_lottery_less_busy(const struct sl_lottery *l, struct sl_rng *rng,
                                             const struct sl_pick *ctx)
{
    const struct sl_member *first = sl_lottery_draw(l, rng, ctx, NULL);
    if (first == NULL) {
        return NULL;
    }
    const struct sl_member *second = sl_lottery_draw(l, rng, ctx, first);
    return second != NULL && busier(first, second) ? second : first;
}

int sl_lottery_build(const struct sl_balancer_ops *ops, const struct sl_endpoint_set *set,
                     struct sl_balancer_table **out, struct sl_error *err)
{
    struct sl_lottery_table *t = sl_alloc(sizeof(*t));

    if (t != NULL) {
        t->lottery = sl_lottery_new(set);
    }
    if (t == NULL || t->lottery == NULL) {
        sl_free(t);
        return sl_error_set(err, SL_ENOMEM, NULL, "no memory for %zu endpoints", set->members_n);
    }
    t->base.ops = ops;
    t->base.state_bytes = sizeof(struct sl_lottery_state);
    *out = &t->base;
    return SL_OK;
}

void sl_lottery_table_free(struct sl_balancer_table *table)
{
    struct sl_lottery_table *t = sl_container_of(table, struct sl_lottery_table, base);

    sl_lottery_free(t->lottery);
    sl_free(t);
}

void sl_lottery_attach(struct sl_balancer *b, const struct sl_balancer_table *table,
                       struct sl_rng *rng)
{
    b->ops = table->ops;
    b->table = table;
    sl_container_of(b, struct sl_lottery_state, base)->rng = rng;
}
