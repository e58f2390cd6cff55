/* SPDX-License-Identifier: Apache-2.0 */
#include "proxy/run/overload.h"
#include "tests/unit/check.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static void each_step_ends_below_where_it_began(void **state)
{
    static const struct {
        unsigned pct;
        enum sl_overload_step step;
    } rows[] = {
        {0, SL_OVERLOAD_NONE},    {84, SL_OVERLOAD_NONE},   {85, SL_OVERLOAD_CLOSE},
        {80, SL_OVERLOAD_CLOSE},  {79, SL_OVERLOAD_NONE},   {92, SL_OVERLOAD_REFUSE},
        {87, SL_OVERLOAD_REFUSE}, {86, SL_OVERLOAD_CLOSE},  {95, SL_OVERLOAD_WAIT},
        {90, SL_OVERLOAD_WAIT},   {89, SL_OVERLOAD_REFUSE}, {100, SL_OVERLOAD_WAIT},
        {10, SL_OVERLOAD_NONE},
    };
    enum sl_overload_step step = SL_OVERLOAD_NONE;
    (void)state;

    for (size_t i = 0; i < SL_ARRAY_LEN(rows); i++) {
        step = sl_overload_next(step, rows[i].pct);
        check(step == rows[i].step, "row %zu, %u %%: step %d, expected %d", i, rows[i].pct, step,
              rows[i].step);
    }
}

static void write_file(const char *folder, const char *name, const char *text)
{
    char path[128];

    (void)snprintf(path, sizeof(path), "%s/%s", folder, name);
    FILE *out = fopen(path, "wb");
    assert_non_null(out);
    assert_true(fputs(text, out) >= 0);
    assert_int_equal(fclose(out), 0);
}

static struct sl_loop *loop;

static void on_step(struct sl_overload *o, enum sl_overload_step before)
{
    (void)o;
    (void)before;
    sl_loop_stop(loop);
}

static void a_cgroup_is_read_without_what_it_can_drop(void **state)
{
    static const char *const names[] = {"memory.current", "memory.max", "memory.stat"};
    char folder[] = "/tmp/sluiced-test-XXXXXX";
    char path[128];
    struct sl_overload o;
    (void)state;

    assert_non_null(mkdtemp(folder));
    write_file(folder, "memory.current", "960\n");
    write_file(folder, "memory.max", "1000\n");
    write_file(folder, "memory.stat", "anon 1\ninactive_file 30\nactive_file 2\n");
    assert_int_equal(sl_loop_new(&loop), SL_OK);
    sl_overload_start(&o, loop, folder, on_step);
    sl_loop_run(loop);
    assert_int_equal(o.memory_bytes, 930);
    assert_int_equal(o.memory_limit_bytes, 1000);
    assert_int_equal(o.step, SL_OVERLOAD_REFUSE);
    assert_true(o.fds_n > 3 && o.fds_n < o.fds_limit_n);
    write_file(folder, "memory.max", "max\n"); /* lifted */
    sl_loop_run(loop);
    assert_int_equal(sl_overload_memory_pct(&o), 0);
    assert_int_equal(o.step, SL_OVERLOAD_NONE);
    sl_overload_stop(&o);
    sl_loop_free(loop);
    for (size_t i = 0; i < SL_ARRAY_LEN(names); i++) {
        (void)snprintf(path, sizeof(path), "%s/%s", folder, names[i]);
        assert_int_equal(unlink(path), 0);
    }
    assert_int_equal(rmdir(folder), 0);
}

static void without_a_cgroup_descriptors_are_watched(void **state)
{
    struct sl_overload o;
    (void)state;

    assert_int_equal(sl_loop_new(&loop), SL_OK);
    sl_overload_start(&o, loop, "/nonexistent", on_step);
    assert_int_equal(o.current_fd, -1);
    assert_int_equal(sl_overload_memory_pct(&o), 0);
    sl_overload_stop(&o);
    sl_loop_free(loop);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_step_ends_below_where_it_began),
        cmocka_unit_test(a_cgroup_is_read_without_what_it_can_drop),
        cmocka_unit_test(without_a_cgroup_descriptors_are_watched),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
