/* SPDX-License-Identifier: Apache-2.0 */
#include <sluiced/config.h>

#include "tests/unit/check.h"

#include <stdio.h>
#include <string.h>

/* Files that are good but for what each row of the table below puts in. */
#define STATIC "{ discover: { static: [\"10.0.0.7:80\"] } }"
#define POOLS "pools: { p: " STATIC ", chat: " STATIC " }\n"
#define ROOT(text) text "\n" POOLS
#define LISTENER(text) "listeners: [{ " text ", http: { routes: [{ name: a, pool: p }] } }]\n" POOLS
#define HTTP(text) "listeners: [{ name: a, bind: \"127.0.0.1:1\", http: { " text " } }]\n" POOLS
#define ROUTE(text) HTTP("routes: [{ " text " }]")
#define POOL(text) "pools: { p: { " text " } }\n"
#define KUBERNETES(text) POOL("discover: { kubernetes: { " text " } }")
#define DNS(text) POOL("discover: { dns: { " text " } }")
#define WITH(text) POOL("discover: { static: [\"10.0.0.7:80\"] }, " text)

#define AGGRESSION(found)                                                                        \
    "1:80: pools.p.slow_start.aggression: expected a number from 0.1 to 10, with at most three " \
    "digits behind the point, found \"" found "\""

static int parse(const char *text, struct sl_config_errors *errors)
{
    const struct sl_config *config = NULL;
    int rc = sl_config_parse(text, strlen(text), "f.yaml", &config, errors);

    check((rc == SL_OK) == (config != NULL), "%d, and a config: %d\n%s", rc, config != NULL, text);
    sl_config_unref(&config);
    return rc;
}

static void what_is_wrong_is_said_in_full(void **state)
{
    static const struct {
        const char *text;
        const char *message; /* behind the name of the file */
    } rows[] = {
        {"", "1:1: yaml: expected a map of options, found an empty file"},
        {"# only this\n", "1:1: yaml: expected a map of options, found an empty file"},
        {"---\n", "2:1: yaml: expected a map of options, found nothing"},
        {"x\n", "1:1: yaml: expected a map of options, found \"x\""},
        {"[a]\n", "1:1: yaml: expected a map of options, found a list of 1"},
        {ROOT("wokers: 2"), "1:1: wokers: unknown key; did you mean \"workers\"?"},
        {ROOT("workers: 257"), "1:10: workers: expected a number from 1 to 256, found \"257\""},
        {ROOT("workers: -1"), "1:10: workers: expected a number from 1 to 256, found \"-1\""},
        {ROOT("workers: [1]"), "1:10: workers: expected a number from 1 to 256, found a list of 1"},
        {ROOT("log: off"), "1:6: log: expected a map, found \"off\""},
        {ROOT("drain: { delay: off }"),
         "1:17: drain.delay: expected a duration from 0s to 1h, found \"off\""},
        {ROOT("drain: { timeout: 0s }"),
         "1:19: drain.timeout: expected a duration from 1ms to 24h, found \"0s\""},
        {ROOT("drain: { delay: 2 }"),
         "1:18: drain.delay: expected ms, s, m or h right after the number, found \"\"; write "
         "150ms, 2s, 5m or 1h"},
        {ROOT("log: { level: WARN }"),
         "1:15: log.level: expected debug, info, warn or error, found \"WARN\""},
        {ROOT("log: { format: text }"),
         "1:16: log.format: expected json or logfmt, found \"text\""},
        {ROOT("log: { access: access.log }"),
         "1:16: log.access: expected off, stdout, stderr or an absolute path, found "
         "\"access.log\"; write one like /var/log/sluiced/access.log"},
        {ROOT("admin: { listen: 9901 }"),
         "1:18: admin.listen: expected an address with a port, found \"9901\"; write "
         "127.0.0.1:8080, [::1]:8080 or unix:/path"},
        {ROOT("admin: { listen: \"127.0.0.1:9901\", probes: \"127.0.0.1:9901\" }"),
         "1:44: admin.probes: expected another address, found \"127.0.0.1:9901\" again; it stands "
         "at line 1 already"},
        {ROOT("kubernetes: { context: kind }"),
         "1:15: kubernetes.context: needs kubeconfig beside it"},
        {ROOT("discovery: { cache: /nonexistent/folder }"),
         "1:21: discovery.cache: expected a directory to write in, found \"/nonexistent/folder\": "
         "No "
         "such file or directory; make it, or give us the right"},
        {ROOT("discovery: { cache: /dev/null }"),
         "1:21: discovery.cache: expected a directory to write in, found \"/dev/null\": Not a "
         "directory; make it, or give us the right"},
        {ROOT("discovery: { cache: off, ready_max_age: 5m }"),
         "1:21: discovery.cache: expected a directory to write in, found \"off\": No such file or "
         "directory; make it, or give us the right"},
        {ROOT("discovery: { ready_max_age: 1ms }"),
         "1:29: discovery.ready_max_age: expected a duration from 1s to 24h or off, found "
         "\"1ms\""},
        {ROOT("kubernetes: { kubeconfig: /nonexistent/config }"),
         "1:27: kubernetes.kubeconfig: cannot read \"/nonexistent/config\": No such file or "
         "directory"},
        {ROOT("kubernetes: { kubeconfig: /dev/null }"),
         "1:27: kubernetes.kubeconfig: cannot read \"/dev/null\": not a regular file"},
        {ROOT("kubernetes: { service_account: \"\" }"),
         "1:32: kubernetes.service_account: expected the path of a directory, found nothing"},
        {ROOT("kubernetes: { context: \"\" }"),
         "1:24: kubernetes.context: expected a name, found nothing"},
        {ROOT("listeners: { main: {} }"),
         "1:12: listeners: expected a list of 0 to 256 maps, found a map of 1"},
        {ROOT("listeners: [main]"), "1:13: listeners[0]: expected a map, found \"main\""},
        {ROOT("listeners: [{ name: a, bind: \"127.0.0.1:1\" }]"),
         "1:13: listeners[0].http: missing; expected a map with routes"},
        {LISTENER("name: a b, bind: \"127.0.0.1:1\""),
         "1:21: listeners[0].name: expected a name of at most 63 of a-z, 0-9, '-', '_' and '.', "
         "found \"a b\"; write one like llama-v1, with a letter or digit at both ends"},
        {LISTENER("name: a, bind: \"::1:80\""),
         "1:30: listeners[0].bind: expected a numeric address with a port, found \"::1:80\"; write "
         "127.0.0.1:8080, [::1]:8080 or unix:/path"},
        {LISTENER("name: a, bind: \"[::1]:70000\""),
         "1:30: listeners[0].bind: expected a port from 0 to 65535, found \"[::1]:70000\"; write "
         "127.0.0.1:8080, [::1]:8080 or unix:/path"},
        {LISTENER("name: a, bind: \"unix:run/x\""),
         "1:30: listeners[0].bind: expected an absolute path behind unix:, found \"unix:run/x\"; "
         "write unix:/run/model.sock"},
        {LISTENER("name: a"),
         "1:13: listeners[0].bind: missing; expected an address to listen at, like 0.0.0.0:8080"},
        {HTTP("routes: [{ name: a, pool: p }], timeouts: { idle: off }"),
         "1:103: listeners[0].http.timeouts.idle: expected a duration from 1ms to 24h, found "
         "\"off\""},
        {HTTP("routes: [{ name: a, pool: p }], timeouts: { head: 61m }"),
         "1:103: listeners[0].http.timeouts.head: expected a duration from 1ms to 1h, found "
         "\"61m\""},
        {HTTP("routes: [{ name: a, pool: p }], ambiguous: { undersores: keep }"),
         "1:98: listeners[0].http.ambiguous.undersores: unknown key; did you mean "
         "\"underscores\"?"},
        {HTTP("routes: [{ name: a, pool: p }], ambiguous: { spaces: keep }"),
         "1:98: listeners[0].http.ambiguous.spaces: unknown key; expected underscores, "
         "double_slash, escaped_slash, escaped_backslash, escaped_nul, escaped_dots, dot_params, "
         "backslash or high_bytes"},
        {HTTP("routes: [{ name: a, pool: p }], ambiguous: { escaped_nul: decode }"),
         "1:111: listeners[0].http.ambiguous.escaped_nul: expected refuse or keep, found "
         "\"decode\""},
        {HTTP("routes: [{ name: a, pool: p, match: { path: /a%5cb } }]"),
         "1:97: listeners[0].http.routes[0].match.path: expected a path that requests can have, "
         "found \"/a%5cb\"; as `ambiguous` stands, they are refused"},
        {HTTP("routes: [{ name: a, pool: p, match: { path: /a%4 } }]"),
         "1:97: listeners[0].http.routes[0].match.path: expected a path that requests can have, "
         "found \"/a%4\"; as `ambiguous` stands, they are refused"},
        {HTTP("routes: [{ name: a, pool: p }], trusted_proxies: [10.0.0.1/8]"),
         "1:103: listeners[0].http.trusted_proxies[0]: expected a network without bits behind its "
         "prefix, an address or unix, found \"10.0.0.1/8\"; write 10.0.0.0/8, fd00::/8, 192.0.2.1 "
         "or unix"},
        {HTTP("routes: [{ name: a, pool: p }], trusted_proxies: [unix, {}]"),
         "1:109: listeners[0].http.trusted_proxies[1]: expected a network without bits behind its "
         "prefix, an address or unix, found an empty map; write 10.0.0.0/8, fd00::/8, 192.0.2.1 "
         "or unix"},
        {HTTP("routes: [{ name: a, pool: p }], trusted_proxies: []"),
         "1:102: listeners[0].http.trusted_proxies: expected a list of 1 to 256 networks, "
         "addresses or unix, found an empty list; write [10.0.0.0/8] or leave it out to trust "
         "nobody"},
        {HTTP("routes: [{ name: a, pool: p }], via: edge proxy"),
         "1:90: listeners[0].http.via: expected a token of at most 63 bytes, found \"edge proxy\"; "
         "write one like edge-1"},
        {HTTP("routes: [{ name: a, pool: p }], via: [a]"),
         "1:90: listeners[0].http.via: expected a token, found a list of 1"},
        {HTTP("timeouts: {}"),
         "1:51: listeners[0].http.routes: missing; expected a list of 1 to 1024 maps"},
        {HTTP("routes: []"),
         "1:61: listeners[0].http.routes: expected a list of 1 to 1024 maps, found an empty list"},
        {ROUTE("name: a"),
         "1:62: listeners[0].http.routes[0]: expected pool or split, found neither; write pool: "
         "NAME or split: {NAME: 95, OTHER: 5}"},
        {ROUTE("pool: p"), "1:62: listeners[0].http.routes[0].name: missing; expected a name"},
        {ROUTE("name: a, pool: p, split: { p: 1 }"),
         "1:82: listeners[0].http.routes[0].split: excludes pool, which stands at line 1; remove "
         "one of them"},
        {ROUTE("name: a, pool: [p]"),
         "1:79: listeners[0].http.routes[0].pool: expected the name of a pool, found a list of 1"},
        {ROUTE("name: a, pool: chta"),
         "1:79: listeners[0].http.routes[0].pool: unknown pool \"chta\"; did you mean \"chat\"?"},
        {ROUTE("name: a, split: {}"),
         "1:80: listeners[0].http.routes[0].split: expected a map of 1 to 64 pools to weights, "
         "found an empty map; write {v1: 95, v2: 5}"},
        {ROUTE("name: a, split: { p: 65536 }"),
         "1:85: listeners[0].http.routes[0].split.p: expected a weight from 0 to 65535, found "
         "\"65536\""},
        {ROUTE("name: a, split: { p: 0, chat: 0 }"),
         "1:80: listeners[0].http.routes[0].split: expected a weight above 0, found only zeros"},
        {ROUTE("name: a, split: { p: 1, mistral: 1 }"),
         "1:88: listeners[0].http.routes[0].split.mistral: unknown pool \"mistral\"; expected a "
         "name that stands under pools"},
        {ROUTE("name: a, pool: p, max_body: 64mb"),
         "1:92: listeners[0].http.routes[0].max_body: expected B, KiB, MiB or GiB right after the "
         "number, found \"64mb\"; write 512B, 64KiB, 1MiB or 10GiB"},
        {ROUTE("name: a, pool: p, max_body: 2048GiB"),
         "1:92: listeners[0].http.routes[0].max_body: expected a size from 0B to 1024GiB or off, "
         "found \"2048GiB\""},
        {ROUTE("name: a, pool: p, max_body: none"),
         "1:92: listeners[0].http.routes[0].max_body: expected a size from 0B to 1024GiB or off, "
         "found \"none\""},
        {ROUTE("name: a, pool: p, match: { path: v1 }"),
         "1:97: listeners[0].http.routes[0].match.path: expected a path that begins with \"/\", "
         "without spaces, found \"v1\"; write one like /v1/ (a prefix) or /v1/models"},
        {ROUTE("name: a, pool: p, match: { path: /a/../b }"),
         "1:97: listeners[0].http.routes[0].match.path: expected a path without \"?\", \"#\", "
         "\".\" and \"..\" segments, found \"/a/../b\"; write one like /v1/ (a prefix) or "
         "/v1/models"},
        {ROUTE("name: a, pool: p, match: { host: Example.com }"),
         "1:97: listeners[0].http.routes[0].match.host: expected a host name in lower case, "
         "without port, found \"Example.com\"; write llm.example.com or *.example.com"},
        {ROUTE("name: a, pool: p, match: { method: GET }"),
         "1:91: listeners[0].http.routes[0].match.method: unknown key; expected path or host"},
        {ROUTE("name: a, pool: p }, { name: a, pool: p"),
         "1:92: listeners[0].http.routes[1].name: expected another name, found \"a\" again; it "
         "stands at line 1 already"},
        {WITH("limits: { in_flight: 0 }"),
         "1:75: pools.p.limits.in_flight: expected a number from 1 to 10000000, found \"0\""},
        {WITH("queue: none"), "1:61: pools.p.queue: expected a map or off, found \"none\""},
        {WITH("queue: { timeout: off }"),
         "1:72: pools.p.queue.timeout: expected a duration from 1ms to 1h, found \"off\""},
        {WITH("queue: { priority: {} }"),
         "1:73: pools.p.queue.priority.header: missing; expected the name of a header field"},
        {WITH("queue: { priority: { header: \"x y\" } }"),
         "1:83: pools.p.queue.priority.header: expected a token of at most 63 bytes, found \"x "
         "y\"; write one like edge-1"},
        {POOL(""),
         "1:13: pools.p.discover: missing; expected a map with static, kubernetes, file or "
         "dns"},
        {POOL("balance: round_robin"),
         "1:13: pools.p.discover: missing; expected a map with static, kubernetes, file or "
         "dns"},
        {POOL("discover: { static: [\"10.0.0.7:80\"] }, balance: ring_hash"),
         "1:63: pools.p.balance: ring_hash needs a key; write { policy: ring_hash, key: { header: "
         "x-session-id } }, or key: { source: true } for the client's address"},
        {POOL("discover: { static: [\"10.0.0.7:80\"] }, balance: { policy: maglev }"),
         "1:63: pools.p.balance: maglev needs a key; write { policy: maglev, key: { header: "
         "x-session-id } }, or key: { source: true } for the client's address"},
        {POOL("discover: { static: [\"10.0.0.7:80\"] }, balance: [random]"),
         "1:63: pools.p.balance: expected the name of a policy or a map with one, found a list of "
         "1"},
        {POOL("discover: { static: [\"10.0.0.7:80\"] }, balance: { key: { source: true } }"),
         "1:63: pools.p.balance.policy: missing; expected the name of a policy"},
        {POOL("discover: { static: [\"10.0.0.7:80\"] }, balance: { policy: random, key: { source: "
              "true } }"),
         "1:81: pools.p.balance.key: means nothing to random; remove it, or write policy: "
         "ring_hash or policy: maglev"},
        {POOL("discover: { static: [\"10.0.0.7:80\"] }, balance: { policy: random, bound: 2 }"),
         "1:81: pools.p.balance.bound: means nothing to random; remove it, or write policy: "
         "ring_hash or policy: maglev"},
        {POOL("discover: { static: [\"10.0.0.7:80\"] }, balance: { policy: maglev, key: {} }"),
         "1:86: pools.p.balance.key: expected header, cookie, query or source, found none; write "
         "header: x-session-id"},
        {POOL("discover: { static: [\"10.0.0.7:80\"] }, balance: { policy: maglev, key: { header: "
              "a, cookie: b } }"),
         "1:99: pools.p.balance.key.cookie: excludes header, which stands at line 1; remove one of "
         "them"},
        {POOL("discover: { static: [\"10.0.0.7:80\"] }, balance: { policy: maglev, key: { source: "
              "true }, bound: 1 }"),
         "1:111: pools.p.balance.bound: expected a number from 1.01 to 10 with at most two digits "
         "behind the point, or off, found \"1\"; write 1.25"},
        {POOL("discover: { static: [\"10.0.0.7:80\"] }, balance: { policy: maglev, key: { source: "
              "true }, bound: 1.255 }"),
         "1:111: pools.p.balance.bound: expected a number from 1.01 to 10 with at most two digits "
         "behind the point, or off, found \"1.255\"; write 1.25"},
        {POOL("discover: { static: [\"10.0.0.7:80\"] }, balance: { policy: maglev, key: { source: "
              "true }, bound: 10.01 }"),
         "1:111: pools.p.balance.bound: expected a number from 1.01 to 10 with at most two digits "
         "behind the point, or off, found \"10.01\"; write 1.25"},
        {POOL("discover: {}"),
         "1:25: pools.p.discover: expected static, kubernetes, file or dns, found none; write "
         "static: [\"10.0.0.7:8000\"]"},
        {POOL("discover: { static: [] }"),
         "1:35: pools.p.discover.static: expected a list of 1 to 4096 addresses, found an empty "
         "list; write [\"10.0.0.7:8000\", \"10.0.0.8:8000\"]"},
        {POOL("discover: { static: \"10.0.0.7:80\" }"),
         "1:35: pools.p.discover.static: expected a list of 1 to 4096 addresses, found "
         "\"10.0.0.7:80\"; write [\"10.0.0.7:8000\", \"10.0.0.8:8000\"]"},
        {POOL("discover: { static: [\"10.0.0.7\"] }"),
         "1:36: pools.p.discover.static[0]: expected an address with a port, found \"10.0.0.7\"; "
         "write 127.0.0.1:8080, [::1]:8080 or unix:/path"},
        {POOL("discover: { static: [\"10.0.0.7:0\"] }"),
         "1:36: pools.p.discover.static[0]: expected a port from 1 to 65535, found \"10.0.0.7:0\"; "
         "write 127.0.0.1:8080, [::1]:8080 or unix:/path"},
        {POOL("discover: { static: [\"[::1]:80\", \"[0:0::1]:80\"] }"),
         "1:48: pools.p.discover.static[1]: expected another address, found \"[::1]:80\" again; it "
         "stands at line 1 already"},
        {POOL("discover: { static: [{ address: \"10.0.0.7:80\", weight: 0 }] }"),
         "1:35: pools.p.discover.static: expected a weight above 0, found only zeros"},
        {POOL("discover: { static: [{ weight: 3 }] }"),
         "1:36: pools.p.discover.static[0].address: missing; expected an address"},
        {POOL("discover: { static: [\"10.0.0.7:80\"], kubernetes: { service: llama } }"),
         "1:52: pools.p.discover.kubernetes: excludes static, which stands at line 1; remove one "
         "of them"},
        {POOL("discover: { kubernetes: { service: llama }, file: e.yaml }"),
         "1:59: pools.p.discover.file: excludes kubernetes, which stands at line 1; remove one of "
         "them"},
        {POOL("discover: { file: [] }"),
         "1:33: pools.p.discover.file: expected the path of a file, found an empty list"},
        {POOL("discover: { dns: { name: a, port: 1 }, static: [\"10.0.0.7:80\"] }"),
         "1:54: pools.p.discover.static: excludes dns, which stands at line 1; remove one of them"},
        {DNS("port: 8000"), "1:32: pools.p.discover.dns.name: missing; expected a name"},
        {DNS("name: llama"),
         "1:32: pools.p.discover.dns.port: missing; addresses have none, write port: 8000 or type: "
         "srv"},
        {DNS("name: llama, port: 8000, type: srv"),
         "1:47: pools.p.discover.dns.port: excludes type: srv, whose records have their own ports; "
         "remove one of them"},
        {DNS("name: 10.0.0.7, port: 8000"),
         "1:40: pools.p.discover.dns.name: expected a name, found \"10.0.0.7\"; write static: "
         "[\"10.0.0.7:8000\"] for an address"},
        {DNS("name: a..b, port: 8000"),
         "1:40: pools.p.discover.dns.name: expected a name of at most 253 of a-z, 0-9, '-', '_' "
         "and '.', found \"a..b\"; write one like llama.prod.svc.cluster.local"},
        {DNS("name: a, port: 8000, servers: [ns1]"),
         "1:65: pools.p.discover.dns.servers[0]: expected the address of a DNS server with its "
         "port, found \"ns1\"; write \"10.96.0.10:53\" or \"[fd00::a]:53\""},
        {DNS("name: a, port: 8000, max_ttl: 1s, min_ttl: 2s"),
         "1:64: pools.p.discover.dns.max_ttl: expected a max_ttl that is not below min_ttl, found "
         "1000ms below 2000ms"},
        {KUBERNETES("namespace: prod"),
         "1:39: pools.p.discover.kubernetes: expected service, slices, pods or inference_pool, "
         "found none; write service: NAME"},
        {KUBERNETES("service: llama, slices: app=llama"),
         "1:57: pools.p.discover.kubernetes.slices: excludes service, which stands at line 1; "
         "remove one of them"},
        {KUBERNETES("pods: app=llama"),
         "1:39: pools.p.discover.kubernetes.port: missing; pods without service or slices needs "
         "it, write port: 8000"},
        {KUBERNETES("service: Llama"),
         "1:50: pools.p.discover.kubernetes.service: expected a Kubernetes name of at most 63 of "
         "a-z, 0-9 and '-', found \"Llama\"; write it as `kubectl get` shows it"},
        {KUBERNETES("namespace: ../x, service: llama"),
         "1:52: pools.p.discover.kubernetes.namespace: expected a Kubernetes name of at most 63 of "
         "a-z, 0-9 and '-', found \"../x\"; write it as `kubectl get` shows it"},
        {KUBERNETES("service: llama, port: 0"),
         "1:63: pools.p.discover.kubernetes.port: expected a port from 1 to 65535 or its name, "
         "found \"0\"; write 8000 or http"},
        {KUBERNETES("service: llama, port: a-very-long-port-name"),
         "1:63: pools.p.discover.kubernetes.port: expected a port from 1 to 65535 or its name, "
         "found \"a-very-long-port-name\"; write 8000 or http"},
        {KUBERNETES("pods: \"\", port: 80"),
         "1:47: pools.p.discover.kubernetes.pods: expected a label selector, found nothing; write "
         "one like \"app=llama\""},
        {KUBERNETES("slices: \"\""),
         "1:49: pools.p.discover.kubernetes.slices: expected a label selector, found nothing; "
         "write one like \"app=llama\""},
        {KUBERNETES("namespace: [], service: llama"),
         "1:52: pools.p.discover.kubernetes.namespace: expected the name of a namespace, a list of "
         "1 to 64 of them, or \"*\", found an empty list"},
        {KUBERNETES("namespace: [a, \"*\"], service: llama"),
         "1:56: pools.p.discover.kubernetes.namespace[1]: expected the name of a namespace, found "
         "\"*\", which means all of them; write namespace: \"*\" alone"},
        {KUBERNETES("namespace: [a, A], service: llama"),
         "1:56: pools.p.discover.kubernetes.namespace[1]: expected a Kubernetes name of at most 63 "
         "of a-z, 0-9 and '-', found \"A\"; write it as `kubectl get` shows it"},
        {KUBERNETES("inference_pool: a, service: llama"),
         "1:60: pools.p.discover.kubernetes.service: excludes inference_pool, which stands at line "
         "1; remove one of them"},
        {KUBERNETES("inference_pool: a, port: 80"),
         "1:60: pools.p.discover.kubernetes.port: excludes inference_pool, which stands at line 1; "
         "remove one of them"},
        {KUBERNETES("inference_pool: a, namespace: [a, b]"),
         "1:71: pools.p.discover.kubernetes.namespace: expected the name of one namespace beside "
         "inference_pool; write a pool for each"},
        {KUBERNETES("pods: a, port: 80, api: slices"),
         "1:60: pools.p.discover.kubernetes.api: needs service or slices beside it"},
        {KUBERNETES("service: a, family: ipv5"),
         "1:61: pools.p.discover.kubernetes.family: expected ipv4 or ipv6, found \"ipv5\""},
        {ROOT("kubernetes: { zone: a, node: b }"),
         "1:24: kubernetes.node: excludes zone, which stands at line 1; remove one of them"},
        {WITH("health: { http: /health, tcp: true }"),
         "1:79: pools.p.health.tcp: excludes http, which stands at line 1; remove one of them"},
        {WITH("health: { tcp: false }"),
         "1:69: pools.p.health.tcp: expected true, found \"false\""},
        {WITH("health: { http: health }"),
         "1:70: pools.p.health.http: expected a path that begins with \"/\", without spaces and "
         "\"#\", found \"health\"; write one like /health"},
        {WITH("health: on"), "1:62: pools.p.health: expected a map or off, found \"on\""},
        {WITH("health: { interval: 1s }"),
         "1:62: pools.p.health: expected http or tcp, found neither; write http: /health, or "
         "health: off"},
        {WITH("health: { tcp: true, interval: 5ms }"),
         "1:85: pools.p.health.interval: expected a duration from 10ms to 1h, found \"5ms\""},
        {WITH("health: { tcp: true, body: x }"), "1:75: pools.p.health.body: needs http beside it"},
        {WITH("health: { http: /, body: \"\" }"),
         "1:79: pools.p.health.body: expected a text of 1 to 255 bytes, found one of 0"},
        {WITH("health: { http: /, port: 0 }"),
         "1:79: pools.p.health.port: expected a number from 1 to 65535, found \"0\""},
        {WITH("health: { http: /, status: [] }"),
         "1:81: pools.p.health.status: expected a status, a range or a list of 1 to 16 of them, "
         "found an empty list"},
        {WITH("health: { http: /, status: [200, 199] }"),
         "1:87: pools.p.health.status[1]: expected a status from 200 to 599 or a range of them, "
         "found \"199\"; write 200 or 200-299"},
        {WITH("health: { http: /, status: 299-200 }"),
         "1:81: pools.p.health.status: expected a status from 200 to 599 or a range of them, "
         "found \"299-200\"; write 200 or 200-299"},
        {WITH("health: { http: /, headers: [a] }"),
         "1:82: pools.p.health.headers: expected a map of 1 to 16 names of header fields to "
         "values, found a list of 1"},
        {WITH("health: { http: /, headers: { Host: a } }"),
         "1:84: pools.p.health.headers.Host: expected a header field that a check does not send by "
         "itself; remove it, and write host: NAME for a host"},
        {WITH("health: { http: /, headers: { a: \" b\" } }"),
         "1:87: pools.p.health.headers.a: expected the value of a header field, without control "
         "characters and spaces at its ends"},
        {WITH("health: { http: /, headers: { a: [b] } }"),
         "1:87: pools.p.health.headers.a: expected the value of a header field, found a list of 1"},
        {WITH("health: { tcp: true, fall: 101 }"),
         "1:81: pools.p.health.fall: expected a number from 1 to 100, found \"101\""},
        {WITH("slow_start: { aggression: 0 }"), AGGRESSION("0")},
        {WITH("slow_start: { aggression: 0.09 }"), AGGRESSION("0.09")},
        {WITH("slow_start: { aggression: 10.001 }"), AGGRESSION("10.001")},
        {WITH("slow_start: { aggression: 1. }"), AGGRESSION("1.")},
        {WITH("slow_start: { aggression: .5 }"), AGGRESSION(".5")},
        {WITH("slow_start: { aggression: 1.0000 }"), AGGRESSION("1.0000")},
        {WITH("slow_start: { aggression: -1 }"), AGGRESSION("-1")},
        {WITH("slow_start: { aggression: 1e1 }"), AGGRESSION("1e1")},
        {WITH("tls: {}"), "1:59: pools.p.tls.ca: missing; expected the path of a file in PEM"},
        {WITH("tls: { ca: \"\" }"),
         "1:65: pools.p.tls.ca: expected the path of a file in PEM, found nothing"},
        {WITH("tls: { ca: / }"), "1:65: pools.p.tls.ca: cannot read \"/\": not a regular file"},
        {WITH("tls: { ca: /nonexistent/ca }"),
         "1:65: pools.p.tls.ca: cannot read \"/nonexistent/ca\": No such file or directory"},
        {WITH("timeouts: { first_byte: never }"),
         "1:78: pools.p.timeouts.first_byte: expected a duration from 1ms to 24h or off, found "
         "\"never\""},
        {WITH("timeouts: { connect: off }"),
         "1:75: pools.p.timeouts.connect: expected a duration from 1ms to 10m, found \"off\""},
        {WITH("timeouts: { keepalive_idle: 0s }"),
         "1:82: pools.p.timeouts.keepalive_idle: expected a duration from 1ms to 1h or off, found "
         "\"0s\""},
        {WITH("timeouts: { total: 8761h }"),
         "1:73: pools.p.timeouts.total: expected at most one year (8760h), found \"8761h\"; write "
         "150ms, 2s, 5m or 1h"},
        {WITH("timeouts: { idle: 3s }"),
         "1:66: pools.p.timeouts.idle: unknown key; expected connect, write, first_byte, "
         "inter_byte, "
         "total or keepalive_idle"},
    };
    struct sl_config_errors errors;
    char line[1024];
    (void)state;

    for (size_t i = 0; i < SL_ARRAY_LEN(rows); i++) {
        int rc = parse(rows[i].text, &errors);

        check(rc == SL_ECONFIG, "%d for %s", rc, rows[i].text);
        check(errors.n == 1, "%zu errors for %s", errors.n, rows[i].text);
        sl_error_format(&errors.items[0], line, sizeof(line));
        check(strncmp(line, "f.yaml:", 7) == 0 && strcmp(line + 7, rows[i].message) == 0,
              "\"%s\", expected \"%s\"", line, rows[i].message);
    }
}

/* Their wording belongs to the policies and to the label selectors; the place is ours. */
static void policies_and_selectors_are_asked_for_their_opinion(void **state)
{
    static const struct {
        const char *text;
        const char *key;
        const char *message_has;
    } rows[] = {
        {WITH("balance: least_requests"), "pools.p.balance", "round_robin"},
        {KUBERNETES("service: a, pods: \"app in b\""), "pools.p.discover.kubernetes.pods", ""},
        {KUBERNETES("slices: \"=b\""), "pools.p.discover.kubernetes.slices", ""},
    };
    struct sl_config_errors errors;
    (void)state;

    for (size_t i = 0; i < SL_ARRAY_LEN(rows); i++) {
        assert_int_equal(parse(rows[i].text, &errors), SL_ECONFIG);
        assert_int_equal(errors.n, 1);
        assert_int_equal(errors.items[0].line, 1);
        assert_string_equal(errors.items[0].key, rows[i].key);
        check(strstr(errors.items[0].message, rows[i].message_has) != NULL, "\"%s\" lacks \"%s\"",
              errors.items[0].message, rows[i].message_has);
    }
}

static void all_mistakes_are_reported_in_the_order_of_the_file(void **state)
{
    static const char text[] =
        "pools:\n"
        "  b: { discover: { static: [x] }, blance: y }\n"
        "  c: { balance: z }\n" /* missing is found last, stands first */
        "listeners:\n"
        "  - name: main\n"
        "    bnid: 127.0.0.1:1\n" /* and not that bind is missing */
        "    http: { routes: [{ name: A, split: { a: z } }] }\n"
        "workers: 0\n";
    static const char *const keys[] = {
        "pools.b.discover.static[0]",
        "pools.b.blance",
        "pools.c.discover",
        "pools.c.balance",
        "listeners[0].bnid",
        "listeners[0].http.routes[0].name",
        "listeners[0].http.routes[0].split.a",
        "listeners[0].http.routes[0].split.a",
        "workers",
    };
    struct sl_config_errors errors;
    (void)state;

    assert_int_equal(parse(text, &errors), SL_ECONFIG);
    assert_int_equal(errors.n, SL_ARRAY_LEN(keys));
    assert_int_equal(errors.dropped_n, 0);
    for (size_t i = 0; i < SL_ARRAY_LEN(keys); i++) {
        assert_string_equal(errors.items[i].key, keys[i]);
    }
}

static void beyond_the_limit_the_first_mistakes_are_kept_and_the_rest_counted(void **state)
{
    static const char tail[] = "workers: 0\n";
    struct sl_config_errors errors;
    char text[2048] = "pools:\n";
    size_t used = strlen(text);
    (void)state;

    for (int i = 0; i < 30; i++) {
        used += (size_t)snprintf(text + used, sizeof(text) - used, "  p%d: { discover: {} }\n", i);
    }
    memcpy(text + used, tail, sizeof(tail));
    assert_int_equal(parse(text, &errors), SL_ECONFIG);
    assert_int_equal(errors.n, SL_CONFIG_ERRORS_MAX_N);
    assert_int_equal(errors.dropped_n, 11);
    for (size_t i = 0; i < errors.n; i++) {
        assert_int_equal(errors.items[i].line, i + 2);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_wrong_is_said_in_full),
        cmocka_unit_test(policies_and_selectors_are_asked_for_their_opinion),
        cmocka_unit_test(all_mistakes_are_reported_in_the_order_of_the_file),
        cmocka_unit_test(beyond_the_limit_the_first_mistakes_are_kept_and_the_rest_counted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
