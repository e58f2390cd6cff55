/* SPDX-License-Identifier: Apache-2.0 */
/*
 * yaml: YAML bytes to a tree of nodes; the part of YAML that can be read in one way only.
 *
 * Refused: aliases, anchors, tags, merge keys, duplicate keys, keys that are no text, control
 * characters, a second document. JSON is a subset of what is left.
 *
 * Thread:    any (no shared state)
 * Ownership: the tree lives in the caller's arena; it borrows nothing of the input
 * Errors:    SL_ECONFIG at the first offending place and with its path as key, SL_ENOMEM
 * Limits:    below; a file beyond them is refused, and reading it stops there
 */
#ifndef SL_BASE_YAML_H
#define SL_BASE_YAML_H

#include <sluiced/defs.h>
#include <sluiced/err.h>

#include "yaml_node.h"

#include <stdbool.h>

#define SL_YAML_MAX_BYTES (4U << 20)
#define SL_YAML_MAX_DEPTH 16
#define SL_YAML_MAX_NODES_N 100000
#define SL_YAML_MAX_KEYS_N 1024  /* a map: a duplicate is found by comparing all */
#define SL_YAML_MAX_ITEMS_N 4096 /* a list */

struct sl_arena;

/* What to read, and what the kinds of files differ in. Borrowed until sl_yaml_read returns. */
struct sl_yaml_input {
    struct sl_slice text;
    const char *file;      /* for messages */
    const char *root_name; /* the key of an error that is below none */
    const char *refusal;   /* how a message begins where it is no YAML: "broken YAML" */
    bool has_lines;        /* line breaks and tabs may stand in a value (never in a key) */
};

/* Reads all of it. On success *out is the root, of any kind, or NULL: the file is empty. */
int sl_yaml_read(const struct sl_yaml_input *in, struct sl_arena *arena,
                 const struct sl_yaml_node **out, struct sl_error *err) SL_MUST_CHECK;

#endif
