/* SPDX-License-Identifier: Apache-2.0 */
/*
 * reader: YAML bytes to a tree of nodes; the part of YAML that can be read in one way only.
 *
 * Refused: aliases, anchors, tags, merge keys, duplicate keys, keys that are no text, control
 * characters, a second document. JSON is a subset of what is left.
 *
 * Thread:    any (no shared state)
 * Ownership: the tree lives in the caller's arena; it borrows nothing of the input
 * Errors:    SL_ECONFIG at the first offending place, SL_ENOMEM
 * Limits:    below; a file beyond them is refused, and reading it stops there
 */
#ifndef SL_CONFIG_READER_H
#define SL_CONFIG_READER_H

#include <sluiced/defs.h>
#include <sluiced/err.h>

#include "node.h"

#define SL_YAML_MAX_BYTES (4U << 20)
#define SL_YAML_MAX_DEPTH 16
#define SL_YAML_MAX_NODES_N 100000
#define SL_YAML_MAX_KEYS_N 1024  /* a map: a duplicate is found by comparing all */
#define SL_YAML_MAX_ITEMS_N 4096 /* a list */

struct sl_arena;

/* Reads all of text. On success *out is the root, a map. file: for messages, borrowed. */
int sl_yaml_read(struct sl_slice text, const char *file, struct sl_arena *arena,
                 const struct sl_node **out, struct sl_error *err) SL_MUST_CHECK;

#endif
