/* SPDX-License-Identifier: Apache-2.0 */
#include <sluiced/log.h>
#include <sluiced/time.h>

#include "tests/unit/discovery/kubernetes/watch_rig.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool is_version(void *want)
{
    return strcmp(rig.lw.replica.version, want) == 0;
}

static void a_list_then_a_watch_keep_the_store_equal(void **state)
{
    struct fake_conn *watch = rig_listed();
    (void)state;

    assert_true(rig.lw.status.synced);
    assert_true(rig.lw.status.connected);
    fake_chunk(watch, EVENT("ADDED", "b", "11"));
    expect("a,b");
    fake_chunk(watch, EVENT("MODIFIED", "b", "12"));
    fake_chunk(watch, EVENT("DELETED", "a", "13"));
    expect("b");
    assert_int_equal(rig.lw.status.events_n, 3);
    assert_true(rig.changes_n >= 4);
    assert_string_equal(rig.lw.replica.version, "13");
}

static void bytes_may_come_one_by_one(void **state)
{
    struct fake_conn *watch = rig_listed();
    const char *text = EVENT("ADDED", "b", "11");
    (void)state;

    for (; *text != '\0'; text++) {
        const char one[2] = {*text, '\0'};
        fake_chunk(watch, one);
    }
    expect("a,b");
}

static void an_ordered_end_resumes_at_once_from_the_last_version(void **state)
{
    struct fake_conn *watch = rig_listed();
    (void)state;

    fake_chunk(watch, EVENT("ADDED", "b", "11"));
    fake_chunk(watch, BOOKMARK("15", ""));
    fake_end(watch);
    (void)fake_take(&rig.api, WATCH "&resourceVersion=15&");
    assert_int_equal(rig.lw.status.errors_n, 0);
    assert_int_equal(rig.lw.status.reconnects_n, 1);
    assert_int_equal(rig.lw.status.events_n, 1);
    assert_true(rig.lw.status.event_at_ms > 0);
    assert_true(rig.lw.status.bookmark_at_ms >= rig.lw.status.event_at_ms);
    assert_int_equal(rig.lw.status.watches_n, 1);
    assert_string_equal(rig_names(), "a,b");
}

static void a_broken_watch_resumes_and_half_an_event_is_not_lost(void **state)
{
    struct fake_conn *watch = rig_listed();
    (void)state;

    fake_chunk(watch, EVENT("ADDED", "b", "11"));
    fake_chunk(watch, "{\"type\":\"ADDED\",\"object\":{\"metadata\":{\"name\":\"c\",");
    expect("a,b");
    fake_cut(watch);
    watch = fake_take(&rig.api, WATCH "&resourceVersion=11&");
    assert_string_equal(rig_names(), "a,b");
    assert_int_equal(rig.lw.status.errors_n, 1);
    assert_false(rig.lw.status.connected);
    fake_open(watch);
    fake_chunk(watch, EVENT("ADDED", "c", "12"));
    expect("a,b,c");
    assert_true(rig.lw.status.connected);
    assert_string_equal(rig.lw.status.last_error, "");
}

/* Both ways of saying 410 lead to a list of what is true; what it does not name is gone. */
static void a_version_that_is_too_old_means_a_new_list(void **state)
{
    struct fake_conn *watch = rig_listed();
    (void)state;

    fake_chunk(watch, EXPIRED);
    fake_end(watch);
    fake_answer(fake_take(&rig.api, PAGED " "), 200, "", PAGE("20", "", SLICE("b", "19")));
    expect("b");
    fake_answer(
        fake_take(&rig.api, WATCH "&resourceVersion=20&"), 410, "",
        "{\"kind\":\"Status\",\"message\":\"too old\",\"reason\":\"Expired\",\"code\":410}");
    expect_error("status 410: too old");
    assert_int_equal(rig.lw.status.state, SL_SOURCE_WAITING);
    struct fake_conn *list = fake_take(&rig.api, PAGED " ");
    assert_int_equal(rig.lw.status.state, SL_SOURCE_LISTING);
    fake_answer(list, 200, "", PAGE("30", "", SLICE("c", "29")));
    (void)fake_take(&rig.api, WATCH "&resourceVersion=30&");
    expect("c");
    assert_int_equal(rig.lw.status.state, SL_SOURCE_WATCHING);
    assert_int_equal(rig.lw.status.relists_n[SL_RELIST_EXPIRED], 2);
    assert_int_equal(sl_source_relists_n(&rig.lw.status), 2);
}

static void a_first_list_that_the_server_cannot_give_becomes_a_paged_one(void **state)
{
    static const int statuses[] = {410, 504, 400};

    for (size_t i = 0; i < SL_ARRAY_LEN(statuses); i++) {
        assert_int_equal(rig_close(state), 0);
        assert_int_equal(rig_start_listing(state), 0);
        fake_answer(fake_take(&rig.api, LIST "&resourceVersion=0&"), statuses[i], "", "{}");
        fake_answer(fake_take(&rig.api, PAGED " "), 200, "",
                    PAGE("10", ",\"continue\":\"a+b/c=\"", SLICE("b", "9")));
        fake_answer(fake_take(&rig.api, PAGED "&continue=a%2Bb%2Fc%3D "), 200, "",
                    PAGE("10", "", SLICE("c", "9")));
        fake_open(fake_take(&rig.api, WATCH "&resourceVersion=10&"));
        expect("b,c");
    }
}

static void a_page_that_expired_starts_over_and_takes_nothing_away(void **state)
{
    struct fake_conn *watch = rig_listed();
    (void)state;

    fake_chunk(watch, EXPIRED);
    fake_end(watch);
    fake_answer(fake_take(&rig.api, PAGED " "), 200, "",
                PAGE("10", ",\"continue\":\"x\"", SLICE("b", "9")));
    fake_answer(fake_take(&rig.api, PAGED "&continue=x "), 410, "",
                "{\"metadata\":{\"continue\":\"y\"},\"message\":\"expired\",\"code\":410}");
    struct fake_conn *again = fake_take(&rig.api, PAGED " ");
    assert_string_equal(rig_names(), "a,b"); /* a is swept only by a list that came to its end */
    fake_answer(again, 200, "", PAGE("12", "", SLICE("b", "9")));
    expect("b");
}

static void whoever_says_no_is_asked_again_and_what_is_known_stays(void **state)
{
    static const struct {
        int status;
        const char *extra;
        const char *body;
        const char *error;
    } rows[] = {
        {401, "", "{\"kind\":\"Status\",\"message\":\"Unauthorized\",\"code\":401}",
         "endpointslices: status 401: Unauthorized"},
        {403, "", "{\"message\":\"is forbidden\"}",
         "status 403: allow list and watch on x.x in all"},
        {429, "", "Too many requests, please try again later.\n", "status 429: Too many"},
        {500, "", "", "status 500"},
        {503, "", "<html>\r\n", "status 503: <html>"},
    };
    struct fake_conn *watch = rig_listed();
    (void)state;

    fake_cut(watch);
    for (size_t i = 0; i < SL_ARRAY_LEN(rows); i++) {
        fake_answer(fake_take(&rig.api, WATCH "&resourceVersion=10&"), rows[i].status,
                    rows[i].extra, rows[i].body);
        expect_error(rows[i].error);
        assert_string_equal(rig_names(), "a");
    }
    watch = fake_take(&rig.api, WATCH "&resourceVersion=10&");
    fake_open(watch);
    fake_chunk(watch, EVENT("ADDED", "b", "11"));
    expect("a,b");
    assert_int_equal(sl_source_relists_n(&rig.lw.status), 0);
}

static void retry_after_is_waited_for(void **state)
{
    struct fake_conn *list = fake_take(&rig.api, LIST);
    uint64_t asked_ms = sl_time_now_ms();
    (void)state;

    fake_answer(list, 429, "Retry-After: 1\r\n", "later");
    expect_error("429");
    list = fake_take(&rig.api, LIST);
    uint64_t took_ms = sl_time_now_ms() - asked_ms; /* the backoff alone: 10 ms */
    check(took_ms >= 1000, "asked again after %ju ms", (uintmax_t)took_ms);
    fake_answer(list, 200, "", PAGE("10", "", SLICE("a", "7")));
    expect("a");
    assert_string_equal(rig.lw.status.last_error, "");
}

static void an_answer_that_is_no_list_changes_nothing(void **state)
{
    static const char *const bodies[] = {
        "",
        "{}",
        "<html>captive portal</html>",
        "{\"metadata\":{\"resourceVersion\":\"9\"}}",
        "{\"items\":[]}",
        "{\"metadata\":{\"resourceVersion\":\"\"},\"items\":[]}",
        "{\"metadata\":{\"resourceVersion\":\"9\"},\"items\":{}}",
        "{\"metadata\":{\"resourceVersion\":\"9\"},\"items\":[{}]}",
        "{\"metadata\":{\"resourceVersion\":\"9\"},\"items\":[",
    };
    struct fake_conn *watch = rig_listed();
    (void)state;

    fake_chunk(watch, EXPIRED);
    fake_end(watch);
    for (size_t i = 0; i < SL_ARRAY_LEN(bodies); i++) {
        fake_answer(fake_take(&rig.api, LIST), 200, "", bodies[i]);
        expect_error("not a list");
        assert_string_equal(rig_names(), "a");
        rig.lw.status.last_error[0] = '\0';
    }
    fake_answer(fake_take(&rig.api, LIST), 200, "",
                "{\"metadata\":{\"resourceVersion\":\"30\"},\"items\":null}");
    expect(""); /* and this one says that there is none */
}

static void a_line_that_is_no_event_means_a_new_list(void **state)
{
    static const char *const lines[] = {
        "garbage\n",
        "{\"type\":\"ADDED\"}\n",
        "{\"type\":\"ADDED\",\"object\":{}}\n",
        "{\"type\":\"MOVED\",\"object\":" SLICE("b", "11") "}\n",
        "{\"type\":\"BOOKMARK\",\"object\":{\"metadata\":{}}}\n",
        "{\"type\":\"DELETED\",\"object\":{\"metadata\":{\"resourceVersion\":\"12\"}}}\n",
        "{\"type\":\"ERROR\",\"object\":{}}\n",
    };
    struct fake_conn *watch = rig_listed();
    (void)state;

    for (size_t i = 0; i < SL_ARRAY_LEN(lines); i++) {
        fake_chunk(watch, lines[i]);
        fake_answer(fake_take(&rig.api, PAGED " "), 200, "", PAGE("10", "", SLICE("a", "7")));
        watch = fake_take(&rig.api, WATCH "&resourceVersion=10&");
        fake_open(watch);
        assert_string_equal(rig_names(), "a");
        assert_int_equal(rig.lw.status.errors_n, i + 1);
    }
}

static bool is_watched_again(void *arg)
{
    (void)arg;
    return rig.lw.status.reconnects_n > 0;
}

static void a_silent_watch_is_given_up(void **state)
{
    struct fake_conn *list = fake_take(&rig.api, LIST);
    uint64_t begun_ms = sl_time_now_ms();
    (void)state;

    rig.times.watch_idle_ms = 150;
    fake_answer(list, 200, "", PAGE("10", "", SLICE("a", "7")));
    expect_error("no byte for");
    uint64_t took_ms = sl_time_now_ms() - begun_ms;
    check(took_ms >= 150, "given up after %ju ms", (uintmax_t)took_ms);
    fake_run_until(rig.loop, is_watched_again, NULL, 5000, "another watch");
    (void)fake_take(&rig.api, WATCH "&resourceVersion=10&");
}

static void a_server_that_ends_each_watch_at_once_is_not_hammered(void **state)
{
    uint64_t begun_ms = sl_time_now_ms();
    uint64_t retry_at_ms = 0; /* of the last wait */
    unsigned waits_n = 0;
    (void)state;

    fake_answer(fake_take(&rig.api, LIST), 200, "", PAGE("10", "", SLICE("a", "7")));
    for (int i = 0; i <= 12; i++) {
        struct fake_conn *watch = fake_take(&rig.api, WATCH);
        waits_n += rig.lw.retry_at_ms != retry_at_ms;
        retry_at_ms = rig.lw.retry_at_ms;
        fake_open(watch);
        fake_end(watch);
    }
    /* The first three are free. One that takes a second is not quick: that may be this machine. */
    check(waits_n == 9 || sl_time_now_ms() - begun_ms >= 1000, "%u waits", waits_n);
    assert_int_equal(rig.lw.status.errors_n, 0);
}

static void a_list_that_stalls_is_given_up_and_the_token_is_read_anew(void **state)
{
    char path[] = "/tmp/sl-token-XXXXXX";
    int fd = mkstemp(path);
    FILE *f = fdopen(fd, "w");
    (void)state;

    assert_non_null(f);
    (void)fputs("first\n", f);
    (void)fflush(f);
    rig.times.list_idle_ms = 20;
    rig_start();
    expect_error("no byte for");
    assert_false(fake_has(&rig.api, "Authorization"));
    rig.times.list_idle_ms = 60000;
    rig.access.token_file = path; /* by which one is known that waits longer */
    struct fake_conn *list = fake_take(&rig.api, "\r\nAuthorization: Bearer first\r\n");
    assert_non_null(strstr(list->request, LIST));
    rewind(f);
    (void)fputs("other\n", f);
    (void)fclose(f);
    fake_answer(list, 401, "", "{}");
    list = fake_take(&rig.api, "\r\nAuthorization: Bearer other\r\n");
    (void)remove(path);
    fake_answer(list, 500, "", "{}");
    expect_error("cannot read /tmp/sl-token-");
}

static void a_version_is_opaque(void **state)
{
    char want[] = "x&y=1";
    (void)state;

    fake_answer(fake_take(&rig.api, LIST), 200, "", PAGE("x&y=1", "", ""));
    fake_run_until(rig.loop, is_version, want, 5000, "version");
    (void)fake_take(&rig.api, WATCH "&resourceVersion=x%26y%3D1&");
}

static void an_event_of_megabytes_is_taken(void **state)
{
    enum {
        ENDPOINTS_N = 20000
    };
    static char event[ENDPOINTS_N * 80 + 400];
    struct fake_conn *watch = rig_listed();
    size_t at = 0;
    (void)state;

    at += (size_t)snprintf(event, sizeof(event),
                           "{\"type\":\"ADDED\",\"object\":{\"metadata\":{\"name\":\"b\","
                           "\"resourceVersion\":\"11\"},\"addressType\":\"IPv4\",\"ports\":null,"
                           "\"endpoints\":[");
    for (int i = 0; i < ENDPOINTS_N; i++) {
        at += (size_t)snprintf(event + at, sizeof(event) - at,
                               "%s{\"addresses\":[\"10.1.%d.%d\"],\"conditions\":{\"ready\":true}}",
                               i > 0 ? "," : "", i / 256, i % 256);
    }
    (void)snprintf(event + at, sizeof(event) - at, "]}}\n");
    fake_chunk(watch, event);
    expect("a,b");
    assert_int_equal(rig.lw.replica.store.items[1]->endpoints_n, ENDPOINTS_N);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, rig_start_listing, rig_close)
#define OPEN_TEST(f) cmocka_unit_test_setup_teardown(f, rig_open, rig_close)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_list_then_a_watch_keep_the_store_equal),
        TEST(bytes_may_come_one_by_one),
        TEST(an_ordered_end_resumes_at_once_from_the_last_version),
        TEST(a_broken_watch_resumes_and_half_an_event_is_not_lost),
        TEST(a_version_that_is_too_old_means_a_new_list),
        TEST(a_first_list_that_the_server_cannot_give_becomes_a_paged_one),
        TEST(a_page_that_expired_starts_over_and_takes_nothing_away),
        TEST(whoever_says_no_is_asked_again_and_what_is_known_stays),
        TEST(retry_after_is_waited_for),
        TEST(an_answer_that_is_no_list_changes_nothing),
        TEST(a_line_that_is_no_event_means_a_new_list),
        TEST(a_silent_watch_is_given_up),
        TEST(a_server_that_ends_each_watch_at_once_is_not_hammered),
        OPEN_TEST(a_list_that_stalls_is_given_up_and_the_token_is_read_anew),
        TEST(a_version_is_opaque),
        TEST(an_event_of_megabytes_is_taken),
    };
    sl_log_configure(SL_LOG_ERROR, SL_LOG_JSON); /* failures are what is made here */
    return cmocka_run_group_tests(tests, NULL, NULL);
}
