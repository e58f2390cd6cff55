/* SPDX-License-Identifier: Apache-2.0 */
#include "activation.h"

#include <sluiced/log.h>

#include "environment.h"

#include "proxy/base/alloc.h"
#include "proxy/base/num.h"
#include "proxy/io/socket.h"

#include <string.h>
#include <unistd.h>

#define FIRST_FD 3 /* SD_LISTEN_FDS_START */

/* 0: not for us. */
static uint64_t passed_n(void)
{
    const char *pid_text = sl_environment("LISTEN_PID");
    const char *n_text = sl_environment("LISTEN_FDS");
    uint64_t pid;
    uint64_t n;

    if (pid_text == NULL || n_text == NULL ||
        sl_num_parse_below(sl_slice_of(pid_text), UINT32_MAX, &pid) != SL_OK ||
        sl_num_parse_below(sl_slice_of(n_text), SL_PASSED_MAX_N, &n) != SL_OK ||
        pid != (uint64_t)getpid())
    {
        return 0;
    }
    return n;
}

/* "edge:second": moves behind the name that it copies. */
static const char *next_name(const char *names, char *buf, size_t size_bytes)
{
    size_t len = strcspn(names, ":");
    size_t copied = len < size_bytes ? len : size_bytes - 1;

    memcpy(buf, names, copied);
    buf[copied] = '\0';
    return names + len + (names[len] == ':');
}

int sl_activation_init(struct sl_activation *a, struct sl_error *err)
{
    uint64_t n = passed_n();
    const char *names = sl_environment("LISTEN_FDNAMES");

    *a = (struct sl_activation){NULL, 0};
    if (n == 0) {
        return SL_OK;
    }
    a->items = sl_alloc_array(n, sizeof(a->items[0]));
    if (a->items == NULL) {
        return sl_error_set(err, SL_ENOMEM, NULL, "no memory for the sockets that were passed");
    }
    for (size_t i = 0; i < n; i++) {
        struct sl_passed *passed = &a->items[i];

        passed->fd = FIRST_FD + (int)i;
        names = names != NULL ? next_name(names, passed->name, sizeof(passed->name)) : NULL;
        if (sl_socket_adopt(passed->fd, &passed->address) != SL_OK) {
            return sl_error_set(err, SL_ECONFIG, NULL,
                                "descriptor %d (%s) of LISTEN_FDS is not a listening stream "
                                "socket",
                                passed->fd, passed->name);
        }
        a->n++;
    }
    return SL_OK;
}

void sl_activation_fini(struct sl_activation *a)
{
    for (size_t i = 0; i < a->n; i++) {
        sl_socket_close(a->items[i].fd);
    }
    sl_free(a->items);
    *a = (struct sl_activation){NULL, 0};
}

const struct sl_passed *sl_activation_take(struct sl_activation *a, const struct sl_address *bind)
{
    for (size_t i = 0; i < a->n; i++) {
        if (sl_address_same(&a->items[i].address, bind)) {
            a->items[i].taken = true;
            return &a->items[i];
        }
    }
    return NULL;
}

void sl_activation_warn(const struct sl_activation *a)
{
    char text[160];

    for (size_t i = 0; i < a->n; i++) {
        if (!a->items[i].taken) {
            sl_address_format(&a->items[i].address, text, sizeof(text));
            sl_log(SL_LOG_WARN, "passed_socket_unused", {"name", SL_LOG_STR(a->items[i].name)},
                   {"address", SL_LOG_STR(text)});
        }
    }
}
