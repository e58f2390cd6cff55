/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fields_kept: what was written of a head has every field that was read, in its order and with its
 * bytes, but for those of one hop. Said anew here, so that the writer is not measured by itself.
 */
#ifndef SL_FUZZ_FIELDS_KEPT_H
#define SL_FUZZ_FIELDS_KEPT_H

#include "proxy/proto/header.h"
#include "proxy/proto/message.h"

#include <stdbool.h>
#include <string.h>
#include <strings.h>

static inline bool is_of_one_hop(const struct sl_header *f)
{
    static const enum sl_header_id ids[] = {
        SL_HEADER_HOST,       SL_HEADER_CONNECTION,        SL_HEADER_CONTENT_LENGTH,
        SL_HEADER_TE,         SL_HEADER_TRANSFER_ENCODING, SL_HEADER_UPGRADE,
        SL_HEADER_KEEP_ALIVE, SL_HEADER_PROXY_CONNECTION,  SL_HEADER_HTTP2_SETTINGS,
    };

    for (size_t i = 0; i < sizeof(ids) / sizeof(*ids); i++) {
        if (f->id == ids[i]) {
            return true;
        }
    }
    return false;
}

/* Whether a Connection field has the name somewhere in it; a field of ours it cannot name away. */
static inline bool may_be_named_away(const struct sl_headers *in, const struct sl_header *f)
{
    if (f->id != SL_HEADER_OTHER ||
        (f->name.len >= 11 && strncasecmp(f->name.ptr, "x-forwarded", 11) == 0))
    {
        return false;
    }
    for (uint32_t i = 0; i < in->n; i++) {
        struct sl_slice v = in->items[i].value;
        for (size_t at = 0; in->items[i].id == SL_HEADER_CONNECTION && at + f->name.len <= v.len;
             at++)
        {
            if (strncasecmp(v.ptr + at, f->name.ptr, f->name.len) == 0) {
                return true;
            }
        }
    }
    return false;
}

static inline bool same_field(const struct sl_header *a, const struct sl_header *b)
{
    return a->id == b->id && sl_slice_eq(a->name, b->name) && sl_slice_eq(a->value, b->value);
}

/* may_go: sl_header_bit()s of other fields that need not be there. */
static inline bool fields_kept(const struct sl_headers *in, const struct sl_headers *out,
                               uint64_t may_go)
{
    uint32_t o = 0;

    for (uint32_t i = 0; i < in->n; i++) {
        const struct sl_header *f = &in->items[i];
        while (o < out->n && is_of_one_hop(&out->items[o])) {
            o++;
        }
        if (is_of_one_hop(f)) {
            continue;
        }
        if (o < out->n && same_field(f, &out->items[o])) {
            o++;
        } else if ((may_go >> f->id & 1) == 0 && !may_be_named_away(in, f)) {
            return false;
        }
    }
    while (o < out->n && is_of_one_hop(&out->items[o])) {
        o++;
    }
    return o == out->n; /* and nothing was made up */
}

#endif
