/* SPDX-License-Identifier: Apache-2.0 */
/*
 * h2_peer: an HTTP/2 server over TLS on the test's own loop that answers nothing by itself: a test
 * waits for streams, and sends each frame of the answer when it likes. It can also be a server that
 * speaks HTTP/1.1 alone. Requests are counted, not decoded.
 */
#ifndef SL_TEST_H2_PEER_H
#define SL_TEST_H2_PEER_H

#include "proxy/io/loop.h"

#include <openssl/ssl.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define H2_CONNS_MAX_N 64
#define H2_STREAMS_MAX_N 160

struct h2_conn {
    struct sl_io io;
    struct h2_peer *peer;
    int fd; /* -1: closed */
    SSL *ssl;
    bool is_open; /* handshake done */
    char sni[64];
    unsigned char in[65536]; /* HTTP/1.1: terminated text */
    size_t in_n;
    bool had_preface;
    bool had_ack;                       /* of our SETTINGS */
    uint32_t streams[H2_STREAMS_MAX_N]; /* in the order of their requests */
    size_t streams_n;
    size_t resets_n; /* by the client */
    size_t pings_n;
};

struct h2_peer {
    struct sl_loop *loop;
    struct sl_io io;
    SSL_CTX *ctx;
    int fd;
    bool drops; /* accepts, and closes at once */
    bool hangs; /* accepts, and never answers a ClientHello */
    bool is_http1;
    uint32_t streams_max_n; /* as told in SETTINGS; may be changed before a connection comes */
    char url[64];           /* https://127.0.0.1:port */
    struct h2_conn conns[H2_CONNS_MAX_N];
    size_t conns_n; /* that came so far; the newest is the last */
};

void h2_start(struct h2_peer *p, struct sl_loop *loop, const char *cert, const char *key);
void h2_stop(struct h2_peer *p);
void h2_stop_listening(struct h2_peer *p);

size_t h2_streams_n(const struct h2_peer *p); /* of all connections, ended ones too */
size_t h2_open_conns_n(const struct h2_peer *p);
/* Turns the loop until there were so many streams. */
void h2_wait_streams(struct h2_peer *p, size_t n);

/* Head of a 200; name and value of one more header, or NULL. */
void h2_head(struct h2_conn *c, uint32_t stream, const char *name, const char *value);
void h2_data(struct h2_conn *c, uint32_t stream, const char *text, bool is_last);
void h2_reset(struct h2_conn *c, uint32_t stream, uint32_t code);
void h2_goaway(struct h2_conn *c, uint32_t last_stream);
void h2_raw(struct h2_conn *c, const char *text); /* HTTP/1.1 */
void h2_deafen(struct h2_conn *c);                /* reads no more */
void h2_cut(struct h2_conn *c);                   /* by a reset of TCP */

#endif
