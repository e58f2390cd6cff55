/* SPDX-License-Identifier: Apache-2.0 */
/*
 * endpoint_file: what a file of `discover: { file: PATH }` says.
 *
 * Lifetime:  the result: the caller's
 * Thread:    any (pure)
 * Errors:    SL_ECONFIG: the first thing that is wrong, with file, line and column; SL_ENOMEM
 * Limits:    1 MiB, 4 096 endpoints
 */
#ifndef SL_ENDPOINT_FILE_H
#define SL_ENDPOINT_FILE_H

#include <sluiced/defs.h>
#include <sluiced/discovery.h>
#include <sluiced/err.h>
#include <sluiced/slice.h>

#include <stddef.h>

#define SL_ENDPOINT_FILE_MAX_BYTES ((size_t)1024 * 1024)

/* In the order of the file, no address twice; *out is freed with sl_free, and not NULL although *n
 * may be 0. name: of the file, for messages. On failure both are untouched. */
int sl_endpoint_file_parse(struct sl_slice text, const char *name, struct sl_found **out, size_t *n,
                           struct sl_error *err) SL_MUST_CHECK;

#endif
