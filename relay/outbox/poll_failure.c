/* A fetch failed: it is waited for, its rows are looked at, or it is the end of the connections.
 *
 * A row that makes the fetch itself fail is found by rows/unreadable.c. From then on fetches are
 * wide ones (poll_wide.c: the rows are chosen by number in one snapshot), until it stands alone.
 * Then it is read without what cannot be read, and handed on as refused: its policy decides, the
 * others go on. */
#include <string.h>

#include "base/log.h"
#include "base/memory.h"
#include "flow/refusal.h"
#include "outbox/fetch_sql.h"
#include "outbox/poll_internal.h"
#include "pg/sqlstate.h"

/* What failed comes closer to one row; true: the next fetch is of fewer. */
static bool fetch_isolates(PollSource *poll, const Error *err)
{
    const Fetch *fetch = &poll->fetch;
    if (!pg_conn_is_open(claim_conn(poll->claim)) || (fetch->wide && fetch->wanted_count == 0)) {
        return false; /* or the page of keys failed */
    }
    size_t limit = fetch->wide        ? fetch->wanted_count
                   : fetch->limit > 1 ? fetch->limit
                                      : 2; /* it is not known which row that is */
    if (limit == 1) {
        KnownRow row = fetch->wanted[0];
        bool again = poll->unreadable_row.seq == row.seq && poll->unreadable_row.id == row.id;
        poll->unreadable.tries = again ? poll->unreadable.tries : 0;
        poll->unreadable_row = row;
    }
    return unreadable_failed(&poll->unreadable, err, limit, fetch->rows);
}

bool fetch_send_lean(PollSource *poll)
{
    Fetch *fetch = &poll->fetch;
    if (poll->unreadable.lean == LEAN_NONE) {
        return false;
    }
    fetch->lean = poll->unreadable.lean;
    fetch->wanted = x_malloc(sizeof(*fetch->wanted));
    fetch->wanted[0] = poll->unreadable_row;
    fetch->wanted_count = fetch->wanted_capacity = 1;
    fetch->cut = true;
    wide_ask_rows(poll);
    return true;
}

/* Nothing was read, which says nothing about gaps. */
static void fetch_failed(PollSource *poll)
{
    fence_forget_latest(poll);
    fetch_release(poll);
}

/* Somebody locks the table against readers: nothing was read, and the lease goes on. */
static void fetch_wait(PollSource *poll)
{
    fetch_failed(poll);
    if (!poll->blocked_said) {
        poll->blocked_said = true;
        log_write(LOG_WARN, poll->options.pipeline->name, CODE_FETCH_BLOCKED, LOG_NO_FIELDS,
                  "waiting to read table '%s': another session holds a lock that excludes readers",
                  poll->options.pipeline->outbox.table);
    }
    poll->more = true;
    poll_set_timer(poll, poll->options.pipeline->poll.interval_max_ms);
}

/* The fetch failed, and no transaction of it is open any more. */
static void fetch_judge_failure(PollSource *poll, const Error *err)
{
    const Fetch *fetch = &poll->fetch;
    bool open = pg_conn_is_open(claim_conn(poll->claim));
    bool nothing_read = fetch->rows == 0 && fetch->batch->count == 0;
    if (open && err->code == CODE_POSTGRES_NO_TABLE) { /* renamed, and not made anew yet */
        fetch_failed(poll);
        poll_notice_table(poll, err);
    } else if (open && err->code == CODE_POSTGRES_LOCK_TIMEOUT) {
        fetch_wait(poll);
    } else if (fetch->small && open && sqlstate_is_of_data(err)) { /* again, with sizes */
        fetch_failed(poll);
        poll->small = false;
        poll->more = true;
        poll_tell(poll, NEWS_GO_ON);
    } else if (fetch_isolates(poll, err)) {
        fetch_failed(poll);
        poll->more = true;
        poll_tell(poll, NEWS_GO_ON);
    } else if (open && nothing_read && poll_is_refused(poll, err)) {
        fetch_failed(poll);
    } else {
        claim_lose(poll->claim, err);
    }
}

static void fetch_on_rollback_done(void *arg, const Error *err)
{
    PollSource *poll = arg;
    if (err != NULL) {
        claim_lose(poll->claim, err);
    } else {
        AUTO_ERROR failure = error_of(&poll->fetch.error);
        fetch_judge_failure(poll, &failure);
    }
}

void fetch_on_failure(PollSource *poll, const Error *err)
{
    if (poll->fetch.wide && pg_conn_is_open(claim_conn(poll->claim))) {
        error_copy(&poll->fetch.error, err);
        claim_ask(poll->claim, &(PgQuery){.step = "roll back fetch",
                                          .sql = "ROLLBACK",
                                          .arg = poll,
                                          .done = fetch_on_rollback_done});
    } else {
        fetch_judge_failure(poll, err);
    }
}
