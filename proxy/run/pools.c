/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pools: a pool's source pushes snapshots, each becomes a set, each set goes to all workers and
 * comes back when the last of them has let go.
 */
#include <sluiced/log.h>

#include "process.h"

#include "discovery/found.h"
#include "proxy/base/alloc.h"
#include "proxy/base/hash.h"
#include "proxy/upstream/pool.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

/* A set on its way back. Made together with it, so that coming back needs no memory. */
struct set_return {
    struct sl_mail mail;
    struct sl_run_pool *pool;
    struct sl_endpoint_set *set;
};

static void free_if_done(struct sl_run_pool *rp);

static void on_set_back(struct sl_mail *m)
{
    struct set_return *r = sl_container_of(m, struct set_return, mail);
    struct sl_run_pool *rp = r->pool;

    sl_pool_free_set(r->set);
    sl_free(r);
    free_if_done(rp);
}

/* On the worker that let go last. */
static void on_set_done(struct sl_published *published)
{
    struct set_return *r = published->owner;
    sl_mailbox_post(r->pool->process->loop, &r->mail);
}

/* No view names the pool any more, and its last set is back. */
static void free_if_done(struct sl_run_pool *rp)
{
    bool doubted = atomic_load_explicit(&rp->pool->doubted, memory_order_acquire);

    if (!rp->ending || rp->pool->sets_n > 0 || doubted) {
        return; /* the letter of a doubt is part of it */
    }
    sl_list_unlink(&rp->link);
    sl_pool_free(rp->pool);
    sl_series_unref(&rp->series);
    sl_config_unref(&rp->config);
    sl_free(rp);
}

/* ---- Doubt */

static void on_doubt(struct sl_mail *m)
{
    struct sl_run_pool *rp = sl_container_of(m, struct sl_run_pool, doubt);
    struct sl_source *source = rp->running != NULL ? rp->running->source : NULL;

    /* First: from here on the letter is the workers' again. Release: we have read it. */
    atomic_store_explicit(&rp->pool->doubted, false, memory_order_release);
    if (source != NULL && source->ops->doubt != NULL) {
        sl_log(SL_LOG_DEBUG, "endpoints_doubted", {"pool", SL_LOG_STR(rp->pool->name)});
        source->ops->doubt(source);
    }
    free_if_done(rp);
}

/* On a worker, which holds a set of the pool. */
static void post_doubt(void *owner)
{
    struct sl_run_pool *rp = owner;
    sl_mailbox_post(rp->process->loop, &rp->doubt);
}

/* ---- Sets */

static int publish_set(struct sl_run_pool *rp, struct sl_error *err)
{
    const struct sl_run_source *rs = rp->running;
    struct sl_snapshot s = {
        .items = rs->found,
        .n = rs->found_n,
        .received_us = rs->received_us,
        .own_zone = sl_own_zone(rp),
    };
    struct sl_endpoint_set *set;
    struct set_return *r = sl_alloc(sizeof(*r));
    if (r == NULL) {
        return sl_error_set(err, SL_ENOMEM, NULL, "no memory for a set");
    }
    int rc = sl_pool_build_set(rp->pool, &s, rp->conf, &set, err);
    if (rc != SL_OK) {
        sl_free(r);
        return rc;
    }
    r->mail.on_mail = on_set_back;
    r->pool = rp;
    r->set = set;
    set->published.owner = r;
    if (sl_workers_take_set(rp->process, rp, set, s.received_us) != SL_OK) {
        sl_pool_free_set(set);
        sl_free(r);
        return sl_error_set(err, SL_ENOMEM, NULL, "no memory to mail a set");
    }
    rp->pool->newest = set;
    if (rp->health != NULL) {
        sl_health_set_members(rp->health, set);
    }
    return SL_OK;
}

void sl_run_pool_publish(struct sl_run_pool *rp)
{
    struct sl_error err;

    if (publish_set(rp, &err) == SL_OK) {
        rp->not_applied[0] = '\0';
        sl_log(SL_LOG_INFO, "endpoints_changed", {"pool", SL_LOG_STR(rp->pool->name)},
               {"endpoints", SL_LOG_UINT(rp->running->found_n)});
    } else {
        (void)snprintf(rp->not_applied, sizeof(rp->not_applied), "not applied: %.140s",
                       err.message); /* cut on purpose */
        sl_log(SL_LOG_ERROR, "endpoints_not_applied", {"pool", SL_LOG_STR(rp->pool->name)},
               {"error", SL_LOG_STR(err.message)});
    }
}

/* ---- Sources */

void sl_run_source_take(struct sl_run_source *rs, const struct sl_snapshot *s, bool cached)
{
    if (s->own_zone != NULL) {
        sl_own_zone_learn(rs, s->own_zone);
    }
    if (rs->synced && sl_found_equal(rs->found, rs->found_n, s->items, s->n)) {
        if (rs->cached && !cached) { /* it was right, and is proven to be now */
            rs->cached = false;
            sl_last_set_found(rs);
        }
        return;
    }
    struct sl_found *copy = sl_alloc_array(s->n > 0 ? s->n : 1, sizeof(*copy));
    if (copy == NULL) {
        sl_log(SL_LOG_ERROR, "endpoints_not_applied", {"pool", SL_LOG_STR(rs->pool->pool->name)},
               {"error", SL_LOG_STR("no memory for a snapshot")});
        return;
    }
    if (s->n > 0) {
        memcpy(copy, s->items, s->n * sizeof(*copy));
    }
    sl_free(rs->found);
    rs->found = copy;
    rs->found_n = s->n;
    rs->received_us = s->received_us;
    rs->synced = true;
    rs->cached = cached;
    sl_last_set_found(rs);
    if (rs->pool->process->ending) {
        return; /* the workers have let go of everything */
    }
    if (rs == rs->pool->running) {
        sl_run_pool_publish(rs->pool);
    }
    sl_reload_pool_synced(rs->pool->process);
}

static void on_snapshot(struct sl_sink *sink, const struct sl_snapshot *s)
{
    sl_run_source_take(sl_container_of(sink, struct sl_run_source, sink), s, false);
}

void sl_run_source_status(const struct sl_run_source *rs, struct sl_source_status *out)
{
    rs->source->ops->status(rs->source, out);
    out->cache_errors_n = rs->pool->cache_errors_n;
    if (rs->cached) {
        out->state = SL_SOURCE_CACHED;
        out->synced = true;
        out->fresh_at_ms = 0;
        out->cached_age_ms = sl_last_set_age_ms(rs);
    }
}

static void source_free(struct sl_run_source *rs)
{
    if (rs == NULL) {
        return;
    }
    sl_last_set_end(rs);
    if (rs->source != NULL) {
        rs->source->ops->stop(rs->source);
    }
    sl_config_unref(&rs->config);
    sl_free(rs->found);
    sl_free(rs);
}

/* A kubeconfig that was written anew may name another server, or another token. */
static uint64_t version_of(const struct sl_config *config, const struct sl_pool_config *conf)
{
    const char *kubeconfig = config->kubernetes.kubeconfig;
    struct stat st;

    if (conf->discover.kind != SL_DISCOVER_KUBERNETES || kubeconfig == NULL ||
        stat(kubeconfig, &st) != 0)
    {
        return 0;
    }
    const uint64_t facts[] = {(uint64_t)st.st_ino, (uint64_t)st.st_size,
                              (uint64_t)st.st_mtim.tv_sec, (uint64_t)st.st_mtim.tv_nsec};
    return sl_hash((struct sl_slice){(const char *)facts, sizeof(facts)}, 0);
}

/* *where: rp->running or rp->next, set before the source starts, for it may push at once. */
static int source_start(struct sl_run_pool *rp, const struct sl_config *config,
                        const struct sl_pool_config *conf, struct sl_run_source **where,
                        struct sl_error *err)
{
    const struct sl_source_ops *ops = sl_source_get(conf->discover.kind);
    struct sl_run_source *rs = sl_alloc(sizeof(*rs));
    if (rs == NULL) {
        return sl_error_set(err, SL_ENOMEM, NULL, "no memory for the source of %s", conf->name);
    }
    rs->sink.on_snapshot = on_snapshot;
    rs->pool = rp;
    rs->config = sl_config_ref(config);
    rs->identity_hash = conf->identity_hash;
    rs->version = version_of(config, conf);
    sl_last_set_init(rs);
    *where = rs;
    int rc = ops->start(conf, config, rp->process->discovery, &rs->sink, &rs->source, err);
    if (rc != SL_OK) {
        *where = NULL;
        source_free(rs);
    }
    return rc;
}

/* ---- The pool */

struct sl_run_pool *sl_run_pool_find(struct sl_process *p, const char *name)
{
    for (struct sl_list *l = p->pools.next; l != &p->pools; l = l->next) {
        struct sl_run_pool *rp = sl_container_of(l, struct sl_run_pool, link);
        if (!rp->ending && strcmp(rp->pool->name, name) == 0) {
            return rp;
        }
    }
    return NULL;
}

static int pool_new(struct sl_process *p, const struct sl_config *config,
                    const struct sl_pool_config *conf, struct sl_run_pool **out)
{
    const char *labels[] = {conf->name};
    struct sl_run_pool *rp = sl_alloc(sizeof(*rp));
    if (rp == NULL) {
        return SL_ENOMEM;
    }
    rp->process = p;
    rp->doubt.on_mail = on_doubt;
    if (sl_pool_new(conf->name, p->workers_n, &p->endpoint_ids, on_set_done, &rp->pool) != SL_OK) {
        goto fail_alloc;
    }
    if (sl_series_get(p->registry, SL_SCOPE_POOL, labels, &rp->series) != SL_OK) {
        goto fail_pool;
    }
    sl_pool_set_limits(rp->pool, &conf->limits);
    rp->pool->on_doubt = post_doubt;
    rp->pool->doubt_owner = rp;
    rp->config = sl_config_ref(config);
    rp->conf = conf;
    sl_list_push_back(&p->pools, &rp->link);
    *out = rp;
    return SL_OK;
fail_pool:
    sl_pool_free(rp->pool);
fail_alloc:
    sl_free(rp);
    return SL_ENOMEM;
}

int sl_run_pool_prepare(struct sl_process *p, const struct sl_config *config,
                        const struct sl_pool_config *conf, struct sl_run_pool **out,
                        struct sl_error *err)
{
    struct sl_run_pool *rp = sl_run_pool_find(p, conf->name);
    int rc = SL_OK;

    if (rp == NULL && pool_new(p, config, conf, &rp) != SL_OK) {
        return sl_error_set(err, SL_ENOMEM, NULL, "no memory for pool %s", conf->name);
    }
    rp->views_n++;
    if (rp->running == NULL) {
        rc = source_start(rp, config, conf, &rp->running, err);
        if (rc == SL_OK) {
            sl_last_set_begin(rp->running, conf);
            rc = sl_run_pool_update_checks(rp, config, conf, err);
        }
    } else if (rp->running->identity_hash != conf->identity_hash ||
               rp->running->version != version_of(config, conf))
    {
        rc = source_start(rp, config, conf, &rp->next, err);
    }
    if (rc != SL_OK) {
        sl_run_pool_unref(rp);
        return rc;
    }
    *out = rp;
    return SL_OK;
}

static bool same_slow_start(const struct sl_slow_start_config *a,
                            const struct sl_slow_start_config *b)
{
    return a == b ||
           (a != NULL && b != NULL && a->window_ms == b->window_ms &&
            a->aggression_milli == b->aggression_milli && a->per_endpoint_n == b->per_endpoint_n);
}

void sl_run_pool_commit(struct sl_run_pool *rp, const struct sl_config *config,
                        const struct sl_pool_config *conf)
{
    struct sl_error err;
    bool rebuild = strcmp(rp->conf->balance, conf->balance) != 0 ||
                   rp->conf->balance_bound_pct != conf->balance_bound_pct ||
                   !same_slow_start(rp->conf->slow_start, conf->slow_start);
    const struct sl_config *old = rp->config;
    bool other_cache = !sl_same_text(old->discovery.cache, config->discovery.cache);

    rp->config = sl_config_ref(config);
    rp->conf = conf;
    sl_config_unref(&old);
    sl_pool_set_limits(rp->pool, &conf->limits);
    if (rp->next != NULL) {
        source_free(rp->running);
        rp->running = rp->next;
        rp->next = NULL;
        rebuild = true;
    }
    if (rebuild && rp->running->synced) {
        sl_run_pool_publish(rp);
    }
    if (other_cache && rp->running->synced) {
        sl_last_set_found(rp->running);
    }
    sl_last_set_commit(rp->running);
    if (sl_run_pool_update_checks(rp, config, conf, &err) != SL_OK) {
        sl_log(SL_LOG_ERROR, "health_checks_unchanged", {"pool", SL_LOG_STR(rp->pool->name)},
               {"error", SL_LOG_STR(err.message)});
    }
}

void sl_run_pool_cancel(struct sl_run_pool *rp)
{
    source_free(rp->next);
    rp->next = NULL;
}

bool sl_run_pool_is_synced(const struct sl_run_pool *rp)
{
    return rp->next != NULL ? rp->next->synced : rp->running->synced;
}

/* Without memory to say so the set stays with the workers, until they end. */
static void take_last_set_back(struct sl_run_pool *rp)
{
    if (sl_workers_take_set(rp->process, rp, NULL, 0) != SL_OK) {
        sl_log(SL_LOG_ERROR, "pool_not_freed", {"pool", SL_LOG_STR(rp->pool->name)});
    }
}

void sl_run_pool_unref(struct sl_run_pool *rp)
{
    SL_ASSERT(rp->views_n > 0, "pool %s is named by no view", rp->pool->name);
    if (--rp->views_n > 0) {
        return;
    }
    rp->ending = true;
    sl_run_pool_stop_checks(rp);
    sl_run_pool_cancel(rp);
    source_free(rp->running);
    rp->running = NULL;
    if (rp->pool->newest != NULL) {
        rp->pool->newest = NULL;
        take_last_set_back(rp);
    }
    free_if_done(rp);
}
