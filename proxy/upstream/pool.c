/* SPDX-License-Identifier: Apache-2.0 */
#include "pool.h"

#include "slow_start.h"

#include "proxy/base/alloc.h"

#define REFUSED_MAX_N 4 /* trials lost to other workers in one pick; more is no coincidence */

/* A set and its members in one allocation. */
struct built {
    struct sl_endpoint_set set;
    struct sl_member_labels *labels; /* an allocation of its own; often there are none */
    struct sl_member members[];
};

int sl_pool_new(const char *name, uint32_t workers_n, struct sl_endpoint_ids *ids,
                sl_published_done_fn on_set_done, struct sl_pool **out)
{
    struct sl_pool *pool = sl_alloc_aligned(64, sizeof(*pool));

    if (pool == NULL) {
        return SL_ENOMEM;
    }
    pool->workers_n = workers_n;
    pool->on_set_done = on_set_done;
    sl_endpoint_table_init(&pool->endpoints, workers_n, ids);
    pool->name = sl_strdup(name);
    pool->cells = sl_alloc_aligned(64, workers_n * sizeof(pool->cells[0]));
    if (pool->name == NULL || pool->cells == NULL ||
        sl_retry_budget_init(&pool->retries, workers_n) != SL_OK ||
        sl_pool_queue_init(&pool->queue, workers_n) != SL_OK)
    {
        sl_pool_free(pool);
        return SL_ENOMEM;
    }
    *out = pool;
    return SL_OK;
}

void sl_pool_free(struct sl_pool *pool)
{
    if (pool == NULL) {
        return;
    }
    SL_ASSERT(pool->sets_n == 0, "pool %s: %u sets are left", pool->name, pool->sets_n);
    sl_endpoint_table_fini(&pool->endpoints);
    sl_retry_budget_fini(&pool->retries);
    sl_pool_queue_fini(&pool->queue);
    sl_free(pool->cells);
    sl_free(pool->name);
    sl_free(pool);
}

static void cap(const struct sl_pool *pool, struct sl_endpoint *ep)
{
    atomic_store_explicit(&ep->in_flight_max_n,
                          atomic_load_explicit(&pool->per_endpoint_max_n, memory_order_relaxed),
                          memory_order_relaxed);
    atomic_store_explicit(
        &ep->connections_max_n,
        atomic_load_explicit(&pool->connections.per_endpoint_max_n, memory_order_relaxed),
        memory_order_relaxed);
}

void sl_pool_set_limits(struct sl_pool *pool, const struct sl_limits_config *conf)
{
    const struct sl_endpoint_table *t = &pool->endpoints;

    atomic_store_explicit(&pool->queue.in_flight_max_n, conf->in_flight_n, memory_order_relaxed);
    atomic_store_explicit(&pool->per_endpoint_max_n, conf->per_endpoint_n, memory_order_relaxed);
    atomic_store_explicit(&pool->connections.max_n, conf->connections_n, memory_order_relaxed);
    atomic_store_explicit(&pool->connections.per_endpoint_max_n, conf->connections_per_endpoint_n,
                          memory_order_relaxed);
    sl_retry_budget_set_max(&pool->retries, conf->retries_n);
    for (size_t i = 0; i < t->n; i++) {
        cap(pool, t->items[i]);
    }
}

static void cap_members(const struct sl_pool *pool, const struct sl_member *members, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        cap(pool, members[i].endpoint);
    }
}

static int alloc_cells(struct sl_endpoint_set *set, uint32_t workers_n)
{
    set->cells = sl_alloc_aligned(64, workers_n * sizeof(set->cells[0]));
    if (set->cells == NULL) {
        return SL_ENOMEM;
    }
    set->cells_n = workers_n;
    for (uint32_t i = 0; i < workers_n; i++) {
        set->cells[i].balancer = sl_alloc_aligned(64, set->table->state_bytes);
        if (set->cells[i].balancer == NULL) {
            return SL_ENOMEM; /* what is there already goes with the set */
        }
    }
    return SL_OK;
}

static bool any_labels(const struct sl_snapshot *snapshot)
{
    for (size_t i = 0; i < snapshot->n; i++) {
        const struct sl_found *f = &snapshot->items[i];
        if (f->zone[0] != '\0' || f->version[0] != '\0' || f->model[0] != '\0') {
            return true;
        }
    }
    return false;
}

static uint64_t came_first_ms(const struct sl_endpoint_set *set)
{
    uint64_t first_ms = UINT64_MAX;

    for (size_t i = 0; i < set->members_n; i++) {
        const struct sl_member *m = &set->members[i];
        uint64_t at_ms = atomic_load_explicit(&m->endpoint->came_at_ms, memory_order_relaxed);
        if (m->weight > 0 && !m->draining && at_ms < first_ms) {
            first_ms = at_ms;
        }
    }
    return first_ms;
}

/* Members and their labels, without table and cells. */
static int match(struct sl_pool *pool, const struct sl_snapshot *snapshot, struct built **out)
{
    struct built *b = sl_alloc_flex(sizeof(*b), snapshot->n, sizeof(b->members[0]));
    /* Those of the first set were there before us. */
    uint64_t came_at_ms = pool->newest != NULL ? snapshot->received_us / 1000 : 0;
    int rc = SL_ENOMEM;

    if (b == NULL) {
        return rc;
    }
    if (any_labels(snapshot)) {
        b->labels = sl_alloc_array(snapshot->n, sizeof(b->labels[0]));
        if (b->labels == NULL) {
            goto free_built;
        }
    }
    rc = sl_endpoint_table_match(&pool->endpoints, snapshot, came_at_ms, b->members, b->labels,
                                 &b->set.members_n);
    if (rc != SL_OK) {
        goto free_labels;
    }
    cap_members(pool, b->members, b->set.members_n);
    b->set.members = b->members;
    b->set.labels = b->labels;
    *out = b;
    return SL_OK;
free_labels:
    sl_free(b->labels);
free_built:
    sl_free(b);
    return rc;
}

int sl_pool_build_set(struct sl_pool *pool, const struct sl_snapshot *snapshot,
                      const struct sl_pool_config *conf, struct sl_endpoint_set **out,
                      struct sl_error *err)
{
    const struct sl_balancer_ops *ops = NULL;
    struct sl_balancer_table *table = NULL;
    struct built *b = NULL;
    int rc = sl_balancer_get(conf->balance, &conf->pos, &ops, err);

    if (rc != SL_OK) {
        return rc;
    }
    rc = match(pool, snapshot, &b);
    if (rc != SL_OK) {
        return sl_error_set(err, rc, NULL, "pool %s: no room for %zu endpoints", pool->name,
                            snapshot->n);
    }
    b->set.pool = pool;
    b->set.slow_start =
        conf->slow_start != NULL ? *conf->slow_start : (struct sl_slow_start_config){0};
    b->set.came_first_ms = came_first_ms(&b->set);
    sl_published_init(&b->set.published, pool->workers_n, pool->on_set_done);
    pool->sets_n++;
    rc = ops->build(&b->set, conf, &table, err);
    if (rc != SL_OK) {
        goto free_set;
    }
    b->set.table = table;
    rc = alloc_cells(&b->set, pool->workers_n);
    if (rc != SL_OK) {
        (void)sl_error_set(err, rc, NULL, "pool %s: no memory for %u workers", pool->name,
                           pool->workers_n); /* gives back rc */
        goto free_set;
    }
    *out = &b->set;
    return SL_OK;
free_set:
    sl_pool_free_set(&b->set);
    return rc;
}

void sl_pool_free_set(struct sl_endpoint_set *set)
{
    struct sl_pool *pool = set->pool;

    for (uint32_t i = 0; i < set->cells_n; i++) {
        sl_free(set->cells[i].balancer);
    }
    sl_free(set->cells);
    if (set->table != NULL) {
        set->table->ops->table_free(set->table);
    }
    sl_endpoint_table_release(&pool->endpoints, set->members, set->members_n);
    if (pool->newest == set) {
        pool->newest = NULL;
    }
    pool->sets_n--;
    struct built *b = sl_container_of(set, struct built, set);
    sl_free(b->labels);
    sl_free(b);
}

/* ---- What follows runs on workers. */

static void count(struct sl_pool_cell *cell, enum sl_pool_stat stat)
{
    _Atomic uint64_t *v = &cell->stats[stat]; /* this worker's alone: no locked instruction */
    atomic_store_explicit(v, atomic_load_explicit(v, memory_order_relaxed) + 1,
                          memory_order_relaxed);
}

static void mark(const struct sl_endpoint_set *set, uint32_t worker_idx, bool named)
{
    for (size_t i = 0; i < set->members_n; i++) {
        set->members[i].endpoint->cells[worker_idx].named = named;
    }
}

void sl_pool_take_set(struct sl_pool *pool, uint32_t worker_idx, struct sl_endpoint_set *set,
                      struct sl_rng *rng, sl_pool_gone_fn on_gone, void *arg)
{
    struct sl_pool_cell *cell = &pool->cells[worker_idx];
    struct sl_endpoint_set *before = cell->set;

    cell->set = set;
    cell->rng = rng;
    if (before != NULL) {
        mark(before, worker_idx, false);
    }
    if (set != NULL) {
        struct sl_set_cell *sc = &set->cells[worker_idx];
        set->table->ops->attach(sc->balancer, set->table, rng);
        sl_published_take(&sc->published);
        mark(set, worker_idx, true);
    }
    if (before == NULL) {
        return;
    }
    for (size_t i = 0; i < before->members_n && on_gone != NULL; i++) {
        struct sl_endpoint *ep = before->members[i].endpoint;
        if (!sl_endpoint_is_named(ep, worker_idx)) {
            on_gone(ep, worker_idx, arg);
        }
    }
    sl_published_retire(&before->published, &before->cells[worker_idx].published);
}

struct sl_endpoint_set *sl_pool_pin(struct sl_pool *pool, uint32_t worker_idx)
{
    struct sl_endpoint_set *set = pool->cells[worker_idx].set;

    if (set != NULL) {
        sl_published_pin(&set->cells[worker_idx].published);
    }
    return set;
}

void sl_pool_unpin(struct sl_endpoint_set *set, uint32_t worker_idx)
{
    sl_published_unpin(&set->published, &set->cells[worker_idx].published);
}

/* Counts a request in flight, unless another worker was faster to take the last place. */
static bool take_place(struct sl_endpoint *ep)
{
    uint32_t max_n = atomic_load_explicit(&ep->in_flight_max_n, memory_order_relaxed);
    uint32_t before_n = atomic_fetch_add_explicit(&ep->in_flight_n, 1, memory_order_relaxed);

    if (max_n == 0 || before_n < max_n) {
        return true;
    }
    atomic_fetch_sub_explicit(&ep->in_flight_n, 1, memory_order_relaxed);
    return false;
}

/* Counts the connection that a request at ep needs, unless one lies idle: of these the worker is
 * the only user, so that it is still there when the request comes to it. */
static bool take_connection(struct sl_pool *pool, struct sl_endpoint *ep, const struct sl_pick *ctx)
{
    bool has_idle = ep->cells[ctx->worker_idx].idle_n > 0;

    if (ctx->connection == NULL || (has_idle && !ctx->wants_new)) {
        return true;
    }
    ctx->connection->taken = sl_pool_connections_take(&pool->connections, ep);
    if (ctx->connection->taken || has_idle) { /* which is closed for the new one */
        return true;
    }
    ctx->connection->lacks = sl_pool_connections_are_full(&pool->connections);
    return false;
}

/* Whether this request may go to ep, which a policy picked: what it takes there is counted. Last
 * comes what cannot be undone, a trial. */
static bool admit(struct sl_pool *pool, struct sl_endpoint *ep, const struct sl_pick *ctx)
{
    if (!take_place(ep)) {
        return false;
    }
    if (take_connection(pool, ep, ctx)) {
        if (ctx->tier == SL_TIER_ANY || sl_outlier_admit(ep, ctx->now_ms)) {
            return true;
        }
        if (ctx->connection != NULL && ctx->connection->taken) {
            ctx->connection->taken = false;
            sl_pool_connections_give(&pool->connections, ep);
        }
    }
    atomic_fetch_sub_explicit(&ep->in_flight_n, 1, memory_order_relaxed);
    return false;
}

static bool lacks_connection(const struct sl_pick *ctx)
{
    return ctx->connection != NULL && ctx->connection->lacks;
}

/* Picks until an endpoint is found that has room, and is not out, or whose trial this request
 * becomes. It is counted in flight. */
static struct sl_endpoint *pick_in_tier(const struct sl_endpoint_set *set,
                                        const struct sl_pick *asked, enum sl_tier tier)
{
    const struct sl_endpoint *tried[SL_TRIED_MAX_N + REFUSED_MAX_N];
    struct sl_balancer *b = set->cells[asked->worker_idx].balancer;
    struct sl_pick ctx = *asked;

    ctx.tier = tier;
    for (int refused_n = 0;; refused_n++) {
        struct sl_endpoint *ep = b->ops->pick(b, &ctx);
        if (ep == NULL) {
            return NULL;
        }
        if (admit(set->pool, ep, &ctx)) {
            /* cppcheck-suppress returnDanglingLifetime ; it is one of the set, not of ctx */
            return ep;
        }
        if (refused_n == REFUSED_MAX_N || lacks_connection(&ctx)) {
            return NULL;
        }
        if (refused_n == 0) {
            for (size_t i = 0; i < ctx.tried_n; i++) {
                tried[i] = ctx.tried[i];
            }
            ctx.tried = tried;
        }
        tried[ctx.tried_n++] = ep;
    }
}

/* Where endpoints are given more and more: the pick of one that this pick may go to. NULL: there is
 * none, and the others are no worse. */
static struct sl_endpoint *pick_settled(const struct sl_endpoint_set *set,
                                        const struct sl_pick *asked)
{
    struct sl_pick ctx = *asked;
    uint64_t first_ms = set->came_first_ms;
    uint64_t oldest_ms = asked->now_ms > first_ms ? asked->now_ms - first_ms : 0;

    ctx.settled_ms =
        sl_slow_start_draw_ms(&set->slow_start, oldest_ms, set->pool->cells[ctx.worker_idx].rng);
    if (ctx.settled_ms == 0) {
        return NULL;
    }
    return pick_in_tier(set, &ctx, SL_TIER_READY);
}

/* Whether somebody would do in this tier, of which nobody was picked: it lacked room, also where it
 * has some by now, since a request ended on another worker. O(members), where there are caps. */
static bool is_full(const struct sl_endpoint_set *set, const struct sl_pick *ctx, enum sl_tier tier)
{
    const struct sl_pool *pool = set->pool;

    if (atomic_load_explicit(&pool->per_endpoint_max_n, memory_order_relaxed) == 0 &&
        atomic_load_explicit(&pool->connections.per_endpoint_max_n, memory_order_relaxed) == 0)
    {
        return false;
    }
    for (size_t i = 0; i < set->members_n; i++) {
        const struct sl_member *m = &set->members[i];
        bool lacks = !sl_endpoint_is_full(m->endpoint) &&
                     sl_endpoint_lacks_connection(m->endpoint, ctx->worker_idx);
        if (m->weight > 0 && sl_endpoint_suits(m, tier, ctx->now_ms) &&
            !sl_pick_tried(ctx, m->endpoint))
        {
            if (ctx->connection != NULL) {
                ctx->connection->lacks = lacks;
            }
            return true;
        }
    }
    return false;
}

struct sl_endpoint *sl_pool_pick(struct sl_endpoint_set *set, uint32_t worker_idx,
                                 const struct sl_pick *asked, enum sl_tier *tier_used)
{
    static const enum sl_pool_stat descents[] = {
        [SL_TIER_DRAINING] = SL_POOL_PICKS_DRAINING,
        [SL_TIER_ANY] = SL_POOL_PICKS_ANY,
    };
    struct sl_balancer *b = set->cells[worker_idx].balancer;
    struct sl_pool_cell *cell = &set->pool->cells[worker_idx];
    struct sl_endpoint *ep = NULL;
    enum sl_tier tier = SL_TIER_READY;
    struct sl_pick ctx = *asked;

    SL_ASSERT(ctx.tried_n <= SL_TRIED_MAX_N, "%zu endpoints were tried", ctx.tried_n);
    ctx.worker_idx = worker_idx;
    if (set->slow_start.window_ms != 0) {
        ep = pick_settled(set, &ctx);
    }
    while (ep == NULL && tier < SL_TIERS_N && !lacks_connection(&ctx)) {
        ep = pick_in_tier(set, &ctx, tier);
        if (ep != NULL || lacks_connection(&ctx) || is_full(set, &ctx, tier)) {
            break;
        }
        tier++;
    }
    *tier_used = tier;
    if (ep == NULL) {
        if (tier == SL_TIERS_N && !ctx.again) {
            count(cell, SL_POOL_NOBODY);
        }
        return NULL;
    }
    count(cell, SL_POOL_PICKS);
    if (tier != SL_TIER_READY) {
        count(cell, descents[tier]);
    }
    sl_endpoint_count(ep, worker_idx, SL_ENDPOINT_REQUESTS);
    if (b->ops->on_start != NULL) {
        ctx.tier = tier;
        b->ops->on_start(b, ep, &ctx);
    }
    return ep;
}

/* Acquire and release: what the one who is told read of the last doubt, it has read. */
static void doubt(struct sl_pool *pool)
{
    if (pool->on_doubt != NULL &&
        !atomic_exchange_explicit(&pool->doubted, true, memory_order_acq_rel))
    {
        pool->on_doubt(pool->doubt_owner);
    }
}

/* Rounded down: what may have begun before an ejection did, for sl_outlier. */
static uint64_t began_ms(const struct sl_outcome *outcome, uint64_t now_ms)
{
    uint64_t lasted_ms = outcome->duration_us / 1000 + (outcome->duration_us % 1000 != 0);

    return lasted_ms < now_ms ? now_ms - lasted_ms : 0;
}

void sl_pool_done(struct sl_endpoint_set *set, uint32_t worker_idx, struct sl_endpoint *ep,
                  const struct sl_outcome *outcome, uint64_t now_ms)
{
    struct sl_balancer *b = set->cells[worker_idx].balancer;
    struct sl_pool *pool = set->pool;
    struct sl_pool_cell *cell = &pool->cells[worker_idx];
    const struct sl_outlier_report report = {began_ms(outcome, now_ms), now_ms, cell->rng};
    uint32_t before_n = atomic_fetch_sub_explicit(&ep->in_flight_n, 1, memory_order_relaxed);

    SL_ASSERT(before_n > 0, "pool %s, endpoint %u: more requests ended than began", pool->name,
              ep->id);
    if (b->ops->on_done != NULL) {
        b->ops->on_done(b, ep, outcome, now_ms);
    }
    if (sl_outcome_is_failure(outcome)) {
        sl_endpoint_count(ep, worker_idx, SL_ENDPOINT_FAILURES);
        count(cell, SL_POOL_FAILURES);
    }
    if (sl_outlier_on_outcome(&pool->outlier, set, ep, outcome, &report)) {
        sl_endpoint_count(ep, worker_idx, SL_ENDPOINT_EJECTIONS);
        count(cell, SL_POOL_EJECTIONS);
    }
    if (outcome->unreachable && sl_outlier_on_unreachable(ep, now_ms)) {
        doubt(pool);
    }
}

void sl_pool_answered(struct sl_endpoint *ep, uint64_t began, uint64_t now_ms)
{
    sl_outlier_on_answer(ep, began, now_ms);
}

uint64_t sl_pool_stat(const struct sl_pool *pool, enum sl_pool_stat stat)
{
    uint64_t total = 0;

    if (stat == SL_POOL_EJECTIONS) {
        total = atomic_load_explicit(&pool->hangs_n, memory_order_relaxed);
    }
    for (uint32_t i = 0; i < pool->workers_n; i++) {
        total += atomic_load_explicit(&pool->cells[i].stats[stat], memory_order_relaxed);
    }
    return total;
}
