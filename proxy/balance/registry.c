/* SPDX-License-Identifier: Apache-2.0 */
/*
 * registry: every policy there is, in the order in which error messages and docs name them.
 * A table and not linker sections: it greps, it has an order, and a static library keeps it.
 */
#include "policies.h"

#include <stdio.h>
#include <string.h>

static const struct sl_balancer_ops *const policies[] = {
    &sl_least_request_ops, &sl_maglev_ops,    &sl_peak_ewma_ops,
    &sl_random_ops,        &sl_ring_hash_ops, &sl_round_robin_ops,
};

int sl_balancer_get(const char *name, const struct sl_pos *pos, const struct sl_balancer_ops **out,
                    struct sl_error *err)
{
    char known[128] = "";
    size_t len = 0;

    for (size_t i = 0; i < SL_ARRAY_LEN(policies); i++) {
        if (strcmp(policies[i]->name, name) == 0) {
            *out = policies[i];
            return SL_OK;
        }
        if (len < sizeof(known)) {
            len += (size_t)snprintf(known + len, sizeof(known) - len, " %s", policies[i]->name);
        }
    }
    return sl_error_set(err, SL_ECONFIG, pos, "expected one of:%s; found \"%.32s\"", known, name);
}
