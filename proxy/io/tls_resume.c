/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tls_resume: sessions that go on without a full handshake: tickets given, sessions kept.
 *
 * Ticket keys are a function of secret, time and the context's identity, computed when needed:
 * no worker shares or rotates anything, and a ticket of another context opens under no key.
 */
#include <sluiced/time.h>

#include "tls_internal.h"

#include "proxy/base/alloc.h"

#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/rand.h>
#ifndef OPENSSL_IS_AWSLC
#include <openssl/core_names.h>
#include <openssl/params.h>
#endif

#include <string.h>

#define EPOCH_MS ((uint64_t)12 * 3600 * 1000)
/* Well below an epoch: a ticket never outlives the keys of this epoch and the one before. */
#define SESSION_MAX_AGE_S 7200
#define IV_BYTES 16
#define KEY_BYTES 32

enum key_use {
    KEY_OF_NAME = 'n',
    KEY_OF_CIPHER = 'c',
    KEY_OF_MAC = 'm',
};

static bool derive(const struct sl_tls_context *c, enum key_use use, uint64_t epoch,
                   unsigned char out[KEY_BYTES])
{
    unsigned char what[1 + 8 + SL_TLS_IDENTITY_BYTES];
    unsigned len = 0;

    what[0] = (unsigned char)use;
    for (int i = 0; i < 8; i++) {
        what[1 + i] = (unsigned char)(epoch >> (56 - 8 * i));
    }
    memcpy(what + 9, c->identity, sizeof(c->identity));
    return HMAC(EVP_sha256(), c->secret.bytes, (int)sizeof(c->secret.bytes), what, sizeof(what),
                out, &len) != NULL &&
           len == KEY_BYTES;
}

#ifdef OPENSSL_IS_AWSLC
#define MAC_CONTEXT HMAC_CTX

static bool mac_init(MAC_CONTEXT *mac, unsigned char key[KEY_BYTES])
{
    return HMAC_Init_ex(mac, key, KEY_BYTES, EVP_sha256(), NULL) == 1;
}
#else
#define MAC_CONTEXT EVP_MAC_CTX

static bool mac_init(MAC_CONTEXT *mac, unsigned char key[KEY_BYTES])
{
    char digest[] = "SHA256"; /* OSSL_PARAM takes no const */
    OSSL_PARAM params[] = {
        OSSL_PARAM_construct_octet_string(OSSL_MAC_PARAM_KEY, key, KEY_BYTES),
        OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, digest, 0),
        OSSL_PARAM_construct_end(),
    };

    return EVP_MAC_CTX_set_params(mac, params) == 1;
}
#endif

static bool key_init(const struct sl_tls_context *c, uint64_t epoch, const unsigned char *iv,
                     EVP_CIPHER_CTX *cipher, MAC_CONTEXT *mac, int encrypt)
{
    unsigned char key[KEY_BYTES];
    bool done = derive(c, KEY_OF_CIPHER, epoch, key) &&
                EVP_CipherInit_ex(cipher, EVP_aes_256_cbc(), NULL, key, iv, encrypt) == 1 &&
                derive(c, KEY_OF_MAC, epoch, key) && mac_init(mac, key);

    OPENSSL_cleanse(key, sizeof(key));
    return done;
}

bool sl_tls_ticket_name(const struct sl_tls_context *c, uint64_t epoch,
                        unsigned char name[SL_TLS_TICKET_NAME_BYTES])
{
    unsigned char bytes[KEY_BYTES];

    if (!derive(c, KEY_OF_NAME, epoch, bytes)) {
        return false;
    }
    memcpy(name, bytes, SL_TLS_TICKET_NAME_BYTES);
    return true;
}

int sl_tls_ticket_age(const struct sl_tls_context *c, uint64_t epoch, const unsigned char *name)
{
    unsigned char ours[SL_TLS_TICKET_NAME_BYTES];

    for (int age = 0; age <= 1; age++) {
        if (sl_tls_ticket_name(c, epoch - (uint64_t)age, ours) &&
            CRYPTO_memcmp(name, ours, sizeof(ours)) == 0)
        {
            return age;
        }
    }
    return -1;
}

/* 1: go on, 2: go on and give a new ticket, 0: not ours, -1: failed. */
static int on_ticket_key(SSL *ssl, unsigned char *name, unsigned char *iv, EVP_CIPHER_CTX *cipher,
                         MAC_CONTEXT *mac, int encrypt)
{
    const struct sl_tls_session *s = SSL_get_app_data(ssl);
    uint64_t epoch = sl_time_unix_ms() / EPOCH_MS;

    if (encrypt == 1) {
        bool ready = RAND_bytes(iv, IV_BYTES) == 1 &&
                     key_init(s->context, epoch, iv, cipher, mac, 1) &&
                     sl_tls_ticket_name(s->context, epoch, name);
        return ready ? 1 : -1;
    }
    int age = sl_tls_ticket_age(s->context, epoch, name);
    if (age < 0) {
        return 0;
    }
    return key_init(s->context, epoch - (uint64_t)age, iv, cipher, mac, 0) ? 1 + age : -1;
}

#ifndef OPENSSL_IS_AWSLC
/* A certificate that ran out or is not wanted any more costs the ticket and not the connection:
 * the full handshake that follows decides. */
static SSL_TICKET_RETURN on_ticket_opened(SSL *ssl, SSL_SESSION *resumed, const unsigned char *name,
                                          size_t name_len, SSL_TICKET_STATUS status, void *arg)
{
    (void)name;
    (void)name_len;
    (void)arg;

    if (status == SSL_TICKET_EMPTY || status == SSL_TICKET_NO_DECRYPT) {
        return SSL_TICKET_RETURN_IGNORE_RENEW;
    }
    if (status != SSL_TICKET_SUCCESS && status != SSL_TICKET_SUCCESS_RENEW) {
        return SSL_TICKET_RETURN_ABORT;
    }
    struct sl_tls_session *s = SSL_get_app_data(ssl);
    if (!sl_tls_peer_is_good(s, SSL_SESSION_get0_peer(resumed))) {
        s->failure[0] = '\0'; /* nothing failed yet */
        return SSL_TICKET_RETURN_IGNORE_RENEW;
    }
    /* RFC 8446 C.4: clients use a ticket of TLS 1.3 once, so each resumption brings a new one. */
    return status == SSL_TICKET_SUCCESS && SSL_version(ssl) < TLS1_3_VERSION
               ? SSL_TICKET_RETURN_USE
               : SSL_TICKET_RETURN_USE_RENEW;
}
#endif

int sl_tls_tickets_init(struct sl_tls_context *c)
{
    /* No cache: it would be one more thing to bound, and workers cannot share it. */
    (void)SSL_CTX_set_session_cache_mode(c->ssl_ctx, SSL_SESS_CACHE_OFF); /* returns the old one */
    (void)SSL_CTX_set_timeout(c->ssl_ctx, SESSION_MAX_AGE_S);             /* the same */
    if (SSL_CTX_set_session_id_context(c->ssl_ctx, c->identity, SL_TLS_IDENTITY_BYTES) != 1) {
        return SL_ENOMEM;
    }
#ifdef OPENSSL_IS_AWSLC
    return SSL_CTX_set_tlsext_ticket_key_cb(c->ssl_ctx, on_ticket_key) == 1 ? SL_OK : SL_ENOMEM;
#else
    if (SSL_CTX_set_tlsext_ticket_key_evp_cb(c->ssl_ctx, on_ticket_key) != 1 ||
        SSL_CTX_set_session_ticket_cb(c->ssl_ctx, NULL, on_ticket_opened, NULL) != 1)
    {
        return SL_ENOMEM;
    }
    return SL_OK;
#endif
}

struct resumable {
    struct sl_list link;
    struct sl_address address;
    SSL_SESSION *session;
};

static struct resumable *find(struct sl_tls_context *c, const struct sl_address *a)
{
    for (struct sl_list *l = c->resumable.next; l != &c->resumable; l = l->next) {
        struct resumable *r = sl_container_of(l, struct resumable, link);
        if (sl_address_same(&r->address, a)) {
            return r;
        }
    }
    return NULL;
}

static void forget(struct sl_tls_context *c, struct resumable *r)
{
    sl_list_unlink(&r->link);
    SSL_SESSION_free(r->session);
    sl_free(r);
    c->resumable_n--;
}

/* Returns 1 where it keeps the reference that it is given. */
static int on_new_session(SSL *ssl, SSL_SESSION *session)
{
    const struct sl_tls_session *s = SSL_get_app_data(ssl);
    struct sl_tls_context *c = s->context;
    struct resumable *r = find(c, &s->address);

    if (r != NULL) {
        forget(c, r);
    } else if (c->resumable_n == SL_TLS_RESUMABLE_MAX_N) {
        forget(c, sl_container_of(c->resumable.prev, struct resumable, link));
    }
    r = sl_alloc(sizeof(*r));
    if (r == NULL) {
        return 0; /* the next connection shakes hands in full */
    }
    r->address = s->address;
    r->session = session;
    sl_list_push_front(&c->resumable, &r->link);
    c->resumable_n++;
    return 1;
}

void sl_tls_resumable_init(struct sl_tls_context *c)
{
    sl_list_init(&c->resumable);
    if (c->is_server) {
        return;
    }
    (void)SSL_CTX_set_session_cache_mode(
        c->ssl_ctx, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL); /* returns the old one */
    SSL_CTX_sess_set_new_cb(c->ssl_ctx, on_new_session);
}

void sl_tls_resumable_fini(struct sl_tls_context *c)
{
    while (!sl_list_empty(&c->resumable)) {
        forget(c, sl_container_of(c->resumable.next, struct resumable, link));
    }
}

/* OpenSSL spoils a TLS 1.3 session once it was used, so each connection gets a copy: a burst to one
 * upstream resumes as a whole. That it can be linked to the burst before tells nobody anything. */
static bool set_session(SSL *ssl, SSL_SESSION *session)
{
#ifdef OPENSSL_IS_AWSLC
    return SSL_set_session(ssl, session) == 1;
#else
    SSL_SESSION *copy = SSL_SESSION_dup(session);
    bool done = copy != NULL && SSL_set_session(ssl, copy) == 1;

    SSL_SESSION_free(copy); /* ssl has a reference of its own */
    return done;
#endif
}

void sl_tls_resumable_offer(struct sl_tls_session *s)
{
    struct resumable *r = find(s->context, &s->address);

    if (r == NULL) {
        return;
    }
    /* What the end of the handshake would refuse is not offered: a full one may do better. */
    if (SSL_SESSION_is_resumable(r->session) != 1 ||
        !sl_tls_peer_is_good(s, SSL_SESSION_get0_peer(r->session)) ||
        !set_session(s->ssl, r->session))
    {
        s->failure[0] = '\0';
        forget(s->context, r);
        return;
    }
    sl_list_unlink(&r->link);
    sl_list_push_front(&s->context->resumable, &r->link);
}

void sl_tls_resumable_drop(struct sl_tls_session *s)
{
    struct resumable *r = find(s->context, &s->address);

    if (r != NULL) {
        forget(s->context, r);
    }
}
