/* SPDX-License-Identifier: Apache-2.0 */
/*
 * shapes_write: the way back of shapes.c: from the struct to lines. A choice of forms comes out in
 * the shortest one, so that two spellings of one thing are no difference.
 */
#include "print.h"
#include "shapes.h"

#include <stdio.h>

enum {
    ADDRESS_TEXT_BYTES = 128
};

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
    char weight[32];

    if (c->kind != SL_DISCOVER_STATIC) {
        return;
    }
    size_t mark = sl_print_enter(p, name);
    for (size_t i = 0; i < c->addresses_n; i++) {
        sl_address_format(&c->addresses[i], address, sizeof(address));
        (void)snprintf(weight, sizeof(weight), "weight %u", c->weights[i]);
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

void sl_shape_balance_write(struct sl_printer *p, const char *name, const void *base)
{
    const struct sl_pool_config *pool = base;

    sl_print_option(p, name, pool->balance);
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
