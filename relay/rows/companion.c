#include "rows/companion.h"

#include "base/memory.h"
#include "pg/ident.h"
#include "pg/result.h"

#define PG "pg_catalog."

static const char *const MATCHES[COMPANION_COUNT] = {
    [COMPANION_DEAD_LETTER] = COMPANION_IS_DEAD_LETTER("k"),
    [COMPANION_POSITION] = COMPANION_IS_POSITION("k"),
    [COMPANION_PUBLISHER] = COMPANION_IS_PUBLISHER("k"),
    [COMPANION_PAUSE] = COMPANION_IS_PAUSE("k"),
    [COMPANION_CAPTURED] = COMPANION_IS_CAPTURED("k"),
    [COMPANION_BACKLOG] = COMPANION_IS_BACKLOG("k"),
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
