/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An upstream for thousands of connections: one thread and one epoll set, on a port that the kernel
 * chooses and the first line of the output names. It ends at the first error.
 *
 *   /bytes/N       answers with N bytes, at most 64 KiB
 *   /sse/R/N       answers with N events, R a second, numbered from 0; the first one comes after a
 *                  part of their distance that is another for each stream
 *
 * A request body is read and dropped; it needs a Content-Length.
 */
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define HEAD_BYTES 2048U
#define SMALL_BYTES 65536U
#define SCRATCH_BYTES 65536U
#define STREAMS_MAX_N 16384U
#define NS_PER_S 1000000000ULL

struct conn {
    int fd;
    uint32_t head_n;
    uint64_t body_left; /* of the request */
    uint64_t due_ns;    /* next event */
    uint64_t every_ns;
    uint32_t event_n;
    uint32_t events_n;
    uint32_t heap_at; /* 1-based; 0: no stream */
    char path[64];
    char head[HEAD_BYTES];
};

static int epoll_fd;
static char scratch[SCRATCH_BYTES];
static struct conn *heap[STREAMS_MAX_N + 1]; /* by due_ns */
static uint32_t heap_n;
static uint32_t part; /* of the distance between two events, where the next stream begins */

static void die(const char *what)
{
    (void)fprintf(stderr, "backend: %s: %s\n", what, strerror(errno));
    exit(1);
}

static uint64_t now_ns(void)
{
    struct timespec t;

    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * NS_PER_S + (uint64_t)t.tv_nsec;
}

static void put(uint32_t at, struct conn *c)
{
    heap[at] = c;
    c->heap_at = at;
}

static void sift(uint32_t at, struct conn *c)
{
    while (at > 1 && heap[at / 2]->due_ns > c->due_ns) {
        put(at, heap[at / 2]);
        at /= 2;
    }
    for (;;) {
        uint32_t child = at * 2;
        if (child < heap_n && heap[child + 1]->due_ns < heap[child]->due_ns) {
            child++;
        }
        if (child > heap_n || heap[child]->due_ns >= c->due_ns) {
            break;
        }
        put(at, heap[child]);
        at = child;
    }
    put(at, c);
}

static void leave_heap(struct conn *c)
{
    uint32_t at = c->heap_at;
    struct conn *last = heap[heap_n--];

    c->heap_at = 0;
    if (last != c) {
        sift(at, last);
    }
}

static void drop(struct conn *c)
{
    if (c->heap_at > 0) {
        leave_heap(c);
    }
    (void)close(c->fd);
    free(c);
}

/* All at once: who does not read is no part of these tests. False: the client is gone. */
static bool say(struct conn *c, const char *bytes, size_t len)
{
    ssize_t n = send(c->fd, bytes, len, MSG_NOSIGNAL);

    if (n >= 0 && (size_t)n != len) {
        errno = 0;
        die("a client that does not read");
    }
    return n >= 0;
}

static bool answer(struct conn *c)
{
    static char text[SMALL_BYTES + 256];
    unsigned a = 0;
    unsigned b = 0;

    if (sscanf(c->path, "/sse/%u/%u", &a, &b) == 2 && a > 0 && b > 0) {
        static const char head[] =
            "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
            "Cache-Control: no-cache\r\nTransfer-Encoding: chunked\r\n\r\n";
        if (heap_n == STREAMS_MAX_N) {
            die("too many streams");
        }
        c->every_ns = NS_PER_S / a;
        c->events_n = b;
        c->event_n = 0;
        part = (part + 37) % 100;
        c->due_ns = now_ns() + c->every_ns * part / 100;
        heap_n++;
        put(heap_n, c);
        sift(heap_n, c);
        return say(c, head, sizeof(head) - 1);
    }
    if (sscanf(c->path, "/bytes/%u", &a) != 1 || a > SMALL_BYTES) {
        die(c->path);
    }
    int n = snprintf(text, sizeof(text),
                     "HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\n"
                     "Content-Length: %u\r\n\r\n",
                     a);
    memset(text + n, 'x', a);
    return say(c, text, (size_t)n + a);
}

static void send_event(struct conn *c)
{
    char event[256];
    char chunk[288];
    int n = snprintf(event, sizeof(event),
                     "data: {\"n\":%u,\"id\":\"cmpl-7\",\"object\":\"chat.completion.chunk\","
                     "\"choices\":[{\"index\":0,\"delta\":{\"content\":\" word\"}}]}\n\n",
                     c->event_n);

    c->event_n++;
    bool last = c->event_n == c->events_n;
    int len = snprintf(chunk, sizeof(chunk), "%x\r\n%s\r\n%s", (unsigned)n, event,
                       last ? "0\r\n\r\n" : "");
    c->due_ns += c->every_ns;
    if (!say(c, chunk, (size_t)len)) {
        drop(c);
    } else if (last) {
        leave_heap(c);
    } else {
        sift(c->heap_at, c);
    }
}

static bool parse_head(struct conn *c)
{
    const char *path = strchr(c->head, ' ');
    const char *end = path != NULL ? strchr(path + 1, ' ') : NULL;
    const char *length = strcasestr(c->head, "\ncontent-length:");

    if (end == NULL || (size_t)(end - path) > sizeof(c->path)) {
        return false;
    }
    memcpy(c->path, path + 1, (size_t)(end - path - 1));
    c->path[end - path - 1] = '\0';
    c->body_left = length != NULL ? strtoull(length + 16, NULL, 10) : 0;
    return true;
}

/* One byte of heads at a time: they are short. */
static bool consume(struct conn *c, const char *data, size_t n)
{
    while (n > 0) {
        size_t used = 1;
        bool whole = false;
        if (c->body_left > 0) {
            used = n < c->body_left ? n : (size_t)c->body_left;
            c->body_left -= used;
            whole = c->body_left == 0;
        } else {
            if (c->head_n == HEAD_BYTES - 1) {
                return false;
            }
            c->head[c->head_n++] = *data;
            if (c->head_n >= 4 && memcmp(c->head + c->head_n - 4, "\r\n\r\n", 4) == 0) {
                c->head[c->head_n] = '\0';
                c->head_n = 0;
                if (!parse_head(c)) {
                    return false;
                }
                whole = c->body_left == 0;
            }
        }
        data += used;
        n -= used;
        if (whole && !answer(c)) {
            return false;
        }
    }
    return true;
}

static void on_connection(int listener)
{
    int fd;

    while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
        struct conn *c = calloc(1, sizeof(*c));
        int on = 1;
        if (c == NULL || setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)) != 0) {
            die("connection");
        }
        c->fd = fd;
        struct epoll_event e = {.events = EPOLLIN, .data.ptr = c};
        if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &e) != 0) {
            die("epoll_ctl");
        }
    }
    if (errno != EAGAIN && errno != ECONNABORTED) {
        die("accept");
    }
}

static int start_listening(void)
{
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(in);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    struct epoll_event e = {.events = EPOLLIN, .data.ptr = NULL};

    if (fd < 0 || bind(fd, (struct sockaddr *)&in, len) != 0 || listen(fd, 4096) != 0 ||
        getsockname(fd, (struct sockaddr *)&in, &len) != 0 ||
        epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &e) != 0)
    {
        die("listen");
    }
    (void)printf("listening 127.0.0.1:%u\n", ntohs(in.sin_port));
    (void)fflush(stdout);
    return fd;
}

int main(void)
{
    epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    int listener = start_listening();

    for (;;) {
        struct epoll_event events[256];
        uint64_t now = now_ns();
        while (heap_n > 0 && heap[1]->due_ns <= now) {
            send_event(heap[1]);
        }
        int wait_ms = heap_n > 0 ? (int)((heap[1]->due_ns - now) / 1000000) + 1 : -1;
        int n = epoll_wait(epoll_fd, events, 256, wait_ms);
        if (n < 0 && errno != EINTR) {
            die("epoll_wait");
        }
        for (int i = 0; i < n; i++) {
            struct conn *c = events[i].data.ptr;
            if (c == NULL) {
                on_connection(listener);
                continue;
            }
            ssize_t got = recv(c->fd, scratch, sizeof(scratch), 0);
            if (got <= 0 ? (got == 0 || errno != EAGAIN) : !consume(c, scratch, (size_t)got)) {
                drop(c);
            }
        }
    }
}
