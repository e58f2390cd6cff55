/* SPDX-License-Identifier: Apache-2.0 */
/*
 * yaml_node: a YAML file as a tree of maps, lists and texts that know where they stand.
 *
 * A scalar is text and nothing else: who reads it decides what it means, so that no `no` becomes
 * false and no 1.10 becomes 1.1.
 *
 * Lifetime:  as long as the arena that the reader was given
 * Thread:    any (immutable after the reader)
 */
#ifndef SL_BASE_YAML_NODE_H
#define SL_BASE_YAML_NODE_H

#include <sluiced/slice.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum sl_yaml_kind {
    SL_YAML_TEXT,
    SL_YAML_LIST,
    SL_YAML_MAP,
};

struct sl_yaml_node {
    enum sl_yaml_kind kind;
    bool is_plain; /* of a text: neither quoted nor a block, so that null may mean none */
    uint32_t idx;  /* among its siblings */
    uint32_t line;
    uint32_t column;
    uint32_t key_line; /* where the key stands; in a list: where the value does */
    uint32_t key_column;
    uint64_t key_hash;
    struct sl_slice key;  /* in a map; terminated */
    struct sl_slice text; /* of a text; terminated */
    uint32_t children_n;
    struct sl_yaml_node *parent; /* NULL: the root */
    struct sl_yaml_node *first;  /* child, in the order of the file */
    struct sl_yaml_node *last;
    struct sl_yaml_node *next; /* sibling */
};

/* The child of map called key, NULL if there is none or map is none. O(children). */
const struct sl_yaml_node *sl_yaml_find(const struct sl_yaml_node *map, struct sl_slice key);

#define SL_YAML_PATH_BYTES 256

/* Writes "listeners[0].http.routes[2].pool" and, unless name is NULL, ".name" behind it: for
 * options that are not there. buf has SL_YAML_PATH_BYTES; what does not fit is cut. The root is
 * "yaml". */
void sl_yaml_path(const struct sl_yaml_node *node, const char *name, char *buf);

#define SL_YAML_FOUND_BYTES 48

/* What stands there, for "expected ..., found ...": a text in quotes, cut where it is long, or "a
 * list of 3", "an empty map", "nothing". Writes into buf, which has SL_YAML_FOUND_BYTES, and
 * returns it. */
const char *sl_yaml_found(const struct sl_yaml_node *node, char *buf);

#define SL_YAML_SHOWN_BYTES 32

/* How many bytes of text a message shows: at most SL_YAML_SHOWN_BYTES, and no half character. */
int sl_yaml_shown_n(struct sl_slice text);

#define SL_YAML_SHOWN_FMT "\"%.*s\""
#define SL_YAML_SHOWN_ARG(text) sl_yaml_shown_n(text), (text).ptr

#endif
