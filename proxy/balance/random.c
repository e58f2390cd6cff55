/* SPDX-License-Identifier: Apache-2.0 */
/*
 * random: an endpoint drawn by weight, whatever it has to do.
 *
 * For endpoints whose requests cost alike, or whose load is nobody's business here: what a draw
 * decides no counter can mislead.
 */
#include "lottery.h"
#include "policies.h"

static int build(const struct sl_endpoint_set *set, const struct sl_pool_config *conf,
                 struct sl_balancer_table **out, struct sl_error *err)
{
    (void)conf; /* nothing to set */
    return sl_lottery_build(&sl_random_ops, set, out, err);
}

static struct sl_endpoint *pick(struct sl_balancer *b, const struct sl_pick *ctx)
{
    SL_ASSERT(b->ops == &sl_random_ops, "balancer %p has foreign ops", (void *)b);
    const struct sl_lottery_table *t =
        sl_container_of_const(b->table, struct sl_lottery_table, base);
    struct sl_lottery_state *s = sl_container_of(b, struct sl_lottery_state, base);
    const struct sl_member *m = sl_lottery_draw(t->lottery, s->rng, ctx, NULL);

    return m != NULL ? m->endpoint : NULL;
}

const struct sl_balancer_ops sl_random_ops = {
    .name = "random",
    .build = build,
    .table_free = sl_lottery_table_free,
    .attach = sl_lottery_attach,
    .pick = pick,
};
