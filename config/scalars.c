/* SPDX-License-Identifier: Apache-2.0 */
#include "scalars.h"

#include "duration.h"

#include "proxy/base/arena.h"
#include "proxy/base/num.h"

#include <string.h>

static void store_unsigned(const struct sl_option *o, void *field, uint64_t value)
{
    uint8_t v8 = (uint8_t)value;
    uint16_t v16 = (uint16_t)value;
    uint32_t v32 = (uint32_t)value;

    switch (o->width) {
    case sizeof(v8):
        memcpy(field, &v8, sizeof(v8));
        break;
    case sizeof(v16):
        memcpy(field, &v16, sizeof(v16));
        break;
    case sizeof(v32):
        memcpy(field, &v32, sizeof(v32));
        break;
    default:
        SL_ASSERT(o->width == sizeof(value), "option %s: width %zu", o->name, o->width);
        memcpy(field, &value, sizeof(value));
    }
}

void sl_store_pointer(void *field, const void *pointer)
{
    memcpy(field, (const void *)&pointer, sizeof(pointer));
}

int sl_store_text(struct sl_decoder *d, void *field, struct sl_slice text)
{
    char *copy = sl_arena_strdup(d->arena, text);

    if (copy == NULL) {
        return sl_decode_no_memory(d);
    }
    sl_store_pointer(field, copy);
    return SL_OK;
}

static int read_count(struct sl_decoder *d, const struct sl_option *o,
                      const struct sl_yaml_node *node, void *field)
{
    uint64_t value;

    if (node->kind != SL_YAML_TEXT || sl_num_parse_below(node->text, o->max, &value) != SL_OK ||
        value < o->min)
    {
        return sl_decode_refuse(d, o, node);
    }
    store_unsigned(o, field, value);
    return SL_OK;
}

bool sl_option_is_off(const struct sl_option *o, const struct sl_yaml_node *node)
{
    return o->off_ok && node->kind == SL_YAML_TEXT && sl_slice_eq(node->text, SL_SLICE("off"));
}

/* If not, it was not meant as a number with a unit: the row knows better what to write. */
static bool has_digit_first(const struct sl_yaml_node *node)
{
    return node->kind == SL_YAML_TEXT && node->text.len > 0 && node->text.ptr[0] >= '0' &&
           node->text.ptr[0] <= '9';
}

static int read_duration(struct sl_decoder *d, const struct sl_option *o,
                         const struct sl_yaml_node *node, void *field)
{
    uint64_t ms = 0;

    if (!sl_option_is_off(o, node)) {
        if (!has_digit_first(node)) {
            return sl_decode_refuse(d, o, node);
        }
        int rc = sl_duration_parse(node->text, sl_decode_at(d, node), &ms, &d->err);
        if (rc != SL_OK) {
            return sl_decode_report(d, rc);
        }
        if (ms < o->min || ms > o->max) {
            return sl_decode_refuse(d, o, node);
        }
    }
    store_unsigned(o, field, ms);
    return SL_OK;
}

static int read_size(struct sl_decoder *d, const struct sl_option *o,
                     const struct sl_yaml_node *node, void *field)
{
    uint64_t bytes = UINT64_MAX;

    if (!sl_option_is_off(o, node)) {
        if (!has_digit_first(node)) {
            return sl_decode_refuse(d, o, node);
        }
        int rc = sl_value_size(node->text, sl_decode_at(d, node), &bytes, &d->err);
        if (rc != SL_OK) {
            return sl_decode_report(d, rc);
        }
        if (bytes < o->min || bytes > o->max) {
            return sl_decode_refuse(d, o, node);
        }
    }
    store_unsigned(o, field, bytes);
    return SL_OK;
}

static int read_word(struct sl_decoder *d, const struct sl_option *o,
                     const struct sl_yaml_node *node, void *field)
{
    for (const struct sl_word *w = o->words; node->kind == SL_YAML_TEXT && w->text != NULL; w++) {
        if (sl_slice_eq(node->text, sl_slice_of(w->text))) {
            store_unsigned(o, field, w->value);
            return SL_OK;
        }
    }
    return sl_decode_refuse(d, o, node);
}

static int read_text(struct sl_decoder *d, const struct sl_option *o,
                     const struct sl_yaml_node *node, void *field)
{
    if (node->kind != SL_YAML_TEXT) {
        return sl_decode_refuse(d, o, node);
    }
    int rc = o->check(node->text, sl_decode_at(d, node), &d->err);

    return rc == SL_OK ? sl_store_text(d, field, node->text) : sl_decode_report(d, rc);
}

static int read_texts(struct sl_decoder *d, const struct sl_option *o,
                      const struct sl_yaml_node *node, void *field)
{
    struct sl_strings strings = {.n = node->children_n};
    int worst = SL_OK;
    size_t i = 0;

    if (node->kind != SL_YAML_LIST || node->children_n < o->min || node->children_n > o->max) {
        return sl_decode_refuse(d, o, node);
    }
    const char **items =
        (const char **)sl_arena_alloc_array(d->arena, node->children_n, sizeof(*items));
    if (items == NULL) {
        return sl_decode_no_memory(d);
    }
    for (const struct sl_yaml_node *item = node->first; item != NULL; item = item->next) {
        int rc = sl_decode_want_text(d, item, "a text");

        if (rc == SL_OK) {
            rc = sl_decode_report(d, o->check(item->text, sl_decode_at(d, item), &d->err));
        }
        if (rc == SL_OK) {
            rc = sl_store_text(d, (void *)&items[i++], item->text);
        }
        if (rc == SL_ENOMEM) {
            return rc;
        }
        worst = sl_decode_worse(worst, rc);
    }
    strings.items = items;
    memcpy(field, &strings, sizeof(strings));
    return worst;
}

static int note_contents(struct sl_decoder *d, const char *path)
{
    struct sl_config_file *f = sl_arena_alloc(d->arena, sizeof(*f));

    if (f == NULL) {
        return sl_decode_no_memory(d);
    }
    f->path = path;
    f->contents_hash = sl_file_hash(path);
    f->next = *d->files;
    *d->files = f;
    return SL_OK;
}

/* A relative path counts from the folder of the file that names it. */
static int read_file(struct sl_decoder *d, const struct sl_option *o,
                     const struct sl_yaml_node *node, void *field)
{
    const char *slash = strrchr(d->file, '/');
    size_t folder_len = slash != NULL ? (size_t)(slash - d->file) + 1 : 0;

    if (node->kind != SL_YAML_TEXT || node->text.len == 0) {
        return sl_decode_refuse(d, o, node);
    }
    if (node->text.ptr[0] == '/') {
        folder_len = 0;
    }
    char *path = sl_arena_alloc_bytes(d->arena, folder_len + node->text.len + 1);
    if (path == NULL) {
        return sl_decode_no_memory(d);
    }
    memcpy(path, d->file, folder_len);
    memcpy(path + folder_len, node->text.ptr, node->text.len + 1); /* with its end */
    sl_store_pointer(field, path);
    int rc = SL_OK;

    if (o->check_file != NULL) {
        rc = sl_decode_report(d,
                              o->check_file(path, node->text.ptr, sl_decode_at(d, node), &d->err));
    }
    return rc == SL_OK && o->says_contents && d->files != NULL ? note_contents(d, path) : rc;
}

static int read_address(struct sl_decoder *d, const struct sl_option *o,
                        const struct sl_yaml_node *node, void *field)
{
    struct sl_address a;

    if (node->kind != SL_YAML_TEXT) {
        return sl_decode_refuse(d, o, node);
    }
    int rc = sl_value_address(node->text, sl_decode_at(d, node), (uint16_t)o->min, &a, &d->err);
    if (rc != SL_OK) {
        return sl_decode_report(d, rc);
    }
    memcpy(field, &a, sizeof(a));
    return SL_OK;
}

int sl_scalar_read(struct sl_decoder *d, const struct sl_option *o, const struct sl_yaml_node *node,
                   void *field)
{
    static int (*const readers[])(struct sl_decoder *, const struct sl_option *,
                                  const struct sl_yaml_node *, void *) = {
        [SL_OPTION_COUNT] = read_count, [SL_OPTION_DURATION] = read_duration,
        [SL_OPTION_SIZE] = read_size,   [SL_OPTION_WORD] = read_word,
        [SL_OPTION_TEXT] = read_text,   [SL_OPTION_TEXTS] = read_texts,
        [SL_OPTION_FILE] = read_file,   [SL_OPTION_ADDRESS] = read_address,
    };

    SL_ASSERT(o->type < SL_ARRAY_LEN(readers), "option %s", o->name);
    return readers[o->type](d, o, node, field);
}
