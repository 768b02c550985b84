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
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/memory.h"
#include "cdc/wal_internal.h"
#include "pg/ident.h"
#include "pg/result.h"
#include "rows/succession.h"

enum { COUNT_MOST = 100000, RETRY_MS = 1000 };

void wal_rotation_switch(WalSource *wal, size_t at)
{
    wal->rotation.wanted = at;
    wal->rotation.switching = true;
    wal_rotation_go_on(wal);
}

/* The batches that are out came back, and what is acknowledged is marked. */
static bool rotation_is_drained(const WalSource *wal)
{
    return wal->outstanding == 0 && !wal->hole && !marker_pending(wal->marker) &&
           wal->waiting.oldest == NULL && !position_is_saving(wal);
}

static void rotation_try_switch(WalSource *wal)
{
    Rotation *rotation = &wal->rotation;
    if (!rotation_is_drained(wal)) {
        if (wal->outstanding == 0 && wal->state == WAL_ACTIVE && marker_pending(wal->marker)) {
            MarkerPosition position = verify_cap(wal, &wal->acked);
            marker_add_position(wal->marker, &position, true); /* not after mark_interval */
        }
        return;
    }
    rotation->switching = false;
    tables_turn(wal, rotation->wanted);
    marker_retarget(wal->marker, rotation->target);
    wal_tell(wal, NEWS_TURNED);
}

/* Finishing. */

static void on_finished(void *arg, const Error *err)
{
    WalSource *wal = arg;
    if (err != NULL) {
        claim_lose(wal->claim, err);
        return;
    }
    wal_rotation_go_on(wal);
}

static void on_finish_noted(void *arg, const Error *err)
{
    WalSource *wal = arg;
    Rotation *rotation = &wal->rotation;
    if (err != NULL) {
        claim_lose(wal->claim, err);
        return;
    }
    const OldTable *old = &rotation->tables.items[rotation->done++];
    if (old->name != NULL) {
        log_write(LOG_INFO, wal->options.pipeline->name, CODE_TABLE_FINISHED,
                  LOG_FIELDS(log_text("old", old->name)),
                  "everything in %s is published; continuing with the new table '%s'", old->name,
                  wal->options.pipeline->outbox.table);
    }
    if (!wal_publisher_forget(wal, old->oid, on_finished)) {
        on_finished(wal, NULL);
    }
}

/* With the identity of the publication: the next start finds no rotation any more, and would take
 * what the rotation changed there for somebody's doing. */
static void rotation_note_finished(WalSource *wal)
{
    const Verify *verify = &wal->verify;
    bool proven = !verify->unproven && *verify->identity != '\0';
    AUTO_TEXT identity = ident_literal(verify->identity);
    AUTO_TEXT next = x_format("%u%s%s", tables_oid(wal, wal->rotation.done + 1),
                              proven ? ", publication = " : "", proven ? identity : "");
    position_note(wal, "table_id", next, on_finish_noted);
}

static void on_count_result(void *arg, const PGresult *result)
{
    WalSource *wal = arg;
    if (PQresultStatus(result) == PGRES_TUPLES_OK && PQntuples(result) == 1) {
        wal->rotation.unpublished = strtoll(pg_value(result, 0, 0), NULL, 10);
    }
}

static void on_counted(void *arg, const Error *err)
{
    WalSource *wal = arg;
    Rotation *rotation = &wal->rotation;
    rotation->counting = false;
    if (err != NULL) {
        AUTO_ERROR copy = error_of(err);
        copy.class = ERROR_RETRY; /* dropped, or our rights were taken: the next start tells */
        claim_lose(wal->claim, &copy);
        return;
    }
    if (rotation->unpublished == 0) {
        rotation_note_finished(wal);
        return;
    }
    if (wal->waiting.parked.count > 0 || !rotation_is_drained(wal)) {
        return;
    }
    AUTO_ERROR gap = {0};
    const char *name = rotation->tables.items[rotation->done].name;
    error_set(
        &gap, CODE_OLD_TABLE_UNFINISHED,
        "%s%lld rows of %s, which had the name '%s' before, are unpublished and not in the WAL",
        rotation->unpublished >= COUNT_MOST ? "at least " : "", (long long)rotation->unpublished,
        name, wal->options.pipeline->outbox.table);
    error_hint(&gap, "`outboxd run --new-slot` creates the slot again and publishes the rows that "
                     "are still unpublished, beginning with the old table's.");
    claim_lose(wal->claim, &gap);
}

static void rotation_ask_count(WalSource *wal)
{
    Rotation *rotation = &wal->rotation;
    rotation->counting = true;
    rotation->unpublished = -1;
    AUTO_TEXT sql =
        x_format("SELECT count(*) FROM (SELECT FROM %s WHERE true%s LIMIT %d) AS unpublished",
                 rotation->tables.items[rotation->done].name, wal->table->unpublished, COUNT_MOST);
    claim_ask(wal->claim, &(PgQuery){.step = "count rows left",
                                     .sql = sql,
                                     .arg = wal,
                                     .result = on_count_result,
                                     .done = on_counted});
}

static void rotation_check_finished(WalSource *wal)
{
    Rotation *rotation = &wal->rotation;
    size_t count = rotation->tables.count;
    bool read = wal->acked.lsn >= rotation->barrier ||
                (wal_is_idle(wal) && wal->stream.received >= rotation->barrier);
    int64_t now_us = clock_monotonic_us();
    if (rotation->done == count || rotation->counting || wal->state != WAL_ACTIVE || !read ||
        position_is_saving(wal) || now_us < rotation->retry_us) {
        return;
    }
    if (rotation->at < count) {
        if (!wal_is_idle(wal)) {
            return;
        }
        tables_turn(wal, count);
        marker_retarget(wal->marker, rotation->target);
    }
    rotation->retry_us = now_us + RETRY_MS * INT64_C(1000);
    bool kept = wal->options.pipeline->outbox.on_publish == ON_PUBLISH_KEEP;
    if (kept || rotation->tables.items[rotation->done].name == NULL) {
        rotation_note_finished(wal);
    } else if (wal->waiting.parked.count == 0) {
        rotation_ask_count(wal);
    }
}

/* Nobody is answered meanwhile: what the marker asked is about the table of before. */
void wal_rotation_run(void *arg)
{
    WalSource *wal = arg;
    if (wal->rotation.tables.count == 0 || wal->draining) {
        return;
    }
    if (wal->rotation.switching) {
        rotation_try_switch(wal);
    } else {
        rotation_check_finished(wal);
    }
}

void wal_rotation_go_on(WalSource *wal)
{
    if (wal->rotation.tables.count > 0 && !wal->draining) {
        wal_want(wal, JOB_ROTATION);
    }
}
