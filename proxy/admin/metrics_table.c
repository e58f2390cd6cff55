/* SPDX-License-Identifier: Apache-2.0 */
#include "metrics_table.h"

#include <sluiced/control.h>
#include <sluiced/defs.h>

#define SERIES(metric, metric_labels, metric_type, of_scope, value, text) \
    {                                                                     \
        .name = (metric),                                                 \
        .labels = (metric_labels),                                        \
        .help = (text),                                                   \
        .type = SL_METRIC_##metric_type,                                  \
        .source = SL_METRIC_SERIES,                                       \
        .scope = SL_SCOPE_##of_scope,                                     \
        .at = (value),                                                    \
    }
#define PROCESS(metric, metric_type, member_kind, member, text) \
    {                                                           \
        .name = (metric),                                       \
        .labels = "",                                           \
        .help = (text),                                         \
        .type = SL_METRIC_##metric_type,                        \
        .source = SL_METRIC_PROCESS,                            \
        .kind = SL_METRIC_##member_kind,                        \
        .at = offsetof(struct sl_process_info, member),         \
    }
#define POOL(metric, metric_type, member_kind, member, text) \
    {                                                        \
        .name = (metric),                                    \
        .labels = "pool",                                    \
        .help = (text),                                      \
        .type = SL_METRIC_##metric_type,                     \
        .source = SL_METRIC_POOLS,                           \
        .kind = SL_METRIC_##member_kind,                     \
        .at = offsetof(struct sl_pool_info, member),         \
    }
#define AGE(metric, member, text)                    \
    {                                                \
        .name = (metric),                            \
        .labels = "pool",                            \
        .help = (text),                              \
        .type = SL_METRIC_GAUGE,                     \
        .source = SL_METRIC_AGES,                    \
        .at = offsetof(struct sl_pool_info, member), \
    }
#define SIDE(metric, member_kind, member, text)      \
    {                                                \
        .name = (metric),                            \
        .labels = "listener, route, pool",           \
        .help = (text),                              \
        .type = SL_METRIC_GAUGE,                     \
        .source = SL_METRIC_SIDES,                   \
        .kind = SL_METRIC_##member_kind,             \
        .at = offsetof(struct sl_side_info, member), \
    }
#define ENDPOINT(metric, metric_type, value, text) \
    {                                              \
        .name = (metric),                          \
        .labels = "pool, endpoint",                \
        .help = (text),                            \
        .type = SL_METRIC_##metric_type,           \
        .source = SL_METRIC_ENDPOINTS,             \
        .at = (value),                             \
    }

#define ROUTE_LABELS "listener, route, pool"

const struct sl_metric sl_metrics[] = {
    {
        .name = "sluiced_build_info",
        .labels = "version",
        .help = "Always 1, labelled with the version of the program.",
        .type = SL_METRIC_GAUGE,
        .source = SL_METRIC_BUILD,
    },
    PROCESS("sluiced_start_time_seconds", GAUGE, MS, started_unix_ms,
            "Unix time at which the process started."),
    PROCESS("sluiced_generation", GAUGE, U64, generation,
            "Number of the configuration in force, counting from 1."),
    PROCESS("sluiced_live_views", GAUGE, U32, live_views_n,
            "Generations of the configuration that some worker still holds; 1 at rest."),
    PROCESS("sluiced_ready", GAUGE, BOOL, ready, "Whether /readyz says yes."),
    PROCESS("sluiced_draining", GAUGE, BOOL, draining, "Whether the process is on its way out."),
    PROCESS("sluiced_overload_step", GAUGE, U32, overload_step,
            "What is done against a lack of memory or descriptors: 0 nothing, 1 (from 85 % on) "
            "responses close their connection, 2 (92 %) new requests get 503 overload, 3 (95 %) "
            "nobody is let in."),
    PROCESS("sluiced_memory_bytes", GAUGE, U64, memory_bytes,
            "Memory of our cgroup, less what the kernel can take back at once; 0: not known."),
    PROCESS("sluiced_memory_limit_bytes", GAUGE, U64, memory_limit_bytes,
            "The most that it may have; 0: no limit."),
    PROCESS("sluiced_fds", GAUGE, U64, fds_n, "File descriptors in use."),
    PROCESS("sluiced_fds_limit", GAUGE, U64, fds_limit_n,
            "The most that there may be; 0: no limit."),
    PROCESS("sluiced_reloads_total", COUNTER, U64, reloads_n,
            "Configurations applied after the first."),
    PROCESS("sluiced_reload_failures_total", COUNTER, U64, reload_failures_n,
            "Reloads that were refused; the configuration before stayed in force."),
    {
        .name = "sluiced_last_reload_ok",
        .labels = "",
        .help = "Whether the last attempt to load the configuration went well.",
        .type = SL_METRIC_GAUGE,
        .source = SL_METRIC_RELOAD_OK,
    },
    {
        .name = "sluiced_log_dropped_total",
        .labels = "",
        .help = "Log lines lost: over the rate limit, or not taken by stderr.",
        .type = SL_METRIC_COUNTER,
        .source = SL_METRIC_LOG_DROPPED,
    },
    SERIES("sluiced_access_log_dropped_total", "", COUNTER, PROCESS, SL_PROCESS_ACCESS_LOG_DROPPED,
           "Access log lines lost because they could not be written fast enough."),
    SERIES("sluiced_connections_handed_off_total", "", COUNTER, PROCESS, SL_PROCESS_HANDED_OFF,
           "Accepted connections given to a less busy worker."),

    {
        .name = "sluiced_listener_connections",
        .labels = "listener",
        .help = "Downstream connections open now.",
        .type = SL_METRIC_GAUGE,
        .source = SL_METRIC_OPEN,
        .scope = SL_SCOPE_LISTENER,
        .at = SL_LISTENER_CONNECTIONS,
    },
    SERIES("sluiced_listener_connections_total", "listener", COUNTER, LISTENER,
           SL_LISTENER_CONNECTIONS, "Downstream connections accepted."),
    SERIES("sluiced_listener_tls_failures_total", "listener", COUNTER, LISTENER,
           SL_LISTENER_TLS_FAILURES, "TLS handshakes that failed, client certificates included."),
    SERIES("sluiced_listener_headers_dropped_total", "listener", COUNTER, LISTENER,
           SL_LISTENER_HEADERS_DROPPED, "Request fields dropped because of a _ in their name."),
    {
        .name = "sluiced_listener_refused_total",
        .labels = "listener, reason",
        .help = "Requests answered before a route was known.",
        .type = SL_METRIC_COUNTER,
        .source = SL_METRIC_REASONS,
        .scope = SL_SCOPE_LISTENER,
        .at = SL_LISTENER_REFUSED,
    },

    {
        .name = "sluiced_requests_total",
        .labels = ROUTE_LABELS ", code, reason",
        .help = "Exchanges that ended, by class of the status sent (2xx, or none) and reason.",
        .type = SL_METRIC_COUNTER,
        .source = SL_METRIC_REQUESTS,
        .scope = SL_SCOPE_ROUTE,
        .at = SL_ROUTE_REQUESTS,
    },
    SERIES("sluiced_request_duration_seconds", ROUTE_LABELS, HISTOGRAM, ROUTE, SL_ROUTE_DURATION,
           "From the request head to the end of the exchange."),
    SERIES("sluiced_request_first_byte_seconds", ROUTE_LABELS, HISTOGRAM, ROUTE,
           SL_ROUTE_FIRST_BYTE, "From the request head to the first byte of the response's body."),
    SERIES("sluiced_request_body_bytes_total", ROUTE_LABELS, COUNTER, ROUTE, SL_ROUTE_BYTES_IN,
           "Body bytes from downstream."),
    SERIES("sluiced_response_body_bytes_total", ROUTE_LABELS, COUNTER, ROUTE, SL_ROUTE_BYTES_OUT,
           "Body bytes to downstream."),
    SIDE("sluiced_split_weight", U32, weight, "Weight of a pool in its route's split."),
    SIDE("sluiced_split_decisions", U64, picked_n,
         "Requests given to a side of the split since this generation began."),

    {
        .name = "sluiced_pool_endpoints",
        .labels = "pool, state",
        .help = "Endpoints of a pool, each in one state: ready, draining, unhealthy or ejected.",
        .type = SL_METRIC_GAUGE,
        .source = SL_METRIC_STATES,
    },
    POOL("sluiced_pool_synced", GAUGE, BOOL, discovery.synced,
         "Whether discovery has answered since it was started, or endpoints that were kept on disk "
         "are used until it does."),
    {
        .name = "sluiced_discovery_state",
        .labels = "pool, state",
        .help = "1 for the state that discovery is in, 0 for the others.",
        .type = SL_METRIC_GAUGE,
        .source = SL_METRIC_SOURCE_STATES,
    },
    AGE("sluiced_discovery_age_seconds", discovery.fresh_at_ms,
        "Since discovery last proved that the endpoints are current, or since those that were "
        "kept on disk were written; no sample before."),
    AGE("sluiced_discovery_event_age_seconds", discovery.event_at_ms,
        "Since discovery was last told of a change; no sample before."),
    AGE("sluiced_discovery_bookmark_age_seconds", discovery.bookmark_at_ms,
        "Since discovery was last told that nothing changed; no sample before."),
    POOL("sluiced_discovery_watches", GAUGE, U64, discovery.watches_n,
         "Streams that bring changes; pools may share one, so a sum over pools may exceed what is "
         "open."),
    POOL("sluiced_discovery_events_total", COUNTER, U64, discovery.events_n,
         "Changes that discovery was told of."),
    {
        .name = "sluiced_discovery_relists_total",
        .labels = "pool, cause",
        .help =
            "Complete lists after the first: a version too old (expired), trouble (error), or a "
            "difference found (drift).",
        .type = SL_METRIC_COUNTER,
        .source = SL_METRIC_RELISTS,
    },
    POOL("sluiced_discovery_reconnects_total", COUNTER, U64, discovery.reconnects_n,
         "Watches opened after the first."),
    POOL("sluiced_discovery_comparisons_total", COUNTER, U64, discovery.comparisons_n,
         "Comparisons of what discovery holds with what its server has."),
    POOL("sluiced_discovery_drift_total", COUNTER, U64, discovery.drift_n,
         "Objects that a comparison found different although no event was on its way: missed "
         "changes."),
    POOL("sluiced_discovery_errors_total", COUNTER, U64, discovery.errors_n,
         "Failures of discovery, each tried again."),
    POOL("sluiced_discovery_cache_errors_total", COUNTER, U64, discovery.cache_errors_n,
         "Sets of endpoints that could not be kept on disk."),
    SERIES("sluiced_pool_connects_total", "pool", COUNTER, POOL, SL_POOL_CONNECTS,
           "Upstream connections begun."),
    SERIES("sluiced_pool_connect_failures_total", "pool", COUNTER, POOL, SL_POOL_CONNECT_FAILURES,
           "Of them, those that failed."),
    SERIES("sluiced_pool_reuses_total", "pool", COUNTER, POOL, SL_POOL_REUSES,
           "Requests sent on a connection that was kept."),
    SERIES("sluiced_pool_retries_total", "pool", COUNTER, POOL, SL_POOL_RETRIES,
           "Attempts after the first, of one request."),
    {
        .name = "sluiced_pool_retries_refused_total",
        .labels = "pool, reason",
        .help = "Attempts that were the last though they failed: budget (the pool's retries are "
                "used up, or as many as `limits.retries` run), attempts (as many as the route "
                "allows were made), not_repeatable (see "
                "`replay`), body_not_kept, response_started, upgrade, no_endpoint (no other one, "
                "or none with room).",
        .type = SL_METRIC_COUNTER,
        .source = SL_METRIC_REFUSALS,
        .scope = SL_SCOPE_POOL,
        .at = SL_POOL_RETRIES_REFUSED,
    },
    POOL("sluiced_pool_retries_running", GAUGE, U32, retries_n,
         "Attempts after the first, of what an endpoint got, that run now."),
    SERIES("sluiced_pool_fallbacks_total", "pool", COUNTER, POOL, SL_POOL_FALLBACKS,
           "Requests that went to the pool's fallback, because none of its own endpoints was "
           "ready."),
    SERIES("sluiced_pool_cancels_total", "pool", COUNTER, POOL, SL_POOL_CANCELS,
           "Requests cut at an endpoint because their client left: aborted generations."),
    SERIES("sluiced_pool_cancel_seconds", "pool", HISTOGRAM, POOL, SL_POOL_CANCEL,
           "From the end of a client's connection being seen to the endpoint's being closed."),
    POOL("sluiced_pool_picks_total", COUNTER, U64, picks_n, "Endpoints picked."),
    POOL("sluiced_pool_picks_draining_total", COUNTER, U64, picks_draining_n,
         "Of them, for want of a ready endpoint, one that drains or asked to be left alone."),
    POOL("sluiced_pool_picks_any_total", COUNTER, U64, picks_any_n,
         "Of them, for want of a better one, one that is unhealthy or ejected."),
    POOL("sluiced_pool_picks_own_zone_total", COUNTER, U64, picks_own_zone_n,
         "Where `prefer_zone` is set and known: endpoints picked in that zone."),
    POOL("sluiced_pool_picks_other_zone_total", COUNTER, U64, picks_other_zone_n,
         "And in others, for want of capacity or of room."),
    POOL("sluiced_pool_nobody_total", COUNTER, U64, nobody_n,
         "Picks that found no endpoint at all."),
    POOL("sluiced_pool_ejections_total", COUNTER, U64, ejections_n,
         "Endpoints taken out because their traffic failed."),
    POOL("sluiced_pool_connections", GAUGE, U32, connections_n,
         "Upstream connections open now, idle ones included."),
    SERIES("sluiced_pool_connection_waits_total", "pool", COUNTER, POOL, SL_POOL_CONNECTION_WAITS,
           "Requests that waited because `limits.connections` or `connections_per_endpoint` were "
           "open."),
    SERIES("sluiced_pool_idle_closed_total", "pool", COUNTER, POOL, SL_POOL_IDLE_CLOSED,
           "Idle connections closed for a request that needed its own within those limits."),
    POOL("sluiced_pool_queued", GAUGE, U32, queued_n, "Requests that wait now."),
    POOL("sluiced_pool_queued_bytes", GAUGE, U64, queued_bytes,
         "What they hold of heads and bodies, as `queue.bytes` counts it."),
    POOL("sluiced_pool_places", GAUGE, U32, places_n,
         "Requests that count against `limits.in_flight` now; 0 without that limit."),
    SERIES("sluiced_pool_queued_total", "pool", COUNTER, POOL, SL_POOL_QUEUED,
           "Requests that had to wait for room, or for an endpoint that is there and listens."),
    SERIES("sluiced_pool_queue_seconds", "pool", HISTOGRAM, POOL, SL_POOL_QUEUE_TIME,
           "How long they waited, whatever came of it. Those refused or given up are in "
           "sluiced_requests_total, by reason queue_full and queue_timeout."),
    SERIES("sluiced_pool_update_seconds", "pool", HISTOGRAM, POOL, SL_POOL_UPDATE,
           "From a discovery event to a worker that picks from the new endpoints."),

    ENDPOINT("sluiced_endpoint_requests_total", COUNTER, SL_ENDPOINT_REQUESTS, "Requests sent."),
    ENDPOINT("sluiced_endpoint_failures_total", COUNTER, SL_ENDPOINT_FAILURES,
             "Gateway errors: refused, reset, timeout, 502, 503, 504."),
    ENDPOINT("sluiced_endpoint_connects_total", COUNTER, SL_ENDPOINT_CONNECTS,
             "Connections begun."),
    ENDPOINT("sluiced_endpoint_ejections_total", COUNTER, SL_ENDPOINT_EJECTIONS,
             "How often it was taken out because its traffic failed."),
    ENDPOINT("sluiced_endpoint_in_flight", GAUGE, SL_METRIC_IN_FLIGHT, "Requests that run now."),
    ENDPOINT("sluiced_endpoint_connections", GAUGE, SL_METRIC_CONNECTIONS,
             "Connections open now, idle ones included."),
    ENDPOINT("sluiced_endpoint_healthy", GAUGE, SL_METRIC_HEALTHY,
             "1 unless the active check says that it is down."),
    ENDPOINT("sluiced_endpoint_ejected", GAUGE, SL_METRIC_EJECTED,
             "1 while it is taken out because its traffic failed."),
};

const size_t sl_metrics_n = SL_ARRAY_LEN(sl_metrics);

const char *sl_metric_type_name(enum sl_metric_type type)
{
    static const char *const names[] = {
        [SL_METRIC_COUNTER] = "counter",
        [SL_METRIC_GAUGE] = "gauge",
        [SL_METRIC_HISTOGRAM] = "histogram",
    };
    return names[type];
}
