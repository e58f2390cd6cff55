/* SPDX-License-Identifier: Apache-2.0 */
#include <sluiced/config.h>

#include "rows.h"

static const struct sl_option limits_rows[] = {
    {.name = "in_flight",
     .type = SL_OPTION_COUNT,
     SL_FIELD(sl_limits_config, in_flight_n),
     .min = 1,
     .max = 10000000,
     .help = "Requests that run at the pool at the same time, on all workers together. One that is "
             "tried again keeps its place. Absent: no limit."},
    {.name = "per_endpoint",
     .type = SL_OPTION_COUNT,
     SL_FIELD(sl_limits_config, per_endpoint_n),
     .min = 1,
     .max = 1000000,
     .help = "Requests that run at each endpoint at the same time, on all workers together. While "
             "all good endpoints are full, requests wait rather than go to one that is ejected, "
             "unhealthy or drains. Absent: no limit."},
    {.name = "connections",
     .type = SL_OPTION_COUNT,
     SL_FIELD(sl_limits_config, connections_n),
     .min = 1,
     .max = 10000000,
     .help = "Connections that are open to the pool at the same time, on all workers together and "
             "idle ones included, but not those of active checks. At the limit an idle one to "
             "another endpoint is closed for a request that needs its own; without one, the "
             "request waits. Absent: no limit."},
    {.name = "connections_per_endpoint",
     .type = SL_OPTION_COUNT,
     SL_FIELD(sl_limits_config, connections_per_endpoint_n),
     .min = 1,
     .max = 1000000,
     .help = "The same for each endpoint. While all good ones are at the limit and have no idle "
             "connection, requests wait. Absent: no limit."},
    {.name = "retries",
     .type = SL_OPTION_COUNT,
     SL_FIELD(sl_limits_config, retries_n),
     .min = 1,
     .max = 1000000,
     .help = "Second attempts of what was sent already that run at the pool at the same time, on "
             "all workers together; one more is not made. They always keep within the pool's "
             "retry budget: up to 3 at a time, or 20 % of the requests of the last ten seconds. "
             "Absent: the budget alone."},
};

const struct sl_section sl_section_limits = {
    .title = "pools.NAME.limits",
    SL_ROWS(limits_rows),
    .pos_offset = SL_NO_OFFSET,
};

static const struct sl_option priority_rows[] = {
    {.name = "header",
     .type = SL_OPTION_TEXT,
     SL_FIELD(sl_queue_config, priority_header),
     .required = true,
     .what = "the name of a header field",
     .check = sl_value_token,
     .help = "Its value is the class: `0` is served first, `3` last; without it, or with another "
             "value, a request is of class 2. A class is worth a quarter of `timeout`: one that "
             "waited so much longer goes first, so that none starves. Clients that are not trusted "
             "must not be able to set it."},
};

static const struct sl_section priority_section = {
    .title = "pools.NAME.queue.priority",
    SL_ROWS(priority_rows),
    .pos_offset = SL_NO_OFFSET,
};

static const struct sl_option queue_rows[] = {
    {.name = "size",
     .type = SL_OPTION_COUNT,
     SL_FIELD(sl_queue_config, size_n),
     .fallback = "1024",
     .max = 1000000,
     .help =
         "Requests that may wait, on all workers together; one more: 503 `queue_full`. 0: none "
         "waits, which is `no_endpoint` where there is no endpoint, and `upstream_refused` where "
         "all refuse connections. This is the limit on what is pending."},
    {.name = "bytes",
     .type = SL_OPTION_SIZE,
     SL_FIELD(sl_queue_config, bytes),
     .fallback = "64MiB",
     .min = 1024,
     .max = UINT64_C(1) << 40,
     .help = "What those that wait may hold of heads and bodies, on all workers together; more: "
             "503 `queue_full`. Of a body no more is read while its request waits, so that it "
             "holds what came with the head, at most 1 MiB."},
    {.name = "timeout",
     .type = SL_OPTION_DURATION,
     SL_FIELD(sl_queue_config, timeout_ms),
     .fallback = "5s",
     .min = 1,
     .max = SL_HOUR_MS,
     .help =
         "How long after it first had to wait a request may wait still: 503 `queue_timeout`, or "
         "502 `upstream_refused` where all endpoints refuse connections until then. "
         "`timeouts.total` counts as well."},
    {.name = "priority",
     .type = SL_OPTION_SECTION,
     SL_SAME,
     .section = &priority_section,
     .help = "Absent: first come, first served."},
};

const struct sl_section sl_section_queue = {
    .title = "pools.NAME.queue",
    SL_ROWS(queue_rows),
    .pos_offset = SL_NO_OFFSET,
};
