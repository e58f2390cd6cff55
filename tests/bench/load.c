/* SPDX-License-Identifier: Apache-2.0 */
/* The load generator of the benchmarks: one thread, epoll, few system calls a request. Arguments
 * are KEY=VALUE; one line of JSON comes out.
 *
 * - mode=closed: active= requests at once (all connections, if left out); the next goes out on the
 *   connection that has been idle longest, as soon as one is answered
 * - mode=open: rate= requests a second at random times, on the connection that has been idle
 *   longest; the latency counts from the time intended
 * - mode=connect: conns= at once, each request on a connection of its own
 * - mode=sse: each connection reads one event stream; the latency is that of an event
 * - hold=1: once each connection was answered (its stream has begun), "holding" is printed; no more
 *   requests follow
 * - addr= path= conns= body= (bytes of a POST) warm_ms= ms= (measured) pid= (whose CPU time)
 *
 * Connections of closed and open are opened one after the other, each with a request before the
 * next: no backlog overflows, and none is new when it is measured.
 *
 * The CPU time of pid is read at the very moments at which the measured time begins and ends. */
#include "bench.h"
#include "measure.h"

#include <math.h>
#include <sys/epoll.h>

#define MAX_CONNS 20000u
#define WAITING_MAX 65536u /* requests that are due and have no connection */
#define MAX_ERRORS 1000u
#define ANSWERS_S 60u /* time for the first answers of all connections */

enum mode {
    CLOSED,
    OPEN,
    CONNECT,
    SSE
};

struct conn {
    int fd;
    bool connecting;
    bool busy;
    bool in_body;
    bool writing;
    uint64_t start_ns;
    uint64_t left;    /* of the answer's body */
    uint64_t up_left; /* of the request's body */
    uint32_t head_n;
    char head[1024]; /* of the answer; of a stream the end of what came last */
};

static struct {
    enum mode mode;
    const char *addr;
    const char *path;
    uint64_t conns;
    uint64_t active;
    uint64_t hold;
    uint64_t body;
    uint64_t rate;
    uint64_t warm_ms;
    uint64_t ms;
    uint64_t pid;
} opt = {.path = "/bytes/1024", .conns = 1, .warm_ms = 300, .ms = 1000};

static int epoll_fd;
static struct conn *conns;
static char scratch[SCRATCH_BYTES];
static char filler[SCRATCH_BYTES];
static char request[1024];
static size_t request_n;
static bool opening; /* connections, one after the other */
static bool measuring;
static uint64_t done_n;
static uint64_t bytes_n;
static uint64_t errors_n;
static uint64_t late_n;     /* requests that found no room to wait in */
static uint64_t answered_n; /* connections that had an answer */

/* Connections without a request, and requests of mode=open without a connection; both in turn. */
static struct conn *idle[MAX_CONNS];
static uint64_t idle_head, idle_tail;
static uint64_t waiting[WAITING_MAX];
static uint64_t waiting_head, waiting_tail;
static uint64_t next_ns;
static uint64_t seed = 2463534242ull;

static void begin(struct conn *c, uint64_t start_ns);

/* ---- Connections. */

static void watch(struct conn *c, int op, uint32_t events)
{
    struct epoll_event e = {.events = events, .data.ptr = c};
    if (epoll_ctl(epoll_fd, op, c->fd, &e) < 0) {
        die("epoll_ctl");
    }
}

/* From one of sixteen addresses in turn: so many short connections would use up the ports of one.
 */
static void choose_source(int fd)
{
    static uint32_t turn;
    int on = 1;
    struct sockaddr_in own = {.sin_family = AF_INET};
    own.sin_addr.s_addr = htonl(0x7f000101u + turn++ % 16);
    if (setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof(on)) < 0 ||
        bind(fd, (struct sockaddr *)&own, sizeof(own)) < 0)
    {
        die("bind");
    }
}

static void open_conn(struct conn *c)
{
    struct sockaddr_storage addr;
    socklen_t len;
    memset(c, 0, sizeof(*c));
    c->fd = open_socket(opt.addr, &addr, &len);
    if (opt.mode == CONNECT && addr.ss_family == AF_INET) {
        choose_source(c->fd);
    }
    if (connect(c->fd, (struct sockaddr *)&addr, len) < 0) {
        if (errno != EINPROGRESS) {
            die("connect");
        }
        c->connecting = true;
    }
    watch(c, EPOLL_CTL_ADD, c->connecting ? EPOLLIN | EPOLLOUT : EPOLLIN);
    c->writing = c->connecting;
}

static void failed(struct conn *c, const char *why)
{
    bool connecting = c->connecting;
    errors_n++;
    if (errors_n == 1) {
        fprintf(stderr, "bench: first error: %s\n", why);
    }
    if (errors_n > MAX_ERRORS || connecting || opening || opt.hold) {
        errno = 0;
        die(why);
    }
    close(c->fd);
    open_conn(c);
    begin(c, now_ns());
}

static bool push_body(struct conn *c)
{
    while (c->up_left) {
        size_t n = c->up_left < sizeof(filler) ? (size_t)c->up_left : sizeof(filler);
        ssize_t sent = send(c->fd, filler, n, MSG_NOSIGNAL);
        if (sent < 0 && errno != EAGAIN) {
            return false;
        }
        c->up_left -= sent < 0 ? 0 : (uint64_t)sent;
        if (sent < (ssize_t)n) {
            if (!c->writing) {
                c->writing = true;
                watch(c, EPOLL_CTL_MOD, EPOLLIN | EPOLLOUT);
            }
            return true;
        }
    }
    if (c->writing) {
        c->writing = false;
        watch(c, EPOLL_CTL_MOD, EPOLLIN);
    }
    return true;
}

static void begin(struct conn *c, uint64_t start_ns)
{
    c->busy = true;
    c->in_body = false;
    c->head_n = 0;
    c->start_ns = start_ns;
    c->up_left = opt.body;
    if (c->connecting) {
        return;
    }
    if (send(c->fd, request, request_n, MSG_NOSIGNAL) != (ssize_t)request_n || !push_body(c)) {
        failed(c, "send");
    }
}

static void open_next(uint64_t now)
{
    open_conn(&conns[answered_n]);
    begin(&conns[answered_n], now);
}

/* What comes next, once a connection is answered. */
static void go_on(struct conn *c, uint64_t now)
{
    if (opt.mode == CONNECT) {
        close(c->fd);
        open_conn(c);
        begin(c, now);
        return;
    }
    c->busy = false;
    idle[idle_tail++ % MAX_CONNS] = c;
    if (opening) {
        answered_n++;
        if (answered_n < opt.conns) {
            open_next(now);
        }
    } else if (opt.mode == CLOSED) {
        begin(idle[idle_head++ % MAX_CONNS], now);
    } else if (waiting_head != waiting_tail) {
        begin(idle[idle_head++ % MAX_CONNS], waiting[waiting_head++ % WAITING_MAX]);
    }
}

static void answered(struct conn *c)
{
    uint64_t now = now_ns();
    if (measuring) {
        done_n++;
        count_latency(now - c->start_ns);
    }
    go_on(c, now);
}

/* ---- Answers. */

static void on_body(struct conn *c, size_t n)
{
    if (n > c->left) {
        errno = 0;
        die("more answer than announced");
    }
    c->left -= n;
    bytes_n += measuring ? n : 0;
    if (!c->left) {
        answered(c);
    }
}

static void on_head(struct conn *c, const char *data, size_t n)
{
    size_t had = c->head_n;
    size_t part = n < sizeof(c->head) - 1 - had ? n : sizeof(c->head) - 1 - had;
    memcpy(c->head + had, data, part);
    c->head[had + part] = '\0';
    char *end = strstr(c->head, "\r\n\r\n");
    if (!end) {
        c->head_n = (uint32_t)(had + part);
        if (c->head_n == sizeof(c->head) - 1) {
            failed(c, "a long head");
        }
        return;
    }
    char *length = strcasestr(c->head, "\ncontent-length:");
    if (strncmp(c->head, "HTTP/1.1 200", 12) != 0 || !length || length > end) {
        fprintf(stderr, "%.*s\n", (int)(end - c->head), c->head);
        failed(c, "an answer that is not 200 with Content-Length");
        return;
    }
    c->left = strtoull(length + 16, NULL, 10);
    c->in_body = true;
    on_body(c, n - ((size_t)(end + 4 - c->head) - had));
}

/* Finds each time stamp, also one that two reads share. */
static void on_stream(struct conn *c, char *data, size_t n)
{
    uint64_t now = now_ns();
    const size_t whole = STAMP_MARK_BYTES + STAMP_DIGITS;
    char *at;
    if (c->head_n) { /* scratch has room in front for what was kept */
        data -= c->head_n;
        n += c->head_n;
        memcpy(data, c->head, c->head_n);
        c->head_n = 0;
    } else if (!c->in_body && strncmp(data, "HTTP/1.1 200", 12) != 0) {
        failed(c, "a stream that is not 200");
        return;
    }
    char *end = data + n;
    answered_n += c->in_body ? 0 : 1;
    c->in_body = true;
    while ((at = memmem(data, (size_t)(end - data), STAMP_MARK, STAMP_MARK_BYTES)) != NULL) {
        if ((size_t)(end - at) < whole) {
            break;
        }
        uint64_t sent_ns = strtoull(at + STAMP_MARK_BYTES, NULL, 10);
        if (measuring) {
            done_n++;
            count_latency(now > sent_ns ? now - sent_ns : 0);
        }
        data = at + whole;
    }
    if (end - data >= 5 && memcmp(end - 5, "0\r\n\r\n", 5) == 0) {
        begin(c, now);
        return;
    }
    size_t keep = at ? (size_t)(end - at) : STAMP_MARK_BYTES - 1;
    keep = keep < (size_t)(end - data) ? keep : (size_t)(end - data);
    memcpy(c->head, end - keep, keep);
    c->head_n = (uint32_t)keep;
}

static void on_readable(struct conn *c)
{
    char *into = scratch + sizeof(c->head);
    size_t room = sizeof(scratch) - sizeof(c->head) - 1;
    ssize_t n = recv(c->fd, into, room, 0);
    if (n < 0 && errno == EAGAIN) {
        return;
    }
    if (n <= 0 || !c->busy) {
        failed(c, n < 0 ? "recv" : n == 0 ? "closed by the other side" : "bytes without a request");
        return;
    }
    into[n] = '\0';
    if (opt.mode == SSE) {
        on_stream(c, into, (size_t)n);
    } else if (c->in_body) {
        on_body(c, (size_t)n);
    } else {
        on_head(c, into, (size_t)n);
    }
}

static void on_writable(struct conn *c)
{
    if (c->connecting) {
        int error = 0;
        socklen_t len = sizeof(error);
        if (getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &error, &len) < 0 || error) {
            errno = error;
            die("connect");
        }
        c->connecting = false;
        c->writing = false;
        watch(c, EPOLL_CTL_MOD, EPOLLIN);
        if (c->busy) {
            begin(c, c->start_ns);
        }
    } else if (!push_body(c)) {
        failed(c, "send");
    }
}

/* ---- The run. */

static void schedule_next(void)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    double u = ((double)(seed >> 11) + 1.0) / 9007199254740993.0;
    next_ns += (uint64_t)(-log(u) / (double)opt.rate * 1e9);
}

static void send_due(uint64_t now)
{
    while (next_ns <= now) {
        if (idle_head != idle_tail) {
            begin(idle[idle_head++ % MAX_CONNS], next_ns);
        } else if (waiting_tail - waiting_head < WAITING_MAX) {
            waiting[waiting_tail++ % WAITING_MAX] = next_ns;
        } else {
            late_n++;
        }
        schedule_next();
    }
}

/* Until the time, or until wanted connections were answered. */
static void run_until(uint64_t end_ns, uint64_t wanted)
{
    struct epoll_event events[256];
    for (uint64_t now = now_ns(); now < end_ns && answered_n < wanted; now = now_ns()) {
        uint64_t wake = end_ns;
        if (opt.mode == OPEN && !opening) {
            send_due(now);
            wake = next_ns < end_ns ? next_ns : end_ns;
        }
        struct timespec wait = until(wake, now);
        int n = epoll_pwait2(epoll_fd, events, 256, &wait, NULL);
        if (n < 0 && errno != EINTR) {
            die("epoll_pwait2");
        }
        for (int i = 0; i < n; i++) {
            struct conn *c = events[i].data.ptr;
            if (events[i].events & EPOLLOUT) {
                on_writable(c);
            } else {
                on_readable(c);
            }
        }
    }
}

static void await_answers(void)
{
    run_until(now_ns() + ANSWERS_S * NS_PER_S, opt.conns);
    if (answered_n < opt.conns) {
        errno = 0;
        die("not all connections were answered");
    }
}

static void start(void)
{
    conns = calloc(opt.conns, sizeof(*conns));
    if (!conns) {
        die("memory");
    }
    opening = opt.mode == CLOSED || opt.mode == OPEN;
    if (opening) {
        open_next(now_ns());
        await_answers();
        opening = false;
    } else {
        for (uint64_t i = 0; i < opt.conns; i++) {
            open_conn(&conns[i]);
            begin(&conns[i], now_ns());
        }
    }
    next_ns = now_ns();
    if (opt.hold) {
        await_answers();
        printf("holding\n");
        fflush(stdout);
    } else if (opt.mode == CLOSED) {
        for (uint64_t i = 0; i < opt.active; i++) {
            begin(idle[idle_head++], now_ns());
        }
    }
}

static void parse_options(int argc, char **argv)
{
    static const char *const modes[] = {"closed", "open", "connect", "sse"};
    struct {
        const char *name;
        uint64_t *to;
    } numbers[] = {{"conns", &opt.conns}, {"active", &opt.active}, {"hold", &opt.hold},
                   {"body", &opt.body},   {"rate", &opt.rate},     {"warm_ms", &opt.warm_ms},
                   {"ms", &opt.ms},       {"pid", &opt.pid}};
    for (int i = 1; i < argc; i++) {
        char *value = strchr(argv[i], '=');
        bool known = false;
        if (!value) {
            die(argv[i]);
        }
        *value++ = '\0';
        for (size_t k = 0; k < sizeof(numbers) / sizeof(*numbers); k++) {
            if (strcmp(argv[i], numbers[k].name) == 0) {
                *numbers[k].to = strtoull(value, NULL, 10);
                known = true;
            }
        }
        for (int k = 0; strcmp(argv[i], "mode") == 0 && k < 4; k++) {
            if (strcmp(value, modes[k]) == 0) {
                opt.mode = (enum mode)k;
                known = true;
            }
        }
        if (strcmp(argv[i], "addr") == 0) {
            opt.addr = value;
            known = true;
        } else if (strcmp(argv[i], "path") == 0) {
            opt.path = value;
            known = true;
        }
        if (!known) {
            die(argv[i]);
        }
    }
    if (!opt.addr || !opt.conns || opt.conns > MAX_CONNS || (opt.mode == OPEN && !opt.rate)) {
        die("addr= and conns= are needed, and rate= for mode=open");
    }
    if (!opt.active || opt.active > opt.conns) {
        opt.active = opt.conns;
    }
}

int main(int argc, char **argv)
{
    parse_options(argc, argv);
    memset(filler, 'x', sizeof(filler));
    int n = snprintf(request, sizeof(request),
                     "%s %s HTTP/1.1\r\nHost: bench.test\r\nUser-Agent: load/1\r\nAccept: */*\r\n",
                     opt.body || opt.mode == SSE ? "POST" : "GET", opt.path);
    if (opt.body || opt.mode == SSE) {
        n += snprintf(request + n, sizeof(request) - (size_t)n,
                      "Content-Type: application/json\r\nContent-Length: %llu\r\n",
                      (unsigned long long)opt.body);
    }
    request_n = (size_t)n + (size_t)snprintf(request + n, sizeof(request) - (size_t)n, "\r\n");
    epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (epoll_fd < 0) {
        die("epoll_create1");
    }
    start();
    run_until(now_ns() + opt.warm_ms * 1000000u, UINT64_MAX);
    measuring = true;
    struct cpu before = read_cpu(opt.pid);
    uint64_t began = now_ns();
    run_until(began + opt.ms * 1000000u, UINT64_MAX);
    struct cpu after = read_cpu(opt.pid);
    uint64_t took = now_ns() - began;
    printf(
        "{\"done\": %llu, \"errors\": %llu, \"late\": %llu, \"bytes\": %llu, \"took_ns\": %llu, "
        "\"cpu_ns\": %llu, \"user_ticks\": %llu, \"system_ticks\": %llu, \"p50_us\": %.1f, "
        "\"p99_us\": %.1f, \"p999_us\": %.1f}\n",
        (unsigned long long)done_n, (unsigned long long)errors_n, (unsigned long long)late_n,
        (unsigned long long)bytes_n, (unsigned long long)took,
        (unsigned long long)(after.run_ns - before.run_ns),
        (unsigned long long)(after.user_ticks - before.user_ticks),
        (unsigned long long)(after.system_ticks - before.system_ticks), percentile_us(0.5),
        percentile_us(0.99), percentile_us(0.999));
    return 0;
}
