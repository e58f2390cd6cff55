/* SPDX-License-Identifier: Apache-2.0 */
#include <sluiced/defs.h>
#include <sluiced/time.h>

#include "proxy/base/rng.h"
#include "tests/unit/check.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

static void a_moment_is_written_as_rfc_3339(void **state)
{
    static const struct {
        uint64_t unix_ms;
        const char *text;
    } rows[] = {
        {0, "1970-01-01T00:00:00.000Z"},
        {1, "1970-01-01T00:00:00.001Z"},
        {951782399999, "2000-02-28T23:59:59.999Z"},
        {951782400000, "2000-02-29T00:00:00.000Z"}, /* 400 divides the year */
        {951868800000, "2000-03-01T00:00:00.000Z"},
        {1709164800000, "2024-02-29T00:00:00.000Z"},
        {1735689599999, "2024-12-31T23:59:59.999Z"},
        {1735689600000, "2025-01-01T00:00:00.000Z"},
        {4107542400000, "2100-03-01T00:00:00.000Z"}, /* 2100 is no leap year */
        {4107542399999, "2100-02-28T23:59:59.999Z"},
        {253402300799999, "9999-12-31T23:59:59.999Z"},
        {253402300800000, "9999-12-31T23:59:59.999Z"}, /* no fifth digit */
        {UINT64_MAX, "9999-12-31T23:59:59.999Z"},
    };
    (void)state;

    for (size_t i = 0; i < SL_ARRAY_LEN(rows); i++) {
        char buf[SL_TIME_TEXT_BYTES];

        sl_time_format(rows[i].unix_ms, buf);
        check(strcmp(buf, rows[i].text) == 0, "%ju: %s, expected %s", (uintmax_t)rows[i].unix_ms,
              buf, rows[i].text);
    }
}

/* The C library's own idea of each day until 9999, at some moment of it. */
static void each_day_until_9999_is_the_one_the_c_library_names(void **state)
{
    struct sl_rng rng = {5};
    (void)state;

    for (uint64_t day = 0; day < 2932897; day++) {
        uint64_t unix_ms = day * 86400000 + sl_rng_below(&rng, 86400000);
        time_t s = (time_t)(unix_ms / 1000);
        char buf[SL_TIME_TEXT_BYTES];
        struct tm tm;

        assert_non_null(gmtime_r(&s, &tm));
        sl_time_format(unix_ms, buf);
        const unsigned found[] = {
            (unsigned)(buf[0] - '0') * 1000 + (unsigned)(buf[1] - '0') * 100 +
                (unsigned)(buf[2] - '0') * 10 + (unsigned)(buf[3] - '0'),
            (unsigned)(buf[5] - '0') * 10 + (unsigned)(buf[6] - '0'),
            (unsigned)(buf[8] - '0') * 10 + (unsigned)(buf[9] - '0'),
            (unsigned)(buf[11] - '0') * 10 + (unsigned)(buf[12] - '0'),
            (unsigned)(buf[14] - '0') * 10 + (unsigned)(buf[15] - '0'),
            (unsigned)(buf[17] - '0') * 10 + (unsigned)(buf[18] - '0'),
        };
        const int expected[] = {tm.tm_year + 1900, tm.tm_mon + 1, tm.tm_mday,
                                tm.tm_hour,        tm.tm_min,     tm.tm_sec};
        for (size_t i = 0; i < SL_ARRAY_LEN(found); i++) {
            check(found[i] == (unsigned)expected[i], "%ju: %s, field %zu should be %d",
                  (uintmax_t)unix_ms, buf, i, expected[i]);
        }
    }
}

static void the_monotonic_clock_goes_on_and_its_units_agree(void **state)
{
    uint64_t last_us = sl_time_now_us();
    (void)state;

    assert_true(last_us > 0);
    for (int i = 0; i < 1000; i++) {
        uint64_t ms = sl_time_now_ms();
        uint64_t us = sl_time_now_us();

        check(us >= last_us, "from %ju back to %ju", (uintmax_t)last_us, (uintmax_t)us);
        check(ms >= last_us / 1000 && ms <= us / 1000, "%ju ms between %ju and %ju us",
              (uintmax_t)ms, (uintmax_t)last_us, (uintmax_t)us);
        last_us = us;
    }
}

static void the_wall_clock_is_the_systems(void **state)
{
    time_t before = time(NULL);
    uint64_t ms = sl_time_unix_ms();
    (void)state;

    /* time() may lag by a kernel tick, and somebody may set the clock: seconds are fine enough. */
    check(ms / 1000 + 5 > (uint64_t)before && ms / 1000 < (uint64_t)before + 60, "%ju",
          (uintmax_t)ms);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_moment_is_written_as_rfc_3339),
        cmocka_unit_test(each_day_until_9999_is_the_one_the_c_library_names),
        cmocka_unit_test(the_monotonic_clock_goes_on_and_its_units_agree),
        cmocka_unit_test(the_wall_clock_is_the_systems),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
