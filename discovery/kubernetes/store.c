/* SPDX-License-Identifier: Apache-2.0 */
#include "store.h"

#include <sluiced/err.h>

#include "proxy/base/alloc.h"

#include <string.h>

void sl_store_init(struct sl_store *s)
{
    *s = (struct sl_store){0};
    sl_list_init(&s->views);
}

static struct sl_store_view *view_at(struct sl_list *link)
{
    return sl_container_of(link, struct sl_store_view, link);
}

void sl_store_fini(struct sl_store *s)
{
    for (struct sl_list *l = s->views.next; l != &s->views; l = l->next) {
        struct sl_store *objects = &view_at(l)->objects;
        sl_free((void *)objects->items);
        sl_store_init(objects);
    }
    for (size_t i = 0; i < s->n; i++) {
        sl_kube_object_free(s->items[i]);
    }
    sl_free((void *)s->items);
    sl_store_init(s);
}

void sl_store_add_view(struct sl_store *s, struct sl_store_view *view, const char *service)
{
    SL_ASSERT(s->n == 0, "store %p has %zu objects", (void *)s, s->n);
    *view = (struct sl_store_view){.service = service};
    sl_store_init(&view->objects);
    sl_list_push_back(&s->views, &view->link);
}

/* A few dozen at most: their names fit into one request. */
static struct sl_store_view *view_of(struct sl_store *s, const struct sl_kube_object *o)
{
    for (struct sl_list *l = s->views.next; l != &s->views; l = l->next) {
        if (strcmp(view_at(l)->service, o->service) == 0) {
            return view_at(l);
        }
    }
    return NULL;
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

static int reserve(struct sl_store *s)
{
    if (s->n < s->capacity) {
        return SL_OK;
    }
    size_t capacity = s->capacity > 0 ? s->capacity * 2 : 16;
    struct sl_kube_object **items =
        (struct sl_kube_object **)sl_realloc_array((void *)s->items, capacity, sizeof(items[0]));
    if (items == NULL) {
        return SL_ENOMEM;
    }
    s->items = items;
    s->capacity = capacity;
    return SL_OK;
}

/* Into reserved room. Returns the one whose place it takes, NULL for none. */
static struct sl_kube_object *place(struct sl_store *s, struct sl_kube_object *o)
{
    bool found;
    size_t at = position(s, o->key, &found);
    struct sl_kube_object *before = found ? s->items[at] : NULL;

    if (!found) {
        memmove((void *)&s->items[at + 1], (void *)&s->items[at],
                (s->n - at) * sizeof(s->items[0]));
        s->n++;
    }
    s->items[at] = o;
    return before;
}

static struct sl_kube_object *take_out(struct sl_store *s, const char *key)
{
    bool found;
    size_t at = position(s, key, &found);
    struct sl_kube_object *o = found ? s->items[at] : NULL;

    if (found) {
        s->n--;
        memmove((void *)&s->items[at], (void *)&s->items[at + 1],
                (s->n - at) * sizeof(s->items[0]));
    }
    return o;
}

static void leave_view(struct sl_store_view *view, const struct sl_kube_object *o)
{
    if (view != NULL) {
        (void)take_out(&view->objects, o->key);
        view->changes_n++;
    }
}

int sl_store_put(struct sl_store *s, struct sl_kube_object *o)
{
    struct sl_store_view *view = view_of(s, o);
    int rc = reserve(s);

    if (rc == SL_OK && view != NULL) {
        rc = reserve(&view->objects);
    }
    if (rc != SL_OK) {
        return rc;
    }
    o->generation = s->generation;
    struct sl_kube_object *before = place(s, o);
    if (before != NULL && view_of(s, before) != view) {
        leave_view(view_of(s, before), before);
    }
    if (view != NULL) {
        (void)place(&view->objects, o);
        view->changes_n++;
    }
    sl_kube_object_free(before);
    return SL_OK;
}

void sl_store_remove(struct sl_store *s, const char *key)
{
    struct sl_kube_object *o = take_out(s, key);

    if (o != NULL) {
        leave_view(view_of(s, o), o);
        sl_kube_object_free(o);
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
            leave_view(view_of(s, s->items[i]), s->items[i]);
            sl_kube_object_free(s->items[i]);
        }
    }
    s->n = kept_n;
}
