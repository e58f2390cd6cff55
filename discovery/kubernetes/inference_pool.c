/* SPDX-License-Identifier: Apache-2.0 */
#include "inference_pool.h"

#include "proxy/base/alloc.h"

#include <string.h>

void sl_inference_init(struct sl_inference *i, struct sl_watches *watches,
                       struct sl_watches_access *access, const char *pods_path,
                       const struct sl_watch_sub *sub)
{
    i->watches = watches;
    i->access = access;
    i->pods_path = pods_path;
    for (size_t s = 0; s < SL_ARRAY_LEN(i->sides); s++) {
        i->sides[s].sub.pool = sub->pool;
        i->sides[s].sub.arg = sub->arg;
        i->sides[s].sub.on_change = sub->on_change;
    }
}

static void leave(struct sl_inference_side *side)
{
    sl_watch_leave(&side->sub);
    sl_free(side->selector);
    side->selector = NULL;
}

void sl_inference_fini(struct sl_inference *i)
{
    for (size_t s = 0; s < SL_ARRAY_LEN(i->sides); s++) {
        leave(&i->sides[s]);
    }
}

static bool follows(const struct sl_inference_side *side, const char *selector)
{
    return side->selector != NULL && strcmp(side->selector, selector) == 0;
}

static int join(struct sl_inference *i, struct sl_inference_side *side, const char *selector)
{
    const struct sl_watch_what what = {
        .path = i->pods_path,
        .resource = "pods",
        .selector = selector,
        .kind = SL_KUBE_POD,
    };

    leave(side);
    side->selector = sl_strdup(selector);
    if (side->selector == NULL) {
        return SL_ENOMEM;
    }
    int rc = sl_watch_join(i->watches, i->access, &what, &side->sub);
    if (rc != SL_OK) {
        leave(side);
    }
    return rc;
}

int sl_inference_follow(struct sl_inference *i, const char *selector, const struct sl_store **pods)
{
    struct sl_inference_side *used = &i->sides[i->used];
    struct sl_inference_side *next = &i->sides[1 - i->used];
    int rc = SL_OK;

    if (selector == NULL) {
        sl_inference_fini(i);
        *pods = NULL;
        return SL_OK;
    }
    if (follows(used, selector)) {
        leave(next);
    } else if (!follows(next, selector)) {
        rc = join(i, next, selector);
    }
    /* What is known whole takes over; so does what is not where there is nothing to keep. */
    if (rc == SL_OK && next->selector != NULL &&
        (sl_watch_synced(&next->sub) || !sl_watch_synced(&used->sub)))
    {
        leave(used);
        i->used = 1 - i->used;
        used = next;
    }
    *pods = sl_watch_synced(&used->sub) ? sl_watch_objects(&used->sub) : NULL;
    return rc;
}
