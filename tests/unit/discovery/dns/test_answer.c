/* SPDX-License-Identifier: Apache-2.0 */
#include "discovery/dns/answer.h"
#include "tests/unit/check.h"
#include "tests/unit/discovery/fake_dns.h"

#include <stdlib.h>
#include <string.h>

static unsigned char bytes[FAKE_DNS_MESSAGE_BYTES];
static unsigned char message[FAKE_DNS_MESSAGE_BYTES];
static struct fake_dns_answer answer;

static struct fake_dns_answer *of(uint16_t type)
{
    answer = (struct fake_dns_answer){.name = "llama.test", .type = type, .bytes = bytes};
    return &answer;
}

static struct sl_slice made(void)
{
    return (struct sl_slice){(const char *)message, fake_dns_message(&answer, 7, message)};
}

static void read_as(uint16_t type, struct sl_dns_answer *out)
{
    assert_int_equal(sl_dns_answer_read(made(), type, out), SL_OK);
}

static void the_least_ttl_of_aliases_and_records_counts(void **state)
{
    struct fake_dns_answer *a = of(SL_DNS_A);
    struct sl_dns_answer out;
    (void)state;

    fake_dns_alias(a, 9, "real.test");
    fake_dns_host(a, 20, "10.0.0.2");
    fake_dns_host(a, 30, "10.0.0.1");
    fake_dns_host(a, 5, "fd00::1"); /* not what was asked for */
    read_as(SL_DNS_A, &out);
    assert_int_equal(out.hosts_n, 2);
    assert_string_equal(out.hosts[0].text, "10.0.0.2");
    assert_int_equal(out.ttl_s, 9);
    sl_dns_answer_fini(&out);
    fake_dns_host(a, 0x80000001U, "10.0.0.3"); /* RFC 2181 8 */
    read_as(SL_DNS_A, &out);
    assert_int_equal(out.ttl_s, 0);
    sl_dns_answer_fini(&out);
    assert_null(out.hosts);
}

static void srv_records_have_their_ttl_and_what_came_along(void **state)
{
    struct fake_dns_answer *a = of(SL_DNS_SRV);
    struct sl_dns_answer out;
    (void)state;

    fake_dns_srv(a, 60, 2, 3, 8001, "B.Test");
    fake_dns_srv(a, 50, 1, 0, 8002, "a.test");
    fake_dns_srv(a, 40, 0, 0, 8003, ".");
    fake_dns_srv(a, 70, 0, 0, 0, "portless.test");
    fake_dns_extra(a, 45, "b.TEST", "10.0.0.1");
    fake_dns_extra(a, 30, "a.test", "fd00::1");
    read_as(SL_DNS_SRV, &out);
    assert_int_equal(out.srvs_n, 2);
    assert_string_equal(out.srvs[0].target, "a.test");
    assert_int_equal(out.srvs[0].priority, 1);
    assert_string_equal(out.srvs[1].target, "b.test");
    assert_int_equal(out.srvs[1].weight, 3);
    assert_int_equal(out.srvs[1].port, 8001);
    assert_int_equal(out.extras_n, 2);
    assert_string_equal(out.extras[0].name, "a.test");
    assert_string_equal(out.extras[0].host.text, "fd00::1");
    assert_int_equal(out.ttl_s, 30);
    sl_dns_answer_fini(&out);
}

static void a_denial_is_good_for_the_lesser_of_two_numbers(void **state)
{
    struct fake_dns_answer *a = of(SL_DNS_A);
    (void)state;

    assert_int_equal(sl_dns_negative_ttl_s(made()), 0);
    fake_dns_soa(a, 60, 5);
    assert_int_equal(sl_dns_negative_ttl_s(made()), 5);
    a = of(SL_DNS_A);
    fake_dns_soa(a, 7, 3600);
    assert_int_equal(sl_dns_negative_ttl_s(made()), 7);
    assert_int_equal(sl_dns_negative_ttl_s(SL_SLICE("")), 0);
}

static void whatever_breaks_off_is_refused(void **state)
{
    struct fake_dns_answer *a = of(SL_DNS_SRV);
    struct sl_dns_answer out;
    (void)state;

    fake_dns_srv(a, 60, 2, 3, 8001, "b.test");
    fake_dns_extra(a, 45, "b.test", "10.0.0.1");
    struct sl_slice whole = made();
    for (size_t len = 0; len < whole.len; len++) {
        char *part = malloc(len + 1); /* so that a sanitizer sees a read beyond it */

        assert_non_null(part);
        memcpy(part, whole.ptr, len);
        assert_int_equal(sl_dns_answer_read((struct sl_slice){part, len}, SL_DNS_SRV, &out),
                         SL_EPROTO);
        assert_null(out.srvs);
        free(part);
    }
    static const unsigned char short_data[] = {0xc0, 12, 0, 33, 0, 1, 0, 0, 0, 1, 0, 2, 0, 0};
    a = of(SL_DNS_SRV);
    memcpy(a->bytes, short_data, sizeof(short_data));
    a->len = sizeof(short_data);
    a->counts[0] = 1;
    assert_int_equal(sl_dns_answer_read(made(), SL_DNS_SRV, &out), SL_EPROTO);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_least_ttl_of_aliases_and_records_counts),
        cmocka_unit_test(srv_records_have_their_ttl_and_what_came_along),
        cmocka_unit_test(a_denial_is_good_for_the_lesser_of_two_numbers),
        cmocka_unit_test(whatever_breaks_off_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
