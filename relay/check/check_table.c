/* What must hold of the table of one pipeline, and of publication and slot, as the relay's own list
 * (rows/precondition.h) says it: what `check` knows, `run` enforces. Beside it, what is worth a
 * warning only here. */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "check/check.h"
#include "config/columns.h"
#include "config/nearest.h"
#include "pg/result.h"
#include "rows/precondition.h"

static bool is_in_use(const PipelineConfig *pipeline, const char *name)
{
    for (size_t i = 0; i < COLUMN_COUNT; i++) {
        if (strcmp(column_name(pipeline, i), name) == 0) {
            return true;
        }
    }
    return false;
}

/* The letters alone, in lower case: "aggregateId" is near to "aggregate_id". */
static char *bare_name(const char *name)
{
    char *bare = x_strdup(name);
    size_t used = 0;
    for (const char *c = name; *c != '\0'; c++) {
        if (*c != '_') {
            bare[used++] = (char)tolower((unsigned char)*c);
        }
    }
    bare[used] = '\0';
    return bare;
}

static bool is_elsewhere(const char *names, const char *bare)
{
    AUTO_TEXT copy = x_strdup(names);
    char *rest = copy;
    for (const char *name; (name = strsep(&rest, " ")) != NULL;) {
        AUTO_TEXT other = bare_name(name);
        if (*name != '\0' && strcmp(other, bare) == 0) {
            return true;
        }
    }
    return false;
}

/* Whether other outboxes call the index-th column so, and it is of a type that it could have. */
static bool is_other_name(size_t index, const char *bare, const char *type)
{
    if (index >= COLUMN_COUNT) {
        return false;
    }
    const OutboxColumn *column = &OUTBOX_COLUMNS[index];
    bool number = strcmp(type, "bigint") == 0 || strcmp(type, "integer") == 0;
    bool time = strncmp(type, "timestamp", 9) == 0;
    bool fits = column->class == COLUMN_INTEGER ? number
                : column->class == COLUMN_TIME  ? time
                : index == FIELD_EVENT_ID       ? !number
                                                : true;
    return fits && is_elsewhere(column->elsewhere, bare);
}

/* The column of the table that may be meant by `wanted`, the index-th, and that nothing else uses;
 * malloc'd; NULL: none is. An absent one has to be very near. */
static char *table_nearest(const PGresult *columns, const PipelineConfig *pipeline, size_t index,
                           const char *wanted, bool absent)
{
    AUTO_TEXT bare = bare_name(wanted);
    Nearest nearest = nearest_begin(bare);
    const char *meant = NULL;
    const char *other = NULL;
    for (int i = 0; i < PQntuples(columns); i++) {
        const char *column = pg_value(columns, i, 0);
        AUTO_TEXT offered = bare_name(column);
        if (is_in_use(pipeline, column)) {
            continue;
        }
        bool near = !absent || nearest_distance(bare, offered) <= 1;
        meant = near && nearest_offer(&nearest, offered) ? column : meant;
        bool known = other == NULL && is_other_name(index, offered, pg_value(columns, i, 1));
        other = known ? column : other;
    }
    meant = other != NULL && (meant == NULL || nearest.distance > 1) ? other : meant;
    return meant != NULL ? x_strdup(meant) : NULL;
}

static size_t table_index(const PipelineConfig *pipeline, const char *name)
{
    size_t index = 0;
    while (index < COLUMN_COUNT && strcmp(column_name(pipeline, index), name) != 0) {
        index++;
    }
    return index;
}

/* "; did you mean "topic"?" of a column that is missing. */
static char *table_meant(const PGresult *columns, const PipelineConfig *pipeline,
                         const char *wanted)
{
    if (wanted == NULL) {
        return NULL;
    }
    AUTO_TEXT meant =
        table_nearest(columns, pipeline, table_index(pipeline, wanted), wanted, false);
    return meant != NULL ? x_format("; did you mean \"%s\"?", meant) : NULL;
}

/* A column that is hardly meant to be absent, such as correlationId. */
static void table_warn_near(Check *check, const PGresult *columns, const PipelineConfig *pipeline,
                            const PreconditionLook *look)
{
    for (size_t i = 0; i < COLUMN_COUNT; i++) {
        const char *name = column_name(pipeline, i);
        AUTO_TEXT meant = (look->absent & TABLE_COLUMN(i)) != 0
                              ? table_nearest(columns, pipeline, i, name, true)
                              : NULL;
        if (meant != NULL) {
            const char *field = OUTBOX_COLUMNS[i].name;
            AUTO_TEXT remedy = x_format("If so: columns: { %s = \"%s\"; }; if not, say there "
                                        "that it has none: %s = \"\"",
                                        field, meant, field);
            check_warning(
                check, "database", remedy,
                "%s has no column \"%s\", so records do not contain it; did you mean \"%s\"?",
                pipeline->outbox.table, name, meant);
        }
    }
}

static void table_say_absent(Check *check, const PipelineConfig *pipeline,
                             const PreconditionLook *look)
{
    AUTO_BUFFER names = TEXT_EMPTY;
    table_add_names(pipeline, look->absent & table_header_columns(), &names);
    if (names.length == 0) {
        return;
    }
    bool timeless = (look->absent & TABLE_COLUMN(FIELD_OCCURRED_AT)) != 0;
    text_printf(&check->facts, "columns        %s has no %s: records do not have these headers%s\n",
                pipeline->outbox.table, names.data,
                timeless ? ", and their timestamp is the time of publishing" : "");
}

static void table_note(Check *check, const PGresult *columns, const PipelineConfig *pipeline,
                       const PreconditionLook *look)
{
    for (size_t i = 0; i < look->fault_count; i++) {
        const PreconditionFault *fault = &look->faults[i];
        const Error *err = &fault->error;
        const char *remedy = *error_own_hint(err) != '\0' ? error_own_hint(err) : NULL;
        if (fault->warning) {
            check_warning(check, "database", remedy, "%s", error_message(err));
        } else {
            AUTO_TEXT meant = table_meant(columns, pipeline, fault->column);
            check_problem(check, EXIT_POSTGRES, "database", remedy, "%s%s", error_message(err),
                          meant != NULL ? meant : "");
        }
    }
}

bool check_table(Check *check, const PipelineConfig *pipeline, PreconditionLook *ret_look)
{
    AUTO(OutboxTable, table_free) table = NULL;
    AUTO_ERROR err = {0};
    if (table_new(pipeline, &table, &err) != OK) {
        check_problem(check, EXIT_CONFIG, "configuration",
                      *error_own_hint(&err) != '\0' ? error_own_hint(&err) : NULL, "%s",
                      error_message(&err));
        return false;
    }
    AUTO_BUFFER sql = TEXT_EMPTY;
    precondition_add_query(pipeline, table, 0, PQserverVersion(pg_session_raw(check->session)),
                           &sql);
    PGresult *r = check_query(check, "preconditions", sql.data, 0, NULL);
    if (r == NULL) {
        return false;
    }
    precondition_read(table, r, 0, PRECONDITION_CHECK, ret_look);
    PQclear(r);
    AUTO_TEXT oid = x_format("%u", ret_look->table_oid);
    const char *const values[] = {oid};
    PGresult *columns =
        check_query(check, "columns",
                    "SELECT a.attname, pg_catalog.format_type(a.atttypid, NULL) FROM"
                    " pg_catalog.pg_attribute a WHERE a.attrelid = $1::oid AND a.attnum > 0"
                    " AND NOT a.attisdropped ORDER BY a.attnum",
                    1, values);
    if (columns == NULL) {
        return false;
    }
    table_note(check, columns, pipeline, ret_look);
    if (ret_look->table_oid != 0) { /* else nothing is absent but the table */
        table_warn_near(check, columns, pipeline, ret_look);
        table_say_absent(check, pipeline, ret_look);
    }
    PQclear(columns);
    return precondition_broken(ret_look) == NULL;
}
