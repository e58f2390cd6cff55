/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fetch_socket: the sockets that libcurl asks us to watch, and which of them a fetch is on.
 *
 * libcurl 7.88 has no PING of HTTP/2 for us: curl_easy_upkeep() sends one only on connections of
 * curl_easy_perform(). So a connection is known to be dead by TCP (fetch_setup.c), or here: when a
 * fetch runs out of time and the kernel says that nothing came for as long.
 */
#include "fetch_internal.h"

#include "proxy/base/alloc.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>

struct sock {
    struct sl_io io;
    struct sl_list link;
    struct sl_fetcher *fetcher;
    curl_socket_t fd;
};

static void on_ready(struct sl_io *io, int events)
{
    const struct sock *s = sl_container_of(io, struct sock, io);

    sl_fetcher_act(s->fetcher, s->fd,
                   ((events & SL_READABLE) != 0 ? CURL_CSELECT_IN : 0) |
                       ((events & SL_WRITABLE) != 0 ? CURL_CSELECT_OUT : 0));
}

static void forget_socket(struct sl_fetcher *fr, struct sock *s)
{
    (void)curl_multi_assign(fr->multi, s->fd, NULL); /* an unknown fd has nothing assigned */
    sl_io_stop(&s->io);
    sl_list_unlink(&s->link);
    sl_loop_defer_free(fr->loop, s); /* maybe inside its own on_ready */
}

int sl_fetcher_watch_socket(CURL *easy, curl_socket_t fd, int what, void *arg, void *assigned)
{
    struct sl_fetcher *fr = arg;
    struct sock *s = assigned;

    if (what == CURL_POLL_REMOVE) {
        if (s != NULL) {
            forget_socket(fr, s);
        }
        return 0;
    }
    if (s == NULL) {
        s = sl_alloc(sizeof(*s));
        if (s == NULL) {
            struct sl_fetch *f = NULL;

            /* A failure returned here would kill the whole multi handle, so end this one only. */
            if (curl_easy_getinfo(easy, CURLINFO_PRIVATE, &f) == CURLE_OK && f != NULL) {
                f->broken = true;
                sl_task_post(fr->loop, &fr->task);
            }
            return 0;
        }
        s->fetcher = fr;
        s->fd = fd;
        sl_list_push_back(&fr->socks, &s->link);
        sl_io_init(&s->io, fr->loop, fd, on_ready);
        (void)curl_multi_assign(fr->multi, fd, s); /* fd is libcurl's own: it knows it */
    }
    sl_io_want_read(&s->io, (what & CURL_POLL_IN) != 0);
    sl_io_want_write(&s->io, (what & CURL_POLL_OUT) != 0);
    return 0;
}

struct end_point {
    char host[INET6_ADDRSTRLEN];
    long port;
};

static bool end_point_of(int fd, int (*name)(int, struct sockaddr *, socklen_t *),
                         struct end_point *out)
{
    union {
        struct sockaddr any;
        struct sockaddr_in v4;
        struct sockaddr_in6 v6;
    } at = {0};
    socklen_t len = sizeof(at);

    if (name(fd, &at.any, &len) != 0) {
        return false;
    }
    bool is_v6 = at.any.sa_family == AF_INET6;
    const void *host = is_v6 ? (const void *)&at.v6.sin6_addr : (const void *)&at.v4.sin_addr;
    out->port = ntohs(is_v6 ? at.v6.sin6_port : at.v4.sin_port);
    return (is_v6 || at.any.sa_family == AF_INET) &&
           inet_ntop(at.any.sa_family, host, out->host, sizeof(out->host)) != NULL;
}

/* The text of a scope ("fe80::1%eth0") is not in host. */
static bool is_at(const struct end_point *e, const char *host, long port)
{
    size_t len = strcspn(host, "%");
    return e->port == port && strlen(e->host) == len && memcmp(e->host, host, len) == 0;
}

/* libcurl says only by its two ends which connection a running transfer is on. NULL: on none. */
static const struct sock *sock_of(const struct sl_fetch *f)
{
    char *here_host = NULL;
    char *there_host = NULL;
    long here_port = 0;
    long there_port = 0;

    if (curl_easy_getinfo(f->easy, CURLINFO_LOCAL_IP, &here_host) != CURLE_OK ||
        curl_easy_getinfo(f->easy, CURLINFO_LOCAL_PORT, &here_port) != CURLE_OK ||
        curl_easy_getinfo(f->easy, CURLINFO_PRIMARY_IP, &there_host) != CURLE_OK ||
        curl_easy_getinfo(f->easy, CURLINFO_PRIMARY_PORT, &there_port) != CURLE_OK ||
        here_host == NULL || there_host == NULL || here_port <= 0)
    {
        return NULL;
    }
    for (struct sl_list *l = f->fetcher->socks.next; l != &f->fetcher->socks; l = l->next) {
        const struct sock *s = sl_container_of(l, struct sock, link);
        struct end_point here;
        struct end_point there;

        if (end_point_of(s->fd, getsockname, &here) && end_point_of(s->fd, getpeername, &there) &&
            is_at(&here, here_host, here_port) && is_at(&there, there_host, there_port))
        {
            return s;
        }
    }
    return NULL;
}

void sl_fetch_cut_silent(struct sl_fetch *f)
{
    const struct sock *s = f->added ? sock_of(f) : NULL;
    struct tcp_info info = {0};
    socklen_t len = sizeof(info);
    /* Half: it may have brought something, though nothing of ours, after our own last byte. */
    uint64_t limit_ms = f->idle_timeout_ms > 0 ? f->idle_timeout_ms : f->total_timeout_ms;

    if (s != NULL && getsockopt(s->fd, IPPROTO_TCP, TCP_INFO, &info, &len) == 0 &&
        info.tcpi_last_data_recv >= limit_ms / 2)
    {
        (void)shutdown(s->fd, SHUT_RDWR); /* libcurl reads the end, and closes it */
    }
}
