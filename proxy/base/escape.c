/* SPDX-License-Identifier: Apache-2.0 */
/*
 * escape: besides what JSON demands, DEL, the C1 controls and U+2028 and U+2029 are escaped: they
 * steer terminals, or end a line for some readers.
 */
#include "escape.h"

#include <sluiced/log.h>

#include <stdint.h>
#include <string.h>

/* One character of the input, and what stands for it in the output. */
struct unit {
    size_t in_n;
    size_t out_n;
    char out[SL_ESCAPE_MAX_BYTES];
};

static bool plain(unsigned char c)
{
    return c >= 0x20 && c < 0x7f && c != '"' && c != '\\';
}

static void escape_code(struct unit *u, uint32_t code)
{
    static const char hex[] = "0123456789abcdef";

    u->out_n = 6;
    u->out[0] = '\\';
    u->out[1] = 'u';
    for (uint32_t i = 0; i < 4; i++) {
        u->out[2 + i] = hex[code >> (12 - 4 * i) & 0xf];
    }
}

static void escape_ascii(struct unit *u, unsigned char c)
{
    static const char from[] = "\"\\\b\f\n\r\t";
    static const char to[] = "\"\\bfnrt";
    const char *at = c != '\0' ? strchr(from, c) : NULL; /* strchr finds the end, too */

    u->in_n = 1;
    if (at == NULL) {
        escape_code(u, c);
        return;
    }
    u->out_n = 2;
    u->out[0] = '\\';
    u->out[1] = to[at - from];
}

struct lead {
    size_t len; /* of the whole sequence; 0: no lead byte */
    unsigned char second_min;
    unsigned char second_max; /* narrower than 80..bf where that is overlong, surrogate, too high */
};

static struct lead lead_of(unsigned char c)
{
    if (c >= 0xc2 && c <= 0xdf) {
        return (struct lead){2, 0x80, 0xbf};
    }
    if (c >= 0xe0 && c <= 0xef) {
        return (struct lead){3, c == 0xe0 ? 0xa0 : 0x80, c == 0xed ? 0x9f : 0xbf};
    }
    if (c >= 0xf0 && c <= 0xf4) {
        return (struct lead){4, c == 0xf0 ? 0x90 : 0x80, c == 0xf4 ? 0x8f : 0xbf};
    }
    return (struct lead){0, 0, 0};
}

/* How many of the bytes at p, which begin with a lead byte, are a sequence or the start of one. */
static size_t sequence_bytes(struct lead lead, const unsigned char *p, size_t len)
{
    size_t n = 1;

    if (lead.len > 1 && len > 1 && p[1] >= lead.second_min && p[1] <= lead.second_max) {
        n = 2;
        while (n < lead.len && n < len && (p[n] & 0xc0) == 0x80) {
            n++;
        }
    }
    return n;
}

static void escape_utf8(struct unit *u, const unsigned char *p, size_t len)
{
    struct lead lead = lead_of(p[0]);

    u->in_n = sequence_bytes(lead, p, len);
    if (u->in_n != lead.len) {
        u->out_n = 3;
        memcpy(u->out, "\xef\xbf\xbd", 3); /* U+FFFD */
    } else if (p[0] == 0xc2 && p[1] < 0xa0) {
        escape_code(u, p[1]); /* U+0080 to U+009F */
    } else if (p[0] == 0xe2 && p[1] == 0x80 && (p[2] == 0xa8 || p[2] == 0xa9)) {
        escape_code(u, 0x2000U | (p[2] & 0x3fU));
    } else {
        u->out_n = u->in_n;
        memcpy(u->out, p, u->in_n);
    }
}

size_t sl_json_escape_some(struct sl_slice *text, char *buf, size_t size_bytes)
{
    const unsigned char *p = (const unsigned char *)text->ptr;
    size_t in = 0;
    size_t out = 0;

    while (in < text->len) {
        if (plain(p[in])) {
            if (out == size_bytes) {
                break;
            }
            buf[out++] = (char)p[in++];
            continue;
        }
        struct unit u = {0};
        if (p[in] < 0x80) {
            escape_ascii(&u, p[in]);
        } else {
            escape_utf8(&u, p + in, text->len - in);
        }
        if (u.out_n > size_bytes - out) {
            break;
        }
        memcpy(buf + out, u.out, u.out_n);
        out += u.out_n;
        in += u.in_n;
    }
    if (in > 0) { /* NULL + 0 is undefined */
        text->ptr += in;
        text->len -= in;
    }
    return out;
}

size_t sl_json_escape(struct sl_slice text, char *buf, size_t size_bytes)
{
    return sl_json_escape_some(&text, buf, size_bytes);
}
