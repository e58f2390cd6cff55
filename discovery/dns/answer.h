/* SPDX-License-Identifier: Apache-2.0 */
/*
 * answer: what a DNS message says, read with glibc's <arpa/nameser.h>.
 *
 * c-ares 1.18 gives no TTL of SRV records and nothing of the sections behind the answer, where the
 * addresses of SRV targets and the SOA of a negative answer stand.
 *
 * Lifetime:  its caller's; sl_dns_answer_fini frees
 * Thread:    any (pure)
 * Errors:    SL_EPROTO for a message that breaks off or lies about its lengths; SL_ENOMEM
 * Limits:    a message has at most 65 535 bytes, so 4 095 addresses and some 3 000 SRV records
 * Source:    RFC 1035 4, RFC 2181 8, RFC 2308 5, RFC 2782, RFC 3596
 */
#ifndef SL_DISCOVERY_DNS_ANSWER_H
#define SL_DISCOVERY_DNS_ANSWER_H

#include <sluiced/defs.h>
#include <sluiced/err.h>
#include <sluiced/slice.h>

#include <stddef.h>
#include <stdint.h>

#define SL_DNS_NAME_BYTES 256

/* RFC 1035 3.2.2, RFC 3596 2.1, RFC 2782 */
#define SL_DNS_A 1
#define SL_DNS_AAAA 28
#define SL_DNS_SRV 33

struct sl_dns_host {
    char text[46]; /* numeric */
};

struct sl_dns_srv {
    uint16_t priority;
    uint16_t weight;
    uint16_t port;
    char target[SL_DNS_NAME_BYTES]; /* lower case, without a dot at its end */
};

/* An address that came beside SRV records. */
struct sl_dns_extra {
    char name[SL_DNS_NAME_BYTES];
    uint16_t type;
    struct sl_dns_host host;
};

struct sl_dns_answer {
    struct sl_dns_host *hosts; /* of A and AAAA, in the order of the message */
    size_t hosts_n;
    struct sl_dns_srv *srvs; /* sorted by (priority, target) */
    size_t srvs_n;
    struct sl_dns_extra *extras; /* of SRV; sorted by name */
    size_t extras_n;
    uint32_t ttl_s; /* the least of all records that were used and of the aliases to them */
};

/* Reads the records of type. SRV records that name no host (RFC 2782: the target ".") are left
 * out. On failure out is empty. */
int sl_dns_answer_read(struct sl_slice message, uint16_t type, struct sl_dns_answer *out)
    SL_MUST_CHECK;
void sl_dns_answer_fini(struct sl_dns_answer *a); /* leaves it empty */

/* How long a negative answer is good: RFC 2308 5, the lesser of the SOA's TTL and its MINIMUM.
 * 0 where there is no SOA: then it may not be kept. */
uint32_t sl_dns_negative_ttl_s(struct sl_slice message);

#endif
