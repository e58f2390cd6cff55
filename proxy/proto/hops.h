/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hops: what the proxies before us say of the way that a request took: X-Forwarded-For, Forwarded,
 * Via.
 *
 * All of it may be a lie up to the first hop that is believed, and each hop has appended to what
 * the one before said. So such a list is read from its end, and nothing that stands further to the
 * left changes what was read.
 *
 * Lifetime:  slices point into the values that were added
 * Thread:    any (pure)
 * Limits:    the last SL_HOPS_MAX_N elements of a list count, the others are forgotten
 * Source:    RFC 7239; RFC 9110 sections 5.6.1 and 7.6.3
 */
#ifndef SL_PROTO_HOPS_H
#define SL_PROTO_HOPS_H

#include <sluiced/defs.h>
#include <sluiced/ip.h>
#include <sluiced/slice.h>

#include <stdbool.h>
#include <stddef.h>

#define SL_HOPS_MAX_N 64

/* A list that may have come in several fields. Zeroed before the first add. */
struct sl_hops {
    struct sl_slice items[SL_HOPS_MAX_N]; /* the i-th of all at i % SL_HOPS_MAX_N */
    size_t n;                             /* of all */
};

/* Appends the elements of an X-Forwarded-For value. Empty ones are left out. They end at a comma
 * whatever else there is: a quote that a client opened must not swallow what a proxy appended. */
void sl_hops_add(struct sl_hops *h, struct sl_slice value);

/* The same for Forwarded, where a comma may be quoted. SL_EPROTO when value is not all well formed:
 * what it says would depend on who reads it. */
int sl_hops_add_forwarded(struct sl_hops *h, struct sl_slice value) SL_MUST_CHECK;

/* The address in an element as it is found in the wild: with a port or without, IPv6 in brackets or
 * not. SL_EPROTO for all else ("unknown", a name). */
int sl_hop_address(struct sl_slice element, struct sl_ip *out) SL_MUST_CHECK;

/* Who the client is: from the end, the first address that is not trusted; when all are, or what
 * follows is no address, the last good one. False, *out untouched: the last element is none. */
bool sl_hops_client(const struct sl_hops *h, const struct sl_networks *trusted, struct sl_ip *out);

/* Room that sl_hops_join needs. */
size_t sl_hops_join_bytes(const struct sl_hops *h, struct sl_slice own);

/* Writes the list and our own element (perhaps empty) behind it, with ", " between. Returns the
 * length. */
size_t sl_hops_join(const struct sl_hops *h, struct sl_slice own, char *buf);

/* Our own element of Forwarded: who sent the request to us, and how. */
struct sl_forwarded_by_us {
    const struct sl_ip *peer; /* NULL: it has no address */
    struct sl_slice proto;    /* a token */
    struct sl_slice host;     /* perhaps empty: then it is left out */
};

/* Room that sl_forwarded_format needs for a host of so many bytes. */
static inline size_t sl_forwarded_bytes(size_t host_len)
{
    return sizeof("for=\"[]\";proto=;host=\"\"") + SL_IP_TEXT_BYTES + 32 + 2 * host_len;
}

/* for=...;proto=...;host=..., quoted where it must be. proto: at most 32 bytes. Returns the
 * length. */
size_t sl_forwarded_format(const struct sl_forwarded_by_us *f, char *buf);

/* Whether a Via value has an element that was received by name, in any case. Elements end at a
 * comma even within a comment: what somebody wrote in front must not hide a loop. */
bool sl_via_names(struct sl_slice value, struct sl_slice name);

#endif
