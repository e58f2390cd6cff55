/* SPDX-License-Identifier: Apache-2.0 */
#include <sluiced/err.h>
#include <sluiced/ip.h>

#include "num.h"

#include <arpa/inet.h>
#include <string.h>

enum {
    IPV4_BITS = 32,
    IPV6_BITS = 128,
    MAPPED_BITS = 96 /* RFC 4291 2.5.5.2: what comes before the IPv4 address */
};

static const uint8_t mapped[MAPPED_BITS / 8] = {[10] = 0xff, [11] = 0xff};

static void unmap(struct sl_ip *ip)
{
    if (ip->bits_n == IPV6_BITS && memcmp(ip->bytes, mapped, sizeof(mapped)) == 0) {
        memcpy(ip->bytes, ip->bytes + sizeof(mapped), IPV4_BITS / 8);
        memset(ip->bytes + IPV4_BITS / 8, 0, sizeof(ip->bytes) - IPV4_BITS / 8);
        ip->bits_n = IPV4_BITS;
    }
}

int sl_ip_parse(struct sl_slice text, struct sl_ip *out)
{
    char copy[SL_IP_TEXT_BYTES];
    struct sl_ip ip = {.bits_n = IPV6_BITS};

    if (text.len == 0 || text.len >= sizeof(copy) || memchr(text.ptr, '\0', text.len) != NULL) {
        return SL_EPROTO;
    }
    memcpy(copy, text.ptr, text.len);
    copy[text.len] = '\0';
    if (inet_pton(AF_INET, copy, ip.bytes) == 1) {
        ip.bits_n = IPV4_BITS;
    } else if (inet_pton(AF_INET6, copy, ip.bytes) != 1) {
        return SL_EPROTO;
    }
    unmap(&ip);
    *out = ip;
    return SL_OK;
}

/* inet_ntop goes through printf, and each connection that is accepted has an address. */
static void format_ipv4(const uint8_t *bytes, char *buf)
{
    for (size_t i = 0; i < IPV4_BITS / 8; i++) {
        buf += sl_num_format_u64(bytes[i], buf);
        *buf++ = '.';
    }
    buf[-1] = '\0';
}

const char *sl_ip_format(const struct sl_ip *ip, char *buf)
{
    if (ip->bits_n == IPV4_BITS) {
        format_ipv4(ip->bytes, buf);
    } else {
        (void)inet_ntop(AF_INET6, ip->bytes, buf, SL_IP_TEXT_BYTES); /* cannot fail: it has room */
    }
    return buf;
}

void sl_ip_from_bytes(const void *bytes, bool is_ipv6, struct sl_ip *out)
{
    *out = (struct sl_ip){.bits_n = is_ipv6 ? IPV6_BITS : IPV4_BITS};
    memcpy(out->bytes, bytes, out->bits_n / 8);
    unmap(out);
}

static bool has_bits_behind(const struct sl_ip *ip, unsigned prefix_bits)
{
    for (unsigned i = prefix_bits; i < ip->bits_n; i++) {
        if ((ip->bytes[i / 8] >> (7 - i % 8) & 1) != 0) {
            return true;
        }
    }
    return false;
}

int sl_network_parse(struct sl_slice text, struct sl_network *out)
{
    const char *slash = text.len > 0 ? memchr(text.ptr, '/', text.len) : NULL;
    size_t ip_len = slash != NULL ? (size_t)(slash - text.ptr) : text.len;
    struct sl_network n;

    if (sl_ip_parse((struct sl_slice){text.ptr, ip_len}, &n.ip) != SL_OK) {
        return SL_EPROTO;
    }
    uint64_t prefix_bits = n.ip.bits_n;
    if (slash != NULL) {
        struct sl_slice digits = {slash + 1, text.len - ip_len - 1};
        bool is_mapped = n.ip.bits_n == IPV4_BITS && memchr(text.ptr, ':', ip_len) != NULL;
        unsigned skipped_bits = is_mapped ? MAPPED_BITS : 0; /* it counts from there */

        if ((digits.len > 1 && digits.ptr[0] == '0') || /* octal to some */
            sl_num_parse_below(digits, n.ip.bits_n + skipped_bits, &prefix_bits) != SL_OK ||
            prefix_bits < skipped_bits)
        {
            return SL_EPROTO;
        }
        prefix_bits -= skipped_bits;
    }
    n.prefix_bits = (uint8_t)prefix_bits;
    if (has_bits_behind(&n.ip, n.prefix_bits)) {
        return SL_EPROTO;
    }
    *out = n;
    return SL_OK;
}

bool sl_network_has(const struct sl_network *network, const struct sl_ip *ip)
{
    size_t whole_n = network->prefix_bits / 8;
    unsigned rest_bits = network->prefix_bits % 8;

    if (network->ip.bits_n != ip->bits_n || memcmp(network->ip.bytes, ip->bytes, whole_n) != 0) {
        return false;
    }
    return rest_bits == 0 ||
           (network->ip.bytes[whole_n] ^ ip->bytes[whole_n]) >> (8 - rest_bits) == 0;
}

bool sl_networks_have(const struct sl_networks *networks, const struct sl_ip *ip)
{
    for (size_t i = 0; i < networks->n; i++) {
        if (sl_network_has(&networks->items[i], ip)) {
            return true;
        }
    }
    return false;
}
