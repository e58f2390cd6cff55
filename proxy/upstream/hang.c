/* SPDX-License-Identifier: Apache-2.0 */
#include "hang.h"

#include <sluiced/log.h>

#define ADDRESS_BYTES 128
#define US_PER_MS 1000
#define STEP_PARTS 16 /* a median moves by a sixteenth: tenfold in some forty answers */

#define LOAD(field) atomic_load_explicit(&(field), memory_order_relaxed)
#define STORE(field, v) atomic_store_explicit(&(field), (v), memory_order_relaxed)

void sl_hang_wait_begins(struct sl_endpoint *ep, uint32_t worker_idx, uint64_t now_ms)
{
    struct sl_endpoint_cell *cell = &ep->cells[worker_idx]; /* this worker's alone */
    uint32_t waiting_n = LOAD(cell->waiting_n);

    if (waiting_n == 0) {
        STORE(cell->waiting_from_ms, now_ms);
    }
    STORE(cell->waiting_n, waiting_n + 1);
}

/* As many samples above as below keep it where it is. */
static void learn(struct sl_pool_cell *cell, uint64_t waited_ms)
{
    uint64_t median_us = LOAD(cell->first_byte_median_us);
    uint64_t step_us = median_us / STEP_PARTS + US_PER_MS;
    uint64_t waited_us = waited_ms * US_PER_MS;

    if (median_us == 0) {
        median_us = waited_us + US_PER_MS; /* what is 0 is not known */
    } else if (waited_us > median_us) {
        median_us += step_us;
    } else if (median_us > step_us) {
        median_us -= step_us;
    }
    STORE(cell->first_byte_median_us, median_us);
}

void sl_hang_wait_ends(struct sl_pool *pool, uint32_t worker_idx, struct sl_endpoint *ep,
                       uint64_t since_ms, uint64_t now_ms, bool answered)
{
    struct sl_endpoint_cell *cell = &ep->cells[worker_idx];
    uint32_t waiting_n = LOAD(cell->waiting_n);

    SL_ASSERT(waiting_n > 0, "endpoint %u: more waits ended than began", ep->id);
    STORE(cell->waiting_n, waiting_n - 1);
    if (!answered) {
        return;
    }
    if (LOAD(ep->first_byte_ms) != now_ms) { /* do not write a line that others read */
        STORE(ep->first_byte_ms, now_ms);
    }
    learn(&pool->cells[worker_idx], now_ms - since_ms);
    sl_outlier_on_first_byte(ep, now_ms);
}

uint64_t sl_hang_limit_ms(const struct sl_pool *pool)
{
    uint64_t median_us = 0; /* the highest of the workers': rather too patient */

    for (uint32_t i = 0; i < pool->workers_n; i++) {
        uint64_t own_us = LOAD(pool->cells[i].first_byte_median_us);
        median_us = own_us > median_us ? own_us : median_us;
    }
    uint64_t limit_ms = SL_HANG_MEDIANS_N * median_us / US_PER_MS;
    return limit_ms > SL_HANG_LEAST_MS ? limit_ms : SL_HANG_LEAST_MS;
}

/* Who gave the last first byte, and when the last but one of another came. */
struct latest {
    const struct sl_endpoint *who;
    uint64_t first_ms;
    uint64_t second_ms;
};

static struct latest latest_of(const struct sl_endpoint_set *set)
{
    struct latest l = {0};

    for (size_t i = 0; i < set->members_n; i++) {
        const struct sl_endpoint *ep = set->members[i].endpoint;
        uint64_t at_ms = LOAD(ep->first_byte_ms);
        if (at_ms > l.first_ms) {
            l.second_ms = l.first_ms;
            l.first_ms = at_ms;
            l.who = ep;
        } else if (at_ms > l.second_ms) {
            l.second_ms = at_ms;
        }
    }
    return l;
}

/* Since when somebody waits and nobody is answered; UINT64_MAX: nobody waits, or it is out anyway
 * and has not had its trial. */
static uint64_t silent_since_ms(const struct sl_endpoint *ep)
{
    uint64_t since_ms = UINT64_MAX;
    uint64_t answered_ms = LOAD(ep->first_byte_ms);

    if (LOAD(ep->in_flight_n) == 0) {
        return since_ms;
    }
    for (uint32_t i = 0; i < ep->cells_n; i++) {
        const struct sl_endpoint_cell *cell = &ep->cells[i];
        uint64_t from_ms = LOAD(cell->waiting_from_ms);
        if (LOAD(cell->waiting_n) > 0 && from_ms < since_ms) {
            since_ms = from_ms;
        }
    }
    if (since_ms != UINT64_MAX && LOAD(ep->ejections_in_row_n) > 0) {
        /* Those that hung before are still there: the trial is judged by its own time. */
        uint64_t trial_ms = LOAD(ep->on_trial) ? LOAD(ep->trial_at_ms) : UINT64_MAX;
        since_ms = trial_ms > since_ms ? trial_ms : since_ms;
    }
    return answered_ms > since_ms ? answered_ms : since_ms;
}

static void log_hang(const struct sl_pool *pool, const struct sl_endpoint *ep, uint64_t silent_ms)
{
    char address[ADDRESS_BYTES];

    sl_address_format(&ep->address, address, sizeof(address));
    sl_log(SL_LOG_WARN, "endpoint_hangs", {"pool", SL_LOG_STR(pool->name)},
           {"address", SL_LOG_STR(address)}, {"pod", SL_LOG_STR(ep->pod_name)},
           {"silent_ms", SL_LOG_UINT(silent_ms)});
}

uint32_t sl_hang_look(struct sl_pool *pool, const struct sl_endpoint_set *set, uint64_t now_ms,
                      struct sl_rng *rng)
{
    const struct latest latest = latest_of(set);
    uint64_t limit_ms = sl_hang_limit_ms(pool);
    uint32_t ejected_n = 0;

    if (latest.first_ms + limit_ms / 2 <= now_ms) {
        return 0; /* nobody is answered: it is not one endpoint that fails */
    }
    for (size_t i = 0; i < set->members_n; i++) {
        struct sl_endpoint *ep = set->members[i].endpoint;
        uint64_t since_ms = silent_since_ms(ep);
        uint64_t other_ms = latest.who == ep ? latest.second_ms : latest.first_ms;
        if (since_ms > now_ms || now_ms - since_ms < limit_ms || other_ms + limit_ms / 2 <= now_ms)
        {
            continue;
        }
        const struct sl_outlier_report report = {since_ms, now_ms, rng};
        if (!sl_outlier_on_hang(&pool->outlier, set, ep, &report)) {
            break; /* too few would remain: each further one would count them again */
        }
        STORE(ep->hangs_n, LOAD(ep->hangs_n) + 1);
        STORE(pool->hangs_n, LOAD(pool->hangs_n) + 1);
        log_hang(pool, ep, now_ms - since_ms);
        ejected_n++;
    }
    return ejected_n;
}
