/* SPDX-License-Identifier: Apache-2.0 */
#include "diff.h"

#include <sluiced/err.h>

#include "proxy/base/alloc.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct line {
    struct sl_slice path;
    struct sl_slice value;
};

struct lines {
    struct line *items;
    size_t n;
};

/* What is below a path comes right behind it: before "a-b", which is beside "a". */
static int rank(char c)
{
    return c == '.' ? 1 : c == '[' ? 2 : 3 + (unsigned char)c;
}

static int compare_paths(struct sl_slice a, struct sl_slice b)
{
    size_t n = a.len < b.len ? a.len : b.len;

    for (size_t i = 0; i < n; i++) {
        if (a.ptr[i] != b.ptr[i]) {
            return rank(a.ptr[i]) - rank(b.ptr[i]);
        }
    }
    return a.len != b.len ? (a.len < b.len ? -1 : 1) : 0;
}

static int compare_lines(const void *a, const void *b)
{
    return compare_paths(((const struct line *)a)->path, ((const struct line *)b)->path);
}

static struct line split(struct sl_slice text)
{
    const char *colon = text.len > 0 ? memmem(text.ptr, text.len, ": ", 2) : NULL;
    size_t path_len = colon != NULL ? (size_t)(colon - text.ptr) : text.len;
    struct line line = {.path = {text.ptr, path_len}, .value = SL_SLICE("")};

    if (colon != NULL) {
        line.value = (struct sl_slice){colon + 2, text.len - path_len - 2};
    } else if (path_len > 0 && text.ptr[path_len - 1] == ':') {
        line.path.len--;
    }
    return line;
}

static size_t count_lines(struct sl_slice text)
{
    size_t n = 0;

    for (size_t i = 0; i < text.len; i++) {
        n += text.ptr[i] == '\n';
    }
    return n;
}

static int read_lines(struct sl_slice text, struct lines *out)
{
    size_t n = count_lines(text);

    out->n = 0;
    out->items = sl_alloc_array(n > 0 ? n : 1, sizeof(out->items[0]));
    if (out->items == NULL) {
        return SL_ENOMEM;
    }
    for (const char *at = text.ptr; out->n < n;) {
        const char *end = memchr(at, '\n', text.len - (size_t)(at - text.ptr));

        out->items[out->n++] = split((struct sl_slice){at, (size_t)(end - at)});
        at = end + 1;
    }
    qsort(out->items, out->n, sizeof(out->items[0]), compare_lines);
    return SL_OK;
}

/* Whole things, of which the parts are not said one by one. */
struct side {
    const char *sign;
    struct sl_slice whole; /* the last one */
};

static bool is_below(struct sl_slice path, struct sl_slice whole)
{
    return whole.len > 0 && path.len > whole.len && sl_slice_starts(path, whole) &&
           (path.ptr[whole.len] == '.' || path.ptr[whole.len] == '[');
}

/* 1: a line was written. */
static size_t write_one(struct side *side, const struct line *line, struct sl_text *out)
{
    if (is_below(line->path, side->whole)) {
        return 0;
    }
    sl_text_printf(out, "%s " SL_SLICE_FMT, side->sign, SL_SLICE_ARG(line->path));
    if (line->value.len > 0) {
        sl_text_printf(out, ": " SL_SLICE_FMT, SL_SLICE_ARG(line->value));
    } else {
        side->whole = line->path;
    }
    sl_text_append_str(out, "\n");
    return 1;
}

static size_t write_both(const struct line *before, const struct line *after, struct sl_text *out)
{
    if (sl_slice_eq(before->value, after->value)) {
        return 0;
    }
    sl_text_printf(out, "  " SL_SLICE_FMT ": " SL_SLICE_FMT " -> " SL_SLICE_FMT "\n",
                   SL_SLICE_ARG(before->path), SL_SLICE_ARG(before->value),
                   SL_SLICE_ARG(after->value));
    return 1;
}

static size_t merge(const struct lines *before, const struct lines *after, struct sl_text *out)
{
    struct side gone = {.sign = "-", .whole = SL_SLICE("")};
    struct side added = {.sign = "+", .whole = SL_SLICE("")};
    size_t b = 0;
    size_t a = 0;
    size_t n = 0;

    while (b < before->n || a < after->n) {
        int order = b == before->n  ? 1
                    : a == after->n ? -1
                                    : compare_paths(before->items[b].path, after->items[a].path);
        if (order < 0) {
            n += write_one(&gone, &before->items[b++], out);
        } else if (order > 0) {
            n += write_one(&added, &after->items[a++], out);
        } else {
            n += write_both(&before->items[b++], &after->items[a++], out);
        }
    }
    return n;
}

int sl_config_diff(struct sl_slice before, struct sl_slice after, struct sl_text *out,
                   size_t *changes_n)
{
    struct lines b = {NULL, 0};
    struct lines a = {NULL, 0};
    int rc = read_lines(before, &b);

    if (rc == SL_OK) {
        rc = read_lines(after, &a);
    }
    if (rc == SL_OK) {
        *changes_n = merge(&b, &a, out);
    }
    sl_free(b.items);
    sl_free(a.items);
    return rc;
}

const char *sl_config_diff_summary(struct sl_slice diff, size_t changes_n, char *buf,
                                   size_t size_bytes)
{
    static const char more[] = "; ...";
    size_t used;
    const char *at = diff.ptr;

    if (changes_n == 0) {
        (void)snprintf(buf, size_bytes, "nothing changed");
        return buf;
    }
    (void)snprintf(buf, size_bytes, "%zu change%s", changes_n, changes_n == 1 ? "" : "s");
    used = strlen(buf);
    for (size_t i = 0; i < changes_n; i++) {
        const char *end = memchr(at, '\n', diff.len - (size_t)(at - diff.ptr));
        const char *begin = at + strspn(at, " ");
        int len = (int)(end - begin);

        if (used + (size_t)len + 2 + sizeof(more) > size_bytes) {
            (void)snprintf(buf + used, size_bytes - used, "%s", i == 0 ? "" : more);
            return buf;
        }
        used += (size_t)snprintf(buf + used, size_bytes - used, "%s%.*s", i == 0 ? ": " : "; ", len,
                                 begin);
        at = end + 1;
    }
    return buf;
}
