/* SPDX-License-Identifier: Apache-2.0 */
#include "health_rules.h"

#include "health.h"

#include "proxy/base/rng.h"

#include <stdio.h>

enum {
    PER_MILLE = 1000
};

static bool is_expected(uint16_t status, const struct sl_health_config *conf)
{
    static const struct sl_status_range successful = {200, 299};
    const struct sl_status_range *ranges = conf->statuses_n > 0 ? conf->statuses : &successful;
    size_t n = conf->statuses_n > 0 ? conf->statuses_n : 1;

    return status == 0 /* tcp */ || sl_status_is_in(ranges, n, status);
}

enum sl_health_verdict sl_health_verdict_of(const struct sl_health_result *result,
                                            const struct sl_health_config *conf)
{
    switch (result->code) {
    case SL_OK:
        return is_expected(result->status, conf) && !result->body_lacks ? SL_HEALTH_GOOD
                                                                        : SL_HEALTH_BAD;
    case SL_EREFUSED:
        return SL_HEALTH_REFUSED;
    case SL_ENOMEM:
    case SL_ELIMIT:
        return SL_HEALTH_SILENT;
    default:
        return SL_HEALTH_BAD;
    }
}

static uint32_t one_more(uint32_t n)
{
    return n < UINT32_MAX ? n + 1 : n;
}

enum sl_health sl_health_next(enum sl_health was, struct sl_health_streak *streak,
                              enum sl_health_verdict verdict, const struct sl_health_config *conf)
{
    if (verdict == SL_HEALTH_SILENT) {
        return was;
    }
    if (verdict == SL_HEALTH_GOOD) {
        streak->good_n = one_more(streak->good_n);
        streak->bad_n = 0;
        return was != SL_HEALTH_DOWN || streak->good_n >= conf->rise_n ? SL_HEALTH_UP : was;
    }
    streak->good_n = 0;
    streak->bad_n = one_more(streak->bad_n);
    if (was == SL_HEALTH_UNKNOWN && verdict == SL_HEALTH_REFUSED) {
        return SL_HEALTH_DOWN;
    }
    return streak->bad_n >= conf->fall_n ? SL_HEALTH_DOWN : was;
}

bool sl_health_traffic_proves(const struct sl_health_config *conf)
{
    return conf->port == 0 && conf->body == NULL;
}

const char *sl_health_reason(const struct sl_health_result *result,
                             const struct sl_health_config *conf, char *buf)
{
    if (result->code == SL_OK && result->body_lacks && is_expected(result->status, conf)) {
        (void)snprintf(buf, SL_HEALTH_REASON_BYTES, "body"); /* fits */
    } else if (result->code == SL_OK && result->status != 0) {
        (void)snprintf(buf, SL_HEALTH_REASON_BYTES, "status_%u", result->status); /* fits */
    } else {
        /* Who closes instead of answering is not more polite than who resets. */
        int code = result->code == SL_ECLOSED ? SL_ERESET : result->code;
        (void)snprintf(buf, SL_HEALTH_REASON_BYTES, "%s", sl_err_name(code)); /* fits */
    }
    return buf;
}

uint64_t sl_health_demand(uint64_t endpoints_n, uint64_t interval_ms)
{
    return endpoints_n * 1000 * 1000 / (interval_ms > 0 ? interval_ms : 1);
}

uint64_t sl_health_stretch_ms(uint64_t interval_ms, uint64_t demand)
{
    const uint64_t most = (uint64_t)SL_HEALTH_PROBES_A_SECOND_N * 1000;

    if (demand <= most) {
        return interval_ms;
    }
    /* In thousandths, and in this order, so that nothing overflows. */
    uint64_t factor = (demand + SL_HEALTH_PROBES_A_SECOND_N - 1) / SL_HEALTH_PROBES_A_SECOND_N;
    return (interval_ms * factor + PER_MILLE - 1) / PER_MILLE;
}

uint64_t sl_health_hurried_ms(uint64_t interval_ms, enum sl_health is,
                              const struct sl_health_streak *streak)
{
    bool about_to_change = is == SL_HEALTH_DOWN ? streak->good_n > 0 : streak->bad_n > 0;

    if (!about_to_change || interval_ms <= SL_HEALTH_HURRIED_MS) {
        return interval_ms;
    }
    return interval_ms / 4 > SL_HEALTH_HURRIED_MS ? interval_ms / 4 : SL_HEALTH_HURRIED_MS;
}

uint64_t sl_health_jitter_ms(uint64_t interval_ms, struct sl_rng *rng)
{
    uint64_t jitter_ms = interval_ms * SL_HEALTH_JITTER_PCT / 100;

    return interval_ms - jitter_ms + sl_rng_below(rng, 2 * jitter_ms + 1);
}

bool sl_health_is_proved(uint64_t last_success_ms, uint64_t now_ms, uint64_t interval_ms)
{
    /* A worker's clock may be ahead of ours by the length of a turn. */
    return last_success_ms != 0 &&
           (last_success_ms >= now_ms || now_ms - last_success_ms < interval_ms);
}
