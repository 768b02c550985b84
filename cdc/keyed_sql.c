#include "cdc/keyed_sql.h"

#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "pg/ident.h"
#include "pg/result.h"

void keyed_question_clear(KeyedQuestion *question)
{
    for (size_t i = 0; i < question->tables.count; i++) {
        vec_free(&question->tables.items[i].key);
        vec_free(&question->tables.items[i].columns);
        vec_free(&question->tables.items[i].rows);
    }
    vec_free(&question->tables);
    vec_free(&question->transactions);
}

void keyed_found_clear(KeyedFound *found)
{
    for (size_t i = 0; i < found->count; i++) {
        free(found->columns[i].sql);
        free(found->columns[i].type);
        free(found->columns[i].same);
    }
    free(found->columns);
    free(found->name);
    *found = (KeyedFound){0};
}

/* The equality of indexes on a type, wherever its schema is; of a type that has none of its own,
 * such as an enum or an array, it is that of pg_catalog. */
#define EQUALITY                                                                                   \
    "coalesce((SELECT 'OPERATOR(' || pg_catalog.quote_ident(s.nspname) || '.' || o.oprname || ')'" \
    " FROM pg_catalog.pg_opclass f JOIN pg_catalog.pg_am m ON m.oid = f.opcmethod"                 \
    "  AND m.amname = 'btree' JOIN pg_catalog.pg_amop p ON p.amopfamily = f.opcfamily"             \
    "  AND p.amoplefttype = f.opcintype AND p.amoprighttype = f.opcintype"                         \
    "  AND p.amopstrategy = 3 JOIN pg_catalog.pg_operator o ON o.oid = p.amopopr"                  \
    " JOIN pg_catalog.pg_namespace s ON s.oid = o.oprnamespace"                                    \
    " WHERE f.opcdefault AND f.opcintype = " BASE "), 'OPERATOR(pg_catalog.=)')"
#define BASE "coalesce(nullif(t.typbasetype, 0), t.oid)"

/* A text becomes a value of the column's type, or of that under a domain, whose checks a value of
 * before need not pass. Without a modifier: char(n) would cut it. */
void keyed_add_description(const KeyedQuestion *question, Text *sql)
{
    text_add(sql, "SELECT pg_catalog.pg_current_snapshot() AS " KEYED_SNAPSHOT "; "
                  "SELECT c.oid AS keyed_oid, c.relkind = 'p' AS divided,"
                  " pg_catalog.quote_ident(n.nspname) || '.' ||"
                  " pg_catalog.quote_ident(c.relname) AS table_sql,"
                  " a.attname AS column_name, pg_catalog.quote_ident(a.attname) AS column_sql,"
                  " a.atttypid, pg_catalog.format_type(" BASE ", -1) AS column_type,"
                  " " EQUALITY " AS column_same FROM pg_catalog.pg_class c"
                  " JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace"
                  " JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0"
                  "  AND NOT a.attisdropped JOIN pg_catalog.pg_type t ON t.oid = a.atttypid"
                  " WHERE c.relkind IN ('r', 'p') AND c.oid = ANY ('{");
    for (size_t i = 0; i < question->tables.count; i++) {
        text_printf(sql, "%s%u", i > 0 ? "," : "", question->tables.items[i].table->oid);
    }
    text_add(sql, "}'::pg_catalog.oid[])");
}

static void read_column(const PGresult *result, int row, const ChangeTable *table,
                        KeyedFound *found)
{
    uint32_t type = (uint32_t)strtoul(pg_needed_field(result, row, "atttypid"), NULL, 10);
    const char *name = pg_needed_field(result, row, "column_name");
    for (size_t i = 0; i < table->count; i++) {
        KeyedColumn *column = &found->columns[i];
        if (column->sql == NULL && table->columns[i].type_oid == type &&
            strcmp(table->columns[i].name, name) == 0) {
            column->sql = x_strdup(pg_needed_field(result, row, "column_sql"));
            column->type = x_strdup(pg_needed_field(result, row, "column_type"));
            column->same = x_strdup(pg_needed_field(result, row, "column_same"));
        }
    }
}

bool keyed_read_description(const PGresult *result, const KeyedTable *table, KeyedFound *found)
{
    if (PQfnumber(result, "keyed_oid") < 0) {
        return false;
    }
    keyed_found_clear(found);
    found->count = table->table->count;
    found->columns = x_calloc(found->count + 1, sizeof(*found->columns));
    for (int row = 0; row < PQntuples(result); row++) {
        uint32_t oid = (uint32_t)strtoul(pg_needed_field(result, row, "keyed_oid"), NULL, 10);
        if (oid != table->table->oid) {
            continue;
        }
        if (found->name == NULL) {
            found->name = x_strdup(pg_needed_field(result, row, "table_sql"));
            found->divided = *pg_needed_field(result, row, "divided") == 't';
        }
        read_column(result, row, table->table, found);
    }
    return true;
}

bool keyed_is_readable(const KeyedTable *table, const KeyedFound *found)
{
    bool any = false;
    for (size_t i = 0; i < table->columns.count; i++) {
        any = any || found->columns[table->columns.items[i]].sql != NULL;
    }
    for (size_t i = 0; i < table->key.count; i++) {
        any = any && found->columns[table->key.items[i]].sql != NULL;
    }
    return any && found->name != NULL;
}

static void add_row(const KeyedTable *table, const KeyedFound *found, size_t row, Text *sql)
{
    text_printf(sql, "%s(%zu", row > 0 ? ", " : "", row);
    for (size_t i = 0; i < table->key.count; i++) {
        uint16_t at = table->key.items[i];
        Slice value = table->rows.items[row][at];
        AUTO_TEXT text = x_strndup(value.data, value.length);
        AUTO_TEXT literal = ident_literal(text);
        text_printf(sql, ", %s::%s", literal, found->columns[at].type);
    }
    text_add_char(sql, ')');
}

/* The lock that the statement takes keeps the name, so what it is then is what is read. */
void keyed_add_read(const KeyedTable *table, const KeyedFound *found, Text *sql)
{
    AUTO_TEXT name = ident_literal(found->name);
    text_add(sql, "COPY (SELECT k.n");
    for (size_t i = 0; i < table->columns.count; i++) {
        const KeyedColumn *column = &found->columns[table->columns.items[i]];
        text_printf(sql, ", %s%s", column->sql != NULL ? "t." : "NULL",
                    column->sql != NULL ? column->sql : "");
    }
    const char *only = found->divided ? "" : "ONLY ";
    if (table->filter != NULL) { /* its names of columns stand alone */
        text_printf(sql, " FROM (SELECT * FROM %s%s WHERE (%s)) t", only, found->name,
                    table->filter);
    } else {
        text_printf(sql, " FROM %s%s t", only, found->name);
    }
    text_add(sql, " JOIN (VALUES ");
    for (size_t i = 0; i < table->rows.count; i++) {
        add_row(table, found, i, sql);
    }
    text_add(sql, ") AS k (n");
    for (size_t i = 0; i < table->key.count; i++) {
        text_printf(sql, ", k%zu", i);
    }
    text_add(sql, ") ON ");
    for (size_t i = 0; i < table->key.count; i++) {
        const KeyedColumn *column = &found->columns[table->key.items[i]];
        text_printf(sql, "%st.%s %s k.k%zu", i > 0 ? " AND " : "", column->sql, column->same, i);
    }
    text_printf(sql, " WHERE pg_catalog.to_regclass(%s) = %u::pg_catalog.oid) TO STDOUT", name,
                table->table->oid);
}
