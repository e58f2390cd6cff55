/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cli: the verbs of the command line.
 *
 * Thread:    the main thread
 */
#ifndef SL_RUN_CLI_H
#define SL_RUN_CLI_H

/* Exit code: 0 ok, 1 failed, 2 usage or bad config. */
int sl_cli_main(int argc, char **argv);

#endif
