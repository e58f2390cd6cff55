/* SPDX-License-Identifier: Apache-2.0 */
/*
 * list: an intrusive doubly linked ring with a head; O(1) to link and unlink, no allocation.
 *
 * Thread:    whoever owns the head
 */
#ifndef SL_BASE_LIST_H
#define SL_BASE_LIST_H

#include <stdbool.h>
#include <stddef.h>

struct sl_list {
    struct sl_list *prev;
    struct sl_list *next;
};

static inline void sl_list_init(struct sl_list *l)
{
    l->prev = l->next = l;
}

static inline bool sl_list_empty(const struct sl_list *l)
{
    return l->next == l;
}

static inline void sl_list_push_front(struct sl_list *head, struct sl_list *item)
{
    item->prev = head;
    item->next = head->next;
    head->next->prev = item;
    head->next = item;
}

static inline void sl_list_push_back(struct sl_list *head, struct sl_list *item)
{
    sl_list_push_front(head->prev, item);
}

/* Safe to repeat: an unlinked item is a ring of its own. */
static inline void sl_list_unlink(struct sl_list *item)
{
    item->prev->next = item->next;
    item->next->prev = item->prev;
    item->prev = item->next = item;
}

/* Moves all of from behind head; from is empty then. */
static inline void sl_list_take_all(struct sl_list *head, struct sl_list *from)
{
    sl_list_init(head);
    if (!sl_list_empty(from)) {
        *head = *from;
        head->next->prev = head;
        head->prev->next = head;
        sl_list_init(from);
    }
}

#endif
