/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One worker on one loop, a client on a socket pair, an upstream on the loopback: what the exchange
 * does where an integration test could not choose the moment.
 */
#include <sluiced/err.h>
#include <sluiced/metrics.h>

#include "proxy/base/alloc.h"
#include "proxy/io/socket.h"
#include "proxy/l7/access_log.h"
#include "proxy/l7/exchange.h"
#include "proxy/l7/h1_downstream.h"
#include "proxy/l7/h1_downstream_internal.h"
#include "tests/unit/check.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define TURNS_MAX_N 2000

struct fixture {
    struct sl_loop *loop;
    struct sl_registry *registry;
    struct sl_series *process;
    struct sl_series *of_listener;
    struct sl_series *of_pool;
    struct sl_series *of_route;
    struct sl_access_log *log;
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
    int upstream_fd; /* listens */
    struct sl_address upstream;
    int client_fd;
    FILE *log_file;
};

static struct fixture *now; /* on_view_done knows no other way */

/* At once, where the control thread would be as fast as it can be. */
static void on_set_done(struct sl_published *p)
{
    sl_pool_free_set(sl_container_of(p, struct sl_endpoint_set, published));
}

static void on_view_done(struct sl_published *p)
{
    assert_ptr_equal(p, &now->view.published);
    now->views_released_n++;
}

static void publish(struct fixture *f, size_t endpoints_n)
{
    struct sl_found found = {.address = f->upstream, .weight = 1};
    struct sl_snapshot s = {.items = &found, .n = endpoints_n};
    struct sl_endpoint_set *set;
    struct sl_error err;

    assert_int_equal(sl_pool_build_set(f->pool, &s, &f->pool_conf, &set, &err), SL_OK);
    sl_l7_take_set(f->w, f->pool, set);
}

static void begin_series(struct fixture *f)
{
    const char *one[] = {"edge"};
    const char *three[] = {"edge", "all", "chat"};

    assert_int_equal(sl_registry_new(1, &f->registry), SL_OK);
    assert_int_equal(sl_series_get(f->registry, SL_SCOPE_PROCESS, NULL, &f->process), SL_OK);
    assert_int_equal(sl_series_get(f->registry, SL_SCOPE_LISTENER, one, &f->of_listener), SL_OK);
    assert_int_equal(sl_series_get(f->registry, SL_SCOPE_POOL, one, &f->of_pool), SL_OK);
    assert_int_equal(sl_series_get(f->registry, SL_SCOPE_ROUTE, three, &f->of_route), SL_OK);
}

static void begin_view(struct fixture *f)
{
    size_t bytes = sizeof(*f->listener) + sizeof(f->listener->cells[0]);

    f->pool_conf = (struct sl_pool_config){
        .name = "chat",
        .balance = "round_robin",
        .timeouts = {.connect_ms = 60000, .first_byte_ms = 300000, .keepalive_idle_ms = 60000},
    };
    f->route_conf = (struct sl_route_config){
        .name = "all",
        .path = "/",
        .sides_n = 1,
        .max_body_bytes = UINT64_MAX,
        .retry = {.attempts_n = 1, .backoff_min_ms = 25, .backoff_max_ms = 250},
    };
    f->listener_conf =
        (struct sl_listener_config){.name = "edge", .timeouts = {10000, 60000, 60000, 75000}};
    f->listener = sl_alloc_aligned(64, (bytes + 63) & ~(size_t)63);
    assert_non_null(f->listener);
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
    sl_published_init(&f->view.published, 1, on_view_done);
}

static void begin(struct fixture *f)
{
    struct sl_address any = {.host = "127.0.0.1"};
    struct sl_address from = {.host = "192.0.2.1", .port = 1};
    struct sl_error err;
    int pair[2];

    memset(f, 0, sizeof(*f));
    now = f;
    assert_int_equal(sl_loop_new(&f->loop), SL_OK);
    begin_series(f);
    f->log_file = tmpfile();
    assert_non_null(f->log_file);
    assert_int_equal(sl_access_log_new(f->loop, fileno(f->log_file), f->process, 0, &f->log),
                     SL_OK);
    assert_int_equal(sl_l7_new(f->loop, 0, 1, &f->w, f->log, f->process, &f->w), SL_OK);
    assert_int_equal(sl_socket_listen(&any, false, &f->upstream_fd, &f->upstream, &err), SL_OK);
    assert_int_equal(sl_pool_new("chat", 1, &f->ids, on_set_done, &f->pool), SL_OK);
    begin_view(f);
    publish(f, 1);
    assert_null(sl_l7_take_view(f->w, &f->view));
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair), 0);
    f->client_fd = pair[0];
    f->listener->refs_n = 1;
    sl_h1_downstream_open(f->w, f->listener, pair[1], &from);
}

/* Everything that was counted came back. */
static void end(struct fixture *f)
{
    sl_l7_close_all(f->w);
    sl_l7_leave(f->w);
    sl_loop_run_once(f->loop);
    assert_int_equal(f->views_released_n, 1);
    assert_int_equal(f->pool->sets_n, 0);
    assert_int_equal(f->pool->retries.running_n, 0);
    assert_int_equal(f->pool->queue.bytes, 0);
    assert_int_equal(f->pool->connections.open_n, 0);
    assert_int_equal(f->listener->refs_n, 0);
    assert_int_equal(f->w->open_n, 0);
    (void)close(f->client_fd);
    (void)close(f->upstream_fd);
    sl_l7_free(f->w);
    sl_access_log_free(f->log);
    sl_loop_free(f->loop);
    sl_pool_free(f->pool);
    sl_listener_free(f->listener); /* and its series */
    sl_series_unref(&f->process);
    sl_series_unref(&f->of_pool);
    sl_series_unref(&f->of_route);
    sl_registry_free(f->registry);
    assert_int_equal(fclose(f->log_file), 0);
}

static void say(int fd, const char *text)
{
    assert_int_equal(send(fd, text, strlen(text), MSG_NOSIGNAL), (ssize_t)strlen(text));
}

/* A turn, with time for the kernel to carry bytes over the loopback. */
static void turn(struct fixture *f)
{
    sl_loop_run_once(f->loop);
    (void)poll(NULL, 0, 1); /* deadlines need the clock to move */
}

static int accept_upstream(struct fixture *f)
{
    struct sl_address from;
    int fd = -1;

    for (int i = 0; i < TURNS_MAX_N && sl_socket_accept(f->upstream_fd, &fd, &from) != SL_OK; i++) {
        turn(f);
    }
    assert_true(fd >= 0);
    return fd;
}

/* Turns until fd has had so many bytes, or the end; what came is in buf, terminated. */
static size_t hear(struct fixture *f, int fd, char *buf, size_t size_bytes, const char *until)
{
    size_t len = 0;

    buf[0] = '\0';
    for (int i = 0; i < TURNS_MAX_N && strstr(buf, until) == NULL; i++) {
        turn(f);
        ssize_t n = recv(fd, buf + len, size_bytes - 1 - len, MSG_DONTWAIT);
        if (n > 0) {
            len += (size_t)n;
            buf[len] = '\0';
        }
    }
    check(strstr(buf, until) != NULL, "no %s in %s", until, buf);
    return len;
}

static void an_endpoint_that_goes_while_a_retry_waits_may_still_be_named_in_the_log(void **state)
{
    struct fixture f;
    char text[4096];
    char port[32];
    (void)state;

    begin(&f);
    say(f.client_fd, "GET /a HTTP/1.1\r\nHost: a\r\n\r\n");
    int up = accept_upstream(&f);
    (void)hear(&f, up, text, sizeof(text), "\r\n\r\n");
    sl_socket_reset_on_close(up);
    sl_socket_close(up);
    uint64_t failures_n = 0;
    for (int i = 0; i < TURNS_MAX_N && failures_n == 0; i++) {
        sl_loop_run_once(f.loop);
        failures_n = sl_pool_stat(f.pool, SL_POOL_FAILURES);
    }
    assert_int_equal(failures_n, 1);
    publish(&f, 0); /* discovery takes it away, the back-off has at most 25 ms to go */
    (void)hear(&f, f.client_fd, text, sizeof(text), "}}");
    check(strncmp(text, "HTTP/1.1 502 ", 13) == 0, "%s", text);
    assert_int_equal(sl_series_sum(f.of_pool, SL_POOL_RETRIES), 0); /* nobody to send it to */
    sl_access_log_set_fd(f.log, -1);                                /* writes what it has */
    ssize_t n = pread(fileno(f.log_file), text, sizeof(text) - 1, 0);
    assert_true(n > 0);
    text[n] = '\0';
    (void)snprintf(port, sizeof(port), "\"127.0.0.1:%u\"", f.upstream.port); /* fits */
    check(strstr(text, port) != NULL, "no %s in %s", port, text);
    end(&f);
}

static void an_upload_that_the_upstream_does_not_take_is_no_fault_of_the_client(void **state)
{
    static char piece[65536];
    struct fixture f;
    char text[256];
    (void)state;

    begin(&f);
    say(f.client_fd, "POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 100000000\r\n\r\n");
    int up = accept_upstream(&f);
    unsigned quiet_n = 0;
    while (quiet_n < 50) { /* until everything between here and there is full */
        quiet_n = send(f.client_fd, piece, sizeof(piece), MSG_NOSIGNAL) > 0 ? 0 : quiet_n + 1;
        turn(&f);
    }
    sl_wheel_advance(sl_loop_wheel(f.loop), sl_loop_now_ms(f.loop) + 61000);
    turn(&f);
    assert_int_equal(recv(f.client_fd, text, sizeof(text), MSG_DONTWAIT), -1);
    assert_int_equal(errno, EAGAIN); /* neither an answer nor an end */
    sl_socket_close(up);
    end(&f);
}

/* The end of a kept connection arrives between our look at it and our first byte: the kernel then
 * refuses the byte, and a request of which nothing left may be sent again, whatever it is. */
static void a_generation_of_which_nothing_was_sent_goes_to_a_new_connection(void **state)
{
    struct fixture f;
    char text[4096];
    (void)state;

    begin(&f);
    say(f.client_fd, "GET /first HTTP/1.1\r\nHost: a\r\n\r\n");
    int up = accept_upstream(&f);
    (void)hear(&f, up, text, sizeof(text), "\r\n\r\n");
    say(up, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    (void)hear(&f, f.client_fd, text, sizeof(text), "ok");

    say(f.client_fd, "POST /second HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc");
    sl_socket_reset_on_close(up);
    sl_socket_close(up);
    /* As if the request had been read before the reset was seen. */
    struct sl_h1_downstream *c =
        sl_container_of(f.w->downstreams.next, struct sl_h1_downstream, link);
    sl_h1_downstream_on_readable(&c->stream);
    up = accept_upstream(&f);
    (void)hear(&f, up, text, sizeof(text), "abc");
    check(strncmp(text, "POST /second ", 13) == 0, "%s", text);
    say(up, "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ndone");
    (void)hear(&f, f.client_fd, text, sizeof(text), "done");
    assert_int_equal(sl_pool_stat(f.pool, SL_POOL_FAILURES), 0);
    assert_int_equal(sl_series_sum(f.of_pool, SL_POOL_CONNECT_FAILURES), 0);
    sl_socket_close(up);
    end(&f);
}

static size_t allocations_n;

static bool count_allocation(size_t size_bytes)
{
    (void)size_bytes;
    allocations_n++;
    return true;
}

/* Beyond what one costs that is refused at once: the exchange. */
static void a_request_that_waits_costs_no_memory(void **state)
{
    struct fixture f;
    char text[4096];
    size_t refused_n = 0;
    (void)state;

    begin(&f);
    publish(&f, 0);
    for (int i = 0; i < 3; i++) { /* the first takes memory that is kept for the next */
        allocations_n = 0;
        sl_alloc_hook = count_allocation;
        say(f.client_fd, "GET /a HTTP/1.1\r\nHost: a\r\n\r\n");
        (void)hear(&f, f.client_fd, text, sizeof(text), "}}");
        sl_alloc_hook = NULL;
        check(strstr(text, "\"no_endpoint\"") != NULL, "%s", text);
        refused_n = allocations_n;
    }
    f.pool_conf.queue = (struct sl_queue_config){.size_n = 1, .bytes = 65536, .timeout_ms = 5000};
    allocations_n = 0;
    sl_alloc_hook = count_allocation;
    say(f.client_fd, "GET /b HTTP/1.1\r\nHost: a\r\n\r\n");
    for (int i = 0; i < TURNS_MAX_N && sl_pool_queue_waiting_n(&f.pool->queue) == 0; i++) {
        turn(&f);
    }
    sl_alloc_hook = NULL;
    assert_int_equal(sl_pool_queue_waiting_n(&f.pool->queue), 1);
    assert_int_equal(f.view_cell.published.pins_n, 1);
    check(allocations_n <= refused_n, "%zu allocations, %zu for one refused", allocations_n,
          refused_n);
    publish(&f, 1);
    int up = accept_upstream(&f);
    (void)hear(&f, up, text, sizeof(text), "\r\n\r\n");
    check(strncmp(text, "GET /b ", 7) == 0, "%s", text);
    assert_int_equal(sl_pool_queue_waiting_n(&f.pool->queue), 0);
    sl_socket_close(up);
    end(&f);
}

static size_t allocated_bytes;

static bool add_allocation(size_t size_bytes)
{
    allocated_bytes += size_bytes;
    return true;
}

/* What docs/architecture.md says of one that waits: nothing that was taken for earlier ones is
 * used, and the free chunk aside, all that it holds beside its head is less than 1 KiB. */
static void a_request_that_waits_costs_less_than_a_kibibyte_beside_its_head(void **state)
{
    static const char *const heads[] = {
        "GET /a HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /v1/models?limit=20&after=abcdefgh HTTP/1.1\r\nHost: gateway.example.com\r\n"
        "User-Agent: client/1.62.0 (linux; x86_64) runtime/3.11\r\nAccept: application/json\r\n"
        "Authorization: Bearer 0123456789abcdef0123456789abcdef0123456789abcdef\r\n"
        "Accept-Encoding: gzip, deflate, br\r\nX-Session-Id: 0123456789abcdef\r\n\r\n",
    };
    (void)state;

    for (size_t i = 0; i < SL_ARRAY_LEN(heads); i++) {
        struct fixture f;
        begin(&f);
        publish(&f, 0);
        f.pool_conf.queue =
            (struct sl_queue_config){.size_n = 1, .bytes = 65536, .timeout_ms = 5000};
        turn(&f); /* the connection is there */
        allocated_bytes = 0;
        sl_alloc_hook = add_allocation;
        say(f.client_fd, heads[i]);
        for (int t = 0; t < TURNS_MAX_N && sl_pool_queue_waiting_n(&f.pool->queue) == 0; t++) {
            turn(&f);
        }
        sl_alloc_hook = NULL;
        size_t head_bytes = (size_t)sl_pool_queue_bytes(&f.pool->queue);
        check(head_bytes > strlen(heads[i]), "%zu bytes of a head", head_bytes);
        size_t most_bytes = head_bytes + 1024;
#ifdef __SANITIZE_ADDRESS__
        most_bytes *= 2; /* an arena has a block for each item then, beside the room for them */
#endif
        check(allocated_bytes < most_bytes, "%zu bytes beside %zu", allocated_bytes, head_bytes);
        end(&f);
    }
}

static void who_waits_when_the_process_ends_is_forgotten(void **state)
{
    struct fixture f;
    (void)state;

    begin(&f);
    publish(&f, 0);
    f.pool_conf.queue = (struct sl_queue_config){.size_n = 1, .bytes = 65536, .timeout_ms = 5000};
    uint64_t said_ms = sl_loop_now_ms(f.loop);
    say(f.client_fd, "POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nab");
    for (int i = 0; i < TURNS_MAX_N && sl_pool_queue_waiting_n(&f.pool->queue) == 0; i++) {
        turn(&f);
    }
    sl_wheel_advance(sl_loop_wheel(f.loop), said_ms + 4000);
    turn(&f);
    assert_int_equal(sl_pool_queue_waiting_n(&f.pool->queue), 1);
    end(&f); /* by the end of the drain */
    assert_int_equal(f.view_cell.published.pins_n, 0);
}

/* Or a storm of them would let as many retries through to a pool that has no room as it is. */
static void requests_that_are_refused_earn_no_retries(void **state)
{
    struct fixture f;
    char text[4096];
    (void)state;

    begin(&f);
    publish(&f, 0);
    for (int i = 0; i < 25; i++) {
        say(f.client_fd, "GET /a HTTP/1.1\r\nHost: a\r\n\r\n");
        (void)hear(&f, f.client_fd, text, sizeof(text), "}}");
    }
    for (int i = 0; i < 4; i++) { /* three may always run */
        bool granted = sl_retry_budget_try(&f.pool->retries, 0, sl_loop_now_ms(f.loop));
        check(granted == (i < 3), "number %d: %d", i, granted);
    }
    for (int i = 0; i < 3; i++) {
        sl_retry_budget_done(&f.pool->retries);
    }
    end(&f);
}

static void what_a_client_that_leaves_had_taken_is_given_back(void **state)
{
    static const char upload[] =
        "PUT /a HTTP/1.1\r\nHost: a\r\n"
        "Transfer-Encoding: chunked\r\n\r\n3\r\nab";
    static const char *const leave_after[] = {"GET /a HT", "GET /a HTTP/1.1\r\nHost: a\r\n\r\n",
                                              upload};
    (void)state;

    for (size_t i = 0; i < SL_ARRAY_LEN(leave_after); i++) {
        struct fixture f;
        begin(&f);
        say(f.client_fd, leave_after[i]);
        for (int t = 0; t < 5; t++) {
            turn(&f);
        }
        assert_int_equal(shutdown(f.client_fd, SHUT_RDWR), 0);
        for (int t = 0; t < TURNS_MAX_N && f.w->open_n > 0; t++) {
            turn(&f);
        }
        check(f.w->open_n == 0, "left after %s: not seen", leave_after[i]);
        assert_int_equal(f.view_cell.published.pins_n, 0);
        assert_int_equal(f.w->chunks.used_n, 0);
        end(&f);
    }
}

struct copy {
    const char *what;
    const char *method;
    uint32_t attempts_n;
    bool replays_generations;
    bool fails_first; /* on a kept connection, which ends instead of an answer */
    bool has_head;    /* of an event stream, which is held */
    bool is_kept;
};

/* Whether a copy of the body is there once all of it was sent, and before there is an answer. */
static void check_copy(const struct copy *c)
{
    enum {
        BODY_BYTES = 30000
    };
    static char request[BODY_BYTES + 256];
    static char text[BODY_BYTES + 1024];
    struct fixture f;

    begin(&f);
    f.route_conf.retry.attempts_n = c->attempts_n;
    f.route_conf.replays_generations = c->replays_generations;
    size_t len = (size_t)snprintf(request, sizeof(request),
                                  "%s /a HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n",
                                  c->method, BODY_BYTES);
    memset(request + len, 'x', BODY_BYTES - 1);
    memcpy(request + len + BODY_BYTES - 1, "!", 2);
    if (c->fails_first) {
        say(f.client_fd, "GET /first HTTP/1.1\r\nHost: a\r\n\r\n");
    } else {
        say(f.client_fd, request);
    }
    int up = accept_upstream(&f);
    if (c->fails_first) {
        (void)hear(&f, up, text, sizeof(text), "\r\n\r\n");
        say(up, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
        (void)hear(&f, f.client_fd, text, sizeof(text), "ok");
        say(f.client_fd, request);
    }
    (void)hear(&f, up, text, sizeof(text), "x!");
    if (c->fails_first) {
        sl_socket_reset_on_close(up);
        sl_socket_close(up);
        up = accept_upstream(&f);
        (void)hear(&f, up, text, sizeof(text), "x!");
    }
    if (c->has_head) {
        say(up,
            "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
            "Transfer-Encoding: chunked\r\n\r\n");
    }
    for (int i = 0; i < 20; i++) {
        turn(&f);
    }
    size_t kept_bytes = c->is_kept ? BODY_BYTES : 0;
    check(f.w->replay_bytes == kept_bytes, "%s: %zu bytes, not %zu", c->what, f.w->replay_bytes,
          kept_bytes);
    assert_true(c->is_kept || f.w->chunks.used_n == 0);
    sl_socket_close(up);
    end(&f);
}

static void a_body_is_kept_for_as_long_as_an_answer_could_ask_for_it(void **state)
{
    static const struct copy copies[] = {
        {"may be refused", "POST", 1, .is_kept = true},
        {"may not be sent again", "POST", 0, .is_kept = false},
        {"was not refused", "POST", 1, .has_head = true},
        {"may be generated again", "POST", 1, true, .has_head = true, .is_kept = true},
        {"was the last attempt", "PUT", 0, .fails_first = true},
        {"was not the last one", "PUT", 1, .fails_first = true, .is_kept = true},
    };
    (void)state;

    for (size_t i = 0; i < SL_ARRAY_LEN(copies); i++) {
        check_copy(&copies[i]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_endpoint_that_goes_while_a_retry_waits_may_still_be_named_in_the_log),
        cmocka_unit_test(an_upload_that_the_upstream_does_not_take_is_no_fault_of_the_client),
        cmocka_unit_test(a_generation_of_which_nothing_was_sent_goes_to_a_new_connection),
        cmocka_unit_test(a_request_that_waits_costs_no_memory),
        cmocka_unit_test(a_request_that_waits_costs_less_than_a_kibibyte_beside_its_head),
        cmocka_unit_test(who_waits_when_the_process_ends_is_forgotten),
        cmocka_unit_test(requests_that_are_refused_earn_no_retries),
        cmocka_unit_test(what_a_client_that_leaves_had_taken_is_given_back),
        cmocka_unit_test(a_body_is_kept_for_as_long_as_an_answer_could_ask_for_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
