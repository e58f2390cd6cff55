/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ip: numeric addresses and networks, told apart by their bits and not by their spelling.
 *
 * An IPv4 address that is written ::ffff:a.b.c.d is that IPv4 address. A network has addresses of
 * its own family only: ::/0 is not everybody.
 *
 * Thread:    any (pure)
 * Errors:    SL_EPROTO for what is none; *out is then untouched
 */
#ifndef SL_IP_H
#define SL_IP_H

#include <sluiced/defs.h>
#include <sluiced/slice.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SL_IP_TEXT_BYTES 46 /* INET6_ADDRSTRLEN */

struct sl_ip {
    uint8_t bytes[16]; /* of IPv4 the first four, the others are 0 */
    uint8_t bits_n;    /* 32 or 128: the family */
};

struct sl_network {
    struct sl_ip ip; /* bits behind the prefix are 0 */
    uint8_t prefix_bits;
};

struct sl_networks {
    const struct sl_network *items;
    size_t n;
};

/* "192.0.2.1" or "2001:db8::1": no brackets, no port, no zone. */
int sl_ip_parse(struct sl_slice text, struct sl_ip *out) SL_MUST_CHECK;

/* From the 4 or 16 bytes of a socket's address, in network order. */
void sl_ip_from_bytes(const void *bytes, bool is_ipv6, struct sl_ip *out);

/* In the spelling of RFC 5952, terminated; buf has SL_IP_TEXT_BYTES. Returns it. */
const char *sl_ip_format(const struct sl_ip *ip, char *buf);

/* "10.0.0.0/8", or an address, which is the network of itself. Bits behind the prefix are an error:
 * whoever wrote them meant another address, or another prefix. */
int sl_network_parse(struct sl_slice text, struct sl_network *out) SL_MUST_CHECK;

bool sl_network_has(const struct sl_network *network, const struct sl_ip *ip);
bool sl_networks_have(const struct sl_networks *networks, const struct sl_ip *ip); /* O(n) */

#endif
