/* SPDX-License-Identifier: Apache-2.0 */
#include "proxy/io/loop.h"
#include "proxy/io/resolver.h"
#include "tests/unit/check.h"
#include "tests/unit/discovery/fake_api.h"
#include "tests/unit/discovery/fake_dns.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct rig {
    struct sl_loop *loop;
    struct sl_resolver *resolver;
    struct fake_dns first;
    struct fake_dns second;
    char path[64];
    int results_n;
    enum sl_resolver_outcome outcome;
    char reason[128];
};

static struct rig rig;

/* As editors do: a new file takes the place of the old one. */
static void write_conf(const char *text)
{
    char path[80];
    FILE *f;

    (void)snprintf(path, sizeof(path), "%s.new", rig.path);
    f = fopen(path, "we");
    assert_non_null(f);
    assert_true(fputs(text, f) >= 0);
    assert_int_equal(fclose(f), 0);
    assert_int_equal(rename(path, rig.path), 0);
}

/* One that waits so long for each server. */
static void new_resolver(uint32_t timeout_ms)
{
    const struct sl_resolver_conf conf = {
        .timeout_ms = timeout_ms,
        .tries_n = 1,
        .resolv_conf = rig.path,
    };

    assert_int_equal(sl_resolver_new(rig.loop, &conf, &rig.resolver), SL_OK);
}

static int setup(void **state)
{
    (void)state;
    memset(&rig, 0, sizeof(rig));
    (void)snprintf(rig.path, sizeof(rig.path), "/tmp/sl-resolv-XXXXXX");
    int fd = mkstemp(rig.path);
    assert_true(fd >= 0);
    assert_int_equal(close(fd), 0);
    assert_int_equal(sl_loop_new(&rig.loop), SL_OK);
    new_resolver(60000); /* an answer that came is never too late, on whatever machine */
    fake_dns_start(&rig.first, rig.loop);
    fake_dns_start(&rig.second, rig.loop);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    sl_resolver_free(rig.resolver);
    fake_dns_stop(&rig.first);
    fake_dns_stop(&rig.second);
    sl_loop_free(rig.loop);
    return unlink(rig.path);
}

static void on_result(void *arg, const struct sl_resolver_result *result)
{
    assert_ptr_equal(arg, &rig);
    rig.results_n++;
    rig.outcome = result->outcome;
    (void)snprintf(rig.reason, sizeof(rig.reason), "%s", result->reason);
}

static bool has_results(void *arg)
{
    const int *n = arg;
    return rig.results_n >= *n;
}

static enum sl_resolver_outcome ask(const char *servers)
{
    struct sl_resolver_query *q;
    int wanted_n = rig.results_n + 1;

    assert_int_equal(sl_resolver_ask(rig.resolver, servers, "llama.test", 1, on_result, &rig, &q),
                     SL_OK);
    assert_int_equal(rig.results_n, wanted_n - 1); /* never from inside */
    fake_run_until(rig.loop, has_results, &wanted_n, 5000, "an answer");
    return rig.outcome;
}

static void expect_names(const char *name, const char *wanted)
{
    char out[SL_RESOLVER_NAME_BYTES];
    char all[1024] = "";
    size_t at = 0;

    for (size_t i = 0; sl_resolver_candidate(rig.resolver, name, i, out); i++) {
        at += (size_t)snprintf(all + at, sizeof(all) - at, "%s ", out);
    }
    assert_string_equal(all, wanted);
}

static void names_are_completed_as_resolv_conf_says(void **state)
{
    (void)state;

    write_conf("nameserver 127.0.0.1\nsearch prod.svc.test svc.test\noptions ndots:2\n");
    expect_names("llama", "llama.prod.svc.test llama.svc.test llama ");
    expect_names("llama.prod", "llama.prod.prod.svc.test llama.prod.svc.test llama.prod ");
    expect_names("a.b.c", "a.b.c a.b.c.prod.svc.test a.b.c.svc.test ");
    expect_names("a.b.", "a.b. ");
    write_conf("nameserver 127.0.0.1\nsearch other.test\n"); /* and a change is seen */
    expect_names("llama.prod", "llama.prod llama.prod.other.test ");
}

static void the_next_server_is_asked_when_one_fails(void **state)
{
    char both[80];
    (void)state;

    (void)snprintf(both, sizeof(both), "%s,%s", rig.first.at, rig.second.at);
    (void)fake_dns_put(&rig.first, "llama.test", 1, 2);
    fake_dns_host(fake_dns_put(&rig.second, "llama.test", 1, 0), 1, "10.0.0.1");
    assert_int_equal(ask(both), SL_RESOLVER_ANSWER);
    sl_resolver_free(rig.resolver);
    new_resolver(250);
    fake_dns_put(&rig.first, "llama.test", 1, 0)->silent = true;
    for (int i = 0; ask(both) != SL_RESOLVER_ANSWER; i++) { /* the second may be late, too */
        check(i < 20, "only the first is asked");
    }
    sl_resolver_free(rig.resolver);
    new_resolver(60000);
    (void)fake_dns_put(&rig.first, "llama.test", 1, 5);
    (void)fake_dns_put(&rig.second, "llama.test", 1, 5);
    assert_int_equal(ask(both), SL_RESOLVER_FAILED);
    assert_string_equal(rig.reason, "query refused (REFUSED)");
}

static void nobody_at_the_port_is_a_failure_and_then_it_is_over(void **state)
{
    char at[32];
    (void)state;

    fake_dns_stop(&rig.second);
    (void)snprintf(at, sizeof(at), "%s", rig.second.at);
    for (int i = 0; i < 6; i++) { /* long enough for another channel */
        assert_int_equal(ask(at), SL_RESOLVER_FAILED);
        assert_string_equal(rig.reason, "no server could be reached");
    }
    fake_dns_start(&rig.second, rig.loop);
    assert_int_equal(ask(rig.second.at), SL_RESOLVER_NO_NAME);
    assert_string_equal(rig.reason, "no such name (NXDOMAIN)");
}

static void a_cancelled_question_is_not_answered(void **state)
{
    struct sl_resolver_query *q;
    (void)state;

    assert_int_equal(
        sl_resolver_ask(rig.resolver, rig.first.at, "llama.test", 1, on_result, &rig, &q), SL_OK);
    sl_resolver_cancel(q);
    assert_int_equal(ask(rig.first.at), SL_RESOLVER_NO_NAME);
    assert_int_equal(rig.results_n, 1);
}

static void servers_that_are_none_are_an_error(void **state)
{
    struct sl_resolver_query *q;
    (void)state;

    assert_true(sl_resolver_ask(rig.resolver, "not a server", "llama.test", 1, on_result, &rig,
                                &q) != SL_OK);
    assert_int_equal(rig.results_n, 0);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(names_are_completed_as_resolv_conf_says),
        TEST(the_next_server_is_asked_when_one_fails),
        TEST(nobody_at_the_port_is_a_failure_and_then_it_is_over),
        TEST(a_cancelled_question_is_not_answered),
        TEST(servers_that_are_none_are_an_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
