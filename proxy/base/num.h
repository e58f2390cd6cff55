/* SPDX-License-Identifier: Apache-2.0 */
/*
 * num: numbers from text and back, strict, without locale and without errno.
 *
 * Thread:    any (pure)
 * Errors:    SL_EPROTO for anything but digits that fit; *out is then untouched
 */
#ifndef SL_BASE_NUM_H
#define SL_BASE_NUM_H

#include <sluiced/defs.h>
#include <sluiced/err.h>
#include <sluiced/slice.h>

#include <stddef.h>
#include <stdint.h>

/* All of s, 1 to 20 decimal digits: no sign, no space, no empty string. */
int sl_num_parse_u64(struct sl_slice s, uint64_t *out) SL_MUST_CHECK;

/* The same with at most max. */
int sl_num_parse_below(struct sl_slice s, uint64_t max, uint64_t *out) SL_MUST_CHECK;

#define SL_NUM_TEXT_BYTES 20

/* Decimal digits, not terminated; buf has SL_NUM_TEXT_BYTES. Returns the length. */
size_t sl_num_format_u64(uint64_t v, char *buf);

/* Lower-case hexadecimal without leading zeros, at least one digit; the same bound. */
size_t sl_num_format_hex(uint64_t v, char *buf);

#endif
