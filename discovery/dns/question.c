/* SPDX-License-Identifier: Apache-2.0 */
#include "question.h"

#include <string.h>

void sl_dns_reply_read(struct sl_dns_reply *out, const struct sl_resolver_result *result,
                       uint16_t type)
{
    int rc;

    *out = (struct sl_dns_reply){.outcome = result->outcome, .reason = result->reason};
    if (result->outcome != SL_RESOLVER_ANSWER) {
        out->ttl_ms = (uint64_t)sl_dns_negative_ttl_s(result->message) * 1000;
        return;
    }
    rc = sl_dns_answer_read(result->message, type, &out->answer);
    if (rc != SL_OK) {
        out->outcome = SL_RESOLVER_FAILED;
        out->reason = rc == SL_ENOMEM ? "no memory" : "the answer makes no sense";
        return;
    }
    if (out->answer.hosts_n == 0 && out->answer.srvs_n == 0) { /* an alias to nothing */
        sl_dns_answer_fini(&out->answer);
        out->outcome = SL_RESOLVER_NO_DATA;
        out->reason = "no such records (NODATA)";
        out->ttl_ms = (uint64_t)sl_dns_negative_ttl_s(result->message) * 1000;
        return;
    }
    out->ttl_ms = (uint64_t)out->answer.ttl_s * 1000;
}

void sl_dns_reply_fini(struct sl_dns_reply *r)
{
    sl_dns_answer_fini(&r->answer);
}

void sl_dns_reply_merge(struct sl_dns_reply *into, struct sl_dns_reply *from)
{
    uint64_t ttl_ms = into->ttl_ms < from->ttl_ms ? into->ttl_ms : from->ttl_ms;

    if (into->outcome != SL_RESOLVER_FAILED &&
        (from->outcome == SL_RESOLVER_FAILED || from->outcome == SL_RESOLVER_NO_DATA))
    {
        *into = *from;
    } else {
        sl_dns_reply_fini(from);
    }
    *from = (struct sl_dns_reply){.outcome = SL_RESOLVER_FAILED, .reason = ""};
    into->ttl_ms = ttl_ms;
}

void sl_dns_question_take(struct sl_dns_question *q, struct sl_dns_reply *r, uint64_t now_ms,
                          uint64_t hold_ms)
{
    bool holds = q->held.hosts_n > 0 || q->held.srvs_n > 0;

    q->outcome = r->outcome;
    q->reason = r->reason;
    q->ttl_ms = r->ttl_ms;
    q->known = q->known || r->outcome != SL_RESOLVER_FAILED;
    if (r->outcome == SL_RESOLVER_ANSWER) {
        sl_dns_answer_fini(&q->held);
        q->held = r->answer;
        q->negative_since_ms = 0;
    } else if (r->outcome == SL_RESOLVER_FAILED || !holds) {
        q->negative_since_ms = 0; /* to persist is to be said without a break */
    } else {
        if (q->negative_since_ms == 0) {
            q->negative_since_ms = now_ms;
        }
        if (now_ms - q->negative_since_ms >= hold_ms) {
            sl_dns_answer_fini(&q->held);
            q->negative_since_ms = 0;
        }
    }
    if (r->outcome == SL_RESOLVER_ANSWER) {
        memset(&r->answer, 0, sizeof(r->answer)); /* it is the question's now */
    } else {
        sl_dns_reply_fini(r);
    }
}

void sl_dns_question_fini(struct sl_dns_question *q)
{
    if (q->query != NULL) {
        sl_resolver_cancel(q->query);
        q->query = NULL;
    }
    sl_dns_answer_fini(&q->held);
}
