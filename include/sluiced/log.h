/* SPDX-License-Identifier: Apache-2.0 */
/*
 * log: one line an event, on stderr: an event name that greps, and keys with values.
 *
 *   sl_log(SL_LOG_WARN, "reload_failed", {"file", SL_LOG_STR(path)}, {"error", SL_LOG_STR(text)});
 *   {"ts":"2026-11-23T20:15:01.123Z","level":"warn","event":"reload_failed","file":"..",...}
 *
 * Lifetime:  process; nothing is kept of the arguments
 * Thread:    any; a line leaves in one write(2), so lines of two threads never mix
 * Limits:    2 KiB a line; texts are escaped, so nobody can forge a line, and cut to their share of
 *            it ("..." at the end), so nobody can push the other fields out; a field that still
 *            does not fit is left out. Events of SL_LOG_WARN and below are limited to 200 a second
 *            and thread; what was dropped is counted
 */
#ifndef SL_LOG_H
#define SL_LOG_H

#include <sluiced/defs.h>
#include <sluiced/slice.h>

#include <stdbool.h>
#include <stdint.h>

enum sl_log_level {
    SL_LOG_DEBUG,
    SL_LOG_INFO,
    SL_LOG_WARN,
    SL_LOG_ERROR,
};

enum sl_log_format {
    SL_LOG_JSON,
    SL_LOG_LOGFMT,
};

enum sl_log_kind {
    SL_LOG_KIND_STR,
    SL_LOG_KIND_SLICE,
    SL_LOG_KIND_INT,
    SL_LOG_KIND_UINT,
    SL_LOG_KIND_BOOL,
};

struct sl_log_value {
    enum sl_log_kind kind;
    union {
        const char *str;
        struct sl_slice slice;
        int64_t i;
        uint64_t u;
    };
};

#define SL_LOG_STR(s) ((struct sl_log_value){.kind = SL_LOG_KIND_STR, .str = (s)})
#define SL_LOG_SLICE(s) ((struct sl_log_value){.kind = SL_LOG_KIND_SLICE, .slice = (s)})
#define SL_LOG_INT(v) ((struct sl_log_value){.kind = SL_LOG_KIND_INT, .i = (v)})
#define SL_LOG_UINT(v) ((struct sl_log_value){.kind = SL_LOG_KIND_UINT, .u = (v)})
#define SL_LOG_BOOL(v) ((struct sl_log_value){.kind = SL_LOG_KIND_BOOL, .u = (v)})

struct sl_log_field {
    const char *key;
    struct sl_log_value value;
};

/* Sets what is written from now on. Any thread may log before: INFO and JSON. Control thread. */
void sl_log_configure(enum sl_log_level least, enum sl_log_format format);

bool sl_log_enabled(enum sl_log_level level);

/* What sl_log calls. Keys and event are constants of ours: they are not escaped. Keeps errno. */
void sl_log_fields(enum sl_log_level level, const char *event, const struct sl_log_field *fields,
                   size_t fields_n);

/* sl_log(level, "event", {"key", SL_LOG_STR(v)}, {"n", SL_LOG_UINT(3)}): at least one field. */
#define sl_log(level, event, ...)                                                          \
    do {                                                                                   \
        if (sl_log_enabled(level)) {                                                       \
            const struct sl_log_field sl_log_fields_[] = {__VA_ARGS__};                    \
            sl_log_fields((level), (event), sl_log_fields_, SL_ARRAY_LEN(sl_log_fields_)); \
        }                                                                                  \
    } while (0)

/* Lines lost since the start: over the rate limit, or stderr did not take them. */
uint64_t sl_log_dropped_n(void);

/* Writes text as the inside of a JSON string (RFC 8259 section 7): quotes, backslashes and all
 * that steers a terminal or ends a line for anyone (C0, DEL, C1, U+2028, U+2029) escaped, bytes
 * that are not UTF-8 replaced by U+FFFD. At most size_bytes, never half a character, not
 * terminated; returns the bytes written. Shared with the access log and admin. */
size_t sl_json_escape(struct sl_slice text, char *buf, size_t size_bytes);

#endif
