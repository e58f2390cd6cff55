/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/discovery/kubernetes/watch_rig.h"

#include <stdio.h>
#include <string.h>

struct rig rig;

/* Waits end soon, but nobody is given up, however long this machine stands still: a test of such a
 * limit sets it. */
static const struct sl_list_watch_times times = {
    .connect_ms = 60000,
    .list_idle_ms = 60000,
    .list_total_ms = 60000,
    .marker_ms = 60000,
    .watch_idle_ms = 60000,
    .watch_s = 100,
    .compare_ms = 3600000,
    .compare_min_ms = 100,
    .doubt_ms = 5,
    .grace_ms = 60000,
    .doubted_ms = 60000,
    .backoff_min_ms = 10,
    .backoff_max_ms = 40,
    .backoff_hurry_ms = 20,
    .no_stream_ms = 3600000,
};

static void on_change(struct sl_list_watch *lw)
{
    (void)lw;
    rig.changes_n++;
}

int rig_open(void **state)
{
    (void)state;
    memset(&rig, 0, sizeof(rig));
    assert_int_equal(sl_loop_new(&rig.loop), SL_OK);
    assert_int_equal(sl_fetcher_new(rig.loop, &rig.fetcher), SL_OK);
    fake_start(&rig.api, rig.loop);
    rig.access.server = rig.api.url;
    rig.times = times;
    rig.conf = (struct sl_list_watch_conf){
        .pool = "chat",
        .path = "/apis/x",
        .resource = "endpointslices",
        .selector = "app=llama",
        .kind = SL_KUBE_SLICE,
    };
    rig.lw.on_change = on_change;
    return 0;
}

void rig_start(void)
{
    rig.started = true;
    sl_list_watch_start(&rig.lw, &rig.conf, &rig.times, &rig.access, rig.loop, rig.fetcher);
}

int rig_start_listing(void **state)
{
    int rc = rig_open(state);
    rig_start();
    return rc;
}

int rig_start_streaming(void **state)
{
    int rc = rig_open(state);
    rig.api.streams_lists = true;
    rig_start();
    return rc;
}

int rig_close(void **state)
{
    (void)state;
    if (rig.started) {
        sl_list_watch_stop(&rig.lw);
    }
    sl_fetcher_free(rig.fetcher);
    fake_stop(&rig.api);
    sl_loop_free(rig.loop);
    return 0;
}

const char *rig_names(void)
{
    static char text[256];
    size_t at = 0;

    text[0] = '\0';
    for (size_t i = 0; i < rig.lw.replica.store.n; i++) {
        at += (size_t)snprintf(text + at, sizeof(text) - at, "%s%s", i > 0 ? "," : "",
                               rig.lw.replica.store.items[i]->name);
    }
    return text;
}

static bool has_names(void *want)
{
    return strcmp(rig_names(), want) == 0;
}

void expect(const char *names)
{
    char text[64];

    (void)snprintf(text, sizeof(text), "%s", names);
    fake_run_until(rig.loop, has_names, text, 5000, names);
}

static bool has_error(void *part)
{
    return strstr(rig.lw.status.last_error, part) != NULL && !rig.lw.status.connected;
}

void expect_error(const char *part)
{
    char text[64];

    (void)snprintf(text, sizeof(text), "%s", part);
    fake_run_until(rig.loop, has_error, text, 5000, part);
}

struct count {
    const uint64_t *at;
    uint64_t value;
};

static bool has_count(void *arg)
{
    const struct count *c = arg;
    return *c->at == c->value;
}

void expect_count(const uint64_t *at, uint64_t value, const char *what)
{
    struct count c = {at, value};
    fake_run_until(rig.loop, has_count, &c, 5000, what);
}

struct fake_conn *rig_listed(void)
{
    fake_answer(fake_take(&rig.api, LIST "&resourceVersion=0&"), 200, "",
                PAGE("10", "", SLICE("a", "7")));
    struct fake_conn *watch = fake_take(&rig.api, WATCH "&resourceVersion=10&timeoutSeconds=");
    fake_open(watch);
    expect("a");
    return watch;
}

struct fake_conn *rig_streamed(void)
{
    struct fake_conn *watch = fake_take(&rig.api, STREAM "&resourceVersion=0&timeoutSeconds=");

    fake_open(watch);
    fake_chunk(watch, EVENT("ADDED", "a", "7"));
    fake_chunk(watch, MARKER("10"));
    expect("a");
    return watch;
}
