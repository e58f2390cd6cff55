/* SPDX-License-Identifier: Apache-2.0 */
#include "measure.h"

#include "bench.h"

#include <dirent.h>

#define SUB_BITS 6u /* buckets within 1.6 % */
#define BUCKETS (64u << SUB_BITS)

static uint64_t histogram[BUCKETS];

void count_latency(uint64_t ns)
{
    uint64_t v = ns | (1u << SUB_BITS);
    unsigned shift = 63u - (unsigned)__builtin_clzll(v) - SUB_BITS;
    histogram[((uint64_t)shift << SUB_BITS) + (v >> shift)]++;
}

double percentile_us(double part)
{
    uint64_t total = 0;
    uint64_t seen = 0;
    for (uint64_t i = 0; i < BUCKETS; i++) {
        total += histogram[i];
    }
    for (uint64_t i = 0; i < BUCKETS; i++) {
        seen += histogram[i];
        if (total && (double)seen >= part * (double)total) {
            uint64_t shift = i >> SUB_BITS ? (i >> SUB_BITS) - 1 : 0;
            return (double)((i - (shift << SUB_BITS)) << shift) / 1000.0;
        }
    }
    return 0.0;
}

static void read_thread(uint64_t pid, const char *tid, struct cpu *sum)
{
    char path[320];
    unsigned long long run;
    snprintf(path, sizeof(path), "/proc/%llu/task/%s/schedstat", (unsigned long long)pid, tid);
    FILE *f = fopen(path, "r");
    if (!f || fscanf(f, "%llu", &run) != 1) {
        die(path);
    }
    fclose(f);
    sum->run_ns += run;
}

struct cpu read_cpu(uint64_t pid)
{
    struct cpu sum = {0, 0, 0};
    char path[64];
    unsigned long long user;
    unsigned long long system;
    if (!pid) {
        return sum;
    }
    snprintf(path, sizeof(path), "/proc/%llu/task", (unsigned long long)pid);
    DIR *dir = opendir(path);
    if (!dir) {
        die(path);
    }
    for (struct dirent *e = readdir(dir); e; e = readdir(dir)) {
        if (e->d_name[0] != '.') {
            read_thread(pid, e->d_name, &sum);
        }
    }
    closedir(dir);
    snprintf(path, sizeof(path), "/proc/%llu/stat", (unsigned long long)pid);
    FILE *f = fopen(path, "r");
    if (!f || fscanf(f, "%*d %*s %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %llu %llu", &user,
                     &system) != 2)
    {
        die(path);
    }
    fclose(f);
    sum.user_ticks = user;
    sum.system_ticks = system;
    return sum;
}
