/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control: what the admin side may ask of the process: to look, to reload, to drain.
 *
 * proxy/run fills the table in; admin calls it and knows nothing else of it.
 *
 * Lifetime:  process
 * Thread:    control thread
 * Ownership: strings handed out are borrowed until the next turn of the control loop
 */
#ifndef SL_CONTROL_H
#define SL_CONTROL_H

#include <sluiced/config.h>
#include <sluiced/discovery.h>
#include <sluiced/endpoint.h>
#include <sluiced/metrics.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What is done against a lack of memory or descriptors; each does what those before it do. */
enum sl_overload_step {
    SL_OVERLOAD_NONE,
    SL_OVERLOAD_CLOSE,  /* responses close their connection */
    SL_OVERLOAD_REFUSE, /* new requests are answered with 503 */
    SL_OVERLOAD_WAIT,   /* nobody is let in */
};

struct sl_text; /* of proxy/base/text.h */

struct sl_process_info {
    uint64_t generation; /* of the running config, from 1 */
    uint64_t content_hash;
    const char *config_file;
    uint64_t applied_unix_ms;
    uint64_t started_unix_ms;
    uint64_t reloads_n; /* applied after the first */
    uint64_t reload_failures_n;
    const char *reload_error; /* of the last attempt, several lines; "" when it went well */
    uint32_t live_views_n;
    uint32_t workers_n;
    bool ready;
    const char *not_ready_because; /* "" when ready */
    bool draining;
    uint32_t overload_step;      /* enum sl_overload_step */
    uint64_t memory_bytes;       /* of the cgroup, without what it can drop at once; 0: not known */
    uint64_t memory_limit_bytes; /* 0: none */
    uint64_t fds_n;
    uint64_t fds_limit_n; /* 0: none */
    size_t listeners_n;
    size_t pools_n;
};

/* Each call of reload() is one asked for, numbered from 1; so are those of signals and of a file
 * that changed. An outcome counts for all that were asked for before it. */
struct sl_reload_info {
    uint64_t asked_n;
    uint64_t answered_n;    /* the newest whose outcome is known; error and the rest are of it */
    const char *error;      /* as reload_error */
    const char *changes;    /* in one line, of the config in force against the one before */
    const char *not_synced; /* pools that it went into force without, "a, b"; "": none */
};

/* Of the process on its way out. */
struct sl_drain_info {
    bool draining;
    bool closing;         /* the delay is over: nobody is let in any more */
    bool outbound_served; /* but by outbound listeners, which go on as ever */
    uint64_t elapsed_ms;
    uint64_t delay_ms;
    uint64_t timeout_ms;
    uint64_t inbound_n;  /* downstream connections left, of inbound listeners */
    uint64_t outbound_n; /* and of outbound ones */
    uint64_t requests_n; /* that run at endpoints */
};

enum sl_drain_wish {
    SL_DRAIN_LOOK,
    SL_DRAIN_BEGIN,
    SL_DRAIN_UNDO,
};

/* Of all endpoints with one address, or one pod's name. */
struct sl_endpoint_drain_info {
    uint64_t matched_n;
    uint64_t drained_n; /* of them, now */
    uint64_t in_flight_n;
};

struct sl_listener_info {
    const char *name;
    struct sl_address address; /* as bound */
    bool tls;
    bool client_certificate; /* required */
    uint64_t connections_n;  /* open now */
    uint64_t connections_total_n;
    size_t routes_n;
};

struct sl_route_info {
    const char *name;
    const char *host; /* "" for any */
    const char *path;
    size_t sides_n;
};

struct sl_side_info {
    const char *pool;
    uint32_t weight;
    double share;      /* weight / sum of weights */
    uint64_t picked_n; /* decisions of this generation */
};

struct sl_pool_info {
    const char *name;
    const char *balance;
    const char *source;   /* "static", "kubernetes", "file" */
    const char *health;   /* "http", "tcp", "none" */
    const char *fallback; /* "": none */
    bool tls;
    struct sl_source_status discovery;
    uint64_t now_ms; /* to tell ages by */
    uint64_t picks_n;
    uint64_t picks_draining_n; /* of them, for want of a ready endpoint */
    uint64_t picks_any_n;      /* of them, for want of a draining one too */
    const char *prefer_zone;   /* "": none */
    const char *own_zone;      /* that it stands for; "": not known, or none */
    uint64_t picks_own_zone_n; /* while one was preferred */
    uint64_t picks_other_zone_n;
    uint64_t nobody_n; /* picks that found no endpoint at all */
    uint64_t ejections_n;
    uint32_t queued_n; /* requests that wait now */
    uint32_t queue_size_n;
    uint32_t places_n;        /* requests that run, where in_flight_max_n is not 0 */
    uint32_t in_flight_max_n; /* 0: no limit */
    uint32_t per_endpoint_max_n;
    uint64_t queued_bytes;
    uint64_t queue_bytes_max;
    uint32_t connections_n;     /* open, idle ones included */
    uint32_t connections_max_n; /* 0: no limit */
    uint32_t connections_per_endpoint_max_n;
    uint32_t retries_n; /* that run */
    uint32_t retries_max_n;
    size_t endpoints_n;
};

struct sl_endpoint_info {
    struct sl_address address;
    const char *pod;
    const char *zone; /* labels of the pod, "" where it has none */
    const char *version;
    const char *model;
    uint16_t weight;
    bool draining;
    bool drained_by_hand; /* draining is set, too */
    enum sl_health health;
    uint64_t ejected_ms;           /* still; 0: not ejected */
    uint64_t keepalive_learned_ms; /* after which it was seen to close idle connections; 0: not */
    double slow_start_share;       /* of what it would get; 1: it is no longer new */
    uint32_t in_flight_n;
    uint32_t connections_n;
    uint64_t stats[SL_ENDPOINT_STATS_N];
};

struct sl_control {
    void (*process)(struct sl_control *c, struct sl_process_info *out);
    void (*listener)(struct sl_control *c, size_t i, struct sl_listener_info *out);
    void (*route)(struct sl_control *c, size_t listener, size_t i, struct sl_route_info *out);

    /* A side of the route asked for last: the decisions of all its sides are of that moment, so
     * that they add up although traffic goes on. */
    void (*side)(struct sl_control *c, size_t listener, size_t route, size_t i,
                 struct sl_side_info *out);
    void (*pool)(struct sl_control *c, size_t i, struct sl_pool_info *out);
    void (*endpoint)(struct sl_control *c, size_t pool, size_t i, struct sl_endpoint_info *out);

    /* Reads the file again. SL_OK: checked, and being applied (generation grows when it is);
     * else process() has the reload_error. */
    int (*reload)(struct sl_control *c);
    void (*reload_info)(struct sl_control *c, struct sl_reload_info *out);

    /* The config in force, a line an option (config/print.h). */
    void (*config)(struct sl_control *c, struct sl_text *out);

    /* Begins to drain, as SIGTERM does. */
    void (*drain)(struct sl_control *c);
    void (*drain_info)(struct sl_control *c, struct sl_drain_info *out);

    /* Endpoints that are called name get no new requests from now on, or do again. */
    void (*drain_endpoint)(struct sl_control *c, const char *name, enum sl_drain_wish wish,
                           struct sl_endpoint_drain_info *out);

    struct sl_registry *metrics;
};

#endif
