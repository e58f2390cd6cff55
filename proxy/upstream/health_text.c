/* SPDX-License-Identifier: Apache-2.0 */
#include "health_text.h"

#include <sluiced/err.h>

#include <string.h>

/* One byte more: how much of the text ends with it. n < t->len, all of border[0..n) is known. */
static size_t step(const struct sl_health_text *t, size_t n, char byte)
{
    while (n > 0 && t->text[n] != byte) {
        n = t->border[n - 1];
    }
    return n + (t->text[n] == byte);
}

void sl_health_text_init(struct sl_health_text *t, const char *text)
{
    *t = (struct sl_health_text){.text = text, .len = text != NULL ? strlen(text) : 0};
    SL_ASSERT(t->len <= SL_HEALTH_TEXT_MAX_BYTES, "a text of %zu bytes", t->len);
    for (size_t i = 1; i < t->len; i++) {
        t->border[i] = (uint8_t)step(t, t->border[i - 1], text[i]);
    }
}

bool sl_health_text_find(const struct sl_health_text *t, size_t *matched_n, const char *data,
                         size_t len)
{
    for (size_t i = 0; i < len && *matched_n < t->len; i++) {
        *matched_n = step(t, *matched_n, data[i]);
    }
    return *matched_n == t->len;
}
