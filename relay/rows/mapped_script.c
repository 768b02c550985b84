#include "rows/mapped_script.h"

#include <string.h>

#include "base/memory.h"
#include "pg/ident.h"

/* In which of them the table belongs, and is not. */
static bool belongs(const MappedTable *table, size_t publication)
{
    bool absent = table->entries[MAPPED_FIRST] == NULL && table->entries[MAPPED_SECOND] == NULL;
    return absent && table->logged && table->under == NULL &&
           table->usable == (publication == MAPPED_FIRST);
}

/* ONLY: else what inherits from it comes with it, whatever its replica identity is. */
static size_t add_absent(const Mapped *mapped, size_t publication, Text *script)
{
    size_t count = 0;
    for (size_t i = 0; i < mapped->tables.count; i++) {
        const MappedTable *table = &mapped->tables.items[i];
        if (belongs(table, publication)) {
            text_printf(script, "%sONLY %s", count++ > 0 ? ", " : "", table->sql);
        }
    }
    return count;
}

static void add_publication(const Mapped *mapped, size_t publication, const char *name,
                            Text *script)
{
    AUTO_BUFFER tables = TEXT_EMPTY;
    AUTO_TEXT quoted = ident_quote(name);
    bool first = publication == MAPPED_FIRST;
    bool any = mapped->tables.count > 0; /* else it is not told which there are */
    bool there = mapped->publications[publication].identity != NULL;
    size_t count = add_absent(mapped, publication, &tables);
    if (there && count > 0) {
        text_printf(script, "ALTER PUBLICATION %s ADD TABLE %s;\n", quoted, tables.data);
    } else if (!there && (first || any)) {
        text_printf(script,
                    "CREATE PUBLICATION %s%s%s WITH (%spublish_via_partition_root = true);\n",
                    quoted, count > 0 ? " FOR TABLE " : "", text_string(&tables),
                    first ? "" : "publish = 'insert, truncate', ");
    }
}

void mapped_script_add_publications(const PipelineConfig *pipeline, const Mapped *mapped,
                                    Text *script)
{
    AUTO_TEXT second = mapped_second_publication(pipeline);
    add_publication(mapped, MAPPED_FIRST, pipeline->wal.publication, script);
    add_publication(mapped, MAPPED_SECOND, second, script);
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
    if (pipeline->tables.snapshot != SNAPSHOT_MODE_NEVER) {
        add_grants(mapped, role, script);
    }
}
