/* SPDX-License-Identifier: Apache-2.0 */
/*
 * watch: tells when the config, or a certificate, key or CA that it names, has become another file.
 *
 * The folders are watched (inotify), not the files: editors replace a file, and a mounted ConfigMap
 * or Secret swaps the symlink "..data" beside it. What counts is what the path leads to then: its
 * inode, size and times. Where inotify is not to be had, or misses (network file systems), a look
 * each SL_WATCH_POLL_MS finds it.
 *
 * Lifetime:  process
 * Thread:    control thread
 * Limits:    256 files
 */
#ifndef SL_RUN_WATCH_H
#define SL_RUN_WATCH_H

#include <sluiced/config.h>
#include <sluiced/defs.h>

#include "proxy/io/loop.h"

#define SL_WATCH_POLL_MS 5000
#define SL_WATCH_SETTLE_MS 50 /* writers take several steps */

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
