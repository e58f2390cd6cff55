/* SPDX-License-Identifier: Apache-2.0 */
#include <sluiced/config.h>

#include "rows.h"
#include "shapes.h"
#include "validate.h"

static const struct sl_option endpoint_rows[] = {
    {.name = "address",
     .type = SL_OPTION_ADDRESS,
     SL_FIELD(sl_static_endpoint, address),
     .required = true,
     .min = 1,
     .what = "an address",
     .help = "Of the endpoint."},
    {.name = "weight",
     .type = SL_OPTION_COUNT,
     SL_FIELD(sl_static_endpoint, weight),
     .fallback = "1",
     .max = UINT16_MAX,
     .help = "Its share beside the others; 0: none."},
    {.name = "zone",
     .type = SL_OPTION_TEXT,
     SL_FIELD(sl_static_endpoint, zone),
     .what = "the name of a zone",
     .check = sl_value_zone,
     .help = "Where it runs, for prefer_zone."},
};

const struct sl_section sl_section_endpoint = {
    .title = "pools.NAME.discover.static[]",
    SL_ROWS(endpoint_rows),
    .pos_offset = SL_NO_OFFSET,
};

static const struct sl_word kube_apis[] = {
    {"auto", SL_KUBE_API_AUTO},
    {"slices", SL_KUBE_API_SLICES},
    {"endpoints", SL_KUBE_API_ENDPOINTS},
    {NULL, 0},
};

static const struct sl_word kube_families[] = {
    {"ipv4", SL_KUBE_FAMILY_IPV4},
    {"ipv6", SL_KUBE_FAMILY_IPV6},
    {NULL, 0},
};

static const struct sl_option discover_kubernetes_rows[] = {
    {.name = "namespace",
     .type = SL_OPTION_OWN,
     .what = "the name of a namespace, a list of 1 to 64 of them, or \"*\"",
     .read = sl_shape_namespaces,
     .write = sl_shape_namespaces_write,
     .help =
         "Where to look: `prod`, `[prod, batch]`, or `\"*\"` for all namespaces, which needs the "
         "rights of a ClusterRole. Absent: the one of the service account or of the kubeconfig's "
         "context."},
    {.name = "service",
     .type = SL_OPTION_TEXT,
     SL_FIELD(sl_kubernetes_config, service),
     .what = "the name of a Service",
     .check = sl_value_label,
     .help = "Watches the EndpointSlices of this Service. Excludes slices."},
    {.name = "slices",
     .type = SL_OPTION_TEXT,
     SL_FIELD(sl_kubernetes_config, slices),
     .what = "a label selector",
     .check = sl_shape_selector_check,
     .help = "Watches the EndpointSlices that it selects. They carry the labels of their Service, "
             "not those of pods."},
    {.name = "pods",
     .type = SL_OPTION_TEXT,
     SL_FIELD(sl_kubernetes_config, pods),
     .what = "a label selector",
     .check = sl_shape_pods_check,
     .help = "With service or slices: keeps the endpoints whose pod it selects; `\"\"` keeps them "
             "all, and only reads what is written on their pods. Alone: watches the pods "
             "themselves, and needs port. Of a pod that is watched so, the label or annotation "
             "`sluiced.io/weight` (0 to 65535) is its weight, `sluiced.io/drain: \"true\"` drains "
             "it, and the labels `version` (or `app.kubernetes.io/version`) and `model` name what "
             "it serves; an annotation stands above a label."},
    {.name = "inference_pool",
     .type = SL_OPTION_TEXT,
     SL_FIELD(sl_kubernetes_config, inference_pool),
     .what = "the name of an InferencePool",
     .check = sl_value_kube_name,
     .help = "Watches this InferencePool of inference.networking.k8s.io/v1 and the pods that it "
             "selects: each ready one is an endpoint at each of its targetPorts. Excludes service, "
             "slices, pods and port."},
    {.name = "port",
     .type = SL_OPTION_OWN,
     .what = "a port from 1 to 65535 or its name",
     .read = sl_shape_port,
     .write = sl_shape_port_write,
     .help = "Absent: the one port that there is. Its appProtocol must be one that we speak: https "
             "and kubernetes.io/wss need tls, those of HTTP/2 (h2c, grpc) are refused."},
    {.name = "api",
     .type = SL_OPTION_WORD,
     SL_FIELD(sl_kubernetes_config, api),
     .words = kube_apis,
     .fallback = "auto",
     .help = "For service and slices. `endpoints`: the v1 Endpoints of old, which know no draining "
             "and no zones, and which servers from 1.33 on call deprecated; `auto`: slices, and "
             "endpoints where the server does not have them."},
    {.name = "family",
     .type = SL_OPTION_WORD,
     SL_FIELD(sl_kubernetes_config, family),
     .words = kube_families,
     .help = "Keeps the addresses of this family. Absent: a pod with both is one endpoint, at its "
             "IPv4 address."},
};

static const struct sl_section discover_kubernetes_section = {
    .title = "pools.NAME.discover.kubernetes",
    SL_ROWS(discover_kubernetes_rows),
    .pos_offset = SL_NO_OFFSET,
    .finish = sl_finish_discover_kubernetes,
};

static const struct sl_word dns_types[] = {
    {"any", SL_DNS_TYPE_ANY},
    {"a", SL_DNS_TYPE_A},
    {"aaaa", SL_DNS_TYPE_AAAA},
    {"srv", SL_DNS_TYPE_SRV},
    {NULL, 0},
};

static const struct sl_option discover_dns_rows[] = {
    {.name = "name",
     .type = SL_OPTION_TEXT,
     SL_FIELD(sl_dns_config, name),
     .required = true,
     .what = "a name",
     .check = sl_value_dns_name,
     .help = "As `search` and `ndots` of resolv.conf complete it; a dot at its end, or `servers`, "
             "says that it is complete. Only servers are asked, /etc/hosts is not read."},
    {.name = "port",
     .type = SL_OPTION_COUNT,
     SL_FIELD(sl_dns_config, port),
     .min = 1,
     .max = UINT16_MAX,
     .help = "Of the endpoints. Required, but with `srv`: those records have their own."},
    {.name = "type",
     .type = SL_OPTION_WORD,
     SL_FIELD(sl_dns_config, type),
     .words = dns_types,
     .fallback = "any",
     .help = "Of the records: `any` is a and aaaa together, each address an endpoint. Of `srv` the "
             "lowest priority counts, a higher one only while no target of the lower has an "
             "address; weights are those of the endpoints (all 0: alike)."},
    {.name = "servers",
     .type = SL_OPTION_TEXTS,
     SL_FIELD(sl_dns_config, servers),
     .min = 1,
     .max = 8,
     .what = "a list of 1 to 8 addresses of DNS servers",
     .check = sl_value_dns_server,
     .help = "Asked in this order: `[\"10.96.0.10:53\"]`. Absent: those of resolv.conf, which is "
             "read again when it changes."},
    {.name = "min_ttl",
     .type = SL_OPTION_DURATION,
     SL_FIELD(sl_dns_config, min_ttl_ms),
     .fallback = "1s",
     .min = 100,
     .max = SL_HOUR_MS,
     .help = "An answer is good for its TTL, but at least for this long. So is a negative one, "
             "whose TTL is in its SOA record."},
    {.name = "max_ttl",
     .type = SL_OPTION_DURATION,
     SL_FIELD(sl_dns_config, max_ttl_ms),
     .fallback = "30s",
     .min = 100,
     .max = 24 * SL_HOUR_MS,
     .help = "And at most for this long. Not below min_ttl."},
    {.name = "hold",
     .type = SL_OPTION_DURATION,
     SL_FIELD(sl_dns_config, hold_ms),
     .fallback = "10s",
     .max = SL_HOUR_MS,
     .help = "How long servers must go on to say that a name or its records are not there until "
             "its endpoints go: one that restarts says so too. Other failures change nothing, "
             "however long they last."},
};

static const struct sl_section discover_dns_section = {
    .title = "pools.NAME.discover.dns",
    SL_ROWS(discover_dns_rows),
    .pos_offset = SL_NO_OFFSET,
    .finish = sl_finish_discover_dns,
};

static const struct sl_option discover_rows[] = {
    {.name = "static",
     .type = SL_OPTION_OWN,
     .what = "a list of 1 to 4096 addresses or maps",
     .read = sl_shape_static,
     .write = sl_shape_static_write,
     .section = &sl_section_endpoint,
     .help = "These and no others: `[\"10.0.0.7:8000\", {address: \"10.0.0.8:8000\", weight: "
             "3}]`."},
    {.name = "kubernetes",
     .type = SL_OPTION_SECTION,
     SL_FIELD(sl_discover_config, kubernetes),
     .section = &discover_kubernetes_section,
     .is_used = sl_shape_uses_kubernetes,
     .help =
         "What an API server says. At least one of service, slices and pods, or inference_pool."},
    {.name = "file",
     .type = SL_OPTION_FILE,
     SL_FIELD(sl_discover_config, file),
     .what = "the path of a file",
     .section = &sl_section_endpoint_file,
     .help = "What a file in YAML or JSON says, of at most 1 MiB. It is watched, and a change is "
             "applied once the file has settled: replace it by rename, for one that is written in "
             "place may be read in a pause of its writer. While it is missing or wrong the last "
             "endpoints stay, and /status says why; it need not be there at start."},
    {.name = "dns",
     .type = SL_OPTION_SECTION,
     SL_FIELD(sl_discover_config, dns),
     .section = &discover_dns_section,
     .is_used = sl_shape_uses_dns,
     .help = "The addresses that a name has: `{name: llama.prod.svc.cluster.local, port: 8000}`."},
};

static const struct sl_section discover_section = {
    .title = "pools.NAME.discover",
    SL_ROWS(discover_rows),
    .pos_offset = SL_NO_OFFSET,
    .finish = sl_finish_discover,
};

static const struct sl_option pool_tls_rows[] = {
    {.name = "ca",
     .type = SL_OPTION_FILE,
     SL_FIELD(sl_tls_config, ca),
     .required = true,
     .what = "the path of a file in PEM",
     .check_file = sl_file_check_pem,
     .says_contents = true,
     .help = "Certificates of authorities. An endpoint must show a certificate of one of them."},
    {.name = "cert",
     .type = SL_OPTION_FILE,
     SL_FIELD(sl_tls_config, cert),
     .what = "the path of a file in PEM",
     .check_file = sl_file_check_pem,
     .says_contents = true,
     .help = "Certificate to show when an endpoint asks. Needs key."},
    {.name = "key",
     .type = SL_OPTION_FILE,
     SL_FIELD(sl_tls_config, key),
     .what = "the path of a file in PEM",
     .check_file = sl_file_check_pem,
     .help = "Its private key."},
    {.name = "san",
     .type = SL_OPTION_TEXTS,
     SL_FIELD(sl_tls_config, san),
     .min = 1,
     .max = 64,
     .what = "a list of 1 to 64 names of certificates",
     .check = sl_value_san_pattern,
     .help = "One of them must match a name in the endpoint's certificate, as in client_san."},
    {.name = "sni",
     .type = SL_OPTION_TEXT,
     SL_FIELD(sl_tls_config, sni),
     .what = "a host name",
     .check = sl_value_host,
     .help = "Name to ask for. Absent: none is sent."},
};

static const struct sl_section pool_tls_section = {
    .title = "pools.NAME.tls",
    SL_ROWS(pool_tls_rows),
    .size_bytes = sizeof(struct sl_tls_config),
    .pos_offset = SL_NO_OFFSET,
    .finish = sl_finish_pool_tls,
};

static const struct sl_option pool_timeouts_rows[] = {
    {.name = "connect",
     .type = SL_OPTION_DURATION,
     SL_FIELD(sl_timeouts_config, connect_ms),
     .fallback = "1s",
     .min = 1,
     .max = 10 * SL_MINUTE_MS,
     .help = "To open a connection, TLS included: 504 `upstream_connect_timeout`."},
    {.name = "write",
     .type = SL_OPTION_DURATION,
     SL_FIELD(sl_timeouts_config, write_ms),
     .fallback = "60s",
     .min = 1,
     .max = 24 * SL_HOUR_MS,
     .help = "For an endpoint that takes nothing of a request that the kernel has no room for: 504 "
             "`upstream_stalled`."},
    {.name = "first_byte",
     .type = SL_OPTION_DURATION,
     SL_FIELD(sl_timeouts_config, first_byte_ms),
     .fallback = "300s",
     .min = 1,
     .max = 24 * SL_HOUR_MS,
     .off_ok = true,
     .help = "From the request sent to the first body byte of a 2xx (the head of any other): 504 "
             "`first_byte_timeout`. Model servers send the head at once and the first token much "
             "later."},
    {.name = "inter_byte",
     .type = SL_OPTION_DURATION,
     SL_FIELD(sl_timeouts_config, inter_byte_ms),
     .fallback = "300s",
     .min = 1,
     .max = 24 * SL_HOUR_MS,
     .off_ok = true,
     .help = "Between two reads of a response: `inter_byte_timeout`; the client sees it cut."},
    {.name = "total",
     .type = SL_OPTION_DURATION,
     SL_FIELD(sl_timeouts_config, total_ms),
     .fallback = "off",
     .min = 1,
     .max = 24 * SL_HOUR_MS,
     .off_ok = true,
     .help = "For a whole exchange: `total_timeout`, 504 where nothing of a response was sent."},
    {.name = "keepalive_idle",
     .type = SL_OPTION_DURATION,
     SL_FIELD(sl_timeouts_config, keepalive_idle_ms),
     .fallback = "3s",
     .min = 1,
     .max = SL_HOUR_MS,
     .off_ok = true,
     .help = "How long an unused connection is kept; `off` closes it after each response. Below "
             "the endpoint's own idle timeout: uvicorn's is 5s."},
};

static const struct sl_section pool_timeouts_section = {
    .title = "pools.NAME.timeouts",
    SL_ROWS(pool_timeouts_rows),
    .pos_offset = SL_NO_OFFSET,
};

static const struct sl_option slow_start_rows[] = {
    {.name = "window",
     .type = SL_OPTION_DURATION,
     SL_FIELD(sl_slow_start_config, window_ms),
     .fallback = "30s",
     .min = 100,
     .max = SL_HOUR_MS,
     .help = "How long it takes from a tenth to the whole share."},
    {.name = "aggression",
     .type = SL_OPTION_OWN,
     .what = "a number from 0.1 to 10",
     .read = sl_shape_aggression,
     .write = sl_shape_aggression_write,
     .fallback = "1.0",
     .help = "The share is (age / window) to the power of 1 / aggression: with 1 it grows evenly, "
             "above 1 faster at first."},
    {.name = "per_endpoint",
     .type = SL_OPTION_COUNT,
     SL_FIELD(sl_slow_start_config, per_endpoint_n),
     .fallback = "0",
     .max = 1000000,
     .help = "Requests in flight at most at an endpoint within its window, as one that still loads "
             "or compiles cannot take many: what no other endpoint has room for waits in the "
             "queue. 0: as many as `limits.per_endpoint`."},
};

static const struct sl_section slow_start_section = {
    .title = "pools.NAME.slow_start",
    SL_ROWS(slow_start_rows),
    .size_bytes = sizeof(struct sl_slow_start_config),
    .pos_offset = SL_NO_OFFSET,
};

static const struct sl_option pool_rows[] = {
    {.name = "discover",
     .type = SL_OPTION_SECTION,
     SL_FIELD(sl_pool_config, discover),
     .required = true,
     .what = "a map with static, kubernetes, file or dns",
     .section = &discover_section,
     .help = "Where endpoints come from. Exactly one of static, kubernetes, file and dns."},
    {.name = "balance",
     .type = SL_OPTION_OWN,
     .what = "the name of a policy or a map",
     .read = sl_shape_balance,
     .write = sl_shape_balance_write,
     .section = &sl_section_balance,
     .fallback = "least_request",
     .help =
         "How an endpoint is picked, always by weight: `least_request`, the less busy of two; "
         "`peak_ewma`, of two the one whose latency (to the first body byte) times its requests "
         "in flight is lower; `random`; `round_robin`; or by a key, as `{policy: ring_hash, "
         "key: {header: x-session-id}}`: `ring_hash`, where an endpoint that comes or goes "
         "moves its own keys only; `maglev`, whose shares are more even, and which moves a few "
         "keys of others."},
    {.name = "health",
     .type = SL_OPTION_SECTION,
     SL_FIELD(sl_pool_config, health),
     .off_ok = true,
     .section = &sl_section_health,
     .is_used = sl_shape_uses_health,
     .help =
         "Active checks. Absent: `tcp: true` for static, file and dns; none for kubernetes, where "
         "kubelet checks and readiness counts."},
    {.name = "tls",
     .type = SL_OPTION_MAYBE,
     SL_AT(sl_pool_config, tls),
     .section = &pool_tls_section,
     .help = "Absent: plaintext."},
    {.name = "timeouts",
     .type = SL_OPTION_SECTION,
     SL_FIELD(sl_pool_config, timeouts),
     .section = &pool_timeouts_section,
     .help = "Of the upstream side."},
    {.name = "slow_start",
     .type = SL_OPTION_MAYBE,
     SL_AT(sl_pool_config, slow_start),
     .section = &slow_start_section,
     .help = "An endpoint that is new, or is back from failed checks, an ejection or a drain by "
             "hand, is picked a tenth as often at first, and then more and more, whatever the "
             "policy. A request never waits for others while such a one has room. Those of the "
             "first set are not new. Absent: it is picked like the others at once."},
    {.name = "limits",
     .type = SL_OPTION_SECTION,
     SL_FIELD(sl_pool_config, limits),
     .section = &sl_section_limits,
     .help = "What is beyond them waits in the queue."},
    {.name = "queue",
     .type = SL_OPTION_SECTION,
     SL_FIELD(sl_pool_config, queue),
     .off_ok = true,
     .section = &sl_section_queue,
     .help = "Where requests wait for room within `limits`, and while the pool has no endpoint at "
             "all. `off`: `{size: 0}`. The 503 of one that may not wait, or not any longer, tells "
             "with Retry-After when those that wait now will be served, by the rate at which they "
             "were in the last ten seconds."},
    {.name = "prefer_zone",
     .type = SL_OPTION_TEXT,
     SL_FIELD(sl_pool_config, prefer_zone),
     .what = "the name of a zone, or auto",
     .check = sl_value_zone,
     .help = "Requests go to the endpoints of this zone as long as enough of them are ready: 5 of "
             "7, by weight; of fewer they take 1.4 times the part that is ready, and the others "
             "the rest, by whatever policy. What an endpoint of the zone has no room for goes to "
             "the others at once. `auto`: where we run, by `kubernetes.zone` or "
             "`kubernetes.node`; until that is known, and while nobody is ready in any zone, all "
             "zones are alike. Endpoints have the zone "
             "that EndpointSlices, a file or `static` says; hints of EndpointSlices are not looked "
             "at, for they leave nobody to go to. The zone must bear what it is asked: "
             "`limits.per_endpoint` says how much that is. Absent: all zones are alike."},
    {.name = "fallback",
     .type = SL_OPTION_OWN,
     .what = "the name of a pool",
     .read = sl_shape_fallback,
     .write = sl_shape_fallback_write,
     .help = "The pool that gets a request for which none of this pool's endpoints is ready: there "
             "are none, or all are ejected, unhealthy, asked to be left alone, drain, or were "
             "tried by it. Its ready endpoints come before those of this pool that are not; those "
             "come before its own that are not. Endpoints that only have no room are waited for. "
             "It may have a fallback itself, up to four in a row and in no circle. Timeouts, TLS, "
             "limits and key are those of the pool that serves."},
};

const struct sl_section sl_section_pool = {
    .title = "pools.NAME",
    SL_ROWS(pool_rows),
    .size_bytes = sizeof(struct sl_pool_config),
    .pos_offset = offsetof(struct sl_pool_config, pos),
    .name_offset = offsetof(struct sl_pool_config, name),
    .finish = sl_finish_pool,
};
