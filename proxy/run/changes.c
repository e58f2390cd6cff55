/* SPDX-License-Identifier: Apache-2.0 */
/*
 * changes: what one config has that another has not, in a line for the log and for who asked.
 */
#include "process.h"

#include "config/diff.h"
#include "config/print.h"

#include <stdio.h>

#define CONFIG_TEXT_MAX_BYTES ((size_t)64 * 1024 * 1024)

void sl_changes_describe(const struct sl_config *before, const struct sl_config *after, char *buf,
                         size_t size_bytes)
{
    struct sl_text texts[2];
    struct sl_text diff;
    size_t changes_n = 0;

    if (before == NULL) {
        (void)snprintf(buf, size_bytes, "the first configuration");
        return;
    }
    sl_text_init(&texts[0], CONFIG_TEXT_MAX_BYTES);
    sl_text_init(&texts[1], CONFIG_TEXT_MAX_BYTES);
    sl_text_init(&diff, CONFIG_TEXT_MAX_BYTES);
    sl_config_print(before, &texts[0]);
    sl_config_print(after, &texts[1]);
    bool failed = texts[0].failed || texts[1].failed ||
                  sl_config_diff(sl_text_slice(&texts[0]), sl_text_slice(&texts[1]), &diff,
                                 &changes_n) != SL_OK ||
                  diff.failed;
    if (failed) {
        (void)snprintf(buf, size_bytes, "no memory to say what changed");
    } else {
        (void)sl_config_diff_summary(sl_text_slice(&diff), changes_n, buf, size_bytes);
    }
    sl_text_fini(&texts[0]);
    sl_text_fini(&texts[1]);
    sl_text_fini(&diff);
}
