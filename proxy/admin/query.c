/* SPDX-License-Identifier: Apache-2.0 */
#include "query.h"

#include <string.h>

static int hex(char c)
{
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    c = (char)(c | 0x20);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static bool decode(struct sl_slice value, char *buf, size_t size_bytes)
{
    size_t used = 0;

    for (size_t i = 0; i < value.len; i++) {
        char c = value.ptr[i];

        if (c == '%') {
            int high = i + 2 < value.len ? hex(value.ptr[i + 1]) : -1;
            int low = high >= 0 ? hex(value.ptr[i + 2]) : -1;

            if (low < 0) {
                return false;
            }
            c = (char)(high * 16 + low);
            i += 2;
        }
        if (c == '\0' || used + 1 >= size_bytes) {
            return false;
        }
        buf[used++] = c;
    }
    buf[used] = '\0';
    return used > 0;
}

bool sl_query_get(struct sl_slice query, const char *name, char *buf, size_t size_bytes)
{
    size_t name_len = strlen(name);

    while (query.len > 0) {
        const char *end = memchr(query.ptr, '&', query.len);
        size_t len = end != NULL ? (size_t)(end - query.ptr) : query.len;

        if (len > name_len && memcmp(query.ptr, name, name_len) == 0 && query.ptr[name_len] == '=')
        {
            struct sl_slice value = {query.ptr + name_len + 1, len - name_len - 1};
            return decode(value, buf, size_bytes);
        }
        len += end != NULL;
        query = (struct sl_slice){query.ptr + len, query.len - len};
    }
    return false;
}

static bool is_unreserved(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           (c != '\0' && strchr("-._~:", c) != NULL); /* RFC 3986 3.4: a query may have ':' */
}

bool sl_query_append(char *buf, size_t size_bytes, const char *value)
{
    static const char digits[] = "0123456789ABCDEF";
    size_t used = strlen(buf);

    for (; *value != '\0'; value++) {
        unsigned char c = (unsigned char)*value;

        if (used + 4 > size_bytes) {
            return false;
        }
        if (is_unreserved(*value)) {
            buf[used++] = *value;
        } else {
            buf[used++] = '%';
            buf[used++] = digits[c >> 4];
            buf[used++] = digits[c & 15];
        }
        buf[used] = '\0';
    }
    return true;
}
