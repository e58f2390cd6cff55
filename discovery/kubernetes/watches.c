/* SPDX-License-Identifier: Apache-2.0 */
#include "watches.h"

#include "json.h"

#include "proxy/base/alloc.h"

#include <string.h>
#include <sys/stat.h>

#define IDENTITY_MAX_BYTES 16384
#define SELECTOR_MAX_BYTES 2048 /* what stands before an API server may want a URL to be short */

/* One of those that share a watch of slices. It stays when nobody follows it any more. */
struct sl_watch_service {
    struct sl_list link;
    struct sl_store_view view; /* empty where it has the watch for itself */
    uint64_t told_n;           /* of view.changes_n */
    uint64_t events_n;
    uint64_t event_at_ms;
    bool is_news;
    char name[];
};

struct sl_watch {
    struct sl_list_watch lw;
    struct sl_list link;
    struct sl_list subs; /* never empty */
    struct sl_watches_access *access;
    struct sl_watches *owner;
    char *path;
    char *selector;
    char *field_selector;
    struct sl_list services; /* of slices by service; else empty */
    size_t services_n;
    size_t selector_len; /* of their names */
    struct sl_task begin;
    bool begun;
    uint64_t events_n; /* of the last change that subs were told of */
};

void sl_watches_init(struct sl_watches *w, struct sl_loop *loop, struct sl_fetcher *fetcher)
{
    sl_kube_json_init();
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
    a = identity != NULL ? sl_alloc(sizeof(*a)) : NULL;
    if (a == NULL) {
        sl_free(identity);
        return sl_error_set(err, SL_ENOMEM, NULL, "no memory for the Kubernetes access");
    }
    int rc = sl_kube_access_load(config, &a->access, err);
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

static struct sl_watch_service *service_at(struct sl_list *link)
{
    return sl_container_of(link, struct sl_watch_service, link);
}

static bool has_views(const struct sl_watch *watch)
{
    return watch->services_n > 1;
}

/* Finds out whose objects have changed. */
static void read_news(struct sl_watch *watch)
{
    const struct sl_source_status *s = &watch->lw.status;
    bool is_event = s->events_n != watch->events_n;

    watch->events_n = s->events_n;
    for (struct sl_list *l = watch->services.next; l != &watch->services; l = l->next) {
        struct sl_watch_service *service = service_at(l);
        service->is_news = !has_views(watch) || service->told_n != service->view.changes_n;
        service->told_n = service->view.changes_n;
        if (service->is_news && is_event) {
            service->events_n++;
            service->event_at_ms = s->event_at_ms;
        }
    }
}

static void on_change(struct sl_list_watch *lw)
{
    struct sl_watch *watch = sl_container_of(lw, struct sl_watch, lw);

    read_news(watch);
    for (struct sl_list *l = watch->subs.next; l != &watch->subs; l = l->next) {
        struct sl_watch_sub *sub = sl_container_of(l, struct sl_watch_sub, link);
        if (sub->service == NULL || sub->service->is_news || sub->changed_us == 0) {
            sub->changed_us = lw->changed_us;
            sub->on_change(sub);
        }
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

static bool is_of(const struct sl_watch *watch, const struct sl_watches_access *access,
                  const struct sl_watch_what *what)
{
    return watch->access == access && watch->lw.conf.kind == what->kind &&
           strcmp(watch->path, what->path) == 0;
}

static struct sl_watch *find_watch(const struct sl_watches *w,
                                   const struct sl_watches_access *access,
                                   const struct sl_watch_what *what)
{
    for (struct sl_list *l = w->watches.next; l != &w->watches; l = l->next) {
        struct sl_watch *watch = sl_container_of(l, struct sl_watch, link);
        if (is_of(watch, access, what) && sl_list_empty(&watch->services) &&
            is_same_text(watch->selector, what->selector) &&
            is_same_text(watch->field_selector, what->field_selector))
        {
            return watch;
        }
    }
    return NULL;
}

static void watch_free(struct sl_watch *watch)
{
    while (!sl_list_empty(&watch->services)) {
        struct sl_watch_service *service = service_at(watch->services.next);
        sl_list_unlink(&service->link);
        sl_free(service);
    }
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

static void begin(struct sl_watch *watch)
{
    watch->begun = true;
    sl_list_watch_start(&watch->lw, &watch->lw.conf, &sl_list_watch_times, watch->access->access,
                        watch->owner->loop, watch->owner->fetcher);
    for (struct sl_list *l = watch->services.next; has_views(watch) && l != &watch->services;
         l = l->next)
    {
        sl_store_add_view(&watch->lw.replica.store, &service_at(l)->view, service_at(l)->name);
    }
}

/* All that this turn had to ask for is known. */
static void on_begin(struct sl_task *t)
{
    begin(sl_container_of(t, struct sl_watch, begin));
}

static struct sl_watch *watch_new(struct sl_watches *w, struct sl_watches_access *access,
                                  const struct sl_watch_what *what, const char *pool)
{
    struct sl_watch *watch = sl_alloc(sizeof(*watch));

    if (watch == NULL) {
        return NULL;
    }
    sl_list_init(&watch->services);
    if (!copy(&watch->path, what->path) || !copy(&watch->selector, what->selector) ||
        !copy(&watch->field_selector, what->field_selector))
    {
        watch_free(watch);
        return NULL;
    }
    watch->lw.conf = (struct sl_list_watch_conf){
        .pool = pool,
        .path = watch->path,
        .resource = what->resource,
        .selector = watch->selector,
        .field_selector = watch->field_selector,
        .kind = what->kind,
        .no_stream_until_ms = &access->no_stream_until_ms,
    };
    watch->access = access;
    watch->owner = w;
    watch->lw.on_change = on_change;
    watch->lw.on_refused = on_refused;
    sl_task_init(&watch->begin, on_begin);
    sl_list_init(&watch->subs);
    sl_list_push_back(&w->watches, &watch->link);
    return watch;
}

/* ---- Services that share a watch */

static struct sl_watch_service *find_service(const struct sl_watch *watch, const char *name)
{
    for (struct sl_list *l = watch->services.next; l != &watch->services; l = l->next) {
        if (strcmp(service_at(l)->name, name) == 0) {
            return service_at(l);
        }
    }
    return NULL;
}

/* One that has the service, or has not begun and has room for it. */
static struct sl_watch *find_shared(const struct sl_watches *w,
                                    const struct sl_watches_access *access,
                                    const struct sl_watch_what *what)
{
    struct sl_watch *found = NULL;

    for (struct sl_list *l = w->watches.next; l != &w->watches; l = l->next) {
        struct sl_watch *watch = sl_container_of(l, struct sl_watch, link);
        if (!is_of(watch, access, what) || sl_list_empty(&watch->services)) {
            continue;
        }
        if (find_service(watch, what->service) != NULL) {
            return watch;
        }
        if (!watch->begun && watch->selector_len + strlen(what->service) + 1 < SELECTOR_MAX_BYTES) {
            found = watch;
        }
    }
    return found;
}

static int write_selector(struct sl_watch *watch)
{
    struct sl_text t;

    sl_text_init(&t, 2 * SELECTOR_MAX_BYTES);
    sl_text_append_str(&t, SL_KUBE_SERVICE_LABEL);
    sl_text_append_str(&t, has_views(watch) ? " in (" : "=");
    for (struct sl_list *l = watch->services.next; l != &watch->services; l = l->next) {
        sl_text_append_str(&t, l != watch->services.next ? "," : "");
        sl_text_append_str(&t, service_at(l)->name);
    }
    sl_text_append_str(&t, has_views(watch) ? ")" : "");
    char *selector = !t.failed ? sl_strdup(t.ptr) : NULL;
    sl_text_fini(&t);
    if (selector == NULL) {
        return SL_ENOMEM;
    }
    sl_free(watch->selector);
    watch->lw.conf.selector = watch->selector = selector;
    return SL_OK;
}

static struct sl_watch_service *add_service(struct sl_watch *watch, const char *name)
{
    size_t len = strlen(name);
    struct sl_watch_service *service = sl_alloc(sizeof(*service) + len + 1);

    if (service == NULL) {
        return NULL;
    }
    memcpy(service->name, name, len + 1);
    sl_list_push_back(&watch->services, &service->link);
    watch->services_n++;
    watch->selector_len += len + 1;
    if (write_selector(watch) != SL_OK) {
        sl_list_unlink(&service->link);
        watch->services_n--;
        watch->selector_len -= len + 1;
        sl_free(service);
        return NULL;
    }
    return service;
}

static void end(struct sl_watch *watch)
{
    sl_task_cancel(&watch->begin);
    if (watch->begun) {
        sl_list_watch_stop(&watch->lw);
    }
    sl_list_unlink(&watch->link);
    watch_free(watch);
}

static struct sl_watch *watch_of_service(struct sl_watches *w, struct sl_watches_access *access,
                                         const struct sl_watch_what *what, struct sl_watch_sub *sub)
{
    struct sl_watch *watch = find_shared(w, access, what);

    if (watch == NULL) {
        watch = watch_new(w, access, what, sub->pool);
    }
    if (watch == NULL) {
        return NULL;
    }
    sub->service = find_service(watch, what->service);
    if (sub->service == NULL) {
        sub->service = add_service(watch, what->service);
    }
    if (!watch->begun) {
        sl_task_post(w->loop, &watch->begin);
    }
    if (sub->service == NULL && sl_list_empty(&watch->subs)) {
        end(watch);
    }
    return sub->service != NULL ? watch : NULL;
}

static struct sl_watch *watch_of_all(struct sl_watches *w, struct sl_watches_access *access,
                                     const struct sl_watch_what *what, const char *pool)
{
    struct sl_watch *watch = find_watch(w, access, what);

    if (watch == NULL) {
        watch = watch_new(w, access, what, pool);
        if (watch != NULL) {
            begin(watch);
        }
    }
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
    sub->service = NULL;
    struct sl_watch *watch = what->service != NULL ? watch_of_service(w, access, what, sub)
                                                   : watch_of_all(w, access, what, sub->pool);
    if (watch == NULL) {
        return SL_ENOMEM;
    }
    sub->watch = watch;
    sub->changed_us = 0;
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
    sub->service = NULL;
    sub->lw = NULL;
    if (sl_list_empty(&watch->subs)) {
        end(watch);
        return;
    }
    /* The name that it borrowed may be that of who left. */
    watch->lw.conf.pool = sl_container_of(watch->subs.next, struct sl_watch_sub, link)->pool;
}

void sl_watch_doubt(struct sl_watch_sub *sub)
{
    if (sub->watch != NULL && sub->watch->begun) {
        sl_list_watch_doubt(&sub->watch->lw);
    }
}

const struct sl_store *sl_watch_objects(const struct sl_watch_sub *sub)
{
    if (sub->watch == NULL) {
        return NULL;
    }
    return sub->service != NULL && has_views(sub->watch) ? &sub->service->view.objects
                                                         : &sub->lw->replica.store;
}

void sl_watch_status(const struct sl_watch_sub *sub, struct sl_source_status *out)
{
    *out = sub->lw->status;
    if (sub->service != NULL) {
        out->events_n = sub->service->events_n;
        out->event_at_ms = sub->service->event_at_ms;
    }
}
