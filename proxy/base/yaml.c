/* SPDX-License-Identifier: Apache-2.0 */
#include "proxy/base/yaml.h" /* in full: libyaml's has the same name */

#include "arena.h"
#include "hash.h"

#include <yaml.h>

#include <string.h>

struct reader {
    yaml_parser_t parser;
    const struct sl_yaml_input *in;
    struct sl_slice text; /* of in, without its byte order mark */
    struct sl_arena *arena;
    struct sl_error *err;
    struct sl_yaml_node *root;
    struct sl_yaml_node *open; /* innermost map or list that has not ended */
    uint32_t depth;
    uint32_t nodes_n;
    uint32_t documents_n;
    bool has_key; /* of open: read, its value is to come */
    struct sl_slice key;
    yaml_mark_t key_mark;
    struct sl_pos pos; /* of the error at hand */
    char path[SL_YAML_PATH_BYTES];
};

/* Where an error is: mark, and the path of what begins there. */
static const struct sl_pos *at(struct reader *r, yaml_mark_t mark)
{
    bool is_root = !r->has_key && (r->open == NULL || r->open->parent == NULL);

    sl_yaml_path(r->open, r->has_key ? r->key.ptr : NULL, r->path);
    r->pos = (struct sl_pos){
        .file = r->in->file,
        .key = is_root ? r->in->root_name : r->path,
        .line = (uint32_t)mark.line + 1,
        .column = (uint32_t)mark.column + 1,
    };
    return &r->pos;
}

/* libyaml gives a broken byte's offset and no line. */
static yaml_mark_t mark_of_offset(struct sl_slice text, size_t offset)
{
    yaml_mark_t mark = {.index = offset};

    for (size_t i = 0; i < offset && i < text.len; i++) {
        if (text.ptr[i] == '\n') {
            mark.line++;
            mark.column = 0;
        } else {
            mark.column++;
        }
    }
    return mark;
}

static int out_of_memory(struct reader *r)
{
    return sl_error_set(r->err, SL_ENOMEM, NULL, "out of memory reading %s", r->in->file);
}

static int refuse_syntax(struct reader *r)
{
    const char *problem = r->parser.problem != NULL ? r->parser.problem : "no YAML";

    r->has_key = false;
    if (r->parser.error == YAML_MEMORY_ERROR) {
        return out_of_memory(r);
    }
    if (r->parser.error == YAML_READER_ERROR) {
        return sl_error_set(r->err, SL_ECONFIG,
                            at(r, mark_of_offset(r->text, r->parser.problem_offset)),
                            "expected UTF-8 text: %s", problem);
    }
    if (r->parser.problem_mark.index < r->text.len &&
        r->text.ptr[r->parser.problem_mark.index] == '\t')
    { /* the index counts characters */
        return sl_error_set(r->err, SL_ECONFIG, at(r, r->parser.problem_mark),
                            "%s: found a tab; indent with spaces", r->in->refusal);
    }
    return sl_error_set(r->err, SL_ECONFIG, at(r, r->parser.problem_mark), "%s: %s%s%s",
                        r->in->refusal, problem, r->parser.context != NULL ? ", " : "",
                        r->parser.context != NULL ? r->parser.context : "");
}

/* A node at mark, below r->open and under the key that waits. NULL: r->err says why not. */
static struct sl_yaml_node *add_node(struct reader *r, enum sl_yaml_kind kind, yaml_mark_t mark)
{
    struct sl_yaml_node *parent = r->open;

    if (++r->nodes_n > SL_YAML_MAX_NODES_N) {
        (void)sl_error_set(r->err, SL_ECONFIG, at(r, mark), "expected at most %d values in a file",
                           SL_YAML_MAX_NODES_N);
        return NULL;
    }
    if (parent != NULL && parent->kind == SL_YAML_LIST && parent->children_n == SL_YAML_MAX_ITEMS_N)
    {
        (void)sl_error_set(r->err, SL_ECONFIG, at(r, mark), "expected at most %d items in a list",
                           SL_YAML_MAX_ITEMS_N);
        return NULL;
    }
    struct sl_yaml_node *n = sl_arena_alloc(r->arena, sizeof(*n));
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
static bool has_control(struct sl_slice text, const char *allowed)
{
    for (size_t i = 0; i < text.len; i++) {
        unsigned char c = (unsigned char)text.ptr[i];

        if (c == 0x7f || (c < 0x20 && (c == 0 || strchr(allowed, c) == NULL))) {
            return true;
        }
    }
    return false;
}

static int on_key(struct reader *r, struct sl_slice text, const yaml_event_t *event)
{
    const struct sl_yaml_node *first;

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
    first = sl_yaml_find(r->open, text);
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
    bool is_key = r->open != NULL && r->open->kind == SL_YAML_MAP && !r->has_key;
    bool has_lines = r->in->has_lines && !is_key;

    if (has_control(raw, has_lines ? "\t\r\n" : "")) {
        return sl_error_set(r->err, SL_ECONFIG, at(r, event->start_mark),
                            "control characters%s are not allowed in a value",
                            has_lines ? "" : " and line breaks");
    }
    char *text = sl_arena_strdup(r->arena, raw);
    if (text == NULL) {
        return out_of_memory(r);
    }
    struct sl_slice copy = {text, raw.len};
    if (is_key) {
        return on_key(r, copy, event);
    }
    struct sl_yaml_node *n = add_node(r, SL_YAML_TEXT, event->start_mark);
    if (n == NULL) {
        return r->err->code;
    }
    n->text = copy;
    n->is_plain = event->data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
    return SL_OK;
}

static int on_open(struct reader *r, const yaml_event_t *event, enum sl_yaml_kind kind)
{
    if (r->open != NULL && r->open->kind == SL_YAML_MAP && !r->has_key) {
        return sl_error_set(r->err, SL_ECONFIG, at(r, event->start_mark),
                            "expected a plain name as key, found a %s",
                            kind == SL_YAML_MAP ? "map" : "list");
    }
    if (r->depth == SL_YAML_MAX_DEPTH) {
        return sl_error_set(r->err, SL_ECONFIG, at(r, event->start_mark),
                            "expected at most %d levels of nesting", SL_YAML_MAX_DEPTH);
    }
    struct sl_yaml_node *n = add_node(r, kind, event->start_mark);
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
        return rc == SL_OK ? on_open(r, event, SL_YAML_LIST) : rc;
    case YAML_MAPPING_START_EVENT:
        rc = check_decoration(r, event, event->data.mapping_start.anchor,
                              event->data.mapping_start.tag);
        return rc == SL_OK ? on_open(r, event, SL_YAML_MAP) : rc;
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

int sl_yaml_read(const struct sl_yaml_input *in, struct sl_arena *arena,
                 const struct sl_yaml_node **out, struct sl_error *err)
{
    struct reader r = {.in = in, .text = in->text, .arena = arena, .err = err};
    struct sl_slice mark = SL_SLICE("\xef\xbb\xbf"); /* libyaml skips it only if it guesses */

    if (r.text.len > SL_YAML_MAX_BYTES) {
        return sl_error_set(err, SL_ECONFIG, at(&r, (yaml_mark_t){0}),
                            "expected at most 4 MiB, found %zu bytes", r.text.len);
    }
    if (!yaml_parser_initialize(&r.parser)) {
        return out_of_memory(&r);
    }
    if (sl_slice_starts(r.text, mark)) {
        r.text = (struct sl_slice){r.text.ptr + mark.len, r.text.len - mark.len};
    }
    yaml_parser_set_encoding(&r.parser, YAML_UTF8_ENCODING);
    yaml_parser_set_input_string(&r.parser, (const unsigned char *)r.text.ptr, r.text.len);
    int rc = read_events(&r);
    yaml_parser_delete(&r.parser);
    if (rc == SL_OK) {
        *out = r.root;
    }
    return rc;
}
