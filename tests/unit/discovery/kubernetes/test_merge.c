/* SPDX-License-Identifier: Apache-2.0 */
#include "discovery/kubernetes/merge.h"
#include "proxy/base/alloc.h"
#include "tests/unit/check.h"

#include <stdio.h>
#include <string.h>

/* One endpoint of a slice; texts that are NULL are "". */
struct ep {
    const char *host;
    const char *pod;
    const char *uid;
    bool draining;
    const char *hints; /* as in sl_kube_endpoint */
};

static const char *text_of(struct sl_kube_object *o, const char *text)
{
    size_t len = text != NULL ? strlen(text) : 0;
    char *copy = sl_arena_alloc_bytes(&o->arena, len + 2);

    assert_non_null(copy);
    memset(copy, 0, len + 2); /* as hints end */
    memcpy(copy, text != NULL ? text : "", len);
    return copy;
}

static struct sl_kube_object *put(struct sl_store *s, const char *key, const char *uid,
                                  const struct ep *eps, size_t eps_n,
                                  const struct sl_kube_port *ports, size_t ports_n)
{
    struct sl_kube_object *o = sl_alloc(sizeof(*o));

    assert_non_null(o);
    sl_arena_init(&o->arena, 256, 0, NULL, 0);
    o->key = o->name = text_of(o, key);
    o->uid = text_of(o, uid);
    o->service = "";
    o->labels = (struct sl_kube_labels){.version = "", .model = "", .weight = 1};
    o->ports = sl_arena_alloc_array(&o->arena, ports_n + 1, sizeof(o->ports[0]));
    o->endpoints = sl_arena_alloc_array(&o->arena, eps_n + 1, sizeof(o->endpoints[0]));
    assert_true(o->ports != NULL && o->endpoints != NULL);
    for (size_t i = 0; i < ports_n; i++) {
        o->ports[i] = ports[i];
    }
    o->ports_n = ports_n;
    o->endpoints_n = eps_n;
    for (size_t i = 0; i < eps_n; i++) {
        char pod_key[128] = "";
        if (eps[i].pod != NULL && eps[i].pod[0] != '\0') {
            (void)snprintf(pod_key, sizeof(pod_key), "%s", eps[i].pod);
        }
        o->endpoints[i] = (struct sl_kube_endpoint){
            .host = text_of(o, eps[i].host),
            .pod_key = text_of(o, pod_key),
            .pod_uid = text_of(o, eps[i].uid),
            .zone = "",
            .hints = text_of(o, eps[i].hints),
            .ports_n = (uint32_t)ports_n,
            .is_ipv6 = strchr(eps[i].host, ':') != NULL,
            .draining = eps[i].draining,
        };
    }
    assert_int_equal(sl_store_put(s, o), SL_OK);
    return o;
}

/* "10.0.0.1:8000/u1 10.0.0.2:8000/u2~ ": what a merge gives; ~ is draining, *7 a weight. */
static const char *merged(const struct sl_merge_input *in, struct sl_merge_notes *notes)
{
    static char text[1024];
    struct sl_found *items = NULL;
    size_t n = 0;
    size_t at = 0;
    bool same = true;

    assert_int_equal(sl_merge(in, NULL, 0, &items, &n, &same, notes), SL_OK);
    assert_false(same);
    text[0] = '\0';
    for (size_t i = 0; i < n; i++) {
        at +=
            (size_t)snprintf(text + at, sizeof(text) - at, "%s:%u/%s%s", items[i].address.host,
                             items[i].address.port, items[i].pod_uid, items[i].draining ? "~" : "");
        if (items[i].weight != 1) {
            at += (size_t)snprintf(text + at, sizeof(text) - at, "*%u", items[i].weight);
        }
        at += (size_t)snprintf(text + at, sizeof(text) - at, " ");
    }
    sl_free(items);
    return text;
}

static const struct sl_kube_port http = {.name = "http", .number = 8000};
static const struct sl_kube_port both[] = {
    {.name = "http", .number = 8000},
    {.name = "metrics", .number = 9000},
};

static void the_union_of_all_slices_is_sorted_and_has_no_doubles(void **state)
{
    static const struct ep first[] = {
        {"10.0.0.3", "p3", "u3", false, NULL},
        {"10.0.0.1", "p1", "u1", true, NULL}, /* on its way to the other slice */
        {"10.0.0.2", "p2", "u2", false, NULL},
    };
    static const struct ep second[] = {
        {"10.0.0.1", "p1", "u1", false, NULL},
        {"10.0.0.2", "p2", "u2", false, NULL},
        {"10.0.0.2", "p9", "u9", false, NULL}, /* the address went to another pod */
        {"10.0.0.4", "p4", "u4", true, NULL},
    };
    struct sl_store slices;
    struct sl_merge_notes notes;
    (void)state;

    sl_store_init(&slices);
    put(&slices, "b", "", first, SL_ARRAY_LEN(first), &http, 1);
    put(&slices, "a", "", second, SL_ARRAY_LEN(second), &http, 1);
    put(&slices, "c", "", NULL, 0, NULL, 0);
    const struct sl_merge_part part = {.objects = &slices};
    const struct sl_merge_input in = {.parts = &part, .parts_n = 1};
    assert_string_equal(merged(&in, &notes),
                        "10.0.0.1:8000/u1 10.0.0.2:8000/u2 10.0.0.2:8000/u9 10.0.0.3:8000/u3 "
                        "10.0.0.4:8000/u4~ ");
    assert_null(notes.portless);
    sl_store_fini(&slices);
}

static void the_port_is_chosen_by_number_by_name_or_as_the_only_one(void **state)
{
    static const struct ep ep = {"10.0.0.1", "", "", false, NULL};
    static const struct {
        const char *name;
        uint16_t number;
        size_t ports_n;
        const char *want;
    } rows[] = {
        {NULL, 7000, 2, "10.0.0.1:7000/ "},
        {NULL, 7000, 0, "10.0.0.1:7000/ "},
        {"metrics", 0, 2, "10.0.0.1:9000/ "},
        {"http", 0, 1, "10.0.0.1:8000/ "},
        {NULL, 0, 1, "10.0.0.1:8000/ "},
        {NULL, 0, 2, ""},
        {NULL, 0, 0, ""},
        {"grpc", 0, 2, ""},
    };
    (void)state;

    for (size_t i = 0; i < SL_ARRAY_LEN(rows); i++) {
        struct sl_store slices;
        struct sl_merge_notes notes;

        sl_store_init(&slices);
        put(&slices, "a", "", &ep, 1, both, rows[i].ports_n);
        put(&slices, "empty", "", NULL, 0, NULL, 0); /* without endpoints it lacks no port */
        const struct sl_merge_part part = {.objects = &slices};
        const struct sl_merge_input in = {
            .parts = &part,
            .parts_n = 1,
            .port_name = rows[i].name,
            .port = rows[i].number,
        };
        const char *text = merged(&in, &notes);
        check(strcmp(text, rows[i].want) == 0, "row %zu: %s", i, text);
        check((notes.portless != NULL) == (rows[i].want[0] == '\0'), "row %zu: note", i);
        check(notes.portless == NULL || strcmp(notes.portless, "a") == 0, "row %zu: name", i);
        sl_store_fini(&slices);
    }
}

static void pods_narrow_the_set_by_name_and_uid(void **state)
{
    static const struct ep eps[] = {
        {"10.0.0.1", "p1", "u1", false, NULL},  {"10.0.0.2", "p2", "u2", false, NULL},
        {"10.0.0.3", "p3", "old", false, NULL}, /* of the pod that had the name before */
        {"10.0.0.4", "p4", "", false, NULL},    /* a slice written by hand: the name alone */
        {"10.0.0.5", "", "", false, NULL},      /* no pod at all */
    };
    struct sl_store slices;
    struct sl_store pods;
    struct sl_merge_notes notes;
    (void)state;

    sl_store_init(&slices);
    sl_store_init(&pods);
    put(&slices, "a", "", eps, SL_ARRAY_LEN(eps), &http, 1);
    put(&pods, "p1", "u1", NULL, 0, NULL, 0);
    put(&pods, "p3", "new", NULL, 0, NULL, 0);
    put(&pods, "p4", "u4", NULL, 0, NULL, 0);
    const struct sl_merge_part part = {.objects = &slices, .pods = &pods};
    const struct sl_merge_input in = {.parts = &part, .parts_n = 1};
    assert_string_equal(merged(&in, &notes), "10.0.0.1:8000/u1 10.0.0.4:8000/ ");
    sl_store_remove(&pods, "p1");
    sl_store_remove(&pods, "p1");
    assert_string_equal(merged(&in, &notes), "10.0.0.4:8000/ ");
    sl_store_fini(&slices);
    sl_store_fini(&pods);
}

/* One store of slices, asked in one way after the other. */
static const char *merged_slices(const struct sl_store *slices, struct sl_merge_input in,
                                 struct sl_merge_notes *notes)
{
    const struct sl_merge_part part = {.objects = slices};

    in.parts = &part;
    in.parts_n = 1;
    return merged(&in, notes);
}

static void a_pod_of_both_families_is_one_endpoint(void **state)
{
    static const struct ep v4[] = {
        {"10.0.0.1", "p1", "u1", false, NULL},
        {"10.0.0.2", "p2", "u2", true, NULL},
        {"10.0.0.9", "", "", false, NULL},
    };
    static const struct ep v6[] = {
        {"fd00::1", "p1", "u1", false, NULL},
        {"fd00::2", "p2", "u2", true, NULL},
        {"fd00::3", "p3", "u3", false, NULL}, /* has no other */
        {"fd00::9", "", "", false, NULL},     /* nobody says that they are one */
    };
    struct sl_store slices;
    struct sl_merge_notes notes;
    (void)state;

    sl_store_init(&slices);
    put(&slices, "a", "", v4, SL_ARRAY_LEN(v4), &http, 1);
    put(&slices, "b", "", v6, SL_ARRAY_LEN(v6), &http, 1);
    assert_string_equal(
        merged_slices(&slices, (struct sl_merge_input){.port = 0}, &notes),
        "10.0.0.1:8000/u1 10.0.0.2:8000/u2~ 10.0.0.9:8000/ fd00::3:8000/u3 fd00::9:8000/ ");
    assert_string_equal(
        merged_slices(&slices, (struct sl_merge_input){.family = SL_KUBE_FAMILY_IPV4}, &notes),
        "10.0.0.1:8000/u1 10.0.0.2:8000/u2~ 10.0.0.9:8000/ ");
    assert_string_equal(
        merged_slices(&slices, (struct sl_merge_input){.family = SL_KUBE_FAMILY_IPV6}, &notes),
        "fd00::1:8000/u1 fd00::2:8000/u2~ fd00::3:8000/u3 fd00::9:8000/ ");
    sl_store_fini(&slices);
}

static void hints_count_when_all_have_them_and_one_is_for_our_zone(void **state)
{
    static const struct ep hinted[] = {
        {"10.0.0.1", "p1", "u1", false, "za"},
        {"10.0.0.2", "p2", "u2", false, "zb"},
        {"10.0.0.3", "p3", "u3", true, NULL},
    };
    static const struct ep plain = {"10.0.0.4", "p4", "u4", false, NULL};
    static const char all[] = "10.0.0.1:8000/u1 10.0.0.2:8000/u2 10.0.0.3:8000/u3~ ";
    struct sl_store slices;
    struct sl_merge_notes notes;
    (void)state;

    sl_store_init(&slices);
    put(&slices, "a", "", hinted, SL_ARRAY_LEN(hinted), &http, 1);
    assert_string_equal(merged_slices(&slices, (struct sl_merge_input){.zone = NULL}, &notes), all);
    assert_string_equal(merged_slices(&slices, (struct sl_merge_input){.zone = "zc"}, &notes), all);
    assert_string_equal(merged_slices(&slices, (struct sl_merge_input){.zone = "za"}, &notes),
                        "10.0.0.1:8000/u1 10.0.0.3:8000/u3~ ");
    assert_string_equal(merged_slices(&slices, (struct sl_merge_input){.zone = "zb"}, &notes),
                        "10.0.0.2:8000/u2 10.0.0.3:8000/u3~ ");
    put(&slices, "b", "", &plain, 1, &http, 1); /* one without: all or nothing */
    assert_string_equal(merged_slices(&slices, (struct sl_merge_input){.zone = "za"}, &notes),
                        "10.0.0.1:8000/u1 10.0.0.2:8000/u2 10.0.0.3:8000/u3~ 10.0.0.4:8000/u4 ");
    sl_store_fini(&slices);
}

static void what_pods_say_of_themselves_is_applied(void **state)
{
    static const struct ep eps[] = {
        {"10.0.0.1", "p1", "u1", false, NULL},
        {"10.0.0.2", "p2", "u2", false, NULL},
        {"10.0.0.3", "p3", "u3", false, NULL}, /* not there yet */
        {"10.0.0.4", "", "", false, NULL},
    };
    struct sl_store slices;
    struct sl_store pods;
    struct sl_merge_notes notes;
    struct sl_found *items = NULL;
    size_t n = 0;
    bool same = true;
    (void)state;

    sl_store_init(&slices);
    sl_store_init(&pods);
    put(&slices, "a", "", eps, SL_ARRAY_LEN(eps), &http, 1);
    struct sl_kube_object *p1 = put(&pods, "p1", "u1", NULL, 0, NULL, 0);
    struct sl_kube_object *p2 = put(&pods, "p2", "u2", NULL, 0, NULL, 0);
    p1->labels = (struct sl_kube_labels){.version = "v1", .model = "llama", .weight = 7};
    p2->labels.drains = p2->labels.has_bad_weight = true;
    const struct sl_merge_part part = {.objects = &slices, .pods = &pods};
    const struct sl_merge_input in = {.parts = &part, .parts_n = 1, .keeps_all = true};
    assert_string_equal(merged(&in, &notes),
                        "10.0.0.1:8000/u1*7 10.0.0.2:8000/u2~ "
                        "10.0.0.3:8000/u3 10.0.0.4:8000/ ");
    assert_string_equal(notes.bad_weight, "p2");
    assert_int_equal(sl_merge(&in, NULL, 0, &items, &n, &same, &notes), SL_OK);
    assert_string_equal(items[0].version, "v1");
    assert_string_equal(items[0].model, "llama");
    assert_string_equal(items[1].version, "");
    struct sl_found *again = NULL;
    size_t again_n = 7;
    assert_int_equal(sl_merge(&in, items, n, &again, &again_n, &same, &notes), SL_OK);
    assert_true(same && again == NULL && again_n == 0);
    p1->labels.version = "v2"; /* a label alone is a change */
    assert_int_equal(sl_merge(&in, items, n, &again, &again_n, &same, &notes), SL_OK);
    assert_true(!same && again_n == n);
    assert_string_equal(again[0].version, "v2");
    sl_free(again);
    sl_free(items);
    sl_store_fini(&slices);
    sl_store_fini(&pods);
}

static void ports_that_speak_what_we_cannot_are_refused(void **state)
{
    static const struct ep ep = {"10.0.0.1", "", "", false, NULL};
    static const struct {
        enum sl_kube_protocol protocol;
        bool has_tls;
        bool refused;
    } rows[] = {
        {SL_KUBE_HTTP, false, false}, {SL_KUBE_HTTP, true, false},  {SL_KUBE_HTTPS, false, true},
        {SL_KUBE_HTTPS, true, false}, {SL_KUBE_HTTP2, false, true}, {SL_KUBE_HTTP2, true, true},
    };
    (void)state;

    for (size_t i = 0; i < SL_ARRAY_LEN(rows); i++) {
        const struct sl_kube_port port = {
            .name = "http", .number = 8000, .protocol = rows[i].protocol};
        const struct sl_merge_input in = {.has_tls = rows[i].has_tls};
        struct sl_store slices;
        struct sl_merge_notes notes;

        sl_store_init(&slices);
        put(&slices, "a", "", &ep, 1, &port, 1);
        const char *text = merged_slices(&slices, in, &notes);
        check((text[0] == '\0') == rows[i].refused, "row %zu: %s", i, text);
        check((notes.refused != NULL) == rows[i].refused, "row %zu: note", i);
        sl_store_fini(&slices);
    }
}

static void each_pod_is_an_endpoint_at_each_port_of_an_inference_pool(void **state)
{
    static const struct ep eps[] = {
        {"10.0.0.1", "p1", "u1", false, NULL},
        {"10.0.0.2", "p2", "u2", false, NULL},
    };
    struct sl_store pods;
    struct sl_merge_notes notes;
    (void)state;

    sl_store_init(&pods);
    put(&pods, "p", "", eps, SL_ARRAY_LEN(eps), NULL, 0);
    assert_string_equal(
        merged_slices(&pods, (struct sl_merge_input){.ports = both, .ports_n = 2}, &notes),
        "10.0.0.1:8000/u1 10.0.0.1:9000/u1 10.0.0.2:8000/u2 10.0.0.2:9000/u2 ");
    sl_store_fini(&pods);
}

static void namespaces_are_merged_and_their_pods_kept_apart(void **state)
{
    static const struct ep a = {"10.0.0.1", "a/p", "u1", false, NULL};
    static const struct ep b = {"10.0.0.2", "b/p", "u2", false, NULL};
    struct sl_store slices[2];
    struct sl_store pods[2];
    struct sl_merge_notes notes;
    (void)state;

    for (size_t i = 0; i < 2; i++) {
        sl_store_init(&slices[i]);
        sl_store_init(&pods[i]);
    }
    put(&slices[0], "a/s", "", &a, 1, &http, 1);
    put(&slices[1], "b/s", "", &b, 1, &http, 1);
    put(&pods[1], "b/p", "u2", NULL, 0, NULL, 0);
    const struct sl_merge_part parts[] = {{&slices[0], &pods[0]}, {&slices[1], &pods[1]}};
    const struct sl_merge_input in = {.parts = parts, .parts_n = 2};
    assert_string_equal(merged(&in, &notes), "10.0.0.2:8000/u2 ");
    for (size_t i = 0; i < 2; i++) {
        sl_store_fini(&slices[i]);
        sl_store_fini(&pods[i]);
    }
}

static void a_list_sweeps_what_it_did_not_name(void **state)
{
    static const char *const names[] = {"m", "a", "z", "b", "m"};
    struct sl_store s;
    (void)state;

    sl_store_init(&s);
    sl_store_begin(&s);
    for (size_t i = 0; i < SL_ARRAY_LEN(names); i++) {
        put(&s, names[i], "", NULL, 0, NULL, 0);
    }
    sl_store_sweep(&s);
    assert_int_equal(s.n, 4);
    for (size_t i = 1; i < s.n; i++) {
        assert_true(strcmp(s.items[i - 1]->name, s.items[i]->name) < 0);
    }
    sl_store_begin(&s);
    put(&s, "b", "", NULL, 0, NULL, 0);
    put(&s, "c", "", NULL, 0, NULL, 0);
    assert_int_equal(s.n, 5);
    sl_store_sweep(&s);
    assert_int_equal(s.n, 2);
    assert_non_null(sl_store_get(&s, "b"));
    assert_non_null(sl_store_get(&s, "c"));
    assert_null(sl_store_get(&s, "a"));
    sl_store_fini(&s);
}

static void a_change_is_applied_at_once_after_silence_and_else_when_it_is_over(void **state)
{
    static const struct {
        uint64_t applied_at_ms;
        uint64_t now_ms;
        uint64_t delay_ms;
    } rows[] = {
        {1000, 1050, 0},  {1000, 9999, 0}, {1000, 1049, 1},
        {1000, 1000, 50}, {1000, 999, 50}, {0, 50, 0},
    };
    (void)state;

    for (size_t i = 0; i < SL_ARRAY_LEN(rows); i++) {
        uint64_t ms = sl_merge_delay_ms(rows[i].applied_at_ms, 50, rows[i].now_ms);
        check(ms == rows[i].delay_ms, "row %zu: %ju", i, (uintmax_t)ms);
    }
    assert_int_equal(sl_merge_gap_ms(0), SL_MERGE_GAP_MIN_MS);
    assert_int_equal(sl_merge_gap_ms(400), 20); /* a fiftieth */
    assert_int_equal(sl_merge_gap_ms(1000000), SL_MERGE_GAP_MAX_MS);
}

static bool allow_none(size_t size_bytes)
{
    (void)size_bytes;
    return false;
}

static void without_memory_nothing_is_given(void **state)
{
    static const struct ep ep = {"10.0.0.1", "", "", false, NULL};
    struct sl_found *items = NULL;
    size_t n = 7;
    bool same = false;
    struct sl_store slices;
    struct sl_merge_notes notes;
    (void)state;

    sl_store_init(&slices);
    put(&slices, "a", "", &ep, 1, &http, 1);
    const struct sl_merge_part part = {.objects = &slices};
    const struct sl_merge_input in = {.parts = &part, .parts_n = 1};
    sl_alloc_hook = allow_none;
    int rc = sl_merge(&in, NULL, 0, &items, &n, &same, &notes);
    sl_alloc_hook = NULL;
    assert_int_equal(rc, SL_ENOMEM);
    assert_null(items);
    assert_int_equal(n, 7);
    sl_store_fini(&slices);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_union_of_all_slices_is_sorted_and_has_no_doubles),
        cmocka_unit_test(the_port_is_chosen_by_number_by_name_or_as_the_only_one),
        cmocka_unit_test(pods_narrow_the_set_by_name_and_uid),
        cmocka_unit_test(a_pod_of_both_families_is_one_endpoint),
        cmocka_unit_test(hints_count_when_all_have_them_and_one_is_for_our_zone),
        cmocka_unit_test(what_pods_say_of_themselves_is_applied),
        cmocka_unit_test(ports_that_speak_what_we_cannot_are_refused),
        cmocka_unit_test(each_pod_is_an_endpoint_at_each_port_of_an_inference_pool),
        cmocka_unit_test(namespaces_are_merged_and_their_pods_kept_apart),
        cmocka_unit_test(a_list_sweeps_what_it_did_not_name),
        cmocka_unit_test(a_change_is_applied_at_once_after_silence_and_else_when_it_is_over),
        cmocka_unit_test(without_memory_nothing_is_given),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
