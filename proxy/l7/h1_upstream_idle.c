/* SPDX-License-Identifier: Apache-2.0 */
#include "h1_upstream_internal.h"

#include "proxy/io/socket.h"
#include "proxy/upstream/idle_limit.h"

#define LOOK_AFTER_MS 100 /* idle for longer: one recv tells whether the end is on its way */

void sl_h1_upstream_unlink_idle(struct sl_h1_upstream *c)
{
    struct sl_endpoint_cell *cell = &c->endpoint->cells[c->w->idx];

    if (c->idle_prev != NULL) {
        c->idle_prev->idle_next = c->idle_next;
    } else {
        cell->idle_head = c->idle_next;
    }
    if (c->idle_next != NULL) {
        c->idle_next->idle_prev = c->idle_prev;
    }
    c->idle_prev = c->idle_next = NULL;
    cell->idle_n--;
}

uint64_t sl_h1_upstream_may_idle_ms(const struct sl_h1_upstream *c)
{
    uint64_t ms = sl_idle_limit_apply(c->endpoint, c->idle_wanted_ms, sl_h1_upstream_now_ms(c));

    return c->idle_told_ms < ms ? c->idle_told_ms : ms;
}

void sl_h1_upstream_keep_idle(struct sl_h1_upstream *c, uint64_t idle_ms)
{
    struct sl_endpoint_cell *cell = &c->endpoint->cells[c->w->idx];
    struct sl_h1_upstream *head = cell->idle_head;

    c->state = SL_H1_UP_IDLE;
    c->idle_since_ms = sl_h1_upstream_now_ms(c);
    c->idle_next = head;
    if (head != NULL) {
        head->idle_prev = c;
    }
    cell->idle_head = c;
    cell->idle_n++;
    sl_deadline_set(sl_loop_wheel(c->w->loop), &c->deadline, c->idle_since_ms + idle_ms);
}

static bool is_usable(const struct sl_h1_upstream *c, const struct sl_view_pool *pool)
{
    return c->transport_identity == pool->transport_identity &&
           (sl_h1_upstream_now_ms(c) - c->idle_since_ms < LOOK_AFTER_MS ||
            sl_socket_is_quiet(c->stream.fd));
}

struct sl_h1_upstream *sl_h1_upstream_take_idle(struct sl_l7 *w, const struct sl_view_pool *pool,
                                                struct sl_endpoint *ep, bool wants_new,
                                                bool *connects)
{
    struct sl_h1_upstream *c = ep->cells[w->idx].idle_head;

    while (c != NULL && !(wants_new && *connects)) {
        struct sl_h1_upstream *next = c->idle_next;
        if (!wants_new && is_usable(c, pool)) {
            sl_h1_upstream_unlink_idle(c);
            sl_deadline_clear(&c->deadline);
            return c;
        }
        if (!*connects) { /* its place is not given back: somebody else could be faster */
            c->is_counted = false;
            *connects = true;
        }
        sl_h1_upstream_close(c);
        c = next;
    }
    return NULL;
}

static struct sl_h1_upstream *oldest(const struct sl_endpoint_cell *cell)
{
    struct sl_h1_upstream *c = cell->idle_head;

    while (c->idle_next != NULL) {
        c = c->idle_next;
    }
    return c;
}

void sl_h1_upstream_trade_idle(struct sl_l7 *w, struct sl_endpoint *ep)
{
    struct sl_h1_upstream *c = oldest(&ep->cells[w->idx]);

    c->is_counted = false;
    sl_h1_upstream_close(c);
}

bool sl_h1_upstream_close_spare(struct sl_l7 *w, const struct sl_endpoint_set *set, bool capped)
{
    const struct sl_endpoint_cell *most = NULL;

    for (size_t i = 0; i < set->members_n; i++) {
        const struct sl_endpoint *ep = set->members[i].endpoint;
        const struct sl_endpoint_cell *cell = &ep->cells[w->idx];
        bool counts = cell->idle_n > 0 && (!capped || sl_endpoint_has_all_connections(ep));
        if (counts && (most == NULL || cell->idle_n > most->idle_n)) {
            most = cell;
        }
    }
    if (most == NULL) {
        return false;
    }
    sl_h1_upstream_close(oldest(most));
    return true;
}

void sl_h1_upstream_close_idle(struct sl_l7 *w, struct sl_endpoint *ep)
{
    while (ep->cells[w->idx].idle_head != NULL) {
        sl_h1_upstream_close(ep->cells[w->idx].idle_head);
    }
}
