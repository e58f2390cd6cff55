/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ring_hash: endpoints have points on a ring, in number by weight, and a key belongs to the point
 * that follows its hash.
 *
 * An endpoint that comes or goes moves the keys of its own points and no others: 1/n of all. Only
 * a ring that would be too long has its points shortened by the total weight, and then each other
 * endpoint gives or takes as much again. A share is off by 1/sqrt(points), 8 % for 160.
 *
 * Who is not allowed is passed by on the ring, which is where its keys go when it leaves the set:
 * they move once. Who is too busy is jumped from (keyed.h): the next on the ring would be next.
 * Source: Karger et al., "Consistent Hashing and Random Trees", STOC 1997; ketama
 */
#include "keyed.h"
#include "policies.h"

#include "proxy/base/alloc.h"

/* At most 8 MiB, and one for each endpoint that has any weight. */
#define POINTS_MAX_N ((uint64_t)1 << 20)
#define POINTS_PER_WEIGHT 160
#define PASSED_MAX_N 16

struct table {
    struct sl_keyed keyed;
    size_t points_n;
    uint64_t points[]; /* sorted: 48 bits of hash, 16 of the member's index */
};

#define HASH_MASK (~(uint64_t)UINT16_MAX)

static uint64_t weight_of(const struct sl_endpoint_set *set)
{
    uint64_t weight = 0;

    for (size_t i = 0; i < set->members_n; i++) {
        weight += set->members[i].weight;
    }
    return weight;
}

static uint64_t points_of(const struct sl_member *m, uint64_t weight)
{
    uint64_t n = POINTS_PER_WEIGHT * (uint64_t)m->weight;

    if (POINTS_PER_WEIGHT * weight > POINTS_MAX_N) {
        n = m->weight * POINTS_MAX_N / weight;
        n = n == 0 && m->weight > 0 ? 1 : n;
    }
    return n;
}

/* By radix, 8 bits of the hash at a time: a million points in a few milliseconds. An even number of
 * turns, so the last one ends where the first began. */
static void sort(uint64_t *points, uint64_t *spare, size_t n)
{
    uint64_t *from = points;
    uint64_t *to = spare;

    for (unsigned shift = 16; shift < 64; shift += 8) {
        size_t at[257] = {0};
        for (size_t i = 0; i < n; i++) {
            at[(from[i] >> shift & 0xff) + 1]++;
        }
        for (size_t i = 1; i < 256; i++) {
            at[i] += at[i - 1];
        }
        for (size_t i = 0; i < n; i++) {
            to[at[from[i] >> shift & 0xff]++] = from[i];
        }
        uint64_t *sorted = to;
        to = from;
        from = sorted;
    }
}

static void fill(struct table *t, const struct sl_endpoint_set *set, uint64_t weight)
{
    for (size_t i = 0; i < set->members_n; i++) {
        struct sl_rng own = sl_keyed_numbers(set->members[i].endpoint);
        for (uint64_t n = points_of(&set->members[i], weight); n > 0; n--) {
            t->points[t->points_n++] = (sl_rng_next(&own) & HASH_MASK) | i;
        }
    }
}

static uint32_t place(const struct sl_keyed *k, const struct sl_pick *ctx, uint64_t hash)
{
    const struct table *t = sl_container_of_const(k, struct table, keyed);
    size_t lo = 0;
    uint32_t idx = 0;

    for (size_t n = t->points_n; n > 0;) { /* the first that is not before hash */
        bool before = t->points[lo + n / 2] < (hash & HASH_MASK);
        lo += before ? n / 2 + 1 : 0;
        n = before ? n - n / 2 - 1 : n / 2;
    }
    for (size_t i = 0; i < PASSED_MAX_N; i++, lo++) {
        lo = lo < t->points_n ? lo : 0;
        idx = (uint32_t)(t->points[lo] & ~HASH_MASK);
        if (sl_pick_allows(ctx, &k->set->members[idx])) {
            break;
        }
    }
    return idx;
}

static int build(const struct sl_endpoint_set *set, const struct sl_pool_config *conf,
                 struct sl_balancer_table **out, struct sl_error *err)
{
    uint64_t weight = weight_of(set);
    size_t points_n = 0;

    for (size_t i = 0; i < set->members_n; i++) {
        points_n += points_of(&set->members[i], weight);
    }
    struct table *t = sl_alloc_flex(sizeof(*t), points_n, sizeof(t->points[0]));
    uint64_t *spare = sl_alloc_array(points_n > 0 ? points_n : 1, sizeof(*spare));
    if (t == NULL || spare == NULL ||
        sl_keyed_init(&t->keyed, &sl_ring_hash_ops, set, conf) != SL_OK)
    {
        sl_free(spare);
        sl_free(t);
        return sl_error_set(err, SL_ENOMEM, NULL, "no memory for %zu endpoints", set->members_n);
    }
    t->keyed.place = place;
    fill(t, set, weight);
    sort(t->points, spare, points_n);
    sl_free(spare);
    *out = &t->keyed.base;
    return SL_OK;
}

static void table_free(struct sl_balancer_table *table)
{
    struct table *t = sl_container_of(table, struct table, keyed.base);

    sl_keyed_fini(&t->keyed);
    sl_free(t);
}

static struct sl_endpoint *pick(struct sl_balancer *b, const struct sl_pick *ctx)
{
    SL_ASSERT(b->ops == &sl_ring_hash_ops, "balancer %p has foreign ops", (void *)b);
    return sl_keyed_pick(b, ctx);
}

const struct sl_balancer_ops sl_ring_hash_ops = {
    .name = "ring_hash",
    .takes_key = true,
    .build = build,
    .table_free = table_free,
    .attach = sl_keyed_attach,
    .pick = pick,
};
