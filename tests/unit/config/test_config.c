/* SPDX-License-Identifier: Apache-2.0 */
#include <sluiced/config.h>

#include "proxy/base/alloc.h"
#include "proxy/proto/h1.h"
#include "tests/unit/check.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const struct sl_config *must_parse(const char *text)
{
    struct sl_config_errors errors;
    const struct sl_config *config = NULL;
    int rc = sl_config_parse(text, strlen(text), "f.yaml", &config, &errors);

    check(rc == SL_OK, "%d: %s: %s\n%s", rc, errors.items[0].key, errors.items[0].message, text);
    assert_int_equal(errors.n, 0);
    return config;
}

/* ---- A folder of its own for each test that needs files */

struct folder {
    char path[64];
    char name[160];
};

static int folder_new(void **state)
{
    static struct folder folder;

    (void)snprintf(folder.path, sizeof(folder.path), "/tmp/sluiced-test-XXXXXX");
    *state = &folder;
    return mkdtemp(folder.path) != NULL ? 0 : -1;
}

static const char *in_folder(struct folder *f, const char *name)
{
    (void)snprintf(f->name, sizeof(f->name), "%s/%s", f->path, name);
    return f->name;
}

static void write_file(struct folder *f, const char *name, const char *text)
{
    FILE *out = fopen(in_folder(f, name), "wb");

    assert_non_null(out);
    assert_int_equal(fwrite(text, 1, strlen(text), out), strlen(text));
    assert_int_equal(fclose(out), 0);
}

static int folder_free(void **state)
{
    static const char *const names[] = {
        "tls/tls.crt", "tls/tls.key", "tls/ca.crt", "tls", "sluiced.yaml", "empty", "text", "token",
    };
    struct folder *f = *state;

    for (size_t i = 0; i < SL_ARRAY_LEN(names); i++) {
        (void)remove(in_folder(f, names[i])); /* not all tests made all of them */
    }
    return rmdir(f->path);
}

static const char pem[] =
    "subject=CN = text before it is usual\n"
    "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n";

static void write_tls(struct folder *f)
{
    assert_int_equal(mkdir(in_folder(f, "tls"), 0700), 0);
    write_file(f, "tls/tls.crt", pem);
    write_file(f, "tls/tls.key", pem);
    write_file(f, "tls/ca.crt", pem);
}

/* ---- What is accepted */

static void what_is_left_out_takes_its_default(void **state)
{
    const struct sl_config *c = must_parse(
        "listeners: [{ name: main, bind: \"[::1]:0\", http: { routes: [{ name: r, pool: p }] } }]\n"
        "pools: { p: { discover: { static: [\"10.0.0.7:80\"] } } }\n");
    (void)state;

    assert_string_equal(c->file, "f.yaml");
    assert_int_equal(c->workers_n, 0);
    assert_int_equal(c->drain.delay_ms, 5000);
    assert_int_equal(c->drain.timeout_ms, 600000);
    assert_int_equal(c->log.level, SL_LOG_INFO);
    assert_int_equal(c->log.format, SL_LOG_JSON);
    assert_string_equal(c->log.access, "stdout");
    assert_false(c->admin.enabled || c->admin.probes_enabled);
    assert_null(c->kubernetes.kubeconfig);
    assert_null(c->discovery.cache);
    assert_int_equal(c->discovery.ready_max_age_ms, 0);
    assert_null(c->kubernetes.context);
    assert_string_equal(c->kubernetes.service_account,
                        "/var/run/secrets/kubernetes.io/serviceaccount");

    const struct sl_listener_config *l = &c->listeners[0];
    assert_int_equal(c->listeners_n, 1);
    assert_string_equal(l->bind.host, "::1");
    assert_null(l->tls);
    assert_null(l->ambiguous);
    assert_null(l->trusted);
    assert_null(l->via);
    assert_int_equal(l->timeouts.head_ms, 10000);
    assert_int_equal(l->timeouts.body_ms, 60000);
    assert_int_equal(l->timeouts.write_ms, 60000);
    assert_int_equal(l->timeouts.idle_ms, 75000);
    assert_string_equal(l->routes[0].path, "/");
    assert_null(l->routes[0].host);
    assert_int_equal(l->routes[0].max_body_bytes, 64 << 20);
    assert_int_equal(l->routes[0].heartbeat_ms, 0);
    assert_false(l->routes[0].replays_generations);
    assert_int_equal(l->routes[0].retry.attempts_n, 1);
    assert_int_equal(l->routes[0].retry.statuses_n, 0);
    assert_int_equal(l->routes[0].retry.per_try_ms, 0);
    assert_int_equal(l->routes[0].retry.backoff_min_ms, 25);
    assert_int_equal(l->routes[0].retry.backoff_max_ms, 250);
    assert_false(l->keeps_half_open);
    assert_int_equal(l->routes[0].sides_n, 1);
    assert_int_equal(l->routes[0].sides[0].weight, 1);

    const struct sl_pool_config *p = &c->pools[0];
    assert_int_equal(c->pools_n, 1);
    assert_string_equal(p->name, "p");
    assert_int_equal(p->discover.weights[0], 1);
    assert_string_equal(p->balance, "least_request");
    assert_null(p->tls);
    assert_int_equal(p->health.kind, SL_HEALTH_CHECK_TCP);
    assert_int_equal(p->health.interval_ms, 2000);
    assert_int_equal(p->health.timeout_ms, 1000);
    assert_int_equal(p->health.rise_n, 2);
    assert_int_equal(p->health.fall_n, 3);
    assert_int_equal(p->timeouts.connect_ms, 1000);
    assert_int_equal(p->timeouts.write_ms, 60000);
    assert_int_equal(p->timeouts.first_byte_ms, 300000);
    assert_int_equal(p->timeouts.inter_byte_ms, 300000);
    assert_int_equal(p->timeouts.total_ms, 0);
    assert_int_equal(p->timeouts.keepalive_idle_ms, 3000);
    assert_int_equal(p->limits.in_flight_n, 0);
    assert_int_equal(p->limits.per_endpoint_n, 0);
    assert_int_equal(p->queue.size_n, 1024);
    assert_int_equal(p->queue.timeout_ms, 5000);
    assert_null(p->queue.priority_header);
    sl_config_unref(&c);
}

static void options_of_the_process_reach_their_fields(void **state)
{
    const struct sl_config *c = must_parse(
        "workers: 3\n"
        "drain: { delay: 0s, timeout: 10s }\n"
        "log: { level: warn, format: logfmt, access: /tmp/a }\n"
        "admin: { listen: \"127.0.0.1:0\", probes: \"unix:/p\" }\n"
        "kubernetes: { service_account: /sa }\n"
        "discovery: { cache: /tmp, ready_max_age: 5m }\n"
        "pools: { p: { discover: { static: [\"unix:/s\"] } } }\n");
    (void)state;

    assert_int_equal(c->workers_n, 3);
    assert_int_equal(c->drain.delay_ms, 0);
    assert_int_equal(c->drain.timeout_ms, 10000);
    assert_int_equal(c->log.level, SL_LOG_WARN);
    assert_int_equal(c->log.format, SL_LOG_LOGFMT);
    assert_string_equal(c->log.access, "/tmp/a");
    assert_true(c->admin.enabled && c->admin.probes_enabled);
    assert_string_equal(c->admin.listen.host, "127.0.0.1");
    assert_true(c->admin.probes.is_unix);
    assert_string_equal(c->kubernetes.service_account, "/sa");
    assert_string_equal(c->discovery.cache, "/tmp");
    assert_int_equal(c->discovery.ready_max_age_ms, 300000);
    assert_true(c->pools[0].discover.addresses[0].is_unix);
    sl_config_unref(&c);
}

static void options_of_listeners_and_routes_reach_their_fields(void **state)
{
    const struct sl_config *c = must_parse(
        "pools:\n"
        "  v2: { discover: { static: [\"10.0.0.8:80\"] } }\n"
        "  v1: { discover: { static: [\"10.0.0.7:80\"] } }\n"
        "listeners:\n"
        "  - name: edge\n"
        "    bind: 0.0.0.0:8080\n"
        "    http:\n"
        "      timeouts: { head: 5s, idle: 60s }\n"
        "      via: edge-1\n"
        "      routes:\n"
        "        - name: chat\n"
        "          match: { host: \"*.example.com\", path: /v1/ }\n"
        "          split: { v1: 95, v2: 5 }\n"
        "          max_body: off\n"
        "        - { name: rest, pool: v2, max_body: 1KiB }\n"
        "  - { name: two, bind: \"0.0.0.0:0\", http: { routes: [{ name: chat, pool: v1 }] } }\n"
        "  - { name: three, bind: \"0.0.0.0:0\", http: { routes: [{ name: a, pool: v1 }] } }\n");
    const struct sl_listener_config *l = &c->listeners[0];
    const struct sl_route_config *r = &l->routes[0];
    (void)state;

    assert_int_equal(c->listeners_n, 3);
    assert_string_equal(c->listeners[1].name, "two");
    assert_string_equal(l->name, "edge");
    assert_int_equal(l->bind.port, 8080);
    assert_int_equal(l->timeouts.head_ms, 5000);
    assert_int_equal(l->timeouts.idle_ms, 60000);
    assert_string_equal(l->via->pseudonym, "edge-1");
    assert_true(sl_slice_eq(l->via->received[0], SL_SLICE("1.0 edge-1")));
    assert_true(sl_slice_eq(l->via->received[1], SL_SLICE("1.1 edge-1")));
    assert_string_equal(l->pos.file, "f.yaml");
    assert_string_equal(l->pos.key, "listeners[0]");
    assert_int_equal(l->pos.line, 5);
    assert_int_equal(l->pos.column, 5);
    assert_int_equal(l->routes_n, 2);
    assert_string_equal(r->name, "chat");
    assert_string_equal(r->host, "*.example.com");
    assert_string_equal(r->path, "/v1/");
    assert_true(r->max_body_bytes == UINT64_MAX);
    assert_int_equal(l->routes[1].max_body_bytes, 1024);
    assert_int_equal(r->sides_n, 2);
    assert_string_equal(r->sides[0].pool, "v1");
    assert_int_equal(r->sides[0].pool_idx, 1); /* in the order of the file */
    assert_int_equal(r->sides[0].weight, 95);
    assert_int_equal(r->sides[1].pool_idx, 0);
    assert_int_equal(r->sides[1].weight, 5);
    sl_config_unref(&c);
}

static void each_word_of_ambiguous_is_one_flag_of_the_policy(void **state)
{
    static const struct {
        const char *text;
        struct sl_h1_policy policy;
    } rows[] = {
        {"", {.underscores = SL_H1_UNDERSCORES_DROP}},
        {"underscores: drop, double_slash: merge, escaped_slash: keep, escaped_backslash: refuse, "
         "escaped_nul: refuse, escaped_dots: refuse, dot_params: refuse, backslash: refuse, "
         "high_bytes: refuse",
         {.underscores = SL_H1_UNDERSCORES_DROP}},
        {"underscores: keep", {.underscores = SL_H1_UNDERSCORES_KEEP}},
        {"underscores: refuse", {.underscores = SL_H1_UNDERSCORES_REFUSE}},
        {"double_slash: keep", {.uri.keep_slashes = true}},
        {"escaped_slash: refuse", {.uri.refuse_escaped_slash = true}},
        {"escaped_backslash: keep", {.uri.allow_escaped_backslash = true}},
        {"escaped_nul: keep", {.uri.allow_escaped_nul = true}},
        {"escaped_dots: decode", {.uri.allow_escaped_dots = true}},
        {"dot_params: keep", {.uri.allow_dot_params = true}},
        {"backslash: keep", {.uri.allow_backslash = true}},
        {"high_bytes: keep", {.uri.allow_8bit = true}},
    };
    (void)state;

    for (size_t i = 0; i < SL_ARRAY_LEN(rows); i++) {
        char text[512];

        (void)snprintf(text, sizeof(text),
                       "pools: { p: { discover: { static: [\"10.0.0.8:80\"] } } }\n"
                       "listeners: [{ name: a, bind: \"0.0.0.0:0\", http: { ambiguous: { %s }, "
                       "routes: [{ name: r, pool: p }] } }]\n",
                       rows[i].text); /* fits */
        const struct sl_config *c = must_parse(text);
        check(memcmp(c->listeners[0].ambiguous, &rows[i].policy, sizeof(rows[i].policy)) == 0,
              "another policy: %s", rows[i].text);
        sl_config_unref(&c);
    }
}

static void paths_of_routes_come_to_the_form_of_those_of_requests(void **state)
{
    static const struct {
        const char *ambiguous;
        const char *in;
        const char *out;
    } rows[] = {
        {"", "/org%2fmodel", "/org%2Fmodel"},
        {"", "/org%2Fmodel/", "/org%2Fmodel/"},
        {"", "/%7euser/%6dodels", "/~user/models"},
        {"", "/v1//chat", "/v1/chat"},
        {"double_slash: keep", "/v1//chat", "/v1//chat"},
        {"escaped_backslash: keep", "/a%5cb", "/a%5Cb"},
        {"dot_params: keep", "/..;a/", "/..;a/"},
        {"backslash: keep", "/a\\b", "/a\\b"},
    };
    (void)state;

    for (size_t i = 0; i < SL_ARRAY_LEN(rows); i++) {
        char text[512];

        /* What is ambiguous may stand behind the routes. */
        (void)snprintf(text, sizeof(text),
                       "pools: { p: { discover: { static: [\"10.0.0.8:80\"] } } }\n"
                       "listeners: [{ name: a, bind: \"0.0.0.0:0\", http: { routes: [{ name: q, "
                       "pool: p }, { name: r, match: { path: '%s' }, pool: p }], ambiguous: { %s } "
                       "} }]\n",
                       rows[i].in, rows[i].ambiguous); /* fits */
        const struct sl_config *c = must_parse(text);
        assert_string_equal(c->listeners[0].routes[0].path, "/");
        assert_string_equal(c->listeners[0].routes[1].path, rows[i].out);
        sl_config_unref(&c);
    }
}

static bool trusts(const struct sl_config *c, const char *address)
{
    struct sl_ip ip;

    assert_int_equal(sl_ip_parse(sl_slice_of(address), &ip), SL_OK);
    return sl_networks_have(&c->listeners[0].trusted->networks, &ip);
}

static void trusted_proxies_are_networks_addresses_and_unix(void **state)
{
    const struct sl_config *c = must_parse(
        "pools: { p: { discover: { static: [\"10.0.0.8:80\"] } } }\n"
        "listeners:\n"
        "  - name: a\n"
        "    bind: 0.0.0.0:0\n"
        "    http: { trusted_proxies: [10.0.0.0/8, unix, \"fd00::/8\", 192.0.2.1],\n"
        "            routes: [{ name: r, pool: p }] }\n");
    (void)state;

    assert_true(c->listeners[0].trusted->unix_peers);
    assert_int_equal(c->listeners[0].trusted->networks.n, 3);
    assert_true(trusts(c, "10.1.2.3") && trusts(c, "fd00::1") && trusts(c, "192.0.2.1"));
    assert_false(trusts(c, "192.0.2.2") || trusts(c, "::1"));
    sl_config_unref(&c);
    c = must_parse(
        "pools: { p: { discover: { static: [\"10.0.0.8:80\"] } } }\n"
        "listeners: [{ name: a, bind: \"0.0.0.0:0\", http: { trusted_proxies: [\"::/0\"], "
        "routes: [{ name: r, pool: p }] } }]\n");
    assert_false(c->listeners[0].trusted->unix_peers);
    assert_true(trusts(c, "::1"));
    assert_false(trusts(c, "127.0.0.1"));
    sl_config_unref(&c);
}

static void options_of_balance_reach_their_fields(void **state)
{
    static const struct {
        const char *balance;
        const char *policy;
        enum sl_balance_key_kind kind;
        const char *name;
        uint32_t bound_pct;
    } rows[] = {
        {"random", "random", SL_BALANCE_KEY_NONE, NULL, 0},
        {"{ policy: peak_ewma }", "peak_ewma", SL_BALANCE_KEY_NONE, NULL, 125},
        {"{ policy: ring_hash, key: { header: x-session-id } }", "ring_hash", SL_BALANCE_KEY_HEADER,
         "x-session-id", 125},
        {"{ policy: maglev, key: { cookie: sid }, bound: 1.5 }", "maglev", SL_BALANCE_KEY_COOKIE,
         "sid", 150},
        {"{ policy: maglev, key: { query: user }, bound: 2 }", "maglev", SL_BALANCE_KEY_QUERY,
         "user", 200},
        {"{ policy: maglev, key: { query: user }, bound: 1.01 }", "maglev", SL_BALANCE_KEY_QUERY,
         "user", 101},
        {"{ key: { source: true }, bound: off, policy: ring_hash }", "ring_hash",
         SL_BALANCE_KEY_SOURCE, NULL, 0},
    };
    (void)state;

    for (size_t i = 0; i < SL_ARRAY_LEN(rows); i++) {
        char text[256];
        (void)snprintf(text, sizeof(text),
                       "pools: { p: { discover: { static: [\"10.0.0.7:80\"] }, balance: %s } }\n"
                       "listeners: [{ name: a, bind: \"0.0.0.0:0\", http: { routes: [{ name: r, "
                       "pool: p }] } }]\n",
                       rows[i].balance);
        const struct sl_config *c = must_parse(text);
        const struct sl_pool_config *p = &c->pools[0];
        const char *name = p->balance_key.name;

        assert_string_equal(p->balance, rows[i].policy);
        assert_int_equal(p->balance_key.kind, rows[i].kind);
        check(rows[i].name == NULL ? name == NULL : strcmp(name, rows[i].name) == 0, "%s: %s",
              rows[i].balance, name != NULL ? name : "no name");
        assert_int_equal(p->balance_bound_pct, rows[i].bound_pct);
        sl_config_unref(&c);
    }
}

static void limits_and_queues_reach_their_fields(void **state)
{
    const struct sl_config *c = must_parse(
        "pools:\n"
        "  a:\n"
        "    discover: { static: [\"10.0.0.7:80\"] }\n"
        "    limits: { in_flight: 100, per_endpoint: 8 }\n"
        "    queue: { size: 20, timeout: 1m, priority: { header: X-Priority } }\n"
        "  b: { discover: { static: [\"10.0.0.7:80\"] }, queue: off }\n"
        "  c: { discover: { static: [\"10.0.0.7:80\"] }, queue: { size: 0 } }\n"
        "  d: { discover: { static: [\"10.0.0.7:80\"] }, queue: {} }\n");
    (void)state;

    assert_int_equal(c->pools[0].limits.in_flight_n, 100);
    assert_int_equal(c->pools[0].limits.per_endpoint_n, 8);
    assert_int_equal(c->pools[0].queue.size_n, 20);
    assert_int_equal(c->pools[0].queue.timeout_ms, 60000);
    assert_string_equal(c->pools[0].queue.priority_header, "X-Priority");
    assert_int_equal(c->pools[1].queue.size_n, 0);
    assert_int_equal(c->pools[2].queue.size_n, 0);
    assert_int_equal(c->pools[3].queue.size_n, 1024);
    sl_config_unref(&c);
}

static void options_of_pools_reach_their_fields(void **state)
{
    const struct sl_config *c = must_parse(
        "pools:\n"
        "  k: { discover: { kubernetes: { namespace: n, service: s, pods: \"a=b\", port: http } } "
        "}\n"
        "  pods: { discover: { kubernetes: { pods: a, port: 8000 } }, health: { tcp: true } }\n"
        "  slices: { discover: { kubernetes: { slices: \"a in (b,c)\" } }, balance: round_robin }\n"
        "  off:\n"
        "    discover: { static: [{ address: \"10.0.0.7:80\", weight: 3 }, \"10.0.0.8:80\"] }\n"
        "    health: off\n"
        "    timeouts: { connect: 500ms, first_byte: off, inter_byte: off, total: 1h,\n"
        "                keepalive_idle: off }\n"
        "  http:\n"
        "    discover: { static: [\"10.0.0.7:80\"] }\n"
        "    health: { http: /health, interval: 1s, timeout: 200ms, rise: 1, fall: 5 }\n"
        "  deep:\n"
        "    discover: { static: [\"10.0.0.7:80\"] }\n"
        "    health: { http: /health, port: 8081, host: llm.example.com, body: ready, status: "
        "[200,\n"
        "              300-399], headers: { authorization: \"Bearer x y\", x-empty: \"\" } }\n"
        "  one: { discover: { static: [\"10.0.0.7:80\"] }, health: { http: /, status: 204 },\n"
        "         slow_start: {} }\n"
        "  slow: { discover: { static: [\"10.0.0.7:80\"] },\n"
        "          slow_start: { window: 1m, aggression: 1.25 } }\n");
    const struct sl_kubernetes_config *k = &c->pools[0].discover.kubernetes;
    (void)state;

    assert_int_equal(c->pools[0].discover.kind, SL_DISCOVER_KUBERNETES);
    assert_int_equal(k->namespaces.n, 1);
    assert_string_equal(k->namespaces.items[0], "n");
    assert_int_equal(k->api, SL_KUBE_API_AUTO);
    assert_int_equal(k->family, SL_KUBE_FAMILY_ANY);
    assert_string_equal(k->service, "s");
    assert_string_equal(k->pods, "a=b");
    assert_string_equal(k->port_name, "http");
    assert_int_equal(k->port, 0);
    assert_int_equal(c->pools[0].health.kind, SL_HEALTH_CHECK_NONE);
    assert_string_equal(c->pools[0].pos.key, "pools.k");

    assert_int_equal(c->pools[1].discover.kubernetes.port, 8000);
    assert_null(c->pools[1].discover.kubernetes.port_name);
    assert_int_equal(c->pools[1].health.kind, SL_HEALTH_CHECK_TCP);

    assert_int_equal(c->pools[1].discover.kubernetes.namespaces.n, 0);

    assert_string_equal(c->pools[2].discover.kubernetes.slices, "a in (b,c)");
    assert_string_equal(c->pools[2].balance, "round_robin");

    const struct sl_pool_config *off = &c->pools[3];
    assert_int_equal(off->discover.kind, SL_DISCOVER_STATIC);
    assert_int_equal(off->discover.addresses_n, 2);
    assert_int_equal(off->discover.weights[0], 3);
    assert_int_equal(off->discover.weights[1], 1);
    assert_string_equal(off->discover.addresses[1].host, "10.0.0.8");
    assert_int_equal(off->health.kind, SL_HEALTH_CHECK_NONE);
    assert_int_equal(off->timeouts.connect_ms, 500);
    assert_int_equal(off->timeouts.first_byte_ms, 0);
    assert_int_equal(off->timeouts.inter_byte_ms, 0);
    assert_int_equal(off->timeouts.total_ms, 3600000);
    assert_int_equal(off->timeouts.keepalive_idle_ms, 0);

    const struct sl_health_config *h = &c->pools[4].health;
    assert_int_equal(h->kind, SL_HEALTH_CHECK_HTTP);
    assert_string_equal(h->path, "/health");
    assert_int_equal(h->interval_ms, 1000);
    assert_int_equal(h->timeout_ms, 200);
    assert_int_equal(h->rise_n, 1);
    assert_int_equal(h->fall_n, 5);
    assert_int_equal(h->port, 0);
    assert_null(h->host);
    assert_null(h->body);
    assert_int_equal(h->statuses_n, 0);
    assert_int_equal(h->headers_n, 0);

    h = &c->pools[5].health;
    assert_int_equal(h->port, 8081);
    assert_string_equal(h->host, "llm.example.com");
    assert_string_equal(h->body, "ready");
    assert_int_equal(h->statuses_n, 2);
    assert_int_equal(h->statuses[0].first, 200);
    assert_int_equal(h->statuses[0].last, 200);
    assert_int_equal(h->statuses[1].first, 300);
    assert_int_equal(h->statuses[1].last, 399);
    assert_int_equal(h->headers_n, 2);
    assert_string_equal(h->headers[0].name, "authorization");
    assert_string_equal(h->headers[0].value, "Bearer x y");
    assert_string_equal(h->headers[1].value, "");
    assert_int_equal(c->pools[6].health.statuses_n, 1);
    assert_int_equal(c->pools[6].health.statuses[0].first, 204);

    assert_null(c->pools[5].slow_start);
    assert_int_equal(c->pools[6].slow_start->window_ms, 30000);
    assert_int_equal(c->pools[6].slow_start->aggression_milli, 1000);
    assert_int_equal(c->pools[7].slow_start->window_ms, 60000);
    assert_int_equal(c->pools[7].slow_start->aggression_milli, 1250);
    sl_config_unref(&c);
}

static void kubernetes_sources_can_be_narrowed_and_widened(void **state)
{
    const struct sl_config *c = must_parse(
        "kubernetes: { zone: eu-west_1a }\n"
        "pools:\n"
        "  a: { discover: { kubernetes: { namespace: [n, m], service: s, pods: \"\", api: "
        "endpoints,\n"
        "       family: ipv6 } } }\n"
        "  b: { discover: { kubernetes: { namespace: \"*\", slices: a=b, api: slices } } }\n"
        "  c: { discover: { kubernetes: { inference_pool: llama.v1, family: ipv4 } } }\n");
    const struct sl_kubernetes_config *a = &c->pools[0].discover.kubernetes;
    const struct sl_kubernetes_config *b = &c->pools[1].discover.kubernetes;
    (void)state;

    assert_string_equal(c->kubernetes.zone, "eu-west_1a");
    assert_null(c->kubernetes.node);
    assert_int_equal(a->namespaces.n, 2);
    assert_string_equal(a->namespaces.items[1], "m");
    assert_string_equal(a->pods, "");
    assert_int_equal(a->api, SL_KUBE_API_ENDPOINTS);
    assert_int_equal(a->family, SL_KUBE_FAMILY_IPV6);
    assert_string_equal(b->namespaces.items[0], "*");
    assert_int_equal(b->api, SL_KUBE_API_SLICES);
    assert_string_equal(c->pools[2].discover.kubernetes.inference_pool, "llama.v1");
    assert_int_equal(c->pools[2].discover.kubernetes.family, SL_KUBE_FAMILY_IPV4);
    sl_config_unref(&c);
}

/* ---- Hashes and references */

static uint64_t identity(const char *before, const char *discover)
{
    char text[512];

    (void)snprintf(text, sizeof(text),
                   "%s\npools: { p: { discover: { %s }, balance: round_robin } }\n", before,
                   discover);
    const struct sl_config *c = must_parse(text);
    uint64_t hash = c->pools[0].identity_hash;
    sl_config_unref(&c);
    return hash;
}

static void a_dns_source_has_its_options_and_checks_by_itself(void **state)
{
    const struct sl_config *c = must_parse(
        "pools:\n"
        "  any: { discover: { dns: { name: llama.prod.svc.cluster.local, port: 8000 } } }\n"
        "  srv: { discover: { dns: { name: _http._tcp.llama., type: srv, servers: "
        "[\"10.96.0.10:53\", \"[fd00::a]:53\"], min_ttl: 2s, max_ttl: 1m, hold: 0s } }, health: "
        "off "
        "}\n"
        "  hold: { discover: { dns: { name: llama.prod.svc.cluster.local, port: 8000, hold: 9s } } "
        "}\n");
    const struct sl_dns_config *d = &c->pools[0].discover.dns;
    (void)state;

    assert_int_equal(c->pools[0].discover.kind, SL_DISCOVER_DNS);
    assert_int_equal(c->pools[0].health.kind, SL_HEALTH_CHECK_TCP);
    assert_string_equal(d->name, "llama.prod.svc.cluster.local");
    assert_int_equal(d->port, 8000);
    assert_int_equal(d->type, SL_DNS_TYPE_ANY);
    assert_int_equal(d->servers.n, 0);
    assert_int_equal(d->min_ttl_ms, 1000);
    assert_int_equal(d->max_ttl_ms, 30000);
    assert_int_equal(d->hold_ms, 10000);
    d = &c->pools[1].discover.dns;
    assert_string_equal(d->name, "_http._tcp.llama.");
    assert_int_equal(d->type, SL_DNS_TYPE_SRV);
    assert_int_equal(d->servers.n, 2);
    assert_string_equal(d->servers.items[1], "[fd00::a]:53");
    assert_int_equal(d->min_ttl_ms, 2000);
    assert_int_equal(d->max_ttl_ms, 60000);
    assert_int_equal(d->hold_ms, 0);
    assert_int_equal(c->pools[1].health.kind, SL_HEALTH_CHECK_NONE);
    assert_true(c->pools[0].identity_hash != c->pools[2].identity_hash);
    sl_config_unref(&c);
}

static void the_identity_is_that_of_the_source_and_of_nothing_else(void **state)
{
    static const char *const different[] = {
        "static: [\"10.0.0.7:80\"]",
        "static: [\"10.0.0.7:81\"]",
        "static: [\"10.0.0.7:80\", \"10.0.0.8:80\"]",
        "static: [{ address: \"10.0.0.7:80\", weight: 2 }]",
        "static: [\"unix:/10.0.0.7:80\"]",
        "kubernetes: { service: s }",
        "kubernetes: { service: s, namespace: n }",
        "kubernetes: { slices: s }",
        "kubernetes: { pods: s, port: s }",
        "kubernetes: { service: s, port: s }",
        "kubernetes: { service: s, port: 1 }",
        "file: a.yaml",
        "file: b.yaml",
        "kubernetes: { service: s, namespace: [n, m] }",
        "kubernetes: { service: s, namespace: \"*\" }",
        "kubernetes: { service: s, pods: \"\" }",
        "kubernetes: { service: s, api: slices }",
        "kubernetes: { service: s, api: endpoints }",
        "kubernetes: { service: s, family: ipv4 }",
        "kubernetes: { service: s, family: ipv6 }",
        "kubernetes: { inference_pool: s }",
    };
    (void)state;

    for (size_t i = 0; i < SL_ARRAY_LEN(different); i++) {
        for (size_t j = 0; j < SL_ARRAY_LEN(different); j++) {
            check((identity("", different[i]) == identity("", different[j])) == (i == j),
                  "%s and %s", different[i], different[j]);
        }
    }
    assert_true(identity("workers: 2", different[0]) == identity("workers: 1", different[0]));
    assert_true(identity("kubernetes: { service_account: /a }", "kubernetes: { service: s }") !=
                identity("kubernetes: { service_account: /b }", "kubernetes: { service: s }"));
    assert_true(identity("kubernetes: { zone: a }", "kubernetes: { service: s }") !=
                identity("kubernetes: { zone: b }", "kubernetes: { service: s }"));
    assert_true(identity("kubernetes: { zone: a }", "kubernetes: { service: s }") !=
                identity("kubernetes: { node: a }", "kubernetes: { service: s }"));
    assert_true(identity("", "static: [\"[::1]:80\"]") ==
                identity("", "static: [{ address: \"[0:0::1]:80\", weight: 1 }]"));
}

static void the_content_hash_is_that_of_the_bytes(void **state)
{
    static const char text[] = "pools: { p: { discover: { static: [\"10.0.0.7:80\"] } } }\n";
    const struct sl_config *a = must_parse(text);
    const struct sl_config *b = must_parse(text);
    (void)state;

    assert_true(a->content_hash == b->content_hash);
    sl_config_unref(&b);
    b = must_parse("pools: { p: { discover: { static: [\"10.0.0.7:80\"] } } }\n\n");
    assert_true(a->content_hash != b->content_hash);
    sl_config_unref(&b);
    sl_config_unref(&a);
}

static void a_config_lives_as_long_as_its_last_reference(void **state)
{
    const struct sl_config *a =
        must_parse("pools: { p: { discover: { static: [\"10.0.0.7:80\"] } } }\n");
    const struct sl_config *b = sl_config_ref(a);
    (void)state;

    assert_ptr_equal(a, b);
    sl_config_unref(&a);
    assert_null(a);
    assert_string_equal(b->pools[0].name, "p"); /* AddressSanitizer sees it if it were gone */
    sl_config_unref(&b);
    assert_null(b);
    sl_config_unref(&b); /* of NULL: nothing */
}

/* ---- Files */

static void the_examples_are_good(void **state)
{
    static const char *const names[] = {
        "minimal.yaml",
        "sidecar.yaml",
        "edge.yaml",
        "canary.yaml",
    };
    static char text[1 << 16];
    struct folder *f = *state;

    write_tls(f);
    for (size_t i = 0; i < SL_ARRAY_LEN(names); i++) {
        struct sl_config_errors errors;
        const struct sl_config *c = NULL;
        char path[128];

        (void)snprintf(path, sizeof(path), "config/examples/%s", names[i]);
        FILE *in = fopen(path, "rb");
        assert_non_null(in);
        text[fread(text, 1, sizeof(text) - 1, in)] = '\0';
        (void)fclose(in);
        write_file(f, "sluiced.yaml", text);
        int rc = sl_config_load(in_folder(f, "sluiced.yaml"), &c, &errors);
        check(rc == SL_OK, "%s:%u: %s: %s", names[i], errors.items[0].line, errors.items[0].key,
              errors.items[0].message);
        assert_true(c->listeners_n > 0 && c->pools_n > 0);
        sl_config_unref(&c);
    }
}

static void relative_paths_count_from_the_folder_of_the_file(void **state)
{
    struct folder *f = *state;
    struct sl_config_errors errors;
    const struct sl_config *c = NULL;
    char expected[160];

    write_tls(f);
    write_file(f, "token", "x");
    write_file(
        f, "sluiced.yaml",
        "kubernetes: { kubeconfig: token, context: c }\n"
        "listeners:\n"
        "  - name: a\n"
        "    bind: 127.0.0.1:1\n"
        "    tls: { cert: tls/tls.crt, key: tls/tls.key, client_ca: tls/ca.crt,\n"
        "           client_san: [\"*.a\", b], min_version: 1.3 }\n"
        "    http: { routes: [{ name: r, pool: p }] }\n"
        "pools:\n"
        "  p:\n"
        "    discover: { static: [\"10.0.0.7:80\"] }\n"
        "    tls: { ca: tls/ca.crt, cert: tls/tls.crt, key: tls/tls.key, san: [a], sni: s }\n");
    int rc = sl_config_load(in_folder(f, "sluiced.yaml"), &c, &errors);
    check(rc == SL_OK, "%s: %s", errors.items[0].key, errors.items[0].message);
    (void)snprintf(expected, sizeof(expected), "%s/token", f->path);
    assert_string_equal(c->kubernetes.kubeconfig, expected);
    assert_string_equal(c->kubernetes.context, "c");
    const struct sl_tls_config *tls = c->listeners[0].tls;
    (void)snprintf(expected, sizeof(expected), "%s/tls/tls.crt", f->path);
    assert_string_equal(tls->cert, expected);
    (void)snprintf(expected, sizeof(expected), "%s/tls/tls.key", f->path);
    assert_string_equal(tls->key, expected);
    (void)snprintf(expected, sizeof(expected), "%s/tls/ca.crt", f->path);
    assert_string_equal(tls->ca, expected);
    assert_int_equal(tls->san.n, 2);
    assert_string_equal(tls->san.items[1], "b");
    assert_int_equal(tls->min_version, 0x0304);
    tls = c->pools[0].tls;
    assert_string_equal(tls->ca, expected);
    assert_non_null(tls->cert);
    assert_non_null(tls->key);
    assert_string_equal(tls->san.items[0], "a");
    assert_string_equal(tls->sni, "s");
    assert_int_equal(tls->min_version, 0x0303);
    sl_config_unref(&c);
}

static void refuse_tls(struct folder *f, const char *tls, const char *message)
{
    struct sl_config_errors errors;
    const struct sl_config *c = NULL;
    char text[512];
    char line[1024];

    (void)snprintf(text, sizeof(text),
                   "listeners: [{ name: a, bind: \"127.0.0.1:1\", tls: { %s },\n"
                   " http: { routes: [{ name: r, pool: p }] } }]\n"
                   "pools: { p: { discover: { static: [\"10.0.0.7:80\"] } } }\n",
                   tls);
    write_file(f, "sluiced.yaml", text);
    assert_int_equal(sl_config_load(in_folder(f, "sluiced.yaml"), &c, &errors), SL_ECONFIG);
    assert_null(c);
    assert_int_equal(errors.n, 1);
    sl_error_format(&errors.items[0], line, sizeof(line));
    const char *rest = strstr(line, ":1:");
    check(rest != NULL && strcmp(rest + 1, message) == 0, "\"%s\", expected \"%s\"", line, message);
}

static void files_for_tls_must_look_like_it(void **state)
{
    struct folder *f = *state;

    write_tls(f);
    write_file(f, "empty", "");
    write_file(f, "text", "no certificate\n -----BEGIN here, but not at the start of a line\n");
    refuse_tls(f, "cert: empty, key: tls/tls.key",
               "1:58: listeners[0].tls.cert: cannot use \"empty\": the file is empty");
    refuse_tls(
        f, "cert: tls/tls.crt, key: text",
        "1:76: listeners[0].tls.key: expected a file in PEM, found no \"-----BEGIN\" line in "
        "\"text\"");
    refuse_tls(f, "cert: tls/tls.crt, key: tls",
               "1:76: listeners[0].tls.key: cannot read \"tls\": not a regular file");
    refuse_tls(f, "cert: tls/tls.crt, key: tls/tls.key, client_ca: tls/none.crt",
               "1:100: listeners[0].tls.client_ca: cannot read \"tls/none.crt\": No such file or "
               "directory");
    refuse_tls(f, "cert: tls/tls.crt, key: tls/tls.key, client_san: [a]",
               "1:89: listeners[0].tls.client_san: needs client_ca beside it");
    refuse_tls(f, "cert: tls/tls.crt, key: tls/tls.key, client_ca: tls/ca.crt, client_san: []",
               "1:124: listeners[0].tls.client_san: expected a list of 1 to 64 names of "
               "certificates, found an empty list");
    refuse_tls(f, "cert: tls/tls.crt, key: tls/tls.key, client_ca: tls/ca.crt, client_san: [a*b]",
               "1:125: listeners[0].tls.client_san[0]: expected a DNS, IP or URI name, with one "
               "\"*\" at one end or none, found \"a*b\"; write llm.example.com or "
               "spiffe://corp/ns/prod/*");
    refuse_tls(f, "cert: tls/tls.crt, key: tls/tls.key, min_version: 1.1",
               "1:102: listeners[0].tls.min_version: expected 1.2 or 1.3, found \"1.1\"");
}

static void a_file_that_cannot_be_read_is_named(void **state)
{
    struct sl_config_errors errors;
    const struct sl_config *c = NULL;
    (void)state;

    assert_int_equal(sl_config_load("/nonexistent/sluiced.yaml", &c, &errors), SL_ECONFIG);
    assert_int_equal(errors.n, 1);
    assert_int_equal(errors.items[0].line, 0);
    assert_string_equal(errors.items[0].message,
                        "cannot read /nonexistent/sluiced.yaml: No such file or directory");
    assert_int_equal(sl_config_load("/", &c, &errors), SL_ECONFIG);
    assert_string_equal(errors.items[0].message, "cannot read /: Is a directory");
    assert_null(c);
}

/* The same files that `sluiced check` is given by tests/integration/test_bad_config.py. */
static void bad_config_files_are_refused_as_they_expect(void **state)
{
    static const char folder[] = "tests/integration/bad_config";
    static const char mark[] = "# expect: ";
    struct dirent *entry;
    size_t files_n = 0;
    (void)state;

    DIR *dir = opendir(folder);
    assert_non_null(dir);
    while ((entry = readdir(dir)) != NULL) {
        struct sl_config_errors errors;
        const struct sl_config *c = NULL;
        char path[512];
        char expected[1024];
        char line[1024];
        size_t n = 0;

        if (strstr(entry->d_name, ".yaml") == NULL) {
            continue;
        }
        files_n++;
        (void)snprintf(path, sizeof(path), "%s/%s", folder, entry->d_name);
        assert_int_equal(sl_config_load(path, &c, &errors), SL_ECONFIG);
        FILE *in = fopen(path, "rb");
        assert_non_null(in);
        while (fgets(expected, sizeof(expected), in) != NULL &&
               strncmp(expected, mark, strlen(mark)) == 0)
        {
            expected[strcspn(expected, "\n")] = '\0';
            check(n < errors.n, "%s: only %zu errors", path, errors.n);
            sl_error_format(&errors.items[n++], line, sizeof(line));
            check(strncmp(line, path, strlen(path)) == 0 && line[strlen(path)] == ':' &&
                      strcmp(line + strlen(path) + 1, expected + strlen(mark)) == 0,
                  "\"%s\", expected \"%s\"", line, expected);
        }
        (void)fclose(in);
        check(n == errors.n, "%s: %zu errors, expected %zu", path, errors.n, n);
    }
    (void)closedir(dir);
    check(files_n >= 15, "%zu files in %s", files_n, folder);
}

/* ---- Lack of memory */

static size_t allocs_left_n;

static bool refuse_one(size_t size_bytes)
{
    (void)size_bytes;
    return allocs_left_n-- != 0; /* the one that fails, and none after it */
}

static void lack_of_memory_at_any_point_is_reported_and_leaks_nothing(void **state)
{
    struct folder *f = *state;
    int rc = SL_ENOMEM;
    size_t n = 0;

    write_tls(f);
    write_file(f, "sluiced.yaml",
               "log: { access: off }\n"
               "listeners:\n"
               "  - name: a\n"
               "    bind: 127.0.0.1:1\n"
               "    tls: { cert: tls/tls.crt, key: tls/tls.key, client_ca: tls/ca.crt,\n"
               "           client_san: [a, b] }\n"
               "    http: { ambiguous: { backslash: keep }, trusted_proxies: [unix, 10.0.0.0/8],\n"
               "            via: edge,\n"
               "            routes: [{ name: r, split: { p: 1, q: 2 }, match: { path: /%61 } }] }\n"
               "pools:\n"
               "  p: { discover: { static: [\"10.0.0.7:80\", \"10.0.0.8:80\"] } }\n"
               "  q: { discover: { kubernetes: { service: s, port: http } } }\n");
    sl_alloc_hook = refuse_one;
    for (; rc == SL_ENOMEM && n < 10000; n++) {
        struct sl_config_errors errors;
        const struct sl_config *c = NULL;

        allocs_left_n = n;
        rc = sl_config_load(in_folder(f, "sluiced.yaml"), &c, &errors);
        if (rc == SL_ENOMEM) {
            check(c == NULL && errors.n > 0, "allocation %zu", n);
            check(errors.items[0].code == SL_ENOMEM, "allocation %zu: %s", n,
                  errors.items[0].message);
        }
        sl_config_unref(&c);
    }
    sl_alloc_hook = NULL;
    check(rc == SL_OK, "%d after %zu allocations", rc, n);
    check(n > 5, "only %zu allocations", n);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_left_out_takes_its_default),
        cmocka_unit_test(options_of_the_process_reach_their_fields),
        cmocka_unit_test(options_of_listeners_and_routes_reach_their_fields),
        cmocka_unit_test(each_word_of_ambiguous_is_one_flag_of_the_policy),
        cmocka_unit_test(paths_of_routes_come_to_the_form_of_those_of_requests),
        cmocka_unit_test(trusted_proxies_are_networks_addresses_and_unix),
        cmocka_unit_test(options_of_balance_reach_their_fields),
        cmocka_unit_test(options_of_pools_reach_their_fields),
        cmocka_unit_test(limits_and_queues_reach_their_fields),
        cmocka_unit_test(a_dns_source_has_its_options_and_checks_by_itself),
        cmocka_unit_test(kubernetes_sources_can_be_narrowed_and_widened),
        cmocka_unit_test(the_identity_is_that_of_the_source_and_of_nothing_else),
        cmocka_unit_test(the_content_hash_is_that_of_the_bytes),
        cmocka_unit_test(a_config_lives_as_long_as_its_last_reference),
        cmocka_unit_test_setup_teardown(the_examples_are_good, folder_new, folder_free),
        cmocka_unit_test_setup_teardown(relative_paths_count_from_the_folder_of_the_file,
                                        folder_new, folder_free),
        cmocka_unit_test_setup_teardown(files_for_tls_must_look_like_it, folder_new, folder_free),
        cmocka_unit_test(a_file_that_cannot_be_read_is_named),
        cmocka_unit_test(bad_config_files_are_refused_as_they_expect),
        cmocka_unit_test_setup_teardown(lack_of_memory_at_any_point_is_reported_and_leaks_nothing,
                                        folder_new, folder_free),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
