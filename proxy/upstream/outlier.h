/* SPDX-License-Identifier: Apache-2.0 */
/*
 * outlier: passive health: what the traffic itself says about an endpoint.
 *
 *   refused connect                                 out at once
 *   5 gateway errors in a row                       out, if enough of the set remains
 *   success < 0.8 of >= 5 requests in a 10 s slot   out, if enough of the set remains
 *   no first byte while the others give some        out, if enough of the set remains: hang.h
 *   503 or 429 with Retry-After                     steered away from for that long, not out
 *
 * Out lasts 1 s, doubling up to 60 s with each ejection that follows without a success, plus a
 * random part of up to one half: never sooner than said, and many proxies do not come back at once.
 * The first refusal is exactly 1 s. Then one request is let through as a trial; the next follows
 * when it succeeded, or 5 s later while it has not ended. What began before the ejection proves
 * nothing: a pod that dies with 50 requests is ejected once.
 *
 * Who refused, whatever it was out for before, is sent nothing while it is out, for that would
 * fail. Where a request has nobody else, it knocks instead: at one endpoint of the pool every
 * SL_OUTLIER_KNOCK_MS, and whoever takes the connection is back. So the first one of many that
 * restart is found at once, and not flooded.
 *
 * "Enough" is half of the members that take new requests, at least one. Members that refused or
 * failed a probe count as gone, but need nobody's leave to go.
 *
 * Lifetime:  the state is in the endpoint; struct sl_outlier is the pool's
 * Thread:    any worker at any time, only atomics; the clock is passed in (sl_time, ms)
 * Limits:    O(1), but for an ejection that asks whether enough remains: O(members)
 */
#ifndef SL_UPSTREAM_OUTLIER_H
#define SL_UPSTREAM_OUTLIER_H

#include <sluiced/balancer.h>
#include <sluiced/endpoint.h>

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define SL_OUTLIER_BASE_MS 1000
#define SL_OUTLIER_MAX_MS 60000
#define SL_OUTLIER_TRIAL_MS 5000
#define SL_OUTLIER_IN_ROW_N 5
#define SL_OUTLIER_SLOT_MS 10000
#define SL_OUTLIER_SLOT_LEAST_N 5
#define SL_OUTLIER_STEER_MAX_MS 300000
#define SL_OUTLIER_DOUBT_N 2
#define SL_OUTLIER_KNOCK_MS 25

struct sl_rng;

struct sl_outlier {
    _Atomic bool busy; /* one worker counts who remains: two at once could each take the last */
    _Atomic uint64_t knocked_at_ms; /* the last one of the pool; 0: never */
};

/* When and by whom an outcome is reported. rng is the calling worker's. */
struct sl_outlier_report {
    uint64_t began_ms; /* of the attempt; rather too early than too late */
    uint64_t now_ms;
    struct sl_rng *rng;
};

/* How an attempt at ep, a member of set, ended. True: it ejected ep now. */
bool sl_outlier_on_outcome(struct sl_outlier *o, const struct sl_endpoint_set *set,
                           struct sl_endpoint *ep, const struct sl_outcome *outcome,
                           const struct sl_outlier_report *r);

/* A connect that belongs to no attempt was refused. True: it ejected ep now. */
bool sl_outlier_on_connect_refused(struct sl_endpoint *ep, const struct sl_outlier_report *r);

/* ep hangs since r->began_ms. True: it was ejected now. Control thread. */
bool sl_outlier_on_hang(struct sl_outlier *o, const struct sl_endpoint_set *set,
                        struct sl_endpoint *ep, const struct sl_outlier_report *r);

/* ep gave a first byte: ends an ejection for a hang, whenever the request began. */
void sl_outlier_on_first_byte(struct sl_endpoint *ep, uint64_t now_ms);

/* An attempt at ep found nobody: refused, or the connect timed out. True: it was not the first in
 * a row, and one may doubt that ep exists. Costs a success nothing. */
bool sl_outlier_on_unreachable(struct sl_endpoint *ep, uint64_t now_ms);

/* The head of a good response is here: says so before the end of an answer that takes minutes.
 * Not needed where the outcome follows at once. */
void sl_outlier_on_answer(struct sl_endpoint *ep, uint64_t began_ms, uint64_t now_ms);

/* Asked once for each pick above SL_TIER_ANY. False: ep awaits its trial and another worker was
 * faster: pick again. */
bool sl_outlier_admit(struct sl_endpoint *ep, uint64_t now_ms);

/* When ep, that refuses, was last asked whether it does. */
uint64_t sl_outlier_asked_at_ms(const struct sl_endpoint *ep);

/* Whether it is time to knock somewhere; and at ep, unless another worker was faster. */
bool sl_outlier_may_knock(const struct sl_outlier *o, uint64_t now_ms);
bool sl_outlier_knock(struct sl_outlier *o, struct sl_endpoint *ep, uint64_t now_ms);

/* A connection to ep, begun then, is open: ends an ejection for a refused one. */
void sl_outlier_on_connect(struct sl_endpoint *ep, uint64_t began_ms, uint64_t now_ms);

/* An active probe succeeded: ends an ejection for a refused connect, and one that has run out
 * and would need a trial, but for a hang. Statistics are not its to judge, and a server that
 * hangs may well answer probes. Control thread. */
void sl_outlier_on_probe_ok(struct sl_endpoint *ep, uint64_t now_ms);

#endif
