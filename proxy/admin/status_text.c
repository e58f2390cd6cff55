/* SPDX-License-Identifier: Apache-2.0 */
#include "status_text.h"

#include <sluiced/control.h>

#include "proxy/base/text.h"

#include <jansson.h>

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#define COLUMNS_MAX_N 11
#define CELL_BYTES 160

/* A table is written twice: once to learn the widths, once for real. */
struct table {
    struct sl_text *out; /* NULL: measuring */
    size_t widths[COLUMNS_MAX_N];
    bool filled[COLUMNS_MAX_N]; /* some row has something to say there */
    size_t columns_n;
    size_t optional_n; /* the last columns: left out when no row fills them */
};

static bool is_optional(const struct table *t, size_t i)
{
    return i + t->optional_n >= t->columns_n;
}

static void put_cells(struct table *t, const char *const *cells)
{
    size_t gap = 0;

    for (size_t i = 0; i < t->columns_n; i++) {
        const char *cell = cells[i][0] == '\0' && is_optional(t, i) ? "-" : cells[i];
        size_t width = strlen(cell);

        if (t->out == NULL) {
            t->widths[i] = width > t->widths[i] ? width : t->widths[i];
        } else if (t->filled[i] || !is_optional(t, i)) {
            sl_text_printf(t->out, "%*s%s", (int)gap, "", cell);
            gap = t->widths[i] - width + 2;
        }
    }
    if (t->out != NULL) {
        sl_text_append_str(t->out, "\n");
    }
}

static void put_row(struct table *t, const char *const *cells)
{
    for (size_t i = 0; i < t->columns_n; i++) {
        t->filled[i] = t->filled[i] || cells[i][0] != '\0';
    }
    put_cells(t, cells);
}

/* rows writes all rows, header included, and is called once without output and once with. */
static void put_table(struct sl_text *out, struct table t,
                      void (*rows)(struct table *t, const json_t *from), const json_t *from)
{

    rows(&t, from);
    t.out = out;
    rows(&t, from);
}

/* What is missing reads as empty, 0 and false: an older process is still worth a look. */
static const char *str(const json_t *object, const char *key)
{
    const char *s = json_string_value(json_object_get(object, key));
    return s != NULL ? s : "";
}

static long long num(const json_t *object, const char *key)
{
    return json_integer_value(json_object_get(object, key));
}

static bool is_true(const json_t *object, const char *key)
{
    return json_is_true(json_object_get(object, key));
}

static const char *or_dash(const char *s)
{
    return s[0] != '\0' ? s : "-";
}

static void put_overload(struct sl_text *out, const json_t *overload)
{
    static const char *const does[] = {
        [SL_OVERLOAD_NONE] = "",
        [SL_OVERLOAD_CLOSE] = "responses close their connection",
        [SL_OVERLOAD_REFUSE] = "new requests are answered with 503",
        [SL_OVERLOAD_WAIT] = "nobody is let in",
    };
    long long step = num(overload, "step");

    if (step > SL_OVERLOAD_NONE && step <= SL_OVERLOAD_WAIT) {
        sl_text_printf(out, "overload: %s; memory %lld of %lld bytes, descriptors %lld of %lld\n",
                       does[step], num(overload, "memory_bytes"),
                       num(overload, "memory_limit_bytes"), num(overload, "fds"),
                       num(overload, "fds_limit"));
    }
}

static void put_process(struct sl_text *out, const json_t *root)
{
    const json_t *reload = json_object_get(root, "reload");

    sl_text_printf(out, "sluiced %s, %s%s", str(root, "version"),
                   is_true(root, "ready") ? "ready" : "not ready",
                   is_true(root, "draining") ? ", draining" : "");
    if (str(root, "not_ready_because")[0] != '\0') {
        sl_text_printf(out, ": %s", str(root, "not_ready_because"));
    }
    sl_text_printf(out, "\ngeneration %lld of %s, applied %s, hash %s\n", num(root, "generation"),
                   str(root, "config_file"), str(root, "applied_at"), str(root, "config_hash"));
    sl_text_printf(out, "started %s, workers %lld, live views %lld, reloads %lld, refused %lld\n",
                   str(root, "started_at"), num(root, "workers"), num(root, "live_views"),
                   num(reload, "count"), num(reload, "failures"));
    put_overload(out, json_object_get(root, "overload"));
    if (str(root, "reload_error")[0] != '\0') {
        sl_text_printf(out, "the last reload was refused:\n%s\n", str(root, "reload_error"));
    }
}

static void listener_rows(struct table *t, const json_t *listeners)
{
    static const char *const head[] = {"LISTENER", "ADDRESS", "TLS", "OPEN", "TOTAL"};
    const json_t *one;
    size_t i;

    put_cells(t, head);
    json_array_foreach(listeners, i, one)
    {
        char open[CELL_BYTES];
        char total[CELL_BYTES];
        const char *tls = is_true(one, "client_certificate") ? "mutual"
                          : is_true(one, "tls")              ? "yes"
                                                             : "no";

        (void)snprintf(open, sizeof(open), "%lld", num(one, "connections"));
        (void)snprintf(total, sizeof(total), "%lld", num(one, "connections_total"));
        put_row(t, (const char *const[]){str(one, "name"), str(one, "address"), tls, open, total});
    }
}

static void side_rows(struct table *t, const json_t *listener, const json_t *route)
{
    const json_t *side;
    size_t i;

    json_array_foreach(json_object_get(route, "split"), i, side)
    {
        char share[CELL_BYTES];
        char picked[CELL_BYTES];
        bool first = i == 0; /* the others belong to the same route */

        (void)snprintf(share, sizeof(share), "%.1f%%",
                       json_number_value(json_object_get(side, "share")) * 100);
        (void)snprintf(picked, sizeof(picked), "%lld", num(side, "picked"));
        put_row(t, (const char *const[]){
                       first ? str(listener, "name") : "", first ? str(route, "name") : "",
                       first ? or_dash(str(route, "host")) : "",
                       first ? or_dash(str(route, "path")) : "", str(side, "pool"), share, picked});
    }
}

static void route_rows(struct table *t, const json_t *listeners)
{
    static const char *const head[] = {"LISTENER", "ROUTE", "HOST",  "PATH",
                                       "POOL",     "SHARE", "PICKED"};
    const json_t *listener;
    const json_t *route;
    size_t i;
    size_t j;

    put_cells(t, head);
    json_array_foreach(listeners, i, listener)
    {
        json_array_foreach(json_object_get(listener, "routes"), j, route)
        {
            side_rows(t, listener, route);
        }
    }
}

/* The most telling one first. */
static void format_state(const json_t *endpoint, char *buf, size_t size_bytes)
{
    const char *health = str(endpoint, "health");
    long long ejected_ms = num(endpoint, "ejected_ms");
    const json_t *share = json_object_get(endpoint, "slow_start_share");

    if (is_true(endpoint, "drained_by_hand")) {
        (void)snprintf(buf, size_bytes, "draining (manual)");
    } else if (strcmp(health, "down") == 0) {
        (void)snprintf(buf, size_bytes, "down");
    } else if (ejected_ms > 0) {
        (void)snprintf(buf, size_bytes, "ejected %.1fs", (double)ejected_ms / 1000);
    } else if (is_true(endpoint, "draining")) {
        (void)snprintf(buf, size_bytes, "draining");
    } else if (json_is_real(share) && json_real_value(share) < 1) {
        (void)snprintf(buf, size_bytes, "starting %.0f%%", json_real_value(share) * 100);
    } else {
        (void)snprintf(buf, size_bytes, "%s", strcmp(health, "up") == 0 ? "up" : "ready");
    }
}

static void endpoint_row(struct table *t, const char *pool, const json_t *endpoint)
{
    char state[CELL_BYTES];
    char in_flight[CELL_BYTES];
    char requests[CELL_BYTES];
    char failures[CELL_BYTES];
    char weight[CELL_BYTES];

    format_state(endpoint, state, sizeof(state));
    (void)snprintf(weight, sizeof(weight), "%lld", num(endpoint, "weight"));
    (void)snprintf(in_flight, sizeof(in_flight), "%lld", num(endpoint, "in_flight"));
    (void)snprintf(requests, sizeof(requests), "%lld", num(endpoint, "requests"));
    (void)snprintf(failures, sizeof(failures), "%lld", num(endpoint, "failures"));
    put_row(t,
            (const char *const[]){pool, str(endpoint, "address"), state, weight, in_flight,
                                  requests, failures, str(endpoint, "pod"), str(endpoint, "zone"),
                                  str(endpoint, "version"), str(endpoint, "model")});
}

static void endpoint_rows(struct table *t, const json_t *pools)
{
    static const char *const head[] = {"POOL",      "ENDPOINT", "STATE",    "WEIGHT",
                                       "IN FLIGHT", "REQUESTS", "FAILURES", "POD",
                                       "ZONE",      "VERSION",  "MODEL"};
    const json_t *pool;
    const json_t *endpoint;
    size_t i;
    size_t j;

    put_cells(t, head);
    json_array_foreach(pools, i, pool)
    {
        json_array_foreach(json_object_get(pool, "endpoints"), j, endpoint)
        {
            endpoint_row(t, str(pool, "name"), endpoint);
        }
    }
}

/* Pod and labels are there where discovery knows them. */
static void put_endpoints(struct sl_text *out, const json_t *pools)
{
    put_table(out, (struct table){.columns_n = 11, .optional_n = 4}, endpoint_rows, pools);
}

static void format_fresh(const json_t *discovery, char *buf, size_t size_bytes)
{
    if (json_is_integer(json_object_get(discovery, "age_ms"))) {
        (void)snprintf(buf, size_bytes, "%.1fs ago", (double)num(discovery, "age_ms") / 1000);
    } else {
        (void)snprintf(buf, size_bytes, "never");
    }
}

static void pool_rows(struct table *t, const json_t *pools)
{
    static const char *const head[] = {"POOL",  "SOURCE", "BALANCE",   "HEALTH",
                                       "STATE", "FRESH",  "ENDPOINTS", "PICKS"};
    const json_t *pool;
    size_t i;

    put_cells(t, head);
    json_array_foreach(pools, i, pool)
    {
        const json_t *discovery = json_object_get(pool, "discovery");
        char fresh[CELL_BYTES];
        char endpoints[CELL_BYTES];
        char picks[CELL_BYTES];

        format_fresh(discovery, fresh, sizeof(fresh));
        (void)snprintf(endpoints, sizeof(endpoints), "%lld", num(pool, "endpoints_n"));
        (void)snprintf(picks, sizeof(picks), "%lld", num(pool, "picks"));
        put_row(t,
                (const char *const[]){str(pool, "name"), str(pool, "source"), str(pool, "balance"),
                                      str(pool, "health"), or_dash(str(discovery, "state")), fresh,
                                      endpoints, picks});
    }
}

static bool has_trouble(const json_t *discovery)
{
    return json_is_object(discovery) &&
           (!is_true(discovery, "synced") || !is_true(discovery, "connected") ||
            num(discovery, "drift") > 0 || str(discovery, "last_error")[0] != '\0');
}

/* A line for each pool that may not be as its endpoints really are, and why. */
static void put_troubles(struct sl_text *out, const json_t *pools)
{
    const json_t *pool;
    size_t i;

    json_array_foreach(pools, i, pool)
    {
        const json_t *discovery = json_object_get(pool, "discovery");
        const char *error = str(discovery, "last_error");
        char fresh[CELL_BYTES];

        if (!has_trouble(discovery)) {
            continue;
        }
        format_fresh(discovery, fresh, sizeof(fresh));
        sl_text_printf(out, "discovery of %s: %s%s, fresh %s", str(pool, "name"),
                       or_dash(str(discovery, "state")),
                       is_true(discovery, "synced") ? "" : ", not synced", fresh);
        if (num(discovery, "drift") > 0) {
            sl_text_printf(out, ", drift %lld in %lld comparisons", num(discovery, "drift"),
                           num(discovery, "comparisons"));
        }
        sl_text_printf(out, "%s%s\n", error[0] != '\0' ? ": " : "", error);
    }
}

static const char *put_use(struct sl_text *out, const char *before, const char *what,
                           long long used, long long max)
{
    sl_text_printf(out, "%s%lld of %lld %s", before, used, max, what);
    return ", ";
}

/* A line for each pool that has limits, and how much of them is used. Those of each endpoint are
 * only named: the endpoints' own lines have the rest. */
static void put_limits(struct sl_text *out, const json_t *pools)
{
    static const struct {
        const char *used;
        const char *max;
        const char *what;
    } limits[] = {
        {"places", "in_flight_max", "requests"},
        {"connections", "connections_max", "connections"},
        {"retries", "retries_max", "retries"},
    };
    const json_t *pool;
    size_t i;

    json_array_foreach(pools, i, pool)
    {
        char head[CELL_BYTES];
        const char *before = head;
        long long requests_n = num(pool, "per_endpoint_max");
        long long connections_n = num(pool, "connections_per_endpoint_max");

        (void)snprintf(head, sizeof(head), "limits of %s: ", str(pool, "name"));
        for (size_t l = 0; l < sizeof(limits) / sizeof(limits[0]); l++) {
            if (num(pool, limits[l].max) > 0) {
                before = put_use(out, before, limits[l].what, num(pool, limits[l].used),
                                 num(pool, limits[l].max));
            }
        }
        if (requests_n > 0) {
            sl_text_printf(out, "%s%lld requests an endpoint", before, requests_n);
            before = ", ";
        }
        if (connections_n > 0) {
            sl_text_printf(out, "%s%lld connections an endpoint", before, connections_n);
            before = ", ";
        }
        if (before != head) {
            sl_text_append_str(out, "\n");
        }
    }
}

/* A line for each pool where requests wait. */
static void put_queues(struct sl_text *out, const json_t *pools)
{
    const json_t *pool;
    size_t i;

    json_array_foreach(pools, i, pool)
    {
        if (num(pool, "queued") > 0) {
            sl_text_printf(out,
                           "queue of %s: %lld wait, of at most %lld, with %lld of %lld bytes\n",
                           str(pool, "name"), num(pool, "queued"), num(pool, "queue_size"),
                           num(pool, "queued_bytes"), num(pool, "queue_bytes_max"));
        }
    }
}

/* A line for each pool that prefers a zone. */
static void put_zones(struct sl_text *out, const json_t *pools)
{
    const json_t *pool;
    size_t i;

    json_array_foreach(pools, i, pool)
    {
        if (str(pool, "prefer_zone")[0] == '\0') {
            continue;
        }
        if (str(pool, "own_zone")[0] == '\0') {
            sl_text_printf(out, "zone of %s: not known, all are alike\n", str(pool, "name"));
        } else {
            sl_text_printf(out, "zone of %s: %s, %lld picks there, %lld in others\n",
                           str(pool, "name"), str(pool, "own_zone"), num(pool, "picks_own_zone"),
                           num(pool, "picks_other_zone"));
        }
    }
}

static int load(struct sl_slice json, json_t **root, struct sl_error *err)
{
    json_error_t why;
    json_t *parsed = json_loadb(json.ptr != NULL ? json.ptr : "", json.len, 0, &why);

    if (parsed == NULL && json_error_code(&why) == json_error_out_of_memory) {
        return sl_error_set(err, SL_ENOMEM, NULL, "no memory for the status");
    }
    if (!json_is_array(json_object_get(parsed, "listeners")) ||
        !json_is_array(json_object_get(parsed, "pools")))
    {
        int rc = sl_error_set(err, SL_EPROTO, NULL, "the answer is not a status of sluiced%s%s",
                              parsed == NULL ? ": " : "", parsed == NULL ? why.text : "");
        json_decref(parsed);
        return rc;
    }
    *root = parsed;
    return SL_OK;
}

/* Errors quote what servers said; it must not steer the terminal. */
static int ended(struct sl_text *out, json_t *root, struct sl_error *err)
{
    json_decref(root);
    for (size_t i = 0; i < out->len; i++) {
        unsigned char c = (unsigned char)out->ptr[i];
        out->ptr[i] = (c < ' ' && c != '\n') || c == 0x7f ? '?' : out->ptr[i];
    }
    return out->failed ? sl_error_set(err, SL_ELIMIT, NULL, "the status is too large") : SL_OK;
}

int sl_status_text_write(struct sl_slice json, struct sl_text *out, struct sl_error *err)
{
    json_t *root = NULL;
    int rc = load(json, &root, err);

    if (rc != SL_OK) {
        return rc;
    }
    const json_t *listeners = json_object_get(root, "listeners");
    const json_t *pools = json_object_get(root, "pools");
    put_process(out, root);
    sl_text_append_str(out, "\n");
    put_table(out, (struct table){.columns_n = 5}, listener_rows, listeners);
    sl_text_append_str(out, "\n");
    put_table(out, (struct table){.columns_n = 7}, route_rows, listeners);
    sl_text_append_str(out, "\n");
    put_table(out, (struct table){.columns_n = 8}, pool_rows, pools);
    put_troubles(out, pools);
    put_limits(out, pools);
    put_queues(out, pools);
    put_zones(out, pools);
    sl_text_append_str(out, "\n");
    put_endpoints(out, pools);
    return ended(out, root, err);
}

int sl_status_text_write_endpoints(struct sl_slice json, struct sl_text *out, struct sl_error *err)
{
    json_t *root = NULL;
    int rc = load(json, &root, err);

    if (rc != SL_OK) {
        return rc;
    }
    put_endpoints(out, json_object_get(root, "pools"));
    return ended(out, root, err);
}
