/* Rotation by rename: ALTER TABLE event RENAME TO event_2025; CREATE TABLE event (LIKE ...).
 *
 * The log has the rows of all tables in the order of their commits, and a rename waits for every
 * transaction that wrote to its table. So reading on in the log *is* finishing the old table first;
 * what it takes is to know that both are ours, and to mark each row in its own table.
 *
 * The position row names the oldest table that may not be finished (table_id). When another one has
 * the configured name, those from there on are looked up (rows/succession.h), their publisher's
 * locks are taken beside that of the new one, and the stream begins. Marks go to one table at a
 * time: a row of another one is held, with the stream, until everything before it is marked; then
 * the marker is turned. So no row of the new table is published before the old one is marked. What
 * somebody still writes to the old table comes in the place of its commit, in the same way.
 *
 * An old table is finished once the log was read beyond the place where the new one was first seen
 * under the name, and the old one shows no unpublished row. Rows that wait for their topic leave it
 * unfinished; they hold back nobody else. A row that is unpublished and was not in the log is a
 * gap, and closing that (--new-slot) reads the old tables before the new one. */
#include "cdc/wal_rotation.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/memory.h"
#include "pg/ident.h"
#include "pg/result.h"

enum { COUNT_MOST = 100000, RETRY_MS = 1000 };

struct WalRotation {
    WalRotationParts with;
    bool counting;
    int64_t unpublished; /* in the old table; -1: not told */
    int64_t retry_us;
    ClaimJob job;
};

/* The batches that are out came back, and what is acknowledged is marked. */
static bool rotation_is_drained(const WalRotation *rotation)
{
    return handover_is_drained(rotation->with.handover) && !position_is_saving(rotation->with.row);
}

static void rotation_turn(WalRotation *rotation, size_t at)
{
    tables_turn(rotation->with.tables, at);
    marker_retarget(rotation->with.wal->marker, tables_target(rotation->with.tables));
}

static void rotation_try_switch(WalRotation *rotation, size_t wanted)
{
    const WalContext *wal = rotation->with.wal;
    if (!rotation_is_drained(rotation)) {
        if (progress_outstanding(rotation->with.progress) == 0 && wal->state == WAL_ACTIVE &&
            marker_pending(wal->marker)) {
            MarkerPosition position =
                verify_cap(rotation->with.verify, progress_acked(rotation->with.progress));
            marker_add_position(wal->marker, &position, true); /* not after mark_interval */
        }
        return;
    }
    rotation_turn(rotation, wanted);
    wal_tell(wal, NEWS_TURNED);
}

/* Finishing. */

static const OldTable *rotation_oldest(const WalRotation *rotation)
{
    return &tables_old(rotation->with.tables)->items[tables_done(rotation->with.tables)];
}

static void on_finished(void *arg, const Error *err)
{
    WalRotation *rotation = arg;
    if (wal_goes_on(rotation->with.wal, err)) {
        wal_rotation_go_on(rotation);
    }
}

static void on_finish_noted(void *arg, const Error *err)
{
    WalRotation *rotation = arg;
    const WalContext *wal = rotation->with.wal;
    if (!wal_goes_on(wal, err)) {
        return;
    }
    const OldTable *old = rotation_oldest(rotation);
    tables_finish(rotation->with.tables, tables_done(rotation->with.tables) + 1);
    if (old->name != NULL) {
        log_write(LOG_INFO, wal->pipeline->name, CODE_TABLE_FINISHED,
                  LOG_FIELDS(log_text("old", old->name)),
                  "everything in %s is published; continuing with the new table '%s'", old->name,
                  wal->pipeline->outbox.table);
    }
    if (!publisher_rows_forget(rotation->with.publisher, old->oid, rotation, on_finished)) {
        on_finished(rotation, NULL);
    }
}

/* With the identity of the publication: the next start finds no rotation any more, and would take
 * what the rotation changed there for somebody's doing. */
static void rotation_note_finished(WalRotation *rotation)
{
    const Tables *tables = rotation->with.tables;
    const Verify *verify = rotation->with.verify;
    bool proven = !verify_must_prove(verify) && *verify_identity(verify) != '\0';
    AUTO_TEXT identity = ident_literal(verify_identity(verify));
    AUTO_TEXT next = x_format("%u%s%s", tables_oid(tables, tables_done(tables) + 1),
                              proven ? ", publication = " : "", proven ? identity : "");
    position_note(rotation->with.row, "table_id", next, rotation, on_finish_noted);
}

static void on_count_result(void *arg, const PGresult *result)
{
    WalRotation *rotation = arg;
    if (PQresultStatus(result) == PGRES_TUPLES_OK && PQntuples(result) == 1) {
        rotation->unpublished = strtoll(pg_value(result, 0, 0), NULL, 10);
    }
}

static void on_counted(void *arg, const Error *err)
{
    WalRotation *rotation = arg;
    const WalContext *wal = rotation->with.wal;
    rotation->counting = false;
    if (err != NULL) {
        AUTO_ERROR copy = error_of(err);
        copy.class = ERROR_RETRY; /* dropped, or our rights were taken: the next start tells */
        claim_lose(wal->claim, &copy);
        return;
    }
    if (rotation->unpublished == 0) {
        rotation_note_finished(rotation);
        return;
    }
    if (waiting_rows_parked(rotation->with.rows)->count > 0 || !rotation_is_drained(rotation)) {
        return;
    }
    AUTO_ERROR gap = {0};
    error_set(
        &gap, CODE_OLD_TABLE_UNFINISHED,
        "%s%lld rows of %s, which had the name '%s' before, are unpublished and not in the WAL",
        rotation->unpublished >= COUNT_MOST ? "at least " : "", (long long)rotation->unpublished,
        rotation_oldest(rotation)->name, wal->pipeline->outbox.table);
    error_hint(&gap, "`outboxd run --new-slot` creates the slot again and publishes the rows that "
                     "are still unpublished, beginning with the old table's.");
    claim_lose(wal->claim, &gap);
}

static void rotation_ask_count(WalRotation *rotation)
{
    const WalContext *wal = rotation->with.wal;
    rotation->counting = true;
    rotation->unpublished = -1;
    AUTO_TEXT sql =
        x_format("SELECT count(*) FROM (SELECT FROM %s WHERE true%s LIMIT %d) AS unpublished",
                 rotation_oldest(rotation)->name, wal->table->unpublished, COUNT_MOST);
    claim_ask(wal->claim, &(PgQuery){.step = "count rows left",
                                     .sql = sql,
                                     .arg = rotation,
                                     .result = on_count_result,
                                     .done = on_counted});
}

static void rotation_check_finished(WalRotation *rotation)
{
    const WalContext *wal = rotation->with.wal;
    const Tables *tables = rotation->with.tables;
    const Handover *handover = rotation->with.handover;
    size_t count = tables_count(tables);
    uint64_t barrier = tables_barrier(tables);
    bool read = progress_acked(rotation->with.progress)->lsn >= barrier ||
                (handover_is_idle(handover) && stream_received(rotation->with.stream) >= barrier);
    int64_t now_us = clock_monotonic_us();
    if (tables_done(tables) == count || rotation->counting || wal->state != WAL_ACTIVE || !read ||
        position_is_saving(rotation->with.row) || now_us < rotation->retry_us) {
        return;
    }
    if (tables_at(tables) < count) {
        if (!handover_is_idle(handover)) {
            return;
        }
        rotation_turn(rotation, count);
    }
    rotation->retry_us = now_us + RETRY_MS * INT64_C(1000);
    if (wal_keeps_rows(wal) || rotation_oldest(rotation)->name == NULL) {
        rotation_note_finished(rotation);
    } else if (waiting_rows_parked(rotation->with.rows)->count == 0) {
        rotation_ask_count(rotation);
    }
}

/* Nobody is answered meanwhile: what the marker asked is about the table of before. */
static void rotation_run(void *arg)
{
    WalRotation *rotation = arg;
    size_t wanted = 0;
    if (tables_count(rotation->with.tables) == 0 || rotation->with.wal->draining) {
        return;
    }
    if (tables_are_turning(rotation->with.tables, &wanted)) {
        rotation_try_switch(rotation, wanted);
    } else {
        rotation_check_finished(rotation);
    }
}

void wal_rotation_go_on(WalRotation *rotation)
{
    if (tables_count(rotation->with.tables) > 0 && !rotation->with.wal->draining) {
        wal_want(rotation->with.wal, &rotation->job);
    }
}

void wal_rotation_forget(WalRotation *rotation)
{
    rotation->counting = false;
    rotation->retry_us = 0;
}

WalRotation *wal_rotation_new(const WalRotationParts *parts)
{
    WalRotation *rotation = x_calloc(1, sizeof(*rotation));
    rotation->with = *parts;
    rotation->job = (ClaimJob){.run = rotation_run, .arg = rotation};
    return rotation;
}

void wal_rotation_free(WalRotation **rotation)
{
    free(*rotation);
    *rotation = NULL;
}
