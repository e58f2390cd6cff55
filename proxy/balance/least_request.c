/* SPDX-License-Identifier: Apache-2.0 */
/*
 * least_request: two endpoints drawn by weight, and the less busy of them wins.
 *
 * Two and not the minimum of all: the fullest endpoint stays within O(log log n) of the mean, at
 * the price of two reads, and workers whose counters lag do not all rush to the same minimum.
 * Source: Mitzenmacher, "The Power of Two Choices in Randomized Load Balancing", TPDS 12(10), 2001
 */
#include "lottery.h"
#include "policies.h"

#include "proxy/base/alloc.h"

struct table {
    struct sl_balancer_table base;
    struct sl_lottery *lottery;
};

struct state {
    struct sl_balancer base;
    struct sl_rng *rng;
};

static int build(const struct sl_endpoint_set *set, const struct sl_pool_config *conf,
                 struct sl_balancer_table **out, struct sl_error *err)
{
    struct table *t = sl_alloc(sizeof(*t));
    (void)conf; /* nothing to set: two choices are the policy */
    if (t != NULL) {
        t->lottery = sl_lottery_new(set);
    }
    if (t == NULL || t->lottery == NULL) {
        sl_free(t);
        return sl_error_set(err, SL_ENOMEM, NULL, "no memory for %zu endpoints", set->members_n);
    }
    t->base.ops = &sl_least_request_ops;
    t->base.state_bytes = sizeof(struct state);
    *out = &t->base;
    return SL_OK;
}

static void table_free(struct sl_balancer_table *table)
{
    struct table *t = sl_container_of(table, struct table, base);

    sl_lottery_free(t->lottery);
    sl_free(t);
}

static void attach(struct sl_balancer *b, const struct sl_balancer_table *table, struct sl_rng *rng)
{
    b->ops = &sl_least_request_ops;
    b->table = table;
    sl_container_of(b, struct state, base)->rng = rng;
}

static struct sl_endpoint *pick(struct sl_balancer *b, const struct sl_pick *ctx)
{
    SL_ASSERT(b->ops == &sl_least_request_ops, "balancer %p has foreign ops", (void *)b);
    const struct table *t = sl_container_of_const(b->table, struct table, base);
    struct sl_rng *rng = sl_container_of(b, struct state, base)->rng;
    const struct sl_member *m = sl_lottery_less_busy(t->lottery, rng, ctx);

    return m != NULL ? m->endpoint : NULL;
}

const struct sl_balancer_ops sl_least_request_ops = {
    .name = "least_request",
    .build = build,
    .table_free = table_free,
    .attach = attach,
    .pick = pick, /* no feedback: the load that counts is all workers', and on the endpoint */
};
