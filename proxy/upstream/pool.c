/* SPDX-License-Identifier: Apache-2.0 */
#include "pool.h"

#include "zone.h"

#include "proxy/base/alloc.h"

#include <stdio.h>

/* A set and its members in one allocation. */
struct built {
    struct sl_endpoint_set set;
    struct sl_member_labels *labels; /* an allocation of its own; often there are none */
    char own_zone[sizeof(((struct sl_found *)0)->zone)];
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
    for (uint32_t i = 0; set->table != NULL && i < workers_n; i++) {
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

/* What workers pick from. */
static int build_part(struct sl_endpoint_set *part, const struct sl_balancer_ops *ops,
                      const struct sl_pool_config *conf, struct sl_error *err)
{
    struct sl_pool *pool = part->pool;
    int rc = ops->build(part, conf, &part->table, err);

    if (rc == SL_OK && alloc_cells(part, pool->workers_n) != SL_OK) {
        rc = sl_error_set(err, SL_ENOMEM, NULL, "pool %s: no memory for %u workers", pool->name,
                          pool->workers_n);
    }
    return rc;
}

static int build_sides(struct built *b, const char *own_zone, const struct sl_balancer_ops *ops,
                       const struct sl_pool_config *conf, struct sl_error *err)
{
    (void)snprintf(b->own_zone, sizeof(b->own_zone), "%s", own_zone); /* a label: it fits */
    if (sl_zone_split(&b->set, b->own_zone) != SL_OK ||
        alloc_cells(&b->set, b->set.pool->workers_n) != SL_OK)
    {
        return sl_error_set(err, SL_ENOMEM, NULL, "pool %s: no room for two zones",
                            b->set.pool->name);
    }
    int rc = build_part(&b->set.sides[SL_ZONE_OWN], ops, conf, err);
    return rc == SL_OK ? build_part(&b->set.sides[SL_ZONE_OTHERS], ops, conf, err) : rc;
}

int sl_pool_build_set(struct sl_pool *pool, const struct sl_snapshot *snapshot,
                      const struct sl_pool_config *conf, struct sl_endpoint_set **out,
                      struct sl_error *err)
{
    const struct sl_balancer_ops *ops = NULL;
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
    rc = snapshot->own_zone != NULL ? build_sides(b, snapshot->own_zone, ops, conf, err)
                                    : build_part(&b->set, ops, conf, err);
    if (rc != SL_OK) {
        sl_pool_free_set(&b->set);
        return rc;
    }
    *out = &b->set;
    return SL_OK;
}

static void free_part(struct sl_endpoint_set *part)
{
    for (uint32_t i = 0; i < part->cells_n; i++) {
        sl_free(part->cells[i].balancer);
    }
    sl_free(part->cells);
    if (part->table != NULL) {
        part->table->ops->table_free(part->table);
    }
}

void sl_pool_free_set(struct sl_endpoint_set *set)
{
    struct sl_pool *pool = set->pool;

    for (size_t i = 0; set->sides != NULL && i < SL_ZONE_SIDES_N; i++) {
        free_part(&set->sides[i]);
    }
    free_part(set);
    sl_zone_free(set);
    sl_endpoint_table_release(&pool->endpoints, set->members, set->members_n);
    if (pool->newest == set) {
        pool->newest = NULL;
    }
    pool->sets_n--;
    struct built *b = sl_container_of(set, struct built, set);
    sl_free(b->labels);
    sl_free(b);
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
