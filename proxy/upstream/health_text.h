/* SPDX-License-Identifier: Apache-2.0 */
/*
 * health_text: finds a text in bytes that come in pieces, and keeps none of them.
 *
 * Lifetime:  as long as the checks of a pool, which share it; where a search stands is their own
 * Thread:    any (pure)
 * Ownership: the text is borrowed
 * Limits:    255 bytes of text; O(bytes fed)
 * Source:    Knuth, Morris, Pratt, "Fast Pattern Matching in Strings", SIAM J. Comput. 6(2), 1977
 */
#ifndef SL_UPSTREAM_HEALTH_TEXT_H
#define SL_UPSTREAM_HEALTH_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SL_HEALTH_TEXT_MAX_BYTES 255

struct sl_health_text {
    const char *text;
    size_t len;
    uint8_t border[SL_HEALTH_TEXT_MAX_BYTES]; /* [i]: longest proper prefix that ends text[0..i] */
};

/* text: 1 to SL_HEALTH_TEXT_MAX_BYTES bytes; NULL: nothing is looked for, and found at once. */
void sl_health_text_init(struct sl_health_text *t, const char *text);

/* How a search begins, and goes on from piece to piece: *matched_n, 0 at first. True: found. */
bool sl_health_text_find(const struct sl_health_text *t, size_t *matched_n, const char *data,
                         size_t len);

#endif
