#include "rows/companion.h"

#include "base/memory.h"
#include "pg/ident.h"
#include "pg/result.h"

#define PG     "pg_catalog."
#define TABLES "'r', 'p'"

/* Columns that tell one of ours; later versions of it may have more. */
static const char *const MATCHES[COMPANION_COUNT] = {
    [COMPANION_DEAD_LETTER] =
        COMPANION_IS("k", "dead_letter", TABLES, "'id', 'pipeline', 'reason', 'at'", "4"),
    [COMPANION_POSITION] =
        COMPANION_IS("k", "position", TABLES, "'pipeline', 'slot', 'lsn', 'timeline'", "4"),
    [COMPANION_PUBLISHER] = COMPANION_IS("k", "publisher", TABLES,
                                         "'table_id', 'table_name', 'generation', 'writes'", "4"),
    [COMPANION_PAUSE] =
        COMPANION_IS("k", "pause", TABLES, "'pipeline', 'paused_at', 'paused_by', 'reason'", "4"),
    [COMPANION_BACKLOG] =
        COMPANION_IS("k", "backlog", "'v'", "'aggregate_type', 'pending', 'oldest'", "3"),
};

void companion_add_table(const char *name, Text *sql)
{
    text_printf(
        sql,
        " CROSS JOIN LATERAL (SELECT " PG "parse_ident(%s) AS part) AS configured"
        " LEFT JOIN LATERAL (SELECT k.oid, k.relname, k.relnamespace, k.relkind, k.relowner,"
        "  k.relrowsecurity, k.relforcerowsecurity, k.relispartition, n.nspname,"
        "  " PG "quote_ident(n.nspname) || '.' || " PG "quote_ident(k.relname) AS sql"
        "  FROM " PG "pg_class k JOIN " PG "pg_namespace n ON n.oid = k.relnamespace"
        "  WHERE k.relname = configured.part[" PG "cardinality(configured.part)]"
        "  AND CASE WHEN " PG "cardinality(configured.part) > 1 THEN n.nspname ="
        "   configured.part[1] ELSE " PG "pg_table_is_visible(k.oid) END LIMIT 1) c ON true",
        name);
}

void companion_add(Companion companion, const char *alias, Text *sql)
{
    text_printf(sql,
                " LEFT JOIN LATERAL (SELECT k.oid, k.relnamespace AS nsp,"
                "  k.relnamespace::" PG "regnamespace::text || '.' ||"
                "  " PG "quote_ident(k.relname) AS sql FROM " PG "pg_class k"
                "  WHERE k.relnamespace IN (c.relnamespace, " PG "to_regnamespace('outbox')::oid)"
                "  AND %s AND " COMPANION_IS_BY_US(
                    "k") " ORDER BY k.relnamespace = c.relnamespace DESC LIMIT 1) %s ON true",
                MATCHES[companion], alias);
}

void companion_add_strangers_query(Text *sql)
{
    text_add(sql,
             "SELECT k.sql, " PG "pg_get_userbyid(k.relowner), 'ALTER TABLE ' || k.sql ||"
             " ' OWNER TO ' || " PG "quote_ident(" PG "pg_get_userbyid(c.relowner)) || ';'"
             " FROM " PG "pg_class c CROSS JOIN LATERAL (SELECT k.*,"
             "  k.relnamespace::" PG "regnamespace::text || '.' || " PG "quote_ident(k.relname)"
             "  AS sql FROM " PG "pg_class k WHERE k.relnamespace IN (c.relnamespace,"
             "  " PG "to_regnamespace('outbox')::oid)) k WHERE c.oid = $1::oid AND (");
    for (size_t i = 0; i < COMPANION_COUNT; i++) {
        text_printf(sql, "%s%s", i > 0 ? " OR " : "", MATCHES[i]);
    }
    text_add(sql, ") AND " COMPANION_IS_BY_US("k") " IS NOT TRUE ORDER BY 1");
}

Status companion_find(PgSession *session, const char *table, Companion companion, bool beside,
                      char **ret_name, Error *err)
{
    AUTO_TEXT quoted = NULL;
    if (ident_quote_table(table, &quoted, err) != OK) {
        return FAILED;
    }
    AUTO_BUFFER sql = TEXT_EMPTY;
    text_add(&sql, "SELECT m.sql FROM (VALUES (1)) AS one");
    companion_add_table("$1", &sql);
    companion_add(companion, "m", &sql);
    text_add(&sql, beside ? " WHERE m.nsp = c.relnamespace" : "");
    AUTO(PGresult, pg_session_free_result) found = NULL;
    const char *const values[] = {quoted};
    if (pg_session_query(
            session,
            &(PgAsk){.step = "companion", .sql = text_string(&sql), .count = 1, .values = values},
            &found, err) != OK) {
        return FAILED;
    }
    bool none = PQntuples(found) != 1 || pg_is_null(found, 0, 0);
    *ret_name = none ? NULL : x_strdup(pg_value(found, 0, 0));
    return OK;
}
