/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tls_context: what a listener or a pool shows and trusts, read from files into an SSL_CTX.
 *
 * Each worker has a context of its own, read anew: OpenSSL 3.0 contends on the reference counts
 * and locks of a shared one. Nothing is read from OpenSSL's default paths.
 */
#include <sluiced/log.h>
#include <sluiced/time.h>

#include "tls_internal.h"

#include "proxy/base/alloc.h"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define FILE_MAX_BYTES ((size_t)1024 * 1024)
#define EXPIRY_WARNING_S ((time_t)7 * 24 * 3600)

/* Forward secret and authenticated, the cheapest first. */
#define CIPHERS_TLS12                                            \
    "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:" \
    "ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-RSA-AES256-GCM-SHA384:" \
    "ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305"
#define CIPHERS_TLS13 "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256"

static const unsigned char alpn_http1[] = "\x08http/1.1";

struct pem {
    const char *what; /* option, for messages */
    const char *path; /* NULL: not configured */
    unsigned char *bytes;
    size_t len;
};

struct files {
    struct pem cert;
    struct pem key;
    struct pem ca;
};

static int cannot_read(const struct pem *p, int errnum, struct sl_error *err)
{
    char reason[64];

    return sl_error_set(err, SL_ECONFIG, NULL, "%s %s: cannot read it: %s", p->what, p->path,
                        sl_errno_text(errnum, reason, sizeof(reason)));
}

static int openssl_failed(const struct pem *p, const char *what, struct sl_error *err)
{
    const char *reason = ERR_reason_error_string(ERR_peek_last_error());

    return sl_error_set(err, SL_ECONFIG, NULL, "%s %s: %s: %s", p->what, p->path, what,
                        reason != NULL ? reason : "unknown reason");
}

static void pem_fini(struct pem *p)
{
    if (p->bytes != NULL) {
        OPENSSL_cleanse(p->bytes, p->len);
        sl_free(p->bytes);
    }
    p->bytes = NULL;
}

static int read_all(struct pem *p, int fd, struct sl_error *err)
{
    struct stat st;
    size_t len = 0;

    if (fstat(fd, &st) != 0) {
        return cannot_read(p, errno, err);
    }
    if (!S_ISREG(st.st_mode) || st.st_size <= 0 || (uintmax_t)st.st_size > FILE_MAX_BYTES) {
        return sl_error_set(err, SL_ECONFIG, NULL,
                            "%s %s: expected a file in PEM of 1 byte to %zu KiB", p->what, p->path,
                            FILE_MAX_BYTES / 1024);
    }
    p->len = (size_t)st.st_size;
    p->bytes = sl_alloc(p->len);
    if (p->bytes == NULL) {
        return sl_error_set(err, SL_ENOMEM, NULL, "out of memory");
    }
    while (len < p->len) {
        ssize_t n = read(fd, p->bytes + len, p->len - len);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n <= 0) { /* 0: cut while we read; who writes it will have us read again */
            return cannot_read(p, n < 0 ? errno : EIO, err);
        }
        len += (size_t)n;
    }
    return SL_OK;
}

static int pem_read(struct pem *p, struct sl_error *err)
{
    if (p->path == NULL) {
        return SL_OK;
    }
    int fd = open(p->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* a FIFO must not hold us up */
    if (fd < 0) {
        return cannot_read(p, errno, err);
    }
    int rc = read_all(p, fd, err);
    (void)close(fd); /* was only read */
    return rc;
}

/* A passphrase would have to be asked for on a terminal.
 * NOLINTNEXTLINE(readability-non-const-parameter): the type is OpenSSL's */
static int refuse_passphrase(char *buf, int size, int writing, void *asked)
{
    (void)buf;
    (void)size;
    (void)writing;
    *(bool *)asked = true;
    return -1;
}

/* The next certificate, NULL at the end (*rc SL_OK) or when it is broken. */
static X509 *next_cert(const struct pem *p, BIO *bio, int *rc, struct sl_error *err)
{
    bool asked = false;

    ERR_clear_error();
    X509 *cert = PEM_read_bio_X509(bio, NULL, refuse_passphrase, &asked);
    unsigned long e = ERR_peek_last_error();
    *rc = SL_OK;
    if (cert == NULL &&
        !(ERR_GET_LIB(e) == ERR_LIB_PEM && ERR_GET_REASON(e) == PEM_R_NO_START_LINE))
    {
        *rc = openssl_failed(p, "a certificate in it is broken", err);
    }
    ERR_clear_error();
    return cert;
}

/* Calls take for each certificate, with its index; take does not keep cert without a reference. */
static int each_cert(struct sl_tls_context *c, const struct pem *p,
                     int (*take)(struct sl_tls_context *c, X509 *cert, size_t idx),
                     struct sl_error *err)
{
    size_t n = 0;
    int rc = SL_OK;
    BIO *bio = BIO_new_mem_buf(p->bytes, (int)p->len);

    if (bio == NULL) {
        return sl_error_set(err, SL_ENOMEM, NULL, "out of memory");
    }
    for (;;) {
        X509 *cert = next_cert(p, bio, &rc, err);
        if (cert == NULL) {
            break;
        }
        int taken = take(c, cert, n++);
        X509_free(cert);
        if (taken != 1) {
            rc = openssl_failed(p, "a certificate in it cannot be used", err);
            break;
        }
    }
    if (rc == SL_OK && n == 0) {
        rc = sl_error_set(err, SL_ECONFIG, NULL, "%s %s: no certificate in it", p->what, p->path);
    }
    BIO_free(bio);
    return rc;
}

static int take_own(struct sl_tls_context *c, X509 *cert, size_t idx)
{
    return idx == 0 ? SSL_CTX_use_certificate(c->ssl_ctx, cert)
                    : (int)SSL_CTX_add1_chain_cert(c->ssl_ctx, cert);
}

static int take_ca(struct sl_tls_context *c, X509 *cert, size_t idx)
{
    (void)idx;
    if (c->is_server && SSL_CTX_add_client_CA(c->ssl_ctx, cert) != 1) {
        return 0;
    }
    return X509_STORE_add_cert(SSL_CTX_get_cert_store(c->ssl_ctx), cert);
}

static void log_expiry(const char *name, const char *path, const char *event, const ASN1_TIME *when)
{
    struct tm tm;
    char text[32] = "unknown";

    if (ASN1_TIME_to_tm(when, &tm) == 1) {
        (void)strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", &tm); /* has room */
    }
    sl_log(SL_LOG_WARN, event, {"name", SL_LOG_STR(name)}, {"file", SL_LOG_STR(path)},
           {"when", SL_LOG_STR(text)});
}

/* A warning and no refusal: an expired certificate that is renewed in a minute must not keep a
 * whole configuration from being applied. */
static void warn_of_dates(const char *name, const char *path, const X509 *cert)
{
    const ASN1_TIME *after = X509_get0_notAfter(cert);
    const ASN1_TIME *before = X509_get0_notBefore(cert);
    time_t soon = (time_t)(sl_time_unix_ms() / 1000) + EXPIRY_WARNING_S;

    if (X509_cmp_current_time(after) < 0) {
        log_expiry(name, path, "certificate_expired", after);
    } else if (X509_cmp_time(after, &soon) < 0) {
        log_expiry(name, path, "certificate_expires_soon", after);
    }
    if (X509_cmp_current_time(before) > 0) {
        log_expiry(name, path, "certificate_not_yet_valid", before);
    }
}

static int use_key(struct sl_tls_context *c, const struct files *f, struct sl_error *err)
{
    bool asked = false;
    int rc = SL_OK;
    BIO *bio = BIO_new_mem_buf(f->key.bytes, (int)f->key.len);

    if (bio == NULL) {
        return sl_error_set(err, SL_ENOMEM, NULL, "out of memory");
    }
    ERR_clear_error();
    EVP_PKEY *key = PEM_read_bio_PrivateKey(bio, NULL, refuse_passphrase, &asked);
    if (key == NULL && asked) {
        rc = sl_error_set(err, SL_ECONFIG, NULL,
                          "%s %s: protected by a passphrase; expected a key without one",
                          f->key.what, f->key.path);
    } else if (key == NULL) {
        rc = sl_error_set(err, SL_ECONFIG, NULL, "%s %s: no private key in it", f->key.what,
                          f->key.path);
    } else if (X509_check_private_key(SSL_CTX_get0_certificate(c->ssl_ctx), key) != 1) {
        rc = sl_error_set(err, SL_ECONFIG, NULL, "%s %s does not fit %s %s", f->key.what,
                          f->key.path, f->cert.what, f->cert.path);
    } else if (SSL_CTX_use_PrivateKey(c->ssl_ctx, key) != 1) {
        rc = openssl_failed(&f->key, "cannot be used", err);
    }
    ERR_clear_error();
    EVP_PKEY_free(key);
    BIO_free(bio);
    return rc;
}

static int use_files(struct sl_tls_context *c, const char *name, const struct files *f,
                     struct sl_error *err)
{
    int rc = SL_OK;

    if (f->cert.path != NULL) {
        rc = each_cert(c, &f->cert, take_own, err);
        if (rc == SL_OK) {
            rc = use_key(c, f, err);
        }
        if (rc == SL_OK) {
            warn_of_dates(name, f->cert.path, SSL_CTX_get0_certificate(c->ssl_ctx));
        }
    }
    if (rc == SL_OK && f->ca.path != NULL) {
        rc = each_cert(c, &f->ca, take_ca, err);
    }
    if (rc != SL_OK || !c->verifies) {
        return rc;
    }
    /* Whatever a person put into the file is trusted, an intermediate too. */
    (void)X509_STORE_set_flags(SSL_CTX_get_cert_store(c->ssl_ctx),
                               X509_V_FLAG_PARTIAL_CHAIN); /* cannot fail */
    SSL_CTX_set_verify(c->ssl_ctx, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT,
                       sl_tls_on_verify);
    return SL_OK;
}

static int check_conf(const struct sl_tls_config *conf, bool is_server, struct sl_error *err)
{
    if (is_server && (conf->cert == NULL || conf->key == NULL)) {
        return sl_error_set(err, SL_ECONFIG, NULL, "tls of a listener needs cert and key");
    }
    if (!is_server && conf->ca == NULL) {
        return sl_error_set(err, SL_ECONFIG, NULL, "tls of a pool needs ca");
    }
    if ((conf->cert == NULL) != (conf->key == NULL)) {
        return sl_error_set(err, SL_ECONFIG, NULL, "cert and key are of use together only");
    }
    if (conf->ca == NULL && conf->san.n > 0) {
        return sl_error_set(err, SL_ECONFIG, NULL,
                            "client_san needs client_ca: nobody is asked for a certificate");
    }
    if (conf->sni != NULL && (conf->sni[0] == '\0' || sl_tls_is_ip(conf->sni))) {
        return sl_error_set(err, SL_ECONFIG, NULL, "sni \"%s\": expected a DNS name", conf->sni);
    }
    for (size_t i = 0; i < conf->san.n; i++) {
        if (!sl_tls_pattern_is_sound(conf->san.items[i])) {
            return sl_error_set(err, SL_ECONFIG, NULL,
                                "name pattern \"%s\": expected a DNS name, an IP address or a URI; "
                                "\"*.\" may start a DNS name, \"*\" may end a URI's path",
                                conf->san.items[i]);
        }
    }
    return SL_OK;
}

/* With its length, so that no two lists of parts give the same bytes. */
static bool mix(EVP_MD_CTX *md, const void *bytes, size_t len)
{
    uint64_t n = len;

    return EVP_DigestUpdate(md, &n, sizeof(n)) == 1 && EVP_DigestUpdate(md, bytes, len) == 1;
}

static bool mix_text(EVP_MD_CTX *md, const char *text)
{
    return mix(md, text != NULL ? text : "", text != NULL ? strlen(text) : 0);
}

static bool hash_identity(struct sl_tls_context *c, const char *name,
                          const struct sl_tls_config *conf, const struct files *f)
{
    EVP_MD_CTX *md = EVP_MD_CTX_new();
    bool done = md != NULL && EVP_DigestInit_ex(md, EVP_sha256(), NULL) == 1 &&
                mix_text(md, c->is_server ? "accepts" : "connects") && mix_text(md, name) &&
                mix(md, f->cert.bytes, f->cert.len) && mix(md, f->ca.bytes, f->ca.len) &&
                mix_text(md, conf->sni) && mix(md, &conf->min_version, sizeof(conf->min_version));

    for (size_t i = 0; done && i < conf->san.n; i++) {
        done = mix_text(md, conf->san.items[i]);
    }
    done = done && EVP_DigestFinal_ex(md, c->identity, NULL) == 1;
    EVP_MD_CTX_free(md);
    return done;
}

/* RFC 7301 3.2: no protocol in common ends the handshake. */
static int on_alpn(SSL *ssl, const unsigned char **out, unsigned char *out_len,
                   const unsigned char *in, unsigned in_len, void *arg)
{
    (void)ssl;
    (void)arg;

    for (unsigned at = 0; at < in_len && in_len - at > in[at]; at += 1U + in[at]) {
        if (in[at] == alpn_http1[0] && memcmp(in + at + 1, alpn_http1 + 1, in[at]) == 0) {
            *out = in + at + 1;
            *out_len = in[at];
            return SSL_TLSEXT_ERR_OK;
        }
    }
    return SSL_TLSEXT_ERR_ALERT_FATAL;
}

static bool set_options(struct sl_tls_context *c, const struct sl_tls_config *conf)
{
    uint16_t min_version = conf->min_version > TLS1_2_VERSION ? conf->min_version : TLS1_2_VERSION;

    /* Both return the new set. */
    (void)SSL_CTX_set_options(c->ssl_ctx, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION |
                                              SSL_OP_CIPHER_SERVER_PREFERENCE);
    (void)SSL_CTX_set_mode(c->ssl_ctx, SSL_MODE_ENABLE_PARTIAL_WRITE |
                                           SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
                                           SSL_MODE_RELEASE_BUFFERS);
    SSL_CTX_set_read_ahead(c->ssl_ctx, 1); /* one recv a record, and not head and body apart */
    if (c->is_server) {
        SSL_CTX_set_alpn_select_cb(c->ssl_ctx, on_alpn, NULL);
    } else if (SSL_CTX_set_alpn_protos(c->ssl_ctx, alpn_http1, sizeof(alpn_http1) - 1) != 0) {
        return false;
    }
    return SSL_CTX_set_min_proto_version(c->ssl_ctx, min_version) == 1 &&
           SSL_CTX_set_cipher_list(c->ssl_ctx, CIPHERS_TLS12) == 1 &&
           SSL_CTX_set_ciphersuites(c->ssl_ctx, CIPHERS_TLS13) == 1;
}

static int copy_names(struct sl_tls_context *c, const struct sl_tls_config *conf)
{
    if (conf->sni != NULL) {
        c->sni = sl_strdup(conf->sni);
        if (c->sni == NULL) {
            return SL_ENOMEM;
        }
    }
    c->san = (char **)sl_alloc_array(conf->san.n, sizeof(*c->san));
    if (c->san == NULL && conf->san.n > 0) {
        return SL_ENOMEM;
    }
    for (; c->san_n < conf->san.n; c->san_n++) {
        c->san[c->san_n] = sl_strdup(conf->san.items[c->san_n]);
        if (c->san[c->san_n] == NULL) {
            return SL_ENOMEM;
        }
    }
    return SL_OK;
}

static int fill(struct sl_tls_context *c, const char *name, const struct sl_tls_config *conf,
                const struct files *f, struct sl_error *err)
{
    c->ssl_ctx = SSL_CTX_new(c->is_server ? TLS_server_method() : TLS_client_method());
    if (c->ssl_ctx == NULL || !set_options(c, conf) || copy_names(c, conf) != SL_OK ||
        !hash_identity(c, name, conf, f))
    {
        ERR_clear_error();
        return sl_error_set(err, SL_ENOMEM, NULL, "out of memory");
    }
    sl_tls_resumable_init(c);
    if (c->is_server && sl_tls_tickets_init(c) != SL_OK) {
        return sl_error_set(err, SL_ENOMEM, NULL, "out of memory");
    }
    return use_files(c, name, f, err);
}

static int context_new(const char *name, const struct sl_tls_config *conf,
                       const struct sl_tls_secret *secret, struct sl_tls_context **out,
                       struct sl_error *err)
{
    bool is_server = secret != NULL;
    struct files f = {
        .cert = {.what = "cert", .path = conf->cert},
        .key = {.what = "key", .path = conf->key},
        .ca = {.what = is_server ? "client_ca" : "ca", .path = conf->ca},
    };
    int rc = check_conf(conf, is_server, err);
    if (rc != SL_OK) {
        return rc;
    }
    struct sl_tls_context *c = sl_alloc(sizeof(*c));
    if (c == NULL) {
        return sl_error_set(err, SL_ENOMEM, NULL, "out of memory");
    }
    sl_list_init(&c->resumable);
    c->is_server = is_server;
    c->verifies = conf->ca != NULL;
    if (is_server) {
        c->secret = *secret;
    }
    rc = pem_read(&f.cert, err);
    rc = rc == SL_OK ? pem_read(&f.key, err) : rc;
    rc = rc == SL_OK ? pem_read(&f.ca, err) : rc;
    rc = rc == SL_OK ? fill(c, name, conf, &f, err) : rc;
    pem_fini(&f.cert);
    pem_fini(&f.key);
    pem_fini(&f.ca);
    if (rc != SL_OK) {
        sl_tls_context_free(c);
        return rc;
    }
    *out = c;
    return SL_OK;
}

int sl_tls_secret_new(struct sl_tls_secret *out)
{
    /* The kernel's, and not OpenSSL's, which would be set up for that, at 2 MiB, where there is no
     * TLS at all. So few bytes come whole or not at all (getrandom(2)). */
    ssize_t n = getrandom(out->bytes, sizeof(out->bytes), 0);

    return n == (ssize_t)sizeof(out->bytes) ? SL_OK : SL_EIO;
}

int sl_tls_server_context_new(const char *name, const struct sl_tls_config *conf,
                              const struct sl_tls_secret *secret, struct sl_tls_context **out,
                              struct sl_error *err)
{
    SL_ASSERT(secret != NULL, "listener %s has no secret", name);
    return context_new(name, conf, secret, out, err);
}

int sl_tls_client_context_new(const char *name, const struct sl_tls_config *conf,
                              struct sl_tls_context **out, struct sl_error *err)
{
    return context_new(name, conf, NULL, out, err);
}

void sl_tls_context_free(struct sl_tls_context *c)
{
    if (c == NULL) {
        return;
    }
    if (c->sessions_n > 0) {
        c->orphaned = true; /* the last session to end comes back here */
        return;
    }
    sl_tls_resumable_fini(c);
    SSL_CTX_free(c->ssl_ctx);
    for (size_t i = 0; i < c->san_n; i++) {
        sl_free(c->san[i]);
    }
    sl_free((void *)c->san);
    sl_free(c->sni);
    OPENSSL_cleanse(&c->secret, sizeof(c->secret));
    sl_free(c);
}

uint64_t sl_tls_context_identity(const struct sl_tls_context *c)
{
    uint64_t first;

    memcpy(&first, c->identity, sizeof(first));
    return first;
}
