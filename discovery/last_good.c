/* SPDX-License-Identifier: Apache-2.0 */
#include "last_good.h"

#include <sluiced/ip.h>

#include "found.h"
#include "read_file.h"

#include "proxy/base/alloc.h"
#include "proxy/base/hash.h"
#include "proxy/base/text.h"

#include <jansson.h>

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

#define FORMAT 1 /* a reader of another one starts without */
#define FILE_MAX_BYTES ((size_t)64 * 1024 * 1024)
#define SUM_FMT ",\"sum\":\"%016" PRIx64 "\"}\n"
#define SUM_BYTES 27 /* of the text that SUM_FMT gives */

static int refuse_errno(const char *what, const char *path, int errnum, struct sl_error *err)
{
    char text[64];

    return sl_error_set(err, SL_EIO, NULL, "cannot %s %.160s: %s", what, path,
                        sl_errno_text(errnum, text, sizeof(text)));
}

/* The config lets no other names in; nothing here relies on that alone. */
static int path_of(const struct sl_last_good_key *key, char path[PATH_MAX], struct sl_error *err)
{
    int n = snprintf(path, PATH_MAX, "%s/%s.json", key->dir, key->pool);

    if (n < 0 || n >= PATH_MAX || key->pool[0] == '.' || key->pool[0] == '\0' ||
        strchr(key->pool, '/') != NULL)
    {
        return sl_error_set(err, SL_ELIMIT, NULL, "no name of a file: %.128s", key->pool);
    }
    return SL_OK;
}

/* ---- Writing */

static void put_text(struct sl_text *t, const char *key, const char *value)
{
    if (value[0] != '\0') {
        sl_text_printf(t, ",\"%s\":", key);
        sl_text_append_json(t, sl_slice_of(value));
    }
}

static void put_endpoint(struct sl_text *t, const struct sl_found *f)
{
    sl_text_printf(t, "{\"%s\":", f->address.is_unix ? "unix" : "host");
    sl_text_append_json(t, sl_slice_of(f->address.host));
    sl_text_printf(t, ",\"port\":%u,\"weight\":%u", f->address.port, f->weight);
    if (f->draining) {
        sl_text_append_str(t, ",\"draining\":true");
    }
    put_text(t, "uid", f->pod_uid);
    put_text(t, "pod", f->pod_name);
    put_text(t, "zone", f->zone);
    put_text(t, "version", f->version);
    put_text(t, "model", f->model);
    sl_text_append_str(t, "}");
}

static void format(struct sl_text *t, const struct sl_last_good_key *key,
                   const struct sl_found *items, size_t n, uint64_t unix_ms)
{
    sl_text_printf(t,
                   "{\"format\":%d,\"pool\":\"%s\",\"identity\":\"%016" PRIx64
                   "\",\"written_unix_ms\":%" PRIu64 ",\"endpoints\":[",
                   FORMAT, key->pool, key->identity_hash, unix_ms);
    for (size_t i = 0; i < n; i++) {
        sl_text_append_str(t, i > 0 ? ",\n" : "\n");
        put_endpoint(t, &items[i]);
    }
    sl_text_append_str(t, "]");
    if (!t->failed) {
        sl_text_printf(t, SUM_FMT, sl_hash(sl_text_slice(t), FORMAT));
    }
}

static int write_all(int fd, struct sl_slice text)
{
    while (text.len > 0) {
        ssize_t n = write(fd, text.ptr, text.len);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0) {
            return errno;
        }
        text.ptr += n;
        text.len -= (size_t)n;
    }
    return fsync(fd) == 0 ? 0 : errno;
}

/* So that the new name is on the disk too. Where a file system cannot do it, it is so anyway. */
static void sync_folder(const char *dir)
{
    int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    if (fd >= 0) {
        (void)fsync(fd); /* as above */
        (void)close(fd); /* nothing was written to it */
    }
}

/* By a file beside it, which no pool's name can be. */
static int replace(const struct sl_last_good_key *key, const char *path, struct sl_slice text,
                   struct sl_error *err)
{
    char fresh[PATH_MAX];
    int n = snprintf(fresh, sizeof(fresh), "%s/.%s.XXXXXX", key->dir, key->pool);

    if (n < 0 || (size_t)n >= sizeof(fresh)) {
        return refuse_errno("write", path, ENAMETOOLONG, err);
    }
    int fd = mkostemp(fresh, O_CLOEXEC); /* mode 0600 */
    if (fd < 0) {
        return refuse_errno("write", path, errno, err);
    }
    int errnum = write_all(fd, text);
    if (close(fd) != 0 && errnum == 0) {
        errnum = errno;
    }
    if (errnum == 0 && rename(fresh, path) != 0) {
        errnum = errno;
    }
    if (errnum != 0) {
        (void)unlink(fresh); /* there is nothing more to do */
        return refuse_errno("write", path, errnum, err);
    }
    sync_folder(key->dir);
    return SL_OK;
}

int sl_last_good_write(const struct sl_last_good_key *key, const struct sl_found *items, size_t n,
                       uint64_t unix_ms, struct sl_error *err)
{
    char path[PATH_MAX];
    struct sl_text text;
    int rc = path_of(key, path, err);

    if (rc != SL_OK) {
        return rc;
    }
    if (n > SL_LAST_GOOD_MAX_N) {
        return sl_error_set(err, SL_ELIMIT, NULL, "%zu endpoints are too many to keep in %.160s", n,
                            path);
    }
    sl_text_init(&text, FILE_MAX_BYTES);
    format(&text, key, items, n, unix_ms);
    rc = text.failed ? sl_error_set(err, SL_ENOMEM, NULL, "no memory to write %.160s", path)
                     : replace(key, path, sl_text_slice(&text), err);
    sl_text_fini(&text);
    return rc;
}

/* ---- Reading */

/* Whether it is absent, or a text that fits. */
static bool get_text(const json_t *object, const char *key, char *out, size_t size_bytes)
{
    const json_t *value = json_object_get(object, key);
    const char *text = json_string_value(value);

    if (value == NULL) {
        return true;
    }
    if (text == NULL || json_string_length(value) >= size_bytes) {
        return false;
    }
    memcpy(out, text, json_string_length(value) + 1);
    return true;
}

static bool get_u16(const json_t *object, const char *key, uint16_t *out)
{
    const json_t *value = json_object_get(object, key);
    json_int_t n = json_integer_value(value);

    *out = (uint16_t)n;
    return json_is_integer(value) && n >= 0 && n <= UINT16_MAX;
}

static bool get_address(const json_t *object, struct sl_address *a)
{
    char host[sizeof(a->host)] = "";
    struct sl_ip ip;

    a->is_unix = json_object_get(object, "unix") != NULL;
    if (!get_text(object, a->is_unix ? "unix" : "host", host, sizeof(host)) || host[0] == '\0' ||
        !get_u16(object, "port", &a->port))
    {
        return false;
    }
    if (a->is_unix) {
        memcpy(a->host, host, sizeof(host));
        return a->port == 0;
    }
    if (sl_ip_parse(sl_slice_of(host), &ip) != SL_OK) {
        return false;
    }
    (void)sl_ip_format(&ip, a->host); /* gives it back */
    return a->port > 0;
}

static bool get_endpoint(const json_t *object, struct sl_found *f)
{
    f->draining = json_is_true(json_object_get(object, "draining"));
    return get_address(object, &f->address) && get_u16(object, "weight", &f->weight) &&
           get_text(object, "uid", f->pod_uid, sizeof(f->pod_uid)) &&
           get_text(object, "pod", f->pod_name, sizeof(f->pod_name)) &&
           get_text(object, "zone", f->zone, sizeof(f->zone)) &&
           get_text(object, "version", f->version, sizeof(f->version)) &&
           get_text(object, "model", f->model, sizeof(f->model));
}

static const char *check_head(const json_t *root, const struct sl_last_good_key *key)
{
    const char *identity = json_string_value(json_object_get(root, "identity"));
    char wanted[17];

    if (json_integer_value(json_object_get(root, "format")) != FORMAT) {
        return "it is of another format";
    }
    (void)snprintf(wanted, sizeof(wanted), "%016" PRIx64, key->identity_hash); /* fits */
    if (identity == NULL || strcmp(identity, wanted) != 0) {
        return "it is of another source";
    }
    if (json_integer_value(json_object_get(root, "written_unix_ms")) <= 0) {
        return "it does not say when it was written";
    }
    if (!json_is_array(json_object_get(root, "endpoints")) ||
        json_array_size(json_object_get(root, "endpoints")) > SL_LAST_GOOD_MAX_N)
    {
        return "it has no list of endpoints, or too long a one";
    }
    return NULL;
}

static int refuse(const char *path, const char *why, struct sl_error *err)
{
    return sl_error_set(err, SL_EPROTO, NULL, "%.160s: %s", path, why);
}

static int decode(const json_t *root, const char *path, struct sl_found **items, size_t *n,
                  struct sl_error *err)
{
    const json_t *endpoints = json_object_get(root, "endpoints");
    size_t found_n = json_array_size(endpoints);
    struct sl_found *found = sl_alloc_array(found_n > 0 ? found_n : 1, sizeof(*found));

    if (found == NULL) {
        return sl_error_set(err, SL_ENOMEM, NULL, "no memory to read %.160s", path);
    }
    for (size_t i = 0; i < found_n; i++) {
        if (!get_endpoint(json_array_get(endpoints, i), &found[i])) {
            sl_free(found);
            return refuse(path, "an endpoint in it makes no sense", err);
        }
    }
    *n = sl_found_sort(found, found_n);
    *items = found;
    return SL_OK;
}

/* Whether the text ends with the sum of what stands before. */
static bool has_sum(struct sl_slice text)
{
    char wanted[SUM_BYTES + 1];

    if (text.len < SUM_BYTES) {
        return false;
    }
    struct sl_slice body = {text.ptr, text.len - SUM_BYTES};
    (void)snprintf(wanted, sizeof(wanted), SUM_FMT, sl_hash(body, FORMAT)); /* fits */
    return memcmp(body.ptr + body.len, wanted, SUM_BYTES) == 0;
}

static int check_text(struct sl_slice text, const char *path, const struct sl_last_good_key *key,
                      json_t **root, struct sl_error *err)
{
    if (!has_sum(text)) {
        return refuse(path, "it was cut or altered", err);
    }
    *root = json_loadb(text.ptr, text.len, JSON_REJECT_DUPLICATES, NULL);
    const char *why = *root != NULL ? check_head(*root, key) : "it is no JSON";
    return why == NULL ? SL_OK : refuse(path, why, err);
}

int sl_last_good_read(const struct sl_last_good_key *key, struct sl_found **items, size_t *n,
                      uint64_t *unix_ms, struct sl_error *err)
{
    char path[PATH_MAX];
    json_t *root = NULL;
    char *text;
    size_t len;

    int rc = path_of(key, path, err);
    if (rc == SL_OK) {
        rc = sl_read_file(path, FILE_MAX_BYTES, &text, &len, err);
    }
    if (rc != SL_OK) {
        return rc;
    }
    rc = check_text((struct sl_slice){text, len}, path, key, &root, err);
    if (rc == SL_OK) {
        rc = decode(root, path, items, n, err);
    }
    if (rc == SL_OK) {
        *unix_ms = (uint64_t)json_integer_value(json_object_get(root, "written_unix_ms"));
    }
    json_decref(root);
    sl_free(text);
    return rc;
}
