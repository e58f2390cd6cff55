/* SPDX-License-Identifier: Apache-2.0 */
/* The upstream of the benchmarks: one thread, epoll, one send for a small answer, so that it costs
 * far less than what is measured. Arguments: the addresses to listen at.
 *
 *   /bytes/N       answers with N bytes
 *   /sse/R/T       answers with events, R a second, each with the time at which it was sent, as
 * long as it is the turn of T (0: always). What cannot be kept up is left out, not made up for: a
 * large R is as fast as it goes /turn/T        whose turn it is
 *
 * A request body is read and dropped first; it needs a Content-Length. */
#include "bench.h"

#include <sys/epoll.h>

#define HEAD_BYTES 8192u
#define SMALL_BYTES 65536u /* answers up to this size leave in one send */
#define MAX_STREAMS 65536u
#define EVENT_MAX 288u

struct conn {
    int fd;
    bool listens;
    bool writing; /* EPOLLOUT is on */
    uint32_t head_n;
    uint64_t body_left; /* of the request */
    uint64_t out_left;  /* of the answer */
    uint64_t due_ns;    /* next event */
    uint64_t every_ns;
    uint32_t turn;
    uint32_t stream_at; /* 1-based; 0: no stream */
    uint32_t heap_at;   /* 1-based; 0: no event is due */
    uint32_t unsent_n;  /* of an event that the socket took in part */
    char unsent[EVENT_MAX];
    char path[64];
    char head[HEAD_BYTES];
};

static int epoll_fd;
static char scratch[SCRATCH_BYTES];
static char filler[SCRATCH_BYTES];
static struct conn *heap[MAX_STREAMS + 1];
static uint32_t heap_n;
static struct conn *streams[MAX_STREAMS];
static uint32_t streams_n;
static uint32_t turn_now;
static uint64_t seed = 88172645463325252ull;

/* The answer to /bytes/N for the N asked for last: benchmarks ask for one size for seconds. */
static char small[SMALL_BYTES + 256];
static size_t small_n;
static uint64_t small_size = UINT64_MAX;

/* An event as a chunk; only the time stamp changes. */
static char event[EVENT_MAX];
static size_t event_n;
static char *event_stamp;

/* ---- Streams, by the time of their next event. */

static void heap_put(uint32_t at, struct conn *c)
{
    heap[at] = c;
    c->heap_at = at;
}

static void heap_sift(uint32_t at, struct conn *c)
{
    while (at > 1 && heap[at / 2]->due_ns > c->due_ns) {
        heap_put(at, heap[at / 2]);
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
        heap_put(at, heap[child]);
        at = child;
    }
    heap_put(at, c);
}

static void heap_add(struct conn *c)
{
    heap_n++;
    heap[heap_n] = c;
    heap_sift(heap_n, c);
}

static void heap_remove(struct conn *c)
{
    uint32_t at = c->heap_at;
    struct conn *last = heap[heap_n--];
    c->heap_at = 0;
    if (last != c) {
        heap_sift(at, last);
    }
}

/* ---- Connections. */

static void watch(struct conn *c, int op, uint32_t events)
{
    struct epoll_event e = {.events = events, .data.ptr = c};
    if (epoll_ctl(epoll_fd, op, c->fd, &e) < 0) {
        die("epoll_ctl");
    }
}

static void drop(struct conn *c)
{
    if (c->heap_at) {
        heap_remove(c);
    }
    if (c->stream_at) {
        struct conn *last = streams[--streams_n];
        streams[c->stream_at - 1] = last;
        last->stream_at = c->stream_at;
    }
    close(c->fd);
    free(c);
}

/* Sends what the socket takes; false when the connection is gone. Less than all turns EPOLLOUT on.
 */
static bool push(struct conn *c, const char *data, size_t n, size_t *sent)
{
    ssize_t got = send(c->fd, data, n, MSG_NOSIGNAL);
    if (got < 0 && errno != EAGAIN) {
        return false;
    }
    *sent = got < 0 ? 0 : (size_t)got;
    if (*sent < n && !c->writing) {
        c->writing = true;
        watch(c, EPOLL_CTL_MOD, EPOLLIN | EPOLLOUT);
    }
    return true;
}

static bool push_body(struct conn *c)
{
    while (c->out_left) {
        size_t n = c->out_left < sizeof(filler) ? (size_t)c->out_left : sizeof(filler);
        size_t sent;
        if (!push(c, filler, n, &sent)) {
            return false;
        }
        c->out_left -= sent;
        if (sent < n) {
            return true;
        }
    }
    if (c->writing) {
        c->writing = false;
        watch(c, EPOLL_CTL_MOD, EPOLLIN);
    }
    return true;
}

static bool answer_bytes(struct conn *c, uint64_t size)
{
    if (size != small_size) {
        small_size = size;
        small_n = (size_t)snprintf(small, 256,
                                   "HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\n"
                                   "Content-Length: %llu\r\n\r\n",
                                   (unsigned long long)size);
        if (size <= SMALL_BYTES) {
            memset(small + small_n, 'x', (size_t)size);
            small_n += (size_t)size;
        }
    }
    size_t sent;
    if (!push(c, small, small_n, &sent)) {
        return false;
    }
    if (sent < small_n) {
        refuse("a socket without room for a head");
    }
    c->out_left = size <= SMALL_BYTES ? 0 : size;
    return push_body(c);
}

/* Makes events due, or stops them. */
static void schedule(struct conn *c)
{
    bool runs = !c->turn || c->turn == turn_now;
    if (!runs && c->heap_at) {
        heap_remove(c);
    } else if (runs && !c->heap_at) {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        /* Streams that begin together do not stay together. */
        c->due_ns = now_ns() + seed % c->every_ns;
        heap_add(c);
    }
}

static void set_turn(uint32_t turn)
{
    turn_now = turn;
    for (uint32_t i = 0; i < streams_n; i++) {
        schedule(streams[i]);
    }
}

static bool begin_stream(struct conn *c, uint64_t rate, uint32_t turn)
{
    static const char head[] =
        "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
        "Cache-Control: no-cache\r\nTransfer-Encoding: chunked\r\n\r\n";
    size_t sent;
    if (streams_n == MAX_STREAMS) {
        refuse("too many streams");
    }
    if (!push(c, head, sizeof(head) - 1, &sent) || sent < sizeof(head) - 1) {
        return false;
    }
    c->every_ns = NS_PER_S / rate;
    c->turn = turn;
    streams[streams_n++] = c;
    c->stream_at = streams_n;
    schedule(c);
    return true;
}

static bool answer(struct conn *c)
{
    unsigned long long size;
    unsigned rate;
    unsigned turn;
    if (sscanf(c->path, "/bytes/%llu", &size) == 1) {
        return answer_bytes(c, size);
    }
    if (sscanf(c->path, "/sse/%u/%u", &rate, &turn) == 2 && rate) {
        return begin_stream(c, rate, turn);
    }
    if (sscanf(c->path, "/turn/%u", &turn) == 1) {
        set_turn(turn);
        return answer_bytes(c, 0);
    }
    refuse(c->path);
}

static void make_event(void)
{
    char data[EVENT_MAX - 16];
    int n = snprintf(data, sizeof(data),
                     "data: {" STAMP_MARK
                     "%0*d,\"id\":\"cmpl-7\",\"object\":\"chat.completion."
                     "chunk\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\" word\"}}]}\n\n",
                     (int)STAMP_DIGITS, 0);
    event_n = (size_t)snprintf(event, sizeof(event), "%x\r\n%s\r\n", (unsigned)n, data);
    event_stamp = strstr(event, STAMP_MARK) + STAMP_MARK_BYTES;
}

/* One event, unless the last one still waits for room: who reads slowly gets fewer of them. */
static void send_event(struct conn *c, uint64_t now)
{
    size_t sent = 0;
    uint64_t rest = now;
    for (char *digit = event_stamp + STAMP_DIGITS; digit > event_stamp; rest /= 10) {
        *--digit = (char)('0' + rest % 10);
    }
    if (!c->unsent_n && !push(c, event, event_n, &sent)) {
        drop(c);
        return;
    }
    if (sent) {
        c->unsent_n = (uint32_t)(event_n - sent);
        memcpy(c->unsent, event + sent, c->unsent_n);
    }
    /* After now: each stream has its turn before any has a second one. */
    c->due_ns = c->due_ns + c->every_ns > now ? c->due_ns + c->every_ns : now + 1;
    heap_sift(c->heap_at, c);
}

/* Once there is room again. */
static bool push_unsent(struct conn *c)
{
    size_t sent = 0;
    if (c->unsent_n && !push(c, c->unsent, c->unsent_n, &sent)) {
        return false;
    }
    c->unsent_n -= (uint32_t)sent;
    memmove(c->unsent, c->unsent + sent, c->unsent_n);
    return c->unsent_n || push_body(c);
}

/* ---- Requests. */

/* Reads a whole head; false when it is none of ours. */
static bool parse_head(struct conn *c, const char *head)
{
    const char *path = strchr(head, ' ');
    const char *end = path ? strchr(path + 1, ' ') : NULL;
    if (!end || (size_t)(end - path) > sizeof(c->path)) {
        return false;
    }
    memcpy(c->path, path + 1, (size_t)(end - path - 1));
    c->path[end - path - 1] = '\0';
    c->body_left = 0;
    if (head[0] == 'P') {
        const char *length = strcasestr(end, "\ncontent-length:");
        if (!length) {
            refuse("a request body without Content-Length");
        }
        c->body_left = strtoull(length + 16, NULL, 10);
    }
    return true;
}

static bool consume(struct conn *c, const char *data, size_t n)
{
    while (n) {
        if (c->body_left) {
            size_t part = n < c->body_left ? n : (size_t)c->body_left;
            c->body_left -= part;
            data += part;
            n -= part;
        } else {
            size_t had = c->head_n;
            size_t part = n < HEAD_BYTES - 1 - had ? n : HEAD_BYTES - 1 - had;
            memcpy(c->head + had, data, part);
            c->head[had + part] = '\0';
            char *end = strstr(c->head + (had > 3 ? had - 3 : 0), "\r\n\r\n");
            if (!end) {
                c->head_n = (uint32_t)(had + part);
                return c->head_n < HEAD_BYTES - 1;
            }
            end[2] = '\0';
            size_t used = (size_t)(end + 4 - c->head) - had;
            c->head_n = 0;
            data += used;
            n -= used;
            if (!parse_head(c, c->head)) {
                return false;
            }
        }
        if (!c->head_n && !c->body_left && !answer(c)) {
            return false;
        }
    }
    return true;
}

static void on_readable(struct conn *c)
{
    ssize_t n;
    do {
        n = recv(c->fd, scratch, sizeof(scratch), 0);
        if (n == 0 || (n < 0 && errno != EAGAIN)) {
            drop(c);
            return;
        }
        if (n > 0 && !consume(c, scratch, (size_t)n)) {
            drop(c);
            return;
        }
    } while (n == (ssize_t)sizeof(scratch));
}

static void on_connection(struct conn *listener)
{
    for (;;) {
        int fd = accept4(listener->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0) {
            if (errno != EAGAIN && errno != ECONNABORTED) {
                die("accept");
            }
            return;
        }
        struct conn *c = calloc(1, sizeof(*c));
        if (!c) {
            die("memory");
        }
        c->fd = fd;
        watch(c, EPOLL_CTL_ADD, EPOLLIN);
    }
}

static void start_listening(const char *text)
{
    struct sockaddr_storage addr;
    socklen_t len;
    struct conn *c = calloc(1, sizeof(*c));
    if (!c) {
        die("memory");
    }
    int on = 1;
    c->listens = true;
    c->fd = open_socket(text, &addr, &len);
    /* 0.0.0.0 stands for all of 127/8: a thousand endpoints need no thousand listeners. */
    if (strncmp(text, "0.0.0.0:", 8) == 0 &&
        setsockopt(c->fd, SOL_SOCKET, SO_BINDTODEVICE, "lo", sizeof("lo")) < 0)
    {
        die("SO_BINDTODEVICE");
    }
    if (setsockopt(c->fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) < 0 ||
        bind(c->fd, (struct sockaddr *)&addr, len) < 0 || listen(c->fd, 4096) < 0)
    {
        die(text);
    }
    watch(c, EPOLL_CTL_ADD, EPOLLIN);
}

static void turn(void)
{
    struct epoll_event events[256];
    struct timespec wait;
    uint64_t now = now_ns();
    while (heap_n && heap[1]->due_ns <= now) {
        send_event(heap[1], now_ns());
    }
    wait = heap_n ? until(heap[1]->due_ns, now) : (struct timespec){0, 0};
    int n = epoll_pwait2(epoll_fd, events, 256, heap_n ? &wait : NULL, NULL);
    if (n < 0 && errno != EINTR) {
        die("epoll_pwait2");
    }
    for (int i = 0; i < n; i++) {
        struct conn *c = events[i].data.ptr;
        if (c->listens) {
            on_connection(c);
        } else if ((events[i].events & EPOLLOUT) && !push_unsent(c)) {
            drop(c);
        } else if (events[i].events & ~(uint32_t)EPOLLOUT) {
            on_readable(c);
        }
    }
}

int main(int argc, char **argv)
{
    if (argc < 2) {
        fprintf(stderr, "usage: backend ADDRESS...\n");
        return 2;
    }
    memset(filler, 'x', sizeof(filler));
    make_event();
    epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (epoll_fd < 0) {
        die("epoll_create1");
    }
    for (int i = 1; i < argc; i++) {
        start_listening(argv[i]);
    }
    printf("ready\n");
    fflush(stdout);
    for (;;) {
        turn();
    }
}
