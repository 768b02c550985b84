#include "rows/mapped.h"

#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "pg/result.h"

bool mapped_is(const PGresult *result)
{
    return PQresultStatus(result) == PGRES_TUPLES_OK && PQfnumber(result, "mapped_oid") >= 0;
}

static void table_clear(MappedTable *table)
{
    free(table->schema);
    free(table->name);
    free(table->sql);
    free(table->under);
    for (size_t i = 0; i < MAPPED_PUBLICATIONS; i++) {
        free(table->entries[i]);
    }
}

void mapped_clear(Mapped *mapped)
{
    for (size_t i = 0; i < mapped->tables.count; i++) {
        table_clear(&mapped->tables.items[i]);
    }
    vec_free(&mapped->tables);
    vec_free(&mapped->places);
    for (size_t i = 0; i < MAPPED_PUBLICATIONS; i++) {
        free(mapped->publications[i].identity);
    }
    *mapped = (Mapped){0};
}

static bool field_says(const PGresult *result, int row, const char *name)
{
    return *pg_needed_field(result, row, name) == 't';
}

/* NULL, or not asked: NULL. */
static char *field_copy(const PGresult *result, int row, const char *name)
{
    const char *value = pg_field_or_null(result, row, name);
    return value != NULL ? x_strdup(value) : NULL;
}

static int64_t field_number(const PGresult *result, int row, const char *name)
{
    const char *value = pg_field(result, row, name);
    return *value != '\0' ? strtoll(value, NULL, 10) : -1;
}

static void read_publication(const PGresult *result, const char *identity, const char *operations,
                             MappedPublication *ret)
{
    static const char LETTERS[] = "iudt"; /* in the order of the bits OPERATION_ */
    ret->identity = field_copy(result, 0, identity);
    for (const char *c = pg_field(result, 0, operations); *c != '\0'; c++) {
        const char *letter = strchr(LETTERS, *c);
        ret->operations |= letter != NULL ? 1U << (letter - LETTERS) : 0;
    }
}

static void read_table(const PGresult *result, int row, MappedTable *ret)
{
    *ret = (MappedTable){
        .oid = (uint32_t)strtoul(pg_needed_field(result, row, "mapped_oid"), NULL, 10),
        .schema = x_strdup(pg_needed_field(result, row, "schema")),
        .name = x_strdup(pg_needed_field(result, row, "name")),
        .sql = x_strdup(pg_needed_field(result, row, "sql")),
        .mapping = strtoul(pg_needed_field(result, row, "mapping"), NULL, 10),
        .identity = *pg_needed_field(result, row, "identity"),
        .usable = field_says(result, row, "usable"),
        .logged = field_says(result, row, "logged"),
        .inserts = field_says(result, row, "inserts"),
        .under = field_copy(result, row, "under"),
        .selects = field_says(result, row, "selects"),
        .hidden = field_says(result, row, "hidden"),
        .entries = {field_copy(result, row, "first_entry"),
                    field_copy(result, row, "second_entry")},
        .rows = field_number(result, row, "rows"),
        .bytes = field_number(result, row, "bytes"),
    };
}

static int places_compare(const void *a, const void *b)
{
    uint32_t left = ((const MappedPlace *)a)->oid;
    uint32_t right = ((const MappedPlace *)b)->oid;
    return (left > right) - (left < right);
}

Status mapped_read(const PGresult *result, Mapped *ret, Error *err)
{
    if (!mapped_is(result)) {
        return error_set(err, CODE_PG_PROTOCOL, "the server did not say which tables are mapped");
    }
    Mapped mapped = {0};
    pg_result_begin();
    for (int row = 0; row < PQntuples(result); row++) {
        read_table(result, row, vec_add(&mapped.tables));
        *vec_add(&mapped.places) =
            (MappedPlace){.oid = mapped.tables.items[row].oid, .at = (size_t)row};
    }
    if (mapped.places.count > 0) {
        qsort(mapped.places.items, mapped.places.count, sizeof(MappedPlace), places_compare);
        read_publication(result, "first_identity", "first_operations",
                         &mapped.publications[MAPPED_FIRST]);
        read_publication(result, "second_identity", "second_operations",
                         &mapped.publications[MAPPED_SECOND]);
    }
    if (pg_result_end("mapped tables", err) != OK) {
        mapped_clear(&mapped);
        return FAILED;
    }
    mapped_clear(ret);
    *ret = mapped;
    return OK;
}

const MappedTable *mapped_find(const Mapped *mapped, uint32_t oid)
{
    MappedPlace wanted = {.oid = oid};
    const MappedPlace *place = mapped->places.count == 0
                                   ? NULL
                                   : bsearch(&wanted, mapped->places.items, mapped->places.count,
                                             sizeof(MappedPlace), places_compare);
    return place != NULL ? &mapped->tables.items[place->at] : NULL;
}
