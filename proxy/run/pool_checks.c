/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pool_checks: the health checks of a pool through all configs that name it. What stays the same
 * goes on as it is, with what it has counted.
 */
#include "process.h"

#include "proxy/upstream/pool.h"

#include <string.h>

void sl_run_pool_stop_checks(struct sl_run_pool *rp)
{
    if (rp->health != NULL) {
        sl_health_unwatch(rp->health);
        rp->health = NULL;
    }
    sl_tls_context_free(rp->health_tls);
    rp->health_tls = NULL;
    rp->health_conf = NULL;
    sl_config_unref(&rp->health_config);
}

static bool same_headers(const struct sl_health_config *a, const struct sl_health_config *b)
{
    bool same = a->headers_n == b->headers_n;

    for (size_t i = 0; same && i < a->headers_n; i++) {
        same = strcmp(a->headers[i].name, b->headers[i].name) == 0 &&
               strcmp(a->headers[i].value, b->headers[i].value) == 0;
    }
    return same;
}

static bool same_statuses(const struct sl_health_config *a, const struct sl_health_config *b)
{
    bool same = a->statuses_n == b->statuses_n;

    for (size_t i = 0; same && i < a->statuses_n; i++) {
        same = a->statuses[i].first == b->statuses[i].first &&
               a->statuses[i].last == b->statuses[i].last;
    }
    return same;
}

static bool same_request(const struct sl_health_config *a, const struct sl_health_config *b)
{
    return a->kind == b->kind && a->port == b->port && sl_same_text(a->path, b->path) &&
           sl_same_text(a->host, b->host) && sl_same_text(a->body, b->body) && same_headers(a, b) &&
           same_statuses(a, b);
}

static bool same_health(const struct sl_run_pool *rp, const struct sl_pool_config *conf,
                        const struct sl_tls_context *tls)
{
    if (rp->health_conf == NULL) {
        return false;
    }
    const struct sl_health_config *a = &rp->health_conf->health;
    const struct sl_health_config *b = &conf->health;
    bool same_tls =
        (tls == NULL) == (rp->health_tls == NULL) &&
        (tls == NULL || sl_tls_context_identity(tls) == sl_tls_context_identity(rp->health_tls));

    return same_request(a, b) && same_tls && a->interval_ms == b->interval_ms &&
           a->timeout_ms == b->timeout_ms && a->rise_n == b->rise_n && a->fall_n == b->fall_n;
}

int sl_run_pool_update_checks(struct sl_run_pool *rp, const struct sl_config *config,
                              const struct sl_pool_config *conf, struct sl_error *err)
{
    struct sl_tls_context *tls = NULL;
    struct sl_health_watch *watch = NULL;

    if (conf->health.kind == SL_HEALTH_CHECK_NONE) {
        sl_run_pool_stop_checks(rp);
        return SL_OK;
    }
    if (conf->tls != NULL) {
        int rc = sl_tls_client_context_new(conf->name, conf->tls, &tls, err);
        if (rc != SL_OK) {
            return rc;
        }
    }
    if (same_health(rp, conf, tls)) {
        sl_tls_context_free(tls);
        return SL_OK;
    }
    int rc = sl_health_watch(rp->process->health, rp->pool, conf, tls, &watch);
    if (rc != SL_OK) {
        sl_tls_context_free(tls);
        return sl_error_set(err, rc, NULL, "no memory for checks");
    }
    sl_run_pool_stop_checks(rp);
    rp->health = watch;
    rp->health_tls = tls;
    rp->health_conf = conf;
    rp->health_config = sl_config_ref(config);
    if (rp->pool->newest != NULL) {
        sl_health_set_members(watch, rp->pool->newest);
    }
    return SL_OK;
}
