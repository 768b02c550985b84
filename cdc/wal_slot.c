/* The walsender's connection: slot and position, and from them the beginning of the stream. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/failpoint.h"
#include "base/log.h"
#include "base/memory.h"
#include "cdc/wal_internal.h"
#include "pg/ident.h"
#include "pg/result.h"
#include "pg/sqlstate.h"
#include "rows/precondition.h"

enum { CREATION_QUICK_MS = 2000 }; /* what takes longer waits for somebody */

/* The stream. */

static void on_streaming(void *arg)
{
    WalSource *wal = arg;
    bool was_filling = wal->fill.complete;
    claim_begin(wal->claim);
    wal->state = WAL_ACTIVE;
    wal->waiting.rereading = false;
    AUTO_ERROR err = {0};
    if (FAILPOINT_FAILS("streaming", &err)) {
        claim_lose(wal->claim, &err);
        return;
    }
    char lsn[24];
    int64_t now_us = clock_monotonic_us();
    if (log_limit_take(&wal->stream_lines, now_us) ||
        log_limit_due(&wal->stream_lines, now_us, false) > 0) {
        log_write(LOG_INFO, wal->options.pipeline->name, CODE_STREAM_STARTED,
                  LOG_FIELDS(log_text("slot", wal->options.pipeline->wal.slot),
                             log_text("lsn", lsn_format(wal->start_lsn, lsn))),
                  "reading the log");
    }
    if (!was_filling) {
        wal->source.events.active(wal->source.events.arg);
    }
    marker_next(wal->marker);
    stream_begin(wal);
    wal_tell(wal, NEWS_SETTLED);
}

static void on_stream_refused(void *arg, const Error *err)
{
    WalSource *wal = arg;
    if (err == NULL) {
        return;
    }
    AUTO_ERROR copy = error_of(err);
    if (wal_cannot_decode(wal, &copy)) {
        wal_lose_log(wal, &copy);
        return;
    }
    /* In the middle of reading again, and once the pipeline began with rows from the table, we are
     * no standby: connect again. */
    bool begun = wal->waiting.rereading || wal->fill.announced;
    if (sqlstate_is(err, "55006") && pg_conn_is_open(wal->walsender) && !begun) {
        pg_conn_close(wal->walsender);
        wal_stand_by(wal, error_message(err));
        return;
    }
    if (sqlstate_is(err, "42704") || sqlstate_is(err, "55000") || sqlstate_is(err, "58P01")) {
        copy.class = ERROR_FATAL;
        copy.exit_code = EXIT_GAP;
        copy.code = sqlstate_is(err, "42704") ? CODE_SLOT_MISSING : CODE_SLOT_LOST;
        error_hint(&copy,
                   "Events may be missing. Find out why first. Then `outboxd run --new-slot` "
                   "creates the slot again and publishes the rows that are still unpublished.");
        wal_lose_log(wal, &copy);
        return;
    }
    claim_lose(wal->claim, &copy);
}

static int slot_protocol(int server_version)
{
    if (server_version >= 160000) {
        return 4;
    }
    return server_version >= 150000 ? 3 : server_version >= 140000 ? 2 : 1;
}

void wal_slot_stream(WalSource *wal)
{
    const PipelineConfig *pipeline = wal->options.pipeline;
    int version = PQserverVersion(pg_conn_raw(wal->walsender));
    int protocol = slot_protocol(version);
    wal->state = WAL_STARTING;
    /* What we know to be acknowledged is better than what the slot, or the row, remembers. */
    MarkerPosition from = wal->live ? wal->acked : wal->facts.position;
    if (from.lsn < wal->start_lsn) {
        from = (MarkerPosition){.lsn = wal->start_lsn};
    }
    wal->start_lsn = from.lsn;
    wal->acked = from;
    wal->live = true;
    wal->assembler.done_lsn = from.tx_lsn;
    wal->assembler.done_ordinal = from.tx_ordinal;
    assembler_restart(&wal->assembler, from.lsn, protocol);
    AUTO_TEXT slot = ident_quote(pipeline->wal.slot);
    AUTO_TEXT publication = ident_quote(pipeline->wal.publication);
    AUTO_TEXT publications = ident_literal(publication);
    char lsn[24];
    AUTO_BUFFER sql = TEXT_EMPTY;
    text_printf(&sql,
                "START_REPLICATION SLOT %s LOGICAL %s (proto_version '%d', publication_names %s",
                slot, lsn_format(from.lsn, lsn), protocol, publications);
    text_add(&sql, pipeline->wal.messages ? ", messages 'true')" : ")");
    pg_conn_send(wal->walsender, &(PgQuery){.step = "START_REPLICATION",
                                            .sql = sql.data,
                                            .arg = wal,
                                            .copy_both = on_streaming,
                                            .done = on_stream_refused});
}

/* The slot. */

static void on_slot_result(void *arg, const PGresult *result)
{
    WalSource *wal = arg;
    if (PQresultStatus(result) != PGRES_TUPLES_OK || PQntuples(result) != 1) {
        return;
    }
    if (!lsn_parse(pg_needed_field(result, 0, "consistent_point"), &wal->start_lsn)) {
        wal->start_lsn = 0;
    }
    snprintf(wal->fill.snapshot, sizeof(wal->fill.snapshot), "%s",
             pg_needed_field(result, 0, "snapshot_name"));
}

static void on_position_saved(void *arg, const Error *err)
{
    WalSource *wal = arg;
    if (err != NULL) {
        claim_lose(wal->claim, err);
        return;
    }
    wal->gap_accepted = wal->closing_gap;
    position_start_marker(wal, &(MarkerPosition){.lsn = wal->start_lsn});
    fill_start(wal);
}

void wal_slot_watch(WalSource *wal)
{
    SlotCreation *creation = &wal->creation;
    if (creation->sent_us == 0 || creation->said ||
        clock_monotonic_us() - creation->sent_us < CREATION_QUICK_MS * INT64_C(1000)) {
        return;
    }
    AUTO_ERROR err = {0};
    slot_unfinished(wal->options.pipeline->wal.slot, 0, &err);
    creation->said = true;
    wal->source.events.refused(wal->source.events.arg, &err);
}

static void on_slot_created(void *arg, const Error *err)
{
    WalSource *wal = arg;
    bool said = wal->creation.said;
    wal->creation = (SlotCreation){0};
    if (said && err == NULL) {
        wal->source.events.refused(wal->source.events.arg, NULL);
    }
    if (err != NULL) {
        AUTO_ERROR copy = error_of(err);
        error_prefix(&copy, "creating slot '%s'", wal->options.pipeline->wal.slot);
        claim_lose(wal->claim, &copy);
        return;
    }
    char lsn[24];
    log_write(LOG_INFO, wal->options.pipeline->name, CODE_SLOT_CREATED,
              LOG_FIELDS(log_text("slot", wal->options.pipeline->wal.slot),
                         log_text("lsn", lsn_format(wal->start_lsn, lsn))),
              "created the replication slot; publishing the rows from before it");
    wal->facts.position = (MarkerPosition){.lsn = wal->start_lsn};
    position_save(wal, &wal->facts.position, true, on_position_saved);
}

static void slot_create_slot(WalSource *wal)
{
    const PipelineConfig *pipeline = wal->options.pipeline;
    AUTO_TEXT slot = ident_quote(pipeline->wal.slot);
    AUTO_TEXT sql =
        pipeline->wal.failover_slot
            ? x_format(
                  "CREATE_REPLICATION_SLOT %s LOGICAL pgoutput (SNAPSHOT 'export', FAILOVER true)",
                  slot)
            : x_format("CREATE_REPLICATION_SLOT %s LOGICAL pgoutput EXPORT_SNAPSHOT", slot);
    log_write(LOG_INFO, pipeline->name, CODE_SLOT_CREATING,
              LOG_FIELDS(log_text("slot", pipeline->wal.slot)),
              "creating the replication slot: PostgreSQL waits until every running transaction has "
              "ended");
    wal->creation = (SlotCreation){.sent_us = clock_monotonic_us()};
    pg_conn_send(wal->walsender, &(PgQuery){.step = "CREATE_REPLICATION_SLOT",
                                            .sql = sql,
                                            .rows_wanted = 1,
                                            .arg = wal,
                                            .result = on_slot_result,
                                            .done = on_slot_created});
}

/* Nothing remembered of rows holds any more. */
static void slot_forget(WalSource *wal)
{
    marker_forget(wal->marker);
    waiting_forget(wal);
    waiting_forget_rowless(wal);
    known_events_release(&wal->again);
    known_events_release(&wal->assembler.known);
    known_seqs_release(&wal->filled);
    wal->live = false;
    wal->acked = (MarkerPosition){0};
    wal->distrust = false;
}

/* Nothing that was known before counts. */
static void slot_begin(WalSource *wal)
{
    slot_forget(wal);
    history_adopt(wal->history, &wal->found);
    wal->facts.position = (MarkerPosition){0};
    wal->facts.publication_then[0] = '\0';
    verify_begin(wal);
}

static void on_slot_dropped(void *arg, const Error *err)
{
    WalSource *wal = arg;
    if (err != NULL) {
        claim_lose(wal->claim, err);
        return;
    }
    slot_create_slot(wal);
}

/* run --new-slot: what may be missing is said, then everything begins again. */
static void slot_accept_gap(WalSource *wal, const Error *gap)
{
    const PipelineConfig *pipeline = wal->options.pipeline;
    const char *missing =
        pipeline->outbox.on_publish == ON_PUBLISH_KEEP
            ? "every row of the table whose published_at is not set is published, also those that "
              "consumers already have (\"keep\" marks nothing); rows that others have deleted "
              "since are lost"
            : "the rows that are still unpublished follow; rows that others have deleted since are "
              "lost";
    char lsn[24];
    log_write(LOG_WARN, pipeline->name, CODE_GAP_ACCEPTED,
              LOG_FIELDS(log_text("gap", error_code_name(gap->code)),
                         log_text("read_up_to", lsn_format(wal->facts.position.lsn, lsn)),
                         log_text("messages", pipeline->wal.messages ? "may be missing" : "none")),
              "%s; creating the slot again: %s", error_message(gap), missing);
    wal->closing_gap = true;
    slot_begin(wal);
    if (wal->facts.has_slot) {
        AUTO_TEXT slot = ident_quote(pipeline->wal.slot);
        AUTO_TEXT sql = x_format("DROP_REPLICATION_SLOT %s", slot);
        pg_conn_send(wal->walsender, &(PgQuery){.step = "DROP_REPLICATION_SLOT",
                                                .sql = sql,
                                                .arg = wal,
                                                .done = on_slot_dropped});
    } else {
        slot_create_slot(wal);
    }
}

/* run --new-slot, and nothing is missing that anybody knows of. */
static bool slot_may_say_no_gap(const WalSource *wal)
{
    return wal->options.config->new_slot && !wal->gap_accepted && !wal->new_slot_said;
}

static void slot_say_no_gap(WalSource *wal)
{
    const PipelineConfig *pipeline = wal->options.pipeline;
    if (!slot_may_say_no_gap(wal)) {
        return;
    }
    wal->new_slot_said = true;
    AUTO_TEXT slot = ident_literal(pipeline->wal.slot);
    log_write(LOG_WARN, pipeline->name, CODE_NEW_SLOT_NOT_NEEDED,
              LOG_FIELDS(log_text("slot", pipeline->wal.slot)),
              "--new-slot is not needed: slot and position match, and no row is known to be "
              "missing from the WAL; continuing. To create the slot again anyway, stop the relay, "
              "run SELECT pg_drop_replication_slot(%s); and start with --new-slot",
              slot);
}

static void slot_nothing_missed(WalSource *wal)
{
    slot_say_no_gap(wal);
    wal->waiting.known = true;
    wal_slot_stream(wal);
}

/* The row is ours: the stream may go on, or the filling. */
static void on_claimed(void *arg, const Error *err)
{
    WalSource *wal = arg;
    if (err != NULL) {
        claim_lose(wal->claim, err);
        return;
    }
    position_start_marker(wal, &wal->facts.position);
    wal->waiting.recorded = wal->facts.waiting;
    bool read_again = wal->facts.waiting && !waiting_is_known(wal);
    bool rows_tell = wal->options.pipeline->outbox.on_publish != ON_PUBLISH_KEEP;
    if (wal->facts.backfill || read_again) {
        slot_say_no_gap(wal); /* the table is read anyway */
        fill_go_on(wal);
    } else if (verify_must_prove(wal) || (rows_tell && slot_may_say_no_gap(wal))) {
        fill_prove(wal);
    } else {
        slot_nothing_missed(wal);
    }
}

static void slot_missed(WalSource *wal, const Error *gap)
{
    if (!wal->options.config->new_slot || wal->gap_accepted) {
        claim_lose(wal->claim, gap);
        return;
    }
    marker_stop(wal->marker);
    wal->state = WAL_CHECKING;
    slot_accept_gap(wal, gap);
}

void wal_slot_compared(WalSource *wal)
{
    size_t missed = wal->fill.missed;
    int64_t first_missed = wal->fill.first_missed;
    fill_forget(&wal->fill);
    if (missed == 0) {
        verify_adopt(wal);
        slot_nothing_missed(wal);
        return;
    }
    bool changed = wal->verify.unproven;
    AUTO_ERROR err = {0};
    error_set_as(
        &err, ERROR_FATAL, EXIT_GAP, changed ? CODE_PUBLICATION_CHANGED : CODE_EVENT_UNSEEN,
        "%s%zu unpublished rows are not in the WAL, such as number %lld",
        changed ? "the publication was changed, and " : "", missed, (long long)first_missed);
    error_hint(&err, "`outboxd run --new-slot` creates the slot again, publishes the rows that are "
                     "still unpublished, and says what may be missing.");
    slot_missed(wal, &err);
}

/* The server holds what our position says. */
static void slot_go_on(WalSource *wal)
{
    const SlotFacts *facts = &wal->facts;
    bool failed_over = facts->left_timeline != 0;
    uint32_t last = wal->history->last.table_oid;
    bool replaced =
        wal->history->known && last != claim_table(wal->claim) && !tables_have(wal, last);
    if (failed_over || replaced || wal->distrust || facts->history == HISTORY_NEWER_OWNER) {
        slot_forget(wal);
    }
    history_adopt(wal->history, &wal->found);
    verify_begin(wal);
    if (failed_over && !facts->backfill) {
        log_write(LOG_WARN, wal->options.pipeline->name, CODE_SLOT_FAILED_OVER,
                  LOG_FIELDS(log_number("timeline", facts->timeline)),
                  "the slot was copied to the new primary; continuing from its position");
        position_save(wal, &facts->position, false, on_claimed);
    } else {
        position_claim(wal, on_claimed);
    }
}

/* What the judge must know of what this process remembers. */
static void slot_compare_history(WalSource *wal)
{
    SlotFacts *facts = &wal->facts;
    const History *last = &wal->history->last;
    History found = wal->found;
    if (wal->live && !wal->distrust) {
        facts->known = marker_position(wal->marker);
    }
    if (wal->history->known) {
        found.table_oid =
            last->table_oid; /* a table made again shows in the publication's identity */
        if (facts->left_timeline != 0) {
            found.timeline = last->timeline;
            found.lsn = last->flushed;
        }
    }
    facts->history =
        history_judge(wal->history, &found, facts->difference, sizeof(facts->difference));
    if (facts->history == HISTORY_NEWER_OWNER) {
        facts->known = (MarkerPosition){0};
    }
    facts->publication_changed = *verify_changed(wal) != '\0';
}

void wal_slot_decide(WalSource *wal)
{
    AUTO_ERROR err = {0};
    const PipelineConfig *pipeline = wal->options.pipeline;
    slot_compare_history(wal);
    SlotVerdict verdict = slot_judge(&wal->facts, pipeline, &wal->start_lsn, &err);
    if (!wal->facts.same_messages && wal->facts.position.tx_lsn != 0) {
        wal->facts.position.tx_ordinal = 0; /* messages counted then, or do now: repeat rather */
    }
    fill_forget(&wal->fill);
    wal->closing_gap = false;
    bool may_close = wal->options.config->new_slot && !wal->gap_accepted;
    if (verdict != SLOT_GAP && verdict != SLOT_REFUSED && may_close &&
        wal->facts.publication_changed) {
        error_set_as(&err, ERROR_FATAL, EXIT_GAP, CODE_PUBLICATION_CHANGED,
                     "the publication was changed after the saved position");
        verdict = SLOT_GAP;
    }
    if (verdict != SLOT_REFUSED && may_close && wal->unreadable.class != ERROR_NONE) {
        error_copy(&err, &wal->unreadable);
        verdict = SLOT_GAP;
    }
    if ((verdict == SLOT_CREATE || verdict == SLOT_ADOPT) &&
        slot_is_renamed(&wal->facts, pipeline, &err)) {
        log_error(LOG_WARN, pipeline->name, &err,
                  "continuing: the table shows what is unpublished");
    }
    switch (verdict) {
    case SLOT_REFUSED:
        claim_lose(wal->claim, &err);
        break;
    case SLOT_GAP:
        if (may_close) {
            slot_accept_gap(wal, &err);
        } else {
            claim_lose(wal->claim, &err);
        }
        break;
    case SLOT_CREATE:
        slot_begin(wal);
        slot_create_slot(wal);
        break;
    case SLOT_ADOPT:
        slot_begin(wal);
        log_write(LOG_INFO, pipeline->name, CODE_SLOT_ADOPTED,
                  LOG_FIELDS(log_text("slot", pipeline->wal.slot)),
                  "the slot already existed: publishing the unpublished rows, then its WAL");
        position_save(wal, &(MarkerPosition){.lsn = wal->start_lsn}, true, on_position_saved);
        break;
    case SLOT_BACKFILL:
    case SLOT_START:
        slot_go_on(wal);
        break;
    }
}

/* The walsender. */

static void on_identity_result(void *arg, const PGresult *result)
{
    WalSource *wal = arg;
    if (PQresultStatus(result) == PGRES_TUPLES_OK && PQntuples(result) == 1) {
        snprintf(wal->facts.system_id, sizeof(wal->facts.system_id), "%s",
                 pg_needed_field(result, 0, "systemid"));
    }
}

static void on_history_result(void *arg, const PGresult *result)
{
    WalSource *wal = arg;
    if (PQresultStatus(result) == PGRES_TUPLES_OK && PQntuples(result) == 1) {
        (void)slot_read_history(pg_needed_field(result, 0, "content"), wal->facts.position_timeline,
                                &wal->facts.switch_lsn);
    }
}

static void on_history_done(void *arg, const Error *err)
{
    WalSource *wal = arg;
    if (err != NULL && !pg_conn_is_open(wal->walsender)) {
        claim_lose(wal->claim, err);
        return;
    }
    wal_slot_decide(wal); /* a history file that is not there holds nothing */
}

static void on_identity_done(void *arg, const Error *err)
{
    WalSource *wal = arg;
    if (err != NULL) {
        claim_lose(wal->claim, err);
        return;
    }
    SlotFacts *facts = &wal->facts;
    int last = wal->history->known ? (int)wal->history->last.timeline : facts->timeline;
    facts->left_timeline = facts->position_timeline != facts->timeline ? facts->position_timeline
                           : last != facts->timeline                   ? last
                                                                       : 0;
    if (!facts->has_position || facts->left_timeline == 0 || facts->timeline == 1) {
        wal_slot_decide(wal);
        return;
    }
    AUTO_TEXT sql = x_format("TIMELINE_HISTORY %d", facts->timeline);
    pg_conn_send(wal->walsender, &(PgQuery){.step = "TIMELINE_HISTORY",
                                            .sql = sql,
                                            .rows_wanted = 1,
                                            .arg = wal,
                                            .result = on_history_result,
                                            .done = on_history_done});
}

static void on_walsender_set(void *arg, const Error *err)
{
    WalSource *wal = arg;
    if (err != NULL) {
        claim_lose(wal->claim, err);
        return;
    }
    pg_conn_send(wal->walsender, &(PgQuery){.step = "IDENTIFY_SYSTEM",
                                            .sql = "IDENTIFY_SYSTEM",
                                            .arg = wal,
                                            .rows_wanted = 1,
                                            .result = on_identity_result,
                                            .done = on_identity_done});
}

void wal_slot_walsender_opened(void *arg, const Error *err)
{
    WalSource *wal = arg;
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
    publisher_add_settings(wal->options.config, wal->options.pipeline, false,
                           pg_conn_raw(wal->walsender), &sql);
    /* Without tcp_user_timeout: it would end the connection of a relay that does not read because
     * its window is full. wal_sender_timeout asks for our status updates, which go on. */
    text_printf(&sql,
                "SET tcp_user_timeout = 0; SET statement_timeout = 0; SET lock_timeout = 0;"
                " SET wal_sender_timeout = %lld",
                (long long)wal->options.pipeline->claim.lease_ms + PUBLISHER_MARGIN_MS);
    pg_conn_send(wal->walsender, &(PgQuery){.step = "session of the walsender",
                                            .sql = sql.data,
                                            .arg = wal,
                                            .done = on_walsender_set});
}
