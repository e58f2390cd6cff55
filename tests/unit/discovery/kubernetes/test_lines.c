/* SPDX-License-Identifier: Apache-2.0 */
#include <sluiced/err.h>

#include "discovery/kubernetes/lines.h"
#include "proxy/base/alloc.h"
#include "tests/unit/check.h"

#include <string.h>

/* All lines, each with a '|' behind it. */
struct got {
    char text[256];
    size_t len;
};

static int on_line(void *arg, struct sl_slice line)
{
    struct got *g = arg;

    assert_true(g->len + line.len + 2 < sizeof(g->text));
    memcpy(g->text + g->len, line.ptr, line.len);
    g->len += line.len;
    g->text[g->len++] = '|';
    g->text[g->len] = '\0';
    return sl_slice_eq(line, SL_SLICE("stop")) ? SL_EPROTO : SL_OK;
}

static void however_it_is_cut_the_lines_are_the_same(void **state)
{
    static const char text[] = "one\n\ntwo two\nthree\n\n\nrest";
    size_t len = sizeof(text) - 1;
    (void)state;

    for (size_t first = 0; first <= len; first++) {
        for (size_t second = first; second <= len; second++) {
            const struct sl_slice parts[] = {
                {text, first},
                {text + first, second - first},
                {text + second, len - second},
            };
            struct sl_lines l;
            struct got g = {.len = 0};

            sl_lines_init(&l, 100);
            for (size_t i = 0; i < SL_ARRAY_LEN(parts); i++) {
                assert_int_equal(sl_lines_feed(&l, parts[i], on_line, &g), SL_OK);
            }
            check(strcmp(g.text, "one|two two|three|") == 0, "cut at %zu and %zu: %s", first,
                  second, g.text);
            assert_int_equal(l.head_bytes, 4);
            sl_lines_fini(&l);
        }
    }
}

static void a_line_beyond_the_limit_is_refused_however_it_comes(void **state)
{
    static const char text[] = "12345678\n123456789\n";
    (void)state;

    for (size_t step = 1; step < sizeof(text); step++) {
        struct sl_lines l;
        struct got g = {.len = 0};
        int rc = SL_OK;

        sl_lines_init(&l, 8);
        for (size_t i = 0; rc == SL_OK && i < sizeof(text) - 1; i += step) {
            size_t n = sizeof(text) - 1 - i < step ? sizeof(text) - 1 - i : step;
            rc = sl_lines_feed(&l, (struct sl_slice){text + i, n}, on_line, &g);
        }
        check(rc == SL_ELIMIT, "by %zu: %d", step, rc);
        check(strcmp(g.text, "12345678|") == 0, "by %zu: %s", step, g.text);
        sl_lines_fini(&l);
    }
}

static void what_the_reader_returns_stops_it(void **state)
{
    struct sl_lines l;
    struct got g = {.len = 0};
    (void)state;

    sl_lines_init(&l, 100);
    assert_int_equal(sl_lines_feed(&l, SL_SLICE("a\nstop\nb\n"), on_line, &g), SL_EPROTO);
    assert_string_equal(g.text, "a|stop|");
    sl_lines_fini(&l);
}

static bool allow_none(size_t size_bytes)
{
    (void)size_bytes;
    return false;
}

static void a_whole_line_needs_no_memory_and_a_part_says_when_there_is_none(void **state)
{
    struct sl_lines l;
    struct got g = {.len = 0};
    (void)state;

    sl_lines_init(&l, 100);
    sl_alloc_hook = allow_none;
    int whole = sl_lines_feed(&l, SL_SLICE("whole\n"), on_line, &g);
    int part = sl_lines_feed(&l, SL_SLICE("part"), on_line, &g);
    sl_alloc_hook = NULL;
    assert_int_equal(whole, SL_OK);
    assert_int_equal(part, SL_ENOMEM);
    assert_string_equal(g.text, "whole|");
    sl_lines_fini(&l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(however_it_is_cut_the_lines_are_the_same),
        cmocka_unit_test(a_line_beyond_the_limit_is_refused_however_it_comes),
        cmocka_unit_test(what_the_reader_returns_stops_it),
        cmocka_unit_test(a_whole_line_needs_no_memory_and_a_part_says_when_there_is_none),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
