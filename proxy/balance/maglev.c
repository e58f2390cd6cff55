/* SPDX-License-Identifier: Apache-2.0 */
/*
 * maglev: a table of a prime number of entries in which each endpoint has as many as it weighs, and
 * a key belongs to the entry that its hash divides down to.
 *
 * Shares are exact to one entry, where those of a ring are off by chance; a look-up is one read. An
 * endpoint that comes or goes moves its own keys and a few of others. Endpoints take their next
 * entry in turn, each in an order of its own; the j-th of weight w comes at j / w, whatever the
 * others weigh, so that one who leaves does not change who of the others is first.
 * Source: Eisenbud et al., "Maglev: A Fast and Reliable Software Network Load Balancer", NSDI 2016
 */
#include "keyed.h"
#include "policies.h"

#include "proxy/base/alloc.h"

#define ENTRIES_N 65537 /* the prime of the paper; more than there are endpoints in any set */

struct table {
    struct sl_keyed keyed;
    uint16_t entries[ENTRIES_N]; /* indexes of members */
};

/* A member that takes entries. */
struct taker {
    double due;
    double step; /* 1 / weight */
    uint32_t taken_n;
    uint32_t entry; /* where its order stands */
    uint32_t skip;
    uint32_t member_idx;
};

static bool is_earlier(const struct taker *a, const struct taker *b)
{
    return a->due < b->due || (!(b->due < a->due) && a->member_idx < b->member_idx);
}

/* The first of the heap has changed. */
static void sift_down(struct taker *heap, size_t n)
{
    size_t at = 0;

    for (size_t child = 1; child < n; child = 2 * at + 1) {
        child += child + 1 < n && is_earlier(&heap[child + 1], &heap[child]);
        if (!is_earlier(&heap[child], &heap[at])) {
            break;
        }
        struct taker t = heap[at];
        heap[at] = heap[child];
        heap[child] = t;
        at = child;
    }
}

/* Returns how many there are. All are due at once, in the order of members: that is a heap. */
static size_t start(struct taker *takers, const struct sl_endpoint_set *set)
{
    size_t n = 0;

    for (size_t i = 0; i < set->members_n; i++) {
        const struct sl_member *m = &set->members[i];
        if (m->weight > 0) {
            struct sl_rng own = sl_keyed_numbers(m->endpoint);
            uint32_t entry = (uint32_t)sl_rng_below(&own, ENTRIES_N);
            takers[n++] = (struct taker){
                .step = 1.0 / m->weight,
                .entry = entry,
                .skip = 1 + (uint32_t)sl_rng_below(&own, ENTRIES_N - 1),
                .member_idx = (uint32_t)i,
            };
        }
    }
    return n;
}

static void fill(struct table *t, struct taker *heap, size_t n, bool *is_taken)
{
    for (size_t i = 0; n > 0 && i < ENTRIES_N; i++) {
        struct taker *first = &heap[0];
        while (is_taken[first->entry]) {
            first->entry = (first->entry + first->skip) % ENTRIES_N;
        }
        is_taken[first->entry] = true;
        t->entries[first->entry] = (uint16_t)first->member_idx;
        first->due = ++first->taken_n * first->step;
        sift_down(heap, n);
    }
}

static uint32_t place(const struct sl_keyed *k, const struct sl_pick *ctx, uint64_t hash)
{
    (void)ctx; /* who is not allowed is jumped from, as who is too busy */
    return sl_container_of_const(k, struct table, keyed)->entries[hash % ENTRIES_N];
}

static int build(const struct sl_endpoint_set *set, const struct sl_pool_config *conf,
                 struct sl_balancer_table **out, struct sl_error *err)
{
    struct table *t = sl_alloc(sizeof(*t));
    struct taker *takers = sl_alloc_array(set->members_n + 1, sizeof(*takers));
    bool *is_taken = sl_alloc_array(ENTRIES_N, sizeof(*is_taken));
    int rc = SL_ENOMEM;

    if (t != NULL && takers != NULL && is_taken != NULL) {
        rc = sl_keyed_init(&t->keyed, &sl_maglev_ops, set, conf);
    }
    if (rc == SL_OK) {
        t->keyed.place = place;
        fill(t, takers, start(takers, set), is_taken);
        *out = &t->keyed.base;
    } else {
        sl_free(t);
        rc = sl_error_set(err, rc, NULL, "no memory for %zu endpoints", set->members_n);
    }
    sl_free(is_taken);
    sl_free(takers);
    return rc;
}

static void table_free(struct sl_balancer_table *table)
{
    struct table *t = sl_container_of(table, struct table, keyed.base);

    sl_keyed_fini(&t->keyed);
    sl_free(t);
}

static struct sl_endpoint *pick(struct sl_balancer *b, const struct sl_pick *ctx)
{
    SL_ASSERT(b->ops == &sl_maglev_ops, "balancer %p has foreign ops", (void *)b);
    return sl_keyed_pick(b, ctx);
}

const struct sl_balancer_ops sl_maglev_ops = {
    .name = "maglev",
    .takes_key = true,
    .build = build,
    .table_free = table_free,
    .attach = sl_keyed_attach,
    .pick = pick,
};
