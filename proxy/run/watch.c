/* SPDX-License-Identifier: Apache-2.0 */
#include "watch.h"

#include "proxy/base/alloc.h"

struct sl_watch {
    struct sl_file_watch *files;
    const char *config_file;
};

int sl_watch_new(struct sl_loop *loop, const char *config_file, void (*on_change)(void *arg),
                 void *arg, struct sl_watch **out)
{
    struct sl_watch *w = sl_alloc(sizeof(*w));
    if (w == NULL) {
        return SL_ENOMEM;
    }
    int rc = sl_file_watch_new(loop, on_change, arg, &w->files);
    if (rc != SL_OK) {
        sl_free(w);
        return rc;
    }
    w->config_file = config_file;
    sl_file_watch_add(w->files, config_file);
    *out = w;
    return SL_OK;
}

void sl_watch_free(struct sl_watch *w)
{
    if (w != NULL) {
        sl_file_watch_free(w->files);
        sl_free(w);
    }
}

void sl_watch_note(struct sl_watch *w)
{
    sl_file_watch_note(w->files);
}

static void add_tls(struct sl_watch *w, const struct sl_tls_config *tls)
{
    if (tls != NULL) {
        sl_file_watch_add(w->files, tls->cert);
        sl_file_watch_add(w->files, tls->key);
        sl_file_watch_add(w->files, tls->ca);
    }
}

void sl_watch_add(struct sl_watch *w, const struct sl_config *config)
{
    for (size_t i = 0; i < config->listeners_n; i++) {
        add_tls(w, config->listeners[i].tls);
    }
    for (size_t i = 0; i < config->pools_n; i++) {
        add_tls(w, config->pools[i].tls);
    }
    if (config->kubernetes.kubeconfig != NULL) {
        sl_file_watch_add(w->files, config->kubernetes.kubeconfig);
    }
}

void sl_watch_prune(struct sl_watch *w, const struct sl_config *config)
{
    sl_file_watch_prune_begin(w->files);
    sl_file_watch_add(w->files, w->config_file);
    sl_watch_add(w, config);
    sl_file_watch_prune_end(w->files);
    sl_watch_add(w, config); /* what found no room before */
}
