/* SPDX-License-Identifier: Apache-2.0 */
#include "max_forwards.h"

#include <sluiced/err.h>

#include "proxy/base/num.h"
#include "proxy/proto/field.h"

static int count_down(struct sl_exchange *x, struct sl_header *field, uint32_t left_n)
{
    char *digits = sl_arena_alloc_bytes(&x->arena, SL_NUM_TEXT_BYTES);

    if (digits == NULL) {
        return SL_ENOMEM;
    }
    field->value = (struct sl_slice){digits, sl_num_format_u64(left_n, digits)};
    return SL_OK;
}

enum sl_reason sl_max_forwards_take(struct sl_exchange *x)
{
    struct sl_request_head *r = &x->request;
    struct sl_header *field = NULL;
    uint32_t left_n;

    if (r->method == SL_METHOD_TRACE &&
        (r->framing.kind == SL_FRAMING_CHUNKED || r->framing.length_bytes > 0))
    {
        return SL_REASON_BAD_REQUEST; /* RFC 9110 9.3.8: it must not be sent */
    }
    for (uint32_t i = 0; i < r->headers.n; i++) {
        if (r->headers.items[i].id != SL_HEADER_MAX_FORWARDS) {
            continue;
        }
        if (field != NULL) {
            return SL_REASON_BAD_REQUEST;
        }
        field = &r->headers.items[i];
    }
    if (field == NULL) {
        return SL_REASON_OK;
    }
    /* What is more than we can count becomes the most that we can. */
    if (sl_field_parse_count(field->value, UINT32_MAX, &left_n) != SL_OK) {
        return SL_REASON_BAD_REQUEST;
    }
    if (left_n > 0) {
        return count_down(x, field, left_n - 1) == SL_OK ? SL_REASON_OK : SL_REASON_OVERLOAD;
    }
    /* The last recipient of a TRACE would send back what it got, cookies and tokens included, to
     * where a script may read them: RFC 9110 9.3.8 asks for them to be left out, and which fields
     * hold a secret only the application knows. */
    return r->method == SL_METHOD_TRACE ? SL_REASON_METHOD_NOT_ALLOWED : SL_REASON_ANSWERED_HERE;
}
