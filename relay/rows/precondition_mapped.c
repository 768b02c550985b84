/* The mapped tables of capture = "tables": does each mapping mean what it was written for, does all
 * that is changed in these tables come through the publications, and is no application refused?
 *
 * There may be thousands of tables, so each fault names a few (precondition_some.h). SQL that would
 * be cut short is not valid SQL. */
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "pg/ident.h"
#include "rows/mapped_script.h"
#include "rows/precondition_some.h"

static const char *mapping_name(const Facts *facts, const char *number)
{
    size_t i = number != NULL ? strtoul(number, NULL, 10) : SIZE_MAX;
    const TablesConfig *tables = &facts->pipeline->tables;
    return i < tables->mapping_count ? tables->mappings[i].table : "?";
}

static void add_mappings(const Facts *facts, const Some *some, Text *text)
{
    text_add(text, some->count == 1 ? "mapping " : "mappings ");
    for (size_t i = 0; i < some->shown; i++) {
        text_printf(text, "%s'%s'", i > 0 ? ", " : "", mapping_name(facts, some->names[i]));
    }
    some_add_rest(some, false, text);
}

/* The names of both publications as SQL, and statements that put tables there. ONLY: else what
 * inherits from a table comes with it, whatever its replica identity is, and leaves with it. */

static char *first_sql(const Facts *facts)
{
    return ident_quote(facts->pipeline->wal.publication);
}

static char *second_sql(const Facts *facts)
{
    AUTO_TEXT name = mapped_second_publication(facts->pipeline);
    return ident_quote(name);
}

static void add_to_second(const Facts *facts, const Some *some, Text *sql)
{
    AUTO_TEXT second = second_sql(facts);
    bool there = *facts_value(facts, "mapped_second") != '\0';
    text_printf(sql, there ? "ALTER PUBLICATION %s ADD TABLE " : "CREATE PUBLICATION %s FOR TABLE ",
                second);
    some_add_sql(some, "ONLY ", sql);
    text_add(sql, there ? ";"
                        : " WITH (publish = 'insert, truncate', publish_via_partition_root = "
                          "true);");
}

/* SQL that puts tables with a filter somewhere is printed by `outboxd check`, which has asked the
 * server about the filter (mapped_filter.h). */
static void add_reference(Text *remedy)
{
    text_printf(remedy,
                "%sRun the statements that outboxd check prints under \"sql\": they have "
                "the filter of the mapping.",
                remedy->length > 0 && remedy->data[remedy->length - 1] != ' ' ? " " : "");
}

/* It stays in the second one, which does no harm: out of it at once, nobody could tell that no
 * insert was missed in between. */
static void add_to_first(const Facts *facts, const Some *some, Text *sql)
{
    if (mapped_has_filters(facts->pipeline)) {
        add_reference(sql);
        return;
    }
    AUTO_TEXT first = first_sql(facts);
    text_printf(sql, "ALTER PUBLICATION %s ADD TABLE ", first);
    some_add_sql(some, "ONLY ", sql);
    text_add_char(sql, ';');
}

/* Into the second publication before it is out of the first, so that no insert is missed. Which of
 * the two came first is nowhere in the catalog: only a relay that has noted the state between knows
 * (mapped_memory.h). */
static void add_move(const Facts *facts, const Some *some, Text *sql)
{
    AUTO_TEXT first = first_sql(facts);
    add_to_second(facts, some, sql);
    text_printf(sql,
                " /* wait until a running relay has logged PUBLICATION_PROVEN */"
                " ALTER PUBLICATION %s DROP TABLE ",
                first);
    some_add_sql(some, "ONLY ", sql);
    text_add_char(sql, ';');
}

/* What the mappings mean. */

static bool filters_are_unknown(const Facts *facts, Saying *say)
{
    text_printf(&say->message,
                "a mapping has a filter, which needs PostgreSQL 15 or later; this is PostgreSQL %d",
                facts->version / 10000);
    text_add(&say->remedy, "Leave out filter, and let the consumers filter.");
    return facts->version < POSTGRES_15 && mapped_has_filters(facts->pipeline);
}

static bool mapping_means_nothing(const Facts *facts, Saying *say)
{
    AUTO_SOME some = some_read(facts, "mapped_nameless");
    add_mappings(facts, &some, &say->message);
    text_printf(&say->message, ": no such table exists in database \"%s\"",
                facts_value(facts, "database"));
    text_add(&say->remedy,
             "Correct the name in mappings, or create the table. A name with capital letters or "
             "special characters must be in double quotes.");
    return some.count > 0;
}

static bool mapping_means_what_is_never_read(const Facts *facts, Saying *say)
{
    AUTO_SOME some = some_read(facts, "mapped_private");
    add_mappings(facts, &some, &say->message);
    text_add(&say->message, ": temporary tables, tables of PostgreSQL itself and tables in the "
                            "schema of outboxd cannot be captured");
    text_add(&say->remedy, "Remove it from mappings.");
    return some.count > 0;
}

static const char *kind_name(char kind)
{
    return kind == 'v'                  ? "a view"
           : kind == 'm'                ? "a materialized view"
           : kind == 'f'                ? "a foreign table"
           : kind == 'S'                ? "a sequence"
           : kind == 'i' || kind == 'I' ? "an index"
                                        : "a relation of another kind";
}

static bool mapping_means_no_table(const Facts *facts, Saying *say)
{
    AUTO_SOME some = some_read(facts, "mapped_kinds");
    for (size_t i = 0; i < some.shown; i++) {
        char *kind = some.names[i];
        const char *number = strsep(&kind, "\037");
        text_printf(&say->message, "%s'%s' is not a table but %s", i > 0 ? ", " : "mapping ",
                    mapping_name(facts, number), kind_name(kind != NULL ? *kind : '\0'));
    }
    some_add_rest(&some, false, &say->message);
    text_add(&say->remedy, "Map the tables behind it: only their changes are in the WAL.");
    return some.count > 0;
}

static bool pattern_matches_nothing(const Facts *facts, Saying *say)
{
    AUTO_SOME some = some_read(facts, "mapped_unmatched");
    add_mappings(facts, &some, &say->message);
    text_printf(&say->message, " %s no table at present", some.count == 1 ? "matches" : "match");
    text_add(&say->remedy, "Correct the pattern, or remove it if no such table will be created.");
    return some.count > 0;
}

/* A typing error, or a column that was renamed: what was to be masked would be in the records. */
static bool column_is_in_no_table(const Facts *facts, Saying *say)
{
    AUTO_SOME some = some_read(facts, "mapped_columnless");
    for (size_t i = 0; i < some.shown; i++) {
        char *rest = some.names[i];
        const char *mapping = strsep(&rest, "\037");
        const char *option = strsep(&rest, "\037");
        text_printf(&say->message,
                    "%smapping '%s': %s names column '%s', which none of its tables "
                    "has",
                    i > 0 ? "; " : "", mapping_name(facts, mapping), option, rest);
    }
    some_add_rest(&some, false, &say->message);
    text_add(&say->remedy,
             "Correct the name, or remove it. If the column was renamed, give its new "
             "name, which then also counts for its changes from before.");
    return some.count > 0;
}

static bool table_is_meant_twice(const Facts *facts, Saying *say)
{
    AUTO_SOME some = some_read(facts, "mapped_twice");
    for (size_t i = 0; i < some.shown; i++) {
        char *rest = some.names[i];
        const char *table = strsep(&rest, "\037");
        const char *first = strsep(&rest, "\037");
        text_printf(&say->message, "%s%s belongs to two mappings, '%s' and '%s'",
                    i > 0 ? "; " : "table ", table, mapping_name(facts, first),
                    mapping_name(facts, rest));
    }
    some_add_rest(&some, false, &say->message);
    text_add(&say->remedy, "A table can have only one mapping: narrow the pattern, or remove the "
                           "other mapping.");
    return some.count > 0;
}

static bool mapping_names_partition(const Facts *facts, Saying *say)
{
    AUTO_SOME some = some_read(facts, "mapped_parts");
    add_mappings(facts, &some, &say->message);
    text_add(&say->message, ": this is a partition of a table that another mapping captures, and "
                            "its rows come under the name of that table");
    text_add(&say->remedy, "Remove the mapping of the partition.");
    return some.count > 0;
}

static bool rows_come_under_another_name(const Facts *facts, Saying *say)
{
    AUTO_SOME some = some_read(facts, "mapped_under");
    for (size_t i = 0; i < some.shown; i++) {
        char *root = some.names[i];
        const char *table = strsep(&root, "\037");
        text_printf(&say->message, "%srows of %s come under the name of %s", i > 0 ? ", " : "",
                    table, root != NULL ? root : "?");
    }
    some_add_rest(&some, false, &say->message);
    text_add(&say->message, ", which no mapping matches");
    text_add(&say->remedy, "Map the partitioned table instead of its partition.");
    return some.count > 0;
}

/* What the publications send. */

static bool mapped_publication_is_missing(const Facts *facts, Saying *say)
{
    AUTO_TEXT first = first_sql(facts);
    AUTO_SOME usable = some_read(facts, "mapped_absent_usable");
    AUTO_SOME unusable = some_read(facts, "mapped_absent_unusable");
    AUTO_BUFFER create = TEXT_EMPTY;
    text_printf(&create, "CREATE PUBLICATION %s", first);
    if (usable.count > 0) {
        text_add(&create, " FOR TABLE ");
        some_add_sql(&usable, "ONLY ", &create);
    }
    text_add(&create, " WITH (publish_via_partition_root = true);");
    if (unusable.count > 0) {
        text_add_char(&create, ' ');
        add_to_second(facts, &unusable, &create);
    }
    if (mapped_has_filters(facts->pipeline)) {
        text_clear(&create);
        text_add(&create, "the statements that outboxd check prints under \"sql\";");
    }
    return publication_is_not_there(facts, create.data, say);
}

static bool is_there(const Facts *facts)
{
    return *facts_value(facts, "publication_oid") != '\0';
}

static bool tables_are_not_published(const Facts *facts, Saying *say)
{
    AUTO_TEXT name = first_sql(facts);
    AUTO_SOME all = some_read(facts, "mapped_absent");
    AUTO_SOME usable = some_read(facts, "mapped_absent_usable");
    AUTO_SOME unusable = some_read(facts, "mapped_absent_unusable");
    text_printf(&say->message, "publication \"%s\" does not publish ",
                facts->pipeline->wal.publication);
    some_add(&all, &say->message);
    text_add(&say->message, ": no change of it is captured");
    if (usable.count > 0) {
        text_printf(&say->remedy, "ALTER PUBLICATION %s ADD TABLE ", name);
        some_add_sql(&usable, "ONLY ", &say->remedy);
        text_add(&say->remedy, unusable.count > 0 ? "; " : ";");
    }
    if (unusable.count > 0) {
        add_to_second(facts, &unusable, &say->remedy);
    }
    if (all.count > usable.count + unusable.count) {
        add_reference(&say->remedy);
    }
    return is_there(facts) && all.count > 0;
}

static bool changes_are_refused(const Facts *facts, Saying *say)
{
    AUTO_SOME some = some_read(facts, "mapped_refused");
    text_printf(&say->message, "PostgreSQL refuses every UPDATE and DELETE of the application in ");
    some_add(&some, &say->message);
    text_printf(&say->message,
                ": publication \"%s\" publishes updates or deletes, and the table has no usable "
                "replica identity",
                facts->pipeline->wal.publication);
    text_add(&say->remedy, "Give it a primary key, or run: ALTER TABLE ");
    text_printf(&say->remedy, "%s REPLICA IDENTITY FULL;",
                some.count == 1 ? some.names[0] : "... (each)");
    if (!facts_say(facts, "mapped_refused_wide")) {
        text_add(&say->remedy, " or capture only inserts: ");
        add_move(facts, &some, &say->remedy);
    }
    return some.count > 0;
}

static bool filter_is_uncovered(const Facts *facts, Saying *say)
{
    AUTO_SOME some = some_read(facts, "mapped_uncovered");
    text_add(&say->message, "PostgreSQL refuses every UPDATE and DELETE of the application in ");
    for (size_t i = 0; i < some.shown; i++) {
        char *columns = some.names[i];
        const char *table = strsep(&columns, "\037");
        text_printf(&say->message, "%s%s (%s)", i > 0 ? ", " : "", table,
                    columns != NULL ? columns : "?");
    }
    some_add_rest(&some, false, &say->message);
    text_printf(&say->message,
                ": the row filter in publication \"%s\" uses these columns, which are not part of "
                "the replica identity",
                facts->pipeline->wal.publication);
    text_printf(&say->remedy,
                "ALTER TABLE %s REPLICA IDENTITY FULL; or REPLICA IDENTITY USING INDEX with a "
                "unique index that contains these columns",
                some.count == 1 ? some.names[0] : "... (each)");
    return some.count > 0;
}

static bool operations_are_not_sent(const Facts *facts, Saying *say)
{
    AUTO_SOME some = some_read(facts, "mapped_unsent");
    AUTO_TEXT first = first_sql(facts);
    text_printf(&say->message,
                "publication \"%s\" does not publish all operations that the mappings capture of ",
                facts->pipeline->wal.publication);
    some_add(&some, &say->message);
    text_printf(
        &say->remedy,
        "If every table of the publication has a replica identity, run: ALTER PUBLICATION "
        "%s SET (publish = 'insert, update, delete, truncate'); else PostgreSQL would "
        "refuse updates and deletes of the others. Or name in operations what is published.",
        first);
    return some.count > 0;
}

static bool changes_are_not_captured(const Facts *facts, Saying *say)
{
    AUTO_SOME some = some_read(facts, "mapped_inserts_only");
    text_add(&say->message, "updates and deletes of ");
    some_add(&some, &say->message);
    text_add(&say->message,
             " are not captured: without a replica identity, PostgreSQL would refuse "
             "them if they were published");
    text_printf(&say->remedy,
                "Give it a primary key, or run: ALTER TABLE %s REPLICA IDENTITY FULL; then: ",
                some.count == 1 ? some.names[0] : "... (each)");
    add_to_first(facts, &some, &say->remedy);
    return some.count > 0;
}

static bool changes_could_be_captured(const Facts *facts, Saying *say)
{
    AUTO_SOME some = some_read(facts, "mapped_could_change");
    AUTO_TEXT second = mapped_second_publication(facts->pipeline);
    text_add(&say->message, "updates and deletes of ");
    some_add(&some, &say->message);
    text_printf(&say->message,
                " are not captured: the table has a replica identity, but only publication \"%s\" "
                "publishes it",
                second);
    add_to_first(facts, &some, &say->remedy);
    return some.count > 0;
}

/* Put in again without it, in one transaction: no change is missed, which nobody can prove.
 * What tells of each table in which publication that is comes off its name. */
static void add_renewal(const Facts *facts, Some *some, Text *sql)
{
    AUTO_TEXT first = first_sql(facts);
    AUTO_TEXT second = second_sql(facts);
    text_add(sql, "BEGIN;");
    for (size_t i = 0; i < some->shown; i++) {
        char *rest = some->names[i];
        const char *table = strsep(&rest, "\037");
        const char *publication = rest != NULL && *rest == 't' ? first : second;
        text_printf(sql,
                    " ALTER PUBLICATION %s DROP TABLE ONLY %s; ALTER PUBLICATION %s ADD TABLE ONLY "
                    "%s;",
                    publication, table, publication, table);
    }
    some_add_rest(some, true, sql);
    text_add(sql, " COMMIT; " MAPPED_RENEWAL_IS_GAP);
}

static bool columns_are_listed(const Facts *facts, Saying *say)
{
    AUTO_SOME some = some_read(facts, "mapped_listed");
    add_renewal(facts, &some, &say->remedy);
    text_add(&say->message, "a column list of the publication hides columns of ");
    some_add(&some, &say->message);
    text_add(&say->message, " and prevents DROP COLUMN; outboxd selects columns itself");
    return some.count > 0;
}

static bool rows_are_filtered(const Facts *facts, Saying *say)
{
    AUTO_SOME some = some_read(facts, "mapped_filtered");
    add_renewal(facts, &some, &say->remedy);
    text_add(&say->message, "a row filter of the publication hides rows of ");
    some_add(&some, &say->message);
    text_add(&say->message, ", and the mapping has no filter");
    return some.count > 0;
}

static bool partitions_are_published_alone(const Facts *facts, Saying *say)
{
    AUTO_SOME some = some_read(facts, "mapped_by_parts");
    AUTO_TEXT first = first_sql(facts);
    text_printf(&say->message,
                "publication \"%s\" publishes rows under the names of their partitions, so nothing "
                "comes under the name of ",
                facts->pipeline->wal.publication);
    some_add(&some, &say->message);
    text_printf(&say->remedy, "ALTER PUBLICATION %s SET (publish_via_partition_root = true);",
                first);
    return some.count > 0;
}

static bool tables_are_not_in_log(const Facts *facts, Saying *say)
{
    AUTO_SOME some = some_read(facts, "mapped_unlogged");
    some_add(&some, &say->message);
    text_printf(&say->message,
                "%s unlogged: the WAL does not contain changes of it, and only a "
                "snapshot has its rows",
                some.count == 1 ? " is" : " are");
    text_printf(&say->remedy, "ALTER TABLE %s SET LOGGED; or remove it from mappings",
                some.count == 1 ? some.names[0] : "... (each)");
    return some.count > 0;
}

static bool partitions_are_foreign(const Facts *facts, Saying *say)
{
    AUTO_SOME some = some_read(facts, "mapped_foreign");
    text_add(&say->message, "a partition of ");
    some_add(&some, &say->message);
    text_add(&say->message, " is a foreign table: the WAL of this server does not contain changes "
                            "of it");
    text_add(&say->remedy, "Detach it, and capture it where it is stored.");
    return some.count > 0;
}

/* What a snapshot may read, and whoever reads rows again. The stream needs none of it. */

static bool tables_are_unreadable(const Facts *facts, Saying *say)
{
    AUTO_SOME some = some_read(facts, "mapped_unreadable");
    const char *closed = facts_value(facts, "mapped_closed");
    const char *reader = mapped_reader(facts->pipeline);
    if (reader == NULL) {
        return false;
    }
    text_printf(&say->message, "role %s may not SELECT ", facts->role);
    some_add(&some, &say->message);
    text_printf(&say->message, ", which %s needs", reader);
    if (*closed != '\0') {
        text_printf(&say->remedy, "GRANT USAGE ON SCHEMA %s TO %s; ", closed, facts->role);
    }
    text_add(&say->remedy, "GRANT SELECT ON ");
    some_add_sql(&some, "", &say->remedy);
    text_printf(&say->remedy, " TO %s;", facts->role);
    return some.count > 0;
}

static bool rows_are_hidden_from_reader(const Facts *facts, Saying *say)
{
    AUTO_SOME some = some_read(facts, "mapped_hidden");
    AUTO_SOME forced = some_read(facts, "mapped_forced");
    const char *reader = mapped_reader(facts->pipeline);
    if (reader == NULL) {
        return false;
    }
    text_add(&say->message, "row-level security hides rows of ");
    some_add(&some, &say->message);
    text_printf(&say->message,
                " from role %s, or may do so when a policy changes: %s would lack them, "
                "while the stream contains all rows",
                facts->role, reader);
    if (forced.count > 0) {
        text_printf(&say->remedy, "ALTER TABLE %s NO FORCE ROW LEVEL SECURITY;",
                    forced.count == 1 ? forced.names[0] : "... (each)");
    }
    if (forced.count < some.count) {
        text_printf(&say->remedy, "%sALTER ROLE %s BYPASSRLS;", forced.count > 0 ? " " : "",
                    facts->role);
    }
    return some.count > 0;
}

const Precondition PRECONDITIONS_MAPPED[] = {
    {CODE_MAPPED_FILTER, FOR_TABLES | BY_ALL, false, NULL, filters_are_unknown},
    {CODE_MAPPED_NO_TABLE, FOR_TABLES | BY_ALL | OTHERS_GO_ON, false, "mapped.mapped_nameless",
     mapping_means_nothing},
    {CODE_MAPPED_NO_TABLE, FOR_TABLES | BY_ALL | OTHERS_GO_ON, false, "mapped.mapped_private",
     mapping_means_what_is_never_read},
    {CODE_TABLE_KIND, FOR_TABLES | BY_ALL | OTHERS_GO_ON, false, "mapped.mapped_kinds",
     mapping_means_no_table},
    {CODE_MAPPED_NO_MATCH, FOR_TABLES | BY_ALL, true, "mapped.mapped_unmatched",
     pattern_matches_nothing},
    {CODE_MAPPED_NO_COLUMN, FOR_TABLES | BY_ALL | OTHERS_GO_ON, false, "mapped.mapped_columnless",
     column_is_in_no_table},
    {CODE_MAPPED_TWICE, FOR_TABLES | BY_ALL | OTHERS_GO_ON, false, "mapped.mapped_twice",
     table_is_meant_twice},
    {CODE_MAPPED_PARTITION, FOR_TABLES | BY_ALL | FIRST, true, "mapped.mapped_parts",
     mapping_names_partition},
    {CODE_MAPPED_PARTITION, FOR_TABLES | BY_ALL | OTHERS_GO_ON, false, "mapped.mapped_under",
     rows_come_under_another_name},
    {CODE_PUBLICATION_MISSING, FOR_TABLES | BY_ALL, false,
     "mapped.publication_oid, mapped.mapped_second, mapped.may_create, mapped.mapped_absent_usable,"
     " mapped.mapped_absent_unusable",
     mapped_publication_is_missing},
    {CODE_MAPPED_NOT_PUBLISHED, FOR_TABLES | BY_ALL | OTHERS_GO_ON, false, "mapped.mapped_absent",
     tables_are_not_published},
    {CODE_PUBLICATION_IDENTITY, FOR_TABLES | BY_ALL | OTHERS_GO_ON, false,
     "mapped.mapped_refused, mapped.mapped_refused_wide", changes_are_refused},
    {CODE_PUBLICATION_IDENTITY, FOR_TABLES | BY_ALL | OTHERS_GO_ON, false,
     "mapped.mapped_uncovered", filter_is_uncovered},
    {CODE_MAPPED_OPERATIONS, FOR_TABLES | BY_ALL | OTHERS_GO_ON, false, "mapped.mapped_unsent",
     operations_are_not_sent},
    {CODE_MAPPED_INSERTS_ONLY, FOR_TABLES | BY_ALL | FIRST, true, "mapped.mapped_inserts_only",
     changes_are_not_captured},
    {CODE_MAPPED_INSERTS_ONLY, FOR_TABLES | BY_ALL | FIRST, true, "mapped.mapped_could_change",
     changes_could_be_captured},
    {CODE_PUBLICATION_INCOMPLETE, FOR_TABLES | BY_ALL | OTHERS_GO_ON, false, "mapped.mapped_listed",
     columns_are_listed},
    {CODE_PUBLICATION_INCOMPLETE, FOR_TABLES | BY_ALL | OTHERS_GO_ON, false,
     "mapped.mapped_filtered", rows_are_filtered},
    {CODE_PUBLICATION_INCOMPLETE, FOR_TABLES | BY_ALL | OTHERS_GO_ON, false,
     "mapped.mapped_by_parts", partitions_are_published_alone},
    {CODE_MAPPED_UNLOGGED, FOR_TABLES | BY_ALL | FIRST, true, "mapped.mapped_unlogged",
     tables_are_not_in_log},
    {CODE_TABLE_FOREIGN_PART, FOR_TABLES | BY_ALL | FIRST, true, "mapped.mapped_foreign",
     partitions_are_foreign},
    {CODE_RIGHT_SELECT, FOR_TABLES | BY_ALL | OTHERS_GO_ON, false,
     "mapped.mapped_unreadable, mapped.mapped_closed", tables_are_unreadable},
    {CODE_ROW_SECURITY, FOR_TABLES | BY_ALL | OTHERS_GO_ON, false,
     "mapped.mapped_hidden, mapped.mapped_forced", rows_are_hidden_from_reader},
};
const size_t PRECONDITIONS_MAPPED_COUNT = sizeof(PRECONDITIONS_MAPPED) / sizeof(Precondition);
