/* SPDX-License-Identifier: Apache-2.0 */
#include "h1_downstream.h"

#include <sluiced/log.h>

#include "h1_downstream_internal.h"

#include "proxy/base/alloc.h"
#include "proxy/io/socket.h"
#include "proxy/io/tls.h"

#include <string.h>

/* How long a client may go on sending what nobody reads: between two reads, and in all. There is no
 * limit in bytes, as dropping them costs little, and one that reads no answer before it has sent
 * all would never get to it. */
#define LINGER_QUIET_MS 2000ULL
#define LINGER_MS 30000U

void sl_h1_downstream_close(struct sl_h1_downstream *c, bool reset)
{
    struct sl_l7 *w = c->w;

    if (!sl_h1_downstream_is_open(c)) {
        return;
    }
    sl_stage_flush_of(w, &c->stream);
    sl_hangup_unwatch(w->loop, &c->hangup);
    sl_deadline_remove(sl_loop_wheel(w->loop), &c->deadline);
    sl_task_cancel(&c->resume);
    if (reset) {
        sl_stream_reset(&c->stream);
    } else {
        sl_stream_close(&c->stream);
    }
    sl_h1_body_fini(&c->body);
    sl_h1_pending_clear(&c->pending);
    sl_list_unlink(&c->link);
    sl_series_add(c->base.listener->series, w->idx, SL_LISTENER_CONNECTIONS_ENDED, 1);
    atomic_fetch_sub_explicit(&w->open_n, 1, memory_order_relaxed);
    atomic_fetch_sub_explicit(&c->base.listener->refs_n, 1, memory_order_release);
    sl_loop_defer_free(w->loop, c);
}

void sl_h1_downstream_client_left(struct sl_h1_downstream *c)
{
    if (c->base.exchange != NULL) {
        sl_exchange_client_gone(c->base.exchange); /* comes back through done() */
    } else {
        sl_h1_downstream_close(c, false);
    }
}

/* Reading stops for good, as it would find the end for ever; but a client that goes away
 * altogether is still noticed. */
static void read_no_more(struct sl_h1_downstream *c)
{
    sl_stream_read_off(&c->stream);
    sl_hangup_unwatch(c->w->loop, &c->hangup);
    if (sl_hangup_watch_errors(c->w->loop, &c->hangup, c->stream.fd) != SL_OK) {
        sl_log(SL_LOG_WARN, "hangup_unwatched", {"listener", SL_LOG_STR(c->base.listener->name)});
    }
}

void sl_h1_downstream_client_ended(struct sl_h1_downstream *c)
{
    switch ((enum sl_h1_downstream_state)c->state) {
    case SL_H1_DOWN_TUNNEL:
        read_no_more(c);
        sl_exchange_request_end(c->base.exchange, NULL);
        return;
    case SL_H1_DOWN_RESPONSE:
        if (sl_h1_downstream_cell(c)->keeps_half_open) {
            read_no_more(c);
            c->keep_alive = false; /* nothing can follow */
            return;
        }
        break;
    case SL_H1_DOWN_IDLE: /* what was answered is on its way: nothing is won by cutting it */
    case SL_H1_DOWN_DISCARDING:
        sl_h1_downstream_close_gracefully(c, false);
        return;
    case SL_H1_DOWN_OPENING:
    case SL_H1_DOWN_HEAD:
    case SL_H1_DOWN_BODY:
    case SL_H1_DOWN_FLUSHING:
    case SL_H1_DOWN_LINGERING:
        break;
    }
    sl_h1_downstream_client_left(c);
}

static uint64_t left_ms(const struct sl_h1_downstream *c)
{
    int32_t left = (int32_t)(c->due_ms - (uint32_t)sl_loop_now_ms(c->w->loop));

    return left > 0 ? (uint64_t)left : 0;
}

void sl_h1_downstream_linger_on(struct sl_h1_downstream *c)
{
    uint64_t left = left_ms(c);

    sl_h1_downstream_set_deadline(c, left < LINGER_QUIET_MS ? left : LINGER_QUIET_MS);
}

/* A close with unread bytes in the kernel is a RST, which may overtake our last response: so our
 * side ends first, and the client's is read to its end, within limits. */
static void linger(struct sl_h1_downstream *c)
{
    c->state = SL_H1_DOWN_LINGERING;
    sl_stream_half_close(&c->stream);
    sl_hangup_unwatch(c->w->loop, &c->hangup);
    sl_stream_read_on(&c->stream);
    c->due_ms = (uint32_t)sl_loop_now_ms(c->w->loop) + LINGER_MS;
    sl_h1_downstream_linger_on(c);
}

void sl_h1_downstream_close_gracefully(struct sl_h1_downstream *c, bool unread)
{
    sl_stage_flush_of(c->w, &c->stream);
    if (sl_stream_unsent(&c->stream) > 0) {
        c->state = SL_H1_DOWN_FLUSHING;
        c->unread = unread;
        sl_stream_read_off(&c->stream);
        /* Half of it, for progress shows between two looks. */
        sl_h1_downstream_set_deadline(c, (sl_h1_downstream_cell(c)->timeouts.write_ms + 1) / 2);
    } else if (unread) {
        linger(c);
    } else {
        sl_h1_downstream_close(c, false);
    }
}

void sl_h1_downstream_half_close_if_sent(struct sl_h1_downstream *c)
{
    sl_stage_flush_of(c->w, &c->stream);
    if (c->half_close && sl_stream_unsent(&c->stream) == 0) {
        c->half_close = false;
        sl_stream_half_close(&c->stream);
    }
}

static void on_hangup(struct sl_hangup *h)
{
    struct sl_h1_downstream *c = sl_container_of(h, struct sl_h1_downstream, hangup);

    bool half_open = c->state == SL_H1_DOWN_TUNNEL || c->state == SL_H1_DOWN_IDLE ||
                     sl_h1_downstream_cell(c)->keeps_half_open;

    if (half_open && !sl_socket_is_broken(c->stream.fd)) {
        read_no_more(c); /* its end waits behind bytes that were not taken yet */
        return;
    }
    sl_h1_downstream_client_left(c);
}

void sl_h1_downstream_pause(struct sl_h1_downstream *c)
{
    sl_stream_read_off(&c->stream);
    if (sl_hangup_watch(c->w->loop, &c->hangup, c->stream.fd) != SL_OK) {
        sl_log(SL_LOG_WARN, "hangup_unwatched", {"listener", SL_LOG_STR(c->base.listener->name)});
    }
}

void sl_h1_downstream_resume(struct sl_h1_downstream *c)
{
    sl_hangup_unwatch(c->w->loop, &c->hangup);
    sl_stream_read_on(&c->stream);
}

/* A connection that never says anything has the time of a head. */
static void begin_first(struct sl_h1_downstream *c)
{
    uint64_t head_ms = sl_h1_downstream_cell(c)->timeouts.head_ms;

    c->due_ms = (uint32_t)(sl_loop_now_ms(c->w->loop) + head_ms);
    sl_h1_downstream_set_deadline(c, head_ms);
}

static void on_open(struct sl_stream *s, int code)
{
    struct sl_h1_downstream *c = sl_h1_downstream_of_stream(s);

    if (code != SL_OK) {
        sl_series_add(c->base.listener->series, c->w->idx, SL_LISTENER_TLS_FAILURES, 1);
        sl_log(SL_LOG_INFO, "tls_handshake_failed",
               {"listener", SL_LOG_STR(c->base.listener->name)}, {"client", SL_LOG_STR(c->address)},
               {"error", SL_LOG_STR(s->tls != NULL ? sl_tls_failure(s->tls) : sl_err_name(code))});
        sl_h1_downstream_close(c, false);
        return;
    }
    if (s->tls != NULL) {
        c->base.peer_name = sl_tls_peer_name(s->tls);
    }
    c->state = SL_H1_DOWN_IDLE;
    begin_first(c);
}

static void on_drained(struct sl_stream *s)
{
    struct sl_h1_downstream *c = sl_h1_downstream_of_stream(s);

    if (c->state == SL_H1_DOWN_FLUSHING) {
        if (sl_stream_unsent(s) == 0) {
            sl_h1_downstream_close_gracefully(c, c->unread);
        }
    } else if (c->base.exchange != NULL) {
        sl_h1_downstream_half_close_if_sent(c);
        sl_exchange_downstream_drained(c->base.exchange);
    } else if (c->state == SL_H1_DOWN_IDLE) {
        sl_h1_downstream_begin_idle(c);
        sl_h1_downstream_go_on(c);
    }
}

static void on_broken(struct sl_stream *s, int code)
{
    (void)code;
    sl_h1_downstream_client_left(sl_h1_downstream_of_stream(s));
}

static const struct sl_stream_ops stream_ops = {
    .on_open = on_open,
    .on_readable = sl_h1_downstream_on_readable,
    .on_drained = on_drained,
    .on_broken = on_broken,
};

/* Whether its time is not over yet, for it took some of what waits for it; or because that is
 * nothing, and it may be idle for longer. */
static bool goes_on(struct sl_h1_downstream *c)
{
    bool idle = c->state == SL_H1_DOWN_IDLE;
    uint64_t more_ms = idle ? left_ms(c) : 0;

    if ((idle || c->state == SL_H1_DOWN_FLUSHING) && sl_stream_unsent(&c->stream) > 0) {
        uint64_t write_ms = sl_h1_downstream_cell(c)->timeouts.write_ms;
        uint64_t stalled_ms = sl_stream_stalled_ms(&c->stream);

        more_ms = stalled_ms < write_ms ? write_ms - stalled_ms : 0;
    }
    if (more_ms > 0) {
        sl_h1_downstream_set_deadline(c, more_ms);
    }
    return more_ms > 0;
}

static void on_deadline(struct sl_deadline *d)
{
    struct sl_h1_downstream *c = sl_container_of(d, struct sl_h1_downstream, deadline);
    struct sl_request_head nothing;

    if (goes_on(c)) {
        return;
    }
    switch ((enum sl_h1_downstream_state)c->state) {
    case SL_H1_DOWN_HEAD:
        sl_request_head_init(&nothing, NULL, 0, NULL, 0);
        sl_h1_downstream_refuse(c, &nothing, SL_REASON_HEAD_TIMEOUT);
        break;
    case SL_H1_DOWN_BODY:
        if (c->base.exchange != NULL) {
            c->keep_alive = false;
            sl_exchange_request_failed(c->base.exchange, SL_REASON_BODY_TIMEOUT);
        }
        break;
    case SL_H1_DOWN_DISCARDING:
        sl_h1_downstream_close_gracefully(c, true);
        break;
    case SL_H1_DOWN_OPENING:
    case SL_H1_DOWN_IDLE:
    case SL_H1_DOWN_RESPONSE:
    case SL_H1_DOWN_TUNNEL:
    case SL_H1_DOWN_FLUSHING:
    case SL_H1_DOWN_LINGERING:
        /* What is cut must not look whole. */
        sl_h1_downstream_close(c, sl_stream_unsent(&c->stream) > 0);
        break;
    }
}

void sl_h1_downstream_open(struct sl_l7 *w, struct sl_listener *listener, int fd,
                           const struct sl_address *from)
{
    const struct sl_view_listener *conf = listener->cells[w->idx].current;
    struct sl_h1_downstream *c = sl_alloc(sizeof(*c));
    struct sl_tls_session *tls = NULL;

    if (c != NULL && conf != NULL && conf->tls != NULL) {
        tls = sl_tls_accept(conf->tls[w->idx]);
    }
    if (c == NULL || conf == NULL || (conf->tls != NULL && tls == NULL)) {
        atomic_fetch_sub_explicit(&listener->refs_n, 1, memory_order_release);
        sl_free(c);
        sl_socket_close(fd);
        return;
    }
    c->w = w;
    c->read_bytes = SL_H1_READ_FIRST_BYTES;
    c->base = (struct sl_downstream){
        .ops = &sl_h1_downstream_ops,
        .listener = listener,
        .address = c->address,
        .port = from->port,
        .peer_name = "",
        .over_tls = tls != NULL,
    };
    memcpy(c->address, from->host, sizeof(c->address) - 1); /* numeric, or "unix": it fits */
    sl_deadline_init(&c->deadline, on_deadline);
    sl_hangup_init(&c->hangup, on_hangup);
    sl_task_init(&c->resume, sl_h1_downstream_on_resume);
    sl_list_push_back(&w->downstreams, &c->link);
    atomic_fetch_add_explicit(&w->open_n, 1, memory_order_relaxed);
    sl_series_add(listener->series, w->idx, SL_LISTENER_CONNECTIONS, 1);
    begin_first(c);
    sl_stream_open(&c->stream, w->loop, &w->chunks, fd, false,
                   tls != NULL ? &sl_transport_tls : &sl_transport_plain, tls, &stream_ops);
    if (c->state == SL_H1_DOWN_IDLE && sl_h1_downstream_is_open(c)) {
        /* TCP_DEFER_ACCEPT: the request is here already. */
        sl_h1_downstream_on_readable(&c->stream);
    }
}

/* NULL: of any listener. */
static void close_idle(struct sl_l7 *w, const struct sl_listener *listener)
{
    struct sl_list *next;

    for (struct sl_list *l = w->downstreams.next; l != &w->downstreams; l = next) {
        struct sl_h1_downstream *c = sl_container_of(l, struct sl_h1_downstream, link);
        next = l->next;
        /* What waits in the kernel is a request that would be lost: it is answered, then closed. */
        if (c->state == SL_H1_DOWN_IDLE && c->pending.len == 0 &&
            (listener == NULL || c->base.listener == listener) && sl_socket_is_quiet(c->stream.fd))
        {
            sl_h1_downstream_close_gracefully(c, false);
        }
    }
}

void sl_h1_downstream_close_idle(struct sl_l7 *w)
{
    close_idle(w, NULL);
}

void sl_h1_downstream_close_idle_of(struct sl_l7 *w, const struct sl_listener *listener)
{
    close_idle(w, listener);
}

void sl_h1_downstream_close_all(struct sl_l7 *w)
{
    while (!sl_list_empty(&w->downstreams)) {
        struct sl_h1_downstream *c =
            sl_container_of(w->downstreams.next, struct sl_h1_downstream, link);
        if (c->base.exchange != NULL) {
            sl_exchange_drained(c->base.exchange);
        }
        sl_h1_downstream_close(c, false);
    }
}
