/* Connecting: the table, the publisher's lock, slot and publication, the position, the stream.
 *
 * Order on a first start: publication, then slot (a publication made later would not be seen by the
 * slot's older position), then the position row, then what the slot's snapshot shows unpublished,
 * then the stream. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/failpoint.h"
#include "base/log.h"
#include "base/memory.h"
#include "cdc/wal_internal.h"
#include "pg/ident.h"

enum {
    IDLE_SMALL_BYTES = 64 * 1024,
    SEGMENT_BYTES = 16 * 1024 * 1024,
};

static const PipelineConfig *session_pipeline(const WalSource *wal)
{
    return wal->options.pipeline;
}

static void session_ask(WalSource *wal, const PgQuery *query)
{
    wal->asked_us = clock_monotonic_us();
    pg_conn_send(wal->control, query);
}

static void session_renew_lease(WalSource *wal)
{
    wal->lease_until_us = wal->asked_us + session_pipeline(wal)->lease_ms * 1000;
}

static bool session_is_state(const Error *err, const char *sqlstate)
{
    AUTO_TEXT wanted = x_format("SQLSTATE %s", sqlstate);
    return strstr(err->message, wanted) != NULL;
}

/* The stream. */

static void on_streaming(void *arg)
{
    WalSource *wal = arg;
    bool was_filling = wal->fill.complete;
    wal->state = WAL_ACTIVE;
    (void)FAILPOINT("streaming");
    char lsn[24];
    log_write(LOG_INFO, session_pipeline(wal)->name, "STREAM_STARTED",
              LOG_FIELDS(log_text("slot", session_pipeline(wal)->slot),
                         log_text("lsn", lsn_format(wal->start_lsn, lsn))),
              "reading the log");
    if (!was_filling) {
        wal->source.events.active(wal->source.events.arg);
    }
    marker_next(wal->marker);
    stream_begin(wal);
    wal_check_drained(wal);
}

static void on_stream_refused(void *arg, const Error *err)
{
    WalSource *wal = arg;
    if (err == NULL) {
        return;
    }
    Error copy = *err;
    if (session_is_state(err, "55006") && pg_conn_is_open(wal->walsender)) {
        pg_conn_close(wal->walsender);
        wal_session_stand_by(wal, err->message);
        return;
    }
    if (session_is_state(err, "42704") || session_is_state(err, "55000") ||
        session_is_state(err, "58P01")) {
        copy.class = ERROR_FATAL;
        copy.exit_code = EXIT_GAP;
        snprintf(copy.code, sizeof(copy.code), "%s",
                 session_is_state(err, "42704") ? "SLOT_MISSING" : "SLOT_LOST");
        error_hint(&copy,
                   "Events may be missing. `outboxd run --new-slot` makes the slot again and "
                   "publishes the rows that are still unpublished.");
    }
    wal_lose(wal, &copy);
}

static int session_protocol(int server_version)
{
    if (server_version >= 160000) {
        return 4;
    }
    return server_version >= 150000 ? 3 : server_version >= 140000 ? 2 : 1;
}

void wal_session_stream(WalSource *wal)
{
    const PipelineConfig *pipeline = session_pipeline(wal);
    int version = PQserverVersion(pg_conn_raw(wal->walsender));
    int protocol = session_protocol(version);
    wal->state = WAL_STARTING;
    /* What we know to be acknowledged is better than what the slot, or the row, remembers. */
    bool behind = wal->facts.position.lsn > wal->acked.lsn; /* another relay published meanwhile */
    MarkerPosition from = wal->live && !behind ? wal->acked : wal->facts.position;
    if (from.lsn < wal->start_lsn) {
        from = (MarkerPosition){.lsn = wal->start_lsn};
    }
    wal->start_lsn = from.lsn;
    wal->acked = from;
    wal->live = true;
    wal->assembler.done_lsn = from.tx_lsn;
    wal->assembler.done_ordinal = from.tx_ordinal;
    assembler_restart(&wal->assembler, from.lsn, protocol);
    AUTO_TEXT slot = ident_quote(pipeline->slot);
    AUTO_TEXT publication = ident_quote(pipeline->publication);
    AUTO_TEXT publications = ident_literal(publication);
    char lsn[24];
    AUTO_BUFFER sql = TEXT_EMPTY;
    text_printf(&sql,
                "START_REPLICATION SLOT %s LOGICAL %s (proto_version '%d', publication_names %s",
                slot, lsn_format(from.lsn, lsn), protocol, publications);
    text_add(&sql, pipeline->messages ? ", messages 'true')" : ")");
    pg_conn_send(wal->walsender, &(PgQuery){.sql = sql.data,
                                            .arg = wal,
                                            .copy_both = on_streaming,
                                            .done = on_stream_refused});
}

/* The position row. */

static void on_saved(void *arg, const Error *err)
{
    WalSource *wal = arg;
    void (*done)(void *done_arg, const Error *done_err) = wal->save_done;
    wal->save_done = NULL;
    if (err == NULL) {
        session_renew_lease(wal);
        marker_set_position(wal->marker, &(MarkerPosition){.lsn = wal->start_lsn});
    }
    done(wal, err);
}

void wal_session_send_waiting(WalSource *wal)
{
    if (wal->save_done == NULL || pg_conn_is_busy(wal->control)) {
        return;
    }
    AUTO_TEXT pipeline = ident_literal(session_pipeline(wal)->name);
    AUTO_TEXT slot = ident_literal(session_pipeline(wal)->slot);
    char lsn[24];
    AUTO_TEXT sql = x_format(
        "INSERT INTO %s AS p (pipeline, system_id, timeline, slot, lsn, backfill, tx_messages)"
        " VALUES (%s, '%s', %d, %s, '%s', %s, %s) ON CONFLICT (pipeline) DO UPDATE SET"
        " system_id = excluded.system_id, timeline = excluded.timeline, slot = excluded.slot,"
        " lsn = excluded.lsn, backfill = excluded.backfill, tx_lsn = NULL, tx_ordinal = NULL,"
        " tx_messages = excluded.tx_messages, updated_at = clock_timestamp()",
        wal->position_table, pipeline, wal->facts.system_id, wal->facts.timeline, slot,
        lsn_format(wal->start_lsn, lsn), wal->save_backfill ? "true" : "false",
        session_pipeline(wal)->messages ? "true" : "false");
    session_ask(wal, &(PgQuery){.sql = sql, .arg = wal, .done = on_saved});
}

void wal_session_save_position(WalSource *wal, bool backfill,
                               void (*done)(void *arg, const Error *err))
{
    if (wal->save_done == NULL) {
        wal->save_done = done;
        wal->save_backfill = backfill;
        wal_session_send_waiting(wal);
    }
}

/* The slot. */

static void on_slot_result(void *arg, const PGresult *result)
{
    WalSource *wal = arg;
    if (PQresultStatus(result) != PGRES_TUPLES_OK || PQntuples(result) != 1 ||
        PQfnumber(result, "consistent_point") < 0) {
        return;
    }
    if (!lsn_parse(PQgetvalue(result, 0, PQfnumber(result, "consistent_point")), &wal->start_lsn)) {
        wal->start_lsn = 0;
    }
    snprintf(wal->fill.snapshot, sizeof(wal->fill.snapshot), "%s",
             PQgetvalue(result, 0, PQfnumber(result, "snapshot_name")));
}

static void on_position_saved(void *arg, const Error *err)
{
    WalSource *wal = arg;
    if (err != NULL) {
        wal_lose(wal, err);
        return;
    }
    fill_start(wal);
}

static void on_slot_created(void *arg, const Error *err)
{
    WalSource *wal = arg;
    if (err != NULL) {
        Error copy = *err;
        error_prefix(&copy, "creating slot '%s'", session_pipeline(wal)->slot);
        wal_lose(wal, &copy);
        return;
    }
    char lsn[24];
    log_write(LOG_INFO, session_pipeline(wal)->name, "SLOT_CREATED",
              LOG_FIELDS(log_text("slot", session_pipeline(wal)->slot),
                         log_text("lsn", lsn_format(wal->start_lsn, lsn))),
              "created the replication slot; publishing the rows from before it");
    wal->live = false;
    wal->facts.position = (MarkerPosition){0};
    wal_session_save_position(wal, true, on_position_saved);
}

static void session_create_slot(WalSource *wal)
{
    const PipelineConfig *pipeline = session_pipeline(wal);
    AUTO_TEXT slot = ident_quote(pipeline->slot);
    AUTO_TEXT sql =
        pipeline->failover_slot
            ? x_format(
                  "CREATE_REPLICATION_SLOT %s LOGICAL pgoutput (SNAPSHOT 'export', FAILOVER true)",
                  slot)
            : x_format("CREATE_REPLICATION_SLOT %s LOGICAL pgoutput EXPORT_SNAPSHOT", slot);
    log_write(LOG_INFO, pipeline->name, "SLOT_CREATING",
              LOG_FIELDS(log_text("slot", pipeline->slot)),
              "creating the replication slot: waits until every running transaction has ended");
    pg_conn_send(
        wal->walsender,
        &(PgQuery){.sql = sql, .arg = wal, .result = on_slot_result, .done = on_slot_created});
}

static void on_slot_dropped(void *arg, const Error *err)
{
    WalSource *wal = arg;
    if (err != NULL) {
        wal_lose(wal, err);
        return;
    }
    session_create_slot(wal);
}

/* run --new-slot: what may be missing is said, then everything begins again. */
static void session_accept_gap(WalSource *wal, const Error *gap)
{
    const PipelineConfig *pipeline = session_pipeline(wal);
    const char *missing =
        pipeline->on_publish == ON_PUBLISH_KEEP
            ? "every row of the table whose published_at is not set is published again (keep marks "
              "nothing); rows that others deleted meanwhile are lost"
            : "the rows that are still unpublished follow; rows that others deleted meanwhile are "
              "lost";
    char lsn[24];
    log_write(LOG_WARN, pipeline->name, "GAP_ACCEPTED",
              LOG_FIELDS(log_text("gap", gap->code),
                         log_text("read_up_to", lsn_format(wal->facts.position.lsn, lsn)),
                         log_text("messages", pipeline->messages ? "may be missing" : "none")),
              "%s; making the slot again: %s", gap->message, missing);
    wal->gap_accepted = true;
    wal->live = false;
    wal->acked = (MarkerPosition){0};
    if (wal->facts.has_slot && wal->facts.slot_is_ours) {
        AUTO_TEXT slot = ident_quote(pipeline->slot);
        AUTO_TEXT sql = x_format("DROP_REPLICATION_SLOT %s", slot);
        pg_conn_send(wal->walsender, &(PgQuery){.sql = sql, .arg = wal, .done = on_slot_dropped});
    } else {
        session_create_slot(wal);
    }
}

static void on_failover_saved(void *arg, const Error *err)
{
    WalSource *wal = arg;
    if (err != NULL) {
        wal_lose(wal, err);
        return;
    }
    wal_session_stream(wal);
}

static void session_decide(WalSource *wal)
{
    Error err = {0};
    const PipelineConfig *pipeline = session_pipeline(wal);
    SlotVerdict verdict = slot_judge(&wal->facts, pipeline, &wal->start_lsn, &err);
    if (strcmp(err.code, "NO_REPLICATION") == 0) {
        AUTO_TEXT role = ident_quote(PQuser(pg_conn_raw(wal->control)));
        error_hint(
            &err,
            "An administrator runs: ALTER ROLE %s REPLICATION; (members of outbox_relay do not "
            "inherit it)",
            role);
    }
    if (!wal->facts.same_messages) {
        wal->facts.position.tx_ordinal = 0; /* messages counted then, or do now: repeat rather */
    }
    wal->fill = (Fill){0};
    switch (verdict) {
    case SLOT_REFUSED:
        wal_lose(wal, &err);
        break;
    case SLOT_GAP:
        if (wal->options.config->new_slot && !wal->gap_accepted) {
            session_accept_gap(wal, &err);
        } else {
            wal_lose(wal, &err);
        }
        break;
    case SLOT_CREATE:
        session_create_slot(wal);
        break;
    case SLOT_ADOPT:
        log_write(
            LOG_INFO, pipeline->name, "SLOT_ADOPTED", LOG_FIELDS(log_text("slot", pipeline->slot)),
            "the slot was there before: publishing the rows that are unpublished, then its log");
        wal_session_save_position(wal, true, on_position_saved);
        break;
    case SLOT_BACKFILL:
        fill_start(wal);
        break;
    case SLOT_START:
        if (wal->facts.position_timeline != wal->facts.timeline) {
            log_write(LOG_WARN, pipeline->name, "SLOT_FAILED_OVER",
                      LOG_FIELDS(log_number("timeline", wal->facts.timeline)),
                      "the slot came over to a new primary; going on from where it stands there");
            wal->live = false;
            wal->facts.position = (MarkerPosition){.lsn = wal->start_lsn};
            wal_session_save_position(wal, false, on_failover_saved);
        } else {
            wal_session_stream(wal);
        }
        break;
    }
}

/* The walsender. */

static void on_identity_result(void *arg, const PGresult *result)
{
    WalSource *wal = arg;
    if (PQresultStatus(result) == PGRES_TUPLES_OK && PQntuples(result) == 1 &&
        PQfnumber(result, "systemid") >= 0) {
        snprintf(wal->facts.system_id, sizeof(wal->facts.system_id), "%s",
                 PQgetvalue(result, 0, PQfnumber(result, "systemid")));
        wal->facts.timeline =
            (int)strtol(PQgetvalue(result, 0, PQfnumber(result, "timeline")), NULL, 10);
    }
}

static void on_identity_done(void *arg, const Error *err)
{
    WalSource *wal = arg;
    if (err != NULL) {
        wal_lose(wal, err);
        return;
    }
    session_decide(wal);
}

static void on_walsender_set(void *arg, const Error *err)
{
    WalSource *wal = arg;
    if (err != NULL) {
        wal_lose(wal, err);
        return;
    }
    pg_conn_send(wal->walsender, &(PgQuery){.sql = "IDENTIFY_SYSTEM",
                                            .arg = wal,
                                            .result = on_identity_result,
                                            .done = on_identity_done});
}

void wal_session_walsender_opened(void *arg, const Error *err)
{
    WalSource *wal = arg;
    if (err != NULL) {
        wal_lose(wal, err);
        return;
    }
    /* The texts of the stream are printed with the settings of this session. */
    AUTO_BUFFER sql = TEXT_EMPTY;
    publisher_add_settings(wal->options.config, session_pipeline(wal), false,
                           PQserverVersion(pg_conn_raw(wal->walsender)), &sql);
    text_printf(&sql,
                "SET statement_timeout = 0; SET lock_timeout = 0; SET wal_sender_timeout = %lld",
                (long long)session_pipeline(wal)->lease_ms + PUBLISHER_MARGIN_MS);
    pg_conn_send(wal->walsender, &(PgQuery){.sql = sql.data, .arg = wal, .done = on_walsender_set});
}

/* Publication. */

static void session_open_walsender(WalSource *wal)
{
    pg_conn_open(wal->walsender);
}

static void on_publication_created(void *arg, const Error *err)
{
    WalSource *wal = arg;
    if (err != NULL) {
        Error copy = *err;
        error_prefix(&copy, "creating publication '%s'", session_pipeline(wal)->publication);
        error_hint(&copy,
                   "An administrator runs: CREATE PUBLICATION %s FOR TABLE %s WITH (publish = "
                   "'insert');",
                   session_pipeline(wal)->publication, session_pipeline(wal)->table);
        wal_lose(wal, &copy);
        return;
    }
    session_open_walsender(wal);
}

static void session_check_publication(WalSource *wal)
{
    const PipelineConfig *pipeline = session_pipeline(wal);
    const SlotFacts *facts = &wal->facts;
    if (!facts->has_publication) {
        AUTO_TEXT name = ident_quote(pipeline->publication);
        AUTO_TEXT sql = x_format("CREATE PUBLICATION %s FOR TABLE %s WITH (publish = 'insert',"
                                 " publish_via_partition_root = true)",
                                 name, wal->table->name);
        session_ask(wal, &(PgQuery){.sql = sql, .arg = wal, .done = on_publication_created});
        return;
    }
    if (!facts->publishes_insert || !facts->publishes_table) {
        Error err;
        error_set(&err, ERROR_FATAL, EXIT_POSTGRES, "PUBLICATION_INCOMPLETE",
                  "publication '%s' does not publish %s%s", pipeline->publication,
                  facts->publishes_table ? "inserts into " : "", pipeline->table);
        if (facts->publishes_table) {
            error_hint(&err, "ALTER PUBLICATION %s SET (publish = 'insert');",
                       pipeline->publication);
        } else {
            error_hint(&err,
                       "ALTER PUBLICATION %s ADD TABLE %s; events that were inserted before are "
                       "not in the stream: then run once with --new-slot after dropping the slot.",
                       pipeline->publication, pipeline->table);
        }
        wal_lose(wal, &err);
        return;
    }
    if (facts->publication_hides) {
        Error err;
        error_set(&err, ERROR_FATAL, EXIT_POSTGRES, "PUBLICATION_INCOMPLETE",
                  "publication '%s' has a row filter or a list of columns: events would be lost",
                  pipeline->publication);
        error_hint(&err, "ALTER PUBLICATION %s SET TABLE %s;", pipeline->publication,
                   pipeline->table);
        wal_lose(wal, &err);
        return;
    }
    session_open_walsender(wal);
}

/* Facts and the prepared mark statement, once the lock is ours. */

static void on_facts_result(void *arg, const PGresult *result)
{
    WalSource *wal = arg;
    if (PQresultStatus(result) == PGRES_TUPLES_OK && PQntuples(result) == 1) {
        slot_read_facts(result, session_pipeline(wal)->messages, &wal->facts);
    }
}

static void on_facts_done(void *arg, const Error *err)
{
    WalSource *wal = arg;
    if (err != NULL) {
        wal_lose(wal, err);
        return;
    }
    session_renew_lease(wal);
    MarkerPosition position = wal->facts.position;
    marker_start(wal->marker, wal->dead_letter, &position);
    event_active(wal->pulse, 0, 0);
    if (!wal->facts.logical || !wal->facts.may_replicate) {
        session_decide(wal); /* refuses; a walsender could not even be asked */
        return;
    }
    session_check_publication(wal);
}

void wal_session_lock_held(void *arg)
{
    WalSource *wal = arg;
    session_renew_lease(wal);
    (void)FAILPOINT("locked");
    wal->state = WAL_CHECKING;
    wal->facts = (SlotFacts){0};
    AUTO_BUFFER sql = TEXT_EMPTY;
    text_add(&sql, "DEALLOCATE ALL; ");
    marker_add_prepare(wal->marker, wal->position_table, &sql);
    slot_add_query(session_pipeline(wal), wal->position_table, wal->lock.table_oid, &sql);
    session_ask(
        wal,
        &(PgQuery){.sql = sql.data, .arg = wal, .result = on_facts_result, .done = on_facts_done});
}

void wal_session_stand_by(WalSource *wal, const char *holder)
{
    wal->source.events.standby(wal->source.events.arg, holder);
    marker_stop(wal->marker);
    wal->state = WAL_STANDBY;
    wal_set_timer(wal, session_pipeline(wal)->standby_interval_ms);
    wal_check_drained(wal);
}

void wal_session_lock_taken(void *arg)
{
    WalSource *wal = arg;
    wal_session_stand_by(wal, wal->lock.holder);
}

void wal_session_try_lock(WalSource *wal)
{
    wal->asked_us = clock_monotonic_us();
    publisher_try_lock(&wal->lock);
}

/* The table. */

static void table_refuse(WalSource *wal, ErrorClass class, const char *code, const char *hint,
                         const char *message)
{
    error_set(&wal->error, class, EXIT_POSTGRES, code, "%s", message);
    error_hint(&wal->error, "%s", hint);
}

static void on_table_result(void *arg, const PGresult *r)
{
    WalSource *wal = arg;
    if (PQresultStatus(r) != PGRES_TUPLES_OK) {
        return; /* of the SETs */
    }
    const char *table = session_pipeline(wal)->table;
    AUTO_TEXT message = NULL;
    int pid = (int)strtol(PQgetvalue(r, 0, 0), NULL, 10);
    if (pid != PQbackendPID(pg_conn_raw(wal->control))) {
        table_refuse(wal, ERROR_FATAL, "POSTGRES_POOLER",
                     "Connect to PostgreSQL itself: replication does not pass a pooler.",
                     "a connection pooler stands between outboxd and PostgreSQL");
    } else if (PQgetvalue(r, 0, 1)[0] == 't') {
        table_refuse(wal, ERROR_RETRY, "POSTGRES_READ_ONLY",
                     "Use a DSN of the primary, or target_session_attrs=read-write.",
                     "the server is a standby; the position cannot be written there");
    } else if (PQgetisnull(r, 0, 2)) {
        message =
            x_format("no table '%s' in database '%s'", table, PQdb(pg_conn_raw(wal->control)));
        table_refuse(
            wal, ERROR_FATAL, "POSTGRES_NO_TABLE",
            "Make the outbox with: outboxd migrate --capture wal; or name your own table in "
            "pipelines.table.",
            message);
    } else if (PQgetvalue(r, 0, 3)[0] != 'p') {
        message = x_format("table '%s' is not logged: the WAL does not hold it", table);
        AUTO_TEXT hint = x_format("ALTER TABLE %s SET LOGGED;", table);
        table_refuse(wal, ERROR_FATAL, "TABLE_UNLOGGED", hint, message);
    } else if (PQgetisnull(r, 0, 5)) {
        table_refuse(wal, ERROR_FATAL, "NO_POSITION_TABLE", "Make it with: outboxd migrate",
                     "there is no table outbox.position");
    } else {
        wal->lock.table_oid = (uint32_t)strtoul(PQgetvalue(r, 0, 2), NULL, 10);
        free(wal->dead_letter);
        wal->dead_letter = PQgetisnull(r, 0, 4) ? NULL : x_strdup(PQgetvalue(r, 0, 4));
        free(wal->position_table);
        wal->position_table = x_strdup(PQgetvalue(r, 0, 5));
        Relations *relations = &wal->assembler.relations;
        relations->table_oid = wal->lock.table_oid;
        free(relations->schema);
        relations->schema = x_strdup(PQgetvalue(r, 0, 6));
        free(relations->name);
        relations->name = x_strdup(PQgetvalue(r, 0, 7));
    }
}

static void on_table_done(void *arg, const Error *err)
{
    WalSource *wal = arg;
    if (err != NULL || wal->error.class != ERROR_NONE) {
        Error copy = err != NULL ? *err : wal->error;
        wal_lose(wal, &copy);
        return;
    }
    *wal->options.stats->postgres_connected = 1;
    wal_session_try_lock(wal);
}

void wal_session_control_opened(void *arg, const Error *err)
{
    WalSource *wal = arg;
    if (err != NULL) {
        wal_lose(wal, err);
        return;
    }
    AUTO_BUFFER sql = TEXT_EMPTY;
    AUTO_TEXT table = ident_literal(wal->table->name);
    publisher_add_settings(wal->options.config, session_pipeline(wal), true,
                           PQserverVersion(pg_conn_raw(wal->control)), &sql);
    text_printf(&sql, "SET statement_timeout = %lld; ",
                (long long)wal->options.config->database.statement_timeout_ms);
    text_printf(&sql,
                "SELECT pg_backend_pid(), pg_is_in_recovery(), c.oid, c.relpersistence,"
                " coalesce(to_regclass(quote_ident(n.nspname) || '.dead_letter'),"
                " to_regclass('outbox.dead_letter'))::text,"
                " coalesce(to_regclass(quote_ident(n.nspname) || '.position'),"
                " to_regclass('outbox.position'))::text, n.nspname, c.relname"
                " FROM (SELECT to_regclass(%s) AS oid) t LEFT JOIN pg_class c ON c.oid = t.oid"
                " LEFT JOIN pg_namespace n ON n.oid = c.relnamespace",
                table);
    wal->error = (Error){0};
    session_ask(
        wal,
        &(PgQuery){.sql = sql.data, .arg = wal, .result = on_table_result, .done = on_table_done});
}

void wal_session_open(WalSource *wal)
{
    if (FAILPOINT("connect")) {
        Error err;
        error_set(&err, ERROR_RETRY, EXIT_POSTGRES, "FAILPOINT", "fail point 'connect'");
        wal_lose(wal, &err);
        return;
    }
    wal->state = WAL_OPENING;
    pg_conn_open(wal->control);
}

/* Each pulse: the lease; is the table still the one that is published; did others write? */

static void session_note_activity(WalSource *wal, const PGresult *result)
{
    const char *xmax = PQgetvalue(result, 0, 0);
    uint64_t end = 0;
    uint64_t position = marker_position(wal->marker).lsn;
    if (!lsn_parse(PQgetvalue(result, 0, 1), &end) || end <= position) {
        return;
    }
    bool others = strcmp(xmax, wal->idle.xmax) != 0;
    bool far =
        end - position >= IDLE_SMALL_BYTES || end / SEGMENT_BYTES != position / SEGMENT_BYTES;
    if (others || far) {
        wal->idle.wanted = true;
        wal->idle.until = end;
        /* The write that follows takes one transaction id itself: seeing that is seeing nothing. */
        snprintf(wal->idle.xmax, sizeof(wal->idle.xmax), "%llu", strtoull(xmax, NULL, 10) + 1);
    }
}

static void on_ping_result(void *arg, const PGresult *result)
{
    WalSource *wal = arg;
    if (PQresultStatus(result) != PGRES_TUPLES_OK || PQntuples(result) != 1) {
        return;
    }
    uint32_t oid = (uint32_t)strtoul(PQgetvalue(result, 0, 2), NULL, 10);
    if (oid != wal->lock.table_oid) {
        error_set(&wal->error, ERROR_RETRY, EXIT_POSTGRES, "TABLE_REPLACED",
                  "table '%s' is not the one it was: looking at it again",
                  session_pipeline(wal)->table);
        return;
    }
    if (wal->state == WAL_ACTIVE) {
        session_note_activity(wal, result);
    }
}

static void on_ping_done(void *arg, const Error *err)
{
    WalSource *wal = arg;
    if (err != NULL || wal->error.class != ERROR_NONE) {
        Error copy = err != NULL ? *err : wal->error;
        wal_lose(wal, &copy);
        return;
    }
    session_renew_lease(wal);
    wal_session_send_waiting(wal);
    if (wal->state == WAL_FILLING) {
        fill_next(wal);
    }
    if (wal->state == WAL_ACTIVE) {
        stream_advance_idle(wal, false);
        if (wal->idle.wanted && wal_is_idle(wal)) {
            stream_send_status(wal, true); /* how far is the stream? */
        }
    }
    marker_next(wal->marker);
}

void wal_session_ping(WalSource *wal)
{
    bool locked = wal->state == WAL_CHECKING || wal->state == WAL_FILLING ||
                  wal->state == WAL_STARTING || wal->state == WAL_ACTIVE;
    if (!locked || pg_conn_is_busy(wal->control) || !pg_conn_is_open(wal->control)) {
        return;
    }
    AUTO_TEXT table = ident_literal(wal->table->name);
    AUTO_TEXT sql = x_format("SELECT pg_snapshot_xmax(pg_current_snapshot()),"
                             " pg_current_wal_insert_lsn(), to_regclass(%s)::oid",
                             table);
    wal->error = (Error){0};
    session_ask(wal,
                &(PgQuery){.sql = sql, .arg = wal, .result = on_ping_result, .done = on_ping_done});
}
