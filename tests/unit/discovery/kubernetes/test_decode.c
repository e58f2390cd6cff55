/* SPDX-License-Identifier: Apache-2.0 */
#include <sluiced/err.h>

#include "discovery/kubernetes/decode.h"
#include "proxy/base/alloc.h"
#include "tests/unit/check.h"

#include <stdio.h>
#include <string.h>

static struct sl_kube_object *decode(enum sl_kube_kind kind, const char *text)
{
    struct sl_kube_object *o = NULL;
    json_t *json = json_loads(text, 0, NULL);

    check(json != NULL, "not JSON: %s", text);
    int rc = sl_kube_decode(kind, json, &o);
    check(rc == SL_OK, "%d: %s", rc, text);
    json_decref(json);
    return o;
}

/* As the API server sends them, recorded. */
#define SLICE(type, endpoints, ports)                                                            \
    "{\"metadata\":{\"name\":\"llama-x5vxw\",\"uid\":\"cb4d5705\",\"resourceVersion\":\"331\"}," \
    "\"addressType\":\"" type "\",\"endpoints\":" endpoints ",\"ports\":" ports "}"
#define POD_REF                                                                     \
    "\"targetRef\":{\"kind\":\"Pod\",\"namespace\":\"model\",\"name\":\"llama-1\"," \
    "\"uid\":\"e7fc6ffa-5979-42d0-86f5-71c2725da47d\"},\"nodeName\":\"n1\",\"zone\":\"za\""

static void conditions_have_the_defaults_of_the_api(void **state)
{
    static const struct {
        const char *conditions;
        int endpoints_n;
        bool draining;
    } rows[] = {
        {"{\"ready\":true,\"serving\":true,\"terminating\":false}", 1, false},
        {"{}", 1, false},
        {"null", 1, false},
        {"{\"ready\":null,\"serving\":null,\"terminating\":null}", 1, false},
        {"{\"ready\":true}", 1, false},
        {"{\"ready\":false}", 0, false},
        {"{\"ready\":false,\"serving\":false,\"terminating\":false}", 0, false},
        {"{\"ready\":false,\"serving\":true,\"terminating\":false}", 0, false},
        {"{\"ready\":false,\"serving\":true,\"terminating\":true}", 1, true},
        {"{\"ready\":false,\"serving\":false,\"terminating\":true}", 0, false},
        {"{\"ready\":false,\"terminating\":true}", 0, false},
        {"{\"ready\":true,\"serving\":false,\"terminating\":false}", 1, false},
        {"{\"ready\":true,\"serving\":true,\"terminating\":true}", 1, true},
        {"{\"terminating\":true}", 1, true},
    };
    (void)state;

    for (size_t i = 0; i < SL_ARRAY_LEN(rows); i++) {
        char text[1024];
        (void)snprintf(text, sizeof(text),
                       SLICE("IPv4", "[{\"addresses\":[\"10.0.0.1\"],\"conditions\":%s}]", "null"),
                       rows[i].conditions);
        struct sl_kube_object *o = decode(SL_KUBE_SLICE, text);
        check((int)o->endpoints_n == rows[i].endpoints_n, "%s: %zu endpoints", rows[i].conditions,
              o->endpoints_n);
        check(o->endpoints_n == 0 || o->endpoints[0].draining == rows[i].draining, "%s: draining",
              rows[i].conditions);
        sl_kube_object_free(o);
    }
}

static void a_slice_gives_first_addresses_pods_and_tcp_ports(void **state)
{
    struct sl_kube_object *o = decode(
        SL_KUBE_SLICE,
        SLICE("IPv4",
              "[{\"addresses\":[\"10.1.1.1\",\"10.1.1.2\"],\"conditions\":{}," POD_REF "},"
              "{\"addresses\":[\"10.9.0.1\"],\"targetRef\":{\"kind\":\"Node\",\"name\":\"n\"}}]",
              "[{\"name\":\"http\",\"protocol\":\"TCP\",\"port\":8000},"
              "{\"name\":\"dns\",\"protocol\":\"UDP\",\"port\":53},"
              "{\"name\":\"\",\"protocol\":\"TCP\"},{\"port\":9000},{\"port\":70000}]"));
    (void)state;

    assert_string_equal(o->name, "llama-x5vxw");
    assert_string_equal(o->uid, "cb4d5705");
    assert_int_equal(o->endpoints_n, 2);
    assert_string_equal(o->endpoints[0].host, "10.1.1.1");
    assert_string_equal(o->key, "/llama-x5vxw");
    assert_string_equal(o->version, "331");
    assert_string_equal(o->endpoints[0].pod_key, "model/llama-1");
    assert_string_equal(o->endpoints[0].zone, "za");
    assert_int_equal(o->endpoints[0].ports_n, 2);
    assert_string_equal(o->endpoints[0].pod_uid, "e7fc6ffa-5979-42d0-86f5-71c2725da47d");
    assert_string_equal(o->endpoints[1].host, "10.9.0.1");
    assert_string_equal(o->endpoints[1].pod_key, "");
    assert_int_equal(o->ports_n, 2);
    assert_string_equal(o->ports[0].name, "http");
    assert_int_equal(o->ports[0].number, 8000);
    assert_string_equal(o->ports[1].name, "");
    assert_int_equal(o->ports[1].number, 9000);
    sl_kube_object_free(o);
}

static void nulls_and_nonsense_hide_only_themselves(void **state)
{
    static const struct {
        const char *text;
        const char *hosts; /* each with a blank behind */
    } rows[] = {
        {SLICE("IPv4", "null", "null"), ""},
        {SLICE("IPv4", "[]", "[]"), ""},
        {SLICE("IPv4", "{}", "\"x\""), ""},
        {SLICE("FQDN", "[{\"addresses\":[\"localhost.localdomain\"]}]", "null"), ""},
        {SLICE("", "[{\"addresses\":[\"10.0.0.1\"]}]", "null"), ""},
        {SLICE("IPv4",
               "[null,7,{},{\"addresses\":null},{\"addresses\":[]},"
               "{\"addresses\":[\"\"]},{\"addresses\":[\"10.0.0\"]},"
               "{\"addresses\":[\"10.0.0.1 \"]},{\"addresses\":[\"fd00::1\"]},"
               "{\"addresses\":[7]},{\"addresses\":[\"10.0.0.2\"]}]",
               "null"),
         "10.0.0.2 "},
        {SLICE("IPv6",
               "[{\"addresses\":[\"fd00:0:0::1\"]},{\"addresses\":[\"FD00::2\"]},"
               "{\"addresses\":[\"10.0.0.1\"]}]",
               "null"),
         "fd00::1 fd00::2 "},
    };
    (void)state;

    for (size_t i = 0; i < SL_ARRAY_LEN(rows); i++) {
        struct sl_kube_object *o = decode(SL_KUBE_SLICE, rows[i].text);
        char hosts[128] = "";
        size_t at = 0;
        for (size_t e = 0; e < o->endpoints_n; e++) {
            at += (size_t)snprintf(hosts + at, sizeof(hosts) - at, "%s ", o->endpoints[e].host);
        }
        check(strcmp(hosts, rows[i].hosts) == 0, "%s: %s", rows[i].text, hosts);
        check(o->is_fqdn == (i == 3 || i == 4), "%s: names or not", rows[i].text);
        sl_kube_object_free(o);
    }
}

#define POD(metadata, status)                                                                 \
    "{\"metadata\":{\"name\":\"llama-1\",\"uid\":\"e7fc6ffa\"" metadata                       \
    "},\"spec\":{"                                                                            \
    "\"initContainers\":[{\"ports\":[{\"containerPort\":1}]},"                                \
    "{\"restartPolicy\":\"Always\",\"ports\":[{\"name\":\"side\",\"containerPort\":9001}]}]," \
    "\"containers\":[{\"ports\":[{\"name\":\"http\",\"containerPort\":8000,"                  \
    "\"protocol\":\"TCP\"}]},{\"name\":\"no ports\"}]},\"status\":{" status "}}"
#define READY                                                         \
    "\"conditions\":[{\"type\":\"Initialized\",\"status\":\"True\"}," \
    "{\"type\":\"Ready\",\"status\":\"True\"}]"

static void a_pod_counts_when_it_is_ready_and_has_an_address(void **state)
{
    static const struct {
        const char *text;
        int endpoints_n;
        bool draining;
    } rows[] = {
        {POD("", READY ",\"podIP\":\"10.244.0.1\""), 1, false},
        {POD("", READY ",\"podIP\":\"\""), 0, false},
        {POD("", READY), 0, false},
        {POD("", "\"podIP\":\"10.244.0.1\""), 0, false},
        {POD("", "\"podIP\":\"10.244.0.1\",\"conditions\":null"), 0, false},
        {POD("",
             "\"podIP\":\"10.244.0.1\",\"conditions\":[{\"type\":\"Ready\","
             "\"status\":\"False\"}]"),
         0, false},
        {POD("",
             "\"podIP\":\"10.244.0.1\",\"conditions\":[{\"type\":\"Ready\","
             "\"status\":\"Unknown\"}]"),
         0, false},
        {POD(",\"deletionTimestamp\":\"2026-11-23T17:11:02Z\"", READY ",\"podIP\":\"10.244.0.1\""),
         1, true},
        {POD(",\"deletionTimestamp\":null", READY ",\"podIP\":\"fd00::1\""), 1, false},
    };
    (void)state;

    for (size_t i = 0; i < SL_ARRAY_LEN(rows); i++) {
        struct sl_kube_object *o = decode(SL_KUBE_POD, rows[i].text);
        check((int)o->endpoints_n == rows[i].endpoints_n, "row %zu: %zu endpoints", i,
              o->endpoints_n);
        check(o->endpoints_n == 0 || o->endpoints[0].draining == rows[i].draining,
              "row %zu: draining", i);
        assert_int_equal(o->ports_n, 2); /* what an init container opened is closed by now */
        assert_string_equal(o->ports[0].name, "http");
        assert_int_equal(o->ports[0].number, 8000);
        assert_string_equal(o->ports[1].name, "side");
        check(o->endpoints_n == 0 || strcmp(o->endpoints[0].pod_uid, "e7fc6ffa") == 0,
              "row %zu: uid", i);
        sl_kube_object_free(o);
    }
}

static void an_object_without_a_usable_name_is_none(void **state)
{
    static const char *const rows[] = {
        "{}",
        "[]",
        "null",
        "{\"metadata\":null}",
        "{\"metadata\":{\"name\":\"\"}}",
        "{\"metadata\":{\"name\":7}}",
        "{\"metadata\":{\"name\":\"a\\u0000b\"}}",
    };
    static char long_name[400];
    (void)state;

    (void)snprintf(long_name, sizeof(long_name), "{\"metadata\":{\"name\":\"%0254d\"}}", 7);
    for (size_t i = 0; i <= SL_ARRAY_LEN(rows); i++) {
        const char *text = i < SL_ARRAY_LEN(rows) ? rows[i] : long_name;
        json_t *json = json_loads(text, JSON_ALLOW_NUL | JSON_DECODE_ANY, NULL);
        for (int kind = SL_KUBE_SLICE; kind < (int)SL_KUBE_KINDS_N; kind++) {
            struct sl_kube_object *o = NULL;
            int rc = sl_kube_decode((enum sl_kube_kind)kind, json, &o);
            check(rc == SL_EPROTO && o == NULL, "%s as %d: %d", text, kind, rc);
        }
        json_decref(json);
    }
}

/* "10.0.0.1:8000 10.0.0.2:8000,9000 ": endpoints, each with its ports. */
static const char *show(const struct sl_kube_object *o)
{
    static char text[1024];
    size_t at = 0;

    text[0] = '\0';
    for (size_t e = 0; e < o->endpoints_n; e++) {
        const struct sl_kube_endpoint *ep = &o->endpoints[e];
        at += (size_t)snprintf(text + at, sizeof(text) - at, "%s", ep->host);
        for (size_t p = 0; p < ep->ports_n; p++) {
            at += (size_t)snprintf(text + at, sizeof(text) - at, "%s%u", p == 0 ? ":" : ",",
                                   o->ports[ep->port_idx + p].number);
        }
        at += (size_t)snprintf(text + at, sizeof(text) - at, "%s ", ep->draining ? "~" : "");
    }
    return text;
}

static void subsets_of_endpoints_are_addresses_by_ports(void **state)
{
    static const struct {
        const char *subsets;
        const char *want;
    } rows[] = {
        {"null", ""},
        {"[]", ""},
        {"{}", ""},
        {"[null,7,{},{\"addresses\":null,\"ports\":null}]", ""},
        {"[{\"addresses\":[{\"ip\":\"10.0.0.1\"},{\"ip\":\"10.0.0.2\"}],"
         "\"ports\":[{\"name\":\"http\",\"port\":8000},{\"port\":53,\"protocol\":\"UDP\"}]},"
         "{\"addresses\":[{\"ip\":\"fd00::0:1\"},{\"ip\":\"x\"},{}],"
         "\"ports\":[{\"port\":8000},{\"port\":9000}]}]",
         "10.0.0.1:8000 10.0.0.2:8000 fd00::1:8000,9000 "},
        {"[{\"addresses\":[{\"ip\":\"10.0.0.1\"}],"
         "\"notReadyAddresses\":[{\"ip\":\"10.0.0.2\"}]}]",
         "10.0.0.1 "},
    };
    (void)state;

    for (size_t i = 0; i < SL_ARRAY_LEN(rows); i++) {
        char text[1024];
        (void)snprintf(text, sizeof(text),
                       "{\"metadata\":{\"name\":\"llama\",\"namespace\":\"ns\"},\"subsets\":%s}",
                       rows[i].subsets);
        struct sl_kube_object *o = decode(SL_KUBE_ENDPOINTS, text);
        check(strcmp(show(o), rows[i].want) == 0, "%s: %s", rows[i].subsets, show(o));
        assert_string_equal(o->key, "ns/llama");
        assert_string_equal(o->name, "llama");
        sl_kube_object_free(o);
    }
}

static void a_target_without_namespace_is_in_that_of_its_object(void **state)
{
    struct sl_kube_object *o =
        decode(SL_KUBE_ENDPOINTS,
               "{\"metadata\":{\"name\":\"llama\",\"namespace\":\"ns\"},\"subsets\":["
               "{\"addresses\":[{\"ip\":\"10.0.0.1\",\"targetRef\":{\"kind\":\"Pod\","
               "\"name\":\"p\",\"uid\":\"u\"}}]}]}");
    (void)state;

    assert_string_equal(o->endpoints[0].pod_key, "ns/p");
    assert_string_equal(o->endpoints[0].pod_uid, "u");
    sl_kube_object_free(o);
}

static void app_protocols_are_known_by_what_they_ask_of_us(void **state)
{
    static const struct {
        const char *text;
        enum sl_kube_protocol want;
    } rows[] = {
        {"null", SL_KUBE_HTTP},
        {"7", SL_KUBE_HTTP},
        {"\"http\"", SL_KUBE_HTTP},
        {"\"kubernetes.io/ws\"", SL_KUBE_HTTP},
        {"\"example.com/own\"", SL_KUBE_HTTP},
        {"\"https\"", SL_KUBE_HTTPS},
        {"\"kubernetes.io/wss\"", SL_KUBE_HTTPS},
        {"\"h2c\"", SL_KUBE_HTTP2},
        {"\"kubernetes.io/h2c\"", SL_KUBE_HTTP2},
        {"\"grpc\"", SL_KUBE_HTTP2},
        {"\"http2\"", SL_KUBE_HTTP2},
    };
    (void)state;

    for (size_t i = 0; i < SL_ARRAY_LEN(rows); i++) {
        char text[1024];
        (void)snprintf(text, sizeof(text),
                       SLICE("IPv4", "null", "[{\"port\":8000,\"appProtocol\":%s}]"), rows[i].text);
        struct sl_kube_object *o = decode(SL_KUBE_SLICE, text);
        check(o->ports[0].protocol == rows[i].want, "%s: %d", rows[i].text,
              (int)o->ports[0].protocol);
        sl_kube_object_free(o);
    }
}

static void hints_name_zones(void **state)
{
    static const struct {
        const char *hints;
        const char *first;
        size_t n;
    } rows[] = {
        {"null", "", 0},
        {"{}", "", 0},
        {"{\"forZones\":null}", "", 0},
        {"{\"forZones\":[]}", "", 0},
        {"{\"forZones\":[{},{\"name\":7},null]}", "", 0},
        {"{\"forZones\":[{\"name\":\"za\"}]}", "za", 1},
        {"{\"forZones\":[{\"name\":\"za\"},{\"name\":\"\"},{\"name\":\"zb\"}]}", "za", 2},
    };
    (void)state;

    for (size_t i = 0; i < SL_ARRAY_LEN(rows); i++) {
        char text[1024];
        size_t n = 0;
        (void)snprintf(text, sizeof(text),
                       SLICE("IPv4", "[{\"addresses\":[\"10.0.0.1\"],\"hints\":%s}]", "null"),
                       rows[i].hints);
        struct sl_kube_object *o = decode(SL_KUBE_SLICE, text);
        assert_string_equal(o->endpoints[0].hints, rows[i].first);
        for (const char *h = o->endpoints[0].hints; *h != '\0'; h += strlen(h) + 1) {
            n++;
        }
        check(n == rows[i].n, "%s: %zu zones", rows[i].hints, n);
        sl_kube_object_free(o);
    }
}

static void a_pod_has_one_address_of_each_family(void **state)
{
    static const struct {
        const char *status;
        const char *want;
    } rows[] = {
        {"\"podIP\":\"10.0.0.1\",\"podIPs\":[{\"ip\":\"10.0.0.1\"},{\"ip\":\"fd00::1\"}]",
         "10.0.0.1:8000,9001 fd00::1:8000,9001 "},
        {"\"podIP\":\"fd00::1\",\"podIPs\":[{\"ip\":\"fd00::1\"},{\"ip\":\"10.0.0.1\"}]",
         "fd00::1:8000,9001 10.0.0.1:8000,9001 "},
        {"\"podIPs\":[{\"ip\":\"10.0.0.1\"},{\"ip\":\"10.0.0.2\"},null,{}]", "10.0.0.1:8000,9001 "},
        {"\"podIP\":\"10.0.0.1\",\"podIPs\":null", "10.0.0.1:8000,9001 "},
    };
    (void)state;

    for (size_t i = 0; i < SL_ARRAY_LEN(rows); i++) {
        char text[1024];
        (void)snprintf(text, sizeof(text), POD("", READY ",%s"), rows[i].status);
        struct sl_kube_object *o = decode(SL_KUBE_POD, text);
        check(strcmp(show(o), rows[i].want) == 0, "%s: %s", rows[i].status, show(o));
        sl_kube_object_free(o);
    }
}

static void labels_and_annotations_of_pods_are_read(void **state)
{
    static const struct {
        const char *metadata;
        uint16_t weight;
        bool bad;
        bool drains;
        const char *version;
        const char *model;
    } rows[] = {
        {"", 1, false, false, "", ""},
        {",\"labels\":null,\"annotations\":null", 1, false, false, "", ""},
        {",\"labels\":{\"sluiced.io/weight\":\"7\",\"version\":\"v1\",\"model\":\"llama\"}", 7,
         false, false, "v1", "llama"},
        {",\"labels\":{\"sluiced.io/weight\":\"7\"},\"annotations\":{\"sluiced.io/weight\":\"9\"}",
         9, false, false, "", ""},
        {",\"annotations\":{\"sluiced.io/weight\":\"0\"}", 0, false, false, "", ""},
        {",\"annotations\":{\"sluiced.io/weight\":\"65535\"}", 65535, false, false, "", ""},
        {",\"annotations\":{\"sluiced.io/weight\":\"65536\"}", 1, true, false, "", ""},
        {",\"annotations\":{\"sluiced.io/weight\":\"-1\"}", 1, true, false, "", ""},
        {",\"annotations\":{\"sluiced.io/weight\":\"\"}", 1, true, false, "", ""},
        {",\"annotations\":{\"sluiced.io/drain\":\"true\"}", 1, false, true, "", ""},
        {",\"labels\":{\"sluiced.io/drain\":\"true\"}", 1, false, true, "", ""},
        {",\"annotations\":{\"sluiced.io/drain\":\"yes\"}", 1, false, false, "", ""},
        {",\"labels\":{\"app.kubernetes.io/version\":\"2.1\"}", 1, false, false, "2.1", ""},
        {",\"labels\":{\"app.kubernetes.io/version\":\"2.1\",\"version\":\"v2\"}", 1, false, false,
         "v2", ""},
    };
    (void)state;

    for (size_t i = 0; i < SL_ARRAY_LEN(rows); i++) {
        char text[1024];
        (void)snprintf(text, sizeof(text), "{\"metadata\":{\"name\":\"p\"%s}}", rows[i].metadata);
        struct sl_kube_object *o = decode(SL_KUBE_POD_NAME, text);
        const struct sl_kube_labels *l = &o->labels;
        check(l->weight == rows[i].weight && l->has_bad_weight == rows[i].bad &&
                  l->drains == rows[i].drains && strcmp(l->version, rows[i].version) == 0 &&
                  strcmp(l->model, rows[i].model) == 0,
              "%s: %u %d %d %s %s", rows[i].metadata, l->weight, l->has_bad_weight, l->drains,
              l->version, l->model);
        sl_kube_object_free(o);
    }
}

static void an_inference_pool_says_which_pods_and_ports(void **state)
{
    static const struct {
        const char *spec;
        const char *selector; /* NULL: none */
        size_t ports_n;
    } rows[] = {
        {"null", NULL, 0},
        {"{}", NULL, 0},
        {"{\"selector\":{\"matchLabels\":{}}}", NULL, 0},
        {"{\"selector\":{\"matchLabels\":{\"b\":\"2\",\"a.io/x\":\"1\",\"c\":\"\"}},"
         "\"targetPorts\":[{\"number\":8000},{\"number\":8001}]}",
         "a.io/x=1,b=2,c=", 2},
        {"{\"selector\":{\"matchLabels\":{\"a\":\"1,b=2\"}}}", NULL, 0},
        {"{\"selector\":{\"matchLabels\":{\"a in (b)\":\"1\"}}}", NULL, 0},
        {"{\"selector\":{\"matchLabels\":{\"a\":7}}}", NULL, 0},
        {"{\"selector\":{\"matchLabels\":{\"\":\"1\"}}}", NULL, 0},
        {"{\"selector\":{\"matchLabels\":{\"a\":\"1\"}},\"targetPorts\":[{\"number\":0},{}]}",
         "a=1", 0},
        {"{\"targetPorts\":[{\"number\":1},{\"number\":2},{\"number\":3},{\"number\":4},"
         "{\"number\":5},{\"number\":6},{\"number\":7},{\"number\":8},{\"number\":9}]}",
         NULL, 0},
    };
    (void)state;

    for (size_t i = 0; i < SL_ARRAY_LEN(rows); i++) {
        char text[1024];
        (void)snprintf(text, sizeof(text), "{\"metadata\":{\"name\":\"p\"},\"spec\":%s}",
                       rows[i].spec);
        struct sl_kube_object *o = decode(SL_KUBE_INFERENCE_POOL, text);
        check((o->selector == NULL) == (rows[i].selector == NULL) &&
                  (o->selector == NULL || strcmp(o->selector, rows[i].selector) == 0),
              "%s: %s", rows[i].spec, o->selector != NULL ? o->selector : "none");
        check(o->ports_n == rows[i].ports_n, "%s: %zu ports", rows[i].spec, o->ports_n);
        sl_kube_object_free(o);
    }
}

static int allocs_left_n;

static bool allow_alloc(size_t size_bytes)
{
    (void)size_bytes;
    return allocs_left_n-- > 0;
}

static void decoding_survives_each_failed_allocation(void **state)
{
    json_t *json = json_loads(POD("", READY ",\"podIP\":\"10.244.0.1\""), 0, NULL);
    struct sl_kube_object *o = NULL;
    int rc = SL_ENOMEM;
    int allowed_n = 0;
    (void)state;

    for (; rc != SL_OK; allowed_n++) {
        check(rc == SL_ENOMEM && o == NULL, "%d allowed: %d", allowed_n - 1, rc);
        allocs_left_n = allowed_n;
        sl_alloc_hook = allow_alloc;
        rc = sl_kube_decode(SL_KUBE_POD, json, &o);
        sl_alloc_hook = NULL;
    }
    sl_kube_object_free(o);
    json_decref(json);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(conditions_have_the_defaults_of_the_api),
        cmocka_unit_test(a_slice_gives_first_addresses_pods_and_tcp_ports),
        cmocka_unit_test(nulls_and_nonsense_hide_only_themselves),
        cmocka_unit_test(a_pod_counts_when_it_is_ready_and_has_an_address),
        cmocka_unit_test(subsets_of_endpoints_are_addresses_by_ports),
        cmocka_unit_test(a_target_without_namespace_is_in_that_of_its_object),
        cmocka_unit_test(app_protocols_are_known_by_what_they_ask_of_us),
        cmocka_unit_test(hints_name_zones),
        cmocka_unit_test(a_pod_has_one_address_of_each_family),
        cmocka_unit_test(labels_and_annotations_of_pods_are_read),
        cmocka_unit_test(an_inference_pool_says_which_pods_and_ports),
        cmocka_unit_test(an_object_without_a_usable_name_is_none),
        cmocka_unit_test(decoding_survives_each_failed_allocation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
