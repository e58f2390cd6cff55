/* SPDX-License-Identifier: Apache-2.0 */
#include <sluiced/err.h>

#include "proxy/proto/header.h"
#include "tests/unit/check.h"

#include <ctype.h>
#include <string.h>

static void each_name_of_the_table_is_found_in_any_case(void **state)
{
    static const struct {
        enum sl_header_id id;
        const char *name;
        char first;
        char before;
        char last;
    } rows[] = {
#define X(id, name, first, before, last) {SL_HEADER_##id, name, first, before, last},
        SL_HEADER_NAMES(X)
#undef X
    };
    (void)state;

    assert_int_equal(SL_ARRAY_LEN(rows), SL_HEADER_IDS_N - 1);
    for (size_t i = 0; i < SL_ARRAY_LEN(rows); i++) {
        char upper[64];
        size_t len = strlen(rows[i].name);

        for (size_t k = 0; k < len; k++) {
            upper[k] = (char)toupper((unsigned char)rows[i].name[k]);
        }
        check(rows[i].first == rows[i].name[0] && rows[i].before == rows[i].name[len - 2] &&
                  rows[i].last == rows[i].name[len - 1],
              "%s: the row's characters are not the name's", rows[i].name);
        check(sl_header_id_of(sl_slice_of(rows[i].name)) == rows[i].id, "%s is not found",
              rows[i].name);
        check(sl_header_id_of((struct sl_slice){upper, len}) == rows[i].id,
              "%s is not found in upper case", rows[i].name);
        check(sl_slice_eq(sl_header_name(rows[i].id), sl_slice_of(rows[i].name)),
              "%s has another name", rows[i].name);
    }
}

static void a_name_that_is_not_in_the_table_is_other(void **state)
{
    static const char *const names[] = {
        "",
        "h",
        "hos",
        "hosts",
        "hxst",
        "x-foo",
        "content-typo",
        "xontent-length",
        "cXntent-length",
        "content_length",
        "x-forwarded-fur",
        "transfer-encodingg",
        "proxy-authorizatiom",
        "a-name-that-is-longer-than-any-in-the-table-and-then-some",
    };
    (void)state;

    for (size_t i = 0; i < SL_ARRAY_LEN(names); i++) {
        enum sl_header_id id = sl_header_id_of(sl_slice_of(names[i]));
        check(id == SL_HEADER_OTHER, "\"%s\" is taken for %d", names[i], (int)id);
    }
}

/* A wrong byte anywhere must be seen, however the comparison is cut into words. */
static void one_changed_byte_makes_another_name(void **state)
{
    (void)state;

    for (unsigned id = 1; id < SL_HEADER_IDS_N; id++) {
        struct sl_slice name = sl_header_name((enum sl_header_id)id);
        for (size_t i = 0; i < name.len; i++) {
            char other[64];
            memcpy(other, name.ptr, name.len);
            other[i] = '!';
            check(sl_header_id_of((struct sl_slice){other, name.len}) == SL_HEADER_OTHER,
                  "%.*s, byte %zu", SL_SLICE_ARG(name), i);
        }
    }
}

static void fields_are_added_found_and_removed(void **state)
{
    struct sl_header items[4];
    struct sl_headers h = {.items = items, .capacity_n = SL_ARRAY_LEN(items)};
    (void)state;

    assert_int_equal(sl_headers_add(&h, SL_SLICE("Host"), SL_SLICE("a")), SL_OK);
    assert_int_equal(sl_headers_add(&h, SL_SLICE("X-A"), SL_SLICE("1")), SL_OK);
    assert_int_equal(sl_headers_add(&h, SL_SLICE("Date"), SL_SLICE("d")), SL_OK);
    assert_int_equal(sl_headers_add(&h, SL_SLICE("x-a"), SL_SLICE("2")), SL_OK);
    assert_int_equal(sl_headers_add(&h, SL_SLICE("more"), SL_SLICE("")), SL_ELIMIT);
    assert_int_equal(h.n, 4);
    assert_ptr_equal(sl_headers_find(&h, SL_HEADER_DATE), &items[2]);
    assert_null(sl_headers_find(&h, SL_HEADER_VIA));
    assert_ptr_equal(sl_headers_find_name(&h, SL_SLICE("X-a")), &items[1]);
    assert_null(sl_headers_find_name(&h, SL_SLICE("X-b")));

    assert_int_equal(sl_headers_remove(&h, SL_SLICE("X-A")), 2);
    assert_int_equal(sl_headers_remove(&h, SL_SLICE("X-A")), 0);
    assert_int_equal(h.n, 2);
    assert_int_equal(items[0].id, SL_HEADER_HOST);
    assert_int_equal(items[1].id, SL_HEADER_DATE);
}

static void rebase_moves_only_what_pointed_into_the_bytes(void **state)
{
    static const char elsewhere[] = "elsewhere";
    char old[16] = "name: value";
    char moved[16];
    struct sl_header items[2] = {
        {.name = {old, 4}, .value = {old + 6, 5}},
        {.name = {elsewhere, 4}, .value = {old + 11, 0}},
    };
    struct sl_headers h = {.items = items, .n = 2, .capacity_n = 2};
    (void)state;

    memcpy(moved, old, sizeof(old));
    memset(old, 'x', sizeof(old));
    sl_headers_rebase(&h, old, 11, moved);
    assert_true(sl_slice_eq(items[0].name, SL_SLICE("name")));
    assert_true(sl_slice_eq(items[0].value, SL_SLICE("value")));
    assert_ptr_equal(items[1].name.ptr, elsewhere);
    assert_ptr_equal(items[1].value.ptr, moved + 11);
    assert_null(sl_slice_rebase((struct sl_slice){NULL, 0}, old, 11, moved).ptr);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_name_of_the_table_is_found_in_any_case),
        cmocka_unit_test(a_name_that_is_not_in_the_table_is_other),
        cmocka_unit_test(one_changed_byte_makes_another_name),
        cmocka_unit_test(fields_are_added_found_and_removed),
        cmocka_unit_test(rebase_moves_only_what_pointed_into_the_bytes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
