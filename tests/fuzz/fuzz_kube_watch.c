/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The body of a watch: lines, events (or whole lists, a line each), decoded objects, the merged
 * set. Whatever comes, two ways of cutting it give the same set, and the set keeps its promises.
 * First byte: what it is a watch of, and whether that begins with all there is; second: the size
 * of the pieces.
 */
#include "discovery/kubernetes/items.h"
#include "discovery/kubernetes/lines.h"
#include "discovery/kubernetes/merge.h"
#include "discovery/kubernetes/replica.h"
#include "proxy/base/alloc.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct watch {
    struct sl_replica replica;
    size_t piece_bytes;
};

static int on_item(void *arg, struct sl_slice item)
{
    struct watch *w = arg;
    return sl_replica_apply_item(&w->replica, item);
}

/* A list comes in pieces too, and the memory of one object is all that it may take. */
static void apply_list(struct watch *w, struct sl_slice text)
{
    char version[sizeof(w->replica.version)];
    char *next_page = NULL;
    struct sl_items items;
    int rc = SL_OK;

    sl_items_init(&items, 4096);
    sl_replica_begin(&w->replica);
    for (size_t at = 0; rc == SL_OK && at < text.len; at += w->piece_bytes) {
        size_t len = text.len - at < w->piece_bytes ? text.len - at : w->piece_bytes;
        rc = sl_items_feed(&items, (struct sl_slice){text.ptr + at, len}, on_item, w);
    }
    if (rc == SL_OK && sl_items_end(&items, version, sizeof(version), &next_page) == SL_OK) {
        sl_replica_end(&w->replica, version);
        sl_free(next_page);
    }
    sl_items_fini(&items);
}

static int on_line(void *arg, struct sl_slice line)
{
    struct watch *w = arg;
    struct sl_replica_result result;

    if (sl_replica_apply_event(&w->replica, line, &result) != SL_OK) {
        apply_list(w, line);
    } else if (result.event == SL_REPLICA_COMPLETE && w->replica.is_partial) {
        abort();
    }
    return SL_OK; /* a watch would end here; what follows is worth a try */
}

static void run(uint8_t mode, struct sl_slice body, size_t piece_bytes, struct sl_found **items,
                size_t *n)
{
    struct watch w = {.piece_bytes = piece_bytes};
    struct sl_lines lines;
    struct sl_merge_notes notes;
    bool same;

    sl_replica_init(&w.replica, (enum sl_kube_kind)(mode % 3));
    if (mode / 3 % 2 == 1) {
        sl_replica_begin(&w.replica);
    }
    sl_lines_init(&lines, 4096);
    for (size_t at = 0; at < body.len; at += piece_bytes) {
        size_t len = body.len - at < piece_bytes ? body.len - at : piece_bytes;
        if (sl_lines_feed(&lines, (struct sl_slice){body.ptr + at, len}, on_line, &w) != SL_OK) {
            break; /* too long a line, and then it is so for every size of piece */
        }
    }
    const struct sl_merge_part part = {.objects = &w.replica.store};
    const struct sl_merge_input in = {.parts = &part, .parts_n = 1};
    if (sl_merge(&in, NULL, 0, items, n, &same, &notes) != SL_OK) {
        abort();
    }
    sl_lines_fini(&lines);
    sl_replica_fini(&w.replica);
}

static int compare(const struct sl_found *a, const struct sl_found *b)
{
    int rc = strcmp(a->address.host, b->address.host);

    if (rc == 0) {
        rc = (int)a->address.port - (int)b->address.port;
    }
    return rc != 0 ? rc : strcmp(a->pod_uid, b->pod_uid);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct sl_found *whole = NULL;
    struct sl_found *pieces = NULL;
    size_t whole_n = 0;
    size_t pieces_n = 0;

    if (size < 2) {
        return 0;
    }
    const struct sl_slice body = {(const char *)data + 2, size - 2};
    run(data[0], body, SIZE_MAX / 2, &whole, &whole_n);
    run(data[0], body, (size_t)data[1] + 1, &pieces, &pieces_n);
    if (whole_n != pieces_n) {
        abort();
    }
    for (size_t i = 0; i < whole_n; i++) {
        if (memcmp(&whole[i], &pieces[i], sizeof(whole[i])) != 0 || whole[i].address.port == 0 ||
            (i > 0 && compare(&whole[i - 1], &whole[i]) >= 0))
        {
            abort();
        }
    }
    sl_free(whole);
    sl_free(pieces);
    return 0;
}
