/* SPDX-License-Identifier: Apache-2.0 */
#include "fake_control.h"

#include "proxy/base/text.h"
#include "tests/unit/check.h"

#include <stdio.h>
#include <string.h>

static struct fake_control *fake_of(struct sl_control *c)
{
    return sl_container_of(c, struct fake_control, control);
}

static void process(struct sl_control *c, struct sl_process_info *out)
{
    *out = fake_of(c)->process;
}

static void listener(struct sl_control *c, size_t i, struct sl_listener_info *out)
{
    assert_true(i < FAKE_LISTENERS_N);
    *out = fake_of(c)->listener;
}

static void route(struct sl_control *c, size_t of, size_t i, struct sl_route_info *out)
{
    assert_true(of < FAKE_LISTENERS_N && i < FAKE_ROUTES_N);
    *out = fake_of(c)->routes[i];
}

static void side(struct sl_control *c, size_t of, size_t of_route, size_t i,
                 struct sl_side_info *out)
{
    assert_true(of < FAKE_LISTENERS_N && of_route < FAKE_ROUTES_N && i < FAKE_SIDES_N);
    *out = fake_of(c)->sides[of_route][i];
}

static void pool(struct sl_control *c, size_t i, struct sl_pool_info *out)
{
    assert_true(i < FAKE_POOLS_N);
    *out = fake_of(c)->pools[i];
    if (i == 1) {
        out->endpoints_n = fake_of(c)->many_n;
    }
}

static void endpoint(struct sl_control *c, size_t of, size_t i, struct sl_endpoint_info *out)
{
    if (of == 0) {
        assert_true(i < FAKE_ENDPOINTS_N);
        *out = fake_of(c)->endpoints[i];
        return;
    }
    assert_true(i < fake_of(c)->many_n);
    *out = (struct sl_endpoint_info){
        .pod = "", .zone = "", .version = "", .model = "", .weight = 1, .stats = {1}};
    (void)snprintf(out->address.host, sizeof(out->address.host), "10.%zu.%zu.%zu", i / 65536,
                   i / 256 % 256, i % 256);
    out->address.port = 80;
}

static int reload(struct sl_control *c)
{
    struct fake_control *f = fake_of(c);

    f->reloads_n++;
    if (f->on_reload != NULL) {
        f->on_reload(f->on_reload_arg);
    }
    return f->reload_code;
}

static void reload_info(struct sl_control *c, struct sl_reload_info *out)
{
    const struct fake_control *f = fake_of(c);

    *out = (struct sl_reload_info){
        .asked_n = f->reloads_n,
        .answered_n = f->reloads_n,
        .error = f->process.reload_error,
        .changes = "1 change: + pools.v2",
        .not_synced = "v2",
    };
}

static void config(struct sl_control *c, struct sl_text *out)
{
    (void)c;
    sl_text_append_str(out, "pools.v1:\npools.v1.balance: least_request\n");
}

static void drain(struct sl_control *c)
{
    fake_of(c)->drains_n++;
}

static void drain_info(struct sl_control *c, struct sl_drain_info *out)
{
    *out = (struct sl_drain_info){
        .draining = fake_of(c)->drains_n > 0,
        .elapsed_ms = 1500,
        .delay_ms = 5000,
        .timeout_ms = 600000,
        .outbound_served = true,
        .inbound_n = 4,
        .outbound_n = 3,
        .requests_n = 2,
    };
}

static void drain_endpoint(struct sl_control *c, const char *name, enum sl_drain_wish wish,
                           struct sl_endpoint_drain_info *out)
{
    struct fake_control *f = fake_of(c);

    *out = (struct sl_endpoint_drain_info){0};
    if (strcmp(name, "a-1") != 0 && strcmp(name, "[::1]:80") != 0) {
        return;
    }
    f->endpoint_drained = wish == SL_DRAIN_LOOK ? f->endpoint_drained : wish == SL_DRAIN_BEGIN;
    *out = (struct sl_endpoint_drain_info){1, f->endpoint_drained, 3};
}

static void fill_endpoints(struct fake_control *f)
{
    static const struct sl_endpoint_info rows[FAKE_ENDPOINTS_N] = {
        {.address = {"10.0.0.1", 8000, false},
         .pod = "a-1",
         .zone = "eu-1a",
         .version = "v1",
         .model = "llama",
         .weight = 1,
         .health = SL_HEALTH_UP,
         .slow_start_share = 1,
         .in_flight_n = 3,
         .connections_n = 5,
         .stats = {100, 2, 7, 1}},
        {.address = {"10.0.0.2", 8000, false},
         .pod = "a-2",
         .zone = "eu-1b",
         .version = "v1",
         .model = "",
         .weight = 1,
         .draining = true,
         .slow_start_share = 1,
         .stats = {50, 0, 4, 0}},
        /* One address, two pods: the old one has gone, its watch event has not come. */
        {.address = {"10.0.0.2", 8000, false},
         .pod = "a-3",
         .zone = "",
         .version = "v1",
         .model = "",
         .weight = 1,
         .slow_start_share = 0.25,
         .in_flight_n = 1,
         .stats = {5, 0, 1, 0}},
        {.address = {"fd00::1", 8000, false},
         .pod = "",
         .zone = "",
         .version = "",
         .model = "",
         .weight = 2,
         .health = SL_HEALTH_DOWN,
         .slow_start_share = 1},
        {.address = {"/run/m\"\\.sock", 0, true},
         .pod = "",
         .zone = "",
         .version = "",
         .model = "",
         .weight = 1,
         .ejected_ms = 1500,
         .slow_start_share = 1,
         .stats = {9, 9, 9, 2}},
    };

    for (size_t i = 0; i < FAKE_ENDPOINTS_N; i++) {
        f->endpoints[i] = rows[i];
    }
}

static void fill_series(struct fake_control *f)
{
    static const char *const labels[] = {"edge", "chat", "v1"};
    static const char *const pools[] = {"v1"};
    struct sl_registry *r = NULL;

    assert_int_equal(sl_registry_new(2, &r), SL_OK);
    f->control.metrics = r;
    assert_int_equal(sl_series_get(r, SL_SCOPE_PROCESS, NULL, &f->series[0]), SL_OK);
    assert_int_equal(sl_series_get(r, SL_SCOPE_LISTENER, labels, &f->series[1]), SL_OK);
    assert_int_equal(sl_series_get(r, SL_SCOPE_ROUTE, labels, &f->series[2]), SL_OK);
    assert_int_equal(sl_series_get(r, SL_SCOPE_POOL, pools, &f->series[3]), SL_OK);
    sl_series_add(f->series[0], 1, SL_PROCESS_HANDED_OFF, 4);
    sl_series_add(f->series[1], 0, SL_LISTENER_CONNECTIONS, 11);
    sl_series_add(f->series[1], 1, SL_LISTENER_CONNECTIONS_ENDED, 8);
    sl_series_add(f->series[1], 1, SL_LISTENER_REFUSED + SL_REASON_NO_ROUTE, 6);
    sl_series_add(f->series[2], 0, SL_ROUTE_REQUESTS + SL_REASON_OK * SL_CODE_CLASSES_N + 2, 90);
    sl_series_add(f->series[2], 1, SL_ROUTE_REQUESTS + SL_REASON_OK * SL_CODE_CLASSES_N + 2, 5);
    sl_series_add(f->series[2], 1,
                  SL_ROUTE_REQUESTS + SL_REASON_CLIENT_GONE * SL_CODE_CLASSES_N + 0, 1);
    sl_series_observe_us(f->series[2], 0, SL_ROUTE_DURATION, 700);
    sl_series_observe_us(f->series[2], 1, SL_ROUTE_DURATION, 1500000);
    sl_series_observe_us(f->series[2], 1, SL_ROUTE_DURATION, 60000000);
    sl_series_add(f->series[2], 0, SL_ROUTE_BYTES_OUT, 12345);
    sl_series_add(f->series[3], 0, SL_POOL_CONNECTS, 21);
    sl_series_add(f->series[3], 0, SL_POOL_RETRIES, 2);
    sl_series_add(f->series[3], 0, SL_POOL_RETRIES_REFUSED + SL_REFUSAL_NOT_REPEATABLE, 3);
}

void fake_control_init(struct fake_control *f)
{
    *f = (struct fake_control){
        .control = {.process = process,
                    .listener = listener,
                    .route = route,
                    .side = side,
                    .pool = pool,
                    .endpoint = endpoint,
                    .reload = reload,
                    .reload_info = reload_info,
                    .config = config,
                    .drain = drain,
                    .drain_info = drain_info,
                    .drain_endpoint = drain_endpoint},
        .process = {.generation = 7,
                    .content_hash = 0xabc,
                    .config_file = "/etc/sluiced.yaml",
                    .applied_unix_ms = 1764000000123,
                    .started_unix_ms = 1763999000500,
                    .reloads_n = 6,
                    .reload_failures_n = 1,
                    .reload_error = "",
                    .live_views_n = 1,
                    .workers_n = 2,
                    .ready = true,
                    .not_ready_because = "",
                    .listeners_n = FAKE_LISTENERS_N,
                    .pools_n = FAKE_POOLS_N},
        .listener = {.name = "edge",
                     .address = {"127.0.0.1", 8443, false},
                     .tls = true,
                     .client_certificate = true,
                     .connections_n = 3,
                     .connections_total_n = 11,
                     .routes_n = FAKE_ROUTES_N},
        .routes = {{"chat", "api.test", "/v1/", 2}, {"rest", "", "/", 1}},
        .sides = {{{"v1", 3, 0.75, 60}, {"v2", 1, 0.25, 20}}, {{"v1", 1, 1.0, 15}}},
        .pools = {{.name = "v1",
                   .balance = "least_request",
                   .source = "kubernetes",
                   .health = "http",
                   .tls = true,
                   .discovery = {.state = SL_SOURCE_WATCHING,
                                 .synced = true,
                                 .connected = true,
                                 .fresh_at_ms = 98500,
                                 .event_at_ms = 40000,
                                 .bookmark_at_ms = 98500,
                                 .watches_n = 2,
                                 .events_n = 40,
                                 .relists_n = {[SL_RELIST_EXPIRED] = 1, [SL_RELIST_DRIFT] = 2},
                                 .reconnects_n = 3,
                                 .comparisons_n = 12,
                                 .drift_n = 4,
                                 .errors_n = 2,
                                 .last_error = "watch: reset"},
                   .now_ms = 100000,
                   .picks_n = 95,
                   .picks_draining_n = 1,
                   .ejections_n = 3,
                   .queued_n = 7,
                   .queue_size_n = 1024,
                   .places_n = 3,
                   .in_flight_max_n = 100,
                   .per_endpoint_max_n = 8,
                   .queued_bytes = 4096,
                   .queue_bytes_max = 65536,
                   .connections_n = 12,
                   .connections_max_n = 64,
                   .connections_per_endpoint_max_n = 16,
                   .retries_n = 1,
                   .retries_max_n = 5,
                   .endpoints_n = FAKE_ENDPOINTS_N},
                  {.name = "v2",
                   .balance = "round_robin",
                   .source = "kubernetes",
                   .health = "none",
                   .discovery = {.state = SL_SOURCE_LISTING},
                   .now_ms = 100000,
                   .nobody_n = 20}},
    };
    fill_endpoints(f);
    fill_series(f);
}

void fake_control_fini(struct fake_control *f)
{
    for (size_t i = 0; i < SL_ARRAY_LEN(f->series); i++) {
        sl_series_unref(&f->series[i]);
    }
    sl_registry_free(f->control.metrics);
    f->control.metrics = NULL;
}
