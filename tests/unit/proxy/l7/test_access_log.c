/* SPDX-License-Identifier: Apache-2.0 */
#include <sluiced/err.h>
#include <sluiced/metrics.h>

#include "proxy/l7/access_log.h"
#include "proxy/l7/exchange.h"
#include "proxy/l7/forwarded.h"
#include "tests/unit/check.h"

#include <jansson.h>

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define TEXT_BYTES ((size_t)1024 * 1024)

struct fixture {
    struct sl_loop *loop;
    struct sl_registry *registry;
    struct sl_series *process;
    struct sl_access_log *log;
    FILE *file;
    struct sl_l7 w;
    struct sl_downstream down;
    struct sl_listener_config listener_conf;
    struct sl_route_config route_conf;
    struct sl_pool_config pool_conf;
    struct sl_view_listener listener;
    struct sl_view_route route;
    struct sl_view_pool pool;
    struct sl_view_side side;
    struct sl_endpoint endpoint;
    struct sl_exchange x;
    char text[TEXT_BYTES];
};

static struct fixture f; /* too large for a stack */

static int begin(void **state)
{
    (void)state;
    memset(&f, 0, sizeof(f));
    f.file = tmpfile();
    if (f.file == NULL || sl_loop_new(&f.loop) != SL_OK ||
        sl_registry_new(1, &f.registry) != SL_OK ||
        sl_series_get(f.registry, SL_SCOPE_PROCESS, NULL, &f.process) != SL_OK)
    {
        return -1;
    }
    f.w.loop = f.loop;
    f.down = (struct sl_downstream){.address = "192.0.2.7", .peer_name = ""};
    f.listener_conf.name = "edge";
    f.route_conf.name = "all";
    f.pool_conf.name = "chat";
    f.listener.conf = &f.listener_conf;
    f.route.conf = &f.route_conf;
    f.pool.conf = &f.pool_conf;
    f.side.pool = &f.pool;
    f.endpoint.address = (struct sl_address){.host = "10.0.0.1", .port = 8000};
    f.x = (struct sl_exchange){
        .w = &f.w,
        .down = &f.down,
        .request = {.method_text = SL_SLICE("GET"),
                    .authority = SL_SLICE("edge.test"),
                    .path = SL_SLICE("/a")},
        .status = 200,
        .start_us = sl_loop_now_us(f.loop) - 1234567,
        .request_id = "id-1",
        .request_id_len = 4,
    };
    return sl_access_log_new(f.loop, fileno(f.file), f.process, 0, &f.log);
}

static int end(void **state)
{
    (void)state;
    sl_access_log_free(f.log);
    sl_series_unref(&f.process);
    sl_registry_free(f.registry);
    sl_loop_free(f.loop);
    return fclose(f.file);
}

/* All that was written; the log starts anew after it. */
static const char *written(void)
{
    sl_access_log_set_fd(f.log, fileno(f.file)); /* writes what it has */
    ssize_t n = pread(fileno(f.file), f.text, sizeof(f.text) - 1, 0);
    assert_true(n >= 0);
    f.text[n] = '\0';
    return f.text;
}

static json_t *only_line(void)
{
    const char *text = written();
    const char *line_end = strchr(text, '\n');

    check(line_end != NULL && line_end[1] == '\0', "not one line: %s", text);
    json_t *line = json_loads(text, JSON_REJECT_DUPLICATES, NULL);
    check(line != NULL, "not JSON: %s", text);
    return line;
}

static const char *text_of(const json_t *line, const char *key)
{
    const char *text = json_string_value(json_object_get(line, key));
    return text != NULL ? text : "(none)";
}

static void a_request_that_went_nowhere_has_no_pool_and_no_endpoint(void **state)
{
    (void)state;
    sl_access_log_exchange(f.log, &f.x, "no_route");
    json_t *line = only_line();
    assert_string_equal(text_of(line, "listener"), "");
    assert_string_equal(text_of(line, "reason"), "no_route");
    assert_string_equal(text_of(line, "host"), "edge.test");
    assert_string_equal(text_of(line, "client"), "192.0.2.7");
    assert_string_equal(text_of(line, "request_id"), "id-1");
    assert_int_equal(json_integer_value(json_object_get(line, "tries")), 0);
    assert_true(json_real_value(json_object_get(line, "duration_ms")) == 1234.567);
    static const char *const absent[] = {
        "route", "pool", "endpoint", "pod", "first_byte_ms", "peer", "peer_address",
    };
    for (size_t i = 0; i < SL_ARRAY_LEN(absent); i++) {
        check(json_object_get(line, absent[i]) == NULL, "%s is there", absent[i]);
    }
    json_decref(line);
}

static void a_request_that_was_served_says_by_whom(void **state)
{
    (void)state;
    f.x.listener = &f.listener;
    f.x.route = &f.route;
    f.x.side = f.x.home = &f.side;
    f.x.last = &f.endpoint;
    f.x.attempts_n = 2;
    f.x.bytes_in = 3;
    f.x.bytes_out = UINT64_MAX;
    f.x.first_byte_us = f.x.start_us + 1002;
    f.down.peer_name = "spiffe://corp/a";
    (void)snprintf(f.endpoint.pod_name, sizeof(f.endpoint.pod_name), "chat-0"); /* fits */
    sl_access_log_exchange(f.log, &f.x, "ok");
    assert_non_null(strstr(written(), "\"bytes_out\":18446744073709551615,")); /* no JSON integer */
    assert_non_null(strstr(f.text, "\"first_byte_ms\":1.002,"));
    assert_non_null(strstr(f.text, "\"listener\":\"edge\",\"route\":\"all\",\"reason\":\"ok\""));
    assert_non_null(strstr(f.text,
                           "\"pool\":\"chat\",\"endpoint\":\"10.0.0.1:8000\","
                           "\"pod\":\"chat-0\",\"tries\":2,"));
    assert_non_null(strstr(f.text, "\"peer\":\"spiffe://corp/a\""));
}

static void a_request_that_fell_back_says_from_where(void **state)
{
    static const struct sl_pool_config spare_conf = {.name = "spare"};
    static struct sl_view_pool spare = {.conf = &spare_conf};
    static const struct sl_view_side spare_side = {.pool = &spare};
    (void)state;

    f.x.home = &f.side;
    f.x.side = &spare_side;
    sl_access_log_exchange(f.log, &f.x, "ok");
    assert_non_null(strstr(written(), "\"pool\":\"spare\",\"fallback_of\":\"chat\",\"tries\":"));
}

static void the_client_is_whom_a_trusted_proxy_names_and_the_proxy_is_shown(void **state)
{
    struct sl_forwarded forwarded = {.has_client = true, .client = "2001:db8::1"};
    (void)state;

    f.x.forwarded = &forwarded;
    sl_access_log_exchange(f.log, &f.x, "ok");
    json_t *line = only_line();
    assert_string_equal(text_of(line, "client"), "2001:db8::1");
    assert_string_equal(text_of(line, "peer_address"), "192.0.2.7");
    json_decref(line);
}

static void a_trusted_proxy_that_names_nobody_is_the_client(void **state)
{
    struct sl_forwarded forwarded = {.has_client = false};
    (void)state;

    f.x.forwarded = &forwarded;
    sl_access_log_exchange(f.log, &f.x, "ok");
    json_t *line = only_line();
    assert_string_equal(text_of(line, "client"), "192.0.2.7");
    assert_null(json_object_get(line, "peer_address"));
    json_decref(line);
}

static void what_a_client_writes_cannot_break_out_of_its_line(void **state)
{
    static const char path[] = "/\"}\n{\"reason\":\"ok\\\x01\xff\x80/";
    (void)state;

    f.x.request.path = (struct sl_slice){path, sizeof(path) - 1};
    f.x.request.authority = SL_SLICE("a\"b\\c");
    sl_access_log_exchange(f.log, &f.x, "bad_request");
    json_t *line = only_line();
    assert_string_equal(text_of(line, "reason"), "bad_request");
    assert_string_equal(text_of(line, "host"), "a\"b\\c");
    json_decref(line);
}

static void a_long_path_is_cut_and_the_line_stays_whole(void **state)
{
    static char path[16384];
    (void)state;

    memset(path, '\x01', sizeof(path)); /* six bytes each, escaped */
    f.x.request.path = (struct sl_slice){path, sizeof(path)};
    sl_access_log_exchange(f.log, &f.x, "ok");
    json_t *line = only_line();
    assert_true(strlen(f.text) <= 4096);
    json_decref(line);
}

static void a_line_that_cannot_be_whole_is_dropped_and_counted(void **state)
{
    static char ones[16384];
    (void)state;

    memset(ones, '\x01', sizeof(ones) - 1);
    f.x.request.path = (struct sl_slice){ones, sizeof(ones) - 1};
    f.x.request.authority = f.x.request.path;
    f.down.peer_name = ones;
    sl_access_log_exchange(f.log, &f.x, "ok");
    assert_string_equal(written(), "");
    assert_int_equal(sl_series_sum(f.process, SL_PROCESS_ACCESS_LOG_DROPPED), 1);
}

static void a_reader_that_is_gone_or_slow_costs_lines_and_no_time(void **state)
{
    int fds[2];
    unsigned n = 0;
    (void)state;

    assert_int_equal(pipe2(fds, O_NONBLOCK | O_CLOEXEC), 0);
    sl_access_log_set_fd(f.log, fds[1]);
    for (; n < 100000 && sl_series_sum(f.process, SL_PROCESS_ACCESS_LOG_DROPPED) == 0; n++) {
        sl_access_log_exchange(f.log, &f.x, "ok");
    }
    check(n < 100000, "%u lines and none was dropped", n);
    ssize_t got = read(fds[0], f.text, sizeof(f.text) - 1);
    assert_true(got > 0);
    assert_int_equal(f.text[got - 1], '\n'); /* in whole lines */
    sl_access_log_set_fd(f.log, -1);
    sl_access_log_exchange(f.log, &f.x, "ok"); /* off: nothing happens */
    (void)close(fds[0]);
    (void)close(fds[1]);
}

static void off_and_a_path_and_what_cannot_be_opened(void **state)
{
    struct sl_error err = {0};
    int fd = 0;
    (void)state;

    assert_int_equal(sl_access_log_open_target("off", &fd, &err), SL_OK);
    assert_int_equal(fd, -1);
    assert_int_equal(sl_access_log_open_target("/dev/null", &fd, &err), SL_OK);
    assert_true(fd >= 0);
    sl_access_log_close_target(fd);
    assert_int_equal(sl_access_log_open_target("/nowhere/a.log", &fd, &err), SL_ECONFIG);
    check(strstr(err.message, "/nowhere/a.log") != NULL, "%s", err.message);
    sl_access_log_close_target(-1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, end)
        TEST(a_request_that_went_nowhere_has_no_pool_and_no_endpoint),
        TEST(a_request_that_was_served_says_by_whom),
        TEST(a_request_that_fell_back_says_from_where),
        TEST(the_client_is_whom_a_trusted_proxy_names_and_the_proxy_is_shown),
        TEST(a_trusted_proxy_that_names_nobody_is_the_client),
        TEST(what_a_client_writes_cannot_break_out_of_its_line),
        TEST(a_long_path_is_cut_and_the_line_stays_whole),
        TEST(a_line_that_cannot_be_whole_is_dropped_and_counted),
        TEST(a_reader_that_is_gone_or_slow_costs_lines_and_no_time),
        TEST(off_and_a_path_and_what_cannot_be_opened),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
