/* What every file of the source that polls stands on. Calls none of the others. */
#include "base/clock.h"
#include "outbox/poll_internal.h"
#include "pg/sqlstate.h"

enum { REFUSED_MS = 1000 };

void poll_tell(PollSource *poll, PollNews news)
{
    poll->tell(poll, news);
}

void poll_set_timer(PollSource *poll, int64_t delay_ms)
{
    struct timeval tv = {.tv_sec = delay_ms / 1000, .tv_usec = delay_ms % 1000 * 1000};
    event_add(poll->timer, &tv);
}

void poll_check_drained(PollSource *poll)
{
    bool waits = marker_pending(poll->marker) && !claim_stands_by(poll->claim);
    if (poll->draining && claim_is_live(poll->claim) && !waits) {
        claim_end(poll->claim);
    }
}

void poll_notice_table(PollSource *poll, const Error *err)
{
    poll->rotation.wanted = true;
    if (err != NULL) {
        error_copy(&poll->rotation.refused, err);
    }
    poll_tell(poll, NEWS_GO_ON);
}

/* A statement of ours was refused: an administrator changed something. The lock is kept, and so is
 * what we know; the pipeline hears of it and has the list read. */
bool poll_is_refused(PollSource *poll, const Error *err)
{
    if (!pg_conn_is_open(claim_conn(poll->claim)) || poll->state != POLL_ACTIVE || poll->draining ||
        poll->rotation.active || /* the next start tells what is wrong with the old table */
        !sqlstate_is_refusal(err)) {
        return false;
    }
    poll->refused = true;
    poll->refused_until_us = clock_monotonic_us() + REFUSED_MS * INT64_C(1000);
    poll->more = true;
    poll_set_timer(poll, REFUSED_MS);
    poll->source.events.refused(poll->source.events.arg, err);
    return true;
}

void poll_accepted(PollSource *poll)
{
    bool was = poll->refused;
    poll->refused = false;
    if (was && marker_in_order(poll->marker)) { /* else the marker says when its rows pass */
        poll->source.events.refused(poll->source.events.arg, NULL);
    }
}
