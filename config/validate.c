/* SPDX-License-Identifier: Apache-2.0 */
#include "validate.h"

#include "scalars.h"

#include "proxy/base/arena.h"
#include "proxy/base/hash.h"
#include "proxy/proto/h1.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum {
    ADDRESS_TEXT_BYTES = 128,
    NAMES_TEXT_BYTES = 128,
    TLS_1_2 = 0x0303
};

/* ---- Which of several: the later one in the file is at fault */

static int refuse_both(struct sl_decoder *d, const struct sl_yaml_node *a,
                       const struct sl_yaml_node *b)
{
    const struct sl_yaml_node *later = a->idx > b->idx ? a : b;
    const struct sl_yaml_node *earlier = later == a ? b : a;

    return sl_decode_report(d, sl_error_set(&d->err, SL_ECONFIG, sl_decode_at_key(d, later),
                                            "excludes %s, which stands at line %u; remove one of "
                                            "them",
                                            earlier->key.ptr, earlier->key_line));
}

/* "static, kubernetes or dns"; cut where it does not fit. */
static void list_names(const char *const *names, char *buf, size_t size_bytes)
{
    size_t at = 0;

    buf[0] = '\0';
    for (size_t i = 0; names[i] != NULL && at < size_bytes; i++) {
        const char *before = i == 0 ? "" : names[i + 1] == NULL ? " or " : ", ";
        int n = snprintf(buf + at, size_bytes - at, "%s%s", before, names[i]);

        at += n > 0 ? (size_t)n : 0;
    }
}

int sl_want_one_of(struct sl_decoder *d, const struct sl_yaml_node *node, const char *const *names,
                   const char *write)
{
    const struct sl_yaml_node *first = NULL;
    char list[NAMES_TEXT_BYTES];

    for (size_t i = 0; names[i] != NULL; i++) {
        const struct sl_yaml_node *n = sl_yaml_find(node, sl_slice_of(names[i]));

        if (n != NULL && first != NULL) {
            return refuse_both(d, first, n);
        }
        first = n != NULL ? n : first;
    }
    if (first != NULL) {
        return SL_OK;
    }
    list_names(names, list, sizeof(list));
    return sl_decode_report(d, sl_error_set(&d->err, SL_ECONFIG, sl_decode_at(d, node),
                                            "expected %s, found %s; write %s", list,
                                            names[2] == NULL ? "neither" : "none", write));
}

/* Reports name, which is there, when needs is not. */
static int want_with(struct sl_decoder *d, const struct sl_yaml_node *node, const char *name,
                     const char *needs)
{
    const struct sl_yaml_node *n = sl_yaml_find(node, sl_slice_of(name));

    if (n == NULL || sl_yaml_find(node, sl_slice_of(needs)) != NULL) {
        return SL_OK;
    }
    return sl_decode_report(
        d, sl_error_set(&d->err, SL_ECONFIG, sl_decode_at_key(d, n), "needs %s beside it", needs));
}

/* ---- Sections */

int sl_finish_admin(struct sl_decoder *d, const struct sl_yaml_node *node, void *base)
{
    struct sl_config *c = base;

    (void)d;
    c->admin.enabled = sl_yaml_find(node, SL_SLICE("listen")) != NULL;
    c->admin.probes_enabled = sl_yaml_find(node, SL_SLICE("probes")) != NULL;
    return SL_OK;
}

int sl_finish_kubernetes(struct sl_decoder *d, const struct sl_yaml_node *node, void *base)
{
    const struct sl_yaml_node *kubeconfig = sl_yaml_find(node, SL_SLICE("kubeconfig"));
    const struct sl_yaml_node *account = sl_yaml_find(node, SL_SLICE("service_account"));
    const struct sl_yaml_node *zone = sl_yaml_find(node, SL_SLICE("zone"));
    const struct sl_yaml_node *kube_node = sl_yaml_find(node, SL_SLICE("node"));

    (void)base;
    if (kubeconfig != NULL && account != NULL) {
        return refuse_both(d, kubeconfig, account);
    }
    if (zone != NULL && kube_node != NULL) {
        return refuse_both(d, zone, kube_node);
    }
    int rc = want_with(d, node, "context", "kubeconfig");
    return rc == SL_OK ? want_with(d, node, "allow_insecure_tls", "kubeconfig") : rc;
}

int sl_finish_listener_tls(struct sl_decoder *d, const struct sl_yaml_node *node, void *base)
{
    (void)base;
    return want_with(d, node, "client_san", "client_ca");
}

int sl_finish_backoff(struct sl_decoder *d, const struct sl_yaml_node *node, void *base)
{
    const struct sl_yaml_node *max = sl_yaml_find(node, SL_SLICE("max"));
    struct sl_retry_config *r = base;

    if (max == NULL) {
        r->backoff_max_ms = 10 * r->backoff_min_ms;
    } else if (r->backoff_max_ms < r->backoff_min_ms) {
        return sl_decode_report(d,
                                sl_error_set(&d->err, SL_ECONFIG, sl_decode_at(d, max),
                                             "expected a max that is not below min, found %" PRIu64
                                             "ms below %" PRIu64 "ms",
                                             r->backoff_max_ms, r->backoff_min_ms));
    }
    return SL_OK;
}

/* Without attempts nothing beside them would mean anything. */
int sl_finish_retry(struct sl_decoder *d, const struct sl_yaml_node *node, void *base)
{
    const struct sl_retry_config *r = base;

    for (const struct sl_yaml_node *n = node->first; n != NULL && r->attempts_n == 0; n = n->next) {
        if (!sl_slice_eq(n->key, SL_SLICE("attempts"))) {
            return sl_decode_report(d, sl_error_set(&d->err, SL_ECONFIG, sl_decode_at_key(d, n),
                                                    "means nothing with attempts: 0; remove it, or "
                                                    "allow an attempt"));
        }
    }
    return SL_OK;
}

int sl_finish_route(struct sl_decoder *d, const struct sl_yaml_node *node, void *base)
{
    static const char *const names[] = {"pool", "split", NULL};
    const struct sl_yaml_node *retry = sl_yaml_find(node, SL_SLICE("retry"));
    struct sl_route_config *route = base;

    if (retry != NULL && retry->kind == SL_YAML_TEXT) { /* off: the only word there is */
        route->retry.attempts_n = 0;
    }
    return sl_want_one_of(d, node, names, "pool: NAME or split: {NAME: 95, OTHER: 5}");
}

/* The path of a request is forwarded in the form that it was routed by, and so must that of a route
 * be: another spelling of it would match nothing. */
static int normalise_path(struct sl_decoder *d, const struct sl_yaml_node *match,
                          const struct sl_uri_policy *policy, struct sl_route_config *route)
{
    const struct sl_yaml_node *node = sl_yaml_find(match, SL_SLICE("path"));
    struct sl_slice path = sl_slice_of(route->path);
    char *buf = sl_arena_alloc_bytes(d->scratch, path.len);
    struct sl_slice normal;

    if (buf == NULL) {
        return sl_decode_no_memory(d);
    }
    if (sl_uri_normalise_path(path, policy, buf, path.len, &normal) != SL_OK) {
        return sl_decode_report(
            d, sl_error_set(&d->err, SL_ECONFIG, sl_decode_at(d, node),
                            "expected a path that requests can have, found " SL_YAML_SHOWN_FMT
                            "; as `ambiguous` stands, they are refused",
                            SL_YAML_SHOWN_ARG(path)));
    }
    return normal.ptr == path.ptr ? SL_OK : sl_store_text(d, (void *)&route->path, normal);
}

int sl_finish_http(struct sl_decoder *d, const struct sl_yaml_node *node, void *base)
{
    static const struct sl_uri_policy strict = {.keep_slashes = false};
    struct sl_listener_config *l = base;
    const struct sl_uri_policy *policy = l->ambiguous != NULL ? &l->ambiguous->uri : &strict;
    const struct sl_yaml_node *list = sl_yaml_find(node, SL_SLICE("routes"));
    struct sl_route_config *routes;
    int worst = SL_OK;

    /* They are const from now on only. */
    memcpy((void *)&routes, (const void *)&l->routes, sizeof(struct sl_route_config *));
    for (const struct sl_yaml_node *r = list->first; r != NULL && worst != SL_ENOMEM; r = r->next) {
        const struct sl_yaml_node *match = sl_yaml_find(r, SL_SLICE("match"));

        if (match != NULL && sl_yaml_find(match, SL_SLICE("path")) != NULL) {
            worst = sl_decode_worse(worst, normalise_path(d, match, policy, &routes[r->idx]));
        }
    }
    return worst;
}

int sl_finish_discover(struct sl_decoder *d, const struct sl_yaml_node *node, void *base)
{
    static const char *const names[] = {
        [SL_DISCOVER_STATIC] = "static",
        [SL_DISCOVER_KUBERNETES] = "kubernetes",
        [SL_DISCOVER_FILE] = "file",
        [SL_DISCOVER_DNS] = "dns",
        NULL,
    };
    struct sl_discover_config *c = base;

    for (size_t i = 0; names[i] != NULL; i++) {
        if (sl_yaml_find(node, sl_slice_of(names[i])) != NULL) {
            c->kind = (enum sl_discover_kind)i;
        }
    }
    return sl_want_one_of(d, node, names, "static: [\"10.0.0.7:8000\"]");
}

int sl_finish_discover_dns(struct sl_decoder *d, const struct sl_yaml_node *node, void *base)
{
    const struct sl_dns_config *c = base;
    const struct sl_yaml_node *port = sl_yaml_find(node, SL_SLICE("port"));
    const struct sl_yaml_node *later = sl_yaml_find(node, SL_SLICE("max_ttl"));

    if (c->type == SL_DNS_TYPE_SRV && port != NULL) {
        return sl_decode_report(
            d, sl_error_set(&d->err, SL_ECONFIG, sl_decode_at_key(d, port),
                            "excludes type: srv, whose records have their own ports; remove one of "
                            "them"));
    }
    if (c->type != SL_DNS_TYPE_SRV && port == NULL) {
        return sl_decode_report(
            d, sl_error_set(&d->err, SL_ECONFIG, sl_decode_at_missing(d, node, "port"),
                            "missing; addresses have none, write port: 8000 or type: srv"));
    }
    if (c->min_ttl_ms > c->max_ttl_ms) {
        later = later != NULL ? later : sl_yaml_find(node, SL_SLICE("min_ttl"));
        return sl_decode_report(
            d, sl_error_set(&d->err, SL_ECONFIG, sl_decode_at(d, later),
                            "expected a max_ttl that is not below min_ttl, found %" PRIu64
                            "ms below %" PRIu64 "ms",
                            c->max_ttl_ms, c->min_ttl_ms));
    }
    return SL_OK;
}

/* An InferencePool says itself which pods and which ports. */
static int check_inference_pool(struct sl_decoder *d, const struct sl_yaml_node *node,
                                const struct sl_yaml_node *pool,
                                const struct sl_kubernetes_config *k)
{
    static const char *const excluded[] = {"service", "slices", "pods", "port", "api"};
    const struct sl_yaml_node *spaces = sl_yaml_find(node, SL_SLICE("namespace"));

    for (size_t i = 0; i < SL_ARRAY_LEN(excluded); i++) {
        const struct sl_yaml_node *other = sl_yaml_find(node, sl_slice_of(excluded[i]));
        if (other != NULL) {
            return refuse_both(d, pool, other);
        }
    }
    if (k->namespaces.n > 1 || (k->namespaces.n == 1 && strcmp(k->namespaces.items[0], "*") == 0)) {
        return sl_decode_report(
            d,
            sl_error_set(&d->err, SL_ECONFIG, sl_decode_at(d, spaces),
                         "expected the name of one namespace beside inference_pool; write a pool "
                         "for each"));
    }
    return SL_OK;
}

static int check_pods_alone(struct sl_decoder *d, const struct sl_yaml_node *node,
                            const struct sl_yaml_node *pods)
{
    const struct sl_yaml_node *api = sl_yaml_find(node, SL_SLICE("api"));

    if (pods->text.len == 0) { /* to Kubernetes it means everything, to a reader nothing */
        return sl_decode_report(
            d, sl_error_set(&d->err, SL_ECONFIG, sl_decode_at(d, pods),
                            "expected a label selector, found nothing; write one like "
                            "\"app=llama\""));
    }
    if (api != NULL) {
        return sl_decode_report(d, sl_error_set(&d->err, SL_ECONFIG, sl_decode_at_key(d, api),
                                                "needs service or slices beside it"));
    }
    if (sl_yaml_find(node, SL_SLICE("port")) == NULL) { /* a pod may well declare none */
        return sl_decode_report(
            d, sl_error_set(&d->err, SL_ECONFIG, sl_decode_at_missing(d, node, "port"),
                            "missing; pods without service or slices needs it, write port: 8000"));
    }
    return SL_OK;
}

int sl_finish_discover_kubernetes(struct sl_decoder *d, const struct sl_yaml_node *node, void *base)
{
    const struct sl_yaml_node *service = sl_yaml_find(node, SL_SLICE("service"));
    const struct sl_yaml_node *slices = sl_yaml_find(node, SL_SLICE("slices"));
    const struct sl_yaml_node *pods = sl_yaml_find(node, SL_SLICE("pods"));
    const struct sl_yaml_node *pool = sl_yaml_find(node, SL_SLICE("inference_pool"));

    if (pool != NULL) {
        return check_inference_pool(d, node, pool, base);
    }
    if (service != NULL && slices != NULL) {
        return refuse_both(d, service, slices);
    }
    if (service != NULL || slices != NULL) {
        return SL_OK;
    }
    if (pods == NULL) {
        return sl_decode_report(
            d, sl_error_set(&d->err, SL_ECONFIG, sl_decode_at(d, node),
                            "expected service, slices, pods or inference_pool, found none; write "
                            "service: NAME"));
    }
    return check_pods_alone(d, node, pods);
}

int sl_finish_health(struct sl_decoder *d, const struct sl_yaml_node *node, void *base)
{
    static const char *const names[] = {"http", "tcp", NULL};
    static const char *const of_http[] = {"host", "headers", "status", "body"};
    struct sl_health_config *h = base;

    if (sl_yaml_find(node, SL_SLICE("http")) != NULL) {
        h->kind = SL_HEALTH_CHECK_HTTP;
    }
    int rc = sl_want_one_of(d, node, names, "http: /health, or health: off");
    for (size_t i = 0; i < SL_ARRAY_LEN(of_http) && rc == SL_OK; i++) {
        rc = want_with(d, node, of_http[i], "http");
    }
    return rc;
}

int sl_finish_pool_tls(struct sl_decoder *d, const struct sl_yaml_node *node, void *base)
{
    struct sl_tls_config *tls = base;
    int rc = want_with(d, node, "cert", "key");

    tls->min_version = TLS_1_2;
    return rc == SL_OK ? want_with(d, node, "key", "cert") : rc;
}

/* ---- A pool */

static uint64_t hash_text(const char *text, uint64_t seed)
{
    /* With its end, so that "" is not NULL. */
    return text != NULL ? sl_hash((struct sl_slice){text, strlen(text) + 1}, seed)
                        : sl_hash(SL_SLICE("absent"), seed);
}

static uint64_t hash_u16(uint16_t value, uint64_t seed)
{
    const char bytes[] = {(char)(value >> 8), (char)(value & 0xff)};

    return sl_hash((struct sl_slice){bytes, sizeof(bytes)}, seed);
}

/* What is written under kubernetes at the top: by the nodes, as it may stand further down. */
static uint64_t hash_kubernetes(const struct sl_decoder *d, uint64_t seed)
{
    static const char *const names[] = {"kubeconfig",         "context", "service_account",
                                        "allow_insecure_tls", "zone",    "node"};
    const struct sl_yaml_node *kubernetes = sl_yaml_find(d->root, SL_SLICE("kubernetes"));
    uint64_t h = seed;

    for (size_t i = 0; i < SL_ARRAY_LEN(names); i++) {
        const struct sl_yaml_node *n = sl_yaml_find(kubernetes, sl_slice_of(names[i]));

        h = hash_text(n != NULL ? n->text.ptr : NULL, h);
    }
    return h;
}

static uint64_t hash_u64(uint64_t value, uint64_t seed)
{
    char bytes[sizeof(value)];

    memcpy(bytes, &value, sizeof(value));
    return sl_hash((struct sl_slice){bytes, sizeof(bytes)}, seed);
}

static uint64_t hash_dns(const struct sl_dns_config *c, uint64_t seed)
{
    uint64_t h = hash_u16((uint16_t)c->type, hash_u16(c->port, hash_text(c->name, seed)));

    for (size_t i = 0; i < c->servers.n; i++) {
        h = hash_text(c->servers.items[i], h);
    }
    return hash_u64(c->hold_ms, hash_u64(c->max_ttl_ms, hash_u64(c->min_ttl_ms, h)));
}

static uint64_t hash_kubernetes_pool(const struct sl_pool_config *pool, uint64_t seed)
{
    const struct sl_kubernetes_config *k = &pool->discover.kubernetes;
    const char *const texts[] = {k->service, k->slices, k->pods, k->inference_pool, k->port_name};
    /* Whether the pool speaks TLS decides which ports its source may use. */
    const uint16_t numbers[] = {k->port, (uint16_t)k->api, (uint16_t)k->family, pool->tls != NULL,
                                pool->prefer_zone != NULL}; /* hints mean nothing then */
    uint64_t h = hash_u16((uint16_t)k->namespaces.n, seed);

    for (size_t i = 0; i < k->namespaces.n; i++) {
        h = hash_text(k->namespaces.items[i], h);
    }
    for (size_t i = 0; i < SL_ARRAY_LEN(numbers); i++) {
        h = hash_u16(numbers[i], h);
    }
    for (size_t i = 0; i < SL_ARRAY_LEN(texts); i++) {
        h = hash_text(texts[i], h);
    }
    return h;
}

static uint64_t identity_hash(const struct sl_decoder *decoder, const struct sl_pool_config *pool)
{
    const struct sl_discover_config *d = &pool->discover;
    uint64_t h = hash_u16((uint16_t)d->kind, 0);
    char text[ADDRESS_TEXT_BYTES];

    for (size_t i = 0; i < d->addresses_n; i++) {
        sl_address_format(&d->addresses[i], text, sizeof(text));
        h = hash_text(d->zones[i], hash_u16(d->weights[i], hash_text(text, h)));
    }
    if (d->kind == SL_DISCOVER_FILE) {
        h = hash_text(d->file, h);
    }
    if (d->kind == SL_DISCOVER_KUBERNETES) {
        h = hash_kubernetes_pool(pool, hash_kubernetes(decoder, h));
    }
    return d->kind == SL_DISCOVER_DNS ? hash_dns(&d->dns, h) : h;
}

/* DESIGN section 7: a Kubernetes source has kubelet's probes; the others have only ours. */
int sl_finish_pool(struct sl_decoder *d, const struct sl_yaml_node *node, void *base)
{
    struct sl_pool_config *pool = base;

    pool->identity_hash = identity_hash(d, pool);
    if (sl_yaml_find(node, SL_SLICE("health")) == NULL &&
        pool->discover.kind != SL_DISCOVER_KUBERNETES)
    {
        pool->health.kind = SL_HEALTH_CHECK_TCP;
    }
    const struct sl_yaml_node *queue = sl_yaml_find(node, SL_SLICE("queue"));
    if (queue != NULL && queue->kind == SL_YAML_TEXT) { /* off: the only word there is */
        pool->queue.size_n = 0;
    }
    return SL_OK;
}

/* ---- The whole */

/* A port that the kernel chooses collides with none. */
static int see_bind(struct sl_decoder *d, const struct sl_address *a,
                    const struct sl_yaml_node *node, struct sl_seen *seen, size_t *n)
{
    char text[ADDRESS_TEXT_BYTES];

    if (!a->is_unix && a->port == 0) {
        return SL_OK;
    }
    sl_address_format(a, text, sizeof(text));
    const char *copy = sl_arena_strdup(d->scratch, sl_slice_of(text));
    if (copy == NULL) {
        return sl_decode_no_memory(d);
    }
    seen[(*n)++] = (struct sl_seen){sl_slice_of(copy), node};
    return SL_OK;
}

static int check_binds(struct sl_decoder *d, const struct sl_yaml_node *root,
                       const struct sl_config *c)
{
    const struct sl_yaml_node *listeners = sl_yaml_find(root, SL_SLICE("listeners"));
    const struct sl_yaml_node *admin = sl_yaml_find(root, SL_SLICE("admin"));
    struct sl_seen *seen = sl_arena_alloc_array(d->scratch, c->listeners_n + 2, sizeof(*seen));
    size_t n = 0;
    int rc = SL_OK;

    if (seen == NULL) {
        return sl_decode_no_memory(d);
    }
    if (c->admin.enabled) {
        rc = see_bind(d, &c->admin.listen, sl_yaml_find(admin, SL_SLICE("listen")), seen, &n);
    }
    if (rc == SL_OK && c->admin.probes_enabled) {
        rc = see_bind(d, &c->admin.probes, sl_yaml_find(admin, SL_SLICE("probes")), seen, &n);
    }
    for (const struct sl_yaml_node *l = listeners != NULL ? listeners->first : NULL;
         rc == SL_OK && l != NULL; l = l->next)
    {
        rc = see_bind(d, &c->listeners[l->idx].bind, sl_yaml_find(l, SL_SLICE("bind")), seen, &n);
    }
    return rc == SL_OK ? sl_decode_unique(d, seen, n, "address") : rc;
}

int sl_finish_root(struct sl_decoder *d, const struct sl_yaml_node *node, void *base)
{
    struct sl_config *c = base;

    if (c->listeners_n == 0 && c->pools_n == 0) {
        return sl_decode_report(
            d, sl_error_set(&d->err, SL_ECONFIG, sl_decode_at(d, node),
                            "expected listeners and pools, found neither: nothing to do"));
    }
    int rc = sl_decode_worse(check_binds(d, node, c), sl_check_fallbacks(d, c));
    return sl_decode_worse(rc, sl_check_zones(d, c));
}
