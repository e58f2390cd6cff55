/* SPDX-License-Identifier: Apache-2.0 */
#include "reader.h"

#include "proxy/base/arena.h"
#include "proxy/base/hash.h"

#include <yaml.h>

#include <stdbool.h>

struct reader {
    yaml_parser_t parser;
    struct sl_slice input;
    const char *file;
    struct sl_arena *arena;
    struct sl_error *err;
    struct sl_node *root;
    struct sl_node *open; /* innermost map or list that has not ended */
    uint32_t depth;
    uint32_t nodes_n;
    uint32_t documents_n;
    bool has_key; /* of open: read, its value is to come */
    struct sl_slice key;
    yaml_mark_t key_mark;
    struct sl_pos pos; /* of the error at hand */
    char path[SL_NODE_PATH_BYTES];
};

/* Where an error is: mark, and the path of what begins there. */
static const struct sl_pos *at(struct reader *r, yaml_mark_t mark)
{
    sl_node_path(r->open, r->has_key ? r->key.ptr : NULL, r->path);
    r->pos = (struct sl_pos){
        .file = r->file,
        .key = r->path,
        .line = (uint32_t)mark.line + 1,
        .column = (uint32_t)mark.column + 1,
    };
    return &r->pos;
}

/* libyaml gives a broken byte's offset and no line. */
static yaml_mark_t mark_of_offset(struct sl_slice input, size_t offset)
{
    yaml_mark_t mark = {.index = offset};

    for (size_t i = 0; i < offset && i < input.len; i++) {
        if (input.ptr[i] == '\n') {
            mark.line++;
            mark.column = 0;
        } else {
            mark.column++;
        }
    }
    return mark;
}

static int refuse_syntax(struct reader *r)
{
    const char *problem = r->parser.problem != NULL ? r->parser.problem : "no YAML";

    r->has_key = false;
    if (r->parser.error == YAML_MEMORY_ERROR) {
        return sl_error_set(r->err, SL_ENOMEM, NULL, "out of memory reading %s", r->file);
    }
    if (r->parser.error == YAML_READER_ERROR) {
        return sl_error_set(r->err, SL_ECONFIG,
                            at(r, mark_of_offset(r->input, r->parser.problem_offset)),
                            "expected UTF-8 text: %s", problem);
    }
    if (r->parser.problem_mark.index < r->input.len &&
        r->input.ptr[r->parser.problem_mark.index] == '\t')
    { /* the index counts characters */
        return sl_error_set(r->err, SL_ECONFIG, at(r, r->parser.problem_mark),
                            "broken YAML: found a tab; indent with spaces");
    }
    return sl_error_set(r->err, SL_ECONFIG, at(r, r->parser.problem_mark), "broken YAML: %s%s%s",
                        problem, r->parser.context != NULL ? ", " : "",
                        r->parser.context != NULL ? r->parser.context : "");
}

static int out_of_memory(struct reader *r)
{
    return sl_error_set(r->err, SL_ENOMEM, NULL, "out of memory reading %s", r->file);
}

/* A node at mark, below r->open and under the key that waits. NULL: r->err says why not. */
static struct sl_node *add_node(struct reader *r, enum sl_node_kind kind, yaml_mark_t mark)
{
    struct sl_node *parent = r->open;

    if (++r->nodes_n > SL_YAML_MAX_NODES_N) {
        (void)sl_error_set(r->err, SL_ECONFIG, at(r, mark), "expected at most %d values in a file",
                           SL_YAML_MAX_NODES_N);
        return NULL;
    }
    if (parent != NULL && parent->kind == SL_NODE_LIST && parent->children_n == SL_YAML_MAX_ITEMS_N)
    {
        (void)sl_error_set(r->err, SL_ECONFIG, at(r, mark), "expected at most %d items in a list",
                           SL_YAML_MAX_ITEMS_N);
        return NULL;
    }
    struct sl_node *n = sl_arena_alloc(r->arena, sizeof(*n));
    if (n == NULL) {
        (void)out_of_memory(r);
        return NULL;
    }
    n->kind = kind;
    n->line = n->key_line = (uint32_t)mark.line + 1;
    n->column = n->key_column = (uint32_t)mark.column + 1;
    n->parent = parent;
    if (r->has_key) {
        n->key = r->key;
        n->key_hash = sl_hash(r->key, 0);
        n->key_line = (uint32_t)r->key_mark.line + 1;
        n->key_column = (uint32_t)r->key_mark.column + 1;
        r->has_key = false;
    }
    if (parent == NULL) {
        r->root = n;
    } else {
        n->idx = parent->children_n++;
        *(parent->last != NULL ? &parent->last->next : &parent->first) = n;
        parent->last = n;
    }
    return n;
}

/* No option wants one; and text with a NUL would end early for whoever reads it. */
static bool has_control(struct sl_slice text)
{
    for (size_t i = 0; i < text.len; i++) {
        unsigned char c = (unsigned char)text.ptr[i];

        if (c < 0x20 || c == 0x7f) {
            return true;
        }
    }
    return false;
}

static int on_key(struct reader *r, struct sl_slice text, const yaml_event_t *event)
{
    const struct sl_node *first;

    r->key = text;
    r->key_mark = event->start_mark;
    r->has_key = true;
    if (text.len == 0) {
        r->has_key = false;
        return sl_error_set(r->err, SL_ECONFIG, at(r, event->start_mark),
                            "expected the name of a key, found nothing");
    }
    if (event->data.scalar.style == YAML_PLAIN_SCALAR_STYLE && sl_slice_eq(text, SL_SLICE("<<"))) {
        return sl_error_set(r->err, SL_ECONFIG, at(r, event->start_mark),
                            "merge keys are not supported; write the options out");
    }
    first = sl_node_find(r->open, text);
    if (first != NULL) {
        return sl_error_set(r->err, SL_ECONFIG, at(r, event->start_mark),
                            "duplicate key, first at line %u; remove one of them", first->key_line);
    }
    if (r->open->children_n == SL_YAML_MAX_KEYS_N) {
        return sl_error_set(r->err, SL_ECONFIG, at(r, event->start_mark),
                            "expected at most %d keys in a map", SL_YAML_MAX_KEYS_N);
    }
    return SL_OK;
}

static int on_scalar(struct reader *r, const yaml_event_t *event)
{
    struct sl_slice raw = {(const char *)event->data.scalar.value, event->data.scalar.length};

    if (has_control(raw)) {
        return sl_error_set(r->err, SL_ECONFIG, at(r, event->start_mark),
                            "control characters and line breaks are not allowed in a value");
    }
    char *text = sl_arena_strdup(r->arena, raw);
    if (text == NULL) {
        return out_of_memory(r);
    }
    struct sl_slice copy = {text, raw.len};
    if (r->open != NULL && r->open->kind == SL_NODE_MAP && !r->has_key) {
        return on_key(r, copy, event);
    }
    struct sl_node *n = add_node(r, SL_NODE_TEXT, event->start_mark);
    if (n == NULL) {
        return r->err->code;
    }
    n->text = copy;
    return SL_OK;
}

static int on_open(struct reader *r, const yaml_event_t *event, enum sl_node_kind kind)
{
    if (r->open != NULL && r->open->kind == SL_NODE_MAP && !r->has_key) {
        return sl_error_set(r->err, SL_ECONFIG, at(r, event->start_mark),
                            "expected a plain name as key, found a %s",
                            kind == SL_NODE_MAP ? "map" : "list");
    }
    if (r->depth == SL_YAML_MAX_DEPTH) {
        return sl_error_set(r->err, SL_ECONFIG, at(r, event->start_mark),
                            "expected at most %d levels of nesting", SL_YAML_MAX_DEPTH);
    }
    struct sl_node *n = add_node(r, kind, event->start_mark);
    if (n == NULL) {
        return r->err->code;
    }
    r->open = n;
    r->depth++;
    return SL_OK;
}

/* Anchors and tags, on whatever they stand. */
static int check_decoration(struct reader *r, const yaml_event_t *event, const yaml_char_t *anchor,
                            const yaml_char_t *tag)
{
    struct sl_slice name = sl_slice_of((const char *)tag);
    struct sl_slice core = SL_SLICE("tag:yaml.org,2002:"); /* what "!!" stands for */
    bool is_core = sl_slice_starts(name, core);

    if (anchor != NULL) {
        return sl_error_set(r->err, SL_ECONFIG, at(r, event->start_mark),
                            "anchors (&%.32s) are not supported; write the options out",
                            (const char *)anchor);
    }
    if (tag != NULL) {
        return sl_error_set(r->err, SL_ECONFIG, at(r, event->start_mark),
                            "tags (%s%.32s) are not supported; write the value alone",
                            is_core ? "!!" : "", name.ptr + (is_core ? core.len : 0));
    }
    return SL_OK;
}

static int on_document(struct reader *r, const yaml_event_t *event)
{
    if (++r->documents_n > 1) {
        return sl_error_set(r->err, SL_ECONFIG, at(r, event->start_mark),
                            "expected one document, found a second; remove the \"---\"");
    }
    return SL_OK;
}

static int on_event(struct reader *r, const yaml_event_t *event)
{
    int rc;

    switch (event->type) {
    case YAML_DOCUMENT_START_EVENT:
        return on_document(r, event);
    case YAML_ALIAS_EVENT:
        return sl_error_set(r->err, SL_ECONFIG, at(r, event->start_mark),
                            "aliases (*%.32s) are not supported; write the options out",
                            (const char *)event->data.alias.anchor);
    case YAML_SCALAR_EVENT:
        rc = check_decoration(r, event, event->data.scalar.anchor, event->data.scalar.tag);
        return rc == SL_OK ? on_scalar(r, event) : rc;
    case YAML_SEQUENCE_START_EVENT:
        rc = check_decoration(r, event, event->data.sequence_start.anchor,
                              event->data.sequence_start.tag);
        return rc == SL_OK ? on_open(r, event, SL_NODE_LIST) : rc;
    case YAML_MAPPING_START_EVENT:
        rc = check_decoration(r, event, event->data.mapping_start.anchor,
                              event->data.mapping_start.tag);
        return rc == SL_OK ? on_open(r, event, SL_NODE_MAP) : rc;
    case YAML_SEQUENCE_END_EVENT:
    case YAML_MAPPING_END_EVENT:
        r->open = r->open->parent;
        r->depth--;
        return SL_OK;
    case YAML_NO_EVENT:
    case YAML_STREAM_START_EVENT:
    case YAML_STREAM_END_EVENT:
    case YAML_DOCUMENT_END_EVENT:
        break;
    }
    return SL_OK;
}

static int read_events(struct reader *r)
{
    yaml_event_t event;
    bool ended = false;
    int rc = SL_OK;

    while (rc == SL_OK && !ended) {
        if (!yaml_parser_parse(&r->parser, &event)) {
            return refuse_syntax(r);
        }
        ended = event.type == YAML_STREAM_END_EVENT;
        rc = on_event(r, &event);
        yaml_event_delete(&event);
    }
    return rc;
}

int sl_yaml_read(struct sl_slice text, const char *file, struct sl_arena *arena,
                 const struct sl_node **out, struct sl_error *err)
{
    struct reader r = {.input = text, .file = file, .arena = arena, .err = err};
    char found[SL_NODE_FOUND_BYTES];

    if (text.len > SL_YAML_MAX_BYTES) {
        return sl_error_set(err, SL_ECONFIG, at(&r, (yaml_mark_t){0}),
                            "expected at most 4 MiB, found %zu bytes", text.len);
    }
    if (!yaml_parser_initialize(&r.parser)) {
        return out_of_memory(&r);
    }
    if (sl_slice_starts(text, SL_SLICE("\xef\xbb\xbf")))
    { /* which libyaml skips only if it guesses */
        r.input = (struct sl_slice){text.ptr + 3, text.len - 3};
    }
    yaml_parser_set_encoding(&r.parser, YAML_UTF8_ENCODING);
    yaml_parser_set_input_string(&r.parser, (const unsigned char *)r.input.ptr, r.input.len);
    int rc = read_events(&r);
    yaml_parser_delete(&r.parser);
    if (rc != SL_OK) {
        return rc;
    }
    if (r.root == NULL) {
        return sl_error_set(err, SL_ECONFIG, at(&r, (yaml_mark_t){0}),
                            "expected a map of options, found an empty file");
    }
    if (r.root->kind != SL_NODE_MAP) {
        yaml_mark_t mark = {.line = r.root->line - 1, .column = r.root->column - 1};

        return sl_error_set(err, SL_ECONFIG, at(&r, mark), "expected a map of options, found %s",
                            sl_node_found(r.root, found));
    }
    *out = r.root;
    return SL_OK;
}
