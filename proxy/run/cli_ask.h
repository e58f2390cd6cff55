/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cli_ask: asks a running process over its admin listener, for the verbs: a failure is told on
 * stderr here, so a verb holds only what it does with an answer.
 *
 * Lifetime:  a call's; it blocks
 * Thread:    the main thread, of a process that serves nobody
 */
#ifndef SL_RUN_CLI_ASK_H
#define SL_RUN_CLI_ASK_H

#include "cli_verbs.h"

#include "proxy/admin/answer.h"
#include "proxy/base/text.h"

#define SL_ANSWER_MAX_BYTES ((size_t)64 * 1024 * 1024)

/* Of a verb that is not done, beside the exit codes. */
enum {
    SL_CLI_GOES_ON = -1,
    SL_CLI_GONE = -2, /* who was asked has ended */
    SL_CLI_LOST = -3, /* no answer came, or none that makes sense: what it does is not known */
};

/* What an answer means: an exit code, or SL_CLI_GOES_ON. a is borrowed for the call; waited_ms:
 * since sl_cli_watch began. */
typedef int (*sl_cli_answer_fn)(void *arg, const struct sl_answer *a, uint64_t waited_ms);

/* Where the process of --admin or -c listens. */
int sl_cli_find_admin(const struct sl_cli *cli, struct sl_address *out);

/* GETs path as text; answer is initialised and the caller's to end. Another status than 200 is a
 * failure, and what came with it is shown. */
int sl_cli_get(const struct sl_cli *cli, const char *path, struct sl_text *answer);

/* One question, to which the answer is a JSON object: returns what on_answer makes of it. */
int sl_cli_ask_object(const struct sl_address *admin, const char *method, const char *path,
                      sl_cli_answer_fn on_answer, void *arg);

/* Asks path again and again, until on_answer has an exit code. SL_CLI_GONE, when nobody listens at
 * the address any more, and SL_CLI_LOST, of which the cause was told, are for the caller to
 * explain. */
int sl_cli_watch(const struct sl_address *admin, const char *path, sl_cli_answer_fn on_answer,
                 void *arg);

/* Says that what came from path makes no sense; SL_CLI_LOST. */
int sl_cli_no_answer(const char *path);

#endif
