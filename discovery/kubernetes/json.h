/* SPDX-License-Identifier: Apache-2.0 */
/*
 * json: a text of the API server as a tree, to look at and to forget.
 *
 * jansson asks malloc for each name and value: hundreds for one slice, most of what a change costs.
 * Here a tree takes its memory from a few blocks, which go all at once.
 *
 * Lifetime:  a tree: from parse to done; nobody takes or drops a reference to a part of it
 * Thread:    any; on each one tree at a time. Other users of jansson are not touched
 * Limits:    about ten times the memory of the text
 */
#ifndef SL_KUBERNETES_JSON_H
#define SL_KUBERNETES_JSON_H

#include <sluiced/slice.h>

#include <jansson.h>

/* Before another thread uses jansson, and before the first parse; safe to repeat. */
void sl_kube_json_init(void);

/* NULL: text is no JSON object or array, or there is no memory. A NUL may stand inside a string: an
 * annotation of somebody's must not cost us a whole list. Always followed by done. */
json_t *sl_kube_json_parse(struct sl_slice text);
void sl_kube_json_done(void);

#endif
