/* SPDX-License-Identifier: Apache-2.0 */
#include "certs.h"

#include "tests/unit/check.h"

#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/x509v3.h>

#include <arpa/inet.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define DAY_S (24L * 3600)

struct certs_ca {
    X509 *cert;
    EVP_PKEY *key;
};

void certs_init(struct certs *c)
{
    (void)snprintf(c->dir, sizeof(c->dir), "/tmp/sluiced-certs-XXXXXX");
    check(mkdtemp(c->dir) != NULL, "no directory for certificates");
}

void certs_fini(struct certs *c)
{
    DIR *d = opendir(c->dir);

    if (d == NULL) {
        return;
    }
    for (const struct dirent *e = readdir(d); e != NULL; e = readdir(d)) {
        (void)unlink(certs_path(c, e->d_name)); /* fails for "." and "..", as it should */
    }
    (void)closedir(d);
    check(rmdir(c->dir) == 0, "%s is not empty", c->dir);
}

const char *certs_path(const struct certs *c, const char *file)
{
    static char ring[256][400];
    static unsigned next;
    char *path = ring[next++ % 256];

    (void)snprintf(path, sizeof(ring[0]), "%s/%s", c->dir, file);
    return path;
}

void certs_write(const struct certs *c, const char *file, const char *text)
{
    FILE *f = fopen(certs_path(c, file), "we");

    check(f != NULL, "cannot write %s", file);
    (void)fputs(text, f);
    check(fclose(f) == 0, "cannot write %s", file);
}

static const char *file_of(const char *name, const char *suffix)
{
    static char file[128];

    (void)snprintf(file, sizeof(file), "%s.%s", name, suffix);
    return file;
}

static void add_extension(X509 *cert, X509 *issuer, int nid, const char *value)
{
    X509V3_CTX v3;

    X509V3_set_ctx(&v3, issuer, cert, NULL, NULL, 0);
    X509_EXTENSION *e = X509V3_EXT_conf_nid(NULL, &v3, nid, value);
    check(e != NULL && X509_add_ext(cert, e, -1) == 1, "extension %s", value);
    X509_EXTENSION_free(e);
}

static GENERAL_NAME *name_of(const char *text, size_t len)
{
    GENERAL_NAME *n = GENERAL_NAME_new();
    const char *value = memchr(text, ':', len);
    size_t value_len = len - (size_t)(value - text) - 1;
    char bytes[4096];

    value++;
    memcpy(bytes, value, value_len);
    bytes[value_len] = '\0';
    if (strncmp(text, "IP:", 3) == 0) {
        ASN1_OCTET_STRING *ip = a2i_IPADDRESS(bytes);
        check(ip != NULL, "no address: %s", bytes);
        GENERAL_NAME_set0_value(n, GEN_IPADD, ip);
        return n;
    }
    for (size_t i = 0; i < value_len; i++) {
        bytes[i] = bytes[i] == '~' ? '\0' : bytes[i];
    }
    ASN1_IA5STRING *s = ASN1_IA5STRING_new();
    check(ASN1_STRING_set(s, bytes, (int)value_len) == 1, "name %s", text);
    GENERAL_NAME_set0_value(n, strncmp(text, "DNS:", 4) == 0 ? GEN_DNS : GEN_URI, s);
    return n;
}

static void add_san(X509 *cert, const char *san)
{
    GENERAL_NAMES *names = sk_GENERAL_NAME_new_null();

    while (*san != '\0') {
        size_t len = strcspn(san, ",");
        check(sk_GENERAL_NAME_push(names, name_of(san, len)) > 0, "name %s", san);
        san += len + (san[len] == ',');
    }
    check(X509_add1_ext_i2d(cert, NID_subject_alt_name, names, 0, 0) == 1, "names");
    GENERAL_NAMES_free(names);
}

static X509 *new_cert(const char *name, EVP_PKEY *key, int from_days, int until_days)
{
    X509 *cert = X509_new();
    uint64_t serial = 0;

    check(RAND_bytes((unsigned char *)&serial, sizeof(serial)) == 1, "serial");
    check(X509_set_version(cert, 2) == 1, "version");
    check(ASN1_INTEGER_set_uint64(X509_get_serialNumber(cert), serial >> 1) == 1, "serial");
    (void)X509_gmtime_adj(X509_getm_notBefore(cert), from_days * DAY_S); /* returns its argument */
    (void)X509_gmtime_adj(X509_getm_notAfter(cert), until_days * DAY_S);
    X509_NAME *subject = X509_get_subject_name(cert);
    check(X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_ASC, (const unsigned char *)name, -1,
                                     -1, 0) == 1,
          "subject");
    check(X509_set_pubkey(cert, key) == 1, "public key");
    return cert;
}

static void sign(X509 *cert, X509 *issuer, EVP_PKEY *key)
{
    check(X509_set_issuer_name(cert, X509_get_subject_name(issuer)) == 1, "issuer");
    check(X509_sign(cert, key, EVP_sha256()) > 0, "signature");
}

static void write_cert(FILE *f, X509 *cert)
{
    check(f != NULL && PEM_write_X509(f, cert) == 1, "cannot write a certificate");
}

struct certs_ca *certs_ca_new(struct certs *c, const char *name, struct certs_ca *issuer)
{
    struct certs_ca *ca = calloc(1, sizeof(*ca));

    check(ca != NULL, "out of memory");
    ca->key = EVP_EC_gen("P-256");
    ca->cert = new_cert(name, ca->key, -10, 3650);
    add_extension(ca->cert, ca->cert, NID_basic_constraints, "critical,CA:TRUE");
    add_extension(ca->cert, ca->cert, NID_key_usage, "critical,keyCertSign,cRLSign");
    sign(ca->cert, issuer != NULL ? issuer->cert : ca->cert,
         issuer != NULL ? issuer->key : ca->key);
    FILE *f = fopen(certs_path(c, file_of(name, "crt")), "we");
    write_cert(f, ca->cert);
    check(fclose(f) == 0, "cannot write %s", name);
    return ca;
}

void certs_ca_free(struct certs_ca *ca)
{
    X509_free(ca->cert);
    EVP_PKEY_free(ca->key);
    free(ca);
}

void certs_issue(struct certs *c, struct certs_ca *ca, const struct certs_leaf *leaf,
                 bool with_chain)
{
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509 *cert = new_cert(leaf->name, key, leaf->from_days, leaf->until_days);
    char secret[64];

    if (leaf->san != NULL) {
        add_san(cert, leaf->san);
    }
    if (leaf->eku != NULL) {
        add_extension(cert, ca->cert, NID_ext_key_usage, leaf->eku);
    }
    sign(cert, ca->cert, ca->key);
    FILE *f = fopen(certs_path(c, file_of(leaf->name, "crt")), "we");
    write_cert(f, cert);
    if (with_chain) {
        write_cert(f, ca->cert);
    }
    check(fclose(f) == 0, "cannot write %s", leaf->name);
    f = fopen(certs_path(c, file_of(leaf->name, "key")), "we");
    (void)snprintf(secret, sizeof(secret), "%s", leaf->secret != NULL ? leaf->secret : "");
    check(f != NULL && PEM_write_PrivateKey(f, key, leaf->secret != NULL ? EVP_aes_128_cbc() : NULL,
                                            NULL, 0, NULL, leaf->secret != NULL ? secret : NULL),
          "cannot write the key of %s", leaf->name);
    check(fclose(f) == 0, "cannot write %s", leaf->name);
    X509_free(cert);
    EVP_PKEY_free(key);
}
