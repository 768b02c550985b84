#include "rows/mapped.h"

#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "pg/result.h"

bool mapped_is(const PGresult *result)
{
    return PQresultStatus(result) == PGRES_TUPLES_OK && PQfnumber(result, "mapped_oid") >= 0;
}

static void filter_free(MappedFilter *filter)
{
    for (size_t i = 0; filter != NULL && i < MAPPED_PUBLICATIONS; i++) {
        free(filter->has[i]);
    }
    free(filter != NULL ? filter->columns : NULL);
    free(filter);
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
    filter_free(table->filter);
    free(table->columns);
}

MappedFit mapped_fit(const MappedTable *table)
{
    return table->filter != NULL ? table->filter->fit : MAPPED_FITS;
}

const char *mapped_filter_of(const MappingConfig *mapping)
{
    return mapping->filter != NULL && *mapping->filter != '\0' ? mapping->filter : NULL;
}

const char *mapped_row_filter(const PipelineConfig *pipeline, const MappedTable *table)
{
    for (size_t i = 0; table->filter != NULL && i < MAPPED_PUBLICATIONS; i++) {
        if (table->filter->has[i] != NULL) {
            return table->filter->has[i];
        }
    }
    return mapped_filter_of(&pipeline->tables.mappings[table->mapping]);
}

bool mapped_has_filters(const PipelineConfig *pipeline)
{
    for (size_t i = 0; i < pipeline->tables.mapping_count; i++) {
        if (mapped_filter_of(&pipeline->tables.mappings[i]) != NULL) {
            return true;
        }
    }
    return false;
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

const char *mapped_reader(const PipelineConfig *pipeline)
{
    const TablesConfig *tables = &pipeline->tables;
    return tables->snapshot != SNAPSHOT_MODE_NEVER ? "a snapshot"
           : tables->toast == TOAST_RESELECT       ? "toast = \"reselect\""
                                                   : NULL;
}

bool mapped_wants_changes(const MappingConfig *mapping)
{
    return (mapping->operations & (OPERATION_UPDATE | OPERATION_DELETE)) != 0;
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

/* Not asked, or NULL: NULL. */
static char *field_asked(const PGresult *result, int row, const char *name)
{
    return PQfnumber(result, name) >= 0 ? field_copy(result, row, name) : NULL;
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

static unsigned read_sends(const PGresult *result, int row)
{
    static const char *const NAMES[] = {"inserts", "updates", "deletes", "truncates"};
    unsigned sends = 0;
    for (size_t i = 0; i < sizeof(NAMES) / sizeof(NAMES[0]); i++) { /* in the order of the bits */
        sends |= field_says(result, row, NAMES[i]) ? 1U << i : 0;
    }
    return sends;
}

static MappedFilter *read_filter(const PGresult *result, int row)
{
    if (!field_says(result, row, "has_filter")) {
        return NULL;
    }
    MappedFilter *filter = x_calloc(1, sizeof(*filter));
    *filter = (MappedFilter){.has = {field_asked(result, row, "first_filter"),
                                     field_asked(result, row, "second_filter")},
                             .columns = field_asked(result, row, "filter_columns"),
                             .fit = MAPPED_UNASKED,
                             .listed = field_says(result, row, "listed")};
    return filter;
}

static void read_table(const PGresult *result, int row, MappedTable *ret)
{
    *ret = (MappedTable){
        .oid = (uint32_t)strtoul(pg_needed_field(result, row, "mapped_oid"), NULL, 10),
        .schema = x_strdup(pg_needed_field(result, row, "schema")),
        .name = x_strdup(pg_needed_field(result, row, "name")),
        .sql = x_strdup(pg_needed_field(result, row, "sql")),
        .mapping = strtoul(pg_needed_field(result, row, "mapping"), NULL, 10),
        .by_pattern = field_says(result, row, "by_pattern"),
        .identity = *pg_needed_field(result, row, "identity"),
        .usable = field_says(result, row, "usable"),
        .logged = field_says(result, row, "logged"),
        .sends = read_sends(result, row),
        .under = field_copy(result, row, "under"),
        .selects = field_says(result, row, "selects"),
        .hidden = field_says(result, row, "hidden"),
        .entries = {field_copy(result, row, "first_entry"),
                    field_copy(result, row, "second_entry")},
        .filter = read_filter(result, row),
        .columns = field_asked(result, row, "named_columns"),
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

uint16_t mapped_column_next(const char **at, Slice *ret_name)
{
    if (*at == NULL || **at == '\0') {
        return 0;
    }
    char *name = NULL;
    uint16_t number = (uint16_t)strtoul(*at, &name, 10);
    name += *name != '\0';
    *ret_name = (Slice){.data = name, .length = strcspn(name, "\x1e")};
    *at = name + ret_name->length;
    *at += **at != '\0';
    return number;
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
