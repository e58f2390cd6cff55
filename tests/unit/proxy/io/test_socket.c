/* SPDX-License-Identifier: Apache-2.0 */
#include "proxy/io/socket.h"
#include "tests/unit/check.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

static int listen_on(const struct sl_address *a, bool client_first, struct sl_address *bound)
{
    struct sl_error err = {0};
    int fd = -1;
    int rc = sl_socket_listen(a, client_first, &fd, bound, &err);

    check(rc == SL_OK, "%s: %s", a->host, err.message);
    return fd;
}

static void wait_for(int fd, short events)
{
    struct pollfd p = {.fd = fd, .events = events};

    check(poll(&p, 1, 5000) == 1, "fd %d: nothing in 5 s", fd);
}

static int connect_to(const struct sl_address *a)
{
    int fd = -1;
    int rc = sl_socket_connect(a, &fd);

    check(rc == SL_OK || rc == SL_AGAIN, "connect: %s", sl_err_name(rc));
    if (rc == SL_AGAIN) {
        wait_for(fd, POLLOUT);
    }
    assert_int_equal(sl_socket_connected(fd), SL_OK);
    return fd;
}

static void shut(int fd)
{
    (void)close(fd); /* a test's socket */
}

static int option(int fd, int level, int name)
{
    int value = -1;
    socklen_t len = sizeof(value);

    assert_int_equal(getsockopt(fd, level, name, &value, &len), 0);
    return value;
}

static void check_flags(int fd)
{
    check((fcntl(fd, F_GETFL) & O_NONBLOCK) != 0, "fd %d blocks", fd);
    check((fcntl(fd, F_GETFD) & FD_CLOEXEC) != 0, "fd %d survives exec", fd);
}

static void tcp_of_both_families_listens_accepts_and_connects(void **state)
{
    static const struct sl_address addresses[] = {{.host = "127.0.0.1"}, {.host = "::1"}};
    (void)state;

    for (size_t i = 0; i < SL_ARRAY_LEN(addresses); i++) {
        struct sl_address bound;
        struct sl_address from;
        int accepted = -1;
        int l = listen_on(&addresses[i], false, &bound);

        check_flags(l);
        assert_string_equal(bound.host, addresses[i].host);
        check(bound.port != 0, "no port");
        assert_int_equal(sl_socket_accept(l, &accepted, &from), SL_AGAIN);
        int c = connect_to(&bound);
        check_flags(c);
        wait_for(l, POLLIN);
        assert_int_equal(sl_socket_accept(l, &accepted, &from), SL_OK);
        check_flags(accepted);
        assert_string_equal(from.host, addresses[i].host);
        check(from.port != 0 && from.port != bound.port && !from.is_unix, "port %u", from.port);
        assert_int_equal(option(accepted, IPPROTO_TCP, TCP_NODELAY), 1);
        assert_int_equal(option(c, IPPROTO_TCP, TCP_NODELAY), 1);
        assert_int_equal(sl_socket_accept(l, &accepted, &from), SL_AGAIN);
        shut(c);
        shut(accepted);
        shut(l);
    }
}

static void two_workers_listen_on_one_port(void **state)
{
    const struct sl_address any = {.host = "127.0.0.1"};
    struct sl_address first;
    struct sl_address second;
    (void)state;

    int a = listen_on(&any, false, &first);
    int b = listen_on(&first, true, &second);
    assert_int_equal(first.port, second.port);
    check(option(b, IPPROTO_TCP, TCP_DEFER_ACCEPT) > 0, "accept is not deferred");
    assert_int_equal(option(a, IPPROTO_TCP, TCP_DEFER_ACCEPT), 0);
    shut(a);
    shut(b);
}

static void what_cannot_be_listened_on_is_refused_with_words(void **state)
{
    static const struct {
        struct sl_address address;
        const char *says;
    } rows[] = {
        {{.host = "localhost", .port = 1}, "cannot understand localhost:1"},
        {{.host = "203.0.113.9", .port = 1}, "cannot listen on 203.0.113.9:1: Cannot assign"},
        {{.host = "/nonexistent/dir/s", .is_unix = true}, "No such file"},
        {{.host = "", .is_unix = true}, "cannot understand"},
    };
    (void)state;

    for (size_t i = 0; i < SL_ARRAY_LEN(rows); i++) {
        struct sl_error err = {0};
        struct sl_address bound;
        int fd = -1;
        int rc = sl_socket_listen(&rows[i].address, false, &fd, &bound, &err);
        check(rc == SL_ECONFIG && fd == -1, "%s: %s", rows[i].says, sl_err_name(rc));
        check(strstr(err.message, rows[i].says) != NULL, "\"%s\": expected \"%s\"", err.message,
              rows[i].says);
    }
}

static void connecting_where_nobody_listens_is_refused(void **state)
{
    static const struct sl_address nowhere = {.host = "not an address", .port = 80};
    static const struct sl_address no_file = {.host = "/nonexistent/socket", .is_unix = true};
    const struct sl_address any = {.host = "127.0.0.1"};
    struct sl_address bound;
    int fd = -1;
    (void)state;

    shut(listen_on(&any, false, &bound));
    int rc = sl_socket_connect(&bound, &fd);
    if (rc == SL_AGAIN) {
        wait_for(fd, POLLOUT);
        rc = sl_socket_connected(fd);
        shut(fd);
    }
    assert_int_equal(rc, SL_EREFUSED);
    assert_int_equal(sl_socket_connect(&nowhere, &fd), SL_EREFUSED);
    assert_int_equal(sl_socket_connect(&no_file, &fd), SL_EREFUSED);
}

static void unix_sockets_connect_at_once_and_stale_ones_are_replaced(void **state)
{
    char dir[] = "/tmp/sluiced-socket-XXXXXX";
    struct sl_address a = {.is_unix = true};
    struct sl_address bound;
    struct sl_address from;
    struct sl_error err = {0};
    int accepted = -1;
    int fd = -1;
    (void)state;

    assert_non_null(mkdtemp(dir));
    (void)snprintf(a.host, sizeof(a.host), "%s/s", dir);
    int l = listen_on(&a, true, &bound);
    assert_string_equal(bound.host, a.host);
    assert_int_equal(sl_socket_connect(&a, &fd), SL_OK);
    assert_int_equal(sl_socket_accept(l, &accepted, &from), SL_OK);
    assert_string_equal(from.host, "unix");
    assert_true(from.is_unix);
    shut(fd);
    shut(accepted);

    int second = -1; /* somebody listens: it is not taken away */
    assert_int_equal(sl_socket_listen(&a, false, &second, &bound, &err), SL_ECONFIG);
    check(strstr(err.message, "Address already in use") != NULL, "%s", err.message);
    shut(l); /* leaves its file behind */
    assert_int_equal(sl_socket_connect(&a, &fd), SL_EREFUSED);
    l = listen_on(&a, false, &bound);
    assert_int_equal(sl_socket_connect(&a, &fd), SL_OK);
    shut(fd);
    shut(l);
    assert_int_equal(unlink(a.host), 0);

    FILE *f = fopen(a.host, "we"); /* a file that is no socket is not ours to remove */
    assert_non_null(f);
    (void)fclose(f); /* empty */
    assert_int_equal(sl_socket_listen(&a, false, &second, &bound, &err), SL_ECONFIG);
    assert_int_equal(unlink(a.host), 0);
    assert_int_equal(rmdir(dir), 0);
}

static void a_full_unix_backlog_is_a_refusal(void **state)
{
    char dir[] = "/tmp/sluiced-socket-XXXXXX";
    struct sl_address a = {.is_unix = true};
    struct sl_address bound;
    int fds[8];
    int rc = SL_OK;
    int n = 0;
    (void)state;

    assert_non_null(mkdtemp(dir));
    (void)snprintf(a.host, sizeof(a.host), "%s/s", dir);
    int l = listen_on(&a, false, &bound);
    assert_int_equal(listen(l, 1), 0);
    while (n < 8 && rc == SL_OK) {
        rc = sl_socket_connect(&a, &fds[n]);
        n += rc == SL_OK;
    }
    assert_int_equal(rc, SL_EREFUSED);
    while (n > 0) {
        shut(fds[--n]);
    }
    shut(l);
    assert_int_equal(unlink(a.host), 0);
    assert_int_equal(rmdir(dir), 0);
}

static void a_quiet_connection_is_told_from_one_with_bytes_or_an_end(void **state)
{
    int fds[2];
    char byte = 0;
    (void)state;

    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
    assert_true(sl_socket_is_quiet(fds[0]));
    assert_int_equal(send(fds[1], "x", 1, 0), 1);
    assert_false(sl_socket_is_quiet(fds[0]));
    assert_int_equal(recv(fds[0], &byte, 1, 0), 1); /* looking took nothing */
    assert_int_equal(byte, 'x');
    assert_true(sl_socket_is_quiet(fds[0]));
    shut(fds[1]);
    assert_false(sl_socket_is_quiet(fds[0]));
    assert_false(sl_socket_is_broken(fds[0])); /* it ended in order */
    shut(fds[0]);
}

static void a_reset_reaches_the_other_side(void **state)
{
    const struct sl_address any = {.host = "127.0.0.1"};
    struct sl_address bound;
    struct sl_address from;
    int accepted = -1;
    char byte = 0;
    (void)state;

    int l = listen_on(&any, false, &bound);
    int c = connect_to(&bound);
    wait_for(l, POLLIN);
    assert_int_equal(sl_socket_accept(l, &accepted, &from), SL_OK);
    assert_false(sl_socket_is_broken(c));
    sl_socket_reset_on_close(accepted);
    shut(accepted);
    wait_for(c, POLLIN);
    assert_true(sl_socket_is_broken(c));
    assert_int_equal(recv(c, &byte, 1, 0), -1); /* 0 would be an orderly end */
    shut(c);
    shut(l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tcp_of_both_families_listens_accepts_and_connects),
        cmocka_unit_test(two_workers_listen_on_one_port),
        cmocka_unit_test(what_cannot_be_listened_on_is_refused_with_words),
        cmocka_unit_test(connecting_where_nobody_listens_is_refused),
        cmocka_unit_test(unix_sockets_connect_at_once_and_stale_ones_are_replaced),
        cmocka_unit_test(a_full_unix_backlog_is_a_refusal),
        cmocka_unit_test(a_quiet_connection_is_told_from_one_with_bytes_or_an_end),
        cmocka_unit_test(a_reset_reaches_the_other_side),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
