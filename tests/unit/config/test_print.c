/* SPDX-License-Identifier: Apache-2.0 */
#include <sluiced/config.h>

#include "config/diff.h"
#include "config/options.h"
#include "config/print.h"
#include "tests/unit/check.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char base[] =
    "listeners:\n"
    "- name: edge\n"
    "  bind: 127.0.0.1:8080\n"
    "  http:\n"
    "    trusted_proxies: [10.0.0.0/8, unix]\n"
    "    via: edge-1\n"
    "    routes:\n"
    "    - {name: chat, match: {path: /v1/}, split: {llama-v1: 95, llama.v2: 5}}\n"
    "    - {name: rest, pool: llama-v1}\n"
    "pools:\n"
    "  llama-v1: {discover: {static: [\"10.0.0.7:80\", {address: \"10.0.0.8:80\", weight: 3}]}}\n"
    "  llama.v2: {discover: {kubernetes: {namespace: [a, b], pods: app=x, port: 8000}}}\n";

static const struct sl_config *parse(const char *text)
{
    struct sl_config_errors errors;
    const struct sl_config *config = NULL;
    int rc = sl_config_parse(text, strlen(text), "f.yaml", &config, &errors);

    check(rc == SL_OK, "%d: %s: %s\n%s", rc, errors.items[0].key, errors.items[0].message, text);
    return config;
}

static void print(const char *yaml, struct sl_text *out)
{
    const struct sl_config *config = parse(yaml);

    sl_text_init(out, 1 << 20);
    sl_config_print(config, out);
    assert_false(out->failed);
    sl_config_unref(&config);
}

static void check_has(const struct sl_text *text, const char *line)
{
    char whole[256];

    (void)snprintf(whole, sizeof(whole), "\n%s\n", line);
    check(strstr(text->ptr, whole) != NULL, "no line \"%s\" in\n%s", line, text->ptr);
}

static void each_option_is_a_line(void **state)
{
    static const char *const lines[] = {
        "drain.timeout: 10m",
        "drain.quiet: 5s",
        "log.level: info",
        "listeners[edge]:",
        "listeners[edge].bind: 127.0.0.1:8080",
        "listeners[edge].direction: inbound",
        "listeners[edge].http.routes: chat, rest",
        "listeners[edge].http.routes[chat].match.path: /v1/",
        "listeners[edge].http.routes[chat].split.llama-v1: 95",
        "listeners[edge].http.routes[chat].split[llama.v2]: 5",
        "listeners[edge].http.routes[rest].pool: llama-v1",
        "listeners[edge].http.routes[rest].max_body: 64MiB",
        "listeners[edge].http.trusted_proxies.unix:",
        "listeners[edge].http.trusted_proxies[10.0.0.0/8]:",
        "listeners[edge].http.via: edge-1",
        "listeners[edge].http.half_close: end",
        "pools.llama-v1:",
        "pools.llama-v1.discover.static[10.0.0.7:80]: weight 1",
        "pools.llama-v1.discover.static[10.0.0.8:80]: weight 3",
        "pools.llama-v1.balance: least_request",
        "pools.llama-v1.health.tcp: true",
        "pools.llama-v1.timeouts.total: off",
        "pools[llama.v2].discover.kubernetes.namespace: a, b",
        "pools[llama.v2].discover.kubernetes.port: 8000",
    };
    static const char *const absent[] = {
        "workers",          "name: edge", "llama-v1.discover.kubernetes",
        "llama.v2].health", ".dns",       ".tls."};
    struct sl_text text;
    (void)state;

    print(base, &text);
    for (size_t i = 0; i < SL_ARRAY_LEN(lines); i++) {
        check_has(&text, lines[i]);
    }
    for (size_t i = 0; i < SL_ARRAY_LEN(absent); i++) {
        check(strstr(text.ptr, absent[i]) == NULL, "%s in\n%s", absent[i], text.ptr);
    }
    sl_text_fini(&text);
}

static void options_of_a_retry_are_lines(void **state)
{
    static const char yaml[] =
        "listeners:\n"
        "- name: edge\n"
        "  bind: 127.0.0.1:8080\n"
        "  http:\n"
        "    routes:\n"
        "    - {name: a, match: {path: /a}, pool: p, retry: {attempts: 3, statuses: [429, "
        "502-504],\n"
        "       per_try: 10s, backoff: {min: 50ms}}}\n"
        "    - {name: b, match: {path: /b}, pool: p, retry: {statuses: 500, backoff: {max: 1s}}}\n"
        "    - {name: c, pool: p, retry: off}\n"
        "pools: {p: {discover: {static: [\"10.0.0.7:80\"]}}}\n";
    static const char *const lines[] = {
        "listeners[edge].http.routes[a].retry.attempts: 3",
        "listeners[edge].http.routes[a].retry.statuses: 429, 502-504",
        "listeners[edge].http.routes[a].retry.per_try: 10s",
        "listeners[edge].http.routes[a].retry.backoff.min: 50ms",
        "listeners[edge].http.routes[a].retry.backoff.max: 500ms",
        "listeners[edge].http.routes[b].retry.attempts: 1",
        "listeners[edge].http.routes[b].retry.statuses: 500",
        "listeners[edge].http.routes[b].retry.per_try: off",
        "listeners[edge].http.routes[b].retry.backoff.max: 1s",
        "listeners[edge].http.routes[c].retry.attempts: 0",
    };
    struct sl_text text;
    (void)state;

    print(yaml, &text);
    for (size_t i = 0; i < SL_ARRAY_LEN(lines); i++) {
        check_has(&text, lines[i]);
    }
    check(strstr(text.ptr, "routes[c].retry.statuses") == NULL, "%s", text.ptr);
    sl_text_fini(&text);
}

static void options_of_pools_are_lines(void **state)
{
    static const char yaml[] =
        "pools:\n"
        "  a:\n"
        "    discover: {static: [\"10.0.0.7:80\"]}\n"
        "    balance: {policy: ring_hash, key: {header: x-session-id}}\n"
        "    health: {http: /health, port: 9000, host: models.local, status: [200, 300-399],\n"
        "             headers: {authorization: Bearer hushhush, x.y: z}, body: ready}\n"
        "    slow_start: {aggression: 1.5}\n"
        "    limits: {in_flight: 100, per_endpoint: 8}\n"
        "    queue: {size: 20, priority: {header: x-priority}}\n"
        "  b:\n"
        "    discover: {static: [\"10.0.0.7:80\"]}\n"
        "    balance: {policy: maglev, key: {source: true}, bound: off}\n"
        "    slow_start: {window: 1m, aggression: 0.25}\n"
        "    queue: off\n"
        "  c:\n"
        "    discover: {static: [\"10.0.0.7:80\"]}\n"
        "    balance: {policy: maglev, key: {cookie: sid}, bound: 2}\n"
        "    slow_start: {}\n"
        "  d:\n"
        "    discover: {static: [\"10.0.0.7:80\"]}\n"
        "    balance: {policy: ring_hash, key: {query: user}, bound: 1.5}\n"
        "    health: {http: /, status: 204}\n";
    static const char *const lines[] = {
        "pools.a.balance: ring_hash",
        "pools.a.balance.key.header: x-session-id",
        "pools.a.balance.bound: 1.25",
        "pools.a.health.http: /health",
        "pools.a.health.port: 9000",
        "pools.a.health.host: models.local",
        "pools.a.health.status: 200, 300-399",
        "pools.a.health.body: ready",
        "pools.a.slow_start:",
        "pools.a.slow_start.window: 30s",
        "pools.a.slow_start.aggression: 1.5",
        "pools.a.limits.in_flight: 100",
        "pools.a.limits.per_endpoint: 8",
        "pools.a.queue.size: 20",
        "pools.a.queue.timeout: 5s",
        "pools.a.queue.priority.header: x-priority",
        "pools.b.balance.key.source: true",
        "pools.b.balance.bound: off",
        "pools.b.slow_start.window: 1m",
        "pools.b.slow_start.aggression: 0.25",
        "pools.b.queue.size: 0",
        "pools.c.balance.key.cookie: sid",
        "pools.c.balance.bound: 2",
        "pools.c.slow_start.aggression: 1",
        "pools.c.queue.size: 1024",
        "pools.d.balance.key.query: user",
        "pools.d.balance.bound: 1.5",
        "pools.d.health.status: 204",
    };
    static const char *const absent[] = {"hushhush", "b.limits", "d.slow_start", "c.health.status",
                                         "d.queue.priority"};
    struct sl_text text;
    (void)state;

    print(yaml, &text);
    for (size_t i = 0; i < SL_ARRAY_LEN(lines); i++) {
        check_has(&text, lines[i]);
    }
    for (size_t i = 0; i < SL_ARRAY_LEN(absent); i++) {
        check(strstr(text.ptr, absent[i]) == NULL, "%s in\n%s", absent[i], text.ptr);
    }
    assert_non_null(strstr(text.ptr, "\npools.a.health.headers.authorization: (not shown, "));
    assert_non_null(strstr(text.ptr, "\npools.a.health.headers[x.y]: (not shown, "));
    sl_text_fini(&text);
}

/* A row that only its own function reads must have one that writes it, or it would be missing. */
static void check_rows(const struct sl_section *s)
{
    for (size_t i = 0; i < s->options_n; i++) {
        const struct sl_option *o = &s->options[i];

        check(o->type != SL_OPTION_OWN || o->write != NULL, "%s.%s has no write", s->title,
              o->name);
        if (o->section != NULL && o->type != SL_OPTION_OWN && o->type != SL_OPTION_FILE) {
            check_rows(o->section);
        }
    }
}

static void no_option_is_forgotten(void **state)
{
    (void)state;
    check_rows(&sl_section_root);
}

static void check_diff(const char *before, const char *after, const char *expected, size_t n)
{
    struct sl_text a;
    struct sl_text b;
    struct sl_text diff;
    size_t changes_n = 99;

    print(before, &a);
    print(after, &b);
    sl_text_init(&diff, 1 << 16);
    assert_int_equal(sl_config_diff(sl_text_slice(&a), sl_text_slice(&b), &diff, &changes_n),
                     SL_OK);
    check(strcmp(diff.len > 0 ? diff.ptr : "", expected) == 0, "found\n%s\nexpected\n%s", diff.ptr,
          expected);
    assert_int_equal(changes_n, n);
    sl_text_fini(&a);
    sl_text_fini(&b);
    sl_text_fini(&diff);
}

static void differences_are_said_by_path(void **state)
{
    char other[4096];
    (void)state;

    check_diff(base, base, "", 0);
    const char *last = strstr(base, "port: 8000}}}");
    assert_non_null(last);
    (void)snprintf(other, sizeof(other),
                   "%.*sport: 8001}}, timeouts: {connect: 2s}}\n"
                   "  llama-v3: {discover: {static: [\"10.0.0.9:80\"]}, balance: round_robin}\n",
                   (int)(last - base), base);
    check_diff(base, other,
               "+ pools.llama-v3\n"
               "  pools[llama.v2].discover.kubernetes.port: 8000 -> 8001\n"
               "  pools[llama.v2].timeouts.connect: 1s -> 2s\n",
               3);
    check_diff(other, base,
               "- pools.llama-v3\n"
               "  pools[llama.v2].discover.kubernetes.port: 8001 -> 8000\n"
               "  pools[llama.v2].timeouts.connect: 2s -> 1s\n",
               3);
}

static void two_spellings_are_no_difference(void **state)
{
    (void)state;
    check_diff("pools: {a: {discover: {static: [\"1.1.1.1:1\", \"2.2.2.2:2\"]}}}",
               "pools:\n  a:\n    timeouts: {connect: 1000ms}\n    discover:\n      static:\n"
               "      - {address: \"2.2.2.2:2\", weight: 1}\n      - 1.1.1.1:1\n",
               "", 0);
#define POOL_A(rest) "pools: {a: {discover: {static: [\"1.1.1.1:1\"]}" rest "}}"
    check_diff(POOL_A(""), POOL_A(", balance: {policy: least_request}, queue: {timeout: 5000ms}"),
               "", 0);
    check_diff(POOL_A(", queue: off"), POOL_A(", queue: {size: 0}"), "", 0);
    check_diff(POOL_A(", balance: {policy: maglev, key: {source: true}, bound: 1.50}"),
               POOL_A(", balance: {bound: 1.5, key: {source: true}, policy: maglev}"), "", 0);
}

static void a_header_of_a_check_that_changed_is_a_change_and_is_not_said(void **state)
{
    struct sl_text texts[2];
    struct sl_text diff;
    size_t changes_n = 0;
    (void)state;

    print(POOL_A(", health: {http: /, headers: {authorization: one, x-a: b}}"), &texts[0]);
    print(POOL_A(", health: {http: /, headers: {authorization: two, x-a: b}}"), &texts[1]);
    sl_text_init(&diff, 1 << 16);
    assert_int_equal(
        sl_config_diff(sl_text_slice(&texts[0]), sl_text_slice(&texts[1]), &diff, &changes_n),
        SL_OK);
    assert_int_equal(changes_n, 1);
    assert_non_null(strstr(diff.ptr, "pools.a.health.headers.authorization: (not shown, "));
    sl_text_fini(&texts[0]);
    sl_text_fini(&texts[1]);
    sl_text_fini(&diff);
}

static void write_file(const char *path, const char *text)
{
    FILE *out = fopen(path, "wb");

    assert_non_null(out);
    assert_true(fputs(text, out) >= 0);
    assert_int_equal(fclose(out), 0);
}

static void a_certificate_that_changed_is_a_change_and_a_key_is_not_said(void **state)
{
    char folder[] = "/tmp/sluiced-test-XXXXXX";
    char crt[64];
    char key[64];
    char yaml[512];
    struct sl_text texts[2];
    struct sl_text diff;
    size_t changes_n = 0;
    (void)state;

    assert_non_null(mkdtemp(folder));
    (void)snprintf(crt, sizeof(crt), "%s/tls.crt", folder);
    (void)snprintf(key, sizeof(key), "%s/tls.key", folder);
    (void)snprintf(yaml, sizeof(yaml),
                   "pools: {a: {discover: {static: [\"1.1.1.1:1\"]}, tls: {ca: %s/./tls.crt, "
                   "cert: %s, key: %s}}}",
                   folder, crt, key);
    write_file(crt, "-----BEGIN CERTIFICATE-----\none\n");
    write_file(key, "-----BEGIN PRIVATE KEY-----\nsecret\n");
    print(yaml, &texts[0]);
    write_file(crt, "-----BEGIN CERTIFICATE-----\ntwo\n");
    write_file(key, "-----BEGIN PRIVATE KEY-----\nother secret\n");
    print(yaml, &texts[1]);
    sl_text_init(&diff, 1 << 16);
    assert_int_equal(
        sl_config_diff(sl_text_slice(&texts[0]), sl_text_slice(&texts[1]), &diff, &changes_n),
        SL_OK);
    assert_int_equal(changes_n, 2);
    assert_non_null(strstr(diff.ptr, "pools.a.tls.ca: "));
    assert_non_null(strstr(diff.ptr, "pools.a.tls.cert: "));
    assert_null(strstr(diff.ptr, "/./"));
    (void)snprintf(yaml, sizeof(yaml), "pools.a.tls.key: %s", key);
    check_has(&texts[0], yaml);
    check_has(&texts[1], yaml);
    sl_text_fini(&texts[0]);
    sl_text_fini(&texts[1]);
    sl_text_fini(&diff);
    assert_int_equal(unlink(crt) + unlink(key) + rmdir(folder), 0);
}

static void a_summary_fits_into_its_line(void **state)
{
    static const char diff[] = "+ pools.b\n  pools.a.timeouts.connect: 1s -> 2s\n";
    char buf[80];
    (void)state;

    assert_string_equal(sl_config_diff_summary(SL_SLICE(""), 0, buf, sizeof(buf)),
                        "nothing changed");
    assert_string_equal(sl_config_diff_summary(SL_SLICE(diff), 2, buf, sizeof(buf)),
                        "2 changes: + pools.b; pools.a.timeouts.connect: 1s -> 2s");
    assert_string_equal(sl_config_diff_summary(SL_SLICE(diff), 2, buf, 40),
                        "2 changes: + pools.b; ...");
    assert_string_equal(sl_config_diff_summary(SL_SLICE(diff), 2, buf, 18), "2 changes");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_option_is_a_line),
        cmocka_unit_test(options_of_a_retry_are_lines),
        cmocka_unit_test(options_of_pools_are_lines),
        cmocka_unit_test(no_option_is_forgotten),
        cmocka_unit_test(differences_are_said_by_path),
        cmocka_unit_test(two_spellings_are_no_difference),
        cmocka_unit_test(a_header_of_a_check_that_changed_is_a_change_and_is_not_said),
        cmocka_unit_test(a_certificate_that_changed_is_a_change_and_a_key_is_not_said),
        cmocka_unit_test(a_summary_fits_into_its_line),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
