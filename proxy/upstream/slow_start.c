/* SPDX-License-Identifier: Apache-2.0 */
#include "slow_start.h"

#include "proxy/base/rng.h"

#include <math.h>

#define DRAW_BITS 24
#define MILLI 1000

double sl_slow_start_share(const struct sl_slow_start_config *conf, uint64_t age_ms)
{
    if (age_ms >= conf->window_ms) {
        return 1.0;
    }
    double share = (double)age_ms / (double)conf->window_ms;
    if (conf->aggression_milli != MILLI) {
        share = pow(share, (double)MILLI / conf->aggression_milli);
    }
    return share > SL_SLOW_START_LEAST ? share : SL_SLOW_START_LEAST;
}

uint64_t sl_slow_start_draw_ms(const struct sl_slow_start_config *conf, uint64_t oldest_ms,
                               struct sl_rng *rng)
{
    double drawn = (double)sl_rng_below(rng, UINT64_C(1) << DRAW_BITS) / (1 << DRAW_BITS);

    drawn *= sl_slow_start_share(conf, oldest_ms);
    if (drawn < SL_SLOW_START_LEAST) {
        return 0;
    }
    /* The formula turned round, once a pick and not once an endpoint. */
    if (conf->aggression_milli != MILLI) {
        drawn = pow(drawn, conf->aggression_milli / (double)MILLI);
    }
    return (uint64_t)ceil((double)conf->window_ms * drawn);
}
