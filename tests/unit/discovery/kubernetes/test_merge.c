/* SPDX-License-Identifier: Apache-2.0 */
#include "discovery/kubernetes/merge.h"
#include "proxy/base/alloc.h"
#include "tests/unit/check.h"

#include <stdio.h>
#include <string.h>

/* One endpoint of a slice; uid may be "". */
struct ep {
    const char *host;
    const char *pod;
    const char *uid;
    bool draining;
};

static void put(struct sl_store *s, const char *name, const char *uid, const struct ep *eps,
                size_t eps_n, const struct sl_kube_port *ports, size_t ports_n)
{
    struct sl_kube_object *o = sl_alloc_flex(sizeof(*o), eps_n, sizeof(o->endpoints[0]));

    assert_non_null(o);
    (void)snprintf(o->name, sizeof(o->name), "%s", name);
    (void)snprintf(o->uid, sizeof(o->uid), "%s", uid);
    o->ports = sl_alloc_array(ports_n + 1, sizeof(o->ports[0]));
    assert_non_null(o->ports);
    for (size_t i = 0; i < ports_n; i++) {
        o->ports[i] = ports[i];
    }
    o->ports_n = ports_n;
    o->endpoints_n = eps_n;
    for (size_t i = 0; i < eps_n; i++) {
        struct sl_kube_endpoint *e = &o->endpoints[i];
        (void)snprintf(e->host, sizeof(e->host), "%s", eps[i].host);
        (void)snprintf(e->pod_name, sizeof(e->pod_name), "%s", eps[i].pod);
        (void)snprintf(e->pod_uid, sizeof(e->pod_uid), "%s", eps[i].uid);
        e->draining = eps[i].draining;
    }
    assert_int_equal(sl_store_put(s, o), SL_OK);
}

/* "10.0.0.1:8000/u1 10.0.0.2:8000/u2~ ": what a merge gives; ~ is draining. */
static const char *merged(const struct sl_merge_input *in, struct sl_merge_notes *notes)
{
    static char text[1024];
    struct sl_found *items = NULL;
    size_t n = 0;
    size_t at = 0;

    assert_int_equal(sl_merge(in, &items, &n, notes), SL_OK);
    text[0] = '\0';
    for (size_t i = 0; i < n; i++) {
        at +=
            (size_t)snprintf(text + at, sizeof(text) - at, "%s:%u/%s%s ", items[i].address.host,
                             items[i].address.port, items[i].pod_uid, items[i].draining ? "~" : "");
        assert_int_equal(items[i].weight, 1);
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
        {"10.0.0.3", "p3", "u3", false},
        {"10.0.0.1", "p1", "u1", true}, /* on its way to the other slice */
        {"10.0.0.2", "p2", "u2", false},
    };
    static const struct ep second[] = {
        {"10.0.0.1", "p1", "u1", false},
        {"10.0.0.2", "p2", "u2", false},
        {"10.0.0.2", "p9", "u9", false}, /* the address went to another pod */
        {"10.0.0.4", "p4", "u4", true},
    };
    struct sl_store slices;
    struct sl_merge_notes notes;
    (void)state;

    sl_store_init(&slices);
    put(&slices, "b", "", first, SL_ARRAY_LEN(first), &http, 1);
    put(&slices, "a", "", second, SL_ARRAY_LEN(second), &http, 1);
    put(&slices, "c", "", NULL, 0, NULL, 0);
    const struct sl_merge_input in = {.objects = &slices};
    assert_string_equal(merged(&in, &notes),
                        "10.0.0.1:8000/u1 10.0.0.2:8000/u2 10.0.0.2:8000/u9 10.0.0.3:8000/u3 "
                        "10.0.0.4:8000/u4~ ");
    assert_null(notes.portless);
    sl_store_fini(&slices);
}

static void the_port_is_chosen_by_number_by_name_or_as_the_only_one(void **state)
{
    static const struct ep ep = {"10.0.0.1", "", "", false};
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
        const struct sl_merge_input in = {
            .objects = &slices,
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
        {"10.0.0.1", "p1", "u1", false},  {"10.0.0.2", "p2", "u2", false},
        {"10.0.0.3", "p3", "old", false}, /* of the pod that had the name before */
        {"10.0.0.4", "p4", "", false},    /* a slice written by hand: the name alone */
        {"10.0.0.5", "", "", false},      /* no pod at all */
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
    const struct sl_merge_input in = {.objects = &slices, .pods = &pods};
    assert_string_equal(merged(&in, &notes), "10.0.0.1:8000/u1 10.0.0.4:8000/ ");
    sl_store_remove(&pods, "p1");
    sl_store_remove(&pods, "p1");
    assert_string_equal(merged(&in, &notes), "10.0.0.4:8000/ ");
    sl_store_fini(&slices);
    sl_store_fini(&pods);
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
        uint64_t ms = sl_merge_delay_ms(rows[i].applied_at_ms, rows[i].now_ms);
        check(ms == rows[i].delay_ms, "row %zu: %ju", i, (uintmax_t)ms);
    }
}

static bool allow_none(size_t size_bytes)
{
    (void)size_bytes;
    return false;
}

static void without_memory_nothing_is_given(void **state)
{
    static const struct ep ep = {"10.0.0.1", "", "", false};
    struct sl_found *items = NULL;
    size_t n = 7;
    struct sl_store slices;
    struct sl_merge_notes notes;
    (void)state;

    sl_store_init(&slices);
    put(&slices, "a", "", &ep, 1, &http, 1);
    const struct sl_merge_input in = {.objects = &slices};
    sl_alloc_hook = allow_none;
    int rc = sl_merge(&in, &items, &n, &notes);
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
        cmocka_unit_test(a_list_sweeps_what_it_did_not_name),
        cmocka_unit_test(a_change_is_applied_at_once_after_silence_and_else_when_it_is_over),
        cmocka_unit_test(without_memory_nothing_is_given),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
