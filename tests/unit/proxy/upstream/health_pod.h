/* SPDX-License-Identifier: Apache-2.0 */
/*
 * health_pod: a pod for health checks to ask, on the same loop: what it answers is a script.
 */
#ifndef SL_TEST_HEALTH_POD_H
#define SL_TEST_HEALTH_POD_H

#include <sluiced/config.h>

#include "proxy/base/buf.h"
#include "proxy/io/loop.h"
#include "proxy/io/stream.h"
#include "proxy/io/tls.h"

#include <stdbool.h>
#include <stddef.h>

#define POD_CONNS_MAX_N 512

enum pod_end {
    POD_KEEP,
    POD_CLOSE,
    POD_RESET,
};

/* What comes of one request. */
struct pod_step {
    const char *answer;  /* NULL: none */
    size_t filler_bytes; /* of 'x' behind it */
    size_t piece_bytes;  /* the answer leaves in pieces, one a turn; 0: whole */
    enum pod_end end;    /* when all of that was handed to the kernel */
};

struct pod;

struct pod_conn {
    struct sl_stream stream;
    struct sl_task pump;
    struct pod *pod;
    const struct pod_step *step; /* under way; NULL: none */
    size_t sent_bytes;
    size_t request_bytes; /* of the head that is being read */
    bool used;
};

struct pod {
    struct sl_loop *loop;
    struct sl_chunk_pool chunks;
    struct sl_tls_context *tls; /* NULL: plaintext */
    struct sl_io listen_io;
    struct sl_address address;
    int listen_fd;                /* -1: nobody listens */
    const struct pod_step *steps; /* one a request; the last one again and again */
    size_t steps_n;
    unsigned connections_n; /* ever accepted */
    unsigned open_n;        /* of them */
    unsigned requests_n;
    char request[1024]; /* the last one */
    struct pod_conn conns[POD_CONNS_MAX_N];
};

/* Listens on a port of the kernel's choice. steps: borrowed. */
void pod_init(struct pod *p, struct sl_loop *loop, const struct pod_step *steps, size_t steps_n);
void pod_fini(struct pod *p);

void pod_say(struct pod *p, const struct pod_step *step); /* from now on, always that */
void pod_close_conns(struct pod *p);
void pod_stop_listening(struct pod *p);
void pod_listen_again(struct pod *p); /* on the same port */

/* Turns the loop until done says so; fails the test with what after 10 s. */
void pod_turn_until(struct sl_loop *loop, bool (*done)(void *arg), void *arg, const char *what);
void pod_turn_ms(struct sl_loop *loop, uint64_t ms);

/* From capture to captured, what goes to stderr is kept; borrowed until the next capture. */
void log_capture(void);
const char *log_captured(void);

#endif
