/* SPDX-License-Identifier: Apache-2.0 */
/*
 * shapes: values that one row of a table cannot read: a choice of forms, a reference to a pool.
 *
 * Each is the `read` of a row, or its `write`: base is the struct of the row's section.
 */
#ifndef SL_CONFIG_SHAPES_H
#define SL_CONFIG_SHAPES_H

#include <sluiced/config.h>
#include <sluiced/defs.h>

#include "decode.h"

#include <stdint.h>

/* One of `static:`, written as a map. */
struct sl_static_endpoint {
    struct sl_address address;
    uint16_t weight;
    const char *zone; /* NULL: not given */
};

/* The pool that a text names, by its place under `pools`; the name is copied. */
int sl_shape_refer(struct sl_decoder *d, struct sl_slice name, const struct sl_pos *pos,
                   const char **out_name, uint32_t *out_idx) SL_MUST_CHECK;

int sl_shape_pool(struct sl_decoder *d, const struct sl_yaml_node *node, void *base) SL_MUST_CHECK;
int sl_shape_split(struct sl_decoder *d, const struct sl_yaml_node *node, void *base) SL_MUST_CHECK;
int sl_shape_static(struct sl_decoder *d, const struct sl_yaml_node *node, void *base)
    SL_MUST_CHECK;
int sl_shape_namespaces(struct sl_decoder *d, const struct sl_yaml_node *node, void *base)
    SL_MUST_CHECK;
int sl_shape_port(struct sl_decoder *d, const struct sl_yaml_node *node, void *base) SL_MUST_CHECK;
int sl_shape_trusted(struct sl_decoder *d, const struct sl_yaml_node *node, void *base)
    SL_MUST_CHECK;
int sl_shape_via(struct sl_decoder *d, const struct sl_yaml_node *node, void *base) SL_MUST_CHECK;
int sl_shape_balance(struct sl_decoder *d, const struct sl_yaml_node *node, void *base)
    SL_MUST_CHECK;
int sl_shape_health_headers(struct sl_decoder *d, const struct sl_yaml_node *node, void *base)
    SL_MUST_CHECK;
int sl_shape_health_status(struct sl_decoder *d, const struct sl_yaml_node *node, void *base)
    SL_MUST_CHECK;
int sl_shape_retry_statuses(struct sl_decoder *d, const struct sl_yaml_node *node, void *base)
    SL_MUST_CHECK;

int sl_shape_fallback(struct sl_decoder *d, const struct sl_yaml_node *node, void *base)
    SL_MUST_CHECK;
int sl_shape_aggression(struct sl_decoder *d, const struct sl_yaml_node *node, void *base)
    SL_MUST_CHECK;

/* What a health check looks for; a check_fn as those of values.h. */
int sl_shape_health_body_check(struct sl_slice text, const struct sl_pos *pos, struct sl_error *err)
    SL_MUST_CHECK;

/* The ways back, the `write` of the same rows. */
struct sl_printer;
void sl_shape_pool_write(struct sl_printer *p, const char *name, const void *base);
void sl_shape_split_write(struct sl_printer *p, const char *name, const void *base);
void sl_shape_static_write(struct sl_printer *p, const char *name, const void *base);
void sl_shape_namespaces_write(struct sl_printer *p, const char *name, const void *base);
void sl_shape_port_write(struct sl_printer *p, const char *name, const void *base);
void sl_shape_trusted_write(struct sl_printer *p, const char *name, const void *base);
void sl_shape_via_write(struct sl_printer *p, const char *name, const void *base);
void sl_shape_balance_write(struct sl_printer *p, const char *name, const void *base);
void sl_shape_health_headers_write(struct sl_printer *p, const char *name, const void *base);
void sl_shape_health_status_write(struct sl_printer *p, const char *name, const void *base);
void sl_shape_fallback_write(struct sl_printer *p, const char *name, const void *base);
void sl_shape_retry_statuses_write(struct sl_printer *p, const char *name, const void *base);
void sl_shape_aggression_write(struct sl_printer *p, const char *name, const void *base);

/* `is_used`: whether the section below says anything. */
bool sl_shape_uses_kubernetes(const void *base);
bool sl_shape_uses_dns(const void *base);
bool sl_shape_uses_health(const void *base);

/* Label selectors; check_fns as those of values.h. That of pods may be empty. */
int sl_shape_selector_check(struct sl_slice text, const struct sl_pos *pos, struct sl_error *err)
    SL_MUST_CHECK;
int sl_shape_pods_check(struct sl_slice text, const struct sl_pos *pos, struct sl_error *err)
    SL_MUST_CHECK;

#endif
