/* SPDX-License-Identifier: Apache-2.0 */
/* What the load generator and the upstream of the benchmarks share. Both are one thread on one core
 * and end with a message when anything is not as they expect: a figure from a run with an error in
 * it is worse than none. */
#ifndef TESTS_BENCH_BENCH_H
#define TESTS_BENCH_BENCH_H

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define NS_PER_S 1000000000ull
#define SCRATCH_BYTES (256u * 1024u)

/* An event of a stream carries the time at which it was sent, in this many digits behind the mark.
 */
#define STAMP_MARK "\"t\":"
#define STAMP_MARK_BYTES 4u
#define STAMP_DIGITS 20u

/* Ends the program over a system call. */
__attribute__((noreturn)) static inline void die(const char *what)
{
    fprintf(stderr, "bench: %s: %s\n", what, strerror(errno));
    exit(1);
}

/* Ends the program over anything else. */
__attribute__((noreturn)) static inline void refuse(const char *what)
{
    fprintf(stderr, "bench: unexpected: %s\n", what);
    exit(1);
}

static inline uint64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * NS_PER_S + (uint64_t)t.tv_nsec;
}

/* How long from now until then; none at all when it has passed. */
static inline struct timespec until(uint64_t then_ns, uint64_t at_ns)
{
    uint64_t left = then_ns > at_ns ? then_ns - at_ns : 0;
    return (struct timespec){(time_t)(left / NS_PER_S), (long)(left % NS_PER_S)};
}

/* A non-blocking socket for "1.2.3.4:80" or "unix:/path", and the address; ends the program on a
 * bad one. */
static inline int open_socket(const char *text, struct sockaddr_storage *addr, socklen_t *len)
{
    memset(addr, 0, sizeof(*addr));
    if (strncmp(text, "unix:", 5) == 0) {
        struct sockaddr_un *un = (struct sockaddr_un *)addr;
        un->sun_family = AF_UNIX;
        if (snprintf(un->sun_path, sizeof(un->sun_path), "%s", text + 5) >=
            (int)sizeof(un->sun_path))
        {
            refuse("the path of a socket is too long");
        }
        *len = sizeof(*un);
    } else {
        struct sockaddr_in *in = (struct sockaddr_in *)addr;
        const char *colon = strrchr(text, ':');
        char host[INET_ADDRSTRLEN];
        if (!colon || (size_t)(colon - text) >= sizeof(host)) {
            refuse(text);
        }
        memcpy(host, text, (size_t)(colon - text));
        host[colon - text] = '\0';
        in->sin_family = AF_INET;
        in->sin_port = htons((uint16_t)strtoul(colon + 1, NULL, 10));
        if (inet_pton(AF_INET, host, &in->sin_addr) != 1) {
            refuse(text);
        }
        *len = sizeof(*in);
    }
    int fd = socket(addr->ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        die("socket");
    }
    int on = 1;
    if (addr->ss_family == AF_INET && setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)) < 0)
    {
        die("TCP_NODELAY");
    }
    return fd;
}

#endif
