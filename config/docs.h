/* SPDX-License-Identifier: Apache-2.0 */
/*
 * docs: docs/config.md out of the option tables.
 *
 * Thread:    any
 */
#ifndef SL_CONFIG_DOCS_H
#define SL_CONFIG_DOCS_H

struct sl_text;

/* Appends the whole page. */
void sl_config_write_docs(struct sl_text *out);

#endif
