/* SPDX-License-Identifier: Apache-2.0 */
#include "decode.h"

#include "scalars.h"
#include "suggest.h"

#include "proxy/base/arena.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- Errors and positions */

static bool is_before(const struct sl_error *a, const struct sl_error *b)
{
    return a->line != b->line ? a->line < b->line : a->column < b->column;
}

void sl_errors_add(struct sl_config_errors *errors, const struct sl_error *err)
{
    size_t i = errors->n;

    if (errors->n == SL_CONFIG_ERRORS_MAX_N) {
        errors->dropped_n++;
        if (!is_before(err, &errors->items[--i])) {
            return;
        }
    } else {
        errors->n++;
    }
    for (; i > 0 && is_before(err, &errors->items[i - 1]); i--) {
        errors->items[i] = errors->items[i - 1];
    }
    errors->items[i] = *err;
}

const struct sl_pos *sl_decode_at_missing(struct sl_decoder *d, const struct sl_yaml_node *node,
                                          const char *name)
{
    sl_yaml_path(node, name, d->path);
    d->pos = (struct sl_pos){
        .file = d->file,
        .key = d->path,
        .line = node->line,
        .column = node->column,
    };
    return &d->pos;
}

const struct sl_pos *sl_decode_at(struct sl_decoder *d, const struct sl_yaml_node *node)
{
    return sl_decode_at_missing(d, node, NULL);
}

const struct sl_pos *sl_decode_at_key(struct sl_decoder *d, const struct sl_yaml_node *node)
{
    (void)sl_decode_at(d, node); /* fills d->pos, the rest of which stays */
    d->pos.line = node->key_line;
    d->pos.column = node->key_column;
    return &d->pos;
}

int sl_decode_report(struct sl_decoder *d, int rc)
{
    if (rc != SL_OK) {
        sl_errors_add(d->errors, &d->err);
    }
    return rc;
}

int sl_decode_no_memory(struct sl_decoder *d)
{
    return sl_decode_report(
        d, sl_error_set(&d->err, SL_ENOMEM, NULL, "out of memory reading %s", d->file));
}

bool sl_decode_errors_full(const struct sl_decoder *d)
{
    return d->errors->n == SL_CONFIG_ERRORS_MAX_N;
}

int sl_decode_want_text(struct sl_decoder *d, const struct sl_yaml_node *node, const char *what)
{
    char found[SL_YAML_FOUND_BYTES];

    if (node->kind == SL_YAML_TEXT) {
        return SL_OK;
    }
    return sl_decode_report(d, sl_error_set(&d->err, SL_ECONFIG, sl_decode_at(d, node),
                                            "expected %s, found %s", what,
                                            sl_yaml_found(node, found)));
}

int sl_decode_refuse(struct sl_decoder *d, const struct sl_option *o,
                     const struct sl_yaml_node *node)
{
    char what[SL_DESCRIBE_BYTES];
    char found[SL_YAML_FOUND_BYTES];

    return sl_decode_report(d, sl_error_set(&d->err, SL_ECONFIG, sl_decode_at(d, node),
                                            "expected %s, found %s", sl_option_describe(o, what),
                                            sl_yaml_found(node, found)));
}

int sl_decode_worse(int a, int b)
{
    return a == SL_ENOMEM || b == SL_OK ? a : b;
}

/* ---- Duplicates */

static int compare_seen(const void *va, const void *vb)
{
    const struct sl_seen *a = va;
    const struct sl_seen *b = vb;
    size_t n = a->text.len < b->text.len ? a->text.len : b->text.len;
    int rc = n > 0 ? memcmp(a->text.ptr, b->text.ptr, n) : 0;

    if (rc != 0) {
        return rc;
    }
    if (a->text.len != b->text.len) {
        return a->text.len < b->text.len ? -1 : 1;
    }
    if (a->node->line != b->node->line) {
        return a->node->line < b->node->line ? -1 : 1;
    }
    return a->node->column < b->node->column ? -1 : 1;
}

int sl_decode_unique(struct sl_decoder *d, struct sl_seen *seen, size_t n, const char *what)
{
    int worst = SL_OK;

    if (n < 2) {
        return SL_OK;
    }
    qsort(seen, n, sizeof(*seen), compare_seen);
    for (size_t i = 1; i < n; i++) {
        if (sl_slice_eq(seen[i - 1].text, seen[i].text)) {
            worst = sl_decode_report(
                d, sl_error_set(&d->err, SL_ECONFIG, sl_decode_at(d, seen[i].node),
                                "expected another %s, found " SL_YAML_SHOWN_FMT
                                " again; it stands at line %u already",
                                what, SL_YAML_SHOWN_ARG(seen[i].text), seen[i - 1].node->line));
        }
    }
    return worst;
}

static int check_unique(struct sl_decoder *d, const struct sl_option *o,
                        const struct sl_yaml_node *list)
{
    struct sl_seen *seen = sl_arena_alloc_array(d->scratch, list->children_n, sizeof(*seen));
    size_t n = 0;

    if (seen == NULL) {
        return sl_decode_no_memory(d);
    }
    for (const struct sl_yaml_node *item = list->first; item != NULL; item = item->next) {
        const struct sl_yaml_node *node = sl_yaml_find(item, sl_slice_of(o->unique));

        if (node != NULL && node->kind == SL_YAML_TEXT) {
            seen[n++] = (struct sl_seen){node->text, node};
        }
    }
    return sl_decode_unique(d, seen, n, o->unique);
}

/* ---- Sections within sections */

static int read_section(struct sl_decoder *d, const struct sl_option *o,
                        const struct sl_yaml_node *node, void *field)
{
    if (node->kind == SL_YAML_MAP) {
        return sl_decode_section(d, o->section, node, field);
    }
    return sl_option_is_off(o, node) ? sl_decode_section(d, o->section, NULL, field)
                                     : sl_decode_refuse(d, o, node);
}

static int read_maybe(struct sl_decoder *d, const struct sl_option *o,
                      const struct sl_yaml_node *node, void *field)
{
    if (node->kind != SL_YAML_MAP) {
        return sl_decode_refuse(d, o, node);
    }
    void *item = sl_arena_alloc(d->arena, o->section->size_bytes);
    if (item == NULL) {
        return sl_decode_no_memory(d);
    }
    sl_store_pointer(field, item);
    return sl_decode_section(d, o->section, node, item);
}

/* Items of a list, or values of a map, whose keys are names. base: of the struct around. */
static int read_items(struct sl_decoder *d, const struct sl_option *o,
                      const struct sl_yaml_node *node, char *base)
{
    const struct sl_section *s = o->section;
    bool named = o->type == SL_OPTION_MAP;
    int worst = SL_OK;

    if (node->kind != (named ? SL_YAML_MAP : SL_YAML_LIST) || node->children_n < o->min ||
        node->children_n > o->max)
    {
        return sl_decode_refuse(d, o, node);
    }
    size_t n = node->children_n;
    char *items = sl_arena_alloc_array(d->arena, n > 0 ? n : 1, s->size_bytes);
    if (items == NULL) {
        return sl_decode_no_memory(d);
    }
    sl_store_pointer(base + o->offset, items);
    memcpy(base + o->n_offset, &n, sizeof(n));
    for (const struct sl_yaml_node *child = node->first; child != NULL; child = child->next) {
        char *item = items + child->idx * s->size_bytes;
        int rc = SL_OK;

        if (named) {
            rc =
                sl_decode_report(d, sl_value_name(child->key, sl_decode_at_key(d, child), &d->err));
            rc = rc == SL_OK ? sl_store_text(d, item + s->name_offset, child->key) : rc;
        }
        worst = sl_decode_worse(worst, rc);
        if (rc != SL_ENOMEM) {
            rc = child->kind == SL_YAML_MAP
                     ? sl_decode_section(d, s, child, item)
                     : sl_decode_refuse(d, &(struct sl_option){.type = SL_OPTION_SECTION}, child);
        }
        if (rc == SL_ENOMEM) {
            return rc;
        }
        worst = sl_decode_worse(worst, rc);
    }
    return o->unique != NULL ? sl_decode_worse(worst, check_unique(d, o, node)) : worst;
}

static int read_option(struct sl_decoder *d, const struct sl_option *o,
                       const struct sl_yaml_node *node, char *base)
{
    char *field = base + o->offset;

    switch (o->type) {
    case SL_OPTION_OWN:
        return o->read(d, node, base);
    case SL_OPTION_LIST:
    case SL_OPTION_MAP:
        return read_items(d, o, node, base);
    case SL_OPTION_SECTION:
        return read_section(d, o, node, field);
    case SL_OPTION_MAYBE:
        return read_maybe(d, o, node, field);
    case SL_OPTION_COUNT:
    case SL_OPTION_DURATION:
    case SL_OPTION_SIZE:
    case SL_OPTION_WORD:
    case SL_OPTION_TEXT:
    case SL_OPTION_TEXTS:
    case SL_OPTION_FILE:
    case SL_OPTION_ADDRESS:
        break;
    }
    return sl_scalar_read(d, o, node, field);
}

/* ---- Rows */

/* options_n when there is none called name. */
static size_t find_option(const struct sl_section *s, struct sl_slice name)
{
    size_t i = 0;

    while (i < s->options_n && !sl_slice_eq(name, sl_slice_of(s->options[i].name))) {
        i++;
    }
    return i;
}

/* *suggested: gets the bit of the option that was probably meant, so that it is not also missing.
 */
static int refuse_unknown(struct sl_decoder *d, const struct sl_section *s,
                          const struct sl_yaml_node *node, uint32_t *suggested)
{
    const struct sl_pos *pos = sl_decode_at_key(d, node);
    struct sl_suggestion suggestion;
    char names[192] = "";
    size_t used = 0;

    sl_suggest_init(&suggestion, node->key);
    for (size_t i = 0; i < s->options_n; i++) {
        const char *separator = i == 0 ? "" : i + 1 == s->options_n ? " or " : ", ";
        int n = snprintf(names + used, sizeof(names) - used, "%s%s", separator, s->options[i].name);

        SL_ASSERT(n > 0 && (size_t)n < sizeof(names) - used, "%s: names too long", s->title);
        used += (size_t)n;
        if (!sl_decode_errors_full(d)) {
            sl_suggest_offer(&suggestion, sl_slice_of(s->options[i].name));
        }
    }
    if (suggestion.best.len > 0) {
        *suggested |= 1U << find_option(s, suggestion.best);
        return sl_decode_report(d, sl_error_set(&d->err, SL_ECONFIG, pos,
                                                "unknown key; did you mean \"" SL_SLICE_FMT "\"?",
                                                SL_SLICE_ARG(suggestion.best)));
    }
    return sl_decode_report(
        d, sl_error_set(&d->err, SL_ECONFIG, pos, "unknown key; expected %s", names));
}

static int use_default(struct sl_decoder *d, const struct sl_option *o,
                       const struct sl_yaml_node *map, char *base)
{
    char what[SL_DESCRIBE_BYTES];

    if (o->type == SL_OPTION_SECTION && !o->required) {
        return sl_decode_section(d, o->section, NULL, base + o->offset);
    }
    if (o->fallback != NULL) {
        struct sl_yaml_node node = {.kind = SL_YAML_TEXT, .text = sl_slice_of(o->fallback)};

        return read_option(d, o, &node, base);
    }
    if (!o->required || map == NULL) {
        return SL_OK;
    }
    return sl_decode_report(d,
                            sl_error_set(&d->err, SL_ECONFIG, sl_decode_at_missing(d, map, o->name),
                                         "missing; expected %s", sl_option_describe(o, what)));
}

static int store_pos(struct sl_decoder *d, const struct sl_section *s,
                     const struct sl_yaml_node *node, char *base)
{
    struct sl_pos pos = *sl_decode_at(d, node);

    pos.key = sl_arena_strdup(d->arena, sl_slice_of(d->path));
    if (pos.key == NULL) {
        return sl_decode_no_memory(d);
    }
    memcpy(base + s->pos_offset, &pos, sizeof(pos));
    return SL_OK;
}

int sl_decode_section(struct sl_decoder *d, const struct sl_section *section,
                      const struct sl_yaml_node *node, void *base)
{
    uint32_t suggested = 0; /* a bit for each option */
    int worst = SL_OK;

    SL_ASSERT(section->options_n <= 32, "section %s", section->title);
    if (node != NULL && section->pos_offset != SL_NO_OFFSET) {
        worst = store_pos(d, section, node, base);
    }
    for (const struct sl_yaml_node *n = node != NULL ? node->first : NULL;
         n != NULL && worst != SL_ENOMEM; n = n->next)
    {
        size_t i = find_option(section, n->key);

        worst = sl_decode_worse(worst, i < section->options_n
                                           ? read_option(d, &section->options[i], n, base)
                                           : refuse_unknown(d, section, n, &suggested));
    }
    for (size_t i = 0; i < section->options_n && worst != SL_ENOMEM; i++) {
        const struct sl_option *o = &section->options[i];

        if ((suggested & (1U << i)) == 0 && sl_yaml_find(node, sl_slice_of(o->name)) == NULL) {
            worst = sl_decode_worse(worst, use_default(d, o, node, base));
        }
    }
    if (worst == SL_OK && node != NULL && section->finish != NULL) {
        worst = section->finish(d, node, base);
    }
    return worst;
}
