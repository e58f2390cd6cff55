/* SPDX-License-Identifier: Apache-2.0 */
/*
 * notify: tells the service manager how we are, by datagrams to $NOTIFY_SOCKET. Where there is
 * none, nothing happens.
 *
 * Lifetime:  process
 * Thread:    control thread
 * Errors:    none: a manager that does not listen is no reason not to serve
 * Source:    sd_notify(3), sd_watchdog_enabled(3)
 */
#ifndef SL_RUN_NOTIFY_H
#define SL_RUN_NOTIFY_H

#include "proxy/io/loop.h"

#include <stdbool.h>
#include <sys/un.h>

struct sl_notify {
    int fd; /* -1: nobody wants to know */
    struct sockaddr_un to;
    unsigned to_bytes;
    bool stopping;            /* the last word was said */
    struct sl_timer watchdog; /* alive: this loop turns */
};

/* From the environment; starts to answer the watchdog, if there is one. */
void sl_notify_init(struct sl_notify *n, struct sl_loop *loop);
void sl_notify_fini(struct sl_notify *n);

/* status: one line, for people. */
void sl_notify_ready(struct sl_notify *n, const char *status);
void sl_notify_reloading(struct sl_notify *n); /* ready is to follow, whatever comes of it */
void sl_notify_stopping(struct sl_notify *n, const char *status);

#endif
