/* SPDX-License-Identifier: Apache-2.0 */
#include "balance_key.h"

#include <sluiced/ip.h>

#include "forwarded.h"

#include "proxy/base/hash.h"
#include "proxy/proto/field.h"

#include <string.h>

static const struct sl_slice nothing = {NULL, 0};

/* Of "a=1; b=2" and "a=1&b=2": the value of the first pair of that name, which is not empty. */
static struct sl_slice find_pair(struct sl_slice text, char separator, struct sl_slice name)
{
    while (text.len > 0) {
        const char *end = memchr(text.ptr, separator, text.len);
        size_t len = end != NULL ? (size_t)(end - text.ptr) : text.len;
        struct sl_slice pair = sl_field_trim((struct sl_slice){text.ptr, len});

        if (pair.len > name.len + 1 && pair.ptr[name.len] == '=' && sl_slice_starts(pair, name)) {
            return (struct sl_slice){pair.ptr + name.len + 1, pair.len - name.len - 1};
        }
        len += end != NULL;
        text = (struct sl_slice){text.ptr + len, text.len - len};
    }
    return nothing;
}

/* HTTP/2 may bring each cookie in a field of its own (RFC 9113 section 8.2.3). */
static struct sl_slice find_cookie(const struct sl_headers *h, struct sl_slice name)
{
    struct sl_slice value = nothing;

    for (uint32_t i = 0; value.len == 0 && i < h->n; i++) {
        if (h->items[i].id == SL_HEADER_COOKIE) {
            value = find_pair(h->items[i].value, ';', name);
        }
    }
    return value;
}

static struct sl_slice find_header(const struct sl_headers *h, struct sl_slice name)
{
    const struct sl_header *field = sl_headers_find_name(h, name);

    return field != NULL ? field->value : nothing;
}

static struct sl_slice find_source(const struct sl_exchange *x)
{
    struct sl_slice client = sl_slice_of(sl_exchange_client(x));
    struct sl_ip ip;

    return sl_ip_parse(client, &ip) == SL_OK ? client : nothing;
}

static struct sl_slice find(const struct sl_exchange *x, const struct sl_balance_key_config *key)
{
    switch (key->kind) {
    case SL_BALANCE_KEY_NONE:
        break;
    case SL_BALANCE_KEY_HEADER:
        return find_header(&x->request.headers, sl_slice_of(key->name));
    case SL_BALANCE_KEY_COOKIE:
        return find_cookie(&x->request.headers, sl_slice_of(key->name));
    case SL_BALANCE_KEY_QUERY:
        return find_pair(x->request.query, '&', sl_slice_of(key->name));
    case SL_BALANCE_KEY_SOURCE:
        return find_source(x);
    }
    return nothing;
}

uint64_t sl_balance_key(const struct sl_exchange *x, const struct sl_pool_config *conf)
{
    struct sl_slice value = find(x, &conf->balance_key);

    if (value.len == 0) {
        return 0;
    }
    uint64_t hash = sl_hash(value, 0);
    return hash != 0 ? hash : 1;
}
