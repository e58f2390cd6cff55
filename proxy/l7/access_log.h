/* SPDX-License-Identifier: Apache-2.0 */
/*
 * access_log: one JSON line an exchange, batched, never waited for.
 *
 * Lines gather in the worker's buffer and leave when it fills or SL_ACCESS_LOG_DELAY_MS after the
 * first. A reader that does not keep up costs lines, which are counted, and never a request.
 *
 * Lifetime:  process; one a worker
 * Thread:    worker-local; the fd is shared, but written in pieces that stay whole (PIPE_BUF)
 * Limits:    64 KiB a worker, 4 KiB a line: path and names are cut to fit
 */
#ifndef SL_L7_ACCESS_LOG_H
#define SL_L7_ACCESS_LOG_H

#include <sluiced/defs.h>
#include <sluiced/err.h>

#include "proxy/io/loop.h"

#include <stdbool.h>

#define SL_ACCESS_LOG_DELAY_MS 200

struct sl_access_log;
struct sl_exchange;
struct sl_series;

/* target: "off", "stdout", "stderr" or a path, which is appended to. *fd: -1 for off; the caller
 * closes it with sl_access_log_close_target. */
int sl_access_log_open_target(const char *target, int *fd, struct sl_error *err) SL_MUST_CHECK;
void sl_access_log_close_target(int fd);

int sl_access_log_new(struct sl_loop *loop, int fd, struct sl_series *process, uint32_t worker_idx,
                      struct sl_access_log **out) SL_MUST_CHECK;
void sl_access_log_free(struct sl_access_log *log); /* writes what it can */

/* Lines from now on go to fd. */
void sl_access_log_set_fd(struct sl_access_log *log, int fd);

/* x has ended with reason. */
void sl_access_log_exchange(struct sl_access_log *log, const struct sl_exchange *x,
                            const char *reason);

#endif
