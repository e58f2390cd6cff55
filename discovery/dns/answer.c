/* SPDX-License-Identifier: Apache-2.0 */
#include "answer.h"

#include "proxy/base/alloc.h"

#include <arpa/inet.h>
#include <arpa/nameser.h>
#include <netinet/in.h>
#include <resolv.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

_Static_assert(SL_DNS_A == (int)ns_t_a && SL_DNS_AAAA == (int)ns_t_aaaa &&
                   SL_DNS_SRV == (int)ns_t_srv,
               "the numbers of types");

enum {
    SRV_FIXED_BYTES = 6,   /* priority, weight, port */
    SOA_FIXED_BYTES = 20,  /* serial, refresh, retry, expire, minimum */
    TTL_MAX_S = 0x7fffffff /* RFC 2181 8: what has the highest bit set is 0 */
};

static uint32_t ttl_of(const ns_rr *rr)
{
    uint32_t ttl_s = (uint32_t)ns_rr_ttl(*rr);

    return ttl_s <= TTL_MAX_S ? ttl_s : 0;
}

static void keep_least(uint32_t *ttl_s, const ns_rr *rr)
{
    uint32_t other_s = ttl_of(rr);

    *ttl_s = other_s < *ttl_s ? other_s : *ttl_s;
}

/* A host name in lower case. False for anything that is none: "." too. */
static bool copy_name(const char *from, char *to)
{
    size_t len = strlen(from);

    if (len > 0 && from[len - 1] == '.') {
        len--;
    }
    if (len == 0 || len >= SL_DNS_NAME_BYTES) {
        return false;
    }
    for (size_t i = 0; i < len; i++) {
        char c = from[i];

        if (c >= 'A' && c <= 'Z') {
            c = (char)(c - 'A' + 'a');
        } else if (!((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '_' ||
                     c == '.'))
        {
            return false;
        }
        to[i] = c;
    }
    to[len] = '\0';
    return true;
}

static bool read_host(const ns_rr *rr, struct sl_dns_host *out)
{
    bool is_v4 = ns_rr_type(*rr) == ns_t_a;

    return ns_rr_rdlen(*rr) == (is_v4 ? sizeof(struct in_addr) : sizeof(struct in6_addr)) &&
           inet_ntop(is_v4 ? AF_INET : AF_INET6, ns_rr_rdata(*rr), out->text, sizeof(out->text)) !=
               NULL;
}

/* SL_EPROTO: broken; SL_AGAIN: a record that names no host. */
static int read_srv(const ns_msg *m, const ns_rr *rr, struct sl_dns_srv *out)
{
    const unsigned char *data = ns_rr_rdata(*rr);
    char target[NS_MAXDNAME];
    int target_bytes;

    if (ns_rr_rdlen(*rr) <= SRV_FIXED_BYTES) {
        return SL_EPROTO;
    }
    target_bytes = ns_name_uncompress(ns_msg_base(*m), ns_msg_end(*m), data + SRV_FIXED_BYTES,
                                      target, sizeof(target));
    if (target_bytes < 0 || target_bytes + SRV_FIXED_BYTES != ns_rr_rdlen(*rr)) {
        return SL_EPROTO;
    }
    out->priority = (uint16_t)ns_get16(data);
    out->weight = (uint16_t)ns_get16(data + 2);
    out->port = (uint16_t)ns_get16(data + 4);
    return out->port != 0 && copy_name(target, out->target) ? SL_OK : SL_AGAIN;
}

static int read_record(ns_msg *m, uint16_t type, const ns_rr *rr, struct sl_dns_answer *out)
{
    int rc = SL_OK;

    if (ns_rr_class(*rr) != ns_c_in) {
        return SL_OK;
    }
    if (ns_rr_type(*rr) == ns_t_cname) {
        keep_least(&out->ttl_s, rr); /* the way to the records is good for that long */
        return SL_OK;
    }
    if (ns_rr_type(*rr) != type) {
        return SL_OK;
    }
    if (type != SL_DNS_SRV) {
        if (!read_host(rr, &out->hosts[out->hosts_n])) {
            return SL_EPROTO;
        }
        out->hosts_n++;
    } else {
        rc = read_srv(m, rr, &out->srvs[out->srvs_n]);
        out->srvs_n += rc == SL_OK ? 1 : 0;
    }
    if (rc != SL_EPROTO) {
        keep_least(&out->ttl_s, rr);
    }
    return rc == SL_EPROTO ? rc : SL_OK;
}

/* What stands there beside the answer is a favour: a broken part of it is left, not refused. */
static void read_extras(ns_msg *m, struct sl_dns_answer *out)
{
    ns_rr rr;

    for (int i = 0; i < ns_msg_count(*m, ns_s_ar); i++) {
        struct sl_dns_extra *e = &out->extras[out->extras_n];

        if (ns_parserr(m, ns_s_ar, i, &rr) != 0) {
            return;
        }
        if (ns_rr_class(rr) == ns_c_in &&
            (ns_rr_type(rr) == ns_t_a || ns_rr_type(rr) == ns_t_aaaa) &&
            copy_name(ns_rr_name(rr), e->name) && read_host(&rr, &e->host))
        {
            e->type = (uint16_t)ns_rr_type(rr);
            out->extras_n++;
            keep_least(&out->ttl_s, &rr);
        }
    }
}

static int compare_srvs(const void *left, const void *right)
{
    const struct sl_dns_srv *a = left;
    const struct sl_dns_srv *b = right;
    int rc = (a->priority > b->priority) - (a->priority < b->priority);

    return rc != 0 ? rc : strcmp(a->target, b->target);
}

static int compare_extras(const void *left, const void *right)
{
    const struct sl_dns_extra *a = left;
    const struct sl_dns_extra *b = right;
    int rc = strcmp(a->name, b->name);

    return rc != 0 ? rc : strcmp(a->host.text, b->host.text);
}

/* The counts of a head may lie; no record is shorter than 11 bytes. */
static size_t room(struct sl_slice message, const ns_msg *m, ns_sect section)
{
    size_t said_n = (size_t)ns_msg_count(*m, section);
    size_t fit_n = message.len / 11 + 1;

    return said_n < fit_n ? said_n : fit_n;
}

static int read_all(ns_msg *m, struct sl_slice message, uint16_t type, struct sl_dns_answer *out)
{
    size_t n = room(message, m, ns_s_an);
    size_t extras_n = type == SL_DNS_SRV ? room(message, m, ns_s_ar) : 0;
    ns_rr rr;

    if (type == SL_DNS_SRV) {
        out->srvs = sl_alloc_array(n + 1, sizeof(out->srvs[0]));
        out->extras = sl_alloc_array(extras_n + 1, sizeof(out->extras[0]));
    } else {
        out->hosts = sl_alloc_array(n + 1, sizeof(out->hosts[0]));
    }
    if (type == SL_DNS_SRV ? out->srvs == NULL || out->extras == NULL : out->hosts == NULL) {
        return SL_ENOMEM;
    }
    for (int i = 0; i < ns_msg_count(*m, ns_s_an); i++) {
        if (ns_parserr(m, ns_s_an, i, &rr) != 0 || read_record(m, type, &rr, out) != SL_OK) {
            return SL_EPROTO;
        }
    }
    if (type == SL_DNS_SRV) {
        read_extras(m, out);
        qsort(out->srvs, out->srvs_n, sizeof(out->srvs[0]), compare_srvs);
        qsort(out->extras, out->extras_n, sizeof(out->extras[0]), compare_extras);
    }
    return SL_OK;
}

int sl_dns_answer_read(struct sl_slice message, uint16_t type, struct sl_dns_answer *out)
{
    ns_msg m;

    memset(out, 0, sizeof(*out));
    if (message.len > NS_MAXMSG ||
        ns_initparse((const unsigned char *)message.ptr, (int)message.len, &m) != 0)
    {
        return SL_EPROTO;
    }
    out->ttl_s = TTL_MAX_S;
    int rc = read_all(&m, message, type, out);
    if (rc != SL_OK) {
        sl_dns_answer_fini(out);
    }
    return rc;
}

void sl_dns_answer_fini(struct sl_dns_answer *a)
{
    sl_free(a->hosts);
    sl_free(a->srvs);
    sl_free(a->extras);
    memset(a, 0, sizeof(*a));
}

static bool read_minimum(const ns_rr *rr, uint32_t *out_s)
{
    const unsigned char *end = ns_rr_rdata(*rr) + ns_rr_rdlen(*rr);
    const unsigned char *at = ns_rr_rdata(*rr);

    if (ns_name_skip(&at, end) != 0 || ns_name_skip(&at, end) != 0 || end - at != SOA_FIXED_BYTES) {
        return false;
    }
    *out_s = (uint32_t)ns_get32(end - 4);
    return true;
}

uint32_t sl_dns_negative_ttl_s(struct sl_slice message)
{
    ns_msg m;
    ns_rr rr;
    uint32_t minimum_s;

    if (message.len > NS_MAXMSG ||
        ns_initparse((const unsigned char *)message.ptr, (int)message.len, &m) != 0)
    {
        return 0;
    }
    for (int i = 0; i < ns_msg_count(m, ns_s_ns); i++) {
        if (ns_parserr(&m, ns_s_ns, i, &rr) != 0) {
            return 0;
        }
        if (ns_rr_type(rr) == ns_t_soa && read_minimum(&rr, &minimum_s)) {
            uint32_t ttl_s = ttl_of(&rr);

            return minimum_s < ttl_s ? minimum_s : ttl_s;
        }
    }
    return 0;
}
