/* SPDX-License-Identifier: Apache-2.0 */
#include "compare.h"

#include <sluiced/err.h>
#include <sluiced/time.h>

#include "answer.h"
#include "json.h"
#include "replica.h"
#include "request.h"

#include "proxy/base/alloc.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ITEM_MAX_BYTES (8U << 20)
#define LISTED_MAX_N (1U << 20)
#define TOUCHED_MAX_N 65536U
#define RETRY_AFTER_MAX_S 300

static const struct sl_fetch_ops page_ops;

static int hashes_add(struct sl_hashes *h, uint64_t hash, size_t max_n)
{
    if (h->n == max_n) {
        return SL_ELIMIT;
    }
    if (h->n == h->capacity) {
        size_t capacity = h->capacity > 0 ? h->capacity * 2 : 64;
        uint64_t *items = sl_realloc_array(h->items, capacity, sizeof(items[0]));
        if (items == NULL) {
            return SL_ENOMEM;
        }
        h->items = items;
        h->capacity = capacity;
    }
    h->items[h->n++] = hash;
    return SL_OK;
}

static int by_value(const void *a, const void *b)
{
    const uint64_t *x = a;
    const uint64_t *y = b;
    return (*x > *y) - (*x < *y);
}

static void hashes_sort(struct sl_hashes *h)
{
    if (h->n > 0) {
        qsort(h->items, h->n, sizeof(h->items[0]), by_value);
    }
}

static bool hashes_have(const struct sl_hashes *sorted, uint64_t hash)
{
    return sorted->n > 0 &&
           bsearch(&hash, sorted->items, sorted->n, sizeof(sorted->items[0]), by_value) != NULL;
}

static void hashes_fini(struct sl_hashes *h)
{
    sl_free(h->items);
    *h = (struct sl_hashes){0};
}

static void arm(struct sl_compare *c, uint64_t at_ms)
{
    uint64_t now_ms = sl_loop_now_ms(c->loop);
    sl_timer_start(&c->timer, at_ms > now_ms ? at_ms - now_ms : 0, 0);
}

/* Back to idle; the timer is left to whoever knows what comes next. */
static void reset(struct sl_compare *c)
{
    if (c->fetch != NULL) {
        sl_fetch_cancel(c->fetch);
        c->fetch = NULL;
    }
    sl_items_fini(&c->items);
    sl_text_fini(&c->body);
    sl_free(c->next_page);
    c->next_page = NULL;
    hashes_fini(&c->listed);
    hashes_fini(&c->suspects);
    hashes_fini(&c->touched);
    c->lost_touch = false;
    c->samples_n = 0;
    c->state = SL_COMPARE_IDLE;
}

static void schedule(struct sl_compare *c, uint64_t due_at_ms)
{
    c->due_at_ms = due_at_ms;
    arm(c, due_at_ms);
}

static void fail(struct sl_compare *c, uint32_t retry_after_s, const char *error)
{
    const struct sl_compare_report report = {.error = error};
    uint64_t asked_s = retry_after_s < RETRY_AFTER_MAX_S ? retry_after_s : RETRY_AFTER_MAX_S;
    uint64_t delay_ms = c->times->compare_min_ms;

    for (uint32_t i = 0; i < c->failures_n && delay_ms < c->times->compare_ms; i++) {
        delay_ms *= 2;
    }
    delay_ms = delay_ms < c->times->compare_ms ? delay_ms : c->times->compare_ms;
    delay_ms = delay_ms > asked_s * 1000 ? delay_ms : asked_s * 1000;
    c->failures_n++;
    reset(c);
    schedule(c, sl_loop_now_ms(c->loop) + sl_watch_spread(&c->rng, delay_ms));
    c->on_report(c, &report);
}

static void ask_page(struct sl_compare *c)
{
    struct sl_error err;
    const struct sl_kube_request r = {
        .access = c->access,
        .path = c->conf->path,
        .params = {{"labelSelector", c->conf->selector},
                   {"fieldSelector", c->conf->field_selector},
                   {"limit", "500"},
                   {"continue", c->next_page}},
        .metadata_only = true,
        .connect_ms = c->times->connect_ms,
        .total_ms = c->times->list_total_ms,
        .idle_ms = c->times->list_idle_ms,
    };

    sl_items_fini(&c->items);
    sl_items_init(&c->items, ITEM_MAX_BYTES);
    sl_text_fini(&c->body);
    sl_text_init(&c->body, SL_KUBE_ANSWER_MAX_BYTES);
    if (sl_kube_request_start(&r, c->fetcher, &page_ops, c, &c->fetch, &err) != SL_OK) {
        fail(c, 0, err.message);
    }
}

static int suspect(struct sl_compare *c, const char *key, const char *held, const char *served)
{
    uint64_t hash = sl_replica_hash(key);

    if (c->samples_n < SL_COMPARE_SAMPLES_N) {
        struct sl_compare_sample *s = &c->samples[c->samples_n++];
        s->hash = hash;
        (void)snprintf(s->key, sizeof(s->key), "%s", key);          /* all fit: they were */
        (void)snprintf(s->held, sizeof(s->held), "%s", held);       /* held to the same */
        (void)snprintf(s->served, sizeof(s->served), "%s", served); /* limits before */
    }
    return hashes_add(&c->suspects, hash, LISTED_MAX_N);
}

/* A version that is not known, here or there, proves nothing. */
static bool differs(const char *a, const char *b)
{
    return a[0] != '\0' && b[0] != '\0' && strcmp(a, b) != 0;
}

static int on_item(void *arg, struct sl_slice text)
{
    struct sl_compare *c = arg;
    const json_t *json = sl_kube_json_parse(text);
    const char *version = sl_kube_metadata(json, "resourceVersion");
    char key[SL_KUBE_KEY_BYTES];
    int rc = sl_kube_key(json, key);

    if (rc == SL_OK) {
        rc = hashes_add(&c->listed, sl_replica_hash(key), LISTED_MAX_N);
    }
    if (rc == SL_OK) {
        const struct sl_kube_object *o = sl_store_get(c->store, key);
        version = version != NULL ? version : "";
        if (o == NULL || differs(o->version, version)) {
            rc = suspect(c, key, o != NULL ? o->version : "", version);
        }
    }
    sl_kube_json_done();
    return rc;
}

static const char *explain(int rc)
{
    return rc == SL_ENOMEM   ? "no memory to compare with a list"
           : rc == SL_ELIMIT ? "a list to compare with is too large"
                             : "the answer to compare with is not a list";
}

static void on_data(void *arg, uint16_t status, struct sl_slice data)
{
    struct sl_compare *c = arg;

    if (status != 200) {
        sl_text_append(&c->body, data); /* cut where it is full */
        return;
    }
    int rc = sl_items_feed(&c->items, data, on_item, c);
    if (rc != SL_OK) {
        fail(c, 0, explain(rc));
    }
}

/* What we hold and no page named. */
static int suspect_unlisted(struct sl_compare *c)
{
    int rc = SL_OK;

    hashes_sort(&c->listed);
    for (size_t i = 0; rc == SL_OK && i < c->store->n; i++) {
        const struct sl_kube_object *o = c->store->items[i];
        if (!hashes_have(&c->listed, sl_replica_hash(o->key))) {
            rc = suspect(c, o->key, o->version, "");
        }
    }
    hashes_fini(&c->listed);
    return rc;
}

static void give_verdict(struct sl_compare *c)
{
    struct sl_compare_report report = {0};
    size_t told_n = 0;

    if (c->lost_touch) {
        fail(c, 0, "too many changes at once to compare with a list");
        return;
    }
    hashes_sort(&c->touched);
    for (size_t i = 0; i < c->suspects.n; i++) {
        report.drift_n += !hashes_have(&c->touched, c->suspects.items[i]);
    }
    for (size_t i = 0; i < c->samples_n; i++) {
        if (!hashes_have(&c->touched, c->samples[i].hash)) {
            report.samples[told_n++] = &c->samples[i];
        }
    }
    c->failures_n = 0;
    reset(c); /* the samples stay readable */
    schedule(c, sl_loop_now_ms(c->loop) + sl_watch_spread(&c->rng, c->times->compare_ms));
    if (c->is_doubted) {
        sl_compare_doubt(c);
    }
    c->on_report(c, &report);
}

static void end_page(struct sl_compare *c)
{
    char *next_page = NULL;
    int rc = sl_items_end(&c->items, c->version, sizeof(c->version), &next_page);

    if (rc == SL_OK) {
        sl_free(c->next_page);
        c->next_page = next_page;
        if (next_page != NULL) {
            ask_page(c);
            return;
        }
        rc = suspect_unlisted(c);
    }
    if (rc != SL_OK) {
        fail(c, 0, explain(rc));
        return;
    }
    sl_items_fini(&c->items);
    c->state = SL_COMPARE_GRACE;
    if (c->suspects.n == 0 && !c->lost_touch) {
        give_verdict(c); /* there is nothing to wait for */
    } else {
        sl_timer_start(&c->timer, c->times->grace_ms, 0);
    }
}

static void on_done(void *arg, const struct sl_fetch_result *result)
{
    struct sl_compare *c = arg;
    char error[160];

    c->fetch = NULL;
    if (result->code != SL_OK) {
        (void)snprintf(error, sizeof(error), "to compare: %s", result->error); /* fits */
        fail(c, result->retry_after_s, error);
    } else if (result->status != 200) {
        sl_kube_describe(result->status, sl_text_slice(&c->body), c->conf->path, error,
                         sizeof(error));
        fail(c, result->retry_after_s, error);
    } else {
        end_page(c);
    }
}

static const struct sl_fetch_ops page_ops = {
    .on_data = on_data,
    .on_done = on_done,
};

static void on_timer(struct sl_timer *t)
{
    struct sl_compare *c = sl_container_of(t, struct sl_compare, timer);
    uint64_t now_ms = sl_loop_now_ms(c->loop);

    if (c->open_at_ms == 0) {
        return; /* goes on when the watch does */
    }
    if (c->state == SL_COMPARE_IDLE) {
        c->begun_at_ms = now_ms;
        c->state = SL_COMPARE_ASKING;
        c->is_doubted = false;
        ask_page(c);
    } else if (now_ms - c->open_at_ms < c->times->grace_ms) {
        arm(c, c->open_at_ms + c->times->grace_ms); /* what it missed is on its way only now */
    } else {
        give_verdict(c);
    }
}

void sl_compare_init(struct sl_compare *c)
{
    sl_kube_json_init();
    c->rng.state = sl_time_now_us() ^ (uint64_t)(uintptr_t)c;
    sl_timer_init(&c->timer, c->loop, on_timer);
}

void sl_compare_stop(struct sl_compare *c)
{
    sl_timer_stop(&c->timer);
    reset(c);
}

void sl_compare_cancel(struct sl_compare *c)
{
    sl_compare_close(c);
    if (c->state != SL_COMPARE_IDLE) {
        reset(c);
        schedule(c, sl_loop_now_ms(c->loop)); /* unless the list puts it off */
    }
}

void sl_compare_put_off(struct sl_compare *c, bool is_proof)
{
    if (is_proof || c->due_at_ms == 0) {
        c->failures_n = 0;
        c->is_doubted = false;
        schedule(c, sl_loop_now_ms(c->loop) + sl_watch_spread(&c->rng, c->times->compare_ms));
    }
}

void sl_compare_open(struct sl_compare *c)
{
    c->open_at_ms = sl_loop_now_ms(c->loop);
    if (c->state == SL_COMPARE_IDLE && c->due_at_ms != 0) {
        arm(c, c->due_at_ms);
    } else if (c->state == SL_COMPARE_GRACE) {
        arm(c, c->open_at_ms + c->times->grace_ms);
    }
}

void sl_compare_close(struct sl_compare *c)
{
    c->open_at_ms = 0;
}

void sl_compare_touch(struct sl_compare *c, uint64_t hash)
{
    if (c->state != SL_COMPARE_IDLE && hashes_add(&c->touched, hash, TOUCHED_MAX_N) != SL_OK) {
        c->lost_touch = true;
    }
}

void sl_compare_doubt(struct sl_compare *c)
{
    uint64_t now_ms = sl_loop_now_ms(c->loop);
    uint64_t earliest_ms = c->begun_at_ms != 0 ? c->begun_at_ms + c->times->compare_min_ms : now_ms;
    uint64_t due_at_ms = earliest_ms > now_ms ? earliest_ms : now_ms;

    due_at_ms += c->times->doubt_ms + sl_rng_below(&c->rng, c->times->doubt_ms * 2 + 1);
    c->is_doubted = c->state != SL_COMPARE_IDLE;
    if (!c->is_doubted && (c->due_at_ms == 0 || due_at_ms < c->due_at_ms)) {
        schedule(c, due_at_ms);
    }
}
