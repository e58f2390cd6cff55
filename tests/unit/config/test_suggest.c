/* SPDX-License-Identifier: Apache-2.0 */
#include "config/suggest.h"
#include "tests/unit/check.h"

static const char *const names[] = {"listen", "listeners", "tls", "http", "timeouts", "split"};

static struct sl_slice suggest(const char *wrong)
{
    struct sl_suggestion s;

    sl_suggest_init(&s, sl_slice_of(wrong));
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        sl_suggest_offer(&s, sl_slice_of(names[i]));
    }
    return s.best;
}

static void a_name_within_two_edits_is_suggested_and_the_nearest_wins(void **state)
{
    static const struct {
        const char *wrong;
        const char *best; /* NULL: none */
    } rows[] = {
        {"listner", "listen"},       /* one edit; listeners is two away */
        {"lsiten", "listen"},        /* a swap is one edit */
        {"listenerss", "listeners"}, /* one too many */
        {"htp", "http"},             /* one missing */
        {"tsl", "tls"},
        {"timeoot", "timeouts"},
        {"timing", NULL}, /* four edits */
        {"tl", "tls"},
        {"x", NULL}, /* everything is near to so short a name */
        {"", NULL},
        {"observability", NULL},
    };
    (void)state;

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct sl_slice best = suggest(rows[i].wrong);

        check(sl_slice_eq(best, sl_slice_of(rows[i].best)), "\"%s\": \"" SL_SLICE_FMT "\"",
              rows[i].wrong, SL_SLICE_ARG(best));
    }
}

static void a_name_that_is_too_long_is_left_alone(void **state)
{
    char wrong[65];
    struct sl_suggestion s;
    (void)state;

    memset(wrong, 'a', sizeof(wrong));
    sl_suggest_init(&s, (struct sl_slice){wrong, 64});
    sl_suggest_offer(&s, (struct sl_slice){wrong, 63});
    assert_int_equal(s.best.len, 0);
    sl_suggest_init(&s, (struct sl_slice){wrong, 63});
    sl_suggest_offer(&s, (struct sl_slice){wrong, 62});
    assert_int_equal(s.best.len, 62);
    assert_int_equal(s.distance, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_name_within_two_edits_is_suggested_and_the_nearest_wins),
        cmocka_unit_test(a_name_that_is_too_long_is_left_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
