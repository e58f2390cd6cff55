/* SPDX-License-Identifier: Apache-2.0 */
/*
 * health_runner: one probe an endpoint, one deadline a probe: while it runs it is the timeout, else
 * the next start.
 *
 * No more than SL_HEALTH_PROBES_A_SECOND_N: the stretched intervals see to the average, slots of
 * 2 ms to the moment. A probe whose time has come takes the next free slot and waits for it, so a
 * thousand new endpoints are checked in the order they came, over two seconds.
 */
#include <sluiced/err.h>
#include <sluiced/log.h>
#include <sluiced/time.h>

#include "health.h"
#include "health_checker.h"
#include "health_rules.h"
#include "outlier.h"
#include "pool.h"

#include "proxy/base/alloc.h"
#include "proxy/base/list.h"
#include "proxy/base/rng.h"
#include "proxy/base/wheel.h"
#include "proxy/io/loop.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#define SLOT_MS (1000 / SL_HEALTH_PROBES_A_SECOND_N)
#define ADDRESS_BYTES 128
#define PROBE_MAGIC 0x50524f42U

struct sl_health_runner {
    struct sl_loop *loop;
    struct sl_chunk_pool *chunks;
    struct sl_list watches;
    struct sl_rng rng;
    uint64_t next_slot_ms;
    uint64_t demand; /* of all watches; see health_rules.h */
    bool lacking;    /* the last probe could not be made for want of memory or descriptors */
    char scratch[SL_HEALTH_SCRATCH_BYTES];
};

struct probe {
    uint32_t magic;
    struct sl_deadline deadline;
    struct sl_health_watch *watch;
    struct sl_endpoint *endpoint; /* one reference */
    struct sl_health_check *check;
    struct sl_health_streak streak;
    uint64_t started_ms;
    bool running;
    bool has_slot; /* the deadline is one */
};

struct sl_health_watch {
    struct sl_list link;
    struct sl_health_runner *runner;
    struct sl_pool *pool;
    const struct sl_pool_config *conf;
    const struct sl_health_checker_ops *ops;
    struct sl_health_target target;
    struct probe **probes; /* in the order of their endpoints in memory */
    size_t probes_n;
    bool began; /* the first set came */
};

static uint64_t interval_of(const struct sl_health_watch *w)
{
    return sl_health_stretch_ms(w->conf->health.interval_ms, w->runner->demand);
}

static void update_demand(struct sl_health_runner *r)
{
    r->demand = 0;
    for (struct sl_list *l = r->watches.next; l != &r->watches; l = l->next) {
        const struct sl_health_watch *w = sl_container_of(l, struct sl_health_watch, link);
        r->demand += sl_health_demand(w->probes_n, w->conf->health.interval_ms);
    }
}

/* ---- What an answer changes */

static void log_change(const struct probe *p, enum sl_health was, enum sl_health is,
                       const char *reason, const char *detail)
{
    char address[ADDRESS_BYTES];
    /* That all is well when it is first asked is no news. */
    enum sl_log_level level = is == SL_HEALTH_DOWN       ? SL_LOG_WARN
                              : was == SL_HEALTH_UNKNOWN ? SL_LOG_DEBUG
                                                         : SL_LOG_INFO;

    sl_address_format(&p->endpoint->address, address, sizeof(address));
    const struct sl_log_field fields[] = {
        {"pool", SL_LOG_STR(p->watch->pool->name)},
        {"address", SL_LOG_STR(address)},
        {"pod", SL_LOG_STR(p->endpoint->pod_name)},
        {"reason", SL_LOG_STR(reason)},
        {"detail", SL_LOG_STR(detail)}, /* last: left out where there is none */
    };
    if (sl_log_enabled(level)) {
        sl_log_fields(level, is == SL_HEALTH_DOWN ? "endpoint_down" : "endpoint_up", fields,
                      SL_ARRAY_LEN(fields) - (detail[0] == '\0' ? 1 : 0));
    }
}

static void note(struct probe *p, enum sl_health_verdict verdict, const char *reason,
                 const char *detail)
{
    enum sl_health was = atomic_load_explicit(&p->endpoint->health, memory_order_relaxed);
    enum sl_health is = sl_health_next(was, &p->streak, verdict, &p->watch->conf->health);

    if (is != was) {
        if (was == SL_HEALTH_DOWN) {
            atomic_store_explicit(&p->endpoint->came_at_ms, sl_loop_now_ms(p->watch->runner->loop),
                                  memory_order_relaxed);
        }
        atomic_store_explicit(&p->endpoint->health, is, memory_order_relaxed);
        log_change(p, was, is, reason, detail);
    }
}

/* Once, and not for each endpoint at each interval. */
static void log_lack(struct probe *p, enum sl_health_verdict verdict, const char *reason)
{
    struct sl_health_runner *r = p->watch->runner;
    bool lacking = verdict == SL_HEALTH_SILENT;

    if (lacking && !r->lacking) {
        sl_log(SL_LOG_ERROR, "health_checks_not_sent", {"pool", SL_LOG_STR(p->watch->pool->name)},
               {"reason", SL_LOG_STR(reason)});
    }
    r->lacking = lacking;
}

static void plan_next(struct probe *p, uint64_t now_ms)
{
    struct sl_health_runner *r = p->watch->runner;
    enum sl_health is = atomic_load_explicit(&p->endpoint->health, memory_order_relaxed);
    /* More than 500 a second cannot come of it: the slots are what they are. */
    uint64_t interval_ms = sl_health_hurried_ms(interval_of(p->watch), is, &p->streak);
    uint64_t due_ms = p->started_ms + sl_health_jitter_ms(interval_ms, &r->rng);

    sl_deadline_set(sl_loop_wheel(r->loop), &p->deadline, due_ms > now_ms ? due_ms : now_ms + 1);
}

static void conclude(struct probe *p, const struct sl_health_result *result)
{
    uint64_t now_ms = sl_loop_now_ms(p->watch->runner->loop);
    const struct sl_health_config *conf = &p->watch->conf->health;
    enum sl_health_verdict verdict = sl_health_verdict_of(result, conf);
    char reason[SL_HEALTH_REASON_BYTES];

    p->running = false;
    (void)sl_health_reason(result, conf, reason); /* returns reason */
    log_lack(p, verdict, reason);
    note(p, verdict, reason, result->detail);
    if (verdict == SL_HEALTH_GOOD && conf->port == 0) { /* else another listener was asked */
        sl_outlier_on_probe_ok(p->endpoint, now_ms);
    }
    plan_next(p, now_ms);
}

static void on_report(struct sl_health_check *check, const struct sl_health_result *result)
{
    struct probe *p = check->owner;

    SL_ASSERT(p->magic == PROBE_MAGIC && p->running, "probe %p: magic %x, running %d", (void *)p,
              p->magic, p->running);
    conclude(p, result);
}

/* ---- When to ask */

/* True: it is not its turn yet, the deadline is. */
static bool waits_for_slot(struct probe *p, uint64_t now_ms)
{
    struct sl_health_runner *r = p->watch->runner;

    if (p->has_slot) {
        p->has_slot = false;
        return false;
    }
    uint64_t slot_ms = r->next_slot_ms > now_ms ? r->next_slot_ms : now_ms;
    r->next_slot_ms = slot_ms + SLOT_MS;
    if (slot_ms == now_ms) {
        return false;
    }
    p->has_slot = true;
    sl_deadline_set(sl_loop_wheel(r->loop), &p->deadline, slot_ms);
    return true;
}

/* Of one that is up: who is down, and gets requests as the last resort, is not the better for it.
 */
static bool traffic_proves(const struct probe *p, uint64_t now_ms)
{
    const struct sl_health_watch *w = p->watch;
    const struct sl_endpoint *ep = p->endpoint;

    return atomic_load_explicit(&ep->health, memory_order_relaxed) != SL_HEALTH_DOWN &&
           sl_health_traffic_proves(&w->conf->health) &&
           sl_health_is_proved(atomic_load_explicit(&ep->last_success_ms, memory_order_relaxed),
                               now_ms, interval_of(w));
}

static void on_due(struct sl_deadline *d)
{
    struct probe *p = sl_container_of(d, struct probe, deadline);
    const struct sl_health_watch *w = p->watch;
    uint64_t now_ms = sl_loop_now_ms(w->runner->loop);

    if (p->running) {
        const struct sl_health_result timeout = {.code = SL_ETIMEOUT};
        w->ops->stop(p->check);
        conclude(p, &timeout);
        return;
    }
    if (!p->has_slot && traffic_proves(p, now_ms)) {
        p->started_ms = now_ms;
        note(p, SL_HEALTH_GOOD, "traffic", "");
        plan_next(p, now_ms);
        return;
    }
    if (waits_for_slot(p, now_ms)) {
        return;
    }
    p->running = true;
    p->started_ms = now_ms;
    sl_deadline_set(sl_loop_wheel(w->runner->loop), d, now_ms + w->conf->health.timeout_ms);
    w->ops->start(p->check); /* last: it may report at once */
}

/* ---- Probes and watches */

static struct probe *probe_new(struct sl_health_watch *w, struct sl_endpoint *ep)
{
    struct probe *p = sl_alloc(sizeof(*p));

    if (p == NULL) {
        return NULL;
    }
    p->check = w->ops->new(&w->target, &ep->address, on_report, p);
    if (p->check == NULL) {
        sl_free(p);
        return NULL;
    }
    p->magic = PROBE_MAGIC;
    p->watch = w;
    p->endpoint = sl_endpoint_ref(ep);
    sl_deadline_init(&p->deadline, on_due);
    return p;
}

static void probe_free(struct probe *p)
{
    const struct sl_health_watch *w = p->watch;
    struct sl_loop *loop = w->runner->loop;

    w->ops->free(p->check);
    sl_deadline_remove(sl_loop_wheel(loop), &p->deadline);
    sl_endpoint_unref(&w->pool->endpoints, &p->endpoint);
    p->magic = 0;
    sl_loop_defer_free(loop, p);
}

static void plan_first(struct probe *p)
{
    struct sl_health_runner *r = p->watch->runner;
    uint64_t due_ms = sl_loop_now_ms(r->loop);

    if (!p->watch->began) {
        due_ms += sl_rng_below(&r->rng, interval_of(p->watch));
    }
    sl_deadline_set(sl_loop_wheel(r->loop), &p->deadline, due_ms > 0 ? due_ms : 1);
}

static int compare_endpoints(const void *a, const void *b)
{
    uintptr_t x = (uintptr_t)*(struct sl_endpoint *const *)a;
    uintptr_t y = (uintptr_t)*(struct sl_endpoint *const *)b;

    return x < y ? -1 : x > y;
}

/* Fills probes, as many as *n says endpoints are, with those that go on and new ones, and frees
 * the others. *n: how many are in probes then. */
static void merge(struct sl_health_watch *w, struct sl_endpoint *const *endpoints,
                  struct probe **probes, size_t *n)
{
    size_t old_idx = 0;
    size_t made_n = 0;

    for (size_t i = 0; i < *n; i++) {
        while (old_idx < w->probes_n &&
               (uintptr_t)w->probes[old_idx]->endpoint < (uintptr_t)endpoints[i])
        {
            probe_free(w->probes[old_idx++]);
        }
        struct probe *p = old_idx < w->probes_n && w->probes[old_idx]->endpoint == endpoints[i]
                              ? w->probes[old_idx++]
                              : probe_new(w, endpoints[i]);
        if (p != NULL) {
            probes[made_n++] = p;
        }
    }
    while (old_idx < w->probes_n) {
        probe_free(w->probes[old_idx++]);
    }
    *n = made_n;
}

static void log_missing(const struct sl_health_watch *w, size_t missing_n)
{
    if (missing_n > 0) {
        sl_log(SL_LOG_ERROR, "health_checks_missing", {"pool", SL_LOG_STR(w->pool->name)},
               {"endpoints", SL_LOG_UINT(missing_n)}, {"reason", SL_LOG_STR("memory")});
    }
}

void sl_health_set_members(struct sl_health_watch *w, const struct sl_endpoint_set *set)
{
    size_t n = set->members_n;
    struct sl_endpoint **endpoints =
        (struct sl_endpoint **)sl_alloc_array(n, sizeof(struct sl_endpoint *));
    struct probe **probes = (struct probe **)sl_alloc_array(n, sizeof(struct probe *));

    if (endpoints == NULL || probes == NULL) {
        log_missing(w, n);
        sl_free((void *)endpoints);
        sl_free((void *)probes);
        return;
    }
    for (size_t i = 0; i < n; i++) {
        endpoints[i] = set->members[i].endpoint;
    }
    qsort((void *)endpoints, n, sizeof(struct sl_endpoint *), compare_endpoints);
    merge(w, endpoints, probes, &n);
    sl_free((void *)endpoints);
    sl_free((void *)w->probes);
    w->probes = probes;
    w->probes_n = n;
    update_demand(w->runner);
    for (size_t i = 0; i < n; i++) {
        if (probes[i]->deadline.due_ms == 0) { /* a new one: all others wait for something */
            plan_first(probes[i]);
        }
    }
    w->began = true;
    log_missing(w, set->members_n - n);
}

int sl_health_watch(struct sl_health_runner *r, struct sl_pool *pool,
                    const struct sl_pool_config *conf, struct sl_tls_context *tls,
                    struct sl_health_watch **out)
{
    const struct sl_health_config *health = &conf->health;

    if (health->path != NULL && strlen(health->path) > SL_HEALTH_PATH_MAX_BYTES) {
        return SL_ELIMIT;
    }
    struct sl_health_watch *w = sl_alloc(sizeof(*w));
    if (w == NULL) {
        return SL_ENOMEM;
    }
    w->runner = r;
    w->pool = pool;
    w->conf = conf;
    w->ops = sl_health_checker_get(health->kind);
    w->target = (struct sl_health_target){r->loop, r->chunks, health, tls, r->scratch, {0}};
    sl_health_text_init(&w->target.body, health->body);
    sl_list_push_back(&r->watches, &w->link);
    *out = w;
    return SL_OK;
}

static bool has_successor(const struct sl_health_watch *w)
{
    const struct sl_health_runner *r = w->runner;

    for (struct sl_list *l = r->watches.next; l != &r->watches; l = l->next) {
        const struct sl_health_watch *other = sl_container_of(l, struct sl_health_watch, link);
        if (other != w && other->pool == w->pool &&
            other->conf->health.kind == w->conf->health.kind)
        {
            return true;
        }
    }
    return false;
}

void sl_health_unwatch(struct sl_health_watch *w)
{
    const struct sl_endpoint_table *t = &w->pool->endpoints;

    if (!has_successor(w)) {
        /* All that live, and not the checked ones alone: one that was down and went may return. */
        for (size_t i = 0; i < t->n; i++) {
            atomic_store_explicit(&t->items[i]->health, SL_HEALTH_UNKNOWN, memory_order_relaxed);
        }
    }
    for (size_t i = 0; i < w->probes_n; i++) {
        probe_free(w->probes[i]);
    }
    sl_list_unlink(&w->link);
    update_demand(w->runner);
    sl_free((void *)w->probes);
    sl_loop_defer_free(w->runner->loop, w);
}

int sl_health_new(struct sl_loop *loop, struct sl_chunk_pool *chunks, struct sl_health_runner **out)
{
    struct sl_health_runner *r = sl_alloc(sizeof(*r));

    if (r == NULL) {
        return SL_ENOMEM;
    }
    r->loop = loop;
    r->chunks = chunks;
    r->rng.state = sl_time_now_us() ^ (uint64_t)(uintptr_t)r;
    sl_list_init(&r->watches);
    *out = r;
    return SL_OK;
}

void sl_health_free(struct sl_health_runner *r)
{
    SL_ASSERT(r == NULL || sl_list_empty(&r->watches), "health checks are still watched");
    sl_free(r);
}
