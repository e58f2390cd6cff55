/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fake_control: a process that is not there: what admin asks it for is what the test wrote down.
 */
#ifndef SL_TEST_FAKE_CONTROL_H
#define SL_TEST_FAKE_CONTROL_H

#include <sluiced/control.h>

enum {
    FAKE_LISTENERS_N = 1,
    FAKE_ROUTES_N = 2,
    FAKE_SIDES_N = 2,
    FAKE_POOLS_N = 2,
    FAKE_ENDPOINTS_N = 5,
};

struct fake_control {
    struct sl_control control;
    struct sl_process_info process;
    struct sl_listener_info listener;
    struct sl_route_info routes[FAKE_ROUTES_N];
    struct sl_side_info sides[FAKE_ROUTES_N][FAKE_SIDES_N];
    struct sl_pool_info pools[FAKE_POOLS_N];
    struct sl_endpoint_info endpoints[FAKE_ENDPOINTS_N]; /* of the first pool */
    struct sl_series *series[4];
    uint64_t many_n; /* endpoints of the second pool: 10.0.0.0 and on, one request each */
    unsigned reloads_n;
    unsigned drains_n;
    bool endpoint_drained;
    int reload_code;
    void (*on_reload)(void *arg);
    void *on_reload_arg;
};

/* With a registry of two workers in which each scope counted something. */
void fake_control_init(struct fake_control *f);
void fake_control_fini(struct fake_control *f);

#endif
