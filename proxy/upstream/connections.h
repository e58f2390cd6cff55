/* SPDX-License-Identifier: Apache-2.0 */
/*
 * connections: how many are open to a pool and to each of its endpoints, and may be.
 *
 * They are counted whether there is a limit or not, for a limit that comes with a reload must know
 * of those that are there; that costs two additions a connection, and nothing a request. Who finds
 * the pool full asks the other workers for one that lies idle there: the word stays until it was
 * heard by one that has such.
 *
 * Lifetime:  the pool's
 * Thread:    any worker; exact by compare-and-swap, relaxed, for nothing else hangs on it
 * Limits:    those of the config, written by the control thread; who is above a new one stays
 */
#ifndef SL_UPSTREAM_CONNECTIONS_H
#define SL_UPSTREAM_CONNECTIONS_H

#include <sluiced/defs.h>
#include <sluiced/endpoint.h>

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define SL_CONNECTIONS_ASK_MS 5

struct sl_pool_connections {
    _Alignas(64) _Atomic uint32_t open_n; /* on all workers, idle ones included */
    _Alignas(64) _Atomic uint32_t max_n;  /* 0: no limit */
    _Atomic uint32_t per_endpoint_max_n;  /* likewise */
    _Atomic uint32_t wanted_by;           /* a worker's index + 1; 0: no idle one is wanted */
    _Atomic uint64_t asked_ms;            /* the others, the last time */
};

/* Counts one to ep that is about to be opened, given back when it was closed. False: the pool or ep
 * has as many as it may. */
bool sl_pool_connections_take(struct sl_pool_connections *c, struct sl_endpoint *ep) SL_MUST_CHECK;
void sl_pool_connections_give(struct sl_pool_connections *c, struct sl_endpoint *ep);

bool sl_pool_connections_are_full(const struct sl_pool_connections *c);

/* A request on this worker would be served if an idle one were closed elsewhere. Returns whether
 * the others are to be asked now: not again each time that somebody looks in vain, for whoever is
 * asked looks too. */
bool sl_pool_connections_want(struct sl_pool_connections *c, uint32_t worker_idx, uint64_t now_ms)
    SL_MUST_CHECK;

/* Whether another worker than this one said so. */
bool sl_pool_connections_are_wanted(const struct sl_pool_connections *c, uint32_t worker_idx);

/* One was closed for it. */
void sl_pool_connections_gave(struct sl_pool_connections *c);

#endif
