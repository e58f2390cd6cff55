/* SPDX-License-Identifier: Apache-2.0 */
/*
 * admin client: one request to the admin listener of a running process, for the verbs of the CLI.
 *
 * Lifetime:  the call's: it runs a loop of its own and blocks, at most 30 s
 * Thread:    the main thread, outside of any loop
 * Errors:    SL_ECONFIG for an address that cannot be asked, SL_EREFUSED where the host says that
 *            nobody listens there, and how else the exchange failed (reset, timeout, ...), each in
 *            words
 * Limits:    64 MiB of answer
 */
#ifndef SL_ADMIN_CLIENT_H
#define SL_ADMIN_CLIENT_H

#include <sluiced/config.h>
#include <sluiced/defs.h>
#include <sluiced/err.h>

#include "proxy/base/text.h"

#include <stdint.h>

/* method: "GET" or "POST"; path: "/status". admin: as configured; an unspecified address
 * (0.0.0.0, ::) is asked at its loopback. *status: of the answer, whatever it is; body is
 * initialised by the caller and appended to. */
int sl_admin_ask(const struct sl_address *admin, const char *method, const char *path,
                 uint16_t *status, struct sl_text *body, struct sl_error *err) SL_MUST_CHECK;

#endif
