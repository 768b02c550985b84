#include "change/change_catalog.h"

#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "pg/result.h"

const char CHANGE_CATALOG_TABLES[] =
#include "change/change_catalog_tables.inc"
    ;

const char CHANGE_CATALOG_TYPES[] =
#include "change/change_catalog_used.inc"
    ""
#include "change/change_catalog_types.inc"
    ;

const char CHANGE_CATALOG_TYPES_BY_OID[] =
    "WITH RECURSIVE used (oid) AS (\n"
    "       SELECT DISTINCT u.oid FROM pg_catalog.unnest($1::pg_catalog.oid[]) AS u (oid)\n"
#include "change/change_catalog_types.inc"
    ;

enum TypesColumn {
    TYPE_OID,
    TYPE_SCHEMA,
    TYPE_NAME,
    TYPE_KIND,
    TYPE_BASE,
    TYPE_MODIFIER,
    TYPE_ELEMENT,
    TYPE_DELIMITER,
    TYPE_LABELS,
};

enum TablesColumn {
    TABLE_OID,
    TABLE_SCHEMA,
    TABLE_NAME,
    TABLE_IDENTITY,
    COLUMN_NUMBER,
    COLUMN_NAME,
    COLUMN_TYPE,
    COLUMN_MODIFIER,
    COLUMN_NOT_NULL,
    COLUMN_DEFAULT,
    COLUMN_IDENTITY,
    COLUMN_GENERATED,
    COLUMN_IN_KEY,
};

static uint32_t oid_at(const PGresult *result, int row, int column)
{
    return (uint32_t)strtoul(pg_needed(result, row, column), NULL, 10);
}

static void type_clear(ChangeTypeFacts *type)
{
    free(type->schema);
    free(type->name);
    free(type->labels);
}

static void table_clear(ChangeTableFacts *table)
{
    for (size_t i = 0; i < table->columns.count; i++) {
        free(table->columns.items[i].name);
        for (size_t j = 0; j < table->columns.items[i].aliases.count; j++) {
            free(table->columns.items[i].aliases.items[j].name);
        }
        vec_free(&table->columns.items[i].aliases);
        free(table->columns.items[i].fallback);
    }
    vec_free(&table->columns);
    free(table->schema);
    free(table->name);
}

void change_catalog_clear(ChangeCatalog *catalog)
{
    for (size_t i = 0; i < catalog->types.count; i++) {
        type_clear(&catalog->types.items[i]);
    }
    for (size_t i = 0; i < catalog->tables.count; i++) {
        table_clear(&catalog->tables.items[i]);
    }
    vec_free(&catalog->types);
    vec_free(&catalog->tables);
}

/* Where the item of that OID is, or would be; items begin with the OID. */
static size_t place_of(const void *items, size_t count, size_t size, uint32_t oid, bool *ret_found)
{
    size_t low = 0;
    while (low < count) {
        size_t middle = (low + count) / 2;
        uint32_t there = *(const uint32_t *)((const char *)items + middle * size);
        if (there == oid) {
            *ret_found = true;
            return middle;
        }
        if (there < oid) {
            low = middle + 1;
        } else {
            count = middle;
        }
    }
    *ret_found = false;
    return low;
}

const ChangeTypeFacts *change_catalog_type(const ChangeCatalog *catalog, uint32_t oid)
{
    bool found = false;
    size_t at =
        place_of(catalog->types.items, catalog->types.count, sizeof(ChangeTypeFacts), oid, &found);
    return found ? &catalog->types.items[at] : NULL;
}

const ChangeTableFacts *change_catalog_table(const ChangeCatalog *catalog, uint32_t oid)
{
    bool found = false;
    size_t at = place_of(catalog->tables.items, catalog->tables.count, sizeof(ChangeTableFacts),
                         oid, &found);
    return found ? &catalog->tables.items[at] : NULL;
}

Status change_catalog_read_types(ChangeCatalog *catalog, const PGresult *result, Error *err)
{
    pg_result_begin();
    for (int row = 0; row < PQntuples(result); row++) {
        ChangeTypeFacts type = {
            .oid = oid_at(result, row, TYPE_OID),
            .schema = x_strdup(pg_needed(result, row, TYPE_SCHEMA)),
            .name = x_strdup(pg_needed(result, row, TYPE_NAME)),
            .kind = pg_needed(result, row, TYPE_KIND)[0],
            .base = oid_at(result, row, TYPE_BASE),
            .modifier = (int32_t)strtol(pg_needed(result, row, TYPE_MODIFIER), NULL, 10),
            .element = oid_at(result, row, TYPE_ELEMENT),
            .delimiter = pg_needed(result, row, TYPE_DELIMITER)[0]};
        if (!pg_is_null(result, row, TYPE_LABELS)) {
            type.labels = x_strdup(pg_value(result, row, TYPE_LABELS));
        }
        bool found = false;
        size_t at =
            place_of(catalog->types.items, catalog->types.count, sizeof(type), type.oid, &found);
        if (found) {
            type_clear(&catalog->types.items[at]);
            catalog->types.items[at] = type;
        } else {
            *vec_insert(&catalog->types, at) = type;
        }
    }
    return pg_result_end("the types of the mapped tables", err);
}

ChangeTableFacts *change_catalog_put_table(ChangeCatalog *catalog, uint32_t oid, const char *schema,
                                           const char *name, char identity)
{
    bool found = false;
    size_t at = place_of(catalog->tables.items, catalog->tables.count, sizeof(ChangeTableFacts),
                         oid, &found);
    if (found) {
        table_clear(&catalog->tables.items[at]);
    } else {
        (void)vec_insert(&catalog->tables, at);
    }
    catalog->tables.items[at] = (ChangeTableFacts){
        .oid = oid, .schema = x_strdup(schema), .name = x_strdup(name), .identity = identity};
    return &catalog->tables.items[at];
}

ChangeTableFacts *change_catalog_edit(ChangeCatalog *catalog, uint32_t oid)
{
    bool found = false;
    size_t at = place_of(catalog->tables.items, catalog->tables.count, sizeof(ChangeTableFacts),
                         oid, &found);
    return found ? &catalog->tables.items[at] : NULL;
}

void change_column_alias(ChangeColumnFacts *column, Slice name, bool certain)
{
    for (size_t i = 0; i < column->aliases.count; i++) {
        ChangeAlias *known = &column->aliases.items[i];
        if (slice_equal(slice_of(known->name), name)) {
            known->certain = known->certain || certain;
            return;
        }
    }
    *vec_add(&column->aliases) =
        (ChangeAlias){.name = x_strndup(name.data, name.length), .certain = certain};
}

/* The table of a row: a new one, without columns, where the row is the first of it. */
static ChangeTableFacts *table_of(ChangeCatalog *catalog, const PGresult *result, int row)
{
    bool found = false;
    uint32_t oid = oid_at(result, row, TABLE_OID);
    size_t at = place_of(catalog->tables.items, catalog->tables.count, sizeof(ChangeTableFacts),
                         oid, &found);
    if (found && row > 0 && oid_at(result, row - 1, TABLE_OID) == oid) {
        return &catalog->tables.items[at];
    }
    return change_catalog_put_table(catalog, oid, pg_needed(result, row, TABLE_SCHEMA),
                                    pg_needed(result, row, TABLE_NAME),
                                    pg_needed(result, row, TABLE_IDENTITY)[0]);
}

Status change_catalog_read_tables(ChangeCatalog *catalog, const PGresult *result, Error *err)
{
    pg_result_begin();
    for (int row = 0; row < PQntuples(result); row++) {
        ChangeTableFacts *table = table_of(catalog, result, row);
        ChangeColumnFacts column = {
            .name = x_strdup(pg_needed(result, row, COLUMN_NAME)),
            .number = (uint16_t)oid_at(result, row, COLUMN_NUMBER),
            .type = oid_at(result, row, COLUMN_TYPE),
            .modifier = (int32_t)strtol(pg_needed(result, row, COLUMN_MODIFIER), NULL, 10),
            .not_null = pg_needed(result, row, COLUMN_NOT_NULL)[0] == 't',
            .generated = pg_value(result, row, COLUMN_GENERATED)[0] != '\0',
            .in_key = (uint16_t)oid_at(result, row, COLUMN_IN_KEY)};
        if (!pg_is_null(result, row, COLUMN_DEFAULT)) {
            column.fallback = x_strdup(pg_value(result, row, COLUMN_DEFAULT));
        }
        *vec_add(&table->columns) = column;
    }
    return pg_result_end("the columns of the mapped tables", err);
}
