/* SPDX-License-Identifier: Apache-2.0 */
#include "keyed.h"

#include "proxy/base/hash.h"
#include "proxy/upstream/slow_start.h"

#define SCANNED_N 4 /* members that a pick looks at for the sum */
#define PLACES_N 32 /* with four of five out, one pick in 1 000 falls back to the walk */
#define WHOLE 256   /* what a weight of 1 is here, for slow start gives a part of it */

struct state {
    struct sl_balancer base;
    struct sl_rng *rng;
    uint64_t load_n; /* the sums of what is in seen */
    uint64_t weight;
    size_t next;
    struct seen {
        uint32_t in_flight_n;
        uint32_t weight; /* in 1 / WHOLE; 0: was not eligible, or not looked at yet */
    } seen[];            /* one a member */
};

int sl_keyed_init(struct sl_keyed *k, const struct sl_balancer_ops *ops,
                  const struct sl_endpoint_set *set, const struct sl_pool_config *conf)
{
    uint32_t bound_pct = conf != NULL ? conf->balance_bound_pct : SL_KEYED_BOUND_PCT;

    k->lottery = sl_lottery_new(set);
    if (k->lottery == NULL) {
        return SL_ENOMEM;
    }
    k->base.ops = ops;
    k->base.state_bytes = sizeof(struct state) + set->members_n * sizeof(struct seen);
    k->set = set;
    k->bound = bound_pct / 100.0;
    return SL_OK;
}

void sl_keyed_fini(struct sl_keyed *k)
{
    sl_lottery_free(k->lottery);
}

void sl_keyed_attach(struct sl_balancer *b, const struct sl_balancer_table *table,
                     struct sl_rng *rng)
{
    const struct sl_keyed *k = sl_container_of_const(table, struct sl_keyed, base);
    struct state *s = sl_container_of(b, struct state, base);

    b->ops = table->ops;
    b->table = table;
    s->rng = rng;
    s->next = k->set->members_n > 0 ? (size_t)sl_rng_below(rng, k->set->members_n) : 0;
}

struct sl_rng sl_keyed_numbers(const struct sl_endpoint *ep)
{
    return (struct sl_rng){sl_hash(sl_slice_of(ep->address.host), ep->address.port)};
}

static uint32_t in_flight_n(const struct sl_member *m)
{
    return atomic_load_explicit(&m->endpoint->in_flight_n, memory_order_relaxed);
}

/* In 1 / WHOLE. Of one that is given little at first, as much less: what it does not take yet is
 * the others', who would else seem too busy with it, and leave it more than it is to have. */
static uint32_t weight_of(const struct sl_keyed *k, const struct sl_member *m, uint64_t now_ms)
{
    const struct sl_slow_start_config *conf = &k->set->slow_start;
    uint64_t came_at_ms = atomic_load_explicit(&m->endpoint->came_at_ms, memory_order_relaxed);
    uint64_t age_ms = now_ms > came_at_ms ? now_ms - came_at_ms : 0;
    uint32_t weight = (uint32_t)m->weight * WHOLE;

    if (came_at_ms == 0 || age_ms >= conf->window_ms) {
        return weight;
    }
    return (uint32_t)(weight * sl_slow_start_share(conf, age_ms));
}

static void look_at(struct state *s, const struct sl_keyed *k, size_t idx, uint64_t now_ms)
{
    const struct sl_member *m = &k->set->members[idx];
    struct seen now = {0, 0};

    if (sl_endpoint_eligible(m, SL_TIER_READY, now_ms)) {
        now = (struct seen){m->weight > 0 ? in_flight_n(m) : 0, weight_of(k, m, now_ms)};
    }
    s->load_n = s->load_n - s->seen[idx].in_flight_n + now.in_flight_n;
    s->weight = s->weight - s->seen[idx].weight + now.weight;
    s->seen[idx] = now;
}

static void scan(struct state *s, const struct sl_keyed *k, uint64_t now_ms)
{
    for (size_t i = 0; i < SCANNED_N; i++) {
        s->next = s->next + 1 < k->set->members_n ? s->next + 1 : 0;
        look_at(s, k, s->next, now_ms);
    }
}

/* Whether one more is within the bound: in flight < bound * (all + 1) * share, which for whole
 * numbers says the same as <= its ceiling with the new one counted. As long as the sum of all
 * bounds exceeds the load, somebody is. */
static bool is_under(struct state *s, const struct sl_keyed *k, size_t idx, uint64_t now_ms)
{
    const struct sl_member *m = &k->set->members[idx];

    if (k->bound == 0) {
        return true;
    }
    look_at(s, k, idx, now_ms);
    return s->weight == 0 || in_flight_n(m) * (double)s->weight <
                                 k->bound * ((double)s->load_n + 1) * weight_of(k, m, now_ms);
}

/* All of them, from a place that is the key's own: the first under its bound, or the least busy. */
static const struct sl_member *walk(struct state *s, const struct sl_keyed *k,
                                    const struct sl_pick *ctx, uint64_t hash)
{
    const struct sl_member *least = NULL;
    size_t n = k->lottery->slots_n;

    for (size_t i = 0; i < n; i++) {
        const struct sl_member *m = k->lottery->slots[(hash % n + i) % n].member;
        if (!sl_pick_allows(ctx, m)) {
            continue;
        }
        if (is_under(s, k, (size_t)(m - k->set->members), ctx->now_ms)) {
            return m;
        }
        if (least == NULL ||
            (uint64_t)in_flight_n(m) * least->weight < (uint64_t)in_flight_n(least) * m->weight)
        {
            least = m;
        }
    }
    return least;
}

static const struct sl_member *pick_member(struct state *s, const struct sl_keyed *k,
                                           const struct sl_pick *ctx)
{
    struct sl_rng own = {.state = ctx->key_hash};
    uint64_t hash = ctx->key_hash;

    if (k->bound != 0) {
        scan(s, k, ctx->now_ms);
    }
    for (size_t i = 0; i < PLACES_N; i++) {
        uint32_t idx = k->place(k, ctx, hash);
        const struct sl_member *m = &k->set->members[idx];
        if (sl_pick_allows(ctx, m) && is_under(s, k, idx, ctx->now_ms)) {
            return m;
        }
        hash = sl_rng_next(&own);
    }
    return walk(s, k, ctx, hash);
}

struct sl_endpoint *sl_keyed_pick(struct sl_balancer *b, const struct sl_pick *ctx)
{
    const struct sl_keyed *k = sl_container_of_const(b->table, struct sl_keyed, base);
    struct state *s = sl_container_of(b, struct state, base);
    const struct sl_member *m = NULL;

    if (k->lottery->slots_n > 0) {
        m = ctx->key_hash != 0 ? pick_member(s, k, ctx)
                               : sl_lottery_less_busy(k->lottery, s->rng, ctx);
    }
    return m != NULL ? m->endpoint : NULL;
}
