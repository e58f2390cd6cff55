/* SPDX-License-Identifier: Apache-2.0 */
#include "proxy/admin/answer.h"
#include "tests/unit/check.h"

static void members_are_found_and_missing_ones_read_as_nothing(void **state)
{
    struct sl_answer *a = sl_answer_parse(
        SL_SLICE("{\"n\":3,\"minus\":-1,\"text\":\"x\",\"yes\":true,\"not\":false,\"no\":0}"));
    (void)state;

    assert_non_null(a);
    assert_int_equal(sl_answer_number(a, "n"), 3);
    assert_int_equal(sl_answer_number(a, "minus"), 0);
    assert_int_equal(sl_answer_number(a, "text"), 0);
    assert_int_equal(sl_answer_number(a, "absent"), 0);
    assert_string_equal(sl_answer_text(a, "text"), "x");
    assert_string_equal(sl_answer_text(a, "n"), "");
    assert_string_equal(sl_answer_text(a, "absent"), "");
    assert_true(sl_answer_is_true(a, "yes"));
    assert_false(sl_answer_is_true(a, "no"));
    assert_true(sl_answer_is_false(a, "not"));
    assert_false(sl_answer_is_false(a, "no"));
    assert_false(sl_answer_is_false(a, "yes"));
    assert_false(sl_answer_is_false(a, "absent"));
    sl_answer_free(a);
}

static void what_is_no_object_is_no_answer(void **state)
{
    (void)state;

    assert_null(sl_answer_parse(SL_SLICE("")));
    assert_null(sl_answer_parse(SL_SLICE("[1]")));
    assert_null(sl_answer_parse(SL_SLICE("{\"a\":1")));
    sl_answer_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(members_are_found_and_missing_ones_read_as_nothing),
        cmocka_unit_test(what_is_no_object_is_no_answer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
