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

enum { COUNT_MOST = 100000, RETRY_MS = 1000, POSTGRES_SCHEMAS = 150000 };

/* Which tables. */

uint32_t wal_rotation_oid(const WalSource *wal, size_t at)
{
    const OldTables *tables = &wal->rotation.tables;
    return at < tables->count ? tables->items[at].oid : wal->lock.table_oid;
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

static size_t rotation_find(const WalSource *wal, uint32_t oid)
{
    size_t at = 0;
    while (at < wal->rotation.tables.count && wal->rotation.tables.items[at].oid != oid) {
        at++;
    }
    return at;
}

bool wal_rotation_has(const WalSource *wal, uint32_t oid)
{
    return rotation_find(wal, oid) < wal->rotation.tables.count;
}

static void tables_clear(OldTables *tables)
{
    for (size_t i = 0; i < tables->count; i++) {
        free(tables->items[i].name);
        tree_release(&tables->items[i].tree);
    }
    free(tables->items);
    *tables = (OldTables){0};
}

static void rotation_clear(Rotation *rotation)
{
    tables_clear(&rotation->tables);
    tables_clear(&rotation->found);
    rotation->done = rotation->at = rotation->wanted = rotation->reading = 0;
    rotation->continuous = rotation->switching = rotation->counting = false;
    rotation->replaced = false;
    rotation->retry_us = 0;
}

static void tables_add(OldTables *tables, uint32_t oid, const char *name)
{
    tables->items = x_realloc(tables->items, (tables->count + 1) * sizeof(*tables->items));
    tables->items[tables->count++] =
        (OldTable){.oid = oid, .name = *name != '\0' ? x_strdup(name) : NULL};
}

static void rotation_add(Rotation *rotation, uint32_t oid, const char *name)
{
    tables_add(&rotation->tables, oid, name);
}

void wal_rotation_find(Rotation *rotation, uint32_t oid, const char *name)
{
    tables_add(&rotation->found, oid, name);
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
    if (at > 0 && rotation->target != wal->lock.table_oid) {
        size_t last = rotation_find(wal, rotation->target);
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
    size_t at = rotation_find(wal, owner);
    if (owner == 0 || at == rotation->at || wal_rotation_name(wal, at) == NULL) {
        return false; /* of a table that is gone nothing can be marked */
    }
    wal->held = (Held){.bytes = x_malloc(length), .length = length, .sent = true};
    memcpy(wal->held.bytes, bytes, length);
    wal->stream.paused = true;
    rotation->wanted = at;
    rotation->switching = true;
    event_active(wal->pulse, 0, 0);
    return true;
}

/* The batches that are out came back, and what is acknowledged is marked. */
static bool rotation_is_drained(const WalSource *wal)
{
    return wal->outstanding == 0 && !wal->hole && !marker_pending(wal->marker) &&
           wal->waiting.oldest == NULL && wal->save.done == NULL;
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

/* Beginning. */

/* Once for each table: that it was renamed, and that it is gone. */
static bool rotation_must_say(Rotation *rotation, uint32_t oid, bool gone)
{
    SaidTables *said = &rotation->said;
    size_t at = 0;
    while (at < said->count && said->items[at].oid != oid) {
        at++;
    }
    if (at == said->count) {
        said->items = x_realloc(said->items, (at + 1) * sizeof(*said->items));
        said->items[said->count++] = (SaidTable){.oid = oid, .gone = gone};
        return true;
    }
    bool news = gone && !said->items[at].gone;
    said->items[at].gone = gone;
    return news;
}

static void rotation_say(WalSource *wal)
{
    Rotation *rotation = &wal->rotation;
    const char *table = wal->options.pipeline->outbox.table;
    for (size_t i = 0; i < rotation->tables.count; i++) {
        const OldTable *old = &rotation->tables.items[i];
        if (!rotation_must_say(rotation, old->oid, old->name == NULL)) {
            continue;
        }
        if (old->name == NULL) {
            ++*wal->options.stats->tables_dropped;
            log_write(LOG_ERROR, wal->options.pipeline->name, CODE_TABLE_DROPPED,
                      LOG_FIELDS(log_number("table_id", old->oid)),
                      "the table that was published under the name '%s' before is gone: what the "
                      "log has of it is published, and cannot be marked%s",
                      table,
                      wal->facts.waiting || wal->facts.backfill
                          ? "; rows that were still to be read from it went with it"
                          : "");
            continue;
        }
        log_write(LOG_WARN, wal->options.pipeline->name, CODE_TABLE_ROTATED,
                  LOG_FIELDS(log_text("old", old->name)),
                  "table '%s' was renamed to %s, and another one has its name: publishing what is "
                  "unpublished there first",
                  table, old->name);
    }
}

static void rotation_try_lock(WalSource *wal)
{
    Rotation *rotation = &wal->rotation;
    while (rotation->reading < rotation->tables.count &&
           rotation->tables.items[rotation->reading].name == NULL) {
        rotation->reading++;
    }
    if (rotation->reading == rotation->tables.count) {
        rotation_say(wal);
        wal_session_open_walsender(wal);
        return;
    }
    rotation->lock.table_oid = rotation->tables.items[rotation->reading].oid;
    rotation->lock.shared = wal->lock.shared;
    wal->asked_us = clock_monotonic_us();
    publisher_try_lock(&rotation->lock);
}

static void on_lock_held(void *arg)
{
    WalSource *wal = arg;
    wal_renew_lease(wal);
    wal->rotation.reading++;
    rotation_try_lock(wal);
}

static void on_lock_lost(void *arg, const Error *err)
{
    wal_lose(arg, err);
}

static void on_unlocked(void *arg, const Error *err)
{
    WalSource *wal = arg;
    if (err != NULL) {
        wal_lose(wal, err);
        return;
    }
    wal_session_stand_by(wal, wal->rotation.lock.holder);
}

/* Whoever finishes the old table goes on with the new one. */
static void on_lock_taken(void *arg)
{
    WalSource *wal = arg;
    wal_ask(wal, &(PgQuery){.step = "release old lock",
                            .sql = "SELECT pg_advisory_unlock_all()",
                            .arg = wal,
                            .done = on_unlocked});
}

static void on_trees_result(void *arg, const PGresult *result)
{
    WalSource *wal = arg;
    Rotation *rotation = &wal->rotation;
    if (PQresultStatus(result) != PGRES_TUPLES_OK || PQntuples(result) != 1) {
        return;
    }
    if (PQfnumber(result, "members") >= 0) {
        if (rotation->reading < rotation->tables.count) {
            (void)tree_read(&rotation->tables.items[rotation->reading++].tree, result, 0, false);
        }
    } else if (PQfnumber(result, "born") >= 0) {
        rotation->continuous = rotation->continuous && *succession_value(result, 0, "born") == 't';
    } else if (PQfnumber(result, "i") >= 0) {
        PreconditionLook look = {0};
        precondition_read(wal->table, result, 0, PRECONDITION_RUNNING, &look);
        rotation->continuous =
            look.taken && strcmp(look.identity, wal->facts.publication_then) == 0;
        precondition_release(&look);
    }
}

static void on_trees_done(void *arg, const Error *err)
{
    WalSource *wal = arg;
    if (err != NULL) {
        wal_lose(wal, err);
        return;
    }
    wal_renew_lease(wal);
    wal->rotation.reading = 0;
    rotation_try_lock(wal);
}

/* The publication had the old table all the time, and the new one since it was made: then nothing
 * was missed, and kept rows need not tell. */
static void rotation_add_continuity(const WalSource *wal, Text *sql)
{
    const PipelineConfig *pipeline = wal->options.pipeline;
    const OldTables *tables = &wal->rotation.tables;
    int version = PQserverVersion(pg_conn_raw(wal->control));
    if (tables->count != 1 || tables->items[0].name == NULL) {
        return;
    }
    OutboxTable old = *wal->table;
    old.name = old.configured = tables->items[0].name;
    precondition_add_query(pipeline, &old, 1, version, sql);
    AUTO_TEXT publication = ident_literal(pipeline->wal.publication);
    uint32_t table = wal->lock.table_oid;
    text_printf(sql,
                "; SELECT b.puballtables OR EXISTS (SELECT FROM pg_publication_rel r JOIN"
                " pg_attribute s ON s.attrelid = r.prrelid WHERE r.prpubid = b.oid AND r.prrelid ="
                " %u AND s.attname = 'tableoid' AND s.attnum < 0 AND s.xmin = r.xmin)",
                table);
    if (version >= POSTGRES_SCHEMAS) { /* in the schema of the old one since it was made */
        text_printf(sql,
                    " OR EXISTS (SELECT FROM pg_publication_namespace m JOIN pg_class o ON o.oid ="
                    " %u AND o.relnamespace = m.pnnspid JOIN pg_depend d ON d.classid ="
                    " 'pg_class'::regclass AND d.objid = %u AND d.objsubid = 0 AND d.refclassid ="
                    " 'pg_namespace'::regclass AND d.refobjid = m.pnnspid JOIN pg_attribute s ON"
                    " s.attrelid = d.objid AND s.attname = 'tableoid' AND s.attnum < 0 AND s.xmin ="
                    " d.xmin WHERE m.pnpubid = b.oid)",
                    tables->items[0].oid, table);
    }
    text_printf(sql, " AS born FROM pg_publication b WHERE b.pubname = %s; ", publication);
}

static void rotation_ask_trees(WalSource *wal)
{
    Rotation *rotation = &wal->rotation;
    AUTO_BUFFER sql = TEXT_EMPTY;
    rotation->continuous = false;
    rotation->reading = 0;
    rotation_add_continuity(wal, &sql);
    for (size_t i = 0; i < rotation->tables.count; i++) {
        tree_add_query(wal->options.pipeline, rotation->tables.items[i].oid, 0,
                       PQserverVersion(pg_conn_raw(wal->control)), &sql);
        text_add(&sql, "; ");
    }
    wal_ask(wal, &(PgQuery){.step = "partitions",
                            .sql = sql.data,
                            .arg = wal,
                            .result = on_trees_result,
                            .done = on_trees_done});
}

static void on_tables_result(void *arg, const PGresult *result)
{
    WalSource *wal = arg;
    Rotation *rotation = &wal->rotation;
    for (int row = 0; PQresultStatus(result) == PGRES_TUPLES_OK && row < PQntuples(result); row++) {
        uint32_t oid = (uint32_t)strtoul(succession_value(result, row, "old_table"), NULL, 10);
        const char *name = succession_value(result, row, "present");
        const char *grants = succession_value(result, row, "grants");
        rotation_add(rotation, oid, name);
        if (*grants == '\0' || rotation->error.class != ERROR_NONE) {
            continue;
        }
        bool begun = wal->begun;
        error_set_as(
            &rotation->error, begun ? ERROR_RETRY : ERROR_FATAL, EXIT_POSTGRES,
            CODE_OLD_TABLE_DENIED,
            "table '%s' was renamed to %s, and the relay's role may not finish that one: its "
            "last events are not published, and nor are those of the new table",
            wal->options.pipeline->outbox.table, name);
        error_hint(&rotation->error, "An administrator runs: %s", grants);
    }
}

static void on_tables_done(void *arg, const Error *err)
{
    WalSource *wal = arg;
    Rotation *rotation = &wal->rotation;
    if (err != NULL || rotation->error.class != ERROR_NONE) {
        AUTO_ERROR copy = error_of(err != NULL ? err : &rotation->error);
        wal_lose(wal, &copy);
        return;
    }
    wal_renew_lease(wal);
    for (size_t i = 0; i < rotation->found.count; i++) { /* that the catalog does not link */
        const OldTable *found = &rotation->found.items[i];
        if (!wal_rotation_has(wal, found->oid)) {
            rotation_add(rotation, found->oid, found->name != NULL ? found->name : "");
        }
    }
    rotation_ask_trees(wal);
}

void wal_rotation_look_between(WalSource *wal)
{
    const SlotFacts *facts = &wal->facts;
    const OldTables *found = &wal->rotation.found;
    bool told = facts->has_position && facts->table_id != 0;
    uint32_t oldest = told && facts->table_id != wal->lock.table_oid ? facts->table_id
                      : found->count > 0                             ? found->items[0].oid
                                                                     : 0;
    if (oldest == 0) {
        wal_session_open_walsender(wal);
        return;
    }
    wal->rotation.barrier = facts->insert_lsn;
    AUTO_BUFFER sql = TEXT_EMPTY;
    succession_add_query(wal->options.pipeline, oldest, wal->lock.table_oid, &sql);
    wal_ask(wal, &(PgQuery){.step = "old tables",
                            .sql = sql.data,
                            .arg = wal,
                            .result = on_tables_result,
                            .done = on_tables_done});
}

void wal_rotation_begin(WalSource *wal)
{
    rotation_clear(&wal->rotation);
    error_clear(&wal->rotation.error);
    if (!wal_publisher_begin(wal)) {
        wal_rotation_look_between(wal);
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
    rotation_add(rotation, oid, name);
    rotation->at += configured; /* it stands behind the old ones */
    rotation->barrier = wal->log_end;
    if (!rotation_must_say(rotation, oid, *name == '\0')) {
        return;
    }
    *wal->options.stats->tables_dropped += *name == '\0';
    log_write(*name != '\0' ? LOG_WARN : LOG_ERROR, wal->options.pipeline->name,
              *name != '\0' ? CODE_TABLE_ROTATED : CODE_TABLE_DROPPED,
              LOG_FIELDS(log_number("table_id", oid)),
              "the log has rows of a table that had the name '%s' once and %s%s: they are "
              "published%s",
              wal->options.pipeline->outbox.table, *name != '\0' ? "is now " : "is gone", name,
              *name != '\0' ? " and marked there" : ", and cannot be marked");
}

/* Finishing. */

static void on_finished(void *arg, const Error *err)
{
    WalSource *wal = arg;
    if (err != NULL) {
        wal_lose(wal, err);
        return;
    }
    position_send_waiting(wal);
    marker_next(wal->marker);
    wal_rotation_go_on(wal);
}

static void on_finish_noted(void *arg, const Error *err)
{
    WalSource *wal = arg;
    Rotation *rotation = &wal->rotation;
    if (err != NULL) {
        wal_lose(wal, err);
        return;
    }
    const OldTable *old = &rotation->tables.items[rotation->done++];
    if (old->name != NULL) {
        log_write(LOG_INFO, wal->options.pipeline->name, CODE_TABLE_FINISHED,
                  LOG_FIELDS(log_text("old", old->name)),
                  "everything in %s is published; the log goes on with the new table '%s'",
                  old->name, wal->options.pipeline->outbox.table);
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
    (void)position_note(wal, "table_id", next, on_finish_noted); /* busy: later */
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
        wal_lose(wal, &copy);
        return;
    }
    wal_renew_lease(wal);
    if (rotation->unpublished == 0) {
        rotation_note_finished(wal);
        return;
    }
    if (wal->waiting.parked.count > 0 || !rotation_is_drained(wal)) {
        return;
    }
    AUTO_ERROR gap = {0};
    const char *name = rotation->tables.items[rotation->done].name;
    error_set(&gap, CODE_OLD_TABLE_UNFINISHED,
              "%s%lld rows of %s, which had the name '%s' before, are unpublished, and the log "
              "does not bring them",
              rotation->unpublished >= COUNT_MOST ? "at least " : "",
              (long long)rotation->unpublished, name, wal->options.pipeline->outbox.table);
    error_hint(&gap,
               "`outboxd run --new-slot` makes the slot again and publishes the rows that are "
               "still unpublished, those of the old table first.");
    wal_lose(wal, &gap);
}

static void rotation_ask_count(WalSource *wal)
{
    Rotation *rotation = &wal->rotation;
    rotation->counting = true;
    rotation->unpublished = -1;
    AUTO_TEXT sql =
        x_format("SELECT count(*) FROM (SELECT FROM %s WHERE true%s LIMIT %d) AS unpublished",
                 rotation->tables.items[rotation->done].name, wal->table->unpublished, COUNT_MOST);
    wal_ask(wal, &(PgQuery){.step = "count rows left",
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
        wal->save.done != NULL || now_us < rotation->retry_us) {
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

void wal_rotation_go_on(WalSource *wal)
{
    Rotation *rotation = &wal->rotation;
    if (rotation->tables.count == 0 || wal->draining || !pg_conn_is_open(wal->control) ||
        pg_conn_is_busy(wal->control)) {
        return;
    }
    if (rotation->switching) {
        rotation_try_switch(wal);
    } else {
        rotation_check_finished(wal);
    }
}

void wal_rotation_init(WalSource *wal)
{
    wal->assembler.relations.old = &wal->rotation.tables;
    wal->rotation.lock = (PublisherLock){.conn = wal->control,
                                         .pipeline = wal->options.pipeline,
                                         .arg = wal,
                                         .lost = on_lock_lost,
                                         .locked = on_lock_held,
                                         .taken = on_lock_taken};
}

void wal_rotation_release(WalSource *wal)
{
    free(wal->rotation.publisher);
    rotation_clear(&wal->rotation);
    error_clear(&wal->rotation.error);
    free(wal->rotation.said.items);
    wal->rotation.said = (SaidTables){0};
}
