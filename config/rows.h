/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rows: what the option tables are written with; for them alone.
 */
#ifndef SL_CONFIG_ROWS_H
#define SL_CONFIG_ROWS_H

#include <sluiced/defs.h>

#include "options.h"

#include <stddef.h>
#include <stdint.h>

#define SL_FIELD(type, name) \
    .offset = offsetof(struct type, name), .width = sizeof(((struct type *)0)->name)
/* Without its width, which only numbers need: sizeof of a pointer looks like a mistake. */
#define SL_AT(type, name) .offset = offsetof(struct type, name)
/* The same struct as the one around. */
#define SL_SAME .offset = 0
#define SL_ROWS(table) .options = (table), .options_n = SL_ARRAY_LEN(table)

#define SL_SECOND_MS ((uint64_t)1000)
#define SL_MINUTE_MS (60 * SL_SECOND_MS)
#define SL_HOUR_MS (60 * SL_MINUTE_MS)

#endif
