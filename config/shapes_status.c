/* SPDX-License-Identifier: Apache-2.0 */
/*
 * shapes_status: which statuses are healthy, and which are worth another try.
 */
#include "print.h"
#include "shapes.h"

#include "proxy/base/arena.h"
#include "proxy/base/num.h"

#include <stdio.h>
#include <string.h>

enum {
    STATUSES_MAX_N = 16,
    STATUS_MOST = 599,
    STATUSES_TEXT_BYTES = STATUSES_MAX_N * 10 /* "200-299, " */
};

/* What a row takes, and an example of it for errors. */
struct kind {
    uint16_t least;
    const char *example;
};

/* Where a row keeps what it read. */
struct statuses {
    const struct sl_status_range **ranges;
    size_t *n;
};

static bool parse_status(struct sl_slice text, uint16_t least, uint16_t *out)
{
    uint64_t status;

    if (sl_num_parse_below(text, STATUS_MOST, &status) != SL_OK || status < least) {
        return false;
    }
    *out = (uint16_t)status;
    return true;
}

static bool parse_range(struct sl_slice text, uint16_t least, struct sl_status_range *out)
{
    const char *dash = text.len > 0 ? memchr(text.ptr, '-', text.len) : NULL;
    size_t first_len = dash != NULL ? (size_t)(dash - text.ptr) : text.len;

    if (!parse_status((struct sl_slice){text.ptr, first_len}, least, &out->first)) {
        return false;
    }
    if (dash == NULL) {
        out->last = out->first;
        return true;
    }
    struct sl_slice last = {dash + 1, text.len - first_len - 1};
    return parse_status(last, least, &out->last) && out->first <= out->last;
}

static int read_range(struct sl_decoder *d, const struct sl_yaml_node *node,
                      const struct kind *kind, struct sl_status_range *out)
{
    char found[SL_YAML_FOUND_BYTES];

    if (node->kind == SL_YAML_TEXT && parse_range(node->text, kind->least, out)) {
        return SL_OK;
    }
    return sl_decode_report(
        d, sl_error_set(&d->err, SL_ECONFIG, sl_decode_at(d, node),
                        "expected a status from %u to %d or a range of them, found %s; write %s",
                        kind->least, STATUS_MOST, sl_yaml_found(node, found), kind->example));
}

static int read_statuses(struct sl_decoder *d, const struct sl_yaml_node *node,
                         const struct kind *kind, const struct statuses *out)
{
    char found[SL_YAML_FOUND_BYTES];
    bool is_list = node->kind == SL_YAML_LIST;
    size_t n = is_list ? node->children_n : 1;
    int worst = SL_OK;

    if (n == 0 || n > STATUSES_MAX_N) {
        return sl_decode_report(d, sl_error_set(&d->err, SL_ECONFIG, sl_decode_at(d, node),
                                                "expected a status, a range or a list of 1 to %d "
                                                "of them, found %s",
                                                STATUSES_MAX_N, sl_yaml_found(node, found)));
    }
    struct sl_status_range *ranges = sl_arena_alloc_array(d->arena, n, sizeof(*ranges));
    if (ranges == NULL) {
        return sl_decode_no_memory(d);
    }
    *out->ranges = ranges;
    *out->n = n;
    if (!is_list) {
        return read_range(d, node, kind, ranges);
    }
    for (const struct sl_yaml_node *item = node->first; item != NULL; item = item->next) {
        worst = sl_decode_worse(worst, read_range(d, item, kind, &ranges[item->idx]));
    }
    return worst;
}

static void write_statuses(struct sl_printer *p, const char *name,
                           const struct sl_status_range *ranges, size_t n)
{
    char text[STATUSES_TEXT_BYTES] = "";
    size_t len = 0;

    for (size_t i = 0; i < n; i++) {
        len += (size_t)snprintf(text + len, sizeof(text) - len, "%s%u", i > 0 ? ", " : "",
                                ranges[i].first);
        if (ranges[i].last != ranges[i].first) {
            len += (size_t)snprintf(text + len, sizeof(text) - len, "-%u", ranges[i].last);
        }
    }
    if (len > 0) {
        sl_print_option(p, name, text);
    }
}

int sl_shape_health_status(struct sl_decoder *d, const struct sl_yaml_node *node, void *base)
{
    static const struct kind healthy = {.least = 200, .example = "200 or 200-299"};
    struct sl_health_config *h = base;

    return read_statuses(d, node, &healthy, &(struct statuses){&h->statuses, &h->statuses_n});
}

void sl_shape_health_status_write(struct sl_printer *p, const char *name, const void *base)
{
    const struct sl_health_config *h = base;

    write_statuses(p, name, h->statuses, h->statuses_n);
}

int sl_shape_retry_statuses(struct sl_decoder *d, const struct sl_yaml_node *node, void *base)
{
    static const struct kind failed = {.least = 400, .example = "503 or 502-504"};
    struct sl_retry_config *r = base;

    return read_statuses(d, node, &failed, &(struct statuses){&r->statuses, &r->statuses_n});
}

void sl_shape_retry_statuses_write(struct sl_printer *p, const char *name, const void *base)
{
    const struct sl_retry_config *r = base;

    write_statuses(p, name, r->statuses, r->statuses_n);
}
