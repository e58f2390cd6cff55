/* SPDX-License-Identifier: Apache-2.0 */
#include <sluiced/err.h>

#include "discovery/kubernetes/items.h"
#include "proxy/base/alloc.h"
#include "tests/unit/check.h"

#include <stdio.h>
#include <string.h>

struct got {
    char text[512];
    size_t len;
    int rc; /* what on_item returns */
};

static int on_item(void *arg, struct sl_slice item)
{
    struct got *g = arg;
    int n = snprintf(g->text + g->len, sizeof(g->text) - g->len, "%.*s|", (int)item.len, item.ptr);

    assert_true(n > 0 && (size_t)n < sizeof(g->text) - g->len);
    g->len += (size_t)n;
    return g->rc;
}

/* Feeds text in pieces, then ends. next_page: what comes of it, "" for none. */
static int take(const char *text, size_t piece_bytes, struct got *g, char *version, char *next_page)
{
    struct sl_slice left = sl_slice_of(text);
    struct sl_items items;
    char *token = NULL;
    int rc = SL_OK;

    g->len = 0;
    g->text[0] = '\0';
    sl_items_init(&items, 64);
    while (rc == SL_OK && left.len > 0) {
        size_t n = left.len < piece_bytes ? left.len : piece_bytes;
        rc = sl_items_feed(&items, (struct sl_slice){left.ptr, n}, on_item, g);
        left = (struct sl_slice){left.ptr + n, left.len - n};
    }
    if (rc == SL_OK) {
        rc = sl_items_end(&items, version, 16, &token);
    }
    sl_items_fini(&items);
    (void)snprintf(next_page, 16, "%s", token != NULL ? token : "");
    sl_free(token);
    return rc;
}

#define META(version) "\"metadata\":{\"resourceVersion\":\"" version "\"}"

static void a_page_comes_apart_however_it_is_cut(void **state)
{
    static const struct {
        const char *page;
        const char *items;
        const char *version;
        const char *next_page;
    } rows[] = {
        {"{" META("9") ",\"items\":[]}", "", "9", ""},
        {"{" META("9") ",\"items\":null}\n", "", "9", ""},
        {"{\"items\":[{\"a\":1},{\"b\":[2,{}]}]," META("9") "}", "{\"a\":1}|{\"b\":[2,{}]}|", "9",
         ""},
        {"{ " META("9") " , \"items\" : [ {} ,\n\t{\"x\":\"]}\\\"{[\"} ] }\n",
         "{}|{\"x\":\"]}\\\"{[\"}|", "9", ""},
        {"{\"metadata\":{\"continue\":\"c\",\"items\":[{\"no\":1}],\"resourceVersion\":\"8\"},"
         "\"kind\":\"items\",\"x\":[{\"no\":2}],\"items\":[{\"items\":[{}]}]}",
         "{\"items\":[{}]}|", "8", "c"},
        {"{" META("9") ",\"itemsx\":[{}],\"item\":[{}],\"items\":[{\"y\":\"\\\\\"}]}",
         "{\"y\":\"\\\\\"}|", "9", ""},
    };
    (void)state;

    for (size_t i = 0; i < SL_ARRAY_LEN(rows); i++) {
        for (size_t piece_bytes = 1; piece_bytes < 200; piece_bytes++) {
            struct got g = {.rc = SL_OK};
            char version[16] = "";
            char next_page[16] = "";
            int rc = take(rows[i].page, piece_bytes, &g, version, next_page);

            check(rc == SL_OK, "row %zu by %zu: %d", i, piece_bytes, rc);
            check(strcmp(g.text, rows[i].items) == 0, "row %zu by %zu: %s", i, piece_bytes, g.text);
            assert_string_equal(version, rows[i].version);
            assert_string_equal(next_page, rows[i].next_page);
        }
    }
}

static void what_is_no_list_is_an_error(void **state)
{
    static const struct {
        const char *page;
        int rc;
    } rows[] = {
        {"", SL_EPROTO},
        {"{}", SL_EPROTO},
        {"<html>[{}]</html>", SL_EPROTO},
        {"{\"items\":[]}", SL_EPROTO},
        {"{" META("9") "}", SL_EPROTO},
        {"{" META("") ",\"items\":[]}", SL_EPROTO},
        {"{" META("0123456789abcdef") ",\"items\":[]}", SL_EPROTO},
        {"{" META("9") ",\"items\":{}}", SL_EPROTO},
        {"{" META("9") ",\"items\":\"\"}", SL_EPROTO},
        {"{" META("9") ",\"items\":[", SL_EPROTO},
        {"{" META("9") ",\"items\":[{}", SL_EPROTO},
        {"{" META("9") ",\"items\":[{}]", SL_EPROTO},
        {"{" META("9") ",\"items\":[1]}", SL_EPROTO},
        {"{" META("9") ",\"items\":[null]}", SL_EPROTO},
        {"{" META("9") ",\"items\":[[]]}", SL_EPROTO},
        {"{" META("9") ",\"items\":[\"x\"]}", SL_EPROTO},
        {"}", SL_EPROTO},
        {"[" META("9") ",\"items\":[]]", SL_EPROTO},
        {"{" META("9") ",\"items\":[{\"long\":\"0123456789012345678901234567890123456789"
                       "0123456789012345678901234567890123456789\"}]}",
         SL_ELIMIT},
    };
    (void)state;

    for (size_t i = 0; i < SL_ARRAY_LEN(rows); i++) {
        for (size_t piece_bytes = 1; piece_bytes < 20; piece_bytes += 6) {
            struct got g = {.rc = SL_OK};
            char version[16] = "old";
            char next_page[16];
            int rc = take(rows[i].page, piece_bytes, &g, version, next_page);

            check(rc == rows[i].rc, "row %zu: %d", i, rc);
            assert_string_equal(version, "old");
            assert_string_equal(next_page, "");
        }
    }
}

static void whoever_takes_items_may_stop_it(void **state)
{
    struct got g = {.rc = SL_ENOMEM};
    char version[16];
    char next_page[16];
    (void)state;

    assert_int_equal(take("{\"items\":[{},{}]," META("9") "}", 100, &g, version, next_page),
                     SL_ENOMEM);
    assert_string_equal(g.text, "{}|");
}

static void what_is_around_the_items_is_bounded(void **state)
{
    static char noise[70000];
    struct sl_items items;
    struct got g = {.rc = SL_OK};
    (void)state;

    memset(noise, 'x', sizeof(noise));
    sl_items_init(&items, 64);
    assert_int_equal(sl_items_feed(&items, (struct sl_slice){noise, 40000}, on_item, &g), SL_OK);
    assert_int_equal(sl_items_feed(&items, (struct sl_slice){noise, 40000}, on_item, &g),
                     SL_ELIMIT);
    sl_items_fini(&items);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_page_comes_apart_however_it_is_cut),
        cmocka_unit_test(what_is_no_list_is_an_error),
        cmocka_unit_test(whoever_takes_items_may_stop_it),
        cmocka_unit_test(what_is_around_the_items_is_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
