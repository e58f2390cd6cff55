/* SPDX-License-Identifier: Apache-2.0 */
#include <sluiced/discovery.h>

#include "proxy/io/loop.h"
#include "tests/unit/check.h"

#include <stdio.h>
#include <string.h>

struct seen {
    struct sl_sink sink;
    int snapshots_n;
    char text[256];
};

static void on_snapshot(struct sl_sink *sink, const struct sl_snapshot *snapshot)
{
    struct seen *s = sl_container_of(sink, struct seen, sink);
    size_t at = 0;

    s->snapshots_n++;
    s->text[0] = '\0';
    for (size_t i = 0; i < snapshot->n; i++) {
        const struct sl_found *f = &snapshot->items[i];
        at += (size_t)snprintf(s->text + at, sizeof(s->text) - at, "%s:%u=%u%s ", f->address.host,
                               f->address.port, f->weight, f->draining ? "~" : "");
    }
}

/* Starts, looks, stops; returns what was pushed. */
static const char *pushed(const struct sl_discover_config *discover)
{
    static struct seen seen;
    const struct sl_source_ops *ops = sl_source_get(SL_DISCOVER_STATIC);
    const struct sl_config config = {0};
    const struct sl_pool_config pool = {.name = "chat", .discover = *discover};
    struct sl_source *source = NULL;
    struct sl_source_status status;
    struct sl_discovery *d;
    struct sl_loop *loop;
    struct sl_error err;

    seen = (struct seen){.sink = {.on_snapshot = on_snapshot}};
    assert_int_equal(sl_loop_new(&loop), SL_OK);
    assert_int_equal(sl_discovery_new(loop, NULL, &d), SL_OK);
    assert_int_equal(ops->start(&pool, &config, d, &seen.sink, &source, &err), SL_OK);
    assert_int_equal(seen.snapshots_n, 1); /* before start returned */
    ops->status(source, &status);
    assert_true(status.synced && status.connected);
    assert_int_equal(status.fresh_at_ms, sl_loop_now_ms(loop));
    assert_string_equal(status.last_error, "");
    source->ops->stop(source);
    sl_discovery_free(d);
    sl_loop_free(loop);
    return seen.text;
}

static void the_addresses_of_the_config_are_pushed_sorted_and_once_each(void **state)
{
    static const struct sl_address addresses[] = {
        {.host = "10.0.0.8", .port = 8001},           {.host = "10.0.0.7", .port = 8002},
        {.host = "10.0.0.7", .port = 8001},           {.host = "10.0.0.7", .port = 8002},
        {.host = "/run/model.sock", .is_unix = true},
    };
    static const uint16_t weights[] = {1, 2, 0, 5, 9};
    struct sl_discover_config c = {
        .addresses = addresses,
        .weights = weights,
        .addresses_n = SL_ARRAY_LEN(addresses),
    };
    (void)state;

    assert_string_equal(pushed(&c),
                        "/run/model.sock:0=9 10.0.0.7:8001=0 10.0.0.7:8002=5 10.0.0.8:8001=1 ");
    c.weights = NULL;
    assert_string_equal(pushed(&c),
                        "/run/model.sock:0=1 10.0.0.7:8001=1 10.0.0.7:8002=1 10.0.0.8:8001=1 ");
}

static void no_address_is_an_empty_set(void **state)
{
    const struct sl_discover_config c = {0};
    (void)state;
    assert_string_equal(pushed(&c), "");
}

static void each_kind_has_its_name(void **state)
{
    (void)state;
    assert_string_equal(sl_source_get(SL_DISCOVER_STATIC)->name, "static");
    assert_string_equal(sl_source_get(SL_DISCOVER_KUBERNETES)->name, "kubernetes");
    assert_string_equal(sl_source_get(SL_DISCOVER_FILE)->name, "file");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_addresses_of_the_config_are_pushed_sorted_and_once_each),
        cmocka_unit_test(no_address_is_an_empty_set),
        cmocka_unit_test(each_kind_has_its_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
