/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fallback: the pool that a pool falls back on, and that such chains end.
 */
#include <sluiced/config.h>

#include "print.h"
#include "shapes.h"
#include "validate.h"

#include <stdio.h>

#define CHAIN_TEXT_BYTES 160

int sl_shape_fallback(struct sl_decoder *d, const struct sl_yaml_node *node, void *base)
{
    struct sl_pool_config *pool = base;
    int rc = sl_decode_want_text(d, node, "the name of a pool");

    if (rc != SL_OK) {
        return rc;
    }
    return sl_shape_refer(d, node->text, sl_decode_at(d, node), &pool->fallback,
                          &pool->fallback_idx);
}

void sl_shape_fallback_write(struct sl_printer *p, const char *name, const void *base)
{
    const struct sl_pool_config *pool = base;

    if (pool->fallback != NULL) {
        sl_print_option(p, name, pool->fallback);
    }
}

/* "a -> b -> a"; cut where it does not fit. */
static void describe(const struct sl_config *c, size_t idx, size_t steps_n,
                     char text[CHAIN_TEXT_BYTES])
{
    int at = snprintf(text, CHAIN_TEXT_BYTES, "%s", c->pools[idx].name);

    for (; steps_n > 0 && at < CHAIN_TEXT_BYTES; steps_n--) {
        idx = c->pools[idx].fallback_idx;
        at += snprintf(text + at, (size_t)(CHAIN_TEXT_BYTES - at), " -> %s", c->pools[idx].name);
    }
}

static int refuse(struct sl_decoder *d, const struct sl_config *c, size_t idx, size_t steps_n,
                  bool is_circle)
{
    const struct sl_yaml_node *pools = sl_yaml_find(d->root, SL_SLICE("pools"));
    const struct sl_yaml_node *pool = sl_yaml_find(pools, sl_slice_of(c->pools[idx].name));
    const struct sl_pos *pos = sl_decode_at(d, sl_yaml_find(pool, SL_SLICE("fallback")));
    char text[CHAIN_TEXT_BYTES];

    describe(c, idx, steps_n, text);
    if (is_circle) {
        return sl_decode_report(d, sl_error_set(&d->err, SL_ECONFIG, pos,
                                                "goes in a circle: %s; remove one of the fallbacks",
                                                text));
    }
    return sl_decode_report(
        d, sl_error_set(&d->err, SL_ECONFIG, pos,
                        "expected a chain of at most %d pools behind the first, found more: %s; "
                        "remove one of the fallbacks",
                        SL_FALLBACKS_MAX_N, text));
}

/* A circle is the fault of the one of its pools that stands last, of whatever length it is; what
 * only leads into one is no fault of its own. */
static int check_chain(struct sl_decoder *d, const struct sl_config *c, size_t first)
{
    size_t idx = first;
    bool is_last = true;

    for (size_t n = 1; c->pools[idx].fallback != NULL; n++) {
        idx = c->pools[idx].fallback_idx;
        is_last = is_last && idx <= first;
        if (idx == first) {
            return is_last ? refuse(d, c, first, n, true) : SL_OK;
        }
        if (n > c->pools_n) {
            return SL_OK;
        }
    }
    size_t chain_n = 0;
    for (idx = first; c->pools[idx].fallback != NULL; idx = c->pools[idx].fallback_idx) {
        chain_n++;
    }
    return chain_n > SL_FALLBACKS_MAX_N ? refuse(d, c, first, chain_n, false) : SL_OK;
}

int sl_check_fallbacks(struct sl_decoder *d, const struct sl_config *c)
{
    int worst = SL_OK;

    for (size_t i = 0; i < c->pools_n && worst != SL_ENOMEM; i++) {
        worst = sl_decode_worse(worst, check_chain(d, c, i));
    }
    return worst;
}
