/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fuzz_config: any bytes as a configuration. Besides not crashing: what is refused says why, at a
 * place, and in the order of the file; what is accepted holds what config.h promises.
 */
#include <sluiced/config.h>

#include <stdint.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_errors(int rc, const struct sl_config_errors *errors)
{
    SL_ASSERT(rc == SL_ECONFIG, "refused with %d", rc);
    SL_ASSERT(errors->n > 0, "refused without a reason");
    for (size_t i = 0; i < errors->n; i++) {
        const struct sl_error *e = &errors->items[i];

        SL_ASSERT(e->line > 0 && e->column > 0 && e->key[0] != '\0' && e->message[0] != '\0',
                  "error %zu: %s: %s", i, e->key, e->message);
        SL_ASSERT(i == 0 || errors->items[i - 1].line <= e->line, "error %zu is out of order", i);
    }
}

static void check_route(const struct sl_config *c, const struct sl_route_config *r)
{
    uint64_t total = 0;

    SL_ASSERT(r->name != NULL && r->path != NULL && r->path[0] == '/', "route");
    for (size_t i = 0; i < r->sides_n; i++) {
        const struct sl_split_side *s = &r->sides[i];

        SL_ASSERT(s->pool_idx < c->pools_n, "route %s: pool %u", r->name, s->pool_idx);
        SL_ASSERT(strcmp(c->pools[s->pool_idx].name, s->pool) == 0, "pool %s", s->pool);
        total += s->weight;
    }
    SL_ASSERT(total > 0, "route %s: no weight", r->name);
}

static void check_config(const struct sl_config *c)
{
    SL_ASSERT(c->workers_n <= 256 && c->log.access != NULL, "root");
    for (size_t i = 0; i < c->listeners_n; i++) {
        const struct sl_listener_config *l = &c->listeners[i];

        SL_ASSERT(l->name != NULL && l->routes_n > 0 && l->timeouts.head_ms > 0, "listener %zu", i);
        for (size_t j = 0; j < l->routes_n; j++) {
            check_route(c, &l->routes[j]);
        }
    }
    for (size_t i = 0; i < c->pools_n; i++) {
        const struct sl_pool_config *p = &c->pools[i];

        SL_ASSERT(p->name != NULL && p->balance != NULL && p->timeouts.connect_ms > 0, "pool %zu",
                  i);
        SL_ASSERT(p->discover.kind == SL_DISCOVER_KUBERNETES || p->discover.addresses_n > 0,
                  "pool %s: no endpoint", p->name);
        SL_ASSERT(p->health.kind != SL_HEALTH_CHECK_HTTP || p->health.path != NULL, "pool %s",
                  p->name);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct sl_config_errors errors;
    const struct sl_config *config = NULL;
    int rc = sl_config_parse((const char *)data, size, "fuzz.yaml", &config, &errors);

    if (rc != SL_OK) {
        check_errors(rc, &errors);
        return 0;
    }
    check_config(config);
    sl_config_unref(&config);
    return 0;
}
