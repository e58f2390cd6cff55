/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What an upstream may answer: the input is its side of a connection, to a request that the first
 * byte chooses; the second byte is the size of the pieces. What reaches the client is whole HTTP or
 * visibly cut, and a connection that carried anything but one whole answer is not used again; and
 * what the client reads is the same whether the answer came whole or in pieces.
 */
#include "l7_fixture.h"

#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum {
    INPUT_MAX_BYTES = 98304,
    PIECES_MAX_N = 512,
    UNENDED = 5,
    UPGRADE = 6,
    REQUESTS_N = 7,
};

static const struct {
    const char *text;
    enum sl_method method;
    uint8_t version_minor;
} requests[REQUESTS_N] = {
    {"GET /a HTTP/1.1\r\nHost: a\r\n\r\n", SL_METHOD_GET, 1},
    {"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nab", SL_METHOD_POST, 1},
    {"HEAD /a HTTP/1.1\r\nHost: a\r\n\r\n", SL_METHOD_HEAD, 1},
    {"GET /a HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n", SL_METHOD_GET, 0},
    {"POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n",
     SL_METHOD_POST, 1},
    {"PUT /a HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nab", SL_METHOD_PUT, 1},
    {"GET /a HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
     SL_METHOD_GET, 1},
};

/* What the first connection says, in pieces; then it ends if the input wants it so. */
struct script {
    const char *text;
    size_t len;
    size_t step;
    bool ends;
};

static struct script script;

static bool on_upstream(struct l7_fixture *f, size_t i)
{
    struct l7_ear *e = &f->ups[i];

    if (i > 0 && !e->ended && e->len >= 4 && memcmp(e->text + e->len - 4, "\r\n\r\n", 4) == 0) {
        l7_say(e, "HTTP/1.1 200 OK\r\nX-Second: y\r\nContent-Length: 0\r\n\r\n", 51);
    }
    if (e->ended) {
        l7_hang_up(e);
    }
    return true;
}

/* What a side said, as one response. */
struct verdict {
    size_t whole_bytes; /* 0: it is not whole */
    bool dirty;         /* no other one may follow */
    enum sl_framing_kind framing;
    uint16_t status;
    bool ours;    /* it looks like one of our own */
    bool retried; /* the second connection was asked, which answers well */
    uint64_t body_bytes;
    uint64_t body_hash;
};

static bool hash(void *arg, struct sl_slice wire, uint64_t body_bytes)
{
    struct verdict *v = arg;

    if (v->body_bytes == 0) {
        v->ours = v->status >= 400 && sl_slice_starts(wire, SL_SLICE("{\"error\":"));
    }
    v->body_bytes += body_bytes;
    for (size_t i = 0; i < wire.len; i++) {
        v->body_hash = (v->body_hash ^ (uint8_t)wire.ptr[i]) * 0x100000001b3ULL;
    }
    return true;
}

static struct verdict judge(const char *text, size_t len, size_t which, bool ended)
{
    static struct sl_header items[SL_H1_FIELDS_MAX_N];
    struct verdict v = {.dirty = true};
    struct sl_h1_asked as = {.method = requests[which].method, .upgrade = which == UPGRADE};
    struct sl_response_head head;
    size_t at = 0;
    ssize_t n;

    do {
        struct sl_h1_scan scan = {0};
        sl_response_head_init(&head, items, SL_H1_FIELDS_MAX_N);
        n = sl_h1_parse_response(&scan, text + at, len - at, &as, &head);
        if (n <= 0) {
            return v;
        }
        at += (size_t)n;
    } while (head.status < 200 && head.status != 101);
    struct sl_h1_body body;
    sl_h1_body_init(&body, &head.framing);
    v.framing = head.framing.kind;
    v.status = head.status;
    while (at < len && !sl_h1_body_ended(&body)) {
        n = sl_h1_body_feed(&body, text + at, len - at, false, hash, &v);
        if (n < 0) {
            break;
        }
        at += (size_t)n;
    }
    bool whole = sl_h1_body_ended(&body) || (v.framing == SL_FRAMING_UNTIL_CLOSE && ended);
    v.dirty = !whole || !head.keep_alive;
    v.whole_bytes = whole ? at : 0;
    sl_h1_body_fini(&body);
    return v;
}

/* A retry waits for a while first: whether it is made before we look is a matter of timing. */
static uint64_t retries_n(const struct l7_fixture *f)
{
    return sl_series_sum(f->of_pool, SL_POOL_RETRIES);
}

/* A client that speaks HTTP/1.1 finds the end of what it got, which is what was sent, or sees that
 * there is none. */
static void check_client(const struct l7_fixture *f, size_t which, const struct verdict *sent)
{
    struct verdict got = judge(f->client.text, f->client.len, which, f->client.ended);

    if (f->client.len == 0 || requests[which].version_minor == 0 || retries_n(f) > 0) {
        return;
    }
    if (got.status == 101) { /* what follows is not HTTP */
        l7_check(which == UPGRADE && sent->status == 101);
        return;
    }
    l7_check(got.framing != SL_FRAMING_UNTIL_CLOSE);
    if (got.whole_bytes == 0) {
        return;
    }
    l7_check(got.whole_bytes == f->client.len);
    if (!got.ours && got.status != 502) { /* ours to a HEAD has no body to know it by */
        l7_check(sent->whole_bytes > 0 && sent->status == got.status);
        l7_check(sent->body_bytes == got.body_bytes && sent->body_hash == got.body_hash);
    }
}

static void check_reuse(struct l7_fixture *f, size_t which, bool spoke_dirty)
{
    static const char second[] = "GET /second HTTP/1.1\r\nHost: a\r\n\r\n";
    size_t before_bytes = f->client.len;
    size_t first_bytes = f->ups_n > 0 ? f->ups[0].len : 0;

    if (f->client.ended || which == UNENDED || which == UPGRADE) {
        return;
    }
    l7_say(&f->client, second, sizeof(second) - 1);
    l7_until_quiet(f);
    bool reused = f->ups_n > 0 && f->ups[0].len > first_bytes;
    l7_check(!reused || !spoke_dirty);
    if (!reused && f->ups_n == 2 && before_bytes > 0 && f->client.len > before_bytes) {
        static const char begin[] = "HTTP/1.1 200 OK\r\nX-Second: y\r\n";
        l7_check(f->client.len - before_bytes >= sizeof(begin) - 1);
        l7_check(memcmp(f->client.text + before_bytes, begin, sizeof(begin) - 1) == 0);
    }
}

/* What a client that reads strictly makes of its side of the connection. */
static struct verdict run(struct l7_fixture *f, size_t which)
{
    size_t asked_bytes = strlen(requests[which].text);

    l7_say(&f->client, requests[which].text, asked_bytes);
    l7_until_quiet(f);
    l7_check(f->ups_n == 1);
    for (size_t at = 0; at < script.len; at += script.step) {
        size_t left = script.len - at;
        l7_say(&f->ups[0], script.text + at, left < script.step ? left : script.step);
        l7_until_quiet(f);
    }
    struct verdict sent = judge(script.text, script.len, which, script.ends);
    if (script.ends) {
        l7_hang_up(&f->ups[0]);
        l7_until_quiet(f);
    }
    check_client(f, which, &sent);
    struct verdict got = judge(f->client.text, f->client.len, which, f->client.ended);
    got.retried = retries_n(f) > 0;
    /* A head that never ends; or a failure, which is told only once a retry was thought of. */
    bool waits = got.status == 0 && !f->client.ended;
    if (!waits) {
        check_reuse(f, which, sent.dirty || sent.whole_bytes != script.len);
    }
    return got;
}

static struct verdict live(size_t which)
{
    struct l7_fixture f;

    l7_begin(&f, on_upstream);
    struct verdict got = run(&f, which);
    l7_pass_all(&f);
    l7_check(l7_in_flight(&f) == 0);
    l7_check(f.view_cell.published.pins_n == 0);
    l7_end(&f);
    return got;
}

/* A fault behind the head is a 502 as long as nothing was sent, and a cut afterwards: which of the
 * two depends on what came with it. */
static bool failed(const struct verdict *v)
{
    return v->whole_bytes == 0 || v->status == 502;
}

static void check_same(const struct verdict *whole, const struct verdict *pieces)
{
    if (whole->retried || pieces->retried) {
        return;
    }
    l7_check(failed(whole) == failed(pieces));
    if (!failed(whole)) {
        l7_check(whole->status == pieces->status && whole->ours == pieces->ours);
        l7_check(whole->framing == pieces->framing && whole->dirty == pieces->dirty);
        l7_check(whole->body_bytes == pieces->body_bytes && whole->body_hash == pieces->body_hash);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2 || size > INPUT_MAX_BYTES) {
        return 0;
    }
    size_t which = data[0] % REQUESTS_N;
    size_t len = size - 2;
    script = (struct script){
        .text = (const char *)data + 2,
        .len = len,
        .step = len / PIECES_MAX_N + (data[1] > 0 ? data[1] : 1),
        .ends = (data[0] / REQUESTS_N & 1) != 0,
    };
    struct verdict pieces = live(which);
    script.step = len + 1;
    struct verdict whole = live(which);
    /* A client of HTTP/1.0 knows a cut by its RST alone, which a unix socket does not carry. */
    if (requests[which].version_minor != 0) {
        check_same(&whole, &pieces);
    }
    return 0;
}
