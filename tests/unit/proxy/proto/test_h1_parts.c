/* SPDX-License-Identifier: Apache-2.0 */
#include <sluiced/err.h>

#include "h1_describe.h"

#include "proxy/base/rng.h"
#include "proxy/proto/h1_parts.h"
#include "tests/unit/check.h"

#include <string.h>

static void sixteen_at_a_time_finds_what_one_at_a_time_does(void **state)
{
    (void)state;

    for (size_t len = 0; len <= 50; len++) {
        for (size_t at = 0; at < len; at++) {
            for (unsigned c = 0; c < 256; c++) {
                char text[50];
                memset(text, 'x', sizeof(text));
                text[at] = (char)c;
                size_t want = sl_h1_scan_scalar(text, 0, len);
                size_t got = sl_h1_scan(text, 0, len);
                check(got == want, "byte %u at %zu of %zu: %zu, expected %zu", c, at, len, got,
                      want);
                bool stops = (c < ' ' && c != '\t') || c == 0x7f;
                check(want == (stops ? at : len), "byte %u at %zu of %zu: %zu", c, at, len, want);
            }
        }
    }
}

/* A name near the end of the bytes is read one byte at a time, one before more fields is not. */
static void a_name_is_read_alike_wherever_it_stands(void **state)
{
    static const char charset[] = "abyzABYZ0189-_:!~@[`{/ .\x80\xff";
    static struct described near;
    static struct described far;
    struct sl_rng rng = {.state = 42};
    (void)state;

    for (int i = 0; i < 20000; i++) {
        char text[512];
        char name[40];
        size_t len = sl_rng_below(&rng, sizeof(name));

        for (size_t k = 0; k < len; k++) {
            size_t n = sl_rng_below(&rng, 4) == 0 ? sizeof(charset) - 1 : 11;
            name[k] = charset[sl_rng_below(&rng, n)];
        }
        int n = snprintf(text, sizeof(text), "GET / HTTP/1.0\r\n%.*s:\r\n", (int)len, name);
        memcpy(text + n, "\r\n", 2);
        parse_in_pieces(text, (size_t)n + 2, NULL, 0, NULL, &near);
        n += snprintf(text + n, sizeof(text) - (size_t)n, "x: %64s\r\n\r\n", "y");
        parse_in_pieces(text, (size_t)n, NULL, 0, NULL, &far);
        check((near.rc > 0) == (far.rc > 0) && near.fault == far.fault,
              "\"%.*s\": %s near the end, %s elsewhere", (int)len, name,
              sl_h1_fault_code((enum sl_h1_fault)near.fault),
              sl_h1_fault_code((enum sl_h1_fault)far.fault));
        if (near.rc > 0) { /* the same fields, and one more */
            check(far.len > near.len, "\"%.*s\" lost a field", (int)len, name);
        }
    }
}

static void each_fault_has_a_status_and_a_code_of_its_own(void **state)
{
    (void)state;

    assert_int_equal(sl_h1_fault_status(SL_H1_FAULT_NONE), 0);
    for (unsigned i = 1; i < SL_H1_FAULTS_N; i++) {
        unsigned status = sl_h1_fault_status((enum sl_h1_fault)i);
        check(status >= 400 && status < 600 && sl_status_phrase(status).len > 0, "fault %u: %u", i,
              status);
        for (unsigned k = 0; k < i; k++) {
            check(strcmp(sl_h1_fault_code((enum sl_h1_fault)i),
                         sl_h1_fault_code((enum sl_h1_fault)k)) != 0,
                  "faults %u and %u have one code", i, k);
        }
    }
    assert_int_equal(sl_h1_fault_status(SL_H1_FAULT_LINE_TOO_LONG), 414);
    assert_int_equal(sl_h1_fault_status(SL_H1_FAULT_TOO_MANY_FIELDS), 431);
    assert_int_equal(sl_h1_fault_status(SL_H1_FAULT_VERSION), 505);
    assert_int_equal(sl_h1_fault_status(SL_H1_FAULT_CODING_UNKNOWN), 501);
    assert_int_equal(sl_h1_fault_status(SL_H1_FAULT_EXPECT), 417);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sixteen_at_a_time_finds_what_one_at_a_time_does),
        cmocka_unit_test(a_name_is_read_alike_wherever_it_stands),
        cmocka_unit_test(each_fault_has_a_status_and_a_code_of_its_own),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
