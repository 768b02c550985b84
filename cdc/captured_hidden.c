#include "cdc/captured_hidden.h"

#include <string.h>

#include "rows/mapped_name.h"

typedef struct Missing {
    const ChangeTable *table;
    const ChangeTableFacts *facts; /* NULL: none */
    const char *option;            /* the first list with a column that is missing; NULL: none */
    const char *column;
} Missing;

static bool is_named(const char *name, const char *column)
{
    return name != NULL && strcmp(name, column) == 0;
}

static bool has_column(const Missing *missing, const char *column)
{
    bool has = false;
    for (size_t i = 0; i < missing->table->count; i++) {
        has = has || is_named(missing->table->columns[i].name, column);
    }
    for (size_t i = 0; missing->facts != NULL && i < missing->facts->columns.count; i++) {
        const ChangeColumnFacts *facts = &missing->facts->columns.items[i];
        has = has || is_named(facts->name, column) || is_named(facts->alias, column);
    }
    return has;
}

/* A column that is not in the list of those that are shown is shown under no name. */
static void see_column(void *arg, const char *option, const char *column)
{
    Missing *missing = arg;
    if (missing->option == NULL && strcmp(option, "columns") != 0 && !has_column(missing, column)) {
        missing->option = option;
        missing->column = column;
    }
}

static bool names_one_table(const MappingConfig *mapping)
{
    MappedName name = {0};
    bool one = mapped_name_read(mapping->table, &name) && !name.schema.is_pattern &&
               !name.table.is_pattern;
    mapped_name_clear(&name);
    return one;
}

Status captured_hidden_judge(const MappingConfig *mapping, const ChangeTable *table,
                             const ChangeCatalog *catalog, Error *err)
{
    Missing missing = {.table = table, .facts = change_catalog_table(catalog, table->oid)};
    if (names_one_table(mapping)) {
        mapping_each_column(mapping, see_column, &missing);
    }
    if (missing.option == NULL) {
        return OK;
    }
    error_set(err, CODE_MAPPING_COLUMN,
              "mapping '%s', table '%s': %s names column '%s', which the table does not have any "
              "more: under another name it would be published as it is",
              mapping->table, table->name, missing.option, missing.column);
    return error_hint(err,
                      "If the column was renamed, give its new name in %s; if it was dropped, "
                      "remove it there. Then start the relay again: nothing is lost.",
                      missing.option);
}
