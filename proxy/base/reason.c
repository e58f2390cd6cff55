/* SPDX-License-Identifier: Apache-2.0 */
#include <sluiced/reason.h>

static const struct {
    const char *name;
    const char *text;
    uint16_t status;
} reasons[SL_REASONS_N] = {
#define X(id, name, status, text) {name, text, status},
    SL_REASONS(X)
#undef X
};

const char *sl_refusal_name(enum sl_refusal refusal)
{
    static const char *const names[SL_REFUSALS_N] = {
#define X(id, name) name,
        SL_REFUSALS(X)
#undef X
    };
    return names[refusal];
}

const char *sl_reason_name(enum sl_reason reason)
{
    return reasons[reason].name;
}

const char *sl_reason_text(enum sl_reason reason)
{
    return reasons[reason].text;
}

uint16_t sl_reason_status(enum sl_reason reason)
{
    return reasons[reason].status;
}
