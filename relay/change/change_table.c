#include "change/change_table.h"

#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "change/change_default.h"
#include "change/change_envelope.h"
#include "change/change_field.h"
#include "change/change_json.h"
#include "change/change_mapping.h"

/* As Debezium's ByLogicalTableRouter names it. */
#define KEY_TABLE "__dbz__physicalTableIdentifier"

static char *json_of(const char *text)
{
    AUTO_BUFFER json = TEXT_EMPTY;
    (void)change_json_string(&json, slice_of(text));
    return x_strdup(text_string(&json));
}

/* The name between the quotes that are a part of it; NULL: there are none. */
static char *unquoted(const char *name)
{
    size_t length = strlen(name);
    if (length < 2 || name[0] != '"' || name[length - 1] != '"') {
        return NULL;
    }
    return x_strndup(name + 1, length - 2);
}

static bool has_column(const ChangeRelation *relation, const char *name)
{
    for (size_t i = 0; i < relation->count; i++) {
        if (slice_equal(relation->columns[i].name, slice_of(name))) {
            return true;
        }
    }
    return false;
}

/* Debezium takes quotes that are a part of the name for those around it; they stay where another
 * column has that name, which is where Debezium stops. */
static char *member_of(const ChangeRelation *relation, const char *name)
{
    AUTO_TEXT inner = unquoted(name);
    AUTO_TEXT json = json_of(inner != NULL && !has_column(relation, inner) ? inner : name);
    return x_format(",%s:", json);
}

static const ChangeColumnFacts *facts_of(const ChangeTableFacts *table, Slice name)
{
    for (size_t i = 0; i < table->columns.count; i++) {
        if (slice_equal(slice_of(table->columns.items[i].name), name)) {
            return &table->columns.items[i];
        }
    }
    return NULL;
}

/* A table on its way, and what it is made from. */
typedef struct Making {
    const ChangeTables *tables;
    const MappingConfig *mapping;
    const ChangeRelation *relation;
    const ChangeTableFacts *facts;
    ChangeOut *out;
    ChangeTable *table;
    char *base; /* prefix.schema.table: of the names of schemas */
} Making;

static char *shown_as(const ChangeRedact *redact, const char *json, ChangeOut *out)
{
    return redact->kind != REDACT_NONE ? change_redact_constant(redact, json, out) : x_strdup(json);
}

static void set_constants(ChangeTableColumn *column, ChangeOut *out)
{
    const char *null = column->fallback != NULL ? column->fallback : column->type->zero;
    bool masked = column->redact.kind == REDACT_MASK;
    if (column->optional && !masked) {
        /* the converter puts the default where there is none, behind all that redacts */
        column->null = x_strdup(column->fallback != NULL ? column->fallback : "null");
    } else {
        column->null = shown_as(&column->redact, null, out);
    }
    if (column->type->unchanged != NULL) {
        column->unchanged = shown_as(&column->redact, column->type->unchanged, out);
    } else if (column->optional || column->fallback != NULL) {
        column->unchanged = x_strdup(column->null);
    }
}

/* A name by which a mapping may mean a column: its own, or one of another time. */
static Status redact_by(const Making *making, size_t at, const ChangeAlias *name, Error *err)
{
    const MappingConfig *mapping = making->mapping;
    const ChangeColumn *given = &making->relation->columns[at];
    ChangeTableColumn *column = &making->table->columns[at];
    column->shown = column->shown || (name->certain && change_mapping_shows(mapping, name->name));
    if (column->redact.kind != REDACT_NONE) {
        return OK;
    }
    const ChangeRedactColumn redacted = {
        .table = making->table->name,
        .name = name->name,
        .type = column->type,
        .length = change_type_length(making->tables->catalog, given->type, given->modifier)};
    return change_mapping_redact(mapping, &redacted, &column->redact, err);
}

/* What was to be hidden stays hidden: by each of its names, also one that is not certain. */
static Status redact_column(const Making *making, size_t at, const ChangeColumnFacts *facts,
                            Error *err)
{
    ChangeTableColumn *column = &making->table->columns[at];
    const size_t aliases = facts != NULL ? facts->aliases.count : 0;
    bool excluded = change_mapping_excludes(making->mapping, column->name);
    for (size_t i = 0; i < aliases; i++) {
        excluded =
            excluded || change_mapping_excludes(making->mapping, facts->aliases.items[i].name);
    }
    column->shown = false;
    for (size_t i = 0; i <= aliases && !excluded; i++) {
        const ChangeAlias own = {.name = column->name, .certain = true};
        const ChangeAlias *name = i == 0 ? &own : &facts->aliases.items[i - 1];
        AUTO_ERROR why = {0};
        if (redact_by(making, at, name, name->certain ? err : &why) == OK) {
            continue;
        }
        if (name->certain) {
            return FAILED;
        }
        excluded = true; /* it cannot be hidden otherwise */
    }
    column->shown = column->shown && !excluded;
    return OK;
}

static Status make_column(const Making *making, size_t at, Error *err)
{
    const ChangeCatalog *catalog = making->tables->catalog;
    const ChangeColumn *given = &making->relation->columns[at];
    const ChangeColumnFacts *facts = facts_of(making->facts, given->name);
    ChangeTableColumn *column = &making->table->columns[at];
    column->name = x_strndup(given->name.data, given->name.length);
    column->type_oid = given->type;
    column->member = member_of(making->relation, column->name);
    column->member_length = strlen(column->member);
    column->type = change_type_new(catalog, making->tables->modes, given->type, given->modifier);
    column->optional = facts == NULL || !facts->not_null;
    column->in_key = facts != NULL ? facts->in_key : 0;
    if (column->type == NULL) {
        return OK;
    }
    const ChangeTypeFacts *type = change_catalog_type(catalog, given->type);
    if (facts != NULL && facts->fallback != NULL) {
        column->fallback =
            change_default_read(column->type, given->type, type != NULL && type->kind == 'e',
                                facts->fallback, making->out);
    }
    if (redact_column(making, at, facts, err) != OK) {
        return FAILED;
    }
    set_constants(column, making->out);
    return OK;
}

/* The key that the table has by itself: in_key becomes an order. */
static void find_key(ChangeTable *table)
{
    for (size_t i = 0; i < table->count; i++) {
        const ChangeTableColumn *column = &table->columns[i];
        if (column->in_key == 0 || column->type == NULL) {
            continue;
        }
        size_t at = table->key_count++;
        while (at > 0 && table->columns[table->key[at - 1]].in_key > column->in_key) {
            table->key[at] = table->key[at - 1];
            at--;
        }
        table->key[at] = (uint16_t)i;
    }
}

static Status refuse_key(const Making *making, const char *column, const char *reason, Error *err)
{
    error_set(err, CODE_MAPPING_COLUMN,
              "mapping '%s', table '%s': column '%s' cannot be in the "
              "key: %s",
              making->mapping->table, making->table->name, column, reason);
    return error_hint(err, "Name other columns with key, or give this table a mapping of its own.");
}

static bool is_called(const Making *making, size_t at, const char *name)
{
    const char *own = making->table->columns[at].name;
    const ChangeColumnFacts *facts = facts_of(making->facts, slice_of(own));
    bool called = strcmp(own, name) == 0;
    for (size_t i = 0; facts != NULL && i < facts->aliases.count; i++) {
        const ChangeAlias *alias = &facts->aliases.items[i];
        called = called || (alias->certain && strcmp(alias->name, name) == 0);
    }
    return called;
}

/* The columns that the mapping names, in its order. */
static Status name_key(const Making *making, Error *err)
{
    ChangeTable *table = making->table;
    const StringList *names = &making->mapping->key;
    for (size_t i = 0; i < names->count; i++) {
        size_t at = 0;
        while (at < table->count && !is_called(making, at, names->items[i])) {
            at++;
        }
        if (at == table->count) {
            return refuse_key(making, names->items[i], "rows of the table do not have it", err);
        }
        if (table->columns[at].type == NULL) {
            return refuse_key(making, names->items[i],
                              "its type is in no record (unknown_types = \"omit\")", err);
        }
        table->key[table->key_count++] = (uint16_t)at;
    }
    return OK;
}

static Status make_key(const Making *making, Error *err)
{
    ChangeTable *table = making->table;
    const MappingConfig *mapping = making->mapping;
    bool named = mapping != NULL && mapping->key.count > 0;
    size_t most = (named ? mapping->key.count : table->count) + 1;
    table->key = x_calloc(most, sizeof(table->key[0]));
    if (!named) {
        find_key(table);
    } else if (name_key(making, err) != OK) {
        return FAILED;
    }
    for (size_t i = 0; mapping != NULL && i < table->key_count; i++) {
        const ChangeTableColumn *column = &table->columns[table->key[i]];
        if (change_mapping_excludes(mapping, column->name)) {
            return refuse_key(making, column->name, "exclude_columns keeps it out of records", err);
        }
        if (column->redact.kind != REDACT_NONE) {
            return refuse_key(making, column->name, "two rows with one text of it would become one",
                              err);
        }
    }
    AUTO_TEXT base = json_of(making->base);
    bool told = mapping != NULL && mapping->key_table && table->key_count > 0;
    table->key_table = told ? x_format(",\"" KEY_TABLE "\":%s", base) : x_strdup("");
    return OK;
}

static void add_field(const ChangeTableColumn *column, bool redacted, Text *out)
{
    AUTO_BUFFER parameter = TEXT_EMPTY;
    change_redact_parameter(redacted ? &column->redact : &(ChangeRedact){0}, &parameter);
    AUTO_TEXT name = x_strndup(column->member + 1, column->member_length - 2);
    change_field_write(column->type,
                       &(ChangeField){.optional = column->optional,
                                      .parameter = text_string(&parameter),
                                      .fallback = column->fallback,
                                      .name = name},
                       out);
}

static void add_key_schema(const Making *making, Text *out)
{
    const ChangeTable *table = making->table;
    text_add(out, "{\"schema\":{\"type\":\"struct\",\"fields\":[");
    for (size_t i = 0; i < table->key_count; i++) {
        text_add(out, i > 0 ? "," : "");
        add_field(&table->columns[table->key[i]], false, out);
    }
    if (table->key_table[0] != '\0') {
        text_add(out, ",{\"type\":\"string\",\"optional\":false,\"field\":\"" KEY_TABLE "\"}");
    }
    text_add(out, "],\"optional\":false,\"name\":");
    AUTO_TEXT name = x_format("%s.Key", making->base);
    (void)change_json_string(out, slice_of(name));
    text_add(out, "},\"payload\":");
}

static void add_value_schema(const Making *making, Text *out)
{
    const ChangeTable *table = making->table;
    AUTO_BUFFER row = TEXT_EMPTY;
    bool first = true;
    text_add(&row, "{\"type\":\"struct\",\"fields\":[");
    for (size_t i = 0; i < table->count; i++) {
        if (table->columns[i].shown) {
            text_add(&row, first ? "" : ",");
            add_field(&table->columns[i], true, &row);
            first = false;
        }
    }
    text_add(&row, "],\"optional\":true,\"name\":");
    AUTO_TEXT value_name = x_format("%s.Value", making->base);
    (void)change_json_string(&row, slice_of(value_name));
    AUTO_TEXT envelope_name = x_format("%s.Envelope", making->base);
    AUTO_TEXT envelope = json_of(envelope_name);
    AUTO_BUFFER fields = TEXT_EMPTY;
    change_envelope_fields(&fields);
    text_printf(out,
                "{\"schema\":{\"type\":\"struct\",\"fields\":[%s,\"field\":\"before\"},%s,"
                "\"field\":\"after\"},%s],\"optional\":false,\"name\":%s,\"version\":2},"
                "\"payload\":",
                text_string(&row), text_string(&row), text_string(&fields), envelope);
}

static Status make_table(Making *making, Error *err)
{
    ChangeTable *table = making->table;
    const ChangeNames names = {.prefix = making->tables->prefix,
                               .database = making->tables->database,
                               .schema = making->facts->schema,
                               .table = making->facts->name};
    table->name = x_format("%s.%s", names.schema, names.table);
    if (change_mapping_topic(making->mapping, &names, &table->topic, err) != OK ||
        change_mapping_topic(NULL, &names, &making->base, err) != OK) {
        return FAILED;
    }
    for (size_t i = 0; i < table->count; i++) {
        if (make_column(making, i, err) != OK) {
            return FAILED;
        }
    }
    if (make_key(making, err) != OK) {
        return FAILED;
    }
    AUTO_TEXT schema = json_of(names.schema);
    AUTO_TEXT name = json_of(names.table);
    text_printf(&table->place, "\"schema\":%s,\"table\":%s", schema, name);
    bool schemas = (making->tables->modes->told & TOLD_SCHEMAS) != 0;
    if (schemas) {
        add_key_schema(making, &table->key_head);
        add_value_schema(making, &table->value_head);
    }
    return OK;
}

Status change_table_new(const ChangeTables *tables, const MappingConfig *mapping,
                        const ChangeRelation *relation, ChangeOut *out, ChangeTable **ret,
                        Error *err)
{
    const ChangeTableFacts *facts = change_catalog_table(tables->catalog, relation->oid);
    if (facts == NULL) {
        return error_set(err, CODE_CHANGE_SCHEMA_STALE,
                         "the catalog was not asked for the table with OID %u", relation->oid);
    }
    AUTO(ChangeTable, change_table_free)
    table = x_calloc(1, sizeof(*table));
    table->oid = relation->oid;
    table->count = relation->count;
    table->columns = x_calloc(relation->count + 1, sizeof(*table->columns));
    Making making = {.tables = tables,
                     .mapping = mapping,
                     .relation = relation,
                     .facts = facts,
                     .out = out,
                     .table = table};
    Status status = make_table(&making, err);
    free(making.base);
    if (status == OK) {
        *ret = table;
        table = NULL;
    }
    return status;
}

enum { GENERATED_MAY_COME = 180000 }; /* publish_generated_columns */

Status change_table_of_catalog(const ChangeTables *tables, const MappingConfig *mapping,
                               uint32_t oid, int server_version, ChangeTable **ret, Error *err)
{
    const ChangeTableFacts *facts = change_catalog_table(tables->catalog, oid);
    size_t most = facts != NULL ? facts->columns.count : 0;
    ChangeColumn *columns = x_calloc(most + 1, sizeof(*columns));
    ChangeRelation relation = {.oid = oid, .columns = columns};
    for (size_t i = 0; i < most; i++) {
        const ChangeColumnFacts *column = &facts->columns.items[i];
        if (!column->generated || server_version >= GENERATED_MAY_COME) {
            columns[relation.count++] =
                (ChangeColumn){slice_of(column->name), column->type, column->modifier};
        }
    }
    ChangeOut out = {0};
    Status status = change_table_new(tables, mapping, &relation, &out, ret, err);
    change_out_free(&out);
    free(columns);
    return status;
}

void change_table_free(ChangeTable **table)
{
    ChangeTable *old = *table;
    *table = NULL;
    if (old == NULL) {
        return;
    }
    if (old->holders > 0) {
        old->holders--;
        return;
    }
    for (size_t i = 0; i < old->count; i++) {
        free(old->columns[i].name);
        free(old->columns[i].member);
        free(old->columns[i].fallback);
        free(old->columns[i].null);
        free(old->columns[i].unchanged);
        change_redact_clear(&old->columns[i].redact);
        change_type_free(&old->columns[i].type);
    }
    free(old->columns);
    free(old->key);
    free(old->key_table);
    free(old->name);
    free(old->topic);
    text_free(&old->place);
    text_free(&old->key_head);
    text_free(&old->value_head);
    free(old);
}

ChangeTable *change_table_hold(ChangeTable *table)
{
    table->holders++;
    return table;
}
