/* SPDX-License-Identifier: Apache-2.0 */
/*
 * resolver: questions to DNS servers, c-ares on the loop.
 *
 * It asks servers only: /etc/hosts is not read. Truncated answers are asked for again over TCP, and
 * nothing is cached. A changed resolv.conf is seen by the next question.
 *
 * Lifetime:  resolver: process; query: from ask until fn returned or sl_resolver_cancel
 * Thread:    control thread
 * Ownership: strings are copied; what fn gets is borrowed for the call
 * Errors:    ask: SL_ENOMEM, or SL_EIO where c-ares cannot start; ask never calls back. fn says how
 *            it ended, exactly once unless cancelled
 * Limits:    a message has 65 535 bytes; a question ends after tries_n rounds over all servers,
 *            the first of timeout_ms for each, each later one twice as long
 */
#ifndef SL_IO_RESOLVER_H
#define SL_IO_RESOLVER_H

#include <sluiced/defs.h>
#include <sluiced/err.h>
#include <sluiced/slice.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SL_RESOLVER_NAME_BYTES 256 /* a name in text, without a dot at the end, and its end */

struct sl_loop;
struct sl_resolver;
struct sl_resolver_query;

struct sl_resolver_conf {
    uint32_t timeout_ms;
    uint32_t tries_n;
    const char *resolv_conf; /* borrowed for the resolver's life */
};

/* 1 s, 3 rounds, /etc/resolv.conf. */
extern const struct sl_resolver_conf sl_resolver_conf_default;

enum sl_resolver_outcome {
    SL_RESOLVER_ANSWER,  /* with records, of whatever type */
    SL_RESOLVER_NO_DATA, /* the name is there, such records are not */
    SL_RESOLVER_NO_NAME, /* NXDOMAIN */
    SL_RESOLVER_FAILED,  /* nothing is known */
};

struct sl_resolver_result {
    enum sl_resolver_outcome outcome;
    const char *reason;      /* in words, for all but an answer; static */
    struct sl_slice message; /* as it came; len 0 where there was none */
};

typedef void (*sl_resolver_fn)(void *arg, const struct sl_resolver_result *result);

int sl_resolver_new(struct sl_loop *loop, const struct sl_resolver_conf *conf,
                    struct sl_resolver **out) SL_MUST_CHECK;

/* Cancels what runs. Not from fn; accepts NULL. */
void sl_resolver_free(struct sl_resolver *r);

/* Asks for the records of a type (RFC 1035 3.2.2: its number) of name, which is taken as complete.
 * servers: "10.96.0.10:53,[fd00::a]:53", or NULL for those of the system. */
int sl_resolver_ask(struct sl_resolver *r, const char *servers, const char *name, uint16_t type,
                    sl_resolver_fn fn, void *arg, struct sl_resolver_query **out) SL_MUST_CHECK;
void sl_resolver_cancel(struct sl_resolver_query *q);

/* The idx-th complete name that the system's search list makes of name, as resolv.conf(5) says of
 * search and ndots; a dot at its end makes name complete. False: there are no more. out has
 * SL_RESOLVER_NAME_BYTES. */
bool sl_resolver_candidate(struct sl_resolver *r, const char *name, size_t idx, char *out);

#endif
