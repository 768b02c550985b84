#include "change/change_table.h"

#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "base/utf8.h"
#include "change/change_default.h"
#include "change/change_envelope.h"
#include "change/change_json.h"
#include "change/change_value.h"
#include "flow/schema.h"

enum { TOPIC_MAX = 249 };

char *change_topic_name(const char *prefix, const char *schema, const char *table)
{
    AUTO_TEXT whole = x_format("%s.%s.%s", prefix, schema, table);
    AUTO_BUFFER topic = TEXT_EMPTY;
    size_t length = strlen(whole);
    for (size_t at = 0; at < length && topic.length < TOPIC_MAX;) {
        unsigned char c = (unsigned char)whole[at];
        size_t bytes = utf8_sequence(whole + at, length - at);
        if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
            c == '.' || c == '_' || c == '-') {
            text_add_char(&topic, (char)c);
        } else {
            text_add(&topic, bytes == 4 ? "__" : "_");
        }
        at += bytes > 0 ? bytes : 1;
    }
    return x_strdup(text_string(&topic));
}

static char *json_of(const char *text)
{
    AUTO_BUFFER json = TEXT_EMPTY;
    (void)change_json_string(&json, slice_of(text));
    return x_strdup(text_string(&json));
}

/* Debezium takes quotes that are a part of the name for those around it. */
static char *field_of(const char *name)
{
    size_t length = strlen(name);
    if (length < 2 || name[0] != '"' || name[length - 1] != '"') {
        return json_of(name);
    }
    AUTO_TEXT inner = x_strndup(name + 1, length - 2);
    return json_of(inner);
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

static void column_make(ChangeTableColumn *column, const ChangeCatalog *catalog,
                        const ChangeModes *modes, const ChangeColumn *given,
                        const ChangeColumnFacts *facts, ChangeOut *out)
{
    column->name = x_strndup(given->name.data, given->name.length);
    column->field = field_of(column->name);
    column->type = change_type_new(catalog, modes, given->type, given->modifier);
    column->optional = facts == NULL || !facts->not_null;
    column->in_key = facts != NULL ? facts->in_key : 0;
    if (column->type == NULL) {
        return;
    }
    const ChangeTypeFacts *type = change_catalog_type(catalog, given->type);
    if (facts != NULL && facts->fallback != NULL) {
        column->fallback = change_default_read(
            column->type, given->type, type != NULL && type->kind == 'e', facts->fallback, out);
    }
    column->null = column->fallback != NULL ? column->fallback
                   : column->optional       ? "null"
                                            : column->type->zero;
    column->unchanged = column->type->unchanged != NULL ? column->type->unchanged : column->null;
}

static void find_key(ChangeTable *table)
{
    table->key = x_calloc(table->count + 1, sizeof(table->key[0]));
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

static void add_field(const ChangeTableColumn *column, bool first, Text *out)
{
    if (!first) {
        text_add_char(out, ',');
    }
    change_type_schema(column->type, column->optional, column->fallback, column->field, out);
}

static char *key_schema(const ChangeTable *table, const char *name)
{
    AUTO_BUFFER out = TEXT_EMPTY;
    text_add(&out, "{\"schema\":{\"type\":\"struct\",\"fields\":[");
    for (size_t i = 0; i < table->key_count; i++) {
        add_field(&table->columns[table->key[i]], i == 0, &out);
    }
    text_add(&out, "],\"optional\":false,\"name\":");
    (void)change_json_string(&out, slice_of(name));
    text_add(&out, "},\"payload\":");
    return x_strdup(text_string(&out));
}

static char *value_schema(const ChangeTable *table, const char *base)
{
    AUTO_BUFFER row = TEXT_EMPTY;
    bool first = true;
    text_add(&row, "{\"type\":\"struct\",\"fields\":[");
    for (size_t i = 0; i < table->count; i++) {
        if (table->columns[i].type != NULL) {
            add_field(&table->columns[i], first, &row);
            first = false;
        }
    }
    text_add(&row, "],\"optional\":true,\"name\":");
    AUTO_TEXT value_name = x_format("%s.Value", base);
    (void)change_json_string(&row, slice_of(value_name));
    AUTO_TEXT envelope_name = x_format("%s.Envelope", base);
    AUTO_TEXT envelope = json_of(envelope_name);
    AUTO_BUFFER fields = TEXT_EMPTY;
    change_envelope_fields(&fields);
    return x_format("{\"schema\":{\"type\":\"struct\",\"fields\":[%s,\"field\":\"before\"},%s,"
                    "\"field\":\"after\"},%s],\"optional\":false,\"name\":%s,\"version\":2},"
                    "\"payload\":",
                    text_string(&row), text_string(&row), text_string(&fields), envelope);
}

ChangeTable *change_table_new(const ChangeTables *tables, const MappingConfig *mapping,
                              const ChangeRelation *relation, ChangeOut *out)
{
    (void)mapping;
    const ChangeCatalog *catalog = tables->catalog;
    const ChangeModes *modes = tables->modes;
    size_t count = relation->count;
    const ChangeTableFacts *facts = change_catalog_table(catalog, relation->oid);
    if (facts == NULL) {
        return NULL;
    }
    ChangeTable *table = x_calloc(1, sizeof(*table) + count * sizeof(table->columns[0]));
    table->oid = relation->oid;
    table->count = count;
    table->name = x_format("%s.%s", facts->schema, facts->name);
    table->topic = change_topic_name(tables->prefix, facts->schema, facts->name);
    for (size_t i = 0; i < count; i++) {
        column_make(&table->columns[i], catalog, modes, &relation->columns[i],
                    facts_of(facts, relation->columns[i].name), out);
    }
    find_key(table);
    AUTO_TEXT schema = json_of(facts->schema);
    AUTO_TEXT name = json_of(facts->name);
    table->place = x_format("\"schema\":%s,\"table\":%s", schema, name);
    table->close = modes->schemas ? "}" : "";
    if (!modes->schemas) {
        table->key_head = x_strdup("");
        table->value_head = x_strdup("");
        return table;
    }
    AUTO_TEXT key_name = x_format("%s.Key", table->topic);
    table->key_head = key_schema(table, key_name);
    table->value_head = value_schema(table, table->topic);
    return table;
}

void change_table_free(ChangeTable **table)
{
    ChangeTable *old = *table;
    *table = NULL;
    if (old == NULL) {
        return;
    }
    for (size_t i = 0; i < old->count; i++) {
        free(old->columns[i].name);
        free(old->columns[i].field);
        free(old->columns[i].fallback);
        change_type_free(&old->columns[i].type);
    }
    free(old->key);
    free(old->name);
    free(old->topic);
    free(old->place);
    free(old->key_head);
    free(old->value_head);
    free(old);
}

/* The value of a column, with what stands for one that is not there. */
static Status write_value(const ChangeTable *table, size_t at, const Slice *row, const Slice *old,
                          ChangeOut *out, Error *err)
{
    const ChangeTableColumn *column = &table->columns[at];
    Slice value = row[at];
    if (slice_is_unsent(value) && old != NULL && old[at].data != NULL) {
        value = old[at];
    }
    if (slice_is_unsent(value)) {
        text_add(&out->json, column->unchanged);
        return OK;
    }
    switch (slice_is_null(value) ? CHANGE_AS_NULL : change_value_write(column->type, value, out)) {
    case CHANGE_WRITTEN:
        return OK;
    case CHANGE_AS_NULL:
        text_add(&out->json, column->null);
        return OK;
    case CHANGE_BAD:
        break;
    }
    return error_set_as(err, ERROR_POISON, EXIT_POSTGRES, CODE_EVENT_UNREADABLE,
                        "table '%s', column '%s': the text of the value is none of its type",
                        table->name, column->name);
}

Status change_table_write_row(const ChangeTable *table, const Slice *row, const Slice *old,
                              ChangeOut *out, Error *err)
{
    char before = '{';
    for (size_t i = 0; i < table->count; i++) {
        if (table->columns[i].type == NULL) {
            continue;
        }
        text_add_char(&out->json, before);
        text_add(&out->json, table->columns[i].field);
        text_add_char(&out->json, ':');
        if (write_value(table, i, row, old, out, err) != OK) {
            return FAILED;
        }
        before = ',';
    }
    text_add(&out->json, before == '{' ? "{}" : "}");
    return OK;
}

Status change_table_write_key(const ChangeTable *table, const Slice *row, const Slice *old,
                              ChangeOut *out, Error *err)
{
    for (size_t i = 0; i < table->key_count; i++) {
        text_add_char(&out->json, i == 0 ? '{' : ',');
        text_add(&out->json, table->columns[table->key[i]].field);
        text_add_char(&out->json, ':');
        if (write_value(table, table->key[i], row, old, out, err) != OK) {
            return FAILED;
        }
    }
    text_add(&out->json, "}");
    return OK;
}

/* A string with only quotes and backslashes escaped. */
static void add_plain(Text *out, Slice text)
{
    text_add_char(out, '"');
    for (size_t i = 0; i < text.length; i++) {
        if (text.data[i] == '"' || text.data[i] == '\\') {
            text_add_char(out, '\\');
        }
        text_add_char(out, text.data[i]);
    }
    text_add_char(out, '"');
}

Status change_table_write_key_text(const ChangeTable *table, const Slice *row, const Slice *old,
                                   ChangeOut *out, Error *err)
{
    for (size_t i = 0; i < table->key_count; i++) {
        const ChangeTableColumn *column = &table->columns[table->key[i]];
        Slice value = row[table->key[i]];
        text_add_char(&out->json, i == 0 ? '{' : ',');
        add_plain(&out->json, slice_of(column->name));
        text_add_char(&out->json, ':');
        bool there = !slice_is_null(value) && !slice_is_unsent(value);
        if (there && column->type->shape == SHAPE_TEXT) {
            add_plain(&out->json, value);
        } else if (there && column->type->shape == SHAPE_DECIMAL) {
            text_add_slice(&out->json, value);
        } else if (write_value(table, table->key[i], row, old, out, err) != OK) {
            return FAILED;
        }
    }
    text_add(&out->json, "}");
    return OK;
}
