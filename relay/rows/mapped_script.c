#include "rows/mapped_script.h"

#include <string.h>

#include "base/memory.h"
#include "pg/ident.h"

static const MappingConfig *mapping_of(const PipelineConfig *pipeline, const MappedTable *table)
{
    return &pipeline->tables.mappings[table->mapping];
}

/* Where updates and deletes of it may be published. */
static bool fits_first(const MappedTable *table)
{
    return table->usable && mapped_fit(table) == MAPPED_FITS;
}

/* A table with a replica identity that does not cover its filter belongs in neither, unless nobody
 * wants its updates and deletes. */
static bool fits_second(const PipelineConfig *pipeline, const MappedTable *table)
{
    MappedFit fit = mapped_fit(table);
    return (fit == MAPPED_FITS || fit == MAPPED_OUTSIDE) && !fits_first(table) &&
           (!table->usable || !mapped_wants_changes(mapping_of(pipeline, table)));
}

/* It belongs there, and is not. */
static bool is_missing(const PipelineConfig *pipeline, const MappedTable *table, size_t publication)
{
    if (!table->logged || table->under != NULL || table->entries[MAPPED_FIRST] != NULL) {
        return false;
    }
    bool absent = table->entries[MAPPED_SECOND] == NULL;
    if (publication == MAPPED_SECOND) {
        return absent && fits_second(pipeline, table);
    }
    return fits_first(table) && (absent || mapped_wants_changes(mapping_of(pipeline, table)));
}

/* ONLY: else what inherits from it comes with it, whatever its replica identity is. DROP TABLE says
 * it, too: else that leaves with it, or, where it is not there, the statement fails. */
static void add_table(const PipelineConfig *pipeline, const MappedTable *table, Text *script)
{
    const char *filter = mapped_filter_of(mapping_of(pipeline, table));
    text_printf(script, "ONLY %s", table->sql);
    if (filter != NULL) {
        text_printf(script, " WHERE (%s)", filter);
    }
}

static size_t add_missing(const PipelineConfig *pipeline, const Mapped *mapped, size_t publication,
                          Text *script)
{
    size_t count = 0;
    for (size_t i = 0; i < mapped->tables.count; i++) {
        const MappedTable *table = &mapped->tables.items[i];
        if (is_missing(pipeline, table, publication)) {
            text_add(script, count++ > 0 ? ", " : "");
            add_table(pipeline, table, script);
        }
    }
    return count;
}

static char *publication_name(const PipelineConfig *pipeline, size_t publication)
{
    return publication == MAPPED_FIRST ? x_strdup(pipeline->wal.publication)
                                       : mapped_second_publication(pipeline);
}

static void add_publication(const PipelineConfig *pipeline, const Mapped *mapped,
                            size_t publication, Text *script)
{
    AUTO_BUFFER tables = TEXT_EMPTY;
    AUTO_TEXT name = publication_name(pipeline, publication);
    AUTO_TEXT quoted = ident_quote(name);
    bool first = publication == MAPPED_FIRST;
    bool any = mapped->tables.count > 0; /* else it is not told which there are */
    bool there = mapped->publications[publication].identity != NULL;
    size_t count = add_missing(pipeline, mapped, publication, &tables);
    if (there && count > 0) {
        text_printf(script, "ALTER PUBLICATION %s ADD TABLE %s;\n", quoted, tables.data);
    } else if (!there && (first || any)) {
        text_printf(script,
                    "CREATE PUBLICATION %s%s%s WITH (%spublish_via_partition_root = true);\n",
                    quoted, count > 0 ? " FOR TABLE " : "", text_string(&tables),
                    first ? "" : "publish = 'insert, truncate', ");
    }
}

void mapped_script_add_renewal(const PipelineConfig *pipeline, const MappedTable *table,
                               size_t publication, Text *script)
{
    AUTO_TEXT name = publication_name(pipeline, publication);
    AUTO_TEXT quoted = ident_quote(name);
    text_printf(script,
                "BEGIN; ALTER PUBLICATION %s DROP TABLE ONLY %s; ALTER PUBLICATION %s ADD TABLE ",
                quoted, table->sql, quoted);
    add_table(pipeline, table, script);
    text_add(script, "; COMMIT;");
}

void mapped_script_add_publications(const PipelineConfig *pipeline, const Mapped *mapped,
                                    Text *script)
{
    add_publication(pipeline, mapped, MAPPED_FIRST, script);
    add_publication(pipeline, mapped, MAPPED_SECOND, script);
}

static void add_grants(const Mapped *mapped, const char *role, Text *script)
{
    bool hidden = false;
    const char *schema = "";
    for (size_t i = 0; i < mapped->tables.count; i++) { /* by schema */
        const MappedTable *table = &mapped->tables.items[i];
        hidden = hidden || table->hidden;
        if (table->selects) {
            continue;
        }
        if (strcmp(schema, table->schema) != 0) {
            schema = table->schema;
            AUTO_TEXT quoted = ident_quote(schema);
            text_printf(script, "GRANT USAGE ON SCHEMA %s TO %s;\n", quoted, role);
        }
        text_printf(script, "GRANT SELECT ON %s TO %s;\n", table->sql, role);
    }
    if (hidden) {
        text_printf(script, "ALTER ROLE %s BYPASSRLS;\n", role);
    }
}

void mapped_script_add(const PipelineConfig *pipeline, const Mapped *mapped, const char *role,
                       Text *script)
{
    mapped_script_add_publications(pipeline, mapped, script);
    if (mapped_reader(pipeline) != NULL) {
        add_grants(mapped, role, script);
    }
}
