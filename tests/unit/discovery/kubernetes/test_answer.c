/* SPDX-License-Identifier: Apache-2.0 */
#include "discovery/kubernetes/answer.h"
#include "discovery/kubernetes/watch_conf.h"
#include "tests/unit/check.h"

#include <string.h>

static void an_answer_is_one_line_and_a_403_says_what_to_allow(void **state)
{
    static const struct {
        uint16_t status;
        const char *body;
        const char *path;
        const char *text;
    } rows[] = {
        {500, "{\"message\":\"etcd is\\nslow\"}", "/api/v1/pods", "status 500: etcd is slow"},
        {429, "Too many\r\n", "/api/v1/pods", "status 429: Too many  "},
        {503, "", "/api/v1/pods", "status 503: "},
        {502, "{\"message\":5}", "/api/v1/pods", "status 502: {\"message\":5}"},
        {403, "{\"message\":\"no\"}", "/apis/discovery.k8s.io/v1/namespaces/prod/endpointslices",
         "status 403: allow list and watch on endpointslices.discovery.k8s.io in namespace prod: "
         "no"},
        {403, "no", "/api/v1/namespaces/prod/pods",
         "status 403: allow list and watch on pods in namespace prod: no"},
        {403, "no", "/api/v1/services",
         "status 403: allow list and watch on services in all namespaces: no"},
    };
    char buf[160];
    (void)state;

    for (size_t i = 0; i < SL_ARRAY_LEN(rows); i++) {
        sl_kube_describe(rows[i].status, sl_slice_of(rows[i].body), rows[i].path, buf, sizeof(buf));
        check(strcmp(buf, rows[i].text) == 0, "row %zu: %s", i, buf);
    }
    sl_kube_describe(500, sl_slice_of("a long one"), "/", buf, 16);
    assert_string_equal(buf, "status 500: a l");
}

/* The second half of a limit that doubles from twice the minimum to the maximum. */
static void the_back_off_doubles_jitters_and_has_an_end(void **state)
{
    static const struct {
        uint32_t failures_n;
        bool is_doubted;
        uint64_t min_ms;
        uint64_t max_ms;
    } rows[] = {
        {1, false, 200, 400},
        {2, false, 400, 800},
        {5, false, 3200, 6400},
        {8, false, 15000, 30000},
        {UINT32_MAX, false, 15000, 30000},
        {1, true, 200, 400},
        {4, true, 1000, 2000},
        {UINT32_MAX, true, 1000, 2000},
    };
    struct sl_rng rng = {.state = 1};
    (void)state;

    for (size_t i = 0; i < SL_ARRAY_LEN(rows); i++) {
        uint64_t least_ms = UINT64_MAX;
        uint64_t most_ms = 0;
        for (int n = 0; n < 1000; n++) {
            uint64_t ms = sl_watch_backoff_ms(&sl_list_watch_times, &rng, rows[i].failures_n,
                                              rows[i].is_doubted);
            check(ms >= rows[i].min_ms && ms <= rows[i].max_ms, "row %zu: %ju", i, (uintmax_t)ms);
            least_ms = ms < least_ms ? ms : least_ms;
            most_ms = ms > most_ms ? ms : most_ms;
        }
        check(most_ms - least_ms > rows[i].min_ms / 2, "row %zu does not jitter", i);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_answer_is_one_line_and_a_403_says_what_to_allow),
        cmocka_unit_test(the_back_off_doubles_jitters_and_has_an_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
