/* SPDX-License-Identifier: Apache-2.0 */
#include "suggest.h"

#include <stddef.h>

enum {
    NAME_MAX_BYTES = 63,
    EDITS_MAX_N = 2
};

static uint32_t least(uint32_t a, uint32_t b)
{
    return a < b ? a : b;
}

static uint32_t edits(struct sl_slice a, struct sl_slice b)
{
    uint32_t rows[3][NAME_MAX_BYTES + 1]; /* the current one and the two before */

    for (uint32_t j = 0; j <= b.len; j++) {
        rows[0][j] = j;
    }
    for (uint32_t i = 1; i <= a.len; i++) {
        uint32_t *row = rows[i % 3];
        const uint32_t *above = rows[(i + 2) % 3];

        row[0] = i;
        for (uint32_t j = 1; j <= b.len; j++) {
            uint32_t change = a.ptr[i - 1] != b.ptr[j - 1] ? 1 : 0;

            row[j] = least(least(above[j], row[j - 1]) + 1, above[j - 1] + change);
            if (i > 1 && j > 1 && a.ptr[i - 1] == b.ptr[j - 2] && a.ptr[i - 2] == b.ptr[j - 1]) {
                row[j] = least(row[j], rows[(i + 1) % 3][j - 2] + 1);
            }
        }
    }
    return rows[a.len % 3][b.len];
}

void sl_suggest_init(struct sl_suggestion *s, struct sl_slice wrong)
{
    *s = (struct sl_suggestion){.wrong = wrong, .distance = EDITS_MAX_N + 1};
}

void sl_suggest_offer(struct sl_suggestion *s, struct sl_slice name)
{
    if (s->wrong.len > NAME_MAX_BYTES || name.len > NAME_MAX_BYTES) {
        return;
    }
    uint32_t n = edits(s->wrong, name);

    if (n < s->distance && 2 * (size_t)n <= s->wrong.len) {
        s->best = name;
        s->distance = n;
    }
}
