/* SPDX-License-Identifier: Apache-2.0 */
/*
 * diff: what two configs differ in, by the lines that print.h makes of them:
 *
 *   + pools.llama-v2
 *   - listeners[old]
 *     pools.llama.timeouts.connect: 1s -> 2s
 *
 * Of what is there as a whole, or gone as a whole, only that is said.
 *
 * Thread:    any (pure)
 * Errors:    SL_ENOMEM; those of the text are the caller's
 */
#ifndef SL_CONFIG_DIFF_H
#define SL_CONFIG_DIFF_H

#include <sluiced/defs.h>
#include <sluiced/slice.h>

#include "proxy/base/text.h"

#include <stddef.h>

/* Appends a line a difference to out, in the order of the paths; *changes_n: how many. */
int sl_config_diff(struct sl_slice before, struct sl_slice after, struct sl_text *out,
                   size_t *changes_n) SL_MUST_CHECK;

/* All in one line: "nothing changed", "2 changes: ...; ...", and where that is too long the first
 * ones and "...". diff: as above. buf is filled, terminated, and returned. */
const char *sl_config_diff_summary(struct sl_slice diff, size_t changes_n, char *buf,
                                   size_t size_bytes);

#endif
