/* SPDX-License-Identifier: Apache-2.0 */
#include "zone.h"

#include <sluiced/err.h>

#include "endpoint.h"

#include "proxy/base/alloc.h"
#include "proxy/base/rng.h"

#include <string.h>

#define OVERPROVISIONING 1.4
#define KEY_SALT 0x5851f42d4c957f2dU /* whether a key leaves has nothing to do with its place */

struct sides {
    struct sl_endpoint_set of[SL_ZONE_SIDES_N];
    struct sl_member members[];
};

static bool is_own(const struct sl_endpoint_set *set, size_t idx)
{
    return set->labels != NULL && strcmp(set->labels[idx].zone, set->own_zone) == 0;
}

/* In the order of the set, which is that of identities. */
static void fill(struct sl_endpoint_set *side, const struct sl_endpoint_set *set, bool own,
                 struct sl_member *room)
{
    side->pool = set->pool;
    side->slow_start = set->slow_start;
    side->members = room;
    for (size_t i = 0; i < set->members_n; i++) {
        if (is_own(set, i) == own) {
            room[side->members_n++] = set->members[i];
        }
    }
}

int sl_zone_split(struct sl_endpoint_set *set, const char *own_zone)
{
    struct sides *s = sl_alloc_flex(sizeof(*s), set->members_n, sizeof(s->members[0]));

    if (s == NULL) {
        return SL_ENOMEM;
    }
    set->own_zone = own_zone;
    fill(&s->of[SL_ZONE_OWN], set, true, s->members);
    fill(&s->of[SL_ZONE_OTHERS], set, false, s->members + s->of[SL_ZONE_OWN].members_n);
    set->sides = s->of;
    return SL_OK;
}

void sl_zone_free(struct sl_endpoint_set *set)
{
    if (set->sides != NULL) {
        sl_free(sl_container_of(set->sides, struct sides, of[0]));
        set->sides = NULL;
    }
}

/* Of a side, by weight. */
struct weights {
    uint64_t usable; /* by whatever standards */
    uint64_t stays;  /* of all: does not drain */
    uint64_t ready;  /* of stays */
};

static struct weights weigh(const struct sl_endpoint_set *side, uint64_t now_ms)
{
    struct weights w = {0};

    for (size_t i = 0; i < side->members_n; i++) {
        const struct sl_member *m = &side->members[i];
        w.usable += sl_endpoint_suits(m, SL_TIER_ANY, now_ms) ? m->weight : 0;
        w.stays += m->draining ? 0 : m->weight;
        w.ready += sl_endpoint_suits(m, SL_TIER_READY, now_ms) ? m->weight : 0;
    }
    return w;
}

static double capacity(const struct weights *w)
{
    double part = w->stays > 0 ? OVERPROVISIONING * (double)w->ready / (double)w->stays : 0;

    return part < 1 ? part : 1;
}

double sl_zone_share(const struct sl_endpoint_set *set, uint64_t now_ms)
{
    const struct weights own = weigh(&set->sides[SL_ZONE_OWN], now_ms);
    double part = capacity(&own);

    if (part >= 1) {
        return 1;
    }
    const struct weights others = weigh(&set->sides[SL_ZONE_OTHERS], now_ms);
    double sum = part + capacity(&others);
    if (sum <= 0) { /* the last resort: as many as there are must bear it */
        uint64_t usable = own.usable + others.usable;
        return usable > 0 ? (double)own.usable / (double)usable : 0;
    }
    return sum < 1 ? part / sum : part;
}

size_t sl_zone_draw(const struct sl_endpoint_set *set, uint32_t worker_idx,
                    const struct sl_pick *ctx, struct sl_rng *rng)
{
    struct sl_set_cell *cell = &set->cells[worker_idx];
    struct sl_rng of_key = {.state = ctx->key_hash ^ KEY_SALT};

    if (cell->looked_at_ms == 0 || ctx->now_ms - cell->looked_at_ms >= SL_ZONE_LOOK_MS) {
        cell->looked_at_ms = ctx->now_ms;
        cell->own_share = sl_zone_share(set, ctx->now_ms);
    }
    if (cell->own_share >= 1) {
        return SL_ZONE_OWN;
    }
    uint64_t bits = sl_rng_next(ctx->key_hash != 0 ? &of_key : rng);
    return (double)(bits >> 11) * 0x1p-53 < cell->own_share ? SL_ZONE_OWN : SL_ZONE_OTHERS;
}

const struct sl_endpoint_set *sl_zone_side_of(const struct sl_endpoint_set *set,
                                              const struct sl_endpoint *ep)
{
    if (set->sides == NULL) {
        return set;
    }
    const struct sl_endpoint_set *own = &set->sides[SL_ZONE_OWN];
    size_t lo = 0;

    for (size_t n = own->members_n; n > 0;) {
        const struct sl_endpoint *middle = own->members[lo + n / 2].endpoint;
        if (middle == ep) {
            return own;
        }
        bool before = sl_endpoint_compare(middle, ep) < 0;
        lo += before ? n / 2 + 1 : 0;
        n = before ? n - n / 2 - 1 : n / 2;
    }
    return &set->sides[SL_ZONE_OTHERS];
}
