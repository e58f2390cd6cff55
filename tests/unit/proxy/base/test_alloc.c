/* SPDX-License-Identifier: Apache-2.0 */
#include "proxy/base/alloc.h"
#include "tests/unit/check.h"

#include <string.h>

static size_t asked_bytes;

static bool refuse(size_t size_bytes)
{
    asked_bytes = size_bytes;
    return false;
}

static int without_hook(void **state)
{
    (void)state;
    sl_alloc_hook = NULL;
    return 0;
}

static bool all_zero(const unsigned char *p, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (p[i] != 0) {
            return false;
        }
    }
    return true;
}

static void what_promises_zeros_gives_zeros_also_in_reused_memory(void **state)
{
    (void)state;

    for (int round = 0; round < 8; round++) {
        void *all[] = {
            sl_alloc(96),
            sl_alloc_array(12, 8),
            sl_alloc_flex(16, 10, 8),
            sl_alloc_aligned(64, 96),
        };
        for (size_t i = 0; i < SL_ARRAY_LEN(all); i++) {
            check(all[i] != NULL && all_zero(all[i], 96), "function %zu, round %d", i, round);
            memset(all[i], 0xa5, 96);
            sl_free(all[i]);
        }
    }
}

static void an_aligned_block_is_aligned(void **state)
{
    (void)state;

    for (size_t align = sizeof(void *); align <= 4096; align *= 2) {
        void *p = sl_alloc_aligned(align, 24);

        check(p != NULL && ((uintptr_t)p & (align - 1)) == 0, "%p for %zu", p, align);
        sl_free(p);
    }
}

static void no_bytes_are_no_failure(void **state)
{
    void *all[] = {
        sl_alloc(0),
        sl_alloc_array(0, 8),
        sl_alloc_flex(0, 0, 0),
        sl_alloc_aligned(64, 0),
        sl_alloc_raw(0),
        sl_realloc_array(NULL, 0, 8),
        sl_alloc_for_library(0),
    };
    (void)state;

    for (size_t i = 0; i < SL_ARRAY_LEN(all); i++) {
        check(all[i] != NULL, "function %zu gave NULL", i);
        sl_free(all[i]);
    }
    sl_free(NULL);
}

static void a_size_that_overflows_is_never_asked_for(void **state)
{
    void *kept = sl_alloc_raw(8);
    (void)state;

    assert_non_null(kept);
    sl_alloc_hook = refuse;
    asked_bytes = 42;
    assert_null(sl_alloc_array(SIZE_MAX / 2, 3));
    assert_null(sl_alloc_array(SIZE_MAX, SIZE_MAX));
    assert_null(sl_alloc_flex(16, SIZE_MAX / 8, 8));
    assert_null(sl_alloc_flex(SIZE_MAX, 1, 1));
    assert_null(sl_realloc_array(kept, SIZE_MAX / 2, 3));
    assert_null(sl_slice_dup((struct sl_slice){"", SIZE_MAX}));
    assert_int_equal(asked_bytes, 42);
    sl_free(kept);
}

static void the_hook_can_refuse_every_way_to_the_heap(void **state)
{
    char *kept = sl_strdup("kept");
    (void)state;

    assert_non_null(kept);
    sl_alloc_hook = refuse;
    assert_null(sl_alloc(5));
    assert_int_equal(asked_bytes, 5);
    assert_null(sl_alloc_array(3, 7));
    assert_int_equal(asked_bytes, 21);
    assert_null(sl_alloc_flex(10, 3, 7));
    assert_int_equal(asked_bytes, 31);
    assert_null(sl_alloc_aligned(64, 6));
    assert_int_equal(asked_bytes, 6);
    assert_null(sl_alloc_raw(8));
    assert_int_equal(asked_bytes, 8);
    assert_null(sl_realloc_array(kept, 2, 100));
    assert_int_equal(asked_bytes, 200);
    assert_null(sl_strdup("four"));
    assert_int_equal(asked_bytes, 5);
    assert_null(sl_slice_dup(SL_SLICE("three")));
    assert_int_equal(asked_bytes, 6);
    assert_null(sl_alloc_for_library(9));
    assert_int_equal(asked_bytes, 9);
    assert_string_equal(kept, "kept"); /* what could not grow stands as it was */
    sl_free(kept);
}

static void growing_keeps_the_items(void **state)
{
    uint32_t *items = NULL;
    (void)state;

    for (uint32_t n = 1; n <= 1000; n++) {
        uint32_t *grown = sl_realloc_array(items, n, sizeof(*items));

        assert_non_null(grown);
        items = grown;
        items[n - 1] = n * 7;
    }
    for (uint32_t i = 0; i < 1000; i++) {
        assert_int_equal(items[i], (i + 1) * 7);
    }
    sl_free(items);
}

static void a_copied_slice_ends_with_a_zero_and_may_hold_one(void **state)
{
    char *copy = sl_slice_dup((struct sl_slice){"a\0b|", 3});
    char *empty = sl_slice_dup((struct sl_slice){NULL, 0});
    (void)state;

    assert_non_null(copy);
    assert_non_null(empty);
    assert_memory_equal(copy, "a\0b", 4);
    assert_string_equal(empty, "");
    sl_free(copy);
    sl_free(empty);
}

static void free_memory_goes_back_when_it_stays_free(void **state)
{
    enum {
        PIECES_N = 4096,
        PIECE_BYTES = 4096
    };
    static void *pieces[PIECES_N];
    struct sl_alloc_idle idle = {0};
    (void)state;

    for (int i = 0; i < PIECES_N; i++) {
        pieces[i] = sl_alloc_raw(PIECE_BYTES);
        assert_non_null(pieces[i]);
    }
    void *lives_longer = sl_alloc_raw(PIECE_BYTES);
    assert_false(sl_alloc_trim(&idle));
    assert_false(sl_alloc_trim(&idle)); /* nothing is free */
    for (int i = 0; i < PIECES_N; i++) {
        sl_free(pieces[i]);
    }
    bool counted = idle.seen_bytes > 0; /* not by a sanitizer's heap */
    assert_false(sl_alloc_trim(&idle)); /* it may be wanted again at once */
    assert_int_equal(sl_alloc_trim(&idle), counted);
    assert_false(sl_alloc_trim(&idle)); /* it is given back already */
    sl_free(lives_longer);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_promises_zeros_gives_zeros_also_in_reused_memory),
        cmocka_unit_test(an_aligned_block_is_aligned),
        cmocka_unit_test(no_bytes_are_no_failure),
        cmocka_unit_test_teardown(a_size_that_overflows_is_never_asked_for, without_hook),
        cmocka_unit_test_teardown(the_hook_can_refuse_every_way_to_the_heap, without_hook),
        cmocka_unit_test(growing_keeps_the_items),
        cmocka_unit_test(a_copied_slice_ends_with_a_zero_and_may_hold_one),
        cmocka_unit_test(free_memory_goes_back_when_it_stays_free),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
