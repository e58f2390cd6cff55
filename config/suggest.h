/* SPDX-License-Identifier: Apache-2.0 */
/*
 * suggest: the name that was probably meant.
 *
 * Thread:    any (pure)
 * Limits:    names up to 63 bytes; O(64 * 64) an offer
 * Source:    optimal string alignment: Levenshtein with the swap of two neighbours as one edit
 */
#ifndef SL_CONFIG_SUGGEST_H
#define SL_CONFIG_SUGGEST_H

#include <sluiced/slice.h>

#include <stdint.h>

struct sl_suggestion {
    struct sl_slice wrong;
    struct sl_slice best; /* len 0: none is near */
    uint32_t distance;    /* of best */
};

void sl_suggest_init(struct sl_suggestion *s, struct sl_slice wrong);

/* Takes name as best if it is at most two edits away, at most one edit for each two bytes, and
 * nearer than those before. Borrows name. */
void sl_suggest_offer(struct sl_suggestion *s, struct sl_slice name);

#endif
