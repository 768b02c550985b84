/* The publication: does all that is inserted into the table come through it, and nothing that
 * hurts? */
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "pg/ident.h"
#include "rows/precondition_internal.h"

static bool publication_is_there(const Facts *facts)
{
    return *facts_value(facts, "publication_oid") != '\0';
}

bool publication_is_not_there(const Facts *facts, const char *create, Saying *say)
{
    const PipelineConfig *pipeline = facts->pipeline;
    const char *what =
        pipeline->capture == CAPTURE_TABLES ? "changes that are made" : "events that are inserted";
    bool told = PQfnumber(facts->result, "publication_oid") >= 0;
    bool missing = told && !publication_is_there(facts);
    bool has_slot = *facts_value(facts, "slot_name") != '\0';
    bool running = facts->reader & PRECONDITION_RUNNING;
    if (has_slot && !running) {
        text_printf(&say->message,
                    "publication \"%s\" does not exist, but slot \"%s\" does: a publication must "
                    "be older than its slot",
                    pipeline->wal.publication, pipeline->wal.slot);
        text_printf(&say->remedy,
                    "%s SELECT pg_drop_replication_slot('%s'); then outboxd run --new-slot", create,
                    pipeline->wal.slot);
        return missing;
    }
    if (running) {
        text_printf(&say->message,
                    "publication \"%s\" was dropped: %s until it exists again are not in the "
                    "stream",
                    pipeline->wal.publication, what);
        text_add(&say->remedy, create);
        return missing;
    }
    text_printf(&say->message,
                "publication \"%s\" does not exist, and the relay's role may not create it",
                pipeline->wal.publication);
    text_printf(&say->remedy, "an administrator runs: %s", create);
    return missing && !facts_say(facts, "may_create");
}

static bool publication_is_missing(const Facts *facts, Saying *say)
{
    AUTO_TEXT name = ident_quote(facts->pipeline->wal.publication);
    AUTO_TEXT create = x_format(
        "CREATE PUBLICATION %s FOR TABLE %s WITH (publish = 'insert'%s);", name, facts->table,
        *facts_value(facts, "kind") == 'p' ? ", publish_via_partition_root = true" : "");
    return publication_is_not_there(facts, create, say);
}

static bool table_is_not_published(const Facts *facts, Saying *say)
{
    AUTO_TEXT name = ident_quote(facts->pipeline->wal.publication);
    text_printf(&say->message,
                "publication \"%s\" does not publish %s: its events would never be published",
                facts->pipeline->wal.publication, facts->table);
    text_printf(&say->remedy, "ALTER PUBLICATION %s ADD TABLE %s;", name, facts->table);
    return publication_is_there(facts) && facts_deny(facts, "covers_root");
}

static bool inserts_are_not_published(const Facts *facts, Saying *say)
{
    AUTO_TEXT name = ident_quote(facts->pipeline->wal.publication);
    text_printf(&say->message, "publication \"%s\" does not publish inserts",
                facts->pipeline->wal.publication);
    text_printf(&say->remedy, "ALTER PUBLICATION %s SET (publish = 'insert');", name);
    return facts_deny(facts, "inserts");
}

static bool rows_or_columns_are_left_out(const Facts *facts, Saying *say)
{
    AUTO_TEXT name = ident_quote(facts->pipeline->wal.publication);
    bool rows = facts_say(facts, "filtered");
    text_printf(&say->message, "%s of publication \"%s\" hides %s of %s",
                rows ? "a row filter" : "a column list", facts->pipeline->wal.publication,
                rows ? "events" : "columns", facts->table);
    text_printf(&say->remedy, "ALTER PUBLICATION %s SET TABLE %s;", name, facts->table);
    return rows || facts_say(facts, "listed");
}

/* Partitions come with their root. What inherits does not, if it was made later. */
static bool parts_are_not_published(const Facts *facts, Saying *say)
{
    AUTO_TEXT name = ident_quote(facts->pipeline->wal.publication);
    const char *which = facts_value(facts, "uncovered");
    text_printf(&say->message,
                "publication \"%s\" does not publish %s, which belongs to %s: its events would "
                "never be published",
                facts->pipeline->wal.publication, which, facts->table);
    text_printf(&say->remedy, "ALTER PUBLICATION %s ADD TABLE ONLY %s;", name, which);
    return publication_is_there(facts) && facts_say(facts, "covers_root") && *which != '\0';
}

/* PostgreSQL then refuses every UPDATE or DELETE of the table: the relay's, and the application's.
 */
static bool changes_need_identity(const Facts *facts, Saying *say)
{
    const char *publication = facts_value(facts, "breaking");
    AUTO_TEXT name = ident_quote(publication);
    text_printf(&say->message,
                "publication \"%s\" publishes updates or deletes of %s, which has no replica "
                "identity: PostgreSQL refuses every UPDATE or DELETE that it covers",
                publication, facts_value(facts, "breaks"));
    if (facts->pipeline->capture == CAPTURE_WAL &&
        strcmp(publication, facts->pipeline->wal.publication) == 0) {
        text_printf(&say->remedy, "ALTER PUBLICATION %s SET (publish = 'insert');", name);
    } else {
        text_printf(&say->remedy,
                    "ALTER TABLE %s REPLICA IDENTITY FULL; or give it a primary key, or take it "
                    "out of that publication",
                    facts_value(facts, "breaks"));
    }
    return *publication != '\0';
}

static bool more_than_inserts_is_published(const Facts *facts, Saying *say)
{
    AUTO_TEXT name = ident_quote(facts->pipeline->wal.publication);
    text_printf(&say->message,
                "publication \"%s\" publishes more than inserts: PostgreSQL sends every row again "
                "when it is marked or deleted",
                facts->pipeline->wal.publication);
    text_printf(&say->remedy, "ALTER PUBLICATION %s SET (publish = 'insert');", name);
    return facts_say(facts, "covers_root") && facts_say(facts, "changes") &&
           *facts_value(facts, "breaking") == '\0';
}

const Precondition PRECONDITIONS_PUBLICATION[] = {
    {CODE_PUBLICATION_MISSING, FOR_WAL | BY_ALL, false,
     "b.oid AS publication_oid, pg_catalog.has_database_privilege(pg_catalog.current_database(),"
     " 'CREATE') AND pg_catalog.pg_has_role(c.relowner, 'USAGE') AS may_create",
     publication_is_missing},
    {CODE_PUBLICATION_INCOMPLETE, FOR_WAL | BY_ALL, false, "tree.covers_root",
     table_is_not_published},
    {CODE_PUBLICATION_INCOMPLETE, FOR_WAL | BY_ALL, false, "b.pubinsert AS inserts",
     inserts_are_not_published},
    {CODE_PUBLICATION_INCOMPLETE, FOR_WAL | BY_ALL, false, "tree.filtered, tree.listed",
     rows_or_columns_are_left_out},
    {CODE_PUBLICATION_PART, FOR_WAL | BY_ALL, false, "tree.uncovered", parts_are_not_published},
    {CODE_PUBLICATION_IDENTITY, FOR_BOTH | BY_ALL, false, "tree.breaking, tree.breaks",
     changes_need_identity},
    {CODE_PUBLICATION_WASTE, FOR_WAL | BY_ALL, true,
     "b.pubupdate OR b.pubdelete OR b.pubtruncate AS changes", more_than_inserts_is_published},
};
const size_t PRECONDITIONS_PUBLICATION_COUNT =
    sizeof(PRECONDITIONS_PUBLICATION) / sizeof(Precondition);
