/* SPDX-License-Identifier: Apache-2.0 */
#include "options.h"

#include <sluiced/config.h>

#include "rows.h"
#include "shapes.h"
#include "validate.h"

/* ---- drain, log, admin, kubernetes */

static const struct sl_option drain_rows[] = {
    {.name = "delay",
     .type = SL_OPTION_DURATION,
     SL_FIELD(sl_config, drain.delay_ms),
     .fallback = "5s",
     .max = SL_HOUR_MS,
     .help = "Told to end, readiness fails at once and connections are accepted this long still: "
             "time for the cluster to notice."},
    {.name = "timeout",
     .type = SL_OPTION_DURATION,
     SL_FIELD(sl_config, drain.timeout_ms),
     .fallback = "600s",
     .min = 1,
     .max = 24 * SL_HOUR_MS,
     .help = "What still runs this long after draining began is cut. Give "
             "terminationGracePeriodSeconds a little more."},
    {.name = "quiet",
     .type = SL_OPTION_DURATION,
     SL_FIELD(sl_config, drain.quiet_ms),
     .fallback = "5s",
     .max = SL_HOUR_MS,
     .help = "Listeners whose `direction` is `outbound` go on until no connection at all was open "
             "for so long: the application seems to be done. Without such listeners it is not "
             "waited for."},
};

static const struct sl_word log_levels[] = {
    {"debug", SL_LOG_DEBUG},
    {"info", SL_LOG_INFO},
    {"warn", SL_LOG_WARN},
    {"error", SL_LOG_ERROR},
    {NULL, 0},
};

static const struct sl_word log_formats[] = {
    {"json", SL_LOG_JSON},
    {"logfmt", SL_LOG_LOGFMT},
    {NULL, 0},
};

static const struct sl_option log_rows[] = {
    {.name = "level",
     .type = SL_OPTION_WORD,
     SL_FIELD(sl_config, log.level),
     .words = log_levels,
     .fallback = "info",
     .help = "The least that is logged, on stderr."},
    {.name = "format",
     .type = SL_OPTION_WORD,
     SL_FIELD(sl_config, log.format),
     .words = log_formats,
     .fallback = "json",
     .help = "Of log and access log."},
    {.name = "access",
     .type = SL_OPTION_TEXT,
     SL_FIELD(sl_config, log.access),
     .what = "off, stdout, stderr or an absolute path",
     .check = sl_value_log_target,
     .fallback = "stdout",
     .help = "Where the access log goes: one line an exchange."},
};

static const struct sl_option admin_rows[] = {
    {.name = "listen",
     .type = SL_OPTION_ADDRESS,
     SL_FIELD(sl_config, admin.listen),
     .what = "an address to listen at, like 0.0.0.0:8080",
     .help = "Status, metrics, reload and drain. It asks nobody who they are: keep it on loopback. "
             "Absent: there is none."},
    {.name = "probes",
     .type = SL_OPTION_ADDRESS,
     SL_FIELD(sl_config, admin.probes),
     .what = "an address to listen at, like 0.0.0.0:8080",
     .help = "Only /healthz, /readyz and /metrics, for kubelet and Prometheus. Absent: there is "
             "none."},
};

static const struct sl_word false_or_true[] = {{"false", false}, {"true", true}, {NULL, 0}};

static const struct sl_option kubernetes_rows[] = {
    {.name = "kubeconfig",
     .type = SL_OPTION_FILE,
     SL_FIELD(sl_config, kubernetes.kubeconfig),
     .what = "the path of a file",
     .check_file = sl_file_check,
     .help = "How to reach the API server from outside of a cluster. Absent: by the service "
             "account of the pod."},
    {.name = "context",
     .type = SL_OPTION_TEXT,
     SL_FIELD(sl_config, kubernetes.context),
     .what = "the name of a context",
     .check = sl_value_not_empty,
     .help = "Of the kubeconfig. Absent: its current one."},
    {.name = "allow_insecure_tls",
     .type = SL_OPTION_WORD,
     SL_FIELD(sl_config, kubernetes.allow_insecure_tls),
     .words = false_or_true,
     .fallback = "false",
     .help = "Whether a kubeconfig that says `insecure-skip-tls-verify: true` is obeyed. It lets "
             "whoever is on the way to the API server name endpoints, and read our token; without "
             "this it is refused."},
    {.name = "service_account",
     .type = SL_OPTION_FILE,
     SL_FIELD(sl_config, kubernetes.service_account),
     .what = "the path of a directory",
     .fallback = "/var/run/secrets/kubernetes.io/serviceaccount",
     .help = "Directory with the token, ca.crt and namespace of a service account."},
    {.name = "zone",
     .type = SL_OPTION_TEXT,
     SL_FIELD(sl_config, kubernetes.zone),
     .what = "the name of a zone, or auto",
     .check = sl_value_zone,
     .help = "Where we run: of EndpointSlices with topology hints, the endpoints hinted for this "
             "zone are used, by the rule of kube-proxy: only if each ready one has hints and one "
             "of them is for it. `auto`: the zone of the node that the environment variable "
             "NODE_NAME names. Excludes node. Absent, without node: hints are not looked at."},
    {.name = "node",
     .type = SL_OPTION_TEXT,
     SL_FIELD(sl_config, kubernetes.node),
     .what = "the name of a node",
     .check = sl_value_kube_name,
     .help = "The zone is this node's label topology.kubernetes.io/zone: needs the right to get "
             "nodes."},
};

static const struct sl_option discovery_rows[] = {
    {.name = "cache",
     .type = SL_OPTION_FILE,
     SL_FIELD(sl_config, discovery.cache),
     .what = "the path of a directory",
     .check_file = sl_file_check_writable,
     .help = "Directory, for which we need the right to write, where the last endpoints of each "
             "pool are kept (`NAME.json`, mode 0600, at most one write a second), but for static "
             "and file, which are on disk already. A pool that begins while its source fails, or "
             "says nothing for 1s, works with them, however old they are, until the source "
             "answers: /status says `cached`. What is damaged or of another source is not used. "
             "It should be a disk of this machine: discovery waits for it. Absent: nothing is "
             "kept."},
    {.name = "ready_max_age",
     .type = SL_OPTION_DURATION,
     SL_FIELD(sl_config, discovery.ready_max_age_ms),
     .fallback = "off",
     .min = SL_SECOND_MS,
     .max = 24 * SL_HOUR_MS,
     .off_ok = true,
     .help = "/readyz says no while the endpoints of any pool were last proven to be current "
             "longer ago than this. An API server proves it about once a minute. `off`: a server "
             "that is away makes nobody unready; the endpoints that it named last are used."},
};

/* ---- listeners */

static const struct sl_word tls_versions[] = {{"1.2", 0x0303}, {"1.3", 0x0304}, {NULL, 0}};

static const struct sl_option listener_tls_rows[] = {
    {.name = "cert",
     .type = SL_OPTION_FILE,
     SL_FIELD(sl_tls_config, cert),
     .required = true,
     .what = "the path of a file in PEM",
     .check_file = sl_file_check_pem,
     .says_contents = true,
     .help = "Certificate of this side, and the chain behind it."},
    {.name = "key",
     .type = SL_OPTION_FILE,
     SL_FIELD(sl_tls_config, key),
     .required = true,
     .what = "the path of a file in PEM",
     .check_file = sl_file_check_pem,
     .help = "Its private key."},
    {.name = "client_ca",
     .type = SL_OPTION_FILE,
     SL_FIELD(sl_tls_config, ca),
     .what = "the path of a file in PEM",
     .check_file = sl_file_check_pem,
     .says_contents = true,
     .help = "Certificates of authorities. Given: a client must show a certificate of one of "
             "them. Absent: none is asked for."},
    {.name = "client_san",
     .type = SL_OPTION_TEXTS,
     SL_FIELD(sl_tls_config, san),
     .min = 1,
     .max = 64,
     .what = "a list of 1 to 64 names of certificates",
     .check = sl_value_san_pattern,
     .help = "One of them must match a name in the client's certificate: a DNS, IP or URI name, "
             "with `*` at one end or none. Needs client_ca. Absent: any name."},
    {.name = "min_version",
     .type = SL_OPTION_WORD,
     SL_FIELD(sl_tls_config, min_version),
     .words = tls_versions,
     .fallback = "1.2",
     .help = "Least version of TLS."},
};

static const struct sl_section listener_tls_section = {
    .title = "listeners[].tls",
    SL_ROWS(listener_tls_rows),
    .size_bytes = sizeof(struct sl_tls_config),
    .pos_offset = SL_NO_OFFSET,
    .finish = sl_finish_listener_tls,
};

static const struct sl_option match_rows[] = {
    {.name = "path",
     .type = SL_OPTION_TEXT,
     SL_FIELD(sl_route_config, path),
     .what = "a path",
     .check = sl_value_url_path,
     .fallback = "/",
     .help = "With `/` at its end: every path below; else exactly this one. It is brought to the "
             "form that request paths are brought to, and `/org%2Fmodel` is one segment."},
    {.name = "host",
     .type = SL_OPTION_TEXT,
     SL_FIELD(sl_route_config, host),
     .what = "a host name, which may begin with \"*.\"",
     .check = sl_value_host_pattern,
     .help = "Lower case, no port. `*.example.com` takes every name below. Absent: any host."},
};

static const struct sl_section match_section = {
    .title = "listeners[].http.routes[].match",
    SL_ROWS(match_rows),
    .pos_offset = SL_NO_OFFSET,
};

static const struct sl_word replay_words[] = {
    {"safe", false},
    {"generation", true},
    {NULL, 0},
};

static const struct sl_option route_rows[] = {
    {.name = "name",
     .type = SL_OPTION_TEXT,
     SL_FIELD(sl_route_config, name),
     .required = true,
     .what = "a name",
     .check = sl_value_name,
     .help = "For logs and metrics; its own within the listener."},
    {.name = "match",
     .type = SL_OPTION_SECTION,
     SL_SAME,
     .section = &match_section,
     .help = "Which requests take this route. The first route that matches wins."},
    {.name = "pool",
     .type = SL_OPTION_OWN,
     .what = "the name of a pool",
     .read = sl_shape_pool,
     .write = sl_shape_pool_write,
     .help = "Where they go. Exactly one of pool and split."},
    {.name = "split",
     .type = SL_OPTION_OWN,
     .what = "a map of 1 to 64 pools to weights from 0 to 65535",
     .read = sl_shape_split,
     .write = sl_shape_split_write,
     .help = "Where they go, in shares: `{llama-v1: 95, llama-v2: 5}`. One weight must be above "
             "0."},
    {.name = "max_body",
     .type = SL_OPTION_SIZE,
     SL_FIELD(sl_route_config, max_body_bytes),
     .fallback = "64MiB",
     .max = 1ULL << 40,
     .off_ok = true,
     .help = "A longer request body is answered with 413."},
    {.name = "replay",
     .type = SL_OPTION_WORD,
     SL_FIELD(sl_route_config, replays_generations),
     .words = replay_words,
     .fallback = "safe",
     .help = "What may be sent to another endpoint after one got it and failed before a byte of "
             "its answer went to the client. `safe`: what is idempotent (GET, PUT, DELETE, ...) or "
             "was refused with 503 and Retry-After; `generation`: any request, where a second "
             "generation costs less than an error. Bodies up to 1 MiB are kept for it, 64 MiB in "
             "all."},
    {.name = "retry",
     .type = SL_OPTION_SECTION,
     SL_FIELD(sl_route_config, retry),
     .off_ok = true,
     .section = &sl_section_retry,
     .help = "How often, and why, what `replay` allows is sent again; within the pool's budget: a "
             "fifth of its requests of ten seconds, or three at a time. `off`: `{attempts: 0}`."},
    {.name = "heartbeat",
     .type = SL_OPTION_DURATION,
     SL_FIELD(sl_route_config, heartbeat_ms),
     .fallback = "off",
     .min = 100,
     .max = SL_HOUR_MS,
     .off_ok = true,
     .help =
         "A comment (`: heartbeat`) is put into an event stream after so much silence, so that "
         "nobody on the way takes it for dead. It ends the holding of the head: a stream that "
         "fails before its first byte is then not sent elsewhere any more. Not for endpoints that "
         "begin a stream with a byte order mark, which counts in the first place only."},
};

static const struct sl_section route_section = {
    .title = "listeners[].http.routes[]",
    SL_ROWS(route_rows),
    .size_bytes = sizeof(struct sl_route_config),
    .pos_offset = offsetof(struct sl_route_config, pos),
    .finish = sl_finish_route,
};

static const struct sl_option listener_timeouts_rows[] = {
    {.name = "head",
     .type = SL_OPTION_DURATION,
     SL_FIELD(sl_listener_timeouts_config, head_ms),
     .fallback = "10s",
     .min = 1,
     .max = SL_HOUR_MS,
     .help = "For a whole request head: 408 `head_timeout`."},
    {.name = "body",
     .type = SL_OPTION_DURATION,
     SL_FIELD(sl_listener_timeouts_config, body_ms),
     .fallback = "60s",
     .min = 1,
     .max = 24 * SL_HOUR_MS,
     .help = "Between two reads of a request body, while we want to read: 408 `body_timeout`."},
    {.name = "write",
     .type = SL_OPTION_DURATION,
     SL_FIELD(sl_listener_timeouts_config, write_ms),
     .fallback = "60s",
     .min = 1,
     .max = 24 * SL_HOUR_MS,
     .help = "For a client that takes nothing of its response; then it is cut: `client_stalled`."},
    {.name = "idle",
     .type = SL_OPTION_DURATION,
     SL_FIELD(sl_listener_timeouts_config, idle_ms),
     .fallback = "75s",
     .min = 1,
     .max = 24 * SL_HOUR_MS,
     .help = "Of a connection between two requests, once the answer was taken."},
};

static const struct sl_section listener_timeouts_section = {
    .title = "listeners[].http.timeouts",
    SL_ROWS(listener_timeouts_rows),
    .pos_offset = SL_NO_OFFSET,
};

static const struct sl_word half_close_words[] = {
    {"end", false},
    {"keep", true},
    {NULL, 0},
};

static const struct sl_option http_rows[] = {
    {.name = "routes",
     .type = SL_OPTION_LIST,
     SL_AT(sl_listener_config, routes),
     .required = true,
     .n_offset = offsetof(struct sl_listener_config, routes_n),
     .section = &route_section,
     .unique = "name",
     .ordered = true,
     .min = 1,
     .max = 1024,
     .help = "Tried from the first to the last."},
    {.name = "ambiguous",
     .type = SL_OPTION_MAYBE,
     SL_AT(sl_listener_config, ambiguous),
     .section = &sl_section_ambiguous,
     .help = "What in a request could be read in two ways, and what becomes of it. Raw control "
             "bytes, spaces and `#` in a target have no switch: they are always refused."},
    {.name = "trusted_proxies",
     .type = SL_OPTION_OWN,
     .what = "a list of 1 to 256 networks, addresses or unix",
     .read = sl_shape_trusted,
     .write = sl_shape_trusted_write,
     .help = "Peers whose X-Forwarded-*, Forwarded and X-Real-IP are kept and extended, and from "
             "whose X-Forwarded-For the client's address is taken: `[10.0.0.0/8, \"fd00::/8\", "
             "unix]`, unix being any peer of a unix socket. Absent: nobody's, they are replaced."},
    {.name = "via",
     .type = SL_OPTION_OWN,
     .what = "a token",
     .read = sl_shape_via,
     .write = sl_shape_via_write,
     .help = "Pseudonym that is added to Via of requests and responses, and by which a loop is "
             "seen and ended with 508. Proxies that stand behind one another need different ones. "
             "Absent: Via passes as it came."},
    {.name = "timeouts",
     .type = SL_OPTION_SECTION,
     SL_FIELD(sl_listener_config, timeouts),
     .section = &listener_timeouts_section,
     .help = "Of the downstream side."},
    {.name = "half_close",
     .type = SL_OPTION_WORD,
     SL_FIELD(sl_listener_config, keeps_half_open),
     .words = half_close_words,
     .fallback = "end",
     .help = "What it means that a client ends its side after its request. `end`: it has left, and "
             "the generation is aborted; `keep`: it waits for the answer still, as `nc -N` does."},
};

static const struct sl_section http_section = {
    .title = "listeners[].http",
    SL_ROWS(http_rows),
    .pos_offset = SL_NO_OFFSET,
    .finish = sl_finish_http,
};

static const struct sl_word directions[] = {
    {"inbound", false},
    {"outbound", true},
    {NULL, 0},
};

static const struct sl_option listener_rows[] = {
    {.name = "name",
     .type = SL_OPTION_TEXT,
     SL_FIELD(sl_listener_config, name),
     .required = true,
     .what = "a name",
     .check = sl_value_name,
     .help = "For logs and metrics; its own."},
    {.name = "bind",
     .type = SL_OPTION_ADDRESS,
     SL_FIELD(sl_listener_config, bind),
     .required = true,
     .what = "an address to listen at, like 0.0.0.0:8080",
     .help = "Port 0 lets the kernel choose. No two listeners share an address."},
    {.name = "direction",
     .type = SL_OPTION_WORD,
     SL_FIELD(sl_listener_config, is_outbound),
     .words = directions,
     .fallback = "inbound",
     .help = "Who connects, which matters at the end: told to end, `inbound` listeners stop first. "
             "`outbound`: the application that this is the sidecar of, to reach others. As it "
             "needs them to finish its work, such a listener goes on as ever, accepting too, until "
             "the last inbound connection has ended and `drain.quiet` has passed."},
    {.name = "tls",
     .type = SL_OPTION_MAYBE,
     SL_AT(sl_listener_config, tls),
     .section = &listener_tls_section,
     .help = "Absent: plaintext."},
    {.name = "http",
     .type = SL_OPTION_SECTION,
     SL_SAME,
     .required = true,
     .what = "a map with routes",
     .section = &http_section,
     .help = "What is spoken here, and where it goes."},
};

static const struct sl_section listener_section = {
    .title = "listeners[]",
    SL_ROWS(listener_rows),
    .size_bytes = sizeof(struct sl_listener_config),
    .pos_offset = offsetof(struct sl_listener_config, pos),
};

/* ---- The file */

static const struct sl_section drain_section = {
    .title = "drain", SL_ROWS(drain_rows), .pos_offset = SL_NO_OFFSET};
static const struct sl_section log_section = {
    .title = "log", SL_ROWS(log_rows), .pos_offset = SL_NO_OFFSET};
static const struct sl_section admin_section = {
    .title = "admin", SL_ROWS(admin_rows), .pos_offset = SL_NO_OFFSET, .finish = sl_finish_admin};
static const struct sl_section kubernetes_section = {.title = "kubernetes",
                                                     SL_ROWS(kubernetes_rows),
                                                     .pos_offset = SL_NO_OFFSET,
                                                     .finish = sl_finish_kubernetes};

static const struct sl_section discovery_section = {
    .title = "discovery", SL_ROWS(discovery_rows), .pos_offset = SL_NO_OFFSET};

static const struct sl_option root_rows[] = {
    {.name = "workers",
     .type = SL_OPTION_COUNT,
     SL_FIELD(sl_config, workers_n),
     .min = 1,
     .max = 256,
     .help = "Threads that carry traffic. Absent: the CPU quota of the cgroup, rounded up; without "
             "a quota at most 4 in Kubernetes, and all CPUs elsewhere."},
    {.name = "drain",
     .type = SL_OPTION_SECTION,
     SL_SAME,
     .section = &drain_section,
     .help = "How a process ends."},
    {.name = "log",
     .type = SL_OPTION_SECTION,
     SL_SAME,
     .section = &log_section,
     .help = "What is written, and where."},
    {.name = "admin",
     .type = SL_OPTION_SECTION,
     SL_SAME,
     .section = &admin_section,
     .help = "Addresses for people and for probes."},
    {.name = "kubernetes",
     .type = SL_OPTION_SECTION,
     SL_SAME,
     .section = &kubernetes_section,
     .help = "How to reach the API server, for pools that discover there."},
    {.name = "discovery",
     .type = SL_OPTION_SECTION,
     SL_SAME,
     .section = &discovery_section,
     .help = "What becomes of endpoints while their source is away."},
    {.name = "listeners",
     .type = SL_OPTION_LIST,
     SL_AT(sl_config, listeners),
     .n_offset = offsetof(struct sl_config, listeners_n),
     .section = &listener_section,
     .unique = "name",
     .max = 256,
     .help = "Where requests come in."},
    {.name = "pools",
     .type = SL_OPTION_MAP,
     SL_AT(sl_config, pools),
     .n_offset = offsetof(struct sl_config, pools_n),
     .section = &sl_section_pool,
     .max = 1024,
     .help = "Where they go: each a set of endpoints that answer alike."},
};

const struct sl_section sl_section_root = {
    .title = "The file",
    SL_ROWS(root_rows),
    .size_bytes = sizeof(struct sl_config),
    .pos_offset = SL_NO_OFFSET,
    .finish = sl_finish_root,
};
