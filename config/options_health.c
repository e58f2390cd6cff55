/* SPDX-License-Identifier: Apache-2.0 */
#include <sluiced/config.h>

#include "rows.h"
#include "shapes.h"
#include "validate.h"

/* One word, so that `tcp: false` is refused: it would say nothing. */
static const struct sl_word only_true[] = {{"true", SL_HEALTH_CHECK_TCP}, {NULL, 0}};

static const struct sl_option health_rows[] = {
    {.name = "http",
     .type = SL_OPTION_TEXT,
     SL_FIELD(sl_health_config, path),
     .what = "a path",
     .check = sl_value_url_target,
     .help = "GET of this path. Exactly one of http and tcp."},
    {.name = "tcp",
     .type = SL_OPTION_WORD,
     SL_FIELD(sl_health_config, kind),
     .words = only_true,
     .help = "A connection is opened (with the pool's TLS, if any) and closed."},
    {.name = "port",
     .type = SL_OPTION_COUNT,
     SL_FIELD(sl_health_config, port),
     .min = 1,
     .max = UINT16_MAX,
     .help = "Where to ask instead of the endpoint's own port, with the pool's TLS, if any. That "
             "traffic succeeds proves nothing then. Means nothing to an endpoint at a unix "
             "socket."},
    {.name = "host",
     .type = SL_OPTION_TEXT,
     SL_FIELD(sl_health_config, host),
     .what = "a host name",
     .check = sl_value_host,
     .help = "Of the request. Absent: address and port that are asked. Needs http."},
    {.name = "headers",
     .type = SL_OPTION_OWN,
     .what = "a map of 1 to 16 names of header fields to values",
     .read = sl_shape_health_headers,
     .write = sl_shape_health_headers_write,
     .help = "Sent as well: `{authorization: \"Bearer xyz\"}`. Needs http."},
    {.name = "status",
     .type = SL_OPTION_OWN,
     .what = "a status from 200 to 599, a range like 200-299, or a list of 1 to 16 of them",
     .read = sl_shape_health_status,
     .write = sl_shape_health_status_write,
     .help = "What is healthy: `[200, 204, 300-399]`. Absent: 200-299. Needs http."},
    {.name = "body",
     .type = SL_OPTION_TEXT,
     SL_FIELD(sl_health_config, body),
     .what = "a text of 1 to 255 bytes",
     .check = sl_shape_health_body_check,
     .help = "Must stand in the response's body, exactly so, within 64 KiB. That traffic "
             "succeeds proves nothing then. Needs http."},
    {.name = "interval",
     .type = SL_OPTION_DURATION,
     SL_FIELD(sl_health_config, interval_ms),
     .fallback = "2s",
     .min = 10,
     .max = SL_HOUR_MS,
     .help = "Between two checks of an endpoint, give or take 15 %; a quarter of it, but at least "
             "100ms, once a check has failed of one that is up, or succeeded of one that is down. "
             "None is sent while traffic has succeeded within it."},
    {.name = "timeout",
     .type = SL_OPTION_DURATION,
     SL_FIELD(sl_health_config, timeout_ms),
     .fallback = "1s",
     .min = 1,
     .max = SL_HOUR_MS,
     .help = "For one whole check."},
    {.name = "rise",
     .type = SL_OPTION_COUNT,
     SL_FIELD(sl_health_config, rise_n),
     .fallback = "2",
     .min = 1,
     .max = 100,
     .help = "Good checks in a row until it is up again."},
    {.name = "fall",
     .type = SL_OPTION_COUNT,
     SL_FIELD(sl_health_config, fall_n),
     .fallback = "3",
     .min = 1,
     .max = 100,
     .help = "Failed checks in a row until it is down."},
};

const struct sl_section sl_section_health = {
    .title = "pools.NAME.health",
    SL_ROWS(health_rows),
    .pos_offset = SL_NO_OFFSET,
    .finish = sl_finish_health,
};
