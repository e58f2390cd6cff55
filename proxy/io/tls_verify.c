/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tls_verify: whose certificate it is. OpenSSL verifies the chain; names are compared here.
 *
 * A name is compared with patterns of its own kind only: an address never with a dNSName that
 * spells one, a URI never with a dNSName. The subject's common name is no name (RFC 9525 2).
 */
#include "tls_internal.h"

#include "proxy/base/alloc.h"

#include <openssl/x509v3.h>

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

#define NAME_MAX_BYTES 2048 /* of a SPIFFE ID, the longest that is of use (SPIFFE-ID 2.3) */

enum name_kind {
    NAME_DNS,
    NAME_URI,
    NAME_IP,
    NAME_OTHER,
};

struct name {
    enum name_kind kind;
    char text[NAME_MAX_BYTES + 1];
};

bool sl_tls_is_ip(const char *text)
{
    unsigned char bytes[16];

    return inet_pton(AF_INET, text, bytes) == 1 || inet_pton(AF_INET6, text, bytes) == 1;
}

bool sl_tls_pattern_is_sound(const char *pattern)
{
    const char *star = strchr(pattern, '*');

    if (star == NULL) {
        return pattern[0] != '\0';
    }
    if (strchr(star + 1, '*') != NULL) {
        return false;
    }
    if (star == pattern) {
        return pattern[1] == '.' && pattern[2] != '\0' && strchr(pattern, ':') == NULL;
    }
    /* In the path only: "spiffe://corp*" would trust spiffe://corp.evil. */
    const char *authority = strstr(pattern, "://");
    const char *path = authority != NULL ? strchr(authority + 3, '/') : NULL;
    return star[1] == '\0' && path != NULL && path < star;
}

static bool dns_matches(const char *pattern, const char *name)
{
    if (pattern[0] != '*') {
        return sl_slice_ieq(sl_slice_of(pattern), sl_slice_of(name));
    }
    const char *rest = strchr(name, '.');
    return rest != NULL && rest != name &&
           sl_slice_ieq(sl_slice_of(pattern + 1), sl_slice_of(rest));
}

static bool uri_matches(const char *pattern, const char *name)
{
    size_t fixed = strcspn(pattern, "*");

    if (pattern[fixed] == '\0') {
        return strcmp(pattern, name) == 0;
    }
    return strncmp(pattern, name, fixed) == 0 && name[fixed] != '\0' &&
           strchr(name + fixed, '/') == NULL;
}

bool sl_tls_name_matches(const char *pattern, const char *name, bool is_dns)
{
    bool pattern_is_dns = strchr(pattern, ':') == NULL;

    if (!sl_tls_pattern_is_sound(pattern) || sl_tls_is_ip(pattern) || pattern_is_dns != is_dns) {
        return false;
    }
    return is_dns ? dns_matches(pattern, name) : uri_matches(pattern, name);
}

/* Texts of one address differ ("::1", "0:0::1"), its bytes do not. */
static bool ip_matches(const char *pattern, const char *name)
{
    unsigned char a[16];
    unsigned char b[16];

    if (inet_pton(AF_INET, pattern, a) == 1) {
        return inet_pton(AF_INET, name, b) == 1 && memcmp(a, b, 4) == 0;
    }
    return inet_pton(AF_INET6, pattern, a) == 1 && inet_pton(AF_INET6, name, b) == 1 &&
           memcmp(a, b, 16) == 0;
}

static bool matches(const char *pattern, const struct name *n)
{
    return n->kind == NAME_IP ? ip_matches(pattern, n->text)
                              : sl_tls_name_matches(pattern, n->text, n->kind == NAME_DNS);
}

/* false: a name that lies to whoever compares it, so that the certificate is refused. */
static bool read_text(const ASN1_STRING *from, struct name *out)
{
    const unsigned char *bytes = ASN1_STRING_get0_data(from);
    int len = ASN1_STRING_length(from);

    /* A NUL would end the name for us, but not for the CA that checked it. */
    if (len <= 0 || len > NAME_MAX_BYTES || memchr(bytes, '\0', (size_t)len) != NULL) {
        return false;
    }
    memcpy(out->text, bytes, (size_t)len);
    out->text[len] = '\0';
    return true;
}

static bool read_ip(const ASN1_STRING *from, struct name *out)
{
    int len = ASN1_STRING_length(from);

    return (len == 4 || len == 16) &&
           inet_ntop(len == 4 ? AF_INET : AF_INET6, ASN1_STRING_get0_data(from), out->text,
                     sizeof(out->text)) != NULL;
}

static bool read_name(const GENERAL_NAME *from, struct name *out)
{
    int type = 0;
    const void *value = GENERAL_NAME_get0_value(from, &type);

    switch (type) {
    case GEN_DNS:
        out->kind = NAME_DNS;
        return read_text(value, out);
    case GEN_URI:
        out->kind = NAME_URI;
        return read_text(value, out);
    case GEN_IPADD:
        out->kind = NAME_IP;
        return read_ip(value, out);
    default:
        out->kind = NAME_OTHER;
        return true;
    }
}

static void fail(struct sl_tls_session *s, const char *why)
{
    (void)snprintf(s->failure, sizeof(s->failure), "%s", why); /* cut where too long */
}

static bool remember(struct sl_tls_session *s, const char *name)
{
    char *copy = sl_strdup(name);

    if (copy == NULL) {
        fail(s, "out of memory");
        return false;
    }
    sl_free(s->peer_name);
    s->peer_name = copy;
    return true;
}

/* Without patterns the first name stands for the other side. */
static bool is_wanted(const struct sl_tls_context *c, const struct name *n)
{
    if (n->kind == NAME_OTHER) {
        return false;
    }
    for (size_t i = 0; i < c->san_n; i++) {
        if (matches(c->san[i], n)) {
            return true;
        }
    }
    return c->san_n == 0;
}

/* Reads all names, also past the one wanted: one bad name spoils the certificate. */
static bool find_name(struct sl_tls_session *s, const GENERAL_NAMES *names)
{
    int uris_n = 0;
    bool is_spiffe = false;
    bool found = false;
    struct name n;

    for (int i = 0; i < sk_GENERAL_NAME_num(names); i++) {
        if (!read_name(sk_GENERAL_NAME_value(names, i), &n)) {
            fail(s, "a name of the certificate is malformed");
            return false;
        }
        uris_n += n.kind == NAME_URI;
        is_spiffe |= n.kind == NAME_URI && strncmp(n.text, "spiffe://", 9) == 0;
        if (!found && is_wanted(s->context, &n)) {
            if (!remember(s, n.text)) {
                return false;
            }
            found = true;
        }
    }
    if (is_spiffe && uris_n > 1) { /* X.509-SVID 5.2 */
        fail(s, "a SPIFFE certificate has more than one URI");
        return false;
    }
    if (!found && s->context->san_n > 0) {
        fail(s, s->context->is_server ? "no name of the certificate matches client_san"
                                      : "no name of the certificate matches san");
        return false;
    }
    return true;
}

static bool has_wanted_san(struct sl_tls_session *s, X509 *cert)
{
    int critical = 0;
    GENERAL_NAMES *names = X509_get_ext_d2i(cert, NID_subject_alt_name, &critical, NULL);

    if (names == NULL && critical != -1) {
        fail(s, "the names of the certificate cannot be read");
        return false;
    }
    bool good = find_name(s, names); /* NULL has no elements */
    GENERAL_NAMES_free(names);
    return good;
}

/* Of a client without patterns: the name it asks for, else the address it connects to. */
static bool is_for_upstream(struct sl_tls_session *s, X509 *cert)
{
    const char *sni = s->context->sni;
    const char *wanted = sni != NULL ? sni : s->address.host;
    const unsigned flags =
        X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS | X509_CHECK_FLAG_NEVER_CHECK_SUBJECT;

    if (sni == NULL && s->address.is_unix) {
        fail(s, "a unix socket has no name to find in the certificate: set san or sni");
        return false;
    }
    int rc = sni != NULL ? X509_check_host(cert, sni, strlen(sni), flags, NULL)
                         : X509_check_ip_asc(cert, wanted, 0);
    if (rc != 1) {
        (void)snprintf(s->failure, sizeof(s->failure), "the certificate is not for %s",
                       wanted); /* cut where too long */
        return false;
    }
    return remember(s, wanted);
}

static bool has_right_name(struct sl_tls_session *s, X509 *cert)
{
    if (!s->context->is_server && s->context->san_n == 0) {
        return is_for_upstream(s, cert);
    }
    return has_wanted_san(s, cert);
}

bool sl_tls_peer_is_good(struct sl_tls_session *s, X509 *cert)
{
    if (!s->context->verifies) {
        return true;
    }
    if (cert == NULL) {
        fail(s, s->context->is_server ? "no client certificate" : "no certificate");
        return false;
    }
    if (X509_cmp_current_time(X509_get0_notAfter(cert)) < 0) {
        fail(s, "certificate verify failed: certificate has expired");
        return false;
    }
    if (X509_cmp_current_time(X509_get0_notBefore(cert)) > 0) {
        fail(s, "certificate verify failed: certificate is not yet valid");
        return false;
    }
    return has_right_name(s, cert);
}

int sl_tls_on_verify(int ok, X509_STORE_CTX *store)
{
    if (ok != 1 || X509_STORE_CTX_get_error_depth(store) != 0) {
        return ok; /* the leaf comes last, once the chain is good */
    }
    const SSL *ssl = X509_STORE_CTX_get_ex_data(store, SSL_get_ex_data_X509_STORE_CTX_idx());
    if (!has_right_name(SSL_get_app_data(ssl), X509_STORE_CTX_get_current_cert(store))) {
        X509_STORE_CTX_set_error(store, X509_V_ERR_HOSTNAME_MISMATCH);
        return 0;
    }
    return 1;
}

/* All of it once more at the end, so that nothing that skips the callback (a resumed session, a
 * chain OpenSSL walks in another order) skips the check. */
int sl_tls_check_peer(struct sl_tls_session *s)
{
    if (!s->context->verifies) {
        return SL_OK;
    }
    long result = SSL_get_verify_result(s->ssl);
    if (result != X509_V_OK) {
        (void)snprintf(s->failure, sizeof(s->failure), "certificate verify failed: %s",
                       X509_verify_cert_error_string(result)); /* cut where too long */
        return SL_ETLS;
    }
    X509 *cert = SSL_get_peer_certificate(s->ssl);
    bool good = sl_tls_peer_is_good(s, cert);
    X509_free(cert);
    return good ? SL_OK : SL_ETLS;
}
