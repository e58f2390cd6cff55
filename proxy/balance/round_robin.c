/* SPDX-License-Identifier: Apache-2.0 */
/*
 * round_robin: each worker goes round a fixed order in which members stand as often as they weigh.
 *
 * The order is made once, where nginx's smooth weighted round robin asks every peer at each pick:
 * so a pick costs O(1), and spreads a member's turns at least as evenly (proxy/base/fair.h).
 * A member that is out leaves its turns to members drawn by weight, not to whoever stands behind
 * it: that one would carry twice its share.
 */
#include "policies.h"

#include "proxy/base/alloc.h"
#include "proxy/base/fair.h"
#include "proxy/base/rng.h"

#define DRAWS_N 4 /* with half of the weight out, one missed turn in 16 falls back to the walk */

/* The longest order, unless the members are so many that each would have fewer than 8 turns. A
 * longer cycle has its weights scaled down, so a share is off by half a turn; least is one turn. */
#define TURNS_MAX_N 65536

struct table {
    struct sl_balancer_table base;
    uint32_t turns_n;
    const struct sl_member *turns[];
};

struct state {
    struct sl_balancer base;
    struct sl_rng *rng;
    uint32_t next;
};

static int start_fair(struct sl_fair *fair, const struct sl_endpoint_set *set, uint32_t *weights)
{
    uint64_t turns_max_n = set->members_n > TURNS_MAX_N / 8 ? set->members_n * 8 : TURNS_MAX_N;
    uint64_t total = 0;

    for (size_t i = 0; i < set->members_n; i++) {
        weights[i] = set->members[i].weight;
        total += weights[i];
    }
    int rc = sl_fair_init(fair, weights, set->members_n);
    if (rc != SL_OK || fair->turns_n <= turns_max_n) {
        return rc;
    }
    sl_fair_fini(fair);
    for (size_t i = 0; i < set->members_n; i++) {
        if (weights[i] > 0) {
            uint64_t scaled = (weights[i] * turns_max_n + total / 2) / total;
            weights[i] = scaled > 0 ? (uint32_t)scaled : 1;
        }
    }
    return sl_fair_init(fair, weights, set->members_n);
}

static int build(const struct sl_endpoint_set *set, const struct sl_pool_config *conf,
                 struct sl_balancer_table **out, struct sl_error *err)
{
    struct sl_fair fair = {0};
    struct table *t = NULL;
    uint32_t *weights = sl_alloc_array(set->members_n, sizeof(*weights));
    int rc = SL_ENOMEM;
    (void)conf; /* nothing to set */

    if (weights == NULL) {
        goto out;
    }
    rc = start_fair(&fair, set, weights);
    if (rc == SL_ENOMEM) {
        goto free_weights;
    }
    rc = SL_ENOMEM; /* from here; SL_ELIMIT left a cycle of no turns: there is no weight at all */
    t = sl_alloc_flex(sizeof(*t), fair.turns_n, sizeof(t->turns[0]));
    if (t == NULL) {
        goto fini_fair;
    }
    t->base.ops = &sl_round_robin_ops;
    t->base.state_bytes = sizeof(struct state);
    t->turns_n = fair.turns_n;
    for (uint32_t i = 0; i < t->turns_n; i++) {
        t->turns[i] = &set->members[sl_fair_next(&fair)];
    }
    *out = &t->base;
    rc = SL_OK;
fini_fair:
    sl_fair_fini(&fair);
free_weights:
    sl_free(weights);
out:
    return rc == SL_OK ? SL_OK
                       : sl_error_set(err, rc, NULL, "no memory for %zu endpoints", set->members_n);
}

static void table_free(struct sl_balancer_table *table)
{
    sl_free(sl_container_of(table, struct table, base));
}

static void attach(struct sl_balancer *b, const struct sl_balancer_table *table, struct sl_rng *rng)
{
    const struct table *t = sl_container_of_const(table, struct table, base);
    struct state *s = sl_container_of(b, struct state, base);

    b->ops = &sl_round_robin_ops;
    b->table = table;
    s->rng = rng;
    s->next = t->turns_n > 0 ? (uint32_t)sl_rng_below(rng, t->turns_n) : 0;
}

static uint32_t after(const struct table *t, uint32_t idx)
{
    return idx + 1 < t->turns_n ? idx + 1 : 0;
}

static struct sl_endpoint *pick(struct sl_balancer *b, const struct sl_pick *ctx)
{
    SL_ASSERT(b->ops == &sl_round_robin_ops, "balancer %p has foreign ops", (void *)b);
    const struct table *t = sl_container_of_const(b->table, struct table, base);
    struct state *s = sl_container_of(b, struct state, base);
    if (t->turns_n == 0) {
        return NULL;
    }
    uint32_t idx = s->next;
    s->next = after(t, idx);
    for (uint32_t i = 0; i <= DRAWS_N + t->turns_n; i++) {
        if (sl_pick_allows(ctx, t->turns[idx])) {
            return t->turns[idx]->endpoint;
        }
        idx = i < DRAWS_N ? (uint32_t)sl_rng_below(s->rng, t->turns_n) : after(t, idx);
    }
    return NULL;
}

const struct sl_balancer_ops sl_round_robin_ops = {
    .name = "round_robin",
    .build = build,
    .table_free = table_free,
    .attach = attach,
    .pick = pick, /* no feedback: whose turn it is does not hang on load */
};
