/* SPDX-License-Identifier: Apache-2.0 */
/*
 * field: the small languages inside field values.
 *
 * Thread:    any (pure)
 * Source:    RFC 9110 sections 5.6, 7.6.2, 8.3.1 and 10.2.3; RFC 2068 section 19.7.1.1
 */
#ifndef SL_PROTO_FIELD_H
#define SL_PROTO_FIELD_H

#include <sluiced/defs.h>
#include <sluiced/slice.h>

#include <stdbool.h>
#include <stdint.h>

/* For each byte that may stand in a token: that byte in lower case; 0 for the others. */
extern const unsigned char sl_token_lower[256];

static inline bool sl_is_token_byte(char c)
{
    return sl_token_lower[(unsigned char)c] != 0;
}

bool sl_field_is_token(struct sl_slice s); /* false for an empty one */

/* Without spaces and tabs at both ends. */
struct sl_slice sl_field_trim(struct sl_slice s);

/* Takes the next element off a comma-separated list: trimmed, perhaps empty ("a,,b"), commas in
 * quoted strings belong to it. Start with *rest = the value; false when there is none left. An
 * empty value has no element. */
bool sl_field_next(struct sl_slice *rest, struct sl_slice *element);

/* Whether one element of the list is that token, in any case. */
bool sl_field_has_token(struct sl_slice list, struct sl_slice token);

/* Whether a Content-Type value is of that type ("text/event-stream"), whatever its parameters. */
bool sl_field_is_media_type(struct sl_slice value, struct sl_slice type);

/* 1*DIGIT; what exceeds max becomes max. SL_EPROTO for anything that is not digits. */
int sl_field_parse_count(struct sl_slice value, uint32_t max, uint32_t *out) SL_MUST_CHECK;

/* The delay-seconds form of Retry-After; what exceeds max_s becomes max_s. SL_EPROTO for an
 * HTTP-date, or anything else that is not digits. */
int sl_field_parse_delay(struct sl_slice value, uint32_t max_s, uint32_t *out_s) SL_MUST_CHECK;

/* The timeout of a Keep-Alive field ("timeout=5, max=100"), at most a day. SL_EPROTO: it has none
 * that is a number. */
int sl_field_parse_keep_alive(struct sl_slice value, uint32_t *out_s) SL_MUST_CHECK;

#endif
