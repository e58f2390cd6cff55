/* SPDX-License-Identifier: Apache-2.0 */
#include "fair.h"

#include <sluiced/err.h>

#include "alloc.h"

#define TURNS_MAX_N (UINT32_C(1) << 31)

struct sl_fair_side {
    uint32_t weight; /* over the common divisor */
    uint32_t done_n;
};

static void push(struct sl_fair_heap *h, uint64_t key)
{
    size_t i = h->n++;

    for (; i > 0 && h->keys[(i - 1) / 2] > key; i = (i - 1) / 2) {
        h->keys[i] = h->keys[(i - 1) / 2];
    }
    h->keys[i] = key;
}

static uint64_t pop(struct sl_fair_heap *h)
{
    uint64_t least = h->keys[0];
    uint64_t key = h->keys[--h->n];
    size_t i = 0;

    for (size_t child = 1; child < h->n; child = 2 * i + 1) {
        child += child + 1 < h->n && h->keys[child + 1] < h->keys[child];
        if (h->keys[child] >= key) {
            break;
        }
        h->keys[i] = h->keys[child];
        i = child;
    }
    h->keys[i] = key;
    return least;
}

static uint64_t key_of(uint64_t turn, size_t side)
{
    return turn << 32 | side;
}

/* First turn at which the side's next one may be. */
static uint64_t release_of(const struct sl_fair *f, const struct sl_fair_side *s)
{
    return (uint64_t)s->done_n * f->turns_n / s->weight;
}

/* First turn at which it would be too late; ties go to the lower index. */
static uint64_t deadline_of(const struct sl_fair *f, const struct sl_fair_side *s)
{
    return ((uint64_t)(s->done_n + 1) * f->turns_n + s->weight - 1) / s->weight;
}

static uint32_t gcd(uint32_t a, uint32_t b)
{
    while (b != 0) {
        uint32_t rest = a % b;
        a = b;
        b = rest;
    }
    return a;
}

static void start(struct sl_fair *f, const uint32_t *weights, size_t n, uint32_t divisor)
{
    for (size_t i = 0; i < n; i++) {
        f->sides[i].weight = weights[i] / divisor;
        if (weights[i] > 0) {
            push(&f->ready, key_of(deadline_of(f, &f->sides[i]), i));
        }
    }
}

int sl_fair_init(struct sl_fair *f, const uint32_t *weights, size_t n)
{
    uint64_t total = 0;
    uint32_t divisor = 0;

    for (size_t i = 0; i < n; i++) {
        total += weights[i];
        divisor = gcd(weights[i], divisor);
    }
    if (total == 0 || total / divisor > TURNS_MAX_N) {
        return SL_ELIMIT;
    }
    *f = (struct sl_fair){
        .turns_n = (uint32_t)(total / divisor),
        .sides = sl_alloc_array(n, sizeof(*f->sides)),
        .ready.keys = sl_alloc_array(n, sizeof(uint64_t)),
        .waiting.keys = sl_alloc_array(n, sizeof(uint64_t)),
    };
    if (f->sides == NULL || f->ready.keys == NULL || f->waiting.keys == NULL) {
        sl_fair_fini(f);
        return SL_ENOMEM;
    }
    start(f, weights, n, divisor);
    return SL_OK;
}

void sl_fair_fini(struct sl_fair *f)
{
    sl_free(f->waiting.keys);
    sl_free(f->ready.keys);
    sl_free(f->sides);
    *f = (struct sl_fair){0};
}

uint32_t sl_fair_next(struct sl_fair *f)
{
    while (f->waiting.n > 0 && f->waiting.keys[0] >> 32 <= f->now) {
        uint32_t side = (uint32_t)pop(&f->waiting);
        push(&f->ready, key_of(deadline_of(f, &f->sides[side]), side));
    }
    SL_ASSERT(f->ready.n > 0, "turn %u of %u", f->now, f->turns_n);
    uint32_t side = (uint32_t)pop(&f->ready);
    struct sl_fair_side *s = &f->sides[side];

    f->now++;
    if (++s->done_n < s->weight) {
        push(&f->waiting, key_of(release_of(f, s), side));
    }
    return side;
}
