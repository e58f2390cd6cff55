/* SPDX-License-Identifier: Apache-2.0 */
#include "metrics_text.h"

#include <sluiced/log.h>
#include <sluiced/reason.h>
#include <sluiced/version.h>

#include "metrics_line.h"
#include "metrics_table.h"

#include "proxy/base/alloc.h"
#include "proxy/base/text.h"

#include <stdbool.h>
#include <string.h>

#define OTHER "_other"
#define ADDRESS_BYTES 128

/* Endpoints are read once and said seven times. */
struct endpoint_row {
    const char *pool;
    struct sl_address address;
    uint64_t values[SL_METRIC_ENDPOINT_VALUES_N];
};

enum endpoint_state {
    STATE_READY,
    STATE_DRAINING,
    STATE_UNHEALTHY,
    STATE_EJECTED,
    STATES_N,
};

static const char *const state_names[STATES_N] = {"ready", "draining", "unhealthy", "ejected"};

struct pool_states {
    uint64_t endpoints_n[STATES_N];
};

struct exposition {
    struct sl_control *control;
    struct sl_text *out;
    struct sl_process_info process;
    struct pool_states *states; /* one a pool */
    struct endpoint_row *rows;  /* SL_METRICS_ENDPOINTS_MAX_N + 1: the last for all others */
    size_t rows_n;
    bool has_other;
};

static const char *const scope_labels[SL_SCOPES_N][SL_SERIES_LABELS_N] = {
    [SL_SCOPE_LISTENER] = {"listener"},
    [SL_SCOPE_ROUTE] = {"listener", "route", "pool"},
    [SL_SCOPE_POOL] = {"pool"},
};

static const char *const code_classes[SL_CODE_CLASSES_N] = {"none", "1xx", "2xx",
                                                            "3xx",  "4xx", "5xx"};

static struct sl_metric_labels labels_of(const struct sl_series *s)
{
    struct sl_metric_labels l = {.n = 0};

    for (size_t i = 0; i < sl_scope_labels_n(s->scope); i++) {
        sl_metric_label(&l, scope_labels[s->scope][i], s->labels[i]);
    }
    return l;
}

static void put_count(struct exposition *x, const struct sl_metric *m,
                      const struct sl_metric_labels *l, uint64_t value)
{
    sl_metric_put_count(x->out, m->name, "", l, value);
}

static void put_member(struct exposition *x, const struct sl_metric *m,
                       const struct sl_metric_labels *l, const void *info)
{
    const char *member = (const char *)info + m->at;
    uint64_t value = 0;
    uint32_t value32 = 0;
    bool flag = false;

    switch (m->kind) {
    case SL_METRIC_U64:
    case SL_METRIC_MS:
        memcpy(&value, member, sizeof(value));
        break;
    case SL_METRIC_U32:
        memcpy(&value32, member, sizeof(value32));
        value = value32;
        break;
    case SL_METRIC_BOOL:
        memcpy(&flag, member, sizeof(flag));
        value = flag ? 1 : 0;
        break;
    }
    if (m->kind == SL_METRIC_MS) {
        sl_metric_put_seconds(x->out, m->name, "", l, value * 1000);
    } else {
        put_count(x, m, l, value);
    }
}

static void write_build(struct exposition *x, const struct sl_metric *m)
{
    struct sl_metric_labels l = {.n = 0};

    sl_metric_label(&l, "version", SL_VERSION);
    put_count(x, m, &l, 1);
}

static void write_process(struct exposition *x, const struct sl_metric *m)
{
    put_member(x, m, &(struct sl_metric_labels){.n = 0}, &x->process);
}

static void write_reload_ok(struct exposition *x, const struct sl_metric *m)
{
    put_count(x, m, &(struct sl_metric_labels){.n = 0}, x->process.reload_error[0] == '\0' ? 1 : 0);
}

static void write_log_dropped(struct exposition *x, const struct sl_metric *m)
{
    put_count(x, m, &(struct sl_metric_labels){.n = 0}, sl_log_dropped_n());
}

/* One that counted nothing is left out: buckets of all pairs of routes and pools are many lines. */
static void put_histogram(struct exposition *x, const struct sl_metric *m,
                          const struct sl_series *s)
{
    uint64_t count = 0;
    uint64_t counts[SL_HISTOGRAM_BUCKETS_N + 1];
    struct sl_metric_labels l = labels_of(s);

    for (size_t i = 0; i <= SL_HISTOGRAM_BUCKETS_N; i++) {
        count += sl_series_sum(s, m->at + i);
        counts[i] = count;
    }
    if (count == 0) {
        return;
    }
    for (size_t i = 0; i <= SL_HISTOGRAM_BUCKETS_N; i++) {
        struct sl_metric_labels with_bound = l;
        char bound[SL_METRIC_SECONDS_BYTES] = "+Inf";

        if (i < SL_HISTOGRAM_BUCKETS_N) {
            sl_metric_format_seconds(sl_histogram_bound_us(i), bound);
        }
        sl_metric_label(&with_bound, "le", bound);
        sl_metric_put_count(x->out, m->name, "_bucket", &with_bound, counts[i]);
    }
    sl_metric_put_seconds(x->out, m->name, "_sum", &l,
                          sl_series_sum(s, m->at + SL_HISTOGRAM_BUCKETS_N + 1));
    sl_metric_put_count(x->out, m->name, "_count", &l, count);
}

static void put_series(struct exposition *x, const struct sl_metric *m, const struct sl_series *s)
{
    struct sl_metric_labels l = labels_of(s);

    if (m->type == SL_METRIC_HISTOGRAM) {
        put_histogram(x, m, s);
    } else {
        put_count(x, m, &l, sl_series_sum(s, m->at));
    }
}

/* Read the ended first: what begins meanwhile then never makes the difference negative. */
static void put_open(struct exposition *x, const struct sl_metric *m, const struct sl_series *s)
{
    struct sl_metric_labels l = labels_of(s);
    uint64_t ended_n = sl_series_sum(s, m->at + 1);
    uint64_t begun_n = sl_series_sum(s, m->at);

    put_count(x, m, &l, begun_n > ended_n ? begun_n - ended_n : 0);
}

static void put_reasons(struct exposition *x, const struct sl_metric *m, const struct sl_series *s)
{
    for (size_t r = 0; r < SL_REASONS_N; r++) {
        struct sl_metric_labels l = labels_of(s);
        uint64_t value = sl_series_sum(s, m->at + r);

        sl_metric_label(&l, "reason", sl_reason_name((enum sl_reason)r));
        if (value > 0) {
            put_count(x, m, &l, value);
        }
    }
}

static void put_requests(struct exposition *x, const struct sl_metric *m, const struct sl_series *s)
{
    for (size_t i = 0; i < (size_t)SL_REASONS_N * SL_CODE_CLASSES_N; i++) {
        struct sl_metric_labels l = labels_of(s);
        uint64_t value = sl_series_sum(s, m->at + i);

        sl_metric_label(&l, "code", code_classes[i % SL_CODE_CLASSES_N]);
        sl_metric_label(&l, "reason", sl_reason_name((enum sl_reason)(i / SL_CODE_CLASSES_N)));
        if (value > 0) {
            put_count(x, m, &l, value);
        }
    }
}

static void put_refusals(struct exposition *x, const struct sl_metric *m, const struct sl_series *s)
{
    for (size_t r = 0; r < SL_REFUSALS_N; r++) {
        struct sl_metric_labels l = labels_of(s);

        sl_metric_label(&l, "reason", sl_refusal_name((enum sl_refusal)r));
        put_count(x, m, &l, sl_series_sum(s, m->at + r));
    }
}

static void write_series(struct exposition *x, const struct sl_metric *m)
{
    static void (*const puts_of[SL_METRIC_SOURCES_N])(struct exposition *, const struct sl_metric *,
                                                      const struct sl_series *) = {
        [SL_METRIC_SERIES] = put_series,     [SL_METRIC_OPEN] = put_open,
        [SL_METRIC_REASONS] = put_reasons,   [SL_METRIC_REQUESTS] = put_requests,
        [SL_METRIC_REFUSALS] = put_refusals,
    };
    size_t n = sl_registry_series_n(x->control->metrics, m->scope);

    for (size_t i = 0; i < n; i++) {
        puts_of[m->source](x, m, sl_registry_series(x->control->metrics, m->scope, i));
    }
}

static void put_sides(struct exposition *x, const struct sl_metric *m, size_t listener,
                      const char *listener_name, size_t route)
{
    struct sl_route_info r;

    x->control->route(x->control, listener, route, &r);
    for (size_t i = 0; i < r.sides_n; i++) {
        struct sl_metric_labels l = {.n = 0};
        struct sl_side_info side;

        x->control->side(x->control, listener, route, i, &side);
        sl_metric_label(&l, "listener", listener_name);
        sl_metric_label(&l, "route", r.name);
        sl_metric_label(&l, "pool", side.pool);
        put_member(x, m, &l, &side);
    }
}

static void write_sides(struct exposition *x, const struct sl_metric *m)
{
    for (size_t i = 0; i < x->process.listeners_n; i++) {
        struct sl_listener_info listener;

        x->control->listener(x->control, i, &listener);
        for (size_t j = 0; j < listener.routes_n; j++) {
            put_sides(x, m, i, listener.name, j);
        }
    }
}

static struct sl_metric_labels pool_label(const struct sl_pool_info *pool)
{
    struct sl_metric_labels l = {.n = 0};

    sl_metric_label(&l, "pool", pool->name);
    return l;
}

static void put_states(struct exposition *x, const struct sl_metric *m,
                       const struct sl_pool_info *pool, size_t pool_idx)
{
    for (size_t s = 0; s < STATES_N; s++) {
        struct sl_metric_labels l = pool_label(pool);

        sl_metric_label(&l, "state", state_names[s]);
        put_count(x, m, &l, x->states[pool_idx].endpoints_n[s]);
    }
}

static void put_pool(struct exposition *x, const struct sl_metric *m,
                     const struct sl_pool_info *pool, size_t pool_idx)
{
    struct sl_metric_labels l = pool_label(pool);
    (void)pool_idx;

    put_member(x, m, &l, pool);
}

static void put_source_states(struct exposition *x, const struct sl_metric *m,
                              const struct sl_pool_info *pool, size_t pool_idx)
{
    (void)pool_idx;

    for (int state = 0; state < SL_SOURCE_STATES_N; state++) {
        struct sl_metric_labels l = pool_label(pool);

        sl_metric_label(&l, "state", sl_source_state_name((enum sl_source_state)state));
        put_count(x, m, &l, (int)pool->discovery.state == state);
    }
}

static void put_relists(struct exposition *x, const struct sl_metric *m,
                        const struct sl_pool_info *pool, size_t pool_idx)
{
    (void)pool_idx;

    for (int cause = 0; cause < SL_RELIST_CAUSES_N; cause++) {
        struct sl_metric_labels l = pool_label(pool);

        sl_metric_label(&l, "cause", sl_relist_cause_name((enum sl_relist_cause)cause));
        put_count(x, m, &l, pool->discovery.relists_n[cause]);
    }
}

static void put_age(struct exposition *x, const struct sl_metric *m,
                    const struct sl_pool_info *pool, size_t pool_idx)
{
    struct sl_metric_labels l = pool_label(pool);
    uint64_t at_ms;
    (void)pool_idx;

    memcpy(&at_ms, (const char *)pool + m->at, sizeof(at_ms));
    uint64_t age_ms = m->at == offsetof(struct sl_pool_info, discovery.fresh_at_ms)
                          ? sl_source_age_ms(&pool->discovery, pool->now_ms)
                          : sl_source_ago_ms(at_ms, pool->now_ms);
    if (age_ms < UINT64_MAX) {
        sl_metric_put_seconds(x->out, m->name, "", &l, age_ms * 1000);
    }
}

static void write_pools(struct exposition *x, const struct sl_metric *m)
{
    static void (*const puts_of[SL_METRIC_SOURCES_N])(struct exposition *, const struct sl_metric *,
                                                      const struct sl_pool_info *, size_t) = {
        [SL_METRIC_STATES] = put_states,
        [SL_METRIC_POOLS] = put_pool,
        [SL_METRIC_SOURCE_STATES] = put_source_states,
        [SL_METRIC_AGES] = put_age,
        [SL_METRIC_RELISTS] = put_relists,
    };

    for (size_t i = 0; i < x->process.pools_n; i++) {
        struct sl_pool_info pool;

        x->control->pool(x->control, i, &pool);
        puts_of[m->source](x, m, &pool, i);
    }
}

static void write_endpoints(struct exposition *x, const struct sl_metric *m)
{
    for (size_t i = 0; i < x->rows_n; i++) {
        const struct endpoint_row *row = &x->rows[i];
        struct sl_metric_labels l = {.n = 0};
        char address[ADDRESS_BYTES] = OTHER;

        if (i < SL_METRICS_ENDPOINTS_MAX_N) {
            sl_address_format(&row->address, address, sizeof(address));
        }
        sl_metric_label(&l, "pool", row->pool);
        sl_metric_label(&l, "endpoint", address);
        put_count(x, m, &l, row->values[m->at]);
    }
}

static void (*const writers[SL_METRIC_SOURCES_N])(struct exposition *, const struct sl_metric *) = {
    [SL_METRIC_BUILD] = write_build,         [SL_METRIC_PROCESS] = write_process,
    [SL_METRIC_RELOAD_OK] = write_reload_ok, [SL_METRIC_LOG_DROPPED] = write_log_dropped,
    [SL_METRIC_SERIES] = write_series,       [SL_METRIC_OPEN] = write_series,
    [SL_METRIC_REASONS] = write_series,      [SL_METRIC_REQUESTS] = write_series,
    [SL_METRIC_REFUSALS] = write_series,     [SL_METRIC_SIDES] = write_sides,
    [SL_METRIC_STATES] = write_pools,        [SL_METRIC_POOLS] = write_pools,
    [SL_METRIC_AGES] = write_pools,          [SL_METRIC_RELISTS] = write_pools,
    [SL_METRIC_SOURCE_STATES] = write_pools, [SL_METRIC_ENDPOINTS] = write_endpoints,
};

static enum endpoint_state state_of(const struct sl_endpoint_info *e)
{
    if (e->health == SL_HEALTH_DOWN) {
        return STATE_UNHEALTHY;
    }
    if (e->ejected_ms > 0) {
        return STATE_EJECTED;
    }
    return e->draining ? STATE_DRAINING : STATE_READY;
}

/* The row that counts e: two pods of one pool may have one address for a while (they are
 * neighbours then), and a sample may not come twice. */
static struct endpoint_row *row_for(struct exposition *x, const char *pool,
                                    const struct sl_endpoint_info *e)
{
    struct endpoint_row *last = x->rows_n > 0 ? &x->rows[x->rows_n - 1] : NULL;

    if (last != NULL && !x->has_other && last->pool == pool &&
        sl_address_same(&last->address, &e->address))
    {
        return last;
    }
    if (x->rows_n < SL_METRICS_ENDPOINTS_MAX_N) {
        x->rows[x->rows_n] = (struct endpoint_row){.pool = pool, .address = e->address};
        return &x->rows[x->rows_n++];
    }
    if (!x->has_other) {
        x->has_other = true;
        x->rows[x->rows_n++] = (struct endpoint_row){.pool = OTHER};
    }
    return &x->rows[SL_METRICS_ENDPOINTS_MAX_N];
}

/* Of an address: yes or no; of all others: how many. */
static void count_condition(const struct exposition *x, struct endpoint_row *row,
                            enum sl_metric_endpoint_value value, bool holds)
{
    bool is_sum = row == &x->rows[SL_METRICS_ENDPOINTS_MAX_N];

    if (holds && (is_sum || row->values[value] == 0)) {
        row->values[value]++;
    }
}

static void gather_endpoints(struct exposition *x, size_t pool_idx)
{
    struct sl_pool_info pool;

    x->control->pool(x->control, pool_idx, &pool);
    for (size_t i = 0; i < pool.endpoints_n; i++) {
        struct sl_endpoint_info e;

        x->control->endpoint(x->control, pool_idx, i, &e);
        struct endpoint_row *row = row_for(x, pool.name, &e);
        for (size_t s = 0; s < SL_ENDPOINT_STATS_N; s++) {
            row->values[s] += e.stats[s];
        }
        row->values[SL_METRIC_IN_FLIGHT] += e.in_flight_n;
        row->values[SL_METRIC_CONNECTIONS] += e.connections_n;
        count_condition(x, row, SL_METRIC_HEALTHY, e.health != SL_HEALTH_DOWN);
        count_condition(x, row, SL_METRIC_EJECTED, e.ejected_ms > 0);
        x->states[pool_idx].endpoints_n[state_of(&e)]++;
    }
}

void sl_metrics_write(struct sl_control *c, struct sl_text *out)
{
    struct exposition x = {.control = c, .out = out};

    c->process(c, &x.process);
    x.states = sl_alloc_array(x.process.pools_n, sizeof(*x.states));
    x.rows = sl_alloc_array(SL_METRICS_ENDPOINTS_MAX_N + 1, sizeof(*x.rows));
    if (x.states == NULL || x.rows == NULL) {
        out->failed = true;
        goto out;
    }
    for (size_t i = 0; i < x.process.pools_n; i++) {
        gather_endpoints(&x, i);
    }
    for (size_t i = 0; i < sl_metrics_n; i++) {
        const struct sl_metric *m = &sl_metrics[i];
        sl_text_printf(out, "# HELP %s %s\n# TYPE %s %s\n", m->name, m->help, m->name,
                       sl_metric_type_name(m->type));
        writers[m->source](&x, m);
    }
out:
    sl_free(x.rows);
    sl_free(x.states);
}
