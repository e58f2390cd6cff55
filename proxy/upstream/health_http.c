/* SPDX-License-Identifier: Apache-2.0 */
/*
 * health_http: GET of a path on a connection that is kept; a whole response decides.
 *
 * A pod may close a kept connection at any time. While idle that is seen and taken quietly; when it
 * crosses our request, the request goes once more, on a new connection. Only what a new connection
 * does counts.
 */
#include <sluiced/slice.h>

#include "health.h"
#include "health_checker.h"

#include "proxy/base/alloc.h"
#include "proxy/io/loop.h"
#include "proxy/proto/h1.h"
#include "proxy/proto/h1_chunk.h"
#include "proxy/proto/h1_write.h"

#include <stdio.h>
#include <string.h>

#define INTERIM_MAX_N 16 /* 1xx heads before the response */
#define HOST_BYTES 128   /* an address and a port */
#define SENT_MAX_N 17    /* fields of the config's, and User-Agent */

enum state {
    CLOSED,
    OPENING,
    HEAD, /* the request is sent */
    BODY,
    IDLE, /* kept for the next probe */
};

struct http_check {
    struct sl_health_check base;
    struct sl_stream stream;
    struct sl_h1_scan scan;
    struct sl_h1_chunk chunk;
    struct sl_framing framing;
    uint64_t body_bytes; /* dropped so far */
    size_t matched_n;    /* of the text that must stand in them */
    char *partial;       /* of a head that did not come in one piece */
    uint32_t partial_bytes;
    uint16_t status;
    uint8_t state; /* enum state */
    uint8_t interim_n;
    bool reused;
    bool answered; /* a byte of the response came */
    bool keep;
};

static void connect_anew(struct http_check *c);

static void drop_partial(struct http_check *c)
{
    sl_free(c->partial);
    c->partial = NULL;
    c->partial_bytes = 0;
}

static void close_connection(struct http_check *c)
{
    sl_stream_close(&c->stream);
    sl_h1_chunk_fini(&c->chunk);
    drop_partial(c);
    c->state = CLOSED;
}

/* detail: NULL for what TLS has to say. */
static void fail(struct http_check *c, int code, const char *detail)
{
    struct sl_health_result result = sl_health_result_of(code, &c->stream);

    if (detail != NULL) {
        (void)snprintf(result.detail, sizeof(result.detail), "%s", detail); /* cut if longer */
    }
    close_connection(c);
    c->base.report(&c->base, &result);
}

/* It answered: whether what was hoped for is not for us to say. */
static void conclude(struct http_check *c, bool keep)
{
    const struct sl_health_result result = {
        .code = SL_OK,
        .status = c->status,
        .body_lacks = c->matched_n < c->base.target->body.len,
    };

    if (keep) {
        sl_h1_chunk_fini(&c->chunk);
        drop_partial(c);
        c->state = IDLE;
    } else {
        close_connection(c);
    }
    c->base.report(&c->base, &result);
}

/* The connection ended or broke where an answer was due. */
static void lost(struct http_check *c, int code)
{
    if (c->reused && !c->answered) {
        close_connection(c);
        connect_anew(c);
        return;
    }
    fail(c, code, NULL);
}

/* In origin form, with the query that the path may carry: it was checked when the config was. */
static ssize_t write_request(const struct http_check *c)
{
    const struct sl_health_config *conf = c->base.target->conf;
    const struct sl_address at = sl_health_address(&c->base);
    struct sl_header sent[SENT_MAX_N] = {{SL_SLICE("User-Agent"), SL_SLICE("sluiced-health"), 0}};
    struct sl_h1_out out = {.extra = sent, .extra_n = 1};
    struct sl_request_head head;
    char host[HOST_BYTES] = "localhost";

    sl_request_head_init(&head, NULL, 0, NULL, 0);
    head.method_text = SL_SLICE("GET");
    head.path = sl_slice_of(conf->path);
    for (size_t i = 0; i < conf->headers_n && out.extra_n < SENT_MAX_N; i++) {
        const struct sl_sent_header *h = &conf->headers[i];
        sent[out.extra_n++] = (struct sl_header){sl_slice_of(h->name), sl_slice_of(h->value), 0};
    }
    if (!at.is_unix) { /* a path is no host */
        sl_address_format(&at, host, sizeof(host));
    }
    return sl_h1_write_request(c->base.target->scratch, SL_HEALTH_SCRATCH_BYTES, &head,
                               sl_slice_of(conf->host != NULL ? conf->host : host), &out);
}

static void ask(struct http_check *c)
{
    ssize_t n = write_request(c);

    if (n < 0) {
        fail(c, (int)n, "the request is too long");
        return;
    }
    struct iovec iov = {.iov_base = c->base.target->scratch, .iov_len = (size_t)n};
    c->scan = (struct sl_h1_scan){0};
    c->body_bytes = 0;
    c->matched_n = 0;
    c->interim_n = 0;
    c->answered = false;
    c->state = HEAD;
    sl_stream_send(&c->stream, &iov, 1);
}

static void take_body(struct http_check *c, const char *data, size_t len);

/* Keeps a head that has not ended for the next read. */
static void keep_partial(struct http_check *c, const char *data, size_t len)
{
    if (len == SL_HEALTH_SCRATCH_BYTES) {
        fail(c, SL_EPROTO, "the response head is longer than 16 KiB");
        return;
    }
    if (len == 0) {
        drop_partial(c);
        return;
    }
    char *grown = sl_realloc_array(c->partial, len, 1);
    if (grown == NULL) {
        fail(c, SL_ENOMEM, NULL);
        return;
    }
    memcpy(grown, data, len);
    c->partial = grown;
    c->partial_bytes = (uint32_t)len;
}

/* Parses heads up to the first that is final, from *data on, which moves behind those before it.
 * Returns as sl_h1_parse_response; SL_EPROTO without a fault: too many. */
static ssize_t parse_heads(struct http_check *c, const char **data, size_t *len,
                           struct sl_response_head *head)
{
    const struct sl_h1_asked asked = {.method = SL_METHOD_GET};

    while (c->interim_n <= INTERIM_MAX_N) {
        ssize_t n = sl_h1_parse_response(&c->scan, *data, *len, &asked, head);
        if (n < 0 || head->status >= 200) {
            return n;
        }
        c->interim_n++;
        c->scan = (struct sl_h1_scan){0};
        *data += n;
        *len -= (size_t)n;
    }
    return SL_EPROTO;
}

/* data: all of the head that has come; it stands in the scratch, not in c->partial. */
static void take_head(struct http_check *c, const char *data, size_t len)
{
    struct sl_header items[SL_H1_FIELDS_MAX_N];
    struct sl_response_head head;

    sl_response_head_init(&head, items, SL_H1_FIELDS_MAX_N);
    ssize_t n = parse_heads(c, &data, &len, &head);
    if (n == SL_AGAIN) {
        keep_partial(c, data, len);
        return;
    }
    if (n < 0) {
        fail(c, SL_EPROTO,
             c->interim_n > INTERIM_MAX_N ? "too many interim responses"
                                          : sl_h1_fault_code((enum sl_h1_fault)c->scan.fault));
        return;
    }
    drop_partial(c);
    c->status = head.status;
    c->framing = head.framing;
    c->keep = head.keep_alive;
    c->state = BODY;
    take_body(c, data + n, len - (size_t)n);
}

static void look_for_text(struct http_check *c, const char *data, size_t len)
{
    (void)sl_health_text_find(&c->base.target->body, &c->matched_n, data,
                              len); /* asked at the end */
}

/* How many of len bytes belong to the body, or SL_EPROTO. *ended: the last of them is its last. */
static ssize_t take_chunked(struct http_check *c, const char *data, size_t len, bool *ended)
{
    size_t used = 0;

    while (used < len && !sl_h1_chunk_done(&c->chunk)) {
        struct sl_h1_chunk_run run;
        ssize_t n = sl_h1_chunk_next(&c->chunk, data + used, len - used, &run);
        if (n < 0) {
            return n;
        }
        used += (size_t)n;
        for (size_t i = 0; i < run.data_n; i++) {
            look_for_text(c, run.data[i].ptr, run.data[i].len);
        }
    }
    *ended = sl_h1_chunk_done(&c->chunk);
    return (ssize_t)used;
}

static ssize_t take_some(struct http_check *c, const char *data, size_t len, bool *ended)
{
    uint64_t left_bytes = 0;

    switch (c->framing.kind) {
    case SL_FRAMING_CHUNKED:
        return take_chunked(c, data, len, ended);
    case SL_FRAMING_UNTIL_CLOSE:
        look_for_text(c, data, len);
        *ended = false;
        return (ssize_t)len;
    case SL_FRAMING_LENGTH:
        left_bytes = c->framing.length_bytes - c->body_bytes;
        break;
    case SL_FRAMING_NONE:
        break;
    }
    *ended = left_bytes <= len;
    size_t n = *ended ? (size_t)left_bytes : len;
    look_for_text(c, data, n);
    return (ssize_t)n;
}

static void take_body(struct http_check *c, const char *data, size_t len)
{
    bool ended = false;
    ssize_t n = take_some(c, data, len, &ended);

    if (n < 0) {
        fail(c, (int)n, n == SL_EPROTO ? sl_h1_fault_code((enum sl_h1_fault)c->chunk.fault) : NULL);
        return;
    }
    c->body_bytes += (uint64_t)n;
    if (ended) {
        /* What nobody asked for may follow: then the connection is not in step with us. */
        conclude(c, c->keep && (size_t)n == len);
    } else if (c->body_bytes > SL_HEALTH_BODY_MAX_BYTES) {
        conclude(c, false); /* what came has decided, the rest is not worth our time */
    }
}

static void on_open(struct sl_stream *s, int code)
{
    struct http_check *c = sl_container_of(s, struct http_check, stream);

    if (code != SL_OK) {
        fail(c, code, NULL);
        return;
    }
    ask(c);
}

static void on_readable(struct sl_stream *s)
{
    struct http_check *c = sl_container_of(s, struct http_check, stream);
    char *scratch = c->base.target->scratch;
    size_t have = c->partial_bytes;

    ssize_t n = sl_stream_read(s, scratch + have, SL_HEALTH_SCRATCH_BYTES - have);
    if (n == SL_AGAIN) { /* over TLS bytes may come that are not for us */
        return;
    }
    if (c->state == IDLE) {
        close_connection(c);
        return;
    }
    if (n < 0) {
        if (n == SL_ECLOSED && c->state == BODY && c->framing.kind == SL_FRAMING_UNTIL_CLOSE) {
            conclude(c, false);
        } else {
            lost(c, (int)n);
        }
        return;
    }
    c->answered = true;
    if (c->state == BODY) {
        take_body(c, scratch, (size_t)n);
        return;
    }
    if (have > 0) {
        memcpy(scratch, c->partial, have);
    }
    take_head(c, scratch, have + (size_t)n);
}

static void on_drained(struct sl_stream *s)
{
    (void)s; /* nothing was paused */
}

static void on_broken(struct sl_stream *s, int code)
{
    struct http_check *c = sl_container_of(s, struct http_check, stream);

    if (c->state == IDLE) {
        close_connection(c);
    } else {
        lost(c, code);
    }
}

static const struct sl_stream_ops stream_ops = {
    .on_open = on_open,
    .on_readable = on_readable,
    .on_drained = on_drained,
    .on_broken = on_broken,
};

static void connect_anew(struct http_check *c)
{
    c->reused = false;
    c->state = OPENING;
    int rc = sl_health_connect(&c->base, &c->stream, &stream_ops);
    if (rc != SL_OK) {
        fail(c, rc, NULL);
    }
}

static struct http_check *check_of(struct sl_health_check *c)
{
    SL_ASSERT(c->ops == &sl_health_checker_http, "check %p is no http check", (void *)c);
    return sl_container_of(c, struct http_check, base);
}

static struct sl_health_check *http_new(const struct sl_health_target *target,
                                        const struct sl_address *address,
                                        sl_health_report_fn report, void *owner)
{
    struct http_check *c = sl_alloc(sizeof(*c));

    if (c == NULL) {
        return NULL;
    }
    c->base = (struct sl_health_check){&sl_health_checker_http, target, address, report, owner};
    c->stream.fd = -1;
    return &c->base;
}

static void http_start(struct sl_health_check *base)
{
    struct http_check *c = check_of(base);

    if (c->state == IDLE) {
        c->reused = true;
        ask(c);
    } else {
        connect_anew(c);
    }
}

static void http_stop(struct sl_health_check *base)
{
    close_connection(check_of(base));
}

static void http_free(struct sl_health_check *base)
{
    struct http_check *c = check_of(base);

    close_connection(c);
    base->ops = NULL;
    sl_loop_defer_free(base->target->loop, c);
}

const struct sl_health_checker_ops sl_health_checker_http = {
    .name = "http",
    .new = http_new,
    .start = http_start,
    .stop = http_stop,
    .free = http_free,
};
