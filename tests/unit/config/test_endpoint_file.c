/* SPDX-License-Identifier: Apache-2.0 */
#include <sluiced/endpoint_file.h>

#include "proxy/base/alloc.h"
#include "proxy/base/text.h"
#include "tests/unit/check.h"

#include <stdio.h>
#include <string.h>

/* "address=weight~zone/version/model ", the mark of one that drains in between. */
static const char *parsed(const char *text)
{
    static char out[512];
    struct sl_found *items = NULL;
    struct sl_error err;
    size_t n = 0;
    size_t at = 0;

    int rc = sl_endpoint_file_parse(sl_slice_of(text), "e.yaml", &items, &n, &err);
    check(rc == SL_OK, "%s: %s", text, rc == SL_OK ? "" : err.message);
    out[0] = '\0';
    for (size_t i = 0; i < n; i++) {
        char address[128];
        sl_address_format(&items[i].address, address, sizeof(address));
        at += (size_t)snprintf(out + at, sizeof(out) - at, "%s=%u%s%s/%s/%s ", address,
                               items[i].weight, items[i].draining ? "~" : ":", items[i].zone,
                               items[i].version, items[i].model);
    }
    sl_free(items);
    return out;
}

static const char *refused(struct sl_slice text)
{
    static char out[800];
    struct sl_found *items = NULL;
    struct sl_error err;
    size_t n = 7;

    int rc = sl_endpoint_file_parse(text, "e.yaml", &items, &n, &err);
    check(rc == SL_ECONFIG, "%.80s: %d", text.ptr, rc);
    check(items == NULL && n == 7, "%.80s: something was handed out", text.ptr);
    sl_error_format(&err, out, sizeof(out));
    return out;
}

static void endpoints_are_addresses_or_maps_in_yaml_or_json(void **state)
{
    (void)state;
    assert_string_equal(parsed("endpoints: []"), "");
    assert_string_equal(parsed("endpoints:\n- 10.0.0.7:8000\n- \"[::1]:80\"\n- unix:/m.sock\n"),
                        "10.0.0.7:8000=1:// [::1]:80=1:// unix:/m.sock=1:// ");
    assert_string_equal(
        parsed("endpoints: [ \"10.0.0.7:8000\", {address: \"10.0.0.8:8000\", weight: 3, drain: "
               "true, zone: a, version: v2, model: org/llama} ]"),
        "10.0.0.7:8000=1:// 10.0.0.8:8000=3~a/v2/org/llama ");
    assert_string_equal(
        parsed("{\"endpoints\": [{\"address\": \"10.0.0.8:8000\", \"weight\": 0, \"drain\": "
               "false},\n {\"address\": \"10.0.0.9:8000\"}]}\n"),
        "10.0.0.8:8000=0:// 10.0.0.9:8000=1:// ");
}

static void what_is_wrong_is_told_with_its_place(void **state)
{
    static const struct {
        const char *text;
        const char *error;
    } cases[] = {
        {"", "e.yaml:1:1: endpoints: expected a map with a list of endpoints, found an empty file"},
        {"- 10.0.0.7:80\n",
         "e.yaml:1:1: endpoints: expected a map with a list of endpoints, found a list of 1"},
        {"{}", "e.yaml:1:1: endpoints: missing; expected a list of at most 4096 addresses or maps"},
        {"endpoints: 10.0.0.7:80",
         "e.yaml:1:12: endpoints: expected a list of at most 4096 addresses or maps, found "
         "\"10.0.0.7:80\"; write [\"10.0.0.7:8000\"], or [] for none"},
        {"endpoints:\n  - 10.0.0.7:80\n  - 10.0.0.8\n",
         "e.yaml:3:5: endpoints[1]: expected an address with a port, found \"10.0.0.8\"; write "
         "127.0.0.1:8080, [::1]:8080 or unix:/path"},
        {"endpoints: [[]]",
         "e.yaml:1:13: endpoints[0]: expected an address or a map, found an empty list"},
        {"endpoints: [\"[::1]:80\", {address: \"[0:0::1]:80\"}]",
         "e.yaml:1:25: endpoints[1]: expected another address, found \"[::1]:80\" again; it stands "
         "at line 1 already"},
        {"endpoints: [{weight: 3}]",
         "e.yaml:1:13: endpoints[0].address: missing; expected an "
         "address"},
        {"endpoints: [{address: \"10.0.0.7:80\", weight: 65536}]",
         "e.yaml:1:46: endpoints[0].weight: expected a number from 0 to 65535, found \"65536\""},
        {"endpoints: [{address: \"10.0.0.7:80\", weight: 0}]",
         "e.yaml:1:12: endpoints: expected a weight above 0, found only zeros; write [] where "
         "there "
         "shall be no endpoint"},
        {"endpoints: [{address: \"10.0.0.7:80\", drain: yes}]",
         "e.yaml:1:45: endpoints[0].drain: expected false or true, found \"yes\""},
        {"endpoints: [{address: \"10.0.0.7:80\", zone: a b}]",
         "e.yaml:1:44: endpoints[0].zone: expected 1 to 63 visible characters of ASCII, found \"a "
         "b\"; write one like eu-west-1a"},
        {"endpoints: [{address: \"10.0.0.7:80\", wieght: 1}]",
         "e.yaml:1:38: endpoints[0].wieght: unknown key; did you mean \"weight\"?"},
        {"endpoints: []\nendpoint: []\n",
         "e.yaml:2:1: endpoint: unknown key; did you mean \"endpoints\"?"},
    };
    (void)state;

    for (size_t i = 0; i < SL_ARRAY_LEN(cases); i++) {
        const char *error = refused(sl_slice_of(cases[i].text));
        check(strcmp(error, cases[i].error) == 0, "%s:\n%s\n%s", cases[i].text, error,
              cases[i].error);
    }
}

static void a_json_file_cut_anywhere_is_refused(void **state)
{
    static const char whole[] =
        "{\"endpoints\": [\"10.0.0.7:80\", {\"address\": "
        "\"10.0.0.8:80\", \"weight\": 2}]}";
    (void)state;

    assert_string_equal(parsed(whole), "10.0.0.7:80=1:// 10.0.0.8:80=2:// ");
    for (size_t len = 0; len < sizeof(whole) - 1; len++) {
        (void)refused((struct sl_slice){whole, len});
    }
}

static void a_file_may_not_be_larger_than_its_bounds(void **state)
{
    struct sl_text text;
    (void)state;

    sl_text_init(&text, SL_ENDPOINT_FILE_MAX_BYTES + 2);
    sl_text_append_str(&text, "endpoints:\n");
    for (unsigned i = 0; i < 4096; i++) {
        sl_text_printf(&text, "- {address: \"10.0.%u.%u:80\", weight: 3, zone: zone}\n", i / 256,
                       i % 256);
    }
    struct sl_found *items;
    struct sl_error err;
    size_t n;
    assert_int_equal(sl_endpoint_file_parse(sl_text_slice(&text), "e.yaml", &items, &n, &err),
                     SL_OK);
    assert_int_equal(n, 4096);
    sl_free(items);
    sl_text_append_str(&text, "- 10.1.0.0:80\n");
    assert_non_null(strstr(refused(sl_text_slice(&text)), "expected at most 4096 items in a list"));
    while (text.len <= SL_ENDPOINT_FILE_MAX_BYTES) {
        sl_text_append_str(&text, "#");
    }
    assert_string_equal(refused(sl_text_slice(&text)),
                        "expected at most 1 MiB, found 1048577 bytes in e.yaml");
    sl_text_fini(&text);
}

static size_t allowed_n;

static bool some(size_t size_bytes)
{
    (void)size_bytes;
    return allowed_n > 0 && allowed_n-- > 0;
}

static void lack_of_memory_leaves_nothing_behind(void **state)
{
    static const char text[] = "endpoints: [\"10.0.0.7:80\", {address: \"10.0.0.8:80\", zone: a}]";
    struct sl_found *items = NULL;
    struct sl_error err;
    size_t n;
    int rc = SL_ENOMEM;
    (void)state;

    for (size_t i = 0; rc != SL_OK; i++) {
        allowed_n = i;
        sl_alloc_hook = some;
        rc = sl_endpoint_file_parse(sl_slice_of(text), "e.yaml", &items, &n, &err);
        sl_alloc_hook = NULL;
        check(rc == SL_OK || rc == SL_ENOMEM, "%zu: %s", i, err.message);
        check((rc == SL_OK) == (items != NULL), "%zu", i);
    }
    sl_free(items);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(endpoints_are_addresses_or_maps_in_yaml_or_json),
        cmocka_unit_test(what_is_wrong_is_told_with_its_place),
        cmocka_unit_test(a_json_file_cut_anywhere_is_refused),
        cmocka_unit_test(a_file_may_not_be_larger_than_its_bounds),
        cmocka_unit_test(lack_of_memory_leaves_nothing_behind),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
