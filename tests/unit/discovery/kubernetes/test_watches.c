/* SPDX-License-Identifier: Apache-2.0 */
#include "discovery/kubernetes/watches.h"
#include "proxy/base/alloc.h"
#include "proxy/io/fetch.h"
#include "tests/unit/check.h"
#include "tests/unit/discovery/fake_api.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define PATH "/apis/discovery.k8s.io/v1/namespaces/prod/endpointslices"
#define LIST PATH "?labelSelector=kubernetes.io%2Fservice-name"
#define WATCH PATH "?watch=1"
#define PAGE(items) "{\"metadata\":{\"resourceVersion\":\"10\"},\"items\":[" items "]}"
#define SLICE(name, service)                               \
    "{\"metadata\":{\"name\":\"" name                      \
    "\",\"namespace\":\"prod\",\"resourceVersion\":\"11\"" \
    ",\"labels\":{\"kubernetes.io/service-name\":\"" service "\"}},\"addressType\":\"IPv4\"}"
#define EVENT(type, object) "{\"type\":\"" type "\",\"object\":" object "}\n"

#define SUBS_N 3

struct rig {
    struct sl_loop *loop;
    struct sl_fetcher *fetcher;
    struct sl_watches watches;
    struct sl_watches_access *access;
    struct fake_api api;
    char kubeconfig[64];
    struct sl_watch_sub subs[SUBS_N];
    int told_n[SUBS_N];
};

static struct rig rig;

static void on_change(struct sl_watch_sub *sub)
{
    rig.told_n[sub - rig.subs]++;
}

static int setup(void **state)
{
    struct sl_config config = {0};
    struct sl_error err;
    FILE *f;
    (void)state;

    memset(&rig, 0, sizeof(rig));
    assert_int_equal(sl_loop_new(&rig.loop), SL_OK);
    assert_int_equal(sl_fetcher_new(rig.loop, &rig.fetcher), SL_OK);
    fake_start(&rig.api, rig.loop);
    (void)snprintf(rig.kubeconfig, sizeof(rig.kubeconfig), "/tmp/sl-kube-XXXXXX");
    f = fdopen(mkstemp(rig.kubeconfig), "w");
    assert_non_null(f);
    assert_true(fprintf(f,
                        "current-context: c\ncontexts: [{name: c, context: {cluster: k}}]\n"
                        "clusters: [{name: k, cluster: {server: '%s'}}]\n",
                        rig.api.url) > 0);
    assert_int_equal(fclose(f), 0);
    config.kubernetes.kubeconfig = rig.kubeconfig;
    sl_watches_init(&rig.watches, rig.loop, rig.fetcher);
    assert_int_equal(sl_watches_access_get(&rig.watches, &config, &rig.access, &err), SL_OK);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    for (size_t i = 0; i < SUBS_N; i++) {
        sl_watch_leave(&rig.subs[i]);
    }
    sl_watches_access_unref(&rig.access);
    sl_watches_fini(&rig.watches);
    sl_fetcher_free(rig.fetcher);
    fake_stop(&rig.api);
    sl_loop_free(rig.loop);
    return unlink(rig.kubeconfig);
}

static int try_join(size_t i, const char *service)
{
    const struct sl_watch_what what = {
        .path = PATH,
        .resource = "endpointslices",
        .service = service,
        .kind = SL_KUBE_SLICE,
    };

    rig.subs[i] = (struct sl_watch_sub){.pool = "p", .on_change = on_change};
    return sl_watch_join(&rig.watches, rig.access, &what, &rig.subs[i]);
}

static void join(size_t i, const char *service)
{
    assert_int_equal(try_join(i, service), SL_OK);
}

/* "a b ": names of what a sub follows. */
static const char *objects(size_t i)
{
    static char text[256];
    const struct sl_store *s = sl_watch_objects(&rig.subs[i]);
    size_t at = 0;

    text[0] = '\0';
    for (size_t o = 0; s != NULL && o < s->n; o++) {
        at += (size_t)snprintf(text + at, sizeof(text) - at, "%s ", s->items[o]->name);
    }
    return text;
}

static struct sl_source_status status(size_t i)
{
    struct sl_source_status s;

    sl_watch_status(&rig.subs[i], &s);
    return s;
}

static bool all_are_told(void *arg)
{
    int *wanted_n = arg;
    return rig.told_n[0] >= wanted_n[0] && rig.told_n[1] >= wanted_n[1] &&
           rig.told_n[2] >= wanted_n[2];
}

/* Turns the loop until they were told so often; and no more. */
static void told(int first_n, int second_n, int third_n)
{
    int wanted_n[SUBS_N] = {first_n, second_n, third_n};

    fake_run_until(rig.loop, all_are_told, wanted_n, 5000, "a change");
    fake_run_for(rig.loop, 5);
    for (size_t i = 0; i < SUBS_N; i++) {
        check(rig.told_n[i] == wanted_n[i], "%zu was told %d times, not %d", i, rig.told_n[i],
              wanted_n[i]);
    }
}

/* Subs 0 and 1 follow a and b, and know a-1, b-1 and b-2. */
static struct fake_conn *open_two(void)
{
    join(0, "a");
    join(1, "b");
    struct fake_conn *list = fake_take(&rig.api, LIST "%20in%20%28a%2Cb%29&resourceVersion=0");
    fake_answer(list, 200, "", PAGE(SLICE("a-1", "a") "," SLICE("b-1", "b") "," SLICE("b-2", "b")));
    struct fake_conn *watch = fake_take(&rig.api, WATCH);
    assert_non_null(strstr(watch->request, "%20in%20%28a%2Cb%29"));
    fake_open(watch);
    told(1, 1, 0);
    return watch;
}

static void services_of_one_turn_share_a_watch_and_each_has_its_own(void **state)
{
    (void)state;

    struct fake_conn *watch = open_two();
    assert_string_equal(objects(0), "a-1 ");
    assert_string_equal(objects(1), "b-1 b-2 ");
    fake_chunk(watch, EVENT("ADDED", SLICE("a-2", "a")));
    told(2, 1, 0);
    assert_string_equal(objects(0), "a-1 a-2 ");
    fake_chunk(watch, EVENT("DELETED", SLICE("b-1", "b")));
    told(2, 2, 0);
    assert_string_equal(objects(1), "b-2 ");
    assert_int_equal(status(0).events_n, 1);
    assert_int_equal(status(1).events_n, 1);
    assert_true(status(0).event_at_ms > 0);
    assert_int_equal(rig.api.requests_n, 2);
}

static void a_slice_may_move_to_another_service(void **state)
{
    (void)state;

    struct fake_conn *watch = open_two();
    fake_chunk(watch, EVENT("MODIFIED", SLICE("b-1", "a")));
    told(2, 2, 0);
    assert_string_equal(objects(0), "a-1 b-1 ");
    assert_string_equal(objects(1), "b-2 ");
    fake_chunk(watch, EVENT("DELETED", SLICE("b-1", "b"))); /* whatever it says it was */
    told(3, 2, 0);
    assert_string_equal(objects(0), "a-1 ");
}

static void a_list_sweeps_each_ones(void **state)
{
    (void)state;

    struct fake_conn *watch = open_two();
    fake_chunk(watch, "{\"type\":\"ERROR\",\"object\":{\"code\":410,\"message\":\"old\"}}\n");
    fake_answer(fake_take(&rig.api, LIST "%20in%20%28a%2Cb%29"), 200, "", PAGE(SLICE("b-2", "b")));
    told(2, 2, 0);
    assert_string_equal(objects(0), "");
    assert_string_equal(objects(1), "b-2 ");
    assert_int_equal(status(1).events_n, 0); /* a list is none */
}

static void an_empty_service_is_told_that_it_is(void **state)
{
    (void)state;

    join(0, "a");
    join(1, "b");
    fake_answer(fake_take(&rig.api, LIST "%20in%20"), 200, "", PAGE(SLICE("b-1", "b")));
    told(1, 1, 0);
    assert_string_equal(objects(0), "");
}

static void who_comes_later_shares_what_is_there_or_has_a_watch_of_its_own(void **state)
{
    (void)state;

    (void)open_two();
    join(2, "b");
    told(1, 1, 1);
    assert_string_equal(objects(2), "b-1 b-2 ");
    assert_int_equal(rig.api.requests_n, 2);
    sl_watch_leave(&rig.subs[2]);
    join(2, "c");
    fake_answer(fake_take(&rig.api, LIST "%3Dc&"), 200, "", PAGE(SLICE("c-1", "c")));
    told(1, 1, 2);
    assert_string_equal(objects(2), "c-1 ");
    sl_watch_leave(&rig.subs[0]); /* what is left of the watch stays whole */
    assert_string_equal(objects(0), "");
    assert_string_equal(objects(1), "b-1 b-2 ");
}

static void one_that_leaves_at_once_asks_for_nothing(void **state)
{
    (void)state;

    join(0, "a");
    sl_watch_doubt(&rig.subs[0]);
    sl_watch_leave(&rig.subs[0]);
    fake_run_for(rig.loop, 20);
    assert_int_equal(rig.api.requests_n, 0);
}

static void a_request_stays_short(void **state)
{
    char name[64];
    struct sl_watch_sub subs[64] = {{.pool = NULL}};
    (void)state;

    for (size_t i = 0; i < SL_ARRAY_LEN(subs); i++) {
        const struct sl_watch_what what = {
            .path = PATH,
            .resource = "endpointslices",
            .service = name,
            .kind = SL_KUBE_SLICE,
        };
        (void)snprintf(name, sizeof(name), "%062zu", i);
        subs[i] = (struct sl_watch_sub){.pool = "p", .on_change = on_change};
        assert_int_equal(sl_watch_join(&rig.watches, rig.access, &what, &subs[i]), SL_OK);
    }
    for (size_t i = 0; i < 2; i++) {
        struct fake_conn *list = fake_take(&rig.api, LIST "%20in%20%28");
        assert_true(strlen(list->request) < 4096);
    }
    fake_run_for(rig.loop, 20);
    assert_int_equal(rig.api.requests_n, 2); /* 32 names of 62 bytes in each */
    for (size_t i = 0; i < SL_ARRAY_LEN(subs); i++) {
        sl_watch_leave(&subs[i]);
    }
}

static int allocs_left_n;

static bool allow_alloc(size_t size_bytes)
{
    (void)size_bytes;
    return allocs_left_n-- > 0;
}

static void joining_survives_each_failed_allocation(void **state)
{
    int rc = SL_ENOMEM;
    (void)state;

    join(0, "a");
    for (int allowed_n = 0; rc != SL_OK; allowed_n++) {
        check(allowed_n < 100, "it never joins");
        allocs_left_n = allowed_n;
        sl_alloc_hook = allow_alloc;
        rc = try_join(1, "b");
        sl_alloc_hook = NULL;
        check(rc == SL_OK || sl_watch_objects(&rig.subs[1]) == NULL, "it follows half a watch");
    }
    (void)fake_take(&rig.api, LIST "%20in%20%28a%2Cb%29&");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(services_of_one_turn_share_a_watch_and_each_has_its_own,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(a_slice_may_move_to_another_service, setup, teardown),
        cmocka_unit_test_setup_teardown(a_list_sweeps_each_ones, setup, teardown),
        cmocka_unit_test_setup_teardown(an_empty_service_is_told_that_it_is, setup, teardown),
        cmocka_unit_test_setup_teardown(
            who_comes_later_shares_what_is_there_or_has_a_watch_of_its_own, setup, teardown),
        cmocka_unit_test_setup_teardown(one_that_leaves_at_once_asks_for_nothing, setup, teardown),
        cmocka_unit_test_setup_teardown(a_request_stays_short, setup, teardown),
        cmocka_unit_test_setup_teardown(joining_survives_each_failed_allocation, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
