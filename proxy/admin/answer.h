/* SPDX-License-Identifier: Apache-2.0 */
/*
 * answer: a JSON object that the admin listener gave, for the verbs that look for a few members.
 *
 * Lifetime:  from parse to free
 * Thread:    the caller's
 * Errors:    none after parse: what is missing reads as "", 0 and false, for an older process may
 *            not know it
 */
#ifndef SL_ADMIN_ANSWER_H
#define SL_ADMIN_ANSWER_H

#include <sluiced/slice.h>

#include <stdbool.h>
#include <stdint.h>

struct sl_answer;

struct sl_answer *sl_answer_parse(struct sl_slice json); /* NULL: it is no object, or no memory */
void sl_answer_free(struct sl_answer *a);                /* accepts NULL */

const char *sl_answer_text(const struct sl_answer *a, const char *key); /* borrowed */
uint64_t sl_answer_number(const struct sl_answer *a, const char *key);
bool sl_answer_is_false(const struct sl_answer *a, const char *key); /* which is there, and false */
bool sl_answer_is_true(const struct sl_answer *a, const char *key);

#endif
