/* SPDX-License-Identifier: Apache-2.0 */
/*
 * items: takes a page of a list apart while it arrives: each object goes to whoever wants it as
 * soon as it is whole, and what is around them is kept for the end. So a list of any size needs
 * the memory of one object.
 *
 * Lifetime:  one page; sl_items_fini frees
 * Thread:    control thread
 * Errors:    SL_EPROTO: this is no list; SL_ELIMIT, SL_ENOMEM; and what on_item returns
 * Limits:    an object of max_bytes, 64 KiB around them
 * Source:    Kubernetes API conventions: List kinds
 */
#ifndef SL_KUBERNETES_ITEMS_H
#define SL_KUBERNETES_ITEMS_H

#include <sluiced/defs.h>
#include <sluiced/slice.h>

#include "proxy/base/text.h"

#include <stdbool.h>
#include <stddef.h>

/* item: the text of one object, borrowed for the call. Not SL_OK: stop, and return that. */
typedef int (*sl_item_fn)(void *arg, struct sl_slice item);

struct sl_items {
    struct sl_text item; /* the part of one that has come */
    struct sl_text rest; /* the page with nothing between the brackets of its items */
    size_t depth;        /* of braces and brackets, around the next byte */
    size_t key_at;       /* how much of "items" the string has matched */
    bool is_string;
    bool is_escaped;
    bool is_key;   /* the last string of the page itself was "items" */
    bool is_value; /* and a colon came after it */
    bool is_inside;
};

void sl_items_init(struct sl_items *s, size_t max_bytes);
void sl_items_fini(struct sl_items *s);

/* The next bytes of the page. After an error s is of no more use. */
int sl_items_feed(struct sl_items *s, struct sl_slice data, sl_item_fn on_item, void *arg)
    SL_MUST_CHECK;

/* The page is over. version: of the list. *next_page: the token of the page that follows, the
 * caller's to sl_free; NULL after the last. Both are untouched on failure. */
int sl_items_end(const struct sl_items *s, char *version, size_t version_bytes, char **next_page)
    SL_MUST_CHECK;

#endif
