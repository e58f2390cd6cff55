/* SPDX-License-Identifier: Apache-2.0 */
#include <sluiced/config.h>

#include "decode.h"
#include "options.h"

#include "proxy/base/alloc.h"
#include "proxy/base/arena.h"
#include "proxy/base/hash.h"
#include "proxy/base/yaml.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

enum {
    BLOCK_BYTES = 16 * 1024,
    READ_BYTES = 64 * 1024
};

struct sl_config_owner {
    struct sl_config config;
    struct sl_arena arena;
    uint64_t refs_n;
};

static void owner_free(struct sl_config_owner *o)
{
    sl_arena_fini(&o->arena);
    sl_free(o);
}

static int refuse(struct sl_config_errors *errors, int rc, const struct sl_error *err)
{
    sl_errors_add(errors, err);
    return rc;
}

static int refuse_memory(struct sl_config_errors *errors, const char *name)
{
    struct sl_error err;
    int rc = sl_error_set(&err, SL_ENOMEM, NULL, "out of memory reading %s", name);

    return refuse(errors, rc, &err);
}

static int refuse_root(struct sl_decoder *d)
{
    char found[SL_YAML_FOUND_BYTES];
    const struct sl_pos start = {.file = d->file, .key = "yaml", .line = 1, .column = 1};
    const struct sl_pos *pos = d->root != NULL ? sl_decode_at(d, d->root) : &start;

    return sl_decode_report(
        d, sl_error_set(&d->err, SL_ECONFIG, pos, "expected a map of options, found %s",
                        d->root != NULL ? sl_yaml_found(d->root, found) : "an empty file"));
}

static int decode(struct sl_config_owner *o, struct sl_slice text, struct sl_arena *scratch,
                  struct sl_config_errors *errors)
{
    struct sl_decoder d = {
        .file = o->config.file,
        .arena = &o->arena,
        .scratch = scratch,
        .errors = errors,
        .files = &o->config.files,
    };
    const struct sl_yaml_input input = {
        .text = text,
        .file = d.file,
        .root_name = "yaml",
        .refusal = "broken YAML",
    };
    int rc = sl_yaml_read(&input, scratch, &d.root, &d.err);

    if (rc != SL_OK) {
        return sl_decode_report(&d, rc);
    }
    if (d.root == NULL || d.root->kind != SL_YAML_MAP) {
        return refuse_root(&d);
    }
    return sl_decode_section(&d, &sl_section_root, d.root, &o->config);
}

int sl_config_parse(const char *text, size_t len, const char *name, const struct sl_config **out,
                    struct sl_config_errors *errors)
{
    struct sl_slice input = {text, len};
    struct sl_arena scratch;

    errors->n = 0;
    errors->dropped_n = 0;
    struct sl_config_owner *o = sl_alloc(sizeof(*o));
    if (o == NULL) {
        return refuse_memory(errors, name);
    }
    sl_arena_init(&o->arena, BLOCK_BYTES, 0, NULL, 0);
    o->refs_n = 1;
    o->config.owner = o;
    o->config.content_hash = sl_hash(input, 0);
    o->config.file = sl_arena_strdup(&o->arena, sl_slice_of(name));
    if (o->config.file == NULL) {
        owner_free(o);
        return refuse_memory(errors, name);
    }
    sl_arena_init(&scratch, BLOCK_BYTES, 0, NULL, 0);
    int rc = decode(o, input, &scratch, errors);
    sl_arena_fini(&scratch);
    if (rc != SL_OK) {
        owner_free(o);
        return rc;
    }
    *out = &o->config;
    return SL_OK;
}

/* Until the end, or one byte beyond the limit: the parser says that it is too long. Not by the
 * size of the file: a pipe has none. */
static int read_all(int fd, char **text, size_t *len)
{
    size_t capacity = 0;
    size_t used = 0;
    char *buf = NULL;

    while (used <= SL_YAML_MAX_BYTES) {
        if (capacity - used < READ_BYTES) {
            capacity += capacity > READ_BYTES ? capacity : READ_BYTES;
            char *bigger = sl_realloc_array(buf, capacity, 1);

            if (bigger == NULL) {
                sl_free(buf);
                return SL_ENOMEM;
            }
            buf = bigger;
        }
        ssize_t n = read(fd, buf + used, capacity - used);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0) {
            sl_free(buf);
            return SL_EIO;
        }
        if (n == 0) {
            break;
        }
        used += (size_t)n;
    }
    *text = buf;
    *len = used;
    return SL_OK;
}

static int refuse_file(struct sl_config_errors *errors, const char *file, int errnum)
{
    struct sl_error err;
    char text[64];
    int rc = sl_error_set(&err, SL_ECONFIG, NULL, "cannot read %.128s: %s", file,
                          sl_errno_text(errnum, text, sizeof(text)));

    return refuse(errors, rc, &err);
}

int sl_config_load(const char *file, const struct sl_config **out, struct sl_config_errors *errors)
{
    char *text;
    size_t len;

    errors->n = 0;
    errors->dropped_n = 0;
    int fd = open(file, O_RDONLY | O_CLOEXEC | O_NOCTTY);
    if (fd < 0) {
        return refuse_file(errors, file, errno);
    }
    int rc = read_all(fd, &text, &len);
    int errnum = errno;
    (void)close(fd); /* it was read only: nothing to lose */
    if (rc == SL_EIO) {
        return refuse_file(errors, file, errnum);
    }
    if (rc != SL_OK) {
        return refuse_memory(errors, file);
    }
    rc = sl_config_parse(text, len, file, out, errors);
    sl_free(text);
    return rc;
}

const struct sl_config *sl_config_ref(const struct sl_config *c)
{
    c->owner->refs_n++;
    return c;
}

void sl_config_unref(const struct sl_config **c)
{
    if (*c == NULL) {
        return;
    }
    struct sl_config_owner *o = (*c)->owner;

    *c = NULL;
    SL_ASSERT(o->refs_n > 0, "config %s", o->config.file);
    if (--o->refs_n == 0) {
        owner_free(o);
    }
}
