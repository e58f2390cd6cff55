/* SPDX-License-Identifier: Apache-2.0 */
#include <sluiced/time.h>

#include <string.h>
#include <time.h>

#define YEAR_9999_END_MS 253402300799999U /* four digits hold no later year */

static uint64_t now_us(clockid_t clock)
{
    struct timespec ts;

    (void)clock_gettime(clock, &ts); /* cannot fail: both clocks exist since Linux 2.6 */
    return (uint64_t)ts.tv_sec * 1000000 + (uint64_t)ts.tv_nsec / 1000;
}

uint64_t sl_time_now_us(void)
{
    return now_us(CLOCK_MONOTONIC);
}

uint64_t sl_time_now_ms(void)
{
    return now_us(CLOCK_MONOTONIC) / 1000;
}

uint64_t sl_time_unix_ms(void)
{
    return now_us(CLOCK_REALTIME) / 1000;
}

struct date {
    uint32_t year;
    uint32_t month;
    uint32_t day;
};

/* Days since 1970-01-01 as a Gregorian date. Years begin in March here, so the leap day is the
 * last of its year. Source: Howard Hinnant, "chrono-compatible low-level date algorithms". */
static struct date date_of(uint32_t days)
{
    uint32_t z = days + 719468; /* since 0000-03-01 */
    uint32_t era = z / 146097;  /* 400 years */
    uint32_t day_of_era = z % 146097;
    uint32_t year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146096) / 365;
    uint32_t day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    uint32_t month = (5 * day_of_year + 2) / 153; /* 0 = March */
    uint32_t in_next_year = month >= 10 ? 1 : 0;

    return (struct date){
        .year = era * 400 + year_of_era + in_next_year,
        .month = month + 3 - 12 * in_next_year,
        .day = day_of_year - (153 * month + 2) / 5 + 1,
    };
}

static void put_digits(char *at, uint32_t v, int n)
{
    for (int i = n - 1; i >= 0; i--) {
        at[i] = (char)('0' + v % 10);
        v /= 10;
    }
}

void sl_time_format(uint64_t unix_ms, char *buf)
{
    if (unix_ms > YEAR_9999_END_MS) {
        unix_ms = YEAR_9999_END_MS;
    }
    uint32_t ms_of_day = (uint32_t)(unix_ms % 86400000);
    uint32_t s = ms_of_day / 1000;
    struct date date = date_of((uint32_t)(unix_ms / 86400000));

    memcpy(buf, "0000-00-00T00:00:00.000Z", SL_TIME_TEXT_BYTES);
    put_digits(buf, date.year, 4);
    put_digits(buf + 5, date.month, 2);
    put_digits(buf + 8, date.day, 2);
    put_digits(buf + 11, s / 3600, 2);
    put_digits(buf + 14, s / 60 % 60, 2);
    put_digits(buf + 17, s % 60, 2);
    put_digits(buf + 20, ms_of_day % 1000, 3);
}
