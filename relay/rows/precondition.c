/* The list is that of the files precondition_<subject>.c, in this order; precondition_from.c is
 * what their columns stand on. */
#include "rows/precondition.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/memory.h"
#include "pg/result.h"
#include "pg/sqlstate.h"
#include "rows/companion.h"
#include "rows/precondition_internal.h"
#include "rows/precondition_some.h"

typedef struct Subject {
    const Precondition *entries;
    const size_t *count;
} Subject;

static const Subject SUBJECTS[] = {
    {PRECONDITIONS_SERVER, &PRECONDITIONS_SERVER_COUNT},
    {PRECONDITIONS_TABLE, &PRECONDITIONS_TABLE_COUNT},
    {PRECONDITIONS_COLUMNS, &PRECONDITIONS_COLUMNS_COUNT},
    {PRECONDITIONS_RIGHTS, &PRECONDITIONS_RIGHTS_COUNT},
    {PRECONDITIONS_COMPANIONS, &PRECONDITIONS_COMPANIONS_COUNT},
    {PRECONDITIONS_PATH, &PRECONDITIONS_PATH_COUNT},
    {PRECONDITIONS_PUBLICATION, &PRECONDITIONS_PUBLICATION_COUNT},
    {PRECONDITIONS_MAPPED, &PRECONDITIONS_MAPPED_COUNT},
    {PRECONDITIONS_SLOT, &PRECONDITIONS_SLOT_COUNT},
    {PRECONDITIONS_LOCK, &PRECONDITIONS_LOCK_COUNT},
};
enum { SUBJECT_COUNT = sizeof(SUBJECTS) / sizeof(SUBJECTS[0]) };

static bool applies(const Precondition *entry, const PipelineConfig *pipeline)
{
    return entry->applies & (pipeline->capture == CAPTURE_TABLES ? FOR_TABLES
                             : pipeline->capture == CAPTURE_WAL  ? FOR_WAL
                                                                 : FOR_POLL);
}

/* The query. */

/* The table that says which migrations made our schema. */
#define MIGRATIONS_TABLE                                                                           \
    "(SELECT g.relnamespace::pg_catalog.regnamespace::pg_catalog.text || '.' ||"                   \
    " pg_catalog.quote_ident(g.relname) FROM pg_catalog.pg_class g WHERE g.relnamespace IN"        \
    " (c.relnamespace, pg_catalog.to_regnamespace('outbox')::pg_catalog.oid) "                     \
    "AND " COMPANION_IS_OUR_MIGRATION(                                                             \
        "g") " AND pg_catalog.has_schema_privilege(g.relnamespace, 'USAGE')"                       \
             " AND pg_catalog.has_table_privilege(g.oid, 'SELECT')"                                \
             " AND NOT pg_catalog.row_security_active(g.oid)"                                      \
             " ORDER BY g.relnamespace = c.relnamespace DESC LIMIT 1) AS migrations"

void precondition_add_wal_end(Text *sql)
{
    text_add(sql, "SELECT CASE WHEN NOT pg_catalog.pg_is_in_recovery() THEN"
                  " pg_catalog.pg_current_wal_insert_lsn() END AS wal_end; ");
}

void precondition_add_query(const PipelineConfig *pipeline, const OutboxTable *table, size_t index,
                            int server_version, Text *sql)
{
    text_printf(sql,
                "SELECT %zu AS i, pg_catalog.quote_ident(current_user) AS role, c.sql AS table_sql,"
                " pg_catalog.current_setting('server_version_num') AS version,"
                " CASE WHEN session_user <> current_user AND"
                " pg_catalog.pg_has_role(session_user, relay.oid, 'USAGE') THEN"
                " pg_catalog.quote_ident(session_user) END AS login, " MIGRATIONS_TABLE,
                index);
    for (size_t i = 0; i < SUBJECT_COUNT; i++) {
        for (size_t j = 0; j < *SUBJECTS[i].count; j++) {
            const Precondition *entry = &SUBJECTS[i].entries[j];
            if (applies(entry, pipeline) && entry->columns != NULL) {
                text_printf(sql, ", %s", entry->columns);
            }
        }
    }
    if (pipeline->capture == CAPTURE_TABLES) {
        text_add(sql, ", mapped.identity, mapped.pending");
    }
    if (pipeline->capture == CAPTURE_WAL) {
        /* An entry can be open only while the transaction that changes it is seen as running. */
        text_add(sql, ", CASE WHEN b.oid IS NOT NULL THEN 'publication ' || b.oid || ':' || b.xmin"
                      " || coalesce(' entry ' || CASE WHEN pg_catalog.length(entry.identity) < 120"
                      " THEN entry.identity ELSE pg_catalog.hashtextextended(entry.identity,"
                      " 0)::text END, '') || ' table ' || c.oid END AS identity,"
                      " entry.open OR CASE WHEN b.xmax <> '0'::xid THEN EXISTS (SELECT FROM"
                      " pg_catalog.pg_locks l WHERE l.locktype = 'transactionid' AND l.granted AND"
                      " l.transactionid = b.xmax) ELSE false END AS pending");
        if (server_version >= POSTGRES_18) {
            text_add(sql, ", b.pubgencols AS generated_sent");
        }
    }
    precondition_add_from(pipeline, table, server_version, sql);
    text_add(sql, "; ");
}

/* The answer. */

bool precondition_read_wal_end(const PGresult *result, uint64_t *ret_end)
{
    int field = PQfnumber(result, "wal_end");
    if (field < 0 || PQntuples(result) != 1) {
        return false;
    }
    const char *text = pg_value(result, 0, field);
    char *end = NULL;
    uint64_t high = strtoull(text, &end, 16);
    *ret_end = *end == '/' ? high << 32 | strtoull(end + 1, NULL, 16) : 0;
    return true;
}

/* Of tables that only a pattern means: whoever may create one must not stop all others. */
static bool stands_alone(const Precondition *entry, const Facts *facts)
{
    if ((entry->applies & OTHERS_GO_ON) == 0 || (facts->reader & PRECONDITION_CHECK) != 0) {
        return false;
    }
    const char *column = strchr(entry->columns, '.') + 1;
    AUTO_TEXT first = x_strndup(column, strcspn(column, ","));
    return (facts->reader & PRECONDITION_RUNNING) != 0 || !some_are_named(facts, first);
}

static void add_fault(PreconditionLook *look, const Precondition *entry, const Saying *say,
                      const Facts *facts)
{
    unsigned reader = facts->reader;
    look->faults = x_realloc(look->faults, (look->fault_count + 1) * sizeof(*look->faults));
    PreconditionFault *fault = &look->faults[look->fault_count++];
    bool later = (entry->applies & LATER) != 0 && reader == PRECONDITION_RUNNING;
    memset(fault, 0, sizeof(*fault));
    fault->column = say->column;
    bool alone = stands_alone(entry, facts);
    fault->warning = entry->warning || later || alone;
    fault->first = entry->applies & FIRST;
    fault->alarm = (entry->applies & ALARMS) != 0 || (alone && !entry->warning);
    error_set_as(&fault->error, say->heals ? ERROR_RETRY : ERROR_FATAL, EXIT_POSTGRES, entry->code,
                 "%s", text_string(&say->message));
    error_hint(&fault->error, "%s", text_string(&say->remedy));
}

/* True when nothing behind this entry can be judged. */
static bool judge(const Precondition *entry, Facts *facts, PreconditionLook *look)
{
    if (!applies(entry, facts->pipeline) || !(entry->applies & facts->reader)) {
        return false;
    }
    bool broken = false;
    for (facts->nth = 0; facts->nth == 0 || (broken && (entry->applies & REPEATS)); facts->nth++) {
        Saying say = {0};
        broken = entry->broken(facts, &say);
        if (broken) {
            add_fault(look, entry, &say, facts);
        }
        text_free(&say.message);
        text_free(&say.remedy);
    }
    return broken && (entry->applies & ENDS);
}

static void read_names(const Facts *facts, PreconditionLook *look)
{
    look->table_oid = (uint32_t)strtoul(facts_value(facts, "table_oid"), NULL, 10);
    snprintf(look->schema, sizeof(look->schema), "%s", facts_value(facts, "table_schema"));
    snprintf(look->name, sizeof(look->name), "%s", facts_value(facts, "table_name"));
    snprintf(look->dead_letter, sizeof(look->dead_letter), "%s", facts_value(facts, "dead_letter"));
    snprintf(look->position, sizeof(look->position), "%s", facts_value(facts, "position"));
    bool tables = facts->pipeline->capture == CAPTURE_TABLES;
    snprintf(look->memory, sizeof(look->memory), "%s",
             facts_value(facts, tables ? "captured" : "publisher"));
    snprintf(look->migrations, sizeof(look->migrations), "%s", facts_value(facts, "migrations"));
    snprintf(look->identity, sizeof(look->identity), "%s", facts_value(facts, "identity"));
}

void precondition_read(const OutboxTable *table, const PGresult *result, int row, unsigned reader,
                       PreconditionLook *ret_look)
{
    const PipelineConfig *pipeline = table->config;
    Facts facts = {
        .pipeline = pipeline, .outbox = table, .result = result, .row = row, .reader = reader};
    facts.version = (int)strtol(pg_needed_field(result, row, "version"), NULL, 10);
    facts.role = pg_needed_field(result, row, "role");
    facts.table = *facts_value(&facts, "table_sql") != '\0' ? facts_value(&facts, "table_sql")
                                                            : pipeline->outbox.table;
    read_names(&facts, ret_look);
    ret_look->pending = facts_say(&facts, "pending");
    ret_look->absent = pipeline->capture != CAPTURE_TABLES ? columns_absent(&facts) : 0;
    /* What a standby shows, which a DSN of several hosts may lead to, is not what is published. */
    ret_look->taken = reader != PRECONDITION_RUNNING || !facts_say(&facts, "in_recovery");
    for (size_t i = 0; ret_look->taken && i < SUBJECT_COUNT; i++) {
        for (size_t j = 0; j < *SUBJECTS[i].count; j++) {
            if (judge(&SUBJECTS[i].entries[j], &facts, ret_look)) {
                return;
            }
        }
    }
}

bool precondition_take_columns(const PreconditionLook *look, OutboxTable *table)
{
    if (!look->taken || look->table_oid == 0) {
        return false;
    }
    bool more = table->looked_at && (table->absent & ~look->absent) != 0;
    table_take_columns(table, look->absent);
    return more;
}

void precondition_say_absent(const OutboxTable *table)
{
    AUTO_BUFFER names = TEXT_EMPTY;
    table_add_names(table->config, table->absent & table_header_columns(), &names);
    if (names.length == 0) {
        return;
    }
    log_write(
        LOG_INFO, table->config->name, CODE_COLUMNS_ABSENT,
        LOG_FIELDS(log_text("table", table->config->outbox.table), log_text("columns", names.data)),
        "%s has no columns %s: records do not contain them", table->config->outbox.table,
        names.data);
}

void precondition_release(PreconditionLook *look)
{
    for (size_t i = 0; i < look->fault_count; i++) {
        error_clear(&look->faults[i].error);
    }
    free(look->faults);
    *look = (PreconditionLook){0};
}

void precondition_say(const PipelineConfig *pipeline, const PreconditionFault *fault)
{
    log_write(LOG_WARN, pipeline->name, fault->error.code,
              LOG_FIELDS(log_text("hint", error_own_hint(&fault->error))), "%s",
              error_message(&fault->error));
}

void precondition_say_first(const PipelineConfig *pipeline, const PreconditionLook *look,
                            bool *said)
{
    for (size_t i = 0; i < look->fault_count && !*said; i++) {
        if (look->faults[i].first) {
            precondition_say(pipeline, &look->faults[i]);
        }
    }
    *said = true;
}

bool precondition_soften(Error *err, bool begun, unsigned *count)
{
    bool refusal =
        err->class == ERROR_FATAL && err->exit_code == EXIT_POSTGRES && sqlstate_is_refusal(err);
    if (!begun || !refusal || ++*count > PRECONDITION_REFUSALS_MAX) {
        return false;
    }
    err->class = ERROR_RETRY;
    return true;
}

const Error *precondition_alarm(const PreconditionLook *look)
{
    for (size_t i = 0; i < look->fault_count; i++) {
        if (look->faults[i].alarm) {
            return &look->faults[i].error;
        }
    }
    return NULL;
}

const Error *precondition_broken(const PreconditionLook *look)
{
    for (size_t i = 0; i < look->fault_count; i++) {
        if (!look->faults[i].warning) {
            return &look->faults[i].error;
        }
    }
    return NULL;
}
