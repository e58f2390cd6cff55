/* SPDX-License-Identifier: Apache-2.0 */
#include <sluiced/err.h>

#include "proxy/base/alloc.h"
#include "proxy/run/watch.h"
#include "tests/unit/check.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define TURN_MS 5
#define LONG_TURNS_N 400 /* 2 s: far beyond the settling, far below the polling */
#define QUIET_TURNS_N 40 /* 200 ms: four times the settling */

struct fixture {
    char folder[64];
    char config[128];
    struct sl_loop *loop;
    struct sl_watch *watch;
    unsigned changes_n;
};

static void on_change(void *arg)
{
    ((struct fixture *)arg)->changes_n++;
}

static void write_file(const char *path, const char *text)
{
    FILE *f = fopen(path, "we");

    assert_non_null(f);
    assert_true(fputs(text, f) >= 0);
    assert_int_equal(fclose(f), 0);
}

static void in_folder(const struct fixture *f, const char *name, char out[128])
{
    (void)snprintf(out, 128, "%s/%s", f->folder, name); /* fits */
}

static void begin(struct fixture *f)
{
    memset(f, 0, sizeof(*f));
    (void)snprintf(f->folder, sizeof(f->folder), "/tmp/sluiced-watch-XXXXXX"); /* fits */
    assert_non_null(mkdtemp(f->folder));
    in_folder(f, "sluiced.yaml", f->config);
    write_file(f->config, "a");
    assert_int_equal(sl_loop_new(&f->loop), SL_OK);
    assert_int_equal(sl_watch_new(f->loop, f->config, on_change, f, &f->watch), SL_OK);
}

static void end(struct fixture *f)
{
    static const char *const names[] = {"sluiced.yaml", "tls.crt", "other", "new",
                                        "..data",       "one",     "two"};
    char path[128];

    sl_watch_free(f->watch);
    sl_loop_free(f->loop);
    for (size_t i = 0; i < SL_ARRAY_LEN(names); i++) {
        in_folder(f, names[i], path);
        (void)unlink(path); /* most are not there */
        (void)rmdir(path);
    }
    assert_int_equal(rmdir(f->folder), 0);
}

static void turn(struct fixture *f, unsigned turns_n, unsigned until_n)
{
    for (unsigned i = 0; i < turns_n && f->changes_n < until_n; i++) {
        sl_loop_run_once(f->loop);
        (void)poll(NULL, 0, TURN_MS); /* timers need time to pass; nothing is watched here */
    }
}

static void expect_change(struct fixture *f, const char *what)
{
    unsigned before_n = f->changes_n;

    turn(f, LONG_TURNS_N, before_n + 1);
    check(f->changes_n == before_n + 1, "%s: not seen", what);
    turn(f, QUIET_TURNS_N, before_n + 2);
    check(f->changes_n == before_n + 1, "%s: seen twice", what);
}

static void expect_quiet(struct fixture *f, const char *what)
{
    unsigned before_n = f->changes_n;

    turn(f, QUIET_TURNS_N, before_n + 1);
    check(f->changes_n == before_n, "%s: seen", what);
}

static void a_change_of_the_file_is_told_once_however_it_is_made(void **state)
{
    struct fixture f;
    char new[128];
    (void)state;

    begin(&f);
    expect_quiet(&f, "nothing");
    write_file(f.config, "bb");
    expect_change(&f, "written in place");
    in_folder(&f, "new", new);
    write_file(new, "cc");
    assert_int_equal(rename(new, f.config), 0);
    expect_change(&f, "replaced");
    assert_int_equal(unlink(f.config), 0);
    expect_change(&f, "gone");
    write_file(f.config, "dd");
    expect_change(&f, "back");
    end(&f);
}

static void a_neighbour_that_changes_is_none_of_our_business(void **state)
{
    struct fixture f;
    char other[128];
    (void)state;

    begin(&f);
    in_folder(&f, "other", other);
    write_file(other, "x");
    expect_quiet(&f, "a neighbour");
    end(&f);
}

static void what_was_noted_before_it_was_read_is_no_change(void **state)
{
    struct fixture f;
    (void)state;

    begin(&f);
    write_file(f.config, "bb");
    sl_watch_note(f.watch);
    expect_quiet(&f, "noted");
    write_file(f.config, "ccc"); /* after the note: while it is read, say */
    expect_change(&f, "written after the note");
    end(&f);
}

/* As kubelet does: ..data is a link to a folder, the file a link through it, and a swap renames a
 * new link over ..data. */
static void a_swap_of_a_configmap_is_seen(void **state)
{
    struct fixture f;
    char path[128];
    char link[128];
    char data[128];
    (void)state;

    begin(&f);
    for (int i = 0; i < 2; i++) {
        in_folder(&f, i == 0 ? "one" : "two", path);
        assert_int_equal(mkdir(path, 0700), 0);
        in_folder(&f, i == 0 ? "one/sluiced.yaml" : "two/sluiced.yaml", path);
        write_file(path, i == 0 ? "a" : "b");
    }
    in_folder(&f, "..data", data);
    assert_int_equal(symlink("one", data), 0);
    assert_int_equal(unlink(f.config), 0);
    assert_int_equal(symlink("..data/sluiced.yaml", f.config), 0);
    sl_watch_note(f.watch);
    expect_quiet(&f, "noted");
    in_folder(&f, "new", link);
    assert_int_equal(symlink("two", link), 0);
    assert_int_equal(rename(link, data), 0);
    expect_change(&f, "the swap");
    in_folder(&f, "one/sluiced.yaml", path);
    assert_int_equal(unlink(path), 0);
    in_folder(&f, "two/sluiced.yaml", path);
    assert_int_equal(unlink(path), 0);
    end(&f);
}

static void files_of_a_config_are_watched_until_none_names_them(void **state)
{
    struct fixture f;
    char cert[128];
    (void)state;

    begin(&f);
    in_folder(&f, "tls.crt", cert);
    write_file(cert, "c");
    const struct sl_tls_config tls = {.cert = cert};
    const struct sl_listener_config listener = {.tls = &tls};
    const struct sl_config with = {.listeners = &listener, .listeners_n = 1};
    const struct sl_config without = {.listeners = &listener, .listeners_n = 0};

    sl_watch_add(f.watch, &with);
    expect_quiet(&f, "added");
    write_file(cert, "dd");
    expect_change(&f, "the certificate");
    sl_watch_prune(f.watch, &with);
    write_file(cert, "eee");
    expect_change(&f, "the certificate, still named");
    sl_watch_prune(f.watch, &without);
    write_file(cert, "ffff");
    expect_quiet(&f, "a certificate that nobody names");
    write_file(f.config, "bb");
    expect_change(&f, "the config, which stays watched");
    end(&f);
}

/* Configs that were refused leave their files in the table until one is applied. */
static void a_full_table_has_room_for_the_applied_config_again(void **state)
{
    struct fixture f;
    char cert[128];
    (void)state;

    begin(&f);
    for (int i = 0; i < 300; i++) {
        char path[128];
        (void)snprintf(path, sizeof(path), "%s/refused-%d", f.folder, i); /* fits */
        const struct sl_tls_config tls = {.cert = path};
        const struct sl_pool_config pool = {.tls = &tls};
        const struct sl_config refused = {.pools = &pool, .pools_n = 1};
        sl_watch_add(f.watch, &refused);
    }
    in_folder(&f, "tls.crt", cert);
    write_file(cert, "c");
    const struct sl_tls_config tls = {.cert = cert};
    const struct sl_listener_config listener = {.tls = &tls};
    const struct sl_config applied = {.listeners = &listener, .listeners_n = 1};

    sl_watch_add(f.watch, &applied);
    sl_watch_prune(f.watch, &applied);
    write_file(cert, "dd");
    expect_change(&f, "the certificate");
    end(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_change_of_the_file_is_told_once_however_it_is_made),
        cmocka_unit_test(a_neighbour_that_changes_is_none_of_our_business),
        cmocka_unit_test(what_was_noted_before_it_was_read_is_no_change),
        cmocka_unit_test(a_swap_of_a_configmap_is_seen),
        cmocka_unit_test(files_of_a_config_are_watched_until_none_names_them),
        cmocka_unit_test(a_full_table_has_room_for_the_applied_config_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
