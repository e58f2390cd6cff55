/* SPDX-License-Identifier: Apache-2.0 */
#include "l7.h"

#include <sluiced/time.h>

#include "acceptor.h"
#include "admission.h"
#include "exchange.h"
#include "h1_downstream.h"
#include "h1_upstream.h"

#include "proxy/base/alloc.h"

#include <string.h>

#define CHUNKS_KEPT_N 64
#define STAGE_COPY_BYTES \
    ((size_t)16 * 1024) /* from here on a second vector is cheaper than a copy */

static void on_flush_task(struct sl_task *t)
{
    sl_stage_flush(sl_container_of(t, struct sl_l7, stage.flush));
}

/* NOLINTNEXTLINE(readability-function-size): what a worker has comes from its thread */
int sl_l7_new(struct sl_loop *loop, uint32_t idx, uint32_t workers_n, struct sl_l7 *const *peers,
              struct sl_access_log *log, struct sl_series *process, struct sl_l7 **out)
{
    struct sl_l7 *w = sl_alloc_aligned(64, sizeof(*w));
    if (w == NULL) {
        return SL_ENOMEM;
    }
    w->idx = idx;
    w->workers_n = workers_n;
    w->loop = loop;
    w->peers = peers;
    w->log = log;
    w->process = process;
    w->rng.state = sl_time_now_us() ^ ((uint64_t)idx << 32) ^ (uint64_t)(uintptr_t)w;
    sl_chunk_pool_init(&w->chunks, SL_CHUNKS_MAX_BYTES / workers_n, CHUNKS_KEPT_N);
    sl_list_init(&w->downstreams);
    sl_task_init(&w->stage.flush, on_flush_task);
    sl_admission_init(w);
    w->scratch = sl_alloc_raw(SL_SCRATCH_BYTES);
    w->stage.buf = sl_alloc_raw(SL_STAGE_BYTES);
    w->path_buf = sl_alloc_raw(SL_H1_LINE_MAX_BYTES);
    if (w->scratch == NULL || w->stage.buf == NULL || w->path_buf == NULL) {
        sl_l7_free(w);
        return SL_ENOMEM;
    }
    *out = w;
    return SL_OK;
}

void sl_l7_free(struct sl_l7 *w)
{
    sl_admission_fini(w);
    while (w->free_exchanges != NULL) {
        struct sl_exchange *x = w->free_exchanges;
        w->free_exchanges = x->next_free;
        sl_free(x);
    }
    sl_chunk_pool_fini(&w->chunks);
    sl_free(w->scratch);
    sl_free(w->stage.buf);
    sl_free(w->path_buf);
    sl_free(w);
}

struct sl_view *sl_l7_take_view(struct sl_l7 *w, struct sl_view *view)
{
    struct sl_view *old = w->view;

    sl_acceptors_take_view(w, old, view);
    sl_published_take(&view->cells[w->idx].published);
    w->view = view;
    sl_admission_look(w);
    return old;
}

void sl_l7_let_go(struct sl_l7 *w, struct sl_view *old)
{
    if (old != NULL) {
        sl_published_retire(&old->published, &old->cells[w->idx].published);
    }
}

void sl_l7_stop_accepting(struct sl_l7 *w)
{
    if (w->view != NULL) {
        sl_acceptors_stop(w);
    }
}

static void close_idle_of(struct sl_endpoint *gone, uint32_t worker_idx, void *arg)
{
    (void)worker_idx;
    sl_h1_upstream_close_idle(arg, gone);
}

void sl_l7_take_set(struct sl_l7 *w, struct sl_pool *pool, struct sl_endpoint_set *set)
{
    sl_pool_take_set(pool, w->idx, set, &w->rng, close_idle_of, w);
    sl_admission_look(w);
}

void sl_l7_drain(struct sl_l7 *w, bool outbound_too)
{
    w->draining = outbound_too;
    if (w->view != NULL) {
        sl_acceptors_drain(w, outbound_too);
    }
}

void sl_l7_close_idle(struct sl_l7 *w)
{
    sl_h1_downstream_close_idle(w);
}

void sl_l7_close_all(struct sl_l7 *w)
{
    sl_stage_flush(w);
    sl_h1_downstream_close_all(w);
}

void sl_l7_leave(struct sl_l7 *w)
{
    struct sl_view *view = w->view;

    if (view == NULL) {
        return;
    }
    for (size_t i = 0; i < view->listeners_n; i++) {
        /* A connection that is still on its way from another worker finds nobody. */
        view->listeners[i].handle->cells[w->idx].current = NULL;
    }
    for (size_t i = 0; i < view->pools_n; i++) {
        sl_l7_take_set(w, view->pools[i].pool, NULL);
    }
    w->view = NULL;
    sl_l7_let_go(w, view);
}

void sl_stage_flush(struct sl_l7 *w)
{
    struct sl_stage *st = &w->stage;

    if (st->stream == NULL) {
        return;
    }
    struct iovec iov = {.iov_base = st->buf, .iov_len = st->len};
    struct sl_stream *s = st->stream;
    st->stream = NULL;
    st->len = 0;
    sl_task_cancel(&st->flush);
    sl_stream_send(s, &iov, 1);
}

void sl_stage_drop_of(struct sl_l7 *w, const struct sl_stream *s)
{
    if (w->stage.stream == s) {
        w->stage.stream = NULL;
        w->stage.len = 0;
        sl_task_cancel(&w->stage.flush);
    }
}

char *sl_stage_room(struct sl_l7 *w, struct sl_stream *s, size_t need, size_t *room)
{
    struct sl_stage *st = &w->stage;

    if (st->stream != NULL && (st->stream != s || SL_STAGE_BYTES - st->len < need)) {
        sl_stage_flush(w);
    }
    if (st->stream == NULL) {
        st->stream = s;
        sl_task_post(w->loop, &st->flush);
    }
    *room = SL_STAGE_BYTES - st->len;
    return st->buf + st->len;
}

void sl_stage_commit(struct sl_l7 *w, size_t len)
{
    w->stage.len += len;
}

void sl_stage_send(struct sl_l7 *w, struct sl_stream *s, struct sl_slice bytes)
{
    struct sl_stage *st = &w->stage;

    if (bytes.len == 0) {
        return;
    }
    if (st->stream == s && st->len > 0 && bytes.len <= STAGE_COPY_BYTES &&
        bytes.len <= SL_STAGE_BYTES - st->len)
    {
        memcpy(st->buf + st->len, bytes.ptr, bytes.len);
        st->len += bytes.len;
        return;
    }
    if (st->stream != s) {
        sl_stage_flush(w);
        /* NOLINTNEXTLINE(performance-no-int-to-ptr): only read */
        struct iovec one = {.iov_base = (void *)(uintptr_t)bytes.ptr, .iov_len = bytes.len};
        sl_stream_send(s, &one, 1);
        return;
    }
    struct iovec both[2] = {
        {.iov_base = st->buf, .iov_len = st->len},
        /* NOLINTNEXTLINE(performance-no-int-to-ptr): likewise */
        {.iov_base = (void *)(uintptr_t)bytes.ptr, .iov_len = bytes.len},
    };
    st->stream = NULL;
    st->len = 0;
    sl_task_cancel(&st->flush);
    sl_stream_send(s, both, 2);
}
