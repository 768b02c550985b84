/* The publication of one pipeline: does all that is inserted into the table come through it, and
 * nothing that hurts? */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "app/check.h"
#include "base/memory.h"
#include "pg/ident.h"

/* One row. $1 the publication, $2 the table as "schema"."table", which exists. Row filters and
 * column lists are of PostgreSQL 15 and later, hence to_jsonb. */
static const char PUBLICATION_SQL[] =
    "WITH tree AS (SELECT $2::regclass::oid AS oid UNION SELECT relid FROM"
    "  pg_partition_tree($2::regclass)),"
    " published AS (SELECT to_regclass(quote_ident(schemaname) || '.' || quote_ident(tablename))"
    "  AS oid FROM pg_publication_tables WHERE pubname = $1)"
    " SELECT b.pubname IS NOT NULL AS there, b.puballtables, b.pubinsert, b.pubupdate, b.pubdelete,"
    " b.pubtruncate, b.pubviaroot, c.relkind = 'p' AS partitioned,"
    " has_database_privilege(current_database(), 'CREATE') AND pg_has_role(c.relowner, 'USAGE')"
    "  AS may_create,"
    " EXISTS (SELECT FROM published p JOIN tree t ON t.oid = p.oid) AS publishes_table,"
    " (SELECT min(p.oid::regclass::text) FROM published p WHERE p.oid NOT IN (SELECT oid FROM "
    "tree))"
    "  AS other_table,"
    " EXISTS (SELECT FROM pg_publication_rel r, to_jsonb(r) j WHERE r.prpubid = b.oid"
    "  AND r.prrelid IN (SELECT oid FROM tree) AND j ->> 'prqual' IS NOT NULL) AS filters,"
    " EXISTS (SELECT FROM pg_publication_rel r, to_jsonb(r) j WHERE r.prpubid = b.oid"
    "  AND r.prrelid IN (SELECT oid FROM tree) AND j ->> 'prattrs' IS NOT NULL) AS lists,"
    " c.relreplident = 'f' OR EXISTS (SELECT FROM pg_index i WHERE i.indrelid = c.oid AND"
    "  CASE c.relreplident WHEN 'd' THEN i.indisprimary WHEN 'i' THEN i.indisreplident END)"
    "  AS identity"
    " FROM pg_class c LEFT JOIN pg_publication b ON b.pubname = $1 WHERE c.oid = $2::regclass";

typedef struct PublicationCheck {
    Check *check;
    const PipelineConfig *pipeline;
    const PGresult *row;
    char *name; /* as SQL writes it */
} PublicationCheck;

static bool publication_is(const PublicationCheck *p, const char *column)
{
    return PQgetvalue(p->row, 0, PQfnumber(p->row, column))[0] == 't';
}

static void publication_problem(const PublicationCheck *p, const char *remedy, const char *format,
                                ...) __attribute__((format(printf, 3, 4)));

static void publication_problem(const PublicationCheck *p, const char *remedy, const char *format,
                                ...)
{
    va_list args;
    va_start(args, format);
    char *message = NULL;
    if (vasprintf(&message, format, args) >= 0) {
        check_problem(p->check, EXIT_POSTGRES, "database", remedy, "%s", message);
        free(message);
    }
    va_end(args);
}

/* A slot decodes with the catalog as it was: what was written before the publication was made makes
 * it fail for ever. */
static void publication_missing(const PublicationCheck *p, bool has_slot)
{
    const char *via_root =
        publication_is(p, "partitioned") ? ", publish_via_partition_root = true" : "";
    AUTO_TEXT create = x_format("CREATE PUBLICATION %s FOR TABLE %s WITH (publish = 'insert'%s);",
                                p->name, p->pipeline->table, via_root);
    if (has_slot) {
        AUTO_TEXT remedy =
            x_format("%s SELECT pg_drop_replication_slot('%s'); outboxd run --new-slot", create,
                     p->pipeline->slot);
        publication_problem(
            p, remedy,
            "no publication \"%s\", but slot \"%s\" is there: a publication must be "
            "older than its slot",
            p->pipeline->publication, p->pipeline->slot);
    } else if (!publication_is(p, "may_create")) {
        AUTO_TEXT remedy = x_format("an administrator runs: %s", create);
        publication_problem(p, remedy,
                            "no publication \"%s\", and the relay's role may not create it",
                            p->pipeline->publication);
    }
}

static void publication_check_contents(const PublicationCheck *p)
{
    const char *table = p->pipeline->table;
    AUTO_TEXT set_table = x_format("ALTER PUBLICATION %s SET TABLE %s;", p->name, table);
    if (!publication_is(p, "publishes_table")) {
        AUTO_TEXT remedy = x_format("ALTER PUBLICATION %s ADD TABLE %s;", p->name, table);
        publication_problem(p, remedy,
                            "publication \"%s\" does not publish %s: its events would never arrive",
                            p->pipeline->publication, table);
    }
    if (!publication_is(p, "pubinsert")) {
        AUTO_TEXT remedy = x_format("ALTER PUBLICATION %s SET (publish = 'insert');", p->name);
        publication_problem(p, remedy, "publication \"%s\" does not publish inserts",
                            p->pipeline->publication);
    }
    if (publication_is(p, "filters") || publication_is(p, "lists")) {
        publication_problem(p, set_table, "%s of publication \"%s\" hides %s of %s",
                            publication_is(p, "filters") ? "a row filter" : "a column list",
                            p->pipeline->publication,
                            publication_is(p, "filters") ? "events" : "columns", table);
    }
    if (publication_is(p, "partitioned") && !publication_is(p, "pubviaroot")) {
        AUTO_TEXT remedy =
            x_format("ALTER PUBLICATION %s SET (publish_via_partition_root = true);", p->name);
        publication_problem(
            p, remedy,
            "%s is partitioned, and publication \"%s\" publishes its rows under the "
            "names of the partitions",
            table, p->pipeline->publication);
    }
    int other = PQfnumber(p->row, "other_table");
    if (!PQgetisnull(p->row, 0, other)) {
        bool all = publication_is(p, "puballtables");
        AUTO_TEXT remedy =
            all ? x_format("give the pipeline a publication of its own: CREATE PUBLICATION ... FOR "
                           "TABLE %s WITH (publish = 'insert');",
                           table)
                : x_strdup(set_table);
        check_warning(p->check, "database", remedy,
                      "publication \"%s\" also publishes other tables, such as %s: the relay reads "
                      "their changes only to drop them",
                      p->pipeline->publication, PQgetvalue(p->row, 0, other));
    }
}

/* What it publishes beside inserts. Without a replica identity that is not only waste. */
static void publication_check_operations(const PublicationCheck *p)
{
    bool changes = publication_is(p, "pubupdate") || publication_is(p, "pubdelete");
    if ((!changes && !publication_is(p, "pubtruncate")) || !publication_is(p, "publishes_table")) {
        return;
    }
    AUTO_TEXT remedy = x_format("ALTER PUBLICATION %s SET (publish = 'insert');", p->name);
    if (changes && !publication_is(p, "identity")) {
        publication_problem(p, remedy,
                            "publication \"%s\" publishes updates or deletes of %s, which has no "
                            "replica identity: PostgreSQL refuses every such statement on it",
                            p->pipeline->publication, p->pipeline->table);
        return;
    }
    check_warning(p->check, "database", remedy,
                  "publication \"%s\" publishes more than inserts: every row is sent again when it "
                  "is marked or removed",
                  p->pipeline->publication);
}

void check_publication(Check *check, PGconn *conn, const PipelineConfig *pipeline,
                       const char *table, bool has_slot)
{
    const char *values[] = {pipeline->publication, table};
    PGresult *r = check_query(check, conn, PUBLICATION_SQL, 2, values);
    if (r == NULL) {
        return;
    }
    PublicationCheck p = {
        .check = check, .pipeline = pipeline, .row = r, .name = ident_quote(pipeline->publication)};
    if (PQntuples(r) == 0) { /* dropped this moment; check_table said so or will */
    } else if (!publication_is(&p, "there")) {
        publication_missing(&p, has_slot);
    } else {
        publication_check_contents(&p);
        publication_check_operations(&p);
    }
    free(p.name);
    PQclear(r);
}
