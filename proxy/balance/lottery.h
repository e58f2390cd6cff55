/* SPDX-License-Identifier: Apache-2.0 */
/*
 * lottery: members drawn by chance, each as often as it weighs; for policies to build on.
 *
 * Lifetime:  of the policy's table that owns it
 * Thread:    new and free: control thread; draws: any, it is immutable
 * Ownership: borrows the set's members
 * Limits:    a draw is O(log n) while most of the weight is allowed, O(n) at worst
 */
#ifndef SL_BALANCE_LOTTERY_H
#define SL_BALANCE_LOTTERY_H

#include <sluiced/balancer.h>
#include <sluiced/defs.h>

#include <stddef.h>
#include <stdint.h>

struct sl_lottery {
    size_t slots_n; /* members of weight 0 get none, or the walk in draw would find them */
    struct sl_lottery_slot {
        const struct sl_member *member;
        uint64_t weight_upto; /* its own and of all slots before: rises strictly to the total */
    } slots[];
};

/* NULL: no memory. */
struct sl_lottery *sl_lottery_new(const struct sl_endpoint_set *set) SL_MUST_CHECK;
void sl_lottery_free(struct sl_lottery *l); /* accepts NULL */

/* An allowed member other than before, which may be NULL; NULL only when there is none. */
const struct sl_member *sl_lottery_draw(const struct sl_lottery *l, struct sl_rng *rng,
                                        const struct sl_pick *ctx, const struct sl_member *before);

/* The less busy of two that are drawn, by requests in flight per weight; NULL as above. */
const struct sl_member *sl_lottery_less_busy(const struct sl_lottery *l, struct sl_rng *rng,
                                             const struct sl_pick *ctx);

/* ---- Table and state of a policy that needs nothing but a lottery and chance */

struct sl_lottery_table {
    struct sl_balancer_table base;
    struct sl_lottery *lottery;
};

struct sl_lottery_state {
    struct sl_balancer base;
    struct sl_rng *rng;
};

/* As build of balancer.h, for the policy of these ops. */
int sl_lottery_build(const struct sl_balancer_ops *ops, const struct sl_endpoint_set *set,
                     struct sl_balancer_table **out, struct sl_error *err) SL_MUST_CHECK;
void sl_lottery_table_free(struct sl_balancer_table *table);
void sl_lottery_attach(struct sl_balancer *b, const struct sl_balancer_table *table,
                       struct sl_rng *rng);

#endif
