/* SPDX-License-Identifier: Apache-2.0 */
#include <sluiced/endpoint_file.h>

#include "decode.h"
#include "rows.h"

#include "proxy/base/alloc.h"
#include "proxy/base/arena.h"
#include "proxy/base/yaml.h"

#include <stdio.h>
#include <string.h>

enum {
    BLOCK_BYTES = 16 * 1024,
    ENDPOINTS_MAX_N = SL_YAML_MAX_ITEMS_N,
    ADDRESS_TEXT_BYTES = 128
};

struct row {
    struct sl_address address;
    uint16_t weight;
    bool drain;
    const char *zone;
    const char *version;
    const char *model;
};

struct rows {
    const struct row *items;
    size_t n;
};

static const struct sl_word drain_words[] = {{"false", false}, {"true", true}, {NULL, 0}};

static const struct sl_option endpoint_rows[] = {
    {.name = "address",
     .type = SL_OPTION_ADDRESS,
     SL_FIELD(row, address),
     .required = true,
     .min = 1,
     .what = "an address",
     .help = "Of the endpoint; none stands in the file twice."},
    {.name = "weight",
     .type = SL_OPTION_COUNT,
     SL_FIELD(row, weight),
     .fallback = "1",
     .max = UINT16_MAX,
     .help = "Its share beside the others; 0: none."},
    {.name = "drain",
     .type = SL_OPTION_WORD,
     SL_FIELD(row, drain),
     .words = drain_words,
     .fallback = "false",
     .help = "`true`: what runs there ends in order, and new requests go there only where no other "
             "is left."},
    {.name = "zone",
     .type = SL_OPTION_TEXT,
     SL_FIELD(row, zone),
     .what = "a label of at most 63 characters",
     .check = sl_value_tag,
     .help = "Where it runs."},
    {.name = "version",
     .type = SL_OPTION_TEXT,
     SL_FIELD(row, version),
     .what = "a label of at most 63 characters",
     .check = sl_value_tag,
     .help = "Of what it runs."},
    {.name = "model",
     .type = SL_OPTION_TEXT,
     SL_FIELD(row, model),
     .what = "a label of at most 63 characters",
     .check = sl_value_tag,
     .help = "That it serves."},
};

static const struct sl_section endpoint_section = {
    .title = "FILE.endpoints[]",
    SL_ROWS(endpoint_rows),
    .pos_offset = SL_NO_OFFSET,
};

static int read_endpoint(struct sl_decoder *d, const struct sl_yaml_node *node, struct row *out)
{
    if (node->kind == SL_YAML_MAP) {
        return sl_decode_section(d, &endpoint_section, node, out);
    }
    int rc = sl_decode_want_text(d, node, "an address or a map");
    if (rc != SL_OK) {
        return rc;
    }
    out->weight = 1;
    return sl_decode_report(
        d, sl_value_address(node->text, sl_decode_at(d, node), 1, &out->address, &d->err));
}

static int check_endpoints(struct sl_decoder *d, const struct sl_yaml_node *node,
                           const struct rows *rows)
{
    struct sl_seen *seen = sl_arena_alloc_array(d->scratch, rows->n, sizeof(*seen));
    char text[ADDRESS_TEXT_BYTES];
    uint64_t total = 0;

    if (seen == NULL) {
        return sl_decode_no_memory(d);
    }
    for (const struct sl_yaml_node *n = node->first; n != NULL; n = n->next) {
        sl_address_format(&rows->items[n->idx].address, text, sizeof(text));
        const char *copy = sl_arena_strdup(d->scratch, sl_slice_of(text));

        if (copy == NULL) {
            return sl_decode_no_memory(d);
        }
        seen[n->idx] = (struct sl_seen){sl_slice_of(copy), n};
        total += rows->items[n->idx].weight;
    }
    if (total == 0) {
        return sl_decode_report(d, sl_error_set(&d->err, SL_ECONFIG, sl_decode_at(d, node),
                                                "expected a weight above 0, found only zeros; "
                                                "write [] where there shall be no endpoint"));
    }
    return sl_decode_unique(d, seen, rows->n, "address");
}

static int read_endpoints(struct sl_decoder *d, const struct sl_yaml_node *node, void *base)
{
    struct rows *rows = base;
    char found[SL_YAML_FOUND_BYTES];
    int worst = SL_OK;

    if (node->kind != SL_YAML_LIST) {
        return sl_decode_report(
            d, sl_error_set(&d->err, SL_ECONFIG, sl_decode_at(d, node),
                            "expected a list of at most %d addresses or maps, found %s; write "
                            "[\"10.0.0.7:8000\"], or [] for none",
                            ENDPOINTS_MAX_N, sl_yaml_found(node, found)));
    }
    if (node->children_n == 0) {
        return SL_OK;
    }
    struct row *items = sl_arena_alloc_array(d->arena, node->children_n, sizeof(*items));
    if (items == NULL) {
        return sl_decode_no_memory(d);
    }
    for (const struct sl_yaml_node *item = node->first; item != NULL; item = item->next) {
        int rc = read_endpoint(d, item, &items[item->idx]);

        if (rc == SL_ENOMEM) {
            return rc;
        }
        worst = sl_decode_worse(worst, rc);
    }
    rows->items = items;
    rows->n = node->children_n;
    return worst == SL_OK ? check_endpoints(d, node, rows) : worst;
}

static const struct sl_option file_rows[] = {
    {.name = "endpoints",
     .type = SL_OPTION_OWN,
     .required = true,
     .what = "a list of at most 4096 addresses or maps",
     .read = read_endpoints,
     .section = &endpoint_section,
     .help = "All there are: `[\"10.0.0.7:8000\", {address: \"10.0.0.8:8000\", weight: 3}]`. `[]` "
             "says that there is none, and empties the pool."},
};

const struct sl_section sl_section_endpoint_file = {
    .title = "FILE of pools.NAME.discover.file",
    SL_ROWS(file_rows),
    .pos_offset = SL_NO_OFFSET,
};

/* ---- The file */

static void copy_label(char out[64], const char *label)
{
    (void)snprintf(out, 64, "%s", label != NULL ? label : ""); /* sl_value_tag: it fits */
}

static int hand_out(const struct rows *rows, struct sl_found **out, size_t *n)
{
    struct sl_found *items = sl_alloc_array(rows->n > 0 ? rows->n : 1, sizeof(*items));

    if (items == NULL) {
        return SL_ENOMEM;
    }
    for (size_t i = 0; i < rows->n; i++) {
        items[i].address = rows->items[i].address;
        items[i].weight = rows->items[i].weight;
        items[i].draining = rows->items[i].drain;
        copy_label(items[i].zone, rows->items[i].zone);
        copy_label(items[i].version, rows->items[i].version);
        copy_label(items[i].model, rows->items[i].model);
    }
    *out = items;
    *n = rows->n;
    return SL_OK;
}

static int decode(struct sl_decoder *d, struct sl_slice text, struct rows *rows)
{
    char found[SL_YAML_FOUND_BYTES];
    const struct sl_yaml_input input = {
        .text = text,
        .file = d->file,
        .root_name = "endpoints",
        .refusal = "broken YAML",
    };
    const struct sl_pos start = {.file = d->file, .key = "endpoints", .line = 1, .column = 1};
    int rc = sl_yaml_read(&input, d->scratch, &d->root, &d->err);

    if (rc != SL_OK) {
        return sl_decode_report(d, rc);
    }
    if (d->root == NULL || d->root->kind != SL_YAML_MAP) {
        return sl_decode_report(
            d, sl_error_set(&d->err, SL_ECONFIG, &start,
                            "expected a map with a list of endpoints, found %s",
                            d->root != NULL ? sl_yaml_found(d->root, found) : "an empty file"));
    }
    return sl_decode_section(d, &sl_section_endpoint_file, d->root, rows);
}

int sl_endpoint_file_parse(struct sl_slice text, const char *name, struct sl_found **out, size_t *n,
                           struct sl_error *err)
{
    struct sl_config_errors errors = {0};
    struct rows rows = {0};
    struct sl_arena arena;

    if (text.len > SL_ENDPOINT_FILE_MAX_BYTES) {
        return sl_error_set(err, SL_ECONFIG, NULL, "expected at most 1 MiB, found %zu bytes in %s",
                            text.len, name);
    }
    sl_arena_init(&arena, BLOCK_BYTES, 0, NULL, 0);
    struct sl_decoder d = {.file = name, .arena = &arena, .scratch = &arena, .errors = &errors};
    int rc = decode(&d, text, &rows);
    if (rc == SL_OK) {
        rc = hand_out(&rows, out, n);
    }
    sl_arena_fini(&arena);
    if (rc == SL_ENOMEM) {
        return sl_error_set(err, SL_ENOMEM, NULL, "out of memory reading %s", name);
    }
    if (rc != SL_OK) {
        *err = errors.items[0];
    }
    return rc;
}
