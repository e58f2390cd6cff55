/* SPDX-License-Identifier: Apache-2.0 */
/*
 * store: what one list and watch knows: the objects that are there now, by key.
 *
 * A list that follows another is applied over it: what it did not name is swept at its end. So a
 * list that breaks off half-way takes nothing away.
 *
 * Lifetime:  one list and watch
 * Thread:    control thread
 * Ownership: objects put in belong to the store
 * Limits:    sorted array: a put costs O(n) moves of a pointer, none when keys come in order
 */
#ifndef SL_KUBERNETES_STORE_H
#define SL_KUBERNETES_STORE_H

#include "decode.h"

struct sl_store {
    struct sl_kube_object **items; /* sorted by key */
    size_t n;
    size_t capacity;
    uint32_t generation;
};

void sl_store_init(struct sl_store *s);
void sl_store_fini(struct sl_store *s);

const struct sl_kube_object *sl_store_get(const struct sl_store *s, const char *key);

/* Adds or replaces. On SL_ENOMEM nothing changed, and o is still the caller's. */
int sl_store_put(struct sl_store *s, struct sl_kube_object *o) SL_MUST_CHECK;
void sl_store_remove(struct sl_store *s, const char *key);

/* Around a list: begin, put what it names, sweep what it did not. */
void sl_store_begin(struct sl_store *s);
void sl_store_sweep(struct sl_store *s);

#endif
