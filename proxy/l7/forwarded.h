/* SPDX-License-Identifier: Apache-2.0 */
/*
 * forwarded: what an endpoint is told of the hops before it, and who the client is.
 *
 * By default the peer is the client, and what it says of earlier hops is replaced. From a peer that
 * the listener trusts, X-Forwarded-For and Forwarded are kept and extended, the others are kept
 * where they say one valid thing; and the client is whom X-Forwarded-For names as the first that is
 * not trusted, seen from its end. Where the listener has a pseudonym, Via gets it.
 *
 * Lifetime:  exchange, in its arena
 * Thread:    worker-local
 * Limits:    those of proxy/proto/hops.h
 */
#ifndef SL_L7_FORWARDED_H
#define SL_L7_FORWARDED_H

#include <sluiced/defs.h>
#include <sluiced/ip.h>
#include <sluiced/reason.h>

#include "exchange.h"
#include "max_forwards.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SL_FORWARDED_USUAL_N 3
#define SL_FORWARDED_FIELDS_MAX_N 8

/* Of an exchange that is not the usual one. */
struct sl_forwarded {
    struct sl_header fields[SL_FORWARDED_FIELDS_MAX_N]; /* for the endpoint, X-Request-Id first */
    size_t fields_n;
    bool has_client;
    char client[SL_IP_TEXT_BYTES];
};

/* What sl_forwarded_prepare does where there is something to do. */
enum sl_reason sl_forwarded_work_out(struct sl_exchange *x) SL_MUST_CHECK;

/* Sets x->forwarded where the peer is trusted or the listener has a pseudonym, and counts
 * Max-Forwards down; after the request id is known. SL_REASON_OK, or why x has to end:
 * SL_REASON_LOOP, SL_REASON_OVERLOAD or a reason of max_forwards.h. */
static inline enum sl_reason sl_forwarded_prepare(struct sl_exchange *x)
{
    const struct sl_listener_config *conf = x->listener != NULL ? x->listener->conf : NULL;
    bool usual = conf == NULL || (conf->trusted == NULL && conf->via == NULL);

    return usual && !sl_max_forwards_counts(x->request.method) ? SL_REASON_OK
                                                               : sl_forwarded_work_out(x);
}

static inline struct sl_slice sl_forwarded_proto(const struct sl_exchange *x)
{
    return x->down->over_tls ? SL_SLICE("https") : SL_SLICE("http");
}

/* Writes what is said of a peer that is not trusted, at most SL_FORWARDED_USUAL_N fields; returns
 * how many. They last as long as x. */
static inline size_t sl_forwarded_usual(const struct sl_exchange *x, struct sl_header *out)
{
    out[0] = (struct sl_header){.name = SL_SLICE("x-forwarded-for"),
                                .value = sl_slice_of(x->down->address)};
    out[1] =
        (struct sl_header){.name = SL_SLICE("x-forwarded-proto"), .value = sl_forwarded_proto(x)};
    out[2] =
        (struct sl_header){.name = SL_SLICE("x-forwarded-host"), .value = x->request.authority};
    return x->request.authority.len > 0 ? 3 : 2;
}

/* Writes Via for what came in HTTP/1.version_minor and is passed on in x; returns how many fields
 * that is: 0 when the listener has no pseudonym. *out lasts as long as x. */
static inline size_t sl_forwarded_via(const struct sl_exchange *x, uint8_t version_minor,
                                      struct sl_header *out)
{
    const struct sl_via_config *via = x->listener != NULL ? x->listener->conf->via : NULL;

    if (via == NULL) {
        return 0;
    }
    *out = (struct sl_header){.name = SL_SLICE("via"), .value = via->received[version_minor > 0]};
    return 1;
}

/* The client's address, in one spelling; "unix" when it has none. */
static inline const char *sl_exchange_client(const struct sl_exchange *x)
{
    return x->forwarded != NULL && x->forwarded->has_client ? x->forwarded->client
                                                            : x->down->address;
}

#endif
