/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tls_session: one connection's SSL object as a stream's transport.
 *
 * OpenSSL reads and writes the stream's fd itself. After the handshake neither direction waits for
 * the other: renegotiation is off, and a TLS 1.3 key update is answered by the next write.
 */
#include "tls_internal.h"

#include "proxy/base/alloc.h"

#include <openssl/err.h>

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

#define RECORD_BYTES 16384

static struct sl_tls_session *session_new(struct sl_tls_context *c)
{
    struct sl_tls_session *s = sl_alloc(sizeof(*s));
    if (s == NULL) {
        return NULL;
    }
    s->ssl = SSL_new(c->ssl_ctx);
    if (s->ssl == NULL || SSL_set_app_data(s->ssl, s) != 1) {
        SSL_free(s->ssl);
        sl_free(s);
        ERR_clear_error();
        return NULL;
    }
    s->context = c;
    c->sessions_n++;
    return s;
}

void sl_tls_session_free(struct sl_tls_session *s)
{
    if (s == NULL) {
        return;
    }
    struct sl_tls_context *c = s->context;
    if (!s->failed) {
        /* Else SSL_free takes a connection that ends without goodbyes for a reason to spoil its
         * session, which is kept for the next one. */
        SSL_set_shutdown(s->ssl, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
    }
    SSL_free(s->ssl);
    sl_free(s->peer_name);
    sl_free(s);
    if (--c->sessions_n == 0 && c->orphaned) {
        sl_tls_context_free(c);
    }
}

struct sl_tls_session *sl_tls_accept(struct sl_tls_context *c)
{
    struct sl_tls_session *s = session_new(c);
    if (s == NULL) {
        return NULL;
    }
    s->want = SL_READABLE;
    SSL_set_accept_state(s->ssl);
    return s;
}

struct sl_tls_session *sl_tls_connect(struct sl_tls_context *c, const struct sl_address *address)
{
    struct sl_tls_session *s = session_new(c);
    if (s == NULL) {
        return NULL;
    }
    s->want = SL_WRITABLE;
    s->address = *address;
    SSL_set_connect_state(s->ssl);
    if (c->sni != NULL && SSL_set_tlsext_host_name(s->ssl, c->sni) != 1) {
        sl_tls_session_free(s);
        ERR_clear_error();
        return NULL;
    }
    sl_tls_resumable_offer(s);
    return s;
}

const char *sl_tls_peer_name(const struct sl_tls_session *s)
{
    return s->peer_name != NULL ? s->peer_name : "";
}

const char *sl_tls_failure(const struct sl_tls_session *s)
{
    return s->failure;
}

static void describe(struct sl_tls_session *s, const char *what, const char *detail)
{
    (void)snprintf(s->failure, sizeof(s->failure), "%s%s", what, detail); /* cut where too long */
}

/* Words for what is on top of OpenSSL's error queue. */
static void describe_error(struct sl_tls_session *s)
{
    unsigned long e = ERR_peek_last_error();
    const char *text = ERR_reason_error_string(e);
    int reason = ERR_GET_LIB(e) == ERR_LIB_SSL ? ERR_GET_REASON(e) : 0;

    if (s->failure[0] != '\0') {
        return; /* our own check of names said it better */
    }
    if (reason == SSL_R_CERTIFICATE_VERIFY_FAILED) {
        describe(s, "certificate verify failed: ",
                 X509_verify_cert_error_string(SSL_get_verify_result(s->ssl)));
    } else if (reason == SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE) {
        describe(s, s->context->is_server ? "no client certificate" : "no certificate", "");
    } else if (reason == SSL_R_HTTP_REQUEST) {
        describe(s, "plain HTTP on a TLS port", "");
    } else if (reason >= SSL_AD_REASON_OFFSET) {
        describe(s, "the other side refused: ", text != NULL ? text : "unknown alert");
    } else {
        describe(s, text != NULL ? text : "TLS error", "");
    }
}

static bool is_eof(void)
{
#ifdef SSL_R_UNEXPECTED_EOF_WHILE_READING
    unsigned long e = ERR_peek_last_error();
    return ERR_GET_LIB(e) == ERR_LIB_SSL && ERR_GET_REASON(e) == SSL_R_UNEXPECTED_EOF_WHILE_READING;
#else
    return false;
#endif
}

/* A code for what a call of OpenSSL returned; errno is still its own. */
static int code_of(struct sl_tls_session *s, int rc)
{
    int errnum = errno;
    int error = SSL_get_error(s->ssl, rc);
    int code = SL_ERESET;

    if (error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE) {
        s->want = error == SSL_ERROR_WANT_READ ? SL_READABLE : SL_WRITABLE;
        return SL_AGAIN;
    }
    if (error == SSL_ERROR_ZERO_RETURN) {
        return SL_ECLOSED;
    }
    s->failed = true;
    if (error == SSL_ERROR_SSL && !is_eof()) {
        describe_error(s);
        code = SL_ETLS;
    } else if (error == SSL_ERROR_SYSCALL && errnum != 0) {
        code = sl_err_from_errno(errnum);
        code = code == SL_AGAIN ? SL_ERESET : code; /* left from before: an EOF sets none */
    }
    if (s->failure[0] == '\0') {
        describe(s, "the connection was cut", "");
    }
    ERR_clear_error();
    return code;
}

static void before_call(void)
{
    ERR_clear_error();
    errno = 0;
}

/* Key exchange and signatures of a burst of clients must not hold up those who stream. */
static bool may_step(struct sl_tls_context *c, const struct sl_loop *l)
{
    uint64_t now_us = sl_loop_now_us(l);

    if (c->turn_us != now_us) {
        c->turn_us = now_us;
        c->steps_n = 0;
    }
    return c->steps_n < SL_TLS_HANDSHAKES_A_TURN_N;
}

static uint64_t bytes_moved(SSL *ssl)
{
    BIO *bio = SSL_get_rbio(ssl);
    return BIO_number_read(bio) + BIO_number_written(bio);
}

static int finish(struct sl_tls_session *s)
{
    s->failure[0] = '\0';
    int rc = sl_tls_check_peer(s);
    s->failed = rc != SL_OK;
    return rc;
}

static int tls_handshake(struct sl_stream *stream, int *want)
{
    struct sl_tls_session *s = stream->tls;

    if (!s->attached) {
        if (SSL_set_fd(s->ssl, stream->fd) != 1) {
            ERR_clear_error();
            return SL_ENOMEM;
        }
        s->attached = true;
    }
    if (!may_step(s->context, stream->io.loop)) {
        *want = s->want; /* it is ready, or was never tried: level-triggered, we come back */
        return SL_AGAIN;
    }
    uint64_t before = bytes_moved(s->ssl);
    before_call();
    int rc = SSL_do_handshake(s->ssl);
    int code = rc == 1 ? finish(s) : code_of(s, rc);
    if (bytes_moved(s->ssl) != before && SSL_session_reused(s->ssl) != 1) {
        s->context->steps_n++;
    }
    if (code == SL_AGAIN) {
        *want = s->want;
    } else if (code != SL_OK) {
        s->failed = true;
        if (!s->context->is_server) {
            sl_tls_resumable_drop(s); /* should it have been the session's fault */
        }
    }
    return code == SL_ECLOSED ? SL_ERESET : code;
}

static ssize_t end_reading(struct sl_tls_session *s, int code, size_t done)
{
    s->read_code = code;
    s->told = done == 0;
    return done > 0 ? (ssize_t)done : code;
}

static ssize_t tls_read(struct sl_stream *stream, void *buf, size_t len)
{
    struct sl_tls_session *s = stream->tls;
    size_t done = 0;

    if (s->read_code != SL_OK) {
        s->told = true;
        return s->read_code;
    }
    s->dry = false;
    do {
        size_t room = len - done < INT_MAX ? len - done : INT_MAX;
        before_call();
        int n = SSL_read(s->ssl, (char *)buf + done, (int)room);
        if (n <= 0) {
            int code = code_of(s, n);
            if (code != SL_AGAIN) {
                return end_reading(s, code, done);
            }
            s->dry = true;
            break;
        }
        done += (size_t)n;
    } while (done < len && SSL_has_pending(s->ssl) == 1);
    return done > 0 ? (ssize_t)done : SL_AGAIN;
}

/* Half a record inside is nothing to come back for: only the fd can bring the rest. */
static bool tls_pending(const struct sl_stream *stream)
{
    const struct sl_tls_session *s = stream->tls;

    if (s->read_code != SL_OK) {
        return !s->told;
    }
    return !s->dry && SSL_has_pending(s->ssl) == 1;
}

/* One record at most. A record that was only half sent is the first to go on: the stream offers
 * the same bytes again, from wherever it keeps them now. */
static ssize_t write_record(struct sl_tls_session *s, const char *bytes, size_t len)
{
    before_call();
    int n = SSL_write(s->ssl, bytes, (int)len);
    s->write_waits = false;
    if (n > 0) {
        return n;
    }
    int code = code_of(s, n);
    s->write_waits = code == SL_AGAIN;
    return code == SL_ECLOSED ? SL_ERESET : code;
}

/* Small pieces leave as one record: each costs 22 bytes, a cipher call and a send. */
static ssize_t write_gathered(struct sl_tls_session *s, const struct iovec *iov, int n, size_t skip)
{
    char record[RECORD_BYTES];
    size_t len = 0;

    for (int i = 0; i < n && len < sizeof(record); i++) {
        size_t rest = iov[i].iov_len - skip;
        size_t part = rest < sizeof(record) - len ? rest : sizeof(record) - len;
        if (part > 0) {
            memcpy(record + len, (const char *)iov[i].iov_base + skip, part);
        }
        len += part;
        skip = 0;
    }
    return write_record(s, record, len);
}

static ssize_t tls_writev(struct sl_stream *stream, const struct iovec *iov, int n)
{
    struct sl_tls_session *s = stream->tls;
    size_t taken = 0;
    size_t skip = 0; /* bytes of iov[0] that are taken */

    for (;;) {
        while (n > 0 && skip >= iov->iov_len) {
            skip -= iov->iov_len;
            iov++;
            n--;
        }
        if (n == 0) {
            break;
        }
        size_t rest = iov->iov_len - skip;
        ssize_t sent = 0;
        if (n == 1 || rest >= RECORD_BYTES) {
            sent = write_record(s, (const char *)iov->iov_base + skip,
                                rest < RECORD_BYTES ? rest : RECORD_BYTES);
        } else {
            sent = write_gathered(s, iov, n, skip);
        }
        if (sent < 0) {
            return taken > 0 && sent == SL_AGAIN ? (ssize_t)taken : sent;
        }
        taken += (size_t)sent;
        skip += (size_t)sent;
    }
    return taken > 0 ? (ssize_t)taken : SL_AGAIN;
}

static void tls_shutdown(struct sl_stream *stream)
{
    struct sl_tls_session *s = stream->tls;

    if (!s->failed && !s->write_waits) {
        before_call();
        (void)SSL_shutdown(s->ssl); /* sends it if there is room; nobody waits for an answer */
        ERR_clear_error();
    }
}

static void tls_close(struct sl_stream *stream)
{
    sl_tls_session_free(stream->tls);
    stream->tls = NULL;
}

const struct sl_transport_ops sl_transport_tls = {
    .name = "tls",
    .handshake = tls_handshake,
    .read = tls_read,
    .writev = tls_writev,
    .pending = tls_pending,
    .shutdown = tls_shutdown,
    .close = tls_close,
};
