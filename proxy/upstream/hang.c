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

    if (waiting_n < SL_ARRAY_LEN(cell->waiting_from_ms)) {
        STORE(cell->waiting_from_ms[waiting_n], now_ms);
    }
    /* Release: who sees that it waits sees since when, and not since when another did. */
    atomic_store_explicit(&cell->waiting_n, waiting_n + 1, memory_order_release);
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

/* Packed: the number of a span of time, and the longest wait that was answered in it. */
static uint64_t pack(uint64_t span, uint64_t waited_ms)
{
    return span << 32 | (waited_ms < UINT32_MAX ? waited_ms : UINT32_MAX);
}

static void note_longest(struct sl_pool_cell *cell, uint64_t waited_ms, uint64_t now_ms)
{
    uint64_t span = now_ms / SL_HANG_SPAN_MS;
    uint64_t packed = pack(span, waited_ms);

    if (packed > LOAD(cell->first_byte_longest[span % 2])) { /* a later span is the greater one */
        STORE(cell->first_byte_longest[span % 2], packed);
    }
}

static uint64_t longest_ms(const struct sl_pool_cell *cell, uint64_t now_ms)
{
    uint64_t span = now_ms / SL_HANG_SPAN_MS;
    uint64_t longest = 0;

    for (size_t i = 0; i < SL_ARRAY_LEN(cell->first_byte_longest); i++) {
        uint64_t packed = LOAD(cell->first_byte_longest[i]);
        uint64_t ms = packed & UINT32_MAX;
        if ((packed >> 32) + 1 >= span && ms > longest) {
            longest = ms;
        }
    }
    return longest;
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
    note_longest(&pool->cells[worker_idx], now_ms - since_ms, now_ms);
    sl_outlier_on_first_byte(ep, now_ms);
}

void sl_hang_on_byte(struct sl_endpoint *ep, uint64_t now_ms)
{
    if (LOAD(ep->byte_ms) != now_ms) {
        STORE(ep->byte_ms, now_ms);
    }
    sl_outlier_on_first_byte(ep, now_ms);
}

uint64_t sl_hang_limit_ms(const struct sl_pool *pool, uint64_t now_ms)
{
    uint64_t limit_ms = SL_HANG_LEAST_MS;

    for (uint32_t i = 0; i < pool->workers_n; i++) { /* the most patient of the workers */
        const struct sl_pool_cell *cell = &pool->cells[i];
        uint64_t usual_ms = SL_HANG_MEDIANS_N * LOAD(cell->first_byte_median_us) / US_PER_MS;
        uint64_t rare_ms = SL_HANG_LONGEST_N * longest_ms(cell, now_ms);
        limit_ms = usual_ms > limit_ms ? usual_ms : limit_ms;
        limit_ms = rare_ms > limit_ms ? rare_ms : limit_ms;
    }
    return limit_ms;
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

static uint64_t later(uint64_t a_ms, uint64_t b_ms)
{
    return a_ms > b_ms ? a_ms : b_ms;
}

/* Since when there is always one that waits, on all workers together, and since when two. */
static void find_waits(const struct sl_endpoint *ep, uint64_t from_ms[2])
{
    from_ms[0] = from_ms[1] = UINT64_MAX;
    for (uint32_t i = 0; i < ep->cells_n; i++) {
        const struct sl_endpoint_cell *cell = &ep->cells[i];
        uint32_t waiting_n = atomic_load_explicit(&cell->waiting_n, memory_order_acquire);
        for (uint32_t k = 0; k < waiting_n && k < SL_ARRAY_LEN(cell->waiting_from_ms); k++) {
            uint64_t ms = LOAD(cell->waiting_from_ms[k]);
            if (ms < from_ms[0]) {
                from_ms[1] = from_ms[0];
                from_ms[0] = ms;
            } else if (ms < from_ms[1]) {
                from_ms[1] = ms;
            }
        }
    }
}

/* Since when it is asked and says nothing; UINT64_MAX: too few wait, or it is out anyway and has
 * not had its trial. */
static uint64_t silent_since_ms(const struct sl_endpoint *ep)
{
    uint64_t said_ms = later(LOAD(ep->first_byte_ms), LOAD(ep->byte_ms));
    uint64_t from_ms[2];

    if (LOAD(ep->in_flight_n) == 0) {
        return UINT64_MAX;
    }
    find_waits(ep, from_ms);
    if (LOAD(ep->ejections_in_row_n) == 0) {
        return later(from_ms[1], said_ms);
    }
    /* Those that hung before are still there: the trial is judged by its own time. */
    uint64_t trial_ms = LOAD(ep->on_trial) ? LOAD(ep->trial_at_ms) : UINT64_MAX;
    return later(later(from_ms[0], trial_ms), said_ms);
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
    uint64_t limit_ms = sl_hang_limit_ms(pool, now_ms);
    uint32_t ejected_n = 0;
    bool enough = true; /* remain for one more to go; asked again, all would be counted again */

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
        bool is_out = LOAD(ep->ejections_in_row_n) > 0; /* it needs nobody's leave */
        if ((!enough && !is_out) || !sl_outlier_on_hang(&pool->outlier, set, ep, &report)) {
            enough = enough && is_out;
            continue;
        }
        STORE(ep->hangs_n, LOAD(ep->hangs_n) + 1);
        STORE(pool->hangs_n, LOAD(pool->hangs_n) + 1);
        log_hang(pool, ep, now_ms - since_ms);
        ejected_n++;
    }
    return ejected_n;
}
