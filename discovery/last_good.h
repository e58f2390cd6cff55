/* SPDX-License-Identifier: Apache-2.0 */
/*
 * last_good: the last set of endpoints of a pool, on disk, for a start while its server is away.
 *
 * A file DIR/POOL.json, replaced as a whole: JSON for people, and a checksum at its end, so that
 * what is cut or altered is not taken for endpoints. It names the source (identity_hash) that it
 * came from; of another source it says nothing.
 *
 * Lifetime:  none: a file
 * Thread:    control thread; blocks on the disk, writing until the disk has it
 * Errors:    err says which file and why; SL_EIO, SL_EPROTO (it makes no sense, or is of another
 *            source), SL_ELIMIT, SL_ENOMEM
 * Limits:    65 536 endpoints, 64 MiB
 */
#ifndef SL_DISCOVERY_LAST_GOOD_H
#define SL_DISCOVERY_LAST_GOOD_H

#include <sluiced/defs.h>
#include <sluiced/discovery.h>
#include <sluiced/err.h>

#include <stddef.h>
#include <stdint.h>

#define SL_LAST_GOOD_MAX_N 65536

struct sl_last_good_key {
    const char *dir;
    const char *pool; /* a name as the config has them: it becomes a file's */
    uint64_t identity_hash;
};

/* Mode 0600. On failure the file is as it was. */
int sl_last_good_write(const struct sl_last_good_key *key, const struct sl_found *items, size_t n,
                       uint64_t unix_ms, struct sl_error *err) SL_MUST_CHECK;

/* Sorted as a snapshot is; *items is freed with sl_free and not NULL. On failure all are untouched.
 */
int sl_last_good_read(const struct sl_last_good_key *key, struct sl_found **items, size_t *n,
                      uint64_t *unix_ms, struct sl_error *err) SL_MUST_CHECK;

#endif
