/* SPDX-License-Identifier: Apache-2.0 */
#include <sluiced/err.h>

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int sl_error_set(struct sl_error *err, enum sl_err code, const struct sl_pos *pos, const char *fmt,
                 ...)
{
    struct sl_error filled = {.code = code}; /* apart: an argument may point into *err */
    va_list args;

    if (pos != NULL) {
        filled.line = pos->line;
        filled.column = pos->column;
        /* Cut where they are too long: see Limits. */
        (void)snprintf(filled.file, sizeof(filled.file), "%s", pos->file != NULL ? pos->file : "");
        (void)snprintf(filled.key, sizeof(filled.key), "%s", pos->key != NULL ? pos->key : "");
    }
    va_start(args, fmt);
    (void)vsnprintf(filled.message, sizeof(filled.message), fmt, args);
    va_end(args);
    *err = filled;
    return code;
}

void sl_error_format(const struct sl_error *err, char *buf, size_t size_bytes)
{
    if (err->line == 0) {
        (void)snprintf(buf, size_bytes, "%s", err->message);
        return;
    }
    (void)snprintf(buf, size_bytes, "%s:%u:%u: %s%s%s", err->file, err->line, err->column, err->key,
                   err->key[0] != '\0' ? ": " : "", err->message);
}

const char *sl_err_name(int code)
{
    switch (code) {
    case SL_OK:
        return "ok";
    case SL_AGAIN:
        return "again";
    case SL_ENOMEM:
        return "memory";
    case SL_EPROTO:
        return "protocol";
    case SL_ECONFIG:
        return "config";
    case SL_ECLOSED:
        return "closed";
    case SL_ERESET:
        return "reset";
    case SL_EREFUSED:
        return "refused";
    case SL_ETIMEOUT:
        return "timeout";
    case SL_ELIMIT:
        return "limit";
    case SL_ETLS:
        return "tls";
    case SL_EIO:
        return "io";
    default:
        return "unknown";
    }
}

int sl_err_from_errno(int errnum)
{
    switch (errnum) {
    case EAGAIN:
#if EWOULDBLOCK != EAGAIN
    case EWOULDBLOCK:
#endif
        return SL_AGAIN;
    case ECONNREFUSED:
    case EHOSTUNREACH:
    case ENETUNREACH:
    case EADDRNOTAVAIL:
    case ENOENT: /* a unix socket that nobody has bound */
        return SL_EREFUSED;
    case ECONNRESET:
    case EPIPE:
    case ECONNABORTED:
    case ENOTCONN:
        return SL_ERESET;
    case ETIMEDOUT:
        return SL_ETIMEOUT;
    case ENOMEM:
    case ENOBUFS:
        return SL_ENOMEM;
    case EMFILE:
    case ENFILE:
        return SL_ELIMIT;
    default:
        return SL_EIO;
    }
}

const char *sl_errno_text(int errnum, char *buf, size_t size_bytes)
{
    char unknown[64]; /* where glibc words a number that it does not know; others are static */

    (void)snprintf(buf, size_bytes, "%s", strerror_r(errnum, unknown, sizeof(unknown)));
    return buf;
}

void sl_assert_failed(const char *expr, const char *file, int line, const char *fmt, ...)
{
    va_list args;

    /* Straight to stderr: the log may be what is broken. */
    (void)fprintf(stderr, "%s:%d: assertion failed: %s: ", file, line, expr);
    va_start(args, fmt);
    (void)vfprintf(stderr, fmt, args);
    va_end(args);
    (void)fputc('\n', stderr);
    abort();
}
