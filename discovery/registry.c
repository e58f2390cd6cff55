/* SPDX-License-Identifier: Apache-2.0 */
/*
 * registry: kind of discovery -> its implementation.
 */
#include "sources.h"

static const struct sl_source_ops *const sources[] = {
    [SL_DISCOVER_STATIC] = &sl_static_source_ops,
    [SL_DISCOVER_KUBERNETES] = &sl_kubernetes_source_ops,
    [SL_DISCOVER_FILE] = &sl_file_source_ops,
    [SL_DISCOVER_DNS] = &sl_dns_source_ops,
};

const struct sl_source_ops *sl_source_get(enum sl_discover_kind kind)
{
    SL_ASSERT((size_t)kind < SL_ARRAY_LEN(sources), "kind of discovery %d", (int)kind);
    return sources[kind];
}
