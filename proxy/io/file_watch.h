/* SPDX-License-Identifier: Apache-2.0 */
/*
 * file_watch: tells when files have become other files, once they have settled.
 *
 * The folders are watched (inotify), not the files: editors replace a file, and a mounted ConfigMap
 * or Secret swaps the symlink "..data" beside it. What counts is what a path leads to: its inode,
 * size and times. It has settled when two looks SL_FILE_SETTLE_MS apart see the same. Where inotify
 * is not to be had, or misses (network file systems, a folder that is made later), a look each
 * SL_FILE_POLL_MS finds it.
 *
 * Lifetime:  of whoever reads the files
 * Thread:    the loop's
 * Ownership: paths are copied
 * Errors:    new only; a file that finds no room is logged and not watched
 * Limits:    256 files
 */
#ifndef SL_IO_FILE_WATCH_H
#define SL_IO_FILE_WATCH_H

#include <sluiced/defs.h>

#include "loop.h"

#include <stdbool.h>

#define SL_FILE_POLL_MS 5000
#define SL_FILE_SETTLE_MS 50 /* writers take several steps */

struct sl_file_watch;

int sl_file_watch_new(struct sl_loop *loop, void (*on_change)(void *arg), void *arg,
                      struct sl_file_watch **out) SL_MUST_CHECK;
void sl_file_watch_free(struct sl_file_watch *w); /* accepts NULL; not from on_change */

/* file is watched too, from as it is now; NULL: nothing is. */
void sl_file_watch_add(struct sl_file_watch *w, const char *file);

/* Files that are not added between the two are watched no more. */
void sl_file_watch_prune_begin(struct sl_file_watch *w);
void sl_file_watch_prune_end(struct sl_file_watch *w);

/* All watched files are known as they are now: only what comes after is a change. Before they are
 * read. */
void sl_file_watch_note(struct sl_file_watch *w);

/* Whether all of them are as they were noted. Looks. */
bool sl_file_watch_is_current(const struct sl_file_watch *w);

/* Somebody has reason to think that a file has changed: looks now and not at the next poll. */
void sl_file_watch_hurry(struct sl_file_watch *w);

#endif
