/* SPDX-License-Identifier: Apache-2.0 */
/*
 * peak_ewma: two endpoints drawn by weight, and the one that promises to answer sooner wins: its
 * latency times the requests that wait for it, this one included.
 *
 * Latency is a moving average that jumps to a peak at once and comes down slowly, so that a slow
 * endpoint is believed on its first slow answer and has to be fast for a while to be trusted. It is
 * the time to the first body byte, where there is one: how long a generation is says nothing of
 * who makes it. What was fast because it failed is no sample; a failure that took long is one.
 *
 * What is not heard of again drifts to the pool's mean, and what was never heard of is the mean:
 * a new endpoint is neither shunned nor gets the herd. The mean is the harmonic one, that is of the
 * speeds: one endpoint that hangs does not make a new one look slow.
 *
 * The average is the endpoint's, not the set's, so it survives another set; all workers learn into
 * it. Two that write at once lose one sample, which the next replaces.
 * Source: Finagle, com.twitter.finagle.loadbalancer.PeakEwma
 */
#include "lottery.h"
#include "policies.h"

#include "proxy/base/alloc.h"

#define DECAY_MS 10000.0 /* after that, a sample has 1/e of its weight */
#define MEAN_DRAWS_N 64  /* the mean is that of about so many draws, which come by weight */

struct table {
    struct sl_balancer_table base;
    const struct sl_endpoint_set *set;
    struct sl_lottery *lottery;
    double weight_mean; /* of members that have any */
};

struct state {
    struct sl_balancer base;
    struct sl_rng *rng;
    double speed_mean; /* 1 / us, of the endpoints that were measured; 0: none yet */
};

/* What is known of an endpoint, in one word so that both halves belong together. */
struct heard {
    uint32_t latency_us; /* 0: nothing */
    uint32_t at_ms;      /* of the clock, cut: after 24 days of silence the age is wrong */
};

static struct heard load(const struct sl_endpoint *ep)
{
    uint64_t packed = atomic_load_explicit(&ep->latency, memory_order_relaxed);

    return (struct heard){(uint32_t)packed, (uint32_t)(packed >> 32)};
}

/* What is left of a fact after that time: e^-x within 3 %, without the mathematics library. */
static double kept_of(struct heard h, uint64_t now_ms)
{
    int32_t age_ms = (int32_t)((uint32_t)now_ms - h.at_ms); /* another worker's turn is later */
    double x = age_ms > 0 ? age_ms / DECAY_MS : 0;

    return 1 / (1 + x + x * x / 2 + x * x * x / 6);
}

static double weight_mean(const struct sl_lottery *l)
{
    return l->slots_n > 0 ? (double)l->slots[l->slots_n - 1].weight_upto / (double)l->slots_n : 0;
}

static int build(const struct sl_endpoint_set *set, const struct sl_pool_config *conf,
                 struct sl_balancer_table **out, struct sl_error *err)
{
    struct table *t = sl_alloc(sizeof(*t));
    (void)conf; /* nothing to set */
    if (t != NULL) {
        t->lottery = sl_lottery_new(set);
    }
    if (t == NULL || t->lottery == NULL) {
        sl_free(t);
        return sl_error_set(err, SL_ENOMEM, NULL, "no memory for %zu endpoints", set->members_n);
    }
    t->base.ops = &sl_peak_ewma_ops;
    t->base.state_bytes = sizeof(struct state);
    t->set = set;
    t->weight_mean = weight_mean(t->lottery);
    *out = &t->base;
    return SL_OK;
}

static void table_free(struct sl_balancer_table *table)
{
    struct table *t = sl_container_of(table, struct table, base);

    sl_lottery_free(t->lottery);
    sl_free(t);
}

static void attach(struct sl_balancer *b, const struct sl_balancer_table *table, struct sl_rng *rng)
{
    const struct table *t = sl_container_of_const(table, struct table, base);
    struct state *s = sl_container_of(b, struct state, base);
    double speeds = 0;
    double weights = 0;

    b->ops = &sl_peak_ewma_ops;
    b->table = table;
    s->rng = rng;
    for (size_t i = 0; i < t->set->members_n; i++) {
        const struct sl_member *m = &t->set->members[i];
        struct heard h = load(m->endpoint);
        if (h.latency_us > 0) {
            speeds += (double)m->weight / h.latency_us;
            weights += m->weight;
        }
    }
    s->speed_mean = weights > 0 ? speeds / weights : 0;
}

/* Of the pool; before anybody was heard of, what all have alike. */
static double mean_us(const struct state *s)
{
    return s->speed_mean > 0 ? 1 / s->speed_mean : 1;
}

/* How long an answer from m may take, in us. */
static double cost(struct state *s, const struct table *t, const struct sl_member *m,
                   uint64_t now_ms)
{
    struct heard h = load(m->endpoint);
    double waiting_n = atomic_load_explicit(&m->endpoint->in_flight_n, memory_order_relaxed);

    if (h.latency_us > 0) {
        double speed = 1.0 / h.latency_us;
        s->speed_mean += s->speed_mean > 0 ? (speed - s->speed_mean) / MEAN_DRAWS_N : speed;
    }
    double latency = mean_us(s);
    if (h.latency_us > 0) {
        latency += (h.latency_us - latency) * kept_of(h, now_ms);
    }
    return latency * (1 + waiting_n * t->weight_mean / m->weight);
}

static struct sl_endpoint *pick(struct sl_balancer *b, const struct sl_pick *ctx)
{
    SL_ASSERT(b->ops == &sl_peak_ewma_ops, "balancer %p has foreign ops", (void *)b);
    const struct table *t = sl_container_of_const(b->table, struct table, base);
    struct state *s = sl_container_of(b, struct state, base);
    const struct sl_member *first = sl_lottery_draw(t->lottery, s->rng, ctx, NULL);
    if (first == NULL) {
        return NULL;
    }
    const struct sl_member *second = sl_lottery_draw(t->lottery, s->rng, ctx, first);
    if (second == NULL) {
        return first->endpoint;
    }
    double first_cost = cost(s, t, first, ctx->now_ms);
    /* A tie is the first's: where all is equal, the draw by weight decides. */
    return cost(s, t, second, ctx->now_ms) < first_cost ? second->endpoint : first->endpoint;
}

static void on_done(struct sl_balancer *b, struct sl_endpoint *ep, const struct sl_outcome *o,
                    uint64_t now_ms)
{
    SL_ASSERT(b->ops == &sl_peak_ewma_ops, "balancer %p has foreign ops", (void *)b);
    struct state *s = sl_container_of(b, struct state, base);
    struct heard h = load(ep);
    double us = (double)(o->ttft_us > 0 ? o->ttft_us : o->duration_us);
    bool failed = o->failed || o->status >= 500 || o->status == 429;

    if (us == 0 || (o->abandoned && o->ttft_us == 0)) {
        return; /* nobody waited for an answer */
    }
    double known_us = h.latency_us > 0 ? h.latency_us : mean_us(s);
    if (us < known_us) {
        if (failed) {
            return;
        }
        us += h.latency_us > 0 ? (known_us - us) * kept_of(h, now_ms) : 0;
    }
    uint32_t stored = us < UINT32_MAX ? (uint32_t)us : UINT32_MAX;
    atomic_store_explicit(&ep->latency, (uint64_t)(uint32_t)now_ms << 32 | stored,
                          memory_order_relaxed);
}

const struct sl_balancer_ops sl_peak_ewma_ops = {
    .name = "peak_ewma",
    .build = build,
    .table_free = table_free,
    .attach = attach,
    .pick = pick,
    .on_done = on_done,
};
