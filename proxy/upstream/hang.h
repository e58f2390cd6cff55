/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hang: an endpoint that takes requests and answers none, while the others of its pool do.
 *
 * It is ejected (see outlier.h) when for as long as the pool has patience
 *   two have waited for a first byte from it without a pause,
 *   nobody has got a byte of any body, on any worker,
 *   and of the other members at least one gave a first byte in the last half of that time.
 * That is max(10 s, 8 times the pool's median first-byte time, twice the longest that was answered
 * within the last SL_HANG_SPAN_MS or two). One that waits proves nothing: it may be a long prompt,
 * or an answer that comes whole, and a policy that looks at loads sends nobody else there
 * meanwhile. A server all of whose places are taken gives no first bytes, but the answers that fill
 * them flow.
 *
 * What counts as first byte is what `timeouts.first_byte` waits for: of a 2xx a byte of the body,
 * for model servers send the head of a stream whether or not the engine behind it runs. But who
 * did not ask for work (a POST) and has got a head may listen to events that are rare, and who has
 * yet to be told to send (Expect) waits for no engine: neither counts. The first byte that comes
 * ends the ejection at once, whenever its request began.
 *
 * There are no timers for requests: each worker notes in its own cell how many wait and since when,
 * and the control thread looks once a second.
 *
 * Lifetime:  the state is in the endpoints and in the pool's cells
 * Thread:    wait_*: a worker, its own cells and two atomics of the endpoint; look: control thread
 * Limits:    look is O(members), and O(workers) for those with requests in flight
 */
#ifndef SL_UPSTREAM_HANG_H
#define SL_UPSTREAM_HANG_H

#include <sluiced/endpoint.h>

#include "pool.h"

#include <stdbool.h>
#include <stdint.h>

#define SL_HANG_LOOK_MS 1000
#define SL_HANG_LEAST_MS 10000
#define SL_HANG_MEDIANS_N 8
#define SL_HANG_LONGEST_N 2
#define SL_HANG_SPAN_MS 300000

struct sl_rng;

/* Worker: all of a request is sent, and its first byte is awaited. */
void sl_hang_wait_begins(struct sl_endpoint *ep, uint32_t worker_idx, uint64_t now_ms);

/* Worker: the wait that began at since_ms ended. answered: with a first byte. */
void sl_hang_wait_ends(struct sl_pool *pool, uint32_t worker_idx, struct sl_endpoint *ep,
                       uint64_t since_ms, uint64_t now_ms, bool answered);

/* Worker: a byte of a body came from ep. */
void sl_hang_on_byte(struct sl_endpoint *ep, uint64_t now_ms);

/* How long without a byte is too long for pool now. Any thread. */
uint64_t sl_hang_limit_ms(const struct sl_pool *pool, uint64_t now_ms);

/* Control thread, each SL_HANG_LOOK_MS: ejects members of set, the pool's newest, that hang, and
 * logs each. rng is the caller's. Returns how many. */
uint32_t sl_hang_look(struct sl_pool *pool, const struct sl_endpoint_set *set, uint64_t now_ms,
                      struct sl_rng *rng);

#endif
