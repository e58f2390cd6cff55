/* SPDX-License-Identifier: Apache-2.0 */
#include <sluiced/defs.h>

#include "proxy/base/rng.h"
#include "proxy/upstream/hang.h"
#include "tests/unit/check.h"

#include <stdio.h>
#include <string.h>

enum {
    WORKERS_N = 2,
    MEMBERS_N = 4,
    START_MS = 1000000
};

struct fixture {
    struct sl_endpoint_ids ids;
    struct sl_pool *pool;
    struct sl_pool_config conf;
    struct sl_endpoint_set *set;
    struct sl_rng rng;
    uint64_t now_ms;
};

static void on_set_done(struct sl_published *p)
{
    (void)p;
}

static void fixture_init(struct fixture *f, size_t members_n)
{
    struct sl_found found[MEMBERS_N];
    const struct sl_snapshot snapshot = {.items = found, .n = members_n};
    struct sl_error err = {0};

    memset(f, 0, sizeof(*f));
    f->conf.balance = "round_robin";
    f->rng.state = 42;
    f->now_ms = START_MS;
    for (unsigned i = 0; i < members_n; i++) {
        found[i] = (struct sl_found){.address.port = 80, .weight = 1};
        (void)snprintf(found[i].address.host, sizeof(found[i].address.host), "10.0.0.%u",
                       i); /* fits */
    }
    assert_int_equal(sl_pool_new("chat", WORKERS_N, &f->ids, on_set_done, &f->pool), SL_OK);
    assert_int_equal(sl_pool_build_set(f->pool, &snapshot, &f->conf, &f->set, &err), SL_OK);
}

static struct sl_endpoint *member(const struct fixture *f, size_t idx)
{
    return f->set->members[idx].endpoint;
}

static void fixture_fini(struct fixture *f)
{
    for (size_t i = 0; i < f->set->members_n; i++) {
        member(f, i)->in_flight_n = 0;
    }
    sl_pool_free_set(f->set);
    sl_pool_free(f->pool);
}

static void ask(struct fixture *f, size_t idx, uint32_t worker_idx)
{
    member(f, idx)->in_flight_n++;
    sl_hang_wait_begins(member(f, idx), worker_idx, f->now_ms);
}

/* One on each worker. */
static void ask_two(struct fixture *f, size_t idx)
{
    ask(f, idx, 0);
    ask(f, idx, 1);
}

static void end(struct fixture *f, size_t idx, uint32_t worker_idx, uint64_t waited_ms,
                bool answered)
{
    sl_hang_wait_ends(f->pool, worker_idx, member(f, idx), f->now_ms - waited_ms, f->now_ms,
                      answered);
    member(f, idx)->in_flight_n--;
}

/* Member idx answers one request at once. */
static void answer(struct fixture *f, size_t idx)
{
    ask(f, idx, 0);
    end(f, idx, 0, 0, true);
}

/* Seconds pass, in each of which the members from on answer; how many looks eject someone. */
static uint32_t pass(struct fixture *f, unsigned seconds_n, size_t from)
{
    uint32_t ejected_n = 0;

    for (unsigned s = 0; s < seconds_n; s++) {
        f->now_ms += 1000;
        for (size_t i = from; i < f->set->members_n; i++) {
            answer(f, i);
        }
        ejected_n += sl_hang_look(f->pool, f->set, f->now_ms, &f->rng);
    }
    return ejected_n;
}

static bool ready(const struct fixture *f, size_t idx)
{
    return sl_endpoint_eligible(&f->set->members[idx], SL_TIER_READY, f->now_ms);
}

static void ten_seconds_of_silence_while_others_answer_eject(void **state)
{
    struct fixture f;
    (void)state;

    fixture_init(&f, 3);
    ask_two(&f, 0);
    assert_int_equal(pass(&f, 9, 1), 0);
    assert_int_equal(pass(&f, 1, 1), 1);
    assert_false(ready(&f, 0));
    assert_true(ready(&f, 1) && ready(&f, 2));
    assert_int_equal(sl_endpoint_stat(member(&f, 0), SL_ENDPOINT_EJECTIONS), 1);
    assert_int_equal(sl_pool_stat(f.pool, SL_POOL_EJECTIONS), 1);
    assert_int_equal(pass(&f, 30, 1), 0); /* once, until it had its trial */
    fixture_fini(&f);
}

static void silence_of_all_ejects_nobody(void **state)
{
    struct fixture f;
    (void)state;

    fixture_init(&f, 3);
    for (size_t i = 0; i < 3; i++) {
        answer(&f, i);
        ask_two(&f, i);
        f.now_ms += 10;
    }
    assert_int_equal(pass(&f, 60, 3), 0);
    fixture_fini(&f);
}

static void one_answer_to_anybody_is_a_sign_of_life(void **state)
{
    struct fixture f;
    (void)state;

    fixture_init(&f, 2);
    ask_two(&f, 0); /* long prompts */
    for (int i = 0; i < 20; i++) {
        assert_int_equal(pass(&f, 5, 1), 0);
        ask(&f, 0, 1);
        end(&f, 0, 1, 0, true);
    }
    assert_true(ready(&f, 0));
    fixture_fini(&f);
}

static void waits_that_end_without_an_answer_end_the_silence(void **state)
{
    struct fixture f;
    (void)state;

    fixture_init(&f, 2);
    for (int i = 0; i < 10; i++) { /* clients that have little patience */
        ask_two(&f, 0);
        assert_int_equal(pass(&f, 5, 1), 0);
        end(&f, 0, 0, 5000, false);
        end(&f, 0, 1, 5000, false);
    }
    assert_int_equal(member(&f, 0)->first_byte_ms, 0);
    ask_two(&f, 0); /* streams that were answered and go on wait for nothing */
    sl_hang_wait_ends(f.pool, 0, member(&f, 0), f.now_ms, f.now_ms, true);
    sl_hang_wait_ends(f.pool, 1, member(&f, 0), f.now_ms, f.now_ms, true);
    assert_int_equal(pass(&f, 300, 1), 0);
    fixture_fini(&f);
}

static void a_pool_that_is_slow_has_more_patience(void **state)
{
    struct fixture f;
    (void)state;

    fixture_init(&f, 2);
    assert_int_equal(sl_hang_limit_ms(f.pool, f.now_ms), 10000);
    for (int i = 0; i < 600; i++) { /* one in three takes no time: the median is 5 s */
        ask(&f, 1, 1);
        f.now_ms += 5000;
        end(&f, 1, 1, i % 3 == 0 ? 0 : 5000, true);
    }
    uint64_t limit_ms = sl_hang_limit_ms(f.pool, f.now_ms);
    check(limit_ms > 33000 && limit_ms < 47000, "%llu ms", (unsigned long long)limit_ms);
    ask_two(&f, 0);
    assert_int_equal(pass(&f, 20, 2), 0);
    fixture_fini(&f);
}

static void half_of_the_members_remain(void **state)
{
    struct fixture f;
    (void)state;

    fixture_init(&f, 4);
    for (size_t i = 0; i < 3; i++) {
        ask_two(&f, i);
    }
    assert_int_equal(pass(&f, 20, 3), 2);
    assert_true(ready(&f, 2) && ready(&f, 3));
    fixture_fini(&f);
}

static void whose_trial_hangs_goes_again_though_another_must_stay(void **state)
{
    struct fixture f;
    (void)state;

    fixture_init(&f, 3);
    ask_two(&f, 1);
    assert_int_equal(pass(&f, 10, 2), 1);
    ask_two(&f, 0); /* it comes first, and only one is left beside it */
    f.now_ms += 2000;
    assert_true(sl_outlier_admit(member(&f, 1), f.now_ms));
    assert_int_equal(pass(&f, 10, 2), 1);
    assert_int_equal(member(&f, 1)->ejections_in_row_n, 2);
    assert_int_equal(member(&f, 0)->ejections_in_row_n, 0);
    fixture_fini(&f);
}

static void one_that_waits_proves_nothing_and_two_from_the_second_on(void **state)
{
    struct fixture f;
    (void)state;

    fixture_init(&f, 2);
    ask(&f, 0, 0); /* whose answer comes whole, after a minute */
    assert_int_equal(pass(&f, 60, 1), 0);
    ask(&f, 0, 1);
    assert_int_equal(pass(&f, 9, 1), 0);
    end(&f, 0, 1, 9000, false);
    ask(&f, 0, 0); /* on the same worker as the first: alike */
    assert_int_equal(pass(&f, 9, 1), 0);
    assert_int_equal(pass(&f, 1, 1), 1);
    fixture_fini(&f);
}

static void bytes_of_any_answer_are_a_sign_of_life(void **state)
{
    struct fixture f;
    (void)state;

    fixture_init(&f, 2);
    ask_two(&f, 0); /* whom a full batch keeps waiting */
    for (int i = 0; i < 20; i++) {
        assert_int_equal(pass(&f, 5, 1), 0);
        sl_hang_on_byte(member(&f, 0), f.now_ms);
    }
    assert_int_equal(pass(&f, 10, 1), 1);
    sl_hang_on_byte(member(&f, 0), f.now_ms);
    assert_true(ready(&f, 0)); /* it goes on */
    fixture_fini(&f);
}

static void who_waits_as_long_as_was_worth_it_lately_is_patient(void **state)
{
    struct fixture f;
    (void)state;

    fixture_init(&f, 2);
    for (int i = 0; i < 100; i++) {
        answer(&f, 1); /* the median is nothing */
    }
    ask(&f, 1, 0);
    f.now_ms += 20000;
    end(&f, 1, 0, 20000, true);
    assert_int_equal(sl_hang_limit_ms(f.pool, f.now_ms), 40000);
    ask_two(&f, 0);
    assert_int_equal(pass(&f, 39, 1), 0);
    assert_int_equal(pass(&f, 1, 1), 1);
    assert_int_equal(sl_hang_limit_ms(f.pool, f.now_ms + SL_HANG_SPAN_MS), 40000);
    assert_int_equal(sl_hang_limit_ms(f.pool, f.now_ms + 2 * SL_HANG_SPAN_MS), 10000);
    fixture_fini(&f);
}

static void it_returns_by_a_trial_and_not_by_a_probe_or_a_head(void **state)
{
    struct fixture f;
    (void)state;

    fixture_init(&f, 2);
    struct sl_endpoint *ep = member(&f, 0);
    ask_two(&f, 0);
    assert_int_equal(pass(&f, 10, 1), 1);
    f.now_ms += 2000;
    sl_outlier_on_probe_ok(ep, f.now_ms); /* /health answers although the engine is gone */
    assert_true(ready(&f, 0));            /* for the trial */
    assert_true(sl_outlier_admit(ep, f.now_ms));
    ask(&f, 0, 0);
    uint64_t trial_ms = f.now_ms;
    sl_outlier_on_answer(ep, trial_ms, f.now_ms + 1); /* a head, sent before the engine was asked */
    assert_false(ready(&f, 0));
    assert_int_equal(pass(&f, 9, 1), 0);
    assert_true(
        sl_outlier_admit(ep, f.now_ms)); /* the second trial does not start the clock anew */
    assert_int_equal(pass(&f, 1, 1), 1);
    assert_true(ep->ejected_until_ms >= f.now_ms + 2 * SL_OUTLIER_BASE_MS);
    assert_int_equal(ep->ejections_in_row_n, 2);

    end(&f, 0, 0, 100, true); /* one of those that hung all the time */
    assert_true(ready(&f, 0));
    assert_int_equal(ep->ejections_in_row_n, 0);
    assert_true(sl_outlier_admit(ep, f.now_ms) && sl_outlier_admit(ep, f.now_ms));
    fixture_fini(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ten_seconds_of_silence_while_others_answer_eject),
        cmocka_unit_test(silence_of_all_ejects_nobody),
        cmocka_unit_test(one_answer_to_anybody_is_a_sign_of_life),
        cmocka_unit_test(waits_that_end_without_an_answer_end_the_silence),
        cmocka_unit_test(a_pool_that_is_slow_has_more_patience),
        cmocka_unit_test(half_of_the_members_remain),
        cmocka_unit_test(whose_trial_hangs_goes_again_though_another_must_stay),
        cmocka_unit_test(one_that_waits_proves_nothing_and_two_from_the_second_on),
        cmocka_unit_test(bytes_of_any_answer_are_a_sign_of_life),
        cmocka_unit_test(who_waits_as_long_as_was_worth_it_lately_is_patient),
        cmocka_unit_test(it_returns_by_a_trial_and_not_by_a_probe_or_a_head),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
