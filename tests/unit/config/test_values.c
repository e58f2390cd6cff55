/* SPDX-License-Identifier: Apache-2.0 */
#include "config/values.h"
#include "tests/unit/check.h"

#include <string.h>

static const struct sl_pos at = {.file = "f", .key = "k", .line = 1, .column = 1};

static void sizes_have_binary_units(void **state)
{
    static const struct {
        const char *text;
        uint64_t bytes;
    } rows[] = {
        {"0B", 0},         {"512B", 512},          {"64KiB", 65536},
        {"1MiB", 1048576}, {"10GiB", 10737418240}, {"1048576GiB", SL_SIZE_MAX_BYTES},
    };
    char text[SL_SIZE_TEXT_BYTES];
    (void)state;

    for (size_t i = 0; i < SL_ARRAY_LEN(rows); i++) {
        struct sl_error err = {0};
        uint64_t bytes = UINT64_MAX;
        int rc = sl_value_size(sl_slice_of(rows[i].text), &at, &bytes, &err);

        check(rc == SL_OK, "\"%s\": %d, %s", rows[i].text, rc, err.message);
        check(bytes == rows[i].bytes, "\"%s\": %ju", rows[i].text, (uintmax_t)bytes);
        assert_string_equal(sl_size_format(bytes, text), rows[i].text);
    }
}

static void other_spellings_of_a_size_are_refused(void **state)
{
    static const char *const rows[] = {
        "",     "64",    "KiB",    "-1B",        "64KB",
        "64kb", "1 MiB", "1.5GiB", "1048577GiB", "99999999999999999999999B",
    };
    (void)state;

    for (size_t i = 0; i < SL_ARRAY_LEN(rows); i++) {
        struct sl_error err = {0};
        uint64_t bytes = 42;
        int rc = sl_value_size(sl_slice_of(rows[i]), &at, &bytes, &err);

        check(rc == SL_ECONFIG, "\"%s\": %d", rows[i], rc);
        check(bytes == 42, "\"%s\": refused, yet wrote %ju", rows[i], (uintmax_t)bytes);
    }
}

static void addresses_come_out_in_one_spelling(void **state)
{
    static const struct {
        const char *text;
        const char *host;
        uint16_t port;
        const char *again; /* formatted */
    } rows[] = {
        {"127.0.0.1:8080", "127.0.0.1", 8080, "127.0.0.1:8080"},
        {"0.0.0.0:0", "0.0.0.0", 0, "0.0.0.0:0"},
        {"[::1]:65535", "::1", 65535, "[::1]:65535"},
        {"[0:0:0::1]:80", "::1", 80, "[::1]:80"},
        {"[FE80::A]:80", "fe80::a", 80, "[fe80::a]:80"},
        {"unix:/run/model.sock", "/run/model.sock", 0, "unix:/run/model.sock"},
        {"unix:/a:b", "/a:b", 0, "unix:/a:b"},
    };
    char again[128];
    (void)state;

    for (size_t i = 0; i < SL_ARRAY_LEN(rows); i++) {
        struct sl_error err = {0};
        struct sl_address a;
        int rc = sl_value_address(sl_slice_of(rows[i].text), &at, 0, &a, &err);

        check(rc == SL_OK, "\"%s\": %d, %s", rows[i].text, rc, err.message);
        assert_string_equal(a.host, rows[i].host);
        assert_int_equal(a.port, rows[i].port);
        assert_int_equal(a.is_unix, rows[i].host[0] == '/');
        sl_address_format(&a, again, sizeof(again));
        assert_string_equal(again, rows[i].again);
    }
}

static void what_needs_a_resolver_or_a_guess_is_no_address(void **state)
{
    static const char *const rows[] = {
        "",
        ":",
        ":80",
        "80",
        "localhost:80",
        "127.0.0.1",
        "127.1:80",
        "1.2.3.4:",
        "1.2.3.4:-1",
        "1.2.3.4:65536",
        "1.2.3.4:0x50",
        "::1:80",
        "[::1]",
        "[::1]80",
        "[]:80",
        "[1.2.3.4]:80",
        "[::1%lo]:80",
        "01.2.3.4:80",
        "unix:",
        "unix:/",
        "unix:run/x",
        " 1.2.3.4:80",
        "1.2.3.4:80 ",
        "1.2.3.4:+80",
    };
    char longest[5 + 108 + 1];
    struct sl_error err = {0};
    struct sl_address a;
    (void)state;

    for (size_t i = 0; i < SL_ARRAY_LEN(rows); i++) {
        int rc = sl_value_address(sl_slice_of(rows[i]), &at, 0, &a, &err);

        check(rc == SL_ECONFIG, "\"%s\": %d", rows[i], rc);
    }
    assert_int_equal(sl_value_address(SL_SLICE("1.2.3.4:0"), &at, 1, &a, &err), SL_ECONFIG);
    memset(longest, 'x', sizeof(longest));
    memcpy(longest, "unix:/", 6);
    assert_int_equal(sl_value_address((struct sl_slice){longest, 5 + 107}, &at, 0, &a, &err),
                     SL_OK);
    assert_int_equal(strlen(a.host), 107);
    assert_int_equal(sl_value_address((struct sl_slice){longest, 5 + 108}, &at, 0, &a, &err),
                     SL_ECONFIG);
}

#define LONG_63 "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"

static void each_kind_of_text_has_its_grammar(void **state)
{
    static const struct {
        sl_value_check_fn accepts;
        const char *good[8];
        const char *bad[12];
    } rows[] = {
        {sl_value_name,
         {"a", "0", "llama-v1", "llama_3.1", LONG_63},
         {"", "A", "-a", "a-", ".a", "a b", "a/b", "a\xc3\xa4", LONG_63 "a"}},
        {sl_value_label,
         {"a", "prod-2", "0a"},
         {"", "a.b", "a_b", "Prod", "../x", "a/b", "-a", LONG_63 "a"}},
        {sl_value_kube_name,
         {"a", "prod-2", "a.b-c.d"},
         {"", "a_b", "Prod", "../x", "a/b", "-a", ".a", "a."}},
        {sl_value_zone,
         {"a", "eu-west-1a", "Zone_1.b", LONG_63},
         {"", "-a", "a-", "a b", "a/b", LONG_63 "a"}},
        {sl_value_port_name,
         {"http", "grpc-web", "a1", "1a"},
         {"", "80", "HTTP", "a_b", "-a", "abcdefghijklmnop"}},
        {sl_value_url_path,
         {"/", "/v1/", "/v1/models", "/a%2fb", "/.hidden", "/a..b"},
         {"", "v1", "/a b", "/a?b", "/a#b", "/.", "/a/./b", "/..", "/a/../b", "/\xc3\xa4"}},
        {sl_value_url_target,
         {"/", "/health?deep=1", "/a/../b"},
         {"", "health", "/a b", "/a#b", "http://x/"}},
        {sl_value_host,
         {"localhost", "llm.example.com", "a_b.c", "10.0.0.1"},
         {"", "A.com", "a..b", ".a", "a.", "a:80", "*.a", "a/b"}},
        {sl_value_host_pattern,
         {"a.com", "*.a.com"},
         {"", "*", "*.", "*a.com", "a.*.com", "*.*.a"}},
        {sl_value_san_pattern,
         {"a.com", "*.a.com", "spiffe://corp/ns/*", "10.0.0.1"},
         {"", "*", "a*b", "*a*", "a b", "a\xc3\xa4"}},
        {sl_value_log_target,
         {"off", "stdout", "stderr", "/var/log/a"},
         {"", "/", "access.log", "Off", "./a"}},
        {sl_value_token,
         {"a", "edge-1", "A.b_c", LONG_63},
         {"", "a b", "a:80", "a,b", "a/b", "\"a\"", "(a)", "a\xc3\xa4", LONG_63 "a"}},
        {sl_value_not_empty, {"a"}, {""}},
    };
    (void)state;

    for (size_t i = 0; i < SL_ARRAY_LEN(rows); i++) {
        struct sl_error err = {0};

        for (size_t j = 0; rows[i].good[j] != NULL; j++) {
            int rc = rows[i].accepts(sl_slice_of(rows[i].good[j]), &at, &err);
            check(rc == SL_OK, "%zu: \"%s\": %s", i, rows[i].good[j], err.message);
        }
        for (size_t j = 0; rows[i].bad[j] != NULL; j++) {
            int rc = rows[i].accepts(sl_slice_of(rows[i].bad[j]), &at, &err);
            check(rc == SL_ECONFIG, "%zu: \"%s\" passed", i, rows[i].bad[j]);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sizes_have_binary_units),
        cmocka_unit_test(other_spellings_of_a_size_are_refused),
        cmocka_unit_test(addresses_come_out_in_one_spelling),
        cmocka_unit_test(what_needs_a_resolver_or_a_guess_is_no_address),
        cmocka_unit_test(each_kind_of_text_has_its_grammar),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
