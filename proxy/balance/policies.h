/* SPDX-License-Identifier: Apache-2.0 */
/*
 * policies: one line for each policy of this folder; registry.c has the matching rows.
 */
#ifndef SL_BALANCE_POLICIES_H
#define SL_BALANCE_POLICIES_H

#include <sluiced/balancer.h>

extern const struct sl_balancer_ops sl_least_request_ops;
extern const struct sl_balancer_ops sl_maglev_ops;
extern const struct sl_balancer_ops sl_peak_ewma_ops;
extern const struct sl_balancer_ops sl_random_ops;
extern const struct sl_balancer_ops sl_ring_hash_ops;
extern const struct sl_balancer_ops sl_round_robin_ops;

#endif
