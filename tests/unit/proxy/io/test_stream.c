/* SPDX-License-Identifier: Apache-2.0 */
#include "ends.h"

#include "proxy/io/socket.h"
#include "tests/unit/check.h"

#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define LARGE_BYTES ((size_t)600 * 1000)

static unsigned char *pattern(size_t len)
{
    unsigned char *p = malloc(len);

    assert_non_null(p);
    for (size_t i = 0; i < len; i++) {
        p[i] = (unsigned char)(i * 7 + (i >> 8));
    }
    return p;
}

static bool b_got_all(struct ends *e)
{
    return e->b.got_n == LARGE_BYTES;
}

static void a_slow_reader_makes_the_sender_high_until_it_is_drained(void **state)
{
    unsigned char *body = pattern(LARGE_BYTES);
    struct ends e;
    (void)state;

    ends_init(&e, LARGE_BYTES);
    ends_open_plain(&e, 4096);
    assert_int_equal(e.a.open_code, SL_OK);
    sl_stream_read_off(&e.b.stream);
    end_send(&e.a, body, 100);
    assert_int_equal(sl_stream_unsent(&e.a.stream), 0);
    assert_false(sl_stream_is_high(&e.a.stream));
    end_send(&e.a, body + 100, LARGE_BYTES - 100);
    check(sl_stream_unsent(&e.a.stream) > SL_STREAM_HIGH_BYTES, "%zu unsent",
          sl_stream_unsent(&e.a.stream));
    assert_true(sl_stream_is_high(&e.a.stream));
    ends_turn(&e, 10);
    assert_int_equal(e.a.drained_n, 0);
    assert_int_equal(e.b.reads_n, 0);
    sl_stream_read_on(&e.b.stream);
    ends_turn_until(&e, b_got_all, "body");
    assert_memory_equal(e.b.got, body, LARGE_BYTES);
    assert_int_equal(e.a.drained_n, 2); /* at the low mark, and when all was sent */
    check(e.a.drained_at[0] > 0 && e.a.drained_at[0] <= SL_STREAM_LOW_BYTES, "at %zu bytes",
          e.a.drained_at[0]);
    assert_int_equal(e.a.drained_at[1], 0);
    assert_false(sl_stream_is_high(&e.a.stream));
    assert_int_equal(e.chunks.used_n, 0); /* an idle stream holds none */
    ends_turn(&e, 3);
    assert_int_equal(e.a.drained_n, 2);
    ends_fini(&e);
    free(body);
}

static void who_was_not_high_is_drained_when_all_was_sent(void **state)
{
    unsigned char *body = pattern(LARGE_BYTES);
    struct ends e;
    (void)state;

    ends_init(&e, LARGE_BYTES);
    ends_open_plain(&e, 4096);
    end_send(&e.a, body, LARGE_BYTES); /* and nobody asks whether it is high */
    ends_turn_until(&e, b_got_all, "body");
    assert_int_equal(e.a.drained_n, 1);
    assert_int_equal(e.a.drained_at[0], 0);
    ends_fini(&e);
    free(body);
}

static void vectors_keep_their_order_behind_bytes_that_wait(void **state)
{
    unsigned char *body = pattern(LARGE_BYTES);
    struct ends e;
    (void)state;

    ends_init(&e, LARGE_BYTES);
    ends_open_plain(&e, 4096);
    for (size_t at = 0; at < LARGE_BYTES; at += 3000) {
        struct iovec iov[] = {
            {body + at, 1},
            {body + at + 1, 0},
            {body + at + 1, 999},
            {body + at + 1000, 2000},
        };
        sl_stream_send(&e.a.stream, iov, SL_ARRAY_LEN(iov));
        sl_loop_run_once(e.loop);
    }
    ends_turn_until(&e, b_got_all, "body");
    assert_memory_equal(e.b.got, body, LARGE_BYTES);
    ends_fini(&e);
    free(body);
}

static bool a_broke(struct ends *e)
{
    return e->a.broken_n > 0;
}

static void a_send_that_fails_is_told_at_the_end_of_the_turn_and_once(void **state)
{
    struct ends e;
    (void)state;

    ends_init(&e, 100);
    ends_open_plain(&e, 0);
    sl_stream_close(&e.b.stream);
    end_send(&e.a, "x", 1);
    end_send(&e.a, "y", 1);
    assert_int_equal(e.a.broken_n, 0); /* nobody is closed under its own feet */
    ends_turn_until(&e, a_broke, "on_broken");
    assert_int_equal(e.a.broken_code, SL_ERESET);
    end_send(&e.a, "z", 1);
    ends_turn(&e, 3);
    assert_int_equal(e.a.broken_n, 1);
    assert_int_equal(sl_stream_unsent(&e.a.stream), 0);
    ends_fini(&e);
}

static void a_closed_stream_hears_nothing_of_a_send_that_failed(void **state)
{
    struct ends e;
    (void)state;

    ends_init(&e, 100);
    ends_open_plain(&e, 0);
    sl_stream_close(&e.b.stream);
    end_send(&e.a, "x", 1);
    sl_stream_close(&e.a.stream);
    end_send(&e.a, "x", 1);
    ends_turn(&e, 3);
    assert_int_equal(e.a.broken_n, 0);
    assert_int_equal(e.a.reads_n, 0);
    ends_fini(&e);
}

static void a_queue_without_room_breaks_the_stream(void **state)
{
    unsigned char *body = pattern(LARGE_BYTES);
    struct ends e;
    (void)state;

    ends_init(&e, LARGE_BYTES);
    sl_chunk_pool_init(&e.chunks, (size_t)10 * SL_CHUNK_BYTES, 0);
    ends_open_plain(&e, 4096);
    sl_stream_read_off(&e.b.stream);
    end_send(&e.a, body, LARGE_BYTES);
    ends_turn_until(&e, a_broke, "on_broken");
    assert_int_equal(e.a.broken_code, SL_ELIMIT);
    ends_fini(&e);
    free(body);
}

static void the_end_comes_after_the_bytes_before_it(void **state)
{
    struct ends e;
    (void)state;

    ends_init(&e, 100);
    ends_open_plain(&e, 0);
    e.b.read_max = 3;
    end_send(&e.a, "0123456789", 10);
    sl_stream_close(&e.a.stream);
    ends_turn(&e, 10);
    assert_int_equal(e.b.got_n, 10);
    assert_int_equal(e.b.read_code, SL_ECLOSED);
    ends_fini(&e);
}

static void open_tcp(struct ends *e, int *listen_fd)
{
    static const struct sl_address any = {.host = "127.0.0.1"};
    struct sl_address bound;
    struct sl_address from;
    struct sl_error err;
    int fd = -1;
    int accepted = -1;

    assert_int_equal(sl_socket_listen(&any, false, listen_fd, &bound, &err), SL_OK);
    int rc = sl_socket_connect(&bound, &fd);
    check(rc == SL_AGAIN || rc == SL_OK, "connect: %s", sl_err_name(rc));
    struct pollfd p = {.fd = *listen_fd, .events = POLLIN};
    assert_int_equal(poll(&p, 1, 5000), 1);
    assert_int_equal(sl_socket_accept(*listen_fd, &accepted, &from), SL_OK);
    end_open(e, &e->a, accepted, NULL);
    end_open_connecting(e, &e->b, fd);
}

static bool b_ended(struct ends *e)
{
    return e->b.read_code != SL_OK;
}

static void bytes_sent_before_the_connect_is_decided_leave_after_it(void **state)
{
    struct ends e;
    int l = -1;
    (void)state;

    ends_init(&e, 100);
    open_tcp(&e, &l);
    assert_int_equal(e.b.open_code, ENDS_PENDING);
    end_send(&e.b, "early", 5);
    assert_int_equal(sl_stream_unsent(&e.b.stream), 5);
    ends_turn_until(&e, ends_both_decided, "connect");
    assert_int_equal(e.b.open_code, SL_OK);
    for (int i = 0; i < 1000 && e.a.got_n < 5; i++) {
        ends_turn(&e, 1);
    }
    assert_int_equal(e.a.got_n, 5);
    assert_memory_equal(e.a.got, "early", 5);
    ends_fini(&e);
    (void)close(l); /* a test's socket */
}

static void a_reset_is_told_from_an_end(void **state)
{
    struct ends e;
    int l = -1;
    (void)state;

    ends_init(&e, 100);
    open_tcp(&e, &l);
    ends_turn_until(&e, ends_both_decided, "connect");
    sl_stream_reset(&e.a.stream);
    ends_turn_until(&e, b_ended, "end");
    assert_int_equal(e.b.read_code, SL_ERESET);
    ends_fini(&e);
    (void)close(l); /* a test's socket */
}

static void a_connect_that_is_refused_opens_with_the_reason(void **state)
{
    static const struct sl_address any = {.host = "127.0.0.1"};
    struct sl_address bound;
    struct sl_error err;
    struct ends e;
    int l = -1;
    int fd = -1;
    (void)state;

    ends_init(&e, 100);
    assert_int_equal(sl_socket_listen(&any, false, &l, &bound, &err), SL_OK);
    (void)close(l); /* from now on nobody listens there */
    int rc = sl_socket_connect(&bound, &fd);
    if (rc == SL_AGAIN) {
        end_open_connecting(&e, &e.b, fd);
        e.a.open_code = SL_OK;
        ends_turn_until(&e, ends_both_decided, "connect");
        rc = e.b.open_code;
        assert_int_equal(e.b.opens_n, 1);
    }
    assert_int_equal(rc, SL_EREFUSED);
    ends_fini(&e);
}

/* A transport that holds bytes which no readiness of the fd announces. */
static unsigned held_n;

static ssize_t read_held(struct sl_stream *s, void *buf, size_t len)
{
    (void)s;
    if (held_n == 0) {
        return SL_AGAIN;
    }
    check(len > 0, "no room");
    *(unsigned char *)buf = 'h';
    held_n--;
    return 1;
}

static bool pending_held(const struct sl_stream *s)
{
    (void)s;
    return held_n > 0;
}

static bool none_held(struct ends *e)
{
    return held_n == 0 && e->b.got_n == 100;
}

static void bytes_inside_the_transport_are_read_over_several_turns(void **state)
{
    struct sl_transport_ops holding = sl_transport_plain;
    struct ends e;
    (void)state;

    holding.read = read_held;
    holding.pending = pending_held;
    ends_init(&e, 100);
    ends_open_plain(&e, 0);
    held_n = 100;
    e.b.stream.transport = &holding;
    sl_stream_read_off(&e.b.stream);
    sl_stream_read_on(&e.b.stream);
    assert_int_equal(e.b.got_n, 0);
    sl_loop_run_once(e.loop);
    check(e.b.got_n > 0 && e.b.got_n < 100, "%zu in one turn: others had none", e.b.got_n);
    sl_stream_read_off(&e.b.stream);
    size_t before_n = e.b.got_n;
    ends_turn(&e, 3);
    assert_int_equal(e.b.got_n, before_n);
    sl_stream_read_on(&e.b.stream);
    ends_turn_until(&e, none_held, "rest");
    ends_fini(&e);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_slow_reader_makes_the_sender_high_until_it_is_drained),
        cmocka_unit_test(who_was_not_high_is_drained_when_all_was_sent),
        cmocka_unit_test(vectors_keep_their_order_behind_bytes_that_wait),
        cmocka_unit_test(a_send_that_fails_is_told_at_the_end_of_the_turn_and_once),
        cmocka_unit_test(a_closed_stream_hears_nothing_of_a_send_that_failed),
        cmocka_unit_test(a_queue_without_room_breaks_the_stream),
        cmocka_unit_test(the_end_comes_after_the_bytes_before_it),
        cmocka_unit_test(bytes_sent_before_the_connect_is_decided_leave_after_it),
        cmocka_unit_test(a_reset_is_told_from_an_end),
        cmocka_unit_test(a_connect_that_is_refused_opens_with_the_reason),
        cmocka_unit_test(bytes_inside_the_transport_are_read_over_several_turns),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
