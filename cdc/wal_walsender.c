/* The walsender's connection: its session, which history the server has, and the beginning of the
 * stream. */
#include "cdc/wal_walsender.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/failpoint.h"
#include "base/log.h"
#include "base/log_limit.h"
#include "base/memory.h"
#include "cdc/change_reader.h"
#include "cdc/wire.h"
#include "pg/ident.h"
#include "pg/result.h"
#include "pg/sqlstate.h"
#include "rows/publisher.h"

struct Walsender {
    WalsenderParts with;
    PgConn *conn;
    LogLimit lines;    /* about a stream that begins */
    Instance instance; /* where it leads */
    int64_t taken_us;  /* monotonic: since when somebody else has the slot; 0: nobody */
};

enum { TAKEN_SECONDS = 5 }; /* a relay that has just ended keeps it for less */

/* The stream. */

static void on_streaming(void *arg)
{
    Walsender *walsender = arg;
    WalContext *wal = walsender->with.wal;
    bool was_filling = filling_is_complete(walsender->with.fill);
    walsender->taken_us = 0;
    claim_begin(wal->claim);
    wal->state = WAL_ACTIVE;
    waiting_end_reread(walsender->with.waiting);
    AUTO_ERROR err = {0};
    if (FAILPOINT_FAILS("streaming", &err)) {
        claim_lose(wal->claim, &err);
        return;
    }
    char lsn[24];
    int64_t now_us = clock_monotonic_us();
    if (log_limit_take(&walsender->lines, now_us) ||
        log_limit_due(&walsender->lines, now_us, false) > 0) {
        uint64_t start = progress_start(walsender->with.progress);
        log_write(LOG_INFO, wal->pipeline->name, CODE_STREAM_STARTED,
                  LOG_FIELDS(log_text("slot", wal->pipeline->wal.slot),
                             log_text("lsn", lsn_format(start, lsn))),
                  "reading the log");
    }
    if (!was_filling) {
        wal->source->events.active(wal->source->events.arg);
    }
    marker_next(wal->marker);
    stream_begin(walsender->with.stream, walsender->conn);
    wal_tell(wal, NEWS_SETTLED);
}

/* Who holds the publisher's lock alone is no standby: no relay publishes. */
static void walsender_wait_for_slot(Walsender *walsender, const Error *err)
{
    const WalContext *wal = walsender->with.wal;
    int64_t now_us = clock_monotonic_us();
    pg_conn_close(walsender->conn);
    walsender->taken_us = walsender->taken_us != 0 ? walsender->taken_us : now_us;
    if (claim_is_shared(wal->claim) ||
        now_us - walsender->taken_us < TAKEN_SECONDS * INT64_C(1000000)) {
        wal_stand_by(wal, error_message(err));
        return;
    }
    AUTO_ERROR taken = error_of(err);
    error_hint(
        &taken,
        "No relay publishes until it is free: somebody else reads it, or a session of a relay "
        "that is gone does so until wal_sender_timeout. To find it: SELECT * FROM "
        "pg_stat_replication WHERE pid = (SELECT active_pid FROM pg_replication_slots WHERE "
        "slot_name = '%s'); to end it: SELECT pg_terminate_backend(pid).",
        wal->pipeline->wal.slot);
    claim_lose(wal->claim, &taken);
}

static void on_stream_refused(void *arg, const Error *err)
{
    Walsender *walsender = arg;
    const WalContext *wal = walsender->with.wal;
    Gap *gap = walsender->with.gap;
    if (err == NULL) {
        return;
    }
    AUTO_ERROR copy = error_of(err);
    if (gap_cannot_decode(gap, &copy)) {
        gap_lose_log(gap, &copy);
        return;
    }
    /* In the middle of reading again, and once the pipeline began with rows from the table, we are
     * no standby: connect again. */
    bool begun =
        waiting_is_rereading(walsender->with.waiting) || filling_is_announced(walsender->with.fill);
    if (sqlstate_is(err, "55006") && pg_conn_is_open(walsender->conn) && !begun) {
        walsender_wait_for_slot(walsender, err);
        return;
    }
    if (sqlstate_is(err, "42704") || sqlstate_is(err, "55000") || sqlstate_is(err, "58P01")) {
        copy.class = ERROR_FATAL;
        copy.exit_code = EXIT_GAP;
        copy.code = sqlstate_is(err, "42704") ? CODE_SLOT_MISSING : CODE_SLOT_LOST;
        error_hint(&copy,
                   "Events may be missing. Find out why first. Then `outboxd run --new-slot` "
                   "creates the slot again and publishes the rows that are still unpublished.");
        gap_lose_log(gap, &copy);
        return;
    }
    claim_lose(wal->claim, &copy);
}

static int walsender_protocol(int server_version)
{
    if (server_version >= 160000) {
        return 4;
    }
    return server_version >= 150000 ? 3 : server_version >= 140000 ? 2 : 1;
}

/* A list of names, as a literal: of tables there are two. */
static char *walsender_publications(const PipelineConfig *pipeline, const Mapped *mapped)
{
    AUTO_TEXT first = ident_quote(pipeline->wal.publication);
    if (mapped->publications[MAPPED_SECOND].identity == NULL) {
        return ident_literal(first);
    }
    AUTO_TEXT name = mapped_second_publication(pipeline);
    AUTO_TEXT second = ident_quote(name);
    AUTO_TEXT both = x_format("%s, %s", first, second);
    return ident_literal(both);
}

void walsender_stream(Walsender *walsender)
{
    const WalsenderParts *with = &walsender->with;
    const PipelineConfig *pipeline = with->wal->pipeline;
    int protocol = walsender_protocol(PQserverVersion(pg_conn_raw(walsender->conn)));
    with->wal->state = WAL_STARTING;
    /* What we know to be acknowledged is better than what the slot, or the row, remembers. */
    MarkerPosition from = progress_begin(with->progress, &with->start->given.stored->position);
    if (with->assembler->changes != NULL) {
        change_reader_begin(with->assembler->changes, PQdb(pg_conn_raw(walsender->conn)));
    }
    with->assembler->done_lsn = from.tx_lsn;
    with->assembler->done_ordinal = from.tx_ordinal;
    with->assembler->last_commit =
        with->assembler->changes != NULL ? (uint64_t)from.backfill_seq : 0;
    assembler_restart(with->assembler, from.lsn, protocol);
    AUTO_TEXT slot = ident_quote(pipeline->wal.slot);
    AUTO_TEXT publications = walsender_publications(pipeline, with->start->mapped);
    char lsn[24];
    AUTO_BUFFER sql = TEXT_EMPTY;
    text_printf(&sql,
                "START_REPLICATION SLOT %s LOGICAL %s (proto_version '%d', publication_names %s",
                slot, lsn_format(from.lsn, lsn), protocol, publications);
    bool messages = pipeline->wal.messages || (with->assembler->changes != NULL && protocol > 1);
    text_add(&sql, messages ? ", messages 'true')" : ")");
    pg_conn_send(walsender->conn, &(PgQuery){.step = "START_REPLICATION",
                                             .sql = sql.data,
                                             .arg = walsender,
                                             .copy_both = on_streaming,
                                             .done = on_stream_refused});
}

/* The history. */

static void on_identity_result(void *arg, const PGresult *result)
{
    SlotFacts *facts = ((Walsender *)arg)->with.start->given.facts;
    if (PQresultStatus(result) == PGRES_TUPLES_OK && PQntuples(result) == 1) {
        snprintf(facts->system_id, sizeof(facts->system_id), "%s",
                 pg_needed_field(result, 0, "systemid"));
    }
}

static void on_history_result(void *arg, const PGresult *result)
{
    const SlotCase *given = &((Walsender *)arg)->with.start->given;
    if (PQresultStatus(result) == PGRES_TUPLES_OK && PQntuples(result) == 1) {
        (void)slot_read_history(pg_needed_field(result, 0, "content"), given->stored->timeline,
                                &given->facts->switch_lsn);
    }
}

static void on_history_done(void *arg, const Error *err)
{
    const Walsender *walsender = arg;
    if (err != NULL && !pg_conn_is_open(walsender->conn)) {
        claim_lose(walsender->with.wal->claim, err);
        return;
    }
    wal_tell(walsender->with.wal,
             NEWS_IDENTIFIED); /* a history file that is not there holds nothing */
}

static void on_identity_done(void *arg, const Error *err)
{
    Walsender *walsender = arg;
    const WalContext *wal = walsender->with.wal;
    if (!wal_goes_on(wal, err)) {
        return;
    }
    const SlotFacts *facts = walsender->with.start->given.facts;
    const SlotStored *stored = walsender->with.start->given.stored;
    SlotKnown *known = walsender->with.start->given.known;
    int last = wal->history->known ? (int)wal->history->last.timeline : facts->timeline;
    known->left_timeline = stored->timeline != facts->timeline ? stored->timeline
                           : last != facts->timeline           ? last
                                                               : 0;
    if (!stored->there || known->left_timeline == 0 || facts->timeline == 1) {
        wal_tell(wal, NEWS_IDENTIFIED);
        return;
    }
    AUTO_TEXT sql = x_format("TIMELINE_HISTORY %d", facts->timeline);
    pg_conn_send(walsender->conn, &(PgQuery){.step = "TIMELINE_HISTORY",
                                             .sql = sql,
                                             .rows_wanted = 1,
                                             .arg = walsender,
                                             .result = on_history_result,
                                             .done = on_history_done});
}

static void walsender_identify(Walsender *walsender)
{
    pg_conn_send(walsender->conn, &(PgQuery){.step = "IDENTIFY_SYSTEM",
                                             .sql = "IDENTIFY_SYSTEM",
                                             .arg = walsender,
                                             .rows_wanted = 1,
                                             .result = on_identity_result,
                                             .done = on_identity_done});
}

/* Is it the server of the claim's connection? */

static void on_instance_result(void *arg, const PGresult *result)
{
    instance_read(result, &((Walsender *)arg)->instance);
}

static void on_instance_done(void *arg, const Error *err)
{
    Walsender *walsender = arg;
    const WalContext *wal = walsender->with.wal;
    AUTO_ERROR other = {0};
    if (err == NULL &&
        instance_compare(walsender->with.start->instance, &walsender->instance, &other) != OK) {
        other.class = claim_has_begun(wal->claim) ? ERROR_RETRY : other.class;
        err = &other;
    }
    if (wal_goes_on(wal, err)) {
        walsender_identify(walsender);
    }
}

static void on_session_set(void *arg, const Error *err)
{
    Walsender *walsender = arg;
    if (!wal_goes_on(walsender->with.wal, err)) {
        return;
    }
    if (!walsender->with.start->instance->told) { /* one connection string leads to both */
        walsender_identify(walsender);
        return;
    }
    AUTO_BUFFER sql = TEXT_EMPTY;
    instance_add_query(&sql);
    pg_conn_send(walsender->conn, &(PgQuery){.step = "instance of the walsender",
                                             .sql = sql.data,
                                             .arg = walsender,
                                             .rows_wanted = 1,
                                             .result = on_instance_result,
                                             .done = on_instance_done});
}

static void on_walsender_opened(void *arg, const Error *err)
{
    Walsender *walsender = arg;
    const WalContext *wal = walsender->with.wal;
    if (err != NULL) {
        AUTO_ERROR copy = error_of(err);
        if (claim_has_begun(wal->claim)) { /* what a human must mend is waited for */
            copy.class = ERROR_RETRY;
        }
        claim_lose(wal->claim, &copy);
        return;
    }
    /* The texts of the stream are printed with the settings of this session. */
    AUTO_BUFFER sql = TEXT_EMPTY;
    publisher_add_settings(wal->config, wal->pipeline, false, pg_conn_raw(walsender->conn), &sql);
    /* Without tcp_user_timeout: it would end the connection of a relay that does not read because
     * its window is full. wal_sender_timeout asks for our status updates, which go on. */
    text_printf(&sql,
                "SET tcp_user_timeout = 0; SET statement_timeout = 0; SET lock_timeout = 0;"
                " SET wal_sender_timeout = %lld",
                (long long)wal->pipeline->claim.lease_ms + PUBLISHER_MARGIN_MS);
    pg_conn_send(walsender->conn, &(PgQuery){.step = "session of the walsender",
                                             .sql = sql.data,
                                             .arg = walsender,
                                             .done = on_session_set});
}

void walsender_open(Walsender *walsender)
{
    pg_conn_open(walsender->conn);
}

void walsender_close(Walsender *walsender)
{
    pg_conn_close(walsender->conn);
}

PgConn *walsender_conn(const Walsender *walsender)
{
    return walsender->conn;
}

Walsender *walsender_new(const WalsenderParts *parts)
{
    Walsender *walsender = x_calloc(1, sizeof(*walsender));
    walsender->with = *parts;
    /* The creation of a slot waits for every running transaction. */
    walsender->conn = claim_new_conn(
        parts->wal->claim,
        &(PgConnOptions){.tcp_user_timeout_ms = parts->wal->pipeline->claim.lease_ms / 2,
                         .replication = true,
                         .arg = walsender,
                         .opened = on_walsender_opened});
    return walsender;
}

void walsender_free(Walsender **walsender)
{
    if (*walsender == NULL) {
        return;
    }
    pg_conn_free(&(*walsender)->conn);
    free(*walsender);
    *walsender = NULL;
}
