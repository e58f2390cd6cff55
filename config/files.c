/* SPDX-License-Identifier: Apache-2.0 */
#include "files.h"

#include <sluiced/slice.h>

#include "proxy/base/alloc.h"
#include "proxy/base/hash.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

enum {
    HEAD_BYTES = 64 * 1024,
    HASHED_MAX_BYTES = 4 * 1024 * 1024
};

static int refuse_errno(const char *shown, const struct sl_pos *pos, struct sl_error *err)
{
    char text[64];

    return sl_error_set(err, SL_ECONFIG, pos, "cannot read \"%.128s\": %s", shown,
                        sl_errno_text(errno, text, sizeof(text)));
}

/* The file's beginning into buf, which has HEAD_BYTES. */
static int read_head(const char *path, const char *shown, const struct sl_pos *pos, char *buf,
                     size_t *len, struct sl_error *err)
{
    size_t used = 0;
    struct stat st;
    int rc = SL_OK;

    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY); /* a pipe must not block */
    if (fd < 0 || fstat(fd, &st) != 0) {
        rc = refuse_errno(shown, pos, err);
        goto out;
    }
    if (!S_ISREG(st.st_mode)) {
        rc =
            sl_error_set(err, SL_ECONFIG, pos, "cannot read \"%.128s\": not a regular file", shown);
        goto out;
    }
    while (used < HEAD_BYTES) {
        ssize_t n = read(fd, buf + used, HEAD_BYTES - used);

        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0) {
            rc = refuse_errno(shown, pos, err);
            goto out;
        }
        if (n == 0) {
            break;
        }
        used += (size_t)n;
    }
    if (used == 0) {
        rc = sl_error_set(err, SL_ECONFIG, pos, "cannot use \"%.128s\": the file is empty", shown);
        goto out;
    }
    *len = used;
out:
    if (fd >= 0) {
        (void)close(fd); /* it was read only: nothing to lose */
    }
    return rc;
}

static bool has_pem(struct sl_slice text)
{
    bool line_begins = true;

    for (size_t i = 0; i < text.len; i++) {
        struct sl_slice rest = {text.ptr + i, text.len - i};

        if (line_begins && sl_slice_starts(rest, SL_SLICE("-----BEGIN "))) {
            return true;
        }
        line_begins = text.ptr[i] == '\n';
    }
    return false;
}

static int check_head(const char *path, const char *shown, const struct sl_pos *pos, bool pem,
                      struct sl_error *err)
{
    char *buf = sl_alloc(HEAD_BYTES);
    size_t len = 0;

    if (buf == NULL) {
        return sl_error_set(err, SL_ENOMEM, NULL, "out of memory reading %.128s", shown);
    }
    int rc = read_head(path, shown, pos, buf, &len, err);
    if (rc == SL_OK && pem && !has_pem((struct sl_slice){buf, len})) {
        rc = sl_error_set(err, SL_ECONFIG, pos,
                          "expected a file in PEM, found no \"-----BEGIN\" line in \"%.128s\"",
                          shown);
    }
    explicit_bzero(buf, HEAD_BYTES); /* it may be a private key */
    sl_free(buf);
    return rc;
}

uint64_t sl_file_hash(const char *path)
{
    char *buf = sl_alloc(HEAD_BYTES);
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    uint64_t hash = 0;
    size_t used = 0;

    while (buf != NULL && fd >= 0 && used < HASHED_MAX_BYTES) {
        ssize_t n = read(fd, buf, HEAD_BYTES);

        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n <= 0) {
            hash = n < 0 ? 0 : hash;
            break;
        }
        hash = sl_hash((struct sl_slice){buf, (size_t)n}, hash);
        used += (size_t)n;
    }
    if (fd >= 0) {
        (void)close(fd); /* it was read only: nothing to lose */
    }
    sl_free(buf);
    return hash;
}

int sl_file_check(const char *path, const char *shown, const struct sl_pos *pos,
                  struct sl_error *err)
{
    return check_head(path, shown, pos, false, err);
}

int sl_file_check_pem(const char *path, const char *shown, const struct sl_pos *pos,
                      struct sl_error *err)
{
    return check_head(path, shown, pos, true, err);
}

int sl_file_check_writable(const char *path, const char *shown, const struct sl_pos *pos,
                           struct sl_error *err)
{
    struct stat st;
    char text[64];
    int errnum = 0;

    if (stat(path, &st) != 0) {
        errnum = errno;
    } else if (!S_ISDIR(st.st_mode)) {
        errnum = ENOTDIR;
    } else if (faccessat(AT_FDCWD, path, W_OK | X_OK, AT_EACCESS) != 0) {
        errnum = errno;
    }
    if (errnum == 0) {
        return SL_OK;
    }
    return sl_error_set(err, SL_ECONFIG, pos,
                        "expected a directory to write in, found \"%.96s\": %s; make it, or give "
                        "us the right",
                        shown, sl_errno_text(errnum, text, sizeof(text)));
}
