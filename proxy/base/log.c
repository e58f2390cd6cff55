/* SPDX-License-Identifier: Apache-2.0 */
/*
 * log: a line is built on the stack and written at once; no lock, no allocation.
 */
#include <sluiced/log.h>
#include <sluiced/time.h>

#include "escape.h"
#include "num.h"

#include <errno.h>
#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

#define LINE_BYTES 2048
#define END_BYTES 2 /* "}\n" */
#define WINDOW_MS 1000
#define WINDOW_LINES_N 200

/* Relaxed throughout: each stands alone, and a line more or less after a change is no harm. */
static _Atomic int least_level = SL_LOG_INFO;
static _Atomic int line_format = SL_LOG_JSON;
static _Atomic uint64_t dropped_n;

struct line {
    size_t len;
    bool json;
    char buf[LINE_BYTES];
};

void sl_log_configure(enum sl_log_level least, enum sl_log_format format)
{
    atomic_store_explicit(&least_level, (int)least, memory_order_relaxed);
    atomic_store_explicit(&line_format, (int)format, memory_order_relaxed);
}

bool sl_log_enabled(enum sl_log_level level)
{
    return (int)level >= atomic_load_explicit(&least_level, memory_order_relaxed);
}

uint64_t sl_log_dropped_n(void)
{
    return atomic_load_explicit(&dropped_n, memory_order_relaxed);
}

static void count_dropped(void)
{
    (void)atomic_fetch_add_explicit(&dropped_n, 1, memory_order_relaxed); /* the old one: no use */
}

static bool within_rate(void)
{
    static _Thread_local uint64_t window_start_ms;
    static _Thread_local uint32_t window_lines_n;
    uint64_t now_ms = sl_time_now_ms();

    if (now_ms - window_start_ms >= WINDOW_MS) {
        window_start_ms = now_ms;
        window_lines_n = 0;
    }
    if (window_lines_n >= WINDOW_LINES_N) {
        return false;
    }
    window_lines_n++;
    return true;
}

static size_t room(const struct line *l)
{
    return sizeof(l->buf) - END_BYTES - l->len;
}

static bool put(struct line *l, const char *text, size_t len)
{
    if (len > room(l)) {
        return false;
    }
    memcpy(l->buf + l->len, text, len);
    l->len += len;
    return true;
}

static bool put_str(struct line *l, const char *text)
{
    return put(l, text, strlen(text));
}

/* logfmt wants quotes only around what a reader could take for more than one word. */
static bool is_word(struct sl_slice s)
{
    for (size_t i = 0; i < s.len; i++) {
        char c = s.ptr[i];
        bool alnum = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');

        if (!alnum && (c == '\0' || strchr("-_.:/@+,", c) == NULL)) {
            return false;
        }
    }
    return s.len > 0;
}

/* In at most max bytes with its quotes; three points end what was cut. */
static bool put_text(struct line *l, struct sl_slice s, size_t max)
{
    static const char cut[] = "...";
    struct sl_slice rest = s;

    if (!l->json && s.len <= max && is_word(s)) {
        return put(l, s.ptr, s.len);
    }
    if (max > room(l) || max < 2 + sizeof(cut) - 1) {
        return false;
    }
    char *at = l->buf + l->len;
    size_t n = sl_json_escape_some(&rest, at + 1, max - 2);
    if (rest.len > 0) {
        rest = s;
        n = sl_json_escape_some(&rest, at + 1, max - 2 - (sizeof(cut) - 1));
        memcpy(at + 1 + n, cut, sizeof(cut) - 1);
        n += sizeof(cut) - 1;
    }
    at[0] = at[n + 1] = '"';
    l->len += n + 2;
    return true;
}

static bool put_u64(struct line *l, uint64_t v)
{
    char digits[SL_NUM_TEXT_BYTES];

    return put(l, digits, sl_num_format_u64(v, digits));
}

static bool put_value(struct line *l, const struct sl_log_value *v, size_t max)
{
    switch (v->kind) {
    case SL_LOG_KIND_STR:
        return v->str != NULL ? put_text(l, sl_slice_of(v->str), max) : put_str(l, "null");
    case SL_LOG_KIND_SLICE:
        return put_text(l, v->slice, max);
    case SL_LOG_KIND_INT: /* negated as unsigned, or INT64_MIN would overflow */
        return v->i >= 0 ? put_u64(l, (uint64_t)v->i)
                         : put_str(l, "-") && put_u64(l, -(uint64_t)v->i);
    case SL_LOG_KIND_UINT:
        return put_u64(l, v->u);
    case SL_LOG_KIND_BOOL:
        return put_str(l, v->u != 0 ? "true" : "false");
    }
    return false;
}

/* Whole or not at all. A value may take its share of the room, and what those before it left: a
 * hostile value cannot push the others out of the line. */
static void put_field(struct line *l, const char *key, const struct sl_log_value *v,
                      size_t fields_left)
{
    size_t before = l->len;
    bool ok = l->json
                  ? put_str(l, before == 0 ? "{\"" : ",\"") && put_str(l, key) && put_str(l, "\":")
                  : put_str(l, before == 0 ? "" : " ") && put_str(l, key) && put_str(l, "=");

    if (!ok || !put_value(l, v, room(l) / fields_left)) {
        l->len = before;
    }
}

static void write_line(struct line *l)
{
    ssize_t n;

    if (l->json) {
        l->buf[l->len++] = '}';
    }
    l->buf[l->len++] = '\n';
    do {
        n = write(STDERR_FILENO, l->buf, l->len);
    } while (n < 0 && errno == EINTR);
    if (n < 0) {
        count_dropped(); /* a full pipe that does not block, or no stderr: a log stops nobody */
    }
}

void sl_log_fields(enum sl_log_level level, const char *event, const struct sl_log_field *fields,
                   size_t fields_n)
{
    static const char *const names[] = {"debug", "info", "warn", "error"};
    int errno_before = errno; /* a caller may log between a syscall and its errno */
    char ts[SL_TIME_TEXT_BYTES];
    struct line l;

    if (!sl_log_enabled(level)) {
        return;
    }
    if (level < SL_LOG_ERROR && !within_rate()) {
        count_dropped();
        return;
    }
    l.len = 0;
    l.json = atomic_load_explicit(&line_format, memory_order_relaxed) == SL_LOG_JSON;
    sl_time_format(sl_time_unix_ms(), ts);
    put_field(&l, "ts", &SL_LOG_STR(ts), 1);
    put_field(&l, "level", &SL_LOG_STR(names[level]), 1);
    put_field(&l, "event", &SL_LOG_STR(event), fields_n + 1);
    for (size_t i = 0; i < fields_n; i++) {
        put_field(&l, fields[i].key, &fields[i].value, fields_n - i);
    }
    write_line(&l);
    errno = errno_before;
}
