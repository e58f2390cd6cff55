/* SPDX-License-Identifier: Apache-2.0 */
/*
 * overload: watches the memory of our cgroup and our file descriptors, and asks for less in steps,
 * before the kernel ends us, or refuses us descriptors:
 *
 *   85 %  responses close their connection      92 %  new requests are answered with 503 overload
 *   95 %  nobody is let in, idle connections make room for who waits
 *
 * A step ends 5 points below where it began. Memory that the kernel can take back at once (pages of
 * files that nobody has used lately) does not count. Without a limit nothing is watched.
 *
 * Lifetime:  process
 * Thread:    control thread; workers read the step (sl_l7.overload)
 * Errors:    none: what cannot be read stays as it was
 * Source:    cgroup v2 (memory.current, memory.max, memory.stat); RLIMIT_NOFILE
 */
#ifndef SL_RUN_OVERLOAD_H
#define SL_RUN_OVERLOAD_H

#include "proxy/io/loop.h"
#include "proxy/l7/l7.h"

#include <stdint.h>

struct sl_overload {
    struct sl_timer timer;
    void (*on_step)(struct sl_overload *o, enum sl_overload_step before);
    enum sl_overload_step step;
    int current_fd; /* kept open: there may be no other one when it counts; -1: not watched */
    int max_fd;
    int stat_fd;
    uint64_t memory_bytes;
    uint64_t memory_limit_bytes; /* 0: none */
    uint64_t fds_n;
    uint64_t fds_limit_n;
    unsigned turn; /* of looks */
};

/* Looks four times a second from now on, and calls on_step when the step has changed. cgroup: a
 * directory; NULL: our own one, or the nearest above it that has a limit. */
void sl_overload_start(struct sl_overload *o, struct sl_loop *loop, const char *cgroup,
                       void (*on_step)(struct sl_overload *o, enum sl_overload_step before));
void sl_overload_stop(struct sl_overload *o);

/* In percent; 0 where there is no limit. */
unsigned sl_overload_memory_pct(const struct sl_overload *o);
unsigned sl_overload_fds_pct(const struct sl_overload *o);

/* The step to be in at pct, coming from step. Pure. */
enum sl_overload_step sl_overload_next(enum sl_overload_step step, unsigned pct);

#endif
