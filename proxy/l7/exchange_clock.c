/* SPDX-License-Identifier: Apache-2.0 */
/*
 * exchange_clock: one deadline for whatever an exchange waits for next: the end of its phase, of
 * its whole time, or of the silence after which the client is told that somebody is there.
 */
#include "admission.h"
#include "attempt.h"
#include "exchange_internal.h"
#include "retry.h"

#include "proxy/upstream/hang.h"

static uint64_t now_ms(const struct sl_exchange *x)
{
    return sl_loop_now_ms(x->w->loop);
}

static uint64_t due_ms(const struct sl_exchange *x, uint64_t after_ms)
{
    return after_ms != 0 ? now_ms(x) + after_ms : UINT64_MAX;
}

void sl_exchange_limit_total(struct sl_exchange *x)
{
    uint64_t total_ms = x->side->pool->conf->timeouts.total_ms;

    x->total_due_ms = total_ms != 0 ? x->start_us / 1000 + total_ms : UINT64_MAX;
}

static void arm(struct sl_exchange *x)
{
    uint64_t due = x->phase_due_ms < x->total_due_ms ? x->phase_due_ms : x->total_due_ms;

    due = x->try_due_ms < due ? x->try_due_ms : due;
    due = x->beat_due_ms < due ? x->beat_due_ms : due;
    if (due == UINT64_MAX) {
        sl_deadline_clear(&x->deadline);
    } else {
        sl_deadline_set(sl_loop_wheel(x->w->loop), &x->deadline, due);
    }
}

/* Whether the endpoint is to blame for the wait, for proxy/upstream/hang.h. */
static bool is_its_turn(const struct sl_exchange *x, enum sl_exchange_phase phase)
{
    bool listens = x->response_started && x->request.method != SL_METHOD_POST;

    return phase == SL_PHASE_FIRST_BYTE && !x->awaits_continue && !listens;
}

/* Who leaves the phase for another one of the same attempt was answered, or is sending again. */
static void note_wait(struct sl_exchange *x, enum sl_exchange_phase next)
{
    if (is_its_turn(x, next)) {
        x->waits_since_ms = now_ms(x);
        sl_hang_wait_begins(x->endpoint, x->w->idx, x->waits_since_ms);
    } else {
        sl_attempt_end_wait(x, next != SL_PHASE_SENDING);
    }
}

void sl_exchange_enter(struct sl_exchange *x, enum sl_exchange_phase phase, uint64_t after_ms)
{
    if (is_its_turn(x, phase) != (x->waits_since_ms != 0)) {
        note_wait(x, phase);
    }
    x->phase = phase;
    x->phase_due_ms = due_ms(x, after_ms);
    x->try_due_ms = phase == SL_PHASE_FIRST_BYTE ? due_ms(x, sl_retry_try_ms(x)) : UINT64_MAX;
    x->beat_due_ms = due_ms(x, x->heartbeat_ms);
    arm(x);
}

void sl_exchange_await(struct sl_exchange *x)
{
    const struct sl_timeouts_config *t = &x->side->pool->conf->timeouts;

    bool is_sent = x->request_ended && x->up->ops->is_sent(x->up);
    if (is_sent && !sl_retry_may_need_body(x)) {
        sl_exchange_drop_replay(x);
    }
    if (x->awaits_continue || is_sent) {
        sl_exchange_enter(x, SL_PHASE_FIRST_BYTE, t->first_byte_ms);
    } else {
        bool waits = x->request_ended || x->up->ops->is_high(x->up); /* else for the client */
        sl_exchange_enter(x, SL_PHASE_SENDING, waits ? (t->write_ms + 1) / 2 : 0);
    }
}

void sl_exchange_begin_heartbeat(struct sl_exchange *x)
{
    x->heartbeat_ms = x->route->conf->heartbeat_ms;
    x->beat_due_ms = due_ms(x, x->heartbeat_ms);
    arm(x);
}

/* A comment, which every reader of an event stream skips (HTML Living Standard, section 9.2.6). It
 * must not end up within an event. */
static void beat(struct sl_exchange *x)
{
    static const struct sl_slice comment = {": heartbeat\n\n", 13};

    x->beat_due_ms = due_ms(x, x->heartbeat_ms);
    arm(x);
    if (x->phase == SL_PHASE_STALLED || x->down->ops->is_high(x->down)) {
        return; /* it has not taken yet what it was given */
    }
    if (!x->response_started) {
        x->up->ops->head_due(x->up);
    }
    if (x->up->ops->is_between_events(x->up)) {
        x->down->ops->insert(x->down, comment);
    }
}

/* Whoever takes a little is slow, not gone: its time runs from the last bytes that it took. The
 * first look comes at half of it, for progress shows between two. */
static bool still_takes(struct sl_exchange *x)
{
    uint64_t write_ms;
    uint64_t stalled_ms;

    if (x->phase == SL_PHASE_STALLED) {
        write_ms = x->down->listener->cells[x->w->idx].timeouts.write_ms;
        stalled_ms = x->down->ops->stalled_ms(x->down);
    } else {
        write_ms = x->side->pool->conf->timeouts.write_ms;
        stalled_ms = x->up->ops->stalled_ms(x->up);
    }
    if (stalled_ms >= write_ms) {
        return false;
    }
    x->phase_due_ms = due_ms(x, write_ms - stalled_ms);
    arm(x);
    return true;
}

/* A client that waits to be told and an endpoint that does not tell: nobody's fault. */
static void end_continue(struct sl_exchange *x)
{
    sl_attempt_let_go(x, false);
    sl_attempt_end(x, SL_VERDICT_ABANDONED);
    sl_exchange_fail(x, SL_REASON_FIRST_BYTE_TIMEOUT);
}

static void end_phase(struct sl_exchange *x)
{
    enum sl_reason reason = SL_REASON_INTER_BYTE_TIMEOUT;

    if ((x->phase == SL_PHASE_STALLED || x->phase == SL_PHASE_SENDING) && still_takes(x)) {
        return;
    }
    if (x->phase == SL_PHASE_FIRST_BYTE && x->awaits_continue) {
        end_continue(x);
        return;
    }
    switch (x->phase) {
    case SL_PHASE_QUEUED:
        sl_admission_timed_out(x);
        return;
    case SL_PHASE_BACKOFF:
        sl_attempt_resume(x);
        return;
    case SL_PHASE_STALLED:
        sl_exchange_finish(x, SL_REASON_CLIENT_STALLED, false);
        return;
    case SL_PHASE_TUNNEL: /* both have gone quiet: not the endpoint's fault alone */
        sl_exchange_finish(x, reason, false);
        return;
    case SL_PHASE_CONNECTING:
        reason = SL_REASON_UPSTREAM_CONNECT_TIMEOUT;
        break;
    case SL_PHASE_SENDING:
        reason = SL_REASON_UPSTREAM_STALLED;
        break;
    case SL_PHASE_FIRST_BYTE:
        reason = SL_REASON_FIRST_BYTE_TIMEOUT;
        break;
    case SL_PHASE_ROUTING:
    case SL_PHASE_BODY:
        break;
    }
    sl_attempt_let_go(x, false);
    sl_exchange_upstream_failed(x, reason);
}

/* Whoever has a head by now, or nobody better to turn to, has the time that the pool gives. */
static void end_try(struct sl_exchange *x)
{
    x->try_due_ms = UINT64_MAX;
    if (x->response_started || !sl_attempt_given_up(x)) {
        arm(x);
    }
}

void sl_exchange_on_deadline(struct sl_deadline *deadline)
{
    struct sl_exchange *x = sl_container_of(deadline, struct sl_exchange, deadline);

    if (now_ms(x) >= x->total_due_ms) {
        sl_exchange_fail(x, SL_REASON_TOTAL_TIMEOUT);
    } else if (now_ms(x) >= x->phase_due_ms) {
        end_phase(x);
    } else if (now_ms(x) >= x->try_due_ms) {
        end_try(x);
    } else if (now_ms(x) >= x->beat_due_ms) {
        beat(x);
    }
}
