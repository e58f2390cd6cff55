/* SPDX-License-Identifier: Apache-2.0 */
/*
 * crowd: for tests of policies: a set of endpoints, its table, and one worker's balancer.
 */
#ifndef SL_TESTS_BALANCE_CROWD_H
#define SL_TESTS_BALANCE_CROWD_H

#include <sluiced/balancer.h>

#include "proxy/base/rng.h"

#include <stddef.h>
#include <stdint.h>

#define CROWD_NOW_MS 1000

/* Of SL_TIER_READY at CROWD_NOW_MS. */
extern const struct sl_pick crowd_pick;

struct crowd {
    const struct sl_balancer_ops *ops;
    struct sl_endpoint *endpoints;
    struct sl_member *members;
    struct sl_endpoint_set set;
    struct sl_balancer_table *table;
    struct sl_balancer *balancer;
    struct sl_rng rng;
};

/* n endpoints at 10.0.0.0:8000 and up, no two alike; weights: n of them; NULL: all 1. conf may be
 * NULL. */
void crowd_init(struct crowd *c, const struct sl_balancer_ops *ops, size_t n,
                const uint16_t *weights, const struct sl_pool_config *conf);
void crowd_fini(struct crowd *c);

/* Another set of the same endpoints, as discovery would publish it: without the endpoint at
 * without_idx. A crowd in its own right, with the endpoints of from, which must live on. */
void crowd_init_without(struct crowd *c, const struct crowd *from, size_t without_idx);

/* The index in the crowd that made the endpoints of the one picked, -1 for none. */
int crowd_pick_idx(struct crowd *c, const struct sl_pick *ctx);

/* The same for a key. */
int crowd_pick_key(struct crowd *c, uint64_t key_hash);

/* How far counts are from what the weights want: Pearson's chi-square. A member of weight 0 must
 * have none. */
double crowd_chi_square(const struct crowd *c, const uint32_t *got_n, uint32_t total_n);

#endif
