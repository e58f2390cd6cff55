/* SPDX-License-Identifier: Apache-2.0 */
#include <sluiced/discovery.h>
#include <sluiced/log.h>
#include <sluiced/time.h>

#include "discovery/discovery.h"
#include "discovery/dns/answer.h"
#include "proxy/base/alloc.h"
#include "proxy/io/loop.h"
#include "proxy/io/resolver.h"
#include "tests/unit/check.h"
#include "tests/unit/discovery/fake_api.h"
#include "tests/unit/discovery/fake_dns.h"

#include <stdio.h>
#include <string.h>

enum {
    NXDOMAIN = 3,
    SERVFAIL = 2,
    REFUSED = 5
};

struct rig {
    struct sl_loop *loop;
    struct sl_discovery *discovery;
    struct fake_dns dns;
    struct sl_sink sink;
    struct sl_source *source;
    struct sl_pool_config pool;
    struct sl_config config;
    const char *servers[1];
    int snapshots_n;
    size_t found_n;
    uint64_t at_ms;
    char text[2048];
};

static struct rig rig;

static void on_snapshot(struct sl_sink *sink, const struct sl_snapshot *snapshot)
{
    size_t at = 0;

    assert_ptr_equal(sink, &rig.sink);
    rig.snapshots_n++;
    rig.found_n = snapshot->n;
    rig.at_ms = sl_loop_now_ms(rig.loop);
    assert_true(snapshot->received_us > 0);
    rig.text[0] = '\0';
    for (size_t i = 0; i < snapshot->n && at < sizeof(rig.text); i++) {
        const struct sl_found *f = &snapshot->items[i];

        assert_string_equal(f->pod_uid, "");
        at += (size_t)snprintf(rig.text + at, sizeof(rig.text) - at, "%s:%u=%u ", f->address.host,
                               f->address.port, f->weight);
    }
}

/* One that waits so long for an answer. */
static void new_resolver(uint32_t timeout_ms)
{
    const struct sl_resolver_conf conf = {
        .timeout_ms = timeout_ms,
        .tries_n = 1,
        .resolv_conf = "/etc/resolv.conf",
    };

    assert_int_equal(sl_resolver_new(rig.loop, &conf, &rig.discovery->resolver), SL_OK);
}

static int setup(void **state)
{
    (void)state;

    memset(&rig, 0, sizeof(rig));
    assert_int_equal(sl_loop_new(&rig.loop), SL_OK);
    assert_int_equal(sl_discovery_new(rig.loop, NULL, &rig.discovery), SL_OK);
    new_resolver(60000); /* an answer that came is never too late, on whatever machine */
    fake_dns_start(&rig.dns, rig.loop);
    rig.sink.on_snapshot = on_snapshot;
    rig.servers[0] = rig.dns.at;
    rig.pool.name = "chat";
    rig.pool.discover.kind = SL_DISCOVER_DNS;
    rig.pool.discover.dns = (struct sl_dns_config){
        .name = "llama.test",
        .port = 8000,
        .servers = {rig.servers, 1},
        .min_ttl_ms = 20,
        .max_ttl_ms = 40,
        .hold_ms = 100,
    };
    return 0;
}

static void stop(void)
{
    if (rig.source != NULL) {
        rig.source->ops->stop(rig.source);
        rig.source = NULL;
    }
}

static int teardown(void **state)
{
    (void)state;
    stop();
    sl_discovery_free(rig.discovery);
    fake_dns_stop(&rig.dns);
    sl_loop_free(rig.loop);
    return 0;
}

static int try_start(enum sl_dns_type type)
{
    struct sl_error err = {0};

    rig.pool.discover.dns.type = type;
    return sl_source_get(SL_DISCOVER_DNS)
        ->start(&rig.pool, &rig.config, rig.discovery, &rig.sink, &rig.source, &err);
}

static void start(enum sl_dns_type type)
{
    assert_int_equal(try_start(type), SL_OK);
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

static void run_until(bool (*done)(void *arg), const char *want)
{
    char text[512];

    (void)snprintf(text, sizeof(text), "%s", want);
    for (int i = 0; i < 1000 && !done(text); i++) { /* in small steps: nothing is missed */
        fake_run_for(rig.loop, 5);
    }
    check(done(text), "expected \"%s\"; %d sets, the last \"%s\"; error \"%s\"", want,
          rig.snapshots_n, rig.text, status().last_error);
}

static void expect(const char *want)
{
    run_until(has_text, want);
}

static bool has_error(void *part)
{
    return strcmp(status().last_error, part) == 0;
}

static void expect_error(const char *whole)
{
    run_until(has_error, whole);
}

static bool has_state(void *arg)
{
    return status().state == *(const enum sl_source_state *)arg;
}

/* Between two questions, that is: while one is asked the state is another. */
static void expect_state(enum sl_source_state state)
{
    fake_run_until(rig.loop, has_state, &state, 5000, "a state");
}

static bool was_asked(void *arg)
{
    const unsigned *n = arg;

    return rig.dns.queries_n >= *n;
}

/* Until n more questions came. */
static void run_for_questions(unsigned n)
{
    n += rig.dns.queries_n;
    fake_run_until(rig.loop, was_asked, &n, 5000, "questions");
}

/* What llama.test has, as an answer of type with these addresses. */
static struct fake_dns_answer *have(uint16_t type, uint32_t ttl_s, const char *a, const char *b)
{
    struct fake_dns_answer *answer = fake_dns_put(&rig.dns, "llama.test", type, 0);

    if (a != NULL) {
        fake_dns_host(answer, ttl_s, a);
    }
    if (b != NULL) {
        fake_dns_host(answer, ttl_s, b);
    }
    return answer;
}

static void the_addresses_of_a_name_are_followed(void **state)
{
    (void)state;

    (void)have(SL_DNS_A, 1, "10.0.0.2", "10.0.0.1");
    start(SL_DNS_TYPE_A);
    assert_false(status().synced);
    assert_int_equal(status().state, SL_SOURCE_LISTING);
    expect("10.0.0.1:8000=1 10.0.0.2:8000=1 ");
    expect_state(SL_SOURCE_WATCHING);
    assert_true(status().synced && status().connected && status().fresh_at_ms > 0);
    (void)have(SL_DNS_A, 0, "10.0.0.1", "10.0.0.2"); /* turned round: the same */
    run_for_questions(3);
    assert_int_equal(rig.snapshots_n, 1);
    (void)have(SL_DNS_A, 4000000000U, "10.0.0.3", NULL);
    expect("10.0.0.3:8000=1 ");
    (void)have(SL_DNS_A, 86400, "10.0.0.4", NULL); /* a day: max_ttl asks long before */
    expect("10.0.0.4:8000=1 ");
    assert_int_equal(status().events_n, 2);
    assert_int_equal(status().errors_n, 0);
    assert_string_equal(status().last_error, "");
}

static void any_is_both_families_and_one_may_be_missing(void **state)
{
    (void)state;

    (void)have(SL_DNS_A, 1, "10.0.0.1", NULL);
    (void)have(SL_DNS_AAAA, 1, NULL, NULL);
    start(SL_DNS_TYPE_ANY);
    expect("10.0.0.1:8000=1 ");
    assert_string_equal(status().last_error, "");
    (void)have(SL_DNS_AAAA, 1, "fd00::1", NULL);
    expect("10.0.0.1:8000=1 fd00::1:8000=1 ");
    assert_int_equal(rig.snapshots_n, 2);
    stop();
    start(SL_DNS_TYPE_AAAA);
    expect("fd00::1:8000=1 ");
}

static void a_family_that_fails_keeps_what_it_had(void **state)
{
    (void)state;

    (void)have(SL_DNS_A, 1, "10.0.0.1", NULL);
    (void)have(SL_DNS_AAAA, 1, "fd00::1", NULL);
    start(SL_DNS_TYPE_ANY);
    expect("10.0.0.1:8000=1 fd00::1:8000=1 ");
    (void)fake_dns_put(&rig.dns, "llama.test", SL_DNS_AAAA, SERVFAIL);
    (void)have(SL_DNS_A, 1, "10.0.0.2", NULL);
    expect("10.0.0.2:8000=1 fd00::1:8000=1 ");
    expect_error("llama.test: server failure (SERVFAIL)");
    assert_true(status().connected); /* the other half is known to be right */
    (void)have(SL_DNS_AAAA, 1, "fd00::2", NULL);
    expect("10.0.0.2:8000=1 fd00::2:8000=1 ");
    expect_error("");
}

static void what_fails_keeps_the_set_and_is_asked_again(void **state)
{
    static const struct {
        uint16_t rcode;
        const char *error;
    } failures[] = {
        {SERVFAIL, "llama.test: server failure (SERVFAIL)"},
        {REFUSED, "llama.test: query refused (REFUSED)"},
    };
    struct fake_dns_answer *a;
    (void)state;

    sl_resolver_free(rig.discovery->resolver);
    new_resolver(250);
    rig.pool.discover.dns.hold_ms = 0;
    (void)have(SL_DNS_A, 1, "10.0.0.1", NULL);
    start(SL_DNS_TYPE_A);
    expect("10.0.0.1:8000=1 ");
    for (size_t i = 0; i < SL_ARRAY_LEN(failures); i++) {
        (void)fake_dns_put(&rig.dns, "llama.test", SL_DNS_A, failures[i].rcode);
        expect_error(failures[i].error);
        expect_state(SL_SOURCE_WAITING);
        assert_false(status().connected);
        run_for_questions(1);
    }
    a = have(SL_DNS_A, 1, "10.0.0.1", NULL);
    a->silent = true;
    expect_error("llama.test: no answer in time");
    assert_true(status().errors_n >= 3);
    assert_int_equal(rig.snapshots_n, 1);
    a = have(SL_DNS_A, 1, "10.0.0.2", NULL);
    expect("10.0.0.2:8000=1 ");
    expect_error("");
}

static void a_start_that_fails_pushes_nothing(void **state)
{
    (void)state;

    (void)fake_dns_put(&rig.dns, "llama.test", SL_DNS_A, SERVFAIL);
    (void)have(SL_DNS_AAAA, 1, NULL, NULL); /* that alone says nothing */
    start(SL_DNS_TYPE_ANY);
    expect_error("llama.test: server failure (SERVFAIL)");
    run_for_questions(4);
    assert_int_equal(rig.snapshots_n, 0);
    assert_false(status().synced);
    (void)have(SL_DNS_A, 1, "10.0.0.1", NULL);
    expect("10.0.0.1:8000=1 ");
}

static void a_name_that_is_not_there_is_an_empty_set(void **state)
{
    struct fake_dns_answer *a = fake_dns_put(&rig.dns, "llama.test", SL_DNS_A, NXDOMAIN);
    (void)state;

    fake_dns_soa(a, 3600, 3600);
    start(SL_DNS_TYPE_A);
    expect(""); /* nothing was known that could be held */
    expect_state(SL_SOURCE_WATCHING);
    assert_string_equal(status().last_error, "");
    (void)have(SL_DNS_A, 1, "10.0.0.1", NULL); /* max_ttl bounds an hour */
    expect("10.0.0.1:8000=1 ");
}

static void a_denial_counts_only_when_it_lasts(void **state)
{
    (void)state;

    rig.pool.discover.dns.hold_ms = 60000;
    (void)have(SL_DNS_A, 1, "10.0.0.1", NULL);
    start(SL_DNS_TYPE_A);
    expect("10.0.0.1:8000=1 ");
    fake_dns_forget(&rig.dns, "llama.test", SL_DNS_A);
    run_for_questions(3);
    assert_int_equal(rig.snapshots_n, 1);
    (void)have(SL_DNS_A, 1, "10.0.0.2", NULL); /* it was only a restart */
    expect("10.0.0.2:8000=1 ");
    rig.pool.discover.dns.hold_ms = 400;
    uint64_t denied_ms = sl_loop_now_ms(rig.loop);
    (void)have(SL_DNS_A, 1, NULL, NULL); /* NODATA */
    expect("");
    check(rig.at_ms - denied_ms >= 400, "after %d ms", (int)(rig.at_ms - denied_ms));
    assert_int_equal(rig.snapshots_n, 3);
}

static bool has_more_errors(void *arg)
{
    return status().errors_n > *(const uint64_t *)arg;
}

static void a_denial_between_failures_does_not_last(void **state)
{
    (void)state;

    rig.pool.discover.dns.hold_ms = 150;
    (void)have(SL_DNS_A, 1, "10.0.0.1", NULL);
    start(SL_DNS_TYPE_A);
    expect("10.0.0.1:8000=1 ");
    uint64_t began_ms = sl_loop_now_ms(rig.loop);
    while (sl_loop_now_ms(rig.loop) - began_ms < 400) {
        (void)have(SL_DNS_A, 1, NULL, NULL);
        run_for_questions(1);
        uint64_t errors_n = status().errors_n;
        (void)fake_dns_put(&rig.dns, "llama.test", SL_DNS_A, SERVFAIL);
        fake_run_until(rig.loop, has_more_errors, &errors_n, 5000, "a failure");
    }
    assert_int_equal(rig.snapshots_n, 1);
}

static void what_udp_does_not_hold_comes_over_tcp(void **state)
{
    struct fake_dns_answer *a = have(SL_DNS_A, 1, "10.0.0.1", NULL);
    (void)state;

    a->tcp_only = true;
    start(SL_DNS_TYPE_A);
    expect("10.0.0.1:8000=1 ");
    assert_true(rig.dns.tcp_queries_n > 0);
}

static void five_thousand_addresses_are_cut_and_always_the_same_stay(void **state)
{
    char host[48];
    (void)state;

    for (int turn = 0; turn < 2; turn++) {
        struct fake_dns_answer *a = have(SL_DNS_A, 1, NULL, NULL);
        struct fake_dns_answer *aaaa = have(SL_DNS_AAAA, 1, NULL, NULL);

        for (int i = 0; i < 3000; i++) {
            int at = turn == 0 ? i : 2999 - i;

            (void)snprintf(host, sizeof(host), "10.0.%d.%d", at / 250, at % 250);
            fake_dns_host(a, 1, host);
        }
        for (int i = 0; i < 2000; i++) {
            (void)snprintf(host, sizeof(host), "fd00::%d", turn == 0 ? i + 1 : 2000 - i);
            fake_dns_host(aaaa, 1, host);
        }
        if (turn == 0) {
            start(SL_DNS_TYPE_ANY);
            expect_error("llama.test: too many addresses; the first 4096 are used");
        } else {
            run_for_questions(6);
        }
        assert_int_equal(rig.found_n, 4096);
        assert_int_equal(rig.snapshots_n, 1);
    }
}

static struct fake_dns_answer *have_srv(void)
{
    return fake_dns_put(&rig.dns, "llama.test", SL_DNS_SRV, 0);
}

static void put_host(const char *name, const char *host)
{
    struct fake_dns_answer *a = fake_dns_put(&rig.dns, name, SL_DNS_A, 0);

    fake_dns_host(a, 1, host);
    (void)fake_dns_put(&rig.dns, name, SL_DNS_AAAA, 0);
}

static void the_targets_of_srv_records_are_asked_for(void **state)
{
    struct fake_dns_answer *a = have_srv();
    (void)state;

    fake_dns_srv(a, 1, 0, 30, 8001, "One.test");
    fake_dns_srv(a, 1, 0, 0, 8002, "two.test");
    fake_dns_srv(a, 1, 0, 7, 8003, "one.test");
    fake_dns_srv(a, 1, 0, 9, 8004, "."); /* RFC 2782: decidedly not there */
    fake_dns_srv(a, 1, 1, 9, 8005, "spare.test");
    put_host("one.test", "10.0.0.1");
    put_host("two.test", "10.0.0.2");
    put_host("spare.test", "10.0.0.9");
    start(SL_DNS_TYPE_SRV);
    expect("10.0.0.1:8001=30 10.0.0.1:8003=7 10.0.0.2:8002=0 ");
    fake_dns_host(fake_dns_put(&rig.dns, "two.test", SL_DNS_AAAA, 0), 1, "fd00::2");
    (void)fake_dns_put(&rig.dns, "one.test", SL_DNS_A, SERVFAIL);
    expect("10.0.0.1:8001=30 10.0.0.1:8003=7 10.0.0.2:8002=0 fd00::2:8002=0 ");
    expect_error("one.test: server failure (SERVFAIL)");
    (void)fake_dns_put(&rig.dns, "llama.test", SL_DNS_SRV, REFUSED);
    expect_error("llama.test: query refused (REFUSED)");
    a = have_srv();
    fake_dns_srv(a, 1, 0, 0, 8001, "one.test"); /* of which nothing new is to be had */
    fake_dns_srv(a, 1, 0, 0, 8002, "two.test");
    expect("10.0.0.1:8001=1 10.0.0.2:8002=1 fd00::2:8002=1 ");
    a = have_srv();
    fake_dns_srv(a, 1, 0, 5, 8002, "two.test");
    expect("10.0.0.2:8002=5 fd00::2:8002=5 ");
    (void)have_srv();
    expect("");
}

static void addresses_that_come_along_need_no_question(void **state)
{
    struct fake_dns_answer *a = have_srv();
    (void)state;

    fake_dns_srv(a, 1, 0, 1, 8001, "one.test");
    fake_dns_srv(a, 1, 0, 2, 8002, "two.test");
    fake_dns_extra(a, 1, "two.test", "10.0.0.2");
    fake_dns_extra(a, 1, "ONE.test", "fd00::1");
    fake_dns_extra(a, 1, "one.test", "10.0.0.1");
    fake_dns_extra(a, 1, "other.test", "10.0.0.3");
    start(SL_DNS_TYPE_SRV);
    expect("10.0.0.1:8001=1 10.0.0.2:8002=2 fd00::1:8001=1 ");
    run_for_questions(2);
    assert_int_equal(a->queries_n, rig.dns.queries_n);
}

static void a_higher_priority_steps_in_where_the_lower_has_no_address(void **state)
{
    struct fake_dns_answer *a = have_srv();
    (void)state;

    fake_dns_srv(a, 1, 1, 1, 8001, "one.test");
    fake_dns_srv(a, 1, 2, 1, 8002, "two.test");
    fake_dns_srv(a, 1, 3, 1, 8003, "three.test");
    put_host("three.test", "10.0.0.3");
    start(SL_DNS_TYPE_SRV);
    expect("10.0.0.3:8003=1 ");
    put_host("one.test", "10.0.0.1");
    expect("10.0.0.1:8001=1 ");
    (void)fake_dns_put(&rig.dns, "one.test", SL_DNS_A, SERVFAIL);
    expect_error("one.test: server failure (SERVFAIL)");
    assert_int_equal(rig.snapshots_n, 2);
}

static void many_targets_are_asked_for_a_few_at_a_time(void **state)
{
    struct fake_dns_answer *a = have_srv();
    char name[32];
    (void)state;

    for (int i = 0; i < 200; i++) {
        (void)snprintf(name, sizeof(name), "m%d.test", i);
        fake_dns_srv(a, 1, 0, 1, 8000, name);
    }
    put_host("m0.test", "10.0.0.1");
    put_host("m199.test", "10.0.0.2");
    start(SL_DNS_TYPE_SRV);
    expect("10.0.0.1:8000=1 10.0.0.2:8000=1 ");
    assert_true(rig.dns.queries_n >= 401);
}

static void a_doubt_asks_soon_but_not_often(void **state)
{
    struct fake_dns_answer *a = have(SL_DNS_A, 3600, "10.0.0.1", NULL);
    unsigned asked_n;
    (void)state;

    rig.pool.discover.dns.max_ttl_ms = 3600000;
    rig.pool.discover.dns.min_ttl_ms = 100;
    uint64_t began_ms = sl_loop_now_ms(rig.loop);
    start(SL_DNS_TYPE_A);
    rig.source->ops->doubt(rig.source); /* it asks already */
    expect("10.0.0.1:8000=1 ");
    asked_n = a->queries_n;
    a = have(SL_DNS_A, 3600, "10.0.0.2", NULL);
    for (int i = 0; i < 100; i++) {
        rig.source->ops->doubt(rig.source);
    }
    expect("10.0.0.2:8000=1 ");
    check(rig.at_ms - began_ms >= 100, "after %d ms", (int)(rig.at_ms - began_ms));
    assert_int_equal(asked_n + a->queries_n, 2);
}

static void a_stop_during_a_question_leaves_nothing(void **state)
{
    (void)state;

    have(SL_DNS_A, 1, "10.0.0.1", NULL)->silent = true;
    start(SL_DNS_TYPE_ANY);
    run_for_questions(2);
    stop();
    fake_run_for(rig.loop, 20);
    start(SL_DNS_TYPE_ANY);
    run_for_questions(1);
    stop(); /* and the resolver goes while c-ares still asks */
    assert_int_equal(rig.snapshots_n, 0);
}

static unsigned refuse_idx;
static unsigned allocs_n;

static bool refuse_from(size_t size_bytes)
{
    (void)size_bytes;
    return allocs_n++ != refuse_idx;
}

static void no_memory_at_any_point_is_survived(void **state)
{
    struct fake_dns_answer *a = have_srv();
    (void)state;

    sl_resolver_free(rig.discovery->resolver);
    new_resolver(250); /* what finds no memory to read an answer waits for it */
    fake_dns_srv(a, 1, 0, 1, 8001, "one.test");
    fake_dns_srv(a, 1, 0, 2, 8002, "two.test");
    fake_dns_extra(a, 1, "two.test", "10.0.0.2");
    put_host("one.test", "10.0.0.1");
    for (refuse_idx = 0; refuse_idx < 25; refuse_idx++) {
        allocs_n = 0;
        rig.snapshots_n = 0;
        rig.text[0] = '\0';
        sl_alloc_hook = refuse_from;
        int rc = try_start(SL_DNS_TYPE_SRV);
        if (rc == SL_OK) {
            /* It comes back by itself; and half of it is not half a set for long. */
            expect("10.0.0.1:8001=1 10.0.0.2:8002=2 ");
        } else {
            assert_int_equal(rc, SL_ENOMEM);
            assert_int_equal(rig.snapshots_n, 0);
        }
        sl_alloc_hook = NULL;
        stop();
    }
    assert_true(allocs_n > 5);
}

static void the_resolver_is_made_when_it_is_needed(void **state)
{
    (void)state;

    sl_resolver_free(rig.discovery->resolver);
    rig.discovery->resolver = NULL;
    (void)have(SL_DNS_A, 1, "10.0.0.1", NULL);
    start(SL_DNS_TYPE_A);
    expect("10.0.0.1:8000=1 ");
    assert_non_null(rig.discovery->resolver);
    assert_string_equal(sl_source_get(SL_DISCOVER_DNS)->name, "dns");
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(the_addresses_of_a_name_are_followed),
        TEST(any_is_both_families_and_one_may_be_missing),
        TEST(a_family_that_fails_keeps_what_it_had),
        TEST(what_fails_keeps_the_set_and_is_asked_again),
        TEST(a_start_that_fails_pushes_nothing),
        TEST(a_name_that_is_not_there_is_an_empty_set),
        TEST(a_denial_counts_only_when_it_lasts),
        TEST(a_denial_between_failures_does_not_last),
        TEST(what_udp_does_not_hold_comes_over_tcp),
        TEST(five_thousand_addresses_are_cut_and_always_the_same_stay),
        TEST(the_targets_of_srv_records_are_asked_for),
        TEST(addresses_that_come_along_need_no_question),
        TEST(a_higher_priority_steps_in_where_the_lower_has_no_address),
        TEST(many_targets_are_asked_for_a_few_at_a_time),
        TEST(a_doubt_asks_soon_but_not_often),
        TEST(a_stop_during_a_question_leaves_nothing),
        TEST(no_memory_at_any_point_is_survived),
        TEST(the_resolver_is_made_when_it_is_needed),
    };
    sl_log_configure(SL_LOG_ERROR, SL_LOG_JSON);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
