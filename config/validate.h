/* SPDX-License-Identifier: Apache-2.0 */
/*
 * validate: what the rows of a section cannot say about each other.
 *
 * Each is the `finish` of a section: base is its struct, all rows are good, node is never NULL.
 */
#ifndef SL_CONFIG_VALIDATE_H
#define SL_CONFIG_VALIDATE_H

#include <sluiced/defs.h>

#include "decode.h"

/* Whether exactly one of names stands in node; reports what is missing, or the later of two. names:
 * two or more, ended by NULL. write: an example. */
int sl_want_one_of(struct sl_decoder *d, const struct sl_yaml_node *node, const char *const *names,
                   const char *write) SL_MUST_CHECK;

int sl_finish_admin(struct sl_decoder *d, const struct sl_yaml_node *node, void *base)
    SL_MUST_CHECK;
int sl_finish_kubernetes(struct sl_decoder *d, const struct sl_yaml_node *node, void *base)
    SL_MUST_CHECK;
int sl_finish_listener_tls(struct sl_decoder *d, const struct sl_yaml_node *node, void *base)
    SL_MUST_CHECK;
/* Brings the paths of routes to the form that those of requests have. */
int sl_finish_http(struct sl_decoder *d, const struct sl_yaml_node *node, void *base) SL_MUST_CHECK;
int sl_finish_route(struct sl_decoder *d, const struct sl_yaml_node *node, void *base)
    SL_MUST_CHECK;
int sl_finish_backoff(struct sl_decoder *d, const struct sl_yaml_node *node, void *base)
    SL_MUST_CHECK;
int sl_finish_retry(struct sl_decoder *d, const struct sl_yaml_node *node, void *base)
    SL_MUST_CHECK;
int sl_finish_discover(struct sl_decoder *d, const struct sl_yaml_node *node, void *base)
    SL_MUST_CHECK;
int sl_finish_discover_kubernetes(struct sl_decoder *d, const struct sl_yaml_node *node, void *base)
    SL_MUST_CHECK;
int sl_finish_discover_dns(struct sl_decoder *d, const struct sl_yaml_node *node, void *base)
    SL_MUST_CHECK;
int sl_finish_health(struct sl_decoder *d, const struct sl_yaml_node *node, void *base)
    SL_MUST_CHECK;
int sl_finish_pool_tls(struct sl_decoder *d, const struct sl_yaml_node *node, void *base)
    SL_MUST_CHECK;
int sl_finish_pool(struct sl_decoder *d, const struct sl_yaml_node *node, void *base) SL_MUST_CHECK;
/* config/fallback.c: that chains of pools end, and are not too long. */
int sl_check_fallbacks(struct sl_decoder *d, const struct sl_config *c) SL_MUST_CHECK;
/* config/prefer_zone.c: that pools which prefer a zone can know one. */
int sl_check_zones(struct sl_decoder *d, const struct sl_config *c) SL_MUST_CHECK;
int sl_finish_root(struct sl_decoder *d, const struct sl_yaml_node *node, void *base) SL_MUST_CHECK;

#endif
