/* SPDX-License-Identifier: Apache-2.0 */
#include "items.h"

#include <sluiced/err.h>

#include "decode.h"

#include "proxy/base/alloc.h"

#include <stdio.h>
#include <string.h>

#define REST_MAX_BYTES 65536

static const char items_key[] = "items";

enum {
    PAGE_DEPTH = 1,  /* inside the braces of the page */
    ITEMS_DEPTH = 2, /* inside the brackets of its items */
};

void sl_items_init(struct sl_items *s, size_t max_bytes)
{
    *s = (struct sl_items){0};
    sl_text_init(&s->item, max_bytes);
    sl_text_init(&s->rest, REST_MAX_BYTES);
}

void sl_items_fini(struct sl_items *s)
{
    sl_text_fini(&s->item);
    sl_text_fini(&s->rest);
}

/* Whether ch may stand between items; whatever else is no object would be lost in silence. */
static bool is_between(char ch)
{
    return ch == ',' || ch == ' ' || ch == '\t' || ch == '\r' || ch == '\n';
}

static void step_in_string(struct sl_items *s, char ch)
{
    if (s->is_escaped) {
        s->is_escaped = false;
    } else if (ch == '\\') {
        s->is_escaped = true;
        s->key_at = sizeof(items_key); /* Go escapes no letter of a key */
    } else if (ch == '"') {
        s->is_string = false;
        s->is_key = s->depth == PAGE_DEPTH && s->key_at == sizeof(items_key) - 1;
    } else if (s->key_at < sizeof(items_key) - 1 && ch == items_key[s->key_at]) {
        s->key_at++;
    } else {
        s->key_at = sizeof(items_key);
    }
}

/* Moves over one byte. *closes: it ended an item. */
static int step(struct sl_items *s, char ch, bool *closes)
{
    if (s->is_string) {
        step_in_string(s, ch);
        return SL_OK;
    }
    if (s->is_inside && s->depth == ITEMS_DEPTH && ch != '{' && ch != ']' && !is_between(ch)) {
        return SL_EPROTO;
    }
    switch (ch) {
    case '"':
        s->is_string = true;
        s->key_at = 0;
        break;
    case ':':
        s->is_value = s->depth == PAGE_DEPTH && s->is_key;
        break;
    case ',':
        s->is_value = s->is_value && s->depth != PAGE_DEPTH;
        break;
    case '{':
    case '[':
        s->is_inside = s->is_inside || (ch == '[' && s->depth == PAGE_DEPTH && s->is_value);
        s->depth++;
        break;
    case '}':
    case ']':
        if (s->depth == 0) {
            return SL_EPROTO;
        }
        s->depth--;
        s->is_inside = s->is_inside && s->depth >= ITEMS_DEPTH;
        *closes = s->is_inside && s->depth == ITEMS_DEPTH;
        break;
    default:
        break;
    }
    return SL_OK;
}

static int keep(struct sl_text *to, const char *from, const char *end)
{
    if ((size_t)(end - from) > to->limit_bytes - to->len) {
        return SL_ELIMIT;
    }
    sl_text_append(to, (struct sl_slice){from, (size_t)(end - from)});
    return to->failed ? SL_ENOMEM : SL_OK;
}

static int hand_out(struct sl_items *s, const char *from, const char *end, sl_item_fn on_item,
                    void *arg)
{
    struct sl_slice item = {from, (size_t)(end - from)};

    if (s->item.len > 0) {
        int rc = keep(&s->item, from, end);
        if (rc != SL_OK) {
            return rc;
        }
        item = sl_text_slice(&s->item);
    }
    s->item.len = 0; /* its bytes stay readable until the next one comes */
    return on_item(arg, item);
}

int sl_items_feed(struct sl_items *s, struct sl_slice data, sl_item_fn on_item, void *arg)
{
    const char *end = data.ptr + data.len;
    const char *from = data.ptr; /* of what is not yet kept or handed out */
    int rc = SL_OK;

    for (const char *at = data.ptr; rc == SL_OK && at < end; at++) {
        bool was_between = s->is_inside && s->depth == ITEMS_DEPTH;
        bool was_inside = s->is_inside;
        bool closes = false;

        rc = step(s, *at, &closes);
        if (rc != SL_OK) {
            break;
        }
        if (closes) {
            rc = hand_out(s, from, at + 1, on_item, arg);
            from = at + 1;
        } else if (!was_inside && s->is_inside) {
            rc = keep(&s->rest, from, at + 1);
            from = at + 1;
        } else if (was_between) {
            from = at; /* an item or the closing bracket begins here, or nothing has yet */
        }
    }
    if (rc != SL_OK || (s->is_inside && s->depth == ITEMS_DEPTH)) {
        return rc;
    }
    return keep(s->is_inside ? &s->item : &s->rest, from, end);
}

int sl_items_end(const struct sl_items *s, char *version, size_t version_bytes, char **next_page)
{
    struct sl_slice text = sl_text_slice(&s->rest);
    json_t *page = text.len > 0 ? json_loadb(text.ptr, text.len, JSON_ALLOW_NUL, NULL) : NULL;
    const json_t *items = json_object_get(page, items_key);
    const char *found = sl_kube_metadata(page, "resourceVersion");
    const char *token = sl_kube_metadata(page, "continue");
    char *copy = NULL;
    int rc = SL_OK;

    /* Go writes an empty list as [] or null; what has neither is no page of a list. */
    if ((!json_is_array(items) && !json_is_null(items)) || found == NULL || found[0] == '\0' ||
        strlen(found) >= version_bytes)
    {
        rc = SL_EPROTO;
    } else if (token != NULL && token[0] != '\0') {
        copy = sl_strdup(token);
        rc = copy != NULL ? SL_OK : SL_ENOMEM;
    }
    if (rc == SL_OK) {
        (void)snprintf(version, version_bytes, "%s", found); /* fits */
        *next_page = copy;
    }
    json_decref(page);
    return rc;
}
