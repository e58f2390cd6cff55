/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/discovery/fake_dns.h"

#include "tests/unit/check.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    HEAD_BYTES = 12,
    UDP_BYTES = 1232,
    FLAGS_ANSWER = 0x8580, /* QR, AA, RD, RA */
    FLAG_TRUNCATED = 0x0200
};

static void put_u16(unsigned char *to, uint16_t v)
{
    to[0] = (unsigned char)(v >> 8);
    to[1] = (unsigned char)(v & 0xff);
}

static uint16_t get_u16(const unsigned char *from)
{
    return (uint16_t)(from[0] << 8 | from[1]);
}

/* ---- Messages */

static void append(struct fake_dns_answer *a, const void *data, size_t len)
{
    assert_true(a->len + len <= FAKE_DNS_MESSAGE_BYTES);
    memcpy(a->bytes + a->len, data, len);
    a->len += len;
}

static void append_u16(struct fake_dns_answer *a, uint16_t v)
{
    unsigned char b[2];

    put_u16(b, v);
    append(a, b, sizeof(b));
}

static void append_u32(struct fake_dns_answer *a, uint32_t v)
{
    append_u16(a, (uint16_t)(v >> 16));
    append_u16(a, (uint16_t)(v & 0xffff));
}

/* Without compression; returns the length. */
static size_t name_of(const char *text, unsigned char *to)
{
    size_t at = 0;

    text += strcmp(text, ".") == 0 ? 1 : 0;
    while (*text != '\0') {
        size_t len = strcspn(text, ".");

        to[at++] = (unsigned char)len;
        memcpy(to + at, text, len);
        at += len;
        text += len + (text[len] == '.' ? 1 : 0);
    }
    to[at++] = 0;
    return at;
}

/* owner NULL: the name that was asked for. */
static void add(struct fake_dns_answer *a, int section, const char *owner, uint16_t type,
                uint32_t ttl_s, const void *data, size_t len)
{
    unsigned char name[256];

    if (owner == NULL) {
        append_u16(a, 0xc000 | HEAD_BYTES);
    } else {
        append(a, name, name_of(owner, name));
    }
    append_u16(a, type);
    append_u16(a, 1);
    append_u32(a, ttl_s);
    append_u16(a, (uint16_t)len);
    append(a, data, len);
    a->counts[section]++;
}

static void add_host(struct fake_dns_answer *a, int section, const char *owner, uint32_t ttl_s,
                     const char *host)
{
    unsigned char b[16];

    if (inet_pton(AF_INET, host, b) == 1) {
        add(a, section, owner, 1, ttl_s, b, 4);
    } else {
        assert_int_equal(inet_pton(AF_INET6, host, b), 1);
        add(a, section, owner, 28, ttl_s, b, 16);
    }
}

void fake_dns_host(struct fake_dns_answer *a, uint32_t ttl_s, const char *host)
{
    add_host(a, 0, NULL, ttl_s, host);
}

void fake_dns_extra(struct fake_dns_answer *a, uint32_t ttl_s, const char *name, const char *host)
{
    add_host(a, 2, name, ttl_s, host);
}

void fake_dns_alias(struct fake_dns_answer *a, uint32_t ttl_s, const char *target)
{
    unsigned char name[256];

    add(a, 0, NULL, 5, ttl_s, name, name_of(target, name));
}

void fake_dns_srv(struct fake_dns_answer *a, uint32_t ttl_s, uint16_t priority, uint16_t weight,
                  uint16_t port, const char *target)
{
    unsigned char b[6 + 256];

    put_u16(b, priority);
    put_u16(b + 2, weight);
    put_u16(b + 4, port);
    add(a, 0, NULL, 33, ttl_s, b, 6 + name_of(target, b + 6));
}

void fake_dns_soa(struct fake_dns_answer *a, uint32_t ttl_s, uint32_t minimum_s)
{
    unsigned char b[64] = {0};
    size_t at = name_of("ns.test", b);

    at += name_of("admin.test", b + at) + 16;
    put_u16(b + at, (uint16_t)(minimum_s >> 16));
    put_u16(b + at + 2, (uint16_t)(minimum_s & 0xffff));
    add(a, 1, "test", 6, ttl_s, b, at + 4);
}

size_t fake_dns_message(const struct fake_dns_answer *a, uint16_t id, unsigned char *buf)
{
    size_t at = HEAD_BYTES;

    memset(buf, 0, HEAD_BYTES);
    put_u16(buf, id);
    put_u16(buf + 2, (uint16_t)(FLAGS_ANSWER | a->rcode));
    put_u16(buf + 4, 1);
    for (int i = 0; i < 3; i++) {
        put_u16(buf + 6 + 2 * i, a->counts[i]);
    }
    at += name_of(a->name, buf + at);
    put_u16(buf + at, a->type);
    put_u16(buf + at + 2, 1);
    at += 4;
    assert_true(at + a->len <= FAKE_DNS_MESSAGE_BYTES);
    if (a->len > 0) {
        memcpy(buf + at, a->bytes, a->len);
    }
    return at + a->len;
}

/* ---- What is said of what */

static struct fake_dns_answer *find(struct fake_dns *f, const char *name, uint16_t type)
{
    for (size_t i = 0; i < f->answers_n; i++) {
        if (strcasecmp(f->answers[i].name, name) == 0 && f->answers[i].type == type) {
            return &f->answers[i];
        }
    }
    return NULL;
}

struct fake_dns_answer *fake_dns_put(struct fake_dns *f, const char *name, uint16_t type,
                                     uint16_t rcode)
{
    struct fake_dns_answer *a = find(f, name, type);

    if (a == NULL) {
        assert_true(f->answers_n < FAKE_DNS_ANSWERS_MAX_N);
        a = &f->answers[f->answers_n++];
        a->bytes = malloc(FAKE_DNS_MESSAGE_BYTES);
        assert_non_null(a->bytes);
    }
    *a = (struct fake_dns_answer){.type = type, .rcode = rcode, .bytes = a->bytes};
    (void)snprintf(a->name, sizeof(a->name), "%s", name);
    return a;
}

void fake_dns_forget(struct fake_dns *f, const char *name, uint16_t type)
{
    struct fake_dns_answer *a = find(f, name, type);

    if (a == NULL) {
        fail_msg("%s was not put", name);
        return;
    }
    free(a->bytes);
    *a = f->answers[--f->answers_n];
}

/* Reads a question; false: it is none. */
static bool read_question(const unsigned char *in, size_t len, char *name, uint16_t *type)
{
    size_t at = HEAD_BYTES;
    size_t to = 0;

    if (len < HEAD_BYTES + 5 || get_u16(in + 4) != 1) {
        return false;
    }
    while (at < len && in[at] != 0) {
        size_t label = in[at++];

        if (label > 63 || at + label + 5 > len || to + label + 1 > 255) {
            return false;
        }
        memcpy(name + to, in + at, label);
        to += label;
        name[to++] = '.';
        at += label;
    }
    name[to > 0 ? to - 1 : 0] = '\0';
    *type = get_u16(in + at + 1);
    return true;
}

/* Returns the length of the answer, 0: none. */
static size_t answer(struct fake_dns *f, const unsigned char *in, size_t len, size_t limit,
                     unsigned char *out)
{
    struct fake_dns_answer none = {.rcode = 3};
    struct fake_dns_answer *a;
    uint16_t type = 0;

    assert_true(read_question(in, len, none.name, &type));
    none.type = type;
    f->queries_n++;
    a = find(f, none.name, type);
    if (a == NULL) {
        a = &none;
    }
    a->queries_n++;
    if (a->silent) {
        return 0;
    }
    size_t n = fake_dns_message(a, get_u16(in), out);
    if (n > limit || (limit == UDP_BYTES && a->tcp_only)) {
        put_u16(out + 2, (uint16_t)(FLAGS_ANSWER | FLAG_TRUNCATED));
        memset(out + 6, 0, 6);
        n -= a->len;
    }
    return n;
}

static void on_udp(struct sl_io *io, int events)
{
    static unsigned char out[FAKE_DNS_MESSAGE_BYTES];
    struct fake_dns *f = sl_container_of(io, struct fake_dns, udp);
    unsigned char in[1024];
    struct sockaddr_in from;
    socklen_t from_len = sizeof(from);
    ssize_t n = recvfrom(f->udp_fd, in, sizeof(in), MSG_DONTWAIT, (struct sockaddr *)(void *)&from,
                         &from_len);
    (void)events;

    if (n <= 0) {
        return;
    }
    size_t len = answer(f, in, (size_t)n, UDP_BYTES, out);
    if (len > 0) {
        assert_true(sendto(f->udp_fd, out, len, 0, (struct sockaddr *)(void *)&from, from_len) > 0);
    }
}

static void drop(struct fake_dns_conn *c)
{
    if (c->fd >= 0) {
        sl_io_stop(&c->io);
        (void)close(c->fd);
        c->fd = -1;
    }
    free(c->out);
    c->out = NULL;
    c->in_len = c->out_len = c->out_at = 0;
}

static void on_conn(struct sl_io *io, int events)
{
    struct fake_dns_conn *c = sl_container_of(io, struct fake_dns_conn, io);

    if ((events & SL_READABLE) != 0) {
        ssize_t n = recv(c->fd, c->in + c->in_len, sizeof(c->in) - c->in_len, MSG_DONTWAIT);

        if (n <= 0) {
            drop(c);
            return;
        }
        c->in_len += (size_t)n;
        if (c->in_len >= 2 && c->in_len >= 2U + get_u16(c->in)) {
            c->dns->tcp_queries_n++;
            c->out = malloc(2 + FAKE_DNS_MESSAGE_BYTES);
            assert_non_null(c->out);
            c->out_len =
                answer(c->dns, c->in + 2, get_u16(c->in), FAKE_DNS_MESSAGE_BYTES, c->out + 2);
            put_u16(c->out, (uint16_t)c->out_len);
            c->out_len += 2;
            sl_io_want_write(&c->io, true);
            sl_io_want_read(&c->io, false);
        }
    }
    if ((events & SL_WRITABLE) != 0 && c->out != NULL) {
        ssize_t n =
            send(c->fd, c->out + c->out_at, c->out_len - c->out_at, MSG_DONTWAIT | MSG_NOSIGNAL);

        c->out_at += n > 0 ? (size_t)n : 0;
        if (n < 0 || c->out_at == c->out_len) {
            drop(c);
        }
    }
}

static void on_accept(struct sl_io *io, int events)
{
    struct fake_dns *f = sl_container_of(io, struct fake_dns, tcp);
    int fd = accept4(f->tcp_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    (void)events;

    assert_true(fd >= 0);
    for (size_t i = 0; i < FAKE_DNS_CONNS_MAX_N; i++) {
        struct fake_dns_conn *c = &f->conns[i];

        if (c->fd < 0) {
            c->fd = fd;
            sl_io_init(&c->io, f->loop, fd, on_conn);
            sl_io_want_read(&c->io, true);
            return;
        }
    }
    fail_msg("more than %d connections", FAKE_DNS_CONNS_MAX_N);
}

/* ---- The server */

static int open_at(int type, struct sockaddr_in *at)
{
    socklen_t len = sizeof(*at);
    int fd = socket(AF_INET, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    assert_true(fd >= 0);
    if (bind(fd, (struct sockaddr *)(void *)at, sizeof(*at)) != 0) {
        (void)close(fd);
        return -1;
    }
    assert_int_equal(getsockname(fd, (struct sockaddr *)(void *)at, &len), 0);
    return fd;
}

void fake_dns_start(struct fake_dns *f, struct sl_loop *loop)
{
    memset(f, 0, sizeof(*f));
    f->loop = loop;
    f->tcp_fd = -1;
    for (int i = 0; i < 100 && f->tcp_fd < 0; i++) { /* a port that is free for both */
        struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};

        f->udp_fd = open_at(SOCK_DGRAM, &at);
        assert_true(f->udp_fd >= 0);
        f->port = ntohs(at.sin_port);
        f->tcp_fd = open_at(SOCK_STREAM, &at);
        if (f->tcp_fd < 0) {
            (void)close(f->udp_fd);
        }
    }
    assert_true(f->tcp_fd >= 0);
    assert_int_equal(listen(f->tcp_fd, 16), 0);
    (void)snprintf(f->at, sizeof(f->at), "127.0.0.1:%u", f->port);
    for (size_t i = 0; i < FAKE_DNS_CONNS_MAX_N; i++) {
        f->conns[i].fd = -1;
        f->conns[i].dns = f;
    }
    sl_io_init(&f->udp, loop, f->udp_fd, on_udp);
    sl_io_want_read(&f->udp, true);
    sl_io_init(&f->tcp, loop, f->tcp_fd, on_accept);
    sl_io_want_read(&f->tcp, true);
}

void fake_dns_stop(struct fake_dns *f)
{
    for (size_t i = 0; i < FAKE_DNS_CONNS_MAX_N; i++) {
        drop(&f->conns[i]);
    }
    for (size_t i = 0; i < f->answers_n; i++) {
        free(f->answers[i].bytes);
    }
    sl_io_stop(&f->udp);
    sl_io_stop(&f->tcp);
    (void)close(f->udp_fd);
    (void)close(f->tcp_fd);
}
