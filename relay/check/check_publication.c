/* The publication of one pipeline: what it costs beside what it must do (rows/precondition.h). */
#include <stdlib.h>

#include "base/memory.h"
#include "check/check.h"
#include "pg/ident.h"
#include "pg/result.h"

void check_publication(Check *check, const PipelineConfig *pipeline, const PreconditionLook *look)
{
    AUTO_TEXT oid = x_format("%u", look->table_oid);
    const char *values[] = {pipeline->wal.publication, oid};
    PGresult *r = check_query(
        check, "published tables",
        "WITH RECURSIVE tree(oid) AS (SELECT $2::oid UNION SELECT i.inhrelid FROM"
        "  pg_catalog.pg_inherits i JOIN tree t ON i.inhparent = t.oid)"
        " SELECT b.puballtables, pg_catalog.min(pg_catalog.quote_ident(p.schemaname) || '.' ||"
        "  pg_catalog.quote_ident(p.tablename)) FROM pg_catalog.pg_publication_tables p"
        " JOIN pg_catalog.pg_publication b ON b.pubname = p.pubname"
        " JOIN pg_catalog.pg_namespace n ON n.nspname = p.schemaname"
        " JOIN pg_catalog.pg_class c ON c.relnamespace = n.oid AND c.relname = p.tablename"
        " WHERE p.pubname = $1 AND c.oid NOT IN (SELECT oid FROM tree) GROUP BY 1",
        2, values);
    if (r != NULL && PQntuples(r) == 1) {
        AUTO_TEXT name = ident_quote(pipeline->wal.publication);
        AUTO_TEXT remedy =
            pg_value(r, 0, 0)[0] == 't'
                ? x_format("give the pipeline a publication of its own: CREATE PUBLICATION ... FOR "
                           "TABLE %s WITH (publish = 'insert');",
                           pipeline->outbox.table)
                : x_format("ALTER PUBLICATION %s SET TABLE %s;", name, pipeline->outbox.table);
        check_warning(check, "database", remedy,
                      "publication \"%s\" also publishes other tables, such as %s: the relay reads "
                      "their changes only to discard them",
                      pipeline->wal.publication, pg_value(r, 0, 1));
    }
    PQclear(r);
}
