/* SPDX-License-Identifier: Apache-2.0 */
#include <sluiced/defs.h>

#include "proxy/base/list.h"
#include "tests/unit/check.h"

struct item {
    char name;
    struct sl_list link;
};

/* The names in order, and the same in reverse order by the other pointers. */
static const char *names(const struct sl_list *head)
{
    static char text[16];
    size_t n = 0;
    size_t back_n = 0;

    for (const struct sl_list *l = head->next; l != head; l = l->next) {
        check(n < sizeof(text) - 1, "the ring does not close");
        text[n++] = sl_container_of_const(l, struct item, link)->name;
    }
    text[n] = '\0';
    for (const struct sl_list *l = head->prev; l != head; l = l->prev) {
        back_n++;
        check(back_n <= n && text[n - back_n] == sl_container_of_const(l, struct item, link)->name,
              "backwards differs from \"%s\"", text);
    }
    check(back_n == n, "%zu forwards, %zu backwards", n, back_n);
    return text;
}

static void items_stand_where_they_were_pushed(void **state)
{
    struct item a = {.name = 'a'};
    struct item b = {.name = 'b'};
    struct item c = {.name = 'c'};
    struct sl_list head;
    (void)state;

    sl_list_init(&head);
    assert_true(sl_list_empty(&head));
    sl_list_push_back(&head, &b.link);
    sl_list_push_back(&head, &c.link);
    sl_list_push_front(&head, &a.link);
    assert_false(sl_list_empty(&head));
    assert_string_equal(names(&head), "abc");
    sl_list_unlink(&b.link);
    assert_string_equal(names(&head), "ac");
    sl_list_unlink(&b.link); /* again: nothing */
    assert_string_equal(names(&head), "ac");
    sl_list_push_back(&head, &b.link);
    assert_string_equal(names(&head), "acb");
    sl_list_unlink(&a.link);
    sl_list_unlink(&c.link);
    sl_list_unlink(&b.link);
    assert_true(sl_list_empty(&head));
}

static void taking_all_leaves_nothing_behind(void **state)
{
    struct item items[3] = {{.name = 'a'}, {.name = 'b'}, {.name = 'c'}};
    struct sl_list from;
    struct sl_list to;
    (void)state;

    sl_list_init(&from);
    sl_list_take_all(&to, &from);
    assert_true(sl_list_empty(&to) && sl_list_empty(&from));
    for (size_t n = 1; n <= 3; n++) {
        static const char *const expected[] = {"a", "ab", "abc"};

        for (size_t i = 0; i < n; i++) {
            sl_list_push_back(&from, &items[i].link);
        }
        sl_list_take_all(&to, &from);
        assert_true(sl_list_empty(&from));
        assert_string_equal(names(&to), expected[n - 1]);
        sl_list_init(&from);
        sl_list_init(&to);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(items_stand_where_they_were_pushed),
        cmocka_unit_test(taking_all_leaves_nothing_behind),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
