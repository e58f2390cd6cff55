/* SPDX-License-Identifier: Apache-2.0 */
#include "hash.h"

#include <xxhash.h>

uint64_t sl_hash(struct sl_slice s, uint64_t seed)
{
    return XXH3_64bits_withSeed(s.ptr, s.len, seed);
}
