#include "change/change_mapping.h"

#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "base/utf8.h"
#include "config/template.h"

enum { TOPIC_MAX = 249 }; /* org.apache.kafka.common.internals.Topic */

static bool has(const StringList *list, const char *name)
{
    for (size_t i = 0; i < list->count; i++) {
        if (strcmp(list->items[i], name) == 0) {
            return true;
        }
    }
    return false;
}

static const ColumnLength *length_of(const ColumnLength *lengths, size_t count, const char *name)
{
    for (size_t i = 0; i < count; i++) {
        if (strcmp(lengths[i].column, name) == 0) {
            return &lengths[i];
        }
    }
    return NULL;
}

static void add_clean(Text *topic, const char *value)
{
    size_t length = strlen(value);
    for (size_t at = 0; at < length;) {
        unsigned char c = (unsigned char)value[at];
        size_t bytes = utf8_sequence(value + at, length - at);
        if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
            c == '.' || c == '_' || c == '-') {
            text_add_char(topic, (char)c);
        } else {
            text_add(topic, bytes == 4 ? "__" : "_");
        }
        at += bytes > 0 ? bytes : 1;
    }
}

static const char *value_of(const ChangeNames *names, Slice name)
{
    const struct {
        const char *name;
        const char *value;
    } values[] = {{"prefix", names->prefix},
                  {"database", names->database},
                  {"schema", names->schema},
                  {"table", names->table}};
    for (size_t i = 0; i < sizeof(values) / sizeof(*values); i++) {
        if (slice_equal(slice_of(values[i].name), name)) {
            return values[i].value;
        }
    }
    return NULL;
}

Status change_mapping_topic(const MappingConfig *mapping, const ChangeNames *names,
                            char **ret_topic, Error *err)
{
    bool own = mapping != NULL && mapping->topic != NULL && mapping->topic[0] != '\0';
    const char *template = own ? mapping->topic : "${prefix}.${schema}.${table}";
    const char *cursor = template;
    AUTO_BUFFER topic = TEXT_EMPTY;
    for (TemplatePart part; template_next(&cursor, &part);) {
        const char *value = part.is_column ? value_of(names, part.text) : NULL;
        if (value != NULL) {
            add_clean(&topic, value);
        } else if (!part.is_column) {
            text_add_slice(&topic, part.text);
        } else {
            error_set(err, CODE_TEMPLATE_INVALID,
                      "mapping '%s': the topic '%s' names '%.*s', which a table does not have",
                      own ? mapping->table : names->table, template, SLICE_ARG(part.text));
            return error_hint(err, "Name ${prefix}, ${database}, ${schema} and ${table} only.");
        }
    }
    size_t length = topic.length < TOPIC_MAX ? topic.length : TOPIC_MAX;
    *ret_topic = x_strndup(text_string(&topic), length);
    return OK;
}

bool change_mapping_excludes(const MappingConfig *mapping, const char *column)
{
    return mapping != NULL && has(&mapping->exclude, column);
}

bool change_mapping_shows(const MappingConfig *mapping, const char *column)
{
    return mapping == NULL || (!has(&mapping->exclude, column) &&
                               (mapping->columns.count == 0 || has(&mapping->columns, column)));
}

Status change_mapping_redact(const MappingConfig *mapping, const ChangeRedactColumn *column,
                             ChangeRedact *ret, Error *err)
{
    *ret = (ChangeRedact){0};
    if (mapping == NULL) {
        return OK;
    }
    const ColumnLength *mask = length_of(mapping->masks, mapping->mask_count, column->name);
    const ColumnLength *cut = length_of(mapping->cuts, mapping->cut_count, column->name);
    bool hashed = has(&mapping->hash, column->name);
    if (mask == NULL && cut == NULL && !hashed) {
        return OK;
    }
    if (!change_type_is_text(column->type)) {
        error_set(err, CODE_MAPPING_COLUMN,
                  "mapping '%s', table '%s': %s name column '%s', whose values are no text",
                  mapping->table, column->table,
                  mask != NULL ? "mask_columns"
                  : hashed     ? "hash_columns"
                               : "truncate_columns",
                  column->name);
        return error_hint(err, "Leave the column out with exclude_columns, or give this table a "
                               "mapping of its own.");
    }
    if (mask != NULL) {
        *ret = change_redact_mask((size_t)mask->characters);
    } else if (hashed) {
        *ret = change_redact_hash(mapping->hash_salt, column->length);
    } else if (column->length == 0 || column->length > (size_t)cut->characters) {
        *ret = change_redact_cut((size_t)cut->characters);
    }
    return OK;
}
