/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/discovery/fake_api.h"

#include <sluiced/time.h>

#include "tests/unit/check.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define TICK_MS 2

static void drop(struct fake_conn *c)
{
    if (c->fd >= 0) {
        sl_io_stop(&c->io);
        (void)close(c->fd);
        c->fd = -1;
        c->waits = false;
    }
}

static void on_request(struct sl_io *io, int events)
{
    struct fake_conn *c = sl_container_of(io, struct fake_conn, io);
    (void)events;
    ssize_t n = recv(c->fd, c->request + c->len, sizeof(c->request) - 1 - c->len, MSG_DONTWAIT);

    if (n <= 0) {
        drop(c);
        return;
    }
    c->len += (size_t)n;
    c->request[c->len] = '\0';
    if (strstr(c->request, "\r\n\r\n") == NULL) {
        return;
    }
    c->len = 0; /* the next one overwrites it; nobody pipelines */
    if (!c->api->streams_lists && strstr(c->request, "sendInitialEvents=") != NULL) {
        fake_answer(c, 422, "", "{\"message\":\"sendInitialEvents is forbidden for watch\"}");
        return;
    }
    c->waits = true;
    c->api->requests_n++;
}

static void on_accept(struct sl_io *io, int events)
{
    struct fake_api *f = sl_container_of(io, struct fake_api, io);
    (void)events;
    int fd = accept4(f->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

    assert_true(fd >= 0);
    for (size_t i = 0; i < FAKE_CONNS_MAX_N; i++) {
        struct fake_conn *c = &f->conns[i];
        if (c->fd < 0) {
            c->fd = fd;
            c->len = 0;
            c->waits = false;
            sl_io_init(&c->io, f->loop, fd, on_request);
            sl_io_want_read(&c->io, true);
            return;
        }
    }
    fail_msg("more than %d connections", FAKE_CONNS_MAX_N);
}

void fake_start(struct fake_api *f, struct sl_loop *loop)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t at_len = sizeof(at);

    memset(f, 0, sizeof(*f));
    f->loop = loop;
    for (size_t i = 0; i < FAKE_CONNS_MAX_N; i++) {
        f->conns[i].fd = -1;
        f->conns[i].api = f;
    }
    f->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    assert_true(f->fd >= 0);
    assert_int_equal(bind(f->fd, (struct sockaddr *)(void *)&at, sizeof(at)), 0);
    assert_int_equal(listen(f->fd, 16), 0);
    assert_int_equal(getsockname(f->fd, (struct sockaddr *)(void *)&at, &at_len), 0);
    (void)snprintf(f->url, sizeof(f->url), "http://127.0.0.1:%u", ntohs(at.sin_port));
    sl_io_init(&f->io, loop, f->fd, on_accept);
    sl_io_want_read(&f->io, true);
}

void fake_stop(struct fake_api *f)
{
    for (size_t i = 0; i < FAKE_CONNS_MAX_N; i++) {
        drop(&f->conns[i]);
    }
    sl_io_stop(&f->io);
    (void)close(f->fd);
}

static void on_tick(struct sl_timer *t)
{
    sl_loop_stop(t->loop);
}

/* Time that passed is not enough: a machine that stood still owes the loop its turns. */
static bool run_until(struct sl_loop *loop, bool (*done)(void *arg), void *arg, uint64_t for_ms)
{
    uint64_t end_ms = sl_time_now_ms() + for_ms;
    uint64_t turns_n = for_ms / TICK_MS;
    struct sl_timer tick;
    bool is_done;

    sl_timer_init(&tick, loop, on_tick);
    sl_timer_start(&tick, TICK_MS, TICK_MS);
    while (!(is_done = done(arg)) && (turns_n > 0 || sl_time_now_ms() < end_ms)) {
        sl_loop_run(loop);
        turns_n -= turns_n > 0;
    }
    sl_timer_stop(&tick);
    return is_done;
}

void fake_run_until(struct sl_loop *loop, bool (*done)(void *arg), void *arg, uint64_t deadline_ms,
                    const char *what)
{
    check(run_until(loop, done, arg, deadline_ms), "never: %s", what);
}

static bool never(void *arg)
{
    (void)arg;
    return false;
}

void fake_run_for(struct sl_loop *loop, uint64_t ms)
{
    (void)run_until(loop, never, NULL, ms); /* runs out, as asked */
}

struct search {
    struct fake_api *api;
    const char *part;
    struct fake_conn *found;
};

static bool look_for(void *arg)
{
    struct search *s = arg;

    for (size_t i = 0; i < FAKE_CONNS_MAX_N; i++) {
        struct fake_conn *c = &s->api->conns[i];
        if (c->fd >= 0 && c->waits && strstr(c->request, s->part) != NULL) {
            s->found = c;
            return true;
        }
    }
    return false;
}

bool fake_has(struct fake_api *f, const char *part)
{
    struct search s = {.api = f, .part = part};
    return look_for(&s);
}

struct fake_conn *fake_take(struct fake_api *f, const char *part)
{
    struct search s = {.api = f, .part = part};

    fake_run_until(f->loop, look_for, &s, 10000, part);
    s.found->waits = false;
    return s.found;
}

static bool look_in_vain(void *arg)
{
    return !look_for(arg);
}

void fake_expect_gone(struct fake_api *f, const char *part)
{
    struct search s = {.api = f, .part = part};

    fake_run_until(f->loop, look_in_vain, &s, 10000, "the end of a request's connection");
}

static void send_all(struct fake_conn *c, const char *data, size_t len)
{
    while (len > 0) {
        check(c->fd >= 0, "the client closed before it had its answer");
        ssize_t n = send(c->fd, data, len, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n > 0) {
            data += n;
            len -= (size_t)n;
        } else {
            fake_run_for(c->api->loop, 2); /* the socket is full: let the client read */
        }
    }
}

void fake_send(struct fake_conn *c, const char *text)
{
    send_all(c, text, strlen(text));
}

void fake_answer(struct fake_conn *c, int status, const char *extra, const char *body)
{
    char head[512];

    (void)snprintf(head, sizeof(head), "HTTP/1.1 %d Text\r\nContent-Length: %zu\r\n%s\r\n", status,
                   strlen(body), extra);
    fake_send(c, head);
    fake_send(c, body);
}

void fake_open(struct fake_conn *c)
{
    fake_send(c,
              "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
              "Transfer-Encoding: chunked\r\n\r\n");
}

void fake_chunk(struct fake_conn *c, const char *text)
{
    char size[32];

    (void)snprintf(size, sizeof(size), "%zx\r\n", strlen(text));
    fake_send(c, size);
    fake_send(c, text);
    fake_send(c, "\r\n");
}

void fake_end(struct fake_conn *c)
{
    fake_send(c, "0\r\n\r\n");
}

void fake_cut(struct fake_conn *c)
{
    drop(c);
}
