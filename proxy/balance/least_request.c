/* SPDX-License-Identifier: Apache-2.0 */
/*
 * least_request: two endpoints drawn by weight, and the less busy of them wins.
 *
 * Two and not the minimum of all: the fullest endpoint stays within O(log log n) of the mean, at
 * the price of two reads, and workers whose counters lag do not all rush to the same minimum.
 * Source: Mitzenmacher, "The Power of Two Choices in Randomized Load Balancing", TPDS 12(10), 2001
 */
#include "policies.h"

#include "proxy/base/alloc.h"
#include "proxy/base/rng.h"

#define DRAWS_N 4 /* with half of the weight out, one pick in 16 falls back to the walk */

struct table {
    struct sl_balancer_table base;
    size_t slots_n; /* members of weight 0 get none, or the walk in draw would find them */
    struct slot {
        const struct sl_member *member;
        uint64_t weight_upto; /* its own and of all slots before: rises strictly to the total */
    } slots[];
};

struct state {
    struct sl_balancer base;
    struct sl_rng *rng;
};

static int build(const struct sl_endpoint_set *set, const struct sl_pool_config *conf,
                 struct sl_balancer_table **out, struct sl_error *err)
{
    struct table *t = sl_alloc_flex(sizeof(*t), set->members_n, sizeof(t->slots[0]));
    uint64_t weight = 0;
    (void)conf; /* nothing to set: two choices are the policy */
    if (t == NULL) {
        return sl_error_set(err, SL_ENOMEM, NULL, "no memory for %zu endpoints", set->members_n);
    }
    t->base.ops = &sl_least_request_ops;
    t->base.state_bytes = sizeof(struct state);
    for (size_t i = 0; i < set->members_n; i++) {
        const struct sl_member *m = &set->members[i];
        if (m->weight > 0) {
            weight += m->weight;
            t->slots[t->slots_n++] = (struct slot){.member = m, .weight_upto = weight};
        }
    }
    *out = &t->base;
    return SL_OK;
}

static void table_free(struct sl_balancer_table *table)
{
    sl_free(sl_container_of(table, struct table, base));
}

static void attach(struct sl_balancer *b, const struct sl_balancer_table *table, struct sl_rng *rng)
{
    b->ops = &sl_least_request_ops;
    b->table = table;
    sl_container_of(b, struct state, base)->rng = rng;
}

/* The slot that owns point on the line [0, total weight): the first that reaches beyond it. */
static size_t slot_at(const struct table *t, uint64_t point)
{
    size_t lo = 0;
    for (size_t n = t->slots_n; n > 1; n -= n / 2) {
        lo += point >= t->slots[lo + n / 2 - 1].weight_upto ? n / 2 : 0;
    }
    return lo;
}

/* An allowed member other than the one drawn before; NULL only when there is none: where chance
 * fails, it walks round once. That favours who stands behind a row of dead; busier() evens it. */
static const struct sl_member *draw(const struct table *t, struct sl_rng *rng,
                                    const struct sl_pick *ctx, const struct sl_member *before)
{
    size_t idx = 0;
    for (size_t i = 0; t->slots_n > 0 && i < DRAWS_N + t->slots_n; i++) {
        idx = i < DRAWS_N ? slot_at(t, sl_rng_below(rng, t->slots[t->slots_n - 1].weight_upto))
                          : (idx + 1) % t->slots_n;
        const struct sl_member *m = t->slots[idx].member;
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

static struct sl_endpoint *pick(struct sl_balancer *b, const struct sl_pick *ctx)
{
    SL_ASSERT(b->ops == &sl_least_request_ops, "balancer %p has foreign ops", (void *)b);
    const struct table *t = sl_container_of_const(b->table, struct table, base);
    struct sl_rng *rng = sl_container_of(b, struct state, base)->rng;
    const struct sl_member *first = draw(t, rng, ctx, NULL);
    if (first == NULL) {
        return NULL;
    }
    const struct sl_member *second = draw(t, rng, ctx, first);
    return second != NULL && busier(first, second) ? second->endpoint : first->endpoint;
}

const struct sl_balancer_ops sl_least_request_ops = {
    .name = "least_request",
    .build = build,
    .table_free = table_free,
    .attach = attach,
    .pick = pick, /* no feedback: the load that counts is all workers', and on the endpoint */
};
