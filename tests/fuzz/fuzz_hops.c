/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Lists of hops: each line of the input is a field value. A joined list is read as the same list
 * and says the same of the client; what comes in front of an address that is not trusted changes
 * nothing; a Forwarded that is well formed still is with our own element behind it; and a Via
 * cannot hide what is appended to it.
 */
#include <sluiced/err.h>

#include "proxy/proto/hops.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct sl_network ours = {.ip = {.bytes = {10}, .bits_n = 32}, .prefix_bits = 8};
static const struct sl_networks trusted = {.items = &ours, .n = 1};

static void check(bool ok)
{
    if (!ok) {
        abort();
    }
}

/* Takes the next line of *rest. */
static bool next_line(struct sl_slice *rest, struct sl_slice *line)
{
    if (rest->len == 0) {
        return false;
    }
    const char *end = memchr(rest->ptr, '\n', rest->len);
    size_t len = end != NULL ? (size_t)(end - rest->ptr) : rest->len;

    *line = (struct sl_slice){rest->ptr, len};
    len = end != NULL ? len + 1 : len;
    *rest = (struct sl_slice){rest->ptr + len, rest->len - len};
    return true;
}

static struct sl_slice join(const struct sl_hops *h, struct sl_slice own)
{
    size_t bytes = sl_hops_join_bytes(h, own);
    char *buf = malloc(bytes > 0 ? bytes : 1);

    check(buf != NULL);
    struct sl_slice joined = {buf, sl_hops_join(h, own, buf)};
    check(joined.len <= bytes);
    return joined;
}

static void check_same(const struct sl_hops *a, const struct sl_hops *b, size_t more_n)
{
    size_t kept_n = a->n < SL_HOPS_MAX_N ? a->n : SL_HOPS_MAX_N;

    check(b->n == kept_n + more_n);
    for (size_t i = 0; i < kept_n && b->n <= SL_HOPS_MAX_N; i++) {
        check(sl_slice_eq(a->items[(a->n - kept_n + i) % SL_HOPS_MAX_N], b->items[i]));
    }
}

static void check_client(const struct sl_hops *h, const struct sl_hops *again)
{
    struct sl_ip a = {.bits_n = 0};
    struct sl_ip b = {.bits_n = 0};
    struct sl_hops more = *h;

    check(sl_hops_client(h, &trusted, &a) == sl_hops_client(again, &trusted, &b));
    check(memcmp(&a, &b, sizeof(a)) == 0);
    sl_hops_add(&more, SL_SLICE("192.0.2.1, 10.0.0.1"));
    check(sl_hops_client(&more, &trusted, &a) && a.bits_n == 32 && a.bytes[0] == 192);
}

static void try_addresses(struct sl_slice text)
{
    struct sl_hops h = {.n = 0};
    struct sl_hops again = {.n = 0};
    struct sl_slice line;

    while (next_line(&text, &line)) {
        sl_hops_add(&h, line);
    }
    struct sl_slice joined = join(&h, SL_SLICE(""));
    sl_hops_add(&again, joined);
    check_same(&h, &again, 0);
    check_client(&h, &again);
    free((void *)(uintptr_t)joined.ptr);
}

static void try_forwarded(struct sl_slice text)
{
    struct sl_hops h = {.n = 0};
    struct sl_hops again = {.n = 0};
    struct sl_slice line;
    struct sl_slice host = {text.ptr, text.len < 64 ? text.len : 64};
    char own[512];

    check(sl_forwarded_bytes(host.len) <= sizeof(own));
    struct sl_forwarded_by_us f = {.peer = &ours.ip, .proto = SL_SLICE("http"), .host = host};
    struct sl_slice element = {own, sl_forwarded_format(&f, own)};
    check(element.len <= sl_forwarded_bytes(host.len));
    check(sl_hops_add_forwarded(&again, element) == SL_OK && again.n == 1);
    while (next_line(&text, &line)) {
        if (sl_hops_add_forwarded(&h, line) != SL_OK) {
            return;
        }
    }
    struct sl_slice joined = join(&h, element);
    again.n = 0;
    check(sl_hops_add_forwarded(&again, joined) == SL_OK);
    check_same(&h, &again, 1);
    free((void *)(uintptr_t)joined.ptr);
}

static void try_via(struct sl_slice text)
{
    static const struct sl_slice own = {", 1.1 edge", 10};
    char *appended = malloc(text.len + own.len);

    check(appended != NULL);
    memcpy(appended, text.ptr, text.len);
    memcpy(appended + text.len, own.ptr, own.len);
    (void)sl_via_names(text, SL_SLICE("edge"));
    check(sl_via_names((struct sl_slice){appended, text.len + own.len}, SL_SLICE("edge")));
    free(appended);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct sl_slice text = {(const char *)data, size};

    if (size > 0) {
        try_via(text);
    }

    try_addresses(text);
    try_forwarded(text);
    return 0;
}
