/* SPDX-License-Identifier: Apache-2.0 */
#include "file_watch.h"

#include <sluiced/log.h>

#include "proxy/base/alloc.h"
#include "proxy/base/hash.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#define FILES_MAX_N 256
#define EVENTS (IN_CLOSE_WRITE | IN_CREATE | IN_MOVED_TO | IN_MOVED_FROM | IN_DELETE | IN_ATTRIB)

struct sl_file_watch {
    struct sl_loop *loop;
    void (*on_change)(void *arg);
    void *arg;
    struct sl_io io;
    struct sl_timer settle;
    struct sl_timer poll;
    int fd;        /* -1: without inotify */
    uint64_t seen; /* all files at the last look, while they settle */
    size_t files_n;
    struct {
        char *path;
        int folder_wd;        /* of inotify, shared by the files of a folder; -1: none */
        uint64_t fingerprint; /* of what it led to when it was last read, or about to be */
        bool named;           /* while pruning */
    } files[FILES_MAX_N];
};

/* Of what path leads to; a file that is gone counts as one of no size. */
static uint64_t fingerprint(const char *path)
{
    struct stat st;
    uint64_t facts[5] = {0};

    if (stat(path, &st) == 0) {
        facts[0] = (uint64_t)st.st_dev;
        facts[1] = (uint64_t)st.st_ino;
        facts[2] = (uint64_t)st.st_size;
        facts[3] = (uint64_t)st.st_mtim.tv_sec;
        facts[4] = (uint64_t)st.st_mtim.tv_nsec;
    }
    return sl_hash((struct sl_slice){(const char *)facts, sizeof(facts)}, 0);
}

/* *changed: whether one is not as it was noted. Returns what tells two looks apart. */
static uint64_t look(const struct sl_file_watch *w, bool *changed)
{
    uint64_t all = 0;

    *changed = false;
    for (size_t i = 0; i < w->files_n; i++) {
        uint64_t one = fingerprint(w->files[i].path);
        *changed = *changed || one != w->files[i].fingerprint;
        all = sl_hash((struct sl_slice){(const char *)&one, sizeof(one)}, all);
    }
    return all;
}

/* Another look follows: a neighbour that changes all the time does not put it off. */
static void begin_settling(struct sl_file_watch *w)
{
    bool changed;

    if (!sl_timer_active(&w->settle)) {
        w->seen = look(w, &changed);
        sl_timer_start(&w->settle, SL_FILE_SETTLE_MS, 0);
    }
}

static void on_settled(struct sl_timer *t)
{
    struct sl_file_watch *w = sl_container_of(t, struct sl_file_watch, settle);
    bool changed;
    uint64_t now = look(w, &changed);

    if (now != w->seen) {
        w->seen = now;
        sl_timer_start(&w->settle, SL_FILE_SETTLE_MS, 0);
    } else if (changed) {
        sl_file_watch_note(w);
        w->on_change(w->arg);
    }
}

/* What happened does not matter, only that something did. */
static void on_events(struct sl_io *io, int events)
{
    struct sl_file_watch *w = sl_container_of(io, struct sl_file_watch, io);
    _Alignas(struct inotify_event) char buf[4096];
    (void)events;

    while (read(w->fd, buf, sizeof(buf)) > 0) {
    }
    begin_settling(w);
}

/* A watch would hold on to the folder, and to a place of the system's, for as long as we live. */
static void leave_folder(const struct sl_file_watch *w, int wd)
{
    for (size_t i = 0; i < w->files_n; i++) {
        if (w->files[i].folder_wd == wd) {
            return;
        }
    }
    if (wd >= 0) {
        (void)inotify_rm_watch(w->fd, wd); /* fails where the folder, and so the watch, is gone */
    }
}

/* Whether the folder of a file is watched now. The same folder again is the same watch; one that
 * took its place, by a symlink that leads elsewhere, is not. */
static bool watch_folder(struct sl_file_watch *w, size_t idx)
{
    const char *file = w->files[idx].path;
    const char *slash = strrchr(file, '/');
    int before = w->files[idx].folder_wd;
    char folder[PATH_MAX];

    (void)snprintf(folder, sizeof(folder), "%.*s", slash != NULL ? (int)(slash - file) + 1 : 1,
                   slash != NULL ? file : ".");
    w->files[idx].folder_wd = w->fd >= 0 ? inotify_add_watch(w->fd, folder, EVENTS) : -1;
    leave_folder(w, before);
    return w->files[idx].folder_wd >= 0;
}

static void on_poll(struct sl_timer *t)
{
    struct sl_file_watch *w = sl_container_of(t, struct sl_file_watch, poll);
    bool changed;

    for (size_t i = 0; i < w->files_n; i++) {
        (void)watch_folder(w, i); /* one that was made anew; else polling does */
    }
    (void)look(w, &changed);
    if (changed) {
        begin_settling(w);
    }
}

void sl_file_watch_hurry(struct sl_file_watch *w)
{
    begin_settling(w);
}

bool sl_file_watch_is_current(const struct sl_file_watch *w)
{
    bool changed;

    (void)look(w, &changed);
    return !changed;
}

void sl_file_watch_add(struct sl_file_watch *w, const char *file)
{
    if (file == NULL) {
        return;
    }
    for (size_t i = 0; i < w->files_n; i++) {
        if (strcmp(w->files[i].path, file) == 0) {
            w->files[i].named = true;
            return;
        }
    }
    char *copy = w->files_n < FILES_MAX_N ? sl_strdup(file) : NULL;
    if (copy == NULL) {
        sl_log(SL_LOG_WARN, "file_not_watched", {"file", SL_LOG_STR(file)});
        return;
    }
    w->files[w->files_n].path = copy;
    w->files[w->files_n].folder_wd = -1;
    w->files[w->files_n].fingerprint = fingerprint(copy);
    w->files[w->files_n].named = true;
    w->files_n++;
    if (!watch_folder(w, w->files_n - 1) && w->fd >= 0) {
        sl_log(SL_LOG_WARN, "watch_failed", {"file", SL_LOG_STR(file)},
               {"polling_ms", SL_LOG_UINT(SL_FILE_POLL_MS)});
    }
}

int sl_file_watch_new(struct sl_loop *loop, void (*on_change)(void *arg), void *arg,
                      struct sl_file_watch **out)
{
    struct sl_file_watch *w = sl_alloc(sizeof(*w));
    if (w == NULL) {
        return SL_ENOMEM;
    }
    w->loop = loop;
    w->on_change = on_change;
    w->arg = arg;
    w->fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
    sl_timer_init(&w->settle, loop, on_settled);
    sl_timer_init(&w->poll, loop, on_poll);
    sl_timer_start(&w->poll, SL_FILE_POLL_MS, SL_FILE_POLL_MS);
    if (w->fd >= 0) {
        sl_io_init(&w->io, loop, w->fd, on_events);
        sl_io_want_read(&w->io, true);
    }
    *out = w;
    return SL_OK;
}

void sl_file_watch_free(struct sl_file_watch *w)
{
    if (w == NULL) {
        return;
    }
    sl_timer_stop(&w->settle);
    sl_timer_stop(&w->poll);
    if (w->fd >= 0) {
        sl_io_stop(&w->io);
        (void)close(w->fd); /* holds no data */
    }
    for (size_t i = 0; i < w->files_n; i++) {
        sl_free(w->files[i].path);
    }
    sl_free(w);
}

void sl_file_watch_note(struct sl_file_watch *w)
{
    for (size_t i = 0; i < w->files_n; i++) {
        w->files[i].fingerprint = fingerprint(w->files[i].path);
    }
}

void sl_file_watch_prune_begin(struct sl_file_watch *w)
{
    for (size_t i = 0; i < w->files_n; i++) {
        w->files[i].named = false;
    }
}

void sl_file_watch_prune_end(struct sl_file_watch *w)
{
    size_t i = 0;

    while (i < w->files_n) {
        if (w->files[i].named) {
            i++;
            continue;
        }
        int wd = w->files[i].folder_wd;
        sl_free(w->files[i].path);
        w->files[i] = w->files[--w->files_n];
        leave_folder(w, wd);
    }
}
