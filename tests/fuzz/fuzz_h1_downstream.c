/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A downstream connection from its first byte to its end, through the exchange to an upstream that
 * reads as strictly as we do: whatever a client sends, the upstream sees whole requests or the
 * beginning of one, and the answers come back in their order; and all of that is the same whether
 * the input comes whole or in pieces. The first byte chooses the upstream's ways, the client's end
 * and what the listener is told, the second the size of the pieces.
 */
#include "l7_fixture.h"

#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum {
    INPUT_MAX_BYTES = 98304,
    PIECES_MAX_N = 512,
    ANSWER_LARGE_BYTES = 16000,
};

enum manner {
    LENGTH,
    CHUNKED,
    UNTIL_CLOSE,
    EARLY,      /* before the body was read */
    CUT,        /* no answer at all */
    BUSY,       /* 503 with Retry-After */
    CONTINUED,  /* 100, then 204 */
    LARGE_HALF, /* promises more than it gives */
    MANNERS_N,
};

/* What must not depend on the cutting: whole requests as the upstream saw them, and every byte that
 * the client got; of a refusal that ends the connection, that it is one. */
struct outcome {
    unsigned requests_n;
    uint64_t requests_hash;
    size_t client_bytes;
    uint64_t client_hash;
    bool client_ended;
    bool refused;
    /* Answered by a retry or by a 502, after a while: whether before the client's end is a matter
     * of timing. */
    bool delayed;
};

static uint64_t hash_on(uint64_t hash, const char *bytes, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        hash = (hash ^ (uint8_t)bytes[i]) * 0x100000001b3ULL;
    }
    return hash;
}

static struct outcome outcome;

/* What the listener is told. */
enum {
    TRUSTS = 1, /* everybody */
    HAS_NAME = 2,
    IS_LAX = 4, /* what is ambiguous passes */
};

/* Nobody's CGI here. */
static const struct sl_h1_policy strict = {.underscores = SL_H1_UNDERSCORES_KEEP};
static const struct sl_h1_policy lax = {
    .uri = {.keep_slashes = true,
            .allow_escaped_backslash = true,
            .allow_escaped_nul = true,
            .allow_escaped_dots = true,
            .allow_dot_params = true,
            .allow_backslash = true,
            .allow_8bit = true},
    .underscores = SL_H1_UNDERSCORES_KEEP,
};
static const struct sl_h1_policy *reading; /* of the upstream, which is as strict as we are */

/* How far an upstream connection was understood. */
struct reader {
    size_t at;
    uint64_t hash; /* of the request that comes, as it was meant: not of its framing */
    struct sl_h1_scan scan;
    struct sl_h1_body body;
    bool in_body;
    bool tunnel; /* says everything again */
};

static struct reader readers[L7_UPSTREAMS_MAX_N];
static enum manner manner;
static unsigned told;
static unsigned heads_n;
static unsigned answers_n;
static enum sl_method asked[L7_UPSTREAMS_MAX_N * 1024];

static void answer(struct l7_ear *e, const char *head)
{
    static char large[ANSWER_LARGE_BYTES];
    char text[512];

    int len = snprintf(text, sizeof(text), "%s", head);
    l7_check(len > 0 && (size_t)len < sizeof(text));
    l7_say(e, text, (size_t)len);
    if (manner == LARGE_HALF) {
        l7_say(e, large, sizeof(large));
    }
    if (manner == UNTIL_CLOSE || manner == LARGE_HALF) {
        l7_hang_up(e);
    }
}

static void on_request_head(struct l7_ear *e, enum sl_method method)
{
    if (heads_n < SL_ARRAY_LEN(asked)) {
        asked[heads_n] = method;
    }
    heads_n++;
    if (manner == EARLY) {
        answer(e, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    } else if (manner == CONTINUED) {
        answer(e, "HTTP/1.1 100 Continue\r\n\r\n");
    }
}

static void on_request_end(struct l7_ear *e, const struct reader *r)
{
    static const char *const texts[MANNERS_N] = {
        [CHUNKED] =
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
            "2;x=y\r\nok\r\n0\r\nX-T: v\r\n\r\n",
        [UNTIL_CLOSE] = "HTTP/1.1 200 OK\r\n\r\nok",
        [BUSY] = "HTTP/1.1 503 Busy\r\nRetry-After: 1\r\nContent-Length: 0\r\n\r\n",
        [CONTINUED] = "HTTP/1.1 204 No Content\r\n\r\n",
        [LARGE_HALF] = "HTTP/1.1 200 OK\r\nContent-Length: 32000\r\n\r\n",
    };
    char text[128];

    answers_n++;
    outcome.requests_n++;
    outcome.requests_hash = hash_on(outcome.requests_hash, (const char *)&r->hash, sizeof(r->hash));
    if (manner == LENGTH) {
        bool bodiless = asked[(answers_n - 1) % SL_ARRAY_LEN(asked)] == SL_METHOD_HEAD;
        (void)snprintf(text, sizeof(text),
                       "HTTP/1.1 200 OK\r\nX-N: %u\r\nContent-Length: 2\r\n\r\n%s", answers_n,
                       bodiless ? "" : "ok");
        answer(e, text);
    } else if (manner == CUT) {
        outcome.delayed = true;
        l7_hang_up(e);
    } else if (texts[manner] != NULL) {
        answer(e, texts[manner]);
    }
}

/* What a proxy writes is never doubtful. */
static size_t read_head(struct reader *r, struct l7_ear *e)
{
    static struct sl_header items[SL_H1_FIELDS_MAX_N];
    static char path_buf[SL_H1_LINE_MAX_BYTES];
    struct sl_request_head head;

    sl_request_head_init(&head, items, SL_H1_FIELDS_MAX_N, path_buf, sizeof(path_buf));
    ssize_t n = sl_h1_parse_request(&r->scan, e->text + r->at, e->len - r->at, reading, &head);
    if (n == SL_AGAIN) {
        return 0;
    }
    if (n == SL_EPROTO) {
        /* We add fields to a head that may be at its limits. HTTP/1.0 may come without Host,
         * which goes out empty (RFC 9112 3.2). */
        l7_check(r->scan.fault == SL_H1_FAULT_TOO_MANY_FIELDS ||
                 r->scan.fault == SL_H1_FAULT_HEAD_TOO_LARGE ||
                 (r->scan.fault == SL_H1_FAULT_HOST &&
                  memmem(e->text + r->at, e->len - r->at, "\r\nHost: \r\n", 10) != NULL));
        outcome.delayed = true;
        l7_hang_up(e);
        return 0;
    }
    r->scan = (struct sl_h1_scan){0};
    r->hash = hash_on(0, head.method_text.ptr, head.method_text.len);
    r->hash = hash_on(r->hash, head.target.ptr, head.target.len);
    r->hash = hash_on(r->hash, head.authority.ptr, head.authority.len);
    if (manner == CHUNKED && sl_slice_eq(head.upgrade, SL_SLICE("websocket"))) {
        r->tunnel = true;
        heads_n++;
        answer(e, "HTTP/1.1 101 S\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n");
        return (size_t)n;
    }
    sl_h1_body_init(&r->body, &head.framing);
    r->in_body = true;
    on_request_head(e, head.method);
    return (size_t)n;
}

static bool take(void *arg, struct sl_slice data, uint64_t body_bytes)
{
    struct reader *r = arg;

    l7_check(body_bytes == data.len);
    r->hash = hash_on(r->hash, data.ptr, data.len);
    return true;
}

static bool on_upstream(struct l7_fixture *f, size_t i)
{
    struct l7_ear *e = &f->ups[i];
    struct reader *r = &readers[i];

    while (e->fd >= 0) {
        size_t n = 0;
        if (r->tunnel) {
            n = e->len - r->at;
            l7_say(e, e->text + r->at, n);
        } else if (!r->in_body && r->at < e->len) {
            n = read_head(r, e);
        } else if (r->in_body && r->at < e->len && !sl_h1_body_ended(&r->body)) {
            ssize_t got =
                sl_h1_body_feed(&r->body, e->text + r->at, e->len - r->at, false, take, r);
            l7_check(got > 0);
            n = (size_t)got;
        }
        r->at += n;
        bool ended = r->in_body && sl_h1_body_ended(&r->body);
        if (ended) {
            sl_h1_body_fini(&r->body);
            r->in_body = false;
            on_request_end(e, r);
        } else if (n == 0) {
            break;
        }
    }
    if (e->ended) {
        l7_hang_up(e);
    }
    return true;
}

/* In the manner LENGTH the client can tell which answer belongs where. */
static void check_answers(const struct l7_ear *e)
{
    static struct sl_header items[SL_H1_FIELDS_MAX_N];
    unsigned n = 0;
    size_t at = 0;

    while (at < e->len) {
        struct sl_h1_scan scan = {0};
        struct sl_h1_asked as = {.method = SL_METHOD_GET};
        struct sl_response_head head;
        unsigned expected = 0;
        sl_response_head_init(&head, items, SL_H1_FIELDS_MAX_N);
        ssize_t len = sl_h1_parse_response(&scan, e->text + at, e->len - at, &as, &head);
        if (len == SL_AGAIN) {
            return; /* the client left before */
        }
        l7_check(len > 0 && head.framing.kind == SL_FRAMING_LENGTH);
        for (uint32_t i = 0; i < head.headers.n; i++) {
            if (sl_slice_ieq(head.headers.items[i].name, SL_SLICE("x-n"))) {
                expected = (unsigned)strtoul(head.headers.items[i].value.ptr, NULL, 10);
            }
        }
        at += (size_t)len;
        if (expected == 0) {
            l7_check(head.status >= 400 ||
                     sl_headers_find_name(&head.headers, SL_SLICE("allow")) != NULL); /* ours */
            at += (size_t)head.framing.length_bytes;
            continue;
        }
        l7_check(head.status == 200 && expected == ++n && n <= answers_n);
        if (asked[n - 1] != SL_METHOD_HEAD) {
            l7_check(e->len - at < 2 || memcmp(e->text + at, "ok", 2) == 0);
            at += 2;
        }
    }
}

static const struct sl_network networks[] = {{.ip = {.bits_n = 32}}};
static const struct sl_trusted_config everybody = {.networks = {networks, 1}};
static const struct sl_via_config edge = {"edge", {{"1.0 edge", 8}, {"1.1 edge", 8}}};

static void end_client(struct l7_fixture *f, unsigned how)
{
    if (how == 0) {
        (void)shutdown(f->client.fd, SHUT_WR);
    } else if (how == 1) {
        l7_hang_up(&f->client);
    } else if (how == 2) { /* heads and bodies that stop: their time runs out */
        l7_pass_all(f);
    }
    l7_until_quiet(f);
    if (how < 3) {
        l7_check(atomic_load(&f->w->open_n) == 0);
        l7_check(l7_in_flight(f) == 0);
        l7_check(f->view_cell.published.pins_n == 0);
    }
}

/* Where the last thing that the client got begins, if it is a refusal of ours; the length if not.
 * What has two faults may be refused for either, by what is there at once. */
static size_t find_refusal(const struct l7_ear *e)
{
    static const char begin[] = "HTTP/1.1 4";
    static const char body[] = "\r\n\r\n{\"error\":{";
    size_t last = e->len;

    if (e->len == 0) {
        return 0;
    }
    for (size_t at = 0; e->ended && at + sizeof(begin) - 1 <= e->len; at++) {
        if (memcmp(e->text + at, begin, sizeof(begin) - 1) == 0) {
            last = at;
        }
    }
    return memmem(e->text + last, e->len - last, body, sizeof(body) - 1) != NULL ? last : e->len;
}

static void check_same(const struct outcome *whole, const struct outcome *pieces)
{
    if (whole->delayed || pieces->delayed) {
        return;
    }
    l7_check(whole->requests_n == pieces->requests_n &&
             whole->requests_hash == pieces->requests_hash);
    l7_check(whole->client_bytes == pieces->client_bytes &&
             whole->client_hash == pieces->client_hash &&
             whole->client_ended == pieces->client_ended && whole->refused == pieces->refused);
}

/* The whole life of a connection; step: the size of the pieces. */
static struct outcome live(const uint8_t *data, size_t len, size_t step, unsigned end)
{
    struct l7_fixture f;

    heads_n = answers_n = 0;
    outcome = (struct outcome){0};
    memset(readers, 0, sizeof(readers));
    l7_begin(&f, on_upstream);
    if ((told & TRUSTS) != 0) {
        f.listener_conf.trusted = &everybody;
    }
    if ((told & HAS_NAME) != 0) {
        f.listener_conf.via = &edge;
    }
    if ((told & IS_LAX) != 0) {
        f.listener->cells[0].policy = lax;
    }
    reading = (told & IS_LAX) != 0 ? &lax : &strict;
    for (size_t at = 0; at < len; at += step) {
        l7_say(&f.client, data + at, len - at < step ? len - at : step);
        l7_until_quiet(&f);
    }
    end_client(&f, end);
    l7_check(answers_n <= heads_n);
    l7_check(heads_n <= sl_endpoint_stat(f.pool->endpoints.items[0], SL_ENDPOINT_REQUESTS));
    if (manner == LENGTH) {
        check_answers(&f.client);
    }
    for (size_t i = 0; i < f.ups_n; i++) {
        sl_h1_body_fini(&readers[i].body);
    }
    outcome.client_bytes = find_refusal(&f.client);
    outcome.client_hash = hash_on(0, f.client.text, outcome.client_bytes);
    outcome.client_ended = f.client.ended;
    outcome.refused = outcome.client_bytes < f.client.len;
    /* A 100 may come before a body is refused, or the refusal before the 100. */
    if (sl_series_sum(f.of_pool, SL_POOL_RETRIES) > 0 || (manner == CONTINUED && outcome.refused)) {
        outcome.delayed = true;
    }
    struct outcome o = outcome;
    l7_end(&f);
    return o;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2 || size > INPUT_MAX_BYTES) {
        return 0;
    }
    manner = (enum manner)(data[0] % MANNERS_N);
    size_t len = size - 2;
    size_t step = len / PIECES_MAX_N + (data[1] > 0 ? data[1] : 1);
    unsigned end = data[0] / MANNERS_N % 4;
    told = data[0] / (MANNERS_N * 4U);
    struct outcome pieces = live(data + 2, len, step, end);
    struct outcome whole = live(data + 2, len, len + 1, end);
    /* Whether a body is there before an answer that does not wait for it is a matter of timing. */
    if (manner != EARLY) {
        check_same(&whole, &pieces);
    }
    return 0;
}
