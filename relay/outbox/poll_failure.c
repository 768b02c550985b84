/* A fetch failed: it is waited for, its rows are looked at, or it is the end of the connections.
 *
 * A row that makes the fetch itself fail: its TOAST is damaged, or its text would be more than the
 * server can build. By halves of the fetch, each a wide one (poll_wide.c: the rows are chosen by
 * number in one snapshot), until it stands alone. Then it is read without its bodies, and if need
 * be with nothing but its name, and handed on as refused: its policy decides, the others go on.
 *
 * What the server calls an internal error may be of a moment: nothing is concluded from one of a
 * row that stands alone. A text that is too long stays so, and takes seconds each time. */
#include <string.h>

#include "base/log.h"
#include "base/memory.h"
#include "flow/refusal.h"
#include "outbox/fetch_sql.h"
#include "outbox/poll_internal.h"
#include "pg/sqlstate.h"

/* What failed comes closer to one row; true: the next fetch is of fewer. */
static bool unreadable_isolates(PollSource *poll, const Error *err)
{
    Unreadable *u = &poll->unreadable;
    const Fetch *fetch = &poll->fetch;
    bool lean = fetch->lean != LEAN_NONE;
    if (!sqlstate_is_of_data(err) || !pg_conn_is_open(poll->reader)) {
        return false;
    }
    if (lean && fetch->lean == LEAN_NAME) {
        return false; /* not even its name can be read */
    }
    if (!lean && (!fetch->wide || fetch->wanted_count != 1)) {
        if (fetch->wide && fetch->wanted_count == 0) {
            return false; /* the page of keys failed */
        }
        size_t rows = fetch->wide ? fetch->wanted_count : fetch->limit;
        u->probe = rows > 1 ? rows / 2 : 1;
        return true;
    }
    KnownRow row = fetch->wanted[0];
    bool again = u->row.seq == row.seq && u->row.id == row.id;
    u->tries = again ? u->tries + 1 : 1;
    u->row = row;
    u->probe = 1;
    if (lean) {
        u->lean = LEAN_NAME;
    } else if (u->tries >= sqlstate_tries_of_data(err)) {
        u->lean = LEAN_BODIES;
        error_copy(&u->error, err);
    }
    return true;
}

bool unreadable_send(PollSource *poll)
{
    Unreadable *u = &poll->unreadable;
    Fetch *fetch = &poll->fetch;
    if (u->lean == LEAN_NONE) {
        return false;
    }
    fetch->lean = u->lean;
    u->lean = LEAN_NONE;
    fetch->wanted = x_malloc(sizeof(*fetch->wanted));
    fetch->wanted[0] = u->row;
    fetch->wanted_count = fetch->wanted_capacity = 1;
    fetch->cut = true;
    wide_ask_rows(poll);
    return true;
}

void unreadable_refuse(PollSource *poll, Event *event)
{
    const OutboxTable *table = poll->table;
    bool old = strcmp(table->name, table->configured) != 0; /* renamed, and finished first */
    refusal_set_unreadable(event, old ? table->name : poll->options.pipeline->table,
                           &poll->unreadable.error);
}

size_t unreadable_limit(PollSource *poll, size_t limit)
{
    Unreadable *u = &poll->unreadable;
    return u->probe > 0 && u->probe < limit ? u->probe : limit;
}

void unreadable_passed(PollSource *poll)
{
    Unreadable *u = &poll->unreadable;
    if (u->probe > 0) {
        u->probe = u->probe < (size_t)poll->options.pipeline->batch_events ? u->probe * 2 : 0;
    }
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
        log_write(
            LOG_WARN, poll->options.pipeline->name, CODE_FETCH_BLOCKED, LOG_NO_FIELDS,
            "waiting to read table '%s': another session holds a lock on it that keeps readers "
            "out",
            poll->options.pipeline->table);
    }
    poll->more = true;
    poll_set_timer(poll, poll->options.pipeline->poll_interval_max_ms);
}

/* The fetch failed, and no transaction of it is open any more. */
static void fetch_judge_failure(PollSource *poll, const Error *err)
{
    const Fetch *fetch = &poll->fetch;
    bool open = pg_conn_is_open(poll->reader);
    bool nothing_read = fetch->rows == 0 && fetch->batch->count == 0;
    if (open && err->code == CODE_POSTGRES_NO_TABLE) { /* renamed, and not made anew yet */
        session_renew_lease(poll);
        fetch_failed(poll);
        rotation_notice(poll, err);
    } else if (open && err->code == CODE_POSTGRES_LOCK_TIMEOUT) {
        session_renew_lease(poll);
        fetch_wait(poll);
    } else if (fetch->small && open && sqlstate_is_of_data(err)) { /* again, with sizes */
        session_renew_lease(poll);
        fetch_failed(poll);
        poll->small = false;
        poll->more = true;
        fetch_next(poll);
    } else if (unreadable_isolates(poll, err)) {
        session_renew_lease(poll);
        fetch_failed(poll);
        poll->more = true;
        fetch_next(poll);
    } else if (open && nothing_read && session_refused(poll, err)) {
        fetch_failed(poll);
    } else {
        poll_lose(poll, err);
    }
}

static void fetch_on_rollback_done(void *arg, const Error *err)
{
    PollSource *poll = arg;
    if (err != NULL) {
        poll_lose(poll, err);
    } else {
        AUTO_ERROR failure = error_of(&poll->fetch.error);
        fetch_judge_failure(poll, &failure);
    }
}

void fetch_on_failure(PollSource *poll, const Error *err)
{
    if (poll->fetch.wide && pg_conn_is_open(poll->reader)) {
        error_copy(&poll->fetch.error, err);
        session_ask(poll, &(PgQuery){.step = "roll back fetch",
                                     .sql = "ROLLBACK",
                                     .arg = poll,
                                     .done = fetch_on_rollback_done});
    } else {
        fetch_judge_failure(poll, err);
    }
}
