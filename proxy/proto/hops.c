/* SPDX-License-Identifier: Apache-2.0 */
#include "hops.h"

#include <sluiced/err.h>

#include "field.h"
#include "uri.h"

#include <string.h>

static void push(struct sl_hops *h, struct sl_slice element)
{
    if (element.len > 0) {
        h->items[h->n++ % SL_HOPS_MAX_N] = element;
    }
}

static size_t oldest(const struct sl_hops *h)
{
    return h->n > SL_HOPS_MAX_N ? h->n - SL_HOPS_MAX_N : 0;
}

static void skip(struct sl_slice *s, size_t n)
{
    s->ptr += n;
    s->len -= n;
}

/* sl_field_next for lists in which quotes mean nothing. */
static bool next_at_comma(struct sl_slice *rest, struct sl_slice *element)
{
    if (rest->len == 0) {
        return false;
    }
    const char *comma = memchr(rest->ptr, ',', rest->len);
    size_t len = comma != NULL ? (size_t)(comma - rest->ptr) : rest->len;

    *element = sl_field_trim((struct sl_slice){rest->ptr, len});
    skip(rest, comma != NULL ? len + 1 : len);
    return true;
}

void sl_hops_add(struct sl_hops *h, struct sl_slice value)
{
    struct sl_slice element;

    while (next_at_comma(&value, &element)) {
        push(h, element);
    }
}

/* ---- Forwarded */

static bool skip_token(struct sl_slice *s)
{
    size_t n = 0;

    while (n < s->len && sl_is_token_byte(s->ptr[n])) {
        n++;
    }
    skip(s, n);
    return n > 0;
}

/* RFC 9110 section 5.6.4; controls have not passed the head's reader. */
static bool skip_quoted(struct sl_slice *s)
{
    for (size_t i = 1; i < s->len; i++) {
        if (s->ptr[i] == '\\') {
            i++;
        } else if (s->ptr[i] == '"') {
            skip(s, i + 1);
            return true;
        }
    }
    return false;
}

/* RFC 7239 section 4: [ pair ] *( ";" [ pair ] ), a pair being token "=" ( token / quoted-string ).
 * Blanks around a semicolon are not in the grammar, but have one meaning only. */
static bool is_forwarded_element(struct sl_slice s)
{
    for (;;) {
        s = sl_field_trim(s);
        if (s.len > 0 && s.ptr[0] != ';') {
            if (!skip_token(&s) || s.len == 0 || s.ptr[0] != '=') {
                return false;
            }
            skip(&s, 1);
            if (s.len == 0 || !(s.ptr[0] == '"' ? skip_quoted(&s) : skip_token(&s))) {
                return false;
            }
            s = sl_field_trim(s);
        }
        if (s.len == 0) {
            return true;
        }
        if (s.ptr[0] != ';') {
            return false;
        }
        skip(&s, 1);
    }
}

int sl_hops_add_forwarded(struct sl_hops *h, struct sl_slice value)
{
    struct sl_slice element;

    while (sl_field_next(&value, &element)) {
        if (!is_forwarded_element(element)) {
            return SL_EPROTO;
        }
        push(h, element);
    }
    return SL_OK;
}

static size_t put(char *buf, struct sl_slice s)
{
    memcpy(buf, s.ptr, s.len);
    return s.len;
}

static size_t put_value(char *buf, struct sl_slice s)
{
    size_t len = 0;

    if (sl_field_is_token(s)) {
        return put(buf, s);
    }
    buf[len++] = '"';
    for (size_t i = 0; i < s.len; i++) {
        if (s.ptr[i] == '"' || s.ptr[i] == '\\') {
            buf[len++] = '\\';
        }
        buf[len++] = s.ptr[i];
    }
    buf[len++] = '"';
    return len;
}

/* RFC 7239 section 6: IPv6 in brackets, and these need quotes. */
static size_t put_node(char *buf, const struct sl_ip *peer)
{
    char text[1 + SL_IP_TEXT_BYTES + 1] = "[";

    if (peer == NULL) {
        return put(buf, SL_SLICE("unknown"));
    }
    struct sl_slice address = sl_slice_of(sl_ip_format(peer, text + 1));
    if (memchr(address.ptr, ':', address.len) == NULL) {
        return put(buf, address);
    }
    text[1 + address.len] = ']';
    return put_value(buf, (struct sl_slice){text, address.len + 2});
}

size_t sl_forwarded_format(const struct sl_forwarded_by_us *f, char *buf)
{
    size_t len = put(buf, SL_SLICE("for="));

    len += put_node(buf + len, f->peer);
    len += put(buf + len, SL_SLICE(";proto="));
    len += put(buf + len, f->proto);
    if (f->host.len > 0) {
        len += put(buf + len, SL_SLICE(";host="));
        len += put_value(buf + len, f->host);
    }
    return len;
}

/* ---- Lists of addresses */

int sl_hop_address(struct sl_slice element, struct sl_ip *out)
{
    struct sl_authority a;

    if (sl_ip_parse(element, out) == SL_OK) {
        return SL_OK;
    }
    return sl_authority_parse(element, &a) == SL_OK ? sl_ip_parse(a.host, out) : SL_EPROTO;
}

bool sl_hops_client(const struct sl_hops *h, const struct sl_networks *trusted, struct sl_ip *out)
{
    bool found = false;

    for (size_t i = h->n; i > oldest(h); i--) {
        if (sl_hop_address(h->items[(i - 1) % SL_HOPS_MAX_N], out) != SL_OK) {
            break;
        }
        found = true;
        if (!sl_networks_have(trusted, out)) {
            break;
        }
    }
    return found;
}

size_t sl_hops_join_bytes(const struct sl_hops *h, struct sl_slice own)
{
    size_t bytes = own.len;

    for (size_t i = oldest(h); i < h->n; i++) {
        bytes += h->items[i % SL_HOPS_MAX_N].len + 2;
    }
    return bytes;
}

size_t sl_hops_join(const struct sl_hops *h, struct sl_slice own, char *buf)
{
    size_t len = 0;

    for (size_t i = oldest(h); i < h->n; i++) {
        len += put(buf + len, h->items[i % SL_HOPS_MAX_N]);
        if (i + 1 < h->n || own.len > 0) {
            len += put(buf + len, SL_SLICE(", "));
        }
    }
    return own.len > 0 ? len + put(buf + len, own) : len;
}

/* ---- Via */

/* The first word of *s, which then begins behind it. */
static struct sl_slice take_word(struct sl_slice *s)
{
    struct sl_slice word = sl_field_trim(*s);
    size_t len = 0;

    while (len < word.len && word.ptr[len] != ' ' && word.ptr[len] != '\t') {
        len++;
    }
    *s = (struct sl_slice){word.ptr + len, word.len - len};
    word.len = len;
    return word;
}

bool sl_via_names(struct sl_slice value, struct sl_slice name)
{
    struct sl_slice element;

    while (next_at_comma(&value, &element)) {
        (void)take_word(&element); /* the protocol */
        if (sl_slice_ieq(take_word(&element), name)) {
            return true;
        }
    }
    return false;
}
