/* SPDX-License-Identifier: Apache-2.0 */
/*
 * files: what can be said about a file that the configuration names without knowing its meaning.
 *
 * Thread:    control thread, blocks on the disk
 * Errors:    SL_ECONFIG at pos
 */
#ifndef SL_CONFIG_FILES_H
#define SL_CONFIG_FILES_H

#include <sluiced/defs.h>
#include <sluiced/err.h>

#include <stdint.h>

/* path: to open; shown: as it was written, for messages. */
typedef int (*sl_file_check_fn)(const char *path, const char *shown, const struct sl_pos *pos,
                                struct sl_error *err) SL_MUST_CHECK;

/* A regular file, readable, not empty. */
int sl_file_check(const char *path, const char *shown, const struct sl_pos *pos,
                  struct sl_error *err) SL_MUST_CHECK;

/* The same, and a line that begins a PEM block in its first 64 KiB: text before it is usual. What
 * is inside is for the TLS layer to judge. */
int sl_file_check_pem(const char *path, const char *shown, const struct sl_pos *pos,
                      struct sl_error *err) SL_MUST_CHECK;

/* Of all that is in it, up to 4 MiB; 0 where it cannot be read. */
uint64_t sl_file_hash(const char *path);

/* A directory in which files can be made. */
int sl_file_check_writable(const char *path, const char *shown, const struct sl_pos *pos,
                           struct sl_error *err) SL_MUST_CHECK;

#endif
