/* SPDX-License-Identifier: Apache-2.0 */
#include "watch_conf.h"

const struct sl_list_watch_times sl_list_watch_times = {
    .connect_ms = 5000,
    .list_idle_ms = 30000,
    .list_total_ms = 120000,
    .marker_ms = 3000,
    .watch_idle_ms = 90000,
    .watch_s = 300,
    .compare_ms = 3600000,
    .compare_min_ms = 30000,
    .doubt_ms = 500,
    .grace_ms = 2000,
    .doubted_ms = 60000,
    .backoff_min_ms = 200,
    .backoff_max_ms = 30000,
    .backoff_hurry_ms = 2000,
    .no_stream_ms = 3600000,
};

uint64_t sl_watch_backoff_ms(const struct sl_list_watch_times *times, struct sl_rng *rng,
                             uint32_t failures_n, bool hurries)
{
    uint64_t max_ms = hurries ? times->backoff_hurry_ms : times->backoff_max_ms;
    uint64_t limit_ms = times->backoff_min_ms * 2;

    for (uint32_t i = 1; i < failures_n && limit_ms < max_ms; i++) {
        limit_ms *= 2;
    }
    limit_ms = limit_ms < max_ms ? limit_ms : max_ms;
    return limit_ms / 2 + sl_rng_below(rng, limit_ms - limit_ms / 2 + 1);
}
