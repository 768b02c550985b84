#include "rows/history.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "base/uuid.h"
#include "pg/result.h"

void history_begin(HistoryMemory *memory)
{
    *memory = (HistoryMemory){0};
    uuid_v4(memory->ours);
}

void history_end(HistoryMemory *memory)
{
    free(memory->claimed);
    memory->claimed = NULL;
}

void history_add_query(const char *row_table, const char *row_key, Text *sql)
{
    /* A fast promotion shows late in pg_control_checkpoint(); the name of the WAL file does not. */
    text_add(sql, "SELECT (SELECT system_identifier FROM pg_catalog.pg_control_system()) AS"
                  " system_id, pg_catalog.left(pg_catalog.pg_walfile_name("
                  "pg_catalog.pg_current_wal_insert_lsn()), 8) AS timeline,"
                  " pg_catalog.pg_current_wal_insert_lsn() AS insert_lsn,"
                  " pg_catalog.pg_current_wal_flush_lsn() AS flush_lsn");
    if (row_table == NULL) {
        text_add(sql, ", NULL AS generation, NULL AS writes");
    } else {
        text_printf(sql, ", p.generation, p.writes FROM (SELECT) AS one LEFT JOIN %s AS p ON p.%s",
                    row_table, row_key);
    }
}

static const char *value_of(const PGresult *result, const char *name)
{
    int column = PQfnumber(result, name);
    return column < 0 ? NULL : pg_value(result, 0, column);
}

static bool parse_lsn(const char *text, uint64_t *ret)
{
    char *end = NULL;
    uint64_t high = strtoull(text, &end, 16);
    if (*end != '/') {
        return false;
    }
    *ret = high << 32 | strtoull(end + 1, &end, 16);
    return *end == '\0';
}

bool history_read(const PGresult *result, uint32_t table_oid, History *ret)
{
    if (PQresultStatus(result) != PGRES_TUPLES_OK || PQntuples(result) != 1) {
        return false;
    }
    const char *system_id = value_of(result, "system_id");
    const char *timeline = value_of(result, "timeline");
    const char *lsn = value_of(result, "insert_lsn");
    const char *flushed = value_of(result, "flush_lsn");
    const char *generation = value_of(result, "generation");
    const char *writes = value_of(result, "writes");
    if (system_id == NULL || timeline == NULL || lsn == NULL || flushed == NULL ||
        generation == NULL || writes == NULL || *system_id == '\0' || strlen(timeline) != 8) {
        return false;
    }
    History found = {.table_oid = table_oid};
    char *end = NULL;
    found.timeline = (uint32_t)strtoul(timeline, &end, 16);
    if (*end != '\0' || !parse_lsn(lsn, &found.lsn) || !parse_lsn(flushed, &found.flushed)) {
        return false;
    }
    snprintf(found.system_id, sizeof(found.system_id), "%s", system_id);
    found.has_row = *generation != '\0';
    snprintf(found.generation, sizeof(found.generation), "%s", generation);
    found.writes = strtoull(writes, NULL, 10);
    *ret = found;
    return true;
}

bool history_is_claimed(const HistoryMemory *memory, const History *found)
{
    if (memory->claimed == NULL) {
        return false;
    }
    const History *claimed = &memory->claimed->found;
    return found->writes == claimed->writes + 1 && strcmp(found->generation, memory->ours) == 0 &&
           strcmp(found->system_id, claimed->system_id) == 0 &&
           found->timeline == claimed->timeline && found->table_oid == claimed->table_oid &&
           found->lsn >= claimed->flushed;
}

static bool same_row(const HistoryMemory *memory, const History *found)
{
    const History *last = &memory->last;
    if (last->has_row && found->writes == last->writes &&
        strcmp(found->generation, last->generation) == 0) {
        return true;
    }
    /* The write whose answer never came was committed. */
    return memory->writing && found->writes == last->writes + 1 &&
           strcmp(found->generation, memory->ours) == 0;
}

HistoryVerdict history_judge(const HistoryMemory *memory, const History *found,
                             char *ret_difference, size_t size)
{
    const History *last = &memory->last;
    snprintf(ret_difference, size, "%s", "");
    if (memory->known && history_is_claimed(memory, found)) {
        HistoryVerdict verdict = memory->claimed->verdict;
        return verdict == HISTORY_OTHER ? HISTORY_NEWER_OWNER : verdict;
    }
    if (!memory->known) {
        return HISTORY_FIRST;
    }
    if (strcmp(last->system_id, found->system_id) != 0) {
        snprintf(ret_difference, size, "system identifier %s, before %s", found->system_id,
                 last->system_id);
        return HISTORY_OTHER;
    }
    if (last->timeline != found->timeline) {
        snprintf(ret_difference, size, "timeline %u, before %u", found->timeline, last->timeline);
        return HISTORY_OTHER;
    }
    if (last->table_oid != found->table_oid) {
        snprintf(ret_difference, size, "OID %u of the table, before %u", found->table_oid,
                 last->table_oid);
        return HISTORY_OTHER;
    }
    if (found->lsn < last->flushed) {
        snprintf(ret_difference, size, "WAL position %X/%X, before %X/%X",
                 (unsigned)(found->lsn >> 32), (unsigned)found->lsn,
                 (unsigned)(last->flushed >> 32), (unsigned)last->flushed);
        return HISTORY_OTHER;
    }
    if (!last->has_row && !found->has_row) {
        return HISTORY_SAME;
    }
    if (!found->has_row) {
        snprintf(ret_difference, size, "no row tells who published last, before there was one");
        return HISTORY_OTHER;
    }
    if (same_row(memory, found)) {
        return HISTORY_SAME;
    }
    bool ours = strcmp(found->generation, memory->ours) == 0 ||
                (last->has_row && strcmp(found->generation, last->generation) == 0);
    if (!ours && (!last->has_row || found->writes > last->writes)) {
        return HISTORY_NEWER_OWNER;
    }
    snprintf(ret_difference, size, "%llu writes of %s, before %llu",
             (unsigned long long)found->writes, ours ? "ours" : "another relay",
             (unsigned long long)last->writes);
    return HISTORY_OTHER;
}

void history_adopt(HistoryMemory *memory, const History *found)
{
    history_end(memory);
    memory->known = true;
    memory->last = *found;
    memory->writing = false;
}

void history_claim(HistoryMemory *memory, const History *found, HistoryVerdict verdict)
{
    history_end(memory);
    memory->claimed = x_malloc(sizeof(*memory->claimed));
    *memory->claimed = (HistoryClaim){.found = *found, .verdict = verdict};
}

void history_claim_anew(HistoryMemory *memory, const History *found)
{
    memory->known = false;
    history_claim(memory, found, HISTORY_FIRST);
}

void history_write_sent(HistoryMemory *memory)
{
    memory->writing = true;
}

void history_write_committed(HistoryMemory *memory)
{
    if (memory->claimed != NULL) {
        const History found = memory->claimed->found;
        history_adopt(memory, &found);
    }
    History *last = &memory->last;
    last->writes++;
    last->has_row = true;
    memcpy(last->generation, memory->ours, sizeof(last->generation));
    memory->writing = false;
}

void history_write_failed(HistoryMemory *memory)
{
    memory->writing = false;
}

void history_note_flushed(HistoryMemory *memory, const char *lsn)
{
    uint64_t flushed = 0;
    if (parse_lsn(lsn, &flushed) && flushed > memory->last.flushed) {
        memory->last.flushed = flushed;
    }
}
