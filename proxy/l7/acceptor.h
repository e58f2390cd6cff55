/* SPDX-License-Identifier: Apache-2.0 */
/*
 * acceptor: takes connections off a worker's listening sockets, and shares them out when one
 * worker is much busier than another: long streams must not pin one while another idles.
 *
 * Thread:    worker-local, but for the mail that hands a connection over
 */
#ifndef SL_L7_ACCEPTOR_H
#define SL_L7_ACCEPTOR_H

#include <stdbool.h>

struct sl_l7;
struct sl_view;

/* Listeners of view are accepted on; those that only old (or NULL) names are emptied and closed.
 * Before w->view changes: whom the kernel had let in there is served by old. */
void sl_acceptors_take_view(struct sl_l7 *w, const struct sl_view *old, const struct sl_view *view);

/* No more connections are taken; those that wait already are. */
void sl_acceptors_stop(struct sl_l7 *w);

/* The same for inbound listeners, or for all, and their clients are asked to leave. */
void sl_acceptors_drain(struct sl_l7 *w, bool outbound_too);

#endif
