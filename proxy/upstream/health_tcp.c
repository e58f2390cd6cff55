/* SPDX-License-Identifier: Apache-2.0 */
/*
 * health_tcp: a connection can be made, and over TLS a handshake; nothing is said on it. Also what
 * checkers share.
 */
#include "health_checker.h"

#include "proxy/base/alloc.h"
#include "proxy/io/loop.h"
#include "proxy/io/socket.h"

#include <stdio.h>

struct tcp_check {
    struct sl_health_check base;
    struct sl_stream stream;
};

const struct sl_health_checker_ops *sl_health_checker_get(enum sl_health_kind kind)
{
    return kind == SL_HEALTH_CHECK_TCP ? &sl_health_checker_tcp : &sl_health_checker_http;
}

struct sl_address sl_health_address(const struct sl_health_check *c)
{
    struct sl_address at = *c->address;

    if (c->target->conf->port != 0 && !at.is_unix) {
        at.port = c->target->conf->port;
    }
    return at;
}

int sl_health_connect(const struct sl_health_check *c, struct sl_stream *s,
                      const struct sl_stream_ops *ops)
{
    const struct sl_health_target *t = c->target;
    const struct sl_address at = sl_health_address(c);
    struct sl_tls_session *tls = NULL;
    int fd = -1;

    int rc = sl_socket_connect(&at, &fd);
    if (rc != SL_OK && rc != SL_AGAIN) {
        return rc;
    }
    if (t->tls != NULL) {
        tls = sl_tls_connect(t->tls, &at);
        if (tls == NULL) {
            sl_socket_close(fd);
            return SL_ENOMEM;
        }
    }
    sl_stream_open(s, t->loop, t->chunks, fd, rc == SL_AGAIN,
                   tls != NULL ? &sl_transport_tls : &sl_transport_plain, tls, ops);
    return SL_OK;
}

struct sl_health_result sl_health_result_of(int code, const struct sl_stream *s)
{
    struct sl_health_result result = {.code = code};

    if (code == SL_ETLS && s->fd >= 0 && s->tls != NULL) {
        (void)snprintf(result.detail, sizeof(result.detail), "%s",
                       sl_tls_failure(s->tls)); /* cut where it is longer */
    }
    return result;
}

static struct tcp_check *check_of(struct sl_health_check *c)
{
    SL_ASSERT(c->ops == &sl_health_checker_tcp, "check %p is no tcp check", (void *)c);
    return sl_container_of(c, struct tcp_check, base);
}

static void on_open(struct sl_stream *s, int code)
{
    struct tcp_check *c = sl_container_of(s, struct tcp_check, stream);
    struct sl_health_result result = sl_health_result_of(code, s);

    sl_stream_close(s);
    c->base.report(&c->base, &result);
}

/* Nothing else can come: the stream is closed as soon as it is open. */
static const struct sl_stream_ops stream_ops = {.on_open = on_open};

static struct sl_health_check *tcp_new(const struct sl_health_target *target,
                                       const struct sl_address *address, sl_health_report_fn report,
                                       void *owner)
{
    struct tcp_check *c = sl_alloc(sizeof(*c));

    if (c == NULL) {
        return NULL;
    }
    c->base = (struct sl_health_check){&sl_health_checker_tcp, target, address, report, owner};
    c->stream.fd = -1;
    return &c->base;
}

static void tcp_start(struct sl_health_check *base)
{
    struct tcp_check *c = check_of(base);

    int rc = sl_health_connect(base, &c->stream, &stream_ops);
    if (rc != SL_OK) {
        struct sl_health_result result = {.code = rc};
        base->report(base, &result);
    }
}

static void tcp_stop(struct sl_health_check *base)
{
    sl_stream_close(&check_of(base)->stream);
}

static void tcp_free(struct sl_health_check *base)
{
    struct tcp_check *c = check_of(base);

    sl_stream_close(&c->stream);
    base->ops = NULL;
    sl_loop_defer_free(base->target->loop, c);
}

const struct sl_health_checker_ops sl_health_checker_tcp = {
    .name = "tcp",
    .new = tcp_new,
    .start = tcp_start,
    .stop = tcp_stop,
    .free = tcp_free,
};
