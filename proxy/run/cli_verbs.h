/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cli_verbs: what the command line is about, and the verbs that take more than a few lines.
 *
 *   cli.c          arguments; check, status, endpoints   cli_ask.c   asks a running process
 *   cli_reload.c   reload                                cli_diff.c  check --diff
 *   cli_drain.c    drain
 *
 * Lifetime:  process
 * Thread:    the main thread, of a process that serves nobody
 */
#ifndef SL_RUN_CLI_VERBS_H
#define SL_RUN_CLI_VERBS_H

#include <sluiced/config.h>

#include <stdbool.h>

#define SL_EXIT_FAILED 1
#define SL_EXIT_USAGE 2

struct sl_cli {
    const char *file;
    const char *admin;    /* NULL: admin.listen of file */
    const char *endpoint; /* of drain: an address or a pod; NULL: the whole process */
    bool diff;            /* --diff */
    bool wait;            /* --wait */
    bool undo;            /* --undo */
};

/* What these return is an exit code, 0 or one of the above, with the reason on stderr. */

/* sl_config_load, errors to stderr. */
int sl_cli_load(const char *file, const struct sl_config **out);

int sl_cli_reload(const struct sl_cli *cli);
int sl_cli_drain(const struct sl_cli *cli);

/* config: of cli->file, loaded. */
int sl_cli_diff(const struct sl_cli *cli, const struct sl_config *config);

#endif
