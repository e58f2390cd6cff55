/* SPDX-License-Identifier: Apache-2.0 */
#include "config/duration.h"
#include "tests/unit/check.h"

#include <string.h>

static const struct sl_pos at = {
    .file = "sluiced.yaml",
    .key = "pools.chat.timeouts.connect",
    .line = 12,
    .column = 16,
};

static void a_number_and_a_unit_become_milliseconds(void **state)
{
    static const struct {
        const char *text;
        uint64_t ms;
    } rows[] = {
        {"150ms", 150},  {"2s", 2000}, {"5m", 300000},
        {"1h", 3600000}, {"0s", 0},    {"8760h", SL_DURATION_MAX_MS},
    };
    (void)state;

    for (size_t i = 0; i < SL_ARRAY_LEN(rows); i++) {
        struct sl_error err = {0};
        uint64_t ms = UINT64_MAX;
        int rc = sl_duration_parse(sl_slice_of(rows[i].text), &at, &ms, &err);

        check(rc == SL_OK, "\"%s\": %d, %s", rows[i].text, rc, err.message);
        check(ms == rows[i].ms, "\"%s\": %ju ms, expected %ju", rows[i].text, (uintmax_t)ms,
              (uintmax_t)rows[i].ms);
    }
}

static void anything_else_is_refused_at_the_character_that_is_wrong(void **state)
{
    static const struct {
        const char *text;
        uint32_t column;
        const char *message_has;
    } rows[] = {
        {"", 16, "a whole number, found \"\""},
        {"s", 16, "a whole number, found \"s\""},
        {"-1s", 16, "a whole number, found \"-1s\""},
        {"2", 17, "right after the number, found \"\""},
        {"2 s", 17, "found \" s\""},
        {"2sec", 17, "found \"sec\""},
        {"1.5s", 17, "found \".5s\""},
        {"1m30s", 17, "found \"m30s\""},
        {"8761h", 16, "at most one year"},
        {"18446744073709551617s", 16, "at most one year"}, /* 2^64 + 1 wraps to 1 */
    };
    (void)state;

    for (size_t i = 0; i < SL_ARRAY_LEN(rows); i++) {
        struct sl_error err = {0};
        uint64_t ms = 42;
        int rc = sl_duration_parse(sl_slice_of(rows[i].text), &at, &ms, &err);

        check(rc == SL_ECONFIG, "\"%s\": %d, expected SL_ECONFIG", rows[i].text, rc);
        check(ms == 42, "\"%s\": refused, yet wrote %ju", rows[i].text, (uintmax_t)ms);
        check(err.column == rows[i].column, "\"%s\": column %u, expected %u", rows[i].text,
              err.column, rows[i].column);
        check(strstr(err.message, rows[i].message_has) != NULL, "\"%s\": \"%s\" lacks \"%s\"",
              rows[i].text, err.message, rows[i].message_has);
    }
}

static void formatting_takes_the_largest_unit_that_divides(void **state)
{
    static const struct {
        uint64_t ms;
        const char *text;
    } rows[] = {
        {0, "0s"},      {1, "1ms"},     {1500, "1500ms"}, {2000, "2s"},
        {90000, "90s"}, {300000, "5m"}, {3600000, "1h"},  {SL_DURATION_MAX_MS, "8760h"},
    };
    char buf[SL_DURATION_TEXT_BYTES];
    (void)state;

    for (size_t i = 0; i < SL_ARRAY_LEN(rows); i++) {
        assert_string_equal(sl_duration_format(rows[i].ms, buf), rows[i].text);
    }
}

static void the_error_tells_a_person_where_and_what_to_write(void **state)
{
    struct sl_error err;
    uint64_t ms;
    char line[512];
    (void)state;

    assert_int_equal(sl_duration_parse(SL_SLICE("2sec"), &at, &ms, &err), SL_ECONFIG);
    sl_error_format(&err, line, sizeof(line));
    assert_string_equal(line,
                        "sluiced.yaml:12:17: pools.chat.timeouts.connect: expected ms, s, m or h "
                        "right after the number, found \"sec\"; write 150ms, 2s, 5m or 1h");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_number_and_a_unit_become_milliseconds),
        cmocka_unit_test(anything_else_is_refused_at_the_character_that_is_wrong),
        cmocka_unit_test(formatting_takes_the_largest_unit_that_divides),
        cmocka_unit_test(the_error_tells_a_person_where_and_what_to_write),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
