/* SPDX-License-Identifier: Apache-2.0 */
#include "store.h"

#include <sluiced/err.h>

#include "proxy/base/alloc.h"

#include <string.h>

void sl_store_init(struct sl_store *s)
{
    *s = (struct sl_store){0};
}

void sl_store_fini(struct sl_store *s)
{
    for (size_t i = 0; i < s->n; i++) {
        sl_kube_object_free(s->items[i]);
    }
    sl_free((void *)s->items);
    sl_store_init(s);
}

/* Where key is, or where it would go. */
static size_t position(const struct sl_store *s, const char *key, bool *found)
{
    size_t lo = 0;
    size_t hi = s->n;

    *found = false;
    if (s->n > 0 && strcmp(s->items[s->n - 1]->key, key) < 0) {
        return s->n; /* lists come sorted */
    }
    while (lo < hi) {
        size_t middle = lo + (hi - lo) / 2;
        int rc = strcmp(s->items[middle]->key, key);
        if (rc == 0) {
            *found = true;
            return middle;
        }
        lo = rc < 0 ? middle + 1 : lo;
        hi = rc < 0 ? hi : middle;
    }
    return lo;
}

const struct sl_kube_object *sl_store_get(const struct sl_store *s, const char *key)
{
    bool found;
    size_t at = position(s, key, &found);
    return found ? s->items[at] : NULL;
}

int sl_store_put(struct sl_store *s, struct sl_kube_object *o)
{
    bool found;
    size_t at = position(s, o->key, &found);

    o->generation = s->generation;
    if (found) {
        sl_kube_object_free(s->items[at]);
        s->items[at] = o;
        return SL_OK;
    }
    if (s->n == s->capacity) {
        size_t capacity = s->capacity > 0 ? s->capacity * 2 : 16;
        struct sl_kube_object **items = (struct sl_kube_object **)sl_realloc_array(
            (void *)s->items, capacity, sizeof(items[0]));
        if (items == NULL) {
            return SL_ENOMEM;
        }
        s->items = items;
        s->capacity = capacity;
    }
    memmove((void *)&s->items[at + 1], (void *)&s->items[at], (s->n - at) * sizeof(s->items[0]));
    s->items[at] = o;
    s->n++;
    return SL_OK;
}

void sl_store_remove(struct sl_store *s, const char *key)
{
    bool found;
    size_t at = position(s, key, &found);

    if (found) {
        sl_kube_object_free(s->items[at]);
        s->n--;
        memmove((void *)&s->items[at], (void *)&s->items[at + 1],
                (s->n - at) * sizeof(s->items[0]));
    }
}

void sl_store_begin(struct sl_store *s)
{
    s->generation++;
}

void sl_store_sweep(struct sl_store *s)
{
    size_t kept_n = 0;

    for (size_t i = 0; i < s->n; i++) {
        if (s->items[i]->generation == s->generation) {
            s->items[kept_n++] = s->items[i];
        } else {
            sl_kube_object_free(s->items[i]);
        }
    }
    s->n = kept_n;
}
