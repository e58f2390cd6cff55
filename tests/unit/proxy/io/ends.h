/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ends: the two ends of one connection as streams of one loop, which note what happens to them.
 */
#ifndef SL_TEST_ENDS_H
#define SL_TEST_ENDS_H

#include "proxy/io/stream.h"
#include "proxy/io/tls.h"

#include <stdbool.h>
#include <stddef.h>

#define ENDS_PENDING 1 /* of open_code: not decided */

struct end {
    struct sl_stream stream;
    int open_code;
    unsigned opens_n;
    unsigned drained_n;
    size_t drained_at[2]; /* bytes unsent at the first two */
    unsigned broken_n;
    int broken_code;
    int read_code;    /* how reading ended; SL_OK: it has not */
    size_t read_max;  /* bytes asked for in one read */
    unsigned reads_n; /* calls of on_readable */
    bool close_on_open;
    bool close_on_end;
    unsigned char *got;
    size_t got_n;
    size_t got_max;
    char failure[192]; /* of TLS, as it was when on_open or a read failed */
    char peer_name[256];
};

struct ends {
    struct sl_loop *loop;
    bool owns_loop;
    struct sl_chunk_pool chunks;
    struct end a; /* accepts */
    struct end b; /* connects */
};

/* capacity: of each end's received bytes. */
void ends_init(struct ends *e, size_t capacity);
void ends_init_on(struct ends *e, struct sl_loop *l, size_t capacity); /* borrows l */
void ends_fini(struct ends *e);                                        /* closes both ends */

/* A connected unix pair. buffer_bytes > 0: of each send buffer. */
void ends_pair(int fds[2], int buffer_bytes);

void ends_open_plain(struct ends *e, int buffer_bytes);
void ends_open_tls(struct ends *e, struct sl_tls_context *server, struct sl_tls_context *client,
                   const struct sl_address *address, int buffer_bytes);

/* One end on an fd; tls NULL: plain. */
void end_open(struct ends *e, struct end *end, int fd, struct sl_tls_session *tls);

/* One plain end whose connect has not been decided. */
void end_open_connecting(struct ends *e, struct end *end, int fd);

void end_send(struct end *end, const void *bytes, size_t len);

/* Turns the loop until done says so; fails the test with what after very many turns. */
void ends_turn_until(struct ends *e, bool (*done)(struct ends *e), const char *what);
void ends_turn(struct ends *e, unsigned turns_n);

bool ends_both_decided(struct ends *e);
bool ends_both_ended(struct ends *e); /* reading ended on both */

#endif
