/* SPDX-License-Identifier: Apache-2.0 */
#include "list_watch.h"

#include <sluiced/log.h>
#include <sluiced/time.h>

#include "request.h"

#include "proxy/base/alloc.h"

#include <stdio.h>
#include <string.h>

#define LIST_MAX_BYTES (32U << 20)
#define EVENT_MAX_BYTES (8U << 20)
#define ANSWER_MAX_BYTES 4096 /* of one that says no: enough for its message */
#define QUICK_MS 1000
#define STEADY_MS 10000 /* a watch that was open so long was no failure of the connection */
#define QUICK_FREE_N 3  /* a server that cuts slow readers does so in order: resume at once */
#define RETRY_AFTER_MAX_S 300

const struct sl_list_watch_times sl_list_watch_times = {
    .connect_ms = 5000,
    .list_idle_ms = 30000,
    .list_total_ms = 120000,
    .watch_idle_ms = 90000,
    .watch_s = 300,
    .relist_ms = 3600000,
    .backoff_min_ms = 100,
    .backoff_max_ms = 30000,
};

static const struct sl_fetch_ops list_ops;
static const struct sl_fetch_ops watch_ops;

/* Up to a fifth more, so that what began together does not go on together. */
static uint64_t spread(struct sl_list_watch *lw, uint64_t value)
{
    return value + sl_rng_below(&lw->rng, value / 5 + 1);
}

static uint64_t backoff_ms(struct sl_list_watch *lw, uint32_t failures_n)
{
    uint64_t limit_ms = lw->times->backoff_min_ms;

    for (uint32_t i = 1; i < failures_n && limit_ms < lw->times->backoff_max_ms; i++) {
        limit_ms *= 2;
    }
    limit_ms = limit_ms < lw->times->backoff_max_ms ? limit_ms : lw->times->backoff_max_ms;
    return 1 + sl_rng_below(&lw->rng, limit_ms);
}

static void prove_fresh(struct sl_list_watch *lw)
{
    lw->status.fresh_at_ms = sl_loop_now_ms(lw->loop);
}

static void recover(struct sl_list_watch *lw)
{
    if (lw->status.last_error[0] != '\0') {
        sl_log(SL_LOG_INFO, "discovery_recovered", {"pool", SL_LOG_STR(lw->conf.pool)},
               {"resource", SL_LOG_STR(lw->conf.resource)});
    }
    lw->status.connected = true;
    lw->status.last_error[0] = '\0';
}

static void drop_fetch(struct sl_list_watch *lw)
{
    if (lw->fetch != NULL) {
        sl_fetch_cancel(lw->fetch);
        lw->fetch = NULL;
    }
}

static void drop_list(struct sl_list_watch *lw)
{
    sl_text_fini(&lw->body);
    sl_free(lw->next_page);
    lw->next_page = NULL;
}

static uint64_t retry_delay_ms(struct sl_list_watch *lw, uint32_t failures_n,
                               uint32_t retry_after_s)
{
    uint64_t delay_ms = backoff_ms(lw, failures_n);
    uint64_t asked_s = retry_after_s < RETRY_AFTER_MAX_S ? retry_after_s : RETRY_AFTER_MAX_S;
    uint64_t asked_ms = asked_s > 0 ? spread(lw, asked_s * 1000) : 0;

    return delay_ms > asked_ms ? delay_ms : asked_ms;
}

/* Remembers error; says it aloud when it is news: an outage is one line, not one a try. */
static void note_error(struct sl_list_watch *lw, const char *error, uint64_t delay_ms)
{
    struct sl_source_status *s = &lw->status;
    char text[sizeof(s->last_error)];

    (void)snprintf(text, sizeof(text), "%s: %s", lw->conf.resource, error); /* cut on purpose */
    sl_log(strcmp(text, s->last_error) != 0 ? SL_LOG_WARN : SL_LOG_DEBUG, "discovery_failed",
           {"pool", SL_LOG_STR(lw->conf.pool)}, {"error", SL_LOG_STR(text)},
           {"retry_ms", SL_LOG_UINT(delay_ms)});
    memcpy(s->last_error, text, sizeof(text));
}

static void end_attempt(struct sl_list_watch *lw, bool wants_list)
{
    drop_fetch(lw);
    drop_list(lw);
    lw->status.connected = false;
    lw->status.errors_n++;
    lw->wants_list = wants_list;
    if (lw->watches && sl_loop_now_ms(lw->loop) - lw->watch_at_ms >= STEADY_MS) {
        lw->failures_n = 0;
    }
    lw->watches = false;
}

/* Goes on later with a list or with the watch. */
static void fail(struct sl_list_watch *lw, bool wants_list, uint32_t retry_after_s,
                 const char *error)
{
    end_attempt(lw, wants_list);
    lw->list_cause = wants_list ? SL_RELIST_ERROR : lw->list_cause;
    if (lw->conf.once) {
        return;
    }
    lw->failures_n++;
    uint64_t delay_ms = retry_delay_ms(lw, lw->failures_n, retry_after_s);
    note_error(lw, error, delay_ms);
    sl_timer_start(&lw->retry, delay_ms, 0);
}

/* Our version is too old. The server is well, so however long it was away before, the list comes
 * soon; not at once: after its restart it says so to everyone in the same moment. */
static void expire(struct sl_list_watch *lw, const char *error)
{
    end_attempt(lw, true);
    lw->list_cause = SL_RELIST_EXPIRED;
    lw->expired_n++;
    uint64_t delay_ms = retry_delay_ms(lw, lw->expired_n, 0);
    note_error(lw, error, delay_ms);
    sl_timer_start(&lw->retry, delay_ms, 0);
}

/* What it cannot even ask is a failure like any other. */
static void request(struct sl_list_watch *lw, struct sl_kube_request *r)
{
    struct sl_error err;

    r->access = lw->access;
    r->path = lw->conf.path;
    r->metadata_only = lw->conf.kind == SL_KUBE_POD_NAME;
    r->connect_ms = lw->times->connect_ms;
    int rc = sl_kube_request_start(r, lw->fetcher, r->is_watch ? &watch_ops : &list_ops, lw,
                                   &lw->fetch, &err);
    if (rc != SL_OK) {
        fail(lw, !r->is_watch, 0, err.message);
    }
}

static void begin_list(struct sl_list_watch *lw)
{
    bool is_latest = lw->list_at == SL_LIST_LATEST || lw->conf.once;
    struct sl_kube_request r = {
        .params = {{"labelSelector", lw->conf.selector},
                   [3] = {"continue", lw->next_page},
                   [4] = {"fieldSelector", lw->conf.field_selector}},
        .total_ms = lw->times->list_total_ms,
        .idle_ms = lw->times->list_idle_ms,
    };

    sl_text_fini(&lw->body);
    sl_text_init(&lw->body, LIST_MAX_BYTES);
    if (is_latest) {
        r.params[1].name = "limit";
        r.params[1].value = lw->conf.once ? "1" : "500";
    } else {
        r.params[1].name = "resourceVersion";
        r.params[1].value = lw->list_at == SL_LIST_ANY ? "0" : lw->replica.version;
        r.params[2].name = "resourceVersionMatch";
        r.params[2].value = "NotOlderThan";
    }
    request(lw, &r);
}

static void begin_watch(struct sl_list_watch *lw)
{
    uint64_t watch_s = spread(lw, lw->times->watch_s);
    char watch_text[24];
    struct sl_kube_request r = {
        .params = {{"watch", "1"},
                   {"allowWatchBookmarks", "true"},
                   {"labelSelector", lw->conf.selector},
                   {"resourceVersion", lw->replica.version},
                   {"timeoutSeconds", watch_text},
                   {"fieldSelector", lw->conf.field_selector}},
        .is_watch = true,
        /* The server ends it; one that forgets to must not keep us from the next list. */
        .total_ms = (watch_s + 30) * 1000,
        .idle_ms = lw->times->watch_idle_ms,
    };

    sl_text_fini(&lw->body);
    sl_text_init(&lw->body, ANSWER_MAX_BYTES);
    sl_lines_fini(&lw->lines);
    lw->progressed = false;
    lw->watches = true;
    lw->watch_at_ms = sl_loop_now_ms(lw->loop);
    lw->status.reconnects_n += lw->watches_n++ > 0;
    (void)snprintf(watch_text, sizeof(watch_text), "%ju", (uintmax_t)watch_s); /* fits */
    request(lw, &r);
}

static void go_on(struct sl_list_watch *lw)
{
    if (lw->wants_list) {
        begin_list(lw);
    } else {
        begin_watch(lw);
    }
}

static void on_retry(struct sl_timer *t)
{
    go_on(sl_container_of(t, struct sl_list_watch, retry));
}

static void finish_list(struct sl_list_watch *lw)
{
    drop_list(lw);
    recover(lw);
    prove_fresh(lw);
    lw->status.relists_n[lw->list_cause] += lw->status.synced;
    lw->status.synced = true;
    lw->changed_us = sl_loop_now_us(lw->loop);
    lw->wants_list = false;
    if (lw->list_at == SL_LIST_LATEST || lw->relist_at_ms == 0) {
        lw->relist_at_ms = sl_loop_now_ms(lw->loop) + spread(lw, lw->times->relist_ms);
    }
    lw->list_at = SL_LIST_NEWER;
    if (!lw->conf.once) {
        begin_watch(lw);
    }
    lw->on_change(lw);
}

static void on_page(struct sl_list_watch *lw)
{
    char *next_page = NULL;
    int rc = sl_replica_apply_page(&lw->replica, sl_text_slice(&lw->body), lw->next_page == NULL,
                                   &next_page);

    if (rc != SL_OK) {
        fail(lw, true, 0, rc == SL_ENOMEM ? "no memory for a list" : "the answer is not a list");
        return;
    }
    sl_free(lw->next_page);
    lw->next_page = next_page;
    if (next_page != NULL && !lw->conf.once) {
        begin_list(lw);
    } else {
        finish_list(lw);
    }
}

/* "403: endpointslices is forbidden: ..." from a Status, or from the text that stands instead. */
static void describe(const struct sl_list_watch *lw, uint16_t status, char *buf, size_t size_bytes)
{
    struct sl_slice text = sl_text_slice(&lw->body);
    json_t *json = json_loadb(text.ptr != NULL ? text.ptr : "", text.len, JSON_ALLOW_NUL, NULL);
    const char *message = json_string_value(json_object_get(json, "message"));

    if (message != NULL) {
        text = sl_slice_of(message);
    }
    int len = text.len < size_bytes ? (int)text.len : (int)size_bytes - 1;
    (void)snprintf(buf, size_bytes, "status %u: %.*s", status, len,
                   text.ptr != NULL ? text.ptr : ""); /* cut on purpose */
    for (char *c = buf; *c != '\0'; c++) {
        *c = *c < ' ' ? ' ' : *c; /* a last_error is one line */
    }
    json_decref(json);
}

/* A list that the server cannot answer at the version asked for, or that is too large in one
 * piece: the next one asks for what is true, by pages. */
static bool falls_back(struct sl_list_watch *lw, const struct sl_fetch_result *result)
{
    bool too_large = result->code == SL_ELIMIT;
    bool bad_version = result->status == 410 || result->status == 504 || result->status == 400;

    if (lw->list_at == SL_LIST_LATEST || lw->conf.once || !(too_large || bad_version)) {
        return false;
    }
    lw->list_at = SL_LIST_LATEST;
    return true;
}

static void on_list_done(void *arg, const struct sl_fetch_result *result)
{
    struct sl_list_watch *lw = arg;
    char error[160];

    lw->fetch = NULL;
    if (falls_back(lw, result)) {
        drop_list(lw);
        begin_list(lw);
        return;
    }
    if (result->code != SL_OK) {
        fail(lw, true, result->retry_after_s, result->error);
    } else if (result->status != 200) {
        describe(lw, result->status, error, sizeof(error));
        fail(lw, true, result->retry_after_s, error);
        if (lw->on_refused != NULL) {
            lw->on_refused(lw, result->status);
        }
    } else {
        on_page(lw);
    }
}

static void on_list_data(void *arg, uint16_t status, struct sl_slice data)
{
    static const struct sl_fetch_result too_large = {
        .code = SL_ELIMIT,
        .error = "the list is larger than 32 MiB, or than memory",
    };
    struct sl_list_watch *lw = arg;

    if (status != 200 && lw->body.len + data.len > ANSWER_MAX_BYTES) {
        return;
    }
    sl_text_append(&lw->body, data);
    if (lw->body.failed) {
        drop_fetch(lw);
        on_list_done(lw, &too_large);
    }
}

static void note_progress(struct sl_list_watch *lw)
{
    prove_fresh(lw);
    lw->failures_n = 0;
    lw->expired_n = 0;
    lw->quick_ends_n = 0;
}

static int on_line(void *arg, struct sl_slice line)
{
    struct sl_list_watch *lw = arg;
    struct sl_replica_result result;
    char error[160];
    int rc = sl_replica_apply_event(&lw->replica, line, &result);

    if (rc != SL_OK) {
        return rc;
    }
    if (result.event == SL_REPLICA_GONE || result.event == SL_REPLICA_ERROR) {
        (void)snprintf(error, sizeof(error), "watch ended with %s", result.error); /* fits */
        if (result.event == SL_REPLICA_GONE) {
            expire(lw, error);
        } else {
            fail(lw, true, 0, error); /* as the reflector of client-go: list again */
        }
        return SL_ECLOSED;
    }
    note_progress(lw);
    lw->progressed = lw->progressed || result.progressed;
    if (result.event == SL_REPLICA_CHANGE) {
        lw->status.events_n++;
        lw->changed_us = sl_loop_now_us(lw->loop);
        lw->on_change(lw);
    }
    return SL_OK;
}

static void on_watch_head(void *arg, uint16_t status)
{
    if (status == 200) {
        recover(arg);
    }
}

static void on_watch_data(void *arg, uint16_t status, struct sl_slice data)
{
    struct sl_list_watch *lw = arg;

    if (status != 200) {
        sl_text_append(&lw->body, data); /* cut where it is full */
        return;
    }
    int rc = sl_lines_feed(&lw->lines, data, on_line, lw);
    if (rc == SL_OK || rc == SL_ECLOSED) { /* closed: on_line has seen to it */
        return;
    }
    fail(lw, true, 0,
         rc == SL_ENOMEM   ? "no memory for an event"
         : rc == SL_ELIMIT ? "an event is larger than 8 MiB"
                           : "a line of the watch is not an event");
}

/* In order: timeoutSeconds, a server that stops, or one that cuts a slow reader. */
static void on_watch_end(struct sl_list_watch *lw)
{
    uint64_t now_ms = sl_loop_now_ms(lw->loop);
    bool quick = !lw->progressed && now_ms - lw->watch_at_ms < QUICK_MS;

    lw->status.connected = true;
    if (now_ms >= lw->relist_at_ms) {
        lw->list_at = SL_LIST_LATEST;
        lw->wants_list = true;
    }
    lw->failures_n = quick ? lw->failures_n : 0;
    lw->quick_ends_n = quick ? lw->quick_ends_n + 1 : 0;
    if (lw->quick_ends_n > QUICK_FREE_N) {
        sl_timer_start(&lw->retry, backoff_ms(lw, lw->quick_ends_n - QUICK_FREE_N), 0);
    } else {
        go_on(lw);
    }
}

static void on_watch_done(void *arg, const struct sl_fetch_result *result)
{
    struct sl_list_watch *lw = arg;
    char error[160];

    lw->fetch = NULL;
    sl_lines_fini(&lw->lines); /* half an event comes again: its version is not ours yet */
    if (result->code != SL_OK) {
        fail(lw, false, result->retry_after_s, result->error);
    } else if (result->status == 200) {
        on_watch_end(lw);
    } else {
        describe(lw, result->status, error, sizeof(error));
        if (result->status == 410) {
            expire(lw, error);
        } else { /* 400: a version that this server does not understand */
            fail(lw, result->status == 400, result->retry_after_s, error);
        }
    }
}

static const struct sl_fetch_ops list_ops = {
    .on_data = on_list_data,
    .on_done = on_list_done,
};

static const struct sl_fetch_ops watch_ops = {
    .on_head = on_watch_head,
    .on_data = on_watch_data,
    .on_done = on_watch_done,
};

void sl_list_watch_start(struct sl_list_watch *lw, const struct sl_list_watch_conf *conf,
                         const struct sl_list_watch_times *times,
                         const struct sl_kube_access *access, struct sl_loop *loop,
                         struct sl_fetcher *fetcher)
{
    *lw = (struct sl_list_watch){
        .on_change = lw->on_change,
        .on_refused = lw->on_refused,
        .conf = *conf,
        .times = times,
        .access = access,
        .loop = loop,
        .fetcher = fetcher,
        .wants_list = true,
        .rng = {.state = sl_time_now_us() ^ (uint64_t)(uintptr_t)lw},
    };
    sl_replica_init(&lw->replica, conf->kind);
    sl_lines_init(&lw->lines, EVENT_MAX_BYTES);
    sl_text_init(&lw->body, LIST_MAX_BYTES);
    sl_timer_init(&lw->retry, loop, on_retry);
    begin_list(lw);
}

void sl_list_watch_stop(struct sl_list_watch *lw)
{
    sl_timer_stop(&lw->retry);
    drop_fetch(lw);
    drop_list(lw);
    sl_lines_fini(&lw->lines);
    sl_replica_fini(&lw->replica);
}

void sl_list_watch_doubt(struct sl_list_watch *lw)
{
    lw->relist_at_ms = lw->relist_at_ms != 0 ? sl_loop_now_ms(lw->loop) : 0;
}
