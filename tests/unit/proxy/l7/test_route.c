/* SPDX-License-Identifier: Apache-2.0 */
#include "proxy/l7/route.h"
#include "tests/unit/check.h"

#include <string.h>

static const struct sl_route_config confs[] = {
    {.name = "exact", .host = "api.example.com", .path = "/v1/models"},
    {.name = "below", .host = "*.example.com", .path = "/v1/"},
    {.name = "models", .path = "/v1/models"},
    {.name = "encoded", .path = "/org%2Fmodel/"},
    {.name = "star", .host = "only.star", .path = "/"},
    {.name = "literal", .host = "*", .path = "/literal"},
};

static const char *match(size_t routes_n, const char *host, const char *path)
{
    struct sl_view_route routes[SL_ARRAY_LEN(confs)] = {0};
    struct sl_view_listener l = {.routes = routes, .routes_n = routes_n};

    for (size_t i = 0; i < routes_n; i++) {
        routes[i].conf = &confs[i];
    }
    const struct sl_view_route *r = sl_route_match(&l, sl_slice_of(host), sl_slice_of(path));
    return r != NULL ? r->conf->name : "none";
}

static void the_first_route_that_matches_host_and_path_wins(void **state)
{
    static const struct {
        const char *host;
        const char *path;
        const char *want;
    } rows[] = {
        {"api.example.com", "/v1/models", "exact"},
        {"API.Example.COM", "/v1/models", "exact"},
        {"api.example.com", "/v1/Models", "below"}, /* a path is not a name */
        {"api.example.com", "/v1/", "below"},
        {"api.example.com", "/v1", "none"},
        {"a.b.example.com", "/v1/x", "below"},
        {"example.com", "/v1/models", "models"}, /* not below itself */
        {".example.com", "/v1/x", "none"},
        {"badexample.com", "/v1/x", "none"},
        {"api.example.com.evil", "/v1/x", "none"},
        {"", "/v1/models", "models"},
        {"", "/v1/models/", "none"},
        {"x", "/org%2Fmodel/a", "encoded"},
        {"x", "/org/model/a", "none"},
        {"only.star", "/anything", "star"},
        {"only.star", "*", "star"}, /* OPTIONS */
        {"only.star", "", "star"},
        {"a", "/literal", "none"}, /* a lone asterisk is a name like any other */
        {"*", "/literal", "literal"},
    };
    (void)state;

    for (size_t i = 0; i < SL_ARRAY_LEN(rows); i++) {
        const char *got = match(SL_ARRAY_LEN(confs), rows[i].host, rows[i].path);
        check(strcmp(got, rows[i].want) == 0, "%s %s: %s, not %s", rows[i].host, rows[i].path, got,
              rows[i].want);
    }
}

static void a_listener_without_routes_matches_nothing(void **state)
{
    (void)state;
    assert_string_equal(match(0, "a", "/"), "none");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_first_route_that_matches_host_and_path_wins),
        cmocka_unit_test(a_listener_without_routes_matches_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
