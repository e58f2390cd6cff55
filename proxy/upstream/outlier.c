/* SPDX-License-Identifier: Apache-2.0 */
/*
 * All loads and stores are relaxed: each fact stands alone. The one that decides is
 * ejected_until_ms, changed by compare-and-swap only, so of two workers with the same news one
 * wins and the other finds it done; what is stored beside it may lag by an instant, which at worst
 * counts one failure too many or too few.
 */
#include "outlier.h"

#include "proxy/base/rng.h"

#define LOAD(field) atomic_load_explicit(&(field), memory_order_relaxed)
#define STORE(field, v) atomic_store_explicit(&(field), (v), memory_order_relaxed)

/* The packed window: the number of its slot, then two counts that saturate. */
#define COUNT_BITS 16
#define COUNT_MAX ((UINT64_C(1) << COUNT_BITS) - 1)

static bool swap_until(struct sl_endpoint *ep, uint64_t seen_ms, uint64_t next_ms)
{
    return atomic_compare_exchange_strong_explicit(&ep->ejected_until_ms, &seen_ms, next_ms,
                                                   memory_order_relaxed, memory_order_relaxed);
}

/* Adds one request to the slot of now; returns whether the slot now speaks against ep. */
static bool slot_add(struct sl_endpoint *ep, uint64_t now_ms, bool failed)
{
    uint64_t slot = now_ms / SL_OUTLIER_SLOT_MS + 1; /* 0 is the zeroed memory's */
    uint64_t seen = LOAD(ep->window);
    uint64_t requests_n;
    uint64_t failures_n;

    do {
        bool same = seen >> 2 * COUNT_BITS == slot;
        requests_n = same ? seen >> COUNT_BITS & COUNT_MAX : 0;
        failures_n = same ? seen & COUNT_MAX : 0;
        if (requests_n < COUNT_MAX) { /* full: 65 535 requests have told what there is to tell */
            requests_n++;
            failures_n += failed;
        }
    } while (!atomic_compare_exchange_weak_explicit(
        &ep->window, &seen, slot << 2 * COUNT_BITS | requests_n << COUNT_BITS | failures_n,
        memory_order_relaxed, memory_order_relaxed));
    return requests_n >= SL_OUTLIER_SLOT_LEAST_N && failures_n * 5 > requests_n;
}

static void forget_failures(struct sl_endpoint *ep)
{
    STORE(ep->failures_in_row_n, 0);
    STORE(ep->window, 0);
}

static uint64_t backoff_ms(uint32_t before_n, bool refused, struct sl_rng *rng)
{
    uint64_t ms = SL_OUTLIER_BASE_MS;

    for (uint32_t i = 0; i < before_n && ms < SL_OUTLIER_MAX_MS; i++) {
        ms *= 2;
    }
    ms = ms < SL_OUTLIER_MAX_MS ? ms : SL_OUTLIER_MAX_MS;
    return refused && before_n == 0 ? ms : ms + sl_rng_below(rng, ms / 2 + 1);
}

/* Whether the failure of an attempt that began then is news, given what was seen of ep: that of
 * one that is out is, once a trial has begun. Not "began after the trial": clocks are a loop
 * turn's. */
static bool is_news(const struct sl_endpoint *ep, uint64_t seen_until_ms,
                    const struct sl_outlier_report *r)
{
    if (LOAD(ep->ejections_in_row_n) == 0) {
        return seen_until_ms <= r->now_ms; /* else another worker is just ejecting it */
    }
    return LOAD(ep->on_trial) && r->began_ms > LOAD(ep->ejected_at_ms);
}

static bool eject(struct sl_endpoint *ep, bool refused, uint64_t seen_until_ms,
                  const struct sl_outlier_report *r)
{
    uint32_t before_n = LOAD(ep->ejections_in_row_n);

    if (!swap_until(ep, seen_until_ms, r->now_ms + backoff_ms(before_n, refused, r->rng))) {
        return false;
    }
    STORE(ep->on_trial, false);
    STORE(ep->ejected_at_ms, r->now_ms);
    STORE(ep->ejected_refused, refused);
    STORE(ep->ejected_hung, false);
    STORE(ep->ejections_in_row_n, before_n + 1);
    forget_failures(ep);
    return true;
}

/* Whether half of the members that take new requests remain, at least one, without ep. */
static bool enough_remain(const struct sl_endpoint_set *set, const struct sl_endpoint *without)
{
    size_t members_n = 0;
    size_t remain_n = 0;

    for (size_t i = 0; i < set->members_n; i++) {
        const struct sl_member *m = &set->members[i];
        if (m->weight > 0 && !m->draining && !LOAD(m->endpoint->drained_by_hand)) {
            members_n++;
            /* One that awaits its trial is gone still, and so the trial's failure takes nobody. */
            remain_n += m->endpoint != without && LOAD(m->endpoint->health) != SL_HEALTH_DOWN &&
                        LOAD(m->endpoint->ejections_in_row_n) == 0;
        }
    }
    return remain_n > 0 && remain_n * 2 >= members_n;
}

static bool eject_if_enough_remain(struct sl_outlier *o, const struct sl_endpoint_set *set,
                                   struct sl_endpoint *ep, const struct sl_outlier_report *r)
{
    uint64_t until_ms = LOAD(ep->ejected_until_ms);

    if (!is_news(ep, until_ms, r)) {
        return false;
    }
    if (LOAD(ep->ejections_in_row_n) > 0) {
        return eject(ep, false, until_ms, r);
    }
    /* Acquire and release: the next one to count sees what this one ejects. If busy, the next
     * failure asks again. */
    if (atomic_exchange_explicit(&o->busy, true, memory_order_acquire)) {
        return false;
    }
    bool ejected = enough_remain(set, ep) && eject(ep, false, until_ms, r);
    atomic_store_explicit(&o->busy, false, memory_order_release);
    if (!ejected) {
        forget_failures(ep); /* or each further failure would count the members again */
    }
    return ejected;
}

/* Unless another worker has just done so. */
static void take_back(struct sl_endpoint *ep, uint64_t seen_until_ms, uint64_t now_ms)
{
    if (swap_until(ep, seen_until_ms, 0)) {
        STORE(ep->came_at_ms, now_ms);
        STORE(ep->ejections_in_row_n, 0);
        STORE(ep->on_trial, false);
        STORE(ep->ejected_hung, false);
    }
}

void sl_outlier_on_answer(struct sl_endpoint *ep, uint64_t began_ms, uint64_t now_ms)
{
    if (LOAD(ep->last_success_ms) != now_ms) { /* do not write a line that others read */
        STORE(ep->last_success_ms, now_ms);
    }
    if (LOAD(ep->failures_in_row_n) != 0) {
        STORE(ep->failures_in_row_n, 0);
    }
    if (LOAD(ep->ejections_in_row_n) == 0 || began_ms <= LOAD(ep->ejected_at_ms) ||
        LOAD(ep->ejected_hung)) /* a head is no first byte */
    {
        return;
    }
    take_back(ep, LOAD(ep->ejected_until_ms), now_ms);
}

void sl_outlier_on_first_byte(struct sl_endpoint *ep, uint64_t now_ms)
{
    if (LOAD(ep->ejected_hung) && LOAD(ep->ejections_in_row_n) > 0) {
        take_back(ep, LOAD(ep->ejected_until_ms), now_ms);
    }
}

static void steer_away(struct sl_endpoint *ep, uint64_t retry_after_ms, uint64_t now_ms)
{
    uint64_t ms =
        retry_after_ms < SL_OUTLIER_STEER_MAX_MS ? retry_after_ms : SL_OUTLIER_STEER_MAX_MS;
    STORE(ep->steer_until_ms, now_ms + ms);
}

bool sl_outlier_on_outcome(struct sl_outlier *o, const struct sl_endpoint_set *set,
                           struct sl_endpoint *ep, const struct sl_outcome *outcome,
                           const struct sl_outlier_report *r)
{
    if (outcome->abandoned) {
        return false;
    }
    if (outcome->refused) {
        return sl_outlier_on_connect_refused(ep, r);
    }
    bool failed = sl_outcome_is_failure(outcome);
    bool slot_is_bad = slot_add(ep, r->now_ms, failed);
    if (!failed) {
        if (outcome->retry_after_ms > 0 && (outcome->status == 503 || outcome->status == 429)) {
            steer_away(ep, outcome->retry_after_ms, r->now_ms);
        }
        sl_outlier_on_answer(ep, r->began_ms, r->now_ms);
        return false;
    }
    uint32_t in_row_n =
        atomic_fetch_add_explicit(&ep->failures_in_row_n, 1, memory_order_relaxed) + 1;
    /* One failure is enough of one that is out: it had its chance to show that it is back. */
    if (in_row_n < SL_OUTLIER_IN_ROW_N && !slot_is_bad && LOAD(ep->ejections_in_row_n) == 0) {
        return false;
    }
    return eject_if_enough_remain(o, set, ep, r);
}

bool sl_outlier_on_connect_refused(struct sl_endpoint *ep, const struct sl_outlier_report *r)
{
    uint64_t until_ms = LOAD(ep->ejected_until_ms);

    if (is_news(ep, until_ms, r)) {
        return eject(ep, true, until_ms, r);
    }
    /* Out for another reason, and gone now: no pick is to find it among those that listen. */
    if (LOAD(ep->ejections_in_row_n) > 0 && !LOAD(ep->ejected_refused)) {
        STORE(ep->ejected_refused, true);
        STORE(ep->ejected_hung, false);
    }
    return false;
}

bool sl_outlier_on_hang(struct sl_outlier *o, const struct sl_endpoint_set *set,
                        struct sl_endpoint *ep, const struct sl_outlier_report *r)
{
    bool ejected = eject_if_enough_remain(o, set, ep, r);

    if (ejected) {
        STORE(ep->ejected_hung, true);
    }
    return ejected;
}

bool sl_outlier_on_unreachable(struct sl_endpoint *ep, uint64_t now_ms)
{
    bool in_row = LOAD(ep->last_success_ms) <= LOAD(ep->connect_failed_at_ms);

    STORE(ep->connect_failed_at_ms, now_ms);
    if (!in_row) {
        STORE(ep->connect_failures_n, 1);
        return false;
    }
    return atomic_fetch_add_explicit(&ep->connect_failures_n, 1, memory_order_relaxed) + 1 >=
           SL_OUTLIER_DOUBT_N;
}

bool sl_outlier_admit(struct sl_endpoint *ep, uint64_t now_ms)
{
    if (LOAD(ep->ejections_in_row_n) == 0) {
        return true;
    }
    uint64_t until_ms = LOAD(ep->ejected_until_ms);
    if (until_ms > now_ms || !swap_until(ep, until_ms, now_ms + SL_OUTLIER_TRIAL_MS)) {
        return false;
    }
    if (!LOAD(ep->on_trial)) {
        STORE(ep->trial_at_ms, now_ms);
        STORE(ep->on_trial, true);
    }
    return true;
}

uint64_t sl_outlier_asked_at_ms(const struct sl_endpoint *ep)
{
    uint64_t knocked_ms = LOAD(ep->knocked_at_ms);
    uint64_t failed_ms = LOAD(ep->connect_failed_at_ms);

    return knocked_ms > failed_ms ? knocked_ms : failed_ms;
}

bool sl_outlier_may_knock(const struct sl_outlier *o, uint64_t now_ms)
{
    uint64_t last_ms = LOAD(o->knocked_at_ms);

    return last_ms == 0 || now_ms >= last_ms + SL_OUTLIER_KNOCK_MS;
}

bool sl_outlier_knock(struct sl_outlier *o, struct sl_endpoint *ep, uint64_t now_ms)
{
    uint64_t last_ms = LOAD(o->knocked_at_ms);

    if (!sl_outlier_may_knock(o, now_ms) ||
        !atomic_compare_exchange_strong_explicit(&o->knocked_at_ms, &last_ms, now_ms,
                                                 memory_order_relaxed, memory_order_relaxed))
    {
        return false;
    }
    STORE(ep->knocked_at_ms, now_ms);
    return true;
}

void sl_outlier_on_connect(struct sl_endpoint *ep, uint64_t began_ms, uint64_t now_ms)
{
    if (sl_endpoint_refuses(ep) && began_ms > LOAD(ep->ejected_at_ms)) {
        take_back(ep, LOAD(ep->ejected_until_ms), now_ms);
    }
}

void sl_outlier_on_probe_ok(struct sl_endpoint *ep, uint64_t now_ms)
{
    uint64_t until_ms = LOAD(ep->ejected_until_ms);
    bool over = (until_ms <= now_ms && !LOAD(ep->ejected_hung)) || LOAD(ep->ejected_refused);

    if (LOAD(ep->ejections_in_row_n) > 0 && over) {
        take_back(ep, until_ms, now_ms);
    }
}
