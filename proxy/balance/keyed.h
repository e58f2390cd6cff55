/* SPDX-License-Identifier: Apache-2.0 */
/*
 * keyed: what policies have in common that send a key to the endpoint it was sent to before.
 *
 * A policy says where a hash belongs (place); here that is asked until an endpoint is found that
 * may be used and is not too busy. Too busy (bounded load): it has more requests in flight than
 * bound times its share, by weight, of all that the eligible ones have; where slow start is on, of
 * what it is to have by its age. A key that is displaced goes on with hashes of its own, so the
 * keys of one endpoint do not all go to the same other.
 *
 * In-flight counts are those of all workers; each worker keeps a sum of them that it brings up to
 * date a few endpoints a pick, so a pick does not walk over all of them.
 *
 * A request without a key goes to the less busy of two.
 *
 * Lifetime:  table and state of the policy that embeds them
 * Thread:    as balancer.h says
 * Limits:    a pick is O(log n) while most of the weight is eligible and under its bound
 * Source:    Mirrokni, Thorup, Zadimoghaddam, "Consistent Hashing with Bounded Loads", SODA 2018;
 *            Chen, Coleman, Shrivastava, "Revisiting Consistent Hashing with Bounded Loads", AAAI
 *            2021 (why to jump and not to walk)
 */
#ifndef SL_BALANCE_KEYED_H
#define SL_BALANCE_KEYED_H

#include <sluiced/balancer.h>
#include <sluiced/defs.h>

#include "lottery.h"

#include "proxy/base/rng.h"

#include <stddef.h>
#include <stdint.h>

#define SL_KEYED_BOUND_PCT 125 /* where there is no config */

struct sl_keyed;

/* The index of the member to which hash belongs; of weight > 0, allowed or not. Only asked while
 * there is weight. Pure: the same table and hash give the same member, unless it is skipped for
 * ctx. */
typedef uint32_t (*sl_keyed_place_fn)(const struct sl_keyed *k, const struct sl_pick *ctx,
                                      uint64_t hash);

/* First member of a policy's table. */
struct sl_keyed {
    struct sl_balancer_table base;
    const struct sl_endpoint_set *set;
    struct sl_lottery *lottery;
    sl_keyed_place_fn place;
    double bound; /* 0: off */
};

/* SL_ENOMEM; there is nothing to undo then. */
int sl_keyed_init(struct sl_keyed *k, const struct sl_balancer_ops *ops,
                  const struct sl_endpoint_set *set, const struct sl_pool_config *conf)
    SL_MUST_CHECK;
void sl_keyed_fini(struct sl_keyed *k);

/* The ops of that name; the policy's own pick checks whose balancer it is. */
void sl_keyed_attach(struct sl_balancer *b, const struct sl_balancer_table *table,
                     struct sl_rng *rng);
struct sl_endpoint *sl_keyed_pick(struct sl_balancer *b, const struct sl_pick *ctx);

/* Numbers that are this endpoint's alone, the same in each process: from its address, so that a
 * key's place does not hang on what else discovery knows. */
struct sl_rng sl_keyed_numbers(const struct sl_endpoint *ep);

#endif
