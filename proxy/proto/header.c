/* SPDX-License-Identifier: Apache-2.0 */
#include "header.h"

#include <sluiced/err.h>

#include <string.h>

enum {
    NAME_MAX_BYTES = 24, /* no name of the table is longer */
    SLOTS_N = 128
};

#define SLOT(len, first, before, last) \
    (((len) * 2U + (unsigned)(first) * 55U + (unsigned)(before) * 12U + (unsigned)(last)) % SLOTS_N)

static const uint8_t slots[SLOTS_N] = {
#define X(id, name, first, before, last) \
    [SLOT(sizeof(name) - 1, first, before, last)] = SL_HEADER_##id,
    SL_HEADER_NAMES(X)
#undef X
};

static const struct sl_slice names[] = {[SL_HEADER_OTHER] = {"", 0},
#define X(id, name, first, before, last) [SL_HEADER_##id] = {(name), sizeof(name) - 1},
                                        SL_HEADER_NAMES(X)
#undef X
};

_Static_assert(SL_HEADER_IDS_N <= 64, "sl_header_bit() has 64 bits");

/* Bytes of a token with bit 5 set: upper-case letters become lower-case, the bytes that the names
 * are made of stay, and nothing else becomes one of them. */
#define CASE_BITS 0x2020202020202020ULL

static inline uint64_t load(const char *p, size_t n)
{
    uint64_t v = 0;

    memcpy(&v, p, n);
    return v;
}

static inline uint64_t differ(const char *text, const char *name, size_t n)
{
    return (load(text, n) | CASE_BITS) ^ (load(name, n) | CASE_BITS);
}

/* Words from both ends, of a size known to the compiler and without a loop: a head asks this once
 * a field. */
static inline bool is_name(const char *text, struct sl_slice name)
{
    const char *p = name.ptr;
    size_t len = name.len;

    if (len > 16) {
        return (differ(text, p, 8) | differ(text + 8, p + 8, 8) |
                differ(text + len - 8, p + len - 8, 8)) == 0;
    }
    if (len >= 8) {
        return (differ(text, p, 8) | differ(text + len - 8, p + len - 8, 8)) == 0;
    }
    if (len >= 4) {
        return (differ(text, p, 4) | differ(text + len - 4, p + len - 4, 4)) == 0;
    }
    return (differ(text, p, 2) | differ(text + len - 2, p + len - 2, 2)) == 0;
}

static inline unsigned lower(char c)
{
    return (unsigned char)c | 0x20U;
}

enum sl_header_id sl_header_id_of(struct sl_slice name)
{
    if (name.len < 2 || name.len > NAME_MAX_BYTES) {
        return SL_HEADER_OTHER;
    }
    unsigned id = slots[SLOT(name.len, lower(name.ptr[0]), lower(name.ptr[name.len - 2]),
                             lower(name.ptr[name.len - 1]))];
    bool found = names[id].len == name.len && is_name(name.ptr, names[id]);
    return found ? (enum sl_header_id)id : SL_HEADER_OTHER;
}

struct sl_slice sl_header_name(enum sl_header_id id)
{
    return names[id];
}

const struct sl_header *sl_headers_find(const struct sl_headers *h, enum sl_header_id id)
{
    for (uint32_t i = 0; i < h->n; i++) {
        if (h->items[i].id == id) {
            return &h->items[i];
        }
    }
    return NULL;
}

const struct sl_header *sl_headers_find_name(const struct sl_headers *h, struct sl_slice name)
{
    for (uint32_t i = 0; i < h->n; i++) {
        if (sl_slice_ieq(h->items[i].name, name)) {
            return &h->items[i];
        }
    }
    return NULL;
}

int sl_headers_add(struct sl_headers *h, struct sl_slice name, struct sl_slice value)
{
    if (h->n >= h->capacity_n) {
        return SL_ELIMIT;
    }
    h->items[h->n++] = (struct sl_header){
        .name = name,
        .value = value,
        .id = (uint8_t)sl_header_id_of(name),
    };
    return SL_OK;
}

size_t sl_headers_remove(struct sl_headers *h, struct sl_slice name)
{
    uint32_t kept_n = 0;
    size_t removed_n = 0;

    for (uint32_t i = 0; i < h->n; i++) {
        if (sl_slice_ieq(h->items[i].name, name)) {
            removed_n++;
        } else {
            h->items[kept_n++] = h->items[i];
        }
    }
    h->n = kept_n;
    return removed_n;
}

struct sl_slice sl_slice_rebase(struct sl_slice s, const char *old_base, size_t len,
                                const char *new_base)
{
    /* As numbers: comparing pointers into different objects has no meaning in C. An empty slice
     * may stand just behind the bytes. */
    uintptr_t offset = (uintptr_t)s.ptr - (uintptr_t)old_base;

    if (s.ptr != NULL && (uintptr_t)s.ptr >= (uintptr_t)old_base && offset <= len &&
        s.len <= len - offset)
    {
        s.ptr = new_base + offset;
    }
    return s;
}

void sl_headers_rebase(struct sl_headers *h, const char *old_base, size_t len, const char *new_base)
{
    for (uint32_t i = 0; i < h->n; i++) {
        struct sl_header *f = &h->items[i];
        f->name = sl_slice_rebase(f->name, old_base, len, new_base);
        f->value = sl_slice_rebase(f->value, old_base, len, new_base);
    }
}
