/* SPDX-License-Identifier: Apache-2.0 */
/*
 * time: the two clocks. Durations and deadlines use the monotonic one; only people read the other.
 *
 * Thread:    any. Code on a loop uses sl_loop_now_ms() instead: one reading a turn.
 */
#ifndef SL_TIME_H
#define SL_TIME_H

#include <stddef.h>
#include <stdint.h>

uint64_t sl_time_now_us(void); /* CLOCK_MONOTONIC */
uint64_t sl_time_now_ms(void);
uint64_t sl_time_unix_ms(void); /* CLOCK_REALTIME */

#define SL_TIME_TEXT_BYTES 25 /* "2026-11-23T20:15:01.123Z" and its end */

/* unix_ms as RFC 3339 in UTC, milliseconds; buf has SL_TIME_TEXT_BYTES. No locale, no lock. */
void sl_time_format(uint64_t unix_ms, char *buf);

#endif
