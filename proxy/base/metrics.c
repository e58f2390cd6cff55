/* SPDX-License-Identifier: Apache-2.0 */
/*
 * metrics: the registry keeps the series of each scope sorted by their labels, so that getting one
 * of thousands stays cheap and /metrics says the same things in the same order.
 */
#include <sluiced/metrics.h>

#include "alloc.h"

#include <stdbool.h>
#include <string.h>

#define CACHE_LINE_BYTES 64U
#define LINE_VALUES_N (CACHE_LINE_BYTES / sizeof(uint64_t))

static const struct {
    size_t labels_n;
    size_t values_n;
} scopes[SL_SCOPES_N] = {
    [SL_SCOPE_PROCESS] = {0, SL_PROCESS_VALUES_N},
    [SL_SCOPE_LISTENER] = {1, SL_LISTENER_VALUES_N},
    [SL_SCOPE_ROUTE] = {3, SL_ROUTE_VALUES_N},
    [SL_SCOPE_POOL] = {1, SL_POOL_VALUES_N},
};

static const char *const overflow_labels[SL_SERIES_LABELS_N] = {"_other", "_other", "_other"};

struct family {
    struct sl_series **items; /* sorted by labels */
    size_t n;
    size_t capacity_n;
    struct sl_series *overflow; /* NULL until it was needed */
};

struct sl_registry {
    uint32_t workers_n;
    struct family families[SL_SCOPES_N];
};

int sl_registry_new(uint32_t workers_n, struct sl_registry **out)
{
    struct sl_registry *r = sl_alloc(sizeof(*r));

    if (r == NULL) {
        return SL_ENOMEM;
    }
    r->workers_n = workers_n;
    *out = r;
    return SL_OK;
}

void sl_registry_free(struct sl_registry *r)
{
    if (r == NULL) {
        return;
    }
    for (size_t i = 0; i < SL_SCOPES_N; i++) {
        SL_ASSERT(r->families[i].n == 0 && r->families[i].overflow == NULL,
                  "scope %zu: %zu series are still referred to", i, r->families[i].n);
        sl_free((void *)r->families[i].items);
    }
    sl_free(r);
}

static size_t round_up(size_t n, size_t to)
{
    return (n + to - 1) / to * to;
}

/* One allocation: the struct, the rows, the labels' text. */
static struct sl_series *series_new(struct sl_registry *r, enum sl_scope scope,
                                    const char *const *labels)
{
    size_t lengths[SL_SERIES_LABELS_N] = {0};
    size_t row_values_n = round_up(scopes[scope].values_n, LINE_VALUES_N);
    size_t head_bytes = round_up(sizeof(struct sl_series), CACHE_LINE_BYTES);
    size_t rows_bytes = row_values_n * sizeof(uint64_t) * r->workers_n;
    size_t text_bytes = 0;

    for (size_t i = 0; i < SL_SERIES_LABELS_N && i < scopes[scope].labels_n; i++) {
        lengths[i] = strlen(labels[i]) + 1;
        text_bytes += lengths[i];
    }
    char *memory = sl_alloc_aligned(CACHE_LINE_BYTES, head_bytes + rows_bytes + text_bytes);
    if (memory == NULL) {
        return NULL;
    }
    struct sl_series *s = (struct sl_series *)(void *)memory;
    *s = (struct sl_series){
        .registry = r,
        .scope = scope,
        .refs_n = 1,
        .row_values_n = row_values_n,
        .values = (_Atomic uint64_t *)(void *)(memory + head_bytes),
    };
    char *text = memory + head_bytes + rows_bytes;
    for (size_t i = 0; i < SL_SERIES_LABELS_N && i < scopes[scope].labels_n; i++) {
        memcpy(text, labels[i], lengths[i]);
        s->labels[i] = text;
        text += lengths[i];
    }
    return s;
}

static int compare_labels(enum sl_scope scope, const char *const *a, const char *const *b)
{
    int order = 0;

    for (size_t i = 0; i < scopes[scope].labels_n && order == 0; i++) {
        order = strcmp(a[i], b[i]);
    }
    return order;
}

/* The first series that does not sort before labels: where they are, or belong. */
static size_t find(const struct family *f, enum sl_scope scope, const char *const *labels)
{
    size_t low = 0;
    size_t high = f->n;

    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (compare_labels(scope, f->items[middle]->labels, labels) < 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

static bool reserve(struct family *f)
{
    if (f->n < f->capacity_n) {
        return true;
    }
    size_t grown_n = f->capacity_n == 0 ? 8 : f->capacity_n * 2;
    struct sl_series **items = (struct sl_series **)sl_realloc_array((void *)f->items, grown_n,
                                                                     sizeof(struct sl_series *));
    if (items == NULL) {
        return false;
    }
    f->items = items;
    f->capacity_n = grown_n;
    return true;
}

static int get_overflow(struct sl_registry *r, enum sl_scope scope, struct sl_series **out)
{
    struct family *f = &r->families[scope];

    if (f->overflow == NULL) {
        f->overflow = series_new(r, scope, overflow_labels);
        if (f->overflow == NULL) {
            return SL_ENOMEM;
        }
    } else {
        f->overflow->refs_n++;
    }
    *out = f->overflow;
    return SL_OK;
}

int sl_series_get(struct sl_registry *r, enum sl_scope scope, const char *const *labels,
                  struct sl_series **out)
{
    struct family *f = &r->families[scope];
    size_t at = find(f, scope, labels);

    if (at < f->n && compare_labels(scope, f->items[at]->labels, labels) == 0) {
        f->items[at]->refs_n++;
        *out = f->items[at];
        return SL_OK;
    }
    if (f->n == SL_SERIES_MAX_N) {
        return get_overflow(r, scope, out);
    }
    if (!reserve(f)) {
        return SL_ENOMEM;
    }
    struct sl_series *s = series_new(r, scope, labels);
    if (s == NULL) {
        return SL_ENOMEM;
    }
    memmove((void *)(f->items + at + 1), (const void *)(f->items + at),
            (f->n - at) * sizeof(struct sl_series *));
    f->items[at] = s;
    f->n++;
    *out = s;
    return SL_OK;
}

void sl_series_unref(struct sl_series **s)
{
    struct sl_series *gone = *s;

    *s = NULL;
    if (gone == NULL || --gone->refs_n > 0) {
        return;
    }
    struct family *f = &gone->registry->families[gone->scope];
    if (gone == f->overflow) {
        f->overflow = NULL;
    } else {
        size_t at = find(f, gone->scope, gone->labels);
        SL_ASSERT(at < f->n && f->items[at] == gone, "a series of scope %d is not in its registry",
                  (int)gone->scope);
        f->n--;
        memmove((void *)(f->items + at), (const void *)(f->items + at + 1),
                (f->n - at) * sizeof(struct sl_series *));
    }
    sl_free(gone);
}

size_t sl_registry_series_n(const struct sl_registry *r, enum sl_scope scope)
{
    const struct family *f = &r->families[scope];
    return f->n + (f->overflow != NULL ? 1 : 0);
}

const struct sl_series *sl_registry_series(const struct sl_registry *r, enum sl_scope scope,
                                           size_t i)
{
    const struct family *f = &r->families[scope];
    return i < f->n ? f->items[i] : f->overflow;
}

size_t sl_scope_labels_n(enum sl_scope scope)
{
    return scopes[scope].labels_n;
}

void sl_series_observe_us(struct sl_series *s, uint32_t worker_idx, size_t value, uint64_t us)
{
    size_t bucket = 0;

    while (bucket < SL_HISTOGRAM_BUCKETS_N && us > sl_histogram_bound_us(bucket)) {
        bucket++;
    }
    sl_series_add(s, worker_idx, value + bucket, 1);
    sl_series_add(s, worker_idx, value + SL_HISTOGRAM_BUCKETS_N + 1, us);
}

uint64_t sl_series_sum(const struct sl_series *s, size_t value)
{
    uint64_t sum = 0;

    for (size_t w = 0; w < s->registry->workers_n; w++) {
        sum += atomic_load_explicit(&s->values[w * s->row_values_n + value], memory_order_relaxed);
    }
    return sum;
}
