/* SPDX-License-Identifier: Apache-2.0 */
/*
 * slow_start: how little an endpoint that has just come is asked to do.
 *
 *   share(age) = max(0.1, (age / window) ^ (1 / aggression))      1 once the window is over
 *
 * Not a weight that every policy would have to know: each pick draws a number, and passes over
 * the endpoints whose share is not above it, as it passes over those that are out. So whatever the
 * policy is, an endpoint gets about its share of what it would get, and what it does not take is
 * spread as the policy spreads. The number stays below the share of the member that came first, so
 * that endpoints that are all alike new are all alike chosen.
 *
 * Lifetime:  a plain value, of a set
 * Thread:    any (pure); rng is the calling worker's
 * Source:    Envoy, slow start mode (min_weight_percent 10)
 */
#ifndef SL_UPSTREAM_SLOW_START_H
#define SL_UPSTREAM_SLOW_START_H

#include <sluiced/config.h>

#include <stdint.h>

#define SL_SLOW_START_LEAST 0.1

struct sl_rng;

/* Of what an endpoint would get, when it came age_ms ago; 0 < share <= 1. */
double sl_slow_start_share(const struct sl_slow_start_config *conf, uint64_t age_ms);

/* For one pick: the age from which on endpoints are taken now. 0: all. oldest_ms: the age of the
 * member that came first. */
uint64_t sl_slow_start_draw_ms(const struct sl_slow_start_config *conf, uint64_t oldest_ms,
                               struct sl_rng *rng);

#endif
