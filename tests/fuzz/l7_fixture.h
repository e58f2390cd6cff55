/* SPDX-License-Identifier: Apache-2.0 */
/*
 * l7_fixture: one worker, one route, one endpoint on a unix socket; a client on a socket pair.
 *
 * Everything happens on one thread, and a unix socket carries bytes at once: a few turns of the
 * loop without news mean that there will be none. Time stands still until l7_pass: what happens
 * does not depend on how fast this runs. Nothing outlives l7_end but the directory of the socket,
 * so that a leak is the leak of the input at hand.
 */
#ifndef SL_FUZZ_L7_FIXTURE_H
#define SL_FUZZ_L7_FIXTURE_H

#include <sluiced/err.h>
#include <sluiced/log.h>
#include <sluiced/metrics.h>

#include "proxy/base/alloc.h"
#include "proxy/io/socket.h"
#include "proxy/l7/exchange.h"
#include "proxy/l7/h1_connection.h"
#include "proxy/l7/h1_downstream.h"
#include "proxy/proto/h1.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum {
    L7_UPSTREAMS_MAX_N = 64,
    L7_TURNS_MAX_N = 20000,
    L7_QUIET_TURNS_N = 3,
    L7_WAITS_MAX_N = 8,
    L7_LONGEST_MS = 400000,       /* longer than any deadline there is */
    L7_HEARD_MAX_BYTES = 1 << 20, /* what is kept of a side; an input cannot cause more */
};

/* What one side has said so far. */
struct l7_ear {
    int fd; /* -1: closed by us */
    bool ended;
    bool reset;
    char *text;
    size_t len;
};

struct l7_fixture {
    struct sl_loop *loop;
    struct sl_registry *registry;
    struct sl_series *process;
    struct sl_series *of_listener;
    struct sl_series *of_pool;
    struct sl_series *of_route;
    struct sl_l7 *w;
    struct sl_endpoint_ids ids;
    struct sl_pool *pool;
    struct sl_listener *listener;
    struct sl_pool_config pool_conf;
    struct sl_route_config route_conf;
    struct sl_listener_config listener_conf;
    struct sl_view_pool view_pool;
    struct sl_view_side side;
    struct sl_view_route route;
    struct sl_view_listener view_listener;
    struct sl_view_cell view_cell;
    struct sl_view view;
    unsigned views_released_n;
    int listen_fd;
    struct sl_address upstream;
    struct l7_ear client;
    struct l7_ear ups[L7_UPSTREAMS_MAX_N];
    size_t ups_n;
    /* Called when the upstream connection i has said something or ended; true: it did something. */
    bool (*on_upstream)(struct l7_fixture *f, size_t i);
};

static inline void l7_check(bool ok)
{
    if (!ok) {
        abort();
    }
}

/* The clock of all that is linked in here; libraries have the real one. */
static uint64_t l7_clock_ms = 1000000;

__attribute__((visibility("hidden"))) int clock_gettime(clockid_t clock, struct timespec *t)
{
    (void)clock;
    *t = (struct timespec){.tv_sec = (time_t)(l7_clock_ms / 1000),
                           .tv_nsec = (long)(l7_clock_ms % 1000) * 1000000};
    return 0;
}

static char l7_dir[64];
static struct sl_address l7_address;

static inline void l7_remove_dir(void)
{
    (void)unlink(l7_address.host);
    (void)rmdir(l7_dir);
}

static inline void l7_make_dir(void)
{
    if (l7_dir[0] == '\0') {
        (void)snprintf(l7_dir, sizeof(l7_dir), "/tmp/fuzz-l7-XXXXXX");
        l7_check(mkdtemp(l7_dir) != NULL);
        l7_address.is_unix = true;
        (void)snprintf(l7_address.host, sizeof(l7_address.host), "%s/s", l7_dir);
        l7_check(atexit(l7_remove_dir) == 0);
        sl_log_configure(SL_LOG_ERROR, SL_LOG_JSON);
    }
}

static inline void l7_on_set_done(struct sl_published *p)
{
    sl_pool_free_set(sl_container_of(p, struct sl_endpoint_set, published));
}

static inline void l7_on_view_done(struct sl_published *p)
{
    struct sl_view *view = sl_container_of(p, struct sl_view, published);
    sl_container_of(view, struct l7_fixture, view)->views_released_n++;
}

static inline void l7_begin_pool(struct l7_fixture *f)
{
    struct sl_found found = {.address = f->upstream, .weight = 1};
    struct sl_snapshot s = {.items = &found, .n = 1};
    struct sl_endpoint_set *set;
    struct sl_error err;

    f->pool_conf = (struct sl_pool_config){
        .name = "chat",
        .balance = "round_robin",
        .timeouts = {.connect_ms = 1000,
                     .first_byte_ms = 300000,
                     .inter_byte_ms = 60000,
                     .keepalive_idle_ms = 3000},
    };
    l7_check(sl_pool_new("chat", 1, &f->ids, l7_on_set_done, &f->pool) == SL_OK);
    l7_check(sl_pool_build_set(f->pool, &s, &f->pool_conf, &set, &err) == SL_OK);
    sl_l7_take_set(f->w, f->pool, set);
}

static inline void l7_begin_series(struct l7_fixture *f)
{
    const char *one[] = {"edge"};
    const char *three[] = {"edge", "all", "chat"};

    l7_check(sl_registry_new(1, &f->registry) == SL_OK);
    l7_check(sl_series_get(f->registry, SL_SCOPE_PROCESS, NULL, &f->process) == SL_OK);
    l7_check(sl_series_get(f->registry, SL_SCOPE_LISTENER, one, &f->of_listener) == SL_OK);
    l7_check(sl_series_get(f->registry, SL_SCOPE_POOL, one, &f->of_pool) == SL_OK);
    l7_check(sl_series_get(f->registry, SL_SCOPE_ROUTE, three, &f->of_route) == SL_OK);
}

static inline void l7_begin_view(struct l7_fixture *f)
{
    size_t bytes = sizeof(*f->listener) + sizeof(f->listener->cells[0]);

    f->route_conf = (struct sl_route_config){
        .name = "all",
        .path = "/",
        .sides_n = 1,
        .max_body_bytes = 65536,
        .retry = {.attempts_n = 1, .backoff_min_ms = 25, .backoff_max_ms = 250},
    };
    f->listener_conf =
        (struct sl_listener_config){.name = "edge", .timeouts = {10000, 60000, 60000, 75000}};
    f->listener = sl_alloc_aligned(64, (bytes + 63) & ~(size_t)63);
    l7_check(f->listener != NULL);
    f->listener->name = sl_strdup("edge");
    f->listener->series = f->of_listener;
    f->listener->workers_n = 1;
    f->listener->cells[0].listener = f->listener;
    f->listener->cells[0].fd = -1;
    f->view_pool =
        (struct sl_view_pool){.conf = &f->pool_conf, .pool = f->pool, .series = f->of_pool};
    f->side = (struct sl_view_side){.pool = &f->view_pool, .series = f->of_route};
    f->route = (struct sl_view_route){.conf = &f->route_conf, .sides = &f->side, .sides_n = 1};
    f->view_listener = (struct sl_view_listener){
        .conf = &f->listener_conf, .handle = f->listener, .routes = &f->route, .routes_n = 1};
    f->view = (struct sl_view){.listeners = &f->view_listener,
                               .listeners_n = 1,
                               .pools = &f->view_pool,
                               .pools_n = 1,
                               .workers_n = 1,
                               .cells = &f->view_cell};
    sl_published_init(&f->view.published, 1, l7_on_view_done);
}

static inline void l7_begin(struct l7_fixture *f, bool (*on_upstream)(struct l7_fixture *, size_t))
{
    struct sl_address from = {.host = "192.0.2.1", .port = 1};
    struct sl_error err;
    int pair[2];

    l7_make_dir();
    memset(f, 0, sizeof(*f));
    f->on_upstream = on_upstream;
    l7_check(sl_loop_new(&f->loop) == SL_OK);
    l7_begin_series(f);
    l7_check(sl_l7_new(f->loop, 0, 1, &f->w, NULL, f->process, &f->w) == SL_OK);
    f->w->rng.state = 1; /* the same input, the same run */
    l7_check(sl_socket_listen(&l7_address, false, &f->listen_fd, &f->upstream, &err) == SL_OK);
    l7_begin_pool(f);
    l7_begin_view(f);
    l7_check(sl_l7_take_view(f->w, &f->view) == NULL);
    l7_check(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair) == 0);
    f->client.fd = pair[0];
    f->listener->refs_n = 1;
    sl_h1_downstream_open(f->w, f->listener, pair[1], &from);
}

/* True: there was something to hear. */
static inline bool l7_hear(struct l7_ear *e)
{
    if (e->fd < 0 || e->ended) {
        return false;
    }
    if (e->text == NULL) {
        e->text = malloc(L7_HEARD_MAX_BYTES);
        l7_check(e->text != NULL);
    }
    l7_check(e->len < L7_HEARD_MAX_BYTES);
    ssize_t n = recv(e->fd, e->text + e->len, L7_HEARD_MAX_BYTES - e->len, MSG_DONTWAIT);
    if (n > 0) {
        e->len += (size_t)n;
        return true;
    }
    if (n == 0 || errno != EAGAIN) {
        e->ended = true;
        e->reset = n < 0;
        return true;
    }
    return false;
}

static inline void l7_hang_up(struct l7_ear *e)
{
    if (e->fd >= 0) {
        (void)close(e->fd);
        e->fd = -1;
    }
}

static inline bool l7_turn(struct l7_fixture *f)
{
    struct sl_address from;
    int fd;

    sl_loop_run_once(f->loop);
    bool news = l7_hear(&f->client);
    while (sl_socket_accept(f->listen_fd, &fd, &from) == SL_OK) {
        l7_check(f->ups_n < L7_UPSTREAMS_MAX_N);
        f->ups[f->ups_n++] = (struct l7_ear){.fd = fd};
        news = true;
    }
    for (size_t i = 0; i < f->ups_n; i++) {
        if (l7_hear(&f->ups[i])) {
            (void)f->on_upstream(f, i);
            news = true;
        }
    }
    return news;
}

static inline void l7_until_quiet(struct l7_fixture *f)
{
    unsigned quiet_n = 0;

    for (int i = 0; quiet_n < L7_QUIET_TURNS_N; i++) {
        l7_check(i < L7_TURNS_MAX_N); /* two sides that talk without end */
        quiet_n = l7_turn(f) ? 0 : quiet_n + 1;
    }
}

/* Lets time pass; what comes due happens. */
static inline void l7_pass(struct l7_fixture *f, uint64_t ms)
{
    l7_clock_ms += ms;
    sl_loop_run_once(f->loop); /* reads the clock */
    sl_wheel_advance(sl_loop_wheel(f->loop), sl_loop_now_ms(f->loop));
}

/* Lets time pass until the client's connection is closed: nothing waits for ever. What comes due
 * may wait for something new: a timeout, the back-off of its retry, the idle time after the answer.
 */
static inline void l7_pass_all(struct l7_fixture *f)
{
    for (uint64_t i = 1; i <= L7_WAITS_MAX_N && atomic_load(&f->w->open_n) > 0; i++) {
        l7_pass(f, L7_LONGEST_MS);
        l7_until_quiet(f);
    }
    l7_check(atomic_load(&f->w->open_n) == 0);
}

/* Bytes from a side that does not care whether anybody listens. */
static inline void l7_say(struct l7_ear *e, const void *bytes, size_t len)
{
    if (e->fd >= 0) {
        (void)send(e->fd, bytes, len, MSG_NOSIGNAL | MSG_DONTWAIT);
    }
}

static inline uint32_t l7_in_flight(const struct l7_fixture *f)
{
    l7_check(f->pool->endpoints.n == 1);
    return atomic_load(&f->pool->endpoints.items[0]->in_flight_n);
}

/* Cuts what still runs; everything that was counted came back. */
static inline void l7_end(struct l7_fixture *f)
{
    sl_l7_close_all(f->w);
    l7_check(l7_in_flight(f) == 0);
    l7_check(atomic_load(&f->w->open_n) == 0);
    sl_l7_leave(f->w);
    sl_loop_run_once(f->loop);
    l7_check(f->views_released_n == 1);
    l7_check(f->pool->sets_n == 0);
    l7_check(f->pool->retries.running_n == 0);
    l7_check(f->listener->refs_n == 0);
    l7_check(f->w->chunks.used_n == 0);
    l7_hang_up(&f->client);
    free(f->client.text);
    for (size_t i = 0; i < f->ups_n; i++) {
        l7_hang_up(&f->ups[i]);
        free(f->ups[i].text);
    }
    (void)close(f->listen_fd);
    sl_l7_free(f->w);
    sl_loop_free(f->loop);
    sl_pool_free(f->pool);
    sl_listener_free(f->listener); /* and its series */
    sl_series_unref(&f->process);
    sl_series_unref(&f->of_pool);
    sl_series_unref(&f->of_route);
    sl_registry_free(f->registry);
}

#endif
