/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Any bytes are a DNS message or are refused; what comes of them keeps what its header promises,
 * whichever type they are read as.
 */
#include "discovery/dns/answer.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool cond)
{
    if (!cond) {
        abort();
    }
}

static void check(const struct sl_dns_answer *a)
{
    must(a->ttl_s <= 0x7fffffff);
    must(a->hosts_n <= 65535 / 12 && a->srvs_n <= 65535 / 12 && a->extras_n <= 65535 / 12);
    for (size_t i = 0; i < a->hosts_n; i++) {
        must(strlen(a->hosts[i].text) > 1);
    }
    for (size_t i = 0; i < a->srvs_n; i++) {
        size_t len = strnlen(a->srvs[i].target, SL_DNS_NAME_BYTES);

        must(len > 0 && len < SL_DNS_NAME_BYTES && a->srvs[i].port > 0);
        must(i == 0 || a->srvs[i - 1].priority <= a->srvs[i].priority);
    }
    for (size_t i = 0; i < a->extras_n; i++) {
        must(i == 0 || strcmp(a->extras[i - 1].name, a->extras[i].name) <= 0);
        must(a->extras[i].type == SL_DNS_A || a->extras[i].type == SL_DNS_AAAA);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const uint16_t types[] = {SL_DNS_A, SL_DNS_AAAA, SL_DNS_SRV};
    const struct sl_slice message = {(const char *)data, size};

    must(sl_dns_negative_ttl_s(message) <= 0x7fffffff);
    for (size_t i = 0; i < SL_ARRAY_LEN(types); i++) {
        struct sl_dns_answer a;
        int rc = sl_dns_answer_read(message, types[i], &a);

        must(rc == SL_OK || rc == SL_EPROTO || rc == SL_ENOMEM);
        must(rc == SL_OK || (a.hosts == NULL && a.srvs == NULL && a.srvs_n == 0));
        check(&a);
        sl_dns_answer_fini(&a);
    }
    return 0;
}
