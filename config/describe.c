/* SPDX-License-Identifier: Apache-2.0 */
#include <sluiced/err.h>

#include "duration.h"
#include "options.h"

#include <inttypes.h>
#include <stdio.h>

static void describe_words(const struct sl_word *words, char *buf)
{
    size_t used = 0;

    for (const struct sl_word *w = words; w->text != NULL; w++) {
        const char *separator = w == words ? "" : w[1].text == NULL ? " or " : ", ";
        int n = snprintf(buf + used, SL_DESCRIBE_BYTES - used, "%s%s", separator, w->text);

        SL_ASSERT(n > 0 && (size_t)n < SL_DESCRIBE_BYTES - used, "%s: too many words", w->text);
        used += (size_t)n;
    }
}

const char *sl_option_describe(const struct sl_option *o, char *buf)
{
    const char *off = o->off_ok ? " or off" : "";
    char min[SL_DURATION_TEXT_BYTES];
    char max[SL_DURATION_TEXT_BYTES];

    switch (o->type) {
    case SL_OPTION_COUNT:
        (void)snprintf(buf, SL_DESCRIBE_BYTES, "a number from %" PRIu64 " to %" PRIu64, o->min,
                       o->max);
        break;
    case SL_OPTION_DURATION:
        (void)snprintf(buf, SL_DESCRIBE_BYTES, "a duration from %s to %s%s",
                       sl_duration_format(o->min, min), sl_duration_format(o->max, max), off);
        break;
    case SL_OPTION_SIZE:
        (void)snprintf(buf, SL_DESCRIBE_BYTES, "a size from %s to %s%s",
                       sl_size_format(o->min, min), sl_size_format(o->max, max), off);
        break;
    case SL_OPTION_WORD:
        describe_words(o->words, buf);
        break;
    case SL_OPTION_TEXT:
    case SL_OPTION_TEXTS:
    case SL_OPTION_FILE:
    case SL_OPTION_ADDRESS:
    case SL_OPTION_OWN:
        (void)snprintf(buf, SL_DESCRIBE_BYTES, "%s", o->what);
        break;
    case SL_OPTION_SECTION:
    case SL_OPTION_MAYBE:
        (void)snprintf(buf, SL_DESCRIBE_BYTES, "%s%s", o->what != NULL ? o->what : "a map", off);
        break;
    case SL_OPTION_LIST:
        (void)snprintf(buf, SL_DESCRIBE_BYTES, "a list of %" PRIu64 " to %" PRIu64 " maps", o->min,
                       o->max);
        break;
    case SL_OPTION_MAP:
        (void)snprintf(buf, SL_DESCRIBE_BYTES, "a map of names to at most %" PRIu64 " maps",
                       o->max);
        break;
    }
    return buf;
}
