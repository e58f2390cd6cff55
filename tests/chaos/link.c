/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The network between proxies and pods: a TUN device in the namespace that it is started in, one in
 * a new namespace, and what is lost or late between them. It does what netem does, where the kernel
 * has no netem: TCP on both sides is the kernel's, and sees packets that come late or never.
 *
 *   link SEED             the devices are "pods" here and "proxies" there, up to the caller to
 *                         configure; it says "ready" once both are there, and ends with its input
 *   ADDRESS LOSS DELAY    a line of input: of the packets to and from this address so many percent
 *                         are lost, and each comes DELAY ms late, each way; answered by "ok"
 *
 * Which packets of an address are lost hangs on SEED, the address and how many there were before.
 * Order is kept. Of what is late at most QUEUE_MAX_N packets are held for an address and a
 * direction, as by a router; the next one is lost.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <time.h>
#include <unistd.h>

#define TUN_PATH "/dev/net/tun"
#define TUN_MAJOR 10
#define TUN_MINOR 200
#define PACKET_BYTES 2048U /* the devices' MTU is 1500 */
#define PATHS_MAX_N 64U
#define QUEUE_MAX_N 4096U
#define BATCH_N 64 /* packets of one device until the other one has its turn */
#define NS_PER_MS 1000000ULL
#define NS_PER_S 1000000000ULL

enum way {
    TO_PODS,
    FROM_PODS,
    WAYS_N
};

struct packet {
    struct packet *next;
    uint64_t due_ns;
    size_t n;
    unsigned char bytes[];
};

struct queue {
    struct packet *first;
    struct packet **end;
    uint32_t n;
};

struct path { /* to and from one address */
    in_addr_t address;
    unsigned loss_pct;
    uint64_t delay_ns;
    uint64_t random;
    struct queue late[WAYS_N];
};

static struct path paths[PATHS_MAX_N];
static size_t paths_n;
static uint64_t seed;
static int devices[WAYS_N]; /* where packets of this way are read */

static void die(const char *what)
{
    (void)fprintf(stderr, "link: %s: %s\n", what, strerror(errno));
    exit(1);
}

static uint64_t now_ns(void)
{
    struct timespec t;

    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * NS_PER_S + (uint64_t)t.tv_nsec;
}

/* A machine whose kernel has it may lack the file. */
static void make_tun(void)
{
    if (access(TUN_PATH, F_OK) != 0) {
        (void)mkdir("/dev/net", 0755); /* what cannot be made cannot be opened: that says so */
        (void)mknod(TUN_PATH, S_IFCHR | 0600, makedev(TUN_MAJOR, TUN_MINOR));
    }
}

static int open_device(const char *name)
{
    struct ifreq request = {.ifr_flags = IFF_TUN | IFF_NO_PI};
    make_tun();
    int fd = open(TUN_PATH, O_RDWR | O_NONBLOCK | O_CLOEXEC);

    (void)snprintf(request.ifr_name, sizeof(request.ifr_name), "%s", name);
    if (fd < 0 || ioctl(fd, TUNSETIFF, &request) != 0) {
        die(TUN_PATH " (a container must be given it)");
    }
    return fd;
}

static struct path *path_of(in_addr_t address, bool make)
{
    for (size_t i = 0; i < paths_n; i++) {
        if (paths[i].address == address) {
            return &paths[i];
        }
    }
    if (!make || paths_n == PATHS_MAX_N) {
        return NULL;
    }
    struct path *p = &paths[paths_n++];
    p->address = address;
    p->random = seed ^ ((uint64_t)ntohl(address) << 32U);
    for (int way = 0; way < WAYS_N; way++) {
        p->late[way].end = &p->late[way].first;
    }
    return p;
}

/* splitmix64 */
static bool is_lost(struct path *p)
{
    uint64_t z = p->random += 0x9e3779b97f4a7c15ULL;

    z = (z ^ (z >> 30U)) * 0xbf58476d1ce4e5b9ULL;
    z = (z ^ (z >> 27U)) * 0x94d049bb133111ebULL;
    return (z ^ (z >> 31U)) % 100 < p->loss_pct;
}

/* A device that takes no more loses the packet, as a wire does. */
static void deliver(enum way way, const void *bytes, size_t n)
{
    if (write(devices[way == TO_PODS ? FROM_PODS : TO_PODS], bytes, n) < 0 && errno != EAGAIN &&
        errno != ENOBUFS && errno != EIO)
    {
        die("write");
    }
}

static void hold(struct queue *q, const unsigned char *bytes, size_t n, uint64_t due_ns)
{
    struct packet *p = q->n < QUEUE_MAX_N ? malloc(sizeof(*p) + n) : NULL;

    if (p == NULL) {
        return;
    }
    p->next = NULL;
    p->due_ns = due_ns;
    p->n = n;
    memcpy(p->bytes, bytes, n);
    *q->end = p;
    q->end = &p->next;
    q->n++;
}

static void carry(enum way way)
{
    unsigned char bytes[PACKET_BYTES];

    for (int i = 0; i < BATCH_N; i++) {
        ssize_t n = read(devices[way], bytes, sizeof(bytes));
        in_addr_t address;
        if (n < 20 || bytes[0] >> 4U != 4) { /* nothing there, or not IPv4 */
            if (n < 0) {
                return;
            }
            continue;
        }
        memcpy(&address, bytes + (way == TO_PODS ? 16 : 12), sizeof(address));
        struct path *p = path_of(address, false);
        if (p != NULL && is_lost(p)) {
            continue;
        }
        if (p != NULL && (p->delay_ns > 0 || p->late[way].n > 0)) {
            hold(&p->late[way], bytes, (size_t)n, now_ns() + p->delay_ns);
        } else {
            deliver(way, bytes, (size_t)n);
        }
    }
}

/* Delivers what is due; returns how long until the next packet is (ns). */
static uint64_t deliver_due(void)
{
    uint64_t now = now_ns();
    uint64_t next = NS_PER_S - 1;

    for (size_t i = 0; i < paths_n * WAYS_N; i++) {
        enum way way = (enum way)(i % WAYS_N);
        struct queue *q = &paths[i / WAYS_N].late[way];
        while (q->n > 0 && q->first->due_ns <= now) {
            struct packet *p = q->first;
            deliver(way, p->bytes, p->n);
            q->first = p->next;
            q->n--;
            if (q->n == 0) {
                q->end = &q->first;
            }
            free(p);
        }
        if (q->n > 0 && q->first->due_ns - now < next) {
            next = q->first->due_ns - now;
        }
    }
    return next;
}

/* Lines are short and come one at a time: each is answered before the next one is written. */
static void obey(void)
{
    char line[128];
    char text[INET_ADDRSTRLEN];
    struct in_addr address;
    unsigned loss_pct;
    unsigned delay_ms;
    ssize_t n = read(STDIN_FILENO, line, sizeof(line) - 1);

    if (n <= 0) {
        exit(0);
    }
    line[n] = '\0';
    if (sscanf(line, "%15s %u %u", text, &loss_pct, &delay_ms) != 3 ||
        inet_pton(AF_INET, text, &address) != 1)
    {
        errno = EINVAL;
        die(line);
    }
    struct path *p = path_of(address.s_addr, true);
    if (p == NULL) {
        errno = ENOSPC;
        die(line);
    }
    p->loss_pct = loss_pct;
    p->delay_ns = delay_ms * NS_PER_MS;
    (void)puts("ok");
    (void)fflush(stdout);
}

int main(int argc, char **argv)
{
    seed = argc > 1 ? strtoull(argv[1], NULL, 10) : 0;
    devices[TO_PODS] = open_device("pods");
    if (unshare(CLONE_NEWNET) != 0) {
        die("unshare");
    }
    devices[FROM_PODS] = open_device("proxies");
    (void)puts("ready");
    (void)fflush(stdout);
    for (;;) {
        struct pollfd polled[] = {
            {.fd = devices[TO_PODS], .events = POLLIN},
            {.fd = devices[FROM_PODS], .events = POLLIN},
            {.fd = STDIN_FILENO, .events = POLLIN},
        };
        struct timespec wait = {0, (long)deliver_due()};
        if (ppoll(polled, 3, &wait, NULL) < 0) {
            die("ppoll");
        }
        carry(TO_PODS);
        carry(FROM_PODS);
        if (polled[2].revents != 0) {
            obey();
        }
    }
}
