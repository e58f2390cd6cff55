/* SPDX-License-Identifier: Apache-2.0 */
#include "lookup.h"

#include "discovery/discovery.h"
#include "discovery/found.h"
#include "proxy/base/alloc.h"
#include "proxy/base/text.h"
#include "proxy/io/loop.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    ASKED_MAX_N = 32,
    /* Of all targets together, and what is sorted before it is cut: so that the same ones stay
     * whatever their order in the answers. */
    HOSTS_MAX_N = 4 * SL_DNS_ENDPOINTS_MAX_N,
    SERVERS_TEXT_BYTES = 1024
};

static void pump(struct sl_dns_lookup *l);

static void done(struct sl_dns_lookup *l)
{
    for (size_t i = 0; i < l->old_n; i++) {
        sl_dns_question_fini(&l->old[i]);
    }
    sl_free(l->old);
    l->old = NULL;
    l->old_n = 0;
    l->on_done(l);
}

/* False: it cannot be asked now. */
static bool ask(struct sl_dns_lookup *l, struct sl_dns_question *q, const char *name,
                sl_resolver_fn fn)
{
    struct sl_resolver *r;

    if (sl_discovery_resolver(l->discovery, &r) != SL_OK ||
        sl_resolver_ask(r, l->servers, name, q->type, fn, q, &q->query) != SL_OK)
    {
        q->query = NULL;
        return false;
    }
    l->asked_n++;
    return true;
}

static struct sl_dns_reply not_asked(void)
{
    return (struct sl_dns_reply){.outcome = SL_RESOLVER_FAILED, .reason = "it cannot be asked"};
}

static uint64_t now_ms(const struct sl_dns_lookup *l)
{
    return sl_loop_now_ms(l->discovery->loop);
}

/* ---- Targets of SRV records */

static int compare_questions(const void *left, const void *right)
{
    const struct sl_dns_question *a = left;
    const struct sl_dns_question *b = right;
    int rc = strcmp(a->name, b->name);

    return rc != 0 ? rc : (a->type > b->type) - (a->type < b->type);
}

static struct sl_dns_question *find(struct sl_dns_question *questions, size_t n, const char *name,
                                    uint16_t type)
{
    struct sl_dns_question key = {.type = type};

    (void)snprintf(key.name, sizeof(key.name), "%s", name); /* the same size */
    return n == 0 ? NULL : bsearch(&key, questions, n, sizeof(key), compare_questions);
}

/* The first SRV record of priority, or of the next higher one that there is; srvs_n: none. */
static size_t first_of(const struct sl_dns_answer *a, uint32_t priority)
{
    size_t i = 0;

    while (i < a->srvs_n && a->srvs[i].priority < priority) {
        i++;
    }
    return i;
}

static void drop_targets(struct sl_dns_lookup *l)
{
    for (size_t i = 0; i < l->targets_n; i++) {
        sl_dns_question_fini(&l->targets[i]);
    }
    sl_free(l->targets);
    l->targets = NULL;
    l->targets_n = 0;
}

/* Takes what is held of a target from the time before. */
static void add_target(struct sl_dns_lookup *l, const char *name, uint16_t type)
{
    struct sl_dns_question *q = &l->targets[l->targets_n++];
    struct sl_dns_question *before = find(l->old, l->old_n, name, type);

    (void)snprintf(q->name, sizeof(q->name), "%s", name); /* the same size */
    q->type = type;
    q->owner = l;
    if (before != NULL) {
        q->held = before->held;
        q->known = before->known;
        q->negative_since_ms = before->negative_since_ms;
        memset(&before->held, 0, sizeof(before->held));
    }
}

/* Of all targets together no more than HOSTS_MAX_N addresses are kept. */
static void take_target(struct sl_dns_lookup *l, struct sl_dns_question *q, struct sl_dns_reply *r)
{
    size_t left_n = HOSTS_MAX_N - l->target_hosts_n;

    if (r->answer.hosts_n > left_n) {
        r->answer.hosts_n = left_n;
        l->too_many = true;
    }
    if (r->outcome == SL_RESOLVER_ANSWER && left_n == 0) {
        sl_dns_reply_fini(r); /* its room too: there may be thousands of them */
    }
    l->target_hosts_n += r->answer.hosts_n;
    sl_dns_question_take(q, r, now_ms(l), l->conf->hold_ms);
    q->settled = true;
}

/* What the additional section has of q. extras: all of q's name. */
static void take_extras(struct sl_dns_lookup *l, struct sl_dns_question *q,
                        const struct sl_dns_extra *extras, size_t n)
{
    struct sl_dns_reply r = {
        .outcome = SL_RESOLVER_NO_DATA,
        .reason = "",
        .ttl_ms = UINT64_MAX, /* it is in the one of the SRV answer */
    };

    for (size_t i = 0; i < n; i++) {
        if (extras[i].type != q->type) {
            continue;
        }
        if (r.answer.hosts == NULL) {
            r.answer.hosts = sl_alloc_array(n, sizeof(r.answer.hosts[0]));
        }
        if (r.answer.hosts == NULL) {
            r = not_asked();
            break;
        }
        r.outcome = SL_RESOLVER_ANSWER;
        r.answer.hosts[r.answer.hosts_n++] = extras[i].host;
    }
    take_target(l, q, &r);
}

/* Where any address of a target came along, those that did are what it has. Both are sorted. */
static void settle_by_extras(struct sl_dns_lookup *l)
{
    const struct sl_dns_answer *a = &l->mains[0].held;
    size_t at = 0;

    for (size_t i = 0; i + 1 < l->targets_n; i += 2) {
        const char *name = l->targets[i].name;
        size_t end;

        while (at < a->extras_n && strcmp(a->extras[at].name, name) < 0) {
            at++;
        }
        end = at;
        while (end < a->extras_n && strcmp(a->extras[end].name, name) == 0) {
            end++;
        }
        if (end > at) {
            take_extras(l, &l->targets[i], &a->extras[at], end - at);
            take_extras(l, &l->targets[i + 1], &a->extras[at], end - at);
        }
        at = end;
    }
}

/* Makes the questions of the priority that first has. */
static int make_targets(struct sl_dns_lookup *l, size_t first)
{
    const struct sl_dns_answer *a = &l->mains[0].held;
    size_t end = first_of(a, (uint32_t)a->srvs[first].priority + 1);

    drop_targets(l);
    l->targets = sl_alloc_array(2 * (end - first), sizeof(l->targets[0]));
    if (l->targets == NULL) {
        return SL_ENOMEM;
    }
    l->priority = a->srvs[first].priority;
    l->next_idx = 0;
    l->target_hosts_n = 0;
    for (size_t i = first; i < end; i++) {
        if (i == first || strcmp(a->srvs[i].target, a->srvs[i - 1].target) != 0) {
            add_target(l, a->srvs[i].target, SL_DNS_A);
            add_target(l, a->srvs[i].target, SL_DNS_AAAA);
        }
    }
    settle_by_extras(l);
    return SL_OK;
}

/* Whether all targets are known to have no address. */
static bool targets_are_empty(const struct sl_dns_lookup *l)
{
    for (size_t i = 0; i < l->targets_n; i++) {
        if (l->targets[i].held.hosts_n > 0 || l->targets[i].outcome == SL_RESOLVER_FAILED) {
            return false;
        }
    }
    return true;
}

static void try_priority(struct sl_dns_lookup *l, size_t first)
{
    if (make_targets(l, first) == SL_OK) {
        pump(l);
    } else {
        l->failed = "no memory";
        done(l);
    }
}

static void targets_done(struct sl_dns_lookup *l)
{
    size_t next = first_of(&l->mains[0].held, (uint32_t)l->priority + 1);

    if (next < l->mains[0].held.srvs_n && targets_are_empty(l)) {
        try_priority(l, next);
    } else {
        done(l);
    }
}

static void on_target(void *arg, const struct sl_resolver_result *result)
{
    struct sl_dns_question *q = arg;
    struct sl_dns_lookup *l = q->owner;
    struct sl_dns_reply r;

    q->query = NULL;
    l->asked_n--;
    sl_dns_reply_read(&r, result, q->type);
    take_target(l, q, &r);
    pump(l);
}

/* Asks for as many targets as may be asked for at a time. */
static void pump(struct sl_dns_lookup *l)
{
    while (l->asked_n < ASKED_MAX_N && l->next_idx < l->targets_n) {
        struct sl_dns_question *q = &l->targets[l->next_idx++];

        if (!q->settled && !ask(l, q, q->name, on_target)) {
            struct sl_dns_reply r = not_asked();

            take_target(l, q, &r);
        }
    }
    if (l->asked_n == 0) {
        targets_done(l);
    }
}

/* ---- The name itself */

/* replies: fresh or sum. */
static void settle(struct sl_dns_lookup *l, struct sl_dns_reply *replies)
{
    for (size_t i = 0; i < l->mains_n; i++) {
        sl_dns_question_take(&l->mains[i], &replies[i], now_ms(l), l->conf->hold_ms);
    }
    const struct sl_dns_question *q = &l->mains[0];
    if (q->type != SL_DNS_SRV) {
        done(l);
    } else if (q->outcome == SL_RESOLVER_ANSWER) {
        l->old = l->targets;
        l->old_n = l->targets_n;
        l->targets = NULL;
        l->targets_n = 0;
        try_priority(l, 0);
    } else {
        if (q->held.srvs_n == 0) {
            drop_targets(l);
        }
        done(l);
    }
}

/* What the name that was tried said. True: it is the last one to be tried. */
static bool try_ended(struct sl_dns_lookup *l)
{
    bool answered = false;
    bool failed = false;

    for (size_t i = 0; i < l->mains_n; i++) {
        answered = answered || l->fresh[i].outcome == SL_RESOLVER_ANSWER;
        failed = failed || l->fresh[i].outcome == SL_RESOLVER_FAILED;
    }
    if (answered) {
        l->good_idx = l->candidate_idx;
    }
    if (answered || (failed && l->candidate_idx == l->good_idx)) {
        for (size_t i = 0; i < l->mains_n; i++) {
            sl_dns_reply_fini(&l->sum[i]);
        }
        settle(l, l->fresh);
        return true;
    }
    for (size_t i = 0; i < l->mains_n; i++) {
        sl_dns_reply_merge(&l->sum[i], &l->fresh[i]);
    }
    l->candidate_idx++;
    return false;
}

static bool get_candidate(struct sl_dns_lookup *l, char *name)
{
    struct sl_resolver *r;

    if (l->servers != NULL || sl_discovery_resolver(l->discovery, &r) != SL_OK) {
        (void)snprintf(name, SL_RESOLVER_NAME_BYTES, "%s", l->conf->name); /* checked to fit */
        return l->candidate_idx == 0;
    }
    return sl_resolver_candidate(r, l->conf->name, l->candidate_idx, name);
}

static void try_names(struct sl_dns_lookup *l);

static void on_main(void *arg, const struct sl_resolver_result *result)
{
    struct sl_dns_question *q = arg;
    struct sl_dns_lookup *l = q->owner;

    q->query = NULL;
    l->asked_n--;
    sl_dns_reply_read(&l->fresh[q - l->mains], result, q->type);
    if (l->asked_n == 0 && !try_ended(l)) {
        try_names(l);
    }
}

static void try_names(struct sl_dns_lookup *l)
{
    char name[SL_RESOLVER_NAME_BYTES];

    for (;;) {
        if (!get_candidate(l, name)) {
            settle(l, l->sum);
            return;
        }
        for (size_t i = 0; i < l->mains_n; i++) {
            if (!ask(l, &l->mains[i], name, on_main)) {
                l->fresh[i] = not_asked();
            }
        }
        if (l->asked_n > 0 || try_ended(l)) {
            return;
        }
    }
}

void sl_dns_lookup_start(struct sl_dns_lookup *l)
{
    for (size_t i = 0; i < l->mains_n; i++) {
        l->sum[i] = (struct sl_dns_reply){
            .outcome = SL_RESOLVER_NO_NAME,
            .reason = "no such name (NXDOMAIN)",
            .ttl_ms = UINT64_MAX,
        };
    }
    l->candidate_idx = 0;
    l->too_many = false;
    l->failed = NULL;
    try_names(l);
}

/* ---- The whole */

static void add_main(struct sl_dns_lookup *l, uint16_t type)
{
    struct sl_dns_question *q = &l->mains[l->mains_n++];

    (void)snprintf(q->name, sizeof(q->name), "%s", l->conf->name); /* checked to fit */
    q->type = type;
    q->owner = l;
}

int sl_dns_lookup_init(struct sl_dns_lookup *l, struct sl_discovery *d,
                       const struct sl_dns_config *conf, void (*on_done)(struct sl_dns_lookup *l))
{
    *l = (struct sl_dns_lookup){
        .discovery = d,
        .conf = conf,
        .on_done = on_done,
        .good_idx = SIZE_MAX,
    };
    if (conf->servers.n > 0) {
        struct sl_text text;

        sl_text_init(&text, SERVERS_TEXT_BYTES);
        for (size_t i = 0; i < conf->servers.n; i++) {
            sl_text_append_str(&text, i > 0 ? "," : "");
            sl_text_append_str(&text, conf->servers.items[i]);
        }
        l->servers = text.failed ? NULL : sl_slice_dup(sl_text_slice(&text));
        sl_text_fini(&text);
        if (l->servers == NULL) {
            return SL_ENOMEM;
        }
    }
    if (conf->type == SL_DNS_TYPE_SRV) {
        add_main(l, SL_DNS_SRV);
        return SL_OK;
    }
    if (conf->type != SL_DNS_TYPE_AAAA) {
        add_main(l, SL_DNS_A);
    }
    if (conf->type != SL_DNS_TYPE_A) {
        add_main(l, SL_DNS_AAAA);
    }
    return SL_OK;
}

void sl_dns_lookup_fini(struct sl_dns_lookup *l)
{
    for (size_t i = 0; i < l->mains_n; i++) {
        sl_dns_question_fini(&l->mains[i]);
        sl_dns_reply_fini(&l->fresh[i]);
        sl_dns_reply_fini(&l->sum[i]);
    }
    drop_targets(l);
    for (size_t i = 0; i < l->old_n; i++) {
        sl_dns_question_fini(&l->old[i]);
    }
    sl_free(l->old);
    sl_free(l->servers);
}

const struct sl_dns_question *sl_dns_lookup_question(const struct sl_dns_lookup *l, size_t idx)
{
    if (idx < l->mains_n) {
        return &l->mains[idx];
    }
    return idx - l->mains_n < l->targets_n ? &l->targets[idx - l->mains_n] : NULL;
}

/* ---- The set */

struct collection {
    struct sl_found *items; /* NULL: only counted */
    size_t n;
};

static void add_hosts(struct collection *c, const struct sl_dns_question *q, uint16_t port,
                      uint16_t weight)
{
    for (size_t i = 0; q != NULL && i < q->held.hosts_n && c->n < HOSTS_MAX_N; i++) {
        if (c->items != NULL) {
            struct sl_found *f = &c->items[c->n];

            memcpy(f->address.host, q->held.hosts[i].text, sizeof(q->held.hosts[i].text));
            f->address.port = port;
            f->weight = weight;
        }
        c->n++;
    }
}

static void add_srvs(struct collection *c, struct sl_dns_lookup *l)
{
    const struct sl_dns_answer *a = &l->mains[0].held;
    size_t first = first_of(a, l->priority);
    size_t end = first_of(a, (uint32_t)l->priority + 1);
    uint32_t heaviest = 0;

    for (size_t i = first; i < end; i++) {
        heaviest = a->srvs[i].weight > heaviest ? a->srvs[i].weight : heaviest;
    }
    for (size_t i = first; i < end; i++) {
        uint16_t weight = heaviest > 0 ? a->srvs[i].weight : 1; /* all zeros: all alike */

        for (int type = 0; type < 2; type++) {
            add_hosts(c,
                      find(l->targets, l->targets_n, a->srvs[i].target,
                           type == 0 ? SL_DNS_A : SL_DNS_AAAA),
                      a->srvs[i].port, weight);
        }
    }
}

static void add_all(struct collection *c, struct sl_dns_lookup *l)
{
    if (l->mains[0].type == SL_DNS_SRV) {
        add_srvs(c, l);
        return;
    }
    for (size_t i = 0; i < l->mains_n; i++) {
        add_hosts(c, &l->mains[i], l->conf->port, 1);
    }
}

int sl_dns_lookup_collect(struct sl_dns_lookup *l, struct sl_found **out, size_t *out_n)
{
    struct collection c = {.items = NULL};

    add_all(&c, l);
    struct sl_found *items = sl_alloc_array(c.n + 1, sizeof(items[0]));
    if (items == NULL) {
        return SL_ENOMEM;
    }
    c = (struct collection){.items = items};
    add_all(&c, l);
    size_t n = sl_found_sort(items, c.n);
    if (n > SL_DNS_ENDPOINTS_MAX_N) {
        n = SL_DNS_ENDPOINTS_MAX_N;
        l->too_many = true;
    }
    *out = items;
    *out_n = n;
    return SL_OK;
}
