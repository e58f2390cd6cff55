/* SPDX-License-Identifier: Apache-2.0 */
/*
 * health_checker: one way to ask an endpoint how it is. It asks and reports; when to ask, how long
 * to wait and what the answers mean in a row is the runner's business.
 *
 *   new -> (start -> report, or stop)... -> free
 *
 * Lifetime:  a check: as long as its endpoint is checked; it may keep a connection between probes
 * Thread:    control thread, on target->loop
 * Ownership: the runner's; a check owns its connection and borrows target and address
 */
#ifndef SL_UPSTREAM_HEALTH_CHECKER_H
#define SL_UPSTREAM_HEALTH_CHECKER_H

#include <sluiced/config.h>
#include <sluiced/defs.h>
#include <sluiced/err.h>

#include "health_text.h"

#include "proxy/io/stream.h"
#include "proxy/io/tls.h"

#include <stdbool.h>
#include <stdint.h>

#define SL_HEALTH_SCRATCH_BYTES 16384 /* a request, or the head of a response */

struct sl_health_check;

/* What the checks of one pool have in common. */
struct sl_health_target {
    struct sl_loop *loop;
    struct sl_chunk_pool *chunks;
    const struct sl_health_config *conf;
    struct sl_tls_context *tls; /* NULL: plaintext */
    char *scratch;              /* SL_HEALTH_SCRATCH_BYTES, for the duration of a callback */
    struct sl_health_text body; /* conf->body */
};

struct sl_health_result {
    int code;         /* SL_OK: it is well, or it answered with a status that says otherwise */
    uint16_t status;  /* that status; 0: there is none */
    bool body_lacks;  /* what was looked for did not stand in the body */
    char detail[160]; /* more about SL_ETLS and SL_EPROTO, for people; "": nothing */
};

/* At most once for each start, also within start; the last thing that a check does with itself. */
typedef void (*sl_health_report_fn)(struct sl_health_check *check,
                                    const struct sl_health_result *result);

struct sl_health_checker_ops {
    const char *name;

    /* A check of address that asks nothing yet. NULL: memory. */
    struct sl_health_check *(*new)(const struct sl_health_target *target,
                                   const struct sl_address *address, sl_health_report_fn report,
                                   void *owner);

    /* Asks, and reports when it knows. No probe runs. */
    void (*start)(struct sl_health_check *c);

    /* Gives up what runs and closes the connection; no report follows. Safe to repeat. */
    void (*stop)(struct sl_health_check *c);

    /* Two-step: after stop, and also from inside a report. */
    void (*free)(struct sl_health_check *c);
};

/* First member of each implementation's state. */
struct sl_health_check {
    const struct sl_health_checker_ops *ops;
    const struct sl_health_target *target;
    const struct sl_address *address;
    sl_health_report_fn report;
    void *owner; /* who gets the report */
};

extern const struct sl_health_checker_ops sl_health_checker_http;
extern const struct sl_health_checker_ops sl_health_checker_tcp;

/* The checker of a kind other than SL_HEALTH_CHECK_NONE. */
const struct sl_health_checker_ops *sl_health_checker_get(enum sl_health_kind kind);

/* Where to ask: the check's address, at the port of the checks if they have their own. */
struct sl_address sl_health_address(const struct sl_health_check *c);

/* Shared by checkers: opens s to sl_health_address over the pool's transport; what comes of it
 * goes to ops->on_open, perhaps within this call. On failure s is not open and nothing follows. */
int sl_health_connect(const struct sl_health_check *c, struct sl_stream *s,
                      const struct sl_stream_ops *ops) SL_MUST_CHECK;

/* A result of code, with what the TLS of s has to say while s is not closed. */
struct sl_health_result sl_health_result_of(int code, const struct sl_stream *s);

#endif
