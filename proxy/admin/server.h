/* SPDX-License-Identifier: Apache-2.0 */
/*
 * admin server: a small HTTP/1.1 server on the control loop, for operators and for probes.
 *
 *   admin    GET / /healthz /readyz /metrics /status /config /reload /drain
 *            /drain/endpoint, POST /reload /drain /drain/endpoint
 *   probes   GET /healthz /readyz /metrics: harmless, so it may listen for the whole cluster
 *
 * A browser on the operator's machine must not become the operator: a POST with an Origin is
 * refused, and on admin so is a Host that is a name (DNS rebinding); localhost and addresses pass.
 *
 * Lifetime:  from open to close; process
 * Thread:    the loop's
 * Ownership: borrows loop, chunk pool and control until close
 * Errors:    open only
 * Limits:    64 connections (the longest idle one makes room), head 16 KiB, request body 64 KiB,
 *            10 s for a request, 30 s idle, 64 MiB of answers that wait to be sent
 */
#ifndef SL_ADMIN_SERVER_H
#define SL_ADMIN_SERVER_H

#include <sluiced/config.h>
#include <sluiced/control.h>
#include <sluiced/defs.h>
#include <sluiced/err.h>

#include <stdbool.h>

struct sl_admin;
struct sl_chunk_pool;
struct sl_loop;

struct sl_admin_conf {
    struct sl_loop *loop;
    struct sl_chunk_pool *chunks;
    struct sl_control *control;
    const struct sl_address *bind; /* borrowed for the call of open */
    bool probes_only;
};

/* *bound: where it listens, with the port the kernel chose. SL_ENOMEM, or SL_ECONFIG in words. */
int sl_admin_open(const struct sl_admin_conf *conf, struct sl_admin **out, struct sl_address *bound,
                  struct sl_error *err) SL_MUST_CHECK;

/* Closes listener and connections; NULLs *admin, accepts NULL in it. An operation of the control
 * table may call it: memory goes at the end of the loop's turn. */
void sl_admin_close(struct sl_admin **admin);

#endif
