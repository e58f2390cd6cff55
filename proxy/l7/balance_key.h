/* SPDX-License-Identifier: Apache-2.0 */
/*
 * balance_key: what a request has of the key by which its pool balances.
 *
 * Lifetime:  exchange
 * Thread:    worker-local (reads only)
 * Source:    RFC 6265 section 4.2.1 (Cookie); queries as HTML forms and everybody else write them
 */
#ifndef SL_L7_BALANCE_KEY_H
#define SL_L7_BALANCE_KEY_H

#include "exchange.h"

#include <stdint.h>

/* The hash of the key's value for a pool of conf, never 0; 0: the pool wants none, or the request
 * has none, or an empty one. */
uint64_t sl_balance_key(const struct sl_exchange *x, const struct sl_pool_config *conf);

#endif
