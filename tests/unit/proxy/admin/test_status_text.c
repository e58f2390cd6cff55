/* SPDX-License-Identifier: Apache-2.0 */
#include <sluiced/version.h>

#include "fake_control.h"

#include "proxy/admin/status_json.h"
#include "proxy/admin/status_text.h"
#include "proxy/base/text.h"
#include "tests/unit/check.h"

#include <stdio.h>
#include <string.h>

static struct fake_control fake;
static struct sl_text json;
static struct sl_text text;
static struct sl_error err;

static int setup(void **state)
{
    (void)state;
    fake_control_init(&fake);
    sl_text_init(&json, 1 << 20);
    sl_text_init(&text, 1 << 20);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    sl_text_fini(&json);
    sl_text_fini(&text);
    fake_control_fini(&fake);
    return 0;
}

static void ask(void)
{
    assert_int_equal(sl_status_write(&fake.control, &json), SL_OK);
}

static void the_status_is_a_page_of_tables(void **state)
{
    static const char expected[] =
        "sluiced " SL_VERSION
        ", ready\n"
        "generation 7 of /etc/sluiced.yaml, applied 2025-11-24T16:00:00.123Z, "
        "hash 0000000000000abc\n"
        "started 2025-11-24T15:43:20.500Z, workers 2, live views 1, reloads 6, refused 1\n"
        "\n"
        "LISTENER  ADDRESS         TLS     OPEN  TOTAL\n"
        "edge      127.0.0.1:8443  mutual  3     11\n"
        "\n"
        "LISTENER  ROUTE  HOST      PATH  POOL  SHARE   PICKED\n"
        "edge      chat   api.test  /v1/  v1    75.0%   60\n"
        "                                 v2    25.0%   20\n"
        "edge      rest   -         /     v1    100.0%  15\n"
        "\n"
        "POOL  SOURCE      BALANCE        HEALTH  STATE     FRESH     ENDPOINTS  PICKS\n"
        "v1    kubernetes  least_request  http    watching  1.5s ago  5          95\n"
        "v2    kubernetes  round_robin    none    listing   never     0          0\n"
        "discovery of v1: watching, fresh 1.5s ago, drift 4 in 12 comparisons: watch: reset\n"
        "discovery of v2: listing, not synced, fresh never\n"
        "limits of v1: 3 of 100 requests, 12 of 64 connections, 1 of 5 retries, 8 requests an "
        "endpoint, 16 connections an endpoint\n"
        "queue of v1: 7 wait, of at most 1024, with 4096 of 65536 bytes\n"
        "\n"
        "POOL  ENDPOINT            STATE         WEIGHT  IN FLIGHT  REQUESTS  FAILURES  POD  "
        "ZONE   VERSION  MODEL\n"
        "v1    10.0.0.1:8000       up            1       3          100       2         a-1  "
        "eu-1a  v1       llama\n"
        "v1    10.0.0.2:8000       draining      1       0          50        0         a-2  "
        "eu-1b  v1       -\n"
        "v1    10.0.0.2:8000       starting 25%  1       1          5         0         a-3  "
        "-      v1       -\n"
        "v1    [fd00::1]:8000      down          2       0          0         0         -    "
        "-      -        -\n"
        "v1    unix:/run/m\"\\.sock  ejected 1.5s  1       0          9         9         -    "
        "-      -        -\n";
    (void)state;

    ask();
    assert_int_equal(sl_status_text_write(sl_text_slice(&json), &text, &err), SL_OK);
    assert_string_equal(text.ptr, expected);
}

static void what_is_wrong_stands_at_the_top(void **state)
{
    (void)state;

    fake.process.ready = false;
    fake.process.draining = true;
    fake.process.not_ready_because = "draining";
    fake.process.reload_error = "a.yaml:1:1: no";
    ask();
    assert_int_equal(sl_status_text_write(sl_text_slice(&json), &text, &err), SL_OK);
    check(strncmp(text.ptr, "sluiced " SL_VERSION ", not ready, draining: draining\n",
                  strlen("sluiced " SL_VERSION ", not ready, draining: draining\n")) == 0,
          "%s", text.ptr);
    assert_non_null(strstr(text.ptr, "the last reload was refused:\na.yaml:1:1: no\n"));
}

/* What stands behind the table of pools, up to the empty line. */
static void check_troubles(const char *expected)
{
    static char found[4096];

    sl_text_fini(&json);
    sl_text_fini(&text);
    sl_text_init(&json, 1 << 20);
    sl_text_init(&text, 1 << 20);
    ask();
    assert_int_equal(sl_status_text_write(sl_text_slice(&json), &text, &err), SL_OK);
    const char *from = strstr(strstr(text.ptr, "\nv2  "), "\n") + 1;
    from = strchr(from, '\n') + 1;
    (void)snprintf(found, sizeof(found), "%.*s", (int)(strstr(from, "\nPOOL  ") - from), from);
    assert_string_equal(found, expected);
}

static void only_pools_with_trouble_have_a_line_and_a_reason_stands_there_once(void **state)
{
    struct sl_source_status *d = &fake.pools[0].discovery;
    (void)state;

    fake.pools[1].discovery = (struct sl_source_status){
        .state = SL_SOURCE_STATIC, .synced = true, .connected = true, .fresh_at_ms = 100000};
    fake.pools[0].queued_n = 0;
    fake.pools[0].in_flight_max_n = 0; /* without limits there is no line of them */
    fake.pools[0].per_endpoint_max_n = 0;
    fake.pools[0].connections_max_n = 0;
    fake.pools[0].connections_per_endpoint_max_n = 0;
    fake.pools[0].retries_max_n = 0;
    d->drift_n = 0;
    d->last_error[0] = '\0';
    check_troubles("");
    d->drift_n = 1;
    check_troubles("discovery of v1: watching, fresh 1.5s ago, drift 1 in 12 comparisons\n");
    d->drift_n = 0;
    d->state = SL_SOURCE_WAITING;
    d->connected = false;
    check_troubles("discovery of v1: waiting, fresh 1.5s ago\n");
    (void)snprintf(d->last_error, sizeof(d->last_error), "403 Forbidden");
    check_troubles("discovery of v1: waiting, fresh 1.5s ago: 403 Forbidden\n");
    d->synced = false;
    d->fresh_at_ms = 0;
    check_troubles("discovery of v1: waiting, not synced, fresh never: 403 Forbidden\n");
}

static void the_endpoints_alone_are_the_last_table(void **state)
{
    (void)state;

    ask();
    assert_int_equal(sl_status_text_write_endpoints(sl_text_slice(&json), &text, &err), SL_OK);
    assert_int_equal(strncmp(text.ptr, "POOL  ENDPOINT ", 15), 0);
    assert_non_null(strstr(text.ptr, "\nv1    10.0.0.1:8000 "));
    assert_null(strstr(text.ptr, "LISTENER"));
}

static void columns_that_nobody_fills_are_left_out(void **state)
{
    (void)state;

    for (size_t i = 0; i < FAKE_ENDPOINTS_N; i++) {
        fake.endpoints[i].zone = "";
        fake.endpoints[i].model = "";
    }
    ask();
    assert_int_equal(sl_status_text_write_endpoints(sl_text_slice(&json), &text, &err), SL_OK);
    assert_non_null(strstr(text.ptr, "  FAILURES  POD  VERSION\n"));
    assert_non_null(strstr(text.ptr, "  2         a-1  v1\n"));
    assert_non_null(strstr(text.ptr, "  0         -    -\n"));
    assert_null(strstr(text.ptr, "ZONE"));

    for (size_t i = 0; i < FAKE_ENDPOINTS_N; i++) {
        fake.endpoints[i].pod = "";
        fake.endpoints[i].version = "";
    }
    sl_text_fini(&json);
    sl_text_fini(&text);
    sl_text_init(&json, 1 << 20);
    sl_text_init(&text, 1 << 20);
    ask();
    assert_int_equal(sl_status_text_write_endpoints(sl_text_slice(&json), &text, &err), SL_OK);
    assert_non_null(strstr(text.ptr, "  FAILURES\n"));
    assert_non_null(strstr(text.ptr, "  2\n"));
}

static void a_server_cannot_steer_the_terminal(void **state)
{
    (void)state;

    (void)memcpy(fake.pools[0].discovery.last_error, "\x1b[2J\x7f", 6);
    ask();
    assert_int_equal(sl_status_text_write(sl_text_slice(&json), &text, &err), SL_OK);
    assert_non_null(strstr(text.ptr, " comparisons: ?[2J?\n"));
    assert_null(strchr(text.ptr, '\x1b'));
}

static void what_is_no_status_is_refused(void **state)
{
    static const char *const rows[] = {
        "",    "404 not found", "[]", "{}", "{\"listeners\":[]}", "{\"listeners\":1,\"pools\":[]}",
        "{\"",
    };
    (void)state;

    for (size_t i = 0; i < SL_ARRAY_LEN(rows); i++) {
        int rc = sl_status_text_write(sl_slice_of(rows[i]), &text, &err);
        check(rc == SL_EPROTO && text.len == 0, "%s: %d", rows[i], rc);
        check(strncmp(err.message, "the answer is not a status", 26) == 0, "%s", err.message);
    }
    assert_int_equal(sl_status_text_write_endpoints(SL_SLICE("x"), &text, &err), SL_EPROTO);
}

static void what_is_missing_or_of_another_type_reads_as_nothing(void **state)
{
    (void)state;

    assert_int_equal(sl_status_text_write(SL_SLICE("{\"listeners\":[1,{\"name\":3,\"routes\":{}}],"
                                                   "\"pools\":[null,{\"endpoints\":[[]]}]}"),
                                          &text, &err),
                     SL_OK);
    assert_non_null(strstr(text.ptr, "POOL  ENDPOINT"));
}

static void an_endpoint_that_a_person_drains_says_so_first(void **state)
{
    (void)state;

    fake.endpoints[0].draining = true;
    fake.endpoints[0].drained_by_hand = true;
    fake.endpoints[0].health = SL_HEALTH_DOWN;
    ask();
    assert_int_equal(sl_status_text_write_endpoints(sl_text_slice(&json), &text, &err), SL_OK);
    assert_non_null(strstr(text.ptr, "10.0.0.1:8000       draining (manual)  1 "));
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(the_status_is_a_page_of_tables),
        TEST(an_endpoint_that_a_person_drains_says_so_first),
        TEST(what_is_wrong_stands_at_the_top),
        TEST(only_pools_with_trouble_have_a_line_and_a_reason_stands_there_once),
        TEST(the_endpoints_alone_are_the_last_table),
        TEST(columns_that_nobody_fills_are_left_out),
        TEST(a_server_cannot_steer_the_terminal),
        TEST(what_is_no_status_is_refused),
        TEST(what_is_missing_or_of_another_type_reads_as_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
