/* SPDX-License-Identifier: Apache-2.0 */
#include "access_log.h"

#include <sluiced/log.h>
#include <sluiced/time.h>

#include "exchange.h"
#include "forwarded.h"

#include "proxy/base/alloc.h"
#include "proxy/base/num.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define BUFFER_BYTES ((size_t)64 * 1024)
#define LINE_MAX_BYTES ((size_t)4096) /* PIPE_BUF: a line is never torn */
#define PATH_MAX_SHOWN ((size_t)512)

struct sl_access_log {
    struct sl_loop *loop;
    struct sl_series *process;
    struct sl_deadline flush;
    uint32_t worker_idx;
    int fd;
    size_t piece_bytes; /* a write of at most that many stays in one piece */
    size_t len;
    char buf[BUFFER_BYTES];
};

/* A description of its own, so that O_NONBLOCK does not reach whoever shares the terminal. */
static int open_own(int fd)
{
    char path[32];
    (void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    int own = open(path, O_WRONLY | O_APPEND | O_NONBLOCK | O_CLOEXEC);

    return own >= 0 ? own : fcntl(fd, F_DUPFD_CLOEXEC, 3); /* a socket cannot be opened again */
}

int sl_access_log_open_target(const char *target, int *fd, struct sl_error *err)
{
    int out = -1;
    char text[64];

    if (strcmp(target, "off") == 0) {
        *fd = -1;
        return SL_OK;
    }
    if (strcmp(target, "stdout") == 0) {
        out = open_own(STDOUT_FILENO);
    } else if (strcmp(target, "stderr") == 0) {
        out = open_own(STDERR_FILENO);
    } else {
        out = open(target, O_WRONLY | O_APPEND | O_CREAT | O_NONBLOCK | O_CLOEXEC, 0640);
    }
    if (out < 0) {
        return sl_error_set(err, SL_ECONFIG, NULL, "log.access: cannot open %s: %s", target,
                            sl_errno_text(errno, text, sizeof(text)));
    }
    *fd = out;
    return SL_OK;
}

void sl_access_log_close_target(int fd)
{
    if (fd >= 0) {
        (void)close(fd); /* what it could report, nobody could act on */
    }
}

/* How much of the front may go in one write: whole lines, as many as stay in one piece. */
static size_t next_piece(const struct sl_access_log *log, size_t from)
{
    size_t left = log->len - from;
    if (left <= log->piece_bytes) {
        return left;
    }
    const char *end = memrchr(log->buf + from, '\n', log->piece_bytes);
    return end != NULL ? (size_t)(end - (log->buf + from)) + 1 : log->piece_bytes;
}

static void write_out(struct sl_access_log *log)
{
    size_t done = 0;

    while (done < log->len) {
        ssize_t n = write(log->fd, log->buf + done, next_piece(log, done));
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0) {
            break;
        }
        done += (size_t)n;
    }
    memmove(log->buf, log->buf + done, log->len - done);
    log->len -= done;
}

static void on_flush(struct sl_deadline *d)
{
    struct sl_access_log *log = sl_container_of(d, struct sl_access_log, flush);

    write_out(log);
    if (log->len > 0) {
        sl_deadline_set(sl_loop_wheel(log->loop), &log->flush,
                        sl_loop_now_ms(log->loop) + SL_ACCESS_LOG_DELAY_MS);
    }
}

int sl_access_log_new(struct sl_loop *loop, int fd, struct sl_series *process, uint32_t worker_idx,
                      struct sl_access_log **out)
{
    struct sl_access_log *log = sl_alloc(sizeof(*log));
    if (log == NULL) {
        return SL_ENOMEM;
    }
    log->loop = loop;
    log->process = process;
    log->worker_idx = worker_idx;
    sl_deadline_init(&log->flush, on_flush);
    sl_access_log_set_fd(log, fd);
    *out = log;
    return SL_OK;
}

void sl_access_log_free(struct sl_access_log *log)
{
    if (log->fd >= 0) {
        write_out(log);
    }
    sl_deadline_remove(sl_loop_wheel(log->loop), &log->flush);
    sl_free(log);
}

void sl_access_log_set_fd(struct sl_access_log *log, int fd)
{
    struct stat st;

    if (log->fd >= 0 && log->len > 0) {
        write_out(log);
    }
    log->len = 0;
    log->fd = fd;
    log->piece_bytes =
        fd >= 0 && fstat(fd, &st) == 0 && S_ISREG(st.st_mode) ? BUFFER_BYTES : PIPE_BUF;
}

/* A line under construction: appends are cut at its end, which is then not written at all. */
struct line {
    char *at;
    char *end;
};

static void put(struct line *l, const char *text, size_t len)
{
    if ((size_t)(l->end - l->at) < len) {
        l->at = l->end;
        return;
    }
    memcpy(l->at, text, len);
    l->at += len;
}

#define PUT(l, literal) put((l), (literal), sizeof(literal) - 1)

static void put_u64(struct line *l, uint64_t v)
{
    char digits[SL_NUM_TEXT_BYTES];
    put(l, digits, sl_num_format_u64(v, digits));
}

static void put_text(struct line *l, struct sl_slice s, size_t max_bytes)
{
    PUT(l, "\"");
    s.len = s.len < max_bytes ? s.len : max_bytes;
    l->at += sl_json_escape(s, l->at, (size_t)(l->end - l->at));
    PUT(l, "\"");
}

static void put_str(struct line *l, const char *s)
{
    put_text(l, sl_slice_of(s), 255);
}

/* Milliseconds with three decimals. */
static void put_ms(struct line *l, uint64_t us)
{
    char tail[4] = {'.', (char)('0' + us / 100 % 10), (char)('0' + us / 10 % 10),
                    (char)('0' + us % 10)};
    put_u64(l, us / 1000);
    put(l, tail, sizeof(tail));
}

static void put_upstream(struct line *l, const struct sl_exchange *x)
{
    if (x->side != NULL) {
        PUT(l, ",\"pool\":");
        put_str(l, x->side->pool->conf->name);
    }
    if (x->side != x->home) {
        PUT(l, ",\"fallback_of\":");
        put_str(l, x->home->pool->conf->name);
    }
    if (x->last != NULL) {
        const struct sl_endpoint *ep = x->last;
        char text[160];
        sl_address_format(&ep->address, text, sizeof(text));
        PUT(l, ",\"endpoint\":");
        put_str(l, text);
        if (ep->pod_name[0] != '\0') {
            PUT(l, ",\"pod\":");
            put_str(l, ep->pod_name);
        }
    }
    PUT(l, ",\"tries\":");
    put_u64(l, x->attempts_n);
}

static void put_exchange(struct line *l, const struct sl_exchange *x, const char *reason)
{
    char ts[SL_TIME_TEXT_BYTES];
    uint64_t now_us = sl_loop_now_us(x->w->loop);
    const char *client = sl_exchange_client(x);

    sl_time_format(sl_time_unix_ms(), ts);
    PUT(l, "{\"ts\":\"");
    put(l, ts, SL_TIME_TEXT_BYTES - 1);
    PUT(l, "\",\"listener\":");
    put_str(l, x->listener != NULL ? x->listener->conf->name : "");
    if (x->route != NULL) {
        PUT(l, ",\"route\":");
        put_str(l, x->route->conf->name);
    }
    PUT(l, ",\"reason\":\"");
    put(l, reason, strlen(reason));
    PUT(l, "\",\"status\":");
    put_u64(l, x->status);
    PUT(l, ",\"method\":");
    put_text(l, x->request.method_text, 32);
    PUT(l, ",\"host\":");
    put_text(l, x->request.authority, 255);
    PUT(l, ",\"path\":");
    put_text(l, x->request.path, PATH_MAX_SHOWN);
    put_upstream(l, x);
    PUT(l, ",\"bytes_in\":");
    put_u64(l, x->bytes_in);
    PUT(l, ",\"bytes_out\":");
    put_u64(l, x->bytes_out);
    PUT(l, ",\"duration_ms\":");
    put_ms(l, now_us - x->start_us);
    if (x->first_byte_us != 0) {
        PUT(l, ",\"first_byte_ms\":");
        put_ms(l, x->first_byte_us - x->start_us);
    }
    if (x->queued_us > 0) {
        PUT(l, ",\"queue_ms\":");
        put_ms(l, x->queued_us);
    }
    PUT(l, ",\"client\":");
    put_str(l, client);
    if (strcmp(client, x->down->address) != 0) {
        PUT(l, ",\"peer_address\":");
        put_str(l, x->down->address);
    }
    if (x->down->peer_name[0] != '\0') {
        PUT(l, ",\"peer\":");
        put_str(l, x->down->peer_name);
    }
    PUT(l, ",\"request_id\":");
    put_text(l, (struct sl_slice){x->request_id, x->request_id_len}, SL_REQUEST_ID_MAX_BYTES);
    PUT(l, "}\n");
}

void sl_access_log_exchange(struct sl_access_log *log, const struct sl_exchange *x,
                            const char *reason)
{
    if (log == NULL || log->fd < 0) {
        return;
    }
    if (BUFFER_BYTES - log->len < LINE_MAX_BYTES) {
        write_out(log);
    }
    if (BUFFER_BYTES - log->len < LINE_MAX_BYTES) {
        sl_series_add(log->process, log->worker_idx, SL_PROCESS_ACCESS_LOG_DROPPED, 1);
        return;
    }
    struct line l = {.at = log->buf + log->len, .end = log->buf + log->len + LINE_MAX_BYTES};
    put_exchange(&l, x, reason);
    if (l.at == l.end) { /* cut: half a line is worse than a counted one */
        sl_series_add(log->process, log->worker_idx, SL_PROCESS_ACCESS_LOG_DROPPED, 1);
        return;
    }
    if (log->len == 0) {
        sl_deadline_set(sl_loop_wheel(log->loop), &log->flush,
                        sl_loop_now_ms(log->loop) + SL_ACCESS_LOG_DELAY_MS);
    }
    log->len = (size_t)(l.at - log->buf);
}
