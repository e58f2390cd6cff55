/* SPDX-License-Identifier: Apache-2.0 */
/*
 * process: begin, run, end. What cannot be changed while running (workers, admin, access log) is
 * taken from the first config here; all else goes the way of a reload.
 */
#include "process.h"

#include <sluiced/log.h>
#include <sluiced/time.h>

#include "proxy/base/alloc.h"
#include "proxy/l7/access_log.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#define EXIT_OK 0
#define EXIT_FAILED 1
#define EXIT_CONFIG 2
#define TRIM_EVERY_MS 3000
#define ADMIN_CHUNKS_BYTES ((size_t)64 * 1024 * 1024)

static void on_hup(struct sl_signal *s, int signum)
{
    (void)signum;
    sl_reload_start(sl_container_of(s, struct sl_process, on_hup));
}

/* A second one ends it now: whoever is asked twice was not meant to go on. POST /drain before the
 * first does not count: a preStop hook may have sent it. */
static void on_term(struct sl_signal *s, int signum)
{
    struct sl_process *p = sl_container_of(s, struct sl_process, on_term);
    (void)signum;

    if (p->terms_n++ == 0) {
        sl_drain_start(p, false);
    } else {
        sl_drain_cut(p);
    }
}

/* A person at a terminal does not wait for endpoints to spread. */
static void on_int(struct sl_signal *s, int signum)
{
    (void)signum;
    sl_drain_start(sl_container_of(s, struct sl_process, on_int), true);
}

static void on_file_change(void *arg)
{
    sl_reload_start(arg);
}

static int open_admin(struct sl_process *p, const struct sl_address *bind, bool probes_only,
                      struct sl_admin **out, struct sl_error *err)
{
    struct sl_admin_conf conf = {
        .loop = p->loop,
        .chunks = &p->chunks,
        .control = &p->control,
        .bind = bind,
        .probes_only = probes_only,
    };
    struct sl_address bound;
    char text[160];

    int rc = sl_admin_open(&conf, out, &bound, err);
    if (rc == SL_OK) {
        sl_address_format(&bound, text, sizeof(text));
        sl_log(SL_LOG_INFO, "listening", {"listener", SL_LOG_STR(probes_only ? "probes" : "admin")},
               {"address", SL_LOG_STR(text)});
    }
    return rc;
}

/* As many connections as the system lets us have. */
static void raise_file_limit(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
        limit.rlim_cur = limit.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &limit); /* what it was must do then */
    }
}

static int init(struct sl_process *p, struct sl_error *err)
{
    raise_file_limit();
    sl_list_init(&p->pools);
    p->access_fd = -1;
    p->notify.fd = -1;
    p->started_unix_ms = sl_time_unix_ms();
    sl_chunk_pool_init(&p->chunks, ADMIN_CHUNKS_BYTES, 16);
    int rc = sl_loop_new(&p->loop);
    if (rc == SL_OK) {
        rc = sl_fetcher_new(p->loop, &p->fetcher);
    }
    if (rc == SL_OK) {
        rc = sl_discovery_new(p->loop, p->fetcher, &p->discovery);
    }
    if (rc == SL_OK) {
        rc = sl_health_new(p->loop, &p->chunks, &p->health);
    }
    if (rc == SL_OK) {
        rc = sl_tls_secret_new(&p->tls_secret);
    }
    if (rc == SL_OK) {
        rc = sl_watch_new(p->loop, p->config_file, on_file_change, p, &p->watch);
    }
    if (rc != SL_OK) {
        return sl_error_set(err, (enum sl_err)rc, NULL, "cannot start: %s", sl_err_name(rc));
    }
    sl_reload_init(p);
    sl_notify_init(&p->notify, p->loop);
    return sl_activation_init(&p->activation, err);
}

static int start(struct sl_process *p, const struct sl_config *config, struct sl_error *err)
{
    uint32_t workers_n = config->workers_n > 0 ? config->workers_n : sl_workers_default_n();
    int rc = sl_access_log_open_target(config->log.access, &p->access_fd, err);

    if (rc != SL_OK) {
        return rc;
    }
    rc = sl_registry_new(workers_n, &p->registry);
    if (rc == SL_OK) {
        rc = sl_series_get(p->registry, SL_SCOPE_PROCESS, NULL, &p->series);
    }
    if (rc == SL_OK) {
        sl_info_init(p);
        rc = sl_workers_start(p, workers_n);
    }
    if (rc != SL_OK) {
        return sl_error_set(err, (enum sl_err)rc, NULL, "cannot start %u workers: %s", workers_n,
                            sl_err_name(rc));
    }
    if (config->admin.enabled) {
        rc = open_admin(p, &config->admin.listen, false, &p->admin, err);
    }
    if (rc == SL_OK && config->admin.probes_enabled) {
        rc = open_admin(p, &config->admin.probes, true, &p->probes, err);
    }
    return rc;
}

void sl_print_config_errors(const struct sl_config_errors *errors)
{
    char line[800];

    for (size_t i = 0; i < errors->n; i++) {
        sl_error_format(&errors->items[i], line, sizeof(line));
        (void)fprintf(stderr, "%s\n", line);
    }
    if (errors->dropped_n > 0) {
        (void)fprintf(stderr, "and %zu more\n", errors->dropped_n);
    }
}

/* Lets everything go in the order in which it leans on each other. What threads handed back late
 * is taken in between by a turn of the loop. */
static void end(struct sl_process *p)
{
    sl_admin_close(&p->admin);
    sl_admin_close(&p->probes);
    sl_reload_cancel(p);
    p->ending = true;
    if (p->running_n > 0) {
        sl_workers_stop(p);
    }
    if (p->loop != NULL) {
        sl_loop_run_once(p->loop); /* views and sets come back */
    }
    sl_workers_free(p);
    if (p->loop != NULL) {
        sl_loop_run_once(p->loop);
    }
    sl_listeners_sweep(p);
    sl_activation_fini(&p->activation);
    if (p->health != NULL) {
        sl_health_free(p->health);
    }
    sl_discovery_free(p->discovery);
    if (p->fetcher != NULL) {
        sl_fetcher_free(p->fetcher);
    }
    sl_watch_free(p->watch);
    if (p->series != NULL) {
        sl_series_unref(&p->series);
    }
    if (p->registry != NULL) {
        sl_registry_free(p->registry);
    }
    sl_access_log_close_target(p->access_fd);
    if (p->first != NULL) {
        sl_config_unref(&p->first);
    }
    if (p->loop != NULL) {
        sl_notify_fini(&p->notify);
        sl_loop_free(p->loop);
    }
    sl_chunk_pool_fini(&p->chunks);
    explicit_bzero(&p->tls_secret, sizeof(p->tls_secret));
    sl_free(p);
}

/* It ends already: a supervisor that asks again must not make a failure of it. */
static void block_signals(void)
{
    sigset_t set;

    (void)sigemptyset(&set); /* of signals that exist: none of these can fail */
    (void)sigaddset(&set, SIGHUP);
    (void)sigaddset(&set, SIGTERM);
    (void)sigaddset(&set, SIGINT);
    (void)pthread_sigmask(SIG_BLOCK, &set, NULL);
}

static void on_overload(struct sl_overload *o, enum sl_overload_step before)
{
    struct sl_process *p = sl_container_of(o, struct sl_process, overload);

    sl_workers_set_overload(p, o->step);
    sl_log(o->step > before ? SL_LOG_WARN : SL_LOG_INFO, "overload", {"step", SL_LOG_UINT(o->step)},
           {"memory_pct", SL_LOG_UINT(sl_overload_memory_pct(o))},
           {"fds_pct", SL_LOG_UINT(sl_overload_fds_pct(o))});
}

static void on_trim(struct sl_timer *t)
{
    (void)sl_alloc_trim(&sl_container_of(t, struct sl_process, trim_timer)->idle_memory);
}

int sl_process_run(const char *config_file)
{
    const struct sl_config *config = NULL;
    struct sl_config_errors errors = {0};
    struct sl_error err = {0};
    int code = EXIT_OK;

    struct sigaction ignore = {.sa_handler = SIG_IGN};
    (void)sigaction(SIGPIPE, &ignore, NULL); /* cannot fail; a send says EPIPE by itself */
    struct sl_process *p = sl_alloc_aligned(64, (sizeof(*p) + 63) & ~(size_t)63);
    if (p == NULL) {
        (void)fprintf(stderr, "no memory to start\n");
        return EXIT_FAILED;
    }
    p->config_file = config_file;
    if (init(p, &err) != SL_OK) {
        code = EXIT_FAILED;
    } else if (sl_config_load(config_file, &config, &errors) != SL_OK) {
        sl_print_config_errors(&errors);
        code = EXIT_CONFIG;
    } else {
        sl_log_configure(config->log.level, config->log.format);
        int rc = start(p, config, &err);
        code = rc == SL_OK ? EXIT_OK : rc == SL_ECONFIG ? EXIT_CONFIG : EXIT_FAILED;
    }
    p->first = config;
    if (code != EXIT_OK) {
        if (err.message[0] != '\0') {
            (void)fprintf(stderr, "%s: %s\n", config_file, err.message);
        }
        end(p);
        return code;
    }
    if (sl_reload_start(p) != SL_OK) {
        (void)fprintf(stderr, "%s\n", p->reload_error);
        end(p);
        return EXIT_CONFIG;
    }
    /* Named by tests only. */
    sl_overload_start(&p->overload, p->loop, secure_getenv("SLUICED_CGROUP_DIR"), on_overload);
    sl_timer_init(&p->trim_timer, p->loop, on_trim);
    sl_timer_start(&p->trim_timer, TRIM_EVERY_MS, TRIM_EVERY_MS);
    sl_hangs_start(p);
    sl_signal_start(&p->on_hup, p->loop, SIGHUP, on_hup);
    sl_signal_start(&p->on_term, p->loop, SIGTERM, on_term);
    sl_signal_start(&p->on_int, p->loop, SIGINT, on_int);
    sl_loop_run(p->loop);
    block_signals();
    sl_hangs_stop(p);
    sl_overload_stop(&p->overload);
    sl_timer_stop(&p->trim_timer);
    sl_signal_stop(&p->on_hup);
    sl_signal_stop(&p->on_term);
    sl_signal_stop(&p->on_int);
    end(p);
    return EXIT_OK;
}
