/* SPDX-License-Identifier: Apache-2.0 */
#include <sluiced/err.h>

#include "proxy/base/alloc.h"
#include "proxy/l7/max_forwards.h"
#include "tests/unit/check.h"

#include <string.h>

#define FIELDS_MAX_N 4

static struct sl_header items[FIELDS_MAX_N];
static struct sl_exchange x;

/* values: of Max-Forwards, up to NULL; another field stands in front. */
static enum sl_reason take(enum sl_method method, const char *const *values)
{
    memset(&x, 0, sizeof(x));
    sl_arena_init(&x.arena, SL_CHUNK_BYTES, 0, NULL, 0);
    x.request = (struct sl_request_head){
        .method = method,
        .headers = {.items = items, .capacity_n = FIELDS_MAX_N},
    };
    assert_int_equal(sl_headers_add(&x.request.headers, SL_SLICE("A"), SL_SLICE("9")), SL_OK);
    for (; *values != NULL; values++) {
        assert_int_equal(
            sl_headers_add(&x.request.headers, SL_SLICE("max-forwards"), sl_slice_of(*values)),
            SL_OK);
    }
    return sl_max_forwards_take(&x);
}

static void each_hop_takes_one(void **state)
{
    static const struct {
        const char *values[3];
        enum sl_reason options;
        enum sl_reason trace;
        const char *left; /* NULL: as it came */
    } rows[] = {
        {{NULL}, SL_REASON_OK, SL_REASON_OK, NULL},
        {{"1"}, SL_REASON_OK, SL_REASON_OK, "0"},
        {{"10"}, SL_REASON_OK, SL_REASON_OK, "9"},
        {{"007"}, SL_REASON_OK, SL_REASON_OK, "6"},
        {{"99999999999999999999999"}, SL_REASON_OK, SL_REASON_OK, "4294967294"},
        {{"0"}, SL_REASON_ANSWERED_HERE, SL_REASON_METHOD_NOT_ALLOWED, NULL},
        {{"00"}, SL_REASON_ANSWERED_HERE, SL_REASON_METHOD_NOT_ALLOWED, NULL},
        {{""}, SL_REASON_BAD_REQUEST, SL_REASON_BAD_REQUEST, NULL},
        {{"-1"}, SL_REASON_BAD_REQUEST, SL_REASON_BAD_REQUEST, NULL},
        {{"1, 1"}, SL_REASON_BAD_REQUEST, SL_REASON_BAD_REQUEST, NULL},
        {{"0x1"}, SL_REASON_BAD_REQUEST, SL_REASON_BAD_REQUEST, NULL},
        {{"1", "1"}, SL_REASON_BAD_REQUEST, SL_REASON_BAD_REQUEST, NULL},
        {{"0", "1"}, SL_REASON_BAD_REQUEST, SL_REASON_BAD_REQUEST, NULL},
    };
    (void)state;

    for (size_t i = 0; i < SL_ARRAY_LEN(rows); i++) {
        enum sl_reason got = take(SL_METHOD_TRACE, rows[i].values);
        check(got == rows[i].trace, "TRACE, row %zu: %s", i, sl_reason_name(got));
        sl_arena_fini(&x.arena);
        got = take(SL_METHOD_OPTIONS, rows[i].values);
        check(got == rows[i].options, "OPTIONS, row %zu: %s", i, sl_reason_name(got));
        assert_true(sl_slice_eq(items[0].value, SL_SLICE("9")));
        if (rows[i].left != NULL) {
            check(sl_slice_eq(items[1].value, sl_slice_of(rows[i].left)), "row %zu: \"%.*s\"", i,
                  SL_SLICE_ARG(items[1].value));
        }
        sl_arena_fini(&x.arena);
    }
}

static void a_trace_has_no_body(void **state)
{
    static const char *const none[] = {NULL};
    (void)state;

    assert_int_equal(take(SL_METHOD_TRACE, none), SL_REASON_OK);
    x.request.framing = (struct sl_framing){.kind = SL_FRAMING_LENGTH, .length_bytes = 0};
    assert_int_equal(sl_max_forwards_take(&x), SL_REASON_OK);
    x.request.framing.length_bytes = 1;
    assert_int_equal(sl_max_forwards_take(&x), SL_REASON_BAD_REQUEST);
    x.request.framing = (struct sl_framing){.kind = SL_FRAMING_CHUNKED};
    assert_int_equal(sl_max_forwards_take(&x), SL_REASON_BAD_REQUEST);
    x.request.method = SL_METHOD_OPTIONS;
    assert_int_equal(sl_max_forwards_take(&x), SL_REASON_OK);
    sl_arena_fini(&x.arena);
}

static void only_two_methods_count(void **state)
{
    (void)state;

    for (unsigned m = SL_METHOD_OTHER; m <= SL_METHOD_PATCH; m++) {
        bool counts = m == SL_METHOD_OPTIONS || m == SL_METHOD_TRACE;
        assert_true(sl_max_forwards_counts((enum sl_method)m) == counts);
    }
}

static bool refuse_all(size_t size_bytes)
{
    (void)size_bytes;
    return false;
}

static void without_memory_it_ends(void **state)
{
    static const char *const one[] = {"1", NULL};
    (void)state;

    sl_alloc_hook = refuse_all;
    enum sl_reason got = take(SL_METHOD_OPTIONS, one);
    sl_alloc_hook = NULL;
    assert_int_equal(got, SL_REASON_OVERLOAD);
    sl_arena_fini(&x.arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_hop_takes_one),
        cmocka_unit_test(a_trace_has_no_body),
        cmocka_unit_test(only_two_methods_count),
        cmocka_unit_test(without_memory_it_ends),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
