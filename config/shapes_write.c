/* SPDX-License-Identifier: Apache-2.0 */
/*
 * shapes_write: the way back of shapes.c: from the struct to lines. A choice of forms comes out in
 * the shortest one, so that two spellings of one thing are no difference.
 */
#include "print.h"
#include "shapes.h"

#include "proxy/base/hash.h"

#include <stdio.h>

enum {
    ADDRESS_TEXT_BYTES = 128,
    DECIMAL_TEXT_BYTES = 32,
    PER_CENT = 100,
    MILLI = 1000
};

/* "1.25" of 1250 thousandths, "2" of 2000: parts is 100 or 1000. */
static const char *decimal(uint32_t n, uint32_t parts, char text[DECIMAL_TEXT_BYTES])
{
    int digits = parts == PER_CENT ? 2 : 3;
    int len = snprintf(text, DECIMAL_TEXT_BYTES, "%u.%0*u", n / parts, digits, n % parts);

    while (text[len - 1] == '0') {
        len--;
    }
    text[text[len - 1] == '.' ? len - 1 : len] = '\0';
    return text;
}

static bool is_plain_pool(const struct sl_route_config *route)
{
    return route->sides_n == 1 && route->sides[0].weight == 1;
}

void sl_shape_pool_write(struct sl_printer *p, const char *name, const void *base)
{
    const struct sl_route_config *route = base;

    if (is_plain_pool(route)) {
        sl_print_option(p, name, route->sides[0].pool);
    }
}

void sl_shape_split_write(struct sl_printer *p, const char *name, const void *base)
{
    const struct sl_route_config *route = base;
    char weight[16];

    if (is_plain_pool(route)) {
        return;
    }
    size_t mark = sl_print_enter(p, name);
    for (size_t i = 0; i < route->sides_n; i++) {
        (void)snprintf(weight, sizeof(weight), "%u", route->sides[i].weight);
        sl_print_option(p, route->sides[i].pool, weight);
    }
    sl_print_leave(p, mark);
}

/* By address, with the weight as the value: their order means nothing. */
void sl_shape_static_write(struct sl_printer *p, const char *name, const void *base)
{
    const struct sl_discover_config *c = base;
    char address[ADDRESS_TEXT_BYTES];
    char weight[96];

    if (c->kind != SL_DISCOVER_STATIC) {
        return;
    }
    size_t mark = sl_print_enter(p, name);
    for (size_t i = 0; i < c->addresses_n; i++) {
        sl_address_format(&c->addresses[i], address, sizeof(address));
        (void)snprintf(weight, sizeof(weight), "weight %u%s%s", c->weights[i],
                       c->zones[i] != NULL ? ", zone " : "",
                       c->zones[i] != NULL ? c->zones[i] : ""); /* a zone has at most 63 */
        sl_print_option(p, address, weight);
    }
    sl_print_leave(p, mark);
}

void sl_shape_namespaces_write(struct sl_printer *p, const char *name, const void *base)
{
    const struct sl_kubernetes_config *k = base;

    if (k->namespaces.n > 0) {
        sl_print_options(p, name, &k->namespaces);
    }
}

void sl_shape_port_write(struct sl_printer *p, const char *name, const void *base)
{
    const struct sl_kubernetes_config *k = base;
    char port[8];

    if (k->port_name != NULL) {
        sl_print_option(p, name, k->port_name);
    } else if (k->port != 0) {
        (void)snprintf(port, sizeof(port), "%u", k->port);
        sl_print_option(p, name, port);
    }
}

void sl_shape_trusted_write(struct sl_printer *p, const char *name, const void *base)
{
    const struct sl_listener_config *listener = base;
    char ip[SL_IP_TEXT_BYTES];
    char text[SL_IP_TEXT_BYTES + 8];

    if (listener->trusted == NULL) {
        return;
    }
    size_t mark = sl_print_enter(p, name);
    if (listener->trusted->unix_peers) {
        sl_print_option(p, "unix", "");
    }
    for (size_t i = 0; i < listener->trusted->networks.n; i++) {
        const struct sl_network *n = &listener->trusted->networks.items[i];

        (void)snprintf(text, sizeof(text), "%s/%u", sl_ip_format(&n->ip, ip), n->prefix_bits);
        sl_print_option(p, text, "");
    }
    sl_print_leave(p, mark);
}

void sl_shape_via_write(struct sl_printer *p, const char *name, const void *base)
{
    const struct sl_listener_config *listener = base;

    if (listener->via != NULL) {
        sl_print_option(p, name, listener->via->pseudonym);
    }
}

static void write_key(struct sl_printer *p, const struct sl_balance_key_config *key)
{
    size_t mark = sl_print_enter(p, "key");

    switch (key->kind) {
    case SL_BALANCE_KEY_NONE:
        break;
    case SL_BALANCE_KEY_HEADER:
        sl_print_option(p, "header", key->name);
        break;
    case SL_BALANCE_KEY_COOKIE:
        sl_print_option(p, "cookie", key->name);
        break;
    case SL_BALANCE_KEY_QUERY:
        sl_print_option(p, "query", key->name);
        break;
    case SL_BALANCE_KEY_SOURCE:
        sl_print_option(p, "source", "true");
        break;
    }
    sl_print_leave(p, mark);
}

/* A map with nothing but a policy is its name. A bound is nothing to a policy without a key. */
void sl_shape_balance_write(struct sl_printer *p, const char *name, const void *base)
{
    const struct sl_pool_config *pool = base;
    char text[DECIMAL_TEXT_BYTES];

    sl_print_option(p, name, pool->balance);
    if (pool->balance_key.kind == SL_BALANCE_KEY_NONE) {
        return;
    }
    size_t mark = sl_print_enter(p, name);
    write_key(p, &pool->balance_key);
    sl_print_option(
        p, "bound",
        pool->balance_bound_pct == 0 ? "off" : decimal(pool->balance_bound_pct, PER_CENT, text));
    sl_print_leave(p, mark);
}

/* A value may be a token, and what is printed is shown and logged: 16 bits of a hash tell of a
 * change and nothing of what it is. */
void sl_shape_health_headers_write(struct sl_printer *p, const char *name, const void *base)
{
    const struct sl_health_config *h = base;
    size_t mark = sl_print_enter(p, name);
    char text[32];

    for (size_t i = 0; i < h->headers_n; i++) {
        uint64_t hash = sl_hash(sl_slice_of(h->headers[i].value), 0);

        (void)snprintf(text, sizeof(text), "(not shown, %04x)", (unsigned)(hash & UINT16_MAX));
        sl_print_option(p, h->headers[i].name, text);
    }
    sl_print_leave(p, mark);
}

void sl_shape_aggression_write(struct sl_printer *p, const char *name, const void *base)
{
    const struct sl_slow_start_config *s = base;
    char text[DECIMAL_TEXT_BYTES];

    sl_print_option(p, name, decimal(s->aggression_milli, MILLI, text));
}

bool sl_shape_uses_kubernetes(const void *base)
{
    const struct sl_discover_config *c = base;
    return c->kind == SL_DISCOVER_KUBERNETES;
}

bool sl_shape_uses_dns(const void *base)
{
    const struct sl_discover_config *c = base;
    return c->kind == SL_DISCOVER_DNS;
}

bool sl_shape_uses_health(const void *base)
{
    const struct sl_pool_config *pool = base;
    return pool->health.kind != SL_HEALTH_CHECK_NONE;
}
