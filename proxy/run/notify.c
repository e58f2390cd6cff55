/* SPDX-License-Identifier: Apache-2.0 */
#include "notify.h"

#include <sluiced/slice.h>
#include <sluiced/time.h>

#include "environment.h"

#include "proxy/base/num.h"

#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define MESSAGE_BYTES 512

static void send_message(const struct sl_notify *n, const char *message)
{
    if (n->fd >= 0) {
        /* Without waiting: a manager that is stuck must not stop us, too. */
        (void)sendto(n->fd, message, strlen(message), MSG_DONTWAIT | MSG_NOSIGNAL,
                     (const struct sockaddr *)&n->to, n->to_bytes);
    }
}

static void on_watchdog(struct sl_timer *t)
{
    send_message(sl_container_of(t, struct sl_notify, watchdog), "WATCHDOG=1");
}

static uint64_t number_of(const char *variable)
{
    const char *text = sl_environment(variable);
    uint64_t n = 0;

    if (text == NULL || sl_num_parse_below(sl_slice_of(text), UINT64_MAX - 1, &n) != SL_OK) {
        return 0;
    }
    return n;
}

static void start_watchdog(struct sl_notify *n)
{
    uint64_t pid = number_of("WATCHDOG_PID");
    uint64_t period_ms = number_of("WATCHDOG_USEC") / 2000; /* at half of the time allowed */

    if (period_ms > 0 && (pid == 0 || pid == (uint64_t)getpid())) {
        sl_timer_start(&n->watchdog, period_ms, period_ms);
    }
}

void sl_notify_init(struct sl_notify *n, struct sl_loop *loop)
{
    const char *path = sl_environment("NOTIFY_SOCKET");
    size_t len = path != NULL ? strlen(path) : 0;

    *n = (struct sl_notify){.fd = -1, .to = {.sun_family = AF_UNIX}};
    sl_timer_init(&n->watchdog, loop, on_watchdog);
    if (len < 2 || len >= sizeof(n->to.sun_path) || (path[0] != '/' && path[0] != '@')) {
        return;
    }
    memcpy(n->to.sun_path, path, len);
    if (path[0] == '@') {
        n->to.sun_path[0] = '\0'; /* unix(7): an abstract one */
    }
    n->to_bytes = (unsigned)(offsetof(struct sockaddr_un, sun_path) + len);
    n->fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    start_watchdog(n);
}

void sl_notify_fini(struct sl_notify *n)
{
    sl_timer_stop(&n->watchdog);
    if (n->fd >= 0) {
        (void)close(n->fd); /* datagrams are gone already */
        n->fd = -1;
    }
}

void sl_notify_ready(struct sl_notify *n, const char *status)
{
    char message[MESSAGE_BYTES];

    if (!n->stopping) {
        (void)snprintf(message, sizeof(message), "READY=1\nSTATUS=%s", status); /* cut at its end */
        send_message(n, message);
    }
}

void sl_notify_reloading(struct sl_notify *n)
{
    char message[MESSAGE_BYTES];

    if (!n->stopping) {
        (void)snprintf(message, sizeof(message),
                       "RELOADING=1\nMONOTONIC_USEC=%" PRIu64 "\nSTATUS=reloading",
                       sl_time_now_us());
        send_message(n, message);
    }
}

void sl_notify_stopping(struct sl_notify *n, const char *status)
{
    char message[MESSAGE_BYTES];

    n->stopping = true;
    (void)snprintf(message, sizeof(message), "STOPPING=1\nSTATUS=%s", status);
    send_message(n, message);
}
