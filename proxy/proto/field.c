/* SPDX-License-Identifier: Apache-2.0 */
#include "field.h"

#include <sluiced/err.h>

#define DAY_S (24U * 3600U)

/* RFC 9110 section 5.6.2: letters, digits and !#$%&'*+-.^_`|~ */
const unsigned char sl_token_lower[256] = {
    ['!'] = '!', ['#'] = '#', ['$'] = '$', ['%'] = '%', ['&'] = '&', ['\''] = '\'', ['*'] = '*',
    ['+'] = '+', ['-'] = '-', ['.'] = '.', ['0'] = '0', ['1'] = '1', ['2'] = '2',   ['3'] = '3',
    ['4'] = '4', ['5'] = '5', ['6'] = '6', ['7'] = '7', ['8'] = '8', ['9'] = '9',   ['A'] = 'a',
    ['B'] = 'b', ['C'] = 'c', ['D'] = 'd', ['E'] = 'e', ['F'] = 'f', ['G'] = 'g',   ['H'] = 'h',
    ['I'] = 'i', ['J'] = 'j', ['K'] = 'k', ['L'] = 'l', ['M'] = 'm', ['N'] = 'n',   ['O'] = 'o',
    ['P'] = 'p', ['Q'] = 'q', ['R'] = 'r', ['S'] = 's', ['T'] = 't', ['U'] = 'u',   ['V'] = 'v',
    ['W'] = 'w', ['X'] = 'x', ['Y'] = 'y', ['Z'] = 'z', ['^'] = '^', ['_'] = '_',   ['`'] = '`',
    ['a'] = 'a', ['b'] = 'b', ['c'] = 'c', ['d'] = 'd', ['e'] = 'e', ['f'] = 'f',   ['g'] = 'g',
    ['h'] = 'h', ['i'] = 'i', ['j'] = 'j', ['k'] = 'k', ['l'] = 'l', ['m'] = 'm',   ['n'] = 'n',
    ['o'] = 'o', ['p'] = 'p', ['q'] = 'q', ['r'] = 'r', ['s'] = 's', ['t'] = 't',   ['u'] = 'u',
    ['v'] = 'v', ['w'] = 'w', ['x'] = 'x', ['y'] = 'y', ['z'] = 'z', ['|'] = '|',   ['~'] = '~',
};

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

bool sl_field_is_token(struct sl_slice s)
{
    for (size_t i = 0; i < s.len; i++) {
        if (!sl_is_token_byte(s.ptr[i])) {
            return false;
        }
    }
    return s.len > 0;
}

struct sl_slice sl_field_trim(struct sl_slice s)
{
    while (s.len > 0 && is_blank(s.ptr[0])) {
        s.ptr++;
        s.len--;
    }
    while (s.len > 0 && is_blank(s.ptr[s.len - 1])) {
        s.len--;
    }
    return s;
}

bool sl_field_next(struct sl_slice *rest, struct sl_slice *element)
{
    bool quoted = false;
    size_t i = 0;

    if (rest->len == 0) {
        return false;
    }
    for (; i < rest->len && (quoted || rest->ptr[i] != ','); i++) {
        if (quoted && rest->ptr[i] == '\\' && i + 1 < rest->len) {
            i++; /* quoted-pair */
        } else if (rest->ptr[i] == '"') {
            quoted = !quoted;
        }
    }
    *element = sl_field_trim((struct sl_slice){rest->ptr, i});
    size_t used = i < rest->len ? i + 1 : i;
    rest->ptr += used;
    rest->len -= used;
    return true;
}

bool sl_field_has_token(struct sl_slice list, struct sl_slice token)
{
    struct sl_slice element;

    while (sl_field_next(&list, &element)) {
        if (sl_slice_ieq(element, token)) {
            return true;
        }
    }
    return false;
}

bool sl_field_is_media_type(struct sl_slice value, struct sl_slice type)
{
    size_t len = 0;

    while (len < value.len && value.ptr[len] != ';') {
        len++;
    }
    return sl_slice_ieq(sl_field_trim((struct sl_slice){value.ptr, len}), type);
}

int sl_field_parse_count(struct sl_slice value, uint32_t max, uint32_t *out)
{
    uint64_t n = 0;

    if (value.len == 0) {
        return SL_EPROTO;
    }
    for (size_t i = 0; i < value.len; i++) {
        if (value.ptr[i] < '0' || value.ptr[i] > '9') {
            return SL_EPROTO;
        }
        n = n * 10 + (uint64_t)(value.ptr[i] - '0');
        n = n < max ? n : max; /* here, so that it cannot wrap */
    }
    *out = (uint32_t)n;
    return SL_OK;
}

int sl_field_parse_delay(struct sl_slice value, uint32_t max_s, uint32_t *out_s)
{
    return sl_field_parse_count(value, max_s, out_s);
}

int sl_field_parse_keep_alive(struct sl_slice value, uint32_t *out_s)
{
    static const struct sl_slice name = {"timeout=", 8};
    struct sl_slice element;

    while (sl_field_next(&value, &element)) {
        if (element.len > name.len && sl_slice_ieq((struct sl_slice){element.ptr, name.len}, name))
        {
            struct sl_slice seconds = {element.ptr + name.len, element.len - name.len};
            return sl_field_parse_delay(seconds, DAY_S, out_s);
        }
    }
    return SL_EPROTO;
}
