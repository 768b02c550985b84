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

/* Which tables. */

uint32_t wal_rotation_oid(const WalSource *wal, size_t at)
{
    const OldTables *tables = &wal->rotation.tables;
    return at < tables->count ? tables->items[at].oid : claim_table(wal->claim);
}

const char *wal_rotation_name(const WalSource *wal, size_t at)
{
    const OldTables *tables = &wal->rotation.tables;
    return at < tables->count ? tables->items[at].name : wal->table->configured;
}

uint32_t wal_rotation_oldest(const WalSource *wal)
{
    return wal_rotation_oid(wal, wal->rotation.done);
}

bool wal_rotation_has(const WalSource *wal, uint32_t oid)
{
    return old_tables_find(&wal->rotation.tables, oid) < wal->rotation.tables.count;
}

void wal_rotation_find(Rotation *rotation, uint32_t oid, const char *name)
{
    old_tables_add(&rotation->found, oid, name);
}

/* Where marks go. */

static void rotation_turn(WalSource *wal, size_t at)
{
    Rotation *rotation = &wal->rotation;
    rotation->at = at;
    rotation->target = wal_rotation_oid(wal, at);
    table_rename(wal->table, wal_rotation_name(wal, at));
}

uint32_t wal_rotation_aim(WalSource *wal)
{
    Rotation *rotation = &wal->rotation;
    size_t at = rotation->tables.count;
    if (at > 0 && rotation->target != claim_table(wal->claim)) {
        size_t last = old_tables_find(&wal->rotation.tables, rotation->target);
        at = last < at ? last : rotation->done;
    }
    while (wal_rotation_name(wal, at) == NULL) {
        at++;
    }
    rotation_turn(wal, at);
    return rotation->target;
}

void wal_rotation_switch(WalSource *wal, size_t at)
{
    wal->rotation.wanted = at;
    wal->rotation.switching = true;
    wal_rotation_go_on(wal);
}

bool wal_rotation_holds(WalSource *wal, const char *bytes, size_t length, Slice data)
{
    Rotation *rotation = &wal->rotation;
    if (rotation->tables.count == 0 || data.length < 5 || data.data[0] != PGOUTPUT_INSERT) {
        return false;
    }
    uint32_t relation = bytes_load_u32((const unsigned char *)data.data + 1);
    uint32_t owner = relations_owner(&wal->assembler.relations, relation);
    size_t at = old_tables_find(&wal->rotation.tables, owner);
    if (owner == 0 || at == rotation->at || wal_rotation_name(wal, at) == NULL) {
        return false; /* of a table that is gone nothing can be marked */
    }
    wal->held = (Held){.bytes = x_malloc(length), .length = length, .sent = true};
    memcpy(wal->held.bytes, bytes, length);
    wal->stream.paused = true;
    rotation->wanted = at;
    rotation->switching = true;
    claim_pulse_now(wal->claim);
    return true;
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
    rotation_turn(wal, rotation->wanted);
    marker_retarget(wal->marker, rotation->target);
    if (wal->state == WAL_FILLING) {
        fill_next(wal);
    } else if (wal->held.bytes != NULL) {
        stream_go_on(wal);
    }
}

/* A relation that had the name at its place in the log, and that nothing else told of. */

void wal_rotation_add_question(const WalSource *wal, Text *sql)
{
    AUTO_TEXT table = ident_literal(wal->table->configured);
    text_printf(sql,
                "SELECT (SELECT format('%%I.%%I', n.nspname, c.relname) FROM pg_class c JOIN"
                " pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = %u) AS present_name,"
                " coalesce(to_regclass(%s)::oid = %u, false) AS configured",
                wal->held.relation, table, wal->held.relation);
}

void wal_rotation_read_answer(WalSource *wal, const PGresult *row)
{
    uint32_t oid = wal->held.relation;
    if (oid == 0 || wal_rotation_has(wal, oid)) {
        return;
    }
    Rotation *rotation = &wal->rotation;
    if (*succession_value(row, 0, "configured") == 't') {
        rotation->replaced = true; /* the start finds both */
        return;
    }
    bool configured = rotation->at == rotation->tables.count;
    const char *name = succession_value(row, 0, "present_name");
    old_tables_add(&rotation->tables, oid, name);
    rotation->at += configured; /* it stands behind the old ones */
    rotation->barrier = wal->log_end;
    if (!said_tables_news(&rotation->said, oid, *name == '\0')) {
        return;
    }
    *wal->options.stats->tables_dropped += *name == '\0';
    log_write(*name != '\0' ? LOG_WARN : LOG_ERROR, wal->options.pipeline->name,
              *name != '\0' ? CODE_TABLE_ROTATED : CODE_TABLE_DROPPED,
              LOG_FIELDS(log_number("table_id", oid)),
              "the WAL contains rows of a table that once had the name '%s' and %s%s: they are "
              "published%s",
              wal->options.pipeline->outbox.table, *name != '\0' ? "is now " : "is gone", name,
              *name != '\0' ? " and marked there" : ", but cannot be marked");
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
    AUTO_TEXT next = x_format("%u%s%s", wal_rotation_oid(wal, wal->rotation.done + 1),
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
        rotation_turn(wal, count);
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
