/* SPDX-License-Identifier: Apache-2.0 */
#include <sluiced/err.h>

#include "proxy/base/rng.h"
#include "proxy/proto/hops.h"
#include "tests/unit/check.h"

#include <stdio.h>
#include <string.h>

static struct sl_network ours[2];
static const struct sl_networks trusted = {.items = ours, .n = 2};

static int trust(void **state)
{
    (void)state;
    return sl_network_parse(SL_SLICE("10.0.0.0/8"), &ours[0]) == SL_OK &&
                   sl_network_parse(SL_SLICE("fd00::/8"), &ours[1]) == SL_OK
               ? 0
               : -1;
}

static const char *client_of(const struct sl_hops *h)
{
    static char text[SL_IP_TEXT_BYTES];
    struct sl_ip ip;

    return sl_hops_client(h, &trusted, &ip) ? sl_ip_format(&ip, text) : "none";
}

static void the_client_is_the_first_from_the_end_that_is_not_trusted(void **state)
{
    static const struct {
        const char *values[3];
        const char *client;
    } rows[] = {
        {{""}, "none"},
        {{" , ,\t,"}, "none"},
        {{"192.0.2.1"}, "192.0.2.1"},
        {{"6.6.6.6, 192.0.2.1"}, "192.0.2.1"},
        {{"192.0.2.1, 10.0.0.1"}, "192.0.2.1"},
        {{"6.6.6.6,192.0.2.1 ,10.0.0.1,\t10.1.0.1"}, "192.0.2.1"},
        {{"10.9.9.9, 192.0.2.1, 10.0.0.1"}, "192.0.2.1"}, /* it only says to be one of ours */
        {{"10.0.0.2, 10.0.0.1"}, "10.0.0.2"},             /* all are */
        {{"2001:db8::1, fd00::1, 10.0.0.1"}, "2001:db8::1"},
        /* several fields are one list */
        {{"6.6.6.6", "192.0.2.1", "10.0.0.1"}, "192.0.2.1"},
        {{"192.0.2.1", "", "10.0.0.1"}, "192.0.2.1"},
        /* what is no address ends it, whoever said so */
        {{"192.0.2.1, unknown, 10.0.0.1"}, "10.0.0.1"},
        {{"192.0.2.1, unknown"}, "none"},
        {{"192.0.2.1, example.com, 10.0.0.2, 10.0.0.1"}, "10.0.0.2"},
        {{"192.0.2.1, 10.0.0.1 10.0.0.2"}, "none"},
        /* empty elements are none */
        {{"192.0.2.1,,10.0.0.1,,"}, "192.0.2.1"},
        /* a quote opens nothing */
        {{"\"", "192.0.2.1, 10.0.0.1"}, "192.0.2.1"},
        {{"\"6.6.6.6, 192.0.2.1"}, "192.0.2.1"},
        {{"(6.6.6.6, 192.0.2.1"}, "192.0.2.1"},
        /* spellings */
        {{"192.0.2.1:4711"}, "192.0.2.1"},
        {{"[2001:db8::1]"}, "2001:db8::1"},
        {{"[2001:DB8::1]:4711"}, "2001:db8::1"},
        {{"::ffff:192.0.2.1"}, "192.0.2.1"},
        {{"[::ffff:192.0.2.1]:80"}, "192.0.2.1"},
        {{"192.0.2.1, ::ffff:10.0.0.1"}, "192.0.2.1"},
        {{"192.0.2.1:0"}, "none"},
        {{"192.0.2.1:x"}, "none"},
        {{"192.0.2.1:70000"}, "none"},
        {{"[192.0.2.1]"}, "none"},
        {{"[2001:db8::1"}, "none"},
        {{"fe80::1%eth0"}, "none"},
        {{"192.0.2"}, "none"},
        {{"0300.0.2.1"}, "none"},
        {{"\"192.0.2.1\""}, "none"},
    };
    (void)state;

    for (size_t i = 0; i < SL_ARRAY_LEN(rows); i++) {
        struct sl_hops h = {.n = 0};

        for (size_t j = 0; j < SL_ARRAY_LEN(rows[i].values) && rows[i].values[j] != NULL; j++) {
            sl_hops_add(&h, sl_slice_of(rows[i].values[j]));
        }
        const char *got = client_of(&h);
        check(strcmp(got, rows[i].client) == 0, "row %zu, %s: %s, not %s", i, rows[i].values[0],
              got, rows[i].client);
    }
}

static void nothing_that_a_client_says_first_changes_who_it_is(void **state)
{
    static const char bytes[] = "\",;=[]():. \t1aF0\\unkow/10.0.0.1";
    struct sl_rng rng = {.state = 1};
    char spoofed[64];
    (void)state;

    for (unsigned n = 0; n < 20000; n++) {
        size_t len = sl_rng_below(&rng, sizeof(spoofed));
        struct sl_hops as_a_field = {.n = 0};
        struct sl_hops in_front = {.n = 0};
        char joined[128];

        for (size_t i = 0; i < len; i++) {
            spoofed[i] = bytes[sl_rng_below(&rng, sizeof(bytes) - 1)];
        }
        sl_hops_add(&as_a_field, (struct sl_slice){spoofed, len});
        sl_hops_add(&as_a_field, SL_SLICE("192.0.2.1, 10.0.0.1"));
        int joined_len =
            snprintf(joined, sizeof(joined), "%.*s,192.0.2.1,fd00::1,10.0.0.1", (int)len, spoofed);
        sl_hops_add(&in_front, (struct sl_slice){joined, (size_t)joined_len});
        check(strcmp(client_of(&as_a_field), "192.0.2.1") == 0, "%.*s", (int)len, spoofed);
        check(strcmp(client_of(&in_front), "192.0.2.1") == 0, "%.*s", (int)len, spoofed);
    }
}

static void of_a_long_list_the_end_counts(void **state)
{
    static const size_t lengths[] = {
        1, SL_HOPS_MAX_N - 1, SL_HOPS_MAX_N, SL_HOPS_MAX_N + 1, 1000, 10000};
    static char text[10000 * 16];
    static char joined[SL_HOPS_MAX_N * 32];
    (void)state;

    for (size_t i = 0; i < SL_ARRAY_LEN(lengths); i++) {
        struct sl_hops h = {.n = 0};
        struct sl_hops again = {.n = 0};
        char first[SL_IP_TEXT_BYTES];
        size_t len = 0;
        size_t kept_n = lengths[i] < SL_HOPS_MAX_N ? lengths[i] : SL_HOPS_MAX_N;

        for (size_t n = 0; n < lengths[i]; n++) {
            len +=
                (size_t)snprintf(text + len, sizeof(text) - len, "10.0.%zu.%zu,", n / 256, n % 256);
        }
        sl_hops_add(&h, (struct sl_slice){text, len});
        assert_int_equal(h.n, lengths[i]);
        (void)snprintf(first, sizeof(first), "10.0.%zu.%zu", (lengths[i] - kept_n) / 256,
                       (lengths[i] - kept_n) % 256); /* fits */
        assert_string_equal(client_of(&h), first);
        size_t joined_len = sl_hops_join(&h, SL_SLICE("192.0.2.1"), joined);
        assert_true(joined_len <= sl_hops_join_bytes(&h, SL_SLICE("192.0.2.1")));
        assert_int_equal(strncmp(joined, first, strlen(first)), 0);
        sl_hops_add(&again, (struct sl_slice){joined, joined_len});
        assert_int_equal(again.n, kept_n + 1);
    }
}

static void a_list_is_joined_in_order(void **state)
{
    static const struct {
        const char *values[3];
        const char *own;
        const char *joined;
    } rows[] = {
        {{""}, "", ""},
        {{""}, "a", "a"},
        {{"a"}, "", "a"},
        {{"a"}, "b", "a, b"},
        {{"a,b", "c", " d\t,, e "}, "f", "a, b, c, d, e, f"},
        {{"\"x,y\""}, "z", "\"x, y\", z"},
    };
    (void)state;

    for (size_t i = 0; i < SL_ARRAY_LEN(rows); i++) {
        struct sl_hops h = {.n = 0};
        struct sl_slice own = sl_slice_of(rows[i].own);
        char buf[64];

        for (size_t j = 0; j < SL_ARRAY_LEN(rows[i].values) && rows[i].values[j] != NULL; j++) {
            sl_hops_add(&h, sl_slice_of(rows[i].values[j]));
        }
        assert_true(sl_hops_join_bytes(&h, own) <= sizeof(buf));
        struct sl_slice joined = {buf, sl_hops_join(&h, own, buf)};
        check(sl_slice_eq(joined, sl_slice_of(rows[i].joined)), "row %zu: \"%.*s\"", i,
              SL_SLICE_ARG(joined));
    }
}

static void forwarded_is_taken_when_it_is_all_well_formed(void **state)
{
    static const struct {
        const char *value;
        int elements_n; /* -1: refused */
    } rows[] = {
        /* RFC 7239 section 4 */
        {"for=\"_gazonk\"", 1},
        {"For=\"[2001:db8:cafe::17]:4711\"", 1},
        {"for=192.0.2.60;proto=http;by=203.0.113.43", 1},
        {"for=192.0.2.43, for=198.51.100.17", 2},
        {"for=192.0.2.43, for=\"[2001:db8:cafe::17]\"", 2},
        {"for=_hidden, for=_SEVKISEK", 2},
        {"for=unknown", 1},
        {"", 0},
        {",, ,", 0},
        {"for=a;", 1},
        {";;for=a", 1},
        {";", 1},
        {"for=a; proto=b ;host=\"c:80\"", 1},
        {"for=\"a,b\", for=\"c;d=e\"", 2},
        {"for=\"a\\\"b\\\\\"", 1},
        {"for=\"\"", 1},
        {"x-own=1", 1},
        {"for", -1},
        {"for=", -1},
        {"=a", -1},
        {"for =a", -1},
        {"for= a", -1},
        {"for=a b", -1},
        {"for=[::1]", -1},
        {"for=192.0.2.1:80", -1},
        {"for=\"a", -1},
        {"for=\"a\\\"", -1},
        {"for=\"a\\", -1},
        {"for=\"a\"b", -1},
        {"for=a\"b\"", -1},
        {"for=a, \"", -1},
        {"for=a;proto", -1},
        {"192.0.2.1", -1},
        {"for=a=b", -1},
        {"for=\xc3\xa9", -1},
        {"for=\"\xc3\xa9\"", 1},
    };
    (void)state;

    for (size_t i = 0; i < SL_ARRAY_LEN(rows); i++) {
        struct sl_hops h = {.n = 0};
        int rc = sl_hops_add_forwarded(&h, sl_slice_of(rows[i].value));
        int n = rc == SL_OK ? (int)h.n : -1;

        check(rc == SL_OK || rc == SL_EPROTO, "%s: %d", rows[i].value, rc);
        check(n == rows[i].elements_n, "%s: %d, not %d", rows[i].value, n, rows[i].elements_n);
    }
}

static void our_own_element_is_quoted_where_it_must_be(void **state)
{
    static const struct {
        const char *peer;
        const char *proto;
        const char *host;
        const char *want;
    } rows[] = {
        {"192.0.2.1", "http", "a.test", "for=192.0.2.1;proto=http;host=a.test"},
        {"192.0.2.1", "https", "a.test:8443", "for=192.0.2.1;proto=https;host=\"a.test:8443\""},
        {"2001:db8::1", "http", "[2001:db8::2]:80",
         "for=\"[2001:db8::1]\";proto=http;host=\"[2001:db8::2]:80\""},
        {"::ffff:192.0.2.1", "http", "", "for=192.0.2.1;proto=http"},
        {NULL, "http", "a;b=(c)", "for=unknown;proto=http;host=\"a;b=(c)\""},
        {NULL, "http", "a\"b\\c", "for=unknown;proto=http;host=\"a\\\"b\\\\c\""},
        {"ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "http", "a",
         "for=\"[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]\";proto=http;host=a"},
    };
    (void)state;

    for (size_t i = 0; i < SL_ARRAY_LEN(rows); i++) {
        struct sl_ip ip;
        struct sl_hops h = {.n = 0};
        char buf[256];
        struct sl_forwarded_by_us f = {
            .peer = rows[i].peer != NULL ? &ip : NULL,
            .proto = sl_slice_of(rows[i].proto),
            .host = sl_slice_of(rows[i].host),
        };

        assert_true(rows[i].peer == NULL || sl_ip_parse(sl_slice_of(rows[i].peer), &ip) == SL_OK);
        assert_true(sl_forwarded_bytes(f.host.len) <= sizeof(buf));
        struct sl_slice got = {buf, sl_forwarded_format(&f, buf)};
        assert_true(got.len <= sl_forwarded_bytes(f.host.len));
        check(sl_slice_eq(got, sl_slice_of(rows[i].want)), "row %zu: %.*s", i, SL_SLICE_ARG(got));
        assert_int_equal(sl_hops_add_forwarded(&h, got), SL_OK);
        assert_int_equal(h.n, 1);
    }
}

static void a_via_names_who_received_it(void **state)
{
    static const struct {
        const char *value;
        bool names;
    } rows[] = {
        {"", false},
        {"1.1 edge", true},
        {"1.0 EDGE", true},
        {"HTTP/1.1 edge", true},
        {"1.1\tedge \t", true},
        {"1.1 a, 1.1 edge , 1.0 b", true},
        {"1.1 edge (sluiced, 0.1)", true},
        {"1.1 edge2", false},
        {"1.1 my-edge", false},
        {"1.1 edge:8080", false}, /* we add no port */
        {"edge", false},
        {"edge 1.1", false},
        {"1.1 a (edge)", false},
        {"1.1 a (by 1.1 edge)", false},
        {"1.1", false},
        {", ,", false},
        /* what is open in front hides nothing */
        {"1.1 a (, 1.1 edge", true},
        {"1.1 \", 1.1 edge", true},
        {"(, 1.1 edge", true},
    };
    (void)state;

    for (size_t i = 0; i < SL_ARRAY_LEN(rows); i++) {
        check(sl_via_names(sl_slice_of(rows[i].value), SL_SLICE("edge")) == rows[i].names,
              "%s: not %d", rows[i].value, rows[i].names);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(the_client_is_the_first_from_the_end_that_is_not_trusted, trust),
        cmocka_unit_test_setup(nothing_that_a_client_says_first_changes_who_it_is, trust),
        cmocka_unit_test_setup(of_a_long_list_the_end_counts, trust),
        cmocka_unit_test(a_list_is_joined_in_order),
        cmocka_unit_test(forwarded_is_taken_when_it_is_all_well_formed),
        cmocka_unit_test(our_own_element_is_quoted_where_it_must_be),
        cmocka_unit_test(a_via_names_who_received_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
