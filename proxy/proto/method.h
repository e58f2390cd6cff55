/* SPDX-License-Identifier: Apache-2.0 */
/*
 * method: the request methods that we know, and what may be done again with each.
 *
 * Thread:    any (pure)
 * Source:    RFC 9110 section 9, RFC 5789 (PATCH); names are case-sensitive
 */
#ifndef SL_PROTO_METHOD_H
#define SL_PROTO_METHOD_H

#include <sluiced/slice.h>

#include <stdbool.h>

enum sl_method {
    SL_METHOD_OTHER, /* any other token: forwarded, neither safe nor idempotent */
    SL_METHOD_GET,
    SL_METHOD_HEAD,
    SL_METHOD_POST,
    SL_METHOD_PUT,
    SL_METHOD_DELETE,
    SL_METHOD_CONNECT,
    SL_METHOD_OPTIONS,
    SL_METHOD_TRACE,
    SL_METHOD_PATCH,
};

enum sl_method sl_method_of(struct sl_slice name);

/* "" for SL_METHOD_OTHER. */
struct sl_slice sl_method_name(enum sl_method m);

/* RFC 9110 section 9.2.1: asks for nothing but an answer. */
bool sl_method_safe(enum sl_method m);

/* RFC 9110 section 9.2.2: twice does what once does, so that a retry is allowed. */
bool sl_method_idempotent(enum sl_method m);

#endif
