/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cli_reload: asks for a reload, and waits until the process says what became of it.
 */
#include "cli_ask.h"
#include "process.h"

#include <inttypes.h>
#include <stdio.h>

/* One that waits for its pools may be under way, and ours waits as long behind it. */
#define WAIT_MS ((uint64_t)(2 * SL_SYNC_WAIT_MS + 10000))

static int report(const struct sl_answer *a)
{
    const char *missing = sl_answer_text(a, "not_synced");

    if (!sl_answer_is_true(a, "ok")) {
        (void)fprintf(stderr, "refused, generation %" PRIu64 " runs on:\n%s\n",
                      sl_answer_number(a, "generation"), sl_answer_text(a, "error"));
        return SL_EXIT_FAILED;
    }
    (void)printf("generation %" PRIu64 " is in force on all workers, hash %s: %s\n",
                 sl_answer_number(a, "generation"), sl_answer_text(a, "config_hash"),
                 sl_answer_text(a, "changes"));
    if (missing[0] != '\0') {
        (void)fprintf(stderr,
                      "but without endpoints for %s: discovery did not answer within %d s; "
                      "`sluiced status` says why\n",
                      missing, SL_SYNC_WAIT_MS / 1000);
        return SL_EXIT_FAILED;
    }
    return 0;
}

static int on_asked(void *arg, const struct sl_answer *a, uint64_t waited_ms)
{
    uint64_t *asked = arg;
    (void)waited_ms;

    *asked = sl_answer_number(a, "asked"); /* from 1 */
    return *asked > 0 ? 0 : sl_cli_no_answer("/reload");
}

static int on_outcome(void *arg, const struct sl_answer *a, uint64_t waited_ms)
{
    const uint64_t *asked = arg;

    if (sl_answer_number(a, "answered") >= *asked) {
        return report(a);
    }
    if (waited_ms < WAIT_MS) {
        return SL_CLI_GOES_ON;
    }
    (void)fprintf(stderr,
                  "not in force on all workers after %" PRIu64
                  " s: it was accepted, and goes on; "
                  "`sluiced status` shows the generation\n",
                  WAIT_MS / 1000);
    return SL_EXIT_FAILED;
}

int sl_cli_reload(const struct sl_cli *cli)
{
    struct sl_address admin;
    uint64_t asked = 0;
    int code = sl_cli_find_admin(cli, &admin);

    if (code == 0) {
        code = sl_cli_ask_object(&admin, "POST", "/reload", on_asked, &asked);
    }
    if (code == 0) {
        code = sl_cli_watch(&admin, "/reload", on_outcome, &asked);
    }
    if (code == SL_CLI_GONE) {
        (void)fprintf(stderr, "the process went away before it said what became of the reload\n");
        code = SL_EXIT_FAILED;
    } else if (code == SL_CLI_LOST) {
        (void)fprintf(stderr, "the reload was accepted, and what became of it is not known\n");
        code = SL_EXIT_FAILED;
    }
    return code;
}
