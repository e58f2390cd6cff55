/* SPDX-License-Identifier: Apache-2.0 */
/*
 * print: a config as lines, one an option, in a form that does not depend on how it was written:
 *
 *   listeners[edge].http.routes[chat].split.llama-v1: 95
 *   pools.llama-v1:
 *   pools.llama-v1.timeouts.connect: 1s
 *
 * Defaults are said; what is not set has no line. A line without a value says that the thing is
 * there. A name with a dot in it stands in brackets. Files are said by an absolute path, and
 * certificates by a hash of what they hold, too; of a private key nothing but its path is known,
 * and of the header fields of a health check nothing but their names and whether they changed. It
 * is the option tables that are walked, so a new option needs nothing here.
 *
 * Thread:    any, while the config is alive
 * Errors:    those of the text
 */
#ifndef SL_CONFIG_PRINT_H
#define SL_CONFIG_PRINT_H

#include <sluiced/config.h>
#include <sluiced/defs.h>
#include <sluiced/slice.h>

#include "proxy/base/text.h"

#include <stddef.h>

#define SL_PRINT_PATH_BYTES 1024

struct sl_printer {
    struct sl_text *out;
    const struct sl_config *config;
    size_t path_len;
    char path[SL_PRINT_PATH_BYTES]; /* of what is written next; cut where it does not fit */
};

void sl_config_print(const struct sl_config *config, struct sl_text *out);

/* For the `write` of rows. enter appends ".NAME", or "[NAME]" where there is a dot in it, and
 * returns what leave wants; value writes the line of the path as it is. */
size_t sl_print_enter(struct sl_printer *p, const char *name);
void sl_print_leave(struct sl_printer *p, size_t mark);
void sl_print_value(struct sl_printer *p, const char *value);

/* enter, value, leave. */
void sl_print_option(struct sl_printer *p, const char *name, const char *value);

/* "a, b": items that are written down as one value. */
void sl_print_options(struct sl_printer *p, const char *name, const struct sl_strings *values);

#endif
