/* SPDX-License-Identifier: Apache-2.0 */
/*
 * file: endpoints that a file lists, as long as it can be read and makes sense; else those that it
 * listed last.
 *
 * Lifetime:  a pool's
 * Thread:    control thread
 */
#include <sluiced/endpoint_file.h>
#include <sluiced/log.h>

#include "discovery.h"
#include "found.h"
#include "read_file.h"
#include "sources.h"

#include "proxy/base/alloc.h"
#include "proxy/io/file_watch.h"

#include <string.h>

struct file_source {
    struct sl_source base;
    const struct sl_pool_config *pool;
    const struct sl_loop *loop;
    struct sl_sink *sink;
    struct sl_file_watch *watch;
    struct sl_timer retry; /* while it cannot be read: chmod makes no other file of it */
    struct sl_source_status status;
};

static int load(const char *path, struct sl_found **items, size_t *n, struct sl_error *err)
{
    char *text;
    size_t len;
    int rc = sl_read_file(path, SL_ENDPOINT_FILE_MAX_BYTES, &text, &len, err);

    if (rc == SL_OK) {
        rc = sl_endpoint_file_parse((struct sl_slice){text, len}, path, items, n, err);
        sl_free(text);
    }
    return rc;
}

/* The same again is not news. */
static void note_failure(struct file_source *s, const struct sl_error *err)
{
    char text[sizeof(err->file) + sizeof(err->key) + sizeof(err->message) + 32];
    char kept[sizeof(s->status.last_error)];

    sl_error_format(err, text, sizeof(text));
    sl_error_format(err, kept, sizeof(kept)); /* the same, cut at its end */
    s->status.state = SL_SOURCE_WAITING;
    s->status.connected = false;
    sl_timer_start(&s->retry, SL_FILE_POLL_MS, 0);
    if (strcmp(kept, s->status.last_error) == 0) {
        return;
    }
    memcpy(s->status.last_error, kept, sizeof(kept));
    s->status.errors_n++;
    sl_log(SL_LOG_WARN, "discovery_failed", {"pool", SL_LOG_STR(s->pool->name)},
           {"source", SL_LOG_STR("file")}, {"error", SL_LOG_STR(text)});
}

static void apply(struct file_source *s)
{
    struct sl_snapshot snapshot = {.received_us = sl_loop_now_us(s->loop)};
    struct sl_found *items;
    struct sl_error err;

    sl_timer_stop(&s->retry);
    if (load(s->pool->discover.file, &items, &snapshot.n, &err) != SL_OK) {
        note_failure(s, &err);
        return;
    }
    s->status.events_n += s->status.synced;
    s->status.event_at_ms = s->status.fresh_at_ms = sl_loop_now_ms(s->loop);
    s->status.state = SL_SOURCE_WATCHING;
    s->status.connected = true;
    s->status.synced = true;
    s->status.last_error[0] = '\0';
    snapshot.n = sl_found_sort(items, snapshot.n);
    snapshot.items = items;
    s->sink->on_snapshot(s->sink, &snapshot);
    sl_free(items);
}

static void on_change(void *arg)
{
    apply(arg);
}

static void on_retry(struct sl_timer *t)
{
    struct file_source *s = sl_container_of(t, struct file_source, retry);

    sl_file_watch_note(s->watch);
    apply(s);
}

static int start(const struct sl_pool_config *pool, const struct sl_config *config,
                 struct sl_discovery *d, struct sl_sink *sink, struct sl_source **out,
                 struct sl_error *err)
{
    struct file_source *s = sl_alloc(sizeof(*s));
    (void)config;

    if (s == NULL || sl_file_watch_new(d->loop, on_change, s, &s->watch) != SL_OK) {
        sl_free(s);
        return sl_error_set(err, SL_ENOMEM, NULL, "no memory to watch %.128s", pool->discover.file);
    }
    s->base.ops = &sl_file_source_ops;
    s->pool = pool;
    s->loop = d->loop;
    s->sink = sink;
    sl_timer_init(&s->retry, d->loop, on_retry);
    sl_file_watch_add(s->watch, pool->discover.file); /* before it is read */
    *out = &s->base;
    apply(s);
    return SL_OK;
}

static struct file_source *of(struct sl_source *source)
{
    SL_ASSERT(source->ops == &sl_file_source_ops, "source %p", (void *)source);
    return sl_container_of(source, struct file_source, base);
}

static void stop(struct sl_source *source)
{
    struct file_source *s = of(source);

    sl_timer_stop(&s->retry);
    sl_file_watch_free(s->watch);
    sl_free(s);
}

static void status(const struct sl_source *source, struct sl_source_status *out)
{
    SL_ASSERT(source->ops == &sl_file_source_ops, "source %p", (const void *)source);
    const struct file_source *s = sl_container_of_const(source, struct file_source, base);

    *out = s->status;
    if (s->status.connected && sl_file_watch_is_current(s->watch)) {
        out->fresh_at_ms = sl_loop_now_ms(s->loop);
    }
}

static void doubt(struct sl_source *source)
{
    sl_file_watch_hurry(of(source)->watch);
}

const struct sl_source_ops sl_file_source_ops = {
    .name = "file",
    .start = start,
    .stop = stop,
    .status = status,
    .doubt = doubt,
};
