/* SPDX-License-Identifier: Apache-2.0 */
#include <sluiced/log.h>
#include <sluiced/time.h>

#include "health_pod.h"

#include "proxy/base/alloc.h"
#include "proxy/base/rng.h"
#include "proxy/upstream/health.h"
#include "proxy/upstream/outlier.h"
#include "proxy/upstream/pool.h"
#include "tests/unit/check.h"

#include <stdio.h>
#include <string.h>

#define FOUND_MAX_N 400
#define PODS_N 2

static const struct pod_step say_ok = {.answer = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"};
static const struct pod_step say_503 = {
    .answer = "HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n",
};
static const struct pod_step say_nothing = {.answer = NULL};

struct fixture {
    struct sl_loop *loop;
    struct sl_chunk_pool chunks;
    struct sl_health_runner *runner;
    struct sl_endpoint_ids ids;
    struct sl_pool *pool;
    struct sl_pool_config conf;
    struct sl_health_watch *watch;
    struct sl_endpoint_set *set; /* the last one built, held by nobody else */
    struct sl_found found[FOUND_MAX_N];
    struct pod pods[PODS_N]; /* found[i] is pods[i], the rest are all pods[0] under other UIDs */
};

static struct fixture f; /* too large for a stack */

static void on_set_done(struct sl_published *p)
{
    (void)p;
    fail_msg("no worker was given a set");
}

static int setup(void **state)
{
    (void)state;

    memset(&f, 0, sizeof(f));
    assert_int_equal(sl_loop_new(&f.loop), SL_OK);
    sl_chunk_pool_init(&f.chunks, (size_t)1024 * 1024, 4);
    for (size_t i = 0; i < PODS_N; i++) {
        pod_init(&f.pods[i], f.loop, &say_ok, 1);
    }
    for (size_t i = 0; i < FOUND_MAX_N; i++) {
        f.found[i] = (struct sl_found){.weight = 1};
        f.found[i].address = f.pods[i < PODS_N ? i : 0].address;
        (void)snprintf(f.found[i].pod_uid, sizeof(f.found[i].pod_uid), "uid-%zu", i);     /* fits */
        (void)snprintf(f.found[i].pod_name, sizeof(f.found[i].pod_name), "llama-%zu", i); /* fits */
    }
    f.conf.name = "chat";
    f.conf.balance = "round_robin";
    f.conf.health = (struct sl_health_config){
        .kind = SL_HEALTH_CHECK_HTTP,
        .path = "/health",
        .interval_ms = 10,
        .timeout_ms = 60000, /* no answer is late on whatever machine */
        .rise_n = 2,
        .fall_n = 3,
    };
    assert_int_equal(sl_health_new(f.loop, &f.chunks, &f.runner), SL_OK);
    assert_int_equal(sl_pool_new("chat", 1, &f.ids, on_set_done, &f.pool), SL_OK);
    return 0;
}

static void unwatch(void)
{
    if (f.watch != NULL) {
        sl_health_unwatch(f.watch);
        f.watch = NULL;
    }
}

static int teardown(void **state)
{
    (void)state;

    sl_alloc_hook = NULL;
    sl_log_configure(SL_LOG_INFO, SL_LOG_JSON);
    unwatch();
    sl_health_free(f.runner);
    if (f.set != NULL) {
        sl_pool_free_set(f.set);
    }
    sl_pool_free(f.pool);
    for (size_t i = 0; i < PODS_N; i++) {
        pod_fini(&f.pods[i]);
    }
    sl_loop_free(f.loop);
    sl_chunk_pool_fini(&f.chunks);
    return 0;
}

static void watch(void)
{
    assert_int_equal(sl_health_watch(f.runner, f.pool, &f.conf, NULL, &f.watch), SL_OK);
}

/* Builds a set of found[from, from + n) and frees the one before, as when workers let go. */
static void members(size_t from, size_t n)
{
    const struct sl_snapshot snapshot = {.items = &f.found[from], .n = n};
    struct sl_endpoint_set *set = NULL;
    struct sl_error err = {0};
    int rc = sl_pool_build_set(f.pool, &snapshot, &f.conf, &set, &err);

    check(rc == SL_OK, "build_set: %d, %s", rc, err.message);
    if (f.watch != NULL) {
        sl_health_set_members(f.watch, set);
    }
    if (f.set != NULL) {
        sl_pool_free_set(f.set);
    }
    f.set = set;
}

static struct sl_endpoint *endpoint_at(const struct pod *pod)
{
    for (size_t i = 0; i < f.set->members_n; i++) {
        if (f.set->members[i].endpoint->address.port == pod->address.port) {
            return f.set->members[i].endpoint;
        }
    }
    fail_msg("no endpoint at port %u", pod->address.port);
    return NULL;
}

static enum sl_health health_of(size_t pod_idx)
{
    return atomic_load(&endpoint_at(&f.pods[pod_idx])->health);
}

static bool is_up(void *arg)
{
    (void)arg;
    return health_of(0) == SL_HEALTH_UP;
}

static bool is_second_up(void *arg)
{
    (void)arg;
    return health_of(1) == SL_HEALTH_UP;
}

static bool is_down(void *arg)
{
    (void)arg;
    return health_of(0) == SL_HEALTH_DOWN;
}

static bool asked(void *arg)
{
    return f.pods[0].requests_n >= *(unsigned *)arg;
}

static bool none_open(void *arg)
{
    return ((struct pod *)arg)->open_n == 0;
}

static void until(bool (*done)(void *arg), const char *what)
{
    pod_turn_until(f.loop, done, NULL, what);
}

static void until_asked(unsigned n)
{
    pod_turn_until(f.loop, asked, &n, "requests");
}

static size_t count_of(const char *text, const char *what)
{
    size_t n = 0;

    for (const char *p = text; (p = strstr(p, what)) != NULL; p++) {
        n++;
    }
    return n;
}

static void an_endpoint_goes_up_and_down_and_up_with_its_answers(void **state)
{
    (void)state;

    log_capture();
    watch();
    members(0, 1);
    until(is_up, "the first success");
    assert_int_equal(f.pods[0].requests_n, 1);
    assert_int_equal(atomic_load(&endpoint_at(&f.pods[0])->came_at_ms), 0);

    pod_say(&f.pods[0], &say_503);
    f.pods[0].requests_n = 0;
    until(is_down, "three failures");
    assert_int_equal(f.pods[0].requests_n, 3);

    pod_say(&f.pods[0], &say_ok);
    f.pods[0].requests_n = 0;
    until(is_up, "two successes");
    assert_int_equal(f.pods[0].requests_n, 2);
    assert_int_equal(f.pods[0].connections_n, 1);
    assert_true(atomic_load(&endpoint_at(&f.pods[0])->came_at_ms) > 0);

    const char *log = log_captured();
    char want[256];
    (void)snprintf(want, sizeof(want),
                   "\"event\":\"endpoint_down\",\"pool\":\"chat\",\"address\":\"127.0.0.1:%u\","
                   "\"pod\":\"llama-0\",\"reason\":\"status_503\"",
                   f.pods[0].address.port); /* fits */
    check(count_of(log, want) == 1 && count_of(log, "endpoint_down") == 1, "%s", log);
    check(count_of(log, "\"endpoint_up\"") == 1 && count_of(log, "\"status_200\"") == 1, "%s", log);
}

static void one_that_was_never_judged_is_down_at_the_first_refused_connect(void **state)
{
    (void)state;

    f.conf.health.interval_ms = 60000; /* no second one comes */
    pod_stop_listening(&f.pods[0]);
    watch();
    members(1, 1);
    log_capture();
    members(0, 2);
    until(is_down, "a refused connect");
    const char *log = log_captured();
    check(count_of(log, "\"reason\":\"refused\"") == 1, "%s", log);
}

static void one_that_was_up_survives_a_restart_of_its_listener(void **state)
{
    unsigned n = 0;
    (void)state;

    f.conf.health.fall_n = 100;
    watch();
    members(0, 1);
    until(is_up, "the first success");
    pod_stop_listening(&f.pods[0]);
    pod_close_conns(&f.pods[0]);
    pod_turn_ms(f.loop, 100);
    assert_int_equal(health_of(0), SL_HEALTH_UP);
    pod_listen_again(&f.pods[0]);
    n = f.pods[0].requests_n + 2;
    until_asked(n);
    assert_int_equal(f.pods[0].connections_n, 2);
}

static bool was_connected_twice(void *arg)
{
    (void)arg;
    return f.pods[0].connections_n >= 2;
}

static bool has_one_open(void *arg)
{
    (void)arg;
    return f.pods[0].open_n == 1;
}

static void no_answer_within_the_timeout_is_a_failure(void **state)
{
    uint64_t began_ms = 0;
    (void)state;

    f.conf.health.timeout_ms = 30;
    f.conf.health.fall_n = 2;
    pod_say(&f.pods[0], &say_nothing);
    watch();
    log_capture();
    began_ms = sl_time_now_ms();
    members(0, 1);
    until(is_down, "two timeouts");
    const char *log = log_captured();
    check(sl_time_now_ms() - began_ms >= 60, "two timeouts of 30 ms took less");
    check(count_of(log, "\"reason\":\"timeout\"") == 1, "%s", log);
    until(was_connected_twice, "a connection for each");
    pod_say(&f.pods[0], &say_ok);
    f.conf.health.timeout_ms = 60000;
    until(is_up, "an answer");
    until(has_one_open, "the end of those that hung");
}

static void traffic_that_succeeds_stands_in_for_a_probe(void **state)
{
    (void)state;

    members(0, 1);
    struct sl_endpoint *ep = endpoint_at(&f.pods[0]);
    atomic_store(&ep->last_success_ms, sl_time_now_ms() + 3600000); /* no check finds it old */
    watch();
    sl_health_set_members(f.watch, f.set);
    until(is_up, "a success");
    pod_turn_ms(f.loop, 50);
    assert_int_equal(f.pods[0].connections_n, 0);
    atomic_store(&ep->last_success_ms, sl_time_now_ms());
    until_asked(1); /* without traffic it is asked */
}

/* It gets some as the last resort, and may well answer that. */
static void traffic_does_not_raise_who_says_that_it_is_not_ready(void **state)
{
    (void)state;

    pod_say(&f.pods[0], &say_503);
    members(0, 1);
    struct sl_endpoint *ep = endpoint_at(&f.pods[0]);
    watch();
    sl_health_set_members(f.watch, f.set);
    until(is_down, "three failures");
    atomic_store(&ep->last_success_ms, sl_time_now_ms() + 3600000);
    unsigned asked_n = f.pods[0].requests_n;
    until_asked(asked_n + 3);
    assert_int_equal(health_of(0), SL_HEALTH_DOWN);
}

static void the_first_failure_hurries_the_next_checks(void **state)
{
    (void)state;

    f.conf.health.interval_ms = 2000;
    f.conf.health.fall_n = 2;
    watch();
    members(1, 1); /* not the first set: the next endpoint is asked at once */
    pod_say(&f.pods[0], &say_503);
    uint64_t began_ms = sl_time_now_ms();
    uint64_t now_ms = began_ms;
    uint64_t ran_ms = 0; /* without what this machine stood still */
    members(0, 2);
    while (!is_down(NULL)) {
        sl_loop_run_once(f.loop);
        uint64_t turn_ms = sl_time_now_ms() - now_ms;
        now_ms += turn_ms;
        ran_ms += turn_ms < 5 ? turn_ms : 5;
        check(ran_ms < 1600, "a quarter of 2 s is not over after %ju ms", (uintmax_t)ran_ms);
    }
    check(now_ms - began_ms >= 400, "%ju ms", (uintmax_t)(now_ms - began_ms));
    assert_int_equal(f.pods[0].requests_n, 2);
}

static void a_check_that_looks_deeper_is_not_spared_by_traffic(void **state)
{
    static const struct pod_step say_warming = {
        .answer = "HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\nwarming",
    };
    (void)state;

    f.conf.health.body = "ready";
    pod_say(&f.pods[0], &say_warming);
    watch();
    log_capture();
    members(0, 1);
    struct sl_endpoint *ep = endpoint_at(&f.pods[0]);
    for (int i = 0; i < 2000 && !is_down(NULL); i++) {
        atomic_store(&ep->last_success_ms, sl_time_now_ms());
        pod_turn_ms(f.loop, 1);
    }
    const char *log = log_captured();
    assert_int_equal(health_of(0), SL_HEALTH_DOWN);
    check(count_of(log, "\"reason\":\"body\"") == 1, "%s", log);
}

static void a_port_of_its_own_says_nothing_about_a_refused_connect(void **state)
{
    struct sl_rng rng = {.state = 1};
    (void)state;

    f.conf.health.port = f.pods[1].address.port;
    watch();
    members(0, 1);
    struct sl_endpoint *ep = endpoint_at(&f.pods[0]);
    uint64_t now_ms = sl_time_now_ms();
    const struct sl_outlier_report r = {.began_ms = now_ms, .now_ms = now_ms, .rng = &rng};
    assert_true(sl_outlier_on_connect_refused(ep, &r));
    until(is_up, "the answer of the other port");
    assert_true(atomic_load(&ep->ejected_until_ms) > now_ms);
    assert_int_equal(f.pods[0].connections_n, 0);
}

static bool is_admitted_again(void *arg)
{
    struct sl_endpoint *ep = arg;
    return atomic_load(&ep->ejected_until_ms) == 0;
}

static void a_success_ends_an_ejection_for_a_refused_connect(void **state)
{
    struct sl_rng rng = {.state = 1};
    (void)state;

    watch();
    members(0, 1);
    struct sl_endpoint *ep = endpoint_at(&f.pods[0]);
    uint64_t now_ms = sl_time_now_ms();
    const struct sl_outlier_report r = {.began_ms = now_ms, .now_ms = now_ms, .rng = &rng};
    assert_true(sl_outlier_on_connect_refused(ep, &r));
    pod_turn_until(f.loop, is_admitted_again, ep, "the ejection to end");
    assert_int_equal(health_of(0), SL_HEALTH_UP);
    check(sl_time_now_ms() - now_ms < SL_OUTLIER_BASE_MS, "it ended by itself");
}

static void members_come_and_go_while_probes_run(void **state)
{
    (void)state;

    f.conf.health.timeout_ms = 60000;
    pod_say(&f.pods[0], &say_nothing);
    watch();
    members(0, 1);
    until_asked(1); /* and it hangs */
    members(0, 2);  /* it stays, another one comes */
    until(is_second_up, "the other's success");
    assert_int_equal(f.pods[0].connections_n, 1);
    members(1, 1); /* the one that hangs goes, and its endpoint with it */
    pod_turn_until(f.loop, none_open, &f.pods[0], "its connection to close");
    assert_int_equal(f.pool->endpoints.n, 1);
    unsigned before_n = f.pods[1].requests_n;
    members(0, 0);
    pod_turn_until(f.loop, none_open, &f.pods[1], "the other connection to close");
    pod_turn_ms(f.loop, 50);
    check(f.pods[1].requests_n <= before_n + 1, "it is still asked");
    assert_int_equal(f.pool->endpoints.n, 0);
    assert_int_equal(f.pods[0].requests_n, 1);
}

static void a_new_member_is_asked_at_once_and_the_first_ones_over_the_interval(void **state)
{
    (void)state;

    f.conf.health.interval_ms = 600000;
    watch();
    members(2, 100);
    pod_turn_ms(f.loop, 50);
    check(f.pods[0].requests_n <= 2, "%u of 100 were asked at once", f.pods[0].requests_n);
    members(1, 101);
    until(is_second_up, "the new one's success");
}

static void unwatch_closes_what_is_open_and_forgets(void **state)
{
    static const struct pod_step *const steps[] = {&say_ok, &say_nothing};
    (void)state;

    for (size_t i = 0; i < SL_ARRAY_LEN(steps); i++) {
        pod_say(&f.pods[0], steps[i]);
        f.pods[0].requests_n = 0;
        watch();
        members(0, 1);
        until_asked(1);
        unwatch();
        assert_int_equal(health_of(0), SL_HEALTH_UNKNOWN);
        pod_turn_until(f.loop, none_open, &f.pods[0], "the connection to close");
    }
    pod_turn_ms(f.loop, 50);
    assert_int_equal(f.pods[0].requests_n, 1);
}

static void one_that_is_down_and_gone_is_forgotten_with_the_checks(void **state)
{
    (void)state;

    watch();
    pod_say(&f.pods[0], &say_503);
    members(0, 2);
    struct sl_endpoint *ep = endpoint_at(&f.pods[0]);
    until(is_down, "three failures");
    (void)sl_endpoint_ref(ep); /* a set that some worker holds does the same */
    members(1, 1);
    assert_int_equal(atomic_load(&ep->health), SL_HEALTH_DOWN);
    unwatch();
    assert_int_equal(atomic_load(&ep->health), SL_HEALTH_UNKNOWN);
    sl_endpoint_unref(&f.pool->endpoints, &ep);
}

static void new_settings_of_the_same_kind_keep_what_is_known(void **state)
{
    struct sl_pool_config conf = f.conf;
    struct sl_health_watch *old = NULL;
    (void)state;

    pod_say(&f.pods[0], &say_503);
    watch();
    members(0, 1);
    until(is_down, "three failures");

    conf.health.interval_ms = 60000;
    old = f.watch;
    assert_int_equal(sl_health_watch(f.runner, f.pool, &conf, NULL, &f.watch), SL_OK);
    sl_health_unwatch(old);
    sl_health_set_members(f.watch, f.set);
    assert_int_equal(health_of(0), SL_HEALTH_DOWN);

    conf.health.kind = SL_HEALTH_CHECK_HTTP;
    struct sl_pool_config tcp = conf;
    tcp.health.kind = SL_HEALTH_CHECK_TCP;
    tcp.health.interval_ms = 10;
    old = f.watch;
    assert_int_equal(sl_health_watch(f.runner, f.pool, &tcp, NULL, &f.watch), SL_OK);
    sl_health_unwatch(old);
    assert_int_equal(health_of(0), SL_HEALTH_UNKNOWN);
    sl_health_set_members(f.watch, f.set);
    until(is_up, "a connect"); /* to a pod that would answer 503 */
    unwatch();
}

static void one_process_sends_at_most_500_probes_a_second(void **state)
{
    const unsigned n = 400; /* each of them once, and then some again */
    (void)state;

    uint64_t from_ms = sl_loop_now_ms(f.loop);
    watch();
    members(1, 1);
    members(1, 301); /* 301 at 10 ms: 30 000 a second, were they let */
    until_asked(n);  /* nearly all are at the first pod */
    uint64_t took_ms = sl_time_now_ms() - from_ms;
    check(n <= took_ms / 2 + 10, "%u in %ju ms", n, (uintmax_t)took_ms);
}

static bool no_memory(size_t size_bytes)
{
    (void)size_bytes;
    return false;
}

static void want_of_memory_is_nobodys_failure(void **state)
{
    (void)state;

    f.conf.health.fall_n = 1;
    watch();
    members(0, 1);
    until(is_up, "the first success");
    /* A head in pieces needs memory; none means that we do not know what it says. */
    static const struct pod_step pieces = {
        .answer = "HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n",
        .piece_bytes = 4,
    };
    unsigned from_n = f.pods[0].requests_n;
    log_capture();
    pod_say(&f.pods[0], &pieces);
    sl_alloc_hook = no_memory;
    until_asked(from_n + 3);
    sl_alloc_hook = NULL;
    const char *log = log_captured();
    check(count_of(log, "health_checks_not_sent") == 1, "%s", log);
    check(count_of(log, "\"memory\"") == 1, "%s", log);
    assert_int_equal(health_of(0), SL_HEALTH_UP);
    until(is_down, "the answer");
}

static unsigned allocs_n;
static unsigned alloc_fails_at;

static bool fail_one(size_t size_bytes)
{
    (void)size_bytes;
    return ++allocs_n != alloc_fails_at;
}

static void members_without_memory_are_taken_with_the_next_set(void **state)
{
    (void)state;

    watch();
    members(0, 0);
    const struct sl_snapshot snapshot = {.items = f.found, .n = 2};
    struct sl_endpoint_set *set = NULL;
    struct sl_error err = {0};
    assert_int_equal(sl_pool_build_set(f.pool, &snapshot, &f.conf, &set, &err), SL_OK);
    sl_pool_free_set(f.set);
    f.set = set;
    for (alloc_fails_at = 1;; alloc_fails_at++) {
        allocs_n = 0;
        log_capture();
        sl_alloc_hook = fail_one;
        sl_health_set_members(f.watch, f.set);
        sl_alloc_hook = NULL;
        const char *log = log_captured();
        if (allocs_n < alloc_fails_at) {
            break;
        }
        check(count_of(log, "health_checks_missing") == 1, "fail %u: %s", alloc_fails_at, log);
    }
    assert_true(alloc_fails_at >= 5);
    until(is_up, "the first success");
    sl_health_set_members(f.watch, f.set);
    until(is_second_up, "the other's success");
}

static void no_memory_and_no_room_are_said(void **state)
{
    static char path[SL_HEALTH_PATH_MAX_BYTES + 2];
    struct sl_health_runner *runner = NULL;
    (void)state;

    sl_alloc_hook = no_memory;
    int new_rc = sl_health_new(f.loop, &f.chunks, &runner);
    int watch_rc = sl_health_watch(f.runner, f.pool, &f.conf, NULL, &f.watch);
    sl_alloc_hook = NULL;
    assert_int_equal(new_rc, SL_ENOMEM);
    assert_int_equal(watch_rc, SL_ENOMEM);
    assert_null(runner);
    assert_null(f.watch);

    memset(path, 'a', sizeof(path) - 1);
    path[0] = '/';
    f.conf.health.path = path;
    assert_int_equal(sl_health_watch(f.runner, f.pool, &f.conf, NULL, &f.watch), SL_ELIMIT);
    assert_null(f.watch);
    path[SL_HEALTH_PATH_MAX_BYTES] = '\0';
    watch();
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(an_endpoint_goes_up_and_down_and_up_with_its_answers),
        T(one_that_was_never_judged_is_down_at_the_first_refused_connect),
        T(one_that_was_up_survives_a_restart_of_its_listener),
        T(no_answer_within_the_timeout_is_a_failure),
        T(traffic_that_succeeds_stands_in_for_a_probe),
        T(traffic_does_not_raise_who_says_that_it_is_not_ready),
        T(the_first_failure_hurries_the_next_checks),
        T(a_check_that_looks_deeper_is_not_spared_by_traffic),
        T(a_port_of_its_own_says_nothing_about_a_refused_connect),
        T(a_success_ends_an_ejection_for_a_refused_connect),
        T(members_come_and_go_while_probes_run),
        T(a_new_member_is_asked_at_once_and_the_first_ones_over_the_interval),
        T(unwatch_closes_what_is_open_and_forgets),
        T(one_that_is_down_and_gone_is_forgotten_with_the_checks),
        T(new_settings_of_the_same_kind_keep_what_is_known),
        T(one_process_sends_at_most_500_probes_a_second),
        T(want_of_memory_is_nobodys_failure),
        T(members_without_memory_are_taken_with_the_next_set),
        T(no_memory_and_no_room_are_said),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
