/* SPDX-License-Identifier: Apache-2.0 */
#include "proxy/base/alloc.h"
#include "proxy/base/arena.h"
#include "proxy/base/rng.h"
#include "tests/unit/check.h"

#include <string.h>

#define ITEMS_N 500

static size_t allocs_left;
static size_t allocs_n;

static bool while_some_left(size_t size_bytes)
{
    (void)size_bytes;
    allocs_n++;
    return allocs_left > 0 && allocs_left-- > 0;
}

static int without_hook(void **state)
{
    (void)state;
    sl_alloc_hook = NULL;
    allocs_n = 0;
    return 0;
}

/* Under AddressSanitizer each item is a block, so what counts blocks says nothing there. */
static bool one_block_per_item(void)
{
    struct sl_arena a;

    allocs_n = 0;
    allocs_left = SIZE_MAX;
    sl_alloc_hook = while_some_left;
    sl_arena_init(&a, 4096, 0, NULL, 0);
    assert_non_null(sl_arena_alloc(&a, 8));
    assert_non_null(sl_arena_alloc(&a, 8));
    sl_arena_fini(&a);
    sl_alloc_hook = NULL;
    return allocs_n > 1;
}

static void items_are_aligned_zeroed_and_apart(void **state)
{
    struct sl_rng rng = {7};
    struct sl_arena a;
    static unsigned char *items[ITEMS_N];
    static size_t sizes[ITEMS_N];
    (void)state;

    sl_arena_init(&a, 1024, 0, NULL, 0);
    for (size_t i = 0; i < ITEMS_N; i++) {
        sizes[i] = sl_rng_below(&rng, 10) == 0 ? sl_rng_below(&rng, 5000) : sl_rng_below(&rng, 64);
        items[i] = i % 3 == 0 ? (unsigned char *)sl_arena_alloc_bytes(&a, sizes[i])
                              : sl_arena_alloc(&a, sizes[i]);
        assert_non_null(items[i]);
        if (i % 3 != 0) {
            check((uintptr_t)items[i] % _Alignof(max_align_t) == 0, "item %zu at %p", i,
                  (void *)items[i]);
            for (size_t k = 0; k < sizes[i]; k++) {
                check(items[i][k] == 0, "item %zu: byte %zu is %d", i, k, items[i][k]);
            }
        }
        memset(items[i], (int)(i % 255) + 1, sizes[i]);
    }
    for (size_t i = 0; i < ITEMS_N; i++) {
        for (size_t k = 0; k < sizes[i]; k++) {
            check(items[i][k] == i % 255 + 1, "item %zu: byte %zu was overwritten", i, k);
        }
    }
    sl_arena_fini(&a);
}

static void the_callers_memory_is_used_before_the_heap(void **state)
{
    _Alignas(max_align_t) char first[256];
    struct sl_arena a;
    bool alone = one_block_per_item();
    (void)state;

    sl_arena_init(&a, 512, 0, first, sizeof(first));
    allocs_n = 0;
    allocs_left = SIZE_MAX;
    sl_alloc_hook = while_some_left;
    memset(first, 0xff, sizeof(first));
    unsigned char *p = sl_arena_alloc(&a, 200);
    assert_non_null(p);
    assert_int_equal(p[0] | p[199], 0); /* also what was the caller's is zeroed */
    assert_int_equal(allocs_n, alone ? 1 : 0);
    assert_int_equal(a.used_bytes, alone ? 200 : 0);
    assert_non_null(sl_arena_alloc(&a, 200));
    assert_int_equal(allocs_n, alone ? 2 : 1);
    sl_arena_fini(&a);
}

static void a_large_item_does_not_waste_the_current_block(void **state)
{
    struct sl_arena a;
    (void)state;

    if (one_block_per_item()) {
        return; /* there is no current block */
    }
    sl_arena_init(&a, 512, 0, NULL, 0);
    char *before = sl_arena_alloc_bytes(&a, 8);
    assert_non_null(before);
    assert_non_null(sl_arena_alloc_bytes(&a, 100000));
    assert_ptr_equal(sl_arena_alloc_bytes(&a, 8), before + 8);
    sl_arena_fini(&a);
}

static void few_blocks_hold_many_items(void **state)
{
    struct sl_arena a;
    (void)state;

    if (one_block_per_item()) {
        return;
    }
    sl_arena_init(&a, 256, 0, NULL, 0);
    allocs_n = 0;
    allocs_left = SIZE_MAX;
    sl_alloc_hook = while_some_left;
    for (int i = 0; i < 1024; i++) {
        assert_non_null(sl_arena_alloc(&a, 64));
    }
    check(allocs_n <= 10, "64 KiB took %zu blocks", allocs_n);
    sl_arena_fini(&a);
}

static void the_limit_holds_over_all_blocks(void **state)
{
    (void)state;

    for (size_t limit = 1; limit < 3000; limit += 97) {
        struct sl_arena a;
        size_t got_bytes = 0;

        sl_arena_init(&a, 512, limit, NULL, 0);
        while (sl_arena_alloc_bytes(&a, 10) != NULL) {
            got_bytes += 10;
            check(a.used_bytes <= limit, "%zu bytes used, limit %zu", a.used_bytes, limit);
            check(got_bytes <= limit, "%zu bytes given, limit %zu", got_bytes, limit);
        }
        /* Each of the few blocks may end in a rest that is too small for an item. */
        check(got_bytes + 5 * 10 > limit, "only %zu bytes given, limit %zu", got_bytes, limit);
        assert_null(sl_arena_alloc(&a, limit + 1));
        sl_arena_fini(&a);
        assert_int_equal(a.used_bytes, 0);
        assert_true(limit < 10 || sl_arena_alloc_bytes(&a, 10) != NULL); /* usable again */
        sl_arena_fini(&a);
    }
}

static void a_size_that_overflows_is_refused(void **state)
{
    struct sl_arena a;
    (void)state;

    sl_arena_init(&a, 512, 0, NULL, 0);
    assert_non_null(sl_arena_alloc(&a, 1));
    assert_null(sl_arena_alloc(&a, SIZE_MAX));
    assert_null(sl_arena_alloc(&a, SIZE_MAX - 15));
    assert_null(sl_arena_alloc_bytes(&a, SIZE_MAX));
    assert_null(sl_arena_alloc_array(&a, SIZE_MAX / 2, 3));
    assert_null(sl_arena_strdup(&a, (struct sl_slice){"", SIZE_MAX}));
    assert_non_null(sl_arena_alloc_array(&a, 3, 5));
    sl_arena_fini(&a);
}

static void each_failing_allocation_is_survived_and_nothing_leaks(void **state)
{
    size_t fail_at = 0;
    bool done = false;
    (void)state;

    for (; !done && fail_at < 100; fail_at++) {
        struct sl_arena a;
        char *text;

        allocs_left = fail_at;
        sl_alloc_hook = while_some_left;
        sl_arena_init(&a, 256, 0, NULL, 0);
        done = sl_arena_alloc(&a, 200) != NULL && sl_arena_alloc(&a, 200) != NULL &&
               sl_arena_alloc_array(&a, 100, 100) != NULL &&
               (text = sl_arena_strdup(&a, SL_SLICE("pool"))) != NULL && strcmp(text, "pool") == 0;
        sl_arena_fini(&a);
    }
    check(done && fail_at > 2, "done %d after %zu rounds", done, fail_at);
}

static void an_empty_text_and_no_bytes_are_no_failure(void **state)
{
    struct sl_arena a;
    (void)state;

    sl_arena_init(&a, 0, 0, NULL, 0);
    char *empty = sl_arena_strdup(&a, (struct sl_slice){NULL, 0});
    assert_non_null(empty);
    assert_string_equal(empty, "");
    assert_non_null(sl_arena_alloc(&a, 0));
    assert_non_null(sl_arena_alloc_bytes(&a, 0));
    sl_arena_fini(&a);
}

static void wiping_leaves_nothing_of_what_was_taken(void **state)
{
    struct sl_arena a;
    char *texts[40];
    (void)state;

    sl_arena_init(&a, 256, 0, NULL, 0);
    for (size_t i = 0; i < 40; i++) { /* more than a block */
        texts[i] = sl_arena_strdup(&a, SL_SLICE("a secret of 27 bytes, or so"));
        assert_non_null(texts[i]);
    }
    sl_arena_wipe(&a);
    for (size_t i = 0; i < 40; i++) {
        for (size_t j = 0; j < 27; j++) {
            check(texts[i][j] == 0, "text %zu, byte %zu: %d", i, j, texts[i][j]);
        }
    }
    sl_arena_fini(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(items_are_aligned_zeroed_and_apart),
        cmocka_unit_test_teardown(the_callers_memory_is_used_before_the_heap, without_hook),
        cmocka_unit_test_teardown(a_large_item_does_not_waste_the_current_block, without_hook),
        cmocka_unit_test_teardown(few_blocks_hold_many_items, without_hook),
        cmocka_unit_test(the_limit_holds_over_all_blocks),
        cmocka_unit_test(a_size_that_overflows_is_refused),
        cmocka_unit_test_teardown(each_failing_allocation_is_survived_and_nothing_leaks,
                                  without_hook),
        cmocka_unit_test(an_empty_text_and_no_bytes_are_no_failure),
        cmocka_unit_test(wiping_leaves_nothing_of_what_was_taken),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
