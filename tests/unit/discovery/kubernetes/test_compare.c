/* SPDX-License-Identifier: Apache-2.0 */
/* What we hold against what the server has, and doubts. */
#include <sluiced/log.h>
#include <sluiced/time.h>

#include "tests/unit/discovery/kubernetes/watch_rig.h"

#include <string.h>

static struct sl_source_status *status(void)
{
    return &rig.lw.status;
}

static struct fake_conn *asked(void)
{
    sl_list_watch_doubt(&rig.lw);
    return fake_take(&rig.api, PAGED " ");
}

/* The comparison's list is answered, and its grace has begun. */
static void answer(struct fake_conn *list, const char *page)
{
    static const uint64_t grace = SL_COMPARE_GRACE;
    uint64_t now = 0;

    fake_answer(list, 200, "", page);
    for (int i = 0; now != grace && i < 1000; i++) {
        fake_run_for(rig.loop, 2);
        now = rig.lw.compare.state;
    }
    check(now == grace, "no grace but %ju", (uintmax_t)now);
}

/* It would last longer than a test waits. */
static void end_grace(void)
{
    rig.times.grace_ms = 0;
    sl_timer_start(&rig.lw.compare.timer, 0, 0);
}

static void equal_is_proof_and_the_watch_goes_on(void **state)
{
    struct fake_conn *watch = rig_streamed();
    uint64_t fresh_at_ms = status()->fresh_at_ms;
    (void)state;

    fake_run_for(rig.loop, 5);
    struct fake_conn *list = asked();
    assert_non_null(strstr(list->request, "as=PartialObjectMetadataList;"));
    assert_non_null(strstr(list->request, "\r\nAccept-Encoding: "));
    fake_answer(list, 200, "", PAGE("11", "", NAMED("a", "7")));
    expect_count(&status()->comparisons_n, 1, "a comparison");
    assert_true(status()->fresh_at_ms > fresh_at_ms);
    assert_int_equal(status()->drift_n, 0);
    fake_chunk(watch, EVENT("ADDED", "b", "11"));
    expect("a,b");
    assert_int_equal(sl_source_relists_n(status()), 0);
    assert_int_equal(status()->reconnects_n, 0);
    assert_int_equal(status()->state, SL_SOURCE_WATCHING);
}

static void it_comes_by_itself_in_time(void **state)
{
    (void)state;

    rig.api.streams_lists = true;
    rig.times.compare_ms = 40;
    rig_start();
    (void)rig_streamed();
    for (uint64_t i = 1; i <= 3; i++) {
        fake_answer(fake_take(&rig.api, PAGED " "), 200, "", PAGE("11", "", NAMED("a", "7")));
        expect_count(&status()->comparisons_n, i, "a comparison");
        uint64_t wait_ms = rig.lw.compare.due_at_ms - status()->fresh_at_ms;
        check(wait_ms >= 40 && wait_ms <= 48, "%ju", (uintmax_t)wait_ms);
    }
}

static void it_goes_page_by_page_in_any_order(void **state)
{
    struct fake_conn *watch = rig_streamed();
    (void)state;

    fake_chunk(watch, EVENT("ADDED", "b", "11") EVENT("ADDED", "c", "12"));
    expect("a,b,c");
    fake_answer(asked(), 200, "",
                PAGE("12", ",\"continue\":\"x\"", NAMED("c", "12") "," NAMED("a", "7")));
    fake_answer(fake_take(&rig.api, PAGED "&continue=x "), 200, "",
                PAGE("12", "", NAMED("b", "11")));
    expect_count(&status()->comparisons_n, 1, "a comparison");
    assert_int_equal(status()->drift_n, 0);
}

/* One is another, one we do not have, one the server does not. */
static void what_stays_different_is_drift_and_all_is_asked_for_again(void **state)
{
    struct fake_conn *watch = rig_streamed();
    (void)state;

    fake_chunk(watch, EVENT("ADDED", "b", "11") EVENT("ADDED", "c", "12"));
    expect("a,b,c");
    rig.times.grace_ms = 60;
    struct fake_conn *list = asked();
    uint64_t answered_ms = sl_time_now_ms();
    fake_answer(list, 200, "",
                PAGE("20", "", NAMED("a", "15") "," NAMED("b", "11") "," NAMED("d", "16")));
    watch = fake_take(&rig.api, STREAM "&timeoutSeconds=");
    uint64_t took_ms = sl_time_now_ms() - answered_ms;
    check(took_ms >= 60, "a grace of %ju ms", (uintmax_t)took_ms);
    assert_int_equal(status()->drift_n, 3);
    assert_int_equal(status()->comparisons_n, 1);
    assert_int_equal(status()->state, SL_SOURCE_LISTING);
    fake_open(watch);
    fake_chunk(watch, EVENT("ADDED", "a", "15") EVENT("ADDED", "b", "11") EVENT("ADDED", "d", "16")
                          MARKER("20"));
    expect("a,b,d");
    assert_int_equal(status()->relists_n[SL_RELIST_DRIFT], 1);
    assert_int_equal(sl_source_relists_n(status()), 1);
    assert_int_equal(status()->errors_n, 0);
    assert_true(status()->connected);
}

/* The watch is behind the list: its events are on their way. */
static void what_an_event_names_in_the_grace_is_no_drift(void **state)
{
    struct fake_conn *watch = rig_streamed();
    (void)state;

    fake_chunk(watch, EVENT("ADDED", "c", "8"));
    expect("a,c");
    answer(asked(), PAGE("20", "", NAMED("a", "15") "," NAMED("d", "16")));
    fake_chunk(watch,
               EVENT("MODIFIED", "a", "15") EVENT("ADDED", "d", "16") EVENT("DELETED", "c", "17"));
    expect("a,d");
    assert_int_equal(status()->comparisons_n, 0);
    end_grace();
    expect_count(&status()->comparisons_n, 1, "a comparison");
    assert_int_equal(status()->drift_n, 0);
    assert_int_equal(sl_source_relists_n(status()), 0);
}

/* It is ahead: events came after the server had made the list, and before we had read it. */
static void what_an_event_names_before_the_answer_is_no_drift(void **state)
{
    struct fake_conn *watch = rig_streamed();
    struct fake_conn *list = asked();
    (void)state;

    fake_chunk(watch, EVENT("MODIFIED", "a", "15") EVENT("ADDED", "d", "16"));
    expect("a,d");
    answer(list, PAGE("10", "", NAMED("a", "7")));
    end_grace();
    expect_count(&status()->comparisons_n, 1, "a comparison");
    assert_int_equal(status()->drift_n, 0);
    assert_int_equal(sl_source_relists_n(status()), 0);
}

static void only_what_no_event_names_is_drift(void **state)
{
    struct fake_conn *watch = rig_streamed();
    (void)state;

    answer(asked(), PAGE("20", "", NAMED("a", "15") "," NAMED("d", "16")));
    fake_chunk(watch, EVENT("MODIFIED", "a", "15"));
    expect_count(&status()->events_n, 1, "an event");
    end_grace();
    expect_count(&status()->comparisons_n, 1, "a comparison");
    assert_int_equal(status()->drift_n, 1);
    (void)fake_take(&rig.api, STREAM "&timeoutSeconds=");
}

static void a_version_that_is_not_told_is_no_difference(void **state)
{
    (void)rig_streamed();
    (void)state;

    fake_answer(asked(), 200, "", PAGE("20", "", "{\"metadata\":{\"name\":\"a\"}}"));
    expect_count(&status()->comparisons_n, 1, "a comparison");
    assert_int_equal(status()->drift_n, 0);
}

/* What the watch missed comes when it is open again: the grace begins anew. */
static void no_verdict_is_given_while_the_watch_is_not_open(void **state)
{
    struct fake_conn *watch = rig_streamed();
    (void)state;

    answer(asked(), PAGE("20", "", NAMED("a", "15")));
    fake_cut(watch);
    watch = fake_take(&rig.api, WATCH "&resourceVersion=10&");
    sl_timer_start(&rig.lw.compare.timer, 0, 0); /* it is over, but for that */
    fake_run_for(rig.loop, 10);
    assert_int_equal(status()->comparisons_n, 0);
    assert_false(sl_timer_active(&rig.lw.compare.timer));
    fake_open(watch);
    fake_chunk(watch, EVENT("MODIFIED", "a", "15"));
    expect_count(&status()->events_n, 1, "an event");
    assert_int_equal(status()->comparisons_n, 0);
    assert_true(sl_timer_active(&rig.lw.compare.timer));
    end_grace();
    expect_count(&status()->comparisons_n, 1, "a comparison");
    assert_int_equal(status()->drift_n, 0);
}

static void none_begins_while_the_watch_is_not_open(void **state)
{
    struct fake_conn *watch = rig_streamed();
    (void)state;

    fake_cut(watch);
    watch = fake_take(&rig.api, WATCH "&resourceVersion=10&");
    sl_list_watch_doubt(&rig.lw);
    fake_run_for(rig.loop, 40);
    assert_false(fake_has(&rig.api, PAGED));
    fake_open(watch);
    (void)fake_take(&rig.api, PAGED " ");
}

/* Each is counted and tried again later; the watch does not notice. */
static void its_errors_are_not_fatal(void **state)
{
    static const struct {
        int status;
        const char *body;
        const char *error;
    } rows[] = {
        {500, "slow", "endpointslices: status 500: slow"},
        {403, "", "status 403: allow list and watch on x.x"},
        {410, "{\"message\":\"expired\"}", "status 410: expired"},
        {200, "<html>", "to compare with is not a list"},
        {200, "{\"metadata\":{\"resourceVersion\":\"9\"},\"items\":[{}]}", "is not a list"},
        {200, "{\"metadata\":{\"resourceVersion\":\"9\"},\"items\":[{\"metadata\":", "not a list"},
    };
    struct fake_conn *watch = rig_streamed();
    (void)state;

    rig.times.compare_min_ms = 1;
    for (uint64_t i = 0; i < SL_ARRAY_LEN(rows); i++) {
        fake_answer(fake_has(&rig.api, PAGED) ? fake_take(&rig.api, PAGED " ") : asked(),
                    rows[i].status, "", rows[i].body);
        expect_count(&status()->errors_n, i + 1, "an error");
        check(strstr(status()->last_error, rows[i].error) != NULL, "%s", status()->last_error);
        assert_true(status()->connected);
        assert_string_equal(rig_names(), "a");
    }
    fake_chunk(watch, EVENT("ADDED", "b", "11"));
    expect("a,b");
    fake_answer(fake_take(&rig.api, PAGED " "), 200, "",
                PAGE("20", "", NAMED("a", "7") "," NAMED("b", "11")));
    expect_count(&status()->comparisons_n, 1, "a comparison");
    assert_string_equal(status()->last_error, "");
    assert_int_equal(rig.lw.compare.failures_n, 0);
}

static void its_retry_after_is_waited_for(void **state)
{
    (void)rig_streamed();
    (void)state;

    fake_answer(asked(), 429, "Retry-After: 400\r\n", "later");
    expect_count(&status()->errors_n, 1, "an error");
    uint64_t wait_ms = rig.lw.compare.due_at_ms - sl_loop_now_ms(rig.loop);
    check(wait_ms > 200000 && wait_ms <= 360000, "%ju", (uintmax_t)wait_ms);
}

static void too_many_events_meanwhile_give_no_verdict(void **state)
{
    (void)rig_streamed();
    (void)state;

    struct fake_conn *list = asked();
    for (uint64_t i = 0; i <= 65536; i++) {
        sl_compare_touch(&rig.lw.compare, i);
    }
    answer(list, PAGE("20", "", NAMED("a", "15")));
    end_grace();
    expect_count(&status()->errors_n, 1, "an error");
    assert_non_null(strstr(status()->last_error, "too many changes"));
    assert_int_equal(status()->drift_n, 0);
}

static void asking_for_all_again_ends_it(void **state)
{
    struct fake_conn *watch = rig_streamed();
    struct fake_conn *list = asked();
    (void)state;

    fake_chunk(watch, EXPIRED);
    fake_end(watch);
    watch = fake_take(&rig.api, STREAM "&timeoutSeconds=");
    assert_int_equal(rig.lw.compare.state, SL_COMPARE_IDLE);
    (void)list; /* its connection is closed by now, or soon */
    fake_open(watch);
    fake_chunk(watch, EVENT("ADDED", "a", "15") MARKER("20"));
    expect_count(&status()->relists_n[SL_RELIST_EXPIRED], 1, "a relist");
    fake_run_for(rig.loop, 50);
    assert_int_equal(status()->comparisons_n, 0); /* all was just proved */
    assert_false(fake_has(&rig.api, PAGED));
}

static void doubts_are_answered_soon_and_not_too_often(void **state)
{
    (void)rig_streamed();
    (void)state;

    rig.times.compare_min_ms = 200;
    uint64_t at_ms = sl_loop_now_ms(rig.loop);
    struct fake_conn *list = asked();
    uint64_t begun_at_ms = rig.lw.compare.begun_at_ms;
    check(begun_at_ms - at_ms >= 4, "%ju", (uintmax_t)(begun_at_ms - at_ms)); /* not at once */
    fake_answer(list, 200, "", PAGE("11", "", NAMED("a", "7")));
    expect_count(&status()->comparisons_n, 1, "a comparison");
    for (int i = 0; i < 1000; i++) {
        sl_list_watch_doubt(&rig.lw);
    }
    fake_answer(fake_take(&rig.api, PAGED " "), 200, "", PAGE("11", "", NAMED("a", "7")));
    expect_count(&status()->comparisons_n, 2, "another");
    check(rig.lw.compare.begun_at_ms - begun_at_ms >= 200, "after %ju ms",
          (uintmax_t)(rig.lw.compare.begun_at_ms - begun_at_ms));
    fake_run_for(rig.loop, 250); /* and the other 999 were answered with it */
    assert_false(fake_has(&rig.api, PAGED));
}

static void a_doubt_while_it_runs_is_answered_by_the_next(void **state)
{
    (void)rig_streamed();
    (void)state;

    struct fake_conn *list = asked();
    sl_list_watch_doubt(&rig.lw);
    fake_answer(list, 200, "", PAGE("11", "", NAMED("a", "7")));
    expect_count(&status()->comparisons_n, 1, "a comparison");
    fake_answer(fake_take(&rig.api, PAGED " "), 200, "", PAGE("11", "", NAMED("a", "7")));
    expect_count(&status()->comparisons_n, 2, "another");
}

static void a_doubt_cuts_a_long_wait_short(void **state)
{
    (void)state;

    rig.api.streams_lists = true;
    rig.times.backoff_min_ms = 60000;
    rig.times.backoff_max_ms = 60000;
    rig_start();
    fake_answer(fake_take(&rig.api, STREAM), 429, "", "");
    expect_error("429");
    assert_true(rig.lw.retry_at_ms - sl_loop_now_ms(rig.loop) > 20000);
    sl_list_watch_doubt(&rig.lw);
    fake_answer(fake_take(&rig.api, STREAM), 429, "", ""); /* within 20 ms, and so the next */
    struct fake_conn *stream = fake_take(&rig.api, STREAM);
    rig.lw.doubted_until_ms = 0; /* it was long ago */
    fake_answer(stream, 429, "", "");
    expect_count(&status()->errors_n, 3, "an error");
    assert_true(rig.lw.retry_at_ms - sl_loop_now_ms(rig.loop) > 20000);
}

static void a_doubt_does_not_overrule_retry_after(void **state)
{
    (void)state;

    rig.api.streams_lists = true;
    rig_start();
    fake_answer(fake_take(&rig.api, STREAM), 429, "Retry-After: 500\r\n", "later");
    expect_error("429");
    sl_list_watch_doubt(&rig.lw);
    uint64_t wait_ms = rig.lw.retry_at_ms - sl_loop_now_ms(rig.loop);
    check(wait_ms > 200000 && wait_ms <= 360000, "%ju", (uintmax_t)wait_ms);
    fake_run_for(rig.loop, 50);
    assert_int_equal(rig.api.requests_n, 1);
}

/* However many tries failed before: it is news of the token, not of the server. The second one is
 * as any other failure. */
static void a_first_401_is_tried_again_soon(void **state)
{
    (void)state;

    rig.api.streams_lists = true;
    rig.times.backoff_max_ms = 3600000;
    rig_start();
    struct fake_conn *stream = fake_take(&rig.api, STREAM);
    rig.lw.failures_n = 14;
    fake_answer(stream, 401, "", "");
    stream = fake_take(&rig.api, STREAM);
    rig.lw.failures_n = 14;
    fake_answer(stream, 401, "", "");
    expect_error("401");
    assert_true(rig.lw.retry_at_ms - sl_loop_now_ms(rig.loop) > 100000);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, rig_start_streaming, rig_close)
#define OPEN_TEST(f) cmocka_unit_test_setup_teardown(f, rig_open, rig_close)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(equal_is_proof_and_the_watch_goes_on),
        OPEN_TEST(it_comes_by_itself_in_time),
        TEST(it_goes_page_by_page_in_any_order),
        TEST(what_stays_different_is_drift_and_all_is_asked_for_again),
        TEST(what_an_event_names_in_the_grace_is_no_drift),
        TEST(what_an_event_names_before_the_answer_is_no_drift),
        TEST(only_what_no_event_names_is_drift),
        TEST(a_version_that_is_not_told_is_no_difference),
        TEST(no_verdict_is_given_while_the_watch_is_not_open),
        TEST(none_begins_while_the_watch_is_not_open),
        TEST(its_errors_are_not_fatal),
        TEST(its_retry_after_is_waited_for),
        TEST(too_many_events_meanwhile_give_no_verdict),
        TEST(asking_for_all_again_ends_it),
        TEST(doubts_are_answered_soon_and_not_too_often),
        TEST(a_doubt_while_it_runs_is_answered_by_the_next),
        OPEN_TEST(a_doubt_cuts_a_long_wait_short),
        OPEN_TEST(a_doubt_does_not_overrule_retry_after),
        OPEN_TEST(a_first_401_is_tried_again_soon),
    };
    sl_log_configure(SL_LOG_ERROR, SL_LOG_JSON); /* failures are what is made here */
    return cmocka_run_group_tests(tests, NULL, NULL);
}
