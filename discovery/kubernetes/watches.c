/* SPDX-License-Identifier: Apache-2.0 */
#include "watches.h"

#include "proxy/base/alloc.h"

#include <string.h>
#include <sys/stat.h>

#define IDENTITY_MAX_BYTES 16384

struct sl_watch {
    struct sl_list_watch lw;
    struct sl_list link;
    struct sl_list subs; /* never empty */
    const struct sl_watches_access *access;
    char *path;
    char *selector;
    char *field_selector;
};

void sl_watches_init(struct sl_watches *w, struct sl_loop *loop, struct sl_fetcher *fetcher)
{
    w->loop = loop;
    w->fetcher = fetcher;
    sl_list_init(&w->accesses);
    sl_list_init(&w->watches);
    sl_list_init(&w->zones);
}

void sl_watches_fini(struct sl_watches *w)
{
    SL_ASSERT(sl_list_empty(&w->watches) && sl_list_empty(&w->accesses) && sl_list_empty(&w->zones),
              "watches %p: somebody holds on", (void *)w);
}

/* ---- Accesses */

/* What was written where: its path alone would not tell that a kubeconfig has a new token. */
static char *identity_of(const struct sl_config *config)
{
    const char *const texts[] = {config->kubernetes.kubeconfig, config->kubernetes.context,
                                 config->kubernetes.service_account};
    struct sl_text t;
    struct stat st;

    sl_text_init(&t, IDENTITY_MAX_BYTES);
    for (size_t i = 0; i < SL_ARRAY_LEN(texts); i++) {
        sl_text_append_str(&t, texts[i] != NULL ? texts[i] : "");
        sl_text_append_str(&t, "\n");
    }
    sl_text_append_str(&t, config->kubernetes.allow_insecure_tls ? "insecure\n" : "\n");
    if (texts[0] != NULL && stat(texts[0], &st) == 0) {
        sl_text_printf(&t, "%ju %ju %jd %jd.%09ld", (uintmax_t)st.st_dev, (uintmax_t)st.st_ino,
                       (intmax_t)st.st_size, (intmax_t)st.st_mtim.tv_sec, st.st_mtim.tv_nsec);
    }
    char *identity = !t.failed ? sl_strdup(t.ptr) : NULL;
    sl_text_fini(&t);
    return identity;
}

static struct sl_watches_access *find_access(const struct sl_watches *w, const char *identity)
{
    for (struct sl_list *l = w->accesses.next; l != &w->accesses; l = l->next) {
        struct sl_watches_access *a = sl_container_of(l, struct sl_watches_access, link);
        if (strcmp(a->identity, identity) == 0) {
            return a;
        }
    }
    return NULL;
}

int sl_watches_access_get(struct sl_watches *w, const struct sl_config *config,
                          struct sl_watches_access **out, struct sl_error *err)
{
    char *identity = identity_of(config);
    struct sl_watches_access *a = identity != NULL ? find_access(w, identity) : NULL;

    if (a != NULL) {
        sl_free(identity);
        a->refs_n++;
        *out = a;
        return SL_OK;
    }
    a = sl_alloc(sizeof(*a));
    int rc = a != NULL && identity != NULL
                 ? sl_kube_access_load(config, &a->access, err)
                 : sl_error_set(err, SL_ENOMEM, NULL, "no memory for the Kubernetes access");
    if (rc != SL_OK) {
        sl_free(identity);
        sl_free(a);
        return rc;
    }
    a->identity = identity;
    a->refs_n = 1;
    sl_list_push_back(&w->accesses, &a->link);
    *out = a;
    return SL_OK;
}

void sl_watches_access_unref(struct sl_watches_access **access)
{
    struct sl_watches_access *a = *access;

    *access = NULL;
    if (a == NULL || --a->refs_n > 0) {
        return;
    }
    sl_list_unlink(&a->link);
    sl_kube_access_free(a->access);
    sl_free(a->identity);
    sl_free(a);
}

/* ---- Watches */

static void on_change(struct sl_list_watch *lw)
{
    struct sl_watch *watch = sl_container_of(lw, struct sl_watch, lw);

    for (struct sl_list *l = watch->subs.next; l != &watch->subs; l = l->next) {
        struct sl_watch_sub *sub = sl_container_of(l, struct sl_watch_sub, link);
        sub->changed_us = lw->changed_us;
        sub->on_change(sub);
    }
}

static void on_refused(struct sl_list_watch *lw, uint16_t status)
{
    struct sl_watch *watch = sl_container_of(lw, struct sl_watch, lw);

    for (struct sl_list *l = watch->subs.next; l != &watch->subs; l = l->next) {
        struct sl_watch_sub *sub = sl_container_of(l, struct sl_watch_sub, link);
        if (sub->on_refused != NULL) {
            sub->on_refused(sub, status);
        }
    }
}

static bool is_same_text(const char *a, const char *b)
{
    return a == b || (a != NULL && b != NULL && strcmp(a, b) == 0);
}

static struct sl_watch *find_watch(const struct sl_watches *w,
                                   const struct sl_watches_access *access,
                                   const struct sl_watch_what *what)
{
    for (struct sl_list *l = w->watches.next; l != &w->watches; l = l->next) {
        struct sl_watch *watch = sl_container_of(l, struct sl_watch, link);
        if (watch->access == access && watch->lw.conf.kind == what->kind &&
            strcmp(watch->path, what->path) == 0 && is_same_text(watch->selector, what->selector) &&
            is_same_text(watch->field_selector, what->field_selector))
        {
            return watch;
        }
    }
    return NULL;
}

static void watch_free(struct sl_watch *watch)
{
    sl_free(watch->path);
    sl_free(watch->selector);
    sl_free(watch->field_selector);
    sl_free(watch);
}

static bool copy(char **to, const char *from)
{
    *to = from != NULL ? sl_strdup(from) : NULL;
    return from == NULL || *to != NULL;
}

static struct sl_watch *watch_new(struct sl_watches *w, struct sl_watches_access *access,
                                  const struct sl_watch_what *what, const char *pool)
{
    struct sl_watch *watch = sl_alloc(sizeof(*watch));

    if (watch == NULL) {
        return NULL;
    }
    if (!copy(&watch->path, what->path) || !copy(&watch->selector, what->selector) ||
        !copy(&watch->field_selector, what->field_selector))
    {
        watch_free(watch);
        return NULL;
    }
    const struct sl_list_watch_conf conf = {
        .pool = pool,
        .path = watch->path,
        .resource = what->resource,
        .selector = watch->selector,
        .field_selector = watch->field_selector,
        .kind = what->kind,
        .no_stream_until_ms = &access->no_stream_until_ms,
    };
    watch->access = access;
    watch->lw.on_change = on_change;
    watch->lw.on_refused = on_refused;
    sl_list_init(&watch->subs);
    sl_list_push_back(&w->watches, &watch->link);
    sl_list_watch_start(&watch->lw, &conf, &sl_list_watch_times, access->access, w->loop,
                        w->fetcher);
    return watch;
}

static void on_told(struct sl_task *t)
{
    struct sl_watch_sub *sub = sl_container_of(t, struct sl_watch_sub, told);

    sub->changed_us = sl_loop_now_us(sub->lw->loop); /* to this one it is news */
    sub->on_change(sub);
}

int sl_watch_join(struct sl_watches *w, struct sl_watches_access *access,
                  const struct sl_watch_what *what, struct sl_watch_sub *sub)
{
    struct sl_watch *watch = find_watch(w, access, what);

    if (watch == NULL) {
        watch = watch_new(w, access, what, sub->pool);
    }
    if (watch == NULL) {
        return SL_ENOMEM;
    }
    sub->watch = watch;
    sub->lw = &watch->lw;
    sl_list_push_back(&watch->subs, &sub->link);
    sl_task_init(&sub->told, on_told);
    if (watch->lw.status.synced) {
        sl_task_post(w->loop, &sub->told);
    }
    return SL_OK;
}

void sl_watch_leave(struct sl_watch_sub *sub)
{
    struct sl_watch *watch = sub->watch;

    if (watch == NULL) {
        return;
    }
    sl_task_cancel(&sub->told);
    sl_list_unlink(&sub->link);
    sub->watch = NULL;
    sub->lw = NULL;
    if (sl_list_empty(&watch->subs)) {
        sl_list_watch_stop(&watch->lw);
        sl_list_unlink(&watch->link);
        watch_free(watch);
        return;
    }
    /* The name that it borrowed may be that of who left. */
    watch->lw.conf.pool = sl_container_of(watch->subs.next, struct sl_watch_sub, link)->pool;
}

void sl_watch_doubt(struct sl_watch_sub *sub)
{
    if (sub->watch != NULL) {
        sl_list_watch_doubt(&sub->watch->lw);
    }
}
