/* SPDX-License-Identifier: Apache-2.0 */
/*
 * escape: sl_json_escape (sluiced/log.h) for callers that must know what did not fit.
 *
 * Thread:    any (pure)
 * Source:    RFC 8259 section 7; Unicode 15 section 3.9 (table 3-7, U+FFFD per maximal subpart)
 */
#ifndef SL_BASE_ESCAPE_H
#define SL_BASE_ESCAPE_H

#include <sluiced/slice.h>

#include <stddef.h>

#define SL_ESCAPE_MAX_BYTES 6 /* of one character escaped: \u001f */

/* As sl_json_escape, and moves *text behind what was written: empty when all of it was. With
 * SL_ESCAPE_MAX_BYTES of room or more, it always moves. */
size_t sl_json_escape_some(struct sl_slice *text, char *buf, size_t size_bytes);

#endif
