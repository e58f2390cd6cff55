/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tls: OpenSSL behind a transport: contexts, sessions, who the other side is.
 *
 * Identity fails closed: where a CA is configured, a peer without a valid certificate of it, or
 * whose names match no pattern, never gets as far as on_open(SL_OK).
 *
 * Lifetime:  context: config generation, one a worker (OpenSSL 3.0 contends on shared ones);
 *            session: its stream's
 * Thread:    context: made on the control thread, then its worker's alone
 * Ownership: the stream owns its session and frees it through the transport
 * Errors:    contexts: SL_ECONFIG with file and reason; sessions: SL_ETLS through the transport
 * Limits:    SL_TLS_HANDSHAKES_A_TURN_N handshake steps of full handshakes a loop turn and context
 *            resumable sessions: one an address, 64 a client context
 * Needs:     SIGPIPE ignored in the process: OpenSSL writes with write(2)
 * Source:    RFC 8446, RFC 5280, RFC 9525 (names), SPIFFE X.509-SVID
 */
#ifndef SL_IO_TLS_H
#define SL_IO_TLS_H

#include <sluiced/config.h>
#include <sluiced/defs.h>
#include <sluiced/err.h>

#include "stream.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SL_TLS_HANDSHAKES_A_TURN_N 4

struct sl_tls_context;
struct sl_tls_session;

extern const struct sl_transport_ops sl_transport_tls;

/* Secret from which session ticket keys of this process derive (HMAC over the 12 h epoch and the
 * context's identity), so that a session resumes on any worker and after a reload, but never under
 * another listener, certificate, client CA or SAN list. */
struct sl_tls_secret {
    unsigned char bytes[32];
};
int sl_tls_secret_new(struct sl_tls_secret *out) SL_MUST_CHECK;

/* Of a listener (name) / of a pool. Reads the files; checks that the key fits the certificate and
 * that the CA file has certificates. A certificate that has expired, is not valid yet or ends
 * within 7 days is used and warned of in the log. conf is not needed after the call; err says which
 * option and file. The handshake chooses http/1.1 by ALPN; a client that offers only others is
 * refused, one that offers none is not. */
int sl_tls_server_context_new(const char *name, const struct sl_tls_config *conf,
                              const struct sl_tls_secret *secret, struct sl_tls_context **out,
                              struct sl_error *err) SL_MUST_CHECK;
int sl_tls_client_context_new(const char *name, const struct sl_tls_config *conf,
                              struct sl_tls_context **out, struct sl_error *err) SL_MUST_CHECK;

/* Accepts NULL. Sessions that are left keep what they need until the last of them ends, so it is
 * called on the thread that they live on. */
void sl_tls_context_free(struct sl_tls_context *c);

/* Hash of all that decides whom a context trusts and shows: connections made under another one are
 * not used again. */
uint64_t sl_tls_context_identity(const struct sl_tls_context *c);

/* A session to hand to sl_stream_open with sl_transport_tls. address: whom a client session
 * connects to: without san patterns its name (conf.sni, else the address) must match. NULL: memory.
 */
struct sl_tls_session *sl_tls_accept(struct sl_tls_context *c) SL_MUST_CHECK;
struct sl_tls_session *sl_tls_connect(struct sl_tls_context *c, const struct sl_address *address)
    SL_MUST_CHECK;

/* For a session that never got a stream; accepts NULL. */
void sl_tls_session_free(struct sl_tls_session *s);

/* The name of the other side's certificate: of a client context without san patterns the one that
 * was asked for (conf.sni, else the address), of a server context without them the certificate's
 * first, else the SAN that matched; "" without one. Valid while the session lives. */
const char *sl_tls_peer_name(const struct sl_tls_session *s);

/* Why the handshake, or a read or write after it, failed, in words for the log; "" when it did
 * not. Valid while the session lives. */
const char *sl_tls_failure(const struct sl_tls_session *s);

/* Whether name, a dNSName (is_dns, case folded) or a URI, matches pattern: exactly, or with one "*"
 * at the beginning of a DNS name ("*.prod.svc": one label) or at the end of a URI's path
 * ("spiffe://corp/ns/prod/sa/" "*": any non-empty rest without "/"). A "*" in the certificate is a
 * letter like any other. Addresses are not names: a pattern that is one matches iPAddress only.
 * Pure. */
bool sl_tls_name_matches(const char *pattern, const char *name, bool is_dns);

#endif
