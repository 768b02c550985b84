/* A fetch failed: it is waited for, its rows are looked at, or it is the end of the connections.
 *
 * A row that makes the fetch itself fail is found by rows/unreadable.c. From then on fetches are
 * wide ones (poll_wide.c: the rows are chosen by number in one snapshot), until it stands alone.
 * Then it is read without what cannot be read, and handed on as refused: its policy decides, the
 * others go on. */
#include "outbox/poll_culprit.h"
#include "outbox/poll_fence.h"
#include "outbox/poll_guard.h"
#include "outbox/poll_internal.h"
#include "outbox/poll_pace.h"
#include "outbox/poll_read.h"
#include "outbox/poll_rotation.h"
#include "outbox/poll_wide.h"
#include "pg/sqlstate.h"

/* What failed comes closer to one row; true: the next fetch is of fewer. */
static bool fetch_isolates(const Poll *poll, const Error *err)
{
    const Reading *reading = poll->reading;
    bool wide = reading->fetch->wide;
    size_t wanted = wide_wanted(reading->wide);
    size_t limit = reading->fetch->limit;
    if (!pg_conn_is_open(claim_conn(poll->claim)) || (wide && wanted == 0)) {
        return false; /* or the page of keys failed */
    }
    limit = wide ? wanted : limit > 1 ? limit : 2; /* of one it is not known which row that is */
    return culprit_failed(reading->culprit, err, limit, intake_rows(reading->intake),
                          limit == 1 ? wide_first(reading->wide) : NULL);
}

bool fetch_send_lean(Poll *poll)
{
    const Culprit *culprit = poll->reading->culprit;
    if (culprit_lean(culprit) == LEAN_NONE) {
        return false;
    }
    wide_send_lean(poll, culprit_row(culprit), culprit_lean(culprit));
    return true;
}

/* Nothing was read, which says nothing about gaps. */
static void fetch_failed(const Poll *poll)
{
    fence_forget_latest(poll->reading->fence);
    reading_end_fetch(poll->reading);
}

static void fetch_try_again(Poll *poll)
{
    fetch_failed(poll);
    pace_want(poll->reading->pace);
    poll_tell(poll, NEWS_GO_ON);
}

/* Somebody locks the table against readers: nothing was read, and the lease goes on. */
static void fetch_wait(Poll *poll)
{
    fetch_failed(poll);
    poll_say_blocked(poll);
    pace_want(poll->reading->pace);
    poll_set_timer(poll, poll->options.pipeline->poll.interval_max_ms);
}

/* The fetch failed, and no transaction of it is open any more. */
static void fetch_judge_failure(Poll *poll, const Error *err)
{
    const Reading *reading = poll->reading;
    bool open = pg_conn_is_open(claim_conn(poll->claim));
    bool nothing_read =
        intake_rows(reading->intake) == 0 && intake_batch(reading->intake)->count == 0;
    if (open && err->code == CODE_POSTGRES_NO_TABLE) { /* renamed, and not made anew yet */
        fetch_failed(poll);
        rotation_notice(poll, err);
    } else if (open && err->code == CODE_POSTGRES_LOCK_TIMEOUT) {
        fetch_wait(poll);
    } else if (reading->fetch->small && open && sqlstate_is_of_data(err)) { /* again, with sizes */
        guard_forget_small(reading->guard);
        fetch_try_again(poll);
    } else if (fetch_isolates(poll, err)) {
        fetch_try_again(poll);
    } else if (open && nothing_read && poll_is_refused(poll, err)) {
        fetch_failed(poll);
    } else {
        claim_lose(poll->claim, err);
    }
}

static void fetch_on_rollback_done(void *arg, const Error *err)
{
    Poll *poll = arg;
    if (err != NULL) {
        claim_lose(poll->claim, err);
    } else {
        AUTO_ERROR failure = error_of(intake_error(poll->reading->intake));
        fetch_judge_failure(poll, &failure);
    }
}

void fetch_on_failure(Poll *poll, const Error *err)
{
    if (poll->reading->fetch->wide && pg_conn_is_open(claim_conn(poll->claim))) {
        intake_keep_error(poll->reading->intake, err);
        claim_ask(poll->claim, &(PgQuery){.step = "roll back fetch",
                                          .sql = "ROLLBACK",
                                          .arg = poll,
                                          .done = fetch_on_rollback_done});
    } else {
        fetch_judge_failure(poll, err);
    }
}
