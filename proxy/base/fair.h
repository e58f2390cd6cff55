/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fair: an order in which weighted sides take turns, none ever a whole turn off its share.
 *
 * After the first n turns, for every n, side i has had count_i with
 * |count_i - n * weight_i / total| < 1. The order repeats after a cycle of turns_n.
 *
 * The j-th turn of side i may be neither before floor(j * T / w) nor after
 * ceil((j + 1) * T / w) - 1; within these windows the bound holds, and earliest deadline first
 * meets them all, because the shares add up to one. Smooth weighted round robin, as nginx has it,
 * breaks the bound from five sides on: weights 2 33 38 2 2.
 *
 * Lifetime:  its caller's, one cycle or a part of it
 * Thread:    one at a time
 * Limits:    2^31 turns a cycle; O(log n) a turn
 * Source:    Tijdeman, "The chairman assignment problem", Discrete Mathematics 32, 1980;
 *            Steiner, Yeomans, "Level schedules for mixed-model, just-in-time processes",
 *            Management Science 39(6), 1993
 */
#ifndef SL_BASE_FAIR_H
#define SL_BASE_FAIR_H

#include <sluiced/defs.h>

#include <stddef.h>
#include <stdint.h>

struct sl_fair {
    uint32_t turns_n; /* of one cycle: the sum of the weights over their greatest common divisor */
    uint32_t now;     /* the turn that next() gives out */
    struct sl_fair_side *sides;
    struct sl_fair_heap {
        uint64_t *keys; /* a turn in the upper half, a side in the lower */
        size_t n;
    } ready, waiting;
};

/* Sides of weight 0 never have a turn. SL_ELIMIT: the weights are all 0, or their cycle is longer
 * than 2^31; SL_ENOMEM. Nothing to undo then. */
int sl_fair_init(struct sl_fair *f, const uint32_t *weights, size_t n) SL_MUST_CHECK;
void sl_fair_fini(struct sl_fair *f);

/* The side whose turn it is; called turns_n times at most. */
uint32_t sl_fair_next(struct sl_fair *f);

#endif
