/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sources: the implementations that sl_source_get chooses from. A new one is a file with its ops,
 * a line here and a line in registry.c.
 */
#ifndef SL_DISCOVERY_SOURCES_H
#define SL_DISCOVERY_SOURCES_H

#include <sluiced/discovery.h>

extern const struct sl_source_ops sl_static_source_ops;
extern const struct sl_source_ops sl_kubernetes_source_ops;
extern const struct sl_source_ops sl_file_source_ops;
extern const struct sl_source_ops sl_dns_source_ops;

#endif
