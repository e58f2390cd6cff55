/* SPDX-License-Identifier: Apache-2.0 */
/*
 * max_forwards: OPTIONS and TRACE may say how many hops they are to go.
 *
 * Thread:    worker-local
 * Source:    RFC 9110 sections 7.6.2, 9.3.7 and 9.3.8
 */
#ifndef SL_L7_MAX_FORWARDS_H
#define SL_L7_MAX_FORWARDS_H

#include <sluiced/defs.h>
#include <sluiced/reason.h>

#include "exchange.h"

#include <stdbool.h>

/* In every other method Max-Forwards is a field like any other. */
static inline bool sl_max_forwards_counts(enum sl_method m)
{
    return m == SL_METHOD_OPTIONS || m == SL_METHOD_TRACE;
}

/* Of a request whose method counts: SL_REASON_OK, and Max-Forwards is one less if it was there; or
 * why the request ends here:
 *   SL_REASON_ANSWERED_HERE       OPTIONS that goes no further
 *   SL_REASON_METHOD_NOT_ALLOWED  TRACE that goes no further
 *   SL_REASON_BAD_REQUEST         several of them, no number, or a TRACE with a body
 *   SL_REASON_OVERLOAD            no memory */
enum sl_reason sl_max_forwards_take(struct sl_exchange *x) SL_MUST_CHECK;

#endif
