/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fake_api: an HTTP/1.1 server on the test's own loop that answers nothing by itself: a test waits
 * for a request, and sends each byte of the answer when it likes. One thread, no races, no sleeps.
 */
#ifndef SL_TEST_FAKE_API_H
#define SL_TEST_FAKE_API_H

#include "proxy/io/loop.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define FAKE_CONNS_MAX_N 32

struct fake_conn {
    struct sl_io io;
    struct fake_api *api;
    int fd;     /* -1: free */
    bool waits; /* a whole request came that no test has taken */
    size_t len;
    char request[16384]; /* terminated */
};

struct fake_api {
    struct sl_loop *loop;
    struct sl_io io;
    int fd;
    char url[64];       /* http://127.0.0.1:port */
    bool streams_lists; /* else it is an old one, which refuses that by itself */
    size_t requests_n;  /* without the refused */
    struct fake_conn conns[FAKE_CONNS_MAX_N];
};

void fake_start(struct fake_api *f, struct sl_loop *loop);
void fake_stop(struct fake_api *f);

/* Turns the loop until done(arg); fails the test where it is not after deadline_ms, and as many
 * turns as fit into that on a machine that does nothing else. */
void fake_run_until(struct sl_loop *loop, bool (*done)(void *arg), void *arg, uint64_t deadline_ms,
                    const char *what);
/* Turns it for that long, and likewise as often, whatever happens. */
void fake_run_for(struct sl_loop *loop, uint64_t ms);

/* Waits for a request whose text has part in it, and takes it. */
struct fake_conn *fake_take(struct fake_api *f, const char *part);
bool fake_has(struct fake_api *f, const char *part);
/* Until nothing waits that has part in it: who asked has closed. */
void fake_expect_gone(struct fake_api *f, const char *part);

/* Sends text as it is. */
void fake_send(struct fake_conn *c, const char *text);
/* A whole answer, with Content-Length; extra: more head lines, each with its end, or "". */
void fake_answer(struct fake_conn *c, int status, const char *extra, const char *body);
/* The head of a chunked answer of 200, chunks of it, and its end. */
void fake_open(struct fake_conn *c);
void fake_chunk(struct fake_conn *c, const char *text);
void fake_end(struct fake_conn *c);
/* Closes without a word. */
void fake_cut(struct fake_conn *c);

#endif
