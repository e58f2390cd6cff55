/* SPDX-License-Identifier: Apache-2.0 */
/*
 * lookup: all that has to be asked to know the endpoints of a name, once.
 *
 * Names are tried by the search list, and the first that has an answer of either family counts.
 * One that fails is passed by, unless it is the one that had the last answer. Of SRV records the
 * lowest priority counts, and a higher one only while no target of the lower has an address.
 * Targets are asked for as they are written, unless their addresses came along.
 *
 * Lifetime:  its source's
 * Thread:    control thread
 * Limits:    SL_DNS_ENDPOINTS_MAX_N; 32 targets are asked for at a time
 */
#ifndef SL_DISCOVERY_DNS_LOOKUP_H
#define SL_DISCOVERY_DNS_LOOKUP_H

#include <sluiced/config.h>
#include <sluiced/discovery.h>

#include "question.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SL_DNS_ENDPOINTS_MAX_N 4096

struct sl_dns_lookup {
    struct sl_discovery *discovery;
    const struct sl_dns_config *conf;
    char *servers; /* NULL: the system's */
    void (*on_done)(struct sl_dns_lookup *l);
    struct sl_dns_question mains[2]; /* A, AAAA, or SRV alone */
    size_t mains_n;
    struct sl_dns_question *targets; /* of the priority in use: pairs of A and AAAA, by name */
    size_t targets_n;
    uint16_t priority;
    /* While it runs */
    struct sl_dns_reply fresh[2]; /* of the name that is tried */
    struct sl_dns_reply sum[2];   /* of those that were tried before */
    size_t candidate_idx;
    size_t good_idx; /* the name that last had an answer; SIZE_MAX: none */
    size_t asked_n;  /* questions whose answer is awaited */
    size_t next_idx; /* of targets to ask for */
    size_t target_hosts_n;
    struct sl_dns_question *old; /* targets of the time before */
    size_t old_n;
    bool too_many;      /* addresses were left out */
    const char *failed; /* of our own doing, in words; NULL: nothing */
};

int sl_dns_lookup_init(struct sl_dns_lookup *l, struct sl_discovery *d,
                       const struct sl_dns_config *conf, void (*on_done)(struct sl_dns_lookup *l))
    SL_MUST_CHECK;
void sl_dns_lookup_fini(struct sl_dns_lookup *l); /* cancels; on_done is not called any more */

/* Asks. It does not run already; on_done is called once, possibly before this returns. */
void sl_dns_lookup_start(struct sl_dns_lookup *l);

/* The set as the questions have it now: sorted, at most SL_DNS_ENDPOINTS_MAX_N. */
int sl_dns_lookup_collect(struct sl_dns_lookup *l, struct sl_found **out, size_t *out_n)
    SL_MUST_CHECK;

/* The idx-th of all its questions; NULL: there are no more. */
const struct sl_dns_question *sl_dns_lookup_question(const struct sl_dns_lookup *l, size_t idx);

#endif
