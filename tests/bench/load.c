/* SPDX-License-Identifier: Apache-2.0 */
/* The load generator of the benchmarks: one thread, epoll, few system calls a request. options.h
 * says what loads there are. It opens its connections, prints "ready" and does then what it is told
 * on its standard input, in slices of time:
 *
 * - warm MS: a slice that does not count
 * - run MS: a slice that counts
 *
 * After each a line with a dot; at the end of the input one line of JSON about all of them. Between
 * slices nothing is under way, and both sides of a slice are read at such a moment, the answers as
 * well as the CPU time: so that many generators, each with its proxy, can take turns of a fraction
 * of a second, and what the machine does meanwhile happens to all of them alike.
 *
 * Connections that stay are opened one after the other, each with a request before the next: no
 * backlog overflows, and none is new when it is measured. */
#include "bench.h"
#include "measure.h"
#include "options.h"

#include <fcntl.h>
#include <math.h>
#include <sys/epoll.h>

#define WAITING_MAX 65536u /* requests that are due and have no connection */
#define DEADLINE_S 60u /* for the first answers of all connections, and for the last of a slice */
#define SETTLE_NS 5000000u /* latencies at the beginning of a slice are those of cold caches */
#define QUIET_NS 3000000u  /* without an event: the streams have stopped */
#define SHORT_NS 1000000u

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

static int epoll_fd;
static struct conn *conns;
static char scratch[SCRATCH_BYTES];
static char filler[SCRATCH_BYTES];
static char request[1024];
static size_t request_n;
static enum {
    OPENING,
    RUNNING,
    STOPPING
} phase;
static bool measuring;
static uint64_t settled_ns; /* latencies count from then on */
static uint64_t last_ns;    /* the last answer or event */
static uint64_t took_ns;
static struct cpu used;
static uint64_t done_n;
static uint64_t bytes_n;
static uint64_t answered_n; /* connections that had an answer */
static uint64_t busy_n;     /* requests under way, but for streams */

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

static void push_body(struct conn *c)
{
    while (c->up_left) {
        size_t n = c->up_left < sizeof(filler) ? (size_t)c->up_left : sizeof(filler);
        ssize_t sent = send(c->fd, filler, n, MSG_NOSIGNAL);
        if (sent < 0 && errno != EAGAIN) {
            die("send");
        }
        c->up_left -= sent < 0 ? 0 : (uint64_t)sent;
        if (sent < (ssize_t)n) {
            if (!c->writing) {
                c->writing = true;
                watch(c, EPOLL_CTL_MOD, EPOLLIN | EPOLLOUT);
            }
            return;
        }
    }
    if (c->writing) {
        c->writing = false;
        watch(c, EPOLL_CTL_MOD, EPOLLIN);
    }
}

static void begin(struct conn *c, uint64_t start_ns)
{
    busy_n += c->busy ? 0 : 1; /* it is called again once it is connected */
    c->busy = true;
    c->in_body = false;
    c->head_n = 0;
    c->start_ns = start_ns;
    c->up_left = opt.body;
    if (c->connecting) {
        return;
    }
    if (send(c->fd, request, request_n, MSG_NOSIGNAL) != (ssize_t)request_n) {
        die("send");
    }
    push_body(c);
}

static void open_next(struct conn *c, uint64_t now)
{
    open_conn(c);
    begin(c, now);
}

static struct conn *take_idle(void)
{
    return idle[idle_head++ % MAX_CONNS];
}

/* What comes next, once a connection is answered. */
static void go_on(struct conn *c, uint64_t now)
{
    if (opt.mode == CONNECT) {
        close(c->fd);
        if (phase == RUNNING) {
            open_next(c, now);
        }
        return;
    }
    idle[idle_tail++ % MAX_CONNS] = c;
    if (phase == OPENING) {
        answered_n++;
        if (answered_n < opt.conns) {
            open_next(&conns[answered_n], now);
        }
    } else if (waiting_head != waiting_tail) {
        begin(take_idle(), waiting[waiting_head++ % WAITING_MAX]);
    } else if (opt.mode == CLOSED && phase == RUNNING) {
        begin(take_idle(), now);
    }
}

static void count(uint64_t now, uint64_t since)
{
    last_ns = now;
    if (measuring) {
        done_n++;
        if (now >= settled_ns) {
            count_latency(now > since ? now - since : 0);
        }
    }
}

static void answered(struct conn *c)
{
    uint64_t now = now_ns();
    count(now, c->start_ns);
    c->busy = false;
    busy_n--;
    go_on(c, now);
}

/* ---- Answers. */

static void on_body(struct conn *c, size_t n)
{
    if (n > c->left) {
        refuse("more answer than announced");
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
            refuse("a long head");
        }
        return;
    }
    char *length = strcasestr(c->head, "\ncontent-length:");
    if (strncmp(c->head, "HTTP/1.1 200", 12) != 0 || !length || length > end) {
        fprintf(stderr, "%.*s\n", (int)(end - c->head), c->head);
        refuse("an answer that is not 200 with Content-Length");
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
    if (!c->in_body && !c->head_n && strncmp(data, "HTTP/1.1 200", 12) != 0) {
        refuse("a stream that is not 200");
    }
    /* scratch has room in front for what was kept */
    char *end = data + n;
    data -= c->head_n;
    memcpy(data, c->head, c->head_n);
    while ((at = memmem(data, (size_t)(end - data), STAMP_MARK, STAMP_MARK_BYTES)) != NULL) {
        if ((size_t)(end - at) < whole) {
            break;
        }
        answered_n += c->in_body ? 0 : 1;
        c->in_body = true;
        count(now, strtoull(at + STAMP_MARK_BYTES, NULL, 10));
        data = at + whole;
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
    if (n < 0) {
        die("recv");
    }
    if (n == 0 || !c->busy) {
        refuse(n == 0 ? "closed by the other side" : "bytes without a request");
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
    } else {
        push_body(c);
    }
}

/* ---- The slices. */

/* Has the upstream send the events of these streams, and of no others. */
static void take_turn(uint64_t turn)
{
    static int fd = -1;
    static uint64_t now_has;
    char text[256];
    if (!opt.turn || turn == now_has) {
        return;
    }
    if (fd < 0) {
        struct sockaddr_storage addr;
        socklen_t len;
        fd = open_socket(opt.upstream, &addr, &len);
        if (fcntl(fd, F_SETFL, 0) < 0 || connect(fd, (struct sockaddr *)&addr, len) < 0) {
            die(opt.upstream);
        }
    }
    int n =
        snprintf(text, sizeof(text), "GET /turn/%llu HTTP/1.1\r\n\r\n", (unsigned long long)turn);
    if (send(fd, text, (size_t)n, MSG_NOSIGNAL) != n || recv(fd, text, sizeof(text), 0) <= 0) {
        die(opt.upstream);
    }
    now_has = turn;
}

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
            begin(take_idle(), next_ns);
        } else if (waiting_tail - waiting_head < WAITING_MAX) {
            waiting[waiting_tail++ % WAITING_MAX] = next_ns;
        } else {
            refuse("a rate that cannot be kept: no room to wait in");
        }
        schedule_next();
    }
}

static void serve_until(uint64_t wake_ns)
{
    struct epoll_event events[256];
    struct timespec wait = until(wake_ns, now_ns());
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

static void start_requests(uint64_t now)
{
    if (opt.mode == CLOSED) {
        for (uint64_t i = 0; i < opt.active; i++) {
            begin(take_idle(), now);
        }
    } else if (opt.mode == CONNECT) {
        for (uint64_t i = 0; i < opt.conns; i++) {
            open_next(&conns[i], now);
        }
    } else if (opt.mode == OPEN) {
        next_ns = now;
        schedule_next();
    }
}

static void run(uint64_t end_ns)
{
    phase = RUNNING;
    for (uint64_t now = now_ns(); now < end_ns; now = now_ns()) {
        uint64_t wake = end_ns;
        if (opt.mode == OPEN) {
            send_due(now);
            wake = next_ns < end_ns ? next_ns : end_ns;
        }
        serve_until(wake);
    }
}

static bool is_under_way(uint64_t now)
{
    if (opt.mode == SSE) { /* with nobody to stop them they never are quiet */
        return opt.turn && now < last_ns + QUIET_NS;
    }
    return busy_n || waiting_head != waiting_tail;
}

static void stop(void)
{
    phase = STOPPING;
    uint64_t end = now_ns() + DEADLINE_S * NS_PER_S;
    for (uint64_t now = now_ns(); is_under_way(now); now = now_ns()) {
        if (now > end) {
            refuse("requests that are not answered");
        }
        serve_until(now + SHORT_NS);
    }
}

static void slice(uint64_t ms, bool counts)
{
    measuring = counts;
    struct cpu before = read_cpu(opt.pid);
    take_turn(opt.turn);
    uint64_t began = now_ns();
    last_ns = began;
    settled_ns = began + SETTLE_NS;
    start_requests(began);
    run(began + ms * 1000000u);
    take_turn(0);
    stop();
    struct cpu after = read_cpu(opt.pid);
    if (counts) {
        took_ns += last_ns - began;
        used.run_ns += after.run_ns - before.run_ns;
        used.user_ticks += after.user_ticks - before.user_ticks;
        used.system_ticks += after.system_ticks - before.system_ticks;
    }
}

static void open_all(void)
{
    uint64_t end = now_ns() + DEADLINE_S * NS_PER_S;
    uint64_t at_once = opt.mode == SSE ? opt.conns : 1;
    take_turn(opt.turn);
    for (uint64_t i = 0; i < at_once; i++) {
        open_next(&conns[i], now_ns());
    }
    while (answered_n < opt.conns) {
        if (now_ns() > end) {
            refuse("connections that are not answered");
        }
        serve_until(end);
    }
    take_turn(0);
    stop();
}

static void report(void)
{
    printf(
        "{\"done\": %llu, \"bytes\": %llu, \"took_ns\": %llu, \"cpu_ns\": %llu, "
        "\"user_ticks\": %llu, \"system_ticks\": %llu, \"p50_us\": %.1f, \"p99_us\": %.1f, "
        "\"p999_us\": %.1f}\n",
        (unsigned long long)done_n, (unsigned long long)bytes_n, (unsigned long long)took_ns,
        (unsigned long long)used.run_ns, (unsigned long long)used.user_ticks,
        (unsigned long long)used.system_ticks, percentile_us(0.5), percentile_us(0.99),
        percentile_us(0.999));
}

int main(int argc, char **argv)
{
    char what[16];
    unsigned long long ms;
    parse_options(argc, argv);
    memset(filler, 'x', sizeof(filler));
    request_n = format_request(request, sizeof(request));
    epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    conns = calloc(opt.conns, sizeof(*conns));
    if (epoll_fd < 0 || !conns) {
        die("memory, or epoll_create1");
    }
    if (opt.mode != CONNECT) {
        open_all();
    }
    printf("ready\n");
    fflush(stdout);
    while (scanf("%15s %llu", what, &ms) == 2) {
        slice(ms, strcmp(what, "run") == 0);
        printf(".\n");
        fflush(stdout);
    }
    report();
    return 0;
}
