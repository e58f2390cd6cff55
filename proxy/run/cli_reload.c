/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cli_reload: asks for a reload, and waits until the process says what became of it.
 */
#include "cli_verbs.h"
#include "process.h"

#include "proxy/admin/answer.h"

#include <inttypes.h>
#include <stdio.h>

#define LOOK_MS 50
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

/* -1: no outcome yet. */
static int look(const struct sl_address *admin, uint64_t asked)
{
    struct sl_text answer;
    bool gone = false;

    sl_text_init(&answer, SL_ANSWER_MAX_BYTES);
    int code = sl_cli_ask_again(admin, "/reload", &answer, &gone);
    if (gone) {
        (void)fprintf(stderr, "the process went away before it said what became of the reload\n");
    }
    if (code == 0) {
        struct sl_answer *a = sl_answer_parse(sl_text_slice(&answer));

        code = a == NULL                                  ? sl_cli_no_answer("/reload")
               : sl_answer_number(a, "answered") >= asked ? report(a)
                                                          : -1;
        sl_answer_free(a);
    }
    sl_text_fini(&answer);
    return code;
}

static int wait_for(const struct sl_address *admin, uint64_t asked)
{
    int code = look(admin, asked);

    for (uint64_t waited_ms = 0; code < 0 && waited_ms < WAIT_MS; waited_ms += LOOK_MS) {
        sl_cli_pause(LOOK_MS);
        code = look(admin, asked);
    }
    if (code < 0) {
        (void)fprintf(stderr,
                      "not in force on all workers after %llu s: it was accepted, and goes on; "
                      "`sluiced status` shows the generation\n",
                      (unsigned long long)WAIT_MS / 1000);
        code = SL_EXIT_FAILED;
    }
    return code;
}

int sl_cli_reload(const struct sl_cli *cli)
{
    struct sl_address admin;
    struct sl_text answer;
    int code = sl_cli_find_admin(cli, &admin);

    if (code != 0) {
        return code;
    }
    sl_text_init(&answer, SL_ANSWER_MAX_BYTES);
    code = sl_cli_ask(cli, "POST", "/reload", &answer);
    if (code == 0) {
        struct sl_answer *a = sl_answer_parse(sl_text_slice(&answer));

        code = a == NULL ? sl_cli_no_answer("/reload")
                         : wait_for(&admin, sl_answer_number(a, "asked"));
        sl_answer_free(a);
    }
    sl_text_fini(&answer);
    return code;
}
