/* SPDX-License-Identifier: Apache-2.0 */
/*
 * health_rules: what answers mean in a row, and when to ask again. Nothing here does I/O.
 *
 * Thread:    any (pure)
 */
#ifndef SL_UPSTREAM_HEALTH_RULES_H
#define SL_UPSTREAM_HEALTH_RULES_H

#include <sluiced/config.h>
#include <sluiced/endpoint.h>

#include "health_checker.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct sl_rng;

/* Answers of one kind in a row: one of the two is 0. */
struct sl_health_streak {
    uint32_t good_n;
    uint32_t bad_n;
};

enum sl_health_verdict {
    SL_HEALTH_GOOD,
    SL_HEALTH_BAD,
    SL_HEALTH_REFUSED, /* bad, and nobody listens: enough for one that was never judged */
    SL_HEALTH_SILENT,  /* the failure is ours: it says nothing */
};

enum sl_health_verdict sl_health_verdict_of(const struct sl_health_result *result,
                                            const struct sl_health_config *conf);

/* Counts the verdict in streak and returns the state that follows from was. */
enum sl_health sl_health_next(enum sl_health was, struct sl_health_streak *streak,
                              enum sl_health_verdict verdict, const struct sl_health_config *conf);

/* Whether traffic that succeeds says what a check would. */
bool sl_health_traffic_proves(const struct sl_health_config *conf);

/* What to log: "refused", "timeout", "reset", "tls", "protocol", "status_503", "body"; else the
 * name of the code. buf: SL_HEALTH_REASON_BYTES; returns it. */
#define SL_HEALTH_REASON_BYTES 24
const char *sl_health_reason(const struct sl_health_result *result,
                             const struct sl_health_config *conf, char *buf);

/* What n endpoints at interval_ms ask for, in probes per 1000 s. */
uint64_t sl_health_demand(uint64_t endpoints_n, uint64_t interval_ms);

/* interval_ms, longer by what demand exceeds SL_HEALTH_PROBES_A_SECOND_N, rounded up.
 * interval_ms <= 1 h, and demand at most that of 2^26 endpoints at 1 ms. */
uint64_t sl_health_stretch_ms(uint64_t interval_ms, uint64_t demand);

/* When to ask again: after interval_ms, or after a quarter of it, but not below
 * SL_HEALTH_HURRIED_MS unless interval_ms is, while the last answer speaks against the state. */
uint64_t sl_health_hurried_ms(uint64_t interval_ms, enum sl_health is,
                              const struct sl_health_streak *streak);

/* interval_ms +- SL_HEALTH_JITTER_PCT. */
uint64_t sl_health_jitter_ms(uint64_t interval_ms, struct sl_rng *rng);

/* Whether traffic succeeded less than interval_ms ago; last_success_ms 0: never did. */
bool sl_health_is_proved(uint64_t last_success_ms, uint64_t now_ms, uint64_t interval_ms);

#endif
