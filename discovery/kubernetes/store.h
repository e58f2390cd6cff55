/* SPDX-License-Identifier: Apache-2.0 */
/*
 * store: what one list and watch knows: the objects that are there now, by key.
 *
 * A list that follows another is applied over it: what it did not name is swept at its end. So a
 * list that breaks off half-way takes nothing away.
 *
 * Where one watch is for many services, each has a view: a store of the objects that are its.
 *
 * Lifetime:  one list and watch
 * Thread:    control thread
 * Ownership: objects put in belong to the store; its views only point to them
 * Limits:    sorted array: a put costs O(n) moves of a pointer, none when keys come in order
 */
#ifndef SL_KUBERNETES_STORE_H
#define SL_KUBERNETES_STORE_H

#include "decode.h"

#include "proxy/base/list.h"

struct sl_store {
    struct sl_kube_object **items; /* sorted by key */
    size_t n;
    size_t capacity;
    uint32_t generation;
    struct sl_list views;
};

struct sl_store_view {
    struct sl_list link;
    const char *service;     /* whose objects these are; borrowed */
    struct sl_store objects; /* to be read only */
    uint64_t changes_n;      /* of objects that came, went or were put again */
};

void sl_store_init(struct sl_store *s);
void sl_store_fini(struct sl_store *s); /* empties its views, too */

/* For a store that has no object yet. view is the caller's, and stays until fini. */
void sl_store_add_view(struct sl_store *s, struct sl_store_view *view, const char *service);

const struct sl_kube_object *sl_store_get(const struct sl_store *s, const char *key);

/* Adds or replaces. On SL_ENOMEM nothing changed, and o is still the caller's. */
int sl_store_put(struct sl_store *s, struct sl_kube_object *o) SL_MUST_CHECK;
void sl_store_remove(struct sl_store *s, const char *key);

/* Around a list: begin, put what it names, sweep what it did not. */
void sl_store_begin(struct sl_store *s);
void sl_store_sweep(struct sl_store *s);

#endif
