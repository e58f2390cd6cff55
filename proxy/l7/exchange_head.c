/* SPDX-License-Identifier: Apache-2.0 */
/*
 * exchange_head: what a proxy does to heads: copies, identifies, forwards, and answers itself.
 */
#include <sluiced/log.h>

#include "admission.h"
#include "exchange_internal.h"
#include "forwarded.h"

#include "proxy/base/num.h"

#include <stdio.h>
#include <string.h>

#define REPLY_MAX_BYTES 512
#define REPLY_FIELDS_N 2

size_t sl_exchange_head_bytes(const struct sl_request_head *head, size_t len)
{
    size_t fields_bytes = head->headers.n * sizeof(head->headers.items[0]);

    return len + fields_bytes + (head->path_rewritten ? head->path.len + 1 : 0);
}

int sl_exchange_copy_head(struct sl_exchange *x, const struct sl_request_head *head,
                          const char *base, size_t len)
{
    struct sl_request_head *r = &x->request;
    struct sl_header *items =
        sl_arena_alloc_array(&x->arena, head->headers.n, sizeof(head->headers.items[0]));
    char *bytes = sl_arena_alloc_bytes(&x->arena, len); /* no padding behind it */

    if (bytes == NULL || (items == NULL && head->headers.n > 0)) {
        return SL_ENOMEM;
    }
    memcpy(bytes, base, len);
    *r = *head;
    r->headers.items = items;
    r->headers.capacity_n = head->headers.n;
    if (head->headers.n > 0) {
        memcpy(items, head->headers.items, head->headers.n * sizeof(items[0]));
    }
    sl_request_head_rebase(r, base, len, bytes);
    if (r->path_rewritten) {
        char *path = sl_arena_strdup(&x->arena, head->path);
        if (path == NULL) {
            return SL_ENOMEM;
        }
        r->path.ptr = path;
    }
    return SL_OK;
}

static bool harmless_id(struct sl_slice id)
{
    if (id.len == 0 || id.len > SL_REQUEST_ID_MAX_BYTES) {
        return false;
    }
    for (size_t i = 0; i < id.len; i++) {
        char c = sl_ascii_lower(id.ptr[i]);
        if (!(c >= 'a' && c <= 'z') && !(c >= '0' && c <= '9') && c != '-' && c != '_' && c != '.')
        {
            return false;
        }
    }
    return true;
}

/* Eight digits at once: each request gets 32 of them. The order of the bytes does not matter. */
static void put_hex(char *out, uint32_t bits)
{
    uint64_t x = bits;

    x = (x | x << 16) & 0x0000ffff0000ffffU; /* a nibble a byte, in three steps */
    x = (x | x << 8) & 0x00ff00ff00ff00ffU;
    x = (x | x << 4) & 0x0f0f0f0f0f0f0f0fU;
    uint64_t is_letter = (x + 0x0606060606060606U) >> 4 & 0x0101010101010101U;
    x += 0x3030303030303030U + is_letter * ('a' - '0' - 10);
    memcpy(out, &x, sizeof(x));
}

void sl_exchange_set_request_id(struct sl_exchange *x)
{
    const struct sl_header *h = sl_headers_find(&x->request.headers, SL_HEADER_X_REQUEST_ID);

    if (h != NULL && harmless_id(h->value)) {
        memcpy(x->request_id, h->value.ptr, h->value.len);
        x->request_id_len = (uint8_t)h->value.len;
        return;
    }
    for (size_t at = 0; at < 32; at += 16) {
        uint64_t bits = sl_rng_next(&x->w->rng);
        put_hex(&x->request_id[at], (uint32_t)(bits >> 32));
        put_hex(&x->request_id[at + 8], (uint32_t)bits);
    }
    x->request_id_len = 32;
}

void sl_exchange_send_head(struct sl_exchange *x)
{
    /* What the endpoint hears of these is ours to say. */
    static const uint64_t drop =
        1ULL << SL_HEADER_X_FORWARDED_FOR | 1ULL << SL_HEADER_X_FORWARDED_PROTO |
        1ULL << SL_HEADER_X_FORWARDED_HOST | 1ULL << SL_HEADER_X_FORWARDED_PORT |
        1ULL << SL_HEADER_FORWARDED | 1ULL << SL_HEADER_X_REAL_IP | 1ULL << SL_HEADER_X_REQUEST_ID;
    struct sl_header usual[1 + SL_FORWARDED_USUAL_N];

    if (x->forwarded != NULL) {
        x->up->ops->head(x->up, x, x->forwarded->fields, x->forwarded->fields_n, drop);
        return;
    }
    usual[0] = (struct sl_header){.name = SL_SLICE("x-request-id"),
                                  .value = {x->request_id, x->request_id_len}};
    x->up->ops->head(x->up, x, usual, 1 + sl_forwarded_usual(x, usual + 1), drop);
}

/* When it is worth to come again; digits is where its text may stand. */
static struct sl_slice retry_after(const struct sl_exchange *x, enum sl_reason reason, char *digits)
{
    if (reason != SL_REASON_QUEUE_FULL && reason != SL_REASON_QUEUE_TIMEOUT) {
        return SL_SLICE("1");
    }
    size_t len = sl_num_format_u64(sl_admission_retry_after_s(x), digits);
    return (struct sl_slice){digits, len};
}

/* A 503 with Retry-After says that nothing was done, to us and to a proxy before us: a generation
 * that may have begun must not be sent again for that. */
static bool may_come_again(const struct sl_exchange *x)
{
    return !x->may_be_done || sl_method_idempotent(x->request.method);
}

/* The fields of a reply beside its framing; items has room for REPLY_FIELDS_N, digits for a number.
 * Returns how many. */
static uint32_t reply_fields(const struct sl_exchange *x, enum sl_reason reason,
                             struct sl_header *items, char *digits)
{
    uint16_t status = sl_reason_status(reason);
    uint32_t n = 0;

    if (reason != SL_REASON_ANSWERED_HERE) {
        items[n++] = (struct sl_header){.name = SL_SLICE("content-type"),
                                        .value = SL_SLICE("application/json")};
    }
    if (status == 503 && may_come_again(x)) {
        items[n++] = (struct sl_header){.name = SL_SLICE("retry-after"),
                                        .value = retry_after(x, reason, digits)};
    }
    if (status == 405 || reason == SL_REASON_ANSWERED_HERE) { /* RFC 9110 9.3.7 and 15.5.6 */
        items[n++] = (struct sl_header){
            .name = SL_SLICE("allow"),
            .value = SL_SLICE("GET, HEAD, POST, PUT, DELETE, OPTIONS, PATCH"),
        };
    }
    return n;
}

/* Returns the length; buf has REPLY_MAX_BYTES. */
static size_t reply_body(enum sl_reason reason, char *buf)
{
    uint16_t status = sl_reason_status(reason);

    if (reason == SL_REASON_ANSWERED_HERE) {
        return 0;
    }
    int len =
        snprintf(buf, REPLY_MAX_BYTES,
                 "{\"error\":{\"message\":\"%s\",\"type\":\"%s\",\"code\":%u,"
                 "\"reason\":\"%s\"}}\n",
                 sl_reason_text(reason), status < 500 ? "invalid_request_error" : "proxy_error",
                 status, sl_reason_name(reason));
    return (size_t)len; /* the texts are short */
}

void sl_exchange_reply(struct sl_exchange *x, enum sl_reason reason)
{
    char body[REPLY_MAX_BYTES];
    char digits[SL_NUM_TEXT_BYTES];
    struct sl_header items[REPLY_FIELDS_N];
    struct sl_header extra = {
        .name = SL_SLICE("x-request-id"),
        .value = {x->request_id, x->request_id_len},
    };
    size_t len = reply_body(reason, body);
    struct sl_response_head head = {
        .headers = {.items = items,
                    .n = reply_fields(x, reason, items, digits),
                    .capacity_n = REPLY_FIELDS_N},
        .status = sl_reason_status(reason),
        .version_minor = 1,
        .framing = {.kind = SL_FRAMING_LENGTH, .length_bytes = len},
        .keep_alive = true,
    };
    head.declared = head.framing;
    if (x->request.method == SL_METHOD_HEAD) {
        head.framing = (struct sl_framing){.kind = SL_FRAMING_NONE};
    }
    x->status = head.status;
    x->response_started = true;
    x->down->ops->head(x->down, x, &head, &extra, 1);
    if (head.framing.kind != SL_FRAMING_NONE) {
        x->bytes_out += len;
        x->down->ops->data(x->down, (struct sl_slice){body, len});
    }
    x->down->ops->end(x->down, NULL);
}
