/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/proxy/io/h2_peer.h"

#include "tests/unit/check.h"
#include "tests/unit/discovery/fake_api.h"

#include <openssl/err.h>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* RFC 9113 sections 3.4, 4.1 and 6. */
#define PREFACE_BYTES 24
#define FRAME_HEAD_BYTES 9

enum frame {
    DATA = 0,
    HEADERS = 1,
    RST_STREAM = 3,
    SETTINGS = 4,
    PING = 6,
    GOAWAY = 7,
};

#define FLAG_ACK 1
#define FLAG_END_STREAM 1
#define FLAG_END_HEADERS 4

static void drop(struct h2_conn *c)
{
    if (c->fd >= 0) {
        sl_io_stop(&c->io);
        SSL_free(c->ssl);
        (void)close(c->fd);
        c->fd = -1;
        c->ssl = NULL;
    }
}

static void write_all(struct h2_conn *c, const void *data, size_t len)
{
    check(c->fd >= 0, "the client closed before it had its answer");
    check(SSL_write(c->ssl, data, (int)len) == (int)len, "a short write");
}

static void put_u32(unsigned char *at, uint32_t value)
{
    for (size_t i = 0; i < 4; i++) {
        at[i] = (unsigned char)(value >> (24 - 8 * i));
    }
}

static uint32_t get_u32(const unsigned char *at)
{
    return (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3];
}

static void send_frame(struct h2_conn *c, enum frame type, unsigned flags, uint32_t stream,
                       const void *payload, size_t len)
{
    unsigned char frame[FRAME_HEAD_BYTES + 4096];

    check(len <= 4096, "a frame of %zu bytes", len);
    put_u32(frame, (uint32_t)len << 8 | (uint32_t)type);
    frame[4] = (unsigned char)flags;
    put_u32(frame + 5, stream);
    if (len > 0) {
        memcpy(frame + FRAME_HEAD_BYTES, payload, len);
    }
    write_all(c, frame, FRAME_HEAD_BYTES + len);
}

static void on_frame(struct h2_conn *c, const unsigned char *frame, size_t len)
{
    uint32_t stream = get_u32(frame + 5) & 0x7fffffff;
    bool is_ack = (frame[4] & FLAG_ACK) != 0;

    switch (frame[3]) {
    case HEADERS:
        check(c->streams_n < H2_STREAMS_MAX_N, "too many streams");
        c->streams[c->streams_n++] = stream;
        break;
    case RST_STREAM:
        c->resets_n++;
        break;
    case SETTINGS:
        c->had_ack = c->had_ack || is_ack;
        if (!is_ack) {
            send_frame(c, SETTINGS, FLAG_ACK, 0, NULL, 0);
        }
        break;
    case PING:
        c->pings_n += !is_ack;
        if (!is_ack) {
            send_frame(c, PING, FLAG_ACK, 0, frame + FRAME_HEAD_BYTES, len);
        }
        break;
    default:
        break;
    }
}

static void on_bytes(struct h2_conn *c)
{
    size_t at = 0;

    if (c->peer->is_http1) {
        c->in[c->in_n] = '\0';
        c->streams_n = strstr((const char *)c->in, "\r\n\r\n") != NULL ? 1 : 0;
        return;
    }
    if (!c->had_preface && c->in_n >= PREFACE_BYTES) {
        c->had_preface = true;
        at = PREFACE_BYTES;
    }
    while (c->had_preface && c->fd >= 0 && c->in_n - at >= FRAME_HEAD_BYTES) {
        size_t len = get_u32(c->in + at) >> 8;
        if (c->in_n - at < FRAME_HEAD_BYTES + len) {
            break;
        }
        on_frame(c, c->in + at, len);
        at += FRAME_HEAD_BYTES + len;
    }
    c->in_n -= at;
    memmove(c->in, c->in + at, c->in_n);
}

static void greet(struct h2_conn *c)
{
    unsigned char settings[6] = {0, 3}; /* SETTINGS_MAX_CONCURRENT_STREAMS */
    const char *sni = SSL_get_servername(c->ssl, TLSEXT_NAMETYPE_host_name);

    c->is_open = true;
    (void)snprintf(c->sni, sizeof(c->sni), "%s", sni != NULL ? sni : "");
    if (!c->peer->is_http1) {
        put_u32(settings + 2, c->peer->streams_max_n);
        send_frame(c, SETTINGS, 0, 0, settings, sizeof(settings));
    }
}

static void on_ready(struct sl_io *io, int events)
{
    struct h2_conn *c = sl_container_of(io, struct h2_conn, io);
    int n = 1;
    (void)events;

    ERR_clear_error(); /* the client's, who is on the same thread */
    if (!c->is_open) {
        n = SSL_do_handshake(c->ssl);
        if (n == 1) {
            greet(c);
        }
    }
    while (n > 0) {
        n = SSL_read(c->ssl, c->in + c->in_n, (int)(sizeof(c->in) - 1 - c->in_n));
        if (n > 0) {
            c->in_n += (size_t)n;
            on_bytes(c);
        }
    }
    int why = SSL_get_error(c->ssl, n);
    if (why != SSL_ERROR_WANT_READ && why != SSL_ERROR_WANT_WRITE) {
        drop(c);
    }
}

static void on_accept(struct sl_io *io, int events)
{
    struct h2_peer *p = sl_container_of(io, struct h2_peer, io);
    int fd = accept4(p->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    (void)events;

    if (p->drops) {
        check(fd >= 0 && close(fd) == 0, "no connection to drop");
        return;
    }
    check(fd >= 0 && p->conns_n < H2_CONNS_MAX_N, "too many connections");
    struct h2_conn *c = &p->conns[p->conns_n++];
    memset(c, 0, sizeof(*c));
    c->peer = p;
    c->fd = fd;
    c->ssl = SSL_new(p->ctx);
    check(c->ssl != NULL && SSL_set_fd(c->ssl, fd) == 1, "no session");
    SSL_set_accept_state(c->ssl);
    sl_io_init(&c->io, p->loop, fd, on_ready);
    sl_io_want_read(&c->io, !p->hangs);
}

static int choose_alpn(SSL *ssl, const unsigned char **out, unsigned char *out_len,
                       const unsigned char *in, unsigned in_len, void *arg)
{
    const struct h2_peer *p = arg;
    const char *want = p->is_http1 ? "\x08http/1.1" : "\x02h2";
    unsigned char *chosen = NULL;
    (void)ssl;

    int rc = SSL_select_next_proto(&chosen, out_len, (const unsigned char *)want,
                                   (unsigned)strlen(want), in, in_len);
    *out = chosen;
    return rc == OPENSSL_NPN_NEGOTIATED ? SSL_TLSEXT_ERR_OK : SSL_TLSEXT_ERR_ALERT_FATAL;
}

void h2_start(struct h2_peer *p, struct sl_loop *loop, const char *cert, const char *key)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t at_len = sizeof(at);

    memset(p, 0, sizeof(*p));
    p->loop = loop;
    p->streams_max_n = 100;
    p->ctx = SSL_CTX_new(TLS_server_method());
    check(p->ctx != NULL && SSL_CTX_use_certificate_chain_file(p->ctx, cert) == 1 &&
              SSL_CTX_use_PrivateKey_file(p->ctx, key, SSL_FILETYPE_PEM) == 1,
          "no TLS of %s", cert);
    SSL_CTX_set_alpn_select_cb(p->ctx, choose_alpn, p);
    p->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    assert_true(p->fd >= 0);
    assert_int_equal(bind(p->fd, (struct sockaddr *)(void *)&at, sizeof(at)), 0);
    assert_int_equal(listen(p->fd, 128), 0);
    assert_int_equal(getsockname(p->fd, (struct sockaddr *)(void *)&at, &at_len), 0);
    (void)snprintf(p->url, sizeof(p->url), "https://127.0.0.1:%u", ntohs(at.sin_port));
    sl_io_init(&p->io, loop, p->fd, on_accept);
    sl_io_want_read(&p->io, true);
}

void h2_stop_listening(struct h2_peer *p)
{
    if (p->fd >= 0) {
        sl_io_stop(&p->io);
        (void)close(p->fd);
        p->fd = -1;
    }
}

void h2_stop(struct h2_peer *p)
{
    for (size_t i = 0; i < p->conns_n; i++) {
        drop(&p->conns[i]);
    }
    h2_stop_listening(p);
    SSL_CTX_free(p->ctx);
}

size_t h2_streams_n(const struct h2_peer *p)
{
    size_t n = 0;

    for (size_t i = 0; i < p->conns_n; i++) {
        n += p->conns[i].streams_n;
    }
    return n;
}

size_t h2_open_conns_n(const struct h2_peer *p)
{
    size_t n = 0;

    for (size_t i = 0; i < p->conns_n; i++) {
        n += p->conns[i].fd >= 0;
    }
    return n;
}

struct wanted {
    const struct h2_peer *peer;
    size_t n;
};

static bool has_streams(void *arg)
{
    const struct wanted *w = arg;
    return h2_streams_n(w->peer) >= w->n;
}

void h2_wait_streams(struct h2_peer *p, size_t n)
{
    struct wanted w = {p, n};
    fake_run_until(p->loop, has_streams, &w, 10000, "streams");
}

/* RFC 7541: 0x88 is ":status: 200" of the static table; 0x00 a literal that is not indexed. */
void h2_head(struct h2_conn *c, uint32_t stream, const char *name, const char *value)
{
    char block[512] = "\x88";
    size_t len = 1;

    if (name != NULL) {
        check(strlen(name) < 127 && strlen(value) < 127, "a header too long for one byte");
        int n = snprintf(block, sizeof(block), "\x88%c%c%s%c%s", 1, (int)strlen(name), name,
                         (int)strlen(value), value);
        block[1] = '\0'; /* snprintf could not have written it */
        len = (size_t)n;
    }
    send_frame(c, HEADERS, FLAG_END_HEADERS, stream, block, len);
}

void h2_data(struct h2_conn *c, uint32_t stream, const char *text, bool is_last)
{
    send_frame(c, DATA, is_last ? FLAG_END_STREAM : 0, stream, text, strlen(text));
}

void h2_reset(struct h2_conn *c, uint32_t stream, uint32_t code)
{
    unsigned char payload[4];

    put_u32(payload, code);
    send_frame(c, RST_STREAM, 0, stream, payload, sizeof(payload));
}

void h2_goaway(struct h2_conn *c, uint32_t last_stream)
{
    unsigned char payload[8] = {0};

    put_u32(payload, last_stream);
    send_frame(c, GOAWAY, 0, 0, payload, sizeof(payload));
}

void h2_raw(struct h2_conn *c, const char *text)
{
    write_all(c, text, strlen(text));
}

void h2_deafen(struct h2_conn *c)
{
    sl_io_stop(&c->io);
}

void h2_cut(struct h2_conn *c)
{
    const struct linger now = {.l_onoff = 1};

    assert_int_equal(setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now)), 0);
    drop(c);
}
