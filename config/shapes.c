/* SPDX-License-Identifier: Apache-2.0 */
#include "shapes.h"

#include <sluiced/discovery.h>

#include "suggest.h"

#include "proxy/base/arena.h"
#include "proxy/base/num.h"

#include <stdio.h>
#include <string.h>

enum {
    SIDES_MAX_N = 64,
    ENDPOINTS_MAX_N = 4096,
    TRUSTED_MAX_N = 256,
    NAMESPACES_MAX_N = 64,
    ADDRESS_TEXT_BYTES = 128
};

/* ---- References to pools. By the nodes and not by what was decoded: pools may stand further down
 * in the file, and one with a mistake in it is there nevertheless. */

static int refuse_pool(struct sl_decoder *d, struct sl_slice name, const struct sl_yaml_node *pools,
                       const struct sl_pos *pos)
{
    struct sl_suggestion s;

    sl_suggest_init(&s, name);
    if (pools != NULL && !sl_decode_errors_full(d)) {
        for (const struct sl_yaml_node *n = pools->first; n != NULL; n = n->next) {
            sl_suggest_offer(&s, n->key);
        }
    }
    if (s.best.len > 0) {
        return sl_decode_report(d, sl_error_set(&d->err, SL_ECONFIG, pos,
                                                "unknown pool " SL_YAML_SHOWN_FMT
                                                "; did you mean \"" SL_SLICE_FMT "\"?",
                                                SL_YAML_SHOWN_ARG(name), SL_SLICE_ARG(s.best)));
    }
    return sl_decode_report(d, sl_error_set(&d->err, SL_ECONFIG, pos,
                                            "unknown pool " SL_YAML_SHOWN_FMT
                                            "; expected a name that stands under pools",
                                            SL_YAML_SHOWN_ARG(name)));
}

int sl_shape_refer(struct sl_decoder *d, struct sl_slice name, const struct sl_pos *pos,
                   const char **out_name, uint32_t *out_idx)
{
    const struct sl_yaml_node *pools = sl_yaml_find(d->root, SL_SLICE("pools"));
    const struct sl_yaml_node *pool = sl_yaml_find(pools, name);

    if (pools != NULL && pools->kind != SL_YAML_MAP) {
        return SL_ECONFIG; /* its own row says so */
    }
    if (pool == NULL) {
        return refuse_pool(d, name, pools, pos);
    }
    const char *copy = sl_arena_strdup(d->arena, name);
    if (copy == NULL) {
        return sl_decode_no_memory(d);
    }
    *out_name = copy;
    *out_idx = pool->idx;
    return SL_OK;
}

int sl_shape_pool(struct sl_decoder *d, const struct sl_yaml_node *node, void *base)
{
    struct sl_route_config *route = base;
    int rc = sl_decode_want_text(d, node, "the name of a pool");

    if (rc != SL_OK) {
        return rc;
    }
    struct sl_split_side *side = sl_arena_alloc(d->arena, sizeof(*side));
    if (side == NULL) {
        return sl_decode_no_memory(d);
    }
    side->weight = 1;
    route->sides = side;
    route->sides_n = 1;
    return sl_shape_refer(d, node->text, sl_decode_at(d, node), &side->pool, &side->pool_idx);
}

static int read_weight(struct sl_decoder *d, const struct sl_yaml_node *node, uint32_t *out)
{
    char found[SL_YAML_FOUND_BYTES];
    uint64_t weight;

    if (node->kind != SL_YAML_TEXT || sl_num_parse_below(node->text, UINT16_MAX, &weight) != SL_OK)
    {
        return sl_decode_report(d, sl_error_set(&d->err, SL_ECONFIG, sl_decode_at(d, node),
                                                "expected a weight from 0 to 65535, found %s",
                                                sl_yaml_found(node, found)));
    }
    *out = (uint32_t)weight;
    return SL_OK;
}

int sl_shape_split(struct sl_decoder *d, const struct sl_yaml_node *node, void *base)
{
    struct sl_route_config *route = base;
    char found[SL_YAML_FOUND_BYTES];
    uint64_t total = 0;
    int worst = SL_OK;

    if (node->kind != SL_YAML_MAP || node->children_n == 0 || node->children_n > SIDES_MAX_N) {
        return sl_decode_report(d, sl_error_set(&d->err, SL_ECONFIG, sl_decode_at(d, node),
                                                "expected a map of 1 to %d pools to weights, "
                                                "found %s; write {v1: 95, v2: 5}",
                                                SIDES_MAX_N, sl_yaml_found(node, found)));
    }
    struct sl_split_side *sides = sl_arena_alloc_array(d->arena, node->children_n, sizeof(*sides));
    if (sides == NULL) {
        return sl_decode_no_memory(d);
    }
    for (const struct sl_yaml_node *n = node->first; n != NULL; n = n->next) {
        struct sl_split_side *side = &sides[n->idx];
        int rc = sl_shape_refer(d, n->key, sl_decode_at_key(d, n), &side->pool, &side->pool_idx);

        if (rc != SL_ENOMEM) {
            rc = sl_decode_worse(rc, read_weight(d, n, &sides[n->idx].weight));
        }
        if (rc == SL_ENOMEM) {
            return rc;
        }
        worst = sl_decode_worse(worst, rc);
        total += sides[n->idx].weight;
    }
    if (worst == SL_OK && total == 0) {
        return sl_decode_report(d, sl_error_set(&d->err, SL_ECONFIG, sl_decode_at(d, node),
                                                "expected a weight above 0, found only zeros"));
    }
    route->sides = sides;
    route->sides_n = node->children_n;
    return worst;
}

/* ---- discover.static */

static int read_endpoint(struct sl_decoder *d, const struct sl_yaml_node *node,
                         struct sl_static_endpoint *out)
{
    if (node->kind == SL_YAML_MAP) {
        return sl_decode_section(d, &sl_section_endpoint, node, out);
    }
    int rc = sl_decode_want_text(d, node, "an address or a map");
    if (rc != SL_OK) {
        return rc;
    }
    out->weight = 1;
    return sl_decode_report(
        d, sl_value_address(node->text, sl_decode_at(d, node), 1, &out->address, &d->err));
}

static int check_endpoints(struct sl_decoder *d, const struct sl_yaml_node *node,
                           const struct sl_discover_config *c)
{
    struct sl_seen *seen = sl_arena_alloc_array(d->scratch, c->addresses_n, sizeof(*seen));
    char text[ADDRESS_TEXT_BYTES];
    uint64_t total = 0;

    if (seen == NULL) {
        return sl_decode_no_memory(d);
    }
    for (const struct sl_yaml_node *n = node->first; n != NULL; n = n->next) {
        sl_address_format(&c->addresses[n->idx], text, sizeof(text));
        const char *copy = sl_arena_strdup(d->scratch, sl_slice_of(text));

        if (copy == NULL) {
            return sl_decode_no_memory(d);
        }
        seen[n->idx] = (struct sl_seen){sl_slice_of(copy), n};
        total += c->weights[n->idx];
    }
    if (total == 0) {
        return sl_decode_report(d, sl_error_set(&d->err, SL_ECONFIG, sl_decode_at(d, node),
                                                "expected a weight above 0, found only zeros"));
    }
    return sl_decode_unique(d, seen, c->addresses_n, "address");
}

int sl_shape_static(struct sl_decoder *d, const struct sl_yaml_node *node, void *base)
{
    struct sl_discover_config *c = base;
    char found[SL_YAML_FOUND_BYTES];
    int worst = SL_OK;

    if (node->kind != SL_YAML_LIST || node->children_n == 0 || node->children_n > ENDPOINTS_MAX_N) {
        return sl_decode_report(
            d, sl_error_set(&d->err, SL_ECONFIG, sl_decode_at(d, node),
                            "expected a list of 1 to %d addresses, found %s; write "
                            "[\"10.0.0.7:8000\", \"10.0.0.8:8000\"]",
                            ENDPOINTS_MAX_N, sl_yaml_found(node, found)));
    }
    size_t n = node->children_n;
    struct sl_address *addresses = sl_arena_alloc_array(d->arena, n, sizeof(*addresses));
    uint16_t *weights = sl_arena_alloc_array(d->arena, n, sizeof(*weights));
    const char **zones = (const char **)sl_arena_alloc_array(d->arena, n, sizeof(*zones));
    if (addresses == NULL || weights == NULL || zones == NULL) {
        return sl_decode_no_memory(d);
    }
    for (const struct sl_yaml_node *item = node->first; item != NULL; item = item->next) {
        struct sl_static_endpoint e = {.weight = 0};
        int rc = read_endpoint(d, item, &e);

        if (rc == SL_ENOMEM) {
            return rc;
        }
        worst = sl_decode_worse(worst, rc);
        addresses[item->idx] = e.address;
        weights[item->idx] = e.weight;
        zones[item->idx] = e.zone;
    }
    c->addresses = addresses;
    c->weights = weights;
    c->zones = zones;
    c->addresses_n = n;
    return worst == SL_OK ? check_endpoints(d, node, c) : worst;
}

/* ---- discover.kubernetes */

static int read_namespace(struct sl_decoder *d, const struct sl_yaml_node *node, bool alone,
                          const char **out)
{
    int rc = sl_decode_want_text(d, node, "the name of a namespace");

    if (rc != SL_OK) {
        return rc;
    }
    if (sl_slice_eq(node->text, SL_SLICE("*"))) {
        if (!alone) {
            return sl_decode_report(
                d, sl_error_set(&d->err, SL_ECONFIG, sl_decode_at(d, node),
                                "expected the name of a namespace, found \"*\", which means all of "
                                "them; write namespace: \"*\" alone"));
        }
    } else {
        rc = sl_decode_report(d, sl_value_label(node->text, sl_decode_at(d, node), &d->err));
        if (rc != SL_OK) {
            return rc;
        }
    }
    *out = sl_arena_strdup(d->arena, node->text);
    return *out != NULL ? SL_OK : sl_decode_no_memory(d);
}

static int read_namespace_list(struct sl_decoder *d, const struct sl_yaml_node *node,
                               const char **items)
{
    struct sl_seen *seen = sl_arena_alloc_array(d->scratch, node->children_n, sizeof(*seen));
    int worst = SL_OK;

    if (seen == NULL) {
        return sl_decode_no_memory(d);
    }
    for (const struct sl_yaml_node *n = node->first; n != NULL; n = n->next) {
        int rc = read_namespace(d, n, false, &items[n->idx]);

        if (rc == SL_ENOMEM) {
            return rc;
        }
        worst = sl_decode_worse(worst, rc);
        seen[n->idx] = (struct sl_seen){n->text, n};
    }
    return worst == SL_OK ? sl_decode_unique(d, seen, node->children_n, "namespace") : worst;
}

int sl_shape_namespaces(struct sl_decoder *d, const struct sl_yaml_node *node, void *base)
{
    struct sl_kubernetes_config *k = base;
    char found[SL_YAML_FOUND_BYTES];
    bool is_list = node->kind == SL_YAML_LIST;
    size_t n = is_list ? node->children_n : 1;

    if (node->kind == SL_YAML_MAP || n == 0 || n > NAMESPACES_MAX_N) {
        return sl_decode_report(
            d, sl_error_set(&d->err, SL_ECONFIG, sl_decode_at(d, node),
                            "expected the name of a namespace, a list of 1 to %d of them, or "
                            "\"*\", found %s",
                            NAMESPACES_MAX_N, sl_yaml_found(node, found)));
    }
    const char **items = (const char **)sl_arena_alloc_array(d->arena, n, sizeof(items[0]));
    if (items == NULL) {
        return sl_decode_no_memory(d);
    }
    k->namespaces = (struct sl_strings){items, n};
    return is_list ? read_namespace_list(d, node, items) : read_namespace(d, node, true, &items[0]);
}

int sl_shape_port(struct sl_decoder *d, const struct sl_yaml_node *node, void *base)
{
    struct sl_kubernetes_config *k = base;
    uint64_t port;
    int rc = sl_decode_want_text(d, node, "a port from 1 to 65535 or its name");

    if (rc != SL_OK) {
        return rc;
    }
    if (sl_num_parse_below(node->text, UINT16_MAX, &port) == SL_OK && port > 0) {
        k->port = (uint16_t)port;
        return SL_OK;
    }
    rc = sl_value_port_name(node->text, sl_decode_at(d, node), &d->err);
    if (rc != SL_OK) {
        return sl_decode_report(d, rc);
    }
    k->port_name = sl_arena_strdup(d->arena, node->text);
    return k->port_name != NULL ? SL_OK : sl_decode_no_memory(d);
}

int sl_shape_selector_check(struct sl_slice text, const struct sl_pos *pos, struct sl_error *err)
{
    if (text.len == 0) { /* to Kubernetes it means everything, to a reader of the file nothing */
        return sl_error_set(
            err, SL_ECONFIG, pos,
            "expected a label selector, found nothing; write one like \"app=llama\"");
    }
    return sl_selector_check(text.ptr, pos, err);
}

/* Whether it may be empty depends on what stands beside it: see sl_finish_discover_kubernetes. */
int sl_shape_pods_check(struct sl_slice text, const struct sl_pos *pos, struct sl_error *err)
{
    return text.len > 0 ? sl_selector_check(text.ptr, pos, err) : SL_OK;
}

/* ---- trusted_proxies */

static int read_trusted(struct sl_decoder *d, const struct sl_yaml_node *node,
                        struct sl_trusted_config *trusted, struct sl_network *out)
{
    char found[SL_YAML_FOUND_BYTES];

    if (node->kind == SL_YAML_TEXT && sl_slice_eq(node->text, SL_SLICE("unix"))) {
        trusted->unix_peers = true;
        return SL_OK;
    }
    if (node->kind == SL_YAML_TEXT && sl_network_parse(node->text, out) == SL_OK) {
        trusted->networks.n++;
        return SL_OK;
    }
    return sl_decode_report(
        d, sl_error_set(&d->err, SL_ECONFIG, sl_decode_at(d, node),
                        "expected a network without bits behind its prefix, an address or unix, "
                        "found %s; write 10.0.0.0/8, fd00::/8, 192.0.2.1 or unix",
                        sl_yaml_found(node, found)));
}

int sl_shape_trusted(struct sl_decoder *d, const struct sl_yaml_node *node, void *base)
{
    struct sl_listener_config *listener = base;
    char found[SL_YAML_FOUND_BYTES];
    int worst = SL_OK;

    if (node->kind != SL_YAML_LIST || node->children_n == 0 || node->children_n > TRUSTED_MAX_N) {
        return sl_decode_report(
            d, sl_error_set(&d->err, SL_ECONFIG, sl_decode_at(d, node),
                            "expected a list of 1 to %d networks, addresses or unix, found %s; "
                            "write [10.0.0.0/8] or leave it out to trust nobody",
                            TRUSTED_MAX_N, sl_yaml_found(node, found)));
    }
    struct sl_trusted_config *trusted = sl_arena_alloc(d->arena, sizeof(*trusted));
    struct sl_network *networks =
        sl_arena_alloc_array(d->arena, node->children_n, sizeof(*networks));
    if (trusted == NULL || networks == NULL) {
        return sl_decode_no_memory(d);
    }
    trusted->networks.items = networks;
    for (const struct sl_yaml_node *item = node->first; item != NULL; item = item->next) {
        int rc = read_trusted(d, item, trusted, &networks[trusted->networks.n]);

        if (rc == SL_ENOMEM) {
            return rc;
        }
        worst = sl_decode_worse(worst, rc);
    }
    listener->trusted = trusted;
    return worst;
}

/* ---- via */

int sl_shape_via(struct sl_decoder *d, const struct sl_yaml_node *node, void *base)
{
    struct sl_listener_config *listener = base;
    int rc = sl_decode_want_text(d, node, "a token");

    if (rc == SL_OK) {
        rc = sl_decode_report(d, sl_value_token(node->text, sl_decode_at(d, node), &d->err));
    }
    if (rc != SL_OK) {
        return rc;
    }
    struct sl_via_config *via = sl_arena_alloc(d->arena, sizeof(*via));
    if (via == NULL) {
        return sl_decode_no_memory(d);
    }
    for (unsigned minor = 0; minor < SL_ARRAY_LEN(via->received); minor++) {
        size_t len = node->text.len + 4;
        char *text = sl_arena_alloc_bytes(d->arena, len + 1);

        if (text == NULL) {
            return sl_decode_no_memory(d);
        }
        (void)snprintf(text, len + 1, "1.%u %s", minor, node->text.ptr); /* fits */
        via->received[minor] = (struct sl_slice){text, len};
    }
    via->pseudonym = via->received[0].ptr + 4;
    listener->via = via;
    return SL_OK;
}
