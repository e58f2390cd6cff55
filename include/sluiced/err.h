/* SPDX-License-Identifier: Apache-2.0 */
/*
 * err: how functions fail, in two levels, and what happens when we are wrong ourselves.
 *
 *   hot path   int = SL_OK or a negative enum sl_err; errno is converted on the syscall's line.
 *   cold path  the same int, and a struct sl_error as last parameter that a person can act on.
 *   bugs       SL_ASSERT, for our invariants only: no input, however hostile, may reach one.
 *
 * Lifetime:  a struct sl_error lives on its caller's stack and holds copies, so it outlives the
 *            file, the key and the text it speaks of
 * Thread:    any (no shared state)
 * Limits:    a message is cut at 255 bytes, a file name at 255, a key at 127
 */
#ifndef SL_ERR_H
#define SL_ERR_H

#include <sluiced/defs.h>

#include <stdint.h>

enum sl_err {
    SL_OK = 0,
    SL_AGAIN = -1, /* not an error: nothing to do until the loop calls again */
    SL_ENOMEM = -2,
    SL_EPROTO = -3,   /* a peer broke its protocol */
    SL_ECONFIG = -4,  /* a person wrote what we refuse; struct sl_error says what to write */
    SL_ECLOSED = -5,  /* the other side closed in order (FIN, close_notify) */
    SL_ERESET = -6,   /* the other side or the network broke the connection */
    SL_EREFUSED = -7, /* nobody listens there, or no route leads there */
    SL_ETIMEOUT = -8,
    SL_ELIMIT = -9, /* a bound of ours was reached: size, count, file descriptors */
    SL_ETLS = -10,  /* handshake or peer verification failed */
    SL_EIO = -11,   /* a syscall failed for a reason that none of the above names */
};

/* Where a value stands in a file. Borrows both strings; line and column count from 1. */
struct sl_pos {
    const char *file;
    const char *key; /* full path of the option: "pools.chat.timeouts.connect" */
    uint32_t line;
    uint32_t column; /* of the value's first character */
};

struct sl_error {
    enum sl_err code;
    uint32_t line; /* 0: the error has no position, file and key are empty */
    uint32_t column;
    char file[256];
    char key[128];
    char message[256]; /* what is wrong, expected, found, and what to write instead */
};

/* Fills *err and returns code, so that a failure is one statement: return sl_error_set(...).
 * pos: NULL where no file is to blame. */
int sl_error_set(struct sl_error *err, enum sl_err code, const struct sl_pos *pos, const char *fmt,
                 ...) SL_PRINTF(4, 5);

/* Writes "file:line:column: key: message", without the key where pos had none, or the message
 * alone where there is no position.
 * Always terminates buf, cutting what does not fit. size_bytes > 0. */
void sl_error_format(const struct sl_error *err, char *buf, size_t size_bytes);

/* A code in one lower-case word ("refused", "reset"), for logs. Static. */
const char *sl_err_name(int code);

/* errno as one of the codes above; EAGAIN and EWOULDBLOCK give SL_AGAIN. */
int sl_err_from_errno(int errnum) SL_MUST_CHECK;

/* errno in words, thread-safe; writes into buf and returns it. */
const char *sl_errno_text(int errnum, char *buf, size_t size_bytes);

/* On in release too: a wrong answer costs more than a restart. Say which object, in which state. */
#define SL_ASSERT(expr, ...) \
    ((expr) ? (void)0 : sl_assert_failed(#expr, __FILE__, __LINE__, __VA_ARGS__))

SL_NORETURN void sl_assert_failed(const char *expr, const char *file, int line, const char *fmt,
                                  ...) SL_PRINTF(4, 5);

#endif
