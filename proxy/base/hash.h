/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hash: xxHash behind a name, for tables and identities; never for secrets or signatures.
 *
 * Thread:    any (pure)
 */
#ifndef SL_BASE_HASH_H
#define SL_BASE_HASH_H

#include <sluiced/slice.h>

#include <stdint.h>

/* XXH3, 64 bits. */
uint64_t sl_hash(struct sl_slice s, uint64_t seed);

#endif
