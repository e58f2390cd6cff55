/* SPDX-License-Identifier: Apache-2.0 */
#include <sluiced/err.h>
#include <sluiced/ip.h>

#include "tests/unit/check.h"

#include <string.h>

static struct sl_ip ip_of(const char *text)
{
    struct sl_ip ip;

    check(sl_ip_parse(sl_slice_of(text), &ip) == SL_OK, "%s is no address", text);
    return ip;
}

static void an_address_comes_out_in_one_spelling(void **state)
{
    static const struct {
        const char *in;
        const char *out;
        unsigned bits_n;
    } rows[] = {
        {"0.0.0.0", "0.0.0.0", 32},
        {"255.255.255.255", "255.255.255.255", 32},
        {"::", "::", 128},
        {"2001:DB8:0:0::1", "2001:db8::1", 128},
        {"::ffff:192.0.2.1", "192.0.2.1", 32},
        {"::FFFF:c000:201", "192.0.2.1", 32},
        {"::192.0.2.1", "::192.0.2.1", 128}, /* compatible, not mapped */
        {"ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.255", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
         128},
    };
    char text[SL_IP_TEXT_BYTES];
    (void)state;

    for (size_t i = 0; i < SL_ARRAY_LEN(rows); i++) {
        struct sl_ip ip = ip_of(rows[i].in);
        assert_string_equal(sl_ip_format(&ip, text), rows[i].out);
        assert_int_equal(ip.bits_n, rows[i].bits_n);
    }
}

static void what_is_no_numeric_address_is_refused(void **state)
{
    static const char *const rows[] = {
        "",
        "unknown",
        "1.2.3",
        "1.2.3.4.5",
        "1.2.3.256",
        "01.2.3.4",
        "1.2.3.4 ",
        " 1.2.3.4",
        "1.2.3.4:1",
        "[::1]",
        "::1%lo",
        ":::",
        "1:2",
        "0x7f.1",
        "1.2.3.4/32",
        "fe80::%1",
        "2130706433",
        "1:2:3:4:5:6:7:8:9",
        "0000:0000:0000:0000:0000:ffff:192.168.100.2000",
    };
    struct sl_ip ip = {.bits_n = 1};
    (void)state;

    for (size_t i = 0; i < SL_ARRAY_LEN(rows); i++) {
        check(sl_ip_parse(sl_slice_of(rows[i]), &ip) == SL_EPROTO, "%s passed", rows[i]);
        assert_int_equal(ip.bits_n, 1);
    }
    assert_int_equal(sl_ip_parse((struct sl_slice){"1.2.3.4\0", 8}, &ip), SL_EPROTO);
    assert_int_equal(sl_ip_parse((struct sl_slice){NULL, 0}, &ip), SL_EPROTO);
}

static void a_network_has_what_shares_its_prefix(void **state)
{
    static const struct {
        const char *network;
        const char *ip;
        bool has;
    } rows[] = {
        {"10.0.0.0/8", "10.255.0.1", true},
        {"10.0.0.0/8", "11.0.0.0", false},
        {"10.0.0.0/8", "9.255.255.255", false},
        {"192.168.4.0/22", "192.168.7.255", true},
        {"192.168.4.0/22", "192.168.8.0", false},
        {"192.0.2.128/25", "192.0.2.128", true},
        {"192.0.2.128/25", "192.0.2.127", false},
        {"192.0.2.1", "192.0.2.1", true},
        {"192.0.2.1", "192.0.2.0", false},
        {"192.0.2.1/32", "192.0.2.1", true},
        {"0.0.0.0/0", "255.0.0.1", true},
        {"fd00::/8", "fdff::1", true},
        {"fd00::/8", "fe00::1", false},
        {"2001:db8::/33", "2001:db8:7fff::1", true},
        {"2001:db8::/33", "2001:db8:8000::1", false},
        {"::1", "::1", true},
        {"::1", "::2", false},
        {"::/0", "2001:db8::1", true},
        /* families do not mix, but the mapped form is IPv4 */
        {"::/0", "192.0.2.1", false},
        {"0.0.0.0/0", "::1", false},
        {"::/96", "192.0.2.1", false},
        {"10.0.0.0/8", "::ffff:10.1.2.3", true},
        {"::ffff:10.0.0.0/104", "10.1.2.3", true},
        {"::ffff:10.0.0.0/104", "11.1.2.3", false},
        {"::ffff:0:0/96", "11.1.2.3", true},
        {"::ffff:192.0.2.1", "192.0.2.1", true},
        {"a00::/8", "10.0.0.0", false}, /* the same first byte */
    };
    (void)state;

    for (size_t i = 0; i < SL_ARRAY_LEN(rows); i++) {
        struct sl_network n;
        struct sl_ip ip = ip_of(rows[i].ip);

        check(sl_network_parse(sl_slice_of(rows[i].network), &n) == SL_OK, "%s is no network",
              rows[i].network);
        check(sl_network_has(&n, &ip) == rows[i].has, "%s has %s: not %d", rows[i].network,
              rows[i].ip, rows[i].has);
    }
}

static void what_could_be_another_network_is_refused(void **state)
{
    static const char *const rows[] = {
        "",
        "/",
        "/8",
        "10.0.0.0/",
        "10.0.0.0/33",
        "10.0.0.0/-1",
        "10.0.0.1/8",
        "10.0.0.0/+8",
        "10.0.0.0/08",
        "10.0.0.0/8/8",
        "10/8",
        "10.0.0.0/8 ",
        "fd00::/129",
        "fd00::1/64",
        "::1/0",
        "unix",
        "10.0.0.0-10.0.0.9",
        "10.0.0.0/255.0.0.0",
        "::ffff:0:0/95",
        "::ffff:10.0.0.0/8",
        "::ffff:10.0.0.1/104",
    };
    struct sl_network n = {.prefix_bits = 7};
    (void)state;

    for (size_t i = 0; i < SL_ARRAY_LEN(rows); i++) {
        check(sl_network_parse(sl_slice_of(rows[i]), &n) == SL_EPROTO, "%s passed", rows[i]);
        assert_int_equal(n.prefix_bits, 7);
    }
}

/* Against the definition: a number and a division. */
static void each_prefix_length_is_a_power_of_two(void **state)
{
    (void)state;

    for (unsigned bits = 0; bits <= 32; bits++) {
        struct sl_network n = {.ip = {.bytes = {0xa5, 0x5a, 0xc3, 0x3c}, .bits_n = 32},
                               .prefix_bits = (uint8_t)bits};
        for (unsigned flipped = 0; flipped < 32; flipped++) {
            struct sl_ip ip = n.ip;
            ip.bytes[flipped / 8] ^= (uint8_t)(0x80U >> flipped % 8);
            check(sl_network_has(&n, &ip) == (flipped >= bits), "/%u, bit %u", bits, flipped);
        }
    }
}

static void one_of_several_networks_is_enough_and_none_has_nobody(void **state)
{
    struct sl_network items[2];
    struct sl_networks networks = {.items = items, .n = 2};
    const struct sl_networks nobody = {.n = 0};
    struct sl_ip inside = ip_of("fd00::7");
    struct sl_ip outside = ip_of("192.0.2.1");
    (void)state;

    assert_int_equal(sl_network_parse(SL_SLICE("10.0.0.0/8"), &items[0]), SL_OK);
    assert_int_equal(sl_network_parse(SL_SLICE("fd00::/8"), &items[1]), SL_OK);
    assert_true(sl_networks_have(&networks, &inside));
    assert_false(sl_networks_have(&networks, &outside));
    assert_false(sl_networks_have(&nobody, &inside));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_address_comes_out_in_one_spelling),
        cmocka_unit_test(what_is_no_numeric_address_is_refused),
        cmocka_unit_test(a_network_has_what_shares_its_prefix),
        cmocka_unit_test(what_could_be_another_network_is_refused),
        cmocka_unit_test(each_prefix_length_is_a_power_of_two),
        cmocka_unit_test(one_of_several_networks_is_enough_and_none_has_nobody),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
