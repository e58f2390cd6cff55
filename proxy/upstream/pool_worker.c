/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pool_worker: what workers do with a pool: take sets, pick, and say how it went.
 *
 * Lifetime:  as pool.h says
 * Thread:    the worker of that index
 */
#include "pool.h"
#include "slow_start.h"
#include "zone.h"

#define REFUSED_MAX_N 4 /* trials lost to other workers in one pick; more is no coincidence */

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

/* A set has one part, itself, or two, which are its sides. */
static void attach(struct sl_endpoint_set *set, uint32_t worker_idx, struct sl_rng *rng)
{
    size_t parts_n = set->sides != NULL ? SL_ZONE_SIDES_N : 1;

    for (size_t i = 0; i < parts_n; i++) {
        const struct sl_endpoint_set *part = set->sides != NULL ? &set->sides[i] : set;
        part->table->ops->attach(part->cells[worker_idx].balancer, part->table, rng);
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
        attach(set, worker_idx, rng);
        sl_published_take(&set->cells[worker_idx].published);
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
static bool take_place(struct sl_endpoint *ep, const struct sl_pick *ctx)
{
    uint32_t max_n = atomic_load_explicit(&ep->in_flight_max_n, memory_order_relaxed);
    uint32_t before_n = atomic_fetch_add_explicit(&ep->in_flight_n, 1, memory_order_relaxed);

    if ((max_n == 0 || before_n < max_n) &&
        (!sl_pick_has_cap(ctx, ep) || before_n < ctx->new_max_n))
    {
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
 * comes what cannot be undone, a trial or a knock. */
static bool admit(struct sl_pool *pool, struct sl_endpoint *ep, const struct sl_pick *ctx)
{
    if (!take_place(ep, ctx)) {
        return false;
    }
    if (take_connection(pool, ep, ctx)) {
        bool admitted = ctx->tier == SL_TIER_REFUSING
                            ? sl_outlier_knock(&pool->outlier, ep, ctx->now_ms)
                            : ctx->tier == SL_TIER_ANY || sl_outlier_admit(ep, ctx->now_ms);
        if (admitted) {
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

/* Picks of this part of a set until an endpoint is found that has room, and is not out, or whose
 * trial this request becomes. It is counted in flight. */
static struct sl_endpoint *pick_in_tier(const struct sl_endpoint_set *part,
                                        const struct sl_pick *asked, enum sl_tier tier)
{
    const struct sl_endpoint *tried[SL_TRIED_MAX_N + REFUSED_MAX_N];
    struct sl_balancer *b = part->cells[asked->worker_idx].balancer;
    struct sl_pick ctx = *asked;

    ctx.tier = tier;
    for (int refused_n = 0;; refused_n++) {
        struct sl_endpoint *ep = b->ops->pick(b, &ctx);
        if (ep == NULL) {
            return NULL;
        }
        if (admit(part->pool, ep, &ctx)) {
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

/* The parts in the order in which this pick asks them. */
struct order {
    const struct sl_endpoint_set *parts[SL_ZONE_SIDES_N];
    size_t n;
};

static struct order order_parts(const struct sl_endpoint_set *set, const struct sl_pick *ctx)
{
    struct order o = {.parts = {set}, .n = 1};

    if (set->sides != NULL) {
        size_t first =
            sl_zone_draw(set, ctx->worker_idx, ctx, set->pool->cells[ctx->worker_idx].rng);
        o.parts[0] = &set->sides[first];
        o.parts[1] = &set->sides[SL_ZONE_SIDES_N - 1 - first];
        o.n = SL_ZONE_SIDES_N;
    }
    return o;
}

/* *from: the part that the endpoint is of. The limit on all connections is that of all parts. */
static struct sl_endpoint *pick_in_parts(const struct order *o, const struct sl_pick *ctx,
                                         enum sl_tier tier, const struct sl_endpoint_set **from)
{
    struct sl_endpoint *ep = NULL;

    for (size_t i = 0; i < o->n && ep == NULL && !lacks_connection(ctx); i++) {
        *from = o->parts[i];
        ep = pick_in_tier(o->parts[i], ctx, tier);
    }
    return ep;
}

/* Where endpoints are given more and more: the pick of one that this pick may go to. NULL: there is
 * none, and the others are no worse. */
static struct sl_endpoint *pick_settled(const struct sl_endpoint_set *set, const struct order *o,
                                        const struct sl_pick *asked,
                                        const struct sl_endpoint_set **from)
{
    struct sl_pick ctx = *asked;
    uint64_t first_ms = set->came_first_ms;
    uint64_t oldest_ms = asked->now_ms > first_ms ? asked->now_ms - first_ms : 0;

    ctx.settled_ms =
        sl_slow_start_draw_ms(&set->slow_start, oldest_ms, set->pool->cells[ctx.worker_idx].rng);
    if (ctx.settled_ms == 0) {
        return NULL;
    }
    return pick_in_parts(o, &ctx, SL_TIER_READY, from);
}

/* Who refused may be asked again: that it did so before is why it is in this tier. */
static bool would_do(const struct sl_member *m, const struct sl_pick *ctx, enum sl_tier tier)
{
    return m->weight > 0 && sl_endpoint_suits(m, tier, ctx->now_ms) &&
           (tier == SL_TIER_REFUSING || !sl_pick_tried(ctx, m->endpoint));
}

/* Whatever the policy, and whatever the key: the one that was asked the longest ago. O(members),
 * now and then. */
static struct sl_endpoint *knock(const struct sl_endpoint_set *set, const struct sl_pick *asked,
                                 const struct sl_endpoint_set **from)
{
    struct sl_endpoint *ep = NULL;
    uint64_t longest_ago_ms = UINT64_MAX;
    struct sl_pick ctx = *asked;

    ctx.tier = SL_TIER_REFUSING;
    if (!sl_outlier_may_knock(&set->pool->outlier, ctx.now_ms)) {
        return NULL;
    }
    for (size_t i = 0; i < set->members_n; i++) {
        const struct sl_member *m = &set->members[i];
        uint64_t ms = sl_outlier_asked_at_ms(m->endpoint);
        if (ms < longest_ago_ms && would_do(m, &ctx, SL_TIER_REFUSING)) {
            ep = m->endpoint;
            longest_ago_ms = ms;
        }
    }
    if (ep == NULL || longest_ago_ms + SL_OUTLIER_KNOCK_MS > ctx.now_ms ||
        !admit(set->pool, ep, &ctx))
    {
        return NULL;
    }
    *from = sl_zone_side_of(set, ep);
    return ep;
}

/* Whether somebody would do in this tier, of which nobody was picked: it lacked room, also where it
 * has some by now, since a request ended on another worker. A connection is what lacks if it does
 * at any of them. O(members), where there are caps. */
static bool is_full(const struct sl_endpoint_set *set, const struct sl_pick *ctx, enum sl_tier tier)
{
    const struct sl_pool *pool = set->pool;
    bool caps_connections =
        atomic_load_explicit(&pool->connections.per_endpoint_max_n, memory_order_relaxed) != 0;
    bool found = false;
    bool lacks = false;

    if (tier != SL_TIER_REFUSING && !caps_connections && ctx->new_max_n == 0 &&
        atomic_load_explicit(&pool->per_endpoint_max_n, memory_order_relaxed) == 0)
    {
        return false;
    }
    for (size_t i = 0; i < set->members_n && (!found || (caps_connections && !lacks)); i++) {
        const struct sl_member *m = &set->members[i];
        if (would_do(m, ctx, tier)) {
            found = true;
            lacks = !sl_pick_finds_full(ctx, m->endpoint) &&
                    sl_endpoint_lacks_connection(m->endpoint, ctx->worker_idx);
        }
    }
    if (found && ctx->connection != NULL) {
        ctx->connection->lacks = lacks;
    }
    return found;
}

bool sl_pool_has_ready(const struct sl_endpoint_set *set, const struct sl_pick *ctx)
{
    for (size_t i = 0; i < set->members_n; i++) {
        if (would_do(&set->members[i], ctx, SL_TIER_READY)) {
            return true;
        }
    }
    return false;
}

/* ep, of that part of set, was picked. */
static void begin(const struct sl_endpoint_set *set, const struct sl_endpoint_set *from,
                  struct sl_endpoint *ep, const struct sl_pick *ctx)
{
    static const enum sl_pool_stat descents[] = {
        [SL_TIER_DRAINING] = SL_POOL_PICKS_DRAINING,
        [SL_TIER_ANY] = SL_POOL_PICKS_ANY,
        [SL_TIER_REFUSING] = SL_POOL_PICKS_ANY,
    };
    struct sl_pool_cell *cell = &set->pool->cells[ctx->worker_idx];
    struct sl_balancer *b = from->cells[ctx->worker_idx].balancer;

    count(cell, SL_POOL_PICKS);
    if (ctx->tier != SL_TIER_READY) {
        count(cell, descents[ctx->tier]);
    }
    if (set->sides != NULL) {
        count(cell,
              from == &set->sides[SL_ZONE_OWN] ? SL_POOL_PICKS_OWN_ZONE : SL_POOL_PICKS_OTHER_ZONE);
    }
    if (b->ops->on_start != NULL) {
        b->ops->on_start(b, ep, ctx);
    }
}

struct sl_endpoint *sl_pool_pick(struct sl_endpoint_set *set, uint32_t worker_idx,
                                 const struct sl_pick *asked, enum sl_tier *tier_used)
{
    const struct sl_endpoint_set *from = set;
    struct sl_endpoint *ep = NULL;
    enum sl_tier tier = SL_TIER_READY;
    struct sl_pick ctx = *asked;

    SL_ASSERT(ctx.tried_n <= SL_TRIED_MAX_N, "%zu endpoints were tried", ctx.tried_n);
    ctx.worker_idx = worker_idx;
    ctx.new_for_ms = set->slow_start.window_ms;
    ctx.new_max_n = set->slow_start.per_endpoint_n;
    const struct order order = order_parts(set, &ctx);
    if (set->slow_start.window_ms != 0) {
        ep = pick_settled(set, &order, &ctx, &from);
    }
    while (ep == NULL && tier < SL_TIERS_N && !lacks_connection(&ctx)) {
        ep = tier == SL_TIER_REFUSING ? knock(set, &ctx, &from)
                                      : pick_in_parts(&order, &ctx, tier, &from);
        if (ep != NULL || lacks_connection(&ctx) || is_full(set, &ctx, tier)) {
            break;
        }
        tier = ctx.only_ready ? SL_TIERS_N : tier + 1;
    }
    *tier_used = tier;
    if (ep == NULL) {
        if (tier == SL_TIERS_N && !ctx.again && !ctx.only_ready) {
            count(&set->pool->cells[worker_idx], SL_POOL_NOBODY);
        }
        return NULL;
    }
    ctx.tier = tier;
    begin(set, from, ep, &ctx);
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
    const struct sl_endpoint_set *any = set->sides != NULL ? set->sides : set;
    const struct sl_balancer_ops *ops = any->table->ops;
    struct sl_pool *pool = set->pool;
    struct sl_pool_cell *cell = &pool->cells[worker_idx];
    const struct sl_outlier_report report = {began_ms(outcome, now_ms), now_ms, cell->rng};
    uint32_t before_n = atomic_fetch_sub_explicit(&ep->in_flight_n, 1, memory_order_relaxed);

    SL_ASSERT(before_n > 0, "pool %s, endpoint %u: more requests ended than began", pool->name,
              ep->id);
    if (ops->on_done != NULL) {
        ops->on_done(sl_zone_side_of(set, ep)->cells[worker_idx].balancer, ep, outcome, now_ms);
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

void sl_pool_connected(struct sl_endpoint *ep, uint64_t began, uint64_t now_ms)
{
    sl_outlier_on_connect(ep, began, now_ms);
}

void sl_pool_answered(struct sl_endpoint *ep, uint64_t began, uint64_t now_ms)
{
    sl_outlier_on_answer(ep, began, now_ms);
}
