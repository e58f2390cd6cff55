/* SPDX-License-Identifier: Apache-2.0 */
#include "proxy/base/alloc.h"
#include "proxy/base/text.h"
#include "tests/unit/check.h"

#include <string.h>

static size_t allocs_left;

static bool while_some_left(size_t size_bytes)
{
    (void)size_bytes;
    return allocs_left > 0 && allocs_left-- > 0;
}

static int without_hook(void **state)
{
    (void)state;
    sl_alloc_hook = NULL;
    return 0;
}

static void what_is_appended_stands_in_order_and_terminated(void **state)
{
    struct sl_text t;
    (void)state;

    sl_text_init(&t, 1000);
    sl_text_append_str(&t, "a=");
    sl_text_append_u64(&t, UINT64_MAX);
    sl_text_append(&t, (struct sl_slice){NULL, 0});
    sl_text_append(&t, (struct sl_slice){", tail", 2});
    sl_text_printf(&t, "%s/%03d", "b", 7);
    sl_text_append_str(&t, NULL);
    assert_false(t.failed);
    assert_string_equal(t.ptr, "a=18446744073709551615, b/007");
    assert_int_equal(t.len, strlen(t.ptr));
    assert_true(sl_slice_eq(sl_text_slice(&t), sl_slice_of(t.ptr)));
    sl_text_fini(&t);
}

static void an_empty_append_makes_an_empty_string(void **state)
{
    struct sl_text t;
    (void)state;

    sl_text_init(&t, 0);
    assert_null(t.ptr);
    sl_text_append_str(&t, "");
    assert_false(t.failed);
    assert_string_equal(t.ptr, "");
    sl_text_append_str(&t, "x");
    assert_true(t.failed);
    sl_text_fini(&t);
}

static void a_printf_of_any_length_is_whole(void **state)
{
    static char word[3001];
    (void)state;

    for (int n = 0; n < 3000; n += 37) {
        struct sl_text t;

        memset(word, 'w', (size_t)n);
        word[n] = '\0';
        sl_text_init(&t, 10000);
        sl_text_printf(&t, "<%s>", word);
        sl_text_printf(&t, "<%s>", word);
        check(!t.failed && t.len == 2 * ((size_t)n + 2) && t.ptr[t.len] == '\0' &&
                  t.ptr[t.len - 1] == '>' && t.ptr[n + 1] == '>' && t.ptr[n + 2] == '<',
              "%d characters: %zu written", n, t.len);
        sl_text_fini(&t);
    }
}

static void the_limit_is_exact_and_its_failure_stays(void **state)
{
    struct sl_text t;
    (void)state;

    sl_text_init(&t, 10);
    sl_text_append_str(&t, "0123456789");
    assert_false(t.failed);
    assert_string_equal(t.ptr, "0123456789");
    sl_text_append_str(&t, "x");
    assert_true(t.failed);
    sl_text_append_str(&t, "");
    sl_text_append_u64(&t, 1);
    sl_text_printf(&t, "1");
    sl_text_append_json(&t, SL_SLICE("1"));
    assert_true(t.failed);
    assert_string_equal(t.ptr, "0123456789");
    assert_int_equal(t.len, 10);
    sl_text_fini(&t);

    sl_text_init(&t, 10);
    sl_text_printf(&t, "%s", "0123456789");
    assert_false(t.failed);
    sl_text_printf(&t, "%s", "x");
    assert_true(t.failed);
    assert_string_equal(t.ptr, "0123456789");
    sl_text_fini(&t);
}

static void json_strings_of_any_length_are_whole(void **state)
{
    static char in[2000];
    (void)state;

    for (size_t n = 0; n < sizeof(in); n += 41) {
        struct sl_text t;

        memset(in, '\x01', n); /* the longest escape there is */
        sl_text_init(&t, 20000);
        sl_text_append_json(&t, (struct sl_slice){in, n});
        check(!t.failed && t.len == 6 * n + 2, "%zu characters: %zu written", n, t.len);
        for (size_t i = 0; i < n; i++) {
            check(memcmp(t.ptr + 1 + 6 * i, "\\u0001", 6) == 0, "character %zu of %zu", i, n);
        }
        check(strlen(t.ptr) == t.len && t.ptr[t.len - 1] == '"', "%zu characters: no end", n);
        sl_text_fini(&t);
    }
}

static void a_json_string_over_the_limit_fails_and_does_not_hang(void **state)
{
    (void)state;

    for (size_t limit = 0; limit < 20; limit++) {
        struct sl_text t;

        sl_text_init(&t, limit);
        sl_text_append_json(&t, SL_SLICE("a\nb\x01"));
        check(t.failed == (limit < 12), "limit %zu: failed %d", limit, t.failed);
        check(t.len <= limit, "limit %zu: %zu written", limit, t.len);
        check(t.failed || strcmp(t.ptr, "\"a\\nb\\u0001\"") == 0, "%s", t.ptr);
        sl_text_fini(&t);
    }
}

static void each_failing_allocation_is_survived_and_sticky(void **state)
{
    static char word[1000];
    bool done = false;
    size_t fail_at = 0;
    (void)state;

    memset(word, 'w', sizeof(word) - 1);
    for (; !done && fail_at < 20; fail_at++) {
        struct sl_text t;

        sl_text_init(&t, 100000);
        allocs_left = fail_at;
        sl_alloc_hook = while_some_left;
        sl_text_append_str(&t, "begin ");
        sl_text_printf(&t, "%s", word);
        sl_text_append_json(&t, sl_slice_of(word));
        sl_text_append_json(&t, sl_slice_of(word));
        allocs_left = 100;
        sl_text_append_str(&t, " end");
        done = !t.failed;
        check(done == (t.ptr != NULL && strstr(t.ptr, " end") != NULL), "failed %d, yet went on",
              t.failed);
        check(t.ptr == NULL || strlen(t.ptr) == t.len, "not terminated at its length");
        sl_text_fini(&t);
    }
    check(done && fail_at > 3, "done %d after %zu rounds", done, fail_at);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_appended_stands_in_order_and_terminated),
        cmocka_unit_test(an_empty_append_makes_an_empty_string),
        cmocka_unit_test(a_printf_of_any_length_is_whole),
        cmocka_unit_test(the_limit_is_exact_and_its_failure_stays),
        cmocka_unit_test(json_strings_of_any_length_are_whole),
        cmocka_unit_test(a_json_string_over_the_limit_fails_and_does_not_hang),
        cmocka_unit_test_teardown(each_failing_allocation_is_survived_and_sticky, without_hook),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
