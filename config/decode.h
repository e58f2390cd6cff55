/* SPDX-License-Identifier: Apache-2.0 */
/*
 * decode: nodes and option tables to structs.
 *
 * An error does not end it: what stands beside is read on, so that one run shows them all. Every
 * function that takes a decoder returns SL_OK, SL_ECONFIG (reported already) or SL_ENOMEM (which
 * ends it).
 *
 * Lifetime:  one load
 * Thread:    control thread
 */
#ifndef SL_CONFIG_DECODE_H
#define SL_CONFIG_DECODE_H

#include <sluiced/config.h>
#include <sluiced/defs.h>
#include <sluiced/err.h>

#include "options.h"

#include "proxy/base/yaml_node.h"

#include <stdbool.h>

struct sl_arena;

struct sl_decoder {
    const char *file; /* lives in arena: positions that stay borrow it */
    const struct sl_yaml_node *root;
    struct sl_arena *arena;   /* of the config */
    struct sl_arena *scratch; /* of the load */
    struct sl_config_errors *errors;
    const struct sl_config_file **files; /* NULL: nobody wants to know */
    struct sl_error err;                 /* the one at hand */
    struct sl_pos pos;
    char path[SL_YAML_PATH_BYTES];
};

/* Fills base from node. node NULL: the section is absent and all takes its default. */
int sl_decode_section(struct sl_decoder *d, const struct sl_section *section,
                      const struct sl_yaml_node *node, void *base) SL_MUST_CHECK;

/* Adds err in the order of the file; beyond the limit the last ones are dropped and counted. */
void sl_errors_add(struct sl_config_errors *errors, const struct sl_error *err);

/* Positions for messages, valid until the next call: of the value; of its key; of the option name
 * that node, a map, does not have. */
const struct sl_pos *sl_decode_at(struct sl_decoder *d, const struct sl_yaml_node *node);
const struct sl_pos *sl_decode_at_key(struct sl_decoder *d, const struct sl_yaml_node *node);
const struct sl_pos *sl_decode_at_missing(struct sl_decoder *d, const struct sl_yaml_node *node,
                                          const char *name);

/* Reports d->err unless rc is SL_OK, and returns rc:
 *   return sl_decode_report(d, sl_error_set(&d->err, SL_ECONFIG, sl_decode_at(d, node), ...)); */
int sl_decode_report(struct sl_decoder *d, int rc);
int sl_decode_no_memory(struct sl_decoder *d);

/* Whether node is a text; if not, reports that what was expected. */
int sl_decode_want_text(struct sl_decoder *d, const struct sl_yaml_node *node, const char *what)
    SL_MUST_CHECK;

/* Reports that what stands at node is not what o takes. */
int sl_decode_refuse(struct sl_decoder *d, const struct sl_option *o,
                     const struct sl_yaml_node *node);

/* The worse of two results, SL_ENOMEM being the worst. */
int sl_decode_worse(int a, int b);

/* More of the same kind would only be counted: no need to compose a message with care. */
bool sl_decode_errors_full(const struct sl_decoder *d);

/* For finding duplicates: text, and where it stands. */
struct sl_seen {
    struct sl_slice text;
    const struct sl_yaml_node *node;
};

/* Reports each text that an earlier one equals. Sorts seen. what: "name". O(n log n). */
int sl_decode_unique(struct sl_decoder *d, struct sl_seen *seen, size_t n, const char *what)
    SL_MUST_CHECK;

#endif
