/* SPDX-License-Identifier: Apache-2.0 */
#include "socket.h"

#include <sluiced/ip.h>

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/sockios.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define BACKLOG_N 4096         /* the kernel cuts it to net.core.somaxconn */
#define DEFER_ACCEPT_SECONDS 5 /* then the connection is handed over without bytes */

union any_address {
    struct sockaddr sa;
    struct sockaddr_in in;
    struct sockaddr_in6 in6;
    struct sockaddr_un un;
};

/* Length of what it wrote, 0 when the address is none. */
static socklen_t to_sockaddr(const struct sl_address *a, union any_address *out)
{
    memset(out, 0, sizeof(*out));
    if (a->is_unix) {
        size_t len = strnlen(a->host, sizeof(a->host));
        if (len == 0 || len >= sizeof(out->un.sun_path)) {
            return 0;
        }
        out->un.sun_family = AF_UNIX;
        memcpy(out->un.sun_path, a->host, len);
        return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len + 1);
    }
    if (inet_pton(AF_INET, a->host, &out->in.sin_addr) == 1) {
        out->in.sin_family = AF_INET;
        out->in.sin_port = htons(a->port);
        return sizeof(out->in);
    }
    if (inet_pton(AF_INET6, a->host, &out->in6.sin6_addr) == 1) {
        out->in6.sin6_family = AF_INET6;
        out->in6.sin6_port = htons(a->port);
        return sizeof(out->in6);
    }
    return 0;
}

static void from_sockaddr(const union any_address *from, struct sl_address *a)
{
    struct sl_ip ip;

    *a = (struct sl_address){0};
    if (from->sa.sa_family == AF_INET) {
        sl_ip_from_bytes(&from->in.sin_addr, false, &ip);
        a->port = ntohs(from->in.sin_port);
    } else if (from->sa.sa_family == AF_INET6) {
        sl_ip_from_bytes(&from->in6.sin6_addr, true, &ip);
        a->port = ntohs(from->in6.sin6_port);
    } else {
        a->is_unix = true;
        memcpy(a->host, "unix", sizeof("unix"));
        return;
    }
    (void)sl_ip_format(&ip, a->host);
}

static bool set_option(int fd, int level, int name, int value)
{
    return setsockopt(fd, level, name, &value, sizeof(value)) == 0;
}

/* A path left behind by a process that is gone refuses connections; a live one accepts them. */
static void remove_stale_socket(const union any_address *a, socklen_t len)
{
    struct stat st;

    if (lstat(a->un.sun_path, &st) != 0 || !S_ISSOCK(st.st_mode)) {
        return;
    }
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) {
        return;
    }
    if (connect(fd, &a->sa, len) != 0 && errno == ECONNREFUSED) {
        (void)unlink(a->un.sun_path); /* bind says it, should it fail */
    }
    (void)close(fd); /* never held data */
}

static int listen_failed(int fd, const struct sl_address *address, const char *what,
                         struct sl_error *err)
{
    char text[160];
    char reason[64];

    (void)sl_errno_text(errno, reason, sizeof(reason));
    sl_address_format(address, text, sizeof(text));
    if (fd >= 0) {
        (void)close(fd); /* no data */
    }
    return sl_error_set(err, SL_ECONFIG, NULL, "cannot %s %s: %s", what, text, reason);
}

int sl_socket_listen(const struct sl_address *address, bool client_first, int *fd,
                     struct sl_address *bound, struct sl_error *err)
{
    union any_address a;
    socklen_t len = to_sockaddr(address, &a);

    if (len == 0) {
        errno = EINVAL;
        return listen_failed(-1, address, "understand", err);
    }
    int s = socket(a.sa.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (s < 0) {
        return listen_failed(s, address, "make a socket for", err);
    }
    if (address->is_unix) {
        remove_stale_socket(&a, len);
    } else if (!set_option(s, SOL_SOCKET, SO_REUSEADDR, 1) ||
               !set_option(s, SOL_SOCKET, SO_REUSEPORT, 1) ||
               !set_option(s, IPPROTO_TCP, TCP_NODELAY, 1))
    {
        return listen_failed(s, address, "set options of", err);
    }
    if (client_first && !address->is_unix) {
        /* A kernel that refuses it costs one wake-up a connection and nothing else. */
        (void)set_option(s, IPPROTO_TCP, TCP_DEFER_ACCEPT, DEFER_ACCEPT_SECONDS);
    }
    if (bind(s, &a.sa, len) != 0 || listen(s, BACKLOG_N) != 0) {
        return listen_failed(s, address, "listen on", err);
    }
    *bound = *address;
    if (!address->is_unix) {
        len = sizeof(a);
        if (getsockname(s, &a.sa, &len) != 0) {
            return listen_failed(s, address, "ask for the port of", err);
        }
        from_sockaddr(&a, bound);
    }
    *fd = s;
    return SL_OK;
}

static bool has_value(int fd, int name, int wanted)
{
    int value = 0;
    socklen_t len = sizeof(value);

    return getsockopt(fd, SOL_SOCKET, name, &value, &len) == 0 && value == wanted;
}

int sl_socket_adopt(int fd, struct sl_address *bound)
{
    union any_address a;
    socklen_t len = sizeof(a) - 1; /* a path may come without its end */
    int flags = fcntl(fd, F_GETFL);

    memset(&a, 0, sizeof(a));
    if (flags < 0 || !has_value(fd, SO_ACCEPTCONN, 1) || !has_value(fd, SO_TYPE, SOCK_STREAM) ||
        getsockname(fd, &a.sa, &len) != 0 || fcntl(fd, F_SETFD, FD_CLOEXEC) != 0 ||
        fcntl(fd, F_SETFL, flags | O_NONBLOCK) != 0)
    {
        return SL_EPROTO;
    }
    from_sockaddr(&a, bound);
    if (bound->is_unix) {
        memcpy(bound->host, a.un.sun_path, sizeof(a.un.sun_path));
        bound->host[sizeof(bound->host) - 1] = '\0';
    } else {
        (void)set_option(fd, IPPROTO_TCP, TCP_NODELAY, 1); /* it costs time only */
    }
    return SL_OK;
}

/* accept(2): errors of a connection that died in the queue. The next one may be well. */
static bool is_of_one_connection(int errnum)
{
    switch (errnum) {
    case ECONNABORTED:
    case EINTR:
    case EPROTO:
    case ENETDOWN:
    case ENETUNREACH:
    case EHOSTDOWN:
    case EHOSTUNREACH:
    case ENONET:
    case ENOPROTOOPT:
    case EOPNOTSUPP:
    case ETIMEDOUT:
        return true;
    default:
        return false;
    }
}

int sl_socket_accept(int listen_fd, int *fd, struct sl_address *from)
{
    union any_address a;
    socklen_t len = sizeof(a);

    memset(&a, 0, sizeof(a));
    int s = accept4(listen_fd, &a.sa, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (s < 0) {
        return is_of_one_connection(errno) ? SL_AGAIN : sl_err_from_errno(errno);
    }
    from_sockaddr(&a, from);
    *fd = s;
    return SL_OK;
}

int sl_socket_connect(const struct sl_address *to, int *fd)
{
    union any_address a;
    socklen_t len = to_sockaddr(to, &a);

    if (len == 0) {
        return SL_EREFUSED;
    }
    int s = socket(a.sa.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (s < 0) {
        return sl_err_from_errno(errno);
    }
    if (!to->is_unix && !set_option(s, IPPROTO_TCP, TCP_NODELAY, 1)) {
        int rc = sl_err_from_errno(errno);
        (void)close(s); /* no data */
        return rc;
    }
    if (connect(s, &a.sa, len) == 0) {
        *fd = s;
        return SL_OK;
    }
    if (errno == EINPROGRESS) {
        *fd = s;
        return SL_AGAIN;
    }
    /* EAGAIN of a unix socket: its backlog is full, which is as good as refused. */
    int rc = errno == EAGAIN ? SL_EREFUSED : sl_err_from_errno(errno);
    (void)close(s); /* no data */
    return rc;
}

int sl_socket_connected(int fd)
{
    int error = 0;
    socklen_t len = sizeof(error);

    if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &len) != 0) {
        return sl_err_from_errno(errno);
    }
    return error == 0 ? SL_OK : sl_err_from_errno(error);
}

bool sl_socket_is_quiet(int fd)
{
    char byte;

    return recv(fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) < 0 && errno == EAGAIN;
}

bool sl_socket_is_broken(int fd)
{
    struct pollfd p = {.fd = fd};

    return poll(&p, 1, 0) > 0 && (p.revents & POLLERR) != 0;
}

uint32_t sl_socket_unsent(int fd)
{
    int bytes = 0;

    return ioctl(fd, SIOCOUTQ, &bytes) == 0 ? (uint32_t)bytes : 0;
}

void sl_socket_close(int fd)
{
    (void)close(fd); /* what it could report, nobody could act on */
}

void sl_socket_reset_on_close(int fd)
{
    struct linger now = {.l_onoff = 1, .l_linger = 0};

    /* Fails on unix sockets only, which know no RST. */
    (void)setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
}
