/* SPDX-License-Identifier: Apache-2.0 */
/*
 * question: one name and type, and what is held of its answers.
 *
 * A failure changes nothing, for ever. A negative answer empties it only when it is still given
 * after hold_ms of negative answers alone: a resolver that restarts says NXDOMAIN too.
 *
 * Lifetime:  its source's
 * Thread:    control thread (no I/O)
 */
#ifndef SL_DISCOVERY_DNS_QUESTION_H
#define SL_DISCOVERY_DNS_QUESTION_H

#include "answer.h"

#include "proxy/io/resolver.h"

#include <stdbool.h>
#include <stdint.h>

/* What came of asking once. */
struct sl_dns_reply {
    enum sl_resolver_outcome outcome;
    const char *reason; /* static; "" for an answer */
    struct sl_dns_answer answer;
    uint64_t ttl_ms;
};

/* Reads what the resolver says of a question of that type. */
void sl_dns_reply_read(struct sl_dns_reply *out, const struct sl_resolver_result *result,
                       uint16_t type);
void sl_dns_reply_fini(struct sl_dns_reply *r);

/* Of two names that were tried for one, what is known of both: a failure is no denial. Empties
 * from. */
void sl_dns_reply_merge(struct sl_dns_reply *into, struct sl_dns_reply *from);

struct sl_dns_question {
    char name[SL_DNS_NAME_BYTES];
    uint16_t type;
    struct sl_dns_answer held;
    bool known;                       /* it was answered, if only that there is nothing */
    uint64_t negative_since_ms;       /* while something is held; 0: it was not denied */
    enum sl_resolver_outcome outcome; /* of the last time */
    const char *reason;
    uint64_t ttl_ms;                 /* of the last answer; 0: it may not be kept */
    struct sl_resolver_query *query; /* NULL: not asked now */
    bool settled;                    /* of a target: nothing is left to ask this time */
    void *owner;                     /* whoever asks */
};

/* Takes what is in r. */
void sl_dns_question_take(struct sl_dns_question *q, struct sl_dns_reply *r, uint64_t now_ms,
                          uint64_t hold_ms);
void sl_dns_question_fini(struct sl_dns_question *q); /* cancels */

#endif
