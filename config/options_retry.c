/* SPDX-License-Identifier: Apache-2.0 */
#include <sluiced/config.h>

#include "rows.h"
#include "shapes.h"
#include "validate.h"

static const struct sl_option backoff_rows[] = {
    {.name = "min",
     .type = SL_OPTION_DURATION,
     SL_FIELD(sl_retry_config, backoff_min_ms),
     .fallback = "25ms",
     .min = 1,
     .max = 6 * SL_SECOND_MS,
     .help = "At most so long before the first one, twice as long before each further one."},
    {.name = "max",
     .type = SL_OPTION_DURATION,
     SL_FIELD(sl_retry_config, backoff_max_ms),
     .fallback = "250ms",
     .min = 1,
     .max = SL_MINUTE_MS,
     .help = "Never longer than this. Where only `min` is given: ten times that."},
};

static const struct sl_section backoff_section = {
    .title = "listeners[].http.routes[].retry.backoff",
    SL_ROWS(backoff_rows),
    .pos_offset = SL_NO_OFFSET,
    .finish = sl_finish_backoff,
};

static const struct sl_option retry_rows[] = {
    {.name = "attempts",
     .type = SL_OPTION_COUNT,
     SL_FIELD(sl_retry_config, attempts_n),
     .fallback = "1",
     .max = SL_RETRY_ATTEMPTS_MAX_N,
     .help = "How often, at most. An endpoint that could not be sent anything does not count: up "
             "to four of those are passed over, whatever this says."},
    {.name = "statuses",
     .type = SL_OPTION_OWN,
     .what = "a status from 400 to 599, a range like 502-504, or a list of 1 to 16 of them",
     .read = sl_shape_retry_statuses,
     .write = sl_shape_retry_statuses_write,
     .help =
         "Answers that are worth another attempt while a ready endpoint is left: `[502, 503, "
         "504]`. The client gets the last one. One that is given up is not kept: where the next "
         "attempt has no answer, because it is refused, cut or too slow, the client gets our "
         "own 502, 503 or 504, without the Retry-After that the first may have had. Absent: "
         "none. 503 with Retry-After is another matter: the endpoint says that it did nothing, "
         "so any request goes elsewhere."},
    {.name = "per_try",
     .type = SL_OPTION_DURATION,
     SL_FIELD(sl_retry_config, per_try_ms),
     .fallback = "off",
     .min = 10,
     .max = SL_HOUR_MS,
     .off_ok = true,
     .help = "From the end of the request until an attempt has the head of its answer; a head that "
             "is held until the first token has not come before that. Then a ready endpoint that "
             "was not asked yet is, and the silent one has failed as by `timeouts.first_byte`. "
             "Where no other attempt may follow, only the pool's timeouts count."},
    {.name = "backoff",
     .type = SL_OPTION_SECTION,
     SL_SAME,
     .section = &backoff_section,
     .help = "Before an attempt that follows a failure or one of `statuses`: a random time from "
             "nothing up to a bound that doubles."},
};

const struct sl_section sl_section_retry = {
    .title = "listeners[].http.routes[].retry",
    SL_ROWS(retry_rows),
    .pos_offset = SL_NO_OFFSET,
    .finish = sl_finish_retry,
};
