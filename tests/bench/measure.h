/* SPDX-License-Identifier: Apache-2.0 */
/* What the load generator counts: latencies, and the CPU time of the process that it loads. */
#ifndef TESTS_BENCH_MEASURE_H
#define TESTS_BENCH_MEASURE_H

#include <stdint.h>

struct cpu {
    uint64_t run_ns; /* the scheduler's: what utime and stime add up to, without their rounding */
    uint64_t user_ticks;
    uint64_t system_ticks;
};

void count_latency(uint64_t ns);

/* part: 0.5 for the median. Within 1.6 %. */
double percentile_us(double part);

/* The CPU time of all threads of a process so far; of none for pid 0. */
struct cpu read_cpu(uint64_t pid);

#endif
