/* SPDX-License-Identifier: Apache-2.0 */
/*
 * reload: load and check, build a view, wait until its pools know their endpoints, mail it to the
 * workers, and call it running when all of them have taken it. The first config takes the same way.
 * Until the mailing nothing has changed for anybody, so any failure leaves all as it was.
 */
#include <sluiced/log.h>
#include <sluiced/time.h>

#include "process.h"

#include "proxy/base/text.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* Ready again, with whatever config. */
static void notify(struct sl_process *p)
{
    char status[128];

    (void)snprintf(status, sizeof(status), "generation %" PRIu64 "%s", p->generation,
                   p->reload_error[0] != '\0' ? ", the last reload was refused" : "");
    sl_notify_ready(&p->notify, status);
}

static void refuse(struct sl_process *p, const char *text)
{
    (void)snprintf(p->reload_error, sizeof(p->reload_error), "%s", text); /* cut at its end */
    p->reload_failures_n++;
    p->reload.answered_n = p->reload.asked_n;
    sl_log(SL_LOG_ERROR, "reload_failed", {"file", SL_LOG_STR(p->config_file)},
           {"generation", SL_LOG_UINT(p->generation)}, {"error", SL_LOG_STR(p->reload_error)});
    if (p->view != NULL) {
        notify(p);
    }
}

static void refuse_errors(struct sl_process *p, const struct sl_config_errors *errors)
{
    struct sl_text text;
    char line[800];

    sl_text_init(&text, SL_ERROR_TEXT_BYTES);
    for (size_t i = 0; i < errors->n; i++) {
        sl_error_format(&errors->items[i], line, sizeof(line));
        sl_text_printf(&text, "%s%s", i > 0 ? "\n" : "", line);
    }
    if (errors->dropped_n > 0) {
        sl_text_printf(&text, "\nand %zu more", errors->dropped_n);
    }
    refuse(p, text.ptr != NULL ? text.ptr : "no memory to say why");
    sl_text_fini(&text);
}

static void announce(struct sl_listener *l)
{
    char text[160];

    l->announced = true;
    sl_address_format(&l->bound, text, sizeof(text));
    sl_log(SL_LOG_INFO, "listening", {"listener", SL_LOG_STR(l->name)},
           {"address", SL_LOG_STR(text)});
}

static void announce_new(const struct sl_view *view)
{
    for (size_t i = 0; i < view->listeners_n; i++) {
        if (!view->listeners[i].handle->announced) {
            announce(view->listeners[i].handle);
        }
    }
}

static bool all_synced(const struct sl_view *view)
{
    for (size_t i = 0; i < view->pools_n; i++) {
        if (!sl_run_pool_is_synced(view->pools[i].run)) {
            return false;
        }
    }
    return true;
}

static void commit(struct sl_process *p)
{
    struct sl_view *view = p->reload.view;

    sl_timer_stop(&p->reload.give_up);
    view->generation = p->last_generation + 1;
    /* Sets before the view that needs them: mail keeps its order. */
    for (size_t i = 0; i < view->pools_n; i++) {
        sl_run_pool_commit(view->pools[i].run, view->config, view->pools[i].conf);
    }
    sl_own_zone_apply(p);
    if (sl_workers_take_view(p, view) != SL_OK) {
        p->reload.view = NULL;
        sl_view_free(p, view);
        refuse(p, "no memory to apply the config");
        return;
    }
    sl_listeners_taken(view);
    p->last_generation = view->generation;
    p->reload.committed = true;
    p->reload.acks_n = 0;
}

static void note_not_synced(struct sl_process *p, const struct sl_view_pool *vp)
{
    size_t used = strlen(p->reload.missing);

    /* Cut where there are too many. */
    (void)snprintf(p->reload.missing + used, sizeof(p->reload.missing) - used, "%s%s",
                   used > 0 ? ", " : "", vp->conf->name);
    sl_log(SL_LOG_WARN, "pool_not_synced", {"pool", SL_LOG_STR(vp->conf->name)},
           {"waited_ms", SL_LOG_UINT(SL_SYNC_WAIT_MS)});
}

static void on_give_up(struct sl_timer *t)
{
    struct sl_process *p = sl_container_of(t, struct sl_process, reload.give_up);

    for (size_t i = 0; i < p->reload.view->pools_n; i++) {
        if (!sl_run_pool_is_synced(p->reload.view->pools[i].run)) {
            note_not_synced(p, &p->reload.view->pools[i]);
        }
    }
    commit(p);
}

void sl_reload_cancel(struct sl_process *p)
{
    struct sl_view *view = p->reload.view;

    if (view == NULL || p->reload.committed) {
        return;
    }
    sl_timer_stop(&p->reload.give_up);
    p->reload.view = NULL;
    sl_view_drop(p, view);
}

void sl_reload_pool_synced(struct sl_process *p)
{
    if (p->reload.view != NULL && !p->reload.committed && all_synced(p->reload.view)) {
        commit(p);
    }
}

void sl_reload_worker_took(struct sl_process *p, struct sl_view *view)
{
    char hash[20];

    if (view != p->reload.view || ++p->reload.acks_n < p->workers_n) {
        return;
    }
    sl_changes_describe(p->view != NULL ? p->view->config : NULL, view->config, p->reload.changes,
                        sizeof(p->reload.changes));
    memcpy(p->reload.not_synced, p->reload.missing, sizeof(p->reload.not_synced));
    p->reload.answered_n = p->reload.view_asked_n;
    p->reload.view = NULL;
    p->reload.committed = false;
    p->reloads_n += p->view != NULL;
    p->view = view;
    sl_listeners_retire(p);
    p->generation = view->generation;
    p->applied_unix_ms = sl_time_unix_ms();
    p->reload_error[0] = '\0';
    (void)snprintf(hash, sizeof(hash), "%016" PRIx64, view->config->content_hash);
    sl_log_configure(view->config->log.level, view->config->log.format);
    sl_log(SL_LOG_INFO, "config_applied", {"generation", SL_LOG_UINT(view->generation)},
           {"hash", SL_LOG_STR(hash)}, {"file", SL_LOG_STR(p->config_file)},
           {"changes", SL_LOG_STR(p->reload.changes)});
    sl_watch_prune(p->watch, view->config);
    if (view->generation == 1) {
        sl_activation_warn(&p->activation);
    }
    notify(p);
    if (p->reload.again) {
        p->reload.again = false;
        sl_reload_start(p);
    }
}

static void say_restart(const char *key)
{
    sl_log(SL_LOG_WARN, "needs_restart", {"key", SL_LOG_STR(key)});
}

/* Threads, and what only they know of, are made once: such a change is applied by a restart, and
 * said so, while all else of the file is applied now. */
static void note_fixed(const struct sl_process *p, const struct sl_config *next)
{
    const struct sl_config *first = p->first;

    if (next->workers_n != first->workers_n) {
        say_restart("workers");
    }
    if (next->admin.enabled != first->admin.enabled ||
        next->admin.probes_enabled != first->admin.probes_enabled ||
        !sl_address_same(&next->admin.listen, &first->admin.listen) ||
        !sl_address_same(&next->admin.probes, &first->admin.probes))
    {
        say_restart("admin");
    }
    if (strcmp(next->log.access, first->log.access) != 0) {
        say_restart("log.access");
    }
}

static void commit_when_synced(struct sl_process *p)
{
    p->reload.missing[0] = '\0';
    if (all_synced(p->reload.view)) {
        commit(p);
    } else {
        sl_timer_start(&p->reload.give_up, SL_SYNC_WAIT_MS, 0);
    }
}

/* The config that waited goes on waiting. */
static void wait_again(struct sl_process *p, const struct sl_config *waiting)
{
    struct sl_error err;

    if (sl_view_build(p, waiting, &p->reload.view, &err) == SL_OK) {
        commit_when_synced(p);
        return;
    }
    sl_log(SL_LOG_ERROR, "waiting_config_lost", {"error", SL_LOG_STR(err.message)});
}

/* Builds the view of config in place of the one that waits, which waits on if that fails. */
static int replace_waiting(struct sl_process *p, const struct sl_config *config,
                           struct sl_error *err)
{
    const struct sl_config *waiting =
        p->reload.view != NULL ? sl_config_ref(p->reload.view->config) : NULL;
    struct sl_listener *held = sl_listeners_hold(p);

    sl_reload_cancel(p);
    sl_watch_add(p->watch, config);
    int rc = sl_view_build(p, config, &p->reload.view, err);
    if (rc != SL_OK && waiting != NULL) {
        wait_again(p, waiting);
    }
    if (waiting != NULL) {
        sl_config_unref(&waiting);
    }
    sl_listeners_let_go(p, held);
    return rc;
}

int sl_reload_start(struct sl_process *p)
{
    const struct sl_config *config;
    struct sl_config_errors errors = {0};
    struct sl_error err;
    char line[800];

    p->reload.asked_n++;
    if (p->ending || p->drain_started_ms != 0) {
        refuse(p, "the process is about to end");
        return SL_ECONFIG;
    }
    if (p->reload.committed) {
        p->reload.again = true; /* the newest file counts, and it is read when its turn comes */
        return SL_OK;
    }
    if (p->view != NULL) {
        sl_notify_reloading(&p->notify);
    }
    sl_watch_note(p->watch); /* before it is read: a change from here on is another one */
    if (sl_config_load(p->config_file, &config, &errors) != SL_OK) {
        refuse_errors(p, &errors);
        return SL_ECONFIG;
    }
    int rc = replace_waiting(p, config, &err);
    if (rc == SL_OK) {
        p->reload.view_asked_n = p->reload.asked_n;
        note_fixed(p, config);
        announce_new(p->reload.view); /* from here on the kernel lets clients in, and they wait */
    }
    sl_config_unref(&config); /* the view has its own */
    if (rc != SL_OK) {
        sl_error_format(&err, line, sizeof(line));
        refuse(p, line);
        return SL_ECONFIG;
    }
    commit_when_synced(p);
    return SL_OK;
}

void sl_reload_init(struct sl_process *p)
{
    sl_timer_init(&p->reload.give_up, p->loop, on_give_up);
}
