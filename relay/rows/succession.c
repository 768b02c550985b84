#include "rows/succession.h"

#include "base/memory.h"
#include "pg/ident.h"
#include "pg/result.h"

enum { SUCCESSION_MAX = 100 }; /* tables */

#define PG "pg_catalog."

const char *succession_value(const PGresult *result, int row, const char *column)
{
    return pg_field(result, row, column);
}

/* Rights on table "c" of schema "n", as statements that give them. */
static void add_grants(const PipelineConfig *pipeline, Text *sql)
{
    bool marks = pipeline->outbox.on_publish == ON_PUBLISH_MARK;
    bool deletes = pipeline->outbox.on_publish == ON_PUBLISH_DELETE;
    AUTO_TEXT published = ident_literal(pipeline->outbox.columns[FIELD_PUBLISHED_AT]);
    AUTO_TEXT quoted = ident_quote(pipeline->outbox.columns[FIELD_PUBLISHED_AT]);
    AUTO_TEXT right = marks     ? x_format("SELECT, UPDATE (%s)", quoted)
                      : deletes ? x_strdup("SELECT, DELETE")
                                : x_strdup("SELECT");
    AUTO_TEXT rights = ident_literal(right);
    text_printf(sql, PG "concat_ws(' ', CASE WHEN NOT " PG
                        "has_schema_privilege(n.oid, 'USAGE') THEN " PG
                        "format('GRANT USAGE ON SCHEMA %%I TO %%I;', n.nspname, current_user) END,"
                        " CASE WHEN NOT (" PG "has_any_column_privilege(c.oid, 'SELECT')");
    if (marks) {
        text_printf(sql,
                    " AND EXISTS (SELECT FROM " PG "pg_attribute a WHERE a.attrelid = c.oid"
                    " AND a.attname = %s AND NOT a.attisdropped AND " PG
                    "has_column_privilege(c.oid, a.attnum, 'UPDATE'))",
                    published);
    } else if (deletes) {
        text_add(sql, " AND " PG "has_table_privilege(c.oid, 'DELETE')");
    }
    text_printf(sql,
                ") THEN " PG "format('GRANT %%s ON %%I.%%I TO %%I;', %s, n.nspname, c.relname,"
                " current_user) END)",
                rights);
}

void succession_add_query(const PipelineConfig *pipeline, uint32_t old_oid, uint32_t new_oid,
                          Text *sql)
{
    AUTO_TEXT seq = ident_literal(pipeline->outbox.columns[FIELD_SEQ]);
    text_printf(
        sql,
        "WITH RECURSIVE chain(id, n) AS (SELECT %1$u::oid, 1 UNION ALL SELECT next.id, chain.n + 1"
        " FROM chain CROSS JOIN LATERAL (SELECT CASE WHEN " PG "bool_or(c.oid = %2$u) THEN"
        " %2$u::oid WHEN " PG "count(*) = 1 THEN " PG "min(c.oid) END AS id"
        " FROM " PG "pg_type t CROSS JOIN " PG "pg_class c JOIN " PG "pg_attribute s ON"
        " s.attrelid = c.oid AND s.attname = 'tableoid' AND s.attnum < 0"
        " WHERE t.typrelid = chain.id AND (s.xmin = t.xmin OR (c.oid = %2$u AND EXISTS (SELECT"
        " FROM " PG "pg_type y WHERE y.typrelid = c.oid AND y.xmin = t.xmin)))"
        " AND c.oid <> chain.id AND c.relkind IN ('r', 'p') AND NOT c.relispartition"
        " AND c.relnamespace = (SELECT k.relnamespace FROM " PG "pg_class k WHERE k.oid = %2$u)"
        " AND EXISTS (SELECT FROM " PG "pg_attribute a WHERE a.attrelid = c.oid AND a.attname ="
        " %3$s AND NOT a.attisdropped)) next"
        " WHERE chain.id <> %2$u AND chain.n < %4$d AND next.id IS NOT NULL)"
        " SELECT chain.id AS old_table, " PG "quote_ident(n.nspname) || '.' || " PG
        "quote_ident(c.relname) AS present,"
        " (SELECT " PG "bool_or(last.id = %2$u) FROM chain last) AS linked, CASE WHEN c.oid IS"
        " NULL THEN '' ELSE ",
        old_oid, new_oid, seq, SUCCESSION_MAX);
    add_grants(pipeline, sql);
    text_printf(sql,
                " END AS grants FROM chain LEFT JOIN (" PG "pg_class c JOIN " PG "pg_namespace n"
                " ON n.oid = c.relnamespace) ON c.oid = chain.id WHERE chain.id <> %u"
                " ORDER BY chain.n",
                new_oid);
}

void succession_add_strays(uint32_t old_oid, uint32_t new_oid, const char *known, Text *sql)
{
    /* Made between the two, by the age of the system columns; renamed (or given to another owner)
     * since; with every column of the new one. */
    text_printf(
        sql,
        "SELECT " PG "format('%%I.%%I', n.nspname, c.relname) AS stray,"
        " " PG "has_schema_privilege(n.oid, 'USAGE') AND " PG
        "has_any_column_privilege(c.oid, 'SELECT') AS stray_readable"
        " FROM " PG "pg_class c JOIN " PG "pg_namespace n ON n.oid = c.relnamespace"
        " JOIN " PG "pg_attribute s ON s.attrelid = c.oid AND s.attname = 'tableoid'"
        " AND s.attnum < 0 JOIN " PG "pg_type t ON t.typrelid = c.oid"
        " WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition AND c.oid NOT IN (%1$u, %2$u)"
        " AND c.relnamespace IN (SELECT k.relnamespace FROM " PG "pg_class k WHERE k.oid IN"
        " (%1$u, %2$u)) AND t.xmin <> s.xmin"
        " AND " PG "age(s.xmin) <= coalesce((SELECT " PG "age(o.xmin) FROM " PG "pg_attribute o"
        " WHERE o.attrelid = %1$u AND o.attname = 'tableoid' AND o.attnum < 0), 2147483647)"
        " AND NOT EXISTS (SELECT FROM " PG "pg_attribute w WHERE w.attrelid = %2$u AND"
        " w.attnum > 0 AND NOT w.attisdropped AND NOT EXISTS (SELECT FROM " PG "pg_attribute a"
        " WHERE a.attrelid = c.oid AND a.attname = w.attname AND a.atttypid = w.atttypid AND NOT"
        " a.attisdropped)) AND NOT (%3$s) ORDER BY " PG "age(s.xmin) DESC, c.oid LIMIT 10",
        old_oid, new_oid, known);
}
