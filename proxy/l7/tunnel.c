/* SPDX-License-Identifier: Apache-2.0 */
#include "tunnel.h"

#include "exchange_internal.h"

#include "proxy/proto/field.h"

#include <string.h>

/* Any byte either way, also one that a slow side has taken, is a sign of life. */
static void touch(struct sl_exchange *x)
{
    sl_exchange_enter(x, SL_PHASE_TUNNEL, x->side->pool->conf->timeouts.inter_byte_ms);
}

/* RFC 9110 section 7.8: protocol-name ["/" protocol-version], both tokens. What is not that may
 * mean to somebody else what it does not mean to us. */
static bool may_pass(struct sl_slice protocol)
{
    static const char *const names[] = {"h2c", "h2", "http", "tls"};
    const char *slash = protocol.len > 0 ? memchr(protocol.ptr, '/', protocol.len) : NULL;
    size_t name_len = slash != NULL ? (size_t)(slash - protocol.ptr) : protocol.len;
    struct sl_slice name = {protocol.ptr, name_len};

    if (!sl_field_is_token(name) || (slash != NULL && !sl_field_is_token((struct sl_slice){
                                                          slash + 1, protocol.len - name_len - 1})))
    {
        return false;
    }
    for (size_t i = 0; i < SL_ARRAY_LEN(names); i++) {
        if (sl_slice_ieq(name, sl_slice_of(names[i]))) {
            return false;
        }
    }
    return true;
}

int sl_tunnel_prepare(struct sl_exchange *x)
{
    struct sl_slice rest = x->request.upgrade;
    struct sl_slice protocol;
    size_t len = 0;

    if (rest.len == 0) {
        return SL_OK;
    }
    char *kept = sl_arena_alloc_bytes(&x->arena, rest.len);
    if (kept == NULL) {
        return SL_ENOMEM;
    }
    while (sl_field_next(&rest, &protocol)) {
        if (!may_pass(protocol)) {
            continue;
        }
        if (len > 0) {
            kept[len++] = ','; /* alone: the head must not get longer than it was */
        }
        memcpy(kept + len, protocol.ptr, protocol.len);
        len += protocol.len;
    }
    x->request.upgrade = (struct sl_slice){kept, len};
    return SL_OK;
}

bool sl_tunnel_offers(const struct sl_exchange *x, struct sl_slice protocol)
{
    return sl_field_has_token(x->request.upgrade, protocol);
}

void sl_tunnel_begin(struct sl_exchange *x)
{
    x->request_ended = false; /* that of HTTP was whole; now the client's bytes begin */
    x->first_byte_us = sl_loop_now_us(x->w->loop);
    touch(x);
}

/* Closing the endpoint's side drops what it was not sent yet; the client's is sent to its end. */
static void finish_if_over(struct sl_exchange *x)
{
    if (x->request_ended && x->response_ended && x->up->ops->is_sent(x->up)) {
        sl_exchange_finish(x, SL_REASON_OK, true);
    }
}

void sl_tunnel_request_data(struct sl_exchange *x, struct sl_slice bytes)
{
    x->bytes_in += bytes.len;
    touch(x);
    x->up->ops->data(x->up, bytes);
    if (x->up->ops->is_high(x->up)) {
        x->down->ops->read_off(x->down);
    }
}

void sl_tunnel_request_end(struct sl_exchange *x)
{
    x->request_ended = true;
    touch(x);
    x->up->ops->end(x->up, NULL);
    finish_if_over(x);
}

void sl_tunnel_response_data(struct sl_exchange *x, struct sl_slice bytes)
{
    x->bytes_out += bytes.len;
    touch(x);
    x->down->ops->data(x->down, bytes);
    if (x->down->ops->is_high(x->down)) {
        x->up->ops->read_off(x->up);
    }
}

void sl_tunnel_response_end(struct sl_exchange *x)
{
    x->response_ended = true;
    touch(x);
    x->down->ops->end(x->down, NULL);
    finish_if_over(x);
}

void sl_tunnel_upstream_drained(struct sl_exchange *x)
{
    touch(x);
    if (!x->request_ended) {
        x->down->ops->read_on(x->down);
    } else {
        finish_if_over(x);
    }
}

void sl_tunnel_downstream_drained(struct sl_exchange *x)
{
    touch(x);
    if (!x->response_ended) {
        x->up->ops->read_on(x->up);
    }
}
