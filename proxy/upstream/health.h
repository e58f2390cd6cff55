/* SPDX-License-Identifier: Apache-2.0 */
/*
 * health: active checks: who asks each endpoint of a pool, every so often, whether it is well.
 *
 *   success   a status that is expected, with the text that must stand in its body; or for tcp: a
 *             connection (and a TLS handshake, where the pool has TLS)
 *   failure   any other answer, or none within the timeout
 *
 * An endpoint goes down after `fall` failures in a row and up after `rise` successes; once the
 * first of them came, the interval is a quarter until the state or the answers change. The first
 * success of one that no check has judged decides at once, and so does a first refused connect.
 * Traffic that succeeded within the interval counts as a success, and no check is sent, unless the
 * checks have a port of their own or look into the body: they ask what traffic does not. Memory or
 * descriptors that we lack say nothing about an endpoint.
 *
 * Lifetime:  runner: process; watch: as long as a pool has these checks
 * Thread:    control thread, on its loop; endpoint->health is stored relaxed, for all to read
 * Ownership: the caller's; a watch refers to the endpoints it checks, and borrows the rest
 * Errors:    SL_ENOMEM, SL_ELIMIT
 * Limits:    SL_HEALTH_PROBES_A_SECOND_N in all: beyond it the intervals stretch, alike for all;
 *            one connection an endpoint, kept between checks; 16 KiB of response head, 64 KiB of
 *            body, then the connection is closed
 */
#ifndef SL_UPSTREAM_HEALTH_H
#define SL_UPSTREAM_HEALTH_H

#include <sluiced/config.h>
#include <sluiced/defs.h>
#include <sluiced/endpoint.h>

#define SL_HEALTH_PROBES_A_SECOND_N 500
#define SL_HEALTH_JITTER_PCT 15
#define SL_HEALTH_HURRIED_MS                                            \
    100 /* least interval of an endpoint whose state is about to change \
         */
#define SL_HEALTH_PATH_MAX_BYTES 8192
#define SL_HEALTH_BODY_MAX_BYTES (64 * 1024)

struct sl_chunk_pool;
struct sl_health_runner;
struct sl_health_watch;
struct sl_loop;
struct sl_pool;
struct sl_tls_context;

/* loop and chunks are borrowed until free. */
int sl_health_new(struct sl_loop *loop, struct sl_chunk_pool *chunks, struct sl_health_runner **out)
    SL_MUST_CHECK;
void sl_health_free(struct sl_health_runner *r); /* no watch is left; accepts NULL */

/* Checks of pool as conf->health says, which is not SL_HEALTH_CHECK_NONE; nobody is asked before
 * set_members. pool, conf and tls (a client context; NULL: plaintext) are borrowed until unwatch.
 * SL_ENOMEM, SL_ELIMIT: the path is too long. */
int sl_health_watch(struct sl_health_runner *r, struct sl_pool *pool,
                    const struct sl_pool_config *conf, struct sl_tls_context *tls,
                    struct sl_health_watch **out) SL_MUST_CHECK;

/* From now on the endpoints of set are checked, and no others; set is not kept. Those of the first
 * set begin spread over the interval, one that comes later begins at once. Without memory an event
 * says so, and until the next set new ones go unchecked and old ones may be checked still. */
void sl_health_set_members(struct sl_health_watch *w, const struct sl_endpoint_set *set);

/* Ends it and frees w: no check runs on return and no fd is open. The health of the pool's
 * endpoints goes back to SL_HEALTH_UNKNOWN, unless another watch of the pool has the same kind of
 * check: for changed settings first watch anew, then unwatch. */
void sl_health_unwatch(struct sl_health_watch *w);

#endif
