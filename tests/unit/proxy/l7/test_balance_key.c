/* SPDX-License-Identifier: Apache-2.0 */
#include "proxy/base/hash.h"
#include "proxy/l7/balance_key.h"
#include "proxy/l7/forwarded.h"
#include "proxy/l7/view.h"
#include "tests/unit/check.h"

#include <stdio.h>
#include <string.h>

#define FIELDS_MAX_N 8

static struct sl_header items[FIELDS_MAX_N];
static struct sl_pool_config conf;
static struct sl_view_pool pool = {.conf = &conf};
static struct sl_view_side side = {.pool = &pool};
static struct sl_downstream down = {.address = "192.0.2.1"};
static struct sl_exchange x;

static void want(enum sl_balance_key_kind kind, const char *name)
{
    conf.balance_key = (struct sl_balance_key_config){kind, name};
    x = (struct sl_exchange){.side = &side, .down = &down};
    x.request.headers = (struct sl_headers){.items = items, .capacity_n = FIELDS_MAX_N};
}

static void add(const char *name, const char *value)
{
    int rc = sl_headers_add(&x.request.headers, sl_slice_of(name), sl_slice_of(value));

    assert_int_equal(rc, SL_OK);
}

/* value NULL: the request has no key. */
static void check_key(const char *value, const char *what)
{
    uint64_t expected = value != NULL ? sl_hash(sl_slice_of(value), 0) : 0;

    check(sl_balance_key(&x, &conf) == expected, "%s: the key is not %s", what,
          value != NULL ? value : "absent");
}

static void a_pool_without_a_key_gets_none(void **state)
{
    (void)state;
    want(SL_BALANCE_KEY_NONE, NULL);
    add("x-session-id", "a");
    check_key(NULL, "no key");
}

static void a_header_is_found_in_any_case(void **state)
{
    (void)state;
    want(SL_BALANCE_KEY_HEADER, "x-session-id");
    add("x-session", "no");
    check_key(NULL, "absent");
    add("X-Session-ID", "first");
    add("x-session-id", "second");
    check_key("first", "the first of two");
    want(SL_BALANCE_KEY_HEADER, "x-session-id");
    add("x-session-id", "");
    check_key(NULL, "empty");
    want(SL_BALANCE_KEY_HEADER, "user-agent"); /* one that has a number of its own */
    add("User-Agent", "curl");
    check_key("curl", "known");
}

static void cookies_are_told_apart(void **state)
{
    static const struct {
        const char *first;
        const char *second; /* field; NULL: none */
        const char *value;
    } rows[] = {
        {"sid=a", NULL, "a"},         {"x=1; sid=a; y=2", NULL, "a"},
        {"x=1;sid=a;y=2", NULL, "a"}, {"xsid=1; sid=a", NULL, "a"},
        {"sidx=1; sid=a", NULL, "a"}, {"x=sid=b; sid=a", NULL, "a"},
        {"sid=a=b", NULL, "a=b"},     {"sid=\"a\"", NULL, "\"a\""},
        {"sid=a; sid=b", NULL, "a"},  {"SID=b; sid=a", NULL, "a"},
        {"x=1", "sid=a", "a"},        {"sid=", "sid=a", "a"},
        {"sid", NULL, NULL},          {"sid=", NULL, NULL},
        {"; ;;", NULL, NULL},         {"", NULL, NULL},
    };
    (void)state;

    for (size_t i = 0; i < SL_ARRAY_LEN(rows); i++) {
        want(SL_BALANCE_KEY_COOKIE, "sid");
        add("a", "sid=no");
        add("Cookie", rows[i].first);
        if (rows[i].second != NULL) {
            add("cookie", rows[i].second);
        }
        check_key(rows[i].value, rows[i].first);
    }
}

static void parameters_are_told_apart(void **state)
{
    static const struct {
        const char *query;
        const char *value;
    } rows[] = {
        {"user=a", "a"},
        {"x=1&user=a&y=2", "a"},
        {"xuser=1&userx=2&user=a", "a"},
        {"user=%61", "%61"},
        {"user=a=b", "a=b"},
        {"&&user=a", "a"},
        {"user=&user=a", "a"},
        {"user", NULL},
        {"user=", NULL},
        {"u", NULL},
        {"", NULL},
    };
    (void)state;

    for (size_t i = 0; i < SL_ARRAY_LEN(rows); i++) {
        want(SL_BALANCE_KEY_QUERY, "user");
        x.request.query = sl_slice_of(rows[i].query);
        check_key(rows[i].value, rows[i].query);
    }
    want(SL_BALANCE_KEY_QUERY, "user");
    check_key(NULL, "no query at all");
}

static void the_source_is_the_client_whom_the_log_names(void **state)
{
    struct sl_forwarded forwarded = {.has_client = true};
    (void)state;

    want(SL_BALANCE_KEY_SOURCE, NULL);
    check_key("192.0.2.1", "peer");
    (void)snprintf(forwarded.client, sizeof(forwarded.client), "2001:db8::1");
    x.forwarded = &forwarded;
    check_key("2001:db8::1", "behind a trusted proxy");
    down.address = "unix";
    x.forwarded = NULL;
    check_key(NULL, "unix socket");
    down.address = "192.0.2.1";
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_pool_without_a_key_gets_none),
        cmocka_unit_test(a_header_is_found_in_any_case),
        cmocka_unit_test(cookies_are_told_apart),
        cmocka_unit_test(parameters_are_told_apart),
        cmocka_unit_test(the_source_is_the_client_whom_the_log_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
