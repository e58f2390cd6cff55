/* SPDX-License-Identifier: Apache-2.0 */
#include <sluiced/discovery.h>

#include "proxy/io/loop.h"
#include "tests/unit/check.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define TURN_MS 5
#define LONG_TURNS_N 400 /* 2 s: far beyond the settling, far below the polling */

struct fixture {
    struct sl_sink sink;
    char folder[64];
    char file[128];
    struct sl_pool_config pool;
    struct sl_loop *loop;
    struct sl_discovery *discovery;
    struct sl_source *source;
    int snapshots_n;
    char text[256];
};

static void on_snapshot(struct sl_sink *sink, const struct sl_snapshot *snapshot)
{
    struct fixture *f = sl_container_of(sink, struct fixture, sink);
    size_t at = 0;

    f->snapshots_n++;
    f->text[0] = '\0';
    for (size_t i = 0; i < snapshot->n; i++) {
        const struct sl_found *found = &snapshot->items[i];
        at += (size_t)snprintf(f->text + at, sizeof(f->text) - at, "%s:%u=%u%s%s ",
                               found->address.host, found->address.port, found->weight,
                               found->draining ? "~" : "", found->zone);
    }
}

static void in_folder(const struct fixture *f, const char *name, char out[128])
{
    (void)snprintf(out, 128, "%s/%s", f->folder, name); /* fits */
}

static void write_file(const char *path, const char *text)
{
    FILE *file = fopen(path, "we");

    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    assert_int_equal(fclose(file), 0);
}

static void begin(struct fixture *f, const char *text)
{
    const struct sl_source_ops *ops = sl_source_get(SL_DISCOVER_FILE);
    const struct sl_config config = {0};
    struct sl_error err;

    memset(f, 0, sizeof(*f));
    f->sink.on_snapshot = on_snapshot;
    (void)snprintf(f->folder, sizeof(f->folder), "/tmp/sluiced-source-XXXXXX"); /* fits */
    assert_non_null(mkdtemp(f->folder));
    in_folder(f, "e.yaml", f->file);
    if (text != NULL) {
        write_file(f->file, text);
    }
    f->pool = (struct sl_pool_config){
        .name = "chat",
        .discover = {.kind = SL_DISCOVER_FILE, .file = f->file},
    };
    assert_int_equal(sl_loop_new(&f->loop), SL_OK);
    assert_int_equal(sl_discovery_new(f->loop, NULL, &f->discovery), SL_OK);
    assert_int_equal(ops->start(&f->pool, &config, f->discovery, &f->sink, &f->source, &err),
                     SL_OK);
}

static void end(struct fixture *f)
{
    f->source->ops->stop(f->source);
    sl_discovery_free(f->discovery);
    sl_loop_free(f->loop);
    (void)unlink(f->file);
    assert_int_equal(rmdir(f->folder), 0);
}

static struct sl_source_status status_of(const struct fixture *f)
{
    struct sl_source_status status;

    f->source->ops->status(f->source, &status);
    return status;
}

static void turn(struct fixture *f)
{
    sl_loop_run_once(f->loop);
    (void)poll(NULL, 0, TURN_MS); /* timers need time to pass; nothing is watched here */
}

static void expect_endpoints(struct fixture *f, const char *wanted)
{
    for (int i = 0; i < LONG_TURNS_N && strcmp(f->text, wanted) != 0; i++) {
        turn(f);
    }
    assert_string_equal(f->text, wanted);
}

static void expect_errors(struct fixture *f, uint64_t wanted_n, const char *last)
{
    for (int i = 0; i < LONG_TURNS_N && status_of(f).errors_n < wanted_n; i++) {
        turn(f);
    }
    struct sl_source_status status = status_of(f);
    assert_int_equal(status.errors_n, wanted_n);
    check(strstr(status.last_error, last) != NULL, "%s", status.last_error);
    assert_int_equal(status.state, SL_SOURCE_WAITING);
    assert_false(status.connected);
}

static void what_the_file_lists_is_pushed_at_once_and_when_it_changes(void **state)
{
    struct fixture f;
    char new[128];
    (void)state;

    begin(&f, "endpoints: [\"10.0.0.8:80\", \"10.0.0.7:80\"]");
    assert_string_equal(f.text, "10.0.0.7:80=1 10.0.0.8:80=1 "); /* before start returned */
    struct sl_source_status status = status_of(&f);
    assert_true(status.synced && status.connected);
    assert_int_equal(status.state, SL_SOURCE_WATCHING);
    assert_int_equal(status.fresh_at_ms, sl_loop_now_ms(f.loop));
    assert_int_equal(status.events_n, 0);
    write_file(f.file, "endpoints: [{address: \"10.0.0.7:80\", weight: 3, drain: true, zone: a}]");
    expect_endpoints(&f, "10.0.0.7:80=3~a ");
    in_folder(&f, "new", new);
    write_file(new, "endpoints: []");
    assert_int_equal(rename(new, f.file), 0);
    expect_endpoints(&f, "");
    assert_int_equal(status_of(&f).events_n, 2);
    end(&f);
}

static void what_makes_no_sense_leaves_the_endpoints_as_they_were(void **state)
{
    struct fixture f;
    (void)state;

    begin(&f, "endpoints: [\"10.0.0.7:80\"]");
    write_file(f.file, "endpoints: [\"10.0.0.7:80\", \"10.0.");
    expect_errors(&f, 1, "e.yaml:1:");
    write_file(f.file, "endpoints:\n- 10.0.0.7:80\n- 10.0.0.7\n");
    expect_errors(&f, 2, "e.yaml:3:3: endpoints[1]: expected an address with a port");
    assert_int_equal(unlink(f.file), 0);
    expect_errors(&f, 3, "e.yaml: No such file");
    assert_true(status_of(&f).synced);
    assert_int_equal(f.snapshots_n, 1);
    write_file(f.file, "endpoints: [\"10.0.0.9:80\"]");
    expect_endpoints(&f, "10.0.0.9:80=1 ");
    struct sl_source_status status = status_of(&f);
    assert_true(status.connected);
    assert_string_equal(status.last_error, "");
    end(&f);
}

static void a_file_that_is_not_there_is_waited_for(void **state)
{
    struct fixture f;
    (void)state;

    begin(&f, NULL);
    assert_int_equal(f.snapshots_n, 0);
    expect_errors(&f, 1, "e.yaml: No such file");
    assert_false(status_of(&f).synced);
    assert_int_equal(status_of(&f).fresh_at_ms, 0);
    write_file(f.file, "endpoints: [\"10.0.0.9:80\"]");
    expect_endpoints(&f, "10.0.0.9:80=1 ");
    end(&f);
}

static void what_is_no_regular_file_or_too_large_is_refused_without_reading_it(void **state)
{
    struct fixture f;
    (void)state;

    begin(&f, NULL);
    assert_int_equal(mkfifo(f.file, 0600), 0);
    expect_errors(&f, 2, "not a regular file");
    assert_int_equal(unlink(f.file), 0);
    write_file(f.file, "");
    assert_int_equal(truncate(f.file, 1024 * 1024 + 1), 0);
    expect_errors(&f, 3, "expected at most 1048576 bytes, found 1048577 in ");
    end(&f);
}

static void who_is_doubted_looks_again(void **state)
{
    struct fixture f;
    (void)state;

    begin(&f, "endpoints: [\"10.0.0.7:80\"]");
    write_file(f.file, "endpoints: [\"10.0.0.9:80\"]");
    assert_int_not_equal(status_of(&f).fresh_at_ms, 0);
    f.source->ops->doubt(f.source);
    expect_endpoints(&f, "10.0.0.9:80=1 ");
    f.source->ops->doubt(f.source); /* and stops in the middle of it */
    end(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_the_file_lists_is_pushed_at_once_and_when_it_changes),
        cmocka_unit_test(what_makes_no_sense_leaves_the_endpoints_as_they_were),
        cmocka_unit_test(a_file_that_is_not_there_is_waited_for),
        cmocka_unit_test(what_is_no_regular_file_or_too_large_is_refused_without_reading_it),
        cmocka_unit_test(who_is_doubted_looks_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
