/* SPDX-License-Identifier: Apache-2.0 */
/*
 * activation: listening sockets that the service manager opened before we began. They stay open
 * as long as we live: a listener takes a copy of the one with its address, and may come back.
 *
 * Lifetime:  process
 * Thread:    control thread
 * Limits:    256 sockets
 * Source:    sd_listen_fds(3)
 */
#ifndef SL_RUN_ACTIVATION_H
#define SL_RUN_ACTIVATION_H

#include <sluiced/config.h>
#include <sluiced/defs.h>
#include <sluiced/err.h>

#include <stdbool.h>
#include <stddef.h>

#define SL_PASSED_MAX_N 256

struct sl_passed {
    struct sl_address address;
    char name[64]; /* of LISTEN_FDNAMES; "" where it has none */
    int fd;
    bool taken; /* by some listener, once */
};

struct sl_activation {
    struct sl_passed *items;
    size_t n;
};

/* From the environment. SL_ECONFIG for a descriptor that is no listening stream socket. */
int sl_activation_init(struct sl_activation *a, struct sl_error *err) SL_MUST_CHECK;
void sl_activation_fini(struct sl_activation *a);

/* The socket of bind, marked as taken; NULL: there is none. */
const struct sl_passed *sl_activation_take(struct sl_activation *a, const struct sl_address *bind);

/* Logs those that no listener took: their clients would wait in vain. */
void sl_activation_warn(const struct sl_activation *a);

#endif
