/* SPDX-License-Identifier: Apache-2.0 */
#include "proxy/base/num.h"
#include "proxy/base/rng.h"
#include "tests/unit/check.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static void digits_that_fit_become_a_number(void **state)
{
    static const struct {
        const char *text;
        uint64_t max;
        uint64_t value;
    } rows[] = {
        {"0", UINT64_MAX, 0},
        {"7", UINT64_MAX, 7},
        {"00000000000000000042", UINT64_MAX, 42},
        {"18446744073709551615", UINT64_MAX, UINT64_MAX},
        {"65535", 65535, 65535},
        {"0", 0, 0},
        {"9", 10, 9},
        {"10", 10, 10},
    };
    (void)state;

    for (size_t i = 0; i < SL_ARRAY_LEN(rows); i++) {
        uint64_t v = 77;
        int rc = sl_num_parse_below(sl_slice_of(rows[i].text), rows[i].max, &v);

        check(rc == SL_OK && v == rows[i].value, "\"%s\": %d, %ju", rows[i].text, rc, (uintmax_t)v);
    }
}

static void anything_else_is_refused_and_the_number_untouched(void **state)
{
    static const struct {
        struct sl_slice text;
        uint64_t max;
    } rows[] = {
        {{NULL, 0}, UINT64_MAX},
        {{"", 0}, UINT64_MAX},
        {{"-1", 2}, UINT64_MAX},
        {{"+1", 2}, UINT64_MAX},
        {{" 1", 2}, UINT64_MAX},
        {{"1 ", 2}, UINT64_MAX},
        {{"1\n", 2}, UINT64_MAX},
        {{"1\0", 2}, UINT64_MAX},
        {{"0x1", 3}, UINT64_MAX},
        {{"1e3", 3}, UINT64_MAX},
        {{"1.0", 3}, UINT64_MAX},
        {{"1_0", 3}, UINT64_MAX},
        {{"/", 1}, UINT64_MAX}, /* before '0' */
        {{":", 1}, UINT64_MAX}, /* after '9' */
        {{"\xb2", 1}, UINT64_MAX},
        {{"18446744073709551616", 20}, UINT64_MAX},
        {{"99999999999999999999", 20}, UINT64_MAX},
        {{"000000000000000000001", 21}, UINT64_MAX},
        {{"65536", 5}, 65535},
        {{"1", 1}, 0},
        {{"11", 2}, 10},
        {{"20", 2}, 10},
        {{"100", 3}, 10},
    };
    (void)state;

    for (size_t i = 0; i < SL_ARRAY_LEN(rows); i++) {
        uint64_t v = 77;
        int rc = sl_num_parse_below(rows[i].text, rows[i].max, &v);

        check(rc == SL_EPROTO, "row %zu: %d, expected SL_EPROTO", i, rc);
        check(v == 77, "row %zu: refused, yet wrote %ju", i, (uintmax_t)v);
        check(rows[i].max != UINT64_MAX || sl_num_parse_u64(rows[i].text, &v) == SL_EPROTO,
              "row %zu: without a bound", i);
    }
}

static void a_slice_ends_where_it_says_and_not_at_the_last_digit(void **state)
{
    uint64_t v = 0;
    (void)state;

    assert_int_equal(sl_num_parse_u64((struct sl_slice){"12345", 3}, &v), SL_OK);
    assert_int_equal(v, 123);
}

static void what_is_written_is_what_printf_writes_and_reads_back(void **state)
{
    struct sl_rng rng = {3};
    (void)state;

    for (int i = 0; i < 2000; i++) {
        uint64_t v = i == 0 ? 0 : i == 1 ? UINT64_MAX : sl_rng_next(&rng) >> sl_rng_below(&rng, 64);
        char buf[SL_NUM_TEXT_BYTES];
        char expected[SL_NUM_TEXT_BYTES + 1];
        uint64_t back = 0;

        size_t n = sl_num_format_u64(v, buf);
        (void)snprintf(expected, sizeof(expected), "%" PRIu64, v);
        check(n == strlen(expected) && memcmp(buf, expected, n) == 0, "%s: \"%.*s\"", expected,
              (int)n, buf);
        check(sl_num_parse_u64((struct sl_slice){buf, n}, &back) == SL_OK && back == v,
              "%s read back as %ju", expected, (uintmax_t)back);

        n = sl_num_format_hex(v, buf);
        (void)snprintf(expected, sizeof(expected), "%" PRIx64, v);
        check(n == strlen(expected) && memcmp(buf, expected, n) == 0, "%s: \"%.*s\"", expected,
              (int)n, buf);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(digits_that_fit_become_a_number),
        cmocka_unit_test(anything_else_is_refused_and_the_number_untouched),
        cmocka_unit_test(a_slice_ends_where_it_says_and_not_at_the_last_digit),
        cmocka_unit_test(what_is_written_is_what_printf_writes_and_reads_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
