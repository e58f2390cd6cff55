/* SPDX-License-Identifier: Apache-2.0 */
#include <sluiced/err.h>

#include "proxy/base/alloc.h"
#include "proxy/l7/exchange_internal.h"
#include "proxy/l7/forwarded.h"
#include "tests/unit/check.h"

#include <stdio.h>
#include <string.h>

#define FIELDS_MAX_N 128

struct fixture {
    struct sl_downstream down;
    struct sl_upstream up;
    struct sl_network networks[2];
    struct sl_trusted_config trusted;
    struct sl_listener_config conf;
    struct sl_view_listener listener;
    struct sl_header items[FIELDS_MAX_N];
    struct sl_exchange x;
    char told[64 * 1024]; /* "name: value\n" of each field that the endpoint was given */
};

static struct fixture f;

static void up_head(struct sl_upstream *u, struct sl_exchange *x, const struct sl_header *extra,
                    size_t extra_n, uint64_t drop_ids)
{
    size_t len = 0;

    assert_ptr_equal(u, &f.up);
    assert_ptr_equal(x, &f.x);
    for (unsigned id = SL_HEADER_X_FORWARDED_FOR; id <= SL_HEADER_FORWARDED; id++) {
        assert_true((drop_ids & sl_header_bit(id)) != 0); /* what came is never sent as well */
    }
    for (size_t i = 0; i < extra_n; i++) {
        len += (size_t)snprintf(f.told + len, sizeof(f.told) - len, "%.*s: %.*s\n",
                                SL_SLICE_ARG(extra[i].name), SL_SLICE_ARG(extra[i].value));
    }
    f.told[len] = '\0';
}

static const struct sl_upstream_ops up_ops = {.head = up_head};

static int begin(void **state)
{
    (void)state;
    memset(&f, 0, sizeof(f));
    assert_int_equal(sl_network_parse(SL_SLICE("10.0.0.0/8"), &f.networks[0]), SL_OK);
    assert_int_equal(sl_network_parse(SL_SLICE("fd00::/8"), &f.networks[1]), SL_OK);
    f.up.ops = &up_ops;
    f.trusted.networks = (struct sl_networks){f.networks, 2};
    f.trusted.unix_peers = true;
    f.conf.trusted = &f.trusted;
    f.listener.conf = &f.conf;
    f.x = (struct sl_exchange){
        .down = &f.down,
        .up = &f.up,
        .listener = &f.listener,
        .request = {.authority = SL_SLICE("a.test:80"),
                    .headers = {.items = f.items, .capacity_n = FIELDS_MAX_N}},
        .request_id = "id",
        .request_id_len = 2,
    };
    f.down = (struct sl_downstream){.address = "10.0.0.1", .peer_name = ""};
    sl_arena_init(&f.x.arena, SL_CHUNK_BYTES, 0, NULL, 0);
    return 0;
}

static int end(void **state)
{
    (void)state;
    sl_arena_fini(&f.x.arena);
    return 0;
}

/* Fields in the form "Name: value", up to NULL. */
static void came(const char *const *fields)
{
    for (; *fields != NULL; fields++) {
        const char *colon = strchr(*fields, ':');
        struct sl_slice name = {*fields, (size_t)(colon - *fields)};
        assert_int_equal(sl_headers_add(&f.x.request.headers, name, sl_slice_of(colon + 2)), SL_OK);
    }
}

static const char *told_after(const char *const *fields)
{
    came(fields);
    assert_int_equal(sl_forwarded_prepare(&f.x), SL_REASON_OK);
    sl_exchange_send_head(&f.x);
    return f.told;
}

static const char *const lies[] = {"X-Forwarded-For: 6.6.6.6",
                                   "X-Forwarded-Proto: https",
                                   "X-Forwarded-Host: evil.test",
                                   "X-Forwarded-Port: 1",
                                   "Forwarded: for=6.6.6.6",
                                   "X-Real-IP: 6.6.6.6",
                                   NULL};

static void of_a_peer_that_is_not_trusted_nothing_is_taken(void **state)
{
    (void)state;
    f.down.address = "192.0.2.1";
    assert_string_equal(told_after(lies),
                        "x-request-id: id\nx-forwarded-for: 192.0.2.1\n"
                        "x-forwarded-proto: http\nx-forwarded-host: a.test:80\n");
    assert_null(f.x.forwarded);
    assert_string_equal(sl_exchange_client(&f.x), "192.0.2.1");
}

static void where_nobody_is_trusted_nobody_is(void **state)
{
    (void)state;
    f.conf.trusted = NULL;
    f.down.over_tls = true;
    f.x.request.authority = SL_SLICE("");
    assert_string_equal(told_after(lies),
                        "x-request-id: id\nx-forwarded-for: 10.0.0.1\n"
                        "x-forwarded-proto: https\n");
    assert_null(f.x.forwarded);
    f.x.listener = NULL; /* no config names it any more */
    assert_int_equal(sl_forwarded_prepare(&f.x), SL_REASON_OK);
}

static void of_a_trusted_peer_lists_are_extended_and_the_rest_kept(void **state)
{
    static const char *const fields[] = {"X-Forwarded-For: 6.6.6.6, 192.0.2.1",
                                         "X-Other: 1",
                                         "Forwarded: for=192.0.2.1;proto=https",
                                         "x-forwarded-for: 10.0.0.2",
                                         "X-Forwarded-Proto: https",
                                         "X-Forwarded-Host: api.test",
                                         "X-Forwarded-Port: 443",
                                         "X-Real-IP: 192.0.2.1",
                                         "Forwarded: for=10.0.0.2, for=\"[fd00::1]\"",
                                         NULL};
    (void)state;

    assert_string_equal(told_after(fields),
                        "x-request-id: id\nx-forwarded-proto: https\nx-forwarded-host: api.test\n"
                        "x-forwarded-port: 443\nx-real-ip: 192.0.2.1\n"
                        "x-forwarded-for: 6.6.6.6, 192.0.2.1, 10.0.0.2, 10.0.0.1\n"
                        "forwarded: for=192.0.2.1;proto=https, for=10.0.0.2, for=\"[fd00::1]\", "
                        "for=10.0.0.1;proto=http;host=\"a.test:80\"\n");
    assert_string_equal(sl_exchange_client(&f.x), "192.0.2.1");
}

static void a_trusted_peer_that_says_nothing_is_the_client(void **state)
{
    static const char *const none[] = {NULL};
    (void)state;

    assert_string_equal(told_after(none),
                        "x-request-id: id\nx-forwarded-proto: http\nx-forwarded-host: a.test:80\n"
                        "x-forwarded-for: 10.0.0.1\n");
    assert_string_equal(sl_exchange_client(&f.x), "10.0.0.1");
}

static void what_is_not_one_valid_thing_is_replaced(void **state)
{
    static const struct {
        const char *fields[3];
        const char *gone; /* not told */
        const char *told;
    } rows[] = {
        {{"X-Forwarded-Proto: https, http"}, "https", "x-forwarded-proto: http\n"},
        {{"X-Forwarded-Proto: https", "X-Forwarded-Proto: https"},
         "https",
         "x-forwarded-proto: http\n"},
        {{"X-Forwarded-Proto: "}, "x-forwarded-proto: \n", "x-forwarded-proto: http\n"},
        {{"X-Forwarded-Proto: java\"script"}, "java", "x-forwarded-proto: http\n"},
        {{"X-Forwarded-Proto: 9p"}, "9p", "x-forwarded-proto: http\n"},
        {{"X-Forwarded-Proto: WSS"}, "proto: http\n", "x-forwarded-proto: WSS\n"},
        {{"X-Forwarded-Host: a, b"}, "a, b", "x-forwarded-host: a.test:80\n"},
        {{"X-Forwarded-Host: u@b"}, "u@b", "x-forwarded-host: a.test:80\n"},
        {{"X-Forwarded-Host: b", "X-Forwarded-Host: b"}, "host: b", "host: a.test:80\n"},
        {{"X-Forwarded-Port: 0"}, "port", ""},
        {{"X-Forwarded-Port: 65536"}, "port", ""},
        {{"X-Forwarded-Port: 80, 81"}, "port", ""},
        {{"X-Forwarded-Port: 80", "X-Forwarded-Port: 80"}, "port", ""},
        {{"X-Real-IP: me"}, "real", ""},
        {{"X-Real-IP: 192.0.2.1", "X-Real-IP: 192.0.2.1"}, "real", ""},
        {{"X-Real-IP: [2001:db8::1]:80"}, "none", "x-real-ip: [2001:db8::1]:80\n"},
        {{"Forwarded: for=6.6.6.6, for=\"x"},
         "6.6.6.6",
         "\nforwarded: for=10.0.0.1;proto=http;host=\"a.test:80\"\n"},
        {{"Forwarded: for=6.6.6.6", "Forwarded: x"},
         "6.6.6.6",
         "\nforwarded: for=10.0.0.1;proto=http;host=\"a.test:80\"\n"},
        {{"Forwarded: "}, "none", "\nforwarded: for=10.0.0.1;proto=http;host=\"a.test:80\"\n"},
    };

    for (size_t i = 0; i < SL_ARRAY_LEN(rows); i++) {
        assert_int_equal(end(state), 0);
        assert_int_equal(begin(state), 0);
        const char *told = told_after(rows[i].fields);
        check(strstr(told, rows[i].told) != NULL, "row %zu: no %s in %s", i, rows[i].told, told);
        check(strstr(told, rows[i].gone) == NULL, "row %zu: %s in %s", i, rows[i].gone, told);
    }
}

static void a_peer_on_a_unix_socket_adds_no_address(void **state)
{
    static const char *const fields[] = {"X-Forwarded-For: 192.0.2.1", "Forwarded: for=192.0.2.1",
                                         NULL};
    static const char *const none[] = {NULL};
    (void)state;

    f.down.address = "unix";
    assert_string_equal(told_after(fields),
                        "x-request-id: id\nx-forwarded-proto: http\nx-forwarded-host: a.test:80\n"
                        "x-forwarded-for: 192.0.2.1\n"
                        "forwarded: for=192.0.2.1, for=unknown;proto=http;host=\"a.test:80\"\n");
    assert_string_equal(sl_exchange_client(&f.x), "192.0.2.1");
    f.x.forwarded = NULL;
    f.x.request.headers.n = 0;
    assert_null(strstr(told_after(none), "forwarded-for"));
    assert_string_equal(sl_exchange_client(&f.x), "unix");
    f.x.forwarded = NULL;
    f.trusted.unix_peers = false; /* a network has no unix socket in it */
    assert_non_null(strstr(told_after(fields), "x-forwarded-for: unix\n"));
    assert_null(f.x.forwarded);
}

static void a_list_that_is_too_long_loses_its_beginning(void **state)
{
    static char value[1000 * 12];
    static const char *const none[] = {NULL};
    size_t len = 0;
    size_t commas_n = 0;
    (void)state;

    for (unsigned i = 0; i < 1000; i++) {
        len += (size_t)snprintf(value + len, sizeof(value) - len, "10.1.%u.%u,", i / 256, i % 256);
    }
    assert_int_equal(sl_headers_add(&f.x.request.headers, SL_SLICE("X-Forwarded-For"),
                                    (struct sl_slice){value, len}),
                     SL_OK);
    const char *told = told_after(none);
    const char *list = strstr(told, "x-forwarded-for: ");
    assert_non_null(list);
    for (const char *p = list; *p != '\n'; p++) {
        commas_n += *p == ',';
    }
    assert_int_equal(commas_n, 64);
    assert_int_equal(strncmp(list, "x-forwarded-for: 10.1.3.168, ", 29), 0); /* 1000 - 64 */
    assert_string_equal(sl_exchange_client(&f.x), "10.1.3.168");
}

static const struct sl_via_config edge = {
    .pseudonym = "edge",
    .received = {{"1.0 edge", 8}, {"1.1 edge", 8}},
};

static void a_pseudonym_is_added_with_the_version_that_was_received(void **state)
{
    static const char *const fields[] = {"Via: 1.1 a", "Via: 1.0 b (c, d)", NULL};
    struct sl_header via = {.id = SL_HEADER_OTHER};
    (void)state;

    f.conf.via = &edge;
    f.down.address = "192.0.2.1";
    assert_string_equal(told_after(fields),
                        "x-request-id: id\nx-forwarded-for: 192.0.2.1\nx-forwarded-proto: http\n"
                        "x-forwarded-host: a.test:80\nvia: 1.0 edge\n");
    assert_string_equal(sl_exchange_client(&f.x), "192.0.2.1");
    f.x.request.version_minor = 1;
    f.down.address = "10.0.0.1";
    assert_non_null(strstr(told_after(lies), "x-forwarded-for: 6.6.6.6, 10.0.0.1\n"));
    assert_non_null(strstr(f.told, "\nvia: 1.1 edge\n"));
    assert_int_equal(sl_forwarded_via(&f.x, 0, &via), 1);
    assert_true(sl_slice_eq(via.value, SL_SLICE("1.0 edge")));
    f.conf.via = NULL;
    assert_int_equal(sl_forwarded_via(&f.x, 1, &via), 0);
    f.x.listener = NULL;
    assert_int_equal(sl_forwarded_via(&f.x, 1, &via), 0);
}

static void what_has_been_here_before_is_a_loop(void **state)
{
    static const char *const fields[] = {"Via: 1.1 a", "via: 1.1 b, 1.1 Edge", NULL};
    (void)state;

    came(fields);
    assert_int_equal(sl_forwarded_prepare(&f.x), SL_REASON_OK); /* we have no name to know it by */
    f.conf.via = &edge;
    assert_int_equal(sl_forwarded_prepare(&f.x), SL_REASON_LOOP);
    assert_int_equal(sl_reason_status(SL_REASON_LOOP), 508);
}

static size_t allocs_left_n;

static bool refuse_one(size_t size_bytes)
{
    (void)size_bytes;
    return allocs_left_n-- != 0;
}

static void lack_of_memory_changes_nothing(void **state)
{
    enum sl_reason reason = SL_REASON_OVERLOAD;

    for (size_t n = 0; reason == SL_REASON_OVERLOAD; n++) {
        assert_int_equal(end(state), 0);
        assert_int_equal(begin(state), 0);
        sl_arena_fini(&f.x.arena);
        sl_arena_init(&f.x.arena, 1, 0, NULL, 0); /* a block for each */
        came(lies);
        allocs_left_n = n;
        sl_alloc_hook = refuse_one;
        reason = sl_forwarded_prepare(&f.x);
        sl_alloc_hook = NULL;
        assert_true((reason == SL_REASON_OK) == (f.x.forwarded != NULL));
        assert_true(n < 100);
    }
    assert_int_equal(reason, SL_REASON_OK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, end)
        TEST(of_a_peer_that_is_not_trusted_nothing_is_taken),
        TEST(where_nobody_is_trusted_nobody_is),
        TEST(of_a_trusted_peer_lists_are_extended_and_the_rest_kept),
        TEST(a_trusted_peer_that_says_nothing_is_the_client),
        TEST(what_is_not_one_valid_thing_is_replaced),
        TEST(a_peer_on_a_unix_socket_adds_no_address),
        TEST(a_list_that_is_too_long_loses_its_beginning),
        TEST(a_pseudonym_is_added_with_the_version_that_was_received),
        TEST(what_has_been_here_before_is_a_loop),
        TEST(lack_of_memory_changes_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
