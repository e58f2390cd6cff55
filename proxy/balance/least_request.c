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

static int build(const struct sl_endpoint_set *set, const struct sl_pool_config *conf,
                 struct sl_balancer_table **out, struct sl_error *err)
{
    (void)conf; /* nothing to set: two choices are the policy */
    return sl_lottery_build(&sl_least_request_ops, set, out, err);
}

static struct sl_endpoint *pick(struct sl_balancer *b, const struct sl_pick *ctx)
{
    SL_ASSERT(b->ops == &sl_least_request_ops, "balancer %p has foreign ops", (void *)b);
    const struct sl_lottery_table *t =
        sl_container_of_const(b->table, struct sl_lottery_table, base);
    struct sl_rng *rng = sl_container_of(b, struct sl_lottery_state, base)->rng;
    const struct sl_member *m = sl_lottery_less_busy(t->lottery, rng, ctx);

    return m != NULL ? m->endpoint : NULL;
}

const struct sl_balancer_ops sl_least_request_ops = {
    .name = "least_request",
    .build = build,
    .table_free = sl_lottery_table_free,
    .attach = sl_lottery_attach,
    .pick = pick, /* no feedback: the load that counts is all workers', and on the endpoint */
};
