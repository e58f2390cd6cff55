/* SPDX-License-Identifier: Apache-2.0 */
#include <sluiced/discovery.h>
#include <sluiced/log.h>
#include <sluiced/time.h>

#include "discovery/kubernetes/kubernetes.h"
#include "discovery/kubernetes/merge.h"
#include "proxy/base/alloc.h"
#include "proxy/io/fetch.h"
#include "proxy/io/loop.h"
#include "tests/unit/check.h"
#include "tests/unit/discovery/fake_api.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SLICES "/apis/discovery.k8s.io/v1/namespaces/prod/endpointslices?"
#define PODS "/api/v1/namespaces/prod/pods?"
#define BY_SERVICE "labelSelector=kubernetes.io%2Fservice-name%3Dllama"
#define PAGE(items) "{\"metadata\":{\"resourceVersion\":\"10\"},\"items\":[" items "]}"
#define EVENT(type, object) "{\"type\":\"" type "\",\"object\":" object "}\n"
#define EP(host, pod)                                        \
    "{\"addresses\":[\"" host                                \
    "\"],\"conditions\":{},\"targetRef\":{\"kind\":\"Pod\"," \
    "\"name\":\"" pod "\",\"uid\":\"u-" pod "\"}}"
#define SLICE(name, endpoints)                                 \
    "{\"metadata\":{\"name\":\"" name                          \
    "\",\"resourceVersion\":\"11\"},\"addressType\":\"IPv4\"," \
    "\"endpoints\":[" endpoints "],\"ports\":[{\"name\":\"http\",\"port\":8000}]}"
#define POD_NAME(name) \
    "{\"metadata\":{\"name\":\"" name "\",\"uid\":\"u-" name "\",\"resourceVersion\":\"12\"}}"

struct rig {
    struct sl_loop *loop;
    struct sl_fetcher *fetcher;
    struct sl_discovery *discovery;
    struct fake_api api;
    struct sl_sink sink;
    struct sl_source *source;
    struct sl_pool_config pool;
    struct sl_config config;
    char kubeconfig[64];
    int snapshots_n;
    uint64_t received_us;
    uint64_t at_ms; /* when the last one came */
    char text[4096];
};

static struct rig rig;

static void on_snapshot(struct sl_sink *sink, const struct sl_snapshot *snapshot)
{
    size_t at = 0;

    assert_ptr_equal(sink, &rig.sink);
    rig.snapshots_n++;
    rig.received_us = snapshot->received_us;
    rig.at_ms = sl_loop_now_ms(rig.loop);
    rig.text[0] = '\0';
    for (size_t i = 0; i < snapshot->n; i++) {
        const struct sl_found *f = &snapshot->items[i];
        at += (size_t)snprintf(rig.text + at, sizeof(rig.text) - at, "%s:%u%s ", f->address.host,
                               f->address.port, f->draining ? "~" : "");
    }
}

static int setup(void **state)
{
    FILE *f;
    (void)state;

    memset(&rig, 0, sizeof(rig));
    assert_int_equal(sl_loop_new(&rig.loop), SL_OK);
    assert_int_equal(sl_fetcher_new(rig.loop, &rig.fetcher), SL_OK);
    assert_int_equal(sl_discovery_new(rig.loop, rig.fetcher, &rig.discovery), SL_OK);
    fake_start(&rig.api, rig.loop);
    rig.sink.on_snapshot = on_snapshot;
    (void)snprintf(rig.kubeconfig, sizeof(rig.kubeconfig), "/tmp/sl-kube-XXXXXX");
    f = fdopen(mkstemp(rig.kubeconfig), "w");
    assert_non_null(f);
    assert_true(fprintf(f,
                        "current-context: c\ncontexts: [{name: c, context: {cluster: k, "
                        "namespace: prod}}]\nclusters: [{name: k, cluster: {server: '%s'}}]\n",
                        rig.api.url) > 0);
    assert_int_equal(fclose(f), 0);
    rig.config.kubernetes.kubeconfig = rig.kubeconfig;
    rig.pool.name = "chat";
    rig.pool.discover.kind = SL_DISCOVER_KUBERNETES;
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    if (rig.source != NULL) {
        rig.source->ops->stop(rig.source);
    }
    sl_discovery_free(rig.discovery);
    sl_fetcher_free(rig.fetcher);
    fake_stop(&rig.api);
    sl_loop_free(rig.loop);
    return unlink(rig.kubeconfig);
}

static int try_start(struct sl_kubernetes_config c, struct sl_error *err)
{
    rig.pool.discover.kubernetes = c;
    return sl_source_get(SL_DISCOVER_KUBERNETES)
        ->start(&rig.pool, &rig.config, rig.discovery, &rig.sink, &rig.source, err);
}

static void start(struct sl_kubernetes_config c)
{
    struct sl_error err = {0};
    int rc = try_start(c, &err);
    check(rc == SL_OK, "%d: %s", rc, err.message);
}

static struct sl_source_status status(void)
{
    struct sl_source_status s;
    rig.source->ops->status(rig.source, &s);
    return s;
}

static bool has_text(void *want)
{
    return rig.snapshots_n > 0 && strcmp(rig.text, want) == 0;
}

static void expect(const char *want)
{
    char text[128];

    (void)snprintf(text, sizeof(text), "%s", want);
    fake_run_until(rig.loop, has_text, text, 5000, want);
}

static bool has_part(void *part)
{
    return strstr(rig.text, part) != NULL;
}

static void expect_part(const char *part)
{
    char text[128];

    (void)snprintf(text, sizeof(text), "%s", part);
    fake_run_until(rig.loop, has_part, text, 5000, part);
}

static bool has_no_error(void *arg)
{
    (void)arg;
    return status().last_error[0] == '\0';
}

static bool has_error(void *part)
{
    return strstr(status().last_error, part) != NULL;
}

static void expect_error(const char *part)
{
    char text[128];

    (void)snprintf(text, sizeof(text), "%s", part);
    fake_run_until(rig.loop, has_error, text, 5000, part);
}

/* Answers the list, opens the watch that follows and returns it. */
static struct fake_conn *serve(const char *path, const char *page)
{
    char list[160];
    char watch[160];

    (void)snprintf(list, sizeof(list), "%slabelSelector", path);
    (void)snprintf(watch, sizeof(watch), "%swatch=1", path);
    fake_answer(fake_take(&rig.api, list), 200, "", page);
    struct fake_conn *conn = fake_take(&rig.api, watch);
    fake_open(conn);
    return conn;
}

static void a_service_is_the_union_of_its_slices(void **state)
{
    (void)state;

    start((struct sl_kubernetes_config){.service = "llama"});
    assert_false(status().synced);
    struct fake_conn *list = fake_take(&rig.api, SLICES BY_SERVICE "&resourceVersion=0");
    fake_answer(list, 200, "",
                PAGE(SLICE("a", EP("10.0.0.1", "p1")) "," SLICE(
                    "b", EP("10.0.0.2", "p2") "," EP("10.0.0.1", "p1"))));
    expect("10.0.0.1:8000 10.0.0.2:8000 ");
    assert_int_equal(rig.snapshots_n, 1);
    assert_true(rig.received_us > 0 && rig.received_us <= sl_time_now_us());
    struct fake_conn *watch = fake_take(&rig.api, SLICES "watch=1");
    assert_non_null(strstr(watch->request, BY_SERVICE));
    fake_open(watch);
    fake_chunk(watch,
               EVENT("DELETED", "{\"metadata\":{\"name\":\"a\",\"resourceVersion\":\"11\"}}"));
    fake_run_for(rig.loop, 100);
    assert_int_equal(rig.snapshots_n, 1); /* the other slice has it still: no news */
    fake_chunk(watch, EVENT("MODIFIED", SLICE("b", EP("10.0.0.2", "p2"))));
    expect("10.0.0.2:8000 ");
    fake_chunk(watch, EVENT("DELETED", SLICE("b", "")));
    expect("");
    struct sl_source_status s = status();
    assert_true(s.synced && s.connected);
    assert_int_equal(s.events_n, 3);
    assert_true(s.fresh_at_ms > 0);
    assert_string_equal(s.last_error, "");
}

static void an_empty_service_is_pushed_as_empty_once(void **state)
{
    (void)state;

    start((struct sl_kubernetes_config){.service = "llama"});
    (void)serve(SLICES, PAGE(""));
    expect("");
    assert_int_equal(rig.snapshots_n, 1);
    assert_true(status().synced);
}

static void a_storm_of_events_costs_few_sets_and_a_lone_one_no_wait(void **state)
{
    char event[512];
    (void)state;

    start((struct sl_kubernetes_config){.service = "llama"});
    struct fake_conn *watch = serve(SLICES, PAGE(""));
    expect("");
    fake_run_for(rig.loop, 60);
    int before_n = rig.snapshots_n;
    uint64_t began_ms = sl_time_now_ms();
    for (int i = 1; i <= 100; i++) {
        (void)snprintf(event, sizeof(event), EVENT("ADDED", SLICE("s%d", EP("10.0.1.%d", "p"))), i,
                       i);
        fake_chunk(watch, event);
        if (i == 1) {
            expect("10.0.1.1:8000 ");
            check(rig.at_ms * 1000 <= rig.received_us + 1000, "a lone change waited");
        }
        fake_run_for(rig.loop, 2);
    }
    uint64_t took_ms = sl_time_now_ms() - began_ms;
    uint64_t sets_n = (uint64_t)(rig.snapshots_n - before_n);
    check(sets_n <= took_ms / SL_MERGE_GAP_MIN_MS + 1, "%ju sets in %ju ms", (uintmax_t)sets_n,
          (uintmax_t)took_ms);
    expect_part("10.0.1.17:8000");
}

static void pods_narrow_a_service_and_both_must_be_known_first(void **state)
{
    (void)state;

    start((struct sl_kubernetes_config){.service = "llama", .pods = "version in (v1)"});
    struct fake_conn *slices =
        serve(SLICES, PAGE(SLICE("a", EP("10.0.0.1", "p1") "," EP("10.0.0.2", "p2"))));
    fake_run_for(rig.loop, 80);
    assert_int_equal(rig.snapshots_n, 0);
    struct fake_conn *list =
        fake_take(&rig.api, PODS "labelSelector=version%20in%20%28v1%29&resourceVersion=0");
    assert_non_null(strstr(list->request, "as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"));
    fake_answer(list, 200, "", PAGE(POD_NAME("p1")));
    expect("10.0.0.1:8000 ");
    struct fake_conn *pods = fake_take(&rig.api, PODS "watch=1");
    fake_open(pods);
    fake_chunk(pods, EVENT("ADDED", POD_NAME("p2")));
    expect("10.0.0.1:8000 10.0.0.2:8000 ");
    fake_chunk(pods, EVENT("DELETED", POD_NAME("p1")));
    expect("10.0.0.2:8000 ");
    fake_cut(pods);
    expect_error("pods: ");
    assert_false(status().connected);
    fake_chunk(slices, EVENT("MODIFIED", SLICE("a", EP("10.0.0.9", "p2"))));
    expect("10.0.0.9:8000 "); /* what works goes on */
}

#define POD(name, host, extra)                                                     \
    "{\"metadata\":{\"name\":\"" name "\",\"resourceVersion\":\"12\"" extra        \
    "},\"spec\":{"                                                                 \
    "\"containers\":[{\"ports\":[{\"name\":\"http\",\"containerPort\":8000},"      \
    "{\"name\":\"grpc\",\"containerPort\":9000}]}]},\"status\":{\"podIP\":\"" host \
    "\","                                                                          \
    "\"conditions\":[{\"type\":\"Ready\",\"status\":\"True\"}]}}"

static void pods_alone_are_watched_directly(void **state)
{
    (void)state;

    start((struct sl_kubernetes_config){.pods = "app=llama", .port_name = "grpc"});
    struct fake_conn *watch =
        serve(PODS, PAGE(POD("p1", "10.0.0.1", "") "," POD("p2", "10.0.0.2", "")));
    expect("10.0.0.1:9000 10.0.0.2:9000 ");
    fake_chunk(watch, EVENT("MODIFIED", POD("p1", "10.0.0.1",
                                            ",\"deletionTimestamp\":\"2026-11-23T17:11:02Z\"")));
    expect("10.0.0.1:9000~ 10.0.0.2:9000 ");
    fake_chunk(watch, EVENT("DELETED", POD("p1", "10.0.0.1", "")));
    expect("10.0.0.2:9000 ");
    assert_false(fake_has(&rig.api, SLICES));
}

static void no_port_to_choose_is_said_and_heals(void **state)
{
    (void)state;

    start((struct sl_kubernetes_config){.pods = "app=llama"});
    struct fake_conn *watch = serve(PODS, PAGE(POD("p1", "10.0.0.1", "")));
    expect("");
    expect_error("p1 has 2 TCP ports and none was chosen; set port:");
    fake_chunk(watch, EVENT("DELETED", POD("p1", "10.0.0.1", "")));
    fake_run_until(rig.loop, has_no_error, NULL, 5000, "no error");
}

static void pod_labels_in_slices_are_noticed(void **state)
{
    (void)state;

    start((struct sl_kubernetes_config){.slices = "app=llama,version=v1"});
    struct fake_conn *watch = serve(SLICES, PAGE(""));
    fake_answer(fake_take(&rig.api, PODS "labelSelector=app%3Dllama%2Cversion%3Dv1&limit=1"), 200,
                "", PAGE(POD_NAME("p1")));
    expect_error("write pods: instead");
    expect("");
    assert_true(status().connected);
    assert_false(fake_has(&rig.api, PODS)); /* it asks once and does not watch */
    fake_chunk(watch, EVENT("ADDED", SLICE("a", EP("10.0.0.1", "p1"))));
    expect("10.0.0.1:8000 ");
    assert_string_equal(status().last_error, "");
}

static void a_lost_server_takes_nothing_away(void **state)
{
    (void)state;

    start((struct sl_kubernetes_config){.service = "llama"});
    struct fake_conn *watch = serve(SLICES, PAGE(SLICE("a", EP("10.0.0.1", "p1"))));
    expect("10.0.0.1:8000 ");
    fake_cut(watch);
    for (int i = 0; i < 3; i++) {
        fake_cut(fake_take(&rig.api, SLICES "watch=1"));
    }
    struct sl_source_status s = status();
    assert_true(s.synced);
    assert_false(s.connected);
    assert_true(s.errors_n >= 3);
    assert_int_equal(rig.snapshots_n, 1);
    assert_string_equal(rig.text, "10.0.0.1:8000 ");
}

static void stopped_it_says_no_more(void **state)
{
    (void)state;

    start((struct sl_kubernetes_config){.service = "llama", .pods = "a=b"});
    struct fake_conn *watch = serve(SLICES, PAGE(SLICE("a", EP("10.0.0.1", "p1"))));
    (void)serve(PODS, PAGE(POD_NAME("p1")));
    expect("10.0.0.1:8000 ");
    fake_chunk(watch, EVENT("DELETED", SLICE("a", "")));
    rig.source->ops->stop(rig.source);
    rig.source = NULL;
    int before_n = rig.snapshots_n;
    fake_run_for(rig.loop, 100);
    assert_int_equal(rig.snapshots_n, before_n);
    assert_false(fake_has(&rig.api, "GET")); /* nor does it ask */
}

static void what_cannot_start_says_why(void **state)
{
    static const char *const odd = "a/b";
    struct sl_error err;
    (void)state;

    assert_int_equal(
        try_start((struct sl_kubernetes_config){.service = "x", .namespaces = {&odd, 1}}, &err),
        SL_ECONFIG);
    assert_non_null(strstr(err.message, "name of a namespace, found \"a/b\""));
    rig.config.kubernetes.kubeconfig = "/nonexistent/config";
    assert_int_equal(try_start((struct sl_kubernetes_config){.service = "x"}, &err), SL_ECONFIG);
    assert_non_null(strstr(err.message, "cannot read /nonexistent/config"));
    assert_null(rig.source);
}

/* ---- What sources share */

/* A second pool, with a sink that keeps quiet but for its number of snapshots. */
struct second {
    struct sl_sink sink;
    struct sl_source *source;
    struct sl_pool_config pool;
    size_t endpoints_n;
    int snapshots_n;
};

static void on_second(struct sl_sink *sink, const struct sl_snapshot *snapshot)
{
    struct second *s = sl_container_of(sink, struct second, sink);

    s->snapshots_n++;
    s->endpoints_n = snapshot->n;
}

static void start_second(struct second *s, struct sl_kubernetes_config c)
{
    struct sl_error err = {0};

    s->sink.on_snapshot = on_second;
    s->pool.name = "second";
    s->pool.discover.kubernetes = c;
    int rc = sl_source_get(SL_DISCOVER_KUBERNETES)
                 ->start(&s->pool, &rig.config, rig.discovery, &s->sink, &s->source, &err);
    check(rc == SL_OK, "%d: %s", rc, err.message);
    assert_int_equal(s->snapshots_n, 0);
}

static bool has_snapshot(void *arg)
{
    const struct second *s = arg;
    return s->snapshots_n > 0;
}

static bool is_closed(void *arg)
{
    const struct fake_conn *c = arg;
    return c->fd < 0;
}

static void pools_of_the_same_slices_share_one_watch(void **state)
{
    struct second s = {.snapshots_n = 0};
    (void)state;

    start((struct sl_kubernetes_config){.service = "llama"});
    start_second(&s, (struct sl_kubernetes_config){.service = "llama", .port = 9000});
    struct fake_conn *watch = serve(SLICES, PAGE(SLICE("a", EP("10.0.0.1", "p1"))));
    expect("10.0.0.1:8000 ");
    fake_run_until(rig.loop, has_snapshot, &s, 5000, "a snapshot of the second");
    assert_int_equal(rig.api.requests_n, 2); /* one list, one watch */
    rig.source->ops->stop(rig.source);       /* the watch was started by it */
    rig.source = NULL;
    fake_chunk(watch, EVENT("ADDED", SLICE("b", EP("10.0.0.2", "p2"))));
    for (int i = 0; s.endpoints_n < 2; i++) {
        check(i < 200, "the one that is left hears nothing");
        fake_run_for(rig.loop, 10);
    }
    s.source->ops->stop(s.source);
    fake_run_until(rig.loop, is_closed, watch, 5000, "its end, with the last one");
    fake_run_for(rig.loop, 50);
    assert_int_equal(rig.api.requests_n, 2);
}

static void who_comes_late_is_told_what_is_known(void **state)
{
    struct second s = {.snapshots_n = 0};
    (void)state;

    start((struct sl_kubernetes_config){.service = "llama"});
    (void)serve(SLICES, PAGE(SLICE("a", EP("10.0.0.1", "p1"))));
    expect("10.0.0.1:8000 ");
    start_second(&s, (struct sl_kubernetes_config){.service = "llama"});
    fake_run_until(rig.loop, has_snapshot, &s, 5000, "a snapshot of the second");
    assert_int_equal(s.endpoints_n, 1);
    assert_int_equal(rig.api.requests_n, 2);
    s.source->ops->stop(s.source);
    s.snapshots_n = 0;
    start_second(&s, (struct sl_kubernetes_config){.service = "other"});
    (void)fake_take(&rig.api, SLICES "labelSelector=kubernetes.io%2Fservice-name%3Dother");
    s.source->ops->stop(s.source);
}

/* ---- Where */

static void each_namespace_has_its_watch(void **state)
{
    static const char *const names[] = {"a", "b"};
    (void)state;

    start((struct sl_kubernetes_config){.service = "llama", .namespaces = {names, 2}});
    (void)serve("/namespaces/a/endpointslices?", PAGE(SLICE("s", EP("10.0.0.1", "p1"))));
    fake_run_for(rig.loop, 60);
    assert_int_equal(rig.snapshots_n, 0);
    struct fake_conn *watch =
        serve("/namespaces/b/endpointslices?", PAGE(SLICE("s", EP("10.0.0.2", "p1"))));
    expect("10.0.0.1:8000 10.0.0.2:8000 ");
    assert_int_equal(status().watches_n, 2);
    fake_chunk(watch, EVENT("MODIFIED", SLICE("s", "")));
    expect("10.0.0.1:8000 ");
}

static void all_namespaces_have_one_together(void **state)
{
    static const char *const all[] = {"*"};
    (void)state;

    start((struct sl_kubernetes_config){.service = "llama", .namespaces = {all, 1}});
    struct fake_conn *watch = serve("/apis/discovery.k8s.io/v1/endpointslices?", PAGE(""));
    expect("");
    fake_chunk(watch, EVENT("ADDED",
                            "{\"metadata\":{\"name\":\"s\",\"namespace\":\"a\","
                            "\"resourceVersion\":\"12\"},\"addressType\":\"IPv4\","
                            "\"endpoints\":[{\"addresses\":[\"10.0.0.1\"]}],"
                            "\"ports\":[{\"port\":80}]}"));
    expect("10.0.0.1:80 ");
    fake_chunk(watch, EVENT("ADDED",
                            "{\"metadata\":{\"name\":\"s\",\"namespace\":\"b\","
                            "\"resourceVersion\":\"13\"},\"addressType\":\"IPv4\","
                            "\"endpoints\":[{\"addresses\":[\"10.0.0.2\"]}],"
                            "\"ports\":[{\"port\":80}]}"));
    expect("10.0.0.1:80 10.0.0.2:80 "); /* one name in two namespaces is two slices */
    fake_chunk(watch, EVENT("DELETED",
                            "{\"metadata\":{\"name\":\"s\",\"namespace\":\"a\","
                            "\"resourceVersion\":\"14\"}}"));
    expect("10.0.0.2:80 ");
}

/* ---- Endpoints */

#define ENDPOINTS "/api/v1/namespaces/prod/endpoints?"
#define LEGACY                                                                                    \
    PAGE(                                                                                         \
        "{\"metadata\":{\"name\":\"llama\"},\"subsets\":[{\"addresses\":[{\"ip\":\"10.0.0.1\"}]," \
        "\"ports\":[{\"port\":8000}]}]}")

static void a_server_without_slices_is_asked_for_endpoints(void **state)
{
    (void)state;

    start((struct sl_kubernetes_config){.service = "llama"});
    for (int i = 0; i < SL_KUBERNETES_MISSING_N; i++) { /* once is what stands before a server */
        assert_false(fake_has(&rig.api, ENDPOINTS));
        fake_answer(fake_take(&rig.api, SLICES "labelSelector"), 404, "",
                    "{\"message\":\"the server could not find the requested resource\"}");
    }
    struct fake_conn *list = fake_take(&rig.api, ENDPOINTS);
    assert_non_null(strstr(list->request, "fieldSelector=metadata.name%3Dllama"));
    assert_null(strstr(list->request, "labelSelector"));
    fake_answer(list, 200, "", LEGACY);
    expect("10.0.0.1:8000 ");
    struct fake_conn *watch = fake_take(&rig.api, ENDPOINTS "watch=1");
    assert_non_null(strstr(watch->request, "fieldSelector=metadata.name%3Dllama"));
    fake_open(watch);
}

/* Neither is there: a server that is not up yet, maybe, or rights that do not reach so far. */
static void who_has_no_endpoints_either_is_asked_for_slices_again(void **state)
{
    (void)state;

    start((struct sl_kubernetes_config){.service = "llama"});
    for (int i = 0; i < SL_KUBERNETES_MISSING_N; i++) {
        fake_answer(fake_take(&rig.api, SLICES "labelSelector"), 404, "", "");
    }
    for (int i = 0; i < SL_KUBERNETES_MISSING_N; i++) {
        fake_answer(fake_take(&rig.api, ENDPOINTS), i == 0 ? 403 : 404, "", "");
    }
    assert_int_equal(rig.snapshots_n, 0);
    (void)serve(SLICES, PAGE(SLICE("a", EP("10.0.0.1", "p1"))));
    expect("10.0.0.1:8000 ");
}

static void endpoints_can_be_asked_for_by_label(void **state)
{
    (void)state;

    start((struct sl_kubernetes_config){.slices = "app=llama", .api = SL_KUBE_API_ENDPOINTS});
    (void)serve(ENDPOINTS, LEGACY);
    expect("10.0.0.1:8000 ");
    assert_false(fake_has(&rig.api, SLICES));
}

static void slices_that_were_asked_for_are_waited_for(void **state)
{
    (void)state;

    start((struct sl_kubernetes_config){.service = "llama", .api = SL_KUBE_API_SLICES});
    fake_answer(fake_take(&rig.api, SLICES "labelSelector"), 404, "", "{}");
    (void)serve(SLICES, PAGE(""));
    expect("");
    assert_false(fake_has(&rig.api, ENDPOINTS));
}

/* ---- What pods say */

static void labels_of_pods_move_an_endpoint_at_once(void **state)
{
    (void)state;

    start((struct sl_kubernetes_config){.service = "llama", .pods = ""});
    (void)serve(SLICES, PAGE(SLICE("a", EP("10.0.0.1", "p1") "," EP("10.0.0.2", "p2"))));
    struct fake_conn *list = fake_take(&rig.api, PODS "resourceVersion=0");
    fake_answer(list, 200, "", PAGE(POD_NAME("p1")));
    expect("10.0.0.1:8000 10.0.0.2:8000 "); /* one whose pod is not known stays */
    struct fake_conn *watch = fake_take(&rig.api, PODS "watch=1");
    fake_open(watch);
    fake_run_for(rig.loop, 60);
    fake_chunk(watch, EVENT("MODIFIED",
                            "{\"metadata\":{\"name\":\"p1\",\"uid\":\"u-p1\","
                            "\"resourceVersion\":\"13\",\"annotations\":{"
                            "\"sluiced.io/drain\":\"true\"}}}"));
    expect("10.0.0.1:8000~ 10.0.0.2:8000 ");
    fake_chunk(watch, EVENT("MODIFIED",
                            "{\"metadata\":{\"name\":\"p1\",\"uid\":\"u-p1\","
                            "\"resourceVersion\":\"14\",\"annotations\":{"
                            "\"sluiced.io/weight\":\"much\"}}}"));
    expect_error("sluiced.io/weight is no number from 0 to 65535");
    expect("10.0.0.1:8000 10.0.0.2:8000 ");
}

/* ---- Zones */

#define HINTED(host, zone)                                                                       \
    "{\"addresses\":[\"" host "\"],\"conditions\":{},\"hints\":{\"forZones\":[{\"name\":\"" zone \
    "\"}]}}"

static void the_zone_is_read_from_the_node_and_asked_for_again(void **state)
{
    (void)state;

    rig.config.kubernetes.node = "node-1";
    start((struct sl_kubernetes_config){.service = "llama"});
    (void)serve(SLICES, PAGE(SLICE("a", HINTED("10.0.0.1", "za") "," HINTED("10.0.0.2", "zb"))));
    expect("10.0.0.1:8000 10.0.0.2:8000 ");
    struct fake_conn *node = fake_take(&rig.api, "GET /api/v1/nodes/node-1 ");
    assert_non_null(strstr(node->request, "as=PartialObjectMetadata;"));
    fake_answer(node, 403, "", "{\"message\":\"nodes is forbidden\"}");
    expect_error("node node-1: status 403: nodes is forbidden");
    fake_answer(fake_take(&rig.api, "GET /api/v1/nodes/node-1 "), 200, "",
                "{\"metadata\":{\"labels\":{\"topology.kubernetes.io/zone\":\"zb\"}}}");
    expect("10.0.0.2:8000 ");
    assert_string_equal(status().last_error, "");
    rig.config.kubernetes.node = NULL;
}

static void a_zone_can_be_named(void **state)
{
    (void)state;

    rig.config.kubernetes.zone = "za";
    start((struct sl_kubernetes_config){.service = "llama"});
    (void)serve(SLICES, PAGE(SLICE("a", HINTED("10.0.0.1", "za") "," HINTED("10.0.0.2", "zb"))));
    expect("10.0.0.1:8000 ");
    assert_false(fake_has(&rig.api, "nodes"));
    rig.config.kubernetes.zone = NULL;
}

/* ---- InferencePools */

#define POOLS "/apis/inference.networking.k8s.io/v1/namespaces/prod/inferencepools?"
#define INFERENCE_POOL(label, ports, extra)                                                  \
    "{\"metadata\":{\"name\":\"llama\",\"resourceVersion\":\"11\"},\"spec\":{\"selector\":{" \
    "\"matchLabels\":{\"app\":\"" label "\"}},\"targetPorts\":[" ports "]" extra "}}"

static struct fake_conn *serve_pool(const char *page)
{
    struct fake_conn *list = fake_take(&rig.api, POOLS "fieldSelector=metadata.name%3Dllama");

    assert_non_null(strstr(list->request, "fieldSelector=metadata.name%3Dllama"));
    fake_answer(list, 200, "", page);
    struct fake_conn *watch = fake_take(&rig.api, POOLS "watch=1");
    fake_open(watch);
    return watch;
}

static void an_inference_pool_names_pods_and_ports(void **state)
{
    (void)state;

    start((struct sl_kubernetes_config){.inference_pool = "llama"});
    struct fake_conn *pool =
        serve_pool(PAGE(INFERENCE_POOL("one", "{\"number\":8000},{\"number\":8001}", "")));
    fake_run_for(rig.loop, 60);
    assert_int_equal(rig.snapshots_n, 0);
    struct fake_conn *list = fake_take(&rig.api, PODS "labelSelector=app%3Done");
    fake_answer(list, 200, "", PAGE(POD("p1", "10.0.0.1", "")));
    fake_open(fake_take(&rig.api, PODS "watch=1"));
    expect("10.0.0.1:8000 10.0.0.1:8001 ");

    fake_chunk(pool, EVENT("MODIFIED", INFERENCE_POOL("two", "{\"number\":8000}", "")));
    list = fake_take(&rig.api, PODS "labelSelector=app%3Dtwo");
    expect("10.0.0.1:8000 "); /* the ports are new, the pods of before until those are known */
    fake_answer(list, 200, "", PAGE(POD("p2", "10.0.0.2", "")));
    fake_open(fake_take(&rig.api, PODS "watch=1"));
    expect("10.0.0.2:8000 ");
    assert_int_equal(status().watches_n, 2);

    fake_chunk(pool, EVENT("MODIFIED", INFERENCE_POOL("two", "{\"number\":8000}",
                                                      ",\"appProtocol\":\"kubernetes.io/h2c\"")));
    expect("");
    expect_error("llama: its appProtocol means HTTP/2");
    fake_chunk(pool, EVENT("MODIFIED", INFERENCE_POOL("two", "{\"number\":8000}", "")));
    expect("10.0.0.2:8000 ");
    fake_chunk(pool, EVENT("DELETED", INFERENCE_POOL("two", "{\"number\":8000}", "")));
    expect("");
    expect_error("InferencePool llama does not exist");
    assert_int_equal(status().watches_n, 1);
}

static void a_missing_inference_pool_is_known_to_be_empty(void **state)
{
    (void)state;

    start((struct sl_kubernetes_config){.inference_pool = "llama"});
    (void)serve_pool(PAGE(""));
    expect("");
    expect_error("InferencePool llama does not exist");
    assert_true(status().synced);
}

static int allocs_left_n;

static bool allow_alloc(size_t size_bytes)
{
    (void)size_bytes;
    return allocs_left_n-- > 0;
}

static void starting_survives_each_failed_allocation(void **state)
{
    static const char *const names[] = {"a", "b"};
    int rc = SL_ENOMEM;
    (void)state;

    rig.config.kubernetes.node = "node-1";
    for (int allowed_n = 0; rc != SL_OK; allowed_n++) {
        struct sl_error err = {0};

        check(allowed_n < 1000, "it never starts");
        allocs_left_n = allowed_n;
        sl_alloc_hook = allow_alloc;
        rc = try_start((struct sl_kubernetes_config){.service = "llama",
                                                     .pods = "a=b",
                                                     .namespaces = {names, 2}},
                       &err);
        sl_alloc_hook = NULL;
        check(rc == SL_OK || rig.source == NULL, "%d allowed: half a source", allowed_n);
        check(rc == SL_OK || err.message[0] != '\0', "%d allowed: %d without a word", allowed_n,
              rc);
    }
    rig.config.kubernetes.node = NULL;
}

static bool asks_for_either(void *arg)
{
    (void)arg;
    return fake_has(&rig.api, POOLS "fieldSelector") || fake_has(&rig.api, PODS "labelSelector");
}

static void an_inference_pool_outlives_a_lack_of_memory(void **state)
{
    (void)state;

    start((struct sl_kubernetes_config){.inference_pool = "llama"});
    struct fake_conn *pool = serve_pool(PAGE(""));
    expect("");
    fake_run_for(rig.loop, 60);
    fake_chunk(pool, EVENT("ADDED", INFERENCE_POOL("one", "{\"number\":8000}", "")));
    fake_run_for(rig.loop, 2);
    allocs_left_n = 0;
    sl_alloc_hook = allow_alloc;
    fake_run_for(rig.loop, 60);
    sl_alloc_hook = NULL;
    fake_run_until(rig.loop, asks_for_either, NULL, 5000, "a list");
    if (fake_has(&rig.api, POOLS "fieldSelector")) { /* the event was lost, and is listed */
        (void)serve_pool(PAGE(INFERENCE_POOL("one", "{\"number\":8000}", "")));
    }
    (void)serve(PODS, PAGE(POD("p1", "10.0.0.1", "")));
    expect("10.0.0.1:8000 ");
}

static void it_comes_through_any_lack_of_memory(void **state)
{
    char event[512];
    (void)state;

    start((struct sl_kubernetes_config){.service = "llama"});
    struct fake_conn *watch = serve(SLICES, PAGE(""));
    expect("");
    for (int allowed_n = 0; allowed_n < 8; allowed_n += 2) {
        allocs_left_n = allowed_n;
        sl_alloc_hook = allow_alloc;
        (void)snprintf(event, sizeof(event), EVENT("ADDED", SLICE("s%d", EP("10.0.1.%d", "p"))),
                       allowed_n, allowed_n);
        fake_chunk(watch, event);
        fake_run_for(rig.loop, 20);
        sl_alloc_hook = NULL;
        fake_run_for(rig.loop, 120);
        if (watch->fd < 0) { /* what it could not keep it lists */
            watch = serve(SLICES, PAGE(""));
        }
    }
    fake_chunk(watch, EVENT("ADDED", SLICE("last", EP("10.9.9.9", "p"))));
    expect_part("10.9.9.9:8000 "); /* a set that could not be made is tried again after 1 s */
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_service_is_the_union_of_its_slices),
        TEST(an_empty_service_is_pushed_as_empty_once),
        TEST(a_storm_of_events_costs_few_sets_and_a_lone_one_no_wait),
        TEST(pods_narrow_a_service_and_both_must_be_known_first),
        TEST(pods_alone_are_watched_directly),
        TEST(no_port_to_choose_is_said_and_heals),
        TEST(pod_labels_in_slices_are_noticed),
        TEST(a_lost_server_takes_nothing_away),
        TEST(stopped_it_says_no_more),
        TEST(what_cannot_start_says_why),
        TEST(pools_of_the_same_slices_share_one_watch),
        TEST(who_comes_late_is_told_what_is_known),
        TEST(each_namespace_has_its_watch),
        TEST(all_namespaces_have_one_together),
        TEST(a_server_without_slices_is_asked_for_endpoints),
        TEST(who_has_no_endpoints_either_is_asked_for_slices_again),
        TEST(endpoints_can_be_asked_for_by_label),
        TEST(slices_that_were_asked_for_are_waited_for),
        TEST(labels_of_pods_move_an_endpoint_at_once),
        TEST(the_zone_is_read_from_the_node_and_asked_for_again),
        TEST(a_zone_can_be_named),
        TEST(an_inference_pool_names_pods_and_ports),
        TEST(a_missing_inference_pool_is_known_to_be_empty),
        TEST(starting_survives_each_failed_allocation),
        TEST(an_inference_pool_outlives_a_lack_of_memory),
        TEST(it_comes_through_any_lack_of_memory),
    };
    sl_log_configure(SL_LOG_ERROR, SL_LOG_JSON);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
