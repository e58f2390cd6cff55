/* SPDX-License-Identifier: Apache-2.0 */
#include "health_pod.h"

#include "proxy/upstream/health_checker.h"
#include "tests/unit/check.h"
#include "tests/unit/proxy/io/pki.h"

#include <string.h>

static const struct pod_step nothing = {.answer = NULL};

struct fixture {
    struct sl_loop *loop;
    struct sl_chunk_pool chunks;
    struct sl_health_config conf;
    struct sl_health_target target;
    struct sl_health_check *check;
    struct sl_health_result result;
    unsigned reports_n;
    struct pod pod;
};

static struct fixture f; /* too large for a stack */

static void on_report(struct sl_health_check *check, const struct sl_health_result *result)
{
    assert_ptr_equal(check->owner, &f);
    f.result = *result;
    f.reports_n++;
}

static int setup(void **state)
{
    (void)state;

    memset(&f, 0, sizeof(f));
    assert_int_equal(sl_loop_new(&f.loop), SL_OK);
    sl_chunk_pool_init(&f.chunks, (size_t)64 * 1024, 4);
    f.conf.kind = SL_HEALTH_CHECK_TCP;
    f.target = (struct sl_health_target){.loop = f.loop, .chunks = &f.chunks, .conf = &f.conf};
    pod_init(&f.pod, f.loop, &nothing, 1);
    f.check =
        sl_health_checker_get(SL_HEALTH_CHECK_TCP)->new(&f.target, &f.pod.address, on_report, &f);
    assert_non_null(f.check);
    return 0;
}

static int teardown(void **state)
{
    (void)state;

    f.check->ops->free(f.check);
    pod_fini(&f.pod);
    sl_loop_free(f.loop);
    sl_chunk_pool_fini(&f.chunks);
    return 0;
}

static bool has_reported(void *arg)
{
    return f.reports_n >= *(unsigned *)arg;
}

static bool all_came_and_went(void *arg)
{
    return f.pod.open_n == 0 && f.pod.connections_n == *(unsigned *)arg;
}

static void probe(void)
{
    unsigned want_n = f.reports_n + 1;

    f.check->ops->start(f.check);
    pod_turn_until(f.loop, has_reported, &want_n, "a report");
}

static void a_connection_is_enough_and_is_closed_without_a_word(void **state)
{
    (void)state;

    for (unsigned i = 1; i <= 3; i++) {
        probe();
        assert_int_equal(f.result.code, SL_OK);
        assert_int_equal(f.result.status, 0);
        pod_turn_until(f.loop, all_came_and_went, &i, "the connection to end");
    }
    assert_int_equal(f.pod.requests_n, 0);
}

static void a_port_where_nobody_listens_is_refused(void **state)
{
    (void)state;

    pod_stop_listening(&f.pod);
    probe();
    assert_int_equal(f.result.code, SL_EREFUSED);
}

static void a_stopped_probe_reports_nothing(void **state)
{
    (void)state;

    for (int turns = 0; turns < 3; turns++) {
        unsigned before_n = f.reports_n;
        f.check->ops->start(f.check);
        f.check->ops->stop(f.check);
        for (int i = 0; i < turns * 5; i++) {
            sl_loop_run_once(f.loop);
        }
        assert_int_equal(f.reports_n, before_n);
    }
}

static void over_tls_the_handshake_decides(void **state)
{
    const char *names[] = {"llama.prod.svc"};
    const struct sl_tls_config good = {.ca = pki_path("ca.crt"), .san = {names, 1}};
    const struct sl_tls_config bad = {.ca = pki_path("other.crt"), .san = {names, 1}};
    struct sl_tls_context *server = pki_server("edge", false);
    struct sl_tls_context *trusts = pki_client_of(&good);
    struct sl_tls_context *doubts = pki_client_of(&bad);
    unsigned one = 1;
    unsigned two = 2;
    (void)state;

    f.pod.tls = server;
    f.target.tls = trusts;
    probe();
    assert_int_equal(f.result.code, SL_OK);
    pod_turn_until(f.loop, all_came_and_went, &one, "the connection to end");
    f.target.tls = doubts;
    probe();
    assert_int_equal(f.result.code, SL_ETLS);
    check(f.result.detail[0] != '\0', "TLS failed without words");
    pod_turn_until(f.loop, all_came_and_went, &two, "the connection to end");
    sl_tls_context_free(server);
    sl_tls_context_free(trusts);
    sl_tls_context_free(doubts);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(a_connection_is_enough_and_is_closed_without_a_word),
        T(a_port_where_nobody_listens_is_refused),
        T(a_stopped_probe_reports_nothing),
        T(over_tls_the_handshake_decides),
    };
    return cmocka_run_group_tests(tests, pki_setup, pki_teardown);
}
