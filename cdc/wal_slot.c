/* The slot: what to do with it, now that facts, history and old tables are known; creating it; what
 * follows from that for the position, the table and the stream. */
#include "cdc/wal_slot.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/memory.h"
#include "cdc/slot_tables.h"
#include "cdc/wire.h"
#include "pg/ident.h"
#include "pg/result.h"

enum { CREATION_QUICK_MS = 2000 }; /* what takes longer waits for somebody */

struct WalSlot {
    WalSlotParts with;
    int64_t created_us; /* monotonic: its creation was sent; 0: it is not being created */
    bool said;          /* that it takes long */
    ClaimJob blocker;   /* asks for whom it waits */
    char waits_for[256];
    int64_t before_us; /* monotonic: since when the slot of another pipeline of this table is read;
                          0: it is not */
};

enum { BEFORE_SECONDS = 5 }; /* PostgreSQL takes to notice that a reader is gone, and more */

static void on_slot_result(void *arg, const PGresult *result)
{
    const WalSlot *slot = arg;
    if (PQresultStatus(result) != PGRES_TUPLES_OK || PQntuples(result) != 1) {
        return;
    }
    uint64_t lsn = 0;
    (void)lsn_parse(pg_needed_field(result, 0, "consistent_point"), &lsn);
    progress_start_at(slot->with.books->progress, lsn);
    filling_set_snapshot(slot->with.fill, pg_needed_field(result, 0, "snapshot_name"));
}

/* The marker may write: the row is ours. */
static void slot_start_marker(const WalSlot *slot, const MarkerPosition *position)
{
    const WalSlotParts *with = &slot->with;
    claim_start_marker(with->wal->claim,
                       (MarkerSession){.table_oid = tables_aim(with->books->tables),
                                       .row_table = with->books->start->position_table,
                                       .row_key = with->books->start->position_key,
                                       .row_ctid = position_ctid(with->books->row),
                                       .position = position});
    verify_start_marker(with->books->verify);
}

static void slot_save(WalSlot *slot, const MarkerPosition *position, bool backfill,
                      PositionDone done)
{
    const WalSlotParts *with = &slot->with;
    position_save(with->books->row,
                  &(PositionWrite){.position = *position,
                                   .backfill = backfill,
                                   .identity = verify_identity(with->books->verify)},
                  slot, done);
}

static void on_position_saved(void *arg, const Error *err)
{
    const WalSlot *slot = arg;
    const WalSlotParts *with = &slot->with;
    if (!wal_goes_on(with->wal, err)) {
        return;
    }
    verify_stored(with->books->verify);
    gap_closed(with->books->gap);
    slot_start_marker(slot, &(MarkerPosition){.lsn = progress_start(with->books->progress)});
    filling_start(with->fill);
}

/* Who keeps it from being made. */

static void on_blocker_result(void *arg, const PGresult *result)
{
    WalSlot *slot = arg;
    if (PQntuples(result) != 1) {
        return; /* it waits for nobody now */
    }
    const char *pid = pg_needed_field(result, 0, "blocker");
    const char *seconds = pg_field(result, 0, "seconds");
    const char *user = pg_field(result, 0, "usename");
    const char *database = pg_field(result, 0, "datname");
    if (strcmp(pid, "0") == 0) {
        snprintf(slot->waits_for, sizeof(slot->waits_for), "a prepared transaction");
        return;
    }
    snprintf(slot->waits_for, sizeof(slot->waits_for),
             "process %s of user '%s' in database '%s'%s%s%s", pid, user, database,
             *seconds != '\0' ? ", whose transaction began " : "", seconds,
             *seconds != '\0' ? " s ago" : "");
}

static void on_blocker(void *arg, const Error *err)
{
    const WalSlot *slot = arg;
    const WalContext *wal = slot->with.wal;
    AUTO_ERROR unfinished = {0};
    if (wal_goes_on(wal, err) && slot->created_us != 0) {
        slot_unfinished(wal->pipeline->wal.slot, 0, slot->waits_for, &unfinished);
        wal->source->events.refused(wal->source->events.arg, &unfinished);
    }
}

static void slot_ask_blocker(void *arg)
{
    WalSlot *slot = arg;
    const PGconn *walsender = pg_conn_raw(walsender_conn(slot->with.walsender));
    if (walsender == NULL || slot->created_us == 0) {
        return;
    }
    AUTO_TEXT sql = x_format(
        "SELECT b.pid AS blocker, a.usename, a.datname, extract(epoch FROM clock_timestamp() -"
        " a.xact_start)::bigint AS seconds FROM unnest(pg_blocking_pids(%d)) AS b(pid) LEFT JOIN"
        " pg_stat_activity a ON a.pid = b.pid LIMIT 1",
        PQbackendPID(walsender));
    claim_ask(slot->with.wal->claim, &(PgQuery){.step = "who holds up the slot",
                                                .sql = sql,
                                                .arg = slot,
                                                .result = on_blocker_result,
                                                .done = on_blocker});
}

void wal_slot_watch(WalSlot *slot)
{
    const WalContext *wal = slot->with.wal;
    if (slot->created_us == 0 || slot->said ||
        clock_monotonic_us() - slot->created_us < CREATION_QUICK_MS * INT64_C(1000)) {
        return;
    }
    slot->said = true;
    slot->waits_for[0] = '\0';
    wal_want(wal, &slot->blocker);
}

static void on_slot_created(void *arg, const Error *err)
{
    WalSlot *slot = arg;
    const WalContext *wal = slot->with.wal;
    bool said = slot->said;
    wal_slot_forget(slot);
    if (said && err == NULL) {
        wal->source->events.refused(wal->source->events.arg, NULL);
    }
    if (err != NULL) {
        AUTO_ERROR copy = error_of(err);
        error_prefix(&copy, "creating slot '%s'", wal->pipeline->wal.slot);
        claim_lose(wal->claim, &copy);
        return;
    }
    char lsn[24];
    uint64_t start = progress_start(slot->with.books->progress);
    log_write(LOG_INFO, wal->pipeline->name, CODE_SLOT_CREATED,
              LOG_FIELDS(log_text("slot", wal->pipeline->wal.slot),
                         log_text("lsn", lsn_format(start, lsn))),
              wal->pipeline->capture == CAPTURE_TABLES
                  ? "created the replication slot: every change from here on is captured"
                  : "created the replication slot; publishing the rows from before it");
    MarkerPosition *position = &slot->with.books->start->given.stored->position;
    *position = (MarkerPosition){.lsn = start};
    slot_save(slot, position, true, on_position_saved);
}

static void slot_create(WalSlot *slot)
{
    const PipelineConfig *pipeline = slot->with.wal->pipeline;
    AUTO_TEXT name = ident_quote(pipeline->wal.slot);
    AUTO_TEXT sql =
        pipeline->wal.failover_slot
            ? x_format(
                  "CREATE_REPLICATION_SLOT %s LOGICAL pgoutput (SNAPSHOT 'export', FAILOVER true)",
                  name)
            : x_format("CREATE_REPLICATION_SLOT %s LOGICAL pgoutput EXPORT_SNAPSHOT", name);
    log_write(LOG_INFO, pipeline->name, CODE_SLOT_CREATING,
              LOG_FIELDS(log_text("slot", pipeline->wal.slot)),
              "creating the replication slot: PostgreSQL waits until every running transaction has "
              "ended");
    slot->created_us = clock_monotonic_us();
    slot->said = false;
    pg_conn_send(walsender_conn(slot->with.walsender), &(PgQuery){.step = "CREATE_REPLICATION_SLOT",
                                                                  .sql = sql,
                                                                  .rows_wanted = 1,
                                                                  .arg = slot,
                                                                  .result = on_slot_result,
                                                                  .done = on_slot_created});
}

/* The publication is another one than the position was reached with. */
static bool slot_publication_changed(const WalSlot *slot)
{
    const char *then = slot->with.books->start->given.stored->publication;
    const char *now = claim_look(slot->with.wal->claim)->identity;
    if (slot->with.wal->pipeline->capture == CAPTURE_TABLES) {
        return slot->with.books->start->given.known->publication_changed;
    }
    return !between_is_continuous(slot->with.between) && *then != '\0' && *now != '\0' &&
           strcmp(then, now) != 0;
}

static void slot_begin_verifying(const WalSlot *slot)
{
    const SlotStored *stored = slot->with.books->start->given.stored;
    verify_begin(slot->with.books->verify, stored->position.lsn, stored->publication,
                 slot_publication_changed(slot), slot->with.books->start->mapped);
}

/* Nothing remembered of rows holds any more. */
static void slot_forget_rows(const WalSlot *slot)
{
    marker_stop(slot->with.wal->marker); /* it may be at work, when all is read again */
    marker_forget(slot->with.wal->marker);
    waiting_forget(slot->with.waiting);
    waiting_rows_forget_rowless(slot->with.books->rows);
    acks_forget(slot->with.books->acks);
}

/* Nothing that was known before counts. */
static void slot_begin(const WalSlot *slot)
{
    SlotStored *stored = slot->with.books->start->given.stored;
    slot_forget_rows(slot);
    history_claim_anew(slot->with.wal->history, slot->with.books->start->found);
    stored->position = (MarkerPosition){0};
    free(stored->publication);
    stored->publication = x_strdup("");
    slot->with.books->start->given.known->publication_changed = false;
    slot_begin_verifying(slot);
}

static void on_slot_dropped(void *arg, const Error *err)
{
    WalSlot *slot = arg;
    if (wal_goes_on(slot->with.wal, err)) {
        slot_create(slot);
    }
}

static const char *slot_missing_changes(const PipelineConfig *pipeline)
{
    return pipeline->tables.snapshot == SNAPSHOT_MODE_NEVER
               ? "changes since the place that was read last are lost"
               : "every row of the tables is sent again, as a row of a snapshot; changes since the "
                 "place that was read last are not sent, and neither are deletes: consumers keep "
                 "rows that were deleted in between";
}

/* A standing consent, or run --new-slot: what may be missing is said, then everything begins again.
 */
static void slot_accept_gap(WalSlot *slot, const Error *gap)
{
    const PipelineConfig *pipeline = slot->with.wal->pipeline;
    const SlotFacts *facts = slot->with.books->start->given.facts;
    const SlotStored *stored = slot->with.books->start->given.stored;
    const char *missing =
        pipeline->capture == CAPTURE_TABLES ? slot_missing_changes(pipeline)
        : pipeline->outbox.on_publish == ON_PUBLISH_KEEP
            ? "every row of the table whose published_at is not set is published, also those that "
              "consumers already have (\"keep\" marks nothing); rows that others have deleted "
              "since are lost"
            : "the rows that are still unpublished follow; rows that others have deleted since are "
              "lost";
    char lsn[24];
    log_write(LOG_WARN, pipeline->name, CODE_GAP_ACCEPTED,
              LOG_FIELDS(log_text("gap", error_code_name(gap->code)),
                         log_text("read_up_to", lsn_format(stored->position.lsn, lsn)),
                         log_text("messages", pipeline->wal.messages ? "may be missing" : "none")),
              "%s; creating the slot again: %s", error_message(gap), missing);
    gap_close(slot->with.books->gap, true);
    slot_begin(slot);
    if (facts->has_slot) {
        AUTO_TEXT name = ident_quote(pipeline->wal.slot);
        AUTO_TEXT sql = x_format("DROP_REPLICATION_SLOT %s", name);
        pg_conn_send(
            walsender_conn(slot->with.walsender),
            &(PgQuery){
                .step = "DROP_REPLICATION_SLOT", .sql = sql, .arg = slot, .done = on_slot_dropped});
    } else {
        slot_create(slot);
    }
}

static void slot_nothing_missed(const WalSlot *slot)
{
    gap_say_none(slot->with.books->gap);
    waiting_rows_know(slot->with.books->rows);
    walsender_stream(slot->with.walsender);
}

/* The row is ours: the stream may go on, or the filling. */
static void on_claimed(void *arg, const Error *err)
{
    const WalSlot *slot = arg;
    const WalSlotParts *with = &slot->with;
    const SlotStored *stored = with->books->start->given.stored;
    if (!wal_goes_on(with->wal, err)) {
        return;
    }
    slot_start_marker(slot, &stored->position);
    position_set_waiting(with->books->row, stored->waiting);
    bool known =
        progress_is_live(with->books->progress) && waiting_rows_are_known(with->books->rows);
    bool read_again = stored->waiting && !known;
    bool rows_tell = !wal_keeps_rows(with->wal);
    if (stored->backfill || read_again) {
        gap_say_none(with->books->gap); /* the table is read anyway */
        filling_go_on(with->fill);
    } else if (verify_must_prove(with->books->verify) ||
               (rows_tell && gap_may_say_none(with->books->gap))) {
        filling_prove(with->fill);
    } else {
        slot_nothing_missed(slot);
    }
}

static void on_moved(void *arg, const Error *err)
{
    const WalSlot *slot = arg;
    if (err == NULL) {
        verify_stored(slot->with.books->verify);
    }
    on_claimed(arg, err);
}

static void slot_missed(WalSlot *slot, const Error *gap)
{
    WalContext *wal = slot->with.wal;
    if (!gap_may_close(slot->with.books->gap)) {
        claim_lose(wal->claim, gap);
        return;
    }
    marker_stop(wal->marker);
    wal->state = WAL_CHECKING;
    slot_accept_gap(slot, gap);
}

void wal_slot_compared(WalSlot *slot)
{
    int64_t first_missed = 0;
    size_t missed = filling_missed(slot->with.fill, &first_missed);
    filling_forget(slot->with.fill);
    if (missed == 0) {
        verify_adopt(slot->with.books->verify);
        slot_nothing_missed(slot);
        return;
    }
    bool changed = verify_must_prove(slot->with.books->verify);
    AUTO_ERROR err = {0};
    error_set_as(
        &err, ERROR_FATAL, EXIT_GAP, changed ? CODE_PUBLICATION_CHANGED : CODE_EVENT_UNSEEN,
        "%s%zu unpublished rows are not in the WAL, such as number %lld",
        changed ? "the publication was changed, and " : "", missed, (long long)first_missed);
    error_hint(&err, "`outboxd run --new-slot` creates the slot again, publishes the rows that are "
                     "still unpublished, and says what may be missing.");
    slot_missed(slot, &err);
}

/* The server holds what our position says. */
static void slot_go_on(WalSlot *slot)
{
    const WalSlotParts *with = &slot->with;
    const WalContext *wal = with->wal;
    const SlotFacts *facts = with->books->start->given.facts;
    const SlotStored *stored = with->books->start->given.stored;
    const SlotKnown *known = with->books->start->given.known;
    bool failed_over = known->left_timeline != 0;
    uint32_t last = wal->history->last.table_oid;
    bool replaced = wal->history->known && last != claim_table(wal->claim) &&
                    !tables_have(with->books->tables, last);
    if (failed_over || replaced || progress_is_distrusted(with->books->progress) ||
        known->history == HISTORY_NEWER_OWNER) {
        slot_forget_rows(slot);
    }
    history_claim(wal->history, with->books->start->found, known->history);
    slot_begin_verifying(slot);
    if (failed_over && !stored->backfill) {
        log_write(LOG_WARN, wal->pipeline->name, CODE_SLOT_FAILED_OVER,
                  LOG_FIELDS(log_number("timeline", facts->timeline)),
                  "the slot was copied to the new primary; continuing from its position");
        slot_save(slot, &stored->position, false, on_moved);
    } else {
        position_claim(with->books->row, slot, on_claimed);
    }
}

/* What the judge must know of what this process remembers. */
static void slot_compare_history(const WalSlot *slot)
{
    const WalContext *wal = slot->with.wal;
    const Progress *progress = slot->with.books->progress;
    SlotKnown *known = slot->with.books->start->given.known;
    const History *last = &wal->history->last;
    History found = *slot->with.books->start->found;
    if (progress_is_live(progress) && !progress_is_distrusted(progress)) {
        known->position = marker_position(wal->marker);
    }
    if (wal->history->known && !history_is_claimed(wal->history, &found)) {
        found.table_oid =
            last->table_oid; /* a table made again shows in the publication's identity */
        if (known->left_timeline != 0) {
            found.timeline = last->timeline;
            found.lsn = last->flushed;
        }
    }
    known->history =
        history_judge(wal->history, &found, known->difference, sizeof(known->difference));
    if (known->history == HISTORY_NEWER_OWNER) {
        known->position = (MarkerPosition){0};
    }
    known->publication_changed = slot_publication_changed(slot);
}

/* With a lock that is shared, pipelines of several relays may read one table. */
static void slot_watch_before(WalSlot *slot)
{
    const SlotCase *given = &slot->with.books->start->given;
    const WalContext *wal = slot->with.wal;
    int64_t now_us = clock_monotonic_us();
    bool read = given->facts->before_active;
    slot->before_us = !read ? 0 : slot->before_us != 0 ? slot->before_us : now_us;
    given->known->before_lives =
        read &&
        (wal->config->new_slot || (claim_is_shared(wal->claim) &&
                                   now_us - slot->before_us >= BEFORE_SECONDS * INT64_C(1000000)));
}

/* --new-slot closes it, or it is for a human. */
static void slot_judge_gap(WalSlot *slot, const Error *gap)
{
    if (gap_may_close(slot->with.books->gap)) {
        slot_accept_gap(slot, gap);
    } else {
        claim_lose(slot->with.wal->claim, gap);
    }
}

static void slot_adopt(WalSlot *slot)
{
    const PipelineConfig *pipeline = slot->with.wal->pipeline;
    slot_begin(slot);
    log_write(LOG_INFO, pipeline->name, CODE_SLOT_ADOPTED,
              LOG_FIELDS(log_text("slot", pipeline->wal.slot)),
              pipeline->capture == CAPTURE_TABLES
                  ? "the slot already existed: publishing the snapshot, if one is wanted, then its "
                    "WAL"
                  : "the slot already existed: publishing the unpublished rows, then its WAL");
    slot_save(slot, &(MarkerPosition){.lsn = progress_start(slot->with.books->progress)}, true,
              on_position_saved);
}

/* The snapshot alone. */

static void on_ended(void *arg, const Error *err)
{
    const WalSlot *slot = arg;
    const WalContext *wal = slot->with.wal;
    if (!wal_goes_on(wal, err)) {
        return;
    }
    log_write(
        LOG_INFO, wal->pipeline->name, CODE_SNAPSHOT_ONLY,
        LOG_FIELDS(log_text("slot", wal->pipeline->wal.slot)),
        "the snapshot is published, and snapshot is \"initial_only\": the slot is dropped, and "
        "the pipeline ends");
    wal->source->events.finished(wal->source->events.arg);
}

void wal_slot_end(WalSlot *slot)
{
    AUTO_TEXT name = ident_literal(slot->with.wal->pipeline->wal.slot);
    AUTO_TEXT sql = x_format("SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots"
                             " WHERE slot_name = %s",
                             name);
    pg_conn_send(walsender_conn(slot->with.walsender),
                 &(PgQuery){.step = "drop the slot", .sql = sql, .arg = slot, .done = on_ended});
}

static bool slot_has_ended(const WalSlot *slot)
{
    const SlotStored *stored = slot->with.books->start->given.stored;
    return wal_reads_snapshot_alone(slot->with.wal) && stored->there && !stored->backfill;
}

void wal_slot_decide(WalSlot *slot)
{
    if (slot_has_ended(slot)) {
        wal_slot_end(slot);
        return;
    }
    AUTO_ERROR err = {0};
    const PipelineConfig *pipeline = slot->with.wal->pipeline;
    Gap *gap = slot->with.books->gap;
    const SlotCase *given = &slot->with.books->start->given;
    SlotStored *stored = given->stored;
    uint64_t start = progress_start(slot->with.books->progress);
    if (pipeline->capture == CAPTURE_TABLES &&
        slot_tables_compare(pipeline, stored, slot->with.books->start->mapped, given->known,
                            &err) != OK) {
        claim_lose(slot->with.wal->claim, &err);
        return;
    }
    slot_compare_history(slot);
    slot_watch_before(slot);
    SlotVerdict verdict = slot_judge(given, pipeline, &start, &err);
    progress_start_at(slot->with.books->progress, start);
    if (!stored->same_messages && stored->position.tx_lsn != 0) {
        stored->position.tx_ordinal = 0; /* messages counted then, or do now: repeat rather */
    }
    filling_forget(slot->with.fill);
    gap_close(gap, false);
    if (verdict != SLOT_GAP && verdict != SLOT_REFUSED && gap_may_close(gap) &&
        given->known->publication_changed) {
        error_set_as(&err, ERROR_FATAL, EXIT_GAP, CODE_PUBLICATION_CHANGED,
                     "the publication was changed after the saved position");
        verdict = SLOT_GAP;
    }
    if (verdict != SLOT_REFUSED && gap_may_close(gap) && gap_unreadable(gap) != NULL) {
        error_copy(&err, gap_unreadable(gap));
        verdict = SLOT_GAP;
    }
    if ((verdict == SLOT_CREATE || verdict == SLOT_ADOPT) &&
        slot_is_renamed(given, pipeline, &err)) {
        log_error(LOG_WARN, pipeline->name, &err,
                  "continuing: the table shows what is unpublished");
    }
    switch (verdict) {
    case SLOT_REFUSED:
        claim_lose(slot->with.wal->claim, &err);
        break;
    case SLOT_GAP:
        slot_judge_gap(slot, &err);
        break;
    case SLOT_CREATE:
        slot_begin(slot);
        slot_create(slot);
        break;
    case SLOT_ADOPT:
        slot_adopt(slot);
        break;
    case SLOT_BACKFILL:
    case SLOT_START:
        slot_go_on(slot);
        break;
    }
}

void wal_slot_forget(WalSlot *slot)
{
    slot->created_us = 0;
    slot->said = false;
}

WalSlot *wal_slot_new(const WalSlotParts *parts)
{
    WalSlot *slot = x_calloc(1, sizeof(*slot));
    slot->with = *parts;
    slot->blocker = (ClaimJob){.run = slot_ask_blocker, .arg = slot};
    return slot;
}

void wal_slot_free(WalSlot **slot)
{
    free(*slot);
    *slot = NULL;
}
