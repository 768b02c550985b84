#include "cdc/slot.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "cdc/wire.h"
#include "pg/ident.h"
#include "pg/result.h"
#include "pg/sqlstate.h"
#include "rows/mapped_filter.h"

enum { POSTGRES_MESSAGES = 140000, POSTGRES_FAILOVER = 170000 };

/* By name: without a position of ours, nothing else tells what a pipeline was called. Those of
 * ordinary tables have no table of their own. */
static void add_before(const Config *config, const PipelineConfig *pipeline,
                       const char *position_table, Text *sql)
{
    char *quoted = NULL;
    AUTO_ERROR ignored = {0};
    bool named = ident_quote_table(pipeline->outbox.table, &quoted, &ignored) == OK;
    AUTO_TEXT table = ident_literal(named ? quoted : "");
    free(quoted);
    text_printf(sql,
                " LEFT JOIN LATERAL (SELECT o.pipeline, o.slot, z.active FROM %s o JOIN"
                " pg_replication_slots z ON z.slot_name = o.slot AND z.database ="
                " current_database() WHERE %so.table_id = to_regclass(%s) AND o.pipeline NOT IN (",
                position_table, pipeline->capture == CAPTURE_TABLES ? "false AND " : "", table);
    for (size_t i = 0; i < config->pipeline_count; i++) {
        AUTO_TEXT name = ident_literal(config->pipelines[i].name);
        text_printf(sql, "%s%s", i > 0 ? ", " : "", name);
    }
    text_add(sql, ") ORDER BY z.active, o.updated_at DESC LIMIT 1) AS was ON p.pipeline IS NULL");
}

void slot_add_query(const Config *config, const PipelineConfig *pipeline,
                    const char *position_table, Text *sql)
{
    AUTO_TEXT name = ident_literal(pipeline->name);
    AUTO_TEXT slot = ident_literal(pipeline->wal.slot);
    AUTO_TEXT publication = ident_literal(pipeline->wal.publication);
    AUTO_TEXT rows = ident_literal(position_table);
    /* to_jsonb: columns that only later versions have. */
    text_printf(
        sql,
        "SELECT current_setting('server_version_num') AS version,"
        " p.system_id, p.timeline, p.slot, p.lsn, p.backfill, p.backfill_end, p.tx_lsn,"
        " p.tx_ordinal, p.tx_messages, p.waiting, p.backfill_seq, p.publication,"
        " p.table_id::pg_catalog.oid AS table_id,"
        " CASE WHEN NOT pg_is_in_recovery() THEN pg_current_wal_insert_lsn() END AS insert_lsn,"
        " CASE WHEN NOT pg_is_in_recovery() THEN"
        " left(pg_walfile_name(pg_current_wal_insert_lsn()), 8) END AS wal_timeline,"
        " s.slot_name, s.confirmed_flush_lsn, s.wal_status, s.active_pid,"
        " to_jsonb(s) ->> 'failover' AS failover,"
        " to_jsonb(s) ->> 'invalidation_reason' AS invalidation_reason,"
        " b.pubname, was.pipeline AS before, was.slot AS before_slot,"
        " was.active AS before_active, %s AS position_table"
        " FROM (SELECT 1) AS one LEFT JOIN %s p ON p.pipeline = %s"
        " LEFT JOIN pg_replication_slots s ON s.slot_name = %s"
        " LEFT JOIN pg_publication b ON b.pubname = %s",
        rows, position_table, name, slot, publication);
    add_before(config, pipeline, position_table, sql);
}

static const char *fact(const PGresult *row, const char *column)
{
    return pg_field(row, 0, column);
}

static bool fact_true(const PGresult *row, const char *column)
{
    const char *value = fact(row, column);
    return *value == 't';
}

static uint64_t fact_lsn(const PGresult *row, const char *column)
{
    uint64_t lsn = 0;
    return lsn_parse(fact(row, column), &lsn) ? lsn : 0;
}

static void read_slot(const PGresult *row, SlotFacts *facts)
{
    facts->has_slot = *fact(row, "slot_name") != '\0';
    if (!facts->has_slot) {
        return;
    }
    facts->confirmed = fact_lsn(row, "confirmed_flush_lsn");
    facts->failover = fact_true(row, "failover");
    facts->active_pid = (int)strtol(fact(row, "active_pid"), NULL, 10);
    if (*fact(row, "invalidation_reason") != '\0' || strcmp(fact(row, "wal_status"), "lost") == 0) {
        const char *reason = fact(row, "invalidation_reason");
        snprintf(facts->lost, sizeof(facts->lost), "%s",
                 *reason != '\0' ? reason : "the WAL it needs was removed");
    }
}

void slot_forget_stored(SlotStored *stored)
{
    free(stored->publication);
    *stored = (SlotStored){.publication = x_strdup("")};
}

void slot_read_facts(const PGresult *row, bool messages, SlotFacts *ret_facts,
                     SlotStored *ret_stored)
{
    ret_facts->server_version = (int)strtol(fact(row, "version"), NULL, 10);
    ret_stored->there = *fact(row, "lsn") != '\0';
    snprintf(ret_stored->system_id, sizeof(ret_stored->system_id), "%s", fact(row, "system_id"));
    ret_stored->timeline = (int)strtol(fact(row, "timeline"), NULL, 10);
    snprintf(ret_stored->slot, sizeof(ret_stored->slot), "%s", fact(row, "slot"));
    ret_stored->position =
        (MarkerPosition){.lsn = fact_lsn(row, "lsn"),
                         .tx_lsn = fact_lsn(row, "tx_lsn"),
                         .tx_ordinal = strtoull(fact(row, "tx_ordinal"), NULL, 10)};
    ret_facts->insert_lsn = fact_lsn(row, "insert_lsn");
    ret_facts->timeline = (int)strtol(fact(row, "wal_timeline"), NULL, 16);
    ret_stored->backfill_seq = strtoll(fact(row, "backfill_seq"), NULL, 10);
    free(ret_stored->publication);
    ret_stored->publication = x_strdup(fact(row, "publication"));
    ret_stored->table_id = (uint32_t)strtoul(fact(row, "table_id"), NULL, 10);
    ret_stored->backfill = fact_true(row, "backfill");
    ret_stored->position.backfill_seq = ret_stored->backfill ? 0 : ret_stored->backfill_seq;
    ret_stored->waiting = fact_true(row, "waiting");
    const char *end = fact(row, "backfill_end");
    ret_stored->backfill_end = *end != '\0' ? strtoll(end, NULL, 10) : SLOT_NO_END;
    ret_stored->same_messages = fact_true(row, "tx_messages") == messages;
    snprintf(ret_facts->before, sizeof(ret_facts->before), "%s", fact(row, "before"));
    snprintf(ret_facts->before_slot, sizeof(ret_facts->before_slot), "%s",
             fact(row, "before_slot"));
    ret_facts->before_active = fact_true(row, "before_active");
    snprintf(ret_facts->position_table, sizeof(ret_facts->position_table), "%s",
             fact(row, "position_table"));
    read_slot(row, ret_facts);
    ret_facts->has_publication = *fact(row, "pubname") != '\0';
}

void slot_add_confirmed_query(const PipelineConfig *pipeline, Text *sql)
{
    AUTO_TEXT slot = ident_literal(pipeline->wal.slot);
    text_printf(sql, "SELECT confirmed_flush_lsn FROM pg_replication_slots WHERE slot_name = %s",
                slot);
}

void slot_read_confirmed(const PGresult *row, SlotFacts *facts)
{
    uint64_t before = PQntuples(row) == 1 ? fact_lsn(row, "confirmed_flush_lsn") : 0;
    if (before != 0 && before < facts->confirmed) {
        facts->confirmed = before;
    }
}

/* A transaction that nobody ends is the usual reason, also in another database of the server. */
void slot_unfinished(const char *slot, int pid, const char *waits_for, Error *err)
{
    AUTO_TEXT by = pid != 0 ? x_format(" by process %d of the server", pid) : x_strdup("");
    error_set(err, CODE_SLOT_UNFINISHED,
              "slot '%s' is still being created%s: that waits until every transaction that was "
              "running at that time has ended%s%s",
              slot, by, *waits_for != '\0' ? "; now for that of " : "", waits_for);
    error_hint(err,
               "Wait, or end forgotten transactions: SELECT pid, datname, usename, xact_start, "
               "left(query, 60) FROM pg_stat_activity WHERE backend_xid IS NOT NULL ORDER BY "
               "xact_start; SELECT gid, database, prepared FROM pg_prepared_xacts;");
}

static SlotVerdict slot_refused(const SlotCase *given, const PipelineConfig *pipeline, Error *err)
{
    if (pipeline->wal.messages && given->facts->server_version < POSTGRES_MESSAGES) {
        error_set(err, CODE_MESSAGES_VERSION, "messages = true needs PostgreSQL 14 or later");
        error_advise(err);
    } else if (pipeline->wal.failover_slot && given->facts->server_version < POSTGRES_FAILOVER) {
        error_set(err, CODE_FAILOVER_VERSION, "failover_slot = true needs PostgreSQL 17 or later");
        error_advise(err);
    } else if (given->facts->has_slot && given->facts->lost[0] == '\0' &&
               given->facts->confirmed == 0) {
        /* What it will be is not known: also a relay that was killed leaves one behind, which the
         * server finishes or takes back once it can. */
        slot_unfinished(pipeline->wal.slot, given->facts->active_pid, "", err);
    } else {
        return SLOT_START;
    }
    return SLOT_REFUSED;
}

static SlotVerdict slot_gap(Error *err, ErrorCode code, const char *message)
{
    error_set_as(err, ERROR_FATAL, EXIT_GAP, code, "%s", message);
    error_hint(
        err,
        "Events may be missing. Find out why first. Then `outboxd run --new-slot` creates the slot "
        "again, publishes the rows that are still unpublished, and says what may be missing.");
    return SLOT_GAP;
}

bool slot_read_history(const char *content, int timeline, uint64_t *ret_switch_lsn)
{
    for (const char *line = content; *line != '\0'; line += strcspn(line, "\n")) {
        line += *line == '\n';
        /* "parent timeline, tab, LSN, tab, reason"; others are comments (timeline.c) */
        char *tab = NULL;
        long parent = strtol(line, &tab, 10);
        if (tab == line || *tab != '\t' || parent != timeline) {
            continue;
        }
        char lsn[24];
        snprintf(lsn, sizeof(lsn), "%.*s", (int)strcspn(tab + 1, "\t\r\n "), tab + 1);
        return lsn_parse(lsn, ret_switch_lsn);
    }
    return false;
}

/* Of a jsonb of 3 kB, say: [1e131071, ...]. Nobody who reads the log gets past it. */
static bool slot_judge_text(const PipelineConfig *pipeline, Error *err)
{
    if (!slot_cannot_send(err)) {
        return false;
    }
    AUTO_TEXT message = x_format("the server cannot send a row of the WAL whose text would be "
                                 "larger than 1 GB (%s), nor anything after it to slot '%s'",
                                 error_message(err), pipeline->wal.slot);
    (void)slot_gap(err, CODE_LOG_ROW_TOO_LARGE, message);
    error_hint(
        err,
        "Correct or delete that row of %s. %s Then `outboxd run --new-slot` skips this part of the "
        "WAL, creates the slot again and publishes the rows that are still unpublished.",
        pipeline->outbox.table, SLOT_FIND_HUGE_NUMBERS);
    return true;
}

bool slot_cannot_send(const Error *err)
{
    /* The latter for a bytea of more than 512 MB. */
    return sqlstate_is(err, "54") || (err->origin & ORIGIN_SIZE) != 0;
}

/* It fails for the same row each time, whatever the filter is by now: that of then is in force. */
static bool slot_judge_filter(const PipelineConfig *pipeline, Error *err)
{
    if (pipeline->capture != CAPTURE_TABLES || !filter_may_have_failed(pipeline, err)) {
        return false;
    }
    AUTO_TEXT message = x_format("a row of the WAL makes the filter of a mapping fail (%s): the "
                                 "server sends neither it nor anything after it to slot '%s'",
                                 error_message(err), pipeline->wal.slot);
    (void)slot_gap(err, CODE_LOG_FILTER_FAILED, message);
    error_hint(err, FILTER_FAILED_HINT
               " Then `outboxd run --new-slot` creates the slot again, sends the tables again as "
               "the option snapshot says, and says what may be missing.");
    return true;
}

bool slot_judge_decoding(const PipelineConfig *pipeline, Error *err)
{
    if (slot_judge_text(pipeline, err) || slot_judge_filter(pipeline, err)) {
        return true;
    }
    if ((err->origin & ORIGIN_PUBLICATION) == 0) {
        return false;
    }
    AUTO_TEXT message = x_format("publication '%s' was dropped, or created again after the "
                                 "position of slot '%s': the WAL from there on cannot be read",
                                 pipeline->wal.publication, pipeline->wal.slot);
    (void)slot_gap(err, CODE_PUBLICATION_GONE, message);
    return true;
}

/* The furthest that was stored, as the row says or as this process remembers. */
static uint64_t slot_furthest(const SlotCase *given)
{
    return given->known->position.lsn > given->stored->position.lsn ? given->known->position.lsn
                                                                    : given->stored->position.lsn;
}

static SlotVerdict slot_judge_log(const SlotCase *given, const PipelineConfig *pipeline, Error *err)
{
    char a[24];
    char b[24];
    AUTO_TEXT message = NULL;
    const MarkerPosition *position = &given->stored->position;
    if (given->known->left_timeline != 0) {
        if (slot_furthest(given) <= given->facts->switch_lsn) {
            return SLOT_START; /* a new primary that has what we read */
        }
        message =
            given->facts->switch_lsn == 0
                ? x_format("the server is on timeline %d, whose history does not contain timeline "
                           "%d that pipeline '%s' read",
                           given->facts->timeline, given->known->left_timeline, pipeline->name)
                : x_format("the server is on timeline %d, which left timeline %d at %s, before the "
                           "position %s of pipeline '%s'",
                           given->facts->timeline, given->known->left_timeline,
                           lsn_format(given->facts->switch_lsn, a),
                           lsn_format(slot_furthest(given), b), pipeline->name);
        return slot_gap(err, CODE_SLOT_OTHER_TIMELINE, message);
    }
    if (given->known->history == HISTORY_OTHER || given->known->position.lsn > position->lsn) {
        message =
            x_format("the server has another history than pipeline '%s' knew: %s%sstored position "
                     "%s, now %s",
                     pipeline->name, given->known->difference,
                     given->known->difference[0] != '\0' ? "; " : "",
                     lsn_format(given->known->position.lsn, a), lsn_format(position->lsn, b));
        return slot_gap(err, CODE_SLOT_OTHER_HISTORY, message);
    }
    uint64_t furthest = position->tx_lsn > position->lsn ? position->tx_lsn : position->lsn;
    if (furthest > given->facts->insert_lsn) {
        message = x_format(
            "the position %s of pipeline '%s' is beyond the end of the server's WAL, %s",
            lsn_format(furthest, a), pipeline->name, lsn_format(given->facts->insert_lsn, b));
        return slot_gap(err, CODE_POSITION_BEYOND_LOG, message);
    }
    return SLOT_START;
}

static SlotVerdict slot_judge_history(const SlotCase *given, const PipelineConfig *pipeline,
                                      Error *err)
{
    char a[24];
    char b[24];
    AUTO_TEXT message = NULL;
    if (strcmp(given->stored->system_id, given->facts->system_id) != 0) {
        message = x_format("this server (system identifier %s) is a different server than pipeline "
                           "'%s' read before (%s)",
                           given->facts->system_id, pipeline->name, given->stored->system_id);
        return slot_gap(err, CODE_SLOT_OTHER_SYSTEM, message);
    }
    if (strcmp(given->stored->slot, pipeline->wal.slot) != 0) {
        message = x_format("the position of pipeline '%s' belongs to slot '%s', not to '%s'",
                           pipeline->name, given->stored->slot, pipeline->wal.slot);
        return slot_gap(err, CODE_SLOT_OTHER_NAME, message);
    }
    if (!given->facts->has_publication) {
        message = x_format(
            "publication '%s' was dropped: events that were inserted since are not in the stream",
            pipeline->wal.publication);
        return slot_gap(err, CODE_PUBLICATION_GONE, message);
    }
    if (!given->facts->has_slot) {
        message = x_format("slot '%s' does not exist any more; it was read up to %s",
                           pipeline->wal.slot, lsn_format(given->stored->position.lsn, a));
        return slot_gap(err, CODE_SLOT_MISSING, message);
    }
    if (given->facts->lost[0] != '\0') {
        message = x_format("slot '%s' is invalid: %s", pipeline->wal.slot, given->facts->lost);
        return slot_gap(err, CODE_SLOT_LOST, message);
    }
    if (slot_judge_log(given, pipeline, err) == SLOT_GAP) {
        return SLOT_GAP;
    }
    if (given->facts->confirmed > slot_furthest(given)) {
        message = x_format("slot '%s' is at %s, ahead of the saved position %s: it was advanced or "
                           "created again outside outboxd",
                           pipeline->wal.slot, lsn_format(given->facts->confirmed, a),
                           lsn_format(given->stored->position.lsn, b));
        return slot_gap(err, CODE_SLOT_AHEAD, message);
    }
    return SLOT_START;
}

bool slot_is_renamed(const SlotCase *given, const PipelineConfig *pipeline, Error *err)
{
    if (given->stored->there || given->facts->before[0] == '\0' || given->facts->before_active) {
        return false;
    }
    AUTO_TEXT before = ident_literal(given->facts->before);
    AUTO_TEXT now = ident_literal(pipeline->name);
    AUTO_TEXT slot = ident_literal(given->facts->before_slot);
    error_set(err, CODE_PIPELINE_RENAMED,
              "pipeline '%s' is new, but pipeline '%s' has read %s before; nobody reads its slot "
              "'%s', which retains WAL",
              pipeline->name, given->facts->before, pipeline->outbox.table,
              given->facts->before_slot);
    const char *rows = given->facts->position_table;
    error_hint(err,
               "If it was renamed: UPDATE %s SET pipeline = %s WHERE pipeline = %s; and configure "
               "slot = \"%s\" and the old publication (by default of the same name): no event is "
               "lost or duplicated. If the old pipeline has ended permanently: SELECT "
               "pg_drop_replication_slot(%s); DELETE FROM %s WHERE pipeline = %s; To run both: "
               "outboxd run --new-slot",
               rows, now, before, given->facts->before_slot, slot, rows, before);
    return true;
}

/* Rows that are kept would all be published again, and messages since are in its slot alone. */
static bool renaming_hurts(const PipelineConfig *pipeline)
{
    return pipeline->outbox.on_publish == ON_PUBLISH_KEEP || pipeline->wal.messages;
}

/* It may be ours by its former name, and its reader about to end, which the server may notice a
 * moment after we have the lock. */
static bool slot_may_be_left(const SlotCase *given, const PipelineConfig *pipeline, Error *err)
{
    const SlotFacts *facts = given->facts;
    if (facts->before[0] == '\0' || !facts->before_active || given->known->before_lives) {
        return false;
    }
    error_set(err, CODE_POSTGRES_OBJECT_IN_USE,
              "pipeline '%s' is new, and somebody still reads slot '%s' of pipeline '%s', which "
              "is not in the configuration and reads %s",
              pipeline->name, facts->before_slot, facts->before, pipeline->outbox.table);
    error_hint(err,
               "Wait until PostgreSQL has ended that session: SELECT active_pid FROM "
               "pg_replication_slots. If another relay runs that pipeline, stop it. If that slot "
               "has nothing to do with this pipeline: outboxd run --new-slot");
    return true;
}

static SlotVerdict judge(const SlotCase *given, const PipelineConfig *pipeline, uint64_t *ret_start,
                         Error *err)
{
    if (slot_refused(given, pipeline, err) == SLOT_REFUSED) {
        return SLOT_REFUSED;
    }
    if (!given->stored->there) {
        *ret_start = given->facts->confirmed;
        if (given->facts->has_slot && given->facts->lost[0] != '\0') {
            AUTO_TEXT message =
                x_format("slot '%s' is invalid: %s", pipeline->wal.slot, given->facts->lost);
            return slot_gap(err, CODE_SLOT_LOST, message);
        }
        if (renaming_hurts(pipeline) && slot_may_be_left(given, pipeline, err)) {
            return SLOT_REFUSED;
        }
        if (renaming_hurts(pipeline) && slot_is_renamed(given, pipeline, err)) {
            return SLOT_GAP;
        }
        return given->facts->has_slot ? SLOT_ADOPT : SLOT_CREATE;
    }
    if (slot_judge_history(given, pipeline, err) == SLOT_GAP) {
        return SLOT_GAP;
    }
    if (given->known->publication_changed && pipeline->outbox.on_publish == ON_PUBLISH_KEEP) {
        if (pipeline->capture == CAPTURE_TABLES) {
            AUTO_TEXT message = x_format("after the saved position, %s was taken out of the "
                                         "publication and put back, or the publication was "
                                         "changed: changes in between are not in the stream",
                                         given->known->lost);
            return slot_gap(err, CODE_PUBLICATION_CHANGED, message);
        }
        return slot_gap(err, CODE_PUBLICATION_CHANGED,
                        "the publication was changed, and with on_publish = \"keep\" the rows do "
                        "not show whether they were published");
    }
    *ret_start = given->stored->position.lsn;
    return given->stored->backfill ? SLOT_BACKFILL : SLOT_START;
}

SlotVerdict slot_judge(const SlotCase *given, const PipelineConfig *pipeline, uint64_t *ret_start,
                       Error *err)
{
    SlotVerdict verdict = judge(given, pipeline, ret_start, err);
    if (verdict == SLOT_GAP && pipeline->capture == CAPTURE_TABLES) {
        error_hint(err,
                   "Changes may be missing. Find out why first. Then `outboxd run --new-slot` "
                   "creates the slot again, sends the tables again as the option snapshot says, "
                   "and says what may be missing.");
    }
    return verdict;
}
