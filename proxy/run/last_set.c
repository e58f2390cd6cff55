/* SPDX-License-Identifier: Apache-2.0 */
/*
 * last_set: what a source found last is written down, and read when a pool begins while its server
 * is away. Static addresses and files are on disk already.
 */
#include <sluiced/log.h>
#include <sluiced/time.h>

#include "process.h"

#include "discovery/last_good.h"
#include "proxy/base/alloc.h"

#define LOOK_MS 50   /* whether a source that was just started has failed */
#define WAIT_MS 1000 /* for its first answer */
#define WRITE_EVERY_MS 1000
#define RETRY_WRITE_MS 3000

/* NULL: nothing is to be written or read. */
static const char *dir_of(const struct sl_config *config, const struct sl_pool_config *conf)
{
    bool on_disk =
        conf->discover.kind == SL_DISCOVER_STATIC || conf->discover.kind == SL_DISCOVER_FILE;

    return on_disk ? NULL : config->discovery.cache;
}

static struct sl_last_good_key key_of(const struct sl_run_source *rs, const char *dir)
{
    const struct sl_source *source = rs->source;
    uint64_t more = source->ops->identity != NULL ? source->ops->identity(source) : 0;

    return (struct sl_last_good_key){
        .dir = dir,
        .pool = rs->pool->pool->name,
        .identity_hash = rs->identity_hash ^ more,
    };
}

/* ---- Writing */

static void write_now(struct sl_run_source *rs)
{
    struct sl_run_pool *rp = rs->pool;
    const char *dir = dir_of(rp->config, rp->conf);
    struct sl_error err;

    rs->unwritten = false;
    if (dir == NULL) {
        return;
    }
    const struct sl_last_good_key key = key_of(rs, dir);
    rs->written_at_ms = sl_loop_now_ms(rp->process->loop);
    if (sl_last_good_write(&key, rs->found, rs->found_n, sl_time_unix_ms(), &err) == SL_OK) {
        rp->cache_failed = false;
        return;
    }
    rp->cache_errors_n++;
    rs->unwritten = true; /* it is tried again, and at the end */
    sl_timer_start(&rs->write_later, RETRY_WRITE_MS, 0);
    if (!rp->cache_failed) { /* once, until it works again */
        rp->cache_failed = true;
        sl_log(SL_LOG_ERROR, "discovery_cache_not_written", {"pool", SL_LOG_STR(rp->pool->name)},
               {"error", SL_LOG_STR(err.message)});
    }
}

static void on_write(struct sl_timer *t)
{
    write_now(sl_container_of(t, struct sl_run_source, write_later));
}

static void write_soon(struct sl_run_source *rs)
{
    uint64_t now_ms = sl_loop_now_ms(rs->pool->process->loop);
    uint64_t due_ms = rs->written_at_ms > 0 ? rs->written_at_ms + WRITE_EVERY_MS : 0;

    if (!sl_timer_active(&rs->write_later)) {
        sl_timer_start(&rs->write_later, due_ms > now_ms ? due_ms - now_ms : 0, 0);
    }
}

void sl_last_set_found(struct sl_run_source *rs)
{
    rs->unwritten = !rs->cached;
    sl_last_set_commit(rs);
}

void sl_last_set_commit(struct sl_run_source *rs)
{
    if (rs->unwritten && rs == rs->pool->running && !rs->pool->process->ending) {
        write_soon(rs);
    }
}

/* ---- Reading */

static void use_written(struct sl_run_source *rs, const char *dir)
{
    const struct sl_last_good_key key = key_of(rs, dir);
    struct sl_snapshot snapshot = {.received_us = 0}; /* no event, so no latency of one */
    struct sl_found *items;
    struct sl_error err;
    uint64_t unix_ms;

    if (sl_last_good_read(&key, &items, &snapshot.n, &unix_ms, &err) != SL_OK) {
        sl_log(SL_LOG_WARN, "discovery_cache_not_used", {"pool", SL_LOG_STR(key.pool)},
               {"error", SL_LOG_STR(err.message)});
        return;
    }
    snapshot.items = items;
    rs->cached_unix_ms = unix_ms;
    sl_log(SL_LOG_WARN, "discovery_cache_used", {"pool", SL_LOG_STR(key.pool)},
           {"endpoints", SL_LOG_UINT(snapshot.n)}, {"age_ms", SL_LOG_UINT(sl_last_set_age_ms(rs))});
    sl_run_source_take(rs, &snapshot, true);
    sl_free(items);
}

uint64_t sl_last_set_age_ms(const struct sl_run_source *rs)
{
    uint64_t now_ms = sl_time_unix_ms();

    return now_ms > rs->cached_unix_ms ? now_ms - rs->cached_unix_ms : 0;
}

static void on_look(struct sl_timer *t)
{
    struct sl_run_source *rs = sl_container_of(t, struct sl_run_source, look);
    uint64_t waited_ms = sl_loop_now_ms(rs->pool->process->loop) - rs->started_at_ms;
    struct sl_source_status status;

    if (rs->synced) {
        sl_timer_stop(&rs->look);
        return;
    }
    rs->source->ops->status(rs->source, &status);
    if (status.last_error[0] != '\0' || waited_ms >= WAIT_MS) {
        sl_timer_stop(&rs->look);
        use_written(rs, rs->config->discovery.cache);
    }
}

void sl_last_set_init(struct sl_run_source *rs)
{
    sl_timer_init(&rs->write_later, rs->pool->process->loop, on_write);
    sl_timer_init(&rs->look, rs->pool->process->loop, on_look);
    rs->started_at_ms = sl_loop_now_ms(rs->pool->process->loop);
}

void sl_last_set_begin(struct sl_run_source *rs, const struct sl_pool_config *conf)
{
    if (dir_of(rs->config, conf) != NULL && !rs->synced) {
        sl_timer_start(&rs->look, LOOK_MS, LOOK_MS);
    }
}

void sl_last_set_end(struct sl_run_source *rs)
{
    sl_timer_stop(&rs->look);
    if (rs->unwritten && rs == rs->pool->running) {
        write_now(rs);
    }
    sl_timer_stop(&rs->write_later);
}
