/* What the source that polls is to its claim (claim/claim.h): which history it finds with the lock
 * in its hands, the row that proves it, the question of the lease, the marker's session. */
#include "outbox/poll_session.h"

#include <stdlib.h>

#include "base/failpoint.h"
#include "base/log.h"
#include "base/memory.h"
#include "outbox/poll_pace.h"
#include "outbox/poll_rotation.h"
#include "pg/ident.h"
#include "pg/result.h"
#include "rows/publisher.h"

/* The marker. */

static void session_marker_opened(void *arg)
{
    Poll *poll = arg;
    poll->state = POLL_ACTIVE;
    pace_hurry(poll->reading->pace);
    poll->source->events.active(poll->source->events.arg);
    /* Rows that were acknowledged before the reconnect are marked before the first fetch. */
    claim_start_marker(poll->claim, (MarkerSession){.table_oid = claim_table(poll->claim),
                                                    .row_table = poll->session->publisher_table,
                                                    .row_key = poll->session->publisher_key,
                                                    .row_ctid = poll->session->publisher_ctid});
    marker_next(poll->marker);
    if (!marker_recovering(poll->marker)) {
        poll_tell(poll, NEWS_GO_ON);
    }
    poll_check_drained(poll);
}

/* The lock. */

void session_lock_taken(void *arg, const ClaimLock *lock)
{
    Poll *poll = arg;
    /* A session of ours that the server has not given up yet took nothing from us. */
    bool ours =
        poll->session->owner_pid != 0 && claim_lock_holder_pid(lock) == poll->session->owner_pid;
    poll->session->taken = poll->session->taken || !ours;
    left_release(&poll->left); /* the pipeline forgets what waits, too */
    poll->state = POLL_AWAY;
    claim_stand_by(poll->claim, claim_lock_holder(lock));
    poll_check_drained(poll);
}

/* The lock is ours. Before anything is published, or marked: is it the history that we know? */

static void session_locked(Poll *poll)
{
    AUTO_ERROR err = {0};
    if (FAILPOINT_FAILS("locked", &err)) {
        claim_lose(poll->claim, &err);
        return;
    }
    claim_begin(poll->claim);
    poll->session->owner_pid = claim_backend_pid(poll->claim);
    poll->session->taken = false;
    poll->state = POLL_LOCKED;
    poll->source->events.locked(poll->source->events.arg);
}

static void on_claim_result(void *arg, const PGresult *result)
{
    Poll *poll = arg;
    if (PQresultStatus(result) == PGRES_TUPLES_OK && PQntuples(result) == 1 &&
        *pg_needed_field(result, 0, "claimed") != '0') {
        free(poll->session->publisher_ctid);
        poll->session->publisher_ctid = x_strdup(pg_needed_field(result, 0, "ctid"));
    }
}

static void on_claim_done(void *arg, const Error *err)
{
    Poll *poll = arg;
    AUTO_ERROR none = {0};
    if (err == NULL && poll->session->publisher_ctid == NULL) {
        /* A session that is gone may have marked rows after its lock was. */
        history_write_failed(poll->history);
        error_set(&none, CODE_OWNER_REPLACED, "somebody else changed the row of table '%s' in %s",
                  poll->options.pipeline->outbox.table, poll->session->publisher_table);
        err = &none;
    }
    if (err != NULL) {
        claim_lose(poll->claim, err);
        return;
    }
    history_write_committed(poll->history);
    session_locked(poll);
}

static void session_claim(Poll *poll)
{
    free(poll->session->publisher_ctid);
    poll->session->publisher_ctid = NULL;
    if (poll->session->publisher_table == NULL) {
        session_locked(poll);
        return;
    }
    AUTO_BUFFER sql = TEXT_EMPTY;
    publisher_add_claim(poll->options.pipeline, poll->session->publisher_table,
                        claim_table(poll->claim), poll->history->ours, &poll->session->found, &sql);
    history_write_sent(poll->history);
    claim_ask(poll->claim, &(PgQuery){.step = "claim",
                                      .sql = sql.data,
                                      .rows_wanted = 1,
                                      .arg = poll,
                                      .result = on_claim_result,
                                      .done = on_claim_done});
}

/* What is remembered about rows holds no longer: batches that come back are dropped, rows that wait
 * to be marked are forgotten; everything that is unpublished is read again after resume(). */
static void session_forget(Poll *poll, HistoryVerdict verdict, const char *difference)
{
    size_t rows = marker_unmarked(poll->marker) + handed_events(&poll->reading->handed);
    marker_forget(poll->marker);
    rotation_go_back(poll);
    poll->reading->foreign = true;
    const char *name = poll->options.pipeline->name;
    if (verdict == HISTORY_OTHER) {
        log_write(LOG_WARN, name, CODE_HISTORY_CHANGED,
                  LOG_FIELDS(log_text("found", difference), log_number("rows", (long long)rows)),
                  "the server has another history than this relay knew (%s): reading all "
                  "unpublished rows again; no event is lost, some may be duplicated",
                  difference);
    } else if (rows > 0) {
        log_write(LOG_INFO, name, CODE_OWNER_CHANGED,
                  LOG_FIELDS(log_number("rows", (long long)rows)),
                  "another relay published this table since this one last did: reading all "
                  "unpublished rows again");
    }
}

static void on_history_result(void *arg, const PGresult *result)
{
    Poll *poll = arg;
    if (!history_read(result, claim_table(poll->claim), &poll->session->found)) {
        poll->session->unread = true;
    }
}

static void on_history_done(void *arg, const Error *err)
{
    Poll *poll = arg;
    AUTO_ERROR unread = {0};
    if (err == NULL && poll->session->unread) {
        error_set(&unread, CODE_POSTGRES_ANSWER, "the server did not return its history");
        err = &unread;
    }
    if (err != NULL) {
        claim_lose(poll->claim, err);
        return;
    }
    char difference[160];
    HistoryVerdict verdict =
        history_judge(poll->history, &poll->session->found, difference, sizeof(difference));
    if (verdict == HISTORY_SAME && !poll->session->found.has_row && poll->session->taken) {
        verdict = HISTORY_NEWER_OWNER; /* nothing else would tell */
    }
    bool others = verdict == HISTORY_OTHER || verdict == HISTORY_NEWER_OWNER;
    bool alone = verdict == HISTORY_SAME && poll->session->found.has_row;
    poll->source->proof = others ? PROOF_OTHERS : alone ? PROOF_ALONE : PROOF_NONE;
    if (others) {
        session_forget(poll, verdict, difference);
    }
    if (poll->session->publisher_table == NULL) {
        history_adopt(poll->history, &poll->session->found);
    } else {
        history_claim(poll->history, &poll->session->found, verdict);
    }
    session_claim(poll);
}

void session_judge(Poll *poll)
{
    free(poll->session->publisher_key);
    poll->session->publisher_key = x_format("table_id = %u", claim_table(poll->claim));
    AUTO_BUFFER sql = TEXT_EMPTY;
    history_add_query(poll->session->publisher_table, poll->session->publisher_key, &sql);
    poll->session->unread = false;
    claim_ask(poll->claim, &(PgQuery){.step = "history",
                                      .sql = sql.data,
                                      .arg = poll,
                                      .rows_wanted = 1,
                                      .result = on_history_result,
                                      .done = on_history_done});
}

static void session_lock_held(void *arg)
{
    Poll *poll = arg;
    poll->state = POLL_CLAIMING;
    rotation_start(poll);
}

static void session_looked(void *arg, const PreconditionLook *look)
{
    Poll *poll = arg;
    free(poll->session->publisher_table);
    poll->session->publisher_table = *look->memory != '\0' ? x_strdup(look->memory) : NULL;
}

/* The lease, while nothing is fetched. Nothing may be read for long when there is no room: the
 * table is asked for here, too. */

static void session_pulse(void *arg)
{
    Poll *poll = arg;
    if (poll->state == POLL_LOCKED) {
        claim_ping(poll->claim); /* then the fetches keep it, or ask for it */
    }
}

static void session_add_ping(void *arg, Text *sql)
{
    Poll *poll = arg;
    AUTO_TEXT table = ident_literal(poll->table->name);
    text_printf(sql, "SELECT pg_catalog.to_regclass(%s)::pg_catalog.oid AS named", table);
}

static void session_ping_result(void *arg, const PGresult *result)
{
    Poll *poll = arg;
    if (poll->state == POLL_ACTIVE &&
        strtoul(pg_value(result, 0, 0), NULL, 10) != claim_table(poll->claim)) {
        rotation_want_look(poll);
    }
}

static void session_pinged(void *arg)
{
    poll_tell(arg, NEWS_GO_ON);
}

static bool session_publishes(const void *arg)
{
    return ((const Poll *)arg)->state == POLL_ACTIVE;
}

static char *session_place(void *arg, const Error *err)
{
    const Poll *poll = arg;
    return x_format("%.200s; %llu marked", error_message(err),
                    (unsigned long long)*poll->options.stats->rows->marked);
}

static void session_close(void *arg, bool lost)
{
    Poll *poll = arg;
    if (lost && known_parked(poll->reading->known) > 0) {
        left_go_back(&poll->left); /* what waits is counted anew, in all tables or in none */
    }
    event_del(poll->timer);
    reading_end_fetch(poll->reading);
    rotation_reset(poll);
    poll->refusal->refused = false;
    poll->state = POLL_AWAY;
}

static void session_marked(void *arg)
{
    poll_tell(arg, NEWS_GO_ON); /* when it waited for rows left over, or for room */
}

static void session_idle(void *arg)
{
    poll_check_drained(arg);
}

static void session_replaced(void *arg)
{
    rotation_notice(arg, NULL);
}

const ClaimReader SESSION_READER = {
    .marks_apart = true,
    .waits_for_looks = true,
    .looked = session_looked,
    .held = session_lock_held,
    .taken = session_lock_taken,
    .pulse = session_pulse,
    .add_ping = session_add_ping,
    .ping_result = session_ping_result,
    .pinged = session_pinged,
    .publishes = session_publishes,
    .place = session_place,
    .close = session_close,
    .marker_opened = session_marker_opened,
    .marked = session_marked,
    .idle = session_idle,
    .replaced = session_replaced,
};

Session *session_new(void)
{
    return x_calloc(1, sizeof(Session));
}

void session_free(Session **session)
{
    free((*session)->publisher_table);
    free((*session)->publisher_key);
    free((*session)->publisher_ctid);
    free(*session);
    *session = NULL;
}
