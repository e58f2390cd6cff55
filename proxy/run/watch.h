/* SPDX-License-Identifier: Apache-2.0 */
/*
 * watch: tells when the config, or a certificate, key or CA that it names, has become another file:
 * which files those are; proxy/io/file_watch.h says how it is seen.
 *
 * Lifetime:  process
 * Thread:    control thread
 * Ownership: borrows the name of the config's file
 */
#ifndef SL_RUN_WATCH_H
#define SL_RUN_WATCH_H

#include <sluiced/config.h>
#include <sluiced/defs.h>

#include "proxy/io/file_watch.h"

struct sl_watch;

int sl_watch_new(struct sl_loop *loop, const char *config_file, void (*on_change)(void *arg),
                 void *arg, struct sl_watch **out) SL_MUST_CHECK;
void sl_watch_free(struct sl_watch *w); /* accepts NULL */

/* All watched files are known as they are now: only what comes after is a change. */
void sl_watch_note(struct sl_watch *w);

/* The files that config names are watched too, from as they are now. */
void sl_watch_add(struct sl_watch *w, const struct sl_config *config);

/* Files that config does not name are watched no more. */
void sl_watch_prune(struct sl_watch *w, const struct sl_config *config);

#endif
