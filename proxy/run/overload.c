/* SPDX-License-Identifier: Apache-2.0 */
#include "overload.h"

#include "proxy/base/num.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#define LOOK_MS 250
#define COUNT_EVERY_N 8 /* looks, where descriptors must be counted one by one */
#define CGROUP_ROOT "/sys/fs/cgroup"
#define TEXT_BYTES 8192

static const struct {
    unsigned enter_pct;
    unsigned leave_pct;
} limits[] = {
    [SL_OVERLOAD_CLOSE] = {85, 80},
    [SL_OVERLOAD_REFUSE] = {92, 87},
    [SL_OVERLOAD_WAIT] = {95, 90},
};

enum sl_overload_step sl_overload_next(enum sl_overload_step step, unsigned pct)
{
    while (step < SL_OVERLOAD_WAIT && pct >= limits[step + 1].enter_pct) {
        step++;
    }
    while (step > SL_OVERLOAD_NONE && pct < limits[step].leave_pct) {
        step--;
    }
    return step;
}

static unsigned pct_of(uint64_t used, uint64_t limit)
{
    return limit == 0 ? 0 : used >= limit ? 100 : (unsigned)((double)used * 100 / (double)limit);
}

unsigned sl_overload_memory_pct(const struct sl_overload *o)
{
    return pct_of(o->memory_bytes, o->memory_limit_bytes);
}

unsigned sl_overload_fds_pct(const struct sl_overload *o)
{
    return pct_of(o->fds_n, o->fds_limit_n);
}

/* ---- Memory */

static bool read_text(int fd, char *buf, size_t size_bytes)
{
    ssize_t n = fd >= 0 ? pread(fd, buf, size_bytes - 1, 0) : -1;

    buf[n > 0 ? n : 0] = '\0';
    return n > 0;
}

static bool read_number(int fd, uint64_t *out)
{
    char text[64];

    return read_text(fd, text, sizeof(text)) &&
           sl_num_parse_u64((struct sl_slice){text, strcspn(text, "\n")}, out) == SL_OK;
}

/* 0: of an older kernel, or none. */
static uint64_t reclaimable_bytes(int stat_fd)
{
    static const char name[] = "\ninactive_file ";
    char text[TEXT_BYTES] = "\n"; /* so that the first line is like the others */
    uint64_t bytes = 0;

    if (!read_text(stat_fd, text + 1, sizeof(text) - 1)) {
        return 0;
    }
    const char *at = strstr(text, name);
    if (at == NULL) {
        return 0;
    }
    at += sizeof(name) - 1;
    return sl_num_parse_u64((struct sl_slice){at, strcspn(at, "\n")}, &bytes) == SL_OK ? bytes : 0;
}

static void look_at_memory(struct sl_overload *o)
{
    uint64_t used;
    uint64_t limit;
    char text[64];

    if (!read_number(o->current_fd, &used)) {
        return;
    }
    if (read_number(o->max_fd, &limit)) {
        o->memory_limit_bytes = limit;
    } else if (read_text(o->max_fd, text, sizeof(text)) && strncmp(text, "max", 3) == 0) {
        o->memory_limit_bytes = 0;
    }
    uint64_t reclaimable = reclaimable_bytes(o->stat_fd);
    o->memory_bytes = used > reclaimable ? used - reclaimable : 0;
}

/* ---- Descriptors */

/* Linux 6.2 says how many there are as the size of the directory; before, it is 0. */
static void look_at_fds(struct sl_overload *o)
{
    struct rlimit limit;
    struct stat st;

    if (getrlimit(RLIMIT_NOFILE, &limit) != 0) {
        return;
    }
    o->fds_limit_n = limit.rlim_cur == RLIM_INFINITY ? 0 : limit.rlim_cur;
    if (stat("/proc/self/fd", &st) == 0 && st.st_size > 0) {
        o->fds_n = (uint64_t)st.st_size;
        return;
    }
    if (o->turn++ % COUNT_EVERY_N != 0) {
        return; /* a hundred thousand take some milliseconds */
    }
    DIR *dir = opendir("/proc/self/fd");
    if (dir == NULL) {
        o->fds_n = errno == EMFILE ? o->fds_limit_n : o->fds_n;
        return;
    }
    uint64_t n = 0;
    /* NOLINTNEXTLINE(concurrency-mt-unsafe): nobody else has dir */
    while (readdir(dir) != NULL) {
        n++;
    }
    (void)closedir(dir);          /* only read */
    o->fds_n = n > 3 ? n - 3 : 0; /* ".", ".." and dir itself */
}

/* ---- Both */

static void on_timer(struct sl_timer *t)
{
    struct sl_overload *o = sl_container_of(t, struct sl_overload, timer);
    enum sl_overload_step before = o->step;

    look_at_memory(o);
    look_at_fds(o);
    unsigned memory_pct = sl_overload_memory_pct(o);
    unsigned fds_pct = sl_overload_fds_pct(o);
    o->step = sl_overload_next(before, memory_pct > fds_pct ? memory_pct : fds_pct);
    if (o->step != before) {
        o->on_step(o, before);
    }
}

static int open_in(const char *folder, const char *name)
{
    char path[PATH_MAX];
    int n = snprintf(path, sizeof(path), "%s/%s", folder, name);

    return n > 0 && (size_t)n < sizeof(path) ? open(path, O_RDONLY | O_CLOEXEC) : -1;
}

static void close_one(int *fd)
{
    if (*fd >= 0) {
        (void)close(*fd); /* only read */
        *fd = -1;
    }
}

/* Whether there is something to watch in folder. */
static bool watch(struct sl_overload *o, const char *folder)
{
    uint64_t limit;

    o->current_fd = open_in(folder, "memory.current");
    o->max_fd = open_in(folder, "memory.max");
    o->stat_fd = open_in(folder, "memory.stat");
    if (o->current_fd >= 0 && read_number(o->max_fd, &limit)) {
        return true;
    }
    close_one(&o->current_fd);
    close_one(&o->max_fd);
    close_one(&o->stat_fd);
    return false;
}

/* The path behind "0::", the line of cgroup v2; in a container mostly "/". */
static void find_own(char *folder, size_t size_bytes)
{
    char text[TEXT_BYTES] = "\n";
    int fd = open("/proc/self/cgroup", O_RDONLY | O_CLOEXEC);
    bool known = read_text(fd, text + 1, sizeof(text) - 1);
    const char *at = known ? strstr(text, "\n0::/") : NULL;

    close_one(&fd);
    at = at != NULL ? at + strlen("\n0::") : "";
    (void)snprintf(folder, size_bytes, CGROUP_ROOT "%.*s", (int)strcspn(at, "\n"), at);
}

static void watch_own(struct sl_overload *o)
{
    char folder[PATH_MAX];

    find_own(folder, sizeof(folder));
    while (!watch(o, folder) && strlen(folder) > strlen(CGROUP_ROOT)) {
        *strrchr(folder, '/') = '\0'; /* a limit of a parent holds for us, too */
    }
}

void sl_overload_start(struct sl_overload *o, struct sl_loop *loop, const char *cgroup,
                       void (*on_step)(struct sl_overload *o, enum sl_overload_step before))
{
    *o = (struct sl_overload){.on_step = on_step, .current_fd = -1, .max_fd = -1, .stat_fd = -1};
    if (cgroup != NULL) {
        (void)watch(o, cgroup); /* without a limit descriptors are what is left */
    } else {
        watch_own(o);
    }
    look_at_memory(o);
    look_at_fds(o);
    sl_timer_init(&o->timer, loop, on_timer);
    sl_timer_start(&o->timer, LOOK_MS, LOOK_MS);
}

void sl_overload_stop(struct sl_overload *o)
{
    sl_timer_stop(&o->timer);
    close_one(&o->current_fd);
    close_one(&o->max_fd);
    close_one(&o->stat_fd);
}
