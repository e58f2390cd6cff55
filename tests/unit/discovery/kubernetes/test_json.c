/* SPDX-License-Identifier: Apache-2.0 */
#include "discovery/kubernetes/json.h"
#include "proxy/base/alloc.h"
#include "proxy/base/text.h"
#include "tests/unit/check.h"

#define ITEMS_N 5000

static void a_tree_is_as_the_text_says(void **state)
{
    static const char text[] = "{\"a\":[1,{\"b\":\"c\\u0000d\"}],\"e\":null}";
    (void)state;

    const json_t *root = sl_kube_json_parse((struct sl_slice){text, sizeof(text) - 1});
    const json_t *b = json_object_get(json_array_get(json_object_get(root, "a"), 1), "b");
    assert_int_equal(json_string_length(b), 3);
    assert_memory_equal(json_string_value(b), "c\0d", 4);
    assert_true(json_is_null(json_object_get(root, "e")));
    sl_kube_json_done();
}

static void what_is_no_json_is_none(void **state)
{
    static const char *const texts[] = {"", "{", "{\"a\":}", "[1,", "nonsense", "{\"a\":1}x"};
    (void)state;

    for (size_t i = 0; i < SL_ARRAY_LEN(texts); i++) {
        check(sl_kube_json_parse(sl_slice_of(texts[i])) == NULL, "%s was taken", texts[i]);
        sl_kube_json_done();
    }
}

/* Much more tree than text: it takes many blocks. */
static void a_large_tree_is_whole(void **state)
{
    struct sl_text t;
    (void)state;

    sl_text_init(&t, 1U << 20);
    for (size_t i = 0; i < ITEMS_N; i++) {
        sl_text_append_str(&t, i == 0 ? "[" : ",");
        sl_text_printf(&t, "{\"%zu\":[]}", i);
    }
    sl_text_append_str(&t, "]");
    const json_t *root = sl_kube_json_parse(sl_text_slice(&t));
    assert_int_equal(json_array_size(root), ITEMS_N);
    assert_true(json_is_array(json_object_get(json_array_get(root, ITEMS_N - 1), "4999")));
    sl_kube_json_done();
    sl_text_fini(&t);
}

static void trees_of_others_stay_theirs(void **state)
{
    (void)state;

    json_t *other = json_pack("{s:[i,i]}", "kept", 1, 2);
    assert_non_null(sl_kube_json_parse(sl_slice_of("{\"a\":1}")));
    sl_kube_json_done();
    assert_int_equal(json_array_size(json_object_get(other, "kept")), 2);
    json_decref(other);
}

static int allocs_left_n;

static bool allow_alloc(size_t size_bytes)
{
    (void)size_bytes;
    return allocs_left_n-- > 0;
}

static void a_lack_of_memory_is_no_tree(void **state)
{
    const json_t *root = NULL;
    (void)state;

    for (int allowed_n = 0; root == NULL; allowed_n++) {
        struct sl_text t;

        sl_text_init(&t, 1U << 16);
        sl_text_append_str(&t, "[0");
        for (size_t i = 0; i < ITEMS_N; i++) {
            sl_text_append_str(&t, ",{}");
        }
        sl_text_append_str(&t, "]");
        check(allowed_n < 100, "it never fits");
        allocs_left_n = allowed_n;
        sl_alloc_hook = allow_alloc;
        root = sl_kube_json_parse(sl_text_slice(&t));
        sl_alloc_hook = NULL;
        assert_true(root != NULL || allowed_n < 10);
        sl_kube_json_done();
        sl_text_fini(&t);
    }
}

static int setup(void **state)
{
    (void)state;
    sl_kube_json_init();
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_tree_is_as_the_text_says),
        cmocka_unit_test(what_is_no_json_is_none),
        cmocka_unit_test(a_large_tree_is_whole),
        cmocka_unit_test(trees_of_others_stay_theirs),
        cmocka_unit_test(a_lack_of_memory_is_no_tree),
    };

    return cmocka_run_group_tests(tests, setup, NULL);
}
