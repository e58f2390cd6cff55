/* SPDX-License-Identifier: Apache-2.0 */
#include "forwarded.h"

#include <sluiced/err.h>

#include "proxy/base/num.h"
#include "proxy/proto/hops.h"
#include "proxy/proto/uri.h"

static void put(struct sl_forwarded *f, struct sl_slice name, struct sl_slice value)
{
    f->fields[f->fields_n++] = (struct sl_header){.name = name, .value = value};
}

/* ---- From a trusted peer. ip: its address, NULL when it has none. */

/* The value of the one field of that name; empty when there is none, or several. */
static struct sl_slice only(const struct sl_exchange *x, enum sl_header_id id)
{
    const struct sl_headers *h = &x->request.headers;
    struct sl_slice value = {NULL, 0};
    size_t n = 0;

    for (uint32_t i = 0; i < h->n; i++) {
        if (h->items[i].id == id) {
            value = h->items[i].value;
            n++;
        }
    }
    return n == 1 ? value : (struct sl_slice){NULL, 0};
}

/* RFC 3986 section 3.1 */
static bool is_scheme(struct sl_slice s)
{
    for (size_t i = 0; i < s.len; i++) {
        char c = sl_ascii_lower(s.ptr[i]);
        bool letter = c >= 'a' && c <= 'z';
        bool other = (c >= '0' && c <= '9') || c == '+' || c == '-' || c == '.';

        if (!letter && (i == 0 || !other)) {
            return false;
        }
    }
    return s.len > 0;
}

static bool is_port(struct sl_slice s)
{
    uint64_t port;

    return sl_num_parse_below(s, UINT16_MAX, &port) == SL_OK && port > 0;
}

/* What says one valid thing is kept; else we say what we see, where we see it. */
static void keep_valid(const struct sl_exchange *x, struct sl_forwarded *f)
{
    struct sl_slice proto = only(x, SL_HEADER_X_FORWARDED_PROTO);
    struct sl_slice host = only(x, SL_HEADER_X_FORWARDED_HOST);
    struct sl_slice port = only(x, SL_HEADER_X_FORWARDED_PORT);
    struct sl_slice real_ip = only(x, SL_HEADER_X_REAL_IP);
    struct sl_authority authority;
    struct sl_ip ip;

    if (sl_authority_parse(host, &authority) != SL_OK) {
        host = x->request.authority;
    }
    put(f, SL_SLICE("x-forwarded-proto"), is_scheme(proto) ? proto : sl_forwarded_proto(x));
    if (host.len > 0) {
        put(f, SL_SLICE("x-forwarded-host"), host);
    }
    if (is_port(port)) {
        put(f, SL_SLICE("x-forwarded-port"), port);
    }
    if (sl_hop_address(real_ip, &ip) == SL_OK) {
        put(f, SL_SLICE("x-real-ip"), real_ip);
    }
}

/* hops and own in one field; none when there is nothing to say. */
static int put_list(struct sl_exchange *x, struct sl_forwarded *f, struct sl_slice name,
                    const struct sl_hops *hops, struct sl_slice own)
{
    size_t bytes = sl_hops_join_bytes(hops, own);

    if (bytes == 0) {
        return SL_OK;
    }
    char *text = sl_arena_alloc_bytes(&x->arena, bytes);
    if (text == NULL) {
        return SL_ENOMEM;
    }
    put(f, name, (struct sl_slice){text, sl_hops_join(hops, own, text)});
    return SL_OK;
}

/* A peer on a unix socket has no address, and adds none. */
static int extend_for(struct sl_exchange *x, struct sl_forwarded *f, const struct sl_ip *ip)
{
    const struct sl_headers *h = &x->request.headers;
    struct sl_hops hops = {.n = 0};
    struct sl_ip client;

    for (uint32_t i = 0; i < h->n; i++) {
        if (h->items[i].id == SL_HEADER_X_FORWARDED_FOR) {
            sl_hops_add(&hops, h->items[i].value);
        }
    }
    if (sl_hops_client(&hops, &x->listener->conf->trusted->networks, &client)) {
        f->has_client = true;
        (void)sl_ip_format(&client, f->client);
    }
    struct sl_slice own = ip != NULL ? sl_slice_of(x->down->address) : SL_SLICE("");
    return put_list(x, f, SL_SLICE("x-forwarded-for"), &hops, own);
}

/* Only where one came: most endpoints know X-Forwarded-For alone. One that is not well formed is
 * left out with all that it says, and ours begins anew. */
static int extend_forwarded(struct sl_exchange *x, struct sl_forwarded *f, const struct sl_ip *ip)
{
    const struct sl_headers *h = &x->request.headers;
    struct sl_forwarded_by_us us = {ip, sl_forwarded_proto(x), x->request.authority};
    struct sl_hops hops = {.n = 0};
    bool came = false;

    for (uint32_t i = 0; i < h->n; i++) {
        if (h->items[i].id != SL_HEADER_FORWARDED) {
            continue;
        }
        came = true;
        if (sl_hops_add_forwarded(&hops, h->items[i].value) != SL_OK) {
            hops.n = 0;
            break;
        }
    }
    if (!came) {
        return SL_OK;
    }
    char *own = sl_arena_alloc_bytes(&x->arena, sl_forwarded_bytes(us.host.len));
    if (own == NULL) {
        return SL_ENOMEM;
    }
    return put_list(x, f, SL_SLICE("forwarded"), &hops,
                    (struct sl_slice){own, sl_forwarded_format(&us, own)});
}

/* ---- Via */

static bool is_loop(const struct sl_exchange *x, struct sl_slice pseudonym)
{
    const struct sl_headers *h = &x->request.headers;

    for (uint32_t i = 0; i < h->n; i++) {
        if (h->items[i].id == SL_HEADER_VIA && sl_via_names(h->items[i].value, pseudonym)) {
            return true;
        }
    }
    return false;
}

/* ---- All of it */

static bool is_trusted(const struct sl_trusted_config *trusted, const struct sl_ip *ip)
{
    return trusted != NULL &&
           (ip != NULL ? sl_networks_have(&trusted->networks, ip) : trusted->unix_peers);
}

static int fill(struct sl_exchange *x, struct sl_forwarded *f, const struct sl_ip *ip, bool trusted)
{
    put(f, SL_SLICE("x-request-id"), (struct sl_slice){x->request_id, x->request_id_len});
    if (!trusted) {
        f->fields_n += sl_forwarded_usual(x, &f->fields[f->fields_n]);
    } else {
        keep_valid(x, f);
        if (extend_for(x, f, ip) != SL_OK || extend_forwarded(x, f, ip) != SL_OK) {
            return SL_ENOMEM;
        }
    }
    /* A field of its own behind those that came is the same list (RFC 9110 section 5.3). */
    f->fields_n += sl_forwarded_via(x, x->request.version_minor, &f->fields[f->fields_n]);
    return SL_OK;
}

static enum sl_reason prepare(struct sl_exchange *x, const struct sl_listener_config *conf)
{
    struct sl_ip parsed;
    const struct sl_ip *ip =
        sl_ip_parse(sl_slice_of(x->down->address), &parsed) == SL_OK ? &parsed : NULL;
    bool trusted = is_trusted(conf->trusted, ip);

    if (!trusted && conf->via == NULL) {
        return SL_REASON_OK;
    }
    struct sl_forwarded *f = sl_arena_alloc(&x->arena, sizeof(*f));
    if (f == NULL || fill(x, f, ip, trusted) != SL_OK) {
        return SL_REASON_OVERLOAD;
    }
    x->forwarded = f;
    return conf->via != NULL && is_loop(x, sl_slice_of(conf->via->pseudonym)) ? SL_REASON_LOOP
                                                                              : SL_REASON_OK;
}

enum sl_reason sl_forwarded_work_out(struct sl_exchange *x)
{
    const struct sl_listener_config *conf = x->listener != NULL ? x->listener->conf : NULL;
    enum sl_reason reason = SL_REASON_OK;

    if (conf != NULL && (conf->trusted != NULL || conf->via != NULL)) {
        reason = prepare(x, conf);
    }
    return reason == SL_REASON_OK && sl_max_forwards_counts(x->request.method)
               ? sl_max_forwards_take(x)
               : reason;
}
