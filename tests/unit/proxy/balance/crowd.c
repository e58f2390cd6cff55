/* SPDX-License-Identifier: Apache-2.0 */
#include "crowd.h"

#include "proxy/base/alloc.h"
#include "tests/unit/check.h"

#include <stdio.h>
#include <string.h>

#define SEED 42

const struct sl_pick crowd_pick = {.now_ms = CROWD_NOW_MS, .tier = SL_TIER_READY};

static void build(struct crowd *c, size_t members_n, const struct sl_pool_config *conf)
{
    struct sl_error err = {0};

    c->set = (struct sl_endpoint_set){.members = c->members, .members_n = members_n};
    c->rng.state = SEED;
    int rc = c->ops->build(&c->set, conf, &c->table, &err);
    check(rc == SL_OK, "%s: build: %d, %s", c->ops->name, rc, err.message);
    c->balancer = sl_alloc_aligned(64, c->table->state_bytes);
    check(c->balancer != NULL, "no memory");
    c->ops->attach(c->balancer, c->table, &c->rng);
}

void crowd_init(struct crowd *c, const struct sl_balancer_ops *ops, size_t n,
                const uint16_t *weights, const struct sl_pool_config *conf)
{
    *c = (struct crowd){.ops = ops};
    c->endpoints = sl_alloc_aligned(64, (n + 1) * sizeof(c->endpoints[0]));
    c->members = sl_alloc_array(n + 1, sizeof(c->members[0]));
    check(c->endpoints != NULL && c->members != NULL, "no memory");
    for (size_t i = 0; i < n; i++) {
        struct sl_address *a = &c->endpoints[i].address;
        (void)snprintf(a->host, sizeof(a->host), "10.0.%zu.%zu", i / 256, i % 256);
        a->port = 8000;
        c->endpoints[i].id = (uint32_t)i + 1;
        c->members[i].endpoint = &c->endpoints[i];
        c->members[i].weight = weights != NULL ? weights[i] : 1;
    }
    build(c, n, conf);
}

void crowd_init_without(struct crowd *c, const struct crowd *from, size_t without_idx)
{
    size_t n = 0;

    *c = (struct crowd){.ops = from->ops};
    c->members = sl_alloc_array(from->set.members_n + 1, sizeof(c->members[0]));
    check(c->members != NULL, "no memory");
    for (size_t i = 0; i < from->set.members_n; i++) {
        if (i != without_idx) {
            c->members[n++] = from->members[i];
        }
    }
    build(c, n, NULL);
}

void crowd_fini(struct crowd *c)
{
    sl_free(c->balancer);
    c->ops->table_free(c->table);
    sl_free(c->members);
    sl_free(c->endpoints);
}

int crowd_pick_idx(struct crowd *c, const struct sl_pick *ctx)
{
    const struct sl_endpoint *ep = c->ops->pick(c->balancer, ctx);

    return ep != NULL ? (int)ep->id - 1 : -1;
}

int crowd_pick_key(struct crowd *c, uint64_t key_hash)
{
    struct sl_pick ctx = crowd_pick;

    ctx.key_hash = key_hash;
    return crowd_pick_idx(c, &ctx);
}

double crowd_chi_square(const struct crowd *c, const uint32_t *got_n, uint32_t total_n)
{
    double weights = 0;
    double sum = 0;

    for (size_t i = 0; i < c->set.members_n; i++) {
        weights += c->members[i].weight;
    }
    for (size_t i = 0; i < c->set.members_n; i++) {
        double want = total_n * c->members[i].weight / weights;
        check(want > 0 || got_n[i] == 0, "member %zu of weight 0 was picked", i);
        sum += want > 0 ? (got_n[i] - want) * (got_n[i] - want) / want : 0;
    }
    return sum;
}
