/* SPDX-License-Identifier: Apache-2.0 */
/*
 * config: one configuration, read, checked and never changed again.
 *
 * The option tables in config/ fill these structs; whoever acts on an option reads it here.
 *
 * Lifetime:  config generation; counted, and freed with its last reference
 * Thread:    immutable after sl_config_load, so any thread reads; ref and unref: control thread
 * Ownership: all strings and arrays live in the config's arena
 * Errors:    sl_config_load only
 * Limits:    file 4 MiB, 256 listeners, 1 024 routes a listener, 1 024 pools, 64 sides a split,
 *            4 096 static endpoints a pool
 */
#ifndef SL_CONFIG_H
#define SL_CONFIG_H

#include <sluiced/defs.h>
#include <sluiced/err.h>
#include <sluiced/ip.h>
#include <sluiced/log.h>
#include <sluiced/slice.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* Where to listen or connect: "127.0.0.1:8080", "[::1]:0", "unix:/run/sluiced.sock". */
struct sl_address {
    char host[108]; /* numeric IPv4 or IPv6, or the path of a unix socket; terminated */
    uint16_t port;  /* 0 of a listener: the kernel chooses */
    bool is_unix;
};

struct sl_strings {
    const char *const *items;
    size_t n;
};

/* tls: of a listener (cert and key given) or of a pool (ca given). All are paths of files in PEM,
 * read anew by every load; NULL where not set. */
struct sl_tls_config {
    const char *cert;
    const char *key;
    const char *ca; /* listener: client_ca. Set: the other side must show a certificate of it */
    struct sl_strings san; /* patterns, one must match: DNS, IP or URI name, "*" at one end */
    const char *sni;       /* pools only; NULL: the endpoint's address is not sent as a name */
    uint16_t min_version;  /* 0x0303 TLS 1.2, 0x0304 TLS 1.3 */
};

struct sl_split_side {
    const char *pool;
    uint32_t pool_idx; /* in sl_config.pools */
    uint32_t weight;   /* 0 allowed while another is not */
};

struct sl_status_range {
    uint16_t first;
    uint16_t last; /* itself belongs to it */
};

/* Whether one of the n ranges has status. Any thread (pure). */
static inline bool sl_status_is_in(const struct sl_status_range *ranges, size_t n, uint16_t status)
{
    for (size_t i = 0; i < n; i++) {
        if (status >= ranges[i].first && status <= ranges[i].last) {
            return true;
        }
    }
    return false;
}

#define SL_RETRY_ATTEMPTS_MAX_N 5

/* When what an endpoint got may be sent to another one. */
struct sl_retry_config {
    uint32_t attempts_n;                    /* after the first; 0: off */
    const struct sl_status_range *statuses; /* that are worth one, beside 503 with Retry-After */
    size_t statuses_n;
    uint64_t per_try_ms; /* until an attempt has a head, while others may follow; 0: off */
    uint64_t backoff_min_ms;
    uint64_t backoff_max_ms; /* not below backoff_min_ms */
};

struct sl_route_config {
    const char *name;
    const char *host; /* NULL: any; exact, or "*.suffix"; lower case, without port */
    const char *path; /* in normal form; ends in '/': prefix; else the whole path */
    const struct sl_split_side *sides; /* `pool: x` is one side of weight 1 */
    size_t sides_n;
    uint64_t max_body_bytes; /* UINT64_MAX: off */
    uint64_t heartbeat_ms;   /* silence of an event stream until a comment is put in; 0: never */
    bool replays_generations;
    struct sl_retry_config retry;
    struct sl_pos pos;
};

/* Of the downstream side. */
struct sl_listener_timeouts_config {
    uint64_t head_ms;  /* whole request head */
    uint64_t body_ms;  /* between two reads of a request body */
    uint64_t write_ms; /* a client that takes nothing of its response */
    uint64_t idle_ms;  /* between requests */
};

struct sl_h1_policy; /* of proxy/proto/h1.h */

/* trusted_proxies: whose word on earlier hops is taken. */
struct sl_trusted_config {
    struct sl_networks networks;
    bool unix_peers; /* of a unix socket */
};

struct sl_via_config {
    const char *pseudonym;       /* a token */
    struct sl_slice received[2]; /* what is added, by the minor version: "1.0 edge", "1.1 edge" */
};

struct sl_listener_config {
    const char *name;
    struct sl_address bind;
    const struct sl_tls_config *tls;      /* NULL: plaintext */
    const struct sl_route_config *routes; /* the first that matches wins */
    size_t routes_n;
    struct sl_listener_timeouts_config timeouts;
    const struct sl_h1_policy *ambiguous;    /* NULL: all by default */
    const struct sl_trusted_config *trusted; /* NULL: nobody */
    const struct sl_via_config *via;         /* NULL: none is added */
    bool keeps_half_open;                    /* a client may end its side after its request */
    bool is_outbound;                        /* for who runs beside us: served to the end */
    struct sl_pos pos;
};

enum sl_discover_kind {
    SL_DISCOVER_STATIC,
    SL_DISCOVER_KUBERNETES,
    SL_DISCOVER_FILE,
    SL_DISCOVER_DNS,
};

enum sl_kube_api {
    SL_KUBE_API_AUTO, /* EndpointSlices, and Endpoints where the server does not have those */
    SL_KUBE_API_SLICES,
    SL_KUBE_API_ENDPOINTS,
};

enum sl_kube_family {
    SL_KUBE_FAMILY_ANY, /* each pod once, at its IPv4 address where it has one */
    SL_KUBE_FAMILY_IPV4,
    SL_KUBE_FAMILY_IPV6,
};

/* discover: { kubernetes: ... }. inference_pool, or at least one of service, slices and pods;
 * service and slices exclude each other. */
struct sl_kubernetes_config {
    struct sl_strings namespaces; /* none: the service account's own; "*": all, alone */
    const char *service;
    const char *slices; /* label selector over EndpointSlices, checked */
    const char *pods;   /* label selector over pods, checked; "" beside the two above: all */
    const char *inference_pool;
    const char *port_name; /* NULL with a number, or when the one port there is will do */
    uint16_t port;         /* 0: by name, or the one there is */
    enum sl_kube_api api;
    enum sl_kube_family family;
};

enum sl_dns_type {
    SL_DNS_TYPE_ANY, /* A and AAAA */
    SL_DNS_TYPE_A,
    SL_DNS_TYPE_AAAA,
    SL_DNS_TYPE_SRV,
};

/* discover: { dns: ... } */
struct sl_dns_config {
    const char *name; /* with a dot at its end: complete */
    uint16_t port;    /* 0 with SRV records, which have their own */
    enum sl_dns_type type;
    struct sl_strings servers; /* "10.96.0.10:53"; none: those of the system */
    uint64_t min_ttl_ms;
    uint64_t max_ttl_ms; /* not below min_ttl_ms */
    uint64_t hold_ms;    /* how long a name must be denied until its endpoints go */
};

struct sl_discover_config {
    enum sl_discover_kind kind;
    const struct sl_address *addresses; /* static */
    const uint16_t *weights;            /* static, one for each; 1 unless given */
    const char *const *zones;           /* static, one for each; NULL: not given */
    size_t addresses_n;
    struct sl_kubernetes_config kubernetes;
    const char *file; /* see sluiced/endpoint_file.h */
    struct sl_dns_config dns;
};

enum sl_health_kind {
    SL_HEALTH_CHECK_NONE,
    SL_HEALTH_CHECK_HTTP,
    SL_HEALTH_CHECK_TCP,
};

struct sl_sent_header {
    const char *name;
    const char *value;
};

struct sl_health_config {
    enum sl_health_kind kind;
    uint16_t port; /* 0: the endpoint's own */

    /* HTTP only */
    const char *path;
    const char *host; /* NULL: what is asked */
    const char *body; /* must stand in the response's body; NULL: nothing must */
    const struct sl_sent_header *headers;
    size_t headers_n;
    const struct sl_status_range *statuses; /* that are healthy; none: 200-299 */
    size_t statuses_n;

    uint64_t interval_ms;
    uint64_t timeout_ms;
    uint32_t rise_n;
    uint32_t fall_n;
};

struct sl_timeouts_config {
    uint64_t connect_ms;
    uint64_t write_ms;      /* an endpoint that takes nothing of its request */
    uint64_t first_byte_ms; /* request sent -> first body byte of a 2xx, head of another; 0: off */
    uint64_t inter_byte_ms; /* between two reads of a response; 0: off */
    uint64_t total_ms;      /* 0: off */
    uint64_t keepalive_idle_ms; /* of an upstream connection; 0: no keep-alive */
};

enum sl_balance_key_kind {
    SL_BALANCE_KEY_NONE,
    SL_BALANCE_KEY_HEADER,
    SL_BALANCE_KEY_COOKIE,
    SL_BALANCE_KEY_QUERY,
    SL_BALANCE_KEY_SOURCE, /* the client's address */
};

/* By what a policy that takes a key tells requests apart. */
struct sl_balance_key_config {
    enum sl_balance_key_kind kind;
    const char *name; /* of the header, the cookie, the query's parameter */
};

/* How an endpoint that comes, or comes back, is given more and more. */
struct sl_slow_start_config {
    uint64_t window_ms; /* 0: off */
    uint32_t aggression_milli;
    uint32_t per_endpoint_n; /* requests at one that is new; 0: as many as at the others */
};

struct sl_limits_config {
    uint32_t in_flight_n;    /* requests at the pool; 0: no limit */
    uint32_t per_endpoint_n; /* requests at each endpoint; 0: no limit */
    uint32_t connections_n;  /* open to the pool; 0: no limit */
    uint32_t connections_per_endpoint_n;
    uint32_t retries_n; /* that run at the pool; 0: the budget alone */
};

struct sl_queue_config {
    uint32_t size_n; /* requests that wait, on all workers; 0: none may */
    uint64_t bytes;  /* that they hold of heads and bodies */
    uint64_t timeout_ms;
    const char *priority_header; /* its value is a class, 0 to 3; NULL: all are alike */
};

/* A chain of pools that fall back on each other: no circle, and no more behind the first. */
#define SL_FALLBACKS_MAX_N 4

struct sl_pool_config {
    const char *name;
    struct sl_discover_config discover;
    const char *balance; /* a policy that exists */
    struct sl_balance_key_config balance_key;
    uint32_t balance_bound_pct; /* of the mean load, for policies with a key; 0: off */
    struct sl_health_config health;
    const struct sl_tls_config *tls; /* NULL: plaintext */
    struct sl_timeouts_config timeouts;
    const struct sl_slow_start_config *slow_start; /* NULL: off */
    struct sl_limits_config limits;
    struct sl_queue_config queue;
    const char *prefer_zone; /* whose endpoints come first; "auto": our own; NULL: all are alike */
    const char *fallback;   /* the pool that is asked where this one has nobody ready; NULL: none */
    uint32_t fallback_idx;  /* in sl_config.pools */
    uint64_t identity_hash; /* of discover: alike means that the running source may stay */
    struct sl_pos pos;
};

/* A certificate, or several: what it held when the config was read. */
struct sl_config_file {
    const struct sl_config_file *next;
    const char *path; /* as it stands in the config */
    uint64_t contents_hash;
};

struct sl_config_owner; /* of config.c: memory and references */

struct sl_config {
    struct sl_config_owner *owner;
    uint64_t content_hash; /* of the file's bytes */
    const char *file;
    uint32_t workers_n; /* 0: by the CPUs there are */
    struct {
        uint64_t delay_ms;
        uint64_t timeout_ms;
        uint64_t quiet_ms; /* only with listeners that are outbound */
    } drain;
    struct {
        enum sl_log_level level;
        enum sl_log_format format;
        const char *access; /* "off", "stdout", "stderr" or a path */
    } log;
    struct {
        bool enabled;
        struct sl_address listen;
        bool probes_enabled;
        struct sl_address probes;
    } admin;
    struct {
        const char *kubeconfig;      /* NULL: the service account of the pod */
        const char *context;         /* NULL: the current one */
        bool allow_insecure_tls;     /* where the kubeconfig asks for it, too */
        const char *service_account; /* directory with token, ca.crt, namespace */
        const char *zone; /* NULL: hints mean nothing; "auto": of the node that NODE_NAME names */
        const char *node; /* NULL, or the node that has our zone as a label */
    } kubernetes;
    struct {
        const char *cache;         /* NULL: no set is kept on disk */
        uint64_t ready_max_age_ms; /* 0: readiness does not ask */
    } discovery;
    const struct sl_listener_config *listeners;
    size_t listeners_n;
    const struct sl_pool_config *pools;
    size_t pools_n;
    const struct sl_config_file *files; /* those whose contents matter, but for keys */
};

#define SL_CONFIG_ERRORS_MAX_N 20

struct sl_config_errors {
    struct sl_error items[SL_CONFIG_ERRORS_MAX_N];
    size_t n;         /* kept in items, in the order of the file */
    size_t dropped_n; /* beyond that */
};

/* Reads, checks and cross-checks file; files it names (certificates, keys) must be readable. A
 * relative path in it counts from its folder, and comes out so that it can be opened.
 * On success *out has one reference and errors->n is 0. On SL_ECONFIG or SL_ENOMEM *out is
 * untouched and errors says why, several at once. Control thread, blocks on the disk. */
int sl_config_load(const char *file, const struct sl_config **out, struct sl_config_errors *errors)
    SL_MUST_CHECK;

/* The same from memory; name stands in for the file in messages. */
int sl_config_parse(const char *text, size_t len, const char *name, const struct sl_config **out,
                    struct sl_config_errors *errors) SL_MUST_CHECK;

const struct sl_config *sl_config_ref(const struct sl_config *c);
void sl_config_unref(const struct sl_config **c); /* NULLs *c */

static inline bool sl_address_same(const struct sl_address *a, const struct sl_address *b)
{
    return a->is_unix == b->is_unix && a->port == b->port && strcmp(a->host, b->host) == 0;
}

/* "127.0.0.1:8080", "[::1]:0" or "unix:/path", as one would write it. */
void sl_address_format(const struct sl_address *a, char *buf, size_t size_bytes);

#endif
