/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Request heads: the answer does not depend on how the input was cut, and what is written of a
 * head is read as the same head, with the same fields. The first byte chooses the cuts, and what is
 * done with '_'.
 */
#include "proxy/proto/h1.h"
#include "proxy/proto/h1_write.h"
#include "tests/fuzz/fields_kept.h"
#include "tests/unit/proxy/proto/h1_describe.h"

#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum {
    ROUND_TRIP_MAX_BYTES = 32768, /* a field may grow by a blank, and must not reach the limit */
    CUTS_MAX_N = 64
};

static struct sl_h1_policy policy;
static struct described whole = {.policy = &policy};
static struct described pieces = {.policy = &policy};

static void check(bool ok)
{
    if (!ok) {
        abort();
    }
}

struct parsed {
    struct sl_header items[SL_H1_FIELDS_MAX_N];
    char path_buf[SL_H1_LINE_MAX_BYTES];
    struct sl_request_head head;
};

static ssize_t parse(struct parsed *p, const char *text, size_t len)
{
    struct sl_h1_scan scan = {.scanned_bytes = 0};

    sl_request_head_init(&p->head, p->items, SL_H1_FIELDS_MAX_N, p->path_buf, sizeof(p->path_buf));
    return sl_h1_parse_request(&scan, text, len, &policy, &p->head);
}

static ssize_t write_again(const struct parsed *p, char *buf, size_t size)
{
    struct sl_h1_out out = {.framing = p->head.framing};

    return sl_h1_write_request(buf, size, &p->head, SL_SLICE(""), &out);
}

static void round_trip(const char *text, size_t len)
{
    static char first[2 * ROUND_TRIP_MAX_BYTES];
    static char second[2 * ROUND_TRIP_MAX_BYTES];
    static struct parsed a;
    static struct parsed b;

    /* Two fields may be added (Connection and TE); HTTP/1.0 without Host has no HTTP/1.1 form. */
    if (len > ROUND_TRIP_MAX_BYTES || parse(&a, text, len) < 0 || a.head.authority.len == 0 ||
        a.head.form == SL_TARGET_AUTHORITY || a.head.headers.n + 2 > SL_H1_FIELDS_MAX_N)
    {
        return;
    }
    ssize_t first_len = write_again(&a, first, sizeof(first));
    check(first_len > 0 && parse(&b, first, (size_t)first_len) == first_len);
    whole.len = pieces.len = 0;
    describe_request(&whole, &a.head, false);
    describe_request(&pieces, &b.head, false);
    check(whole.len == pieces.len && memcmp(whole.text, pieces.text, whole.len) == 0);
    /* RFC 9110 10.1.1: an expectation in HTTP/1.0 means nothing. */
    check(fields_kept(&a.head.headers, &b.head.headers,
                      a.head.version_minor == 0 ? sl_header_bit(SL_HEADER_EXPECT) : 0));
    ssize_t second_len = write_again(&b, second, sizeof(second));
    check(second_len == first_len && memcmp(first, second, (size_t)first_len) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    size_t cuts[CUTS_MAX_N];
    size_t cuts_n = 0;

    if (size == 0) {
        return 0;
    }
    policy.underscores = data[0] % 3;
    const char *text = (const char *)data + 1;
    size_t len = size - 1;
    size_t step = len / CUTS_MAX_N + 1 + data[0] % 64U;
    for (size_t at = data[0] / 64U; at < len && cuts_n < CUTS_MAX_N; at += step) {
        cuts[cuts_n++] = at;
    }
    parse_in_pieces(text, len, NULL, 0, NULL, &whole);
    parse_in_pieces(text, len, cuts, cuts_n, NULL, &pieces);
    check(described_same(&whole, &pieces));
    round_trip(text, len);
    return 0;
}
