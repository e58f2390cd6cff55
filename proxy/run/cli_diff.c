/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cli_diff: what a file would change, against what the running process says of itself.
 */
#include "cli_ask.h"

#include "config/diff.h"
#include "config/print.h"

#include <stdio.h>

/* Files quote what they like; it must not steer the terminal: print.h sees to that. */
static int show(const struct sl_text *running, const struct sl_text *ours)
{
    struct sl_text diff;
    size_t changes_n = 0;
    int code = 0;

    sl_text_init(&diff, SL_ANSWER_MAX_BYTES);
    int rc = sl_config_diff(sl_text_slice(running), sl_text_slice(ours), &diff, &changes_n);
    if (rc != SL_OK || diff.failed) {
        (void)fprintf(stderr, "no memory to compare\n");
        code = SL_EXIT_FAILED;
    } else if (changes_n == 0) {
        (void)printf("no change\n");
    } else {
        (void)fwrite(diff.ptr, 1, diff.len, stdout);
    }
    sl_text_fini(&diff);
    return code;
}

int sl_cli_diff(const struct sl_cli *cli, const struct sl_config *config)
{
    struct sl_text running;
    struct sl_text ours;

    sl_text_init(&running, SL_ANSWER_MAX_BYTES);
    sl_text_init(&ours, SL_ANSWER_MAX_BYTES);
    int code = sl_cli_get(cli, "/config", &running);
    if (code == 0) {
        sl_config_print(config, &ours);
        code = show(&running, &ours);
    }
    sl_text_fini(&running);
    sl_text_fini(&ours);
    return code;
}
