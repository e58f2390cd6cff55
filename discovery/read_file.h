/* SPDX-License-Identifier: Apache-2.0 */
/*
 * read_file: a whole regular file, at most so long.
 *
 * Thread:    any; blocks on the disk, but on no pipe
 * Errors:    SL_EIO, SL_ELIMIT (too large, or it grew meanwhile), SL_ENOMEM; err says which file
 */
#ifndef SL_DISCOVERY_READ_FILE_H
#define SL_DISCOVERY_READ_FILE_H

#include <sluiced/defs.h>
#include <sluiced/err.h>

#include <stddef.h>

/* *out is freed with sl_free and not NULL; *len may be 0. On failure both are untouched. */
int sl_read_file(const char *path, size_t max_bytes, char **out, size_t *len, struct sl_error *err)
    SL_MUST_CHECK;

#endif
