/* SPDX-License-Identifier: Apache-2.0 */
/*
 * duration: "150ms", "2s", "5m", "1h" to milliseconds, and back.
 *
 * One number and one unit, nothing else: no sign, space, fraction, sum or bare number. A file that
 * can be read in one way only is worth the few spellings lost.
 *
 * Thread:    any (pure, no I/O, no allocation)
 * Errors:    SL_ECONFIG at the offending character
 * Limits:    one year; an option's own range is checked by its row in the option table
 */
#ifndef SL_CONFIG_DURATION_H
#define SL_CONFIG_DURATION_H

#include <sluiced/defs.h>
#include <sluiced/err.h>
#include <sluiced/slice.h>

#include <stdint.h>

#define SL_DURATION_MAX_MS (365ULL * 24 * 3600 * 1000)

/* Parses all of text, which stands at pos; *out_ms is untouched on failure. O(len). */
int sl_duration_parse(struct sl_slice text, const struct sl_pos *pos, uint64_t *out_ms,
                      struct sl_error *err) SL_MUST_CHECK;

#define SL_DURATION_TEXT_BYTES 24

/* In the largest unit that divides it; 0 is "0s". buf has SL_DURATION_TEXT_BYTES; returns it. */
const char *sl_duration_format(uint64_t ms, char *buf);

#endif
