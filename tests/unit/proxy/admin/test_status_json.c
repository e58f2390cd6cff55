/* SPDX-License-Identifier: Apache-2.0 */
#include <sluiced/version.h>

#include "fake_control.h"

#include "proxy/admin/status_json.h"
#include "proxy/base/text.h"
#include "tests/unit/check.h"

#include <jansson.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PAGE_BYTES (16 << 20)

static struct fake_control fake;
static struct sl_text text;
static json_t *root;

static int setup(void **state)
{
    (void)state;
    fake_control_init(&fake);
    sl_text_init(&text, PAGE_BYTES);
    root = NULL;
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    json_decref(root);
    sl_text_fini(&text);
    fake_control_fini(&fake);
    return 0;
}

static void ask(void)
{
    json_error_t why;

    assert_int_equal(sl_status_write(&fake.control, &text), SL_OK);
    root = json_loadb(text.ptr, text.len, JSON_REJECT_DUPLICATES, &why);
    check(root != NULL, "%s at byte %d", why.text, why.position);
    assert_int_equal(text.ptr[text.len - 1], '\n');
}

/* What stands at a path like "pools.0.name", as compact JSON. */
static void check_at(const char *path, const char *expected)
{
    const json_t *at = root;
    char key[64];

    for (const char *p = path; *p != '\0';) {
        size_t len = strcspn(p, ".");
        (void)snprintf(key, sizeof(key), "%.*s", (int)len, p);
        at = json_is_array(at) ? json_array_get(at, (size_t)(key[0] - '0'))
                               : json_object_get(at, key);
        p += p[len] == '.' ? len + 1 : len;
    }
    char *found = json_dumps(at, JSON_COMPACT | JSON_ENCODE_ANY | JSON_REAL_PRECISION(4));
    check(found != NULL && strcmp(found, expected) == 0, "%s is %s, expected %s", path,
          found != NULL ? found : "missing", expected);
    free(found);
}

static void the_document_says_what_runs(void **state)
{
    static const struct {
        const char *path;
        const char *expected;
    } rows[] = {
        {"version", "\"" SL_VERSION "\""},
        {"generation", "7"},
        {"config_hash", "\"0000000000000abc\""},
        {"config_file", "\"/etc/sluiced.yaml\""},
        {"applied_at", "\"2025-11-24T16:00:00.123Z\""},
        {"started_at", "\"2025-11-24T15:43:20.500Z\""},
        {"workers", "2"},
        {"ready", "true"},
        {"not_ready_because", "\"\""},
        {"draining", "false"},
        {"live_views", "1"},
        {"reload", "{\"ok\":true,\"count\":6,\"failures\":1}"},
        {"reload_error", "\"\""},
        {"listeners.0.name", "\"edge\""},
        {"listeners.0.address", "\"127.0.0.1:8443\""},
        {"listeners.0.tls", "true"},
        {"listeners.0.client_certificate", "true"},
        {"listeners.0.connections", "3"},
        {"listeners.0.connections_total", "11"},
        {"listeners.0.routes.0.host", "\"api.test\""},
        {"listeners.0.routes.0.path", "\"/v1/\""},
        {"listeners.0.routes.0.split.0",
         "{\"pool\":\"v1\",\"weight\":3,\"share\":0.75,\"picked\":60}"},
        {"listeners.0.routes.1.name", "\"rest\""},
        {"listeners.0.routes.1.split",
         "[{\"pool\":\"v1\",\"weight\":1,\"share\":1.0,\"picked\":15}]"},
        {"pools.0.name", "\"v1\""},
        {"pools.0.balance", "\"least_request\""},
        {"pools.0.source", "\"kubernetes\""},
        {"pools.0.health", "\"http\""},
        {"pools.0.tls", "true"},
        {"pools.0.discovery",
         "{\"state\":\"watching\",\"synced\":true,\"connected\":true,\"age_ms\":1500,"
         "\"last_event_ms\":60000,\"last_bookmark_ms\":1500,\"watches\":2,\"events\":40,"
         "\"relists\":{\"expired\":1,\"error\":0,\"drift\":2},\"reconnects\":3,"
         "\"comparisons\":12,\"drift\":4,\"errors\":2,\"cache_errors\":0,\"last_error\":\"watch: "
         "reset\"}"},
        {"pools.0.picks", "95"},
        {"pools.0.picks_draining", "1"},
        {"pools.0.ejections", "3"},
        {"pools.0.queued", "7"},
        {"pools.0.queue_size", "1024"},
        {"pools.0.places", "3"},
        {"pools.0.in_flight_max", "100"},
        {"pools.0.per_endpoint_max", "8"},
        {"pools.0.queued_bytes", "4096"},
        {"pools.0.queue_bytes_max", "65536"},
        {"pools.0.connections", "12"},
        {"pools.0.connections_max", "64"},
        {"pools.0.connections_per_endpoint_max", "16"},
        {"pools.0.retries", "1"},
        {"pools.0.retries_max", "5"},
        {"pools.0.endpoints.2.slow_start_share", "0.25"},
        {"pools.1.queued", "0"},
        {"pools.1.connections_max", "0"},
        {"pools.0.endpoints_n", "5"},
        {"pools.0.endpoints.0",
         "{\"address\":\"10.0.0.1:8000\",\"pod\":\"a-1\",\"zone\":\"eu-1a\",\"version\":\"v1\","
         "\"model\":\"llama\",\"weight\":1,"
         "\"draining\":false,\"drained_by_hand\":false,"
         "\"health\":\"up\",\"ejected_ms\":0,\"keepalive_learned_ms\":0,"
         "\"slow_start_share\":1.0,\"in_flight\":3,\"connections\":5,"
         "\"requests\":100,\"failures\":2,"
         "\"connects\":7,\"ejections\":1}"},
        {"pools.0.endpoints.1.draining", "true"},
        {"pools.0.endpoints.1.health", "\"unknown\""},
        {"pools.0.endpoints.3.address", "\"[fd00::1]:8000\""},
        {"pools.0.endpoints.3.zone", "\"\""},
        {"pools.0.endpoints.3.health", "\"down\""},
        {"pools.0.endpoints.4.ejected_ms", "1500"},
        {"pools.1.discovery.state", "\"listing\""},
        {"pools.1.discovery.synced", "false"},
        {"pools.1.discovery.age_ms", "null"},
        {"pools.1.discovery.last_event_ms", "null"},
        {"pools.1.discovery.last_bookmark_ms", "null"},
        {"pools.1.nobody", "20"},
        {"pools.1.endpoints", "[]"},
    };
    (void)state;

    ask();
    for (size_t i = 0; i < SL_ARRAY_LEN(rows); i++) {
        check_at(rows[i].path, rows[i].expected);
    }
}

static void an_age_is_never_below_nothing(void **state)
{
    (void)state;

    fake.pools[0].discovery.fresh_at_ms = fake.pools[0].now_ms + 1; /* read a moment later */
    ask();
    check_at("pools.0.discovery.age_ms", "0");
}

static void endpoints_that_were_kept_on_disk_are_as_old_as_the_file(void **state)
{
    (void)state;

    fake.pools[1].discovery = (struct sl_source_status){
        .state = SL_SOURCE_CACHED,
        .synced = true,
        .cached_age_ms = 3600000, /* from before we were started */
        .cache_errors_n = 2,
    };
    ask();
    check_at("pools.1.discovery.state", "\"cached\"");
    check_at("pools.1.discovery.synced", "true");
    check_at("pools.1.discovery.age_ms", "3600000");
    check_at("pools.1.discovery.cache_errors", "2");
}

static void a_refused_reload_shows_its_error(void **state)
{
    (void)state;

    fake.process.reload_error = "a.yaml:1:2: unknown key \"x\"\na.yaml:3:1: no";
    fake.process.ready = false;
    fake.process.not_ready_because = "pool v2 has not synced";
    ask();
    check_at("reload.ok", "false");
    check_at("reload_error", "\"a.yaml:1:2: unknown key \\\"x\\\"\\na.yaml:3:1: no\"");
    check_at("ready", "false");
    check_at("not_ready_because", "\"pool v2 has not synced\"");
}

static void text_that_is_not_utf_8_does_not_spoil_the_document(void **state)
{
    (void)state;

    fake.process.reload_error =
        "a\xff"
        "b";
    (void)snprintf(fake.pools[0].discovery.last_error, sizeof(fake.pools[0].discovery.last_error),
                   "cut \xc3");
    ask();
    check_at("reload_error", "\"a?b\"");
    check_at("pools.0.discovery.last_error", "\"cut ?\"");
}

static void endpoints_are_listed_up_to_the_limit_and_counted_beyond(void **state)
{
    (void)state;

    fake.many_n = SL_STATUS_ENDPOINTS_MAX_N;
    ask();
    check_at("pools.1.endpoints_n", "10000");
    const json_t *pools = json_object_get(root, "pools");
    assert_int_equal(json_array_size(json_object_get(json_array_get(pools, 1), "endpoints")),
                     SL_STATUS_ENDPOINTS_MAX_N - FAKE_ENDPOINTS_N);
}

static void a_text_that_is_too_small_is_an_error(void **state)
{
    (void)state;

    sl_text_init(&text, 100);
    assert_int_equal(sl_status_write(&fake.control, &text), SL_ELIMIT);
}

static size_t allocations_left;

static void *allocate_some(size_t size_bytes)
{
    return allocations_left > 0 && allocations_left-- > 0 ? malloc(size_bytes) : NULL;
}

static void without_memory_there_is_no_half_document(void **state)
{
    json_malloc_t malloc_before;
    json_free_t free_before;
    int rc = SL_ENOMEM;
    size_t n = 0;
    (void)state;

    json_get_alloc_funcs(&malloc_before, &free_before);
    for (; rc != SL_OK && n < 5000; n++) {
        sl_text_fini(&text);
        sl_text_init(&text, PAGE_BYTES);
        allocations_left = n;
        json_set_alloc_funcs(allocate_some, free);
        rc = sl_status_write(&fake.control, &text);
        json_set_alloc_funcs(malloc_before, free_before);
        check(rc == SL_OK || rc == SL_ENOMEM || rc == SL_ELIMIT, "code %d", rc);
        check(rc == SL_OK || rc == SL_ELIMIT || text.len == 0, "half a document");
    }
    check(rc == SL_OK && n > 100, "succeeded with %zu allocations", n);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(the_document_says_what_runs),
        TEST(an_age_is_never_below_nothing),
        TEST(endpoints_that_were_kept_on_disk_are_as_old_as_the_file),
        TEST(a_refused_reload_shows_its_error),
        TEST(text_that_is_not_utf_8_does_not_spoil_the_document),
        TEST(endpoints_are_listed_up_to_the_limit_and_counted_beyond),
        TEST(a_text_that_is_too_small_is_an_error),
        TEST(without_memory_there_is_no_half_document),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
