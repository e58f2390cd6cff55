/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tls_internal: what the tls_*.c files share, and the only header of ours that knows OpenSSL.
 *
 * Names here follow tls.h: a server context accepts (of a listener), a client context connects.
 */
#ifndef SL_IO_TLS_INTERNAL_H
#define SL_IO_TLS_INTERNAL_H

#include "tls.h"

#include "proxy/base/list.h"

#include <openssl/ssl.h>

#define SL_TLS_IDENTITY_BYTES 32
#define SL_TLS_RESUMABLE_MAX_N 64 /* sessions a client context keeps, one an address */

struct sl_tls_context {
    SSL_CTX *ssl_ctx;
    bool is_server;
    bool verifies; /* a CA is configured */
    uint32_t sessions_n;
    bool orphaned;    /* freed by its owner: the last session takes it along */
    uint64_t turn_us; /* of the loop turn that steps_n counts in */
    uint32_t steps_n;
    uint32_t resumable_n;
    struct sl_list resumable;    /* of a client, the last used first */
    struct sl_tls_secret secret; /* of a server */
    unsigned char identity[SL_TLS_IDENTITY_BYTES];
    char *sni; /* NULL: none */
    char **san;
    size_t san_n;
};

struct sl_tls_session {
    struct sl_tls_context *context;
    SSL *ssl;
    char *peer_name;  /* NULL: none yet */
    int want;         /* what the handshake waits for */
    int read_code;    /* how reading ended; SL_OK: it has not */
    bool attached;    /* ssl knows the fd */
    bool told;        /* read_code was returned */
    bool dry;         /* OpenSSL asked for more than it holds: the fd will say when to go on */
    bool failed;      /* a TLS error: nothing more may be sent */
    bool write_waits; /* a record is half sent: no goodbye in its middle */
    struct sl_address address; /* of a client */
    char failure[192];
};

/* tls_verify.c */

/* Whether a pattern is one that sl_tls_name_matches may ever match. */
bool sl_tls_pattern_is_sound(const char *pattern);
bool sl_tls_is_ip(const char *text);

/* X509_STORE_CTX verify callback: adds our names to OpenSSL's chain, so that the alert goes out. */
int sl_tls_on_verify(int ok, X509_STORE_CTX *store);

/* Whether cert may (still) speak for the other side: there, within its dates, and named right.
 * Sets failure when not, peer_name when so. */
bool sl_tls_peer_is_good(struct sl_tls_session *s, X509 *cert);

/* Of the finished handshake, resumed or not: SL_OK, or SL_ETLS with the failure set. */
int sl_tls_check_peer(struct sl_tls_session *s) SL_MUST_CHECK;

/* tls_resume.c */

/* A ticket names the key that it is locked with; keys change with the epoch (12 h). */
#define SL_TLS_TICKET_NAME_BYTES 16
bool sl_tls_ticket_name(const struct sl_tls_context *c, uint64_t epoch,
                        unsigned char name[SL_TLS_TICKET_NAME_BYTES]);

/* How many epochs ago the key was the current one: 0 or 1, -1 when it is none of c's. */
int sl_tls_ticket_age(const struct sl_tls_context *c, uint64_t epoch, const unsigned char *name);

/* Tickets of a server; c->secret and c->identity are set. */
int sl_tls_tickets_init(struct sl_tls_context *c) SL_MUST_CHECK;

/* Kept sessions of a client. */
void sl_tls_resumable_init(struct sl_tls_context *c);
void sl_tls_resumable_fini(struct sl_tls_context *c);
void sl_tls_resumable_offer(struct sl_tls_session *s); /* before the handshake */
void sl_tls_resumable_drop(struct sl_tls_session *s);  /* after one that failed */

#endif
