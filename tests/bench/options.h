/* SPDX-License-Identifier: Apache-2.0 */
/* What the load generator is asked for: arguments KEY=VALUE.
 *
 * - mode=closed: active= requests at once (as many as connections, if left out); the next goes out
 *   on the connection that has been idle longest, as soon as one is answered
 * - mode=open: rate= requests a second at random times, on the connection that has been idle
 *   longest; the latency counts from the time intended
 * - mode=connect: conns= at once, each request on a connection of its own
 * - mode=sse: each connection reads a stream without end; the latency is that of an event. turn=T,
 *   with upstream=: the streams of path /sse/R/T, which stand still outside of the slices
 * - addr= path= conns= body= (bytes of a POST) pid= (whose CPU time to read) */
#ifndef TESTS_BENCH_OPTIONS_H
#define TESTS_BENCH_OPTIONS_H

#include <stddef.h>
#include <stdint.h>

#define MAX_CONNS 20000u

enum mode {
    CLOSED,
    OPEN,
    CONNECT,
    SSE
};

struct options {
    enum mode mode;
    const char *addr;
    const char *upstream;
    const char *path;
    uint64_t conns;
    uint64_t active;
    uint64_t body;
    uint64_t rate;
    uint64_t turn;
    uint64_t pid;
};

extern struct options opt;

/* Ends the program on anything that it does not know. */
void parse_options(int argc, char **argv);

/* The head of the request that all connections send; how long it is. */
size_t format_request(char *to, size_t size);

#endif
