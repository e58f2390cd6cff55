/* SPDX-License-Identifier: Apache-2.0 */
#include "listener.h"

#include "proxy/base/alloc.h"
#include "proxy/io/socket.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

/* A unix socket has one queue, and so has one that we were given: each worker gets the same socket
 * under an fd of its own. */
static int open_for_worker(struct sl_listener *l, int passed_fd, uint32_t idx, struct sl_error *err)
{
    if (passed_fd >= 0 || (idx > 0 && l->bind.is_unix)) {
        l->cells[idx].fd = fcntl(passed_fd >= 0 ? passed_fd : l->cells[0].fd, F_DUPFD_CLOEXEC, 0);
        return l->cells[idx].fd >= 0
                   ? SL_OK
                   : sl_error_set(err, SL_ECONFIG, NULL, "no file descriptor left for %s", l->name);
    }
    /* With port 0 the first socket draws the port, and the others join it. */
    int rc = sl_socket_listen(&l->bound, true, &l->cells[idx].fd, &l->bound, err);
    l->path_is_ours = rc == SL_OK && l->bind.is_unix; /* and not whoever's it was before */
    return rc;
}

int sl_listener_open(const struct sl_listener_config *conf, int passed_fd, uint32_t workers_n,
                     struct sl_series *series, struct sl_listener **out, struct sl_error *err)
{
    size_t bytes = sizeof(struct sl_listener) + workers_n * sizeof(struct sl_listener_cell);
    struct sl_listener *l = sl_alloc_aligned(64, (bytes + 63) & ~(size_t)63);
    if (l == NULL) {
        return sl_error_set(err, SL_ENOMEM, NULL, "no memory for listener %s", conf->name);
    }
    l->workers_n = workers_n;
    l->bind = l->bound = conf->bind;
    for (uint32_t i = 0; i < workers_n; i++) {
        l->cells[i].listener = l;
        l->cells[i].fd = -1;
    }
    l->name = sl_strdup(conf->name);
    int rc = l->name != NULL
                 ? SL_OK
                 : sl_error_set(err, SL_ENOMEM, NULL, "no memory for listener %s", conf->name);
    for (uint32_t i = 0; rc == SL_OK && i < workers_n; i++) {
        rc = open_for_worker(l, passed_fd, i, err);
    }
    if (rc != SL_OK) {
        sl_listener_free(l);
        return rc;
    }
    l->series = series;
    *out = l;
    return SL_OK;
}

void sl_listener_retire(struct sl_listener *l)
{
    if (l->path_is_ours) {
        l->path_is_ours = false;
        (void)unlink(l->bind.host); /* a next process would replace it anyway */
    }
}

void sl_listener_free(struct sl_listener *l)
{
    for (uint32_t i = 0; i < l->workers_n; i++) {
        if (l->cells[i].fd >= 0) {
            (void)close(l->cells[i].fd); /* what waits in its queue is reset: the config says so */
        }
    }
    sl_listener_retire(l);
    if (l->series != NULL) {
        sl_series_unref(&l->series);
    }
    sl_free(l->name);
    sl_free(l);
}
