/* SPDX-License-Identifier: Apache-2.0 */
#include <sluiced/defs.h>

#include "proxy/base/rng.h"
#include "proxy/base/wheel.h"
#include "tests/unit/check.h"

#define TURN_MS ((uint64_t)SL_WHEEL_TICK_MS * SL_WHEEL_SLOTS_N)
#define ITEMS_N 64

struct item {
    struct sl_deadline deadline;
    uint64_t due_ms; /* the naive model: what was set last; 0: nothing */
    uint64_t set_ms; /* and when */
    uint32_t fired_n;
    struct item *victim; /* removed in the callback */
    uint64_t rearm_ms;   /* set in the callback */
};

static struct sl_wheel w;
static struct item items[ITEMS_N];
static uint64_t now_ms;

static void on_due(struct sl_deadline *d)
{
    struct item *it = sl_container_of(d, struct item, deadline);

    check(it->due_ms != 0, "fired, though nothing was set");
    check(it->due_ms <= now_ms, "fired at %ju, due at %ju", (uintmax_t)now_ms,
          (uintmax_t)it->due_ms);
    check(d->due_ms == 0 && d->slot_tick == 0, "still armed in its callback");
    it->due_ms = 0;
    it->fired_n++;
    if (it->victim != NULL) {
        it->victim->due_ms = 0;
        sl_deadline_remove(&w, &it->victim->deadline);
    }
    if (it->rearm_ms != 0) {
        it->due_ms = it->rearm_ms;
        it->set_ms = now_ms;
        sl_deadline_set(&w, d, it->rearm_ms);
    }
}

static void begin(uint64_t at_ms)
{
    now_ms = at_ms;
    sl_wheel_init(&w, now_ms);
    for (size_t i = 0; i < ITEMS_N; i++) {
        items[i] = (struct item){0};
        sl_deadline_init(&items[i].deadline, on_due);
    }
}

static void arm(struct item *it, uint64_t due_ms)
{
    it->due_ms = due_ms;
    it->set_ms = now_ms;
    sl_deadline_set(&w, &it->deadline, due_ms);
}

static void advance_to(uint64_t at_ms)
{
    now_ms = at_ms;
    sl_wheel_advance(&w, now_ms);
}

static uint32_t slots_linked_n(void)
{
    uint32_t n = 0;

    for (size_t i = 0; i < SL_WHEEL_SLOTS_N; i++) {
        for (const struct sl_list *l = w.slots[i].next; l != &w.slots[i]; l = l->next) {
            n++;
        }
    }
    return n;
}

static void a_deadline_fires_at_most_one_tick_late_and_never_early(void **state)
{
    (void)state;

    for (uint64_t start = 1000; start < 1000 + 2 * SL_WHEEL_TICK_MS; start++) {
        for (uint64_t after = 0; after < 5 * SL_WHEEL_TICK_MS; after++) {
            begin(start);
            arm(&items[0], start + after);
            for (uint64_t t = start; items[0].fired_n == 0; t++) {
                check(t <= start + after + SL_WHEEL_TICK_MS, "set at %ju for %ju ms later: late",
                      (uintmax_t)start, (uintmax_t)after);
                advance_to(t);
            }
            advance_to(start + 3 * TURN_MS);
            assert_int_equal(items[0].fired_n, 1); /* and only once */
        }
    }
}

static void a_later_deadline_costs_one_store_and_an_earlier_one_moves(void **state)
{
    (void)state;

    begin(1000);
    arm(&items[0], 2000);
    uint64_t tick = items[0].deadline.slot_tick;
    arm(&items[0], 5000);
    assert_int_equal(items[0].deadline.slot_tick, tick);
    advance_to(2008);
    assert_int_equal(items[0].fired_n, 0);
    assert_true(items[0].deadline.slot_tick > tick);
    arm(&items[0], 3000);
    advance_to(2999);
    assert_int_equal(items[0].fired_n, 0);
    advance_to(3008);
    assert_int_equal(items[0].fired_n, 1);
    assert_int_equal(w.linked_n, 0);
}

static void a_cleared_deadline_stays_linked_until_its_slot_comes_and_does_not_fire(void **state)
{
    (void)state;

    begin(1000);
    arm(&items[0], 2000);
    items[0].due_ms = 0;
    sl_deadline_clear(&items[0].deadline);
    assert_int_equal(w.linked_n, 1);
    advance_to(2008);
    assert_int_equal(items[0].fired_n, 0);
    assert_int_equal(w.linked_n, 0);
    assert_int_equal(items[0].deadline.slot_tick, 0);
    sl_deadline_remove(&w, &items[0].deadline); /* safe, though not linked */
    sl_deadline_remove(&w, &items[0].deadline);
    assert_int_equal(w.linked_n, 0);
}

static void a_deadline_beyond_many_turns_fires_once_and_in_time(void **state)
{
    uint64_t due_ms = 1000 + 300 * 1000;
    (void)state;

    begin(1000);
    arm(&items[0], due_ms);
    arm(&items[1], UINT64_MAX);
    for (uint64_t t = 1000; t < due_ms; t += SL_WHEEL_TICK_MS) {
        advance_to(t);
        assert_int_equal(items[0].fired_n, 0);
    }
    advance_to(due_ms + SL_WHEEL_TICK_MS);
    assert_int_equal(items[0].fired_n, 1);
    assert_int_equal(items[1].fired_n, 0);
}

static void a_jump_of_the_clock_fires_all_that_is_due_and_nothing_else(void **state)
{
    static const uint64_t jumps_ms[] = {
        TURN_MS - 8, TURN_MS, TURN_MS + 8, 2 * TURN_MS + 4, 3600ULL * 1000 * 24 * 365,
    };
    (void)state;

    for (size_t j = 0; j < SL_ARRAY_LEN(jumps_ms); j++) {
        begin(5);
        for (size_t i = 0; i < ITEMS_N; i++) {
            arm(&items[i], 5 + (i + 1) * jumps_ms[j] / (ITEMS_N / 2)); /* half before, half after */
        }
        advance_to(5 + jumps_ms[j] + SL_WHEEL_TICK_MS);
        for (size_t i = 0; i < ITEMS_N; i++) {
            uint32_t expected = i < ITEMS_N / 2 ? 1 : items[i].fired_n; /* on_due refuses early */

            check(items[i].fired_n == expected, "jump %ju ms: item %zu fired %u times",
                  (uintmax_t)jumps_ms[j], i, items[i].fired_n);
        }
        check(items[ITEMS_N - 1].fired_n == 0, "jump %ju ms", (uintmax_t)jumps_ms[j]);
        assert_int_equal(slots_linked_n(), w.linked_n);
    }
}

static void a_clock_that_stands_or_goes_back_changes_nothing(void **state)
{
    (void)state;

    begin(100000);
    arm(&items[0], 100020);
    advance_to(100000);
    advance_to(50);
    assert_int_equal(items[0].fired_n, 0);
    advance_to(100024);
    assert_int_equal(items[0].fired_n, 1);
}

static void a_callback_may_remove_others_that_wait_in_the_same_slot(void **state)
{
    (void)state;

    begin(1000);
    for (size_t i = 0; i < 5; i++) {
        arm(&items[i], 1500);
    }
    items[0].victim = &items[1]; /* the next one */
    items[2].victim = &items[4]; /* the last one */
    items[3].victim = &items[0]; /* one that has fired already */
    advance_to(1600);
    assert_int_equal(items[0].fired_n, 1);
    assert_int_equal(items[1].fired_n, 0);
    assert_int_equal(items[2].fired_n, 1);
    assert_int_equal(items[3].fired_n, 1);
    assert_int_equal(items[4].fired_n, 0);
    assert_int_equal(w.linked_n, 0);
    assert_int_equal(slots_linked_n(), 0);
}

static void a_callback_that_always_rearms_fires_once_a_call(void **state)
{
    static const uint64_t jumps_ms[] = {SL_WHEEL_TICK_MS, 300, TURN_MS, 10 * TURN_MS};
    (void)state;

    for (size_t j = 0; j < SL_ARRAY_LEN(jumps_ms); j++) {
        begin(1000);
        for (size_t i = 0; i < ITEMS_N; i++) {
            items[i].rearm_ms = 1; /* long past */
            arm(&items[i], 1000 + i * TURN_MS / ITEMS_N);
        }
        for (uint32_t calls_n = 0; calls_n < 30; calls_n++) {
            uint32_t before[ITEMS_N];

            for (size_t i = 0; i < ITEMS_N; i++) {
                before[i] = items[i].fired_n;
            }
            advance_to(now_ms + jumps_ms[j]);
            for (size_t i = 0; i < ITEMS_N; i++) {
                check(items[i].fired_n <= before[i] + 1, "fired %u times in a call",
                      items[i].fired_n - before[i]);
            }
        }
        check(items[0].fired_n == 30, "fired %u times", items[0].fired_n);
    }
}

static void the_earliest_moment_is_known_to_the_tick(void **state)
{
    (void)state;

    begin(1000);
    assert_true(w.earliest_ms == UINT64_MAX);
    arm(&items[0], 1500);
    assert_int_equal(w.earliest_ms, 1504);
    arm(&items[1], 1300);
    assert_int_equal(w.earliest_ms, 1304);
    sl_deadline_remove(&w, &items[1].deadline);
    items[1].due_ms = 0;
    advance_to(w.earliest_ms); /* too early now: one look, and it is exact again */
    assert_int_equal(w.earliest_ms, 1504);
    advance_to(1504);
    assert_int_equal(items[0].fired_n, 1);
    assert_true(w.earliest_ms == UINT64_MAX);
    arm(&items[2], 3); /* past: at the next tick */
    assert_int_equal(w.earliest_ms, 1512);
    sl_deadline_remove(&w, &items[2].deadline);
    arm(&items[2], 1504 + 10 * TURN_MS); /* far: a look a turn */
    advance_to(1512);
    assert_true(w.earliest_ms > now_ms && w.earliest_ms <= now_ms + TURN_MS);
}

/* What must have fired by now did, and what is still set is linked in time. */
static void compare(int step)
{
    for (size_t i = 0; i < ITEMS_N; i++) {
        const struct item *it = &items[i];

        check(it->due_ms == it->deadline.due_ms, "step %d: item %zu due at %ju, expected %ju", step,
              i, (uintmax_t)it->deadline.due_ms, (uintmax_t)it->due_ms);
        check(it->due_ms == 0 || it->due_ms + SL_WHEEL_TICK_MS > now_ms ||
                  it->set_ms + SL_WHEEL_TICK_MS > now_ms,
              "step %d: item %zu is late: due at %ju, now %ju", step, i, (uintmax_t)it->due_ms,
              (uintmax_t)now_ms);
        check(it->due_ms == 0 || w.earliest_ms <= now_ms + TURN_MS, "step %d: nobody will look",
              step);
        check(it->due_ms == 0 || w.earliest_ms <= it->due_ms + SL_WHEEL_TICK_MS ||
                  w.earliest_ms <= it->set_ms + 2 * SL_WHEEL_TICK_MS,
              "step %d: item %zu due at %ju, next look at %ju", step, i, (uintmax_t)it->due_ms,
              (uintmax_t)w.earliest_ms);
    }
    check(slots_linked_n() == w.linked_n, "step %d: %u linked, %u counted", step, slots_linked_n(),
          w.linked_n);
}

static uint64_t some_time(struct sl_rng *rng)
{
    static const uint64_t bounds_ms[] = {3, 20, 1000, TURN_MS, 5 * TURN_MS};

    return now_ms + sl_rng_below(rng, bounds_ms[sl_rng_below(rng, SL_ARRAY_LEN(bounds_ms))]);
}

static void do_something(struct sl_rng *rng)
{
    struct item *it = &items[sl_rng_below(rng, ITEMS_N)];

    switch (sl_rng_below(rng, 10)) {
    case 0:
        it->due_ms = 0;
        sl_deadline_clear(&it->deadline);
        break;
    case 1:
        it->due_ms = 0;
        sl_deadline_remove(&w, &it->deadline);
        break;
    case 2: /* as a timer that repeats */
        it->rearm_ms = sl_rng_below(rng, 2) == 0 ? 0 : some_time(rng);
        break;
    case 3:
        it->victim = sl_rng_below(rng, 2) == 0 ? NULL : &items[sl_rng_below(rng, ITEMS_N)];
        break;
    case 4:
    case 5:
        advance_to(some_time(rng));
        break;
    default:
        arm(it, some_time(rng));
        break;
    }
}

static void a_wheel_keeps_every_promise_whatever_is_done(void **state)
{
    (void)state;

    for (uint64_t seed = 1; seed <= 10; seed++) {
        struct sl_rng rng = {seed};
        uint32_t fired_n = 0;

        begin(1 + sl_rng_below(&rng, 1000000));
        for (int step = 0; step < 2000; step++) {
            do_something(&rng);
            compare(step);
        }
        for (size_t i = 0; i < ITEMS_N; i++) {
            fired_n += items[i].fired_n;
        }
        check(fired_n > 200, "seed %ju: only %u fired: the test tests nothing", (uintmax_t)seed,
              fired_n);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_deadline_fires_at_most_one_tick_late_and_never_early),
        cmocka_unit_test(a_later_deadline_costs_one_store_and_an_earlier_one_moves),
        cmocka_unit_test(a_cleared_deadline_stays_linked_until_its_slot_comes_and_does_not_fire),
        cmocka_unit_test(a_deadline_beyond_many_turns_fires_once_and_in_time),
        cmocka_unit_test(a_jump_of_the_clock_fires_all_that_is_due_and_nothing_else),
        cmocka_unit_test(a_clock_that_stands_or_goes_back_changes_nothing),
        cmocka_unit_test(a_callback_may_remove_others_that_wait_in_the_same_slot),
        cmocka_unit_test(a_callback_that_always_rearms_fires_once_a_call),
        cmocka_unit_test(the_earliest_moment_is_known_to_the_tick),
        cmocka_unit_test(a_wheel_keeps_every_promise_whatever_is_done),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
