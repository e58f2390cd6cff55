/* SPDX-License-Identifier: Apache-2.0 */
#include "read_file.h"

#include "proxy/base/alloc.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

static int refuse(const char *path, const char *why, struct sl_error *err)
{
    return sl_error_set(err, SL_EIO, NULL, "cannot read %.160s: %s", path, why);
}

static int refuse_errno(const char *path, int errnum, struct sl_error *err)
{
    char text[64];

    return refuse(path, sl_errno_text(errnum, text, sizeof(text)), err);
}

/* Until the end; a byte more than there were says that the file has grown. */
static int read_to_end(int fd, const char *path, char *buf, size_t size_bytes, size_t *len,
                       struct sl_error *err)
{
    size_t used = 0;

    while (used < size_bytes) {
        ssize_t n = read(fd, buf + used, size_bytes - used);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0) {
            return refuse_errno(path, errno, err);
        }
        if (n == 0) {
            *len = used;
            return SL_OK;
        }
        used += (size_t)n;
    }
    return sl_error_set(err, SL_ELIMIT, NULL, "%.160s grew while it was read", path);
}

int sl_read_file(const char *path, size_t max_bytes, char **out, size_t *len, struct sl_error *err)
{
    char *buf = NULL;
    struct stat st;
    int rc;

    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY); /* a pipe must not block */
    if (fd < 0 || fstat(fd, &st) != 0) {
        rc = refuse_errno(path, errno, err);
    } else if (!S_ISREG(st.st_mode)) {
        rc = refuse(path, "not a regular file", err);
    } else if ((uint64_t)st.st_size > max_bytes) {
        rc = sl_error_set(err, SL_ELIMIT, NULL, "expected at most %zu bytes, found %llu in %.160s",
                          max_bytes, (unsigned long long)st.st_size, path);
    } else {
        buf = sl_alloc_raw((size_t)st.st_size + 1);
        rc = buf != NULL ? read_to_end(fd, path, buf, (size_t)st.st_size + 1, len, err)
                         : sl_error_set(err, SL_ENOMEM, NULL, "out of memory reading %.160s", path);
    }
    if (fd >= 0) {
        (void)close(fd); /* it was read only: nothing to lose */
    }
    if (rc != SL_OK) {
        sl_free(buf);
        return rc;
    }
    *out = buf;
    return SL_OK;
}
