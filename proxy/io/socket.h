/* SPDX-License-Identifier: Apache-2.0 */
/*
 * socket: listening, accepting and connecting, TCP and unix, with every option set once.
 *
 * Thread:    any (no shared state)
 * Ownership: fds are the caller's to close
 * Errors:    hot path codes of err.h; SL_ECONFIG with words where a person chose the address
 */
#ifndef SL_IO_SOCKET_H
#define SL_IO_SOCKET_H

#include <sluiced/config.h>
#include <sluiced/defs.h>
#include <sluiced/err.h>

#include <stdbool.h>
#include <stdint.h>

/* A listening socket: non-blocking, TCP_NODELAY (accepted sockets inherit it), SO_REUSEPORT so that
 * each worker has one of its own. client_first: the client speaks first, so accept may wait for
 * its bytes (TCP_DEFER_ACCEPT). A stale unix socket that nobody listens on is replaced.
 * *bound: where it listens, with the port the kernel chose. */
int sl_socket_listen(const struct sl_address *address, bool client_first, int *fd,
                     struct sl_address *bound, struct sl_error *err) SL_MUST_CHECK;

/* Makes a listening socket that somebody else opened like one of ours, as far as that goes, and
 * says where it listens. SL_EPROTO: it is none. */
int sl_socket_adopt(int fd, struct sl_address *bound) SL_MUST_CHECK;

/* One connection of a listening socket, non-blocking. from: who; of a unix peer the host is
 * "unix". SL_AGAIN: none waits; SL_ELIMIT: no file descriptor left. */
int sl_socket_accept(int listen_fd, int *fd, struct sl_address *from) SL_MUST_CHECK;

/* Begins to connect: SL_OK connected at once (unix), SL_AGAIN when *fd becomes writable it is
 * decided (sl_socket_connected), else no fd is left open. */
int sl_socket_connect(const struct sl_address *to, int *fd) SL_MUST_CHECK;

/* How a connect ended, once fd is writable. */
int sl_socket_connected(int fd) SL_MUST_CHECK;

/* Whether an idle connection may be used again: open, and nothing has arrived. */
bool sl_socket_is_quiet(int fd);

/* Whether it was reset, or failed otherwise: an orderly end does not count. */
bool sl_socket_is_broken(int fd);

/* Bytes that the kernel has not got rid of: sent and not acknowledged, or not sent at all. */
uint32_t sl_socket_unsent(int fd);

void sl_socket_close(int fd);

/* The next close sends RST: for a peer that must not take a cut body for a whole one. */
void sl_socket_reset_on_close(int fd);

#endif
