/* SPDX-License-Identifier: Apache-2.0 */
#include "list_watch.h"

#include <sluiced/log.h>
#include <sluiced/time.h>

#include "answer.h"
#include "list_watch_internal.h"

#include "proxy/base/alloc.h"

#include <stdio.h>
#include <string.h>

#define QUICK_FREE_N 3 /* a server that cuts slow readers does so in order: resume at once */
#define RETRY_AFTER_MAX_S 300

void sl_list_watch_prove_fresh(struct sl_list_watch *lw)
{
    lw->status.fresh_at_ms = sl_loop_now_ms(lw->loop);
}

void sl_list_watch_recover(struct sl_list_watch *lw)
{
    if (lw->status.last_error[0] != '\0') {
        sl_log(SL_LOG_INFO, "discovery_recovered", {"pool", SL_LOG_STR(lw->conf.pool)},
               {"resource", SL_LOG_STR(lw->conf.resource)});
    }
    lw->status.connected = true;
    lw->status.last_error[0] = '\0';
    lw->is_unauthorized = false;
}

static void drop_fetch(struct sl_list_watch *lw)
{
    if (lw->fetch != NULL) {
        sl_fetch_cancel(lw->fetch);
        lw->fetch = NULL;
    }
    sl_timer_stop(&lw->silence);
    sl_lines_fini(&lw->lines);
    sl_items_fini(&lw->items);
    sl_text_fini(&lw->body);
    sl_free(lw->next_page);
    lw->next_page = NULL;
}

static bool streams(const struct sl_list_watch *lw)
{
    return !lw->conf.once && !lw->is_plain_next &&
           sl_loop_now_ms(lw->loop) >= *lw->conf.no_stream_until_ms;
}

static void go_on(struct sl_list_watch *lw)
{
    lw->status.state = lw->wants_list ? SL_SOURCE_LISTING : SL_SOURCE_WATCHING;
    if (!lw->wants_list) {
        sl_list_watch_begin_watch(lw);
        return;
    }
    sl_compare_cancel(&lw->compare);
    if (streams(lw)) {
        sl_list_watch_begin_stream(lw);
    } else {
        sl_list_watch_begin_list(lw);
    }
}

static void on_retry(struct sl_timer *t)
{
    go_on(sl_container_of(t, struct sl_list_watch, retry));
}

static bool is_doubted(const struct sl_list_watch *lw)
{
    return sl_loop_now_ms(lw->loop) < lw->doubted_until_ms;
}

/* Goes on after the back-off of so many failures, and not before the server wants us. Returns
 * the delay. */
static uint64_t wait_ms(struct sl_list_watch *lw, uint32_t failures_n, uint32_t retry_after_s)
{
    uint64_t now_ms = sl_loop_now_ms(lw->loop);
    /* A server that is away is not helped by patience, and we want to be there when it is back. */
    bool hurries = lw->is_away || is_doubted(lw);
    uint64_t delay_ms = sl_watch_backoff_ms(lw->times, &lw->rng, failures_n, hurries);
    uint64_t asked_s = retry_after_s < RETRY_AFTER_MAX_S ? retry_after_s : RETRY_AFTER_MAX_S;
    uint64_t asked_ms = asked_s > 0 ? sl_watch_spread(&lw->rng, asked_s * 1000) : 0;

    delay_ms = delay_ms > asked_ms ? delay_ms : asked_ms;
    lw->retry_floor_ms = now_ms + asked_ms;
    lw->retry_at_ms = now_ms + delay_ms;
    lw->status.state = SL_SOURCE_WAITING;
    sl_timer_start(&lw->retry, delay_ms, 0);
    return delay_ms;
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

/* cause: of asking for all again, where that is what comes next and was not underway. */
static void end_attempt(struct sl_list_watch *lw, bool wants_list, enum sl_relist_cause cause)
{
    drop_fetch(lw);
    sl_compare_close(&lw->compare);
    lw->status.connected = false;
    lw->status.errors_n++;
    lw->is_plain_next = lw->is_plain_next && lw->phase != SL_PHASE_LIST;
    lw->is_refused = false;
    lw->list_cause = wants_list && !lw->wants_list ? cause : lw->list_cause;
    lw->wants_list = wants_list;
    if (lw->phase == SL_PHASE_WATCH &&
        sl_loop_now_ms(lw->loop) - lw->phase_at_ms >= SL_WATCH_STEADY_MS)
    {
        lw->failures_n = 0;
    }
}

void sl_list_watch_fail(struct sl_list_watch *lw, bool wants_list, uint32_t retry_after_s,
                        const char *error)
{
    char copy[160]; /* error may be of what end_attempt frees */

    (void)snprintf(copy, sizeof(copy), "%s", error); /* cut on purpose */
    end_attempt(lw, wants_list, SL_RELIST_ERROR);
    if (lw->conf.once) {
        return;
    }
    lw->failures_n++;
    note_error(lw, copy, wait_ms(lw, lw->failures_n, retry_after_s));
}

void sl_list_watch_note_warning(struct sl_list_watch *lw)
{
    const char *warning = sl_fetch_warning(lw->fetch);

    if (warning[0] == '\0' || lw->warned) {
        return;
    }
    lw->warned = true;
    sl_log(SL_LOG_WARN, "discovery_warning", {"pool", SL_LOG_STR(lw->conf.pool)},
           {"resource", SL_LOG_STR(lw->conf.resource)}, {"text", SL_LOG_STR(warning)});
}

void sl_list_watch_fail_fetch(struct sl_list_watch *lw, bool wants_list,
                              const struct sl_fetch_result *result)
{
    lw->is_away = result->status == 0 && result->code != SL_ETLS;
    sl_list_watch_fail(lw, wants_list, result->retry_after_s, result->error);
    lw->is_away = false;
}

void sl_list_watch_fail_answer(struct sl_list_watch *lw, bool wants_list,
                               const struct sl_fetch_result *result)
{
    char error[160];

    sl_kube_describe(result->status, sl_text_slice(&lw->body), lw->conf.path, error, sizeof(error));
    if (result->status == 410) {
        sl_list_watch_expire(lw, error);
        return;
    }
    /* A token is read anew for each request: one that was rotated is not worth a long wait. */
    if (result->status == 401 && !lw->is_unauthorized) {
        lw->failures_n = 0;
    }
    lw->is_unauthorized = result->status == 401;
    sl_list_watch_fail(lw, wants_list, result->retry_after_s, error);
    if (lw->phase != SL_PHASE_WATCH && lw->on_refused != NULL) {
        lw->on_refused(lw, result->status);
    }
}

/* The server is well, so however long it was away before, all is asked for soon; not at once:
 * after its restart it says so to everyone in the same moment. */
void sl_list_watch_expire(struct sl_list_watch *lw, const char *error)
{
    char copy[160];

    (void)snprintf(copy, sizeof(copy), "%s", error); /* cut on purpose */
    end_attempt(lw, true, SL_RELIST_EXPIRED);
    if (lw->conf.once) {
        return;
    }
    lw->expired_n++;
    note_error(lw, copy, wait_ms(lw, lw->expired_n, 0));
}

void sl_list_watch_request(struct sl_list_watch *lw, struct sl_kube_request *r,
                           const struct sl_fetch_ops *ops)
{
    struct sl_error err;

    r->access = lw->access;
    r->path = lw->conf.path;
    r->metadata_only = lw->conf.kind == SL_KUBE_POD_NAME;
    r->connect_ms = lw->times->connect_ms;
    sl_text_fini(&lw->body);
    sl_text_init(&lw->body, SL_KUBE_ANSWER_MAX_BYTES);
    int rc = sl_kube_request_start(r, lw->fetcher, ops, lw, &lw->fetch, &err);
    if (rc != SL_OK) {
        sl_list_watch_fail(lw, lw->wants_list, 0, err.message);
    }
}

void sl_list_watch_note_listed(struct sl_list_watch *lw)
{
    sl_list_watch_recover(lw);
    sl_list_watch_prove_fresh(lw);
    lw->status.relists_n[lw->list_cause] += lw->status.synced;
    lw->status.synced = true;
    lw->changed_us = sl_loop_now_us(lw->loop);
    lw->wants_list = false;
    lw->is_plain_next = false;
    if (lw->is_refused) {
        *lw->conf.no_stream_until_ms = sl_loop_now_ms(lw->loop) + lw->times->no_stream_ms;
        lw->is_refused = false;
        sl_log(SL_LOG_INFO, "discovery_no_stream", {"pool", SL_LOG_STR(lw->conf.pool)},
               {"resource", SL_LOG_STR(lw->conf.resource)});
    }
    if (!lw->conf.once) {
        sl_compare_put_off(&lw->compare, lw->is_latest);
    }
    lw->is_latest = true;
}

void sl_list_watch_on_end(struct sl_list_watch *lw, bool is_quick, bool progressed)
{
    sl_compare_close(&lw->compare);
    lw->status.connected = true;
    lw->failures_n = is_quick ? lw->failures_n : 0;
    lw->quick_ends_n = is_quick ? lw->quick_ends_n + 1 : 0;
    if (lw->quick_ends_n > QUICK_FREE_N)
    { /* no failure to tell of; slow readers are cut in storms */
        (void)wait_ms(lw, progressed ? 1 : lw->quick_ends_n - QUICK_FREE_N, 0);
    } else {
        go_on(lw);
    }
}

static void tell_drift(const struct sl_list_watch *lw, const struct sl_compare_report *report)
{
    static const struct sl_compare_sample none;

    for (size_t i = 0; i < SL_COMPARE_SAMPLES_N; i++) {
        const struct sl_compare_sample *s = report->samples[i];

        if (s == NULL && i > 0) {
            break;
        }
        s = s != NULL ? s : &none;
        sl_log(SL_LOG_WARN, "discovery_drift", {"pool", SL_LOG_STR(lw->conf.pool)},
               {"resource", SL_LOG_STR(lw->conf.resource)}, {"object", SL_LOG_STR(s->key)},
               {"held", SL_LOG_STR(s->held)}, {"served", SL_LOG_STR(s->served)},
               {"objects", SL_LOG_UINT(report->drift_n)});
    }
}

static void on_report(struct sl_compare *c, const struct sl_compare_report *report)
{
    struct sl_list_watch *lw = sl_container_of(c, struct sl_list_watch, compare);

    if (report->error != NULL) {
        lw->status.errors_n++;
        note_error(lw, report->error, c->due_at_ms - sl_loop_now_ms(lw->loop));
        return;
    }
    lw->status.comparisons_n++;
    lw->status.drift_n += report->drift_n;
    if (report->drift_n == 0) {
        sl_list_watch_recover(lw);
        sl_list_watch_prove_fresh(lw);
        return;
    }
    tell_drift(lw, report);
    drop_fetch(lw);
    sl_timer_stop(&lw->retry);
    lw->list_cause = SL_RELIST_DRIFT;
    lw->wants_list = true;
    go_on(lw);
}

void sl_list_watch_doubt(struct sl_list_watch *lw)
{
    uint64_t now_ms = sl_loop_now_ms(lw->loop);
    uint64_t soon_ms = now_ms + sl_watch_backoff_ms(lw->times, &lw->rng, UINT32_MAX, true);

    if (lw->conf.once) {
        return;
    }
    lw->doubted_until_ms = now_ms + lw->times->doubted_ms;
    soon_ms = soon_ms > lw->retry_floor_ms ? soon_ms : lw->retry_floor_ms;
    if (sl_timer_active(&lw->retry) && soon_ms < lw->retry_at_ms) {
        lw->retry_at_ms = soon_ms;
        sl_timer_start(&lw->retry, soon_ms - now_ms, 0);
    }
    sl_compare_doubt(&lw->compare);
}

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
    lw->compare = (struct sl_compare){
        .conf = &lw->conf,
        .times = times,
        .access = access,
        .loop = loop,
        .fetcher = fetcher,
        .store = &lw->replica.store,
        .on_report = on_report,
    };
    if (conf->no_stream_until_ms == NULL) {
        lw->conf.no_stream_until_ms = &lw->no_stream_until_ms;
    }
    lw->status.watches_n = conf->once ? 0 : 1;
    sl_replica_init(&lw->replica, conf->kind);
    sl_lines_init(&lw->lines, SL_OBJECT_MAX_BYTES);
    sl_compare_init(&lw->compare);
    sl_timer_init(&lw->retry, loop, on_retry);
    sl_list_watch_init_silence(lw);
    go_on(lw);
}

void sl_list_watch_stop(struct sl_list_watch *lw)
{
    sl_timer_stop(&lw->retry);
    drop_fetch(lw);
    sl_compare_stop(&lw->compare);
    sl_replica_fini(&lw->replica);
}
