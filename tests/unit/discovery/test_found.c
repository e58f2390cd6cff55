/* SPDX-License-Identifier: Apache-2.0 */
#include "discovery/found.h"
#include "tests/unit/check.h"

#include <stdio.h>

static struct sl_found found_of(const char *host, const char *uid)
{
    struct sl_found f = {.address.port = 80, .weight = 1};

    (void)snprintf(f.address.host, sizeof(f.address.host), "%s", host); /* fits */
    (void)snprintf(f.pod_uid, sizeof(f.pod_uid), "%s", uid);            /* fits */
    return f;
}

static void of_two_that_are_the_same_the_one_that_serves_stays(void **state)
{
    struct sl_found items[] = {found_of("10.0.0.2", "b"), found_of("10.0.0.1", "a"),
                               found_of("10.0.0.2", "b"), found_of("10.0.0.1", "a")};
    (void)state;

    items[0].draining = true;
    items[3].weight = 5;
    assert_int_equal(sl_found_sort(items, SL_ARRAY_LEN(items)), 2);
    assert_string_equal(items[0].pod_uid, "a");
    assert_int_equal(items[0].weight, 5);
    assert_string_equal(items[1].pod_uid, "b");
    assert_false(items[1].draining);
    assert_int_equal(sl_found_sort(items, 0), 0);
}

static void whatever_differs_is_not_the_same(void **state)
{
    const struct sl_found base[] = {found_of("10.0.0.1", "a"), found_of("10.0.0.2", "b")};
    struct sl_found other[] = {base[0], base[1]};
    struct sl_found *b = &other[1];
    char *const texts[] = {b->address.host, b->pod_uid, b->pod_name, b->zone, b->version, b->model};
    (void)state;

    assert_true(sl_found_equal(base, 2, other, 2));
    assert_true(sl_found_equal(NULL, 0, NULL, 0));
    assert_false(sl_found_equal(base, 2, other, 1));
    for (size_t i = 0; i < SL_ARRAY_LEN(texts); i++) {
        texts[i][0]++;
        check(!sl_found_equal(base, 2, other, 2), "text %zu does not count", i);
        *b = base[1];
    }
    b->address.port++;
    assert_false(sl_found_equal(base, 2, other, 2));
    *b = base[1];
    b->weight++;
    assert_false(sl_found_equal(base, 2, other, 2));
    *b = base[1];
    b->draining = true;
    assert_false(sl_found_equal(base, 2, other, 2));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(of_two_that_are_the_same_the_one_that_serves_stays),
        cmocka_unit_test(whatever_differs_is_not_the_same),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
