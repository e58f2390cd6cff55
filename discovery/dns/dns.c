/* SPDX-License-Identifier: Apache-2.0 */
/*
 * dns: endpoints by the records of a name, asked for again when they expire.
 *
 * What fails keeps what is known, each family and each SRV target for itself; a set becomes empty
 * only by what servers say, and go on saying for hold.
 *
 * Lifetime:  a pool's; shares the resolver with other pools
 * Thread:    control thread
 */
#include <sluiced/log.h>
#include <sluiced/time.h>

#include "lookup.h"

#include "discovery/discovery.h"
#include "discovery/found.h"
#include "discovery/sources.h"
#include "proxy/base/alloc.h"
#include "proxy/base/rng.h"
#include "proxy/io/loop.h"

#include <stdio.h>
#include <string.h>

enum {
    BACKOFF_MIN_MS = 200,
    BACKOFF_MAX_MS = 30000,
    DOUBT_SPREAD_MS = 1000,
    FAILURES_COUNT_MAX_N = 16 /* beyond, the back-off is at its maximum */
};

struct dns {
    struct sl_source base;
    const struct sl_pool_config *pool;
    struct sl_loop *loop;
    struct sl_sink *sink;
    struct sl_rng rng;
    struct sl_dns_lookup lookup;
    struct sl_timer timer;
    uint64_t asked_at_ms;
    uint64_t due_at_ms;  /* when the timer fires */
    uint32_t failures_n; /* lookups in a row of which something failed */
    bool pushed;
    bool too_many; /* said already */
    struct sl_found *last;
    size_t last_n;
    char logged_error[160]; /* the same again is no news */
    struct sl_source_status status;
};

static const struct sl_dns_config *conf_of(const struct dns *s)
{
    return &s->pool->discover.dns;
}

static void schedule(struct dns *s, uint64_t delay_ms)
{
    s->due_at_ms = sl_loop_now_ms(s->loop) + delay_ms;
    sl_timer_start(&s->timer, delay_ms, 0);
}

static void ask(struct dns *s)
{
    s->asked_at_ms = sl_loop_now_ms(s->loop);
    s->status.state = SL_SOURCE_LISTING;
    sl_timer_stop(&s->timer);
    sl_dns_lookup_start(&s->lookup);
}

static void on_timer(struct sl_timer *t)
{
    ask(sl_container_of(t, struct dns, timer));
}

/* ---- When to ask again */

static uint64_t backoff_ms(struct dns *s)
{
    uint64_t limit_ms = BACKOFF_MIN_MS;

    for (uint32_t i = 1; i < s->failures_n && limit_ms < BACKOFF_MAX_MS; i++) {
        limit_ms *= 2;
    }
    limit_ms = limit_ms < BACKOFF_MAX_MS ? limit_ms : BACKOFF_MAX_MS;
    return limit_ms / 2 + sl_rng_below(&s->rng, limit_ms / 2 + 1);
}

/* By up to a tenth later, where the limits allow it, so that caches between have it anew; else
 * earlier. Processes that began together do not go on together. */
static uint64_t spread(struct dns *s, uint64_t ttl_ms)
{
    const struct sl_dns_config *c = conf_of(s);
    uint64_t delay_ms = ttl_ms < c->max_ttl_ms ? ttl_ms : c->max_ttl_ms;

    delay_ms = delay_ms > c->min_ttl_ms ? delay_ms : c->min_ttl_ms;
    uint64_t shift_ms = sl_rng_below(&s->rng, delay_ms / 10 + 1);
    if (delay_ms + delay_ms / 10 <= c->max_ttl_ms) {
        return delay_ms + shift_ms;
    }
    delay_ms -= shift_ms;
    return delay_ms > c->min_ttl_ms ? delay_ms : c->min_ttl_ms;
}

struct verdict {
    const struct sl_dns_question *failed; /* the first that failed; NULL: none */
    bool answered;                        /* one of them with records, or all denied */
    bool unknown;                         /* one failed and was never answered */
    uint64_t ttl_ms;
    uint64_t hold_left_ms; /* until what is denied is dropped; UINT64_MAX: nothing is */
};

static uint64_t lesser(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static struct verdict judge(const struct dns *s)
{
    struct verdict v = {.ttl_ms = UINT64_MAX, .hold_left_ms = UINT64_MAX};
    uint64_t negative_ttl_ms = UINT64_MAX;
    uint64_t now_ms = sl_loop_now_ms(s->loop);
    const struct sl_dns_question *q;
    bool positive = false;

    /* Targets are asked only after an answer that named them: else what they say is of before. */
    bool asked =
        s->lookup.mains[0].type != SL_DNS_SRV || s->lookup.mains[0].outcome == SL_RESOLVER_ANSWER;
    for (size_t i = 0; (q = sl_dns_lookup_question(&s->lookup, i)) != NULL; i++) {
        if (i >= s->lookup.mains_n && !asked) {
            break;
        }
        if (q->outcome == SL_RESOLVER_FAILED) {
            v.failed = v.failed != NULL ? v.failed : q;
            v.unknown = v.unknown || !q->known;
        } else if (q->outcome == SL_RESOLVER_ANSWER) {
            positive = true;
            v.ttl_ms = lesser(v.ttl_ms, q->ttl_ms);
        } else {
            negative_ttl_ms = lesser(negative_ttl_ms, q->ttl_ms);
        }
        if (q->negative_since_ms != 0) {
            uint64_t over_ms = now_ms - q->negative_since_ms;

            v.hold_left_ms = lesser(v.hold_left_ms, conf_of(s)->hold_ms - over_ms);
        }
    }
    v.answered = s->lookup.failed == NULL && (positive || v.failed == NULL);
    v.ttl_ms = positive ? v.ttl_ms : negative_ttl_ms;
    return v;
}

static uint64_t next_delay_ms(struct dns *s, const struct verdict *v)
{
    uint64_t delay_ms = spread(s, v->ttl_ms);

    if (v->hold_left_ms != UINT64_MAX) { /* to ask again when it counts */
        uint64_t left_ms =
            v->hold_left_ms > conf_of(s)->min_ttl_ms ? v->hold_left_ms : conf_of(s)->min_ttl_ms;

        delay_ms = lesser(delay_ms, left_ms + 1);
    }
    if (!v->answered) {
        return backoff_ms(s);
    }
    if (v->failed != NULL) { /* a part of it: what was answered need not be asked for so soon */
        uint64_t retry_ms = backoff_ms(s);

        retry_ms = retry_ms > conf_of(s)->min_ttl_ms ? retry_ms : conf_of(s)->min_ttl_ms;
        return lesser(delay_ms, retry_ms);
    }
    return delay_ms;
}

/* ---- What came of it */

static void push(struct dns *s)
{
    const struct sl_snapshot snapshot = {
        .items = s->last,
        .n = s->last_n,
        .received_us = sl_loop_now_us(s->loop),
    };

    if (s->pushed) {
        s->status.events_n++;
        s->status.event_at_ms = sl_loop_now_ms(s->loop);
    }
    s->pushed = true;
    s->sink->on_snapshot(s->sink, &snapshot);
}

/* Says once that a set was cut, until it is not any more. */
static void note_size(struct dns *s)
{
    if (s->lookup.too_many && !s->too_many) {
        sl_log(SL_LOG_WARN, "discovery_odd", {"pool", SL_LOG_STR(s->pool->name)},
               {"reason", SL_LOG_STR("too many addresses in DNS; the first 4096 are used")});
    }
    s->too_many = s->lookup.too_many;
}

static void fail(struct dns *s, const char *name, const char *reason, uint64_t delay_ms)
{
    char text[sizeof(s->status.last_error)];

    s->status.errors_n++;
    (void)snprintf(text, sizeof(text), "%.100s: %s", name, reason); /* cut on purpose */
    bool is_news = strcmp(text, s->logged_error) != 0;
    memcpy(s->status.last_error, text, sizeof(text));
    memcpy(s->logged_error, text, sizeof(text));
    sl_log(is_news ? SL_LOG_WARN : SL_LOG_DEBUG, "discovery_failed",
           {"pool", SL_LOG_STR(s->pool->name)}, {"error", SL_LOG_STR(s->status.last_error)},
           {"retry_ms", SL_LOG_UINT(delay_ms)});
}

/* False: no memory. */
static bool apply(struct dns *s)
{
    struct sl_found *found;
    size_t found_n;

    if (sl_dns_lookup_collect(&s->lookup, &found, &found_n) != SL_OK) {
        return false;
    }
    note_size(s);
    if (s->pushed && sl_found_equal(found, found_n, s->last, s->last_n)) {
        sl_free(found);
        return true;
    }
    sl_free(s->last);
    s->last = found;
    s->last_n = found_n;
    push(s);
    return true;
}

/* Whether the questions know enough to be believed: an empty set is not, while it may be so only
 * because a family or a target never answered. */
static bool is_credible(const struct dns *s, const struct verdict *v)
{
    const struct sl_dns_question *q;

    if (s->lookup.failed != NULL) {
        return false;
    }
    for (size_t i = 0; (q = sl_dns_lookup_question(&s->lookup, i)) != NULL; i++) {
        if (q->held.hosts_n > 0) {
            return true;
        }
    }
    return !v->unknown;
}

static void on_done(struct sl_dns_lookup *l)
{
    struct dns *s = sl_container_of(l, struct dns, lookup);
    struct verdict v = judge(s);
    const char *failed = l->failed;
    bool complete = v.failed == NULL && failed == NULL;

    if (is_credible(s, &v) && !apply(s)) {
        failed = "no memory";
        complete = false;
        v.answered = false;
    }
    if (complete) {
        s->failures_n = 0;
        s->status.last_error[0] = '\0';
        s->logged_error[0] = '\0';
    } else if (s->failures_n < FAILURES_COUNT_MAX_N) {
        s->failures_n++;
    }
    uint64_t delay_ms = next_delay_ms(s, &v);
    if (!complete) {
        fail(s, failed != NULL ? conf_of(s)->name : v.failed->name,
             failed != NULL ? failed : v.failed->reason, delay_ms);
    }
    s->status.connected = v.answered;
    s->status.state = v.answered ? SL_SOURCE_WATCHING : SL_SOURCE_WAITING;
    if (v.answered) {
        s->status.fresh_at_ms = sl_loop_now_ms(s->loop);
    }
    schedule(s, delay_ms);
}

/* ---- The source */

static int start(const struct sl_pool_config *pool, const struct sl_config *config,
                 struct sl_discovery *d, struct sl_sink *sink, struct sl_source **out,
                 struct sl_error *err)
{
    struct dns *s = sl_alloc(sizeof(*s));
    (void)config;

    if (s == NULL || sl_dns_lookup_init(&s->lookup, d, &pool->discover.dns, on_done) != SL_OK) {
        sl_free(s);
        return sl_error_set(err, SL_ENOMEM, NULL, "no memory to discover %.128s", pool->name);
    }
    s->base.ops = &sl_dns_source_ops;
    s->pool = pool;
    s->loop = d->loop;
    s->sink = sink;
    s->rng.state = sl_time_now_us() ^ (uint64_t)(uintptr_t)s;
    sl_timer_init(&s->timer, s->loop, on_timer);
    *out = &s->base;
    ask(s);
    return SL_OK;
}

static struct dns *dns_of(struct sl_source *source)
{
    SL_ASSERT(source->ops == &sl_dns_source_ops, "source %p", (void *)source);
    return sl_container_of(source, struct dns, base);
}

static void stop(struct sl_source *source)
{
    struct dns *s = dns_of(source);

    sl_timer_stop(&s->timer);
    sl_dns_lookup_fini(&s->lookup);
    sl_free(s->last);
    sl_free(s);
}

static void status(const struct sl_source *source, struct sl_source_status *out)
{
    SL_ASSERT(source->ops == &sl_dns_source_ops, "source %p", (const void *)source);
    const struct dns *s = sl_container_of_const(source, struct dns, base);

    *out = s->status;
    out->synced = s->pushed;
    if (out->last_error[0] == '\0' && s->too_many) {
        (void)snprintf(out->last_error, sizeof(out->last_error),
                       "%.64s: too many addresses; the first %d are used", conf_of(s)->name,
                       SL_DNS_ENDPOINTS_MAX_N); /* cut on purpose */
    }
}

static void doubt(struct sl_source *source)
{
    struct dns *s = dns_of(source);
    uint64_t now_ms = sl_loop_now_ms(s->loop);
    uint64_t soonest_ms = s->asked_at_ms + conf_of(s)->min_ttl_ms;
    uint64_t delay_ms = sl_rng_below(&s->rng, DOUBT_SPREAD_MS + 1);

    if (s->status.state != SL_SOURCE_WATCHING) {
        return; /* it asks already, or as soon as its servers bear */
    }
    if (soonest_ms > now_ms + delay_ms) {
        delay_ms = soonest_ms - now_ms;
    }
    if (now_ms + delay_ms < s->due_at_ms) {
        schedule(s, delay_ms);
    }
}

const struct sl_source_ops sl_dns_source_ops = {
    .name = "dns",
    .start = start,
    .stop = stop,
    .status = status,
    .doubt = doubt,
};
