/* SPDX-License-Identifier: Apache-2.0 */
#include "print.h"

#include "duration.h"
#include "options.h"

#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum {
    ADDRESS_TEXT_BYTES = 128
};

/* ---- Paths and lines */

static void append_path(struct sl_printer *p, const char *text)
{
    size_t room = sizeof(p->path) - 1 - p->path_len;
    size_t len = strlen(text);

    len = len < room ? len : room;
    memcpy(p->path + p->path_len, text, len);
    p->path_len += len;
    p->path[p->path_len] = '\0';
}

static size_t enter_item(struct sl_printer *p, const char *name)
{
    size_t mark = p->path_len;

    append_path(p, "[");
    append_path(p, name);
    append_path(p, "]");
    return mark;
}

size_t sl_print_enter(struct sl_printer *p, const char *name)
{
    size_t mark = p->path_len;

    if (strchr(name, '.') != NULL) {
        return enter_item(p, name);
    }
    append_path(p, p->path_len > 0 ? "." : "");
    append_path(p, name);
    return mark;
}

void sl_print_leave(struct sl_printer *p, size_t mark)
{
    p->path_len = mark;
    p->path[mark] = '\0';
}

static bool is_plain(const char *value)
{
    for (; *value != '\0'; value++) {
        if ((unsigned char)*value < ' ' || *value == 0x7f) {
            return false;
        }
    }
    return true;
}

/* One line, whatever a file managed to put into a value. */
static void append_value(struct sl_printer *p, const char *value)
{
    if (is_plain(value)) {
        sl_text_append_str(p->out, value);
    } else {
        sl_text_append_json(p->out, sl_slice_of(value));
    }
}

void sl_print_value(struct sl_printer *p, const char *value)
{
    sl_text_append_str(p->out, p->path);
    sl_text_append_str(p->out, value[0] != '\0' ? ": " : ":");
    append_value(p, value);
    sl_text_append_str(p->out, "\n");
}

void sl_print_option(struct sl_printer *p, const char *name, const char *value)
{
    size_t mark = sl_print_enter(p, name);

    sl_print_value(p, value);
    sl_print_leave(p, mark);
}

void sl_print_options(struct sl_printer *p, const char *name, const struct sl_strings *values)
{
    size_t mark = sl_print_enter(p, name);

    sl_text_append_str(p->out, p->path);
    for (size_t i = 0; i < values->n; i++) {
        sl_text_append_str(p->out, i == 0 ? ": " : ", ");
        append_value(p, values->items[i]);
    }
    sl_text_append_str(p->out, "\n");
    sl_print_leave(p, mark);
}

/* ---- Values */

static uint64_t load_unsigned(const struct sl_option *o, const void *field)
{
    uint64_t value = 0;
    uint8_t v8;
    uint16_t v16;
    uint32_t v32;

    switch (o->width) {
    case sizeof(v8):
        memcpy(&v8, field, sizeof(v8));
        return v8;
    case sizeof(v16):
        memcpy(&v16, field, sizeof(v16));
        return v16;
    case sizeof(v32):
        memcpy(&v32, field, sizeof(v32));
        return v32;
    default:
        SL_ASSERT(o->width == sizeof(value), "option %s: width %zu", o->name, o->width);
        memcpy(&value, field, sizeof(value));
        return value;
    }
}

static const char *load_pointer(const void *field)
{
    const char *pointer;

    memcpy((void *)&pointer, field, sizeof(pointer));
    return pointer;
}

static void print_number(struct sl_printer *p, const struct sl_option *o, const void *field)
{
    uint64_t value = load_unsigned(o, field);
    uint64_t off = o->type == SL_OPTION_SIZE ? UINT64_MAX : 0;
    char text[32];

    if (o->off_ok && value == off) {
        sl_print_option(p, o->name, "off");
        return;
    }
    if (value < o->min) {
        return; /* not set, and without a default */
    }
    if (o->type == SL_OPTION_DURATION) {
        (void)sl_duration_format(value, text);
    } else if (o->type == SL_OPTION_SIZE) {
        (void)sl_size_format(value, text);
    } else {
        (void)snprintf(text, sizeof(text), "%" PRIu64, value);
    }
    sl_print_option(p, o->name, text);
}

static void print_word(struct sl_printer *p, const struct sl_option *o, const void *field)
{
    uint64_t value = load_unsigned(o, field);

    for (const struct sl_word *w = o->words; w->text != NULL; w++) {
        if (w->value == value) {
            sl_print_option(p, o->name, w->text);
            return;
        }
    }
}

static void print_text(struct sl_printer *p, const struct sl_option *o, const void *field)
{
    const char *text = load_pointer(field);

    if (text != NULL) {
        sl_print_option(p, o->name, text);
    }
}

static void print_texts(struct sl_printer *p, const struct sl_option *o, const void *field)
{
    struct sl_strings texts;

    memcpy(&texts, field, sizeof(texts));
    if (texts.n > 0) {
        sl_print_options(p, o->name, &texts);
    }
}

static void print_address(struct sl_printer *p, const struct sl_option *o, const void *field)
{
    struct sl_address address;
    char text[ADDRESS_TEXT_BYTES];

    memcpy(&address, field, sizeof(address));
    if (address.host[0] != '\0') {
        sl_address_format(&address, text, sizeof(text));
        sl_print_option(p, o->name, text);
    }
}

/* Without "." and "..", and never through the disk: links are what makes a certificate change, and
 * two processes must call one path alike. */
static void clean_path(char *path)
{
    size_t used = 0;

    for (const char *at = path; *at != '\0';) {
        size_t skip = strspn(at, "/");
        size_t len = strcspn(at + skip, "/");
        const char *part = at + skip;

        at = part + len;
        if (len == 0 || (len == 1 && part[0] == '.')) {
            continue;
        }
        if (len == 2 && part[0] == '.' && part[1] == '.') {
            while (used > 0 && path[--used] != '/') {
            }
            continue;
        }
        path[used++] = '/';
        memmove(path + used, part, len);
        used += len;
    }
    path[used > 0 ? used : 1] = '\0';
}

static void print_file(struct sl_printer *p, const struct sl_option *o, const void *field)
{
    const char *path = load_pointer(field);
    char folder[PATH_MAX] = "";
    char text[2 * PATH_MAX + 64];

    if (path == NULL) {
        return;
    }
    if (path[0] != '/' && getcwd(folder, sizeof(folder)) == NULL) {
        folder[0] = '\0';
    }
    (void)snprintf(text, sizeof(text) - 64, "%s%s%s", folder, path[0] != '/' ? "/" : "", path);
    clean_path(text);
    for (const struct sl_config_file *f = p->config->files; f != NULL; f = f->next) {
        if (strcmp(f->path, path) == 0) {
            size_t len = strlen(text);
            (void)snprintf(text + len, sizeof(text) - len, " (contents %016" PRIx64 ")",
                           f->contents_hash); /* fits */
            break;
        }
    }
    sl_print_option(p, o->name, text);
}

/* ---- Sections */

static void print_section(struct sl_printer *p, const struct sl_section *s, const char *unique,
                          const char *base);

static void print_subsection(struct sl_printer *p, const struct sl_option *o, const char *base)
{
    if (o->is_used != NULL && !o->is_used(base)) {
        return;
    }
    size_t mark = sl_print_enter(p, o->name);
    print_section(p, o->section, NULL, base + o->offset);
    sl_print_leave(p, mark);
}

static void print_maybe(struct sl_printer *p, const struct sl_option *o, const char *base)
{
    const char *item = load_pointer(base + o->offset);

    if (item != NULL) {
        size_t mark = sl_print_enter(p, o->name);
        sl_print_value(p, "");
        print_section(p, o->section, NULL, item);
        sl_print_leave(p, mark);
    }
}

/* Where a list keeps what tells its items apart. */
static const char *name_of(const struct sl_option *o, const char *item)
{
    const struct sl_section *s = o->section;

    if (o->type == SL_OPTION_MAP) {
        return load_pointer(item + s->name_offset);
    }
    for (size_t i = 0; i < s->options_n; i++) {
        if (o->unique != NULL && strcmp(s->options[i].name, o->unique) == 0) {
            return load_pointer(item + s->options[i].offset);
        }
    }
    return "";
}

static void print_order(struct sl_printer *p, const struct sl_option *o, const char *items,
                        size_t n)
{
    sl_text_append_str(p->out, p->path);
    for (size_t i = 0; i < n; i++) {
        sl_text_append_str(p->out, i == 0 ? ": " : ", ");
        sl_text_append_str(p->out, name_of(o, items + i * o->section->size_bytes));
    }
    sl_text_append_str(p->out, "\n");
}

static void print_items(struct sl_printer *p, const struct sl_option *o, const char *base)
{
    const char *items = load_pointer(base + o->offset);
    size_t outer = sl_print_enter(p, o->name);
    size_t n;

    memcpy(&n, base + o->n_offset, sizeof(n));
    if (o->ordered && n > 0) {
        print_order(p, o, items, n);
    }
    for (size_t i = 0; i < n; i++) {
        const char *item = items + i * o->section->size_bytes;
        const char *name = name_of(o, item);
        size_t mark = o->type == SL_OPTION_MAP ? sl_print_enter(p, name) : enter_item(p, name);

        sl_print_value(p, "");
        print_section(p, o->section, o->unique, item);
        sl_print_leave(p, mark);
    }
    sl_print_leave(p, outer);
}

static void print_option(struct sl_printer *p, const struct sl_option *o, const char *base)
{
    const char *field = base + o->offset;

    switch (o->type) {
    case SL_OPTION_COUNT:
    case SL_OPTION_DURATION:
    case SL_OPTION_SIZE:
        print_number(p, o, field);
        break;
    case SL_OPTION_WORD:
        print_word(p, o, field);
        break;
    case SL_OPTION_TEXT:
        print_text(p, o, field);
        break;
    case SL_OPTION_TEXTS:
        print_texts(p, o, field);
        break;
    case SL_OPTION_FILE:
        print_file(p, o, field);
        break;
    case SL_OPTION_ADDRESS:
        print_address(p, o, field);
        break;
    case SL_OPTION_OWN:
        o->write(p, o->name, base);
        break;
    case SL_OPTION_SECTION:
        print_subsection(p, o, base);
        break;
    case SL_OPTION_MAYBE:
        print_maybe(p, o, base);
        break;
    case SL_OPTION_LIST:
    case SL_OPTION_MAP:
        print_items(p, o, base);
        break;
    }
}

/* unique: said by the path already; NULL: none is. */
static void print_section(struct sl_printer *p, const struct sl_section *s, const char *unique,
                          const char *base)
{
    for (size_t i = 0; i < s->options_n; i++) {
        if (unique == NULL || strcmp(s->options[i].name, unique) != 0) {
            print_option(p, &s->options[i], base);
        }
    }
}

void sl_config_print(const struct sl_config *config, struct sl_text *out)
{
    struct sl_printer p = {.out = out, .config = config};

    print_section(&p, &sl_section_root, NULL, (const char *)config);
}
