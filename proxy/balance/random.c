/* SPDX-License-Identifier: Apache-2.0 */
/*
 * random: an endpoint drawn by weight, whatever it has to do.
 *
 * For endpoints whose requests cost alike, or whose load is nobody's business here: what a draw
 * decides no counter can mislead.
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
    (void)conf; /* nothing to set */
    if (t != NULL) {
        t->lottery = sl_lottery_new(set);
    }
    if (t == NULL || t->lottery == NULL) {
        sl_free(t);
        return sl_error_set(err, SL_ENOMEM, NULL, "no memory for %zu endpoints", set->members_n);
    }
    t->base.ops = &sl_random_ops;
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
    b->ops = &sl_random_ops;
    b->table = table;
    sl_container_of(b, struct state, base)->rng = rng;
}

static struct sl_endpoint *pick(struct sl_balancer *b, const struct sl_pick *ctx)
{
    SL_ASSERT(b->ops == &sl_random_ops, "balancer %p has foreign ops", (void *)b);
    const struct table *t = sl_container_of_const(b->table, struct table, base);
    struct state *s = sl_container_of(b, struct state, base);
    const struct sl_member *m = sl_lottery_draw(t->lottery, s->rng, ctx, NULL);

    return m != NULL ? m->endpoint : NULL;
}

const struct sl_balancer_ops sl_random_ops = {
    .name = "random",
    .build = build,
    .table_free = table_free,
    .attach = attach,
    .pick = pick,
};
