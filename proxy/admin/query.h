/* SPDX-License-Identifier: Apache-2.0 */
/*
 * query: "a=b&c=d" of a request to the admin listener, and values on their way into one.
 *
 * Thread:    any (pure)
 */
#ifndef SL_ADMIN_QUERY_H
#define SL_ADMIN_QUERY_H

#include <sluiced/slice.h>

#include <stdbool.h>
#include <stddef.h>

/* The value of name, with %XX decoded, terminated; false where there is none, or it is empty, does
 * not fit, holds a NUL, or has a broken escape. */
bool sl_query_get(struct sl_slice query, const char *name, char *buf, size_t size_bytes);

/* Appends value so that get finds it again; false: it does not fit. buf is terminated text. */
bool sl_query_append(char *buf, size_t size_bytes, const char *value);

#endif
