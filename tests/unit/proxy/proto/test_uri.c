/* SPDX-License-Identifier: Apache-2.0 */
#include <sluiced/err.h>

#include "proxy/proto/uri.h"
#include "tests/unit/check.h"

#include <string.h>

static const struct sl_uri_policy strict = {.keep_slashes = false};

/* want: NULL for refused. */
static void expect_path(const char *in, const struct sl_uri_policy *policy, const char *want)
{
    char buf[128];
    struct sl_slice out = {NULL, 0};
    int rc = sl_uri_normalise_path(sl_slice_of(in), policy, buf, sizeof(buf), &out);

    if (want == NULL) {
        check(rc == SL_EPROTO, "%s: %d, \"%.*s\", expected to be refused", in, rc,
              SL_SLICE_ARG(out));
        return;
    }
    check(rc == SL_OK, "%s: %d", in, rc);
    check(sl_slice_eq(out, sl_slice_of(want)), "%s: \"%.*s\", expected \"%s\"", in,
          SL_SLICE_ARG(out), want);
    bool changed = strcmp(in, want) != 0;
    check(changed == (out.ptr == buf), "%s: %s", in, changed ? "not copied" : "copied");
}

static void a_path_comes_to_its_normal_form(void **state)
{
    static const struct {
        const char *in;
        const char *out;
    } rows[] = {
        {"/", "/"},
        {"/v1/chat/completions", "/v1/chat/completions"},
        {"/a/./b", "/a/b"},
        {"/a/../b", "/b"},
        {"/a/b/..", "/a/"},
        {"/a/.", "/a/"},
        {"/..", "/"},
        {"/../../etc", "/etc"},
        {"/a/b/c/./../../g", "/a/g"}, /* RFC 3986 section 5.2.4 */
        {"//a///b//", "/a/b/"},
        {"/a//../b", "/b"},
        {"/.hidden/..x/x../...", "/.hidden/..x/x../..."},
        {"/%7Euser/%41%2d%5f%2E", "/~user/A-_."},
        {"/%e2%82%ac%2a", "/%E2%82%AC%2A"},
        {"/org%2fmodel", "/org%2Fmodel"},
        {"/org%2Fmodel", "/org%2Fmodel"},
        {"/a%2e%2eb", "/a..b"},
        {"/%252e%252e/", "/%252e%252e/"},
        {"/a;v=1/b;..", "/a;v=1/b;.."},
        {"/a%3B", "/a%3B"},
        {"/a:b@c!$&'()*+,=d", "/a:b@c!$&'()*+,=d"},
        {"/{\"x\"}|<y>^`[]", "/{\"x\"}|<y>^`[]"},
        {"/a%20b", "/a%20b"},
        {"/a%0d%0a", "/a%0D%0A"},
    };
    (void)state;

    for (size_t i = 0; i < SL_ARRAY_LEN(rows); i++) {
        expect_path(rows[i].in, &strict, rows[i].out);
        expect_path(rows[i].out, &strict, rows[i].out); /* once more changes nothing */
    }
}

static void what_can_be_read_in_two_ways_is_refused(void **state)
{
    static const char *const rows[] = {
        "",
        "a",
        "*",
        "/a#b",
        "/a b",
        "/a\tb",
        "/a\x7f",
        "/a\x01",
        "/\x80",
        "/\xc3\xa9",
        "/a\\b",
        "/%",
        "/%4",
        "/%4g",
        "/%g4",
        "/a%",
        "/%00",
        "/a%00b",
        "/%5c",
        "/%5C..",
        "/%2e%2e",
        "/%2e%2e/x",
        "/.%2e/x",
        "/%2E./x",
        "/%2e",
        "/a/%2e/b",
        "/..;/a",
        "/..;",
        "/a/..;x=1/b",
        "/.;/a",
        "/..%3b/a",
        "/%2e%2e;/a",
        "/..%2fetc",
        "/a/..%2Fb",
        "/a%2f..",
        "/a%2f../b",
        "/a%2f..%2fb",
        "/a%2f%2e%2e/b",
        "/.%2fa",
        "/a%2f..;/b",
        "/%u002e",
        "/..%5c",
    };
    (void)state;

    for (size_t i = 0; i < SL_ARRAY_LEN(rows); i++) {
        expect_path(rows[i], &strict, NULL);
    }
}

static void each_flag_switches_its_rule_and_no_other(void **state)
{
    static const struct {
        struct sl_uri_policy policy;
        const char *in;
        const char *out;
    } rows[] = {
        {{.keep_slashes = true}, "//a//b/", "//a//b/"},
        {{.keep_slashes = true}, "/a//../b", "/a/b"},
        {{.refuse_escaped_slash = true}, "/a%2fb", NULL},
        {{.refuse_escaped_slash = true}, "/a%2ab", "/a%2Ab"},
        {{.allow_escaped_backslash = true}, "/a%5cb", "/a%5Cb"},
        {{.allow_escaped_backslash = true}, "/..%5cb", NULL},
        {{.allow_escaped_backslash = true}, "/a\\b", NULL},
        {{.allow_escaped_nul = true}, "/a%00b", "/a%00b"},
        {{.allow_escaped_dots = true}, "/a/%2e%2e/b", "/b"},
        {{.allow_escaped_dots = true}, "/a/..%2fb", "/a/..%2Fb"},
        {{.allow_escaped_dots = true}, "/a%2f../b", "/a%2F../b"},
        {{.allow_escaped_dots = true}, "/..;/b", NULL},
        {{.allow_dot_params = true}, "/a/..;x/b", "/a/..;x/b"},
        {{.allow_dot_params = true}, "/a/%2e%2e/b", NULL},
        {{.allow_backslash = true}, "/a\\b", "/a\\b"},
        {{.allow_backslash = true}, "/..\\b", NULL},
        {{.allow_backslash = true}, "/a\\..", NULL},
        {{.allow_8bit = true}, "/\xc3\xa9", "/\xc3\xa9"},
        {{.allow_8bit = true}, "/a\x7f", NULL},
    };
    (void)state;

    for (size_t i = 0; i < SL_ARRAY_LEN(rows); i++) {
        expect_path(rows[i].in, &rows[i].policy, rows[i].out);
    }
}

static void a_rewrite_needs_room_and_a_normal_path_none(void **state)
{
    char buf[5];
    struct sl_slice out = {NULL, 0};
    (void)state;

    assert_int_equal(sl_uri_normalise_path(SL_SLICE("/a/b/c"), &strict, NULL, 0, &out), SL_OK);
    assert_int_equal(sl_uri_normalise_path(SL_SLICE("/a//bc"), &strict, buf, 5, &out), SL_ELIMIT);
    assert_int_equal(sl_uri_normalise_path(SL_SLICE("/a//b"), &strict, buf, 5, &out), SL_OK);
    assert_true(sl_slice_eq(out, SL_SLICE("/a/b")));
}

static void a_query_is_checked_and_not_changed(void **state)
{
    static const struct sl_uri_policy lax = {.allow_8bit = true};
    (void)state;

    assert_int_equal(sl_uri_check_query(SL_SLICE(""), &strict), SL_OK);
    assert_int_equal(sl_uri_check_query(SL_SLICE("a=%2e%&b=/../?\\|{}"), &strict), SL_OK);
    assert_int_equal(sl_uri_check_query(SL_SLICE("a#b"), &strict), SL_EPROTO);
    assert_int_equal(sl_uri_check_query(SL_SLICE("a b"), &strict), SL_EPROTO);
    assert_int_equal(sl_uri_check_query(SL_SLICE("a\tb"), &strict), SL_EPROTO);
    assert_int_equal(sl_uri_check_query(SL_SLICE("\xff"), &strict), SL_EPROTO);
    assert_int_equal(sl_uri_check_query(SL_SLICE("\xff"), &lax), SL_OK);
}

static void an_authority_is_a_host_and_perhaps_a_port(void **state)
{
    static const struct {
        const char *text;
        const char *host;
        uint16_t port;
        bool is_ipv6;
    } rows[] = {
        {"example.com", "example.com", 0, false},
        {"example.com:8080", "example.com", 8080, false},
        {"example.com:", "example.com", 0, false},
        {"10.0.0.1:80", "10.0.0.1", 80, false},
        {"a_b.svc:65535", "a_b.svc", 65535, false},
        {"[::1]", "::1", 0, true},
        {"[2001:db8::1]:443", "2001:db8::1", 443, true},
        {"[::ffff:1.2.3.4]:00080", "::ffff:1.2.3.4", 80, true},
    };
    (void)state;

    for (size_t i = 0; i < SL_ARRAY_LEN(rows); i++) {
        struct sl_authority a;
        int rc = sl_authority_parse(sl_slice_of(rows[i].text), &a);
        check(rc == SL_OK, "%s: %d", rows[i].text, rc);
        check(sl_slice_eq(a.host, sl_slice_of(rows[i].host)) && a.port == rows[i].port &&
                  a.is_ipv6 == rows[i].is_ipv6,
              "%s: \"%.*s\" port %u, IPv6 %d", rows[i].text, SL_SLICE_ARG(a.host), a.port,
              a.is_ipv6);
    }
}

static void any_other_authority_is_refused(void **state)
{
    static const char *const rows[] = {
        "",
        ":80",
        "a,b",
        "a, b",
        "user@host",
        "u:p@host",
        "a b",
        "a/b",
        "a?b",
        "a#b",
        "a\\b",
        "a\tb",
        "a%41",
        "\xc3\xa9",
        "a:65536",
        "a:0",
        "a:000080",
        "a:+80",
        "a:8 0",
        "a:80:90",
        "a:http",
        "[::1",
        "::1",
        "[]",
        "[::1]x",
        "[::1]80",
        "[1.2.3.4]",
        "[::1%25eth0]",
        "[v1.x]",
        "[::1]]",
        "[1:2:3:4:5:6:7:8:9]",
        "a\"b",
        "a<b>",
        "[0000:0000:0000:0000:0000:0000:0000:0000:0000]",
    };
    (void)state;

    for (size_t i = 0; i < SL_ARRAY_LEN(rows); i++) {
        struct sl_authority a;
        int rc = sl_authority_parse(sl_slice_of(rows[i]), &a);
        check(rc == SL_EPROTO, "\"%s\": %d", rows[i], rc);
    }
    struct sl_authority a;
    assert_int_equal(sl_authority_parse((struct sl_slice){"a\0b", 3}, &a), SL_EPROTO);
    assert_int_equal(sl_authority_parse((struct sl_slice){"[::1\0]", 6}, &a), SL_EPROTO);
}

static void a_host_has_the_bytes_of_the_rfc_but_no_comma_and_no_escape(void **state)
{
    (void)state;

    for (int c = 0; c < 256; c++) {
        char text[3] = {'a', (char)c, 'b'};
        struct sl_authority a;
        bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
        bool digit = c >= '0' && c <= '9';
        bool mark = c != 0 && strchr("-._~!$&'()*+;=", c) != NULL;
        int want = letter || digit || mark ? SL_OK : SL_EPROTO;
        int rc = sl_authority_parse((struct sl_slice){text, sizeof(text)}, &a);

        check(rc == want, "byte %d: %d, expected %d", c, rc, want);
    }
}

static void two_authorities_are_the_same_origin(void **state)
{
    static const struct {
        const char *a;
        const char *b;
        bool same;
    } rows[] = {
        {"a", "A", true},      {"a:80", "a", true},      {"a:", "a:80", true},
        {"a:81", "a", false},  {"a", "b", false},        {"[::1]", "[::1]:80", true},
        {"a:443", "a", false}, {"[::a]", "[::A]", true},
    };
    (void)state;

    for (size_t i = 0; i < SL_ARRAY_LEN(rows); i++) {
        struct sl_authority a;
        struct sl_authority b;
        assert_int_equal(sl_authority_parse(sl_slice_of(rows[i].a), &a), SL_OK);
        assert_int_equal(sl_authority_parse(sl_slice_of(rows[i].b), &b), SL_OK);
        check(sl_authority_same(&a, &b, 80) == rows[i].same, "%s and %s", rows[i].a, rows[i].b);
        check(sl_authority_same(&b, &a, 80) == rows[i].same, "%s and %s", rows[i].b, rows[i].a);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_path_comes_to_its_normal_form),
        cmocka_unit_test(what_can_be_read_in_two_ways_is_refused),
        cmocka_unit_test(each_flag_switches_its_rule_and_no_other),
        cmocka_unit_test(a_rewrite_needs_room_and_a_normal_path_none),
        cmocka_unit_test(a_query_is_checked_and_not_changed),
        cmocka_unit_test(an_authority_is_a_host_and_perhaps_a_port),
        cmocka_unit_test(any_other_authority_is_refused),
        cmocka_unit_test(a_host_has_the_bytes_of_the_rfc_but_no_comma_and_no_escape),
        cmocka_unit_test(two_authorities_are_the_same_origin),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
