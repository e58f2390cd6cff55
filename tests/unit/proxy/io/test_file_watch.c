/* SPDX-License-Identifier: Apache-2.0 */
/* What is told of which files: tests/unit/proxy/run/test_watch.c. Here: when. */
#include "proxy/io/file_watch.h"
#include "tests/unit/check.h"

#include <dirent.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define TURN_MS 5
#define LONG_TURNS_N 400 /* 2 s: far beyond the settling, far below the polling */

struct fixture {
    char folder[64];
    char file[128];
    struct sl_loop *loop;
    struct sl_file_watch *watch;
    unsigned changes_n;
};

static void on_change(void *arg)
{
    ((struct fixture *)arg)->changes_n++;
}

static void append(const char *path, const char *text)
{
    FILE *f = fopen(path, "ae");

    assert_non_null(f);
    assert_true(fputs(text, f) >= 0);
    assert_int_equal(fclose(f), 0);
}

static void begin(struct fixture *f)
{
    memset(f, 0, sizeof(*f));
    (void)snprintf(f->folder, sizeof(f->folder), "/tmp/sluiced-files-XXXXXX"); /* fits */
    assert_non_null(mkdtemp(f->folder));
    (void)snprintf(f->file, sizeof(f->file), "%s/endpoints.yaml", f->folder); /* fits */
    assert_int_equal(sl_loop_new(&f->loop), SL_OK);
    assert_int_equal(sl_file_watch_new(f->loop, on_change, f, &f->watch), SL_OK);
    sl_file_watch_add(f->watch, f->file);
}

static void end(struct fixture *f)
{
    sl_file_watch_free(f->watch);
    sl_loop_free(f->loop);
    (void)unlink(f->file);
    assert_int_equal(rmdir(f->folder), 0);
}

static void turn(struct fixture *f)
{
    sl_loop_run_once(f->loop);
    (void)poll(NULL, 0, TURN_MS); /* timers need time to pass; nothing is watched here */
}

static void expect_change(struct fixture *f, const char *what)
{
    unsigned before_n = f->changes_n;

    for (unsigned i = 0; i < LONG_TURNS_N && f->changes_n == before_n; i++) {
        turn(f);
    }
    check(f->changes_n == before_n + 1, "%s: not seen", what);
}

static void a_file_that_is_still_written_has_not_settled(void **state)
{
    struct fixture f;
    (void)state;

    begin(&f);
    for (int i = 0; i < 60; i++) { /* 300 ms: six times the settling */
        append(f.file, "x");
        turn(&f);
    }
    check(f.changes_n == 0, "told %u times while it was written", f.changes_n);
    expect_change(&f, "written to its end");
    end(&f);
}

static void a_neighbour_that_changes_all_the_time_puts_nothing_off(void **state)
{
    struct fixture f;
    char other[160];
    (void)state;

    begin(&f);
    (void)snprintf(other, sizeof(other), "%s/other", f.folder); /* fits */
    append(f.file, "x");
    for (unsigned i = 0; i < LONG_TURNS_N && f.changes_n == 0; i++) {
        append(other, "y");
        turn(&f);
    }
    check(f.changes_n == 1, "told %u times", f.changes_n);
    assert_int_equal(unlink(other), 0);
    end(&f);
}

static void who_asks_is_told_at_once_whether_files_are_as_they_were(void **state)
{
    struct fixture f;
    (void)state;

    begin(&f);
    assert_true(sl_file_watch_is_current(f.watch));
    append(f.file, "x");
    assert_false(sl_file_watch_is_current(f.watch));
    sl_file_watch_note(f.watch);
    assert_true(sl_file_watch_is_current(f.watch));
    end(&f);
}

static void who_hurries_finds_what_no_event_has_told(void **state)
{
    struct fixture f;
    (void)state;

    begin(&f);
    append(f.file, "x");
    sl_file_watch_hurry(f.watch); /* before a turn could read the event */
    expect_change(&f, "hurried");
    sl_file_watch_hurry(f.watch);
    for (int i = 0; i < 40; i++) {
        turn(&f);
    }
    check(f.changes_n == 1, "hurried for nothing: told %u times", f.changes_n);
    end(&f);
}

/* Of all inotify descriptors of this process, as the kernel counts them. */
static unsigned watches_n(void)
{
    char line[512];
    unsigned n = 0;
    DIR *dir = opendir("/proc/self/fdinfo");

    assert_non_null(dir);
    for (struct dirent *e = readdir(dir); e != NULL; e = readdir(dir)) {
        char path[300];
        (void)snprintf(path, sizeof(path), "/proc/self/fdinfo/%s", e->d_name); /* fits */
        FILE *f = fopen(path, "re");
        while (f != NULL && fgets(line, sizeof(line), f) != NULL) {
            n += strncmp(line, "inotify wd:", 11) == 0;
        }
        check(f == NULL || fclose(f) == 0, "cannot close %s", path);
    }
    assert_int_equal(closedir(dir), 0);
    return n;
}

static void a_folder_is_watched_for_as_long_as_one_of_its_files_is(void **state)
{
    struct fixture f;
    char beside[160];
    char others[8][32];
    (void)state;

    begin(&f);
    assert_int_equal(watches_n(), 1);
    (void)snprintf(beside, sizeof(beside), "%s/beside", f.folder); /* fits */
    sl_file_watch_add(f.watch, beside);
    for (int i = 0; i < 8; i++) {
        char file[300];
        (void)snprintf(others[i], sizeof(others[i]), "/tmp/sluiced-other-XXXXXX"); /* fits */
        assert_non_null(mkdtemp(others[i]));
        (void)snprintf(file, sizeof(file), "%s/tls.crt", others[i]); /* fits */
        sl_file_watch_prune_begin(f.watch);
        sl_file_watch_add(f.watch, f.file);
        sl_file_watch_add(f.watch, file);
        sl_file_watch_prune_end(f.watch);
        check(watches_n() == 2, "%u folders are watched after change %d", watches_n(), i);
    }
    append(f.file, "x");
    expect_change(&f, "a file beside which another is not watched any more");
    for (int i = 0; i < 8; i++) {
        assert_int_equal(rmdir(others[i]), 0);
    }
    end(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_file_that_is_still_written_has_not_settled),
        cmocka_unit_test(a_neighbour_that_changes_all_the_time_puts_nothing_off),
        cmocka_unit_test(who_asks_is_told_at_once_whether_files_are_as_they_were),
        cmocka_unit_test(who_hurries_finds_what_no_event_has_told),
        cmocka_unit_test(a_folder_is_watched_for_as_long_as_one_of_its_files_is),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
