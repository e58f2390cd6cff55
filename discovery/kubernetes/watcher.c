/* SPDX-License-Identifier: Apache-2.0 */
/*
 * watcher: streams of events. One that is to name all there is first, and then goes on as the
 * watch, is a stream until its marker came: what breaks it before takes nothing away.
 */
#include "list_watch_internal.h"

#include <stdio.h>

#define QUICK_MS 1000
#define TROUBLE_N 5

static const struct sl_fetch_ops watch_ops;

static void begin(struct sl_list_watch *lw, struct sl_kube_request *r,
                  enum sl_list_watch_phase phase)
{
    uint64_t watch_s = lw->times->watch_s + sl_rng_below(&lw->rng, lw->times->watch_s + 1);
    char watch_text[24];

    (void)snprintf(watch_text, sizeof(watch_text), "%ju", (uintmax_t)watch_s); /* fits */
    r->params[SL_KUBE_PARAMS_MAX_N - 1].name = "timeoutSeconds";
    r->params[SL_KUBE_PARAMS_MAX_N - 1].value = watch_text;
    r->is_watch = true;
    /* The server ends it; one that forgets to must not hold us for ever. */
    r->total_ms = (watch_s + 30) * 1000;
    r->idle_ms = lw->times->watch_idle_ms;
    lw->phase = phase;
    lw->phase_at_ms = sl_loop_now_ms(lw->loop);
    lw->progressed = false;
    lw->is_open = false;
    sl_lines_fini(&lw->lines);
    sl_list_watch_request(lw, r, &watch_ops);
}

void sl_list_watch_begin_stream(struct sl_list_watch *lw)
{
    struct sl_kube_request r = {
        .params = {{"watch", "1"},
                   {"sendInitialEvents", "true"},
                   {"resourceVersionMatch", "NotOlderThan"},
                   {"allowWatchBookmarks", "true"},
                   {"labelSelector", lw->conf.selector},
                   {"fieldSelector", lw->conf.field_selector},
                   {"resourceVersion", lw->is_latest ? NULL : "0"}},
    };

    sl_replica_begin(&lw->replica);
    sl_timer_start(&lw->silence, lw->times->list_idle_ms, 0);
    begin(lw, &r, SL_PHASE_STREAM);
}

void sl_list_watch_begin_watch(struct sl_list_watch *lw)
{
    struct sl_kube_request r = {
        .params = {{"watch", "1"},
                   {"allowWatchBookmarks", "true"},
                   {"labelSelector", lw->conf.selector},
                   {"fieldSelector", lw->conf.field_selector},
                   {"resourceVersion", lw->replica.version}},
    };

    lw->status.reconnects_n += lw->watches_n++ > 0;
    begin(lw, &r, SL_PHASE_WATCH);
}

/* The server does not stream lists: a list is made now, and proves whether that was why. */
static void list_instead(struct sl_list_watch *lw)
{
    if (lw->fetch != NULL) {
        sl_fetch_cancel(lw->fetch);
        lw->fetch = NULL;
    }
    sl_timer_stop(&lw->silence);
    sl_lines_fini(&lw->lines);
    lw->is_refused = true;
    sl_list_watch_begin_list(lw);
}

static void on_silence(struct sl_timer *t)
{
    struct sl_list_watch *lw = sl_container_of(t, struct sl_list_watch, silence);

    if (lw->is_open) {
        list_instead(lw);
    } else {
        sl_list_watch_fail(lw, true, 0, "no answer to the request for a stream");
    }
}

void sl_list_watch_init_silence(struct sl_list_watch *lw)
{
    sl_timer_init(&lw->silence, lw->loop, on_silence);
}

/* The marker may still come, if not for ever. */
static void await_marker(struct sl_list_watch *lw)
{
    uint64_t end_ms = lw->phase_at_ms + lw->times->list_total_ms;
    uint64_t now_ms = sl_loop_now_ms(lw->loop);
    uint64_t left_ms = end_ms > now_ms ? end_ms - now_ms : 0;

    sl_timer_start(&lw->silence, left_ms < lw->times->marker_ms ? left_ms : lw->times->marker_ms,
                   0);
}

static void on_marker(struct sl_list_watch *lw)
{
    sl_timer_stop(&lw->silence);
    lw->phase = SL_PHASE_WATCH;
    lw->status.state = SL_SOURCE_WATCHING;
    lw->status.reconnects_n += lw->watches_n++ > 0;
    lw->progressed = true; /* what ends after this is no watch that did nothing */
    sl_list_watch_note_listed(lw);
    sl_compare_open(&lw->compare);
    lw->on_change(lw);
}

static void note_progress(struct sl_list_watch *lw)
{
    sl_list_watch_prove_fresh(lw);
    if (sl_loop_now_ms(lw->loop) - lw->phase_at_ms >= SL_WATCH_STEADY_MS) {
        lw->failures_n = 0;
        lw->expired_n = 0;
        lw->quick_ends_n = 0;
    }
}

static void on_event(struct sl_list_watch *lw, const struct sl_replica_result *result)
{
    note_progress(lw);
    lw->progressed = lw->progressed || result->progressed;
    if (result->event == SL_REPLICA_BOOKMARK) {
        lw->status.bookmark_at_ms = sl_loop_now_ms(lw->loop);
        return;
    }
    sl_compare_touch(&lw->compare, result->hash);
    lw->status.events_n++;
    lw->status.event_at_ms = sl_loop_now_ms(lw->loop);
    lw->changed_us = sl_loop_now_us(lw->loop);
    lw->on_change(lw);
}

/* As the reflector of client-go: after any error in a stream all is asked for again. */
static void on_error_event(struct sl_list_watch *lw, const struct sl_replica_result *result)
{
    char error[160];

    lw->is_plain_next = lw->phase == SL_PHASE_STREAM;
    (void)snprintf(error, sizeof(error), "watch ended with %s", result->error); /* fits */
    if (result->event == SL_REPLICA_GONE) {
        sl_list_watch_expire(lw, error);
    } else {
        sl_list_watch_fail(lw, true, 0, error);
    }
}

static int on_line(void *arg, struct sl_slice line)
{
    struct sl_list_watch *lw = arg;
    struct sl_replica_result result;
    int rc = sl_replica_apply_event(&lw->replica, line, &result);

    if (rc != SL_OK) {
        return rc;
    }
    if (result.event == SL_REPLICA_GONE || result.event == SL_REPLICA_ERROR) {
        on_error_event(lw, &result);
        return SL_ECLOSED;
    }
    if (result.event == SL_REPLICA_COMPLETE) {
        on_marker(lw);
    } else if (lw->phase == SL_PHASE_WATCH) {
        on_event(lw, &result);
    }
    return SL_OK;
}

static void on_head(void *arg, uint16_t status)
{
    struct sl_list_watch *lw = arg;

    sl_list_watch_note_warning(lw);
    if (status != 200) {
        return;
    }
    lw->is_open = true;
    if (lw->phase == SL_PHASE_STREAM) {
        await_marker(lw);
    } else {
        sl_list_watch_recover(lw);
        sl_compare_open(&lw->compare);
    }
}

static void on_data(void *arg, uint16_t status, struct sl_slice data)
{
    struct sl_list_watch *lw = arg;

    if (status != 200) {
        sl_text_append(&lw->body, data); /* cut where it is full */
        return;
    }
    int rc = sl_lines_feed(&lw->lines, data, on_line, lw);
    if (rc == SL_ECLOSED) { /* on_line has seen to it */
        return;
    }
    if (rc != SL_OK) {
        sl_list_watch_fail(lw, true, 0,
                           rc == SL_ENOMEM   ? "no memory for an event"
                           : rc == SL_ELIMIT ? "an event is larger than 8 MiB"
                                             : "a line of the watch is not an event");
    } else if (lw->phase == SL_PHASE_STREAM) {
        await_marker(lw);
    }
}

/* What a server says that does not know the parameters, or has them switched off. Not 403: in its
 * first second a server says so to everyone, and it is the watch that it forbids. */
static bool is_refusal(uint16_t status)
{
    return status == 400 || status == 405 || status == 406 || status == 422 || status == 501;
}

static void on_stream_done(struct sl_list_watch *lw, const struct sl_fetch_result *result)
{
    if (result->code != SL_OK) {
        sl_list_watch_fail_fetch(lw, true, result);
    } else if (result->status == 200) {
        lw->is_plain_next = true;
        sl_list_watch_fail(lw, true, 0, "a stream ended before it had named all there is");
    } else if (is_refusal(result->status)) {
        list_instead(lw);
    } else {
        /* Who may list but not watch has something to go by, at least; a server without the version
         * may have it for a list; and what else there is on the way may know lists only. */
        lw->is_plain_next = result->status != 401 && result->status != 429;
        sl_list_watch_fail_answer(lw, true, result);
    }
}

/* In order: timeoutSeconds, a server that stops, or one that cuts a slow reader. */
static void on_watch_end(struct sl_list_watch *lw)
{
    bool is_early = sl_loop_now_ms(lw->loop) - lw->phase_at_ms < QUICK_MS;
    sl_list_watch_on_end(lw, is_early, lw->progressed);
}

static void on_done(void *arg, const struct sl_fetch_result *result)
{
    struct sl_list_watch *lw = arg;

    lw->fetch = NULL;
    sl_lines_fini(&lw->lines); /* half an event comes again: its version is not ours yet */
    if (lw->phase == SL_PHASE_STREAM) {
        on_stream_done(lw, result);
    } else if (result->code != SL_OK) {
        sl_list_watch_fail_fetch(lw, false, result);
    } else if (result->status == 200) {
        on_watch_end(lw);
    } else {
        /* A version that this server does not understand, or has not reached since a backup was
         * restored; or one may list and not watch. But a server that starts refuses for a while. */
        bool wants_list =
            result->status == 400 || result->status == 504 ||
            (result->status != 401 && result->status != 429 && lw->failures_n >= TROUBLE_N);
        sl_list_watch_fail_answer(lw, wants_list, result);
    }
}

static const struct sl_fetch_ops watch_ops = {
    .on_head = on_head,
    .on_data = on_data,
    .on_done = on_done,
};
