#include "cdc/slot.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "cdc/wire.h"
#include "pg/ident.h"

enum { POSTGRES_MESSAGES = 140000, POSTGRES_FAILOVER = 170000 };

void slot_add_query(const PipelineConfig *pipeline, const char *position_table, Text *sql)
{
    AUTO_TEXT name = ident_literal(pipeline->name);
    AUTO_TEXT slot = ident_literal(pipeline->slot);
    AUTO_TEXT publication = ident_literal(pipeline->publication);
    /* to_jsonb: columns that only later versions have. */
    text_printf(sql,
                "SELECT current_setting('server_version_num') AS version,"
                " p.system_id, p.timeline, p.slot, p.lsn, p.backfill, p.backfill_end, p.tx_lsn, "
                "p.tx_ordinal, "
                "p.tx_messages,"
                " s.slot_name, s.confirmed_flush_lsn, s.wal_status, s.active_pid,"
                " to_jsonb(s) ->> 'failover' AS failover,"
                " to_jsonb(s) ->> 'invalidation_reason' AS invalidation_reason,"
                " b.pubname"
                " FROM (SELECT 1) AS one LEFT JOIN %s p ON p.pipeline = %s"
                " LEFT JOIN pg_replication_slots s ON s.slot_name = %s"
                " LEFT JOIN pg_publication b ON b.pubname = %s",
                position_table, name, slot, publication);
}

static const char *fact(const PGresult *row, const char *column)
{
    int field = PQfnumber(row, column);
    return field < 0 || PQgetisnull(row, 0, field) ? "" : PQgetvalue(row, 0, field);
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

void slot_read_facts(const PGresult *row, bool messages, SlotFacts *ret)
{
    ret->server_version = (int)strtol(fact(row, "version"), NULL, 10);
    ret->has_position = *fact(row, "lsn") != '\0';
    snprintf(ret->position_system_id, sizeof(ret->position_system_id), "%s",
             fact(row, "system_id"));
    ret->position_timeline = (int)strtol(fact(row, "timeline"), NULL, 10);
    snprintf(ret->position_slot, sizeof(ret->position_slot), "%s", fact(row, "slot"));
    ret->position = (MarkerPosition){.lsn = fact_lsn(row, "lsn"),
                                     .tx_lsn = fact_lsn(row, "tx_lsn"),
                                     .tx_ordinal = strtoull(fact(row, "tx_ordinal"), NULL, 10)};
    ret->backfill = fact_true(row, "backfill");
    const char *end = fact(row, "backfill_end");
    ret->backfill_end = *end != '\0' ? strtoll(end, NULL, 10) : SLOT_NO_END;
    ret->same_messages = fact_true(row, "tx_messages") == messages;
    read_slot(row, ret);
    ret->has_publication = *fact(row, "pubname") != '\0';
}

static SlotVerdict slot_refused(const SlotFacts *facts, const PipelineConfig *pipeline, Error *err)
{
    if (pipeline->messages && facts->server_version < POSTGRES_MESSAGES) {
        error_set(err, ERROR_FATAL, EXIT_CONFIG, "MESSAGES_VERSION",
                  "messages = true needs PostgreSQL 14 or later");
        error_hint(err, "Set messages = false and use outbox.emit.");
    } else if (pipeline->failover_slot && facts->server_version < POSTGRES_FAILOVER) {
        error_set(err, ERROR_FATAL, EXIT_CONFIG, "FAILOVER_VERSION",
                  "failover_slot = true needs PostgreSQL 17 or later");
        error_hint(err, "Set failover_slot = false.");
    } else {
        return SLOT_START;
    }
    return SLOT_REFUSED;
}

static SlotVerdict slot_gap(Error *err, const char *code, const char *message)
{
    error_set(err, ERROR_FATAL, EXIT_GAP, code, "%s", message);
    error_hint(err,
               "Events may be missing. `outboxd run --new-slot` makes the slot again, publishes "
               "the rows that are still unpublished, and says what it cannot recover.");
    return SLOT_GAP;
}

static SlotVerdict slot_judge_history(const SlotFacts *facts, const PipelineConfig *pipeline,
                                      Error *err)
{
    char a[24];
    char b[24];
    AUTO_TEXT message = NULL;
    if (strcmp(facts->position_system_id, facts->system_id) != 0) {
        message =
            x_format("this server (system identifier %s) is not the one that pipeline '%s' read "
                     "before (%s)",
                     facts->system_id, pipeline->name, facts->position_system_id);
        return slot_gap(err, "SLOT_OTHER_SYSTEM", message);
    }
    if (strcmp(facts->position_slot, pipeline->slot) != 0) {
        message = x_format("the position of pipeline '%s' belongs to slot '%s', not to '%s'",
                           pipeline->name, facts->position_slot, pipeline->slot);
        return slot_gap(err, "SLOT_OTHER_NAME", message);
    }
    if (!facts->has_slot) {
        message = x_format("slot '%s' is missing; it was read up to %s", pipeline->slot,
                           lsn_format(facts->position.lsn, a));
        return slot_gap(err, "SLOT_MISSING", message);
    }
    if (facts->lost[0] != '\0') {
        message = x_format("slot '%s' is invalid: %s", pipeline->slot, facts->lost);
        return slot_gap(err, "SLOT_LOST", message);
    }
    if (facts->confirmed > facts->position.lsn) {
        message = x_format("slot '%s' stands at %s, ahead of our position %s: it was advanced or "
                           "created again behind our back",
                           pipeline->slot, lsn_format(facts->confirmed, a),
                           lsn_format(facts->position.lsn, b));
        return slot_gap(err, "SLOT_AHEAD", message);
    }
    if (facts->position_timeline != facts->timeline && !facts->failover) {
        message = x_format("the server is on timeline %d, pipeline '%s' read timeline %d",
                           facts->timeline, pipeline->name, facts->position_timeline);
        return slot_gap(err, "SLOT_OTHER_TIMELINE", message);
    }
    return SLOT_START;
}

SlotVerdict slot_judge(const SlotFacts *facts, const PipelineConfig *pipeline, uint64_t *ret_start,
                       Error *err)
{
    if (slot_refused(facts, pipeline, err) == SLOT_REFUSED) {
        return SLOT_REFUSED;
    }
    if (!facts->has_position) {
        *ret_start = facts->confirmed;
        if (facts->has_slot && facts->lost[0] != '\0') {
            AUTO_TEXT message = x_format("slot '%s' is invalid: %s", pipeline->slot, facts->lost);
            return slot_gap(err, "SLOT_LOST", message);
        }
        return facts->has_slot ? SLOT_ADOPT : SLOT_CREATE;
    }
    if (slot_judge_history(facts, pipeline, err) == SLOT_GAP) {
        return SLOT_GAP;
    }
    /* After a failover our position may lie beyond what the new primary has: its slot knows. */
    bool other_timeline = facts->position_timeline != facts->timeline;
    *ret_start = other_timeline ? facts->confirmed : facts->position.lsn;
    return facts->backfill ? SLOT_BACKFILL : SLOT_START;
}
