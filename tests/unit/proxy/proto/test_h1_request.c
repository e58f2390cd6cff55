/* SPDX-License-Identifier: Apache-2.0 */
#include <sluiced/err.h>

#include "h1_describe.h"

#include "proxy/proto/h1.h"
#include "tests/unit/check.h"

#include <string.h>

#define HOST "Host: a\r\n"
#define GET "GET / HTTP/1.1\r\n" HOST
#define POST "POST / HTTP/1.1\r\n" HOST
#define BYTES(literal) (literal), sizeof(literal) - 1

static struct described whole;
static struct described pieces;

static const char *fault_code(unsigned f)
{
    return sl_h1_fault_code((enum sl_h1_fault)f);
}

/* One parse of a text that stays. */
struct parsed {
    struct sl_header items[SL_H1_FIELDS_MAX_N];
    char path_buf[256];
    struct sl_request_head head;
    struct sl_h1_scan scan;
};

static ssize_t parse(struct parsed *p, const char *text, const struct sl_h1_policy *policy)
{
    memset(&p->scan, 0, sizeof(p->scan));
    sl_request_head_init(&p->head, p->items, SL_H1_FIELDS_MAX_N, p->path_buf, sizeof(p->path_buf));
    return sl_h1_parse_request(&p->scan, text, strlen(text), policy, &p->head);
}

static void a_head_is_taken_apart(void **state)
{
    static const char text[] =
        "POST /v1/../v2/chat?x=1&y HTTP/1.1\r\n"
        "Host: Example.com:8443\r\n"
        "content-LENGTH:  17 \t\r\n"
        "X-Custom:\r\n"
        "Accept: a,\tb\r\n"
        "\r\n"
        "the body follows.";
    struct parsed p;
    (void)state;

    assert_int_equal(parse(&p, text, NULL), (ssize_t)(sizeof(text) - 1 - 17));
    assert_int_equal(p.head.method, SL_METHOD_POST);
    assert_int_equal(p.head.form, SL_TARGET_ORIGIN);
    assert_true(sl_slice_eq(p.head.target, SL_SLICE("/v1/../v2/chat?x=1&y")));
    assert_true(sl_slice_eq(p.head.path, SL_SLICE("/v2/chat")));
    assert_true(p.head.path_rewritten && p.head.path.ptr == p.path_buf);
    assert_true(p.head.has_query && sl_slice_eq(p.head.query, SL_SLICE("x=1&y")));
    assert_true(sl_slice_eq(p.head.authority, SL_SLICE("Example.com:8443")));
    assert_true(sl_slice_eq(p.head.host.host, SL_SLICE("Example.com")));
    assert_int_equal(p.head.host.port, 8443);
    assert_int_equal(p.head.framing.kind, SL_FRAMING_LENGTH);
    assert_int_equal(p.head.framing.length_bytes, 17);
    assert_true(p.head.keep_alive);
    assert_int_equal(p.head.headers.n, 4);
    assert_int_equal(p.items[1].id, SL_HEADER_CONTENT_LENGTH);
    assert_true(sl_slice_eq(p.items[1].value, SL_SLICE("17")));
    assert_int_equal(p.items[2].id, SL_HEADER_OTHER);
    assert_int_equal(p.items[2].value.len, 0);
    assert_true(sl_slice_eq(p.items[3].name, SL_SLICE("Accept")));
    assert_true(sl_slice_eq(p.items[3].value, SL_SLICE("a,\tb")));
}

static void the_target_has_four_forms(void **state)
{
    static const struct {
        const char *line;
        enum sl_target_form form;
        const char *path;
        const char *authority;
    } rows[] = {
        {"GET /a HTTP/1.1", SL_TARGET_ORIGIN, "/a", "h"},
        {"GET http://H:80/b?q HTTP/1.1", SL_TARGET_ABSOLUTE, "/b", "H:80"},
        {"GET HTTP://h HTTP/1.1", SL_TARGET_ABSOLUTE, "/", "h"},
        {"GET http://h?q HTTP/1.1", SL_TARGET_ABSOLUTE, "/", "h"},
        {"OPTIONS http://h HTTP/1.1", SL_TARGET_ABSOLUTE, "*", "h"},
        {"OPTIONS * HTTP/1.1", SL_TARGET_ASTERISK, "*", "h"},
        {"CONNECT h:80 HTTP/1.1", SL_TARGET_AUTHORITY, "", "h:80"},
    };
    (void)state;

    for (size_t i = 0; i < SL_ARRAY_LEN(rows); i++) {
        char text[128];
        struct parsed p;

        (void)snprintf(text, sizeof(text), "%s\r\nHost: h\r\n\r\n", rows[i].line); /* fits */
        ssize_t rc = parse(&p, text, NULL);
        check(rc == (ssize_t)strlen(text), "%s: %zd, %s", rows[i].line, rc,
              fault_code(p.scan.fault));
        check(p.head.form == rows[i].form, "%s: form %d", rows[i].line, (int)p.head.form);
        check(sl_slice_eq(p.head.path, sl_slice_of(rows[i].path)), "%s: path %.*s", rows[i].line,
              SL_SLICE_ARG(p.head.path));
        check(sl_slice_eq(p.head.authority, sl_slice_of(rows[i].authority)), "%s: authority %.*s",
              rows[i].line, SL_SLICE_ARG(p.head.authority));
    }
}

static void the_connection_persists_as_version_and_fields_say(void **state)
{
    static const struct {
        const char *text;
        bool keep_alive;
    } rows[] = {
        {"GET / HTTP/1.1\r\nHost: a\r\n\r\n", true},
        {"GET / HTTP/1.1\r\nHost: a\r\nConnection: Close\r\n\r\n", false},
        {"GET / HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, close\r\n\r\n", false},
        {"GET / HTTP/1.1\r\nHost: a\r\nConnection: x\r\nConnection: close\r\n\r\n", false},
        {"GET / HTTP/1.0\r\n\r\n", false},
        {"GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n", true},
        {"GET / HTTP/1.0\r\nConnection: keep-alive\r\nConnection: close\r\n\r\n", false},
    };
    (void)state;

    for (size_t i = 0; i < SL_ARRAY_LEN(rows); i++) {
        struct parsed p;
        check(parse(&p, rows[i].text, NULL) > 0, "%s: %s", rows[i].text, fault_code(p.scan.fault));
        check(p.head.keep_alive == rows[i].keep_alive, "%s: %d", rows[i].text, p.head.keep_alive);
    }
}

static void names_with_underscores_are_dropped_kept_or_refused(void **state)
{
    static const char text[] =
        "POST / HTTP/1.1\r\nHost: a\r\nX_Forwarded_For: evil\r\nX-B: c\r\n"
        "Content_Length: 5\r\nA_very_long_name_with_underscores: z\r\n\r\n";
    static const struct sl_h1_policy keep = {.underscores = SL_H1_UNDERSCORES_KEEP};
    static const struct sl_h1_policy refuse = {.underscores = SL_H1_UNDERSCORES_REFUSE};
    struct parsed p;
    (void)state;

    assert_true(parse(&p, text, NULL) > 0);
    assert_int_equal(p.head.dropped_n, 3);
    assert_int_equal(p.head.headers.n, 2);
    assert_true(sl_slice_eq(p.items[1].name, SL_SLICE("X-B")));
    assert_int_equal(p.head.framing.kind, SL_FRAMING_NONE);

    assert_true(parse(&p, text, &keep) > 0);
    assert_int_equal(p.head.dropped_n, 0);
    assert_int_equal(p.head.headers.n, 5);
    assert_int_equal(p.items[3].id, SL_HEADER_OTHER); /* kept, and still no Content-Length */

    assert_int_equal(parse(&p, text, &refuse), SL_EPROTO);
    assert_int_equal(p.scan.fault, SL_H1_FAULT_UNDERSCORE);
    assert_int_equal(sl_h1_fault_status(SL_H1_FAULT_UNDERSCORE), 400);
    assert_true(parse(&p, GET "A-b: c_d\r\n\r\n", &refuse) > 0); /* in a value it is harmless */
}

static void an_upgrade_is_seen_only_where_it_is_safe(void **state)
{
    static const struct {
        const char *line;
        const char *fields;
        const char *upgrade;
    } rows[] = {
        {"GET / HTTP/1.1", "Connection: Upgrade\r\nUpgrade: websocket\r\n", "websocket"},
        {"GET / HTTP/1.1", "Connection: keep-alive, upgrade\r\nUpgrade: a\r\n", "a"},
        {"GET / HTTP/1.1", "Connection: upgrade\r\nUpgrade: a\r\nContent-Length: 0\r\n", "a"},
        {"GET / HTTP/1.1", "Upgrade: websocket\r\n", ""},
        {"GET / HTTP/1.1", "Connection: upgrade\r\n", ""},
        {"GET / HTTP/1.0", "Connection: upgrade\r\nUpgrade: websocket\r\n", ""},
        {"GET / HTTP/1.1", "Connection: upgrade\r\nUpgrade: a\r\nUpgrade: b\r\n", ""},
        {"POST / HTTP/1.1", "Connection: upgrade\r\nUpgrade: a\r\nContent-Length: 1\r\n", ""},
        {"POST / HTTP/1.1", "Connection: upgrade\r\nUpgrade: a\r\nTransfer-Encoding: chunked\r\n",
         ""},
    };
    (void)state;

    for (size_t i = 0; i < SL_ARRAY_LEN(rows); i++) {
        char text[256];
        struct parsed p;

        (void)snprintf(text, sizeof(text), "%s\r\nHost: h\r\n%s\r\n", rows[i].line,
                       rows[i].fields); /* fits */
        check(parse(&p, text, NULL) > 0, "row %zu: %s", i, fault_code(p.scan.fault));
        check(sl_slice_eq(p.head.upgrade, sl_slice_of(rows[i].upgrade)), "row %zu: \"%.*s\"", i,
              SL_SLICE_ARG(p.head.upgrade));
    }
}

static void expect_counts_only_before_a_body(void **state)
{
    struct parsed p;
    (void)state;

    assert_true(parse(&p, POST "Expect: 100-continue\r\nContent-Length: 1\r\n\r\n", NULL) > 0);
    assert_true(p.head.expect_continue);
    assert_true(parse(&p, POST "Expect: 100-continue\r\nTransfer-Encoding: chunked\r\n\r\n", NULL) >
                0);
    assert_true(p.head.expect_continue);
    assert_true(parse(&p, POST "Expect: 100-continue\r\nContent-Length: 0\r\n\r\n", NULL) > 0);
    assert_false(p.head.expect_continue);
    assert_true(parse(&p, "POST / HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\n",
                      NULL) > 0);
    assert_false(p.head.expect_continue);
}

static void connection_cannot_name_what_the_next_hop_trusts(void **state)
{
    static const struct {
        const char *value;
        bool nominates;
    } rows[] = {
        {"close", false},
        {"keep-alive, upgrade, TE", false},
        {"X-Forwarded-For", false},
        {"x-forwarded-anything", false},
        {"Host", false},
        {"content-length", false},
        {"X-Request-Id", false},
        {"authorization", false},
        {"X-Custom", true},
        {"close, x-custom", true},
    };
    (void)state;

    for (size_t i = 0; i < SL_ARRAY_LEN(rows); i++) {
        char text[128];
        struct parsed p;

        (void)snprintf(text, sizeof(text), GET "Connection: %s\r\n\r\n", rows[i].value); /* fits */
        check(parse(&p, text, NULL) > 0, "%s: %s", rows[i].value, fault_code(p.scan.fault));
        check(p.head.nominates == rows[i].nominates, "%s: %d", rows[i].value, p.head.nominates);
    }
}

/* Fills text with a head that has `n` fields "X: <pad>", and the request target of target_len. */
static size_t make_head(char *text, size_t target_len, size_t n, size_t pad)
{
    size_t len = 0;

    memcpy(text, "GET /", 5);
    memset(text + 5, 'a', target_len - 1);
    len = 4 + target_len;
    memcpy(text + len, " HTTP/1.1\r\nHost: a\r\n", 20);
    len += 20;
    for (size_t i = 0; i < n; i++) {
        memcpy(text + len, "X: ", 3);
        memset(text + len + 3, 'v', pad);
        memcpy(text + len + 3 + pad, "\r\n", 2);
        len += pad + 5;
    }
    memcpy(text + len, "\r\n", 2);
    return len + 2;
}

static void limits_have_their_own_status(void **state)
{
    static char text[256 * 1024];
    static const struct {
        size_t target_len;
        size_t fields_n;
        size_t pad;
        enum sl_h1_fault fault;
        unsigned status;
    } rows[] = {
        {SL_H1_LINE_MAX_BYTES - 13, 0, 0, SL_H1_FAULT_NONE, 0},
        {SL_H1_LINE_MAX_BYTES - 12, 0, 0, SL_H1_FAULT_LINE_TOO_LONG, 414},
        {SL_H1_LINE_MAX_BYTES * 4, 0, 0, SL_H1_FAULT_LINE_TOO_LONG, 414},
        {1, SL_H1_FIELDS_MAX_N - 1, 1, SL_H1_FAULT_NONE, 0}, /* and Host */
        {1, SL_H1_FIELDS_MAX_N, 1, SL_H1_FAULT_TOO_MANY_FIELDS, 431},
        {1, SL_H1_FIELDS_MAX_N * 4, 1, SL_H1_FAULT_TOO_MANY_FIELDS, 431},
        {1, 1, SL_H1_HEAD_MAX_BYTES - 70, SL_H1_FAULT_NONE, 0}, /* 5 + 1 + 2 * 32 of cost */
        {1, 1, SL_H1_HEAD_MAX_BYTES - 69, SL_H1_FAULT_HEAD_TOO_LARGE, 431},
        {1, 1, SL_H1_HEAD_MAX_BYTES, SL_H1_FAULT_HEAD_TOO_LARGE, 431},
        {1, 90, 1000, SL_H1_FAULT_HEAD_TOO_LARGE, 431},
    };
    (void)state;

    for (size_t i = 0; i < SL_ARRAY_LEN(rows); i++) {
        size_t len = make_head(text, rows[i].target_len, rows[i].fields_n, rows[i].pad);
        ssize_t want = rows[i].fault == SL_H1_FAULT_NONE ? (ssize_t)len : SL_EPROTO;

        parse_in_pieces(text, len, NULL, 0, NULL, &whole);
        check(whole.rc == want && whole.fault == (unsigned)rows[i].fault, "row %zu: %zd, %s", i,
              whole.rc, fault_code(whole.fault));
        check(sl_h1_fault_status(rows[i].fault) == rows[i].status, "row %zu: status %u", i,
              sl_h1_fault_status(rows[i].fault));
        for (size_t cut = 1; cut < len; cut += 977) {
            parse_in_pieces(text, len, &cut, 1, NULL, &pieces);
            check(described_same(&whole, &pieces), "row %zu cut at %zu: %s, not %s", i, cut,
                  fault_code(pieces.fault), fault_code(whole.fault));
        }
    }
}

static void a_head_without_end_is_refused_when_its_limit_is_reached(void **state)
{
    static char text[SL_H1_HEAD_MAX_BYTES + 1];
    struct sl_header items[1];
    struct sl_request_head r;
    struct sl_h1_scan scan = {.scanned_bytes = 0};
    size_t len = make_head(text, 1, 1, 60000) - 4;
    (void)state;

    memset(text + len, 'v', sizeof(text) - len);
    sl_request_head_init(&r, items, 1, NULL, 0);
    assert_int_equal(sl_h1_parse_request(&scan, text, SL_H1_HEAD_MAX_BYTES - 1, NULL, &r),
                     SL_AGAIN);
    assert_int_equal(scan.scanned_bytes, SL_H1_HEAD_MAX_BYTES - 1);
    assert_int_equal(sl_h1_parse_request(&scan, text, SL_H1_HEAD_MAX_BYTES, NULL, &r), SL_EPROTO);
    assert_int_equal(scan.fault, SL_H1_FAULT_HEAD_TOO_LARGE);
}

static void the_callers_array_is_a_limit_as_well(void **state)
{
    struct sl_header items[2];
    struct sl_request_head r;
    struct sl_h1_scan scan = {.scanned_bytes = 0};
    (void)state;

    sl_request_head_init(&r, items, 2, NULL, 0);
    assert_true(sl_h1_parse_request(&scan, BYTES(GET "A: b\r\n\r\n"), NULL, &r) > 0);
    memset(&scan, 0, sizeof(scan));
    assert_int_equal(sl_h1_parse_request(&scan, BYTES(GET "A: b\r\nC: d\r\n\r\n"), NULL, &r),
                     SL_EPROTO);
    assert_int_equal(scan.fault, SL_H1_FAULT_TOO_MANY_FIELDS);
    memset(&scan, 0, sizeof(scan)); /* a path that must be rewritten, and nowhere to */
    assert_int_equal(sl_h1_parse_request(&scan, BYTES("GET /a//b HTTP/1.1\r\n"), NULL, &r),
                     SL_EPROTO);
    assert_int_equal(scan.fault, SL_H1_FAULT_LINE_TOO_LONG);
}

static void a_refused_request_still_says_what_it_asked_for(void **state)
{
    struct parsed p;
    (void)state;

    assert_int_equal(parse(&p, "GET /../x\\y HTTP/1.1\r\n", NULL), SL_EPROTO);
    assert_true(sl_slice_eq(p.head.method_text, SL_SLICE("GET")));
    assert_true(sl_slice_eq(p.head.target, SL_SLICE("/../x\\y")));
}

static void the_head_can_follow_its_bytes(void **state)
{
    static const char text[] = "GET http://h/a//b?q HTTP/1.1\r\nHost: h\r\nX: y\r\n\r\n";
    char old[128];
    char moved[128];
    struct parsed p;
    struct described *before = &whole;
    struct described *after = &pieces;
    (void)state;

    memcpy(old, text, sizeof(text));
    assert_true(parse(&p, old, NULL) > 0);
    before->len = after->len = 0;
    describe_request(before, &p.head, true);
    memcpy(moved, old, sizeof(text));
    memset(old, '!', sizeof(old));
    sl_request_head_rebase(&p.head, old, sizeof(text) - 1, moved);
    describe_request(after, &p.head, true);
    check(before->len == after->len && memcmp(before->text, after->text, after->len) == 0,
          "before:\n%s\nafter:\n%s", before->text, after->text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_head_is_taken_apart),
        cmocka_unit_test(the_target_has_four_forms),
        cmocka_unit_test(the_connection_persists_as_version_and_fields_say),
        cmocka_unit_test(names_with_underscores_are_dropped_kept_or_refused),
        cmocka_unit_test(an_upgrade_is_seen_only_where_it_is_safe),
        cmocka_unit_test(expect_counts_only_before_a_body),
        cmocka_unit_test(connection_cannot_name_what_the_next_hop_trusts),
        cmocka_unit_test(limits_have_their_own_status),
        cmocka_unit_test(a_head_without_end_is_refused_when_its_limit_is_reached),
        cmocka_unit_test(the_callers_array_is_a_limit_as_well),
        cmocka_unit_test(a_refused_request_still_says_what_it_asked_for),
        cmocka_unit_test(the_head_can_follow_its_bytes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
