/* SPDX-License-Identifier: Apache-2.0 */
/* All there is as the beginning of a watch. */
#include <sluiced/log.h>

#include "tests/unit/discovery/kubernetes/watch_rig.h"

#include <string.h>

static void a_stream_names_all_and_goes_on_as_the_watch(void **state)
{
    struct fake_conn *watch = fake_take(&rig.api, STREAM "&resourceVersion=0&timeoutSeconds=");
    (void)state;

    assert_int_equal(rig.lw.status.state, SL_SOURCE_LISTING);
    fake_open(watch);
    fake_chunk(watch, EVENT("ADDED", "b", "9"));
    fake_chunk(watch, EVENT("ADDED", "a", "7"));
    fake_chunk(watch, BOOKMARK("8", "")); /* is not the end of it */
    expect("a,b");
    assert_false(rig.lw.status.synced);
    assert_int_equal(rig.changes_n, 0);
    assert_string_equal(rig.lw.replica.version, "");
    fake_chunk(watch, MARKER("12") EVENT("MODIFIED", "a", "13") EVENT("ADDED", "c", "14"));
    expect("a,b,c");
    assert_true(rig.lw.status.synced);
    assert_true(rig.lw.status.connected);
    assert_true(rig.lw.status.fresh_at_ms > 0);
    assert_int_equal(rig.lw.status.state, SL_SOURCE_WATCHING);
    assert_int_equal(rig.lw.status.events_n, 2);
    assert_int_equal(rig.changes_n, 3);
    fake_end(watch);
    fake_open(fake_take(&rig.api, WATCH "&resourceVersion=14&timeoutSeconds="));
    assert_int_equal(rig.lw.status.reconnects_n, 1);
    assert_int_equal(rig.lw.status.errors_n, 0);
    assert_int_equal(sl_source_relists_n(&rig.lw.status), 0);
}

static void the_marker_may_come_alone(void **state)
{
    struct fake_conn *watch = fake_take(&rig.api, STREAM);
    (void)state;

    fake_open(watch);
    fake_chunk(watch, MARKER("3"));
    fake_end(watch);
    (void)fake_take(&rig.api, WATCH "&resourceVersion=3&");
    assert_true(rig.lw.status.synced);
    assert_int_equal(rig.changes_n, 1);
}

static void after_a_410_all_is_asked_for_as_it_is_true(void **state)
{
    struct fake_conn *watch = rig_streamed();
    (void)state;

    fake_chunk(watch, EXPIRED);
    fake_end(watch);
    watch = fake_take(&rig.api, STREAM "&timeoutSeconds="); /* at no version */
    fake_open(watch);
    fake_chunk(watch, EVENT("ADDED", "b", "20") EVENT("ADDED", "c", "4"));
    expect("a,b,c");
    fake_chunk(watch, EVENT("DELETED", "c", "21") MARKER("22"));
    expect("b");
    assert_string_equal(rig.lw.replica.version, "22");
    assert_int_equal(rig.lw.status.relists_n[SL_RELIST_EXPIRED], 1);
    assert_int_equal(sl_source_relists_n(&rig.lw.status), 1);
}

/* Each way in which a stream can break before its marker: what was known stays, its version too,
 * and the cause of it all is still that of the beginning. */
static void a_stream_that_breaks_before_its_marker_takes_nothing_away(void **state)
{
    struct fake_conn *watch = rig_streamed();
    (void)state;

    fake_chunk(watch, EXPIRED);
    fake_end(watch);
    watch = fake_take(&rig.api, STREAM "&timeoutSeconds=");
    fake_open(watch);
    fake_chunk(watch, EVENT("ADDED", "b", "20"));
    expect("a,b");
    fake_cut(watch);
    watch = fake_take(&rig.api, STREAM "&timeoutSeconds=");
    assert_string_equal(rig_names(), "a,b");
    assert_string_equal(rig.lw.replica.version, "10");
    fake_open(watch);
    fake_chunk(watch, "garbage\n");
    watch = fake_take(&rig.api, STREAM "&timeoutSeconds=");
    assert_string_equal(rig_names(), "a,b");
    fake_open(watch);
    fake_chunk(watch, EVENT("ADDED", "b", "20") MARKER("30"));
    expect("b");
    assert_int_equal(rig.lw.status.relists_n[SL_RELIST_EXPIRED], 1);
    assert_int_equal(sl_source_relists_n(&rig.lw.status), 1);
}

/* Then a list is tried in its place, once: the next time it is a stream again. */
static void an_end_or_an_error_before_the_marker_means_a_list_once(void **state)
{
    static const char *const lasts[] = {
        EVENT("ADDED", "b", "20"), /* in order, then */
        "{\"type\":\"ERROR\",\"object\":{\"message\":\"busy\",\"code\":504}}\n",
        EXPIRED,
    };
    struct fake_conn *watch = rig_streamed();
    (void)state;

    for (size_t i = 0; i < SL_ARRAY_LEN(lasts); i++) {
        fake_chunk(watch, EXPIRED);
        fake_end(watch);
        watch = fake_take(&rig.api, STREAM "&timeoutSeconds=");
        fake_open(watch);
        fake_chunk(watch, lasts[i]);
        fake_end(watch);
        fake_answer(fake_take(&rig.api, PAGED " "), 200, "", PAGE("10", "", SLICE("a", "7")));
        watch = fake_take(&rig.api, WATCH "&resourceVersion=10&");
        fake_open(watch);
        expect("a");
    }
}

static void a_server_that_refuses_is_asked_for_lists_from_then_on(void **state)
{
    static const int statuses[] = {400, 405, 406, 422, 501};

    for (size_t i = 0; i < SL_ARRAY_LEN(statuses); i++) {
        assert_int_equal(rig_close(state), 0);
        assert_int_equal(rig_start_streaming(state), 0);
        fake_answer(fake_take(&rig.api, STREAM), statuses[i], "", "{}");
        struct fake_conn *watch = rig_listed();
        assert_int_equal(rig.lw.status.errors_n, 0);
        fake_chunk(watch, EXPIRED);
        fake_end(watch);
        (void)fake_take(&rig.api, PAGED " ");
    }
}

static void a_stream_without_a_marker_gives_way_to_a_list(void **state)
{
    struct fake_conn *watch = fake_take(&rig.api, STREAM);
    (void)state;

    fake_open(watch);
    fake_chunk(watch, EVENT("ADDED", "a", "7"));
    expect("a");
    rig.times.marker_ms = 20;                    /* from the next bytes on */
    fake_chunk(watch, EVENT("ADDED", "z", "8")); /* gone when the list is made */
    watch = rig_listed();
    assert_int_equal(rig.lw.status.errors_n, 0);
    fake_chunk(watch, EXPIRED);
    fake_end(watch);
    (void)fake_take(&rig.api, PAGED " ");
}

/* One in which something happens all the time, and the marker is not what happens. */
static void a_stream_that_never_falls_silent_has_an_end_too(void **state)
{
    struct fake_conn *watch = fake_take(&rig.api, STREAM);
    (void)state;

    fake_open(watch);
    fake_chunk(watch, EVENT("ADDED", "a", "7"));
    expect("a");
    fake_chunk(watch, EVENT("ADDED", "b", "8"));
    expect("a,b");
    assert_false(fake_has(&rig.api, LIST));
    rig.lw.phase_at_ms -= rig.times.list_total_ms; /* it began long ago */
    fake_chunk(watch, EVENT("ADDED", "c", "9"));
    (void)rig_listed();
}

static void a_stream_that_is_not_answered_is_a_failure(void **state)
{
    (void)state;

    rig.api.streams_lists = true;
    rig.times.list_idle_ms = 20;
    rig.times.backoff_min_ms = 60000;
    rig.times.backoff_max_ms = 60000;
    uint64_t begun_ms = sl_loop_now_ms(rig.loop);
    rig_start();
    expect_error("no answer");
    assert_true(sl_loop_now_ms(rig.loop) - begun_ms >= 20);
    fake_expect_gone(&rig.api, STREAM);
    rig.times.list_idle_ms = 60000;
    sl_list_watch_doubt(&rig.lw); /* or it would be a long time until the next */
    (void)rig_streamed();
}

static void whoever_gets_no_stream_may_get_a_list(void **state)
{
    static const int statuses[] = {403, 404, 410, 500, 503, 504};

    for (size_t i = 0; i < SL_ARRAY_LEN(statuses); i++) {
        assert_int_equal(rig_close(state), 0);
        assert_int_equal(rig_start_streaming(state), 0);
        fake_answer(fake_take(&rig.api, STREAM), statuses[i], "", "{\"message\":\"no\"}");
        expect_error("no");
        fake_answer(fake_take(&rig.api, LIST), 500, "", "");
        struct fake_conn *watch = rig_streamed(); /* and is asked for a stream the next time */
        fake_chunk(watch, EVENT("ADDED", "b", "11"));
        expect("a,b");
    }
}

static void two_answers_are_no_reason_for_a_list(void **state)
{
    static const int statuses[] = {401, 429};
    (void)state;

    for (size_t i = 0; i < SL_ARRAY_LEN(statuses); i++) {
        fake_answer(fake_take(&rig.api, STREAM), statuses[i], "", "Too many requests\n");
        expect_error("Too many requests");
    }
    (void)rig_streamed();
}

/* A refusal counts when the list that follows is answered: one who says no to all is ill. */
static void a_refusal_that_no_list_confirms_is_forgotten(void **state)
{
    (void)state;

    fake_answer(fake_take(&rig.api, STREAM), 400, "", "");
    fake_answer(fake_take(&rig.api, LIST "&resourceVersion=0&"), 503, "", "");
    (void)rig_streamed();
}

static void a_refusal_is_shared_and_ends(void **state)
{
    uint64_t until_ms = 0;
    (void)state;

    rig.api.streams_lists = true;
    rig.conf.no_stream_until_ms = &until_ms;
    uint64_t begun_ms = sl_loop_now_ms(rig.loop);
    rig_start();
    fake_answer(fake_take(&rig.api, STREAM), 422, "", "");
    (void)rig_listed();
    assert_true(until_ms >= begun_ms + rig.times.no_stream_ms);
    assert_true(until_ms <= sl_loop_now_ms(rig.loop) + rig.times.no_stream_ms);
    sl_list_watch_stop(&rig.lw);
    rig_start();
    (void)fake_take(&rig.api, LIST "&resourceVersion=0&");
    sl_list_watch_stop(&rig.lw);
    until_ms = sl_loop_now_ms(rig.loop); /* the time has come */
    rig_start();
    (void)rig_streamed();
}

#define FIELDS "&fieldSelector=metadata.name%3Dllama"

static void a_field_selector_goes_with_every_request(void **state)
{
    (void)state;

    rig.api.streams_lists = true;
    rig.conf.field_selector = "metadata.name=llama";
    rig_start();
    fake_answer(fake_take(&rig.api, STREAM FIELDS "&resourceVersion=0&"), 422, "", "");
    fake_answer(fake_take(&rig.api, LIST FIELDS "&resourceVersion=0&"), 200, "",
                PAGE("10", "", SLICE("a", "7")));
    struct fake_conn *watch = fake_take(&rig.api, WATCH FIELDS "&resourceVersion=10&");
    fake_open(watch);
    expect("a");
    sl_list_watch_doubt(&rig.lw);
    fake_answer(fake_take(&rig.api, LIST FIELDS "&limit=500 "), 200, "",
                PAGE("10", "", NAMED("a", "7")));
    expect_count(&rig.lw.status.comparisons_n, 1, "a comparison");
}

static void pod_names_stream_as_metadata(void **state)
{
    (void)state;

    rig.api.streams_lists = true;
    rig.conf.kind = SL_KUBE_POD_NAME;
    rig.conf.selector = NULL;
    rig.times.grace_ms = 20;
    rig_start();
    struct fake_conn *watch = fake_take(&rig.api, "sendInitialEvents=true");
    assert_non_null(strstr(watch->request, "as=PartialObjectMetadata;"));
    assert_null(strstr(watch->request, "Selector"));
    fake_open(watch);
    fake_chunk(watch, "{\"type\":\"ADDED\",\"object\":" NAMED("p", "7") "}\n" MARKER("9"));
    expect("p");
    sl_list_watch_doubt(&rig.lw);
    fake_answer(fake_take(&rig.api, "GET /apis/x?limit=500 "), 200, "",
                PAGE("10", "", NAMED("p", "8")));
    expect_count(&rig.lw.status.drift_n, 1, "drift");
    watch = fake_take(&rig.api, "sendInitialEvents=true");
    fake_open(watch);
    fake_chunk(watch, "{\"type\":\"ADDED\",\"object\":" NAMED("p", "8") "}\n" MARKER("10"));
    expect_count(&rig.lw.status.relists_n[SL_RELIST_DRIFT], 1, "a relist");
}

static void one_question_is_a_list(void **state)
{
    (void)state;

    rig.api.streams_lists = true;
    rig.conf.once = true;
    rig_start();
    fake_answer(fake_take(&rig.api, LIST "&limit=1 "), 200, "",
                PAGE("10", ",\"continue\":\"x\"", SLICE("a", "7")));
    expect("a");
    sl_list_watch_doubt(&rig.lw); /* has nothing to do */
    fake_run_for(rig.loop, 50);
    assert_int_equal(rig.api.requests_n, 1);
    assert_int_equal(rig.changes_n, 1);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, rig_start_streaming, rig_close)
#define OPEN_TEST(f) cmocka_unit_test_setup_teardown(f, rig_open, rig_close)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_stream_names_all_and_goes_on_as_the_watch),
        TEST(the_marker_may_come_alone),
        TEST(after_a_410_all_is_asked_for_as_it_is_true),
        TEST(a_stream_that_breaks_before_its_marker_takes_nothing_away),
        TEST(an_end_or_an_error_before_the_marker_means_a_list_once),
        TEST(a_server_that_refuses_is_asked_for_lists_from_then_on),
        TEST(a_stream_without_a_marker_gives_way_to_a_list),
        TEST(a_stream_that_never_falls_silent_has_an_end_too),
        OPEN_TEST(a_stream_that_is_not_answered_is_a_failure),
        TEST(whoever_gets_no_stream_may_get_a_list),
        TEST(two_answers_are_no_reason_for_a_list),
        TEST(a_refusal_that_no_list_confirms_is_forgotten),
        OPEN_TEST(a_refusal_is_shared_and_ends),
        OPEN_TEST(a_field_selector_goes_with_every_request),
        OPEN_TEST(pod_names_stream_as_metadata),
        OPEN_TEST(one_question_is_a_list),
    };
    sl_log_configure(SL_LOG_ERROR, SL_LOG_JSON); /* failures are what is made here */
    return cmocka_run_group_tests(tests, NULL, NULL);
}
