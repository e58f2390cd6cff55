/* SPDX-License-Identifier: Apache-2.0 */
/*
 * shapes_health: what a health check sends and takes for a good answer; how endpoints come back.
 */
#include "scalars.h"
#include "shapes.h"
#include "values.h"

#include "proxy/base/arena.h"
#include "proxy/base/num.h"
#include "proxy/proto/field.h"

#include <string.h>

enum {
    HEADERS_MAX_N = 16,
    NAME_MAX_BYTES = 63,
    HEADERS_MAX_BYTES = 4096, /* of all names and values: they fit into a probe's scratch */
    BODY_MAX_BYTES = 255,
    MILLI = 1000,
    AGGRESSION_LEAST_MILLI = 100,
    AGGRESSION_MOST_MILLI = 10000
};

/* ---- headers. No message shows what stands where a token may have been meant to. */

/* What says how a message is framed or how long its connection lasts is the checker's to say. */
static bool is_ours(struct sl_slice name)
{
    static const char *const names[] = {
        "host",       "content-length", "transfer-encoding",
        "connection", "keep-alive",     "upgrade",
        "te",         "trailer",        "expect",
        "user-agent",
    };

    for (size_t i = 0; i < SL_ARRAY_LEN(names); i++) {
        if (sl_slice_ieq(name, sl_slice_of(names[i]))) {
            return true;
        }
    }
    return false;
}

/* RFC 9110 5.5: visible characters, with spaces and tabs between them. */
static bool is_field_value(struct sl_slice v)
{
    for (size_t i = 0; i < v.len; i++) {
        unsigned char c = (unsigned char)v.ptr[i];
        bool is_space = c == ' ' || c == '\t';
        if ((c < ' ' && c != '\t') || c == 0x7f || (is_space && (i == 0 || i == v.len - 1))) {
            return false;
        }
    }
    return true;
}

static int read_header(struct sl_decoder *d, const struct sl_yaml_node *node,
                       struct sl_sent_header *out)
{
    int rc = SL_OK;

    if (node->key.len > NAME_MAX_BYTES || !sl_field_is_token(node->key)) {
        (void)sl_decode_at(d, node->parent); /* its own path would tell what it is */
        d->pos.line = node->key_line;
        d->pos.column = node->key_column;
        rc = sl_decode_report(
            d, sl_error_set(&d->err, SL_ECONFIG, &d->pos,
                            "expected the name of a header field, of at most %d bytes, and its "
                            "value behind a colon and a space",
                            NAME_MAX_BYTES));
    }
    if (rc == SL_OK && is_ours(node->key)) {
        rc = sl_decode_report(
            d, sl_error_set(&d->err, SL_ECONFIG, sl_decode_at_key(d, node),
                            "expected a header field that a check does not send by itself; "
                            "remove it, and write host: NAME for a host"));
    }
    if (rc == SL_OK) {
        rc = sl_decode_want_text(d, node, "the value of a header field");
    }
    if (rc == SL_OK && !is_field_value(node->text)) {
        rc = sl_decode_report(
            d, sl_error_set(&d->err, SL_ECONFIG, sl_decode_at(d, node),
                            "expected the value of a header field, without control characters "
                            "and spaces at its ends"));
    }
    if (rc == SL_OK) {
        rc = sl_store_text(d, (void *)&out->name, node->key);
    }
    return rc == SL_OK ? sl_store_text(d, (void *)&out->value, node->text) : rc;
}

int sl_shape_health_headers(struct sl_decoder *d, const struct sl_yaml_node *node, void *base)
{
    struct sl_health_config *h = base;
    char found[SL_YAML_FOUND_BYTES];
    size_t total_bytes = 0;
    int worst = SL_OK;

    if (node->kind != SL_YAML_MAP || node->children_n == 0 || node->children_n > HEADERS_MAX_N) {
        return sl_decode_report(d, sl_error_set(&d->err, SL_ECONFIG, sl_decode_at(d, node),
                                                "expected a map of 1 to %d names of header fields "
                                                "to values, found %s",
                                                HEADERS_MAX_N,
                                                node->kind == SL_YAML_TEXT && node->text.len > 0
                                                    ? "a text"
                                                    : sl_yaml_found(node, found)));
    }
    struct sl_sent_header *headers =
        sl_arena_alloc_array(d->arena, node->children_n, sizeof(*headers));
    if (headers == NULL) {
        return sl_decode_no_memory(d);
    }
    for (const struct sl_yaml_node *n = node->first; n != NULL; n = n->next) {
        int rc = read_header(d, n, &headers[n->idx]);

        if (rc == SL_ENOMEM) {
            return rc;
        }
        worst = sl_decode_worse(worst, rc);
        total_bytes += n->key.len + (n->kind == SL_YAML_TEXT ? n->text.len : 0);
    }
    if (worst == SL_OK && total_bytes > HEADERS_MAX_BYTES) {
        return sl_decode_report(d, sl_error_set(&d->err, SL_ECONFIG, sl_decode_at(d, node),
                                                "expected at most %d bytes of names and values, "
                                                "found %zu",
                                                HEADERS_MAX_BYTES, total_bytes));
    }
    h->headers = headers;
    h->headers_n = node->children_n;
    return worst;
}

/* ---- body */

int sl_shape_health_body_check(struct sl_slice text, const struct sl_pos *pos, struct sl_error *err)
{
    if (text.len == 0 || text.len > BODY_MAX_BYTES) {
        return sl_error_set(err, SL_ECONFIG, pos,
                            "expected a text of 1 to %d bytes, found one of %zu", BODY_MAX_BYTES,
                            text.len);
    }
    return SL_OK;
}

/* ---- slow_start */

/* "1", "1.5", "0.25": at most three digits behind the point. Into thousandths. */
static bool parse_milli(struct sl_slice text, uint64_t max, uint64_t *out)
{
    const char *point = text.len > 0 ? memchr(text.ptr, '.', text.len) : NULL;
    size_t whole_len = point != NULL ? (size_t)(point - text.ptr) : text.len;
    size_t rest_len = point != NULL ? text.len - whole_len - 1 : 0;
    uint64_t whole;
    uint64_t rest = 0;

    if (sl_num_parse_below((struct sl_slice){text.ptr, whole_len}, max / MILLI, &whole) != SL_OK ||
        (point != NULL &&
         (rest_len == 0 || rest_len > 3 ||
          sl_num_parse_below((struct sl_slice){point + 1, rest_len}, MILLI - 1, &rest) != SL_OK)))
    {
        return false;
    }
    for (size_t i = rest_len; i < 3; i++) {
        rest *= 10;
    }
    *out = whole * MILLI + rest;
    return *out <= max;
}

int sl_shape_aggression(struct sl_decoder *d, const struct sl_yaml_node *node, void *base)
{
    struct sl_slow_start_config *s = base;
    char found[SL_YAML_FOUND_BYTES];
    uint64_t milli;

    if (node->kind != SL_YAML_TEXT || !parse_milli(node->text, AGGRESSION_MOST_MILLI, &milli) ||
        milli < AGGRESSION_LEAST_MILLI)
    {
        return sl_decode_report(d, sl_error_set(&d->err, SL_ECONFIG, sl_decode_at(d, node),
                                                "expected a number from 0.1 to 10, with at most "
                                                "three digits behind the point, found %s",
                                                sl_yaml_found(node, found)));
    }
    s->aggression_milli = (uint32_t)milli;
    return SL_OK;
}
