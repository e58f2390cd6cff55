/* SPDX-License-Identifier: Apache-2.0 */
#include "proxy/base/rng.h"
#include "proxy/l7/retry.h"
#include "tests/unit/check.h"

#include <string.h>

static void the_wait_is_anything_up_to_a_bound_that_doubles(void **state)
{
    static const struct {
        uint32_t n;
        uint64_t bound_ms;
    } rows[] = {{1, 25}, {2, 50}, {3, 100}, {4, 200}, {5, 250}};
    const struct sl_retry_config conf = {.backoff_min_ms = 25, .backoff_max_ms = 250};
    struct sl_rng rng = {1};
    (void)state;

    for (size_t r = 0; r < SL_ARRAY_LEN(rows); r++) {
        uint64_t least_ms = UINT64_MAX;
        uint64_t most_ms = 0;
        for (int i = 0; i < 20000; i++) {
            uint64_t ms = sl_retry_backoff_ms(&conf, rows[r].n, &rng);
            least_ms = ms < least_ms ? ms : least_ms;
            most_ms = ms > most_ms ? ms : most_ms;
        }
        check(least_ms == 1 && most_ms == rows[r].bound_ms, "retry %u: %ju to %ju ms", rows[r].n,
              (uintmax_t)least_ms, (uintmax_t)most_ms);
    }
}

static void the_longest_wait_that_may_be_set_does_not_overflow(void **state)
{
    const struct sl_retry_config conf = {.backoff_min_ms = 6000, .backoff_max_ms = 60000};
    struct sl_rng rng = {1};
    (void)state;

    for (int i = 0; i < 1000; i++) {
        uint64_t ms = sl_retry_backoff_ms(&conf, SL_RETRY_ATTEMPTS_MAX_N, &rng);
        assert_true(ms >= 1 && ms <= 60000);
    }
}

static void statuses_are_those_of_the_ranges(void **state)
{
    static const struct sl_status_range ranges[] = {{429, 429}, {502, 504}};
    static const uint16_t in[] = {429, 502, 503, 504};
    static const uint16_t out[] = {200, 428, 430, 501, 505};
    const struct sl_retry_config conf = {.statuses = ranges, .statuses_n = SL_ARRAY_LEN(ranges)};
    const struct sl_retry_config none = {.attempts_n = 1};
    (void)state;

    for (size_t i = 0; i < SL_ARRAY_LEN(in); i++) {
        check(sl_status_is_in(conf.statuses, conf.statuses_n, in[i]), "%u", in[i]);
        assert_false(sl_status_is_in(none.statuses, none.statuses_n, in[i]));
    }
    for (size_t i = 0; i < SL_ARRAY_LEN(out); i++) {
        check(!sl_status_is_in(conf.statuses, conf.statuses_n, out[i]), "%u", out[i]);
    }
}

/* A request as it stands when its attempt fails, or is refused. */
struct row {
    const char *what;
    enum sl_method method;
    bool untouched; /* the endpoint says that it did nothing */
    bool replays_generations;
    bool upgrades;
    bool started;
    bool kept;
    uint32_t retries_n;
    enum sl_refusal refusal;
    bool needs_body; /* once it was sent, for whatever may come */
};

static const struct row rows[] = {
    {"GET", SL_METHOD_GET, .kept = true, .refusal = SL_REFUSALS_N, .needs_body = true},
    {"PUT", SL_METHOD_PUT, .kept = true, .refusal = SL_REFUSALS_N, .needs_body = true},
    {"POST", SL_METHOD_POST, .kept = true, .refusal = SL_REFUSAL_NOT_REPEATABLE,
     .needs_body = true},
    {"POST that was refused", SL_METHOD_POST, .untouched = true, .kept = true,
     .refusal = SL_REFUSALS_N, .needs_body = true},
    {"POST where generations may be", SL_METHOD_POST, .replays_generations = true, .kept = true,
     .refusal = SL_REFUSALS_N, .needs_body = true},
    {"a second one", SL_METHOD_GET, .kept = true, .retries_n = 1, .refusal = SL_REFUSALS_N,
     .needs_body = true},
    {"a third one", SL_METHOD_GET, .kept = true, .retries_n = 2, .refusal = SL_REFUSAL_ATTEMPTS},
    {"a third refusal", SL_METHOD_POST, .untouched = true, .kept = true, .retries_n = 2,
     .refusal = SL_REFUSAL_ATTEMPTS},
    {"no body", SL_METHOD_PUT, .refusal = SL_REFUSAL_BODY_NOT_KEPT},
    {"begun", SL_METHOD_GET, .kept = true, .started = true, .refusal = SL_REFUSAL_RESPONSE_STARTED},
    {"upgrade", SL_METHOD_GET, .kept = true, .upgrades = true, .refusal = SL_REFUSAL_UPGRADE},
};

static void one_reason_says_why_a_request_is_not_sent_again(void **state)
{
    (void)state;
    for (size_t r = 0; r < SL_ARRAY_LEN(rows); r++) {
        const struct row *row = &rows[r];
        struct sl_route_config conf = {
            .replays_generations = row->replays_generations,
            .retry = {.attempts_n = 2, .per_try_ms = 700},
        };
        struct sl_view_route route = {.conf = &conf};
        struct sl_exchange x = {
            .route = &route,
            .request = {.method = row->method},
            .response_started = row->started,
            .replay_whole = row->kept,
            .retries_n = row->retries_n,
        };
        if (row->upgrades) {
            x.request.upgrade = SL_SLICE("websocket");
        }
        enum sl_refusal refusal = sl_retry_refusal(&x, row->untouched);
        check(refusal == row->refusal, "%s: %d, not %d", row->what, refusal, row->refusal);
        check(sl_retry_may_need_body(&x) == row->needs_body, "%s: body", row->what);
        if (!row->untouched) { /* who was not asked in vain is asked with a limit */
            uint64_t try_ms = refusal == SL_REFUSALS_N ? 700 : 0;
            check(sl_retry_try_ms(&x) == try_ms, "%s: %ju ms", row->what,
                  (uintmax_t)sl_retry_try_ms(&x));
            x.awaits_continue = true;
            assert_int_equal(sl_retry_try_ms(&x), 0);
        }
    }
}

static void refusals_have_names_of_their_own(void **state)
{
    (void)state;
    for (int a = 0; a < SL_REFUSALS_N; a++) {
        for (int b = 0; b < a; b++) {
            assert_string_not_equal(sl_refusal_name((enum sl_refusal)a),
                                    sl_refusal_name((enum sl_refusal)b));
        }
    }
    assert_string_equal(sl_refusal_name(SL_REFUSAL_BUDGET), "budget");
    assert_string_equal(sl_refusal_name(SL_REFUSAL_NO_ENDPOINT), "no_endpoint");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_wait_is_anything_up_to_a_bound_that_doubles),
        cmocka_unit_test(the_longest_wait_that_may_be_set_does_not_overflow),
        cmocka_unit_test(statuses_are_those_of_the_ranges),
        cmocka_unit_test(one_reason_says_why_a_request_is_not_sent_again),
        cmocka_unit_test(refusals_have_names_of_their_own),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
