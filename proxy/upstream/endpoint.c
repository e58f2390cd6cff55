/* SPDX-License-Identifier: Apache-2.0 */
#include "endpoint.h"

#include <sluiced/err.h>

#include "proxy/base/alloc.h"

#include <stdlib.h>
#include <string.h>

static int compare(const struct sl_address *a, const char *a_uid, const struct sl_address *b,
                   const char *b_uid)
{
    if (a->is_unix != b->is_unix) {
        return a->is_unix ? 1 : -1;
    }
    int order = strcmp(a->host, b->host);
    if (order != 0) {
        return order;
    }
    return a->port != b->port ? (int)a->port - (int)b->port : strcmp(a_uid, b_uid);
}

int sl_found_compare(const struct sl_found *a, const struct sl_found *b)
{
    return compare(&a->address, a->pod_uid, &b->address, b->pod_uid);
}

int sl_endpoint_compare(const struct sl_endpoint *a, const struct sl_endpoint *b)
{
    return compare(&a->address, a->pod_uid, &b->address, b->pod_uid);
}

static int compare_items(const void *a, const void *b)
{
    return sl_found_compare(*(const struct sl_found *const *)a, *(const struct sl_found *const *)b);
}

static struct sl_endpoint *endpoint_new(const struct sl_endpoint_table *t,
                                        const struct sl_found *found, uint64_t came_at_ms)
{
    struct sl_endpoint *ep =
        sl_alloc_aligned(64, sizeof(*ep) + t->workers_n * sizeof(ep->cells[0]));

    if (ep == NULL) {
        return NULL;
    }
    memcpy(ep->pod_uid, found->pod_uid, sizeof(ep->pod_uid));
    memcpy(ep->pod_name, found->pod_name, sizeof(ep->pod_name));
    ep->address = found->address;
    ep->id = ++t->ids->last;
    ep->cells = (struct sl_endpoint_cell *)(void *)(ep + 1);
    ep->cells_n = t->workers_n;
    atomic_init(&ep->came_at_ms, came_at_ms);
    return ep;
}

static void endpoint_free(struct sl_endpoint *ep)
{
    SL_ASSERT(ep->refs_n == 0 && atomic_load(&ep->in_flight_n) == 0,
              "endpoint %u: %u references, %u requests", ep->id, ep->refs_n,
              atomic_load(&ep->in_flight_n));
    sl_free(ep);
}

void sl_endpoint_table_init(struct sl_endpoint_table *t, uint32_t workers_n,
                            struct sl_endpoint_ids *ids)
{
    *t = (struct sl_endpoint_table){.workers_n = workers_n, .ids = ids};
}

void sl_endpoint_table_fini(struct sl_endpoint_table *t)
{
    SL_ASSERT(t->n == 0, "%zu endpoints are still referred to", t->n);
    sl_free((void *)t->items);
    t->items = NULL;
}

struct merge {
    const struct sl_endpoint_table *table;
    size_t table_idx;
    uint64_t came_at_ms;
    struct sl_endpoint **items; /* of the table to be */
    size_t n;
};

static void keep_next(struct merge *m)
{
    m->items[m->n++] = m->table->items[m->table_idx++];
}

/* The endpoint of found, which sorts behind all found before, with one more reference. */
static struct sl_endpoint *find_or_make(struct merge *m, const struct sl_found *found)
{
    struct sl_endpoint *ep = NULL;
    int order = -1;

    while (m->table_idx < m->table->n && order < 0) {
        ep = m->table->items[m->table_idx];
        order = compare(&ep->address, ep->pod_uid, &found->address, found->pod_uid);
        if (order < 0) {
            keep_next(m);
        }
    }
    if (order == 0) {
        m->table_idx++;
    } else {
        ep = endpoint_new(m->table, found, m->came_at_ms);
    }
    if (ep != NULL) {
        ep->refs_n++;
        m->items[m->n++] = ep;
    }
    return ep;
}

#define SAME_SIZE(label)                            \
    (sizeof(((const struct sl_found *)0)->label) == \
     sizeof(((const struct sl_member_labels *)0)->label))

_Static_assert(SAME_SIZE(zone) && SAME_SIZE(version) && SAME_SIZE(model), "they are copied whole");

static void copy_labels(struct sl_member_labels *to, const struct sl_found *found)
{
    memcpy(to->zone, found->zone, sizeof(to->zone));
    memcpy(to->version, found->version, sizeof(to->version));
    memcpy(to->model, found->model, sizeof(to->model));
}

/* What a person said of an endpoint ends when discovery names it no more, though requests that run
 * may keep it. Both are sorted by identity. */
static void forget_dropped(const struct sl_endpoint_table *t, const struct sl_member *members,
                           size_t members_n)
{
    size_t m = 0;

    for (size_t i = 0; i < t->n; i++) {
        if (m < members_n && members[m].endpoint == t->items[i]) {
            m++;
        } else {
            atomic_store_explicit(&t->items[i]->drained_by_hand, false, memory_order_relaxed);
        }
    }
}

int sl_endpoint_table_match(struct sl_endpoint_table *t, const struct sl_snapshot *snapshot,
                            uint64_t came_at_ms, struct sl_member *members,
                            struct sl_member_labels *labels, size_t *members_n)
{
    if (snapshot->n > SL_MEMBERS_MAX_N) {
        return SL_ELIMIT;
    }
    const struct sl_found **found =
        (const struct sl_found **)sl_alloc_array(snapshot->n, sizeof(*found));
    struct merge m = {.table = t, .came_at_ms = came_at_ms};
    m.items = (struct sl_endpoint **)sl_alloc_array(t->n + snapshot->n, sizeof(*m.items));
    size_t n = 0;

    if (found == NULL || m.items == NULL) {
        goto fail;
    }
    for (size_t i = 0; i < snapshot->n; i++) {
        found[i] = &snapshot->items[i];
    }
    qsort((void *)found, snapshot->n, sizeof(*found), compare_items);
    for (size_t i = 0; i < snapshot->n; i++) {
        if (i > 0 && sl_found_compare(found[i - 1], found[i]) == 0) {
            continue;
        }
        struct sl_endpoint *ep = find_or_make(&m, found[i]);
        if (ep == NULL) {
            goto fail;
        }
        if (labels != NULL) {
            copy_labels(&labels[n], found[i]);
        }
        members[n++] = (struct sl_member){ep, found[i]->weight, found[i]->draining};
    }
    while (m.table_idx < t->n) {
        keep_next(&m);
    }
    sl_free((void *)found);
    sl_free((void *)t->items);
    t->items = m.items;
    t->n = m.n;
    *members_n = n;
    forget_dropped(t, members, n);
    return SL_OK;
fail:
    for (size_t i = 0; i < n; i++) {
        if (--members[i].endpoint->refs_n == 0) { /* made here: all in the table have one */
            endpoint_free(members[i].endpoint);
        }
    }
    sl_free((void *)m.items);
    sl_free((void *)found);
    return SL_ENOMEM;
}

void sl_endpoint_table_release(struct sl_endpoint_table *t, const struct sl_member *members,
                               size_t members_n)
{
    size_t kept_n = 0;

    for (size_t i = 0; i < members_n; i++) {
        members[i].endpoint->refs_n--;
    }
    for (size_t i = 0; i < t->n; i++) {
        if (t->items[i]->refs_n > 0) {
            t->items[kept_n++] = t->items[i];
        } else {
            endpoint_free(t->items[i]);
        }
    }
    t->n = kept_n;
}

struct sl_endpoint *sl_endpoint_ref(struct sl_endpoint *ep)
{
    ep->refs_n++;
    return ep;
}

void sl_endpoint_unref(struct sl_endpoint_table *t, struct sl_endpoint **ep)
{
    const struct sl_member member = {.endpoint = *ep};

    *ep = NULL;
    if (member.endpoint->refs_n > 1) {
        member.endpoint->refs_n--;
    } else {
        sl_endpoint_table_release(t, &member, 1);
    }
}

uint64_t sl_endpoint_stat(const struct sl_endpoint *ep, enum sl_endpoint_stat stat)
{
    uint64_t total = 0;

    if (stat == SL_ENDPOINT_EJECTIONS) {
        total = atomic_load_explicit(&ep->hangs_n, memory_order_relaxed);
    }
    for (uint32_t i = 0; i < ep->cells_n; i++) {
        total += atomic_load_explicit(&ep->cells[i].stats[stat], memory_order_relaxed);
    }
    return total;
}
