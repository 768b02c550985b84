/* What every file of the source that polls stands on. Calls none of the others. */
#include "base/clock.h"
#include "base/log.h"
#include "outbox/poll_internal.h"
#include "outbox/poll_pace.h"
#include "outbox/poll_rotation.h"
#include "pg/sqlstate.h"

enum { REFUSED_MS = 1000 };

void poll_tell(Poll *poll, PollNews news)
{
    poll->tell(poll, news);
}

void poll_set_timer(Poll *poll, int64_t delay_ms)
{
    struct timeval tv = {.tv_sec = delay_ms / 1000, .tv_usec = delay_ms % 1000 * 1000};
    event_add(poll->timer, &tv);
}

void poll_check_drained(Poll *poll)
{
    bool waits = marker_pending(poll->marker) && !claim_stands_by(poll->claim);
    if (poll->draining && claim_is_live(poll->claim) && !waits) {
        claim_end(poll->claim);
    }
}

void poll_reset_reading(Poll *poll)
{
    reading_reset(poll->reading);
    marker_caught_up(poll->marker, false);
}

/* A statement of ours was refused: an administrator changed something. The lock is kept, and so is
 * what we know; the pipeline hears of it and has the list read. */
bool poll_is_refused(Poll *poll, const Error *err)
{
    if (!pg_conn_is_open(claim_conn(poll->claim)) || poll->state != POLL_ACTIVE || poll->draining ||
        rotation_is_active(poll->rotation) || /* the next start tells what is wrong with it */
        !sqlstate_is_refusal(err)) {
        return false;
    }
    poll->refusal->refused = true;
    poll->refusal->until_us = clock_monotonic_us() + REFUSED_MS * INT64_C(1000);
    pace_want(poll->reading->pace);
    poll_set_timer(poll, REFUSED_MS);
    poll->source->events.refused(poll->source->events.arg, err);
    return true;
}

void poll_accepted(Poll *poll)
{
    bool was = poll->refusal->refused;
    poll->refusal->refused = false;
    if (was && marker_in_order(poll->marker)) { /* else the marker says when its rows pass */
        poll->refusal->telling = true;          /* the pipeline wakes us */
        poll->source->events.refused(poll->source->events.arg, NULL);
        poll->refusal->telling = false;
    }
}

int64_t poll_rests_us(const Poll *poll)
{
    int64_t rest_us = poll->refusal->until_us - clock_monotonic_us();
    return poll->refusal->refused && rest_us > 0 ? rest_us : 0;
}

void poll_say_blocked(Poll *poll)
{
    if (!poll->refusal->blocked_said) {
        poll->refusal->blocked_said = true;
        log_write(LOG_WARN, poll->options.pipeline->name, CODE_FETCH_BLOCKED, LOG_NO_FIELDS,
                  "waiting to read table '%s': another session holds a lock that excludes readers",
                  poll->options.pipeline->outbox.table);
    }
}

void poll_forget_blocked(Poll *poll)
{
    poll->refusal->blocked_said = false;
}
