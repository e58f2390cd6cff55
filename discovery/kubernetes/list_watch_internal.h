/* SPDX-License-Identifier: Apache-2.0 */
/*
 * list_watch_internal: what the parts of a list and watch ask of each other: list_watch.c decides
 * what comes next, lister.c asks for lists, watcher.c for streams and watches.
 *
 * Lifetime:  as list_watch
 * Thread:    control thread
 */
#ifndef SL_KUBERNETES_LIST_WATCH_INTERNAL_H
#define SL_KUBERNETES_LIST_WATCH_INTERNAL_H

#include "list_watch.h"

#define SL_WATCH_STEADY_MS 10000 /* one that was open so long: no failure of its connection */
#include "request.h"

#define SL_OBJECT_MAX_BYTES (8U << 20)

/* lister.c, watcher.c. */
void sl_list_watch_init_silence(struct sl_list_watch *lw);
void sl_list_watch_begin_list(struct sl_list_watch *lw);
void sl_list_watch_begin_stream(struct sl_list_watch *lw);
void sl_list_watch_begin_watch(struct sl_list_watch *lw);

/* list_watch.c. What cannot even be asked is a failure like any other. */
void sl_list_watch_request(struct sl_list_watch *lw, struct sl_kube_request *r,
                           const struct sl_fetch_ops *ops);
/* What was underway is over; goes on later with all there is, or with the watch. */
void sl_list_watch_fail(struct sl_list_watch *lw, bool wants_list, uint32_t retry_after_s,
                        const char *error);
/* The head of an answer came: logs once what the server wants its clients to know: "v1 Endpoints is
 * deprecated". */
void sl_list_watch_note_warning(struct sl_list_watch *lw);
/* The same of a fetch that did not come to an answer's end. */
void sl_list_watch_fail_fetch(struct sl_list_watch *lw, bool wants_list,
                              const struct sl_fetch_result *result);
/* Likewise, for an answer that says no: its text is in lw->body. */
void sl_list_watch_fail_answer(struct sl_list_watch *lw, bool wants_list,
                               const struct sl_fetch_result *result);
/* Our version is too old. */
void sl_list_watch_expire(struct sl_list_watch *lw, const char *error);
/* All there is has come. */
void sl_list_watch_note_listed(struct sl_list_watch *lw);
void sl_list_watch_prove_fresh(struct sl_list_watch *lw);
void sl_list_watch_recover(struct sl_list_watch *lw);
/* A watch ended in order. is_quick: at once; progressed: but not before it brought something. */
void sl_list_watch_on_end(struct sl_list_watch *lw, bool is_quick, bool progressed);

#endif
