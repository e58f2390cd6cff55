/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Response heads: the answer does not depend on how the input was cut, and what is written of a
 * head is read as the same head, with the same fields. The first byte chooses the request and the
 * cuts.
 */
#include "proxy/proto/h1.h"
#include "proxy/proto/h1_write.h"
#include "tests/fuzz/fields_kept.h"
#include "tests/unit/proxy/proto/h1_describe.h"

#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum {
    ROUND_TRIP_MAX_BYTES = 32768,
    CUTS_MAX_N = 64
};

static struct described whole;
static struct described pieces;

static void check(bool ok)
{
    if (!ok) {
        abort();
    }
}

struct parsed {
    struct sl_header items[SL_H1_FIELDS_MAX_N];
    struct sl_response_head head;
};

static ssize_t parse(struct parsed *p, const char *text, size_t len,
                     const struct sl_h1_asked *asked)
{
    struct sl_h1_scan scan = {.scanned_bytes = 0};

    sl_response_head_init(&p->head, p->items, SL_H1_FIELDS_MAX_N);
    return sl_h1_parse_response(&scan, text, len, asked, &p->head);
}

static ssize_t write_again(const struct parsed *p, char *buf, size_t size)
{
    struct sl_h1_out out = {
        .framing = p->head.declared,
        .connection = p->head.status == 101 ? SL_H1_CONN_UPGRADE : SL_H1_CONN_DEFAULT,
    };

    return sl_h1_write_response(buf, size, &p->head, &out);
}

static void round_trip(const char *text, size_t len, const struct sl_h1_asked *asked)
{
    static char first[2 * ROUND_TRIP_MAX_BYTES];
    static char second[2 * ROUND_TRIP_MAX_BYTES];
    static struct parsed a;
    static struct parsed b;

    if (len > ROUND_TRIP_MAX_BYTES || parse(&a, text, len, asked) < 0) {
        return;
    }
    ssize_t first_len = write_again(&a, first, sizeof(first));
    check(first_len > 0 && parse(&b, first, (size_t)first_len, asked) == first_len);
    whole.len = pieces.len = 0;
    describe_response(&whole, &a.head, false);
    describe_response(&pieces, &b.head, false);
    check(whole.len == pieces.len && memcmp(whole.text, pieces.text, whole.len) == 0);
    check(fields_kept(&a.head.headers, &b.head.headers, 0));
    ssize_t second_len = write_again(&b, second, sizeof(second));
    check(second_len == first_len && memcmp(first, second, (size_t)first_len) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const enum sl_method methods[] = {SL_METHOD_GET, SL_METHOD_POST, SL_METHOD_HEAD,
                                             SL_METHOD_CONNECT};
    size_t cuts[CUTS_MAX_N];
    size_t cuts_n = 0;

    if (size == 0) {
        return 0;
    }
    struct sl_h1_asked asked = {.method = methods[data[0] % 4], .upgrade = (data[0] & 4) != 0};
    const char *text = (const char *)data + 1;
    size_t len = size - 1;
    size_t step = len / CUTS_MAX_N + 1 + data[0] / 8U;
    for (size_t at = 0; at < len && cuts_n < CUTS_MAX_N; at += step) {
        cuts[cuts_n++] = at;
    }
    parse_in_pieces(text, len, NULL, 0, &asked, &whole);
    parse_in_pieces(text, len, cuts, cuts_n, &asked, &pieces);
    check(described_same(&whole, &pieces));
    round_trip(text, len, &asked);
    return 0;
}
