/* SPDX-License-Identifier: Apache-2.0 */
#include "proxy/base/rng.h"
#include "proxy/upstream/health.h"
#include "proxy/upstream/health_rules.h"
#include "tests/unit/check.h"

#include <string.h>

static char letter_of(enum sl_health h)
{
    return h == SL_HEALTH_UP ? 'U' : h == SL_HEALTH_DOWN ? 'D' : '?';
}

static enum sl_health_verdict verdict_of(char letter)
{
    switch (letter) {
    case '+':
        return SL_HEALTH_GOOD;
    case '-':
        return SL_HEALTH_BAD;
    case 'r':
        return SL_HEALTH_REFUSED;
    default:
        return SL_HEALTH_SILENT;
    }
}

static void rise_and_fall_decide_when_the_state_changes(void **state)
{
    /* What is seen, and the state behind each of it. */
    static const struct {
        const char *seen;
        const char *states;
        uint32_t rise_n;
        uint32_t fall_n;
        enum sl_health from;
    } rows[] = {
        {"+", "U", 2, 3, SL_HEALTH_UNKNOWN},
        {"---", "??D", 2, 3, SL_HEALTH_UNKNOWN},
        {"-+", "?U", 2, 3, SL_HEALTH_UNKNOWN},
        {"r", "D", 2, 3, SL_HEALTH_UNKNOWN},
        {"-r", "?D", 2, 3, SL_HEALTH_UNKNOWN},
        {"rrr", "UUD", 2, 3, SL_HEALTH_UP},
        {"-r-", "UUD", 2, 3, SL_HEALTH_UP},
        {"--+--+---", "UUUUUUUUD", 2, 3, SL_HEALTH_UP},
        {"++", "DU", 2, 3, SL_HEALTH_DOWN},
        {"+-++", "DDDU", 2, 3, SL_HEALTH_DOWN},
        {"-----+-+", "DDDDDDDD", 2, 3, SL_HEALTH_DOWN},
        {"+-+", "UDU", 1, 1, SL_HEALTH_DOWN},
        {"--s-", "UUUD", 2, 3, SL_HEALTH_UP}, /* silence breaks no row */
        {"+s+", "DDU", 2, 3, SL_HEALTH_DOWN},
        {"ssss", "????", 1, 1, SL_HEALTH_UNKNOWN},
    };
    (void)state;

    for (size_t i = 0; i < SL_ARRAY_LEN(rows); i++) {
        const struct sl_health_config conf = {.rise_n = rows[i].rise_n, .fall_n = rows[i].fall_n};
        struct sl_health_streak streak = {0};
        enum sl_health is = rows[i].from;
        for (size_t k = 0; rows[i].seen[k] != '\0'; k++) {
            is = sl_health_next(is, &streak, verdict_of(rows[i].seen[k]), &conf);
            check(letter_of(is) == rows[i].states[k], "row %zu, after %zu: %c", i, k + 1,
                  letter_of(is));
        }
    }
}

static void a_streak_does_not_wrap(void **state)
{
    const struct sl_health_config conf = {.rise_n = 2, .fall_n = 3};
    struct sl_health_streak streak = {.bad_n = UINT32_MAX};
    (void)state;

    assert_int_equal(sl_health_next(SL_HEALTH_DOWN, &streak, SL_HEALTH_BAD, &conf), SL_HEALTH_DOWN);
    assert_true(streak.bad_n == UINT32_MAX);
}

static void a_result_has_a_verdict_and_a_reason(void **state)
{
    static const struct {
        int code;
        uint16_t status;
        enum sl_health_verdict verdict;
        const char *reason;
    } rows[] = {
        {SL_OK, 0, SL_HEALTH_GOOD, "ok"},           {SL_OK, 200, SL_HEALTH_GOOD, "status_200"},
        {SL_OK, 299, SL_HEALTH_GOOD, "status_299"}, {SL_OK, 300, SL_HEALTH_BAD, "status_300"},
        {SL_OK, 301, SL_HEALTH_BAD, "status_301"},  {SL_OK, 404, SL_HEALTH_BAD, "status_404"},
        {SL_OK, 503, SL_HEALTH_BAD, "status_503"},  {SL_EREFUSED, 0, SL_HEALTH_REFUSED, "refused"},
        {SL_ETIMEOUT, 0, SL_HEALTH_BAD, "timeout"}, {SL_ERESET, 0, SL_HEALTH_BAD, "reset"},
        {SL_ECLOSED, 0, SL_HEALTH_BAD, "reset"},    {SL_ETLS, 0, SL_HEALTH_BAD, "tls"},
        {SL_EPROTO, 0, SL_HEALTH_BAD, "protocol"},  {SL_EIO, 0, SL_HEALTH_BAD, "io"},
        {SL_ENOMEM, 0, SL_HEALTH_SILENT, "memory"}, {SL_ELIMIT, 0, SL_HEALTH_SILENT, "limit"},
    };
    const struct sl_health_config conf = {0};
    (void)state;

    for (size_t i = 0; i < SL_ARRAY_LEN(rows); i++) {
        const struct sl_health_result r = {.code = rows[i].code, .status = rows[i].status};
        char reason[SL_HEALTH_REASON_BYTES];
        check(sl_health_verdict_of(&r, &conf) == rows[i].verdict, "row %zu: verdict %d", i,
              (int)sl_health_verdict_of(&r, &conf));
        assert_string_equal(sl_health_reason(&r, &conf, reason), rows[i].reason);
    }
}

static void what_is_healthy_is_the_configs_to_say(void **state)
{
    static const struct sl_status_range ranges[] = {{204, 204}, {300, 399}, {503, 503}};
    static const struct {
        uint16_t status;
        bool body_lacks;
        enum sl_health_verdict verdict;
        const char *reason;
    } rows[] = {
        {200, false, SL_HEALTH_BAD, "status_200"},  {203, false, SL_HEALTH_BAD, "status_203"},
        {204, false, SL_HEALTH_GOOD, "status_204"}, {205, false, SL_HEALTH_BAD, "status_205"},
        {299, false, SL_HEALTH_BAD, "status_299"},  {300, false, SL_HEALTH_GOOD, "status_300"},
        {399, false, SL_HEALTH_GOOD, "status_399"}, {400, false, SL_HEALTH_BAD, "status_400"},
        {503, false, SL_HEALTH_GOOD, "status_503"}, {204, true, SL_HEALTH_BAD, "body"},
        {200, true, SL_HEALTH_BAD, "status_200"},   {0, false, SL_HEALTH_GOOD, "ok"},
    };
    const struct sl_health_config conf = {.statuses = ranges, .statuses_n = SL_ARRAY_LEN(ranges)};
    (void)state;

    for (size_t i = 0; i < SL_ARRAY_LEN(rows); i++) {
        const struct sl_health_result r = {
            .code = SL_OK,
            .status = rows[i].status,
            .body_lacks = rows[i].body_lacks,
        };
        char reason[SL_HEALTH_REASON_BYTES];
        check(sl_health_verdict_of(&r, &conf) == rows[i].verdict, "row %zu", i);
        assert_string_equal(sl_health_reason(&r, &conf, reason), rows[i].reason);
    }
}

static void traffic_proves_what_a_check_of_the_same_port_asks(void **state)
{
    const struct sl_health_config plain = {.path = "/health"};
    const struct sl_health_config elsewhere = {.path = "/health", .port = 8081};
    const struct sl_health_config deeper = {.path = "/health", .body = "ready"};
    (void)state;

    assert_true(sl_health_traffic_proves(&plain));
    assert_false(sl_health_traffic_proves(&elsewhere));
    assert_false(sl_health_traffic_proves(&deeper));
}

static void intervals_stretch_so_that_500_probes_a_second_are_not_exceeded(void **state)
{
    static const struct {
        uint64_t endpoints_n;
        uint64_t interval_ms;
        uint64_t stretched_ms;
    } rows[] = {
        {0, 2000, 2000},
        {1, 2000, 2000},
        {1000, 2000, 2000}, /* 500 a second */
        {1001, 2000, 2002},
        {2000, 2000, 4000},
        {65536, 2000, 131072},
        {50, 10, 100},
        {1ULL << 26, 3600000, 134218800},
        {1ULL << 26, 1, 134217728},
    };
    (void)state;

    for (size_t i = 0; i < SL_ARRAY_LEN(rows); i++) {
        uint64_t demand = sl_health_demand(rows[i].endpoints_n, rows[i].interval_ms);
        uint64_t ms = sl_health_stretch_ms(rows[i].interval_ms, demand);
        check(ms == rows[i].stretched_ms, "row %zu: %llu ms", i, (unsigned long long)ms);
        check(rows[i].endpoints_n * 1000 <= ms * SL_HEALTH_PROBES_A_SECOND_N ||
                  ms == rows[i].interval_ms,
              "row %zu: more than 500 a second", i);
    }
}

static void an_endpoint_about_to_change_is_asked_four_times_as_often(void **state)
{
    static const struct {
        uint64_t interval_ms;
        enum sl_health is;
        struct sl_health_streak streak;
        uint64_t hurried_ms;
    } rows[] = {
        {2000, SL_HEALTH_UP, {.good_n = 5}, 2000},
        {2000, SL_HEALTH_UP, {.bad_n = 1}, 500},
        {2000, SL_HEALTH_DOWN, {.bad_n = 9}, 2000},
        {2000, SL_HEALTH_DOWN, {.good_n = 1}, 500},
        {2000, SL_HEALTH_UNKNOWN, {.bad_n = 1}, 500},
        {2000, SL_HEALTH_UP, {0}, 2000},
        {2000, SL_HEALTH_DOWN, {0}, 2000},
        {400, SL_HEALTH_UP, {.bad_n = 1}, 100},
        {300, SL_HEALTH_UP, {.bad_n = 1}, 100},
        {100, SL_HEALTH_UP, {.bad_n = 1}, 100},
        {10, SL_HEALTH_UP, {.bad_n = 1}, 10},
    };
    (void)state;

    for (size_t i = 0; i < SL_ARRAY_LEN(rows); i++) {
        check(sl_health_hurried_ms(rows[i].interval_ms, rows[i].is, &rows[i].streak) ==
                  rows[i].hurried_ms,
              "row %zu", i);
    }
}

static void intervals_of_several_pools_stretch_alike(void **state)
{
    uint64_t demand = sl_health_demand(1000, 1000) + sl_health_demand(1000, 2000);
    (void)state;

    assert_int_equal(sl_health_stretch_ms(1000, demand), 3000);
    assert_int_equal(sl_health_stretch_ms(2000, demand), 6000);
    assert_int_equal(sl_health_stretch_ms(60000, demand), 180000);
}

static void jitter_stays_within_15_pct_and_reaches_both_sides(void **state)
{
    struct sl_rng rng = {.state = 7};
    uint64_t least_ms = UINT64_MAX;
    uint64_t most_ms = 0;
    (void)state;

    for (int i = 0; i < 10000; i++) {
        uint64_t ms = sl_health_jitter_ms(2000, &rng);
        least_ms = ms < least_ms ? ms : least_ms;
        most_ms = ms > most_ms ? ms : most_ms;
    }
    check(least_ms >= 1700 && least_ms < 1710, "least %llu", (unsigned long long)least_ms);
    check(most_ms <= 2300 && most_ms > 2290, "most %llu", (unsigned long long)most_ms);
    assert_int_equal(sl_health_jitter_ms(1, &rng), 1);
}

static void traffic_proves_health_within_one_interval(void **state)
{
    (void)state;

    assert_false(sl_health_is_proved(0, 1000, 2000)); /* there never was any */
    assert_true(sl_health_is_proved(1000, 1000, 2000));
    assert_true(sl_health_is_proved(1000, 2999, 2000));
    assert_false(sl_health_is_proved(1000, 3000, 2000));
    assert_true(sl_health_is_proved(1005, 1000, 2000)); /* a worker's clock is ahead */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rise_and_fall_decide_when_the_state_changes),
        cmocka_unit_test(a_streak_does_not_wrap),
        cmocka_unit_test(a_result_has_a_verdict_and_a_reason),
        cmocka_unit_test(what_is_healthy_is_the_configs_to_say),
        cmocka_unit_test(traffic_proves_what_a_check_of_the_same_port_asks),
        cmocka_unit_test(intervals_stretch_so_that_500_probes_a_second_are_not_exceeded),
        cmocka_unit_test(an_endpoint_about_to_change_is_asked_four_times_as_often),
        cmocka_unit_test(intervals_of_several_pools_stretch_alike),
        cmocka_unit_test(jitter_stays_within_15_pct_and_reaches_both_sides),
        cmocka_unit_test(traffic_proves_health_within_one_interval),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
