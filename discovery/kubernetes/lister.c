/* SPDX-License-Identifier: Apache-2.0 */
/*
 * lister: all there is, by a plain list: as the server has it at hand for a cold start, as it is
 * true, by pages, from then on.
 */
#include "list_watch_internal.h"

#include "proxy/base/alloc.h"

static const struct sl_fetch_ops list_ops;

void sl_list_watch_begin_list(struct sl_list_watch *lw)
{
    struct sl_kube_request r = {
        .params = {{"labelSelector", lw->conf.selector},
                   {"fieldSelector", lw->conf.field_selector},
                   [4] = {"continue", lw->next_page}},
        .total_ms = lw->times->list_total_ms,
        .idle_ms = lw->times->list_idle_ms,
    };

    if (lw->is_latest || lw->conf.once) {
        r.params[2].name = "limit";
        r.params[2].value = lw->conf.once ? "1" : "500";
    } else {
        r.params[2].name = "resourceVersion";
        r.params[2].value = "0";
        r.params[3].name = "resourceVersionMatch";
        r.params[3].value = "NotOlderThan";
    }
    if (lw->next_page == NULL) {
        sl_replica_begin(&lw->replica);
    }
    lw->phase = SL_PHASE_LIST;
    lw->phase_at_ms = sl_loop_now_ms(lw->loop);
    sl_items_fini(&lw->items);
    sl_items_init(&lw->items, SL_OBJECT_MAX_BYTES);
    sl_list_watch_request(lw, &r, &list_ops);
}

static void fail_page(struct sl_list_watch *lw, int rc)
{
    sl_list_watch_fail(lw, true, 0,
                       rc == SL_ENOMEM   ? "no memory for a list"
                       : rc == SL_ELIMIT ? "an object of the list is larger than 8 MiB"
                                         : "the answer is not a list");
}

static int on_item(void *arg, struct sl_slice item)
{
    struct sl_list_watch *lw = arg;
    return sl_replica_apply_item(&lw->replica, item);
}

static void on_head(void *arg, uint16_t status)
{
    (void)status;
    sl_list_watch_note_warning(arg);
}

static void on_data(void *arg, uint16_t status, struct sl_slice data)
{
    struct sl_list_watch *lw = arg;

    if (status != 200) {
        sl_text_append(&lw->body, data); /* cut where it is full */
        return;
    }
    int rc = sl_items_feed(&lw->items, data, on_item, lw);
    if (rc != SL_OK) {
        fail_page(lw, rc);
    }
}

static void on_page(struct sl_list_watch *lw)
{
    char version[sizeof(lw->replica.version)];
    char *next_page = NULL;
    int rc = sl_items_end(&lw->items, version, sizeof(version), &next_page);

    if (rc != SL_OK) {
        fail_page(lw, rc);
        return;
    }
    sl_items_fini(&lw->items);
    sl_free(lw->next_page);
    lw->next_page = next_page;
    if (next_page != NULL && !lw->conf.once) {
        sl_list_watch_begin_list(lw);
        return;
    }
    sl_replica_end(&lw->replica, version);
    sl_list_watch_note_listed(lw);
    if (!lw->conf.once) {
        lw->status.state = SL_SOURCE_WATCHING;
        sl_list_watch_begin_watch(lw);
    }
    lw->on_change(lw);
}

/* A server that cannot answer at the version asked for, or does not understand: the next list
 * asks for what is true, by pages. */
static bool falls_back(struct sl_list_watch *lw, const struct sl_fetch_result *result)
{
    bool bad_version = result->status == 410 || result->status == 504 || result->status == 400;

    if (lw->is_latest || lw->conf.once || result->code != SL_OK || !bad_version) {
        return false;
    }
    lw->is_latest = true;
    return true;
}

static void on_done(void *arg, const struct sl_fetch_result *result)
{
    struct sl_list_watch *lw = arg;

    lw->fetch = NULL;
    if (falls_back(lw, result)) {
        sl_list_watch_begin_list(lw);
    } else if (result->code != SL_OK) {
        sl_list_watch_fail_fetch(lw, true, result);
    } else if (result->status != 200) {
        sl_list_watch_fail_answer(lw, true, result);
    } else {
        on_page(lw);
    }
}

static const struct sl_fetch_ops list_ops = {
    .on_head = on_head,
    .on_data = on_data,
    .on_done = on_done,
};
