/* SPDX-License-Identifier: Apache-2.0 */
/*
 * scalars: the option types that are one value, or a list of them, and no section.
 *
 * Results and reports as in decode.h. field: what the row's offset names.
 */
#ifndef SL_CONFIG_SCALARS_H
#define SL_CONFIG_SCALARS_H

#include <sluiced/defs.h>
#include <sluiced/slice.h>

#include "decode.h"
#include "options.h"

#include <stdbool.h>

/* Fills field from node by o, whose type is COUNT to ADDRESS. */
int sl_scalar_read(struct sl_decoder *d, const struct sl_option *o, const struct sl_yaml_node *node,
                   void *field) SL_MUST_CHECK;

/* Whether `off` stands there, and is a value of o. */
bool sl_option_is_off(const struct sl_option *o, const struct sl_yaml_node *node);

/* Into a field of any object pointer type: they look alike on the platforms we build for. */
void sl_store_pointer(void *field, const void *pointer);

/* A copy in the config's arena, its address into field. */
int sl_store_text(struct sl_decoder *d, void *field, struct sl_slice text) SL_MUST_CHECK;

#endif
