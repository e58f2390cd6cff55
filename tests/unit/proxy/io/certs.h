/* SPDX-License-Identifier: Apache-2.0 */
/*
 * certs: CAs and certificates made for a test, as files in a directory of its own.
 *
 * Everything is P-256 and signed on the spot. A failure ends the test.
 */
#ifndef SL_TEST_CERTS_H
#define SL_TEST_CERTS_H

#include <stdbool.h>

struct certs {
    char dir[64];
};

struct certs_ca; /* a key that signs */

struct certs_leaf {
    const char *name; /* of the files: <name>.crt and <name>.key */
    const char *san;  /* "DNS:a,URI:b,IP:c"; '~' stands for a NUL byte; NULL: no extension */
    int from_days;    /* from now on; may be negative */
    int until_days;
    const char *eku;    /* "clientAuth"; NULL: no extension */
    const char *secret; /* passphrase of the key; NULL: none */
};

void certs_init(struct certs *c);
void certs_fini(struct certs *c); /* removes the files */

/* A self-signed CA, written to <name>.crt. issuer: makes it an intermediate of that one. */
struct certs_ca *certs_ca_new(struct certs *c, const char *name, struct certs_ca *issuer);
void certs_ca_free(struct certs_ca *ca);

/* with_chain: the file ends with the CA's own certificate. */
void certs_issue(struct certs *c, struct certs_ca *ca, const struct certs_leaf *leaf,
                 bool with_chain);

/* The path of a file in the directory, from a ring of 256: good for the length of a test. */
const char *certs_path(const struct certs *c, const char *file);

void certs_write(const struct certs *c, const char *file, const char *text);

#endif
