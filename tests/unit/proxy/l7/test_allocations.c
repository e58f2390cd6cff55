/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is warm asks the heap for nothing and moves nothing in the wheel: requests on a kept
 * connection, tokens of a stream, bodies that flow. A worker with its client and its upstream in
 * one process, so that the allocator's hook sees all of it.
 */
#include "proxy/base/wheel.h"
#include "tests/fuzz/l7_fixture.h"
#include "tests/unit/check.h"

#include <stdio.h>
#include <string.h>

enum {
    REQUESTS_N = 200,
    TOKENS_N = 200,
    PIECES_N = 16,
    WARM_N = 3,
    LINKED_MAX_N = 64,
};

/* Under ASan each piece of an arena is a block of the heap, so that its end is guarded. */
#ifdef __SANITIZE_ADDRESS__
#define ARENA_ASKS_THE_HEAP true
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define ARENA_ASKS_THE_HEAP true
#endif
#endif
#ifndef ARENA_ASKS_THE_HEAP
#define ARENA_ASKS_THE_HEAP false
#endif

static size_t allocations_n;

static bool count(size_t size_bytes)
{
    (void)size_bytes;
    allocations_n++;
    return true;
}

static size_t asked_n; /* requests that the upstream has seen whole */
static size_t body_n;  /* of the request that comes */

/* A body is as long as the test says, so its end is found by counting. */
static bool answer(struct l7_fixture *f, size_t i)
{
    static const char text[] =
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 16\r\n\r\n"
        "0123456789abcdef";
    struct l7_ear *e = &f->ups[i];
    const char *end = e->len > 0 ? memmem(e->text, e->len, "\r\n\r\n", 4) : NULL;

    if (end != NULL && e->len - (size_t)(end + 4 - e->text) == body_n) {
        asked_n++;
        e->len = 0;
        l7_say(e, text, sizeof(text) - 1);
    }
    return true;
}

static bool only_listen(struct l7_fixture *f, size_t i)
{
    (void)f;
    (void)i;
    return true;
}

static void begin(struct l7_fixture *f, bool (*on_upstream)(struct l7_fixture *, size_t))
{
    asked_n = 0;
    body_n = 0;
    l7_begin(f, on_upstream);
}

static void end(struct l7_fixture *f)
{
    sl_alloc_hook = NULL;
    l7_end(f);
}

static void start_counting(void)
{
    allocations_n = 0;
    sl_alloc_hook = count;
}

static void check_none(const char *what, size_t n)
{
    size_t seen_n = allocations_n;

    sl_alloc_hook = NULL;
    check(seen_n == 0, "%zu allocations for %zu %s", seen_n, n, what);
}

/* A request and its whole answer. */
static void ask(struct l7_fixture *f, const char *text, size_t len)
{
    size_t before_n = asked_n;

    f->client.len = 0;
    l7_say(&f->client, text, len);
    l7_until_quiet(f);
    check(asked_n == before_n + 1, "the upstream saw %zu requests", asked_n - before_n);
    check(f->client.len > 16 && memcmp(f->client.text, "HTTP/1.1 200 ", 13) == 0 &&
              memcmp(f->client.text + f->client.len - 16, "0123456789abcdef", 16) == 0,
          "the client got %zu bytes", f->client.len);
}

static const char plain[] = "GET /v1/models HTTP/1.1\r\nHost: a\r\nUser-Agent: x\r\n\r\n";

static size_t write_post(char *buf, size_t size, bool chunked)
{
    static char body[4096];
    int n;

    memset(body, 'x', sizeof(body));
    if (chunked) {
        n = snprintf(
            buf, size,
            "POST /v1/completions HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
            "1000\r\n%.4096s\r\n0\r\n\r\n",
            body);
    } else {
        n = snprintf(buf, size,
                     "POST /v1/completions HTTP/1.1\r\nHost: a\r\nContent-Length: 4096\r\n\r\n"
                     "%.4096s",
                     body);
    }
    body_n = chunked ? 4096 + strlen("1000\r\n\r\n0\r\n\r\n") : 4096;
    assert_true(n > 0 && (size_t)n < size);
    return (size_t)n;
}

static void requests_on_a_kept_connection_allocate_nothing(void **state)
{
    static char post[8192];
    (void)state;

    for (int kind = 0; kind < 3; kind++) {
        struct l7_fixture f;
        begin(&f, answer);
        const char *text = kind == 0 ? plain : post;
        size_t len = kind == 0 ? sizeof(plain) - 1 : write_post(post, sizeof(post), kind == 2);
        for (int i = 0; i < WARM_N; i++) {
            ask(&f, text, len);
        }
        start_counting();
        for (int i = 0; i < REQUESTS_N; i++) {
            ask(&f, text, len);
        }
        if (!ARENA_ASKS_THE_HEAP) {
            check_none(kind == 0 ? "gets" : kind == 1 ? "posts" : "chunked posts", REQUESTS_N);
        }
        assert_int_equal(f.ups_n, 1);
        end(&f);
    }
}

/* Every deadline that is linked, with its place. */
struct places {
    size_t n;
    struct {
        const struct sl_list *slot;
        const struct sl_list *link;
        const struct sl_list *before;
    } items[LINKED_MAX_N];
};

static void look(struct places *p, struct l7_fixture *f)
{
    const struct sl_wheel *w = sl_loop_wheel(f->loop);

    memset(p, 0, sizeof(*p));
    for (size_t i = 0; i < SL_WHEEL_SLOTS_N; i++) {
        for (const struct sl_list *l = w->slots[i].next; l != &w->slots[i]; l = l->next) {
            assert_true(p->n < LINKED_MAX_N);
            p->items[p->n].slot = &w->slots[i];
            p->items[p->n].link = l;
            p->items[p->n].before = l->prev;
            p->n++;
        }
    }
}

static void requests_on_a_kept_connection_move_nothing_in_the_wheel(void **state)
{
    static struct places before;
    static struct places after;
    struct l7_fixture f;
    (void)state;

    begin(&f, answer);
    for (int i = 0; i < WARM_N; i++) {
        ask(&f, plain, sizeof(plain) - 1);
    }
    look(&before, &f);
    assert_true(before.n > 0); /* the idle time of both connections at least */
    for (int i = 0; i < REQUESTS_N; i++) {
        l7_pass(&f, 1); /* nothing comes due, but what is linked anew is linked further on */
        ask(&f, plain, sizeof(plain) - 1);
    }
    look(&after, &f);
    check(before.n == after.n && memcmp(&before, &after, sizeof(before)) == 0,
          "%zu deadlines were linked, now %zu, or they stand elsewhere", before.n, after.n);
    end(&f);
}

static void tokens_of_a_stream_allocate_nothing(void **state)
{
    static const char head[] =
        "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";
    static const char token[] = "23\r\ndata: {\"choices\":[{\"text\":\" w\"}]}\n\n\r\n";
    struct l7_fixture f;
    char text[512];
    (void)state;

    begin(&f, only_listen);
    size_t len = (size_t)snprintf(text, sizeof(text),
                                  "POST /v1/completions HTTP/1.1\r\nHost: a\r\n"
                                  "Content-Length: 2\r\n\r\n{}");
    l7_say(&f.client, text, len);
    l7_until_quiet(&f);
    assert_int_equal(f.ups_n, 1);
    l7_say(&f.ups[0], head, sizeof(head) - 1);
    for (int i = 0; i < WARM_N + TOKENS_N; i++) {
        if (i == WARM_N) {
            start_counting();
        }
        f.client.len = 0;
        l7_say(&f.ups[0], token, sizeof(token) - 1);
        l7_until_quiet(&f);
        check(f.client.len >= sizeof(token) - 1 &&
                  memcmp(f.client.text + f.client.len - (sizeof(token) - 1), token,
                         sizeof(token) - 1) == 0,
              "token %d was %zu bytes", i, f.client.len);
    }
    check_none("tokens", TOKENS_N);
    end(&f);
}

static void bodies_that_flow_allocate_nothing(void **state)
{
    static char piece[65536];
    struct l7_fixture f;
    char text[512];
    (void)state;

    begin(&f, only_listen);
    f.route_conf.max_body_bytes = UINT64_MAX;
    memset(piece, 'x', sizeof(piece));
    size_t size_bytes = (WARM_N + PIECES_N) * sizeof(piece);
    size_t len =
        (size_t)snprintf(text, sizeof(text),
                         "POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: %zu\r\n\r\n", size_bytes);
    l7_say(&f.client, text, len);
    for (int i = 0; i < WARM_N + PIECES_N; i++) {
        if (i == WARM_N) {
            start_counting();
        }
        l7_say(&f.client, piece, sizeof(piece));
        l7_until_quiet(&f);
        assert_int_equal(f.ups_n, 1);
        check(i == 0 || f.ups[0].len == sizeof(piece), "piece %d: %zu bytes", i, f.ups[0].len);
        f.ups[0].len = 0;
    }
    check_none("pieces up", PIECES_N);
    len = (size_t)snprintf(text, sizeof(text), "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\n\r\n",
                           size_bytes);
    l7_say(&f.ups[0], text, len);
    for (int i = 0; i < WARM_N + PIECES_N; i++) {
        if (i == WARM_N) {
            start_counting();
        }
        f.client.len = 0;
        l7_say(&f.ups[0], piece, sizeof(piece));
        l7_until_quiet(&f);
        check(i == 0 || f.client.len == sizeof(piece), "piece %d: %zu bytes", i, f.client.len);
    }
    check_none("pieces down", PIECES_N);
    end(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(requests_on_a_kept_connection_allocate_nothing),
        cmocka_unit_test(requests_on_a_kept_connection_move_nothing_in_the_wheel),
        cmocka_unit_test(tokens_of_a_stream_allocate_nothing),
        cmocka_unit_test(bodies_that_flow_allocate_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
