/* SPDX-License-Identifier: Apache-2.0 */
/*
 * metrics: what is counted, per worker without locks, and summed when somebody asks.
 *
 * A series is one labelled thing (a listener, a route with its pool, a pool) with a fixed row of
 * values for each worker. Which values there are say the enums below; proxy/admin gives them names
 * and help at /metrics. Endpoints count in their own cells.
 *
 * Lifetime:  registry: process; series: from sl_series_get until the last sl_series_unref. A
 *            reload that gets the same labels before the old view lets go gets the same series, so
 *            totals never fall
 * Thread:    get, unref, reading: control thread. add, observe: the worker named, relaxed
 *            atomics with one writer: no locked instruction
 * Limits:    SL_SERIES_MAX_N series a scope; beyond it one overflow series (labels "_other")
 *            takes all
 * Source:    Prometheus text exposition format 0.0.4
 */
#ifndef SL_METRICS_H
#define SL_METRICS_H

#include <sluiced/defs.h>
#include <sluiced/err.h>
#include <sluiced/reason.h>

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#define SL_SERIES_MAX_N 4096
#define SL_SERIES_LABELS_N 3

enum sl_scope {
    SL_SCOPE_PROCESS,  /* no labels */
    SL_SCOPE_LISTENER, /* listener */
    SL_SCOPE_ROUTE,    /* listener, route, pool */
    SL_SCOPE_POOL,     /* pool */
    SL_SCOPES_N,
};

enum sl_process_value {
    SL_PROCESS_ACCESS_LOG_DROPPED, /* lines that found the log's buffer full */
    SL_PROCESS_HANDED_OFF,         /* accepted connections given to a less busy worker */
    SL_PROCESS_VALUES_N,
};

enum sl_listener_value {
    SL_LISTENER_CONNECTIONS,
    SL_LISTENER_CONNECTIONS_ENDED, /* active = the difference */
    SL_LISTENER_TLS_FAILURES,
    SL_LISTENER_HEADERS_DROPPED, /* names with "_" */
    SL_LISTENER_REFUSED,         /* + reason: answered before a route was known */
};

#define SL_LISTENER_VALUES_N (SL_LISTENER_REFUSED + SL_REASONS_N)

#define SL_CODE_CLASSES_N 6 /* none, 1xx .. 5xx */
#define SL_HISTOGRAM_BUCKETS_N 18
#define SL_HISTOGRAM_VALUES_N (SL_HISTOGRAM_BUCKETS_N + 2) /* buckets, +Inf, sum in us */

enum sl_route_value {
    SL_ROUTE_REQUESTS = 0, /* + reason * SL_CODE_CLASSES_N + code class */
    SL_ROUTE_DURATION = SL_ROUTE_REQUESTS + SL_REASONS_N * SL_CODE_CLASSES_N, /* histogram */
    SL_ROUTE_FIRST_BYTE = SL_ROUTE_DURATION + SL_HISTOGRAM_VALUES_N,          /* histogram */
    SL_ROUTE_BYTES_IN = SL_ROUTE_FIRST_BYTE + SL_HISTOGRAM_VALUES_N, /* body, from downstream */
    SL_ROUTE_BYTES_OUT = SL_ROUTE_BYTES_IN + 1,                      /* body, to downstream */
    SL_ROUTE_VALUES_N = SL_ROUTE_BYTES_OUT + 1,
};

/* NOLINTNEXTLINE(cert-int09-c): a histogram takes many values */
enum sl_pool_value {
    SL_POOL_CONNECTS,
    SL_POOL_CONNECT_FAILURES,
    SL_POOL_REUSES,          /* requests sent on a kept connection */
    SL_POOL_RETRIES,         /* attempts after the first */
    SL_POOL_RETRIES_REFUSED, /* + refusal: that were not made */
    SL_POOL_QUEUED = SL_POOL_RETRIES_REFUSED + SL_REFUSALS_N, /* requests that had to wait */
    SL_POOL_FALLBACKS,        /* requests that went to the fallback pool */
    SL_POOL_CONNECTION_WAITS, /* requests that found no more could be opened */
    SL_POOL_IDLE_CLOSED,      /* idle connections closed for others, within limits */
    SL_POOL_CANCELS,          /* requests cut at an endpoint because their client left */
    SL_POOL_CANCEL,           /* histogram: that was seen -> the endpoint's connection is closed */
    /* histogram: watch event readable -> this worker picks from the new set */
    SL_POOL_UPDATE = SL_POOL_CANCEL + SL_HISTOGRAM_VALUES_N,
    SL_POOL_QUEUE_TIME = SL_POOL_UPDATE + SL_HISTOGRAM_VALUES_N, /* histogram: of each wait */
};

#define SL_POOL_VALUES_N (SL_POOL_QUEUE_TIME + SL_HISTOGRAM_VALUES_N)

struct sl_registry;
struct sl_series;

int sl_registry_new(uint32_t workers_n, struct sl_registry **out) SL_MUST_CHECK;
void sl_registry_free(struct sl_registry *r); /* all references are back; accepts NULL */

/* The series of these labels (as many as the scope has, copied; NULL where it has none), made when
 * new; one reference. SL_ENOMEM. */
int sl_series_get(struct sl_registry *r, enum sl_scope scope, const char *const *labels,
                  struct sl_series **out) SL_MUST_CHECK;
void sl_series_unref(struct sl_series **s); /* NULLs *s; accepts NULL in it */

/* For who reads them all: the series of a scope in the order of their labels, the overflow last.
 * Borrowed until the next get or unref. */
size_t sl_registry_series_n(const struct sl_registry *r, enum sl_scope scope);
const struct sl_series *sl_registry_series(const struct sl_registry *r, enum sl_scope scope,
                                           size_t i);

size_t sl_scope_labels_n(enum sl_scope scope);

/* Read labels freely; the rest is internal to the functions here. */
struct sl_series {
    struct sl_registry *registry;
    enum sl_scope scope;
    uint32_t refs_n;
    const char *labels[SL_SERIES_LABELS_N];
    size_t row_values_n;      /* of one worker, rounded up to whole cache lines */
    _Atomic uint64_t *values; /* a row for each worker, on cache lines of its own */
};

static inline void sl_series_add(struct sl_series *s, uint32_t worker_idx, size_t value,
                                 uint64_t delta)
{
    _Atomic uint64_t *v = &s->values[worker_idx * s->row_values_n + value];
    atomic_store_explicit(v, atomic_load_explicit(v, memory_order_relaxed) + delta,
                          memory_order_relaxed);
}

/* Counts us in the histogram that begins at value. Bucket i takes what is above the bound before
 * it and at most sl_histogram_bound_us(i): they double from 250 us up to 32.8 s. */
void sl_series_observe_us(struct sl_series *s, uint32_t worker_idx, size_t value, uint64_t us);

static inline uint64_t sl_histogram_bound_us(size_t bucket)
{
    return (uint64_t)250 << bucket;
}

/* Over all workers. */
uint64_t sl_series_sum(const struct sl_series *s, size_t value);

#endif
