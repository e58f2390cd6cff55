/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fake_dns: a DNS server on loopback, on the test's own loop, over UDP and TCP on one port.
 *
 * It answers what was put; a name that was not is NXDOMAIN without an SOA. An answer that UDP does
 * not hold is truncated there.
 */
#ifndef SL_TEST_FAKE_DNS_H
#define SL_TEST_FAKE_DNS_H

#include "proxy/io/loop.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    FAKE_DNS_ANSWERS_MAX_N = 32,
    FAKE_DNS_CONNS_MAX_N = 8,
    FAKE_DNS_MESSAGE_BYTES = 65535
};

struct fake_dns_answer {
    char name[256];
    uint16_t type;
    uint16_t rcode;
    bool silent;          /* says nothing */
    bool tcp_only;        /* over UDP it is truncated, small as it is */
    uint16_t counts[3];   /* answer, authority, additional: records are added in this order */
    unsigned queries_n;   /* how often it was asked for */
    unsigned char *bytes; /* the records */
    size_t len;
};

struct fake_dns;

struct fake_dns_conn {
    struct fake_dns *dns;
    struct sl_io io;
    int fd; /* -1: free */
    unsigned char in[1024];
    size_t in_len;
    unsigned char *out;
    size_t out_len;
    size_t out_at;
};

struct fake_dns {
    struct sl_loop *loop;
    struct sl_io udp;
    struct sl_io tcp;
    int udp_fd;
    int tcp_fd;
    uint16_t port;
    char at[32]; /* "127.0.0.1:5353" */
    unsigned queries_n;
    unsigned tcp_queries_n;
    struct fake_dns_answer answers[FAKE_DNS_ANSWERS_MAX_N];
    size_t answers_n;
    struct fake_dns_conn conns[FAKE_DNS_CONNS_MAX_N];
};

void fake_dns_start(struct fake_dns *f, struct sl_loop *loop);
void fake_dns_stop(struct fake_dns *f);

/* What is said of name and type from now on: nothing but rcode, until records are added. */
struct fake_dns_answer *fake_dns_put(struct fake_dns *f, const char *name, uint16_t type,
                                     uint16_t rcode);
void fake_dns_forget(struct fake_dns *f, const char *name, uint16_t type);

/* To the answer: an address of either family. */
void fake_dns_host(struct fake_dns_answer *a, uint32_t ttl_s, const char *host);
void fake_dns_alias(struct fake_dns_answer *a, uint32_t ttl_s, const char *target);
void fake_dns_srv(struct fake_dns_answer *a, uint32_t ttl_s, uint16_t priority, uint16_t weight,
                  uint16_t port, const char *target);
/* To the authority section. */
void fake_dns_soa(struct fake_dns_answer *a, uint32_t ttl_s, uint32_t minimum_s);
/* To the additional section. */
void fake_dns_extra(struct fake_dns_answer *a, uint32_t ttl_s, const char *name, const char *host);

/* A whole answer to id, for functions that read messages: returns its length. buf has
 * FAKE_DNS_MESSAGE_BYTES. */
size_t fake_dns_message(const struct fake_dns_answer *a, uint16_t id, unsigned char *buf);

#endif
